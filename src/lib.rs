//! A blocking SDK for job management on [Atomiverse](https://atomiverse.com), a cloud for quantum chemistry:
//! submit jobs and wait for them, list, iterate, rename, cancel and delete them, and open their dashboards.
//! No async runtime.
//!
//! # From the top
//!
//! - A [`Client`] is the way to the service. Its verbs block until they are done, and never without a bound.
//! - A [`JobSummary`] is what the service says of a job: id, name, [state](JobState), type, time, charge,
//!   and the molecule. [`Client::iter_jobs`] gives all of them, page by page.
//! - An [`Error`] says what failed, on which job, what the server said, and what can be done.
//!
//! # Yesterday's failed jobs
//!
//! ```no_run
//! use atomiverse::{Client, JobState};
//!
//! fn main() -> atomiverse::Result<()> {
//!     let client = Client::from_env()?; // ATOMIVERSE_API_KEY
//!     for job in client.iter_jobs().max_jobs(1000) {
//!         let job = job?;
//!         if job.state == JobState::Failed && job.created_at.as_str().starts_with("2026-05-02") {
//!             println!("{} {}", job.job_id, job.name.as_deref().unwrap_or("-"));
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Clean up
//!
//! A job that is gone already is no error here; one that still runs is, and says so.
//!
//! ```no_run
//! # let client = atomiverse::Client::from_env()?;
//! for id in ["9f2c", "77ab"] {
//!     match client.delete_job_if_exists(id) {
//!         Ok(true) => println!("{id} deleted"),
//!         Ok(false) => println!("{id} was gone already"),
//!         Err(error) if error.is_conflict() => println!("{id} is {:?}: cancel it first", error.state()),
//!         Err(error) => return Err(error),
//!     }
//! }
//! # Ok::<(), atomiverse::Error>(())
//! ```
//!
//! # One job
//!
//! ```no_run
//! # let client = atomiverse::Client::from_env()?;
//! let mut job = client.job("9f2c")?; // a handle: nothing is sent
//! job.rename("benchmark-water-b3lyp")?;
//! job.cancel()?;
//! println!("{}", job.refresh()?.state); // cancelled, if it was not finished already
//! job.visualize(); // opens its dashboard
//! # Ok::<(), atomiverse::Error>(())
//! ```
//!
//! # From submission to done
//!
//! The payload is any value that serialises to a JSON object. A wait always has a deadline: one hour unless
//! [`WaitOptions`] say otherwise.
//!
//! ```no_run
//! use atomiverse::WaitOptions;
//! # let client = atomiverse::Client::from_env()?;
//! # let payload = serde_json::json!({});
//! let mut job = client.submit_job(&payload)?;
//! let options = WaitOptions::new().on_update(|job| println!("{}", job.state));
//! println!("{:?}", job.wait(&options)?.billed_core_seconds);
//! # Ok::<(), atomiverse::Error>(())
//! ```
//!
//! # What is assumed
//!
//! The service documents its Python SDK, not its HTTP interface. The requests that this crate sends are
//! an assumption, listed in the README and written down in one source file, `api.rs`. Where only the
//! address differs, [`ClientBuilder::api_url`] sets it right.
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
mod client;
mod clock;
mod dashboard;
mod error;
mod http;
mod job;
mod listing;
mod retry;
#[cfg(feature = "simulator")]
#[cfg_attr(docsrs, doc(cfg(feature = "simulator")))]
pub mod simulator;
mod submit;
mod summary;
mod wait;

pub use client::{Client, ClientBuilder};
pub use dashboard::VisualizeMode;
pub use error::{Error, Result};
pub use job::Job;
pub use listing::{JobsIter, JobsPage, ListJobs};
pub use submit::{BatchEntry, BatchSubmission, PartialBatch, SubmissionStatus};
pub use summary::{Atom, Element, JobId, JobState, JobSummary, MoleculePreview, Timestamp};
pub use wait::{WaitForJobs, WaitOptions};

/// The README's programs are compiled with the tests.
#[cfg(all(doctest, feature = "simulator"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// For the fuzz targets, which cannot see what is private.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::listing::scan;

    pub fn error_message(content_type: Option<&str>, body: &[u8]) -> Option<String> {
        crate::api::error_message(content_type, body)
    }
}
