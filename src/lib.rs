//! A blocking SDK for job management on [Atomiverse](https://atomiverse.com), a cloud for quantum chemistry. It submits
//! jobs and waits for them, lists and iterates over a user's jobs, renames, cancels and deletes them, and opens a job's
//! dashboard in the browser. It returns typed values and errors that say what to do next. By default every call has a
//! time limit. There is no async runtime.
//!
//! **The HTTP API is an assumption**, and the crate has never been run against the real service: see
//! [What is assumed](#what-is-assumed).
//!
//! # Overview
//!
//! Most programs use three types:
//!
//! - A [`Client`] makes the calls. [`Client::from_env`] reads the API key from `ATOMIVERSE_API_KEY`. A client is cheap
//!   to clone, and its clones share their connections.
//! - A [`JobSummary`] describes one job: its id, name, [state](JobState), type, time of submission, billed core-seconds
//!   and molecule. [`Client::iter_jobs`] yields all jobs of the job history, and fetches them page by page.
//! - An [`Error`] has a message of one line that says what failed, on which job, what the server said, and what to do.
//!   Its methods tell a program what it means, for example [`is_not_found`](Error::is_not_found) and
//!   [`is_transient`](Error::is_transient).
//!
//! This program prints the 20 newest jobs:
//!
//! ```no_run
//! fn main() -> atomiverse::Result<()> {
//!     let client = atomiverse::Client::from_env()?;
//!     for job in client.iter_jobs().max_jobs(20) {
//!         let job = job?;
//!         println!("{} {} {}", job.job_id, job.state, job.name.unwrap_or_default());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! To start it, create a workspace API key in the settings of the Atomiverse dashboard, and set the environment
//! variable `ATOMIVERSE_API_KEY` to it. To try the crate without a key, use the
//! [simulator](#test-your-own-tool-offline).
//!
//! Three guides each explain a whole program: [a script](guide::script), [a build tool](guide::build_tool), and
//! [a service](guide::service).
//!
//! # Cookbook
//!
//! In these recipes, `client` is a [`Client`].
//!
//! - [Failed jobs since yesterday](#failed-jobs-since-yesterday)
//! - [Core-seconds by job type this month](#core-seconds-by-job-type-this-month)
//! - [Clean up old cancelled jobs, with a dry run](#clean-up-old-cancelled-jobs-with-a-dry-run)
//! - [Rename by pattern](#rename-by-pattern)
//! - [Cancel everything pending](#cancel-everything-pending)
//! - [Resume an iteration that failed](#resume-an-iteration-that-failed)
//! - [Export previews as XYZ](#export-previews-as-xyz)
//! - [Submit and wait](#submit-and-wait)
//! - [Many jobs](#many-jobs)
//! - [Test your own tool offline](#test-your-own-tool-offline)
//! - [Behind a proxy](#behind-a-proxy)
//! - [Small builds](#small-builds)
//!
//! ## Failed jobs since yesterday
//!
//! A [`Timestamp`] converts to a [`SystemTime`](std::time::SystemTime), which compares correctly whatever time zone the
//! server writes. A job whose time cannot be read is left out here.
//!
//! ```
//! # #[cfg(feature = "simulator")] {
//! # use atomiverse::simulator::{SimulatedJob, Simulator};
//! # let simulator = Simulator::start()?;
//! # let day = Duration::from_secs(24 * 3600);
//! # simulator.add_job(SimulatedJob::new("opt").state(JobState::Failed).age(2 * day));
//! # simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
//! # let expected = simulator.add_job(SimulatedJob::new("opt").state(JobState::Failed).age(day / 2));
//! # let client = simulator.client()?;
//! # let mut found = Vec::new();
//! use atomiverse::JobState;
//! use std::time::{Duration, SystemTime};
//!
//! let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
//! for job in client.iter_jobs() {
//!     let job = job?;
//!     let is_new = job.created_at.to_system_time().is_some_and(|created| created >= yesterday);
//!     if is_new && job.state == JobState::Failed {
//!         println!("{} {}", job.job_id, job.name.unwrap_or_default());
//! #       found.push(job.job_id);
//!     }
//! }
//! # assert_eq!(found, [expected]);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The loop reads the whole history, because it
//! is only an assumption that the newest jobs come first. If you rely on that order, `break` at the first job that is
//! too old.
//!
//! ## Core-seconds by job type this month
//!
//! With the feature `jiff`, a timestamp also converts to a `jiff::Timestamp`. Here the month begins at midnight UTC.
//!
//! ```
//! # #[cfg(all(feature = "jiff", feature = "simulator"))] {
//! # use atomiverse::{JobState, simulator::{SimulatedJob, Simulator}};
//! # let simulator = Simulator::start()?;
//! # let opt = SimulatedJob::new("opt").state(JobState::Done).billed_core_seconds(10.0);
//! # simulator.add_job(opt.clone());
//! # simulator.add_job(opt.clone());
//! # simulator.add_job(opt.age(std::time::Duration::from_secs(32 * 24 * 3600)));
//! # simulator.add_job(SimulatedJob::new("single_point_energy").state(JobState::Done).billed_core_seconds(1.5));
//! # let client = simulator.client()?;
//! use jiff::{Timestamp, tz::TimeZone};
//! use std::collections::BTreeMap;
//!
//! let today = Timestamp::now().to_zoned_datetime(TimeZone::UTC);
//! let first = today.first_of_month()?.start_of_day()?.timestamp();
//! let mut billed: BTreeMap<String, f64> = BTreeMap::new();
//! for job in client.iter_jobs() {
//!     let job = job?;
//!     if job.created_at.to_jiff().is_some_and(|created| created >= first) {
//!         *billed.entry(job.job_type).or_default() += job.billed_core_seconds.unwrap_or(0.0);
//!     }
//! }
//! for (job_type, core_seconds) in &billed {
//!     println!("{job_type:<24} {core_seconds:>12.1}");
//! }
//! # assert_eq!(billed, BTreeMap::from([("opt".to_owned(), 20.0), ("single_point_energy".to_owned(), 1.5)]));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Clean up old cancelled jobs, with a dry run
//!
//! Only jobs that are certainly old and certainly cancelled are deleted: a job whose time cannot be read, or whose
//! state is not known, is kept. The ids are collected before the first job is deleted, because an iteration during
//! which jobs are deleted [may skip others](JobsIter#changes-during-an-iteration).
//!
//! ```
//! # #[cfg(feature = "simulator")] {
//! use atomiverse::{Client, JobId, JobState};
//! use std::time::{Duration, SystemTime};
//!
//! fn clean_up(client: &Client, dry_run: bool) -> atomiverse::Result<()> {
//!     let limit = SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
//!     let mut old: Vec<JobId> = Vec::new();
//!     for job in client.iter_jobs() {
//!         let job = job?;
//!         let is_old = job.created_at.to_system_time().is_some_and(|created| created < limit);
//!         if is_old && job.state == JobState::Cancelled {
//!             println!("{} {} {}", job.job_id, job.created_at, job.name.unwrap_or_default());
//!             old.push(job.job_id);
//!         }
//!     }
//!     if dry_run {
//!         println!("{} jobs would be deleted", old.len());
//!         return Ok(());
//!     }
//!     for (id, outcome) in client.delete_jobs(&old) {
//!         match outcome {
//!             Ok(true) => println!("deleted {id}"),
//!             Ok(false) => println!("{id} was already gone"),
//!             Err(error) => eprintln!("{error}"), // the other jobs are still deleted
//!         }
//!     }
//!     Ok(())
//! }
//! # use atomiverse::simulator::{SimulatedJob, Simulator};
//! # let simulator = Simulator::start()?;
//! # let day = Duration::from_secs(24 * 3600);
//! # for state in [JobState::Cancelled, JobState::Done, JobState::Unknown("archived".to_owned())] {
//! #     simulator.add_job(SimulatedJob::new("opt").state(state.clone()).age(day));
//! #     simulator.add_job(SimulatedJob::new("opt").state(state).age(31 * day));
//! # }
//! # let client = simulator.client()?;
//! # clean_up(&client, true)?;
//! # assert_eq!(client.iter_jobs().count(), 6);
//! # let without_times = simulator.client_builder().on_response(|_, response| {
//! #     let body = String::from_utf8_lossy(&response.body).replace(r#""created_at":""#, r#""created_at":"about "#);
//! #     response.body = body.into_bytes();
//! # });
//! # clean_up(&without_times.build()?, false)?;
//! # assert_eq!(client.iter_jobs().count(), 6);
//! # clean_up(&client, false)?;
//! # assert_eq!(client.iter_jobs().count(), 5);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Rename by pattern
//!
//! A job without a name is not renamed.
//!
//! ```
//! # #[cfg(feature = "simulator")] {
//! # use atomiverse::simulator::{SimulatedJob, Simulator};
//! # let simulator = Simulator::start()?;
//! # let water = simulator.add_job(SimulatedJob::new("opt").name("test-water"));
//! # let other = simulator.add_job(SimulatedJob::new("opt").name("water"));
//! # simulator.add_job(SimulatedJob::new("opt"));
//! # let client = simulator.client()?;
//! let mut renames = Vec::new();
//! for job in client.iter_jobs() {
//!     let job = job?;
//!     if let Some(rest) = job.name.as_deref().and_then(|name| name.strip_prefix("test-")) {
//!         renames.push((job.job_id, format!("benchmark-{rest}")));
//!     }
//! }
//! for (id, name) in &renames {
//!     client.rename_job(id, name)?;
//!     println!("{id} is now {name}");
//! }
//! # assert_eq!(renames.len(), 1);
//! # assert_eq!(client.get_job(water)?.name.as_deref(), Some("benchmark-water"));
//! # assert_eq!(client.get_job(other)?.name.as_deref(), Some("water"));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Cancel everything pending
//!
//! A job in a state that this version does not know is left alone. A job that starts to run before the request arrives
//! is cancelled too.
//!
//! ```
//! # #[cfg(feature = "simulator")] {
//! # use atomiverse::simulator::{SimulatedJob, Simulator};
//! # let simulator = Simulator::start()?;
//! # for state in [JobState::Pending, JobState::Running, JobState::Unknown("paused".to_owned())] {
//! #     simulator.add_job(SimulatedJob::new("opt").state(state));
//! # }
//! # let client = simulator.client()?;
//! use atomiverse::{JobId, JobState};
//!
//! let mut pending: Vec<JobId> = Vec::new();
//! for job in client.iter_jobs() {
//!     let job = job?;
//!     if job.state == JobState::Pending {
//!         pending.push(job.job_id);
//!     }
//! }
//! for (id, outcome) in client.cancel_jobs(&pending) {
//!     match outcome {
//!         Ok(()) => println!("{id} is being cancelled"),
//!         Err(error) => eprintln!("{error}"),
//!     }
//! }
//! # let states = client.iter_jobs().map(|job| Ok(job?.state.to_string()));
//! # assert_eq!(states.collect::<atomiverse::Result<Vec<_>>>()?, ["paused", "running", "cancelled"]);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Resume an iteration that failed
//!
//! An iteration ends after a request that failed. [`resume`](JobsIter::resume) continues it: the next call of `next`
//! requests the same page again, and no job is lost or repeated. A single job that cannot be read does not end the
//! iteration: it is an error in its place, and the next job follows.
//!
//! ```
//! # #[cfg(feature = "simulator")] {
//! # use atomiverse::simulator::{Fault, Simulator};
//! # let simulator = Simulator::start()?;
//! # simulator.add_sample_jobs(120);
//! # let client = simulator.client_builder().max_retries(0).build()?;
//! # simulator.fail_when(|request| request.target.contains("cursor"), 3, Fault::status(503));
//! # let pause = Duration::ZERO;
//! # let mut count = 0;
//! use std::{thread, time::Duration};
//!
//! # #[cfg(any())]
//! let pause = Duration::from_secs(60);
//! let mut attempts_left = 10;
//! let mut jobs = client.iter_jobs();
//! while let Some(job) = jobs.next() {
//!     match job {
//!         Ok(job) => println!("{}", job.job_id),
//!         Err(error) if error.is_unreadable_job() => eprintln!("{error}"),
//!         Err(error) if error.is_transient() && attempts_left > 0 => {
//!             eprintln!("{error}");
//!             attempts_left -= 1;
//!             thread::sleep(pause);
//!             jobs.resume();
//!         }
//!         Err(error) => return Err(error.into()),
//!     }
//! #   count += 1;
//! }
//! # assert_eq!((count, attempts_left), (123, 7));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To continue in another process, save the [`cursor`](JobsIter::cursor), a string that names the page, after the error
//! and begin there with [`resume_from`](JobsIter::resume_from). If `cursor` returns `None` after an error, the first
//! page failed. Then start a new iteration.
//!
//! ## Export previews as XYZ
//!
//! The molecules are written one after the other, because many viewers read several of them from one file. Positions
//! are in angstrom.
//!
//! ```
//! # #[cfg(feature = "simulator")] {
//! # let simulator = atomiverse::simulator::Simulator::start()?;
//! # simulator.add_sample_jobs(30);
//! # let client = simulator.client()?;
//! let mut xyz = String::new();
//! for job in client.iter_jobs().max_jobs(20) {
//!     if let Some(preview) = job?.molecule_preview {
//!         xyz += &preview.to_xyz();
//!     }
//! }
//! print!("{xyz}");
//! # assert!(xyz.contains("3\nH2O\nO "), "{xyz}");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Submit and wait
//!
//! The payload is any value that serialises to a JSON object, such as what `model_dump()` returns in the Python SDK. By
//! default a wait times out after one hour; [`WaitOptions::timeout`] sets another limit. A job that failed is not an
//! error: look at its state.
//!
//! ```
//! # #[cfg(feature = "simulator")] {
//! # let simulator = atomiverse::simulator::Simulator::start()?;
//! # let client = simulator.client()?;
//! use atomiverse::{JobState, WaitOptions};
//! use std::time::Duration;
//!
//! let payload = serde_json::json!({"job_type": "single_point_energy", "name": "water"});
//! let mut job = client.submit_job(&payload)?;
//! println!("{}", job.job_dashboard_url());
//!
//! let options = WaitOptions::new()
//!     .timeout(Duration::from_secs(600))
//!     .cancel_on_timeout(true) // a job that continues to run costs money
//!     .on_update(|job| println!("{}", job.state));
//! let summary = job.wait(options)?;
//! if summary.state == JobState::Done {
//!     println!("{} core-seconds", summary.billed_core_seconds.unwrap_or(0.0));
//! }
//! # assert_eq!(summary.state, JobState::Done);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A submission is not retried if the server may have accepted it. If [`Error::may_have_been_processed`] is true, list
//! the newest jobs before you submit again.
//!
//! ## Many jobs
//!
//! [`Client::submit_batch`] sends any number of payloads, and [`Client::wait_for_jobs`] yields each job when it ends.
//! The entry of a payload that was rejected has no id.
//!
//! ```
//! # #[cfg(feature = "simulator")] {
//! # let simulator = atomiverse::simulator::Simulator::start()?;
//! # let client = simulator.client()?;
//! # let mut done = 0;
//! use atomiverse::WaitOptions;
//! use serde_json::json;
//!
//! let payloads = (0..30).map(|n| json!({"job_type": "opt", "name": format!("molecule-{n}")}));
//! let batch = client.submit_batch(payloads)?;
//! for (n, entry) in batch.jobs.iter().enumerate().filter(|(_, entry)| entry.job_id.is_none()) {
//!     eprintln!("payload {n} was rejected: {}", entry.error.as_deref().unwrap_or("no reason given"));
//! }
//! let ids = batch.jobs.iter().filter_map(|entry| entry.job_id.as_ref());
//! for (_, outcome) in client.wait_for_jobs(ids, WaitOptions::new()) {
//!     match outcome {
//!         Ok(job) => println!("{} is {}", job.job_id, job.state),
//!         Err(error) => eprintln!("{error}"), // about one job; the others are still waited for
//!     }
//! #   done += 1;
//! }
//! # assert_eq!(done, 30);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Client::cancel_jobs`] and [`Client::delete_jobs`] make one call for each job, four at a time, and report each job
//! as it completes.
//!
//! ## Test your own tool offline
//!
//! With the feature `simulator`, the module [`simulator`] runs a simulated service inside your test. Its clock moves
//! only when your test moves it or your client pauses: the two hours below take no real time. A `Fault` makes the
//! simulator respond with an error status, late, incompletely, or not at all.
//!
//! ```
//! # #[cfg(feature = "simulator")] {
//! use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
//! use atomiverse::{JobState, WaitOptions};
//! use std::time::Duration;
//!
//! const TWO_HOURS: Duration = Duration::from_secs(7200);
//!
//! let simulator = Simulator::start()?;
//! let id = simulator.add_job(SimulatedJob::new("opt").running_for(TWO_HOURS).fails());
//! simulator.fail_next(Fault::status(503)); // the client retries
//!
//! let job = simulator.client()?.wait_for_job(&id, WaitOptions::new().timeout(2 * TWO_HOURS))?;
//! assert_eq!(job.state, JobState::Failed);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Behind a proxy
//!
//! The first of the environment variables `ALL_PROXY`, `HTTPS_PROXY` and `HTTP_PROXY` that is set names the proxy,
//! unless `NO_PROXY` exempts the host. [`ClientBuilder::proxy`] overrides these variables. A proxy that inspects TLS
//! has a certificate authority of its own:
//!
//! ```no_run
//! let client = atomiverse::ClientBuilder::from_env()?
//!     .proxy("http://proxy.example:3128")
//!     .root_certificates(std::fs::read("our-authority.pem")?)
//!     .build()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Small builds
//!
//! Without its default features the crate has no TLS, no compression, and does not open a browser. It then speaks plain
//! HTTP to a gateway on the same machine, whose address is in `ATOMIVERSE_BASE_URL`:
//!
//! ```toml
//! [dependencies]
//! atomiverse = { version = "0.1", default-features = false }
//! ```
//!
//! This profile in the `Cargo.toml` of a program makes its executable smaller:
//!
//! ```toml
//! [profile.release]
//! opt-level = "z"
//! lto = true
//! codegen-units = 1
//! panic = "abort"
//! strip = true
//! ```
//!
//! # Time limits, stopping and metrics
//!
//! - **Time limits**: by default a call times out after 60 seconds including retries, and a wait after one hour.
//!   [`Client`](Client#time-limits) has the details.
//! - **Stopping**: when a [`StopToken`] is stopped, for example on Ctrl-C, each call of a client made by
//!   [`Client::with_stop`] returns within 100 milliseconds.
//! - **Views** are clients that differ from another client in one setting and share its connections. They are as cheap
//!   as a clone. [`Client::with_timeout`], [`Client::with_stop`] and [`Client::with_api_key`] return them.
//! - **Key rotation**: [`Client::set_api_key`] replaces the key, also in waits that are running.
//! - **Metrics**: [`ClientBuilder::on_attempt`] adds a function that is called after each HTTP attempt.
//! - **Other requests**: [`Client::send`] sends a [`RawRequest`], for example for the result of a job, with the same
//!   key, limits, retries and errors as the other calls.
//!
//! # What is assumed
//!
//! Atomiverse documents its Python SDK, not its HTTP API. The requests that this crate sends were inferred from that
//! documentation. `HTTP.md`, which comes with the source of this crate, lists them and what is tolerated if the service
//! differs. In a checkout of the repository, `cargo run --example check_service` makes read-only calls and reports each
//! assumption that does not hold. If only the address or the header of the key differs, [`ClientBuilder::api_url`] and
//! [`ClientBuilder::api_key_header`] correct it.
//!
//! # Adapting to a service that differs
//!
//! [`ClientBuilder::on_request`] and [`ClientBuilder::on_response`] add hooks: functions that can change each request
//! before it is sent, and each response before it is read. This hook is for a service that renames by
//! `POST /jobs/{job_id}/rename`:
//!
//! ```
//! # let builder = atomiverse::Client::builder();
//! let builder = builder.on_request(|request| {
//!     if request.action == "rename job" {
//!         request.method = "POST".to_owned();
//!         request.path += "/rename";
//!     }
//! });
//! ```
//!
//! This one is for a service that responds with `{"data": ...}` where this crate expects the data alone:
//!
//! ```
//! # let builder = atomiverse::Client::builder();
//! let builder = builder.on_response(|_, response| {
//!     let Ok(mut json) = response.json::<serde_json::Value>() else { return };
//!     if response.status < 300 && json["data"].is_object() && json["success"] != false {
//!         response.body = json["data"].take().to_string().into_bytes();
//!     }
//! });
//! ```
//!
//! `HTTP.md` has nine more: the key in another header, another envelope, other words for states, camelCase keys, 400
//! for an unknown job, deleting by POST, `status` for `state`, `id` for `job_id`, and positions in bohr.
//!
//! # Use from async code
//!
//! Calls block their thread. In async code, run them on a thread for blocking work, such as that of tokio's
//! `spawn_blocking`. Dropping the future does not end the call, so stop it with a token:
//!
//! ```
//! # #[cfg(feature = "simulator")] {
//! use atomiverse::{Client, JobId, JobSummary, StopToken, WaitOptions};
//!
//! struct StopOnDrop(StopToken);
//!
//! impl Drop for StopOnDrop {
//!     fn drop(&mut self) {
//!         self.0.stop();
//!     }
//! }
//!
//! /// Waits for a job. If the future is dropped, the wait is stopped.
//! async fn wait(client: &Client, id: JobId) -> atomiverse::Result<JobSummary> {
//!     let guard = StopOnDrop(StopToken::new());
//!     let client = client.with_stop(&guard.0);
//!     let call = move || client.wait_for_job(id, WaitOptions::new());
//!     tokio::task::spawn_blocking(call).await.expect("the call does not panic")
//! }
//! # let simulator = atomiverse::simulator::Simulator::start()?;
//! # let id = simulator.add_job(atomiverse::simulator::SimulatedJob::new("opt"));
//! # let client = simulator.client()?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! # let job = runtime.block_on(wait(&client, id))?;
//! # assert_eq!(job.state, atomiverse::JobState::Done);
//! # simulator.run_in_real_time();
//! # let never_ends = atomiverse::simulator::SimulatedJob::new("opt").running_for(std::time::Duration::MAX);
//! # let id = simulator.add_job(never_ends);
//! # let limit = std::time::Duration::from_millis(50);
//! # assert!(runtime.block_on(async { tokio::time::timeout(limit, wait(&client, id)).await }).is_err());
//! # drop(runtime); // joins the thread, which the token has stopped
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! | feature | default | effect |
//! |---|---|---|
//! | `rustls` | yes | TLS by rustls. Trusts Mozilla's root certificates, or those of [`root_certificates`](ClientBuilder::root_certificates). |
//! | `gzip` | yes | Requests compressed responses. |
//! | `browser` | yes | [`visualize`](Job::visualize) opens the browser. Without it, `visualize` prints the link. |
//! | `native-tls` | no | TLS by the system's library, with the same root certificates as `rustls`. If both are enabled, rustls is used. |
//! | `platform-verifier` | no | Adds `ClientBuilder::platform_certificates`, with which the client trusts what the operating system trusts. Enables `rustls`. |
//! | `jiff` | no | Adds `Timestamp::to_jiff`, which returns a `jiff::Timestamp` of jiff 1. |
//! | `simulator` | no | Adds the module [`simulator`]. |
//!
//! Without `rustls` and `native-tls`, the crate supports plain HTTP only, to a gateway on the same machine or, with
//! [`allow_insecure_http(true)`](ClientBuilder::allow_insecure_http), to one on another machine. The default address is
//! `https://`, so such a build needs an `http://` address, from [`base_url`](ClientBuilder::base_url) or
//! `ATOMIVERSE_BASE_URL`.
//!
//! # Logging
//!
//! Each HTTP attempt is logged with the crate [`log`](https://docs.rs/log) at level *debug*. No line that this crate
//! logs contains the key.
//!
//! **At level *trace*, the crate `ureq_proto` logs the bytes that are sent, including the `Authorization` header.** If
//! you log at that level, exclude it: `RUST_LOG=trace,ureq_proto=debug`.
//!
#![cfg_attr(feature = "simulator", doc = "[`simulator`]: mod@simulator")]
#![cfg_attr(not(feature = "simulator"), doc = "[`simulator`]: #features")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod config;
mod contract;
mod error;
#[cfg(any(doc, doctest))]
pub mod guide;
mod http;
mod job;
mod jobs;
#[cfg(feature = "simulator")]
#[cfg_attr(docsrs, doc(cfg(feature = "simulator")))]
pub mod simulator;
mod sync;
mod types;

