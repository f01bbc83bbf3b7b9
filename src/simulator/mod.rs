//! A simulator of the service, for tests without a network. Requires the feature `simulator`.
//!
//! [`Simulator::start`] serves the HTTP API that this crate assumes, inside the process and on a free port of
//! `127.0.0.1`. It simulates jobs that go from pending to running to done, pages and cursors, the rules for names,
//! errors, results, and faults on demand.
//!
//! Simulated time stands still until a test advances it, or until a client made by [`Simulator::client`] pauses. Such a
//! pause advances the simulated clock and takes no real time.
//!
//! # Examples
//!
//! This tests a build tool. Of 30 jobs, one fails and one does not end. The tool cancels the latter when the wait times
//! out after an hour. The hour is simulated, and the test takes a fraction of a second.
//!
//! ```
//! use atomiverse::simulator::{SimulatedJob, Simulator};
//! use atomiverse::{Client, JobState, WaitOptions};
//! use serde_json::json;
//! use std::time::Duration;
//!
//! const HOUR: Duration = Duration::from_secs(3600);
//!
//! fn build(client: &Client) -> atomiverse::Result<String> {
//!     let payloads = (0..30).map(|n| json!({"job_type": "opt", "name": format!("molecule-{n}")}));
//!     let batch = client.submit_batch(payloads)?;
//!     let ids = batch.jobs.iter().filter_map(|entry| entry.job_id.as_ref());
//!     let options = WaitOptions::new().timeout(HOUR).cancel_on_timeout(true);
//!     let (mut done, mut failed, mut cancelled) = (0, 0, 0);
//!     for (_, outcome) in client.wait_for_jobs(ids, options) {
//!         match outcome {
//!             Ok(job) if job.state == JobState::Done => done += 1,
//!             Ok(_) => failed += 1,
//!             Err(error) if error.cancellation_accepted() == Some(true) => cancelled += 1,
//!             Err(error) => return Err(error),
//!         }
//!     }
//!     Ok(format!("{done} done, {failed} failed, {cancelled} cancelled"))
//! }
//!
//! let simulator = Simulator::start()?;
//! simulator.on_submit(|payload| match payload["name"].as_str() {
//!     Some("molecule-7") => SimulatedJob::new("opt").fails(),
//!     Some("molecule-8") => SimulatedJob::new("opt").running_for(Duration::MAX),
//!     _ => SimulatedJob::new("opt"),
//! });
//! let started = simulator.now();
//! assert_eq!(build(&simulator.client()?)?, "28 done, 1 failed, 1 cancelled");
//! assert!(simulator.now().duration_since(started)? <= HOUR);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clock;
mod server;
mod service;

use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::client::Client;
use crate::config::builder::ClientBuilder;
use crate::error::Result;
use crate::http::response::Response;
use crate::sync::lock;
use crate::types::{Atom, JobId, JobState, MoleculePreview};
use clock::SimulatedClock;
use server::Server;
use service::Service;

/// A running simulator of the service. Dropping it closes its connections and frees its port.
///
/// # Examples
///
/// ```
/// use atomiverse::simulator::{SimulatedJob, Simulator};
///
/// let simulator = Simulator::start()?;
/// let id = simulator.add_job(SimulatedJob::new("single_point_energy").name("water"));
/// let client = simulator.client()?;
/// client.rename_job(&id, "heavy water")?;
/// assert_eq!(client.get_job(&id)?.name.as_deref(), Some("heavy water"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Simulator {
    service: Arc<Mutex<Service>>,
    clock: Arc<SimulatedClock>,
    server: Server,
}

/// The API key that is accepted until another one is set.
const API_KEY: &str = "av_simulated_key";

impl Simulator {
    /// Starts a simulator without jobs, on a free port.
    ///
    /// # Errors
    ///
    /// Returns an [`io::Error`] if no port can be opened or no thread can be started.
    pub fn start() -> io::Result<Self> {
        Simulator::start_at(0)
    }

    /// Starts a simulator without jobs, on the given port, so that programs in other languages can find it. Port 0
    /// means a free port.
    ///
    /// A request that has a body needs a `Content-Length`. One with a `Transfer-Encoding` gets status 411.
    ///
    /// # Errors
    ///
    /// Returns an error if the port is in use or no thread can be started.
    pub fn start_at(port: u16) -> io::Result<Self> {
        let clock = Arc::<SimulatedClock>::default();
        let service =
            Arc::new(Mutex::new(Service { clock: clock.clone(), api_key: API_KEY, ..Service::default() }));
        let server = Server::start(port, service.clone())?;
        Ok(Simulator { service, clock, server })
    }

