//! Changes of one job: rename, cancel and delete, and what became of them.
//!
//! If a response does not say plainly what happened, the job is loaded once, and the outcome is what that shows.

use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::builder::PAGE_SIZE;
use crate::contract::Operation;
use crate::error::{Context, Error, Result, Seen, sanitize};
use crate::http::call::Http;
use crate::http::message::{from_json, without_bom};
use crate::http::response::Response;
use crate::jobs::list;
use crate::types::{JobId, JobState, JobSummary, fields};

/// What one request for the job showed.
#[derive(Debug)]
pub(crate) enum Look {
    Here(Box<JobSummary>),
    /// The service says that there is no such job.
    Gone(Error),
    Unknown(Error),
}

pub(crate) fn get(http: &Http, id: &JobId, deadline: Instant) -> Result<JobSummary> {
    let response = http.send(Operation::Get { id }, deadline)?;
    let job = decode_job(&response)?;
    if job.job_id != *id {
        // The response may belong to an earlier request on the same connection.
        http.distrust_idle_connections();
        return Err(response.error(Error::wrong_job(&response.shown(job.job_id.as_str(), 60))));
    }
    Ok(job)
}

fn decode_job(response: &Response) -> Result<JobSummary> {
    let job = from_json::<&RawValue>(&response.body).and_then(|job| JobSummary::from_json(job.get()));
    job.map_err(|_| {
        let body = response.text();
        match fields(&body, ["state"]) {
            Ok([state]) => {
                let state = state.and_then(JobState::from_raw);
                response.not_a("a job", JobSummary::problem_of(&body), state)
            }
            Err(_) => response.unreadable("a job"),
        }
    })
}

pub(crate) fn look(http: &Http, id: &JobId, deadline: Instant) -> Look {
    match get(http, id, deadline) {
        Ok(job) => Look::Here(Box::new(job)),
        Err(error) if error.is_not_found() => match ensure_address(http, deadline) {
            Ok(()) => Look::Gone(error),
            Err(error) => Look::Unknown(error),
        },
        Err(error) => Look::Unknown(error),
    }
}

