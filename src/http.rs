//! Deadlines, stops, the retry loop, and the context of errors.

// `AttemptError` is large, but it is short-lived.
#![allow(clippy::result_large_err)]

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, mem, process};

use crate::api::Response;
use crate::clock::{Clock, saturating_add};
use crate::config::{ApiKey, Config, Setting, Settings};
use crate::error::{Context, Earlier, Error, ErrorKind, Idempotency, Result, sanitize};
use crate::hooks::{Attempt, Hooks};
use crate::pages::PageSizes;
use crate::raw::{RawRequest, RawResponse, looks_like_html};
use crate::retry::{Hold, RetryBudget, RetryPolicy};
use crate::stop::StopToken;
use crate::sync::lock;
use crate::transport::{self, AttemptError, Transport};

/// A view: the core that a client shares with everything made by it, and the settings in which views differ. Cheap to
/// clone.
#[derive(Clone)]
pub(crate) struct Http {
    core: Arc<Core>,
    /// Shared by the views that have no key of their own.
    api_key: Arc<Mutex<ApiKey>>,
    pub(crate) timeout: Duration,
    pub(crate) retry_policy: RetryPolicy,
    pub(crate) stop: Option<StopToken>,
    /// A child of `stop` that also ends pauses and forbids new attempts, and lets an attempt in flight complete.
    last_attempt: Option<StopToken>,
    /// Memory for the body of the next response, kept from page to page of an iteration.
    pub(crate) buffer: Option<Arc<Mutex<Vec<u8>>>>,
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
    /// The routes whose paths the server wants with a slash at their end.
    slashed: Mutex<HashSet<String>>,
    retry_budget: Mutex<RetryBudget>,
    hold: Mutex<Hold>,
    page_sizes: Arc<PageSizes>,
    random: RandomState,
    random_count: AtomicU64,
}

