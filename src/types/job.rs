//! Jobs as the service describes them.

use std::borrow::Borrow;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Timestamp;
use super::lenient::{FromScalar, deserialize_scalar, fields};
use super::molecule::MoleculePreview;

/// The identifier that the server assigned to a job, an opaque string.
///
/// Every `id` parameter of this crate accepts a `JobId`, a `&str` or a `String`.
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
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a string or an integer of any size. An empty string is not an id, and neither is a string with bytes
    /// that were not text.
    pub(crate) fn from_raw(json: &RawValue) -> Option<Self> {
        let json = json.get();
        let is_integer =
            |text: &str| text.strip_prefix('-').unwrap_or(text).bytes().all(|b| b.is_ascii_digit());
        let id = if is_integer(json) { json.to_owned() } else { serde_json::from_str(json).ok()? };
        (!id.is_empty() && !id.contains(char::REPLACEMENT_CHARACTER)).then_some(JobId(id))
    }
}

/// Deserializes from a string or an integer.
impl FromScalar for JobId {
    const EXPECTED: &str = "an identifier: a string or an integer";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
    fn from_integer(number: i128) -> Option<Self> {
        Some(number.to_string().into())
    }
}

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
/// [`extra`](JobSummary::extra) holds the fields that this version does not know.
///
/// # Examples
///
/// ```
/// use atomiverse::{JobState, JobSummary};
///
/// let job: JobSummary = serde_json::from_str(r#"{
///     "job_id": "9f2c", "name": "water", "state": "done", "job_type": "single_point_energy",
///     "created_at": "2026-05-02T14:32:01.123456Z", "billed_core_seconds": 12.5, "node": "a7",
///     "molecule_preview": {"formula": "H2", "atoms": [
///         {"element": "H", "position": [0.0, 0.0, -0.37]},
///         {"element": "H", "position": [0.0, 0.0, 0.37]}]}
/// }"#)?;
/// assert_eq!(job.state, JobState::Done);
/// assert_eq!(job.billed_core_seconds, Some(12.5));
/// assert_eq!(job.extra["node"], "a7");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobSummary {
    /// The identifier that the server assigned to the job.
    pub job_id: JobId,
    /// The name that the user gave to the job, if any.
    pub name: Option<String>,
    /// The state of the job at the time of the response.
    pub state: JobState,
    /// The type of computation. The service documents `single_point_energy` and `opt`; other values occur.
    pub job_type: String,
    /// The time at which the job was submitted.
    pub created_at: Timestamp,
    /// The number of core-seconds billed so far. `None` if nothing was billed, or if the service sent no number.
    #[serde(default, deserialize_with = "core_seconds")]
    pub billed_core_seconds: Option<f64>,
    /// The formula and the positions of the atoms.
    ///
    /// `None` if the service sent no preview, or one in a form that this version does not know. A job that starts from
    /// a SMILES string has no atoms. Decoding a summary by oneself fails if the form is not known.
    pub molecule_preview: Option<MoleculePreview>,
    /// The fields that this version does not know, such as the reason why a job failed. Serialising a summary writes
    /// them back.
    ///
    /// A number keeps its value as far as an `i64`, a `u64` or an `f64` can hold it.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl JobSummary {
    /// Creates a summary with the fields that each job has. The other fields are public and can be set afterwards.
    pub fn new(
        id: impl Into<JobId>,
        state: impl Into<JobState>,
        job_type: impl Into<String>,
        created_at: impl Into<Timestamp>,
    ) -> Self {
        JobSummary {
            job_id: id.into(),
            name: None,
            state: state.into(),
            job_type: job_type.into(),
            created_at: created_at.into(),
            billed_core_seconds: None,
            molecule_preview: None,
            extra: Map::new(),
        }
    }

    /// Reads a job of a response. A preview in a form that is not known is left out.
    pub(crate) fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().or_else(|| {
            let [preview] = fields(json, ["molecule_preview"])?;
            let preview = preview?.get();
            // The preview is a part of the text.
            let start = preview.as_ptr() as usize - json.as_ptr() as usize;
            let (before, after) = (&json[..start], &json[start + preview.len()..]);
            serde_json::from_str(&format!("{before}null{after}")).ok()
        })
    }

    /// Returns why a JSON object cannot be read as a summary.
    pub(crate) fn problem_of(job: &str) -> String {
        const NAMES: [&str; 6] = ["job_id", "name", "state", "job_type", "created_at", "billed_core_seconds"];
        let values = fields(job, NAMES).unwrap_or_default();
        let read_alone = |name: &str, value: Option<&RawValue>| -> serde_json::Result<Self> {
            let mut sound = serde_json::to_value(JobSummary::new("", "", "", ""))?;
            sound[name] = serde_json::from_str(value.map_or("null", RawValue::get))?;
            serde_json::from_value(sound)
        };
        match NAMES.into_iter().zip(values).find(|(name, value)| read_alone(name, *value).is_err()) {
            Some((name, _)) => format!("its {name} is missing or not valid"),
            None => "it is not an object with valid fields".to_owned(),
        }
    }
}

