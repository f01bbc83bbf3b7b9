//! The service on a socket: axum, on a thread of its own.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Response, Uri};
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::service::{self, Reply, Service};
use super::{Fault, ReceivedRequest};
use crate::sync::lock;

#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(address: SocketAddr, service: Arc<Mutex<Service>>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = connections.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("atomiverse-simulator".to_owned()).spawn(move || {
            let app = Router::new().fallback(handle).layer(DefaultBodyLimit::disable()).with_state(service);
            let app = app.into_make_service_with_connect_info::<Connection>();
            runtime.block_on(async {
                let listener = CountingListener { listener, accepted };
                let serving = tokio::spawn(async move { axum::serve(listener, app).await });
                // The sender is dropped with the simulator, so an error also means that the server should stop.
                let _ = stopped.await;
                serving.abort();
            });
            // Dropping the runtime closes the connections that are still open.
        })?;
        Ok(Server { address, connections, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let thread = self.thread.take();
        // The last owner may be a function of the user, which runs on the server's own thread. A thread cannot join
        // itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // If that thread panicked, the message has already been printed.
            let _ = thread.join();
        }
    }
}

struct CountingListener {
    listener: TcpListener,
    accepted: Arc<AtomicUsize>,
}

impl Listener for CountingListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        self.accepted.fetch_add(1, Ordering::SeqCst);
        // Without this, a response may be delayed until the client acknowledges earlier data.
        let _ = stream.set_nodelay(true);
        (stream, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A second handle to the socket of a connection, for responses that HTTP does not allow.
#[derive(Clone)]
struct Connection(Option<Arc<socket2::Socket>>);

impl Connected<IncomingStream<'_, CountingListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, CountingListener>) -> Self {
        Connection(socket2::SockRef::from(stream.io()).try_clone().ok().map(Arc::new))
    }
}

impl Connection {
    /// Sends these bytes unchanged and closes the connection.
    fn end_with(&self, bytes: &[u8]) -> Response<Body> {
        if let Some(socket) = &self.0 {
            // The client may have closed the connection already.
            let _ = (&**socket).write_all(bytes);
            let _ = socket.shutdown(Shutdown::Both);
        }
        // This is not sent, because the socket is closed.
        Response::new(Body::empty())
    }
}

async fn handle(
    State(service): State<Arc<Mutex<Service>>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let request = ReceivedRequest {
        method: method.to_string(),
        target: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let respond = || service::respond(&service, &request);
    let reply = match service::receive(&service, &request) {
        None => respond(),
        Some(Fault::Answer { status, headers, body }) => Reply { status, headers, body },
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            respond()
        }
        Some(Fault::Cut) => return connection.end_with(b""),
        Some(Fault::Garbage) => return connection.end_with(b"\x00\x01garbage, not HTTP\r\n\r\n"),
        Some(Fault::LostAnswer) => {
            respond();
            return connection.end_with(b"");
        }
        Some(Fault::TruncatedBody) => {
            let Reply { status, body, .. } = respond();
            let half = &body.as_bytes()[..body.len() / 2];
            // At least one byte is missing, even if the body is empty.
            let length = body.len().max(1);
            let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n\r\n");
            return connection.end_with(&[head.as_bytes(), half].concat());
        }
    };
    let Reply { status, headers, body } = reply;
    let mut response = Response::builder().status(status).header("x-request-id", lock(&service).request_id());
    for (name, value) in headers {
        response = response.header(name, value);
    }
    // A fault may have a status or a header that HTTP does not allow.
    response.body(Body::from(body)).unwrap_or_else(|error| Response::new(Body::from(error.to_string())))
}
