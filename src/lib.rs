//! placeholder
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
mod summary;

pub use client::{Client, ClientBuilder};
pub use dashboard::VisualizeMode;
pub use error::{Error, Result};
pub use job::Job;
pub use listing::{JobsIter, JobsPage, ListJobs};
pub use summary::{Atom, Element, JobId, JobState, JobSummary, MoleculePreview, Timestamp};