pub use client::Client;
pub use config::builder::ClientBuilder;
pub use config::settings::Attempt;
pub use contract::{Contract, Operation};
pub use error::{Error, Result};
pub use http::request::Request;
pub use http::response::Response;
pub use http::stop::StopToken;
pub use job::Job;
pub use jobs::dashboard::VisualizeMode;
pub use jobs::list::{JobsIter, ListJobs};
pub use jobs::wait::{WaitForJobs, WaitOptions};
pub use types::{
    Atom, BatchEntry, BatchSubmission, Element, JobId, JobState, JobSummary, JobsPage, MoleculePreview,
    PartialBatch, SubmissionStatus, Timestamp,
};

/// Compiles the programs of the README with the tests.
#[cfg(all(doctest, feature = "simulator"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the recipes of the HTTP contract with the tests.
#[cfg(all(doctest, feature = "simulator"))]
#[doc = include_str!("../HTTP.md")]
struct Http;

/// Gives the fuzz targets access to private items.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    use crate::jobs::pages::{Page, Pages};
    use crate::{JobSummary, JobsPage};

    /// Goes through the pages that `get` returns for a cursor, as an iteration does. Returns the jobs.
    pub fn iterate(mut get: impl FnMut(Option<&str>) -> Option<JobsPage>) -> Vec<JobSummary> {
        let (mut pages, mut jobs) = (Pages::starting_at(None), Vec::new());
        while let Some(page) = pages.due().and_then(&mut get) {
            let JobsPage { jobs: received, has_more, next_cursor } = page;
            let page = Page { jobs: received.into_iter().map(Ok).collect(), has_more, next_cursor };
            if pages.check(&page).is_err() {
                break;
            }
            // An error concerns the page after this one, which is then not due.
            let _ = pages.advance(&page);
            jobs.extend(page.jobs.into_iter().flatten());
        }
        jobs
    }

    pub fn error_message(body: &[u8]) -> Option<String> {
        crate::http::message::error_message(body)
    }
}
