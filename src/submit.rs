//! What a batch submission answers, and what is left to say when it breaks.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::summary::{JobId, JobState};

/// The service's answer to [`Client::submit_batch`](crate::Client::submit_batch): totals, and one entry for each payload.
///
/// The fields are those of the service's documentation. That the entries stand in the order of the
/// payloads is an assumption of this crate: the documentation does not say it.
///
/// ```
/// use atomiverse::{BatchSubmission, SubmissionStatus};
///
/// let answer: BatchSubmission = serde_json::from_str(r#"{
///     "total": 2, "submitted": 1, "failed": 1, "cache_hits": 0, "jobs": [
///         {"job_id": "9f2c", "state": "pending", "status": "submitted"},
///         {"job_id": null, "state": null, "status": "failed", "error": "job_type: Field required"}]
/// }"#)?;
/// assert_eq!(answer.jobs[1].status, SubmissionStatus::Failed);
/// assert_eq!(answer.jobs[1].error.as_deref(), Some("job_type: Field required"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchSubmission {
    /// How many payloads the server received.
    pub total: u64,
    /// How many became new jobs.
    pub submitted: u64,
    /// How many were rejected, each alone: the rest went on.
    pub failed: u64,
    /// How many were answered by a job that was there already.
    pub cache_hits: u64,
    /// One entry for each payload.
    pub jobs: Vec<BatchEntry>,
}

impl BatchSubmission {
    fn extend(&mut self, other: BatchSubmission) {
        self.total = self.total.saturating_add(other.total);
        self.submitted = self.submitted.saturating_add(other.submitted);
        self.failed = self.failed.saturating_add(other.failed);
        self.cache_hits = self.cache_hits.saturating_add(other.cache_hits);
        self.jobs.extend(other.jobs);
    }
}

/// What became of one payload of a batch.
///
/// ```no_run
/// # let client = atomiverse::Client::from_env()?;
/// # let payloads: Vec<serde_json::Value> = Vec::new();
/// for (n, entry) in client.submit_batch(&payloads)?.jobs.iter().enumerate() {
///     match &entry.job_id {
///         Some(id) => println!("payload {n} is job {id}"),
///         None => println!("payload {n}: {}", entry.error.as_deref().unwrap_or("no reason given")),
///     }
/// }
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchEntry {
    /// The job; `None` where the payload failed.
    pub job_id: Option<JobId>,
    /// The state of the job at the time of the answer.
    pub state: Option<JobState>,
    /// What was done with the payload.
    pub status: SubmissionStatus,
    /// Why the payload failed, in the server's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What was done with one payload of a batch.
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
    /// It became a new job.
    Submitted,
    /// A job that was there already answers it.
    CacheHit,
    /// It was rejected.
    Failed,
    /// A status that this version does not know, in the server's words.
    #[serde(untagged)]
    Unknown(String),
}

impl SubmissionStatus {
    /// The status as it is written on the wire.
    ///
    /// ```
    /// assert_eq!(atomiverse::SubmissionStatus::Submitted.as_str(), "submitted");
    /// ```
    pub fn as_str(&self) -> &str {
        match self {
            SubmissionStatus::Submitted => "submitted",
            SubmissionStatus::CacheHit => "cache_hit",
            SubmissionStatus::Failed => "failed",
            SubmissionStatus::Unknown(text) => text,
        }
    }
}

impl fmt::Display for SubmissionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known of a submission of many payloads that broke. From [`Error::partial_batch`].
///
/// The ranges are indices into the payloads, and together cover all of them.
///
/// ```no_run
/// # let client = atomiverse::Client::from_env()?;
/// # let payloads: Vec<serde_json::Value> = Vec::new();
/// if let Err(error) = client.submit_batches(&payloads) {
///     if let Some(partial) = error.partial_batch() {
///         println!("{} payloads went out, {} did not", partial.answered.len(), partial.not_sent.len());
///         println!("{} were in the request that failed", partial.failed.len());
///     }
/// }
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartialBatch {
    /// Everything that the server answered. Its first entries are those of the `answered` payloads; entries
    /// beyond them are of an answer that did not fit its payloads.
    pub received: BatchSubmission,
    /// Payloads that went out and were answered, each with its entry in `received.jobs`.
    pub answered: Range<usize>,
    /// Payloads of the request that failed: [`Error::may_have_been_submitted`] says whether the server
    /// may have taken them.
    pub failed: Range<usize>,
    /// Payloads that were not sent.
    pub not_sent: Range<usize>,
}

/// The largest request, by the service's documentation.
pub(crate) const LARGEST_BATCH: usize = 1000;

/// A payload as it will be sent.
pub(crate) fn payload(payload: &(impl Serialize + ?Sized)) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(payload).map_err(|error| {
        Error::input(format!("the payload cannot be written as JSON: {error}; nothing was sent"))
    })?;
    match json.first() {
        Some(b'{') => Ok(json),
        Some(b'"') => Err(Error::input(
            "the payload is a text, not a JSON object: parse it first, into a serde_json::Value; nothing was sent",
        )),
        _ => Err(Error::input("the payload is not a JSON object; nothing was sent")),
    }
}

/// Every payload as it will be sent: what cannot be is found before any request.
pub(crate) fn payloads<P: Serialize>(payloads: impl IntoIterator<Item = P>) -> Result<Vec<Vec<u8>>> {
    let all = payloads.into_iter().enumerate();
    all.map(|(n, item)| payload(&item).map_err(|error| Error::input(format!("payload {n}: {error}"))))
        .collect()
}

/// Sends the payloads in requests of at most 1000 and puts the answers together, up to the first that fails.
///
/// `send` gives what the server answered, and the error if there is one: an answer may be both.
pub(crate) fn in_batches(
    payloads: &[Vec<u8>],
    mut send: impl FnMut(&[Vec<u8>]) -> (BatchSubmission, Option<Error>),
) -> Result<BatchSubmission> {
    let mut received = BatchSubmission::default();
    let mut from = 0;
    for chunk in payloads.chunks(LARGEST_BATCH) {
        let to = from + chunk.len();
        let (answer, error) = send(chunk);
        received.extend(answer);
        if let Some(error) = error {
            let not_sent = to..payloads.len();
            return Err(error.with_partial_batch(PartialBatch {
                received,
                answered: 0..from,
                failed: from..to,
                not_sent,
            }));
        }
        from = to;
    }
    Ok(received)
}
