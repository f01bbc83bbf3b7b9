//! The service on a socket: HTTP/1.1, with a thread for each connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use httparse::Status;

use super::service::{self, Reply, Service};
use super::{Fault, ReceivedRequest};
use crate::http::clock::{Clock, SystemClock};
use crate::http::stop::{StopToken, Stops};
use crate::sync::lock;

#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    stop: StopToken,
    /// The thread that accepts connections. It ends after the threads of the connections.
    thread: Option<JoinHandle<()>>,
}

const THREAD_NAME: &str = "atomiverse-simulator";

impl Server {
    pub(super) fn start(port: u16, service: Arc<Mutex<Service>>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let (address, stop) = (listener.local_addr()?, StopToken::new());
        let stopped = stop.clone();
        let thread = spawn(move || accept_connections(listener, &stopped, &service))?;
        Ok(Server { address, stop, thread: Some(thread) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.stop();
        // Only a connection wakes up the thread that accepts them. None can be made if the process has no free file
        // descriptor.
        let is_woken = TcpStream::connect(self.address).is_ok();
        // A function of the user may drop the simulator on the thread of a connection, which cannot wait for itself.
        let can_wait = is_woken && thread::current().name() != Some(THREAD_NAME);
        if let Some(thread) = self.thread.take().filter(|_| can_wait) {
            // If that thread panicked, the message has already been printed.
            let _ = thread.join();
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(work)
}

fn accept_connections(listener: TcpListener, stop: &StopToken, service: &Arc<Mutex<Service>>) {
    let mut threads: Vec<(Weak<TcpStream>, JoinHandle<()>)> = Vec::new();
    for stream in listener.incoming().take_while(|_| !stop.is_stopped()) {
        threads.retain(|(_, thread)| !thread.is_finished());
        let Ok(stream) = stream.map(Arc::new) else {
            // Accepting fails again at once while the process has no free file descriptor.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        lock(service).connections += 1;
        let weak = Arc::downgrade(&stream);
        let (stop, service) = (stop.clone(), service.clone());
        let thread = spawn(move || Connection { stream: &stream, stop: &stop, service: &service }.serve());
        // Without a thread, the connection is closed.
        threads.extend(thread.map(|thread| (weak, thread)));
    }
    drop(listener);
    for stream in threads.iter().filter_map(|(stream, _)| stream.upgrade()) {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for (_, thread) in threads {
        let _ = thread.join();
    }
}

struct Connection<'a> {
    stream: &'a TcpStream,
    stop: &'a StopToken,
    service: &'a Mutex<Service>,
}

impl Connection<'_> {
    fn serve(&self) {
        // Without this, a response may be delayed until the client acknowledges earlier data.
        let _ = self.stream.set_nodelay(true);
        let mut reader = BufReader::new(self.stream);
        let end = loop {
            match self.exchange(&mut reader) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    break self.send(&Reply::detail(400, &error.to_string()), "");
                }
                Err(error) => break Err(error),
            }
        };
        if end.and_then(|()| self.stream.shutdown(Shutdown::Write)).is_ok() {
            // If the connection were closed while there are unread data, the client could lose the response.
            let _ = io::copy(&mut reader, &mut io::sink());
        }
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Reads a request and responds to it. Returns whether the connection can be used again. After an error, it is
    /// closed at once.
    fn exchange(&self, reader: &mut impl BufRead) -> io::Result<bool> {
        let (request, is_last) = self.read_request(reader)?;
        let respond = || service::respond(self.service, &request);
        let cut = || Err(io::ErrorKind::ConnectionAborted.into());
        let reply = match service::receive(self.service, &request) {
            None => respond(),
            Some(Fault::Response { status, headers, body }) => {
                Reply { status, headers, body: body.into_bytes() }
            }
            Some(Fault::Delay(time)) => {
                SystemClock.sleep(time, &Stops::default().and(self.stop));
                respond()
            }
            Some(Fault::Cut) => return cut(),
            Some(Fault::LostResponse) => {
                respond();
                return cut();
            }
            Some(Fault::Garbage) => {
                self.write(b"\x00\x01garbage, not HTTP\r\n\r\n")?;
                return cut();
            }
            Some(Fault::TruncatedBody) => {
                let mut reply = respond();
                // At least one byte is missing, even if the body is empty.
                let length = reply.body.len().max(1);
                reply.headers.push(("content-length".to_owned(), length.to_string()));
                reply.body.truncate(reply.body.len() / 2);
                self.send(&reply, &request.method)?;
                return cut();
            }
        };
        self.send(&reply, &request.method)?;
        // After an interim response, a client waits for the final one.
        Ok(!is_last && reply.status >= 200)
    }

    fn send(&self, reply: &Reply, method: &str) -> io::Result<()> {
        let id = lock(self.service).next_request_id();
        let mut message = format!("HTTP/1.1 {:03} \r\nx-request-id: {id}\r\n", reply.status);
        for (name, value) in &reply.headers {
            message += &format!("{name}: {value}\r\n");
        }
        let has_body = !matches!(reply.status, 100..200 | 204 | 304);
        let has_length = reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if has_body && !has_length {
            message += &format!("content-length: {}\r\n", reply.body.len());
        }
        message += "\r\n";
        let body = if has_body && method != "HEAD" { &reply.body[..] } else { b"" };
        self.write(&[message.as_bytes(), body].concat())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.stream;
        stream.write_all(bytes)
    }

    /// Reads a request, and returns whether it is the last one.
    fn read_request(&self, reader: &mut impl BufRead) -> io::Result<(ReceivedRequest, bool)> {
        let mut head = Vec::new();
        while !head.ends_with(b"\n\r\n") && !head.ends_with(b"\n\n") {
            read_line(reader, &mut head)?;
        }
        let mut headers = vec![httparse::EMPTY_HEADER; 1024];
        let mut parsed = httparse::Request::new(&mut headers);
        let status = parsed.parse(&head).map_err(|error| malformed(&error.to_string()))?;
        let (Status::Complete(_), Some(method), Some(target)) = (status, parsed.method, parsed.path) else {
            return Err(malformed("incomplete head"));
        };
        let header = |header: &httparse::Header<'_>| {
            (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
        };
        let mut request = ReceivedRequest {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: parsed.headers.iter().map(header).collect(),
            body: String::new(),
        };
        let has = |name, token| {
            let value = request.header(name).unwrap_or_default();
            value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
        };
        let is_last = parsed.version != Some(1) || has("connection", "close");
        if has("expect", "100-continue") {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = match request.header("transfer-encoding") {
            None => {
                let length = request.header("content-length").unwrap_or("0");
                let length = length.parse().map_err(|_| malformed("invalid content-length"))?;
                read_exactly(reader, length)?
            }
            Some(_) if has("transfer-encoding", "chunked") => read_chunks(reader)?,
            Some(_) => return Err(malformed("unknown transfer-encoding")),
        };
        request.body = String::from_utf8_lossy(&body).into_owned();
        Ok((request, is_last))
    }
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        read_line(reader, &mut line)?;
        let Ok(Status::Complete((_, size))) = httparse::parse_chunk_size(&line) else {
            return Err(malformed("invalid chunk size"));
        };
        body.append(&mut read_exactly(reader, size)?);
        // A line break ends a chunk. After the last chunk, trailers may come before it.
        while read_line(reader, &mut line)? > 2 {
            if size > 0 {
                return Err(malformed("invalid chunk"));
            }
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

/// Appends a line to the text and returns its length.
fn read_line(reader: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<usize> {
    match reader.read_until(b'\n', text)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => Ok(length),
    }
}

fn read_exactly(reader: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

fn malformed(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
