//! Makes exactly one attempt: sends a request, and returns what was received or what failed.
//!
//! This is the only file that sends requests with ureq; `config` and `request` use its types for URLs and headers. A call
//! is bounded by not waiting for ureq: the attempt runs on a worker, and its caller leaves when it is stopped or out of
//! time. Whoever leaves shuts the agent of the attempt down, which ends what it does on the network.

use std::io::{self, Read};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ureq::config::IpFamily;
use ureq::http::{self, HeaderValue, header};
use ureq::{Agent, Body, SendBody, Timeout};

use crate::config::builder::ClientBuilder;
use crate::config::settings::Config;
use crate::error::{Class, Error, ErrorKind, Result, sanitize};
use crate::http::clock::{DECADES, saturating_add};
use crate::http::response::Response;
use crate::http::stop::Stops;
use crate::http::worker::{self, MAX_IDLE_TIME, PerProcess, Worker};
use crate::sync::lock;

/// How many workers, each with its agent, are kept for further attempts.
const MAX_IDLE: usize = 16;

/// How many bytes of the body of an error response are kept.
const MAX_ERROR_BODY: u64 = 1 << 20;

/// A body that is longer is sent only after the server has agreed to read it, so that a refusal is received.
const MAX_UNANNOUNCED_BODY: usize = 1 << 20;

/// The server may close an idle connection at the moment at which a request is sent on it, and a submission cannot be
/// retried then. It therefore uses a connection only while that is unlikely.
const MAX_IDLE_TIME_FOR_SUBMISSIONS: Duration = Duration::from_secs(1);

/// How many attempts of a client may go on after their callers have left. A look-up cannot be interrupted.
const MAX_ABANDONED: usize = 64;

/// A connection is refused in this time. Later the same error may be about a connection that was established: the
/// first retransmission takes as long.
const MAX_REFUSAL_TIME: Duration = Duration::from_millis(200);

/// A caller that wakes up later than this was suspended, and its worker too.
const MAX_WAKE_UP_DELAY: Duration = Duration::from_millis(20);

/// The time that a worker gets for a response that arrived during a suspension.
const MAX_EXTENSION: Duration = Duration::from_millis(250);

/// Sends requests. Keeps workers and connections for the next ones.
pub(crate) struct Transport {
    config: ureq::config::Config,
    max_response_bytes: u64,
    /// The proxy, for errors.
    proxy: Option<String>,
    kept: PerProcess<Kept>,
}

#[derive(Default)]
struct Kept {
    /// With the time since which each has been idle. The last used one is at the end.
    idle: Mutex<Vec<(Route, Instant)>>,
    /// The attempts whose callers have left. Each is alive until its worker has ended it.
    abandoned: Mutex<Vec<Weak<Progress>>>,
}

/// A worker, and an agent with at most one connection.
type Route = (Worker, Agent);

/// What worker and caller tell each other about an attempt.
#[derive(Default)]
struct Progress(AtomicU8);

impl Progress {
    /// The request may be on its way: its body was asked for, or ureq got a request without a body.
    const ASKED: u8 = 1;
    /// The attempt has ended, or its caller has left. A request that was not asked for until then will never be sent.
    const ABANDONED: u8 = 2;

    /// Returns an error if the request must not be sent any more.
    fn ask(&self) -> io::Result<()> {
        match self.0.fetch_or(Self::ASKED, Ordering::SeqCst) & Self::ABANDONED {
            0 => Ok(()),
            _ => Err(io::Error::other("abandoned")),
        }
    }

