//! A page of the job history.

use serde::{Deserialize, Serialize};

use super::JobSummary;
use super::lenient::optional_opaque_string;

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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobsPage {
    /// The jobs of this page.
    pub jobs: Vec<JobSummary>,
    /// Whether there is a next page. This field decides: some servers send a cursor on the last page too.
    pub has_more: bool,
    /// The cursor of the next page. Always present if `has_more` is true.
    #[serde(default, deserialize_with = "optional_opaque_string")]
    pub next_cursor: Option<String>,
}
