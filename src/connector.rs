//! Makes connections, and bounds the time of reading from them and writing to them.
//!
//! ureq's own TCP transport renews its time limit for each part of a request that the server reads, so a server that
//! reads slowly holds the caller far beyond the limit. It also does not read a response that the server sent before it
//! closed the connection during a long request. The transport here bounds the whole request and reads such a response.
//! It also tells connections that may be dead from those that are known to work.

use std::cell::Cell;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, Error};

use crate::clock::{Clock, DECADES};
use crate::not_connected::NotConnected;
use crate::resolver::CachingResolver;
use crate::stop::{self, POLL_INTERVAL, StopToken};
use crate::sync::lock;

/// Builds the agent that sends all requests of a client.
pub(crate) fn agent(config: Config, clock: Arc<dyn Clock>, pool_health: PoolHealth) -> Agent {
    let resolver = CachingResolver::new(clock);
    let tcp = TcpConnector { resolver: resolver.clone(), pool_health, abandoned: Arc::default() };
    let connector = ().chain(ConnectProxyConnector::default()).chain(tcp);
    #[cfg(feature = "rustls")]
    let connector = connector.chain(ureq::unversioned::transport::RustlsConnector::default());
    #[cfg(all(feature = "native-tls", not(feature = "rustls")))]
    let connector = connector.chain(ureq::unversioned::transport::NativeTlsConnector::default());
    Agent::with_parts(config, MarkingConnector(connector), resolver)
}

/// Marks every error that occurs before the connection is established, including those of a proxy and of TLS.
#[derive(Debug)]
struct MarkingConnector<C>(C);

impl<C: Connector> Connector for MarkingConnector<C> {
    type Out = C::Out;

    fn connect(&self, details: &ConnectionDetails, chained: Option<()>) -> Result<Option<C::Out>, Error> {
        let details = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            // All requests use the TLS settings of the agent. Without this, ureq would prepare them again for each
            // connection.
            request_level: false,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let outer = SETUP_DEADLINE.replace(Some(deadline(details.timeout)));
        let connection = self.0.connect(&details, chained).map_err(NotConnected::wrap);
        SETUP_DEADLINE.set(outer);
        connection
    }
}

thread_local! {
    /// The time by which the connection that this thread makes must be established. ureq applies its limit to each part
    /// of the response of a proxy instead.
    static SETUP_DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Which idle connections may be used.
///
/// If the network fails silently, all idle connections are dead, and each of them would cost an attempt. After a
/// timeout or a lost connection, only connections that have received something since then are used.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolHealth(Arc<Mutex<Option<Instant>>>);

impl PoolHealth {
    /// Ensures that no connection that is idle now is used again.
    pub(crate) fn distrust_idle_connections(&self) {
        *lock(&self.0) = Some(Instant::now());
    }

    fn trusts(&self, last_input: Instant) -> bool {
        let distrusted = *lock(&self.0);
        distrusted.is_none_or(|distrusted| last_input > distrusted)
    }
}

#[derive(Debug)]
struct TcpConnector {
    resolver: CachingResolver,
    pool_health: PoolHealth,
    /// The number of threads that connect for a call that was stopped.
    abandoned: Arc<AtomicUsize>,
}

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, TcpTransport>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        // This is the tunnel of a proxy.
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        let stream = self.connect_to_any(&details.addrs, details.timeout)?;
        stream.set_nodelay(true)?;
        let config = details.config;
        Ok(Some(Either::B(TcpTransport {
            stream,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            send_error: None,
            read_timeout: None,
            write_timeout: None,
            process: process::id(),
            last_input: Instant::now(),
            pool_health: self.pool_health.clone(),
        })))
    }
}

impl TcpConnector {
    /// Tries the addresses in their order. Each gets an equal share of the time that is left.
    fn connect_to_any(&self, addresses: &[SocketAddr], timeout: NextTimeout) -> Result<TcpStream, Error> {
        let deadline = deadline(timeout);
        let mut failure = Error::HostNotFound;
        for (n, address) in addresses.iter().enumerate() {
            let untried = u32::try_from(addresses.len() - n).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / untried;
            if share.is_zero() {
                failure = Error::Timeout(timeout.reason);
                break;
            }
            if stop::is_current_stopped() {
                return Err(Error::Io(io::Error::other("stopped")));
            }
            match self.connect(*address, share) {
                Ok(stream) => {
                    self.resolver.prefer(*address);
                    return Ok(stream);
                }
                Err(error) if is_timeout(&error) => failure = Error::Timeout(timeout.reason),
                Err(error) => failure = Error::Io(error),
            }
        }
        self.resolver.invalidate();
        Err(failure)
    }

