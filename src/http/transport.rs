//! Makes exactly one attempt: sends a request, and returns what was received or what failed.
//!
//! This is the only file that sends requests with ureq; others use its types, such as those of headers. A call is
//! bounded by not waiting for ureq: the attempt runs on a worker, and its caller leaves when it is stopped or out of time.
//! Whoever leaves shuts the agent of the attempt down, which ends what it does on the network.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ureq::config::IpFamily;
use ureq::http::{self, HeaderValue, header};
use ureq::{Agent, Body, SendBody, Timeout};

use crate::config::settings::Config;
use crate::error::{Class, Effect, Error, ErrorKind, Result, sanitize};
use crate::http::clock::{DECADES, saturating_add};
use crate::http::message::secrets;
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
/// first retransmission takes as long. Windows tries again for two seconds, and has another error for such a connection.
const MAX_REFUSAL_TIME: Duration = Duration::from_millis(if cfg!(windows) { 5000 } else { 200 });

/// The time that a worker gets for a response that arrived during a suspension.
const MAX_EXTENSION: Duration = Duration::from_millis(250);

/// Sends requests. Keeps workers and connections for the next ones.
pub(crate) struct Transport {
    config: ureq::config::Config,
    max_response_bytes: u64,
    /// What the reason of a failure to connect begins with: nothing, or the proxy.
    via: String,
    kept: PerProcess<Kept>,
}

/// What a process keeps between attempts.
#[derive(Default)]
struct Kept {
    /// With the time since which each has been idle. The last used one is at the end.
    idle: Mutex<Vec<(Route, Instant)>>,
    /// The attempts whose callers have left. Each is alive until its worker has ended it.
    abandoned: Mutex<Vec<Weak<Progress>>>,
}

/// A worker, and an agent with at most one connection.
type Route = (Worker, Agent);

/// A response and what ended its body early, or why there is none.
type Received = Result<(Response, Result<(), ureq::Error>), ureq::Error>;

/// What worker and caller tell each other about an attempt.
#[derive(Default)]
struct Progress(AtomicU8);

impl Progress {
    /// Sending may have begun: ureq has read from the body, or has received a request without a body.
    const BEGUN: u8 = 1;
    /// The attempt has ended, or its caller has left. A request whose sending has not begun by then will never be sent.
    const ABANDONED: u8 = 2;

    /// Records that sending begins. Returns an error if the caller has left, because then nothing may be sent.
    fn begin_sending(&self) -> io::Result<()> {
        match self.0.fetch_or(Self::BEGUN, Ordering::SeqCst) & Self::ABANDONED {
            0 => Ok(()),
            _ => Err(io::Error::other("abandoned")),
        }
    }

