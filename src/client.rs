//! The client and its methods.

use std::time::Duration;

use serde::Serialize;

use crate::config::builder::ClientBuilder;
use crate::config::url::Setting;
use crate::contract::Operation;
use crate::error::Result;
use crate::http::call::Http;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::stop::StopToken;
use crate::job::Job;
use crate::jobs::list::{JobsIter, ListJobs};
use crate::jobs::schedule::WaitOptions;
use crate::jobs::wait::{self, WaitForJobs};
use crate::jobs::{bulk, change, check_id, submit};
use crate::types::{BatchSubmission, JobId, JobSummary, Submitted};

/// A blocking client for the Atomiverse API.
///
/// A client is cheap to clone and can be used from several threads. Its clones share their connections.
///
/// # Time limits
///
/// A method that sends requests blocks until it is done, by default for at most 60 seconds with everything in it. The
/// setting [`timeout`](crate::ClientBuilder::timeout) changes this limit. Some methods apply it more than once:
///
/// - An iteration over jobs applies it to each `next`.
/// - [`cancel_jobs`](Client::cancel_jobs) and [`delete_jobs`](Client::delete_jobs) apply it to each job, and
///   [`submit_batch`](Client::submit_batch) to each request of 1000 payloads.
/// - Waiting for jobs has a [limit of its own](WaitOptions::timeout), which defaults to one hour. Cancelling the jobs that
///   are left then, and deleting a job after it was cancelled, take as long as one call more.
///
/// The caller's own code, such as a [`Contract`](crate::Contract), is not interrupted.
///
/// # Identifiers
///
/// A job id consists of 1 to 256 visible ASCII characters other than `"`, `'`, `` ` ``, `<`, `>`, `?`, `#` and `\`, and
/// is not `.` or `..`. Each method refuses any other id without sending anything, and [`job`](Client::job) only checks it.
///
/// # Use in async code
///
/// A call blocks the thread that makes it. The [guide for services](crate::_guide::service#async-code) shows how to
/// make one in async code.
///
/// # Examples
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
#[derive(Debug, Clone)]
pub struct Client {
    http: Http,
}

/// Constructors.
impl Client {
    /// Creates a client from environment variables.
    ///
    /// The API key is read from `ATOMIVERSE_API_KEY`. The address of the service is read from `ATOMIVERSE_BASE_URL`,
    /// and that of the HTTP API from `ATOMIVERSE_API_URL`, if they are set.
    ///
    /// A build without the features `rustls` and `native-tls` cannot use the default address, which is `https://`. In
    /// such a build, set `ATOMIVERSE_BASE_URL` to an `http://` address on the same machine.
    ///
    /// # Errors
    ///
    /// Returns an error if `ATOMIVERSE_API_KEY` is not set, or if [`ClientBuilder::build`] refuses a value.
    pub fn from_env() -> Result<Self> {
        ClientBuilder::from_env()?.build()
    }

    /// Creates a client with this API key and default settings.
    ///
    /// Prefer [`from_env`](Client::from_env), which keeps the key out of source code.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`ClientBuilder::build`], for example if the key is empty or the
    /// proxy in the environment cannot be used.
    pub fn new(api_key: impl Into<String>) -> Result<Self> {
        Client::builder().api_key(api_key).build()
    }

    /// Returns a builder for a client with custom settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

impl ClientBuilder {
    /// Builds the client. Sends nothing.
    ///
    /// # Errors
    ///
    /// Returns an error if
    ///
    /// - there is no key, or it is empty, in quotation marks, or contains a character other than visible ASCII (the
    ///   error does not show the key);
    /// - a URL is not valid, contains a user name or a query, or is plain `http://` to another machine or through a proxy, without
    ///   `allow_insecure_http(true)`;
    /// - the URL of the API is `https://` and the crate was built without TLS;
    /// - the proxy cannot be used, or a header cannot be sent;
    /// - no certificate can be read from the PEM, or both `root_certificates` and `platform_certificates` are set.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = atomiverse::Client::builder().api_key("key\n").build().unwrap_err();
    /// assert!(error.to_string().contains(r"\n"));
    /// ```
    pub fn build(self) -> Result<Client> {
        Ok(Client { http: Http::new(self)? })
    }
}

/// Views, which are clients that share the connection pool of this client and differ from it in one setting. A view is
/// as cheap as a clone.
impl Client {
    /// Returns a client with another [`timeout`](crate::ClientBuilder::timeout) for its calls.
    ///
    /// With a timeout of zero, calls fail without sending anything.
    #[must_use = "the client itself keeps its timeout"]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Client { http: self.http.with_timeout(timeout) }
    }

