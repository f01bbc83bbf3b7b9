//! The response to a batch submission.

use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{JobId, JobState};

/// The outcome of [`Client::submit_batch`](crate::Client::submit_batch): totals, and one entry for each payload.
///
/// The fields are those of the service's documentation. This crate assumes that the entries are in the order of the
/// payloads, which the documentation does not say.
///
/// # Examples
///
/// ```
/// use atomiverse::{BatchSubmission, SubmissionStatus};
///
/// let response: BatchSubmission = serde_json::from_str(r#"{
///     "total": 2, "submitted": 1, "failed": 1, "cache_hits": 0, "jobs": [
///         {"job_id": "9f2c", "state": "pending", "status": "submitted"},
///         {"job_id": null, "state": null, "status": "failed", "error": "job_type: Field required"}]
/// }"#)?;
/// assert_eq!(response.jobs[1].status, SubmissionStatus::Failed);
/// assert_eq!(response.jobs[1].error.as_deref(), Some("job_type: Field required"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchSubmission {
    /// The number of payloads that the server received.
    pub total: u64,
    /// The number of payloads that became new jobs.
    pub submitted: u64,
    /// The number of payloads that were rejected. A rejected payload does not affect the others.
    pub failed: u64,
    /// The number of payloads for which the service returned an existing job.
    pub cache_hits: u64,
    /// One entry for each payload.
    pub jobs: Vec<BatchEntry>,
}

impl BatchSubmission {
    /// Appends the outcome of a later request.
    pub(crate) fn extend(&mut self, other: BatchSubmission) {
        self.total = self.total.saturating_add(other.total);
        self.submitted = self.submitted.saturating_add(other.submitted);
        self.failed = self.failed.saturating_add(other.failed);
        self.cache_hits = self.cache_hits.saturating_add(other.cache_hits);
        self.jobs.extend(other.jobs);
    }
}

/// The outcome of one payload of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ReceivedEntry")]
#[non_exhaustive]
pub struct BatchEntry {
    /// The id of the job. `None` if the payload failed.
    pub job_id: Option<JobId>,
    /// The state of the job at the time of the response.
    pub state: Option<JobState>,
    /// What the service did with the payload.
    pub status: SubmissionStatus,
    /// The server's reason why the payload failed. A value that is not a string is given as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An entry as it was received.
#[derive(Deserialize)]
struct ReceivedEntry {
    job_id: Option<JobId>,
    state: Option<JobState>,
    status: SubmissionStatus,
    #[serde(default, deserialize_with = "words")]
    error: Option<String>,
}

impl From<ReceivedEntry> for BatchEntry {
    fn from(ReceivedEntry { job_id, state, status, error }: ReceivedEntry) -> Self {
        // An empty id counts as missing.
        let job_id = job_id.filter(|id| !id.as_str().is_empty());
        BatchEntry { job_id, state, status, error }
    }
}

impl BatchEntry {
    /// Returns whether the entry of a job that was submitted has no id.
    pub(crate) fn lacks_id(&self) -> bool {
        matches!(self.status, SubmissionStatus::Submitted | SubmissionStatus::CacheHit)
            && self.job_id.is_none()
    }

    /// Reads as much of an entry as can be read.
    pub(crate) fn from_json(entry: &Value) -> Self {
        BatchEntry::deserialize(entry).unwrap_or_else(|_| BatchEntry {
            job_id: entry.get("job_id").and_then(|id| JobId::deserialize(id).ok()),
            state: entry.get("state").and_then(|state| JobState::deserialize(state).ok()),
            status: SubmissionStatus::Unknown(String::new()),
            error: entry.get("error").cloned().and_then(words_of),
        })
    }
}

/// Reads a string, or any other value as JSON: one unusual entry must not make the ids of the others unreadable.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Value>::deserialize(deserializer)?.and_then(words_of))
}

fn words_of(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        value => Some(value.to_string()),
    }
}

/// The status of one payload of a batch: what the service did with it.
///
/// # Examples
///
/// ```
/// use atomiverse::SubmissionStatus;
///
/// let status: SubmissionStatus = serde_json::from_str(r#""cache_hit""#)?;
/// assert_eq!(status, SubmissionStatus::CacheHit);
/// assert_eq!(status.to_string(), "cache_hit");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubmissionStatus {
    /// The payload became a new job.
    Submitted,
    /// The service returned an existing job.
    CacheHit,
    /// The payload was rejected.
    Failed,
    /// A status that this version does not know, unchanged.
    #[serde(untagged)]
    Unknown(String),
}

impl SubmissionStatus {
    /// Returns the status as the service writes it.
    pub fn as_str(&self) -> &str {
        match self {
            SubmissionStatus::Submitted => "submitted",
            SubmissionStatus::CacheHit => "cache_hit",
            SubmissionStatus::Failed => "failed",
            SubmissionStatus::Unknown(text) => text,
        }
    }
}

/// The known part of the outcome of a batch submission that failed.
///
/// [`Error::partial_batch`](crate::Error::partial_batch) returns one. The ranges are indices into the payloads.
/// Together they cover all payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartialBatch {
    /// Everything that the server returned. Its first entries belong to the `answered` payloads. Further entries come
    /// from a response that could not be used, for example because its number of entries was wrong.
    pub received: BatchSubmission,
    /// The payloads of the requests that succeeded. Each has an entry in `received.jobs`.
    pub answered: Range<usize>,
    /// The payloads of the request that failed. Empty if that request was not sent, for example after a stop.
    /// [`Error::may_have_been_submitted`](crate::Error::may_have_been_submitted) says whether the server may
    /// have accepted them.
    pub failed: Range<usize>,
    /// The payloads that were not sent.
    pub not_sent: Range<usize>,
}

/// The maximum number of payloads in one request, from the service's documentation.
pub(crate) const LARGEST_BATCH: usize = 1000;
