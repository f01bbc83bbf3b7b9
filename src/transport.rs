//! Makes exactly one attempt: sends a request, and returns what was received or what failed.
//!
//! This is the only file that sends requests with ureq. `stock` extends it, and `config` and `raw` use its types for
//! URLs and headers.

// `AttemptError` is large, but it is short-lived.
#![allow(clippy::result_large_err)]

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::{self, HeaderName, HeaderValue};
use ureq::{Agent, AsSendBody, Body, Timeout};

use crate::clock::DECADES;
use crate::config::{ApiKey, Config, Proxy, Settings};
use crate::error::{Error, ErrorKind, Idempotency, Result, sanitize};
use crate::not_connected::NotConnected;
use crate::raw::{RawRequest, RawResponse};
use crate::stock::{self, PoolHealth};
use crate::stop::{self, StopToken};

/// How many bytes of the body of an error response are kept.
const MAX_ERROR_BODY: u64 = 1 << 20;

/// This is longer than the pauses of a wait, so that its polls share a connection.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// The server may close an idle connection at the moment at which a request is sent on it, and a submission cannot be
/// retried then. It therefore uses a connection only while that is unlikely.
const MAX_IDLE_FOR_SUBMISSIONS: Duration = Duration::from_secs(5);

/// Methods for many jobs send several requests at a time.
const MAX_IDLE_CONNECTIONS: usize = 16;

/// A connection pool and its settings.
#[derive(Clone)]
pub(crate) struct Transport {
    agent: Agent,
    pool_health: PoolHealth,
    attempt: stock::Attempt,
    headers: Vec<(HeaderName, HeaderValue)>,
    connect_timeout: Duration,
    max_response_bytes: u64,
    proxy: Option<Proxy>,
}