    /// Returns a client whose calls end when the token is stopped.
    ///
    /// A call then returns an error within 100 milliseconds, whether or not the server responds. The error says whether
    /// a change that was in flight [may have been processed](crate::Error::may_have_been_processed). Iterators and
    /// [`Job`]s made by this client watch the token too. If this client already watches tokens, the new client watches
    /// them all.
    ///
    /// # Examples
    ///
    /// This code stops waiting on Ctrl-C, with the crate `ctrlc`, and with its feature `termination` also on SIGTERM:
    ///
    /// ```no_run
    /// use atomiverse::{Client, StopToken, WaitOptions};
    ///
    /// let stop = StopToken::new();
    /// let client = Client::from_env()?.with_stop(&stop);
    /// ctrlc::set_handler(move || stop.stop())?;
    /// match client.wait_for_job("9f2c", WaitOptions::new()) {
    ///     Err(error) if error.is_stopped() => println!("stopped waiting; the job was not cancelled"),
    ///     outcome => println!("{}", outcome?.state),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the client itself does not watch the token"]
    pub fn with_stop(&self, stop: &StopToken) -> Self {
        Client { http: self.http.with_stop(stop) }
    }

    /// Returns a client with its own API key.
    ///
    /// Calling [`set_api_key`](Client::set_api_key) on the original client does not change this key.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is empty, in quotation marks, or contains a character other than visible ASCII.
    pub fn with_api_key(&self, api_key: impl Into<String>) -> Result<Self> {
        let api_key = Setting { name: "with_api_key", value: api_key.into() };
        Ok(Client { http: self.http.with_api_key(api_key)? })
    }

    /// Replaces the API key of this client and of every client that shares it: clones, and clients made by
    /// [`with_timeout`](Client::with_timeout) and [`with_stop`](Client::with_stop), on whichever of them it is called.
    /// Clients made by [`with_api_key`](Client::with_api_key) have keys of their own.
    ///
    /// The next request of a wait or an iteration that is under way uses the new key.
    ///
    /// # Errors
    ///
    /// Returns an error and keeps the old key if the new one is empty, in quotation marks, or contains a character
    /// other than visible ASCII.
    pub fn set_api_key(&self, api_key: impl Into<String>) -> Result<()> {
        self.http.set_api_key(Setting { name: "set_api_key", value: api_key.into() })
    }
}

