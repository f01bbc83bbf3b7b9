//! The client and its verbs.

use std::env;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::api;
use crate::clock::SystemClock;
use crate::error::{Cause, Error, Result};
use crate::http::{Http, Settings};
use crate::job::Job;
use crate::listing::{JobsIter, ListJobs};
use crate::retry::Policy;
use crate::submit::{self, BatchSubmission, LARGEST_BATCH};
use crate::summary::JobSummary;
use crate::wait::{WaitForJobs, WaitOptions};

const API_KEY_VARIABLE: &str = "ATOMIVERSE_API_KEY";
const BASE_URL_VARIABLE: &str = "ATOMIVERSE_BASE_URL";

/// The way to the service: every verb starts here.
///
/// Cheap to clone and free to share between threads: the clones have one pool of connections. Every
/// call blocks until it is done, and no longer than [`timeout`](ClientBuilder::timeout).
///
/// ```no_run
/// use atomiverse::{Client, JobState};
///
/// let client = Client::from_env()?;
/// for job in client.iter_jobs().max_jobs(200) {
///     let job = job?;
///     if job.state == JobState::Failed {
///         println!("{} {}", job.job_id, job.name.unwrap_or_default());
///     }
/// }
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    http: Arc<Http>,
}

impl Client {
    /// A client with the key from the environment variable `ATOMIVERSE_API_KEY`, for the service at
    /// `ATOMIVERSE_BASE_URL` where that is set.
    ///
    /// # Errors
    ///
    /// The variable is not set, or a value is refused as by [`ClientBuilder::build`].
    ///
    /// ```no_run
    /// let client = atomiverse::Client::from_env()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn from_env() -> Result<Self> {
        let read = |name| match env::var(name) {
            Ok(value) if value.is_empty() => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => Err(Error::input(format!("{name} is not valid Unicode"))),
        };
        let key = read(API_KEY_VARIABLE)?.ok_or_else(|| {
            Error::input(format!(
                "the environment variable {API_KEY_VARIABLE} is not set: \
                 set it to a key made in the settings of the dashboard"
            ))
        })?;
        let builder = Client::builder().api_key(key);
        match read(BASE_URL_VARIABLE)? {
            Some(base_url) => builder.base_url(base_url).build(),
            None => builder.build(),
        }
    }

    /// A client with this key and otherwise the defaults.
    ///
    /// Keep keys out of source code: [`from_env`](Client::from_env) is the better way.
    ///
    /// # Errors
    ///
    /// The key is empty or holds characters that no key has.
    ///
    /// ```
    /// let client = atomiverse::Client::new("av_0123456789")?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn new(api_key: impl Into<String>) -> Result<Self> {
        Client::builder().api_key(api_key).build()
    }

    /// A client with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let client = atomiverse::Client::builder()
    ///     .api_key("av_0123456789")
    ///     .timeout(Duration::from_secs(10))
    ///     .build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// One page of the job history: set [`limit`](ListJobs::limit) and [`cursor`](ListJobs::cursor), then
    /// [`send`](ListJobs::send).
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let page = client.list_jobs().limit(50).send()?;
    /// println!("{} jobs", page.jobs.len());
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn list_jobs(&self) -> ListJobs {
        ListJobs::new(self.clone())
    }

    /// Every job of the history, page by page, as an iterator.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// for job in client.iter_jobs().limit(50).max_jobs(200) {
    ///     println!("{}", job?.job_id);
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn iter_jobs(&self) -> JobsIter {
        JobsIter::new(self.clone())
    }

    /// Loads one job.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found) where there is no such job; an empty `id` and the ids `.` and
    /// `..` are refused before any request; a request that fails.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let job = client.get_job("9f2c")?;
    /// println!("{} has cost {} core-seconds", job.job_id, job.billed_core_seconds.unwrap_or(0.0));
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn get_job(&self, id: impl AsRef<str>) -> Result<JobSummary> {
        self.get_job_before(id.as_ref(), self.http.deadline())
    }

    pub(crate) fn get_job_before(&self, id: &str, deadline: Instant) -> Result<JobSummary> {
        let call = api::get(id)?;
        let answer = self.http.send(&call, deadline)?;
        answer.summary().map_err(|cause| self.http.error(cause, &call, &answer))
    }

    /// Gives a job another name.
    ///
    /// The name is sent as it is: the rules are the server's. By its documentation a name must not be
    /// empty after trimming, has at most 120 characters, and only printable ones.
    ///
    /// # Errors
    ///
    /// [Validation](Error::is_validation) where the server refuses the name, in its words; otherwise as
    /// [`get_job`](Client::get_job).
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// client.rename_job("9f2c", "benchmark-water-b3lyp")?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn rename_job(&self, id: impl AsRef<str>, name: impl AsRef<str>) -> Result<()> {
        self.http.send(&api::rename(id.as_ref(), name.as_ref())?, self.http.deadline())?;
        Ok(())
    }

    /// Asks the service to stop a job.
    ///
    /// Best effort: a job that has finished already is no error and stays as it is. Load the job to see
    /// what came of it.
    ///
    /// # Errors
    ///
    /// As [`get_job`](Client::get_job).
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// client.cancel_job("9f2c")?;
    /// println!("{}", client.get_job("9f2c")?.state);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn cancel_job(&self, id: impl AsRef<str>) -> Result<()> {
        self.cancel_job_before(id.as_ref(), self.http.deadline())
    }

    pub(crate) fn cancel_job_before(&self, id: &str, deadline: Instant) -> Result<()> {
        self.http.send(&api::cancel(id)?, deadline)?;
        Ok(())
    }

    /// Removes a job from the history. Only a done, failed or cancelled job can be deleted.
    ///
    /// A request that had to be sent again and then meets "no such job" counts as done: the first one
    /// did it, and its answer was lost.
    ///
    /// # Errors
    ///
    /// [Conflict](Error::is_conflict) where the job is pending or running: the job is loaded and the
    /// error carries its [state](Error::state). [Not found](Error::is_not_found) where there is no such
    /// job; see [`delete_job_if_exists`](Client::delete_job_if_exists). Otherwise as
    /// [`get_job`](Client::get_job).
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// client.delete_job("9f2c")?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn delete_job(&self, id: impl AsRef<str>) -> Result<()> {
        let id = id.as_ref();
        let deadline = self.http.deadline();
        match self.http.send(&api::delete(id)?, deadline) {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() && error.attempts() > 1 => Ok(()),
            Err(error) if error.is_conflict() => {
                let reloaded = self.get_job_before(id, deadline).map(|job| job.state);
                Err(error.with_reloaded_state(reloaded))
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a job from the history if it is there: `false` where it was gone already.
    ///
    /// For clean-up that may run twice.
    ///
    /// # Errors
    ///
    /// As [`delete_job`](Client::delete_job), but for a job that is not there.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// if !client.delete_job_if_exists("9f2c")? {
    ///     println!("gone already");
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn delete_job_if_exists(&self, id: impl AsRef<str>) -> Result<bool> {
        match self.delete_job(id) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Submits a job, and gives a handle on it.
    ///
    /// The payload is any value that is written as a JSON object: a struct, a [`serde_json::Value`], what
    /// Python's `model_dump()` wrote. It is sent as it is; the server judges it. What the answer says of
    /// the job is in the handle's [`summary`](Job::summary) where it gives the state; fields that it leaves
    /// out are empty until the first [`refresh`](Job::refresh). The service may answer a payload that it saw
    /// before with the job that is there already.
    ///
    /// # Errors
    ///
    /// A payload that is no JSON object is refused before any request. [Validation](Error::is_validation)
    /// where the server refuses it. A submission is sent again only where the server surely did not take
    /// it: no connection was made, or it said 429 or 503. After any other failure the error says whether
    /// the job [may have been submitted](Error::may_have_been_submitted), and how to find out.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let payload: serde_json::Value = serde_json::from_str(&std::fs::read_to_string("water.json")?)?;
    /// let job = client.submit_job(&payload)?;
    /// println!("{}", job.job_dashboard_url());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn submit_job(&self, payload: &(impl Serialize + ?Sized)) -> Result<Job> {
        let call = api::submit(submit::payload(payload)?);
        let answer = self.http.send(&call, self.http.deadline())?;
        let (id, summary) = answer.submitted().map_err(|cause| self.http.error(cause, &call, &answer))?;
        Ok(Job::new(self, id.as_str())?.with_summary(summary))
    }

    /// Submits at most 1000 jobs in one request.
    ///
    /// A payload that the server rejects does not hold the others: its entry says why. An empty list
    /// sends nothing. For longer lists see [`submit_batches`](Client::submit_batches).
    ///
    /// # Errors
    ///
    /// More than 1000 payloads, or one that is no JSON object: refused before any request. An answer with
    /// another number of entries than there were payloads; it is handed over in
    /// [`partial_batch`](Error::partial_batch). Otherwise as [`submit_job`](Client::submit_job).
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// # let payloads: Vec<serde_json::Value> = Vec::new();
    /// let answer = client.submit_batch(&payloads)?;
    /// println!("{} submitted, {} failed", answer.submitted, answer.failed);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn submit_batch<P: Serialize>(
        &self,
        payloads: impl IntoIterator<Item = P>,
    ) -> Result<BatchSubmission> {
        // One more than allowed is enough to know.
        let payloads = submit::payloads(payloads.into_iter().take(LARGEST_BATCH + 1))?;
        if payloads.len() > LARGEST_BATCH {
            return Err(Error::input(format!(
                "more than {LARGEST_BATCH} payloads: one request takes no more, \
                 but submit_batches splits them; nothing was sent"
            )));
        }
        submit::in_batches(&payloads, |chunk| self.send_batch(chunk))
    }

    /// Submits any number of jobs, in requests of at most 1000, and puts the answers together.
    ///
    /// Stops at the first request that fails.
    ///
    /// # Errors
    ///
    /// As [`submit_batch`](Client::submit_batch); [`partial_batch`](Error::partial_batch) then says which
    /// payloads went out, which were in the request that failed, and which were not sent.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// # let payloads: Vec<serde_json::Value> = Vec::new();
    /// let answer = client.submit_batches(&payloads)?;
    /// println!("{} of {} submitted", answer.submitted, answer.total);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn submit_batches<P: Serialize>(
        &self,
        payloads: impl IntoIterator<Item = P>,
    ) -> Result<BatchSubmission> {
        submit::in_batches(&submit::payloads(payloads)?, |chunk| self.send_batch(chunk))
    }

    /// What the server answered, and the error if there is one: an answer may be both.
    fn send_batch(&self, payloads: &[Vec<u8>]) -> (BatchSubmission, Option<Error>) {
        let call = api::submit_batch(payloads);
        let answer = match self.http.send(&call, self.http.deadline()) {
            Ok(answer) => answer,
            Err(error) => return (BatchSubmission::default(), Some(error)),
        };
        match answer.batch() {
            Ok(batch) if batch.jobs.len() == payloads.len() => (batch, None),
            Ok(batch) => {
                let cause = Cause::EntryCount { payloads: payloads.len(), entries: batch.jobs.len() };
                (batch, Some(self.http.error(cause, &call, &answer)))
            }
            Err(cause) => (BatchSubmission::default(), Some(self.http.error(cause, &call, &answer))),
        }
    }

    /// Waits until a job is done, failed or cancelled, and gives its last summary.
    ///
    /// Looks at it again and again, with pauses that grow; a look that fails and may do better later does
    /// not end the wait. What it reached is not judged: a failed job is no error here.
    ///
    /// # Errors
    ///
    /// [Timeout](Error::is_timeout) where the time of the options is up: the error has the last
    /// [state](Error::state) seen. [Not found](Error::is_not_found), a key that is refused and the like end
    /// the wait at once. Options that make no sense are refused before any request.
    ///
    /// ```no_run
    /// use atomiverse::{JobState, WaitOptions};
    /// # let client = atomiverse::Client::from_env()?;
    /// let job = client.wait_for_job("9f2c", &WaitOptions::new())?;
    /// assert_eq!(job.state, JobState::Done);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn wait_for_job(&self, id: impl AsRef<str>, options: &WaitOptions<'_>) -> Result<JobSummary> {
        match self.wait_for_jobs([id], options).next() {
            Some(outcome) => outcome,
            None => Err(Error::input("the wait ended without an outcome")),
        }
    }

    /// Waits for several jobs at once: an iterator that gives each job when it has come to its end.
    ///
    /// Every job comes out exactly once, as its last summary or as an error about that job (it is gone, or
    /// the time is up). An error that concerns all of them, such as a key that is refused, ends the iterator
    /// at once. There is one deadline over all, counted from the first `next`.
    ///
    /// # Requests
    ///
    /// Jobs are looked up on listing pages, newest first, as long as that takes fewer requests than asking
    /// for each job: 200 new jobs are four requests a round. Where it once took as many (the jobs lie deep in
    /// the history, or one is left), each is asked for by itself from then on.
    ///
    /// ```no_run
    /// use atomiverse::WaitOptions;
    /// # let client = atomiverse::Client::from_env()?;
    /// for job in client.wait_for_jobs(["9f2c", "77ab"], &WaitOptions::new()) {
    ///     match job {
    ///         Ok(job) => println!("{} is {}", job.job_id, job.state),
    ///         Err(error) => eprintln!("{error}"),
    ///     }
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn wait_for_jobs<'a>(
        &self,
        ids: impl IntoIterator<Item = impl AsRef<str>>,
        options: &WaitOptions<'a>,
    ) -> WaitForJobs<'a> {
        WaitForJobs::new(self, ids, options)
    }

    /// A handle on one job. Nothing is sent, so the job need not exist.
    ///
    /// # Errors
    ///
    /// The `id` is empty, `.` or `..`.
    ///
    /// ```
    /// let client = atomiverse::Client::new("key")?;
    /// let job = client.job("9f2c")?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn job(&self, id: impl AsRef<str>) -> Result<Job> {
        Job::new(self, id.as_ref())
    }

    /// The link to a job's dashboard. Nothing is sent.
    ///
    /// # Errors
    ///
    /// The `id` is empty, `.` or `..`.
    ///
    /// ```
    /// let client = atomiverse::Client::new("key")?;
    /// assert_eq!(client.job_dashboard_url("a b")?, "https://atomiverse.com/job?job_id=a%20b");
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn job_dashboard_url(&self, id: impl AsRef<str>) -> Result<String> {
        Ok(format!("{}{}", self.http.base_url(), api::dashboard(id.as_ref())?))
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }
}