    /// Ensures that sending does not begin from now on. Returns whether the request may have been sent.
    fn abandon(&self) -> bool {
        self.0.fetch_or(Self::ABANDONED, Ordering::SeqCst) & Self::BEGUN != 0
    }
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let proxy = config.proxy.as_ref();
        let settings = &config.settings;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
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
        #[cfg(any(feature = "rustls", feature = "native-tls"))]
        let agent = agent.tls_config(tls(settings)?);
        Ok(Transport {
            config: agent.build(),
            max_response_bytes: settings.max_response_bytes,
            via: proxy.map_or(String::new(), |proxy| format!("the proxy {}: ", proxy.shown)),
            kept: PerProcess::default(),
        })
    }

    /// Sends the request once and receives the whole response, whatever its status. No error shows one of the secrets.
    pub(crate) fn attempt(
        &self,
        request: http::Request<Vec<u8>>,
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
        let (reply, replied) = mpsc::sync_channel(1);
        let has_body = !request.body().is_empty();
        let (used, watched, limit) = (agent.clone(), progress.clone(), self.max_response_bytes);
        let caller = thread::current();
        let job = move || {
            let began = Instant::now();
            let received = exchange(&used, request, limit, watched);
            // Sending fails if the caller has left.
            let _ = reply.send((received, began.elapsed()));
            caller.unpark();
        };
        let deadline = saturating_add(Instant::now(), within);
        let worker =
            worker::start(worker, job).map_err(|error| here(&format!("cannot start a thread: {error}")))?;
        let mut ready = || replied.try_recv().ok();
        let received = stops.wait(deadline, &mut ready);
        // A caller that wakes up late was suspended, and its worker too. A response that arrived meanwhile counts.
        let late = Instant::now().saturating_duration_since(deadline).min(MAX_EXTENSION);
        let received = received.or_else(|| stops.wait(Instant::now() + late, ready));
        let (received, took) = received.unwrap_or((Err(ureq::Error::Timeout(Timeout::Global)), within));
        let error = match received {
            Ok((response, Err(error))) if response.is_success() => {
                failed(&error, is_reused).with_request_id(response.request_id())
            }
            // Of the body of an error response that is longer or broken, the beginning is kept.
            Ok((response, _)) => {
                kept.keep((worker, agent));
                return Ok(response);
            }
            Err(error) => {
                // In this order: a request that is not on its way when the caller leaves must find the agent closed.
                agent.shutdown();
                let (may_be_sent, attempt) = (progress.abandon(), Arc::downgrade(&progress));
                drop(progress);
                lock(&kept.abandoned).push(attempt);
                if stops.is_stopped() {
                    return Err(Error::stopped(may_be_sent));
                }
                match self.find_unsent(&error, took, has_body) {
                    Some(unsent) if !(has_body && may_be_sent) => unsent,
                    _ if may_be_sent => failed(&error, is_reused),
                    _ => self.not_connected(&error),
                }
            }
        };
        // The network may have failed silently, and all idle connections with it.
        if error.is_timeout() || matches!(error.kind(), ErrorKind::ConnectionLost { .. }) {
            self.distrust_idle_connections();
        }
        Err(error)
    }

    /// Ensures that the next requests use new connections.
    pub(crate) fn distrust_idle_connections(&self) {
        lock(&self.kept.get().idle).clear();
    }

    /// Describes which step before the request was sent has failed, if the error shows it.
    fn find_unsent(&self, error: &ureq::Error, took: Duration, has_body: bool) -> Option<Error> {
        use io::ErrorKind::*;
        let tls = |effect| Some(Error::tls(&format!("{}{}", self.via, text_of(error)), effect));
        let io = match error {
            ureq::Error::Io(io) => io,
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                return Some(self.not_connected(error));
            }
            ureq::Error::Tls(_) | ureq::Error::TlsRequired => return tls(Effect::Unsent),
            #[cfg(feature = "rustls")]
            ureq::Error::Rustls(_) => return tls(Effect::Unsent),
            #[cfg(feature = "native-tls")]
            ureq::Error::NativeTls(_) | ureq::Error::Der(_) => return tls(Effect::Unsent),
            _ => return None,
        };
        match (io.kind(), io.raw_os_error()) {
            // No thread, no port, and no file descriptor (ENFILE, EMFILE, WSAEMFILE).
            (WouldBlock | AddrNotAvailable, _) | (_, Some(23 | 24 | 10024)) => Some(here(&text_of(error))),
            // rustls reports a certificate that it does not trust in this way, and later anything else that is wrong. Only
            // a body that was not asked for shows which of the two it was.
            (InvalidData, _) => tls(if has_body { Effect::Unsent } else { Effect::Possible }),
            (ConnectionRefused | HostUnreachable | NetworkUnreachable | NetworkDown, _) => {
                (took < MAX_REFUSAL_TIME).then(|| self.not_connected(error))
            }
            // A failed look-up has the kind that the standard library leaves unnamed, and is not an error of a socket, so
            // it has no code. Windows has codes for it.
            (kind, None | Some(11001..=11004)) if kind == io::Error::from_raw_os_error(i32::MAX).kind() => {
                Some(self.not_connected(error))
            }
            _ => None,
        }
    }

    fn not_connected(&self, error: &ureq::Error) -> Error {
        let is_timeout = matches!(error, ureq::Error::Timeout(_));
        let reason = if is_timeout { "no response".to_owned() } else { text_of(error) };
        Error::not_connected(&format!("{}{reason}", self.via), is_timeout, self.via.is_empty())
    }
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
        idle.pop().filter(|(_, since)| since.elapsed() < max_idle).map(|(route, _)| route)
    }

    fn keep(&self, route: Route) {
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push((route, Instant::now()));
        }
    }
}

