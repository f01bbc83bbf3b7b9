//! One call: its deadline, its attempts, and the context of its errors.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::settings::{ApiKey, Attempt, Config, Settings};
use crate::config::url::Setting;
use crate::contract::{Contract, Operation};
use crate::error::{Class, Context, Effect, Error, Result, sanitize};
use crate::http::clock::{Clock, saturating_add};
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::retry;
use crate::http::stop::{StopToken, Stops};
use crate::http::transport::Transport;
use crate::sync::lock;
use crate::types::JobId;

/// A view: the core that a client shares with everything made by it, and the settings in which views differ. Cheap to
/// clone.
#[derive(Clone)]
pub(crate) struct Http {
    core: Arc<Core>,
    /// Shared by the views that have no key of their own.
    api_key: Arc<Mutex<ApiKey>>,
    timeout: Duration,
    max_retries: u32,
    stops: Stops,
}

struct Core {
    transport: Transport,
    config: Config,
    /// Whether there was any JSON, other than with the status 404 or 410, which any server may send.
    has_responded: AtomicBool,
    random: RandomState,
    random_count: AtomicUsize,
}

impl Http {
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let config = settings.check()?;
        Ok(Http {
            api_key: Arc::new(Mutex::new(config.api_key.clone())),
            timeout: config.settings.timeout,
            max_retries: config.settings.max_retries,
            stops: Stops::default(),
            core: Arc::new(Core {
                transport: Transport::new(&config)?,
                config,
                has_responded: AtomicBool::new(false),
                random: RandomState::new(),
                random_count: AtomicUsize::new(0),
            }),
        })
    }

    /// Returns the same view with another time limit.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Self {
        Http { timeout, ..self.clone() }
    }

    /// Returns the same view that watches one more token.
    pub(crate) fn with_stop(&self, stop: &StopToken) -> Self {
        Http { stops: self.stops.and(stop), ..self.clone() }
    }

    /// Returns the same view, whose requests are not retried.
    pub(crate) fn without_retries(&self) -> Self {
        Http { max_retries: 0, ..self.clone() }
    }

    /// Returns the same view with a key of its own.
    pub(crate) fn with_api_key(&self, key: String) -> Result<Self> {
        let own_key = Arc::new(Mutex::new(lock(&self.api_key).clone()));
        let view = Http { api_key: own_key, ..self.clone() };
        view.set_api_key("with_api_key", key)?;
        Ok(view)
    }

    /// Changes the key of this view and of all views that share it.
    pub(crate) fn set_api_key(&self, name: &'static str, key: String) -> Result<()> {
        let mut api_key = self.core.config.settings.api_key(&Setting { name, value: key })?;
        let mut current = lock(&self.api_key);
        // The server may still send the previous key back.
        api_key.secrets = api_key.secrets.and(current.header.1.to_str());
        *current = api_key;
        Ok(())
    }

    pub(crate) fn dashboard_url(&self, id: &JobId) -> String {
        self.contract().dashboard_url(&self.core.config.base_url, id)
    }

    fn contract(&self) -> &dyn Contract {
        &*self.core.config.settings.contract
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.core.config.settings.clock
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the time by which a call that begins now must end.
    pub(crate) fn deadline(&self) -> Instant {
        saturating_add(self.clock().now(), self.timeout)
    }

    /// Sleeps until this time, or until the call is stopped.
    pub(crate) fn sleep_until(&self, time: Instant) {
        let pause = time.saturating_duration_since(self.clock().now());
        if !pause.is_zero() {
            self.clock().sleep(pause, &self.stops);
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stops.is_stopped()
    }

    /// Returns whether a response has shown that the service is at this address.
    pub(crate) fn has_responded(&self) -> bool {
        self.core.has_responded.load(Ordering::Relaxed)
    }

    /// Ensures that the next requests use new connections, because idle ones may be out of step or dead.
    pub(crate) fn distrust_idle_connections(&self) {
        self.core.transport.distrust_idle_connections();
    }

    /// Returns a random number in `0.0..1.0`.
    pub(crate) fn jitter(&self) -> f64 {
        f64::from((self.random() >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
    }

    /// Returns a random number. The hasher of the standard library has random keys, which a forked process shares with
    /// its parent. The process id and the time are therefore hashed too.
    fn random(&self) -> u64 {
        let count = self.core.random_count.fetch_add(1, Ordering::Relaxed);
        self.core.random.hash_one((count, process::id(), Instant::now()))
    }

    /// Sends the request for an operation, retries it, and returns the response if its status is 2xx.
    pub(crate) fn send(&self, operation: Operation<'_>, deadline: Instant) -> Result<Response> {
        // The key is the same for all attempts of a submission.
        let is_submission = matches!(operation, Operation::Submit { .. } | Operation::SubmitBatch { .. });
        let idempotency_key = is_submission.then(|| format!("{:016x}{:016x}", self.random(), self.random()));
        let call = Call {
            http: self,
            operation,
            deadline,
            started: self.clock().now(),
            idempotency_key,
            attempts: 0,
            class: None,
            earlier: Effect::default(),
        };
        call.run()
    }
}

/// A call, and the history of its attempts.
struct Call<'a> {
    http: &'a Http,
    operation: Operation<'a>,
    deadline: Instant,
    started: Instant,
    idempotency_key: Option<String>,
    attempts: u32,
    /// That of the last request that was sent.
    class: Option<Class>,
    earlier: Effect,
}

impl Call<'_> {
    fn run(mut self) -> Result<Response> {
        loop {
            let (error, pause) = match self.prepare() {
                Err(error) => (error, None),
                Ok(mut request) => match self.attempt(&mut request) {
                    Err(failed) => failed,
                    Ok(response) => {
                        let request_id = response.request_id();
                        return Ok(response.of_call(self.context(request_id)));
                    }
                },
            };
            let Some(pause) = pause else {
                return Err(error.with_context(self.context(None)));
            };
            self.earlier = self.earlier.max(error.effect());
            self.http.sleep_until(saturating_add(self.http.clock().now(), pause));
        }
    }

    /// Returns the request of the contract, after checking that it can be sent.
    fn prepare(&self) -> Result<Request> {
        self.check_time()?;
        let mut request = self.http.contract().request(self.operation);
        request.check()?;
        if let Some(key) = &self.idempotency_key {
            if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("idempotency-key")) {
                request = request.header("Idempotency-Key", key);
            }
        }
        // The contract may have used up the time that was left.
        self.check_time()?;
        Ok(request)
    }

    /// Refuses to send anything after a stop or the deadline.
    fn check_time(&self) -> Result<()> {
        if self.http.is_stopped() {
            return Err(Error::stopped(false));
        }
        if self.left().is_zero() { Err(Error::out_of_time()) } else { Ok(()) }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(self.http.clock().now())
    }

    /// Makes one attempt. If it fails and is to be retried, also returns the pause before the next one.
    fn attempt(&mut self, request: &mut Request) -> Result<Response, (Error, Option<Duration>)> {
        self.attempts += 1;
        let class = class_of(self.operation, request);
        self.class = Some(class);
        let began = self.http.clock().now();
        let outcome = self.exchange(request, class);
        let elapsed = self.http.clock().now().saturating_duration_since(began);
        let pause = outcome.as_ref().err().and_then(|error| {
            let (max_retries, random) = (self.http.max_retries, self.http.jitter());
            retry::pause(class, error, self.attempts, max_retries, self.left(), random)
        });
        self.report(request, &outcome, elapsed, pause);
        // The user knows the limit of the call, and not what was left of it for this attempt.
        let limit = self.deadline.saturating_duration_since(self.started);
        let connect_timeout = self.http.core.config.settings.connect_timeout;
        outcome.map_err(|error| (error.with_limits(limit, connect_timeout), pause))
    }

    fn exchange(&self, request: &mut Request, class: Class) -> Result<Response> {
        let core = &self.http.core;
        // The first attempt of a read leaves time for a second one.
        let is_first_of_several = self.attempts == 1 && self.http.max_retries > 0;
        let within = if class == Class::Read && is_first_of_several { self.left() / 2 } else { self.left() };
        let mut api_key = lock(&self.http.api_key).clone();
        api_key.secrets = api_key.secrets.and(request.secrets());
        let url = format!("{}{}", core.config.api_url, request.path);
        let mut response = core.transport.attempt(request, &url, api_key, class, within, &self.http.stops)?;
        self.http.contract().response(self.operation, &mut response);
        if !matches!(response.status, 404 | 410) && !self.http.has_responded() && response.is_json() {
            core.has_responded.store(true, Ordering::Relaxed);
        }
        if response.is_success() {
            return Ok(response);
        }
        Err(response.failure(self.http.clock().system_time()))
    }

    /// Logs the attempt, and passes it to the functions of the caller.
    fn report(
        &self,
        request: &Request,
        outcome: &Result<Response>,
        elapsed: Duration,
        retry_in: Option<Duration>,
    ) {
        let method = &request.method;
        // The query may hold a cursor.
        let url = sanitize(&format!("{}{}", self.http.core.config.api_url, request.path_only()), 300);
        let (status, error) = match outcome {
            Ok(response) => (Some(response.status), None),
            Err(error) => (error.status(), Some(error.summary())),
        };
        match (&error, retry_in) {
            (None, _) => log::debug!("{method} {url}: {} in {elapsed:?}", status.unwrap_or_default()),
            (Some(error), None) => log::debug!("{method} {url}: {error}; not retried"),
            (Some(error), Some(pause)) => log::warn!("{method} {url}: {error}; retrying in {pause:?}"),
        }
        let (operation, number) = (self.operation, self.attempts);
        let error = error.as_deref();
        for observe in &self.http.core.config.settings.on_attempt {
            observe(&Attempt { operation, method, number, status, error, elapsed, retry_in });
        }
    }

    /// Describes the call for its error.
    fn context(&self, request_id: Option<String>) -> Context {
        Context {
            action: self.operation.name(),
            job_id: self.operation.job_id().cloned(),
            // A call that sent nothing has changed nothing.
            class: self.class.unwrap_or(Class::Read),
            address: self.http.core.config.settings.address(),
            key: lock(&self.http.api_key).name,
            request_id,
            attempts: self.attempts,
            elapsed: self.http.clock().now().saturating_duration_since(self.started),
            earlier: self.earlier,
            has_responded: self.http.has_responded(),
        }
    }
}

/// Returns what sending the request twice does. The operation decides, whatever method the contract uses for it.
fn class_of(operation: Operation<'_>, request: &Request) -> Class {
    match operation {
        Operation::List { .. } | Operation::Get { .. } => Class::Read,
        Operation::Rename { .. } | Operation::Cancel { .. } | Operation::Delete { .. } => Class::Idempotent,
        Operation::Submit { .. } | Operation::SubmitBatch { .. } => Class::Submission,
        Operation::Custom { .. } if !request.is_idempotent() => Class::Submission,
        Operation::Custom { .. } if request.is_read() => Class::Read,
        Operation::Custom { .. } => Class::Idempotent,
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("base_url", &self.core.config.base_url)
            .field("api_url", &self.core.config.api_url)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
