//! A blocking SDK for job management on [Atomiverse](https://atomiverse.com), a cloud for quantum chemistry. It submits
//! jobs and waits for them, lists and iterates over a user's jobs, renames, cancels and deletes them, and opens a job's
//! dashboard in the browser. There is no async runtime.
//!
//! **The HTTP API is an assumption**, and the crate has never been run against the real service: see [What is
//! assumed](#what-is-assumed).
//!
//! | you are writing | read |
//! |---|---|
//! | a script | [the guide for scripts](_guide::script) |
//! | a tool that others run | [the guide for build tools](_guide::build_tool) |
//! | a service, or async code | [the guide for services](_guide::service) |
//! | something small | [the cookbook](_guide::cookbook) |
//! | device software | [the guide for devices](_guide::embedded) |
//! | a client of another HTTP API | [the HTTP API](_guide::http) |
//!
//! # Overview
//!
//! Most programs use three types:
//!
//! - A [`Client`] makes the calls. [`Client::from_env`] reads the API key from `ATOMIVERSE_API_KEY`. A client is cheap
//!   to clone, and its clones share their connections.
//! - A [`JobSummary`] describes one job: its id, name, [state](JobState), type, time of submission, billed core-seconds
//!   and molecule. [`Client::iter_jobs`] yields all jobs of the job history, and fetches them page by page.
//! - An [`Error`] has a one-line message: what failed, on which job, what the server said and, where known, the remedy.
//!   Its methods tell a program what it means, for example [`is_not_found`](Error::is_not_found).
//!
//! This program submits a job, waits for it, and prints its state. The payload is any value that serialises to a JSON
//! object, such as what `model_dump()` returns in the Python SDK:
//!
//! ```
//! # #[cfg(feature = "simulator")] {
//! # let simulator = atomiverse::simulator::Simulator::start()?;
//! # let client = simulator.client()?;
//! use atomiverse::{JobState, WaitOptions};
//!
//! # #[cfg(any())]
//! let client = atomiverse::Client::from_env()?;
//! let mut job = client.submit_job(&serde_json::json!({"job_type": "opt", "name": "water"}))?;
//! println!("{}", job.job_dashboard_url());
//! let summary = job.wait(WaitOptions::new())?; // for an hour at most; the job is not cancelled then
//! if summary.state == JobState::Done {
//!     println!("{} core-seconds", summary.billed_core_seconds.unwrap_or(0.0));
//! }
//! # assert_eq!(summary.state, JobState::Done);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To run it, create a workspace API key in the settings of the Atomiverse dashboard, and set `ATOMIVERSE_API_KEY` to
//! it. To run it without a key, start `cargo run --example serve` in a checkout, and run the commands
//! that it prints. Tests use the [simulator](_guide::cookbook#test-your-own-tool-offline).
//!
//! # What holds for every call
//!
//! - **Time limits**: by default a call ends within 60 seconds, including connecting, retries and pauses, and a wait
//!   within an hour. See [`Client`](Client#time-limits).
//! - **Retries**: a request that failed for a transient reason is retried at most twice. A submission is retried only
//!   if nothing was sent, or the service refused it with 429. See [`max_retries`](ClientBuilder::max_retries).
//! - **Outcomes**: if the response to a change does not say what happened, the client loads the job to find out.
//!   [`Error::may_have_been_processed`] says whether a change that failed may have been made.
//! - **Stopping**: when a [`StopToken`] is stopped, for example on Ctrl-C, each call on a client made by
//!   [`Client::with_stop`] returns within 100 milliseconds.
//!
//! [`Client::with_timeout`], [`Client::with_stop`] and [`Client::with_api_key`] return a client that differs in one
//! setting and shares the connections. [`ClientBuilder::on_attempt`] adds a function that is called after each HTTP
//! attempt, for metrics. [`Client::send`] sends a [`Request`] for which this crate has no method.
//!
//! # What is assumed
//!
//! Atomiverse documents its Python SDK, not its HTTP API. The requests that this crate sends were inferred from that
//! documentation; [the HTTP API](_guide::http) lists them. In a checkout,
//! `cargo run --example check_service` reports what differs; `--with-job` also checks changes.
//!
//! If only the address or the header of the key differs, [`ClientBuilder::api_url`] and
//! [`ClientBuilder::api_key_header`] correct it. For everything else, implement a [`Contract`] and pass it to
//! [`ClientBuilder::contract`]. Here the service renames by `POST /jobs/{job_id}/rename`:
//!
//! ```
//! use atomiverse::{Client, Contract, Operation, Request};
//!
//! struct OurService;
//!
//! impl Contract for OurService {
//!     fn request(&self, operation: Operation<'_>) -> Request {
//!         match operation {
//!             Operation::Rename { id, name } => Request::new("POST", ["jobs", id.as_str(), "rename"])
//!                 .json(&serde_json::json!({"name": name})),
//!             other => Request::assumed(other),
//!         }
//!     }
//! }
//!
//! let client = Client::builder().api_key("av_0123456789").contract(OurService).build()?;
//! # Ok::<(), atomiverse::Error>(())
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
//! | `platform-verifier` | no | Adds `ClientBuilder::platform_certificates`, with which a client trusts what the operating system trusts. Enables `rustls`. |
//! | `jiff` | no | Adds `Timestamp::to_jiff`, which returns a `jiff::Timestamp` of jiff 1. |
//! | `simulator` | no | Adds the module [`simulator`], a simulated service for tests. |
//!
//! Without `rustls` and `native-tls`, the crate supports plain HTTP only, to a gateway on the same machine or, with
//! [`allow_insecure_http(true)`](ClientBuilder::allow_insecure_http), [elsewhere](_guide::embedded). The default address is
//! `https://`, so such a build needs an `http://` address, from [`base_url`](ClientBuilder::base_url) or
//! `ATOMIVERSE_BASE_URL`.
//!
//! Every build uses the [proxy of the environment](ClientBuilder::proxy_from_env), except for an API on the same machine.
//!
//! # Logging
//!
//! The crate [`log`](https://docs.rs/log) gets each HTTP attempt at level *debug*, and each retry and each poll that
//! failed at level *warn*. No line that this crate logs contains the key.
//!
//! **At level *trace*, the crate `ureq_proto` logs the bytes that are sent, with the API key.** At that level, use
//! `RUST_LOG=trace,ureq_proto=debug`.
//!
#![cfg_attr(feature = "simulator", doc = "[`simulator`]: mod@simulator")]
#![cfg_attr(not(feature = "simulator"), doc = "[`simulator`]: #features")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(doc, doctest))]
pub mod _guide;
mod client;
mod config;
mod contract;
mod error;
mod http;
mod job;
mod jobs;
#[cfg(feature = "simulator")]
#[cfg_attr(docsrs, doc(cfg(feature = "simulator")))]
pub mod simulator;
mod sync;
mod types;

pub use client::Client;
pub use config::builder::{Attempt, ClientBuilder};
pub use contract::{Contract, Operation};
pub use error::{Error, Result};
pub use http::request::Request;
pub use http::response::Response;
pub use http::stop::StopToken;
pub use job::Job;
pub use jobs::dashboard::VisualizeMode;
pub use jobs::list::{JobsIter, ListJobs};
pub use jobs::schedule::WaitOptions;
pub use jobs::wait::WaitForJobs;
pub use types::{
    Atom, BatchEntry, BatchSubmission, Element, JobId, JobState, JobSummary, JobsPage, MoleculePreview,
    PartialBatch, SubmissionStatus, Timestamp,
};

/// Compiles the programs of the README with the tests.
#[cfg(all(doctest, feature = "simulator"))]
#[doc = include_str!("../README.md")]
struct Readme;