    /// Returns the base URL, such as `http://127.0.0.1:40913`.
    ///
    /// # Examples
    ///
    /// A client that is created with this URL pauses in real time, unlike one that [`client`](Simulator::client)
    /// returns.
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let client = atomiverse::Client::builder()
    ///     .api_key(simulator.api_key())
    ///     .base_url(simulator.base_url())
    ///     .build()?;
    /// assert!(client.list_jobs().send()?.jobs.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn base_url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Returns the API key that the simulator accepts.
    pub fn api_key(&self) -> &'static str {
        self.service().api_key
    }

    /// Sets the API key that the simulator accepts from now on. Requests with the previous key get status 401.
    ///
    /// Existing clients keep their key. The string is never freed, because [`api_key`](Simulator::api_key) returns it
    /// as `&'static str`.
    ///
    /// # Examples
    ///
    /// This tests a client whose key is rotated:
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let client = simulator.client()?;
    /// simulator.set_api_key("av_second_key");
    /// assert!(client.list_jobs().send().unwrap_err().is_unauthorized());
    ///
    /// client.set_api_key("av_second_key")?;
    /// assert!(client.list_jobs().send().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_api_key(&self, key: impl Into<String>) {
        let key = key.into();
        self.service().api_key = key.leak();
    }

    /// Returns a client of this simulator. Its pauses advance the simulated clock and take no real time.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`ClientBuilder::build`].
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::{JobState, WaitOptions};
    /// use atomiverse::simulator::SimulatedJob;
    /// use std::time::Duration;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let id = simulator.add_job(SimulatedJob::new("opt").running_for(Duration::from_secs(1200)));
    /// // Twenty minutes pass on the simulated clock only.
    /// let job = simulator.client()?.wait_for_job(id, WaitOptions::new())?;
    /// assert_eq!(job.state, JobState::Done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client(&self) -> Result<Client> {
        self.client_builder().build()
    }

    /// Returns a builder for a [`client`](Simulator::client) with other settings.
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::simulator::Fault;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let client = simulator.client_builder().max_retries(0).build()?;
    /// simulator.fail_next(Fault::status(503));
    /// assert_eq!(client.list_jobs().send().unwrap_err().attempts(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_builder(&self) -> ClientBuilder {
        let builder = Client::builder().api_key(self.api_key()).base_url(self.base_url());
        ClientBuilder { clock: self.clock.clone(), ..builder }
    }

    /// Adds a job to the history and returns its id.
    ///
    /// Jobs are listed by [age](SimulatedJob::age), the newest first. Of jobs with the same age, the one that was added
    /// last comes first.
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::simulator::SimulatedJob;
    /// use std::time::Duration;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let new = simulator.add_job(SimulatedJob::new("opt"));
    /// let old = simulator.add_job(SimulatedJob::new("opt").age(Duration::from_secs(3600)));
    /// let page = simulator.client()?.list_jobs().send()?;
    /// assert_eq!((&page.jobs[0].job_id, &page.jobs[1].job_id), (&new, &old));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_job(&self, job: SimulatedJob) -> JobId {
        self.service().add(job, Value::Null).id.clone()
    }

    /// Adds `count` sample jobs of two types, one hour apart. All of them have ended, in different states. The set is
    /// the same each time.
    pub fn add_sample_jobs(&self, count: u32) {
        for n in 0..count {
            self.add_job(SimulatedJob::sample(n, count));
        }
    }

    /// Sets a function that decides how a submitted job behaves: whether it fails, how long it runs and what it costs.
    ///
    /// It replaces the function that was set before. Without one, a submitted job behaves like [`SimulatedJob::new`].
    ///
    /// The function is called with each payload that becomes a new job, in the order of a batch. It is not called for a
    /// payload that is refused or that is a [cache hit](Simulator::cache_hits). The job has the type of the payload, and
    /// also its name and molecule if the payload has them.
    ///
    /// The function runs on a thread of the simulator, one call at a time. It may call methods of the simulator, but a
    /// request that needs the same function gets no response before the call ends. If it panics, the message is printed
    /// on standard error, and the connection is closed without a response. The payload then does not become a job,
    /// and the simulator continues. Jobs that were accepted before from the same batch remain.
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::simulator::SimulatedJob;
    /// use atomiverse::{JobState, WaitOptions};
    /// use serde_json::json;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// simulator.on_submit(|payload| match payload["job_type"].as_str() {
    ///     Some("opt") => SimulatedJob::new("opt").fails(),
    ///     _ => SimulatedJob::new("any").billed_core_seconds(7.5),
    /// });
    /// let client = simulator.client()?;
    /// let mut opt = client.submit_job(&json!({"job_type": "opt"}))?;
    /// assert_eq!(opt.wait(WaitOptions::new())?.state, JobState::Failed);
    ///
    /// let mut energy = client.submit_job(&json!({"job_type": "single_point_energy"}))?;
    /// let energy = energy.wait(WaitOptions::new())?;
    /// assert_eq!((energy.job_type.as_str(), energy.billed_core_seconds), ("single_point_energy", Some(7.5)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_submit(&self, behavior: impl Fn(&Value) -> SimulatedJob + Send + 'static) {
        // Dropped after the service is unlocked, because dropping it may run code of the user.
        let _previous = self.service().on_submit.replace(Arc::new(Mutex::new(behavior)));
    }

    /// Returns the time of the simulated clock.
    ///
    /// # Examples
    ///
    /// The pause before a retry advances the simulated clock:
    ///
    /// ```
    /// use atomiverse::simulator::Fault;
    /// use std::time::Duration;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let before = simulator.now();
    /// simulator.fail_next(Fault::status(503).header("Retry-After", "5"));
    /// simulator.client()?.list_jobs().send()?;
    /// assert!(simulator.now().duration_since(before)? >= Duration::from_secs(5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.clock.since_epoch()
    }

    /// Advances the simulated clock, by at most 30 years for each call.
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::JobState;
    /// use atomiverse::simulator::SimulatedJob;
    /// use std::time::Duration;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let id = simulator.add_job(SimulatedJob::new("opt"));
    /// simulator.advance(Duration::from_secs(5));
    /// assert_eq!(simulator.client()?.get_job(&id)?.state, JobState::Running);
    /// simulator.advance(Duration::MAX);
    /// assert_eq!(simulator.client()?.get_job(&id)?.state, JobState::Done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Makes the simulated clock run in real time from now on. Clients then pause in real time too.
    pub fn run_in_real_time(&self) {
        self.clock.run();
    }

    /// Sets whether a submission whose payload was submitted before may return the earlier job, as the real service
    /// does. Defaults to `false`, so that a test sees if a program submits a job twice.
    ///
    /// Only a job that is done is returned, and only if the payloads are equal. The response to such a submission, or
    /// its entry in a batch, has the status [`CacheHit`](crate::SubmissionStatus::CacheHit).
    ///
    /// # Examples
    ///
    /// ```
    /// use serde_json::json;
    /// use std::time::Duration;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let client = simulator.client()?;
    /// let payload = json!({"job_type": "opt", "name": "water"});
    /// let first = client.submit_job(&payload)?;
    /// assert_ne!(client.submit_job(&payload)?.id(), first.id());
    ///
    /// simulator.cache_hits(true);
    /// simulator.advance(Duration::from_secs(60));
    /// assert_eq!(client.submit_job(&payload)?.id(), first.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cache_hits(&self, enabled: bool) {
        self.service().cache_hits = enabled;
    }

    /// Ends a job now, in this state, whatever state it is in. Does nothing if there is no such job.
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::JobState;
    /// use atomiverse::simulator::SimulatedJob;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let id = simulator.add_job(SimulatedJob::new("opt"));
    /// simulator.finish(&id, JobState::Failed);
    /// assert_eq!(simulator.client()?.get_job(&id)?.state, JobState::Failed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finish(&self, id: impl AsRef<str>, state: JobState) {
        let now = self.clock.since_epoch();
        if let Some(job) = self.service().find(id.as_ref()) {
            job.finish(now, state);
        }
    }

    /// Sets the result of a job, which is served at `/jobs/{id}/result` below the API URL. A job without a result gets
    /// status 404 there. Does nothing if there is no such job.
    pub fn result(&self, id: impl AsRef<str>, result: Value) {
        if let Some(job) = self.service().find(id.as_ref()) {
            job.result = Some(result);
        }
    }

    /// Makes the next request fail. Same as [`fail_times`](Simulator::fail_times) with one request.
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::simulator::Fault;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// simulator.fail_next(Fault::status(503));
    /// let client = simulator.client_builder().max_retries(0).build()?;
    /// assert_eq!(client.list_jobs().send().unwrap_err().status(), Some(503));
    /// assert!(client.list_jobs().send().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail_next(&self, fault: Fault) {
        self.fail_times(1, fault);
    }

    /// Makes the next `count` requests fail.
    ///
    /// Faults are used in the order in which they were added, together with those of
    /// [`fail_when`](Simulator::fail_when). A request uses up the first one that applies to it.
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::simulator::Fault;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// simulator.fail_times(2, Fault::Cut);
    /// assert!(simulator.client()?.list_jobs().send().is_ok()); // The second retry succeeds.
    /// assert_eq!(simulator.requests().len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail_times(&self, count: usize, fault: Fault) {
        self.fail_when(|_| true, count, fault);
    }

    /// Makes the next `times` requests fail for which `fits` returns `true`. Pass `usize::MAX` to make all of them
    /// fail.
    ///
    /// A request uses up the first fault that applies to it, in the order in which faults were added. `fits` is
    /// therefore not called for a request that uses up an earlier one.
    ///
    /// The function runs on a thread of the simulator, one call at a time. It may call methods of the simulator, but a
    /// request that needs the same function gets no response before the call ends. If it panics, the message is printed
    /// on standard error, and the connection is closed without a response. The request is then not processed, it
    /// uses up no fault, and the simulator continues.
    ///
    /// # Examples
    ///
    /// The simulator refuses to cancel one of the jobs:
    ///
    /// ```
    /// use atomiverse::simulator::{Fault, SimulatedJob};
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let ids = [(); 3].map(|()| simulator.add_job(SimulatedJob::new("opt")));
    /// let refused = format!("/{}/cancel", ids[1]);
    /// simulator.fail_when(move |request| request.target.ends_with(&refused), 1, Fault::status(403));
    ///
    /// let outcomes = simulator.client()?.cancel_jobs(&ids);
    /// let failed: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).map(|(id, _)| id).collect();
    /// assert_eq!(failed, [&ids[1]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail_when(
        &self,
        fits: impl Fn(&ReceivedRequest) -> bool + Send + 'static,
        times: usize,
        fault: Fault,
    ) {
        let mut left = times;
        let planned = move |request: &ReceivedRequest| {
            let applies = left > 0 && fits(request);
            left -= usize::from(applies);
            applies.then(|| fault.clone())
        };
        self.service().faults.push(Arc::new(Mutex::new(planned)));
    }

    /// Removes all faults that were not used up.
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::simulator::Fault;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// simulator.fail_times(usize::MAX, Fault::status(503));
    /// assert!(simulator.client()?.list_jobs().send().is_err());
    /// simulator.clear_faults();
    /// assert!(simulator.client()?.list_jobs().send().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_faults(&self) {
        // Dropped after the service is unlocked, because dropping them may run code of the user.
        let _faults = mem::take(&mut self.service().faults);
    }

    /// Returns the requests that were received so far, in the order of arrival.
    ///
    /// # Examples
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// simulator.client()?.list_jobs().limit(7).send()?;
    /// assert_eq!(simulator.requests()[0].to_string(), "GET /api/v1/jobs?limit=7");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.service().requests.clone()
    }

    /// Returns how many connections were accepted so far.
    ///
    /// # Examples
    ///
    /// Both requests use the same connection:
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let client = simulator.client()?;
    /// client.list_jobs().send()?;
    /// client.list_jobs().send()?;
    /// assert_eq!(simulator.connections(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connections(&self) -> usize {
        self.service().connections
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        lock(&self.service)
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}

