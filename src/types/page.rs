//! A page of the job history.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::JobSummary;
use super::lenient::OpaqueString;

/// One page of the job history, newest jobs first if the service keeps to that order.
///
/// # Examples
///
/// ```no_run
/// # let client = atomiverse::Client::from_env()?;
/// let page = client.list_jobs().limit(20).send()?;
/// for job in &page.jobs {
///     println!("{} {}", job.job_id, job.state);
/// }
/// if let Some(cursor) = page.next_cursor.filter(|_| page.has_more) {
///     let _next = client.list_jobs().limit(20).cursor(cursor).send()?;
/// }
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JobsPage {
    /// The jobs of this page.
    pub jobs: Vec<JobSummary>,
    /// Whether there is a next page. If the server does not say so, there is one if it sent a cursor.
    pub has_more: bool,
    /// The cursor of the next page. Always present if `has_more` is true. Some servers send one on the last page
    /// too.
    pub next_cursor: Option<String>,
}

/// A page as it was received.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "J: Deserialize<'de>"), expecting = "an object with the field `jobs`")]
pub(crate) struct ReceivedPage<J> {
    /// Go writes an empty list as null.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) jobs: Vec<J>,
    has_more: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    next_cursor: Option<Option<OpaqueString>>,
}

impl<J> ReceivedPage<J> {
    /// Whether there is a next page, and its cursor. `None` if the page says nothing of it.
    pub(crate) fn next(&self) -> Option<(bool, Option<String>)> {
        let cursor = self.next_cursor.as_ref();
        let cursor = cursor.map(|cursor| cursor.as_ref().map(|OpaqueString(cursor)| cursor));
        let has_cursor = cursor.map(|cursor| cursor.is_some_and(|cursor| !cursor.is_empty()));
        Some((self.has_more.or(has_cursor)?, cursor.flatten().cloned()))
    }
}

fn or_empty<'de, J: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<J>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Tells a key that is null from one that is missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<OpaqueString>>, D::Error> {
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
