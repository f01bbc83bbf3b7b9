//! The service in miniature, for tests without a network. Needs the feature `simulator`.
//!
//! [`Simulator::start`] serves, inside the process and on a port of its own on `127.0.0.1`, the HTTP
//! interface that this crate assumes: jobs that go from pending to running to done, pages and cursors,
//! the rules for names, the errors, the dashboard's page, and faults on demand. Time stands still until
//! a test moves it, or a client of [`Simulator::client`] pauses: its pauses move the simulated clock
//! and cost no real time.
//!
//! A test of your own tool:
//!
//! ```
//! use atomiverse::simulator::{SimulatedJob, Simulator};
//! use atomiverse::{Client, JobState};
//!
//! fn failed_jobs(client: &Client) -> atomiverse::Result<usize> {
//!     let states: Result<Vec<_>, _> = client.iter_jobs().map(|job| Ok(job?.state)).collect();
//!     Ok(states?.into_iter().filter(|state| *state == JobState::Failed).count())
//! }
//!
//! let simulator = Simulator::start()?;
//! simulator.add_job(SimulatedJob::new("opt").state(JobState::Failed));
//! simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
//! assert_eq!(failed_jobs(&simulator.client()?)?, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clock;
mod dashboard;
mod server;
mod service;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use crate::builder::ClientBuilder;
use crate::client::Client;
use crate::error::Result;
use crate::sync::lock;
use crate::types::{JobId, JobState, MoleculePreview};
use clock::SimulatedClock;
use server::Server;
use service::Service;

/// A running simulator. Dropping it closes its connections and frees its port.
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
#[derive(Debug)]
pub struct Simulator {
    service: Arc<Mutex<Service>>,
    clock: Arc<SimulatedClock>,
    server: Server,
}

/// The key that the simulator takes.
const API_KEY: &str = "av_simulated_key";

impl Simulator {
    /// Starts a simulator with no jobs, on a free port.
    ///
    /// # Errors
    ///
    /// No port or no thread can be had.
    ///
    /// ```
    /// let simulator = atomiverse::simulator::Simulator::start()?;
    /// assert!(simulator.base_url().starts_with("http://127.0.0.1:"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start() -> io::Result<Self> {
        Simulator::start_at(0)
    }

    /// As [`start`](Simulator::start), on a port of the caller's choice: for programs in other languages.
    ///
    /// # Errors
    ///
    /// The port is taken, or no thread can be had.
    ///
    /// ```no_run
    /// let simulator = atomiverse::simulator::Simulator::start_at(8080)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start_at(port: u16) -> io::Result<Self> {
        let clock = Arc::new(SimulatedClock::new(SystemTime::now()));
        let service = Arc::new(Mutex::new(Service::new(clock.clone(), API_KEY)));
        let server = Server::start(SocketAddr::from(([127, 0, 0, 1], port)), service.clone())?;
        Ok(Simulator { service, clock, server })
    }

    /// Where the simulator listens, such as `http://127.0.0.1:40913`.
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let client = atomiverse::Client::builder()
    ///     .api_key(simulator.api_key())
    ///     .base_url(simulator.base_url())
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn base_url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// The one key that the simulator takes.
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// assert!(!simulator.api_key().is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn api_key(&self) -> &'static str {
        API_KEY
    }

    /// A client of this simulator, whose pauses move the simulated clock instead of waiting.
    ///
    /// # Errors
    ///
    /// None that is known: as [`ClientBuilder::build`].
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// assert!(simulator.client()?.list_jobs().send()?.jobs.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client(&self) -> Result<Client> {
        self.client_builder().build()
    }

    /// As [`client`](Simulator::client), for more settings.
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let client = simulator.client_builder().max_retries(0).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_builder(&self) -> ClientBuilder {
        let builder = Client::builder().api_key(API_KEY).base_url(self.base_url());
        builder.clock(self.clock.clone())
    }

    /// Adds a job to the history, at the place of its [age](SimulatedJob::age).
    ///
    /// ```
    /// use atomiverse::simulator::SimulatedJob;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let id = simulator.add_job(SimulatedJob::new("opt").name("benzene"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_job(&self, job: SimulatedJob) -> JobId {
        self.service().add(job)
    }

    /// Adds so many finished jobs of several kinds, an hour apart, the same ones each time.
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// simulator.add_sample_jobs(120);
    /// assert_eq!(simulator.client()?.iter_jobs().count(), 120);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_sample_jobs(&self, count: u32) {
        let mut service = self.service();
        for n in 0..count {
            service.add(SimulatedJob::sample(n, count));
        }
    }

    /// Moves the simulated time on.
    ///
    /// ```
    /// use atomiverse::JobState;
    /// use atomiverse::simulator::SimulatedJob;
    /// use std::time::Duration;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let id = simulator.add_job(SimulatedJob::new("opt"));
    /// simulator.advance(Duration::from_secs(3600));
    /// assert_eq!(simulator.client()?.get_job(id)?.state, JobState::Done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Sets the time of day; the current one unless set. Jobs that are there already keep their age.
    ///
    /// ```
    /// use atomiverse::simulator::SimulatedJob;
    /// use std::time::{Duration, SystemTime};
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// simulator.set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(1_777_732_321));
    /// let id = simulator.add_job(SimulatedJob::new("opt"));
    /// let created = simulator.client()?.get_job(id)?.created_at;
    /// assert_eq!(created.as_str(), "2026-05-02T14:32:01.000000Z");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_time(&self, time: SystemTime) {
        self.clock.set_wall(time);
    }

    /// Lets the simulated time run with the real one from now on; clients then pause in earnest.
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// simulator.run_in_real_time();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run_in_real_time(&self) {
        self.clock.run();
    }

    /// The most jobs that may be pending or running at a time; a submission beyond it fails. No limit unless set.
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// simulator.set_capacity(2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_capacity(&self, jobs: usize) {
        self.service().capacity = Some(jobs);
    }

    /// The next request that no earlier fault was meant for meets this one.
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

    /// As [`fail_next`](Simulator::fail_next), for so many requests.
    ///
    /// ```
    /// use atomiverse::simulator::Fault;
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// simulator.fail_times(2, Fault::Cut);
    /// assert!(simulator.client()?.list_jobs().send().is_ok()); // the second retry succeeds
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail_times(&self, count: usize, fault: Fault) {
        self.service().faults.extend(std::iter::repeat_n(fault, count));
    }

    /// The requests received so far, in order.
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

    /// The connections accepted so far.
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
        self.server.connections()
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        lock(&self.service)
    }
}

