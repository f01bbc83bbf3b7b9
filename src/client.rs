//! The client and its methods.

use std::time::Duration;

use serde::Serialize;

use crate::api;
use crate::bulk::Bulk;
use crate::error::{Error, Result};
use crate::http::Http;
use crate::job::Job;
use crate::listing::{JobsIter, ListJobs};
use crate::raw::{RawRequest, RawResponse};
use crate::stop::StopToken;
use crate::types::{BatchSubmission, JobSummary};
use crate::wait::{self, WaitForJobs, WaitOptions};
use crate::{operations, submit};

/// A blocking client for the Atomiverse API.
///
/// A client is cheap to clone, and its clones share one connection pool. It can be used from several threads.
/// Every call blocks until it is done, and at most for the [`timeout`](crate::ClientBuilder::timeout); waiting for
/// jobs has its own limit, see [`WaitOptions`].
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

/// Views: clients that share one connection pool and differ in one setting. They are as cheap as a clone.
impl Client {
    pub(crate) fn new_with(http: Http) -> Self {
        Client { http }
    }

    /// Returns a client whose calls take at most this long, see
    /// [`ClientBuilder::timeout`](crate::ClientBuilder::timeout). With zero, calls fail without sending anything.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # let client = atomiverse::Client::from_env()?;
    /// let page = client.with_timeout(Duration::from_secs(5)).list_jobs().send()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    #[must_use = "the client itself keeps its timeout"]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let mut http = self.http.clone();
        http.timeout = timeout;
        Client { http }
    }

    /// Returns a client that retries a request at most this many times, see
    /// [`ClientBuilder::max_retries`](crate::ClientBuilder::max_retries).
    #[must_use = "the client itself keeps its number of retries"]
    pub fn with_max_retries(&self, max_retries: u32) -> Self {
        let mut http = self.http.clone();
        http.retry_policy.max_retries = max_retries;
        Client { http }
    }

    /// Returns a client whose calls end when the token is stopped.
    ///
    /// They then return within 100 milliseconds, whatever the server does: pauses end, no new attempt starts, and an
    /// attempt in flight is abandoned. The error says whether a change that was in flight
    /// [may have been processed](Error::may_have_been_processed). Iterators and [`Job`]s made by this client watch
    /// the token too. A token replaces that of an earlier `with_stop`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use atomiverse::{Client, StopToken, WaitOptions};
    ///
    /// let stop = StopToken::new();
    /// let client = Client::from_env()?.with_stop(&stop);
    /// ctrlc::set_handler(move || stop.stop())?;
    /// match client.wait_for_job("9f2c", &WaitOptions::new()) {
    ///     Err(error) if error.is_stopped() => println!("the job runs on"),
    ///     outcome => println!("{}", outcome?.state),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the client itself does not watch the token"]
    pub fn with_stop(&self, stop: &StopToken) -> Self {
        let mut http = self.http.clone();
        http.stop = Some(stop.clone());
        Client { http }
    }

    /// Returns a client with a key of its own, which [`set_api_key`](Client::set_api_key) of this one does not
    /// change.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is empty, in quotation marks, or contains a character other than visible ASCII.
    pub fn with_api_key(&self, api_key: impl Into<String>) -> Result<Self> {
        Ok(Client { http: self.http.with_api_key(api_key.into())? })
    }

    /// Replaces the API key of this client, of its clones, and of everything made by them: the next request of a
    /// running wait or iteration uses the new key. Views made by [`with_api_key`](Client::with_api_key) keep theirs.
    ///
    /// # Errors
    ///
    /// Returns an error if the key is empty, in quotation marks, or contains a character other than visible ASCII.
    /// The old key is kept then.
    pub fn set_api_key(&self, api_key: impl Into<String>) -> Result<()> {
        self.http.set_api_key("set_api_key", api_key.into())
    }
}

impl Client {
    /// Lists one page of the job history. Set [`limit`](ListJobs::limit) and [`cursor`](ListJobs::cursor), then
    /// call [`send`](ListJobs::send).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let page = client.list_jobs().limit(50).send()?;
    /// println!("{} jobs", page.jobs.len());
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn list_jobs(&self) -> ListJobs {
        ListJobs::new(self.http.clone())
    }

    /// Iterates over all jobs of the history, page by page.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// for job in client.iter_jobs().limit(50).max_jobs(200) {
    ///     println!("{}", job?.job_id);
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn iter_jobs(&self) -> JobsIter {
        JobsIter::new(self.http.clone())
    }

