//! The outcome of calls on one job: get, rename, cancel and delete.

use std::time::Instant;

use serde_json::Value;

use crate::api::{self, Response};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Http;
use crate::jobs::list;
use crate::types::{JobId, JobState, JobSummary};

pub(crate) fn get(http: &Http, id: &JobId, deadline: Instant) -> Result<JobSummary> {
    let job = http.send(&api::get(id), deadline)?.job();
    if job.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::WrongJob(_))) {
        // The response may belong to an earlier request on the same connection.
        http.distrust_idle_connections();
    }
    if job.is_ok() {
        http.address_is_right();
    }
    job
}

pub(crate) fn rename(http: &Http, id: &JobId, name: &str, deadline: Instant) -> Result<()> {
    match http.send(&api::rename(id, name), deadline) {
        Ok(response) => confirm(http, &response, Some(name)).map(drop),
        Err(error) if error.is_not_found() => Err(not_found(error, get(http, id, deadline))),
        Err(error) => Err(error),
    }
}

/// Returns the body if it is JSON.
fn confirm(http: &Http, response: &Response, name: Option<&str>) -> Result<Option<Value>> {
    let body = response.confirm(name)?;
    http.address_is_right();
    Ok(body)
}

/// Cancels the job. Returns its summary if the server refused to cancel it because it has already ended.
pub(crate) fn cancel(http: &Http, id: &JobId, deadline: Instant) -> Result<Option<JobSummary>> {
    match http.send(&api::cancel(id), deadline) {
        Ok(response) => match confirm(http, &response, None) {
            Ok(_) => Ok(None),
            // The server may respond with "not cancelled" because the job has ended.
            Err(error) if matches!(error.kind(), ErrorKind::Contradicted { is_denial: true, .. }) => {
                match get(http, id, deadline) {
                    Ok(job) if job.state.is_terminal() => Ok(Some(job)),
                    Err(stopped) if stopped.is_stopped() => Err(error.stopped()),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        },
        Err(error) if error.is_not_found() => match get(http, id, deadline) {
            Ok(job) if job.state.is_terminal() => Ok(Some(job)),
            reloaded => Err(not_found(error, reloaded)),
        },
        Err(error) if matches!(error.status(), Some(400 | 409)) => match get(http, id, deadline) {
            Ok(job) if job.state.is_terminal() => Ok(Some(job)),
            reloaded => Err(refused(error, reloaded)),
        },
        Err(error) => Err(error),
    }
}

/// Deletes the job. "Not found" is an error, unless an earlier attempt of the same call may have deleted the job.
pub(crate) fn delete(http: &Http, id: &JobId, deadline: Instant) -> Result<()> {
    let error = match http.send(&api::delete(id), deadline) {
        Ok(response) => {
            let body = confirm(http, &response, None)?;
            // A body that shows the job may come from a service that only marks it as deleted.
            if !body.is_some_and(|body| response.shows_the_job(&body)) {
                return Ok(());
            }
            return match get(http, id, deadline) {
                Err(gone) if gone.is_not_found() => Ok(()),
                reloaded => {
                    let is_stopped = reloaded.as_ref().is_err_and(Error::is_stopped);
                    let reloaded = reloaded.map(|job| job.state).map_err(|error| error.to_string());
                    let status = response.raw.status;
                    let error = response.error(ErrorKind::NotDeleted { status, reloaded });
                    Err(if is_stopped { error.stopped() } else { error })
                }
            };
        }
        Err(error) if error.is_conflict() => refused(error, get(http, id, deadline)),
        Err(error) => error,
    };
    if !error.is_not_found() {
        return Err(error);
    }
    let may_be_gone = error.earlier().explains_not_found;
    let error = not_found(error, get(http, id, deadline));
    if error.is_not_found() && may_be_gone {
        return verified(http, error, deadline).map(drop);
    }
    Err(error)
}

/// Deletes the job. Returns `false` if there was no such job.
pub(crate) fn delete_if_exists(http: &Http, id: &JobId, deadline: Instant) -> Result<bool> {
    match delete(http, id, deadline) {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => gone(http, error, deadline),
        Err(error) => Err(error),
    }
}

/// Returns `false` for a job that was not found, after checking that the address is right.
pub(crate) fn gone(http: &Http, not_found: Error, deadline: Instant) -> Result<bool> {
    verified(http, not_found, deadline).map(|_| false)
}

/// Checks that a "not found" is about the job and not about the address. Unless this client has already had a
/// successful response below its API URL, it requests one.
fn verified(http: &Http, not_found: Error, deadline: Instant) -> Result<Error> {
    if not_found.address_verified() {
        return Ok(not_found);
    }
    match list::fetch(http, api::PAGE_SIZE, None, deadline) {
        Ok(_) => Ok(not_found),
        Err(stopped) if stopped.is_stopped() => Err(not_found.stopped()),
        Err(error) => Err(not_found.unverified(&error)),
    }
}

/// A change that met a "not found", which may not be about the job: a service that has no such request responds with
/// 404 too.
fn not_found(error: Error, reloaded: Result<JobSummary>) -> Error {
    match reloaded {
        Ok(job) => error.with_kind(ErrorKind::NoSuchRequest { state: job.state }),
        Err(gone) if gone.is_not_found() => error,
        Err(stopped) if stopped.is_stopped() => error.stopped(),
        Err(unclear) => error.unverified(&unclear),
    }
}

/// Describes a change that was refused because of the state of the job, or because there is no such job.
fn refused(error: Error, reloaded: Result<JobSummary>) -> Error {
    let reloaded: Result<JobState, String> = match reloaded {
        Ok(job) => Ok(job.state),
        Err(gone) if gone.is_not_found() => return error.with_kind(gone.into_kind()),
        Err(stopped) if stopped.is_stopped() => return error.stopped(),
        Err(error) => Err(error.to_string()),
    };
    let message = error.server_message().map(str::to_owned);
    let status = error.status().unwrap_or(409);
    error.with_kind(ErrorKind::WrongState { status, message, reloaded })
}