/// Ensures that the service is at this address, because any other server responds with 404 as well. Unless a response
/// has shown it before, a page of jobs is requested.
fn ensure_address(http: &Http, deadline: Instant) -> Result<()> {
    if http.has_responded() {
        return Ok(());
    }
    match list::fetch(http, PAGE_SIZE, None, deadline) {
        Err(error) if !http.has_responded() && !error.is_unsupported() => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn rename(http: &Http, id: &JobId, name: &str, deadline: Instant) -> Result<()> {
    // The service may trim a name.
    let fits = |stored: Option<&str>| stored.is_some_and(|stored| stored.trim() == name.trim());
    let response = match http.send(Operation::Rename { id, name }, deadline) {
        Ok(response) => response,
        Err(error) if matches!(error.status(), Some(404 | 409 | 410)) => {
            return Err(explain(error, look(http, id, deadline)));
        }
        Err(error) => return Err(error),
    };
    match claim(&response) {
        Claim::Done => return Ok(()),
        Claim::Unclear if fits(shown_name(&response, id).as_deref()) => return Ok(()),
        _ => {}
    }
    match look(http, id, deadline) {
        Look::Here(job) if fits(job.name.as_deref()) => Ok(()),
        Look::Here(job) => {
            let what = match job.name.as_deref().unwrap_or_default() {
                "" => "the job has no name".to_owned(),
                name => format!("the service stored the name as {:?}", sanitize(name, 60)),
            };
            Err(response.unclear().with_seen(Seen { what, state: Some(job.state), failure: None }))
        }
        look => Err(response.unclear().with_seen(look.into())),
    }
}

/// Returns the name in a body that shows the job. It is read by itself, so that no other field can hide it.
fn shown_name(response: &Response, id: &JobId) -> Option<String> {
    #[derive(Deserialize)]
    struct Job {
        job_id: JobId,
        name: Option<String>,
    }
    let job: Job = from_json(&response.body).ok()?;
    job.name.filter(|_| job.job_id == *id)
}

/// Cancels the job: `Ok` means that the service accepted this, or that the job has ended. Returns its summary in the
/// second case.
pub(crate) fn cancel(http: &Http, id: &JobId, deadline: Instant) -> Result<Option<JobSummary>> {
    let outcome = http.send(Operation::Cancel { id }, deadline);
    match &outcome {
        Ok(response) if !response.is_html() && claim(response) != Claim::Refused => {
            return Ok(None);
        }
        Err(error) if !matches!(error.status(), Some(400 | 404 | 409 | 410)) => return outcome.map(|_| None),
        _ => {}
    }
    match (look(http, id, deadline), outcome) {
        (Look::Here(job), _) if job.state.is_terminal() => Ok(Some(*job)),
        (look, Ok(response)) => Err(response.unclear().with_seen(look.into())),
        (look, Err(error)) => Err(explain(error, look)),
    }
}

/// Deletes the job. "Not found" is an error, unless the job is gone because of an earlier attempt of this call, or
/// because the service has accepted a request to cancel it.
pub(crate) fn delete(http: &Http, id: &JobId, cancel_accepted: bool, deadline: Instant) -> Result<()> {
    let error = match http.send(Operation::Delete { id }, deadline) {
        Ok(response) if claim(&response) == Claim::Done => return Ok(()),
        Ok(response) => match look(http, id, deadline) {
            Look::Gone(_) => return Ok(()),
            look => response.unclear().with_seen(look.into()),
        },
        Err(error) if matches!(error.status(), Some(404 | 409 | 410)) => {
            let error = explain(error, look(http, id, deadline));
            if error.is_not_found() && (cancel_accepted || error.may_have_been_processed()) {
                return Ok(());
            }
            error
        }
        Err(error) => error,
    };
    Err(if cancel_accepted { error.after_cancellation() } else { error })
}

/// Deletes the job. Returns `false` if there was no such job.
pub(crate) fn delete_if_exists(
    http: &Http,
    id: &JobId,
    cancel_accepted: bool,
    deadline: Instant,
) -> Result<bool> {
    match delete(http, id, cancel_accepted, deadline) {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the body of a successful response says about the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Done,
    Refused,
    Unclear,
}

fn claim(response: &Response) -> Claim {
    let body = without_bom(&response.body).trim_ascii();
    if body.is_empty() {
        return Claim::Done;
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return Claim::Unclear };
    let says = |value| ["success", "ok"].iter().any(|name| fields.get(*name) == Some(&Value::Bool(value)));
    match (says(true), says(false)) {
        (_, true) => Claim::Refused,
        (true, false) => Claim::Done,
        (false, false) => Claim::Unclear,
    }
}

/// Describes an error status by what the job looks like after it.
fn explain(error: Error, look: Look) -> Error {
    match (error.status(), look) {
        // `look` has ensured that the service is at this address.
        (Some(404 | 410), Look::Gone(gone)) => {
            gone.with_context(Context { has_responded: true, ..error.into_context() })
        }
        (_, look) => error.with_seen(look.into()),
    }
}

impl From<Look> for Seen {
    fn from(look: Look) -> Self {
        let (what, state, failure) = match look {
            Look::Here(job) => {
                (format!("the job is {}", sanitize(job.state.as_str(), 40)), Some(job.state), None)
            }
            Look::Gone(_) => ("there is no such job".to_owned(), None, None),
            Look::Unknown(error) => {
                let why = match error.status() {
                    Some(status @ 300..) => status.to_string(),
                    _ => sanitize(&error.summary(), 60),
                };
                (format!("the job could not be loaded ({why})"), error.state().cloned(), Some(error))
            }
        };
        Seen { what, state, failure }
    }
}