/// A charge. Services that compute with decimals write it as a string.
struct CoreSeconds(f64);

fn core_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Option::deserialize(deserializer).map(|seconds| seconds.map(|CoreSeconds(seconds)| seconds))
}

impl FromScalar for CoreSeconds {
    const EXPECTED: &str = "a finite number of core-seconds";
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|seconds: &f64| seconds.is_finite()).map(CoreSeconds)
    }
    fn from_number(seconds: f64) -> Option<Self> {
        Some(CoreSeconds(seconds))
    }
}

/// The response to a submission. Only the identifier is certain to be present.
#[derive(Debug, Clone)]
pub(crate) struct Submitted {
    pub(crate) job_id: JobId,
    pub(crate) state: Option<JobState>,
    pub(crate) is_cache_hit: bool,
    /// The summary, if the response is complete. No field is invented: an empty string in place of a time or a type
    /// would be compared with real ones.
    pub(crate) summary: Option<JobSummary>,
}

impl Submitted {
    /// Reads the identifier by itself: whatever else the response holds, the caller pays for the job.
    pub(crate) fn from_json(body: &str) -> Option<Self> {
        let [job_id, state, status] = fields(body, ["job_id", "state", "status"])?;
        Some(Submitted {
            job_id: job_id.and_then(JobId::from_raw)?,
            state: state.and_then(JobState::from_raw),
            is_cache_hit: status.is_some_and(|status| status.get() == r#""cache_hit""#),
            summary: JobSummary::from_json(body),
        })
    }
}

/// The state of a job.
///
/// It is read in upper or lower case (`done` or `DONE`), and in the spelling `canceled`. It is written in lower case. A state that this version does not know is kept as
/// [`Unknown`](JobState::Unknown) and is not [terminal](JobState::is_terminal).
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
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
    /// The job was stopped at the user's request before it finished.
    Cancelled,
    /// A state that this version does not know, unchanged.
    #[serde(untagged)]
    Unknown(String),
}

impl JobState {
    /// Returns whether the job has ended: it is done, failed or cancelled. Only such a job can be deleted.
    ///
    /// An [unknown](JobState::Unknown) state does not count as ended.
    pub fn is_terminal(&self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled)
    }

    /// Returns the state in lower case. An unknown state is unchanged.
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

    /// Reads a state by itself. Returns `None` if it is not a string.
    pub(crate) fn from_raw(json: &RawValue) -> Option<Self> {
        serde_json::from_str(json.get()).ok()
    }
}

impl From<&str> for JobState {
    fn from(text: &str) -> Self {
        use JobState::*;
        if text.eq_ignore_ascii_case("canceled") {
            return Cancelled;
        }
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

impl FromScalar for JobState {
    const EXPECTED: &str = "the string of a job state";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

deserialize_scalar!(CoreSeconds, JobId, JobState);