/// A job for [`Simulator::add_job`]: pending for 2 seconds, then running for 10, then done, unless said otherwise.
///
/// ```
/// use atomiverse::JobState;
/// use atomiverse::simulator::SimulatedJob;
/// use std::time::Duration;
///
/// let running = SimulatedJob::new("opt").name("benzene").state(JobState::Running);
/// let slow = SimulatedJob::new("single_point_energy").running_for(Duration::from_secs(7200));
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
    billed_core_seconds: Option<f64>,
    molecule_preview: Option<MoleculePreview>,
}

impl SimulatedJob {
    /// A job of this type.
    ///
    /// ```
    /// let job = atomiverse::simulator::SimulatedJob::new("opt");
    /// ```
    pub fn new(job_type: impl Into<String>) -> Self {
        SimulatedJob {
            job_type: job_type.into(),
            name: None,
            state: None,
            outcome: JobState::Done,
            age: Duration::ZERO,
            pending_for: Duration::from_secs(2),
            running_for: Duration::from_secs(10),
            billed_core_seconds: None,
            molecule_preview: None,
        }
    }

    /// With a name.
    ///
    /// ```
    /// let job = atomiverse::simulator::SimulatedJob::new("opt").name("benzene");
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// In this state for good, or until it is cancelled.
    ///
    /// ```
    /// use atomiverse::JobState;
    /// let job = atomiverse::simulator::SimulatedJob::new("opt").state(JobState::Failed);
    /// ```
    pub fn state(mut self, state: JobState) -> Self {
        self.state = Some(state);
        self
    }

    /// Ends as failed, not as done.
    ///
    /// ```
    /// let job = atomiverse::simulator::SimulatedJob::new("opt").fails();
    /// ```
    pub fn fails(mut self) -> Self {
        self.outcome = JobState::Failed;
        self
    }

    /// Submitted so long ago.
    ///
    /// ```
    /// use std::time::Duration;
    /// let yesterday = atomiverse::simulator::SimulatedJob::new("opt").age(Duration::from_secs(86_400));
    /// ```
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Pending for so long.
    ///
    /// ```
    /// use std::time::Duration;
    /// let job = atomiverse::simulator::SimulatedJob::new("opt").pending_for(Duration::ZERO);
    /// ```
    pub fn pending_for(mut self, time: Duration) -> Self {
        self.pending_for = time;
        self
    }

    /// Running for so long.
    ///
    /// ```
    /// use std::time::Duration;
    /// let job = atomiverse::simulator::SimulatedJob::new("opt").running_for(Duration::from_secs(60));
    /// ```
    pub fn running_for(mut self, time: Duration) -> Self {
        self.running_for = time;
        self
    }

