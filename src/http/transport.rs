//! Makes exactly one attempt: sends a request, and returns what was received or what failed.
//!
//! This is the only file that sends requests with ureq; `config` and `request` use its types for URLs and headers. A call
//! is bounded by not waiting for ureq: the attempt runs on a worker, and its caller leaves when it is stopped or out of
//! time. Whoever leaves shuts the agent of the attempt down, which ends what it does on the network.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use ureq::config::IpFamily;
use ureq::http::{self, HeaderName, HeaderValue, header};
use ureq::{Agent, Body, SendBody, Timeout};

use crate::config::settings::{ApiKey, Config, Settings};
use crate::error::{Class, Error, ErrorKind, Result, sanitize};
use crate::http::clock::{DECADES, saturating_add};
use crate::http::message::Secrets;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::stop::{Stops, Waited};
use crate::http::worker::{MAX_IDLE, MAX_IDLE_TIME, Panicked, PerProcess, Workers};
use crate::sync::lock;

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
    headers: Vec<(HeaderName, HeaderValue)>,
    kept: PerProcess<Kept>,
}

#[derive(Default)]
struct Kept {
    workers: Workers<Result<Response, Failure>>,
    /// Each has at most one connection. With the time since which it has been idle; the last used one is at the end.
    agents: Mutex<Vec<(Agent, Instant)>>,
    /// The attempts whose callers have left. Each is alive until its worker has ended it.
    abandoned: Mutex<Vec<Weak<Progress>>>,
}

/// What worker and caller tell each other about an attempt.
#[derive(Default)]
struct Progress(AtomicU8);

impl Progress {
    /// The request may be on its way: its body was asked for, or ureq got a request without a body.
    const ASKED: u8 = 1;
    /// The caller has left. A request that was not asked for until then will never be sent.
    const ABANDONED: u8 = 2;

    /// Returns an error if the request must not be sent any more.
    fn ask(&self) -> io::Result<()> {
        match self.0.fetch_or(Self::ASKED, Ordering::SeqCst) & Self::ABANDONED {
            0 => Ok(()),
            _ => Err(io::Error::other("abandoned")),
        }
    }

    /// Returns whether the request may have been sent.
    fn abandon(&self) -> bool {
        self.0.fetch_or(Self::ABANDONED, Ordering::SeqCst) & Self::ASKED != 0
    }