impl Client {
    /// Returns a request for one page of the job history.
    ///
    /// Set its [`limit`](ListJobs::limit) and [`cursor`](ListJobs::cursor), then call [`send`](ListJobs::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// # simulator.add_sample_jobs(30);
    /// # let client = simulator.client()?;
    /// let page = client.list_jobs().limit(20).send()?;
    /// assert_eq!((page.jobs.len(), page.has_more), (20, true));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list_jobs(&self) -> ListJobs {
        ListJobs::new(self.http.clone())
    }

    /// Returns an iterator over all jobs of the history. It fetches them page by page.
    ///
    /// [`JobsIter`] describes its settings, its errors, and what happens if the history changes meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// # simulator.add_sample_jobs(300);
    /// # let client = simulator.client()?;
    /// let mut core_seconds = 0.0;
    /// for job in client.iter_jobs().max_jobs(200) {
    ///     core_seconds += job?.billed_core_seconds.unwrap_or_default();
    /// }
    /// assert!(core_seconds > 0.0);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter_jobs(&self) -> JobsIter {
        JobsIter::new(self.http.clone())
    }

    /// Loads one job and returns its summary.
    ///
    /// # Errors
    ///
    /// Returns an error if
    ///
    /// - the `id` is [not valid](Client#identifiers) (nothing is sent);
    /// - the request fails;
    /// - there is [no such job](crate::Error::is_not_found);
    /// - the response cannot be read, or describes another job.
    pub fn get_job(&self, id: impl AsRef<str>) -> Result<JobSummary> {
        change::get(&self.http, &check_id(id.as_ref())?, self.http.deadline())
    }

    /// Renames a job.
    ///
    /// The name is sent unchanged. The server enforces the rules for names: according to the service's documentation, a
    /// name must not be empty after trimming, has at most 120 characters, and contains printable characters only.
    ///
    /// If a successful response does not say plainly that the job was renamed, the job is loaded, and its name decides.
    ///
    /// # Errors
    ///
    /// - Returns a [validation error](crate::Error::is_validation) if the server refuses the name.
    /// - Returns an error if the response leaves open what happened and the job has another name or cannot be loaded.
    ///   It says what the service responded and what the job showed.
    /// - Otherwise returns the same errors as [`get_job`](Client::get_job).
    ///
    /// [`Error::may_have_been_processed`](crate::Error::may_have_been_processed) says whether the job may have been
    /// renamed although the call failed.
    pub fn rename_job(&self, id: impl AsRef<str>, name: impl AsRef<str>) -> Result<()> {
        change::rename(&self.http, &check_id(id.as_ref())?, name.as_ref())
    }

    /// Asks the service to cancel a job.
    ///
    /// Success means that the service has accepted the request, or that the job has already ended. Cancellation is best
    /// effort: the job may still finish. Load the job to see its state, or use
    /// [`cancel_and_wait`](Client::cancel_and_wait).
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`get_job`](Client::get_job). If the server refuses to cancel (400, 404, 409, 410, or
    /// a body that says `"success": false`), the job is loaded, and the call fails unless the job turns out to have
    /// ended. [`Error::may_have_been_processed`](crate::Error::may_have_been_processed) says whether the job may have
    /// been cancelled although the call failed.
    pub fn cancel_job(&self, id: impl AsRef<str>) -> Result<()> {
        change::cancel(&self.http, &check_id(id.as_ref())?, self.http.deadline()).map(drop)
    }

    /// Deletes a job from the history. Only a done, failed or cancelled job can be deleted.
    ///
    /// If a successful response does not say plainly that the job was deleted, the job is loaded, and the call succeeds
    /// if it is gone. The call also succeeds if a retry finds no such job and an earlier attempt of the same call may
    /// have deleted it.
    ///
    /// # Errors
    ///
    /// - Returns a [conflict](crate::Error::is_conflict) if the job is pending or running. The job is then loaded, and
    ///   the error has its [state](crate::Error::state).
    /// - Returns a [not-found error](crate::Error::is_not_found) if there is no such job. See also
    ///   [`delete_job_if_exists`](Client::delete_job_if_exists).
    /// - Returns an error if the response leaves open what happened and the job still exists or cannot be loaded.
    /// - Otherwise returns the same errors as [`get_job`](Client::get_job).
    ///
    /// [`Error::may_have_been_processed`](crate::Error::may_have_been_processed) says whether the job may have been
    /// deleted although the call failed.
    pub fn delete_job(&self, id: impl AsRef<str>) -> Result<()> {
        change::delete(&self.http, &check_id(id.as_ref())?)
    }

    /// Deletes a job from the history if it exists. Returns `false` if there was no such job.
    ///
    /// Use this method for clean-up that may run twice. It returns `false` only if the service itself says that there
    /// is no such job:
    ///
    /// - After a 404 or 410 the job is loaded. If it exists, the call fails, because the service has no such request.
    /// - A 404 with an HTML page, which a gateway may have sent, is an error.
    /// - If no call of this client has succeeded yet, one page of jobs is requested to check the address.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`delete_job`](Client::delete_job), except that a job that is not found is not an
    /// error.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// # let client = simulator.client()?;
    /// assert!(!client.delete_job_if_exists("9f2c")?);
    /// assert!(client.delete_job("9f2c").unwrap_err().is_not_found());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_job_if_exists(&self, id: impl AsRef<str>) -> Result<bool> {
        change::delete_if_exists(&self.http, &check_id(id.as_ref())?)
    }

    /// Cancels a job, waits until it has ended, and returns its last summary.
    ///
    /// The state of the job can be one other than cancelled, because a job can finish before it is cancelled. The
    /// [timeout](WaitOptions::timeout) of the options bounds cancelling and waiting together.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`cancel_job`](Client::cancel_job) and [`wait_for_job`](Client::wait_for_job).
    /// [`Error::cancellation_accepted`](crate::Error::cancellation_accepted) says whether the service had accepted the
    /// request to cancel when the wait failed.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// use atomiverse::{JobState, WaitOptions, simulator::{SimulatedJob, Simulator}};
    ///
    /// let simulator = Simulator::start()?;
    /// let id = simulator.add_job(SimulatedJob::new("opt").running_for(std::time::Duration::MAX));
    /// let job = simulator.client()?.cancel_and_wait(id, WaitOptions::new())?;
    /// assert_eq!(job.state, JobState::Cancelled);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel_and_wait<'a>(
        &self,
        id: impl AsRef<str>,
        options: impl Into<WaitOptions<'a>>,
    ) -> Result<JobSummary> {
        wait::cancel_and_wait(&self.http, &check_id(id.as_ref())?, options.into()).map(|(job, _)| job)
    }

    /// Cancels a job if it has not ended, waits until it has, and deletes it. Returns `false` if there was no such job.
    ///
    /// The [timeout](WaitOptions::timeout) of the options bounds cancelling and waiting together. The
    /// [timeout](crate::ClientBuilder::timeout) of the client then bounds deleting. If the service removes a job when
    /// it is cancelled, the job counts as deleted.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`cancel_and_wait`](Client::cancel_and_wait) and
    /// [`delete_job_if_exists`](Client::delete_job_if_exists). If the job does not end in time, it is not deleted.
    /// [`Error::cancellation_accepted`](crate::Error::cancellation_accepted) says whether the service had accepted the
    /// request to cancel when the call failed.
    pub fn cancel_and_delete<'a>(
        &self,
        id: impl AsRef<str>,
        options: impl Into<WaitOptions<'a>>,
    ) -> Result<bool> {
        wait::cancel_and_delete(&self.http, &check_id(id.as_ref())?, options.into())
    }

    /// Asks the service to cancel many jobs, eight at a time. Returns the outcome of each, in the order of the ids.
    ///
    /// Each job is cancelled as by [`cancel_job`](Client::cancel_job), with its own
    /// [`timeout`](crate::ClientBuilder::timeout). An id that occurs twice counts once. A failure does not affect the
    /// other jobs, with one exception: after eight [transient](crate::Error::is_transient) failures in a row the rest
    /// are not sent, and their errors say so.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # use atomiverse::simulator::{SimulatedJob, Simulator};
    /// # let simulator = Simulator::start()?;
    /// # let client = simulator.client()?;
    /// let id = simulator.add_job(SimulatedJob::new("opt"));
    /// for (id, outcome) in client.cancel_jobs([id.as_str(), "9f2c"]) {
    ///     match outcome {
    ///         Ok(()) => println!("the server accepted the request to cancel {id}"),
    ///         Err(error) => assert!(id == "9f2c" && error.is_not_found()),
    ///     }
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "some of the calls may have failed"]
    pub fn cancel_jobs(&self, ids: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<(JobId, Result<()>)> {
        let http = &self.http;
        bulk::call_each("cancel job", ids, |id| change::cancel(http, id, http.deadline()).map(drop))
    }

    /// Deletes many jobs from the history, eight at a time. Returns the outcome of each, in the order of the ids:
    /// `true` if the job was deleted, and `false` if there was no such job.
    ///
    /// Each job is deleted as by [`delete_job_if_exists`](Client::delete_job_if_exists), with its own
    /// [`timeout`](crate::ClientBuilder::timeout). Ids that occur twice and failures are treated as by
    /// [`cancel_jobs`](Client::cancel_jobs).
    ///
    /// # Examples
    ///
    /// Collect the ids first, because deleting while iterating over the history [may skip
    /// jobs](JobsIter#changes-during-an-iteration):
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// use atomiverse::{JobState, simulator::Simulator};
    ///
    /// let simulator = Simulator::start()?;
    /// simulator.add_sample_jobs(100);
    /// let client = simulator.client()?;
    /// let mut failed = Vec::new();
    /// for job in client.iter_jobs() {
    ///     let job = job?;
    ///     if job.state == JobState::Failed {
    ///         failed.push(job.job_id);
    ///     }
    /// }
    /// for (id, outcome) in client.delete_jobs(&failed) {
    ///     println!("{id}: {}", if outcome? { "deleted" } else { "already gone" });
    /// }
    /// assert_eq!(client.iter_jobs().count(), 90);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "some of the calls may have failed"]
    pub fn delete_jobs(&self, ids: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<(JobId, Result<bool>)> {
        let http = &self.http;
        bulk::call_each("delete job", ids, |id| change::delete_if_exists(http, id))
    }

    /// Sends a request for which this crate has no method, such as one for the result of a job.
    ///
    /// The address, API key, limits, stop tokens, contract and errors are the same as for every other call. The
    /// request's method or [`idempotent`](Request::idempotent) decides how it is retried. A status other than 2xx is an
    /// error.
    ///
    /// # Errors
    ///
    /// Returns an error without sending anything if the method, path, body or a header cannot be sent. Otherwise
    /// returns an error if the request fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// use atomiverse::{Request, simulator::Simulator};
    ///
    /// let simulator = Simulator::start()?;
    /// simulator.add_sample_jobs(3);
    /// let request = Request::new("GET", ["jobs"]).query("limit", 2);
    /// let page: serde_json::Value = simulator.client()?.send(request)?.json()?;
    /// assert_eq!(page["jobs"].as_array().map(Vec::len), Some(2));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send(&self, request: Request) -> Result<Response> {
        self.http.send(Operation::Custom { request: &request }, self.http.deadline())
    }

    /// Submits a job and returns a handle to it.
    ///
    /// The payload describes the job. It is any value that serialises to a JSON object: a struct, a
    /// [`serde_json::Value`], or what `model_dump()` returns in the Python SDK. It is sent unchanged, and the server
    /// validates it. The service may return the existing job for a payload that it has received before;
    /// [`Job::is_cache_hit`] tells.
    ///
    /// A submission is retried only if nothing was sent or the server responded with 429. Each call sends an
    /// `Idempotency-Key` header, whose value is the same for all its attempts. It is not known whether the service uses
    /// it.
    ///
    /// # Errors
    ///
    /// - Returns an error without sending anything if the payload is not a JSON object.
    /// - Returns a [validation error](crate::Error::is_validation) if the server refuses the payload.
    /// - Returns an error that quotes the response if it succeeds without a `job_id`.
    ///
    /// After a failure, look for the job in the dashboard before you submit again if
    /// [`Error::may_have_been_processed`](crate::Error::may_have_been_processed) is true: the server may have accepted
    /// the job.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// # let client = simulator.client()?;
    /// use atomiverse::{JobState, WaitOptions};
    ///
    /// let payload = serde_json::json!({"job_type": "opt", "name": "water"});
    /// let mut job = client.submit_job(&payload)?;
    /// assert_eq!(job.wait(WaitOptions::new())?.state, JobState::Done);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn submit_job(&self, payload: &(impl Serialize + ?Sized)) -> Result<Job> {
        Ok(Job::new(self, submit::submit(&self.http, payload)?))
    }

    /// Submits any number of jobs, in requests of at most 1000.
    ///
    /// A payload that the server rejects does not affect the others: its entry says why it failed. The entries are in
    /// the order of the payloads. The requests are sent one after the other, up to the first that fails, each with the
    /// [`timeout`](crate::ClientBuilder::timeout) of the client. An empty list sends nothing.
    ///
    /// # Errors
    ///
    /// Returns an error without sending anything if any payload is not a JSON object.
    ///
    /// If a request fails, [`partial_batch`](crate::Error::partial_batch) says which payloads were submitted, which
    /// were in the request that failed, and which were not sent. A response whose number of entries differs from the
    /// number of payloads counts as a failure. Otherwise returns the same errors as [`submit_job`](Client::submit_job).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// # let client = simulator.client()?;
    /// use serde_json::json;
    ///
    /// let outcome = client.submit_batch([json!({"job_type": "opt"}), json!({"name": "no type"})])?;
    /// assert_eq!((outcome.submitted, outcome.failed), (1, 1));
    /// for (n, entry) in outcome.jobs.iter().enumerate() {
    ///     match &entry.job_id {
    ///         Some(id) => println!("payload {n} is job {id}"),
    ///         None => println!("payload {n}: {}", entry.error.as_deref().unwrap_or("no reason given")),
    ///     }
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn submit_batch<P: Serialize>(
        &self,
        payloads: impl IntoIterator<Item = P>,
    ) -> Result<BatchSubmission> {
        submit::submit_batch(&self.http, payloads)
    }

    /// Waits until a job is done, failed or cancelled, and returns its last summary.
    ///
    /// The wait takes at most one hour by default; see [`WaitOptions::timeout`]. It polls the job at growing intervals.
    /// A failed job is not an error.
    ///
    /// A [transient failure](crate::Error::is_transient) of a poll does not end the wait. Neither does one that says
    /// nothing about the job, such as an HTML page, once a call of this client has succeeded. Any other failure ends it
    /// if two polls at least five seconds apart had it and none between them saw the job.
    ///
    /// # Errors
    ///
    /// - Returns a [timeout](crate::Error::is_timeout) if the job has not ended in time. The error has the last
    ///   [state](crate::Error::state) that was received.
    /// - Returns the error of the polls if it ends the wait, for example if the job is [not
    ///   found](crate::Error::is_not_found) or the key is refused.
    /// - Returns an error without sending anything if the `id` or the options are not valid, for example if an interval
    ///   is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # use atomiverse::simulator::{SimulatedJob, Simulator};
    /// # let simulator = Simulator::start()?;
    /// # let client = simulator.client()?;
    /// use atomiverse::{JobState, WaitOptions};
    ///
    /// let id = simulator.add_job(SimulatedJob::new("opt").fails());
    /// let job = client.wait_for_job(id, WaitOptions::new())?;
    /// assert_eq!(job.state, JobState::Failed);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for_job<'a>(
        &self,
        id: impl AsRef<str>,
        options: impl Into<WaitOptions<'a>>,
    ) -> Result<JobSummary> {
        WaitForJobs::new(self.http.clone(), [id], options.into()).outcome()
    }

    /// Waits for several jobs at once. Returns an iterator that yields each id with the outcome of its job, as the jobs
    /// end.
    ///
    /// The outcome is the last summary of the job, or an error about it, as of [`wait_for_job`](Client::wait_for_job).
    /// An id that occurs twice counts once. The wait begins with the first `next`, and its
    /// [timeout](WaitOptions::timeout) applies to all jobs together.
    ///
    /// # Requests
    ///
    /// A poll first reads pages of the job list, while enough of the jobs are found on them, and then loads the others
    /// by id, eight at a time and twenty a second. If the jobs are the newest ones of the account, a poll for 200 jobs
    /// takes four requests. Wherever they stand in the list, it takes at most 1.1 requests a job and one more. During
    /// an outage, each poll after the first one that fails takes one.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # use atomiverse::simulator::{SimulatedJob, Simulator};
    /// # let simulator = Simulator::start()?;
    /// # let client = simulator.client()?;
    /// use atomiverse::WaitOptions;
    ///
    /// let id = simulator.add_job(SimulatedJob::new("opt"));
    /// for (_, outcome) in client.wait_for_jobs([id.as_str(), "9f2c"], WaitOptions::new()) {
    ///     match outcome {
    ///         Ok(job) => println!("{} is {}", job.job_id, job.state),
    ///         Err(error) => assert!(error.is_not_found()),
    ///     }
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for_jobs<'a>(
        &self,
        ids: impl IntoIterator<Item = impl AsRef<str>>,
        options: impl Into<WaitOptions<'a>>,
    ) -> WaitForJobs<'a> {
        WaitForJobs::new(self.http.clone(), ids, options.into())
    }

    /// Returns a handle to a job. Sends nothing, and therefore does not check whether the job exists.
    ///
    /// # Errors
    ///
    /// Returns an error if the `id` is [not valid](Client#identifiers).
    pub fn job(&self, id: impl AsRef<str>) -> Result<Job> {
        let job_id = check_id(id.as_ref())?;
        Ok(Job::new(self, Submitted { job_id, state: None, is_cache_hit: false, summary: None }))
    }

    /// Returns the link to a job's dashboard. Sends nothing.
    ///
    /// # Errors
    ///
    /// Returns an error if the `id` is [not valid](Client#identifiers).
    ///
    /// # Examples
    ///
    /// ```
    /// let client = atomiverse::Client::new("av_0123456789")?;
    /// assert_eq!(client.job_dashboard_url("9f2c")?, "https://atomiverse.com/job?job_id=9f2c");
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn job_dashboard_url(&self, id: impl AsRef<str>) -> Result<String> {
        Ok(self.dashboard_url(&check_id(id.as_ref())?))
    }

    /// The same for an id that the service sent, which is kept as it is.
    pub(crate) fn dashboard_url(&self, id: &JobId) -> String {
        self.http.dashboard_url(id)
    }
}
