//! Makes each call, and compares what it reports with what the service really did.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use atomiverse::{
    BatchSubmission, Client, Error, JobState, JobSummary, SubmissionStatus, Timestamp, WaitOptions,
};
use serde_json::{Value, json};

use super::service::{ENDED, ENDED_BADLY, NEW_NAME, PAGE_SIZE, RUNNING, Service, UNKNOWN, unix_time};
use crate::support::lock;

/// The calls of a user. Each one gets a new service, and a client that has loaded a job before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    List,
    Iter,
    Get,
    GetUnknown,
    Rename,
    Cancel,
    CancelEnded,
    Delete,
    DeleteRunning,
    DeleteUnknown,
    DeleteIfExists,
    DeleteIfExistsUnknown,
    /// A delete as the first call of a client, which then does not know whether its base URL is right.
    FirstDelete,
    Submit,
    Batch,
    Wait,
    WaitUnknown,
    WaitAll,
}
pub use Call::*;

pub const CALLS: [Call; 18] = [
    List,
    Iter,
    Get,
    GetUnknown,
    Rename,
    Cancel,
    CancelEnded,
    Delete,
    DeleteRunning,
    DeleteUnknown,
    DeleteIfExists,
    DeleteIfExistsUnknown,
    FirstDelete,
    Submit,
    Batch,
    Wait,
    WaitUnknown,
    WaitAll,
];
const OF_UNKNOWN: &[Call] = &[GetUnknown, DeleteUnknown, DeleteIfExistsUnknown, FirstDelete, WaitUnknown];

/// From best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Works,
    /// A field is `None`, or a distinction is not made.
    WorksWithLoss,
    ClearError,
    /// An error that names a wrong cause.
    Misleading,
    SilentlyWrong,
}
pub use Outcome::*;

/// The outcome of a call, and its reason.
#[derive(Debug, Clone)]
pub struct Verdict(pub Outcome, pub String);

impl Verdict {
    pub fn works() -> Self {
        Verdict(Works, String::new())
    }

    pub fn lost(what: &str) -> Self {
        Verdict(WorksWithLoss, format!("lost: {what}"))
    }

    pub fn wrong(what: impl Into<String>) -> Self {
        Verdict(SilentlyWrong, what.into())
    }

    pub fn and(self, other: Verdict) -> Self {
        if other.0 > self.0 { other } else { self }
    }

    pub fn check(is_true: bool, what: &str) -> Self {
        if is_true { Verdict::works() } else { Verdict::wrong(what) }
    }
}

