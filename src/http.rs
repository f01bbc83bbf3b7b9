//! Sends what `api` describes. With `resolver`, the only file that names ureq.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, AsSendBody, Body, Proxy, Timeout};

use crate::api::{Answer, Call, Method, error_message};
use crate::clock::{Clock, after};
use crate::error::{Cause, Error, Exchange, Result, printable};
use crate::resolver::RememberingResolver;
use crate::retry::{Failure, Policy, Resend};

/// What is kept of an error answer's body.
const LONGEST_ERROR_BODY: u64 = 64 * 1024;

/// The user's settings, not yet checked.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) api_key: Option<String>,
    pub(crate) base_url: String,
    pub(crate) api_url: Option<String>,
    pub(crate) allow_insecure_http: bool,
    pub(crate) timeout: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_response_bytes: u64,
    pub(crate) user_agent: String,
    pub(crate) proxy_from_env: bool,
    /// PEM files.
    pub(crate) root_certificates: Vec<Vec<u8>>,
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<dyn Clock>,
}

/// One connection pool, and all that a request needs beside its own description.
pub(crate) struct Http {
    agent: Agent,
    resolver: RememberingResolver,
    authorization: HeaderValue,
    base_url: String,
    /// The root of the interface, with no slash at its end.
    api_url: String,
    timeout: Duration,
    attempt_timeout: Duration,
    connect_timeout: Duration,
    max_response_bytes: u64,
    policy: Policy,
    clock: Arc<dyn Clock>,
    jitter: RandomState,
}