    /// Loads one job.
    ///
    /// # Errors
    ///
    /// Returns an error if the request fails, if there is [no such job](Error::is_not_found), or if the
    /// response describes another job.
    ///
    /// An `id` is refused before any request if it is empty, `.` or `..`, contains control characters, or
    /// begins or ends with whitespace.
    pub fn get_job(&self, id: impl AsRef<str>) -> Result<JobSummary> {
        operations::get(&self.http, &api::job_id(id.as_ref())?, self.http.deadline())
    }

    /// Renames a job.
    ///
    /// The name is sent as it is; its rules are enforced by the server. The service documents that a name must
    /// not be empty after trimming, has at most 120 characters, and only printable ones.
    ///
    /// # Errors
    ///
    /// Returns a [validation error](Error::is_validation) if the server refuses the name, and an error if the
    /// response shows another name. Otherwise the same as [`get_job`](Client::get_job);
    /// [`Error::may_have_been_processed`] says whether the change may have been made all the same.
    pub fn rename_job(&self, id: impl AsRef<str>, name: impl AsRef<str>) -> Result<()> {
        operations::rename(&self.http, &api::job_id(id.as_ref())?, name.as_ref(), self.http.deadline())
    }

    /// Asks the service to cancel a job.
    ///
    /// Cancelling is best effort. A job that has already finished is not an error and keeps its state. Load the job
    /// to see what came of it.
    ///
    /// # Errors
    ///
    /// The same as [`get_job`](Client::get_job); [`Error::may_have_been_processed`] says whether the job may
    /// have been cancelled all the same. If the server refuses (400, 404 or 409), the job is loaded, and it is an
    /// error only if it has not ended.
    pub fn cancel_job(&self, id: impl AsRef<str>) -> Result<()> {
        operations::cancel(&self.http, &api::job_id(id.as_ref())?, self.http.deadline()).map(drop)
    }

    /// Deletes a job from the history. Only a done, failed or cancelled job can be deleted.
    ///
    /// If an attempt may have been processed (its response was lost, or was 500 or 502) and the retry finds no such
    /// job, the job counts as deleted.
    ///
    /// # Errors
    ///
    /// Returns a [conflict](Error::is_conflict) if the job is pending or running. The job is then loaded, and the
    /// error carries its [state](Error::state). Returns [not found](Error::is_not_found) if there is no such
    /// job; see [`delete_job_if_exists`](Client::delete_job_if_exists). Otherwise the same as
    /// [`get_job`](Client::get_job); [`Error::may_have_been_processed`] says whether the job may have been
    /// deleted all the same.
    pub fn delete_job(&self, id: impl AsRef<str>) -> Result<()> {
        operations::delete(&self.http, &api::job_id(id.as_ref())?, self.http.deadline())
    }

    /// Deletes a job from the history if it exists. Returns `false` if it was already gone.
    ///
    /// Use this for clean-up that may run twice. The service must say that the job is gone: a 404 whose body is not
    /// JSON, such as the HTML page of a gateway, is an error. After a 404 the job is loaded, to make sure that it is
    /// gone and not merely the request unknown. If no call of this client has succeeded yet, one page of jobs is
    /// then requested too, to make sure that the address is right.
    ///
    /// # Errors
    ///
    /// The same as [`delete_job`](Client::delete_job), except that a job that is not found is not an error.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// if !client.delete_job_if_exists("9f2c")? {
    ///     println!("already gone");
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn delete_job_if_exists(&self, id: impl AsRef<str>) -> Result<bool> {
        operations::delete_if_exists(&self.http, &api::job_id(id.as_ref())?, self.http.deadline())
    }