/// Makes the call, and compares what it reports with what the service really did.
pub fn judge(call: Call, client: &Client, service: &Mutex<Service>) -> Verdict {
    let before = lock(service).log.len();
    let existed = !OF_UNKNOWN.contains(&call);
    let failed = |error: &Error| judge_error(call, error, existed, before, &lock(service));
    let outcome = |result: Result<(), Error>, truth: fn(&Service) -> bool| match result {
        Ok(()) => Verdict::check(truth(&lock(service)), "reported as done, but it is not"),
        Err(error) => failed(&error),
    };
    let deleted = |id: &str, result: Result<Option<bool>, Error>| match result {
        Ok(_) if lock(service).job(id).is_some() => {
            Verdict::wrong("reported as deleted or gone, but it exists")
        }
        // `None` stands for `delete_job`, which only reports that the job does not exist now.
        Ok(None) if !existed => Verdict::lost("that there was no such job"),
        Ok(Some(report)) if report != existed => Verdict::lost("whether there was such a job"),
        Ok(_) => Verdict::works(),
        Err(error) => failed(&error),
    };
    let summary = |id: &str, result: Result<JobSummary, Error>| match result {
        Ok(job) => Verdict::check(job.job_id == *id, "another job").and(judge_job(&job, &lock(service))),
        Err(error) => failed(&error),
    };
    let options = || {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(3));
        WaitOptions::new().timeout(Duration::from_secs(20)).min_interval(min).max_interval(max)
    };
    let ended = |id: &str, result: Result<JobSummary, Error>| {
        let has_ended = result.as_ref().map_or(true, |job| job.state.is_terminal());
        summary(id, result).and(Verdict::check(has_ended, "returned although the job runs"))
    };
    let payload = json!({"job_type": "opt"});
    match call {
        List => match client.list_jobs().limit(PAGE_SIZE as u32).send() {
            Ok(page) => {
                let jobs = page.jobs.into_iter().map(Ok).collect();
                judge_listing(jobs, !page.has_more, service, failed)
            }
            Err(error) => failed(&error),
        },
        Iter => {
            let jobs: Vec<Result<JobSummary, Error>> = client.iter_jobs().take(50).collect();
            let is_whole = jobs.iter().all(Result::is_ok);
            judge_listing(jobs, is_whole, service, failed)
        }
        Get => summary(ENDED, client.get_job(ENDED)),
        GetUnknown => summary(UNKNOWN, client.get_job(UNKNOWN)),
        Rename => outcome(client.rename_job(ENDED, NEW_NAME), |service| {
            service.job(ENDED).unwrap()["name"] == NEW_NAME
        }),
        // It means that the service responded with a success, whatever the body says.
        Cancel => outcome(client.cancel_job(RUNNING), |_| true),
        CancelEnded => outcome(client.cancel_job(ENDED), |service| !service.is_running(ENDED)),
        Delete => deleted(ENDED, client.delete_job(ENDED).map(|()| None)),
        DeleteRunning => deleted(RUNNING, client.delete_job(RUNNING).map(|()| None)),
        DeleteUnknown => deleted(UNKNOWN, client.delete_job(UNKNOWN).map(|()| None)),
        DeleteIfExists => deleted(ENDED, client.delete_job_if_exists(ENDED).map(Some)),
        DeleteIfExistsUnknown | FirstDelete => {
            deleted(UNKNOWN, client.delete_job_if_exists(UNKNOWN).map(Some))
        }
        Submit => match client.submit_job(&payload) {
            Ok(job) => {
                let service = lock(service);
                let is_new = service.accepted == [Some(job.id().to_string())];
                Verdict::check(is_new, "the id is not that of the new job").and(match job.state() {
                    Some(JobState::Unknown(_)) => Verdict::lost("the state"),
                    state => {
                        Verdict::check(state.is_none_or(|state| *state == JobState::Pending), "the state")
                    }
                })
            }
            Err(error) => failed(&error),
        },
        Batch => match client.submit_batch([&payload, &json!({}), &payload]) {
            Ok(batch) => judge_batch(&batch, &lock(service)),
            Err(error) => failed(&error),
        },
        Wait => ended(RUNNING, client.wait_for_job(RUNNING, options())),
        WaitUnknown => ended(UNKNOWN, client.wait_for_job(UNKNOWN, options())),
        WaitAll => {
            let mut left = HashSet::from([RUNNING, ENDED_BADLY, ENDED]);
            let mut verdict = Verdict::works();
            for (id, result) in client.wait_for_jobs(left.clone(), options()) {
                let is_asked = left.remove(id.as_str());
                let once = Verdict::check(is_asked, "an outcome of another job, or a second one");
                verdict = verdict.and(once).and(ended(id.as_str(), result));
            }
            verdict.and(Verdict::check(left.is_empty(), "a job without an outcome"))
        }
    }
}

/// Compares the listed jobs with those of the service.
pub fn judge_listing(
    listed: Vec<Result<JobSummary, Error>>,
    is_whole: bool,
    service: &Mutex<Service>,
    failed: impl Fn(&Error) -> Verdict,
) -> Verdict {
    let mut seen = HashSet::new();
    let mut verdict = Verdict::works();
    for job in listed {
        verdict = verdict.and(match job {
            Ok(job) if !seen.insert(job.job_id.to_string()) => Verdict::lost("that two entries are one job"),
            Ok(job) => judge_job(&job, &lock(service)),
            Err(error) => failed(&error),
        });
    }
    let is_short = is_whole && seen.len() < lock(service).jobs.len();
    verdict.and(Verdict::check(!is_short, "fewer jobs than there are"))
}

