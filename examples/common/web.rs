//! A minimal web server for the examples.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use atomiverse::{Request, Response, StopToken};

/// Listens on 127.0.0.1 and prints the address. Does not block, because a thread that waited for a connection would not
/// notice a stop.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    Ok(listener)
}

/// Serves one connection after the other until the stop. Several threads can share one listener.
pub fn serve(listener: &TcpListener, stop: &StopToken, mut respond: impl FnMut(Request) -> Response) {
    while !stop.is_stopped() {
        match listener.accept() {
            Ok((stream, _)) => handle(&stream, &mut respond).unwrap_or_else(|error| eprintln!("{error}")),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn handle(mut stream: &TcpStream, respond: impl FnOnce(Request) -> Response) -> io::Result<()> {
    // On some systems a connection is as non-blocking as its listener.
    stream.set_nonblocking(false)?;
    // A stop does not interrupt the reading. A client may wait for a second before it sends a long body.
    stream.set_read_timeout(Some(Duration::from_millis(1500)))?;
    let request = read(&mut BufReader::new(stream))?;
    let is_head = request.method == "HEAD";
    let Response { status, headers, body, .. } = respond(request);
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} \r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n")?;
    stream.write_all(if is_head { &[] } else { &body })
}

fn read(stream: &mut impl BufRead) -> io::Result<Request> {
    let lines = stream.by_ref().take(1 << 16).lines();
    let is_end = |line: &io::Result<String>| line.as_ref().is_ok_and(String::is_empty);
    let head: Vec<String> = lines.take_while(|line| !is_end(line)).collect::<Result<_, _>>()?;
    let mut words = head.first().map_or("", String::as_str).split(' ');
    let mut request = Request::with_path(words.next().unwrap_or_default(), words.next().unwrap_or_default());
    for (name, value) in head.iter().skip(1).filter_map(|line| line.split_once(':')) {
        request = request.header(name, value.trim());
    }
    let header = |name: &str| request.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
    if header("transfer-encoding").is_some() {
        return Err(io::Error::other("a request with `Transfer-Encoding` cannot be read here"));
    }
    if let Some((_, length)) = header("content-length") {
        let mut body = vec![0; length.parse().map_err(io::Error::other)?];
        stream.read_exact(&mut body)?;
        request.body = Some(body);
    }
    Ok(request)
}