impl Http {
    /// Checks everything: nothing that can be known now fails at the first request.
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let base_url = Address::parse("base_url", &settings.base_url, settings.allow_insecure_http)?;
        let api_url = match &settings.api_url {
            Some(api_url) => Address::parse("api_url", api_url, settings.allow_insecure_http)?,
            None => Address { url: base_url.url.clone() + crate::api::API_PATH, ..base_url.clone() },
        };
        let key = settings.api_key.as_deref().unwrap_or_default();
        let authorization = authorization(key)?;
        let user_agent = settings.user_agent;
        if user_agent.is_empty() || !user_agent.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(Error::input(format!("user_agent {user_agent:?} is not printable ASCII text")));
        }
        for (name, timeout) in [
            ("timeout", settings.timeout),
            ("attempt_timeout", settings.attempt_timeout),
            ("connect_timeout", settings.connect_timeout),
        ] {
            if timeout.is_zero() {
                return Err(Error::input(format!("{name} is zero: no call could succeed")));
            }
        }
        if api_url.is_https && !cfg!(any(feature = "rustls", feature = "native-tls")) {
            return Err(Error::input(format!(
                "{} needs TLS, which this build leaves out: turn on the feature `rustls` or `native-tls`",
                api_url.url
            )));
        }
        // ureq would take the environment's proxy for a server on this machine too.
        let proxy =
            if settings.proxy_from_env && !api_url.is_loopback { Proxy::try_from_env() } else { None };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .user_agent(user_agent)
            .accept("application/json")
            .timeout_connect(Some(settings.connect_timeout))
            // Longer than the pauses of a wait, so that its polls share a connection.
            .max_idle_age(Duration::from_secs(60));
        let resolver = RememberingResolver::new(settings.clock.clone());
        Ok(Http {
            agent: Agent::with_parts(
                with_tls(config, &settings.root_certificates)?.build(),
                DefaultConnector::new(),
                resolver.clone(),
            ),
            resolver,
            authorization,
            base_url: base_url.url,
            api_url: api_url.url,
            timeout: settings.timeout,
            attempt_timeout: settings.attempt_timeout,
            connect_timeout: settings.connect_timeout,
            max_response_bytes: settings.max_response_bytes,
            policy: settings.policy,
            clock: settings.clock,
            jitter: RandomState::new(),
        })
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// When a call that begins now has to be over.
    pub(crate) fn deadline(&self) -> Instant {
        after(self.clock.now(), self.timeout)
    }

    /// A number in `0.0..1.0`: std's hasher has random keys, and jitter needs no better source.
    pub(crate) fn jitter(&self) -> f64 {
        let random = self.jitter.hash_one(self.clock.now());
        f64::from((random >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
    }

    /// Sends the request, again where the policy says so, and returns the answer if its status is 2xx.
    pub(crate) fn send(&self, call: &Call, deadline: Instant) -> Result<Answer> {
        self.go_on(call, None, deadline)
    }

    /// A single attempt, for [`go_on`](Http::go_on).
    pub(crate) fn first_attempt(&self, call: &Call, deadline: Instant) -> Attempt {
        Attempt(self.attempt(call, &self.url(call), self.left(deadline)))
    }

    /// As [`send`](Http::send), where the first attempt may have been made already.
    pub(crate) fn go_on(&self, call: &Call, first: Option<Attempt>, deadline: Instant) -> Result<Answer> {
        let url = self.url(call);
        let mut first = first;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let outcome = match first.take() {
                Some(Attempt(outcome)) => outcome,
                None => self.attempt(call, &url, self.left(deadline)),
            };
            let failed = match outcome {
                Ok(answer) => return Ok(Answer { attempts, ..answer }),
                Err(failed) => failed,
            };
            let Failed { failure, retry_after, .. } = failed;
            let left = self.left(deadline);
            match self.policy.pause(call.resend, failure, attempts, retry_after, left, self.jitter()) {
                Some(pause) => {
                    log::debug!("{} {url}: {}; again in {pause:?}", call.method.as_str(), failed.cause);
                    self.clock.sleep(pause);
                }
                None => {
                    let exchange = Exchange {
                        action: call.action,
                        job_id: call.job_id.clone(),
                        method: call.method.as_str(),
                        url,
                        request_id: failed.request_id,
                        attempts,
                        failure,
                        may_have_been_submitted: call.resend == Resend::Never
                            && failure.may_have_been_taken(),
                    };
                    return Err(Error::new(failed.cause, Some(exchange)));
                }
            }
        }
    }

    /// An error about an answer that came with a status of 2xx.
    pub(crate) fn error(&self, cause: Cause, call: &Call, answer: &Answer) -> Error {
        let exchange = Exchange {
            action: call.action,
            job_id: call.job_id.clone(),
            method: call.method.as_str(),
            url: self.url(call),
            request_id: answer.request_id.clone(),
            attempts: answer.attempts,
            failure: Failure::Unclear,
            may_have_been_submitted: call.resend == Resend::Never,
        };
        Error::new(cause, Some(exchange))
    }

    fn url(&self, call: &Call) -> String {
        format!("{}{}", self.api_url, call.path)
    }

    fn left(&self, deadline: Instant) -> Duration {
        deadline.saturating_duration_since(self.clock.now())
    }

    // Short-lived, and hardly larger than the answer.
    #[allow(clippy::result_large_err)]
    fn attempt(&self, call: &Call, url: &str, left: Duration) -> Result<Answer, Failed> {
        // What is not sent again after a timeout gains nothing by one.
        let within = if call.resend == Resend::Never { left } else { left.min(self.attempt_timeout) };
        if within.is_zero() {
            let cause = Cause::Timeout { what: "no answer", within };
            return Err(Failed { failure: Failure::Timeout, cause, request_id: None, retry_after: None });
        }
        let started = self.clock.now();
        let mut response = self.exchange(call, url, within).map_err(|error| {
            let failed = self.transport_failure(error, within, false);
            if failed.failure == Failure::NotConnected {
                self.resolver.forget();
            }
            failed
        })?;
        let status = response.status();
        let took = self.clock.now().saturating_duration_since(started);
        log::debug!("{} {url} -> {} in {took:?}", call.method.as_str(), status.as_u16());

        let content_type = text_of(response.headers(), header::CONTENT_TYPE);
        let request_id = text_of(response.headers(), HeaderName::from_static("x-request-id"));
        let mut body = Vec::new();
        if status.is_success() {
            let limit = self.max_response_bytes;
            match read(&mut response, limit, &mut body) {
                Ok(()) => {}
                // The status has said it all.
                Err(_) if !call.reads_answer => {}
                Err(error) => {
                    return Err(Failed { request_id, ..self.transport_failure(error, within, true) });
                }
            }
            return Ok(Answer { status: status.as_u16(), content_type, request_id, attempts: 0, body });
        }
        if status.is_redirection() {
            let location = text_of(response.headers(), header::LOCATION);
            let failure = Failure::Status(status.as_u16());
            let cause = Cause::Redirect { status: status.as_u16(), location };
            return Err(Failed { failure, cause, request_id, retry_after: None });
        }
        let retry_after = retry_after(response.headers(), self.clock.wall());
        // Read to its end where it is short, so that the connection lives on; what a cut body leaves is shown.
        let _ = read(&mut response, LONGEST_ERROR_BODY, &mut body);
        let cause = Cause::Status {
            status: status.as_u16(),
            reason: status.canonical_reason().unwrap_or("(a status without a name)"),
            message: error_message(content_type.as_deref(), &body),
            retry_after,
        };
        Err(Failed { failure: Failure::Status(status.as_u16()), cause, request_id, retry_after })
    }

    fn exchange(&self, call: &Call, url: &str, within: Duration) -> Result<Response<Body>, ureq::Error> {
        let request = Request::builder()
            .method(call.method.as_str())
            .uri(url)
            .header(header::AUTHORIZATION, &self.authorization);
        match &call.body {
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                self.run(request.body(body.as_slice())?, within)
            }
            // Without this a POST with nothing in it goes out chunked.
            None if call.method == Method::Post => self.run(request.body([].as_slice())?, within),
            None => self.run(request.body(())?, within),
        }
    }

    fn run(
        &self,
        request: Request<impl AsSendBody>,
        within: Duration,
    ) -> Result<Response<Body>, ureq::Error> {
        // The one limit of ureq that bounds everything: look-up, connection, a server that trickles.
        let request = self.agent.configure_request(request).timeout_global(Some(within)).build();
        self.agent.run(request)
    }

    /// What ureq's error means; `in_body` where a status had come already.
    fn transport_failure(&self, error: ureq::Error, within: Duration, in_body: bool) -> Failed {
        use io::ErrorKind::*;
        let text = printable(&error.to_string(), 300);
        // A compressed body that was cut is one that was cut.
        #[cfg(feature = "gzip")]
        let error = match error {
            ureq::Error::Decompress(_, error) => ureq::Error::Io(error),
            error => error,
        };
        let (failure, what, source) = match error {
            ureq::Error::Timeout(timeout) => {
                let (failure, what, within) = match timeout {
                    Timeout::Connect | Timeout::Resolve => {
                        (Failure::NotConnected, "no connection", self.connect_timeout.min(within))
                    }
                    _ => (Failure::Timeout, "no answer", within),
                };
                let cause = Cause::Timeout { what, within };
                return Failed { failure, cause, request_id: None, retry_after: None };
            }
            ureq::Error::BodyExceedsLimit(limit) => {
                let cause = Cause::TooLarge(limit);
                return Failed { failure: Failure::Unclear, cause, request_id: None, retry_after: None };
            }
            ureq::Error::HostNotFound => (Failure::NotConnected, "the server cannot be found", None),
            ureq::Error::ConnectionFailed => (Failure::NotConnected, "the server cannot be reached", None),
            ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
                (Failure::NotConnected, "the proxy failed", None)
            }
            ureq::Error::Io(error) => {
                let (failure, what) = match error.kind() {
                    ConnectionRefused | AddrNotAvailable => {
                        (Failure::NotConnected, "the server cannot be reached")
                    }
                    // The standard library gives a failed look-up no kind of its own.
                    _ if text.contains("failed to lookup address") => {
                        (Failure::NotConnected, "the server cannot be found")
                    }
                    UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe | HostUnreachable
                    | NetworkUnreachable | NetworkDown | TimedOut | WouldBlock => {
                        (Failure::ConnectionLost, "the connection broke")
                    }
                    _ if in_body => (Failure::Unclear, "the body of the answer is broken"),
                    // rustls reports a certificate that it does not trust so.
                    InvalidData => (Failure::Refused, "no secure connection"),
                    _ => (Failure::Unclear, "the connection failed"),
                };
                (failure, what, Some(error))
            }
            error if is_about_tls(&error) => (Failure::Refused, "no secure connection", None),
            _ if in_body => (Failure::Unclear, "the body of the answer is broken", None),
            _ => (Failure::Unclear, "the answer is not valid HTTP", None),
        };
        let cause = Cause::Connection { text: format!("{what}: {text}"), source };
        Failed { failure, cause, request_id: None, retry_after: None }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("base_url", &self.base_url)
            .field("api_url", &self.api_url)
            .finish_non_exhaustive()
    }
}

