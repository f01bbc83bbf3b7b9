//! A minimal web server for the examples.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use atomiverse::StopToken;

/// Serves one connection after the other until the stop. Several threads can share one listener, which must be
/// non-blocking: a thread that waited for a connection would not notice the stop.
///
/// `respond` gets the method and the path, and returns the status and the body.
pub fn serve(listener: &TcpListener, stop: &StopToken, respond: impl Fn(&str, &str) -> (u16, String)) {
    while !stop.is_stopped() {
        match listener.accept() {
            Ok((stream, _)) => handle(stream, &respond).unwrap_or_else(|error| eprintln!("{error}")),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn handle(mut stream: TcpStream, respond: impl Fn(&str, &str) -> (u16, String)) -> io::Result<()> {
    let head = read_head(&mut stream)?;
    let mut words = head.split_whitespace();
    let (status, body) = respond(words.next().unwrap_or_default(), words.next().unwrap_or_default());
    write!(stream, "HTTP/1.1 {status} \r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Reads the head of a request. A client has half a second to send it, because a stop does not interrupt the reading.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    // On some systems a connection is as non-blocking as its listener.
    stream.set_nonblocking(false)?;
    let deadline = Instant::now() + Duration::from_millis(500);
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        // This is an error if no time is left.
        stream.set_read_timeout(Some(deadline.saturating_duration_since(Instant::now())))?;
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => head.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