/// Shows where the client goes, and no key.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("http", &self.http).finish()
    }
}

/// The settings of a [`Client`]. Made by [`Client::builder`].
///
/// ```
/// use std::time::Duration;
///
/// let client = atomiverse::Client::builder()
///     .api_key("av_0123456789")
///     .base_url("http://127.0.0.1:8080")
///     .timeout(Duration::from_secs(20))
///     .max_retries(0)
///     .build()?;
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing before `build`"]
pub struct ClientBuilder {
    settings: Settings,
}

impl ClientBuilder {
    fn new() -> Self {
        ClientBuilder {
            settings: Settings {
                api_key: None,
                base_url: api::BASE_URL.to_owned(),
                api_url: None,
                allow_insecure_http: false,
                timeout: Duration::from_secs(60),
                attempt_timeout: Duration::from_secs(30),
                connect_timeout: Duration::from_secs(10),
                max_response_bytes: 64 * 1024 * 1024,
                user_agent: concat!("atomiverse-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
                proxy_from_env: true,
                root_certificates: Vec::new(),
                policy: Policy::default(),
                clock: Arc::new(SystemClock),
            },
        }
    }

    /// The API key. A workspace key, in the words of the service's documentation; its prefix is not looked at.
    ///
    /// ```
    /// let client = atomiverse::Client::builder().api_key("av_0123456789").build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn api_key(mut self, api_key: impl Into<String>) -> Self {
        self.settings.api_key = Some(api_key.into());
        self
    }

