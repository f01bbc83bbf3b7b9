//! One call: its deadline, its attempts, and the context of its errors.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ureq::http;

use crate::config::builder::{Attempt, ClientBuilder};
use crate::config::settings::Config;
use crate::config::url::Setting;
use crate::contract::{Contract, Operation};
use crate::error::{Class, Context, Error, Result, sanitize};
use crate::http::clock::{Clock, saturating_add};
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::retry;
use crate::http::stop::{StopToken, Stops};
use crate::http::transport::Transport;
use crate::sync::read;
use crate::types::JobId;

/// A view: the core that a client shares with everything made by it, and the settings in which views differ. Cheap to
/// clone.
#[derive(Clone)]
pub(crate) struct Http {
    core: Arc<Core>,
    /// Shared by the views that have no key of their own.
    api_key: Arc<RwLock<Setting>>,
    timeout: Duration,
    max_retries: u32,
    stops: Stops,
}

struct Core {
    transport: Transport,
    config: Config,
    /// Whether there was any success with JSON. Another server may send JSON too, but no such success.
    has_responded: AtomicBool,
}

impl Http {
    pub(crate) fn new(builder: ClientBuilder) -> Result<Self> {
        let config = builder.check()?;
        let transport = Transport::new(&config)?;
        Ok(Http {
            api_key: Arc::new(RwLock::new(config.api_key.clone())),
            timeout: config.settings.timeout,
            max_retries: config.settings.max_retries,
            stops: Stops::default(),
            core: Arc::new(Core { transport, config, has_responded: AtomicBool::new(false) }),
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
    pub(crate) fn with_api_key(&self, api_key: Setting) -> Result<Self> {
        self.core.config.settings.key_header(&api_key)?;
        Ok(Http { api_key: Arc::new(RwLock::new(api_key)), ..self.clone() })
    }

    /// Changes the key of this view and of all views that share it.
    pub(crate) fn set_api_key(&self, api_key: Setting) -> Result<()> {
        self.core.config.settings.key_header(&api_key)?;
        *self.api_key.write().unwrap_or_else(PoisonError::into_inner) = api_key;
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

    /// Sends the request for an operation, retries it, and returns the response if its status is 2xx.
    pub(crate) fn send(&self, operation: Operation<'_>, deadline: Instant) -> Result<Response> {
        // The idempotency key is the same for all attempts of a submission.
        let is_submission = matches!(operation, Operation::Submit { .. } | Operation::SubmitBatch { .. });
        let idempotency_key = is_submission.then(random);
        let context = Context {
            action: operation.name(),
            job_id: operation.job_id().cloned(),
            address: self.core.config.settings.address(),
            ..Context::default()
        };
        let call =
            Call { http: self, operation, deadline, started: self.clock().now(), idempotency_key, context };
        call.run()
    }
}

/// A call, and the history of its attempts.
struct Call<'a> {
    http: &'a Http,
    operation: Operation<'a>,
    deadline: Instant,
    started: Instant,
    idempotency_key: Option<u64>,
    /// What has happened so far, for errors. The class is that of the last request that was sent: a call that sent
    /// nothing has changed nothing.
    context: Context,
}

impl Call<'_> {
    fn run(mut self) -> Result<Response> {
        loop {
            match self.attempt() {
                Ok(response) => return Ok(response.of_call(self.context())),
                Err((error, None)) => return Err(error.with_context(self.context())),
                Err((error, Some(pause))) => {
                    self.context.earlier = self.context.earlier.max(error.effect());
                    self.http.sleep_until(saturating_add(self.http.clock().now(), pause));
                }
            }
        }
    }

    /// Returns the request of the contract as it is sent, what sending it twice does, and the time that is left.
    fn prepare(&self) -> Result<(http::Request<Vec<u8>>, Class, Duration)> {
        self.check_time()?;
        let request = self.http.contract().request(self.operation);
        // The contract may have used up the time that was left.
        let left = self.check_time()?;
        let config = &self.http.core.config;
        let (name, api_key) = config.settings.key_header(&read(&self.http.api_key))?;
        let mut headers = config.headers.clone();
        headers.insert(name, api_key);
        if let Some(key) = self.idempotency_key {
            headers.insert("idempotency-key", key.into());
        }
        let class = class_of(self.operation, &request);
        Ok((request.into_http(&config.api_url, headers)?, class, left))
    }

    /// Refuses to send anything after a stop or the deadline. Returns the time that is left.
    fn check_time(&self) -> Result<Duration> {
        if self.http.is_stopped() {
            return Err(Error::stopped(false));
        }
        Some(self.left()).filter(|left| !left.is_zero()).ok_or_else(Error::out_of_time)
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(self.http.clock().now())
    }

    /// Makes one attempt. If it fails and is to be retried, also returns the pause before the next one.
    fn attempt(&mut self) -> Result<Response, (Error, Option<Duration>)> {
        let (request, class, left) = self.prepare().map_err(|error| (error, None))?;
        let core = &*self.http.core;
        let now = || self.http.clock().now();
        self.context.attempts += 1;
        self.context.class = class;
        let number = self.context.attempts;
        // The first attempt of a read leaves time for a second one.
        let leaves_time = class == Class::Read && number == 1 && self.http.max_retries > 0;
        let within = if leaves_time { left / 3 * 2 } else { left };
        let (method, began) = (request.method().clone(), now());
        // The query may hold a cursor.
        let path = sanitize(request.uri().path(), 300);
        let received = core.transport.attempt(request, class, within, &self.http.stops);
        let outcome = received.and_then(|response| self.translate(response));
        let elapsed = now().saturating_duration_since(began);
        let retry_in = outcome.as_ref().err().and_then(|error| {
            retry::pause(class, error, number, self.http.max_retries, self.left(), jitter())
        });
        let (status, error) = match &outcome {
            Ok(response) => (Some(response.status), None),
            Err(error) => (error.status(), Some(error.summary())),
        };
        match (&error, retry_in) {
            (None, _) => log::debug!("{method} {path}: {} in {elapsed:?}", status.unwrap_or_default()),
            (Some(error), None) => log::debug!("{method} {path}: {error}; not retried"),
            (Some(error), Some(pause)) => log::warn!("{method} {path}: {error}; retrying in {pause:?}"),
        }
        let (operation, method, error) = (self.operation, method.as_str(), error.as_deref());
        for observe in &core.config.settings.on_attempt {
            observe(&Attempt { operation, method, number, status, error, elapsed, retry_in });
        }
        // The user knows the limit of the call, and not what was left of it for this attempt.
        let limit = self.deadline.saturating_duration_since(self.started);
        let connect_timeout = core.config.settings.connect_timeout;
        outcome.map_err(|error| (error.with_limits(limit, connect_timeout), retry_in))
    }

    /// Passes the response to the contract, and then returns an error if its status is not 2xx.
    fn translate(&self, mut response: Response) -> Result<Response> {
        self.http.contract().response(self.operation, &mut response);
        if !response.is_success() {
            return Err(response.failure());
        }
        if !self.http.has_responded() && response.is_json() {
            self.http.core.has_responded.store(true, Ordering::Relaxed);
        }
        Ok(response)
    }

    /// Describes the call, which has ended, for its error.
    fn context(self) -> Context {
        Context {
            key: read(&self.http.api_key).name,
            elapsed: self.http.clock().now().saturating_duration_since(self.started),
            has_responded: self.http.has_responded(),
            ..self.context
        }
    }
}

/// Returns a random number in `0.0..1.0`.
pub(crate) fn jitter() -> f64 {
    f64::from((random() >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

/// Returns a random number. The hasher of the standard library has random keys, which a forked process shares with its
/// parent. The process id and the time are therefore hashed too.
fn random() -> u64 {
    RandomState::new().hash_one((process::id(), Instant::now()))
}

/// Returns what sending the request twice does. The operation decides, whatever method the contract uses for it.
fn class_of(operation: Operation<'_>, request: &Request) -> Class {
    match operation {
        Operation::List { .. } | Operation::Get { .. } => Class::Read,
        Operation::Rename { .. } | Operation::Cancel { .. } | Operation::Delete { .. } => Class::Idempotent,
        Operation::Submit { .. } | Operation::SubmitBatch { .. } => Class::Submission,
        Operation::Custom { .. } => request.class(),
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("api_url", &self.core.config.api_url).finish_non_exhaustive()
    }
}
