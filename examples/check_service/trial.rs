//! Submits a job, changes it, and deletes it.

use std::time::Duration;

use atomiverse::{Client, Error, JobId, JobState, JobsPage, StopToken, WaitOptions};
use serde_json::Value;

use crate::evidence::Session;
use crate::{Finding, as_assumed, different, failed, not_checked, tolerated};

const NAME: &str = "check_service";
/// How long a job may take to end once it is cancelled.
const PATIENCE: Duration = Duration::from_secs(60);

pub type Findings = Vec<(&'static str, Finding)>;

/// Submits, changes and deletes a job. Nothing is printed before the job is gone, because a failure to print would end
/// the program. Ctrl-C ends the other calls, but not the deletion.
pub fn run(session: &Session, payload: &Value) -> Findings {
    let Ok(before) = session.client.list_jobs().limit(50).send() else {
        return vec![("submit", not_checked("the jobs cannot be listed"))];
    };
    let stop = StopToken::new();
    let stopped = stop.clone();
    if ctrlc::set_handler(move || stopped.stop()).is_err() {
        return vec![("submit", not_checked("Ctrl-C cannot be handled"))];
    }
    let submitted = session.call(|client| client.submit_job(payload));
    let job = match submitted.result {
        Ok(job) => job,
        Err(error) if error.is_validation() => {
            return vec![("submit", not_checked("the payload was refused (status 422)"))];
        }
        Err(error) => {
            let mut findings = vec![("submit", failed("the identifier of a new job", &error, None))];
            if error.may_have_been_submitted() {
                eprintln!("a job may be left behind: check the newest one in the dashboard");
                findings.push(("clean-up", left_behind()));
            }
            return findings;
        }
    };
    if !is_new(&session.client, &before, job.id()) {
        return vec![
            ("submit", tolerated("a job that may have existed before; it was left alone")),
            ("clean-up", not_checked("if the job is new, it is left behind")),
        ];
    }
    let status = submitted.seen.map_or(0, |seen| seen.status);
    let submit =
        if status == 201 { as_assumed() } else { tolerated(format!("status {status} for a new job")) };
    let mut findings = vec![("submit", submit)];
    findings.extend(changes(&session.client.with_stop(&stop), job.id()));
    findings.push(("clean-up", clean_up(&session.client, job.id())));
    findings
}

fn left_behind() -> Finding {
    Finding::Different("a job may be left behind".to_owned(), None)
}

/// Returns whether the job is new. For a known payload the service may return an existing job, which must not be
/// deleted.
fn is_new(client: &Client, before: &JobsPage, id: &JobId) -> bool {
    if before.jobs.iter().any(|old| old.job_id == *id) {
        return false;
    }
    let created = client.get_job(id).ok().and_then(|job| job.created_at.to_system_time());
    let newest = before.jobs.iter().filter_map(|old| old.created_at.to_system_time()).max();
    !before.has_more || created.zip(newest).is_some_and(|(created, newest)| created >= newest)
}

fn changes(client: &Client, id: &JobId) -> Findings {
    let renamed = client.rename_job(id, NAME).and_then(|()| client.get_job(id));
    let rename = match renamed {
        Ok(job) if job.name.as_deref() == Some(NAME) => as_assumed(),
        Ok(_) => different("the new name", "another name", None),
        Err(error) => failed("the job to be renamed", &error, if_no_route(&error, "rename by POST")),
    };
    let cancel = match client.cancel_and_wait(id, &WaitOptions::new().timeout(PATIENCE)) {
        Ok(job) if job.state == JobState::Cancelled => as_assumed(),
        Ok(job) => tolerated(format!("a job that is {}", job.state)),
        Err(error) if error.is_timeout() => not_checked("the job did not end in time"),
        Err(error) => failed("the job to be cancelled", &error, None),
    };
    let has_ended = matches!(cancel, Finding::AsAssumed(_) | Finding::Tolerated(_));
    let delete = match has_ended.then(|| client.delete_job(id)) {
        None => not_checked("the job has not ended"),
        Some(Ok(())) if is_gone(client, id) => as_assumed(),
        Some(Ok(())) => different("the job to be gone", "the job", None),
        Some(Err(error)) => failed("the job to be deleted", &error, if_no_route(&error, "delete by POST")),
    };
    vec![("rename", rename), ("cancel", cancel), ("delete", delete)]
}

/// Returns the recipe if the service seems not to have the route.
fn if_no_route(error: &Error, recipe: &'static str) -> Option<&'static str> {
    matches!(error.status(), Some(404 | 405 | 501)).then_some(recipe)
}

fn clean_up(client: &Client, id: &JobId) -> Finding {
    if !is_gone(client, id) {
        // Failures are ignored, because the result depends only on whether the job is gone.
        let _ = client.cancel_job(id);
        let _ = client.wait_for_job(id, &WaitOptions::new().timeout(PATIENCE));
        let _ = client.delete_job(id);
    }
    if is_gone(client, id) {
        return as_assumed();
    }
    eprintln!("the job {:?} may be left behind", id.as_str());
    left_behind()
}

/// Returns whether the job is gone. If the service responds with an error other than 404, the listing decides.
fn is_gone(client: &Client, id: &JobId) -> bool {
    match client.get_job(id) {
        Ok(_) => false,
        Err(error) if error.is_not_found() => true,
        Err(_) => {
            let page = client.list_jobs().limit(50).send();
            page.is_ok_and(|page| page.jobs.iter().all(|job| job.job_id != *id))
        }
    }
}