/// What came of one attempt.
#[derive(Debug)]
pub(crate) struct Attempt(Result<Answer, Failed>);

/// One attempt without success.
#[derive(Debug)]
struct Failed {
    failure: Failure,
    cause: Cause,
    request_id: Option<String>,
    retry_after: Option<Duration>,
}

fn is_about_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Tls(_) | ureq::Error::TlsRequired => true,
        #[cfg(feature = "rustls")]
        ureq::Error::Rustls(_) => true,
        #[cfg(feature = "native-tls")]
        ureq::Error::NativeTls(_) | ureq::Error::Der(_) => true,
        _ => false,
    }
}

fn read(response: &mut Response<Body>, limit: u64, body: &mut Vec<u8>) -> Result<(), ureq::Error> {
    if let Some(length) = response.body().content_length() {
        body.reserve(usize::try_from(length.min(limit)).unwrap_or(0).min(1 << 20));
    }
    response.body_mut().with_config().limit(limit).reader().read_to_end(body)?;
    Ok(())
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let text = headers.get(name)?.as_bytes();
    Some(printable(&String::from_utf8_lossy(text), 200)).filter(|text| !text.is_empty())
}

/// `Retry-After`: seconds, or an HTTP date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

/// The header that carries the key. An error about the key does not show it.
fn authorization(key: &str) -> Result<HeaderValue> {
    if key.is_empty() {
        return Err(Error::input("the API key is empty: keys are made in the settings of the dashboard"));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::input(
            "the API key holds a blank, a line break or another character that no key has: copy it again",
        ));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| Error::input("the API key cannot be sent in a header: copy it again"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A checked URL.
#[derive(Clone)]
struct Address {
    url: String,
    is_https: bool,
    is_loopback: bool,
}

impl Address {
    fn parse(name: &str, text: &str, allow_insecure_http: bool) -> Result<Self> {
        let bad = |why: &str| {
            let shown =
                if text.contains('@') { "with a user name or password" } else { &printable(text, 200) };
            Error::input(format!("{name} {shown}: {why}; it looks like https://atomiverse.com"))
        };
        let uri: Uri = text.parse().map_err(|_| bad("not a URL"))?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("it has to begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("the key is the only credential, so leave that out"));
        }
        if text.contains(['?', '#']) {
            return Err(bad("it ends with the path"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(bad("it names no host"));
        }
        let is_loopback = is_loopback(host);
        if !is_https && !is_loopback && !allow_insecure_http {
            return Err(bad(
                "plain http would show the API key to the network; use https, or say allow_insecure_http(true)",
            ));
        }
        Ok(Address { url: text.trim_end_matches('/').to_owned(), is_https, is_loopback })
    }
}

fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    match literal.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

type Config = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

#[cfg(not(any(feature = "rustls", feature = "native-tls")))]
fn with_tls(config: Config, root_certificates: &[Vec<u8>]) -> Result<Config> {
    if !root_certificates.is_empty() {
        return Err(Error::input(
            "root certificates are of no use in this build, which leaves TLS out: \
             turn on the feature `rustls` or `native-tls`",
        ));
    }
    Ok(config)
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
fn with_tls(config: Config, root_certificates: &[Vec<u8>]) -> Result<Config> {
    use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

    // ureq panics when the provider that it is set to was left out of the build.
    let provider = if cfg!(feature = "rustls") { TlsProvider::Rustls } else { TlsProvider::NativeTls };
    let mut added: Vec<Certificate<'static>> = Vec::new();
    for pem in root_certificates {
        let before = added.len();
        for item in parse_pem(pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => added.push(certificate),
                Ok(_) => {}
                Err(error) => {
                    let text = printable(&error.to_string(), 200);
                    return Err(Error::input(format!("the root certificates are not valid PEM: {text}")));
                }
            }
        }
        if added.len() == before {
            return Err(Error::input("the root certificates hold no certificate: PEM is expected"));
        }
    }
    let roots = if !added.is_empty() {
        let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        added.extend(mozilla.iter().map(|certificate| Certificate::from_der(certificate)));
        RootCerts::Specific(Arc::new(added))
    } else if cfg!(feature = "platform-verifier") {
        RootCerts::PlatformVerifier
    } else {
        RootCerts::WebPki
    };
    Ok(config.tls_config(TlsConfig::builder().provider(provider).root_certs(roots).build()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;

    fn retry_after_of(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        let now = httpdate::parse_http_date("Sat, 02 May 2026 14:32:01 GMT").unwrap();
        retry_after(&headers, now)
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(retry_after_of("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after_of("0"), Some(Duration::ZERO));
        assert_eq!(retry_after_of("Sat, 02 May 2026 14:32:11 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(retry_after_of("Sat, 02 May 2026 14:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["soon", "-1", "1.5", ""] {
            assert_eq!(retry_after_of(nonsense), None, "{nonsense}");
        }
    }

    fn client(base_url: &str) -> Client {
        let builder = Client::builder().api_key("key").base_url(base_url).max_retries(0);
        builder.timeout(Duration::from_secs(5)).connect_timeout(Duration::from_secs(1)).build().unwrap()
    }

    #[test]
    fn what_ureq_says_is_taken_for_what_it_means() {
        let io = |kind, text: &str| ureq::Error::Io(io::Error::new(kind, text.to_owned()));
        use Failure::{ConnectionLost, NotConnected, Refused, Unclear};
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, InvalidData};
        let cases = [
            (ureq::Error::HostNotFound, NotConnected, "the server cannot be found"),
            (ureq::Error::ConnectionFailed, NotConnected, "the server cannot be reached"),
            (ureq::Error::InvalidProxyUrl, NotConnected, "the proxy failed"),
            (
                io(io::ErrorKind::Other, "failed to lookup address information"),
                NotConnected,
                "cannot be found",
            ),
            (io(ConnectionRefused, "refused"), NotConnected, "the server cannot be reached"),
            (io(ConnectionReset, "reset"), ConnectionLost, "the connection broke"),
            (io(InvalidData, "bad certificate"), Refused, "no secure connection"),
            (io(io::ErrorKind::Other, "?"), Unclear, "the connection failed"),
            (ureq::Error::Tls("?"), Refused, "no secure connection"),
            (ureq::Error::TlsRequired, Refused, "no secure connection"),
            (ureq::Error::Timeout(Timeout::Connect), NotConnected, "no connection within 1 s"),
            (ureq::Error::Timeout(Timeout::Resolve), NotConnected, "no connection within 1 s"),
            (ureq::Error::Timeout(Timeout::Global), Failure::Timeout, "no answer within 2 s"),
            (ureq::Error::BodyExceedsLimit(7), Unclear, "larger than the limit of 7 bytes"),
            #[cfg(feature = "rustls")]
            (ureq::Error::Rustls(rustls::Error::DecryptError), Refused, "no secure connection"),
            (ureq::Error::BodyStalled, Unclear, "the answer is not valid HTTP"),
        ];
        let client = client("http://localhost");
        let http = client.http();
        for (error, failure, text) in cases {
            let shown = format!("{error:?}");
            let failed = http.transport_failure(error, Duration::from_secs(2), false);
            assert_eq!(failed.failure, failure, "{shown}");
            assert!(failed.cause.to_string().contains(text), "{shown}: {}", failed.cause);
        }
    }

    #[test]
    fn an_address_that_does_not_answer_is_looked_up_anew() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = client(&format!("http://localhost:{}", listener.local_addr().unwrap().port()));
        let http = client.http();
        let get = || http.send(&crate::api::get("a").unwrap(), http.deadline()).unwrap_err();
        let server = std::thread::spawn(move || drop(listener.accept()));
        get();
        assert!(http.resolver.remembers(), "a connection was made");
        server.join().unwrap();
        get();
        assert!(!http.resolver.remembers(), "no connection was made");
    }

    #[test]
    fn jitter_is_spread_over_its_range() {
        let client = client("http://localhost");
        let http = client.http();
        let jitters: Vec<f64> = (0..1000).map(|_| http.jitter()).collect();
        assert!(jitters.iter().all(|jitter| (0.0..1.0).contains(jitter)));
        for quarter in [0.0, 0.25, 0.5, 0.75] {
            assert!(jitters.iter().any(|jitter| (quarter..quarter + 0.25).contains(jitter)), "{quarter}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["127.0.0.1", "127.8.9.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "LocalHost"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "[::2]", "example.com", "0.0.0.0"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
