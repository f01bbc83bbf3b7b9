//! Deadlines, the retry loop, and the context of errors.

// An attempt's error is short-lived.
#![allow(clippy::result_large_err)]

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, process};

use crate::api::{Reply, Request, Response};
use crate::clock::{Clock, saturating_add};
use crate::config::{Config, Settings};
use crate::error::{Context, Earlier, Error, ErrorKind, Idempotency, Result, sanitize};
use crate::parallel::lock;
use crate::transport::{AttemptError, Transport};

/// The core that a client and everything made by it share.
pub(crate) struct Http {
    transport: Transport,
    settings: Settings,
    base_url: String,
    api_url: String,
    /// Whether there was a successful response below the API URL.
    address_verified: AtomicBool,
    /// The actions whose paths the server wants with a slash at their end.
    slashed: Mutex<HashSet<&'static str>>,
    random: RandomState,
    random_count: AtomicU64,
}

impl Http {
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let config = settings.check()?;
        let transport = Transport::new(&config)?;
        let Config { settings, base_url, api_url, .. } = config;
        Ok(Http {
            transport,
            settings,
            base_url,
            api_url,
            address_verified: AtomicBool::new(false),
            slashed: Mutex::default(),
            random: RandomState::new(),
            random_count: AtomicU64::new(0),
        })
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.settings.clock
    }

    /// When a call that begins now has to be over.
    pub(crate) fn deadline(&self) -> Instant {
        saturating_add(self.clock().now(), self.settings.timeout)
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn jitter(&self) -> f64 {
        f64::from((self.random() >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
    }

    /// A key for one submission, with 128 random bits.
    pub(crate) fn idempotency_key(&self) -> String {
        format!("{:016x}{:016x}", self.random(), self.random())
    }

    /// The hasher of the standard library has random keys. A forked process has the same ones, so the
    /// number of the process and the time are mixed in.
    fn random(&self) -> u64 {
        let count = self.random_count.fetch_add(1, Ordering::Relaxed);
        self.random.hash_one((count, process::id(), Instant::now()))
    }

    /// Idle connections may be out of step or dead: the next requests use new ones.
    pub(crate) fn distrust_idle_connections(&self) {
        self.transport.distrust_idle_connections();
    }

    /// Sends the request, retries it as the policy says, and returns the response if its status is 2xx.
    pub(crate) fn send(&self, request: &Request, deadline: Instant) -> Result<Response> {
        let started = self.clock().now();
        let url = format!("{}{}{}", self.api_url, request.path, request.query);
        let mut earlier = Earlier::default();
        let mut attempts = 0;
        loop {
            let left = self.left(deadline);
            let outcome = if left.is_zero() {
                Err(AttemptError { kind: ErrorKind::OutOfTime, request_id: None })
            } else {
                attempts += 1;
                self.attempt(request, &url, left)
            };
            let context = |request_id| Context {
                action: request.action,
                job_id: request.job_id.clone(),
                idempotency: request.idempotency,
                method: request.method,
                url: sanitize(&format!("{}{}", self.api_url, request.path), 300),
                request_id,
                attempts,
                elapsed: self.clock().now().saturating_duration_since(started),
                earlier,
                address_verified: self.address_verified.load(Ordering::Relaxed),
            };
            let AttemptError { kind, request_id } = match outcome {
                Ok(reply) => return Ok(Response { context: context(reply.request_id()), reply }),
                Err(error) => error,
            };
            let (left, jitter) = (self.left(deadline), self.jitter());
            let policy = &self.settings.retry_policy;
            let Some(delay) = policy.delay(request.idempotency, &kind, attempts, left, jitter) else {
                log::debug!("{} {url}: {kind}; not retried", request.method);
                return Err(Error::new(kind, context(request_id)));
            };
            log::debug!("{} {url}: {kind}; retrying in {delay:?}", request.method);
            earlier.add(&kind);
            self.clock().sleep(delay);
        }
    }

    fn left(&self, deadline: Instant) -> Duration {
        deadline.saturating_duration_since(self.clock().now())
    }

    fn attempt(&self, request: &Request, url: &str, left: Duration) -> Result<Reply, AttemptError> {
        // Submissions are never retried after a timeout, so the attempt gets all the remaining time.
        let is_submission = request.idempotency == Idempotency::NonIdempotent;
        let within = if is_submission { left } else { left.min(self.settings.attempt_timeout) };
        let started = self.clock().now();
        let reply = self.exchange(request, url, within)?;
        if !reply.is_success() {
            let kind = reply.error(self.clock().system_time());
            return Err(AttemptError { kind, request_id: reply.request_id() });
        }
        // An HTML page may be anybody's.
        if !reply.is_html() {
            self.address_verified.store(true, Ordering::Relaxed);
        }
        let took = self.clock().now().saturating_duration_since(started);
        log::debug!("{} {url}: {} in {took:?}", request.method, reply.status);
        Ok(reply)
    }

    /// Sends the request, once more if the server redirects to the same path with a slash at its end. It goes to
    /// the configured address again: behind a proxy the server may name another.
    fn exchange(&self, request: &Request, url: &str, within: Duration) -> Result<Reply, AttemptError> {
        let started = self.clock().now();
        let url_with_slash = || format!("{}{}/{}", self.api_url, request.path, request.query);
        if lock(&self.slashed).contains(request.action) {
            return self.transport.attempt(request, &url_with_slash(), within);
        }
        let wants_slash = |reply: &Reply| {
            let path = reply.redirect_path().and_then(|path| path.strip_suffix('/'));
            path.and_then(|path| path.strip_prefix(path_of(&self.api_url))) == Some(&request.path)
        };
        let reply = self.transport.attempt(request, url, within)?;
        if !wants_slash(&reply) {
            return Ok(reply);
        }
        let took = self.clock().now().saturating_duration_since(started);
        let left = within.saturating_sub(took).max(Duration::from_millis(1));
        let reply = self.transport.attempt(request, &url_with_slash(), left)?;
        if !wants_slash(&reply) {
            lock(&self.slashed).insert(request.action);
        }
        Ok(reply)
    }
}

/// The path of a URL that was checked.
fn path_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    url[after_scheme..].find('/').map_or("", |at| &url[after_scheme + at..])
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("base_url", &self.base_url)
            .field("api_url", &self.api_url)
            .finish_non_exhaustive()
    }
}
