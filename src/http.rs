//! Deadlines, stops, the retry loop, and the context of errors.

// `AttemptError` is large, but it is short-lived.
#![allow(clippy::result_large_err)]

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, process};

use crate::api::Response;
use crate::clock::{Clock, saturating_add};
use crate::config::{ApiKey, Config, Setting, Settings};
use crate::error::{Context, Earlier, Error, ErrorKind, Idempotency, Result, sanitize};
use crate::hooks::{Attempt, Hooks};
use crate::raw::{RawRequest, RawResponse, looks_like_html};
use crate::stop::StopToken;
use crate::sync::lock;
use crate::transport::{self, AttemptError, Transport};

/// The longest time that one attempt of a call may take, unless it is a submission.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// A view: the core that a client shares with everything made by it, and the settings in which views differ. Cheap to
/// clone.
#[derive(Clone)]
pub(crate) struct Http {
    core: Arc<Core>,
    /// Shared by the views that have no key of their own.
    api_key: Arc<Mutex<ApiKey>>,
    pub(crate) timeout: Duration,
    pub(crate) stop: Option<StopToken>,
    /// A child of `stop` that also ends pauses and forbids new attempts, and lets an attempt in flight complete.
    last_attempt: Option<StopToken>,
}

struct Core {
    transport: Transport,
    settings: Settings,
    base_url: String,
    api_url: String,
    /// Whether there was a response below the API URL that could be read.
    address_verified: AtomicBool,
    /// Whether there was any JSON with a success status.
    has_responded: AtomicBool,
    random: RandomState,
    random_count: AtomicU64,
}

