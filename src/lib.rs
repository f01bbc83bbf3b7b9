//! A blocking SDK for job management on [Atomiverse](https://atomiverse.com), a cloud for quantum chemistry:
//! submit jobs and wait for them, list, iterate, rename, cancel and delete them, and open their dashboards.
//! No async runtime.
//!
//! # From the top
//!
//! - A [`Client`] talks to the service. Its methods block until they are done, for a bounded time.
//! - A [`JobSummary`] describes a job: id, name, [state](JobState), type, time, charge, and the molecule.
//!   [`Client::iter_jobs`] iterates over all of them, page by page.
//! - An [`Error`] says what failed, on which job, what the server said, and what can be done.
//!
//! # By need
//!
//! Whole programs for most of these are in the folder `examples` of the repository.
//!
//! ## Failed jobs since yesterday
//!
//! ```no_run
//! use atomiverse::{Client, JobState};
//! use std::time::{Duration, SystemTime};
//!
//! fn main() -> atomiverse::Result<()> {
//!     let client = Client::from_env()?; // ATOMIVERSE_API_KEY
//!     let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
//!     for job in client.iter_jobs() {
//!         let job = job?;
//!         let is_new = job.created_at.to_system_time().is_some_and(|submitted| submitted >= yesterday);
//!         if is_new && job.state == JobState::Failed {
//!             println!("{} {}", job.job_id, job.name.as_deref().unwrap_or("-"));
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! ## Core-seconds by job type this month
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! # let client = atomiverse::Client::from_env()?;
//!
//! let first: jiff::Timestamp = "2026-05-01T00:00:00Z".parse()?;
//! let mut billed: BTreeMap<String, f64> = BTreeMap::new();
//! for job in client.iter_jobs().limit(200).prefetch(true) {
//!     let job = job?;
//!     if job.created_at.to_jiff().is_some_and(|submitted| submitted >= first) {
//!         *billed.entry(job.job_type).or_default() += job.billed_core_seconds.unwrap_or(0.0);
//!     }
//! }
//! for (job_type, core_seconds) in billed {
//!     println!("{job_type:<24} {core_seconds:>12.1}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Clean up old cancelled jobs, with a dry run
//!
//! The ids are collected before the first job is deleted: on a server that counts positions, deleting while
//! iterating skips jobs. A job whose time cannot be read is kept.
//!
//! ```no_run
//! use atomiverse::{JobId, JobState};
//! use std::time::{Duration, SystemTime};
//! # let client = atomiverse::Client::from_env()?;
//!
//! let limit = SystemTime::now() - Duration::from_secs(30 * 86_400);
//! let mut old: Vec<JobId> = Vec::new();
//! for job in client.iter_jobs() {
//!     let job = job?;
//!     let is_old = job.created_at.to_system_time().is_some_and(|submitted| submitted < limit);
//!     if is_old && job.state == JobState::Cancelled {
//!         old.push(job.job_id);
//!     }
//! }
//! let dry_run = true;
//! for id in &old {
//!     if dry_run {
//!         println!("would delete {id}");
//!         continue;
//!     }
//!     match client.delete_job_if_exists(id) {
//!         Ok(true) => println!("deleted {id}"),
//!         Ok(false) => println!("{id} was already gone"),
//!         Err(error) if error.is_conflict() => eprintln!("{error}"),
//!         Err(error) => return Err(error),
//!     }
//! }
//! # Ok::<(), atomiverse::Error>(())
//! ```
//!
//! ## Rename by pattern
//!
//! ```no_run
//! # let client = atomiverse::Client::from_env()?;
//! for job in client.iter_jobs() {
//!     let job = job?;
//!     if let Some(rest) = job.name.as_deref().and_then(|name| name.strip_prefix("test-")) {
//!         client.rename_job(&job.job_id, format!("benchmark-{rest}"))?;
//!     }
//! }
//! # Ok::<(), atomiverse::Error>(())
//! ```
//!
//! ## Cancel everything pending
//!
//! ```no_run
//! use atomiverse::JobState;
//! # let client = atomiverse::Client::from_env()?;
//!
//! let jobs: Vec<_> = client.iter_jobs().collect::<Result<_, _>>()?;
//! for job in jobs.iter().filter(|job| job.state == JobState::Pending) {
//!     client.cancel_job(&job.job_id)?; // best effort
//!     println!("{} is {}", job.job_id, client.get_job(&job.job_id)?.state);
//! }
//! # Ok::<(), atomiverse::Error>(())
//! ```
//!
//! ## Resume a broken scan
//!
//! ```no_run
//! # let client = atomiverse::Client::from_env()?;
//! let mut jobs = client.iter_jobs();
//! for job in &mut jobs {
//!     match job {
//!         Ok(job) => println!("{}", job.job_id),
//!         Err(error) => eprintln!("{error}"), // the iterator ends here
//!     }
//! }
//! if let Some(cursor) = jobs.cursor() {
//!     std::fs::write("cursor", cursor)?; // later: client.iter_jobs().resume_from(cursor)
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Export previews as XYZ
//!
//! ```no_run
//! # let client = atomiverse::Client::from_env()?;
//! for job in client.iter_jobs().max_jobs(20) {
//!     if let Some(preview) = job?.molecule_preview {
//!         print!("{}", preview.to_xyz()); // positions in angstrom
//!     }
//! }
//! # Ok::<(), atomiverse::Error>(())
//! ```
//!
//! ## From submission to done
//!
//! The payload is any value that serialises to a JSON object. A wait takes at most one hour, unless
//! [`WaitOptions`] say otherwise.
//!
//! ```no_run
//! use atomiverse::WaitOptions;
//! # let client = atomiverse::Client::from_env()?;
//! # let payload = serde_json::json!({});
//!
//! let mut job = client.submit_job(&payload)?;
//! let options = WaitOptions::new().on_update(|job| println!("{}", job.state));
//! println!("{:?}", job.wait(&options)?.billed_core_seconds);
//! job.visualize(); // opens its dashboard
//! # Ok::<(), atomiverse::Error>(())
//! ```
//!
//! ## Test your own tool offline
//!
//! With the feature `simulator`, the module of that name serves the interface inside your test. See there.
//!
//! ## Behind a proxy
//!
//! The variables `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are used. A proxy that inspects TLS has a certificate
//! authority of its own: enable the feature `platform-verifier` if the operating system trusts it, or add it:
//!
//! ```no_run
//! let client = atomiverse::Client::builder()
//!     .api_key(std::env::var("ATOMIVERSE_API_KEY")?)
//!     .add_root_certificates(std::fs::read("our-authority.pem")?)
//!     .build()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Small builds
//!
//! With `default-features = false` the crate talks plain HTTP to a gateway on the same machine, without TLS,
//! compression and the browser. `BENCHMARKS.md` has a profile for small binaries.
//!
//! # Staying in control
//!
//! - **Stop**: a client made by [`Client::with_stop`] returns from every call when its [`StopToken`] is stopped.
//! - **One call, other limits**: [`Client::with_timeout`], [`Client::with_max_retries`] and [`Client::with_api_key`]
//!   return clients that share the connections; [`Client::set_api_key`] replaces a key that is rotated.
//! - **Many jobs**: [`Client::cancel_jobs`] and [`Client::delete_jobs`] report each job as it completes.
//! - **Metrics**: [`ClientBuilder::on_attempt`] sees every HTTP attempt.
//! - **What this crate does not type**: [`Client::send`] takes a [`RawRequest`].
//!
//! # What is assumed
//!
//! The service documents its Python SDK, not its HTTP API. The requests that this crate sends are an assumption,
//! listed in `HTTP.md` together with what is tolerated if the service differs. If only the address or the header of
//! the key differs, [`ClientBuilder::api_url`] and [`ClientBuilder::api_key_header`] correct it.
//!
//! # Adapting to a service that differs
//!
//! [`ClientBuilder::on_request`] and [`ClientBuilder::on_response`] adapt what is sent and what is received. They see
//! each request and response as plain data. A service that renames by `POST /jobs/{job_id}/rename`:
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
//! A service that responds with `{"data": ...}` where this crate expects the data alone:
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
//! The file `HTTP.md`, which comes with this crate's source, has these and eight more: the key in another header,
//! another envelope, other words for states, camelCase keys, 400 for an unknown job, deleting by POST, `status` for
//! `state`, and positions in bohr.
//!
//! # Features
//!
//! | feature | default | what it does |
//! |---|---|---|
//! | `rustls` | yes | TLS by rustls, with Mozilla's root certificates |
//! | `native-tls` | | TLS by the system's library; where `rustls` is on too, rustls is used |
//! | `platform-verifier` | | trusts what the operating system trusts (brings `rustls`) |
//! | `gzip` | yes | asks for compressed answers |
//! | `browser` | yes | [`Job::visualize`] opens the browser; without it the link is printed |
//! | `jiff` | | [`Timestamp`] converts to `jiff::Timestamp` |
//! | `simulator` | | the `simulator` module: the service in miniature, for tests without a network |
//!
//! Without any of them the crate talks plain HTTP to a gateway on the same machine.
//!
//! # Logging
//!
//! Every request is a line at level debug, by the crate [`log`]. No line of this crate holds the key.
//! **At level trace the crate `ureq_proto` logs the bytes that it sends, the key included**: where you
//! log at that level, filter it out (`RUST_LOG=trace,ureq_proto=debug`).