    /// The charge in core-seconds; unless set, four for each second of running.
    ///
    /// ```
    /// let job = atomiverse::simulator::SimulatedJob::new("opt").billed_core_seconds(12.5);
    /// ```
    pub fn billed_core_seconds(mut self, core_seconds: f64) -> Self {
        self.billed_core_seconds = Some(core_seconds);
        self
    }

    /// With a molecule.
    ///
    /// ```
    /// let h2 = serde_json::from_str(
    ///     r#"{"formula": "H2", "symbols": ["H", "H"], "positions": [[0, 0, -0.37], [0, 0, 0.37]]}"#)?;
    /// let job = atomiverse::simulator::SimulatedJob::new("opt").molecule_preview(h2);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn molecule_preview(mut self, preview: MoleculePreview) -> Self {
        self.molecule_preview = Some(preview);
        self
    }

    /// The `n`th of `count` for [`Simulator::add_sample_jobs`].
    fn sample(n: u32, count: u32) -> Self {
        let molecules = [("water", WATER), ("hydrogen", HYDROGEN), ("methane", METHANE)];
        let (name, preview) = molecules[n as usize % molecules.len()];
        let job = SimulatedJob::new(if n % 4 == 3 { "opt" } else { "single_point_energy" })
            .name(format!("{name}-{:03}", n + 1))
            .age(Duration::from_secs(u64::from(count - n) * 3600))
            .running_for(Duration::from_secs(u64::from(5 + n * 7 % 50)));
        let job = match n % 10 {
            6 => job.fails(),
            9 => job.state(JobState::Cancelled),
            _ => job,
        };
        SimulatedJob { molecule_preview: serde_json::from_str(preview).ok(), ..job }
    }
}

const WATER: &str = r#"{"formula": "H2O", "symbols": ["O", "H", "H"],
    "positions": [[0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]]}"#;
const HYDROGEN: &str =
    r#"{"formula": "H2", "symbols": ["H", "H"], "positions": [[0, 0, -0.3707], [0, 0, 0.3707]]}"#;
const METHANE: &str = r#"{"formula": "CH4", "symbols": ["C", "H", "H", "H", "H"],
    "positions": [[0, 0, 0], [0.6276, 0.6276, 0.6276], [-0.6276, -0.6276, 0.6276],
                  [-0.6276, 0.6276, -0.6276], [0.6276, -0.6276, -0.6276]]}"#;

/// What goes wrong with a request, on demand.
///
/// ```
/// use atomiverse::simulator::Fault;
///
/// let busy = Fault::status(503).header("Retry-After", "2").body("try again");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// This answer, and nothing is done.
    #[non_exhaustive]
    Answer {
        /// The HTTP status.
        status: u16,
        /// Further headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The request is served, so much later (in real time).
    Delay(Duration),
    /// The connection is closed; nothing is done.
    Cut,
    /// The request is served, but the connection is closed before the answer.
    LostAnswer,
    /// The request is served, but the connection is closed in the middle of the answer's body.
    TruncatedBody,
    /// Bytes that are no HTTP; nothing is done.
    Garbage,
}

impl Fault {
    /// An answer with this status and FastAPI's stock body.
    ///
    /// ```
    /// let fault = atomiverse::simulator::Fault::status(429);
    /// ```
    pub fn status(status: u16) -> Self {
        Fault::Answer {
            status,
            headers: Vec::new(),
            body: format!(r#"{{"detail":"simulated status {status}"}}"#),
        }
    }

    /// The answer with one more header. Of other faults nothing changes.
    ///
    /// ```
    /// let fault = atomiverse::simulator::Fault::status(429).header("Retry-After", "1");
    /// ```
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Fault::Answer { headers, .. } = &mut self {
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// The answer with this body. Of other faults nothing changes.
    ///
    /// ```
    /// let fault = atomiverse::simulator::Fault::status(502)
    ///     .header("Content-Type", "text/html")
    ///     .body("<html><title>Bad Gateway</title></html>");
    /// ```
    pub fn body(mut self, text: impl Into<String>) -> Self {
        if let Fault::Answer { body, .. } = &mut self {
            *body = text.into();
        }
        self
    }
}

/// A request as the simulator received it. Its text is the method and the target: `GET /api/v1/jobs?limit=50`.
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
    /// Such as `GET`.
    pub method: String,
    /// Path and query as they were sent, still encoded.
    pub target: String,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl ReceivedRequest {
    /// The value of a header, by its name in lower case.
    ///
    /// ```
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// # simulator.client()?.list_jobs().send()?;
    /// let agent = simulator.requests()[0].header("user-agent").map(str::to_owned);
    /// assert!(agent.unwrap().starts_with("atomiverse-rust/"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Display for ReceivedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}