/// The failure of an attempt: no response, or one that is broken.
#[derive(Debug)]
pub(crate) struct AttemptError {
    pub(crate) kind: ErrorKind,
    /// The request id in the head of a response whose body is broken.
    pub(crate) request_id: Option<String>,
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let proxy = match &config.proxy {
            Some(proxy) => Some(ureq::Proxy::new(&proxy.url).map_err(|error| {
                Error::input(format!("the proxy {} cannot be used: {error}", proxy.shown))
            })?),
            None => None,
        };
        let settings = &config.settings;
        let connect_timeout = settings.connect_timeout.min(DECADES);
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .user_agent(&settings.user_agent)
            .accept("application/json")
            .timeout_connect(Some(connect_timeout))
            .max_idle_connections(MAX_IDLE_CONNECTIONS)
            .max_idle_connections_per_host(MAX_IDLE_CONNECTIONS)
            .max_idle_age(MAX_IDLE);
        let agent = with_tls(agent, settings)?.build();
        let pool_health = PoolHealth::default();
        Ok(Transport {
            agent: Agent::new_with_config(agent),
            pool_health,
            attempt: Default::default(),
            headers: config.headers.clone(),
            connect_timeout,
            max_response_bytes: settings.max_response_bytes,
            proxy: config.proxy.clone(),
        })
    }

    /// Sends the request once and receives the whole response, whatever its status.
    pub(crate) fn attempt(
        &self,
        request: &RawRequest,
        url: &str,
        api_key: &ApiKey,
        within: Duration,
        stop: Option<&StopToken>,
    ) -> Result<RawResponse, AttemptError> {
        if stop.is_some_and(StopToken::is_stopped) {
            return Err(AttemptError { kind: ErrorKind::Stopped { is_in_flight: false }, request_id: None });
        }
        let within = within.min(DECADES);
        let outcome = self.exchange_stoppable(request, url, api_key, within, stop);
        if let Err(AttemptError { kind: ErrorKind::Timeout { .. } | ErrorKind::ConnectionLost(_), .. }) =
            outcome
        {
            self.distrust_idle_connections();
        }
        if stop.is_some_and(StopToken::is_stopped) {
            return outcome.map_err(|error| {
                let is_in_flight = error.kind.may_have_been_processed();
                AttemptError { kind: ErrorKind::Stopped { is_in_flight }, ..error }
            });
        }
        outcome
    }

    /// Ensures that the next requests use new connections.
    pub(crate) fn distrust_idle_connections(&self) {
        self.pool_health.distrust_idle_connections();
    }

    /// Makes an attempt that can be stopped on a thread of its own, because nothing interrupts ureq. After a
    /// stop the thread is left to its time limits.
    fn exchange_stoppable(
        &self,
        request: &RawRequest,
        url: &str,
        api_key: &ApiKey,
        within: Duration,
        stop: Option<&StopToken>,
    ) -> Result<RawResponse, AttemptError> {
        let attempt = self.attempt.next();
        let transport = Transport { attempt: attempt.clone(), ..self.clone() };
        let Some(stop) = stop else { return transport.exchange(request, url, api_key, within) };
        let (request, url, api_key, token) = (request.clone(), url.to_owned(), api_key.clone(), stop.clone());
        let exchange =
            move || stop::during(Some(&token), || transport.exchange(&request, &url, &api_key, within));
        stop.run_abandonable(&attempt.abandoned, move || Ok(exchange())).unwrap_or_else(|error| {
            let reason = error.to_string();
            let kind = if attempt.may_be_sent() {
                ErrorKind::ConnectionLost(reason)
            } else {
                ErrorKind::NotConnected { reason, timed_out: None, retryable: true, is_about_address: false }
            };
            Err(AttemptError { kind, request_id: None })
        })
    }

    fn exchange(
        &self,
        request: &RawRequest,
        url: &str,
        api_key: &ApiKey,
        within: Duration,
    ) -> Result<RawResponse, AttemptError> {
        let mut received = self.send(request, url, api_key, within).map_err(|error| AttemptError {
            kind: self.error_kind(error, within, NOT_HTTP),
            request_id: None,
        })?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut response = RawResponse::new(received.status().as_u16(), &api_key.secrets);
        let headers = received.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
        response.headers.extend(headers);
        if matches!(response.status, 204 | 205) || request.method == "HEAD" {
            // There is no body, even if a header says that it is compressed.
        } else if response.is_success() {
            read(&mut received, self.max_response_bytes, &mut response.body).map_err(|error| {
                AttemptError {
                    kind: self.error_kind(error, within, "the body of the response is broken"),
                    request_id: response.request_id(),
                }
            })?;
        } else {
            // A short body is read to its end, so that the connection can be used again. Of a body that is longer or
            // broken, only the beginning is kept.
            let read = read(&mut received, MAX_ERROR_BODY, &mut response.body);
            if let (Err(error), true) = (read, stop::is_current_stopped()) {
                let kind = self.error_kind(error, within, "the body of the response is broken");
                return Err(AttemptError { kind, request_id: response.request_id() });
            }
        }
        Ok(response)
    }

    fn send(
        &self,
        request: &RawRequest,
        url: &str,
        api_key: &ApiKey,
        within: Duration,
    ) -> Result<http::Response<Body>, ureq::Error> {
        let mut builder = http::Request::builder().method(request.method.as_str()).uri(url);
        if let Some(headers) = builder.headers_mut() {
            // Each header replaces an earlier one with the same name.
            for (name, value) in self.headers.iter().chain([&api_key.header]) {
                headers.insert(name, value.clone());
            }
            for (name, value) in &request.headers {
                let name = HeaderName::try_from(name).map_err(http::Error::from)?;
                headers.insert(name, HeaderValue::try_from(value).map_err(http::Error::from)?);
            }
        }
        let is_submission = request.idempotency() == Idempotency::NonIdempotent;
        let max_idle = if is_submission { MAX_IDLE_FOR_SUBMISSIONS } else { MAX_IDLE };
        let body = match request.body.as_deref() {
            // Without an explicit empty body, ureq sends a request with one of these methods as chunked.
            None if ["POST", "PUT", "PATCH"].contains(&request.method.as_str()) => Some(&[][..]),
            body => body,
        };
        stock::run(
            builder.body(body)?,
            request.idempotency() == Idempotency::Safe,
            &self.attempt,
            |request| self.run(request, within, self.pool_health.limit(max_idle)),
        )
    }

    fn run(
        &self,
        request: http::Request<impl AsSendBody>,
        within: Duration,
        max_idle: Duration,
    ) -> Result<http::Response<Body>, ureq::Error> {
        let request = self.agent.configure_request(request);
        // This is the only limit of ureq that bounds every phase: lookup, connecting, sending, and a body that arrives
        // slowly.
        self.agent.run(request.timeout_global(Some(within)).max_idle_age(max_idle).build())
    }

    /// Describes an error. `broken` describes a response that cannot be understood.
    fn error_kind(&self, error: ureq::Error, within: Duration, broken: &str) -> ErrorKind {
        let error = match error {
            ureq::Error::Other(inner) => match inner.downcast::<NotConnected>() {
                Ok(not_connected) => return self.not_connected(not_connected.0, within),
                Err(inner) => ureq::Error::Other(inner),
            },
            error => error,
        };
        match error {
            // This was found before anything was sent.
            ureq::Error::Http(error) => ErrorKind::Unsendable(sanitize(&error.to_string(), 200)),
            ureq::Error::Timeout(_) => ErrorKind::Timeout { within },
            ureq::Error::BodyExceedsLimit(limit) => ErrorKind::TooLarge(limit),
            ureq::Error::Io(error) => io_error_kind(&error, broken),
            // A compressed body that ends early is reported in this way.
            #[cfg(feature = "gzip")]
            ureq::Error::Decompress(_, error) => io_error_kind(&error, broken),
            error => {
                let text = sanitize(&error.to_string(), 300);
                // Only the last of these parts means something to the user.
                let text = text.trim_start_matches("protocol: ").trim_start_matches("http parse fail: ");
                bad_response(broken, text)
            }
        }
    }

    /// Describes an error that occurred before the connection was established.
    fn not_connected(&self, error: ureq::Error, within: Duration) -> ErrorKind {
        if is_about_tls(&error) {
            let mut reason = reason(&error);
            if let Some(Proxy { shown, .. }) = &self.proxy {
                reason.push_str(&format!(", through the proxy {shown}"));
            }
            // These are the texts of rustls and OpenSSL for a server that does not speak TLS.
            let speaks_tls =
                !["InvalidContentType", "wrong version number"].iter().any(|text| reason.contains(text));
            if !speaks_tls {
                reason.push_str(
                    "; the server does not seem to speak TLS on this port: its URL may have to begin with http://",
                );
            } else if is_about_trust(&reason) {
                reason.push_str(PRIVATE_AUTHORITY);
            }
            return ErrorKind::Tls(reason);
        }
        let timed_out = match error {
            ureq::Error::Timeout(Timeout::Connect) => Some(self.connect_timeout.min(within)),
            ureq::Error::Timeout(_) => Some(within),
            _ => None,
        };
        let mut reason = match &error {
            ureq::Error::Timeout(Timeout::Resolve) => "the host name could not be looked up".to_owned(),
            // The proxy or the server behind it.
            ureq::Error::Timeout(_) if self.proxy.is_some() => "no response through it".to_owned(),
            ureq::Error::Timeout(_) => "the server did not respond".to_owned(),
            ureq::Error::ConnectProxyFailed(reason) if reason.contains("responded 407") => {
                "it responded with 407: put a user name and password into its URL".to_owned()
            }
            ureq::Error::ConnectProxyFailed(reason) => {
                let reason = reason.trim_start_matches("proxy server ");
                sanitize(&format!("it {}", reason.split('/').next().unwrap_or(reason)), 200)
            }
            error => reason(error),
        };
        if let Some(Proxy { shown, .. }) = &self.proxy {
            reason = format!("the proxy {shown}: {reason}");
        }
        // A proxy that refuses a request will refuse it again.
        let is_refusal =
            matches!(&error, ureq::Error::ConnectProxyFailed(reason) if reason.contains("responded 4"));
        let is_about_address = self.proxy.is_none() && !is_local(&reason);
        ErrorKind::NotConnected { reason, timed_out, retryable: !is_refusal, is_about_address }
    }
}