/// A job for [`Simulator::add_job`] and [`Simulator::on_submit`].
///
/// By default it is pending for 2 seconds, then running for 10 seconds, then done.
///
/// # Examples
///
/// ```
/// use atomiverse::JobState;
/// use atomiverse::simulator::SimulatedJob;
/// use std::time::Duration;
/// # let simulator = atomiverse::simulator::Simulator::start()?;
/// # let client = simulator.client()?;
/// let long = SimulatedJob::new("opt").pending_for(Duration::ZERO).running_for(Duration::from_secs(7200));
/// let never_ends = SimulatedJob::new("opt").running_for(Duration::MAX);
/// let ids = [long, never_ends].map(|job| simulator.add_job(job));
/// simulator.advance(Duration::from_secs(7200));
/// let states = [client.get_job(&ids[0])?.state, client.get_job(&ids[1])?.state];
/// assert_eq!(states, [JobState::Done, JobState::Running]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct SimulatedJob {
    job_type: String,
    name: Option<String>,
    state: Option<JobState>,
    outcome: JobState,
    age: Duration,
    pending_for: Duration,
    running_for: Duration,
    ignores_cancel: bool,
    billed_core_seconds: Option<f64>,
    molecule_preview: Option<MoleculePreview>,
}

impl SimulatedJob {
    /// Creates a job of this type, such as `opt`.
    pub fn new(job_type: impl Into<String>) -> Self {
        SimulatedJob {
            job_type: job_type.into(),
            name: None,
            state: None,
            outcome: JobState::Done,
            age: Duration::ZERO,
            pending_for: Duration::from_secs(2),
            running_for: Duration::from_secs(10),
            ignores_cancel: false,
            billed_core_seconds: None,
            molecule_preview: None,
        }
    }