    fn connect(&self, address: SocketAddr, within: Duration) -> io::Result<TcpStream> {
        match stop::current() {
            None => TcpStream::connect_timeout(&address, within),
            Some(stop) => {
                stop.run_abandonable(&self.abandoned, move || TcpStream::connect_timeout(&address, within))
            }
        }
    }
}

struct TcpTransport {
    stream: TcpStream,
    buffers: LazyBuffers,
    /// The error that broke the connection while a request was sent. The server may have responded before.
    send_error: Option<io::Error>,
    /// What the socket is set to.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// The process that made the connection. After a fork, the connection belongs to the parent.
    process: u32,
    last_input: Instant,
    pool_health: PoolHealth,
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let (deadline, stop) = (deadline(timeout), stop::current());
        let mut output = &self.buffers.output()[..amount];
        while !output.is_empty() && self.send_error.is_none() {
            let left = slice(time_left(deadline, timeout, stop.as_ref())?);
            if self.write_timeout != Some(left) {
                self.stream.set_write_timeout(Some(left))?;
                self.write_timeout = Some(left);
            }
            match self.stream.write(output) {
                Ok(0) => self.send_error = Some(ErrorKind::WriteZero.into()),
                Ok(sent) => output = &output[sent..],
                Err(error) if error.kind() == ErrorKind::Interrupted || is_timeout(&error) => {}
                Err(error) => self.send_error = Some(error),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let (deadline, stop) = (deadline(timeout), stop::current());
        loop {
            let left = slice(time_left(deadline, timeout, stop.as_ref())?);
            if self.read_timeout != Some(left) {
                self.stream.set_read_timeout(Some(left))?;
                self.read_timeout = Some(left);
            }
            let received = self.stream.read(self.buffers.input_append_buf());
            match (received, self.send_error.take()) {
                (Err(error), send_error) if error.kind() == ErrorKind::Interrupted || is_timeout(&error) => {
                    self.send_error = send_error;
                }
                (Ok(0) | Err(_), Some(send_error)) => return Err(Error::Io(send_error)),
                (Ok(amount), send_error) => {
                    self.send_error = send_error;
                    self.last_input = Instant::now();
                    self.buffers.input_appended(amount);
                    return Ok(amount > 0);
                }
                (Err(error), None) => return Err(Error::Io(error)),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.send_error.is_none()
            && self.process == process::id()
            && self.pool_health.trusts(self.last_input)
            && is_silent_and_open(&self.stream).unwrap_or(false)
    }
}

impl fmt::Debug for TcpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpTransport").field("peer", &self.stream.peer_addr().ok()).finish_non_exhaustive()
    }
}

/// Returns whether the server has neither sent anything without a request nor closed the connection.
fn is_silent_and_open(mut stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let received = stream.read(&mut [0]);
    stream.set_nonblocking(false)?;
    Ok(received.is_err_and(|error| error.kind() == ErrorKind::WouldBlock))
}

fn deadline(timeout: NextTimeout) -> Instant {
    let deadline = Instant::now() + (*timeout.after).min(DECADES);
    SETUP_DEADLINE.get().map_or(deadline, |setup| setup.min(deadline))
}

/// Returns how long to wait for the network before the deadline and the token are checked again.
fn time_left(deadline: Instant, timeout: NextTimeout, stop: Option<&StopToken>) -> Result<Duration, Error> {
    match (deadline.saturating_duration_since(Instant::now()), stop) {
        (Duration::ZERO, _) => Err(Error::Timeout(timeout.reason)),
        (left, None) => Ok(left),
        (_, Some(stop)) if stop.is_stopped() => Err(Error::Io(io::Error::other("stopped"))),
        (left, Some(_)) => Ok(left.min(POLL_INTERVAL)),
    }
}

/// Rounds a timeout of the socket down, so that it rarely has to be set. An early end is followed by another wait.
fn slice(left: Duration) -> Duration {
    match left.as_secs() {
        0 => left,
        seconds => Duration::from_secs(1 << seconds.ilog2()),
    }
}

/// Returns whether the time limit of a socket has passed, which is reported as one of two errors.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Returns a connection on which nothing was sent yet, and its other end.
    fn connected(pool_health: &PoolHealth) -> (TcpTransport, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let transport = TcpTransport {
            stream,
            buffers: LazyBuffers::new(1024, 1024),
            send_error: None,
            read_timeout: None,
            write_timeout: None,
            process: process::id(),
            last_input: Instant::now(),
            pool_health: pool_health.clone(),
        };
        (transport, listener.accept().unwrap().0)
    }