    /// Where the service is; `https://atomiverse.com` unless set. Dashboard links begin with it.
    ///
    /// Plain `http://` is taken for a server on this machine only.
    ///
    /// ```
    /// let client = atomiverse::Client::builder().api_key("key").base_url("http://localhost:8080").build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn base_url(mut self, base_url: impl Into<String>) -> Self {
        self.settings.base_url = base_url.into();
        self
    }

    /// Where the HTTP interface stands; `{base_url}/api/v1` unless set.
    ///
    /// The service does not document this address: here it can be put right without a new release.
    ///
    /// ```
    /// let client = atomiverse::Client::builder().api_key("key").api_url("http://localhost:8080/v2").build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn api_url(mut self, api_url: impl Into<String>) -> Self {
        self.settings.api_url = Some(api_url.into());
        self
    }

    /// The longest that a call may take, with everything in it: connection, retries, pauses, the
    /// answer. 60 seconds unless set.
    ///
    /// Of an iterator it bounds each `next`.
    ///
    /// ```
    /// use std::time::Duration;
    /// let client = atomiverse::Client::builder().api_key("key").timeout(Duration::from_secs(10)).build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// The longest that one attempt of a call may take. 30 seconds unless set, and never longer than
    /// what is left of the [`timeout`](ClientBuilder::timeout). A submission, which is never sent again after
    /// a timeout, has all of that.
    ///
    /// ```
    /// use std::time::Duration;
    /// let client = atomiverse::Client::builder().api_key("key").attempt_timeout(Duration::from_secs(5)).build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.settings.attempt_timeout = timeout;
        self
    }

    /// The longest that making a connection may take, TLS included. 10 seconds unless set.
    ///
    /// ```
    /// use std::time::Duration;
    /// let client = atomiverse::Client::builder().api_key("key").connect_timeout(Duration::from_secs(3)).build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How often a request is sent again after a failure that may pass. 2 unless set; 0 is never.
    ///
    /// Sent again are: what met no connection, a broken one, or the status 408, 425, 429, 500, 502, 503
    /// or 504; and what only reads, after a timeout too.
    ///
    /// ```
    /// let client = atomiverse::Client::builder().api_key("key").max_retries(0).build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.settings.policy.max_retries = max_retries;
        self
    }

    /// The pause before the first retry, which then doubles, and its ceiling. 0.5 and 8 seconds unless
    /// set. Each pause is shortened by up to a quarter, at random.
    ///
    /// ```
    /// use std::time::Duration;
    /// let client = atomiverse::Client::builder()
    ///     .api_key("key")
    ///     .retry_pause(Duration::from_millis(100), Duration::from_secs(2))
    ///     .build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn retry_pause(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.policy.first_pause = first;
        self.settings.policy.longest_pause = longest;
        self
    }

    /// The longest pause that the server may ask for with `Retry-After`. 30 seconds unless set.
    ///
    /// A server that asks for more gets no second request; the error then says for how long it
    /// [asked](Error::retry_after).
    ///
    /// ```
    /// use std::time::Duration;
    /// let client = atomiverse::Client::builder().api_key("key").max_retry_after(Duration::ZERO).build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.settings.policy.longest_retry_after = longest;
        self
    }

    /// The largest answer that is read, in bytes after decompression. 64 MiB unless set.
    ///
    /// ```
    /// let client = atomiverse::Client::builder().api_key("key").max_response_bytes(1024 * 1024).build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn max_response_bytes(mut self, bytes: u64) -> Self {
        self.settings.max_response_bytes = bytes;
        self
    }

    /// Take plain `http://` for any host. The API key then goes through the network for all to read.
    ///
    /// ```
    /// let client = atomiverse::Client::builder()
    ///     .api_key("key")
    ///     .base_url("http://gateway.example")
    ///     .allow_insecure_http(true)
    ///     .build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn allow_insecure_http(mut self, allow: bool) -> Self {
        self.settings.allow_insecure_http = allow;
        self
    }

    /// The header `User-Agent`; `atomiverse-rust/<version>` unless set.
    ///
    /// ```
    /// let client = atomiverse::Client::builder().api_key("key").user_agent("nightly-report/2.1").build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.settings.user_agent = user_agent.into();
        self
    }

    /// Whether the proxy is used that the environment names (`ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` in
    /// either case, and `NO_PROXY`). It is unless set; never for a server on this machine.
    ///
    /// ```
    /// let client = atomiverse::Client::builder().api_key("key").proxy_from_env(false).build()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn proxy_from_env(mut self, proxy_from_env: bool) -> Self {
        self.settings.proxy_from_env = proxy_from_env;
        self
    }

    /// Trust these authorities too, as PEM: for a gateway of your own, or a proxy that looks into TLS. Can be
    /// called more than once.
    ///
    /// They add to Mozilla's root certificates. (With the feature `platform-verifier` too: these and
    /// Mozilla's are trusted then, no longer the operating system's.)
    ///
    /// ```no_run
    /// let client = atomiverse::Client::builder()
    ///     .api_key("key")
    ///     .base_url("https://gateway.example")
    ///     .add_root_certificates(std::fs::read("our-authority.pem")?)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.settings.root_certificates.push(pem.into());
        self
    }

    #[cfg(feature = "simulator")]
    pub(crate) fn clock(mut self, clock: Arc<dyn crate::clock::Clock>) -> Self {
        self.settings.clock = clock;
        self
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// No key, or one that is empty or holds blanks, line breaks or other characters that no key has
    /// (the error does not show it); a URL that is none, that carries a user name, or that is plain http
    /// to another machine; https in a build without TLS; root certificates that are none; a timeout of zero; a user agent that is not
    /// printable ASCII.
    ///
    /// ```
    /// let error = atomiverse::Client::builder().api_key("key\n").build().unwrap_err();
    /// assert!(error.to_string().contains("line break"));
    /// ```
    pub fn build(self) -> Result<Client> {
        if self.settings.api_key.is_none() {
            return Err(Error::input("no API key was given: say api_key(..), or use Client::from_env()"));
        }
        Ok(Client { http: Arc::new(Http::new(self.settings)?) })
    }
}

/// Shows the settings, and of the key only whether there is one.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { api_key, base_url, api_url, timeout, policy, .. } = &self.settings;
        f.debug_struct("ClientBuilder")
            .field("api_key", &api_key.as_ref().map(|_| "(hidden)"))
            .field("base_url", &without_password(base_url))
            .field("api_url", &api_url.as_deref().map(without_password))
            .field("timeout", timeout)
            .field("policy", policy)
            .finish_non_exhaustive()
    }
}

/// `build` refuses an address with a password; until then it is not shown.
fn without_password(url: &str) -> &str {
    if url.contains('@') { "(hidden)" } else { url }
}