    /// Sets the name. Defaults to none.
    pub fn name(self, name: impl Into<String>) -> Self {
        SimulatedJob { name: Some(name.into()), ..self }
    }

    /// Keeps the job in this state until it is cancelled. The durations then determine only the billed core-seconds.
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::JobState;
    /// use atomiverse::simulator::SimulatedJob;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let id = simulator.add_job(SimulatedJob::new("opt").state(JobState::Unknown("paused".into())));
    /// assert_eq!(simulator.client()?.get_job(id)?.state.to_string(), "paused");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state(self, state: JobState) -> Self {
        SimulatedJob { state: Some(state), ..self }
    }

    /// Makes the job end as failed. By default it ends as done.
    pub fn fails(self) -> Self {
        SimulatedJob { outcome: JobState::Failed, ..self }
    }

    /// Makes the job continue although the simulator accepts requests to cancel it.
    ///
    /// # Examples
    ///
    /// A tool that cancels such a job and waits for it needs a timeout:
    ///
    /// ```
    /// use atomiverse::simulator::SimulatedJob;
    /// use atomiverse::{JobState, WaitOptions};
    /// use std::time::Duration;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let id = simulator.add_job(SimulatedJob::new("opt").running_for(Duration::MAX).ignores_cancel());
    /// let client = simulator.client()?;
    /// let options = WaitOptions::new().timeout(Duration::from_secs(60));
    /// let error = client.cancel_and_wait(&id, options).unwrap_err();
    /// assert!(error.is_timeout());
    /// assert_eq!(error.state(), Some(&JobState::Running));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ignores_cancel(self) -> Self {
        SimulatedJob { ignores_cancel: true, ..self }
    }

    /// Sets how long ago the job was submitted. Defaults to zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use atomiverse::JobState;
    /// use atomiverse::simulator::SimulatedJob;
    /// use std::time::Duration;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let yesterday = SimulatedJob::new("opt").age(Duration::from_secs(86_400));
    /// let id = simulator.add_job(yesterday);
    /// assert_eq!(simulator.client()?.get_job(id)?.state, JobState::Done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn age(self, age: Duration) -> Self {
        SimulatedJob { age, ..self }
    }

    /// Sets how long the job is pending. Defaults to 2 seconds.
    pub fn pending_for(self, time: Duration) -> Self {
        SimulatedJob { pending_for: time, ..self }
    }

    /// Sets how long the job is running. Defaults to 10 seconds. With `Duration::MAX` the job does not end unless it is
    /// cancelled.
    pub fn running_for(self, time: Duration) -> Self {
        SimulatedJob { running_for: time, ..self }
    }

    /// Sets the number of billed core-seconds. Defaults to four for each second for which the job has been running.
    pub fn billed_core_seconds(self, core_seconds: f64) -> Self {
        SimulatedJob { billed_core_seconds: Some(core_seconds), ..self }
    }

    /// Sets the molecule. Defaults to none.
    pub fn molecule_preview(self, preview: MoleculePreview) -> Self {
        SimulatedJob { molecule_preview: Some(preview), ..self }
    }

    /// Creates the `n`th of `count` jobs for [`Simulator::add_sample_jobs`].
    fn sample(n: u32, count: u32) -> Self {
        let job = SimulatedJob::new(if n % 4 == 3 { "opt" } else { "single_point_energy" })
            .name(format!("water-{:03}", n + 1))
            .age(Duration::from_secs(u64::from(count - n) * 3600))
            .running_for(Duration::from_secs(u64::from(5 + n * 7 % 50)))
            .molecule_preview(MoleculePreview::new("H2O", WATER.map(|(element, at)| Atom::new(element, at))));
        match n % 10 {
            6 => job.fails(),
            9 => job.state(JobState::Cancelled),
            _ => job,
        }
    }
}