/// Sends the request, and receives the response as far as possible. Also returns what ended its body early.
fn exchange(agent: &Agent, request: http::Request<Vec<u8>>, limit: u64, progress: Arc<Progress>) -> Received {
    let (mut head, body) = request.into_parts();
    let secrets = secrets(&head.headers);
    let length = body.len();
    let needs_length = length > 0 || ["POST", "PUT", "PATCH"].contains(&head.method.as_str());
    // ureq cannot determine the length of a reader, and without one it sends a body in chunks, even an empty one.
    if needs_length {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if length > MAX_UNANNOUNCED_BODY {
        head.headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    // The reader knows whether the body was asked for, and therefore whether the server can have acted. Without a
    // body, the request counts as sent when ureq gets it.
    if length == 0 {
        progress.begin_sending()?;
    }
    let body = RequestBody { body: io::Cursor::new(body), progress };
    let body = if needs_length { SendBody::from_owned_reader(body) } else { SendBody::none() };
    let mut received = agent.run(http::Request::from_parts(head, body))?;
    let mut response = Response::received(received.status(), received.headers(), secrets);
    let limit = if response.is_success() { limit } else { MAX_ERROR_BODY };
    let outcome = read(received.body_mut(), limit, &mut response.body);
    Ok((response, outcome))
}

/// Describes a failure of a request that may have been sent.
fn failed(error: &ureq::Error, is_reused: bool) -> Error {
    let text = text_of(error);
    match error {
        ureq::Error::BodyExceedsLimit(limit) => Error::too_large(*limit),
        ureq::Error::Timeout(_) => Error::timeout(),
        ureq::Error::Io(_) => Error::connection_lost(&text, is_reused),
        #[cfg(feature = "gzip")]
        ureq::Error::Decompress(_, end) if end.kind() == io::ErrorKind::UnexpectedEof => {
            Error::connection_lost(&text, is_reused)
        }
        _ => Error::bad_response(format!("the response is not valid HTTP: {text}")),
    }
}

/// Describes a failure on this machine, before anything was sent.
fn here(reason: &str) -> Error {
    Error::not_connected(reason, false, false)
}

/// Returns the text of an error, without the prefix that ureq adds to one of the connection.
fn text_of(error: &ureq::Error) -> String {
    sanitize(error.to_string().trim_start_matches("io: "), 120)
}

/// The body of a request. Reading from it fails once the caller has left.
struct RequestBody {
    body: io::Cursor<Vec<u8>>,
    progress: Arc<Progress>,
}

impl Read for RequestBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.progress.begin_sending()?;
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
        #[cfg(feature = "gzip")]
        Err(ureq::Error::Decompress(_, end))
            if body.is_empty() && end.kind() == io::ErrorKind::UnexpectedEof && end.get_ref().is_none() =>
        {
            Ok(())
        }
        outcome => outcome.map(drop),
    }
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
fn tls(settings: &crate::config::builder::ClientBuilder) -> Result<ureq::tls::TlsConfig> {
    use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

    // ureq panics if the provider that is set here is not part of the build.
    let provider = if cfg!(feature = "rustls") { TlsProvider::Rustls } else { TlsProvider::NativeTls };
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let roots = match &settings.root_certificates {
        Some(pem) => RootCerts::from(parse_pem(pem).filter_map(certificate)),
        None if settings.platform_certificates => RootCerts::PlatformVerifier,
        None => RootCerts::WebPki,
    };
    if matches!(&roots, RootCerts::Specific(certificates) if certificates.is_empty()) {
        return Err(Error::input("root_certificates: expected certificates in PEM format"));
    }
    Ok(TlsConfig::builder().provider(provider).root_certs(roots).build())
}
