//! Jobs as the service describes them.

use std::borrow::Borrow;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Timestamp;
use super::lenient::{FromAny, Lenient, deserialize_strictly, opaque_string};
use super::molecule::MoleculePreview;

/// The identifier that the server assigned to a job.
///
/// An opaque string. Every `id` parameter of this crate accepts a `JobId`, a `&str` or a `String`.
///
/// # Examples
///
/// ```
/// use atomiverse::JobId;
///
/// let id = JobId::from("9f2c");
/// assert_eq!(id, "9f2c");
/// assert_eq!(id.to_string(), "9f2c");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct JobId(String);

impl JobId {
    /// Returns the identifier as a string slice.
    ///
    /// ```
    /// assert_eq!(atomiverse::JobId::from("9f2c").as_str(), "9f2c");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads a string or an integer.
impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        opaque_string(deserializer).map(JobId)
    }
}

/// Lets a `&str` look up a map with `JobId` keys.
impl Borrow<str> for JobId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<String> for JobId {
    fn from(id: String) -> Self {
        JobId(id)
    }
}

impl From<&str> for JobId {
    fn from(id: &str) -> Self {
        JobId(id.to_owned())
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

/// The summary of one job, without its results.
///
/// Fields that this version does not know are ignored.
///
/// # Examples
///
/// ```
/// use atomiverse::{JobState, JobSummary};
///
/// let job: JobSummary = serde_json::from_str(r#"{
///     "job_id": "9f2c", "name": "water", "state": "done", "job_type": "single_point_energy",
///     "created_at": "2026-05-02T14:32:01.123456Z", "billed_core_seconds": 12.5,
///     "molecule_preview": {"formula": "H2", "atoms": [
///         {"element": "H", "position": [0.0, 0.0, -0.37]},
///         {"element": "H", "position": [0.0, 0.0, 0.37]}]}
/// }"#)?;
/// assert_eq!(job.state, JobState::Done);
/// assert_eq!(job.billed_core_seconds, Some(12.5));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobSummary {
    /// The identifier that the server assigned to the job.
    pub job_id: JobId,
    /// The name that the user gave to the job, if any.
    pub name: Option<String>,
    /// The state of the job when the server responded.
    pub state: JobState,
    /// The type of computation, such as `single_point_energy` or `opt`. These two are documented by the
    /// service; other values occur.
    pub job_type: String,
    /// When the job was submitted.
    pub created_at: Timestamp,
    /// The charge so far, in core-seconds. `None` if nothing was charged.
    pub billed_core_seconds: Option<f64>,
    /// The formula and atom positions. `None` if the service sent no preview (a job that starts from a
    /// SMILES string has no atoms) or sent one in a form that this version does not know.
    #[serde(default, deserialize_with = "Lenient::option")]
    pub molecule_preview: Option<MoleculePreview>,
}

/// The response to a submission: only the identifier is certain to be there.
#[derive(Deserialize)]
pub(crate) struct Submitted {
    pub(crate) job_id: JobId,
    #[serde(default, deserialize_with = "Lenient::option")]
    name: Option<String>,
    #[serde(default, deserialize_with = "Lenient::option")]
    pub(crate) state: Option<JobState>,
    #[serde(default, deserialize_with = "Lenient::option")]
    job_type: Option<String>,
    #[serde(default, deserialize_with = "Lenient::option")]
    created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "Lenient::option")]
    billed_core_seconds: Option<f64>,
    #[serde(default, deserialize_with = "Lenient::option")]
    molecule_preview: Option<MoleculePreview>,
}

impl Submitted {
    /// The summary, if the response was complete. A field is never made up: an empty string in place of
    /// a time or a type would be compared with real ones.
    pub(crate) fn into_summary(self) -> Option<JobSummary> {
        Some(JobSummary {
            job_id: self.job_id,
            name: self.name,
            state: self.state?,
            job_type: self.job_type?,
            created_at: self.created_at?,
            billed_core_seconds: self.billed_core_seconds,
            molecule_preview: self.molecule_preview,
        })
    }
}

/// The state of a job.
///
/// Read in either case (`done` or `DONE`) and written in lower case. A state that this version does not
/// know is kept as [`Unknown`](JobState::Unknown) and is not [terminal](JobState::is_terminal).
///
/// # Examples
///
/// ```
/// use atomiverse::JobState;
///
/// let state: JobState = "CANCELLED".parse().unwrap();
/// assert_eq!(state, JobState::Cancelled);
/// assert!(state.is_terminal());
/// assert_eq!(state.to_string(), "cancelled");
/// assert_eq!("paused".parse(), Ok(JobState::Unknown("paused".into())));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobState {
    /// The job was accepted and has not started.
    Pending,
    /// The job is being computed.
    Running,
    /// The job finished with a result.
    Done,
    /// The job finished without a result.
    Failed,
    /// The job was stopped before it finished, at the user's request.
    Cancelled,
    /// A state that this version does not know, as the server wrote it.
    Unknown(String),
}

impl JobState {
    /// Returns whether the job has ended: done, failed or cancelled. Only then can it be deleted.
    ///
    /// ```
    /// use atomiverse::JobState;
    /// assert!(JobState::Failed.is_terminal());
    /// assert!(!JobState::Running.is_terminal());
    /// assert!(!JobState::Unknown("archived".into()).is_terminal());
    /// ```
    pub fn is_terminal(&self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled)
    }

    /// Returns the state as the service writes it.
    ///
    /// ```
    /// assert_eq!(atomiverse::JobState::Done.as_str(), "done");
    /// ```
    pub fn as_str(&self) -> &str {
        match self {
            JobState::Pending => "pending",
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
            JobState::Unknown(text) => text,
        }
    }
}

impl From<&str> for JobState {
    fn from(text: &str) -> Self {
        use JobState::*;
        [Pending, Running, Done, Failed, Cancelled]
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(text))
            .unwrap_or_else(|| Unknown(text.to_owned()))
    }
}

impl FromStr for JobState {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.into())
    }
}

impl Serialize for JobState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromAny for JobState {
    const EXPECTED: &str = "the string of a job state";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

deserialize_strictly!(JobState);
