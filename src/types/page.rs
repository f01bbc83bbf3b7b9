//! A page of the job history.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{JobId, JobSummary};

/// One page of the job history.
///
/// The service does not document the order of the jobs. This crate assumes that the newest come first.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "simulator")] {
/// # let simulator = atomiverse::simulator::Simulator::start()?;
/// # simulator.add_sample_jobs(50);
/// # let client = simulator.client()?;
/// let mut page = client.list_jobs().limit(20).send()?;
/// let mut count = page.jobs.len();
/// while page.has_more {
///     page = client.list_jobs().limit(20).cursor(page.next_cursor.as_deref()).send()?;
///     count += page.jobs.len();
/// }
/// assert_eq!(count, 50);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JobsPage {
    /// The jobs of this page.
    pub jobs: Vec<JobSummary>,
    /// Whether there is a next page. If the server does not say, there is one if it sent a cursor.
    pub has_more: bool,
    /// The cursor of the next page. A page that [`ListJobs::send`](crate::ListJobs::send) returned has one if
    /// `has_more` is true. Some servers also send one on the last page.
    pub next_cursor: Option<String>,
}

/// A page as it was received.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "J: Deserialize<'de>"), expecting = "an object with the field `jobs`")]
pub(crate) struct ReceivedPage<J> {
    pub(crate) jobs: Vec<J>,
    has_more: Option<bool>,
    /// It is read in the same forms as an identifier.
    #[serde(default, deserialize_with = "present")]
    next_cursor: Option<Option<JobId>>,
}

impl<J> ReceivedPage<J> {
    /// Returns whether there is a next page, and its cursor. `None` if the page says neither.
    pub(crate) fn next(&self) -> Option<(bool, Option<String>)> {
        let cursor = self.next_cursor.as_ref().map(|cursor| cursor.as_ref().map(JobId::as_str));
        let has_cursor = cursor.map(|cursor| cursor.is_some_and(|cursor| !cursor.is_empty()));
        Some((self.has_more.or(has_cursor)?, cursor.flatten().map(str::to_owned)))
    }
}

/// Distinguishes a key that is null from one that is missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<JobId>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for JobsPage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let page = ReceivedPage::deserialize(deserializer)?;
        let Some((has_more, next_cursor)) = page.next() else {
            return Err(D::Error::missing_field("has_more"));
        };
        Ok(JobsPage { jobs: page.jobs, has_more, next_cursor })
    }
}