const NOT_HTTP: &str = "the response is not valid HTTP";

const PRIVATE_AUTHORITY: &str = "; if the server's certificate comes from a private certificate authority, pass the \
                                 authority's certificate to root_certificates";

/// Returns whether the authority of a certificate is not trusted, in the words of rustls, OpenSSL and others.
fn is_about_trust(reason: &str) -> bool {
    ["UnknownIssuer", "self-signed", "self signed", "local issuer", "not trusted"]
        .iter()
        .any(|words| reason.contains(words))
}

/// The text of an error, without ureq's prefix.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => sanitize(&error.to_string(), 300),
        error => sanitize(&error.to_string(), 300),
    }
}

fn io_error_kind(error: &io::Error, broken: &str) -> ErrorKind {
    use io::ErrorKind::*;
    let text = match sanitize(&error.to_string(), 300) {
        // So says ureq.
        text if text == "Peer disconnected" => "the server closed it".to_owned(),
        text => text,
    };
    match error.kind() {
        UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe | WriteZero | NotConnected
        | HostUnreachable | NetworkUnreachable | NetworkDown | TimedOut | WouldBlock => {
            ErrorKind::ConnectionLost(text)
        }
        _ => bad_response(broken, &text),
    }
}

/// Returns whether an attempt failed on this machine, by the texts of `stop` and `resolver`.
fn is_local(reason: &str) -> bool {
    ["too many stopped attempts", "cannot start a thread", "a panic"]
        .iter()
        .any(|text| reason.starts_with(text))
}

