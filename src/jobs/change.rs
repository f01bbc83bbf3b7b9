//! One job: get, rename, cancel and delete, and what a change has done.
//!
//! If the response to a change leaves open what happened, or refuses the change because of the job, the job is loaded
//! once. What it shows decides the outcome or is added to the error. An unclear response to a cancel counts as accepted.

use std::time::Instant;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::builder::PAGE_SIZE;
use crate::contract::Operation;
use crate::error::{Context, Error, Result, sanitize};
use crate::http::call::Http;
use crate::http::message::{from_json, is_html, without_bom};
use crate::http::response::Response;
use crate::jobs::list;
use crate::types::{JobId, JobState, JobSummary, fields};

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
    job.ok_or_else(|| {
        let body = response.text();
        let Some([state]) = fields(&body, ["state"]) else { return response.unreadable("a job") };
        response.not_a("a job", JobSummary::problem_of(&body), state.and_then(JobState::from_raw))
    })
}

/// Loads the job after a change. [`is_gone`] says whether an error means that there is no such job.
fn look(http: &Http, id: &JobId, deadline: Instant) -> Result<JobSummary> {
    let looked = get(http, id, deadline);
    // A server that is not the service would respond with 404 too. Unless an earlier response has shown that the
    // service is at this address, a page of jobs is requested to find out.
    if looked.as_ref().is_err_and(Error::is_not_found) && !http.has_responded() {
        match list::fetch(http, PAGE_SIZE, None, deadline) {
            Err(error) if !error.is_unsupported() => return Err(error),
            _ => {}
        }
    }
    looked
}

/// Returns whether `look` has shown that there is no such job. The error of the page of jobs has no job id.
fn is_gone(error: &Error) -> bool {
    error.is_not_found() && error.job_id().is_some()
}

/// Sends a change. Returns `None` if the response shows that it was made, `Some` error if the job must be loaded to find
/// out what happened or why, and `Err` with any other failure.
fn send(
    http: &Http,
    operation: Operation<'_>,
    deadline: Instant,
    is_made: impl FnOnce(&Response) -> bool,
) -> Result<Option<Error>> {
    match http.send(operation, deadline) {
        Ok(response) => Ok((!is_made(&response)).then(|| response.failure())),
        Err(error) => match (error.status(), operation) {
            (Some(404 | 409 | 410), _) | (Some(400), Operation::Cancel { .. }) => Ok(Some(error)),
            _ => Err(error),
        },
    }
}

/// Renames the job. `Ok` means that the response says so or shows the job with this name, or that the job has it when it
/// is loaded after any other 2xx. A status of 400 or more is an error, whatever the name is.
pub(crate) fn rename(http: &Http, id: &JobId, name: &str) -> Result<()> {
    let deadline = http.deadline();
    // The service may trim a name.
    let fits = |job: &JobSummary| job.name.as_ref().is_some_and(|stored| stored.trim() == name.trim());
    let is_made = |response: &Response| {
        let shows_it = || decode_job(response).is_ok_and(|job| job.job_id == *id && fits(&job));
        says_made(response).unwrap_or_else(shows_it)
    };
    let Some(error) = send(http, Operation::Rename { id, name }, deadline, is_made)? else { return Ok(()) };
    let is_refused = error.status().is_some_and(|status| status >= 400);
    match look(http, id, deadline) {
        Ok(job) if !is_refused && fits(&job) => Ok(()),
        Ok(JobSummary { name, state, .. }) if !is_refused => {
            let what = name.map_or("the job has no name".to_owned(), |name| {
                format!("the service stored the name as {}", sanitize(&format!("{name:?}"), 60))
            });
            Err(error.with_seen(what, Some(state), None))
        }
        looked => Err(explain(error, looked)),
    }
}

/// Cancels the job: `Ok` means that the service accepted this, or that the job has ended. Returns its summary in the
/// second case.
pub(crate) fn cancel(http: &Http, id: &JobId, deadline: Instant) -> Result<Option<JobSummary>> {
    let is_accepted = |response: &Response| !is_html(&response.body) && says_made(response) != Some(false);
    let Some(error) = send(http, Operation::Cancel { id }, deadline, is_accepted)? else { return Ok(None) };
    match look(http, id, deadline) {
        Ok(job) if job.state.is_terminal() => Ok(Some(job)),
        looked => Err(explain(error, looked)),
    }
}

/// Deletes the job. "Not found" is an error, unless the job is gone because of an earlier attempt of this call.
pub(crate) fn delete(http: &Http, id: &JobId) -> Result<()> {
    let deadline = http.deadline();
    let is_made = |response: &Response| says_made(response) == Some(true);
    let Some(error) = send(http, Operation::Delete { id }, deadline, is_made)? else { return Ok(()) };
    let may_be_made = error.may_have_been_processed() && !error.is_conflict();
    match look(http, id, deadline) {
        Err(gone) if is_gone(&gone) && may_be_made => Ok(()),
        looked => Err(explain(error, looked)),
    }
}

/// Deletes the job. Returns `false` if there was no such job.
pub(crate) fn delete_if_exists(http: &Http, id: &JobId) -> Result<bool> {
    match delete(http, id) {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether the body of a success says that the change was made or refused. `None` if it says neither.
fn says_made(response: &Response) -> Option<bool> {
    let body = without_bom(&response.body).trim_ascii();
    if body.is_empty() {
        return Some(true);
    }
    let body: Value = from_json(body)?;
    // If both are present, a refusal counts.
    ["success", "ok"].iter().filter_map(|name| body[*name].as_bool()).min()
}

/// Describes an error or an unclear success by what the job looks like after it.
fn explain(error: Error, looked: Result<JobSummary>) -> Error {
    match looked {
        Ok(job) => {
            error.with_seen(format!("the job is {}", sanitize(job.state.as_str(), 40)), Some(job.state), None)
        }
        // `look` has ensured that the service is at this address.
        Err(gone) if is_gone(&gone) && matches!(error.status(), Some(404 | 410)) => {
            gone.with_context(Context { has_responded: true, ..error.into_context() })
        }
        Err(gone) if is_gone(&gone) => error.with_seen("there is no such job".to_owned(), None, None),
        Err(failure) => {
            let why = match failure.status() {
                Some(status @ 300..) => status.to_string(),
                _ => sanitize(&failure.summary(), 60),
            };
            let seen = format!("the job could not be loaded ({why})");
            error.with_seen(seen, failure.state().cloned(), Some(failure))
        }
    }
}
