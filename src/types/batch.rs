//! The response to a batch submission.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::lenient::fields;
use super::{JobId, JobState};

/// The outcome of [`Client::submit_batch`](crate::Client::submit_batch): totals, and one entry for each payload.
///
/// The fields are those of the service's documentation. This crate assumes that the entries are in the order of the
/// payloads, which the documentation does not say.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "simulator")] {
/// # let simulator = atomiverse::simulator::Simulator::start()?;
/// # let client = simulator.client()?;
/// use atomiverse::SubmissionStatus;
/// use serde_json::json;
///
/// let batch = client.submit_batch([json!({"job_type": "opt"}), json!({"method": "b3lyp"})])?;
/// assert_eq!((batch.total, batch.submitted, batch.failed), (2, 1, 1));
/// assert_eq!(batch.jobs[1].status, SubmissionStatus::Failed);
/// println!("{}", batch.jobs[1].error.as_deref().unwrap_or_default()); // Why the payload was rejected.
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
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
    /// Returns the ids of the jobs, in the order of the payloads. A payload that failed has none.
    pub fn job_ids(&self) -> impl Iterator<Item = &JobId> {
        self.jobs.iter().filter_map(|entry| entry.job_id.as_ref())
    }

    /// Reads a response, and says whether it is complete. Entries are read one by one, so that none can lose the ids of
    /// the others.
    pub(crate) fn from_json(body: &str) -> (Self, bool) {
        let mut batch = BatchSubmission::default();
        let is_complete = batch.read(body).is_some();
        (batch, is_complete)
    }

    fn read(&mut self, body: &str) -> Option<()> {
        let [jobs, totals @ ..] = fields(body, ["jobs", "total", "submitted", "failed", "cache_hits"])?;
        let entries: Vec<&RawValue> = serde_json::from_str(jobs?.get()).ok()?;
        self.jobs = entries.iter().map(|entry| BatchEntry::from_raw(entry)).collect();
        let into = [&mut self.total, &mut self.submitted, &mut self.failed, &mut self.cache_hits];
        for (total, json) in into.into_iter().zip(totals) {
            *total = serde_json::from_str(json?.get()).ok()?;
        }
        (!self.jobs.iter().any(BatchEntry::lacks_id)).then_some(())
    }

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
#[non_exhaustive]
pub struct BatchEntry {
    /// The id of the job. `None` if the payload failed.
    pub job_id: Option<JobId>,
    /// The state of the job at the time of the response.
    pub state: Option<JobState>,
    /// What the service did with the payload. A status that is not a string is given as JSON, and a missing one is
    /// empty.
    pub status: SubmissionStatus,
    /// The server's reason why the payload failed. A value that is not a string is given as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl BatchEntry {
    /// Reads each field by itself, so that nothing in the others can lose the id.
    fn from_raw(entry: &RawValue) -> Self {
        let read = fields(entry.get(), ["job_id", "state", "status", "error"]);
        // An entry that is not an object keeps its place, and is shown as its error.
        let [job_id, state, status, error] = read.unwrap_or([None, None, None, Some(entry)]);
        let status = status.and_then(words_of).unwrap_or_default();
        BatchEntry {
            job_id: job_id.and_then(JobId::from_raw),
            state: state.and_then(JobState::from_raw),
            status: SubmissionStatus::from(status),
            error: error.and_then(words_of),
        }
    }

    /// Returns whether the entry may stand for a job, and does not name it.
    fn lacks_id(&self) -> bool {
        self.job_id.is_none() && ["submitted", "cache_hit", ""].contains(&self.status.as_str())
    }
}

/// Returns a string, or any other value as JSON. A null is `None`.
fn words_of(value: &RawValue) -> Option<String> {
    match serde_json::from_str(value.get()) {
        Ok(Value::Null) => None,
        Ok(Value::String(text)) => Some(text),
        _ => Some(value.get().to_owned()),
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

impl From<String> for SubmissionStatus {
    fn from(status: String) -> Self {
        use SubmissionStatus::{CacheHit, Failed, Submitted, Unknown};
        let known = [Submitted, CacheHit, Failed].into_iter().find(|known| *known == status.as_str());
        known.unwrap_or(Unknown(status))
    }
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
    /// [`Error::may_have_been_processed`](crate::Error::may_have_been_processed) says whether the server may
    /// have accepted them.
    pub failed: Range<usize>,
    /// The payloads that were not sent.
    pub not_sent: Range<usize>,
}