fn bad_response(broken: &str, text: &str) -> ErrorKind {
    ErrorKind::BadResponse { text: format!("{broken}: {text}"), is_http: broken != NOT_HTTP }
}

fn is_about_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Tls(_) | ureq::Error::TlsRequired => true,
        // rustls reports a certificate that it does not trust, and a server that does not speak TLS, in this way.
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        #[cfg(feature = "rustls")]
        ureq::Error::Rustls(_) => true,
        #[cfg(feature = "native-tls")]
        ureq::Error::NativeTls(_) | ureq::Error::Der(_) => true,
        _ => false,
    }
}

fn read(response: &mut http::Response<Body>, limit: u64, body: &mut Vec<u8>) -> Result<(), ureq::Error> {
    let mut size = match response.body().content_length() {
        // With one more byte, the read that finds the end does not have to grow the buffer.
        Some(length) => usize::try_from(length.min(limit)).unwrap_or(usize::MAX).min(1 << 20) + 1,
        None => 1 << 13,
    };
    size = size.max(body.capacity());
    let mut reader = response.body_mut().with_config().limit(limit).reader();
    let stop = stop::current();
    // `read_to_end` would set the whole buffer to zero for each body.
    let mut filled = 0;
    let outcome = loop {
        if filled == body.len() {
            // The buffer of an earlier body may be as large as that body was, and no larger.
            size = size.max(filled + (1 << 13));
            body.resize(size, 0);
            size = size.saturating_mul(2);
        }
        match reader.read(&mut body[filled..]) {
            Ok(0) => break Ok(()),
            // A large body may arrive without a pause in which the stop would be noticed.
            Ok(_) if stop.as_ref().is_some_and(StopToken::is_stopped) => {
                break Err(io::Error::new(io::ErrorKind::ConnectionAborted, "stopped").into());
            }
            Ok(amount) => filled += amount,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error.into()),
        }
    };
    body.truncate(filled);
    outcome
}

/// Returns the standard name of a status.
pub(crate) fn reason_of(status: u16) -> &'static str {
    let status = http::StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or("(nonstandard status)")
}

type AgentConfig = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

#[cfg(not(any(feature = "rustls", feature = "native-tls")))]
fn with_tls(config: AgentConfig, settings: &Settings) -> Result<AgentConfig> {
    if !settings.root_certificates.is_empty() {
        return Err(Error::input(
            "root_certificates needs TLS, which this build leaves out: enable the feature rustls or native-tls",
        ));
    }
    Ok(config)
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
fn with_tls(config: AgentConfig, settings: &Settings) -> Result<AgentConfig> {
    use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

    // ureq panics if the provider that is set here is not part of the build.
    let provider = if cfg!(feature = "rustls") { TlsProvider::Rustls } else { TlsProvider::NativeTls };
    let mut roots: Vec<Certificate<'static>> = Vec::new();
    for pem in &settings.root_certificates {
        let before = roots.len();
        for item in parse_pem(pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => roots.push(certificate),
                Ok(_) => {}
                Err(_) => return Err(Error::input("root_certificates: not valid PEM")),
            }
        }
        if roots.len() == before {
            return Err(Error::input("root_certificates: no certificate found; expected one in PEM format"));
        }
    }
    let roots = match (settings.platform_certificates, roots.is_empty()) {
        (true, false) => {
            return Err(Error::input(
                "root_certificates cannot be combined with platform_certificates: add the certificate to those \
                 that the operating system trusts",
            ));
        }
        (true, true) => RootCerts::PlatformVerifier,
        (false, true) => RootCerts::WebPki,
        (false, false) => RootCerts::Specific(std::sync::Arc::new(roots)),
    };
    Ok(config.tls_config(TlsConfig::builder().provider(provider).root_certs(roots).build()))
}