/// Compares a job with that of the service. A field may be missing, but must not have another value.
pub fn judge_job(job: &JobSummary, service: &Service) -> Verdict {
    let Some(truth) = service.job(job.job_id.as_str()) else {
        return Verdict::wrong(format!("a job that does not exist: {}", job.job_id));
    };
    let field = |name: &str, found: Value| {
        if found.is_null() && !truth[name].is_null() {
            Verdict::lost(name)
        } else {
            Verdict::check(found == truth[name], name)
        }
    };
    let state = match &job.state {
        JobState::Unknown(_) => Value::Null,
        state => json!(state.as_str()),
    };
    let name = job.name.clone().filter(|name| !name.is_empty());
    let created_at = match unix_seconds(&job.created_at) {
        None => Verdict::lost("created_at"),
        Some(seconds) => {
            Verdict::check(seconds == unix_time(truth["created_at"].as_str().unwrap()), "created_at")
        }
    };
    field("state", state)
        .and(field("name", json!(name)))
        .and(field("job_type", json!(job.job_type)))
        .and(field("billed_core_seconds", json!(job.billed_core_seconds)))
        .and(field("molecule_preview", json!(job.molecule_preview)))
        .and(created_at)
}

pub fn unix_seconds(time: &Timestamp) -> Option<u64> {
    time.to_system_time()?.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

pub fn judge_batch(batch: &BatchSubmission, service: &Service) -> Verdict {
    let ids: Vec<Option<String>> =
        batch.jobs.iter().map(|entry| entry.job_id.as_ref().map(ToString::to_string)).collect();
    let mut verdict = Verdict::check(ids == service.accepted, "the ids are not those of the payloads");
    for entry in &batch.jobs {
        verdict = verdict.and(match (&entry.status, &entry.job_id) {
            (SubmissionStatus::Unknown(_), _) => Verdict::lost("the status of a payload"),
            (status, id) => Verdict::check(
                (*status == SubmissionStatus::Failed) == id.is_none(),
                "the status of a payload",
            ),
        });
    }
    verdict
}

/// Checks that an error claims nothing untrue. `before` is the number of responses before the call.
pub fn judge_error(call: Call, error: &Error, existed: bool, before: usize, service: &Service) -> Verdict {
    let text = error.to_string();
    let lower = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| lower.contains(words));
    if service.acted && !error.may_have_been_processed() {
        return Verdict::wrong(format!("it was done, but the error does not allow for it: {text}"));
    }
    let misleads = |why: &str| Verdict(Misleading, format!("{why}: {text}"));
    let worked = service.log[..before].iter().any(|&(status, is_json)| status < 300 && is_json);
    let may_be_foreign = service.log[before..].iter().any(|&(status, is_json)| {
        !is_json || (300..400).contains(&status) || (matches!(status, 404 | 405) && !worked)
    });
    // An error about a missing key may say that a gateway removed it.
    let no_key_came = matches!(error.status(), Some(401 | 403)) && says(&["not authenticated"]);
    let names_the_address = says(&["proxy", "gateway", "base url", "base_url"]);
    if names_the_address && !may_be_foreign && !no_key_came {
        return misleads("the address is right");
    }
    // Before the first success, the job may be missing or the base URL wrong, so an error that names both is right.
    let says_not_found = error.is_not_found() || says(&["no such job", "may have been deleted"]);
    if existed && says_not_found && !(names_the_address && may_be_foreign) {
        return misleads("the job exists");
    }
    if says(&["check the api key", "revoked", "workspace key"])
        && (error.status() != Some(401) || no_key_came)
    {
        return misleads("the key is right");
    }
    match call {
        GetUnknown | DeleteUnknown | WaitUnknown if error.is_not_found() => Verdict::works(),
        DeleteRunning if error.is_conflict() => match error.state() {
            Some(JobState::Running) => Verdict::works(),
            Some(JobState::Unknown(_)) => Verdict::lost("the state"),
            _ => Verdict(ClearError, text),
        },
        _ => Verdict(ClearError, text),
    }
}