const WATER: [(&str, [f64; 3]); 3] =
    [("O", [0.0, 0.0, 0.1173]), ("H", [0.0, 0.7572, -0.4692]), ("H", [0.0, -0.7572, -0.4692])];

/// A failure of a request, for [`Simulator::fail_next`], [`Simulator::fail_times`] and [`Simulator::fail_when`].
///
/// # Examples
///
/// ```
/// use atomiverse::simulator::Fault;
/// use std::time::Duration;
/// # let simulator = atomiverse::simulator::Simulator::start()?;
/// simulator.fail_next(Fault::status(503).header("Retry-After", "2").body("try again"));
/// let client = simulator.client_builder().max_retries(0).build()?;
/// let error = client.list_jobs().send().unwrap_err();
/// assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
/// assert_eq!(error.server_message(), Some("try again"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// The request gets this response and is not processed. The headers `content-length` and `x-request-id` are added.
    Response(Response),
    /// The request is processed after this delay, which is in real time.
    Delay(Duration),
    /// The connection is closed, and the request is not processed.
    Cut,
    /// The request is processed, but the connection is closed before the response.
    LostResponse,
    /// The request is processed, but the connection is closed before the last byte of the response.
    TruncatedBody,
    /// The response is not valid HTTP, and the request is not processed.
    Garbage,
}