impl Http {
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let config = settings.check()?;
        let transport = Transport::new(&config)?;
        let Config { settings, base_url, api_url, api_key, .. } = config;
        let retry_budget = RetryBudget::new(settings.retry_budget, settings.clock.now());
        Ok(Http {
            api_key: Arc::new(Mutex::new(api_key)),
            timeout: settings.timeout,
            retry_policy: settings.retry_policy.clone(),
            stop: None,
            last_attempt: None,
            buffer: None,
            core: Arc::new(Core {
                transport,
                settings,
                base_url,
                api_url,
                address_verified: AtomicBool::new(false),
                has_responded: AtomicBool::new(false),
                slashed: Mutex::default(),
                retry_budget: Mutex::new(retry_budget),
                hold: Mutex::default(),
                page_sizes: Arc::default(),
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

    /// What is known of the pages of the server.
    pub(crate) fn page_sizes(&self) -> &Arc<PageSizes> {
        &self.core.page_sizes
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

    /// The same view with memory of its own for bodies.
    pub(crate) fn with_buffer(self) -> Self {
        Http { buffer: Some(Arc::default()), ..self }
    }

    /// Takes the memory of a body back that has been decoded.
    pub(crate) fn keep_buffer(&self, body: Vec<u8>) {
        if let Some(buffer) = &self.buffer {
            *lock(buffer) = body;
        }
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
    /// The cost of the last retry.
    spent: u32,
    /// The last pause that the server requested in response to this call, and when.
    told: Option<(Instant, Duration)>,
}

impl<'a> Call<'a> {
    fn new(http: &'a Http, request: &'a RawRequest, deadline: Instant) -> Self {
        let (started, earlier) = (http.clock().now(), Earlier::default());
        Call { http, request, deadline, started, attempts: 0, earlier, spent: 0, told: None }
    }

    /// Waits if the server has asked another call of the client to come back later.
    fn wait_for_turn(&self) -> Result<(), ErrorKind> {
        loop {
            let left = self.check_time()?;
            let (now, jitter) = (self.http.clock().now(), self.http.jitter());
            let delay = lock(&self.http.core.hold).delay(now, left, jitter, self.told);
            match delay {
                None => return Ok(()),
                Some(delay) if delay >= left => return Err(ErrorKind::Held { retry_after: delay }),
                Some(delay) => self.http.sleep(delay),
            }
        }
    }

    /// Waits for the turn of the call, and returns the request as the hooks want it.
    fn prepare(&self) -> Result<Cow<'a, RawRequest>, ErrorKind> {
        self.wait_for_turn()?;
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
        let retry_in = self.conclude(outcome.as_ref().err().map(|error| &error.kind), began);
        self.report(request, &outcome, elapsed, retry_in);
        outcome.map_err(|error| (error, retry_in))
    }

    /// Records what the other calls of the client can learn from this attempt. If it failed and is to be retried,
    /// returns the delay before the next one.
    fn conclude(&mut self, failure: Option<&ErrorKind>, began: Instant) -> Option<Duration> {
        let Core { hold, retry_budget, .. } = &*self.http.core;
        let now = self.http.clock().now();
        let Some(kind) = failure.filter(|kind| kind.is_transient()) else {
            if !matches!(failure, Some(ErrorKind::Stopped { .. })) {
                lock(retry_budget).succeeded(self.spent, now);
                lock(hold).accepted(began);
            }
            return None;
        };
        let policy = &self.http.retry_policy;
        let asked = kind.retry_after().filter(|asked| *asked <= policy.max_retry_after);
        if let Some(asked) = asked {
            lock(hold).extend(now, asked);
        }
        self.told = asked.map(|asked| (now, asked));
        let (left, jitter) = (self.left(), self.http.jitter());
        let delay = policy.delay(self.request.idempotency(), kind, self.attempts, left, jitter)?;
        self.spent = lock(retry_budget).try_spend(kind, now)?;
        Some(delay)
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
        let within = if is_submission { left } else { left.min(self.core.settings.attempt_timeout) };
        let mut api_key = lock(&self.api_key).clone();
        api_key.secrets = request.secrets(api_key.secrets);
        let mut response = self.exchange(request, &api_key, within)?;
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

    /// Sends the request, and sends it once more if the server redirects to the same path with a trailing slash. It is
    /// sent to the configured address both times, because a server behind a proxy may name another one.
    fn exchange(
        &self,
        request: &RawRequest,
        api_key: &ApiKey,
        within: Duration,
    ) -> Result<RawResponse, AttemptError> {
        let Core { transport, api_url, slashed, .. } = &*self.core;
        let send = |path: &str, within| {
            let url = format!("{api_url}{path}");
            let buffer = self.buffer.as_ref().map(|buffer| mem::take(&mut *lock(buffer)));
            transport.attempt(request, &url, api_key, within, self.stop.as_ref(), buffer.unwrap_or_default())
        };
        let started = self.clock().now();
        let wants_slash = {
            let slashed = lock(slashed);
            !slashed.is_empty() && slashed.contains(&request.route())
        };
        if wants_slash {
            return send(&request.path_with_slash(), within);
        }
        let asks_for_slash = |response: &RawResponse| {
            let path = response.redirect_path().and_then(|path| path.strip_suffix('/'));
            path.and_then(|path| path.strip_prefix(path_of(api_url))) == Some(request.path_only())
        };
        let response = send(&request.path, within)?;
        if !asks_for_slash(&response) {
            return Ok(response);
        }
        let took = self.clock().now().saturating_duration_since(started);
        let left = within.saturating_sub(took).max(Duration::from_millis(1));
        let response = send(&request.path_with_slash(), left)?;
        if !asks_for_slash(&response) {
            let mut slashed = lock(slashed);
            // Only job ids are replaced in the remembered paths, so other identifiers could make the set grow for ever.
            if slashed.len() >= MAX_SLASHED {
                slashed.clear();
            }
            slashed.insert(request.route());
        }
        Ok(response)
    }
}

/// The maximum number of routes with a trailing slash that are remembered.
const MAX_SLASHED: usize = 100;

/// Returns the path of a URL that was checked.
fn path_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    url[after_scheme..].find('/').map_or("", |at| &url[after_scheme + at..])
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