    fn may_be_sent(&self) -> bool {
        self.0.load(Ordering::SeqCst) & Self::ASKED != 0
    }
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let proxy = config.proxy.as_ref().map(|proxy| {
            let cannot = |error| Error::input(format!("the proxy {} cannot be used: {error}", proxy.shown));
            ureq::Proxy::new(&proxy.url).map_err(cannot)
        });
        let settings = &config.settings;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy.transpose()?)
            .ip_family(if settings.ipv4_only { IpFamily::Ipv4Only } else { IpFamily::Any })
            .user_agent(&settings.user_agent)
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
            proxy: config.proxy.as_ref().map(|proxy| proxy.shown.clone()),
            headers: config.headers.clone(),
            kept: PerProcess::default(),
        })
    }

    /// Sends the request once and receives the whole response, whatever its status. Takes the body of the request.
    pub(crate) fn attempt(
        &self,
        request: &mut Request,
        url: &str,
        api_key: ApiKey,
        class: Class,
        within: Duration,
        stops: &Stops,
    ) -> Result<Response> {
        let kept = self.kept.get();
        if kept.abandoned() >= MAX_ABANDONED {
            return Err(here("too many attempts that were stopped or timed out have not ended yet"));
        }
        let unsendable = |error: http::Error| Error::input(error.to_string());
        let head = self.head(request, url, &api_key).map_err(unsendable)?;
        let idle = kept.take_agent(class);
        let is_reused = idle.is_some();
        let agent = idle.unwrap_or_else(|| self.config.new_agent());
        let progress = Arc::<Progress>::default();
        let exchange = Exchange {
            agent: agent.clone(),
            is_new_tls: !is_reused && head.uri().scheme() == Some(&http::uri::Scheme::HTTPS),
            head,
            body: request.body.take().filter(|body| !body.is_empty()),
            max_response_bytes: self.max_response_bytes,
            secrets: api_key.secrets,
            progress: progress.clone(),
        };
        let deadline = saturating_add(Instant::now(), within);
        let started = kept.workers.start(|| exchange.run());
        let pending = started.map_err(|error| here(&format!("cannot start a thread: {error}")))?;
        let panicked = || {
            let setup = if progress.may_be_sent() { None } else { Some(Setup::Machine) };
            Failure { error: io::Error::other("a panic").into(), setup, request_id: None }
        };
        let ready = || pending.take().map(|ended| ended.unwrap_or_else(|Panicked| Err(panicked())));
        match wait(ready, deadline, stops) {
            Waited::Ready(Ok(response)) => {
                kept.keep_agent(agent);
                Ok(response)
            }
            Waited::Ready(Err(failure)) => {
                let error = self.explain(&failure, is_reused);
                if matches!(error.kind(), ErrorKind::ConnectionLost { .. }) {
                    kept.drop_agents();
                }
                Err(error.with_request_id(failure.request_id))
            }
            left => {
                // In this order: a request that is not on its way when the caller leaves must find the agent closed.
                agent.shutdown();
                let may_be_sent = progress.abandon();
                lock(&kept.abandoned).push(Arc::downgrade(&progress));
                if matches!(left, Waited::Stopped) {
                    return Err(Error::stopped(may_be_sent));
                }
                // The network may have failed silently, and all idle connections with it.
                kept.drop_agents();
                Err(if may_be_sent { Error::timeout() } else { self.not_connected("no response", true) })
            }
        }
    }

    /// Ensures that the next requests use new connections.
    pub(crate) fn distrust_idle_connections(&self) {
        self.kept.get().drop_agents();
    }

    fn head(&self, request: &Request, url: &str, api_key: &ApiKey) -> http::Result<http::Request<()>> {
        let mut head = http::Request::builder().method(request.method.as_str()).uri(url).body(())?;
        let headers = head.headers_mut();
        // Each header replaces an earlier one with the same name.
        for (name, value) in self.headers.iter().chain([&api_key.header]) {
            headers.insert(name, value.clone());
        }
        for (name, value) in &request.headers {
            headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        // ureq cannot determine the length of a reader, and without one it sends a body in chunks, even an empty one.
        let length = request.body.as_ref().map_or(0, Vec::len);
        if length > 0 || ["POST", "PUT", "PATCH"].contains(&request.method.as_str()) {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        if length > MAX_UNANNOUNCED_BODY {
            headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        Ok(head)
    }

    /// Describes a failure by what is known of where it happened.
    fn explain(&self, failure: &Failure, is_reused: bool) -> Error {
        let text = match &failure.error {
            ureq::Error::Io(error) => sanitize(&error.to_string(), 120),
            error => sanitize(&error.to_string(), 120),
        };
        match (failure.setup, &failure.error) {
            (Some(Setup::Machine), _) => here(&text),
            (Some(Setup::Tls), _) => Error::tls(&self.with_proxy(&text)),
            (Some(Setup::Network), ureq::Error::Timeout(_)) => self.not_connected("no response", true),
            (Some(Setup::Network), _) => self.not_connected(&text, false),
            (None, ureq::Error::BodyExceedsLimit(limit)) => Error::too_large(*limit),
            (None, ureq::Error::Timeout(_)) => Error::timeout(),
            (None, error) if matches!(error, ureq::Error::Io(_)) || cut_short(error).is_some() => {
                Error::connection_lost(&text, is_reused)
            }
            (None, _) => Error::bad_response(format!("the response is not valid HTTP: {text}")),
        }
    }

    fn not_connected(&self, reason: &str, is_timeout: bool) -> Error {
        Error::not_connected(&self.with_proxy(reason), is_timeout, self.proxy.is_none())
    }

    fn with_proxy(&self, reason: &str) -> String {
        match &self.proxy {
            Some(proxy) => format!("the proxy {proxy}: {reason}"),
            None => reason.to_owned(),
        }
    }
}

/// Waits until the attempt has ended. A caller that was suspended past its deadline waits a little longer.
fn wait<T>(mut ready: impl FnMut() -> Option<T>, deadline: Instant, stops: &Stops) -> Waited<T> {
    let waited = stops.wait(deadline, &mut ready);
    let late = Instant::now().saturating_duration_since(deadline);
    if matches!(waited, Waited::TimedOut) && late > MAX_WAKE_UP_DELAY {
        return stops.wait(Instant::now() + late.min(MAX_EXTENSION), ready);
    }
    waited
}

impl Kept {
    /// Returns how many attempts go on although their callers have left.
    fn abandoned(&self) -> usize {
        let mut abandoned = lock(&self.abandoned);
        abandoned.retain(|attempt| attempt.strong_count() > 0);
        abandoned.len()
    }

    fn take_agent(&self, class: Class) -> Option<Agent> {
        let max_idle = if class == Class::Submission { MAX_IDLE_TIME_FOR_SUBMISSIONS } else { MAX_IDLE_TIME };
        let mut agents = lock(&self.agents);
        agents.retain(|(_, since)| since.elapsed() < MAX_IDLE_TIME);
        match agents.last() {
            Some((_, since)) if since.elapsed() < max_idle => agents.pop().map(|(agent, _)| agent),
            _ => None,
        }
    }

    fn keep_agent(&self, agent: Agent) {
        let mut agents = lock(&self.agents);
        if agents.len() < MAX_IDLE {
            agents.push((agent, Instant::now()));
        }
    }

    fn drop_agents(&self) {
        lock(&self.agents).clear();
    }
}

/// An attempt, as its worker sees it.
struct Exchange {
    agent: Agent,
    is_new_tls: bool,
    head: http::Request<()>,
    body: Option<Vec<u8>>,
    max_response_bytes: u64,
    secrets: Secrets,
    progress: Arc<Progress>,
}

/// Why an attempt has no response, as its worker sees it.
struct Failure {
    error: ureq::Error,
    /// What failed before the request was sent. `None` if it may have been sent.
    setup: Option<Setup>,
    request_id: Option<String>,
}

#[derive(Clone, Copy)]
enum Setup {
    /// This machine has no thread, port or file descriptor left.
    Machine,
    Tls,
    Network,
}

impl Exchange {
    fn run(mut self) -> Result<Response, Failure> {
        let has_response_body = self.head.method() != http::Method::HEAD;
        let mut received = self.send()?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut response = Response::new(received.status().as_u16(), []).hiding(self.secrets);
        let headers = received.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
        response.headers.extend(headers);
        // A header may nevertheless say that the body is compressed.
        if !has_response_body || matches!(response.status, 204 | 205 | 304) {
            return Ok(response);
        }
        let is_success = response.is_success();
        let limit = if is_success { self.max_response_bytes } else { MAX_ERROR_BODY };
        match read(&mut received, limit, &mut response.body) {
            Err(error) if is_success => {
                Err(Failure { error, setup: None, request_id: response.request_id() })
            }
            // Of the body of an error response that is longer or broken, the beginning is kept.
            _ => Ok(response),
        }
    }

    /// Sends the request and receives the head of the response.
    fn send(&mut self) -> Result<http::Response<Body>, Failure> {
        let asked = Instant::now();
        let head = std::mem::take(&mut self.head);
        let progress = self.progress.clone();
        let (has_body, body) = match self.body.take() {
            // The reader knows whether the body was asked for, and therefore whether the server can have acted.
            Some(body) => {
                let handout = Handout { body: io::Cursor::new(body), progress };
                (true, SendBody::from_owned_reader(handout))
            }
            // Without a body, the request counts as sent when ureq gets it.
            None => {
                let unsent = |error: io::Error| Failure {
                    error: error.into(),
                    setup: Some(Setup::Machine),
                    request_id: None,
                };
                progress.ask().map_err(unsent)?;
                let has_length = head.headers().contains_key(header::CONTENT_LENGTH);
                (false, if has_length { SendBody::from_owned_reader(io::empty()) } else { SendBody::none() })
            }
        };
        self.agent.run(head.map(|()| body)).map_err(|error| {
            let setup = find_setup(&error, self.is_new_tls, asked.elapsed());
            let setup = match has_body {
                true if self.progress.may_be_sent() => None,
                true => setup.or(Some(Setup::Network)),
                false => setup,
            };
            Failure { error, setup, request_id: None }
        })
    }
}

/// Describes a failure on this machine, before anything was sent.
fn here(reason: &str) -> Error {
    Error::not_connected(reason, false, false)
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
fn read(response: &mut http::Response<Body>, limit: u64, body: &mut Vec<u8>) -> Result<(), ureq::Error> {
    // The length is what the server says, so it is not trusted with much memory.
    let length = response.body().content_length().unwrap_or(0).min(limit).min(1 << 20);
    body.reserve_exact(usize::try_from(length).unwrap_or(0));
    let mut reader = response.body_mut().with_config().limit(limit).reader();
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

/// Returns what an error shows to have failed before a request without a body was sent.
fn find_setup(error: &ureq::Error, is_new_tls: bool, elapsed: Duration) -> Option<Setup> {
    use io::ErrorKind::*;
    let error = match error {
        ureq::Error::Io(error) => error,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => {
            return Some(Setup::Network);
        }
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => return Some(Setup::Network),
        ureq::Error::Tls(_) | ureq::Error::TlsRequired => return Some(Setup::Tls),
        #[cfg(feature = "rustls")]
        ureq::Error::Rustls(_) => return Some(Setup::Tls),
        #[cfg(feature = "native-tls")]
        ureq::Error::NativeTls(_) | ureq::Error::Der(_) => return Some(Setup::Tls),
        _ => return None,
    };
    match (error.kind(), error.raw_os_error()) {
        // No thread, no port, and no file descriptor (ENFILE, EMFILE, WSAEMFILE).
        (WouldBlock | AddrNotAvailable, _) | (_, Some(23 | 24 | 10024)) => Some(Setup::Machine),
        // rustls reports a certificate that it does not trust in this way.
        (InvalidData, _) if is_new_tls => Some(Setup::Tls),
        (ConnectionRefused | HostUnreachable | NetworkUnreachable | NetworkDown, _)
            if elapsed < MAX_REFUSAL_TIME =>
        {
            Some(Setup::Network)
        }
        (
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe | WriteZero | NotConnected
            | TimedOut | Interrupted | InvalidData | InvalidInput | Other,
            _,
        ) => None,
        // A failed look-up: its kind has no stable name, and it is no error of a socket. Windows has codes for it.
        (_, None | Some(11001..=11004)) => Some(Setup::Network),
        _ => None,
    }
}

type AgentConfig = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

#[cfg(not(any(feature = "rustls", feature = "native-tls")))]
fn with_tls(config: AgentConfig, _: &Settings) -> Result<AgentConfig> {
    Ok(config)
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
fn with_tls(config: AgentConfig, settings: &Settings) -> Result<AgentConfig> {
    use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

    // ureq panics if the provider that is set here is not part of the build.
    let provider = if cfg!(feature = "rustls") { TlsProvider::Rustls } else { TlsProvider::NativeTls };
    let roots = match &settings.root_certificates {
        Some(pem) => {
            let certificates = parse_pem(pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            });
            match certificates.collect::<Result<Vec<_>, _>>() {
                Ok(certificates) if !certificates.is_empty() => RootCerts::Specific(Arc::new(certificates)),
                _ => return Err(Error::input("root_certificates: expected certificates in PEM format")),
            }
        }
        None if settings.platform_certificates => RootCerts::PlatformVerifier,
        None => RootCerts::WebPki,
    };
    Ok(config.tls_config(TlsConfig::builder().provider(provider).root_certs(roots).build()))
}