impl Http {
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let config = settings.check()?;
        let transport = Transport::new(&config)?;
        let Config { settings, base_url, api_url, api_key, .. } = config;
        Ok(Http {
            api_key: Arc::new(Mutex::new(api_key)),
            timeout: settings.timeout,
            stop: None,
            last_attempt: None,
            core: Arc::new(Core {
                transport,
                settings,
                base_url,
                api_url,
                address_verified: AtomicBool::new(false),
                has_responded: AtomicBool::new(false),
                random: RandomState::new(),
                random_count: AtomicU64::new(0),
            }),
        })
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.core.base_url
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.core.settings.clock
    }

    /// Returns the time by which a call that begins now must end.
    pub(crate) fn deadline(&self) -> Instant {
        saturating_add(self.clock().now(), self.timeout)
    }

    /// Sleeps until the pause is over or the call is stopped.
    pub(crate) fn sleep(&self, pause: Duration) {
        self.clock().sleep(pause, self.stop_between_attempts());
    }

    /// The same, until this time.
    pub(crate) fn sleep_until(&self, time: Instant) {
        let pause = time.saturating_duration_since(self.clock().now());
        if !pause.is_zero() {
            self.sleep(pause);
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop_between_attempts().is_some_and(StopToken::is_stopped)
    }

    fn stop_between_attempts(&self) -> Option<&StopToken> {
        self.last_attempt.as_ref().or(self.stop.as_ref())
    }

    /// The same view, whose calls make no new attempt after `token`, a child of its own, is stopped.
    pub(crate) fn without_new_attempts_after(&self, token: &StopToken) -> Self {
        Http { last_attempt: Some(token.clone()), ..self.clone() }
    }

    /// Changes the key of this view and of all views that share it.
    pub(crate) fn set_api_key(&self, name: &'static str, key: String) -> Result<()> {
        let mut api_key = self.core.settings.api_key(&Setting { name, value: key })?;
        let mut current = lock(&self.api_key);
        // The server may still send the previous key back.
        api_key.secrets = api_key.secrets.and(current.header.1.to_str());
        *current = api_key;
        Ok(())
    }

    /// Returns the same view with a key of its own.
    pub(crate) fn with_api_key(&self, key: String) -> Result<Self> {
        let own_key = Arc::new(Mutex::new(lock(&self.api_key).clone()));
        let view = Http { api_key: own_key, ..self.clone() };
        view.set_api_key("with_api_key", key)?;
        Ok(view)
    }

    /// Returns a random number in `0.0..1.0`.
    pub(crate) fn jitter(&self) -> f64 {
        f64::from((self.random() >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
    }

    /// Returns a key for one submission, with 128 random bits.
    pub(crate) fn idempotency_key(&self) -> String {
        format!("{:016x}{:016x}", self.random(), self.random())
    }

    /// Returns a random number. The hasher of the standard library has random keys, which a forked process shares with
    /// its parent. The process id and the time are therefore hashed too.
    fn random(&self) -> u64 {
        let count = self.core.random_count.fetch_add(1, Ordering::Relaxed);
        self.core.random.hash_one((count, process::id(), Instant::now()))
    }

    /// Ensures that the next requests use new connections, because idle ones may be out of step or dead.
    pub(crate) fn distrust_idle_connections(&self) {
        self.core.transport.distrust_idle_connections();
    }

    /// Records that a response could be read as one of the service.
    pub(crate) fn address_is_right(&self) {
        self.core.address_verified.store(true, Ordering::Relaxed);
    }

    /// Sends the request, retries it as the policy says, and returns the response if its status is 2xx.
    pub(crate) fn send(&self, request: &RawRequest, deadline: Instant) -> Result<Response> {
        let mut call = Call::new(self, request, deadline);
        loop {
            let adapted = call.prepare().map_err(|kind| Error::new(kind, call.context(request, None)))?;
            match call.attempt(&adapted) {
                Ok(raw) => return Ok(Response { context: call.context(&adapted, raw.request_id()), raw }),
                Err((AttemptError { kind, request_id }, None)) => {
                    return Err(Error::new(kind, call.context(&adapted, request_id)));
                }
                Err((AttemptError { kind, .. }, Some(delay))) => {
                    call.earlier.add(&kind);
                    self.sleep(delay);
                }
            }
        }
    }

    fn hooks(&self) -> &Hooks {
        &self.core.settings.hooks
    }
}

/// A request, and the history of its attempts.
struct Call<'a> {
    http: &'a Http,
    request: &'a RawRequest,
    deadline: Instant,
    started: Instant,
    attempts: u32,
    earlier: Earlier,
}

impl<'a> Call<'a> {
    fn new(http: &'a Http, request: &'a RawRequest, deadline: Instant) -> Self {
        let (started, earlier) = (http.clock().now(), Earlier::default());
        Call { http, request, deadline, started, attempts: 0, earlier }
    }

    /// Returns the request as the hooks want it.
    fn prepare(&self) -> Result<Cow<'a, RawRequest>, ErrorKind> {
        self.check_time()?;
        let adapted = self.http.hooks().adapt_request(self.request).map_err(|problem| {
            let sent = if self.attempts == 0 { "; nothing was sent" } else { "" };
            ErrorKind::Input(format!("{problem}{sent}"))
        })?;
        // The hooks may have used up the time that was left.
        self.check_time()?;
        Ok(adapted)
    }

    /// Returns the time that is left, or an error if the call must not send anything any more.
    fn check_time(&self) -> Result<Duration, ErrorKind> {
        if self.http.is_stopped() {
            return Err(ErrorKind::Stopped { is_in_flight: false });
        }
        match self.left() {
            Duration::ZERO => Err(ErrorKind::OutOfTime),
            left => Ok(left),
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(self.http.clock().now())
    }

    /// Makes one attempt. If it fails and is to be retried, also returns the delay before the next one.
    fn attempt(&mut self, request: &RawRequest) -> Result<RawResponse, (AttemptError, Option<Duration>)> {
        self.attempts += 1;
        let began = self.http.clock().now();
        let outcome = self.http.attempt(request, self.left());
        let elapsed = self.http.clock().now().saturating_duration_since(began);
        let retry_in = outcome.as_ref().err().and_then(|error| self.retry_delay(&error.kind));
        self.report(request, &outcome, elapsed, retry_in);
        outcome.map_err(|error| (error, retry_in))
    }

    /// Returns the delay before the next attempt, or `None` if there is to be none.
    fn retry_delay(&self, failure: &ErrorKind) -> Option<Duration> {
        let policy = &self.http.core.settings.retry_policy;
        policy.delay(self.request.idempotency(), failure, self.attempts, self.left(), self.http.jitter())
    }

    /// Logs the attempt, and passes it to the hooks of the caller.
    fn report(
        &self,
        request: &RawRequest,
        outcome: &Result<RawResponse, AttemptError>,
        elapsed: Duration,
        retry_in: Option<Duration>,
    ) {
        let RawRequest { action, job_id, method, .. } = request;
        let (status, error) = match outcome {
            Ok(response) => (Some(response.status), None),
            Err(AttemptError { kind, .. }) => (kind.status(), Some(kind)),
        };
        let url = self.url(request);
        match (error, retry_in) {
            (None, _) => log::debug!("{method} {url}: {} in {elapsed:?}", status.unwrap_or_default()),
            (Some(kind), None) => log::debug!("{method} {url}: {kind}; not retried"),
            (Some(kind), Some(delay)) => log::debug!("{method} {url}: {kind}; retrying in {delay:?}"),
        }
        if self.http.hooks().on_attempt.is_empty() {
            return;
        }
        let error = error.map(ToString::to_string);
        self.http.hooks().observe(&Attempt {
            action,
            job_id: job_id.as_ref(),
            method,
            number: self.attempts,
            status,
            error: error.as_deref(),
            elapsed,
            retry_in,
        });
    }

    /// Returns the URL without the query, which may hold a cursor.
    fn url(&self, request: &RawRequest) -> String {
        sanitize(&format!("{}{}", self.http.core.api_url, request.path_only()), 300)
    }

    fn context(&self, request: &RawRequest, request_id: Option<String>) -> Context {
        Context {
            action: self.request.action.clone(),
            job_id: self.request.job_id.clone(),
            idempotency: self.request.idempotency(),
            is_submission: self.request.is_submission(),
            method: request.method.clone(),
            url: self.url(request),
            address: self.http.core.settings.address(),
            key: lock(&self.http.api_key).name,
            request_id,
            attempts: self.attempts,
            is_cancelled: false,
            elapsed: self.http.clock().now().saturating_duration_since(self.started),
            earlier: self.earlier,
            address_verified: self.http.core.address_verified.load(Ordering::Relaxed),
            has_responded: self.http.core.has_responded.load(Ordering::Relaxed),
        }
    }
}

impl Http {
    fn attempt(&self, request: &RawRequest, left: Duration) -> Result<RawResponse, AttemptError> {
        // A submission that was sent is not retried after a timeout, so its attempt gets all the remaining time.
        let is_submission = request.idempotency() == Idempotency::NonIdempotent;
        let within = if is_submission { left } else { left.min(ATTEMPT_TIMEOUT) };
        let mut api_key = lock(&self.api_key).clone();
        api_key.secrets = request.secrets(api_key.secrets);
        let url = format!("{}{}", self.core.api_url, request.path);
        let mut response =
            self.core.transport.attempt(request, &url, &api_key, within, self.stop.as_ref())?;
        self.hooks().adapt_response(request, &mut response);
        if !response.is_success() {
            let kind = response.error(transport::reason_of(response.status), self.clock().system_time());
            return Err(AttemptError { kind, request_id: response.request_id() });
        }
        // An HTML page may come from another server.
        if !looks_like_html(&response.body) {
            self.core.has_responded.store(true, Ordering::Relaxed);
        }
        Ok(response)
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("base_url", &self.core.base_url)
            .field("api_url", &self.core.api_url)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