impl Fault {
    /// Returns a fault with this status and a JSON body like those of FastAPI.
    pub fn status(status: u16) -> Self {
        let body = format!(r#"{{"detail":"simulated status {status}"}}"#);
        Fault::Response(Response::new(status, body))
    }

    /// Adds a header to the response of a [`Response`](Fault::Response). Has no effect on other faults.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Fault::Response(response) = &mut self {
            response.headers.push((name.into(), value.into()));
        }
        self
    }

    /// Sets the body of the response of a [`Response`](Fault::Response). Has no effect on other faults.
    ///
    /// # Examples
    ///
    /// This simulates the error page of a gateway:
    ///
    /// ```
    /// use atomiverse::simulator::Fault;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let fault = Fault::status(502)
    ///     .header("Content-Type", "text/html")
    ///     .body("<html><title>Bad Gateway</title></html>");
    /// simulator.fail_next(fault);
    /// assert!(simulator.client()?.list_jobs().send().is_ok()); // The request was retried.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn body(mut self, text: impl Into<String>) -> Self {
        if let Fault::Response(response) = &mut self {
            response.body = text.into().into_bytes();
        }
        self
    }
}

/// A request as the simulator received it. `Display` shows the method and the target, such as `GET
/// /api/v1/jobs?limit=50`.
///
/// # Examples
///
/// ```
/// # let simulator = atomiverse::simulator::Simulator::start()?;
/// simulator.client()?.rename_job("9f2c", "water").unwrap_err();
/// let request = &simulator.requests()[0];
/// assert_eq!(request.to_string(), "PATCH /api/v1/jobs/9f2c");
/// assert_eq!(request.body, r#"{"name":"water"}"#);
/// assert_eq!(request.header("accept"), Some("application/json"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedRequest {
    /// The HTTP method, such as `GET`.
    pub method: String,
    /// The path and the query as they were sent, still percent-encoded.
    pub target: String,
    /// The headers in the order of arrival, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl ReceivedRequest {
    /// Returns the value of a header. The name must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}