    /// Ensures that the request is not asked for from now on. Returns whether it may have been sent.
    fn abandon(&self) -> bool {
        self.0.fetch_or(Self::ABANDONED, Ordering::SeqCst) & Self::ASKED != 0
    }
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let proxy = config.proxy.as_ref();
        let settings = &config.settings;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy.map(|proxy| proxy.proxy.clone()))
            .ip_family(if settings.ipv4_only { IpFamily::Ipv4Only } else { IpFamily::Any })
            .accept("application/json")
            .timeout_connect(Some(settings.connect_timeout.min(DECADES)))
            // The caller bounds the other phases. With a limit, ureq continues after an interruption by a signal.
            .timeout_per_read(Some(DECADES))
            .timeout_per_write(Some(DECADES))
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(MAX_IDLE_TIME);
        Ok(Transport {
            config: with_tls(agent, settings)?.build(),
            max_response_bytes: settings.max_response_bytes,
            proxy: proxy.map(|proxy| proxy.shown.clone()),
            kept: PerProcess::default(),
        })
    }

    /// Sends the request once and receives the whole response, whatever its status. No error shows one of the secrets.
    pub(crate) fn attempt(
        &self,
        request: http::Request<Vec<u8>>,
        secrets: Vec<String>,
        class: Class,
        within: Duration,
        stops: &Stops,
    ) -> Result<Response> {
        let kept = self.kept.get();
        if kept.abandoned() >= MAX_ABANDONED {
            return Err(here("too many attempts that were stopped or timed out have not ended yet"));
        }
        let idle = kept.take(class);
        let is_reused = idle.is_some();
        let (worker, agent) = idle.unzip();
        let agent = agent.unwrap_or_else(|| self.config.new_agent());
        let progress = Arc::<Progress>::default();
        let exchange = Exchange {
            agent: agent.clone(),
            is_reused,
            is_https: request.uri().scheme() == Some(&http::uri::Scheme::HTTPS),
            has_body: !request.body().is_empty(),
            max_response_bytes: self.max_response_bytes,
            proxy: self.proxy.clone(),
            secrets,
            progress: progress.clone(),
        };
        let (reply, replied) = mpsc::sync_channel(1);
        let caller = thread::current();
        let job = move || {
            let panicked = || Error::connection_lost("the attempt panicked", is_reused);
            let outcome = catch_unwind(AssertUnwindSafe(|| exchange.run(request)));
            // Sending fails if the caller has left.
            let _ = reply.send(outcome.unwrap_or_else(|_| Err(panicked())));
            caller.unpark();
        };
        let deadline = saturating_add(Instant::now(), within);
        let worker =
            worker::start(worker, job).map_err(|error| here(&format!("cannot start a thread: {error}")))?;
        match wait(|| replied.try_recv().ok(), deadline, stops) {
            Some(Ok(response)) => {
                kept.keep((worker, agent));
                Ok(response)
            }
            Some(Err(error)) => {
                if matches!(error.kind(), ErrorKind::ConnectionLost { .. }) {
                    self.distrust_idle_connections();
                }
                Err(error)
            }
            None => {
                // In this order: a request that is not on its way when the caller leaves must find the agent closed.
                agent.shutdown();
                let may_be_sent = progress.abandon();
                lock(&kept.abandoned).push(Arc::downgrade(&progress));
                if stops.is_stopped() {
                    return Err(Error::stopped(may_be_sent));
                }
                // The network may have failed silently, and all idle connections with it.
                self.distrust_idle_connections();
                Err(if may_be_sent {
                    Error::timeout()
                } else {
                    not_connected(&self.proxy, "no response", true)
                })
            }
        }
    }

    /// Ensures that the next requests use new connections.
    pub(crate) fn distrust_idle_connections(&self) {
        lock(&self.kept.get().idle).clear();
    }
}

/// Waits until the attempt has ended. A caller that was suspended past its deadline waits a little longer.
fn wait<T>(mut ready: impl FnMut() -> Option<T>, deadline: Instant, stops: &Stops) -> Option<T> {
    let ended = stops.wait(deadline, &mut ready);
    let late = Instant::now().saturating_duration_since(deadline);
    if ended.is_none() && late > MAX_WAKE_UP_DELAY {
        return stops.wait(Instant::now() + late.min(MAX_EXTENSION), ready);
    }
    ended
}

impl Kept {
    /// Returns how many attempts go on although their callers have left.
    fn abandoned(&self) -> usize {
        let mut abandoned = lock(&self.abandoned);
        abandoned.retain(|attempt| attempt.strong_count() > 0);
        abandoned.len()
    }

    fn take(&self, class: Class) -> Option<Route> {
        let max_idle = if class == Class::Submission { MAX_IDLE_TIME_FOR_SUBMISSIONS } else { MAX_IDLE_TIME };
        let mut idle = lock(&self.idle);
        idle.retain(|(_, since)| since.elapsed() < MAX_IDLE_TIME);
        let is_fresh = idle.last().is_some_and(|(_, since)| since.elapsed() < max_idle);
        idle.pop().filter(|_| is_fresh).map(|(route, _)| route)
    }

