//! The service on a socket: HTTP/1.1, with a thread for each connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{Builder, JoinHandle};

use super::service::{self, Service};
use super::{Fault, ReceivedRequest};
use crate::http::clock::{Clock, SystemClock};
use crate::http::response::Response;
use crate::http::stop::{StopToken, Stops};
use crate::sync::lock;

pub(super) struct Server {
    pub(super) address: SocketAddr,
    stop: StopToken,
    /// The thread that accepts connections.
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(port: u16, service: Arc<Mutex<Service>>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let (address, stop) = (listener.local_addr()?, StopToken::new());
        let stopped = stop.clone();
        let thread = Builder::new().spawn(move || accept_connections(&listener, &stopped, &service))?;
        Ok(Server { address, stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.stop();
        // Only a connection wakes up the thread that accepts them. None can be made if the process has no free file
        // descriptor.
        if TcpStream::connect(self.address).is_ok() {
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

/// Serves each connection on a thread of its own, which ends with it. Closes all of them in the end.
fn accept_connections(listener: &TcpListener, stop: &StopToken, service: &Arc<Mutex<Service>>) {
    let mut streams = Vec::new();
    for stream in listener.incoming().take_while(|_| !stop.is_stopped()).flatten() {
        lock(service).connections += 1;
        let stream = Arc::new(stream);
        streams.push(Arc::downgrade(&stream));
        let (stop, service) = (stop.clone(), service.clone());
        // A panic of a function of the user ends the connection and nothing else. Without a thread, the connection is
        // closed.
        let serve = move || Connection { reader: BufReader::new(&stream), stop, service }.serve();
        let _ = Builder::new().name("atomiverse-simulator".to_owned()).spawn(serve);
    }
    for stream in streams.iter().filter_map(Weak::upgrade) {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

struct Connection<'a> {
    reader: BufReader<&'a TcpStream>,
    stop: StopToken,
    service: Arc<Mutex<Service>>,
}

impl Connection<'_> {
    fn serve(mut self) {
        // Without this, a response may be delayed until the client acknowledges earlier data.
        let _ = self.reader.get_ref().set_nodelay(true);
        while self.exchange().is_ok_and(|goes_on| goes_on) {}
        // If the connection were closed while there are unread data, the client could lose the response.
        let _ = self.reader.get_ref().shutdown(Shutdown::Write);
        let _ = io::copy(&mut self.reader, &mut io::sink());
    }

    /// Reads a request and responds to it. Returns whether the connection can be used again.
    fn exchange(&mut self) -> io::Result<bool> {
        let request = self.read_request()?;
        let (number, fault) = service::receive(&self.service, &request);
        if let Some(Fault::Delay(time)) = fault {
            SystemClock.sleep(time, &Stops::default().and(&self.stop));
        }
        let message = match fault.clone() {
            Some(Fault::Cut) => return Ok(false),
            Some(Fault::Garbage) => b"\x00\x01garbage, not HTTP\r\n\r\n".to_vec(),
            Some(Fault::Response(response)) => encode(response, number, &request.method),
            _ => encode(service::respond(&self.service, &request), number, &request.method),
        };
        let sent = match fault {
            Some(Fault::LostResponse) => 0,
            Some(Fault::TruncatedBody) => message.len() - 1,
            _ => message.len(),
        };
        self.reader.get_mut().write_all(&message[..sent])?;
        let closes = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        // The body of a request without a length has not been read.
        Ok(sent == message.len() && !closes && request.header("transfer-encoding").is_none())
    }

    /// Reads a request. What is malformed is read like an unknown method or an empty path, which the service refuses.
    fn read_request(&mut self) -> io::Result<ReceivedRequest> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.reader.read_until(b'\n', &mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        let mut request = ReceivedRequest {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            headers: headers.collect(),
            body: String::new(),
        };
        if request.header("expect").is_some() {
            self.reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = Vec::new();
        if (self.reader.by_ref().take(length).read_to_end(&mut body)? as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.body = String::from_utf8_lossy(&body).into_owned();
        Ok(request)
    }
}

/// Returns a response as it is sent.
fn encode(response: Response, number: usize, method: &str) -> Vec<u8> {
    let has_body = method != "HEAD" && !matches!(response.status, 204 | 304);
    let body = if has_body { response.body } else { Vec::new() };
    let mut head = format!("HTTP/1.1 {} \r\nx-request-id: sim-{number}\r\n", response.status);
    for (name, value) in response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    [format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat()
}