    /// Cancels a job, waits until it has ended, and returns its last summary, whatever state it has reached: a job
    /// may be done before it can be cancelled.
    ///
    /// The [timeout](WaitOptions::timeout) of the options bounds cancelling and waiting together.
    ///
    /// # Errors
    ///
    /// The same as [`cancel_job`](Client::cancel_job) and [`wait_for_job`](Client::wait_for_job).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// use atomiverse::{JobState, WaitOptions, simulator::{SimulatedJob, Simulator}};
    ///
    /// let simulator = Simulator::start()?;
    /// let id = simulator.add_job(SimulatedJob::new("opt").running_for(std::time::Duration::MAX));
    /// let job = simulator.client()?.cancel_and_wait(id, &WaitOptions::new())?;
    /// assert_eq!(job.state, JobState::Cancelled);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel_and_wait(&self, id: impl AsRef<str>, options: &WaitOptions<'_>) -> Result<JobSummary> {
        wait::cancel_and_wait(&self.http, &api::job_id(id.as_ref())?, options)
    }

    /// Cancels a job if it has not ended, waits until it has, and deletes it. Returns `false` if it was already gone.
    ///
    /// # Errors
    ///
    /// The same as [`cancel_and_wait`](Client::cancel_and_wait) and
    /// [`delete_job_if_exists`](Client::delete_job_if_exists). If the job does not end in time, it is not deleted.
    pub fn cancel_and_delete(&self, id: impl AsRef<str>, options: &WaitOptions<'_>) -> Result<bool> {
        wait::cancel_and_delete(&self.http, &api::job_id(id.as_ref())?, options)
    }

    /// Asks the service to cancel many jobs, four at a time unless [`parallel`](Bulk::parallel) says otherwise.
    ///
    /// Each outcome is that of [`cancel_job`](Client::cancel_job), within its own
    /// [`timeout`](crate::ClientBuilder::timeout). A job that fails does not affect the others.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// for (id, outcome) in client.cancel_jobs(["9f2c", "77ab"]) {
    ///     match outcome {
    ///         Ok(()) => println!("{id} is being cancelled"),
    ///         Err(error) => eprintln!("{error}"),
    ///     }
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn cancel_jobs(&self, ids: impl IntoIterator<Item = impl AsRef<str>>) -> Bulk<()> {
        Bulk::new(&self.http, ids, |http, id| operations::cancel(http, id, http.deadline()).map(drop))
    }

    /// Deletes many jobs from the history, four at a time unless [`parallel`](Bulk::parallel) says otherwise.
    ///
    /// Each outcome is that of [`delete_job_if_exists`](Client::delete_job_if_exists), within its own
    /// [`timeout`](crate::ClientBuilder::timeout). A job that fails does not affect the others.
    ///
    /// # Examples
    ///
    /// Collect the ids first: deleting while iterating over the history may skip jobs.
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
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_jobs(&self, ids: impl IntoIterator<Item = impl AsRef<str>>) -> Bulk<bool> {
        Bulk::new(&self.http, ids, |http, id| operations::delete_if_exists(http, id, http.deadline()))
    }

    /// Sends a request that this crate does not type, such as one for the result of a job.
    ///
    /// The address, the key, limits, retries, stops and errors are the same as those of every other call. A status
    /// other than 2xx is an error.
    ///
    /// # Errors
    ///
    /// A method, path or header that cannot be sent is refused before any request. Otherwise the same as
    /// [`get_job`](Client::get_job).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// use atomiverse::{RawRequest, simulator::Simulator};
    ///
    /// let simulator = Simulator::start()?;
    /// simulator.add_sample_jobs(3);
    /// let request = RawRequest::new("GET", ["jobs"]).query("limit", 2);
    /// let page: serde_json::Value = simulator.client()?.send(request)?.json()?;
    /// assert_eq!(page["jobs"].as_array().map(Vec::len), Some(2));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send(&self, request: RawRequest) -> Result<RawResponse> {
        let refuse =
            |problem: String| Error::input(format!("{}: {problem}; nothing was sent", request.action));
        request.check().map_err(refuse)?;
        Ok(self.http.send(&request, self.http.deadline())?.into_raw())
    }

    /// Submits a job and returns a handle to it.
    ///
    /// The payload is any value that serialises to a JSON object: a struct, a [`serde_json::Value`], or what
    /// Python's `model_dump()` wrote. It is sent as it is; the server validates it. If the response describes
    /// the job completely, the handle has its [`summary`](Job::summary). The service may respond to a payload
    /// that it has seen before with the existing job.
    ///
    /// Each call sends an `Idempotency-Key` header, the same for all of its attempts. It is not known whether
    /// the service uses it.
    ///
    /// # Errors
    ///
    /// A payload that is not a JSON object is refused before any request. Returns a
    /// [validation error](Error::is_validation) if the server refuses the payload. A submission is retried only
    /// if no connection was made or the server responded with 429. After any other failure the error says
    /// whether the job [may have been submitted](Error::may_have_been_submitted).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let payload: serde_json::Value = serde_json::from_str(&std::fs::read_to_string("water.json")?)?;
    /// let job = client.submit_job(&payload)?;
    /// println!("{}", job.job_dashboard_url());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn submit_job(&self, payload: &(impl Serialize + ?Sized)) -> Result<Job> {
        Job::from_submission(self, submit::submit(&self.http, payload)?)
    }

    /// Submits any number of jobs, in requests of at most 1000.
    ///
    /// A payload that the server rejects does not affect the others: its entry says why it failed. An empty list
    /// sends nothing. The requests are sent one after the other, up to the first that fails; the
    /// [`timeout`](crate::ClientBuilder::timeout) applies to each of them.
    ///
    /// # Errors
    ///
    /// A payload that is not a JSON object is refused before any request. If a request fails,
    /// [`partial_batch`](Error::partial_batch) says which payloads were submitted, which were in that request,
    /// and which were not sent. A response with another number of entries than payloads is such a failure.
    /// Otherwise the same as [`submit_job`](Client::submit_job).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// # let payloads: Vec<serde_json::Value> = Vec::new();
    /// let outcome = client.submit_batch(&payloads)?;
    /// println!("{} of {} submitted", outcome.submitted, outcome.total);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn submit_batch<P: Serialize>(
        &self,
        payloads: impl IntoIterator<Item = P>,
    ) -> Result<BatchSubmission> {
        submit::submit_batch(&self.http, payloads)
    }

    /// Waits until a job is done, failed or cancelled, and returns its last summary.
    ///
    /// Polls the job with growing intervals. A poll that fails for a transient reason does not end the wait. A
    /// failed job is not an error here.
    ///
    /// # Errors
    ///
    /// Returns a [timeout](Error::is_timeout) if the time of the options is up; the error has the last
    /// [state](Error::state) seen. Other errors, such as [not found](Error::is_not_found) or a key that is
    /// refused, end the wait at once. Options that make no sense are refused before any request.
    ///
    /// # Examples
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

    /// Waits for several jobs at once and returns an iterator that yields each job when it has ended.
    ///
    /// Each id yields exactly one outcome: the last summary of the job, or an error about it (there is no such
    /// job, the id was refused, or the time is up). An id that occurs twice counts once. One deadline bounds
    /// the whole wait, counted from the first `next`. If the options make no sense, the iterator yields one error.
    ///
    /// # Requests
    ///
    /// Jobs are looked up on listing pages of up to 1000, newest first, while that takes fewer requests than loading
    /// each of them: 5,000 new jobs take five requests a poll. Jobs that are not found there, or all of them if the
    /// listing fails, are loaded by id, four at a time. Listing is given up if it fails for a lasting reason, if it
    /// fails twice in a row, or if it takes as many requests as loading each job.
    ///
    /// A poll sends its first page or its first 16 requests by id at once, and further requests at 20 a second. This
    /// bounds the requests of a wait for any number of jobs. The table shows the requests in the first minute with the
    /// default intervals, if the jobs are the newest of the account and if 100,000 others are newer. In later minutes
    /// there are about half as many.
    ///
    /// | jobs | newest | behind 100,000 |
    /// |---|---|---|
    /// | 1 | 11 | 11 |
    /// | 10 | 20 | 110 |
    /// | 200 | 11 | 1050 |
    /// | 5000 | 55 | 840 |
    ///
    /// # Examples
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
        WaitForJobs::new(self.http.clone(), ids, options)
    }

    /// Returns a handle to a job. Sends nothing, so the job need not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if the `id` is refused, see [`get_job`](Client::get_job).
    pub fn job(&self, id: impl AsRef<str>) -> Result<Job> {
        Job::new(self, api::job_id(id.as_ref())?)
    }

    /// Returns the link to a job's dashboard. Sends nothing.
    ///
    /// # Errors
    ///
    /// Returns an error if the `id` is refused, see [`get_job`](Client::get_job).
    ///
    /// # Examples
    ///
    /// ```
    /// let client = atomiverse::Client::new("key")?;
    /// assert_eq!(client.job_dashboard_url("a b")?, "https://atomiverse.com/job?job_id=a%20b");
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn job_dashboard_url(&self, id: impl AsRef<str>) -> Result<String> {
        let id = api::job_id(id.as_ref())?;
        Ok(format!("{}{}", self.http.base_url(), api::dashboard(&id)))
    }
}