    fn keep(&self, route: Route) {
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push((route, Instant::now()));
        }
    }
}

/// An attempt, as its worker sees it.
struct Exchange {
    agent: Agent,
    is_reused: bool,
    is_https: bool,
    has_body: bool,
    max_response_bytes: u64,
    proxy: Option<String>,
    secrets: Vec<String>,
    progress: Arc<Progress>,
}

impl Exchange {
    fn run(mut self, request: http::Request<Vec<u8>>) -> Result<Response> {
        let mut received = self.send(request)?;
        let secrets = mem::take(&mut self.secrets);
        let mut response = Response::received(received.status(), received.headers(), secrets);
        let is_success = response.is_success();
        let limit = if is_success { self.max_response_bytes } else { MAX_ERROR_BODY };
        match read(received.body_mut(), limit, &mut response.body) {
            Err(error) if is_success => Err(self.failed(&error).with_request_id(response.request_id())),
            // Of the body of an error response that is longer or broken, the beginning is kept.
            _ => Ok(response),
        }
    }

    /// Sends the request and receives the head of the response.
    fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Body>> {
        let asked = Instant::now();
        let (mut head, body) = request.into_parts();
        let length = body.len();
        let needs_length = self.has_body || ["POST", "PUT", "PATCH"].contains(&head.method.as_str());
        // ureq cannot determine the length of a reader, and without one it sends a body in chunks, even an empty one.
        if needs_length {
            head.headers.insert(header::CONTENT_LENGTH, length.into());
        }
        if length > MAX_UNANNOUNCED_BODY {
            head.headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        // The reader knows whether the body was asked for, and therefore whether the server can have acted. Without a
        // body, the request counts as sent when ureq gets it.
        if !self.has_body {
            self.progress.ask().map_err(|error| here(&error.to_string()))?;
        }
        let body = Handout { body: io::Cursor::new(body), progress: self.progress.clone() };
        let body = if needs_length { SendBody::from_owned_reader(body) } else { SendBody::none() };
        self.agent.run(http::Request::from_parts(head, body)).map_err(|error| {
            let unsent = || self.find_unsent(&error, asked.elapsed());
            match self.has_body {
                true if self.progress.abandon() => self.failed(&error),
                true => unsent().unwrap_or_else(|| not_connected(&self.proxy, &text_of(&error), false)),
                false => unsent().unwrap_or_else(|| self.failed(&error)),
            }
        })
    }

    /// Describes a failure of a request that may have been sent.
    fn failed(&self, error: &ureq::Error) -> Error {
        let text = text_of(error);
        match error {
            ureq::Error::BodyExceedsLimit(limit) => Error::too_large(*limit),
            ureq::Error::Timeout(_) => Error::timeout(),
            ureq::Error::Io(_) => Error::connection_lost(&text, self.is_reused),
            error if cut_short(error).is_some() => Error::connection_lost(&text, self.is_reused),
            _ => Error::bad_response(format!("the response is not valid HTTP: {text}")),
        }
    }

    /// Describes which step before the request was sent has failed, if the error shows it.
    fn find_unsent(&self, error: &ureq::Error, elapsed: Duration) -> Option<Error> {
        use io::ErrorKind::*;
        let text = text_of(error);
        let network = || Some(not_connected(&self.proxy, &text, false));
        let tls = || Some(Error::tls(&with_proxy(&self.proxy, &text)));
        let error = match error {
            ureq::Error::Io(error) => error,
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_) => {
                return network();
            }
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                return Some(not_connected(&self.proxy, "no response", true));
            }
            ureq::Error::Tls(_) | ureq::Error::TlsRequired => return tls(),
            #[cfg(feature = "rustls")]
            ureq::Error::Rustls(_) => return tls(),
            #[cfg(feature = "native-tls")]
            ureq::Error::NativeTls(_) | ureq::Error::Der(_) => return tls(),
            _ => return None,
        };
        match (error.kind(), error.raw_os_error()) {
            // No thread, no port, and no file descriptor (ENFILE, EMFILE, WSAEMFILE).
            (WouldBlock | AddrNotAvailable, _) | (_, Some(23 | 24 | 10024)) => Some(here(&text)),
            // rustls reports a certificate that it does not trust in this way.
            (InvalidData, _) if self.is_https && !self.is_reused => tls(),
            (ConnectionRefused | HostUnreachable | NetworkUnreachable | NetworkDown, _)
                if elapsed < MAX_REFUSAL_TIME =>
            {
                network()
            }
            (
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe | WriteZero | NotConnected
                | TimedOut | Interrupted | InvalidData | InvalidInput | Other,
                _,
            ) => None,
            // A failed look-up: its kind is none of those above, because it has no stable name, and it is not an error of
            // a socket. Windows has codes for it.
            (_, None | Some(11001..=11004)) => network(),
            _ => None,
        }
    }
}