#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod builder;
mod bulk;
mod client;
mod clock;
mod config;
mod confirm;
mod connector;
mod dashboard;
mod error;
mod hooks;
mod http;
mod job;
mod listing;
mod operations;
mod pages;
mod raw;
mod resolver;
mod retry;
#[cfg(feature = "simulator")]
#[cfg_attr(docsrs, doc(cfg(feature = "simulator")))]
pub mod simulator;
mod stop;
mod submit;
mod sync;
mod transport;
mod types;
mod wait;

pub use builder::ClientBuilder;
pub use bulk::Bulk;
pub use client::Client;
pub use dashboard::VisualizeMode;
pub use error::{Error, Result};
pub use hooks::Attempt;
pub use job::Job;
pub use listing::{JobsIter, ListJobs};
pub use raw::{RawRequest, RawResponse};
pub use stop::StopToken;
pub use types::{
    Atom, BatchEntry, BatchSubmission, Element, JobId, JobState, JobSummary, JobsPage, MoleculePreview,
    PartialBatch, SubmissionStatus, Timestamp,
};
pub use wait::{WaitForJobs, WaitOptions};

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
    pub use crate::pages::fuzzing::scan;

    pub fn error_message(content_type: Option<&str>, body: &[u8]) -> Option<String> {
        crate::api::error_message(content_type, body)
    }
}