    fn within(duration: Duration) -> NextTimeout {
        NextTimeout { after: duration.into(), ..NextTimeout::default() }
    }

    #[test]
    fn a_connection_is_used_while_it_is_silent_and_open() {
        let (mut transport, mut peer) = connected(&PoolHealth::default());
        assert!(transport.is_open());
        peer.write_all(b"nobody asked").unwrap();
        // Peeking waits until the bytes have arrived.
        transport.stream.peek(&mut [0]).unwrap();
        assert!(!transport.is_open());
        let (mut transport, peer) = connected(&PoolHealth::default());
        drop(peer);
        transport.stream.peek(&mut [0]).unwrap();
        assert!(!transport.is_open());
    }

    #[test]
    fn a_connection_that_was_made_before_a_fork_is_not_used() {
        let (mut transport, _peer) = connected(&PoolHealth::default());
        transport.process += 1;
        assert!(!transport.is_open());
    }

    #[test]
    fn after_a_loss_only_connections_that_lived_later_are_used() {
        let pool_health = PoolHealth::default();
        let (mut idle, _peer) = connected(&pool_health);
        let (mut busy, mut peer) = connected(&pool_health);
        pool_health.distrust_idle_connections();
        assert!(!idle.is_open() && !busy.is_open());
        peer.write_all(b"alive").unwrap();
        assert!(busy.await_input(within(Duration::from_secs(10))).unwrap());
        assert!(busy.is_open() && !idle.is_open());
    }

    #[test]
    fn after_a_stop_no_further_address_is_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let connector = TcpConnector {
            resolver: CachingResolver::new(Arc::new(crate::clock::SystemClock)),
            pool_health: PoolHealth::default(),
            abandoned: Arc::default(),
        };
        let stopped = StopToken::new();
        stopped.stop();
        let addresses = [listener.local_addr().unwrap(); 16];
        let timeout = within(Duration::from_secs(10));
        let outcome = stop::during(Some(&stopped), || connector.connect_to_any(&addresses, timeout));
        assert_eq!(outcome.unwrap_err().to_string(), "io: stopped");
        assert!(listener.accept().is_err(), "no connection was made");
    }

    #[test]
    fn a_response_to_a_request_that_broke_is_read() {
        let (mut transport, mut peer) = connected(&PoolHealth::default());
        peer.write_all(b"413").unwrap();
        transport.send_error = Some(ErrorKind::BrokenPipe.into());
        let timeout = within(Duration::from_secs(10));
        transport.transmit_output(10, timeout).unwrap();
        assert!(transport.await_input(timeout).unwrap());
        assert_eq!(transport.buffers().input(), b"413");
        assert!(!transport.is_open());
        drop(peer);
        let error = transport.await_input(timeout).unwrap_err();
        assert!(matches!(error, Error::Io(error) if error.kind() == ErrorKind::BrokenPipe));
    }

    #[test]
    fn sending_ends_at_the_deadline_if_the_server_does_not_read() {
        let (mut transport, _peer) = connected(&PoolHealth::default());
        let timeout = within(Duration::from_millis(50));
        let outcome = (0..1_000_000).find_map(|_| transport.transmit_output(1024, timeout).err());
        assert!(matches!(outcome, Some(Error::Timeout(_))), "{outcome:?}");
    }
}