/// Describes a failure on this machine, before anything was sent.
fn here(reason: &str) -> Error {
    Error::not_connected(reason, false, false)
}

fn not_connected(proxy: &Option<String>, reason: &str, is_timeout: bool) -> Error {
    Error::not_connected(&with_proxy(proxy, reason), is_timeout, proxy.is_none())
}

fn with_proxy(proxy: &Option<String>, reason: &str) -> String {
    match proxy {
        Some(proxy) => format!("the proxy {proxy}: {reason}"),
        None => reason.to_owned(),
    }
}

/// Returns the text of an error, without the prefix that ureq adds to one of the connection.
fn text_of(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => sanitize(&error.to_string(), 120),
        error => sanitize(&error.to_string(), 120),
    }
}

/// Hands the body out, and nothing of it once the caller has left.
struct Handout {
    body: io::Cursor<Vec<u8>>,
    progress: Arc<Progress>,
}

impl Read for Handout {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.progress.ask()?;
        self.body.read(buffer)
    }
}

/// Reads the body, up to a limit.
fn read(received: &mut Body, limit: u64, body: &mut Vec<u8>) -> Result<(), ureq::Error> {
    // The length is what the server says, so it is not trusted with much memory.
    let length = received.content_length().unwrap_or(0).min(limit).min(1 << 20);
    body.reserve_exact(usize::try_from(length).unwrap_or(0));
    let mut reader = received.with_config().limit(limit).reader();
    match reader.read_to_end(body).map_err(ureq::Error::from) {
        // A body of no bytes that is said to be compressed. An error of the connection would have an inner error.
        Err(error) if body.is_empty() && cut_short(&error).is_some_and(|end| end.get_ref().is_none()) => {
            Ok(())
        }
        outcome => outcome.map(drop),
    }
}

/// Returns the error of a compressed body that ends early.
fn cut_short(error: &ureq::Error) -> Option<&io::Error> {
    match error {
        #[cfg(feature = "gzip")]
        ureq::Error::Decompress(_, error) if error.kind() == io::ErrorKind::UnexpectedEof => Some(error),
        _ => None,
    }
}

type AgentConfig = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

#[cfg(not(any(feature = "rustls", feature = "native-tls")))]
fn with_tls(config: AgentConfig, _: &ClientBuilder) -> Result<AgentConfig> {
    Ok(config)
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
fn with_tls(config: AgentConfig, settings: &ClientBuilder) -> Result<AgentConfig> {
    use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

    // ureq panics if the provider that is set here is not part of the build.
    let provider = if cfg!(feature = "rustls") { TlsProvider::Rustls } else { TlsProvider::NativeTls };
    let roots = match &settings.root_certificates {
        Some(pem) => {
            let items: Vec<PemItem<'_>> = parse_pem(pem).collect::<Result<_, _>>().unwrap_or_default();
            let certificates = items.into_iter().filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            });
            RootCerts::Specific(Arc::new(certificates.collect()))
        }
        None if settings.platform_certificates => RootCerts::PlatformVerifier,
        None => RootCerts::WebPki,
    };
    if matches!(&roots, RootCerts::Specific(certificates) if certificates.is_empty()) {
        return Err(Error::input("root_certificates: expected certificates in PEM format"));
    }
    Ok(config.tls_config(TlsConfig::builder().provider(provider).root_certs(roots).build()))
}
