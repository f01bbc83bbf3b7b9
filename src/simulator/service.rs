//! The rules of the service, without sockets: a function from a request to a response.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::clock::SimulatedClock;
use super::{Fault, ReceivedRequest, SimulatedJob};
use crate::http::response::Response;
use crate::sync::lock;
use crate::types::{JobId, JobState};

#[derive(Default)]
pub(super) struct Service {
    pub(super) clock: Arc<SimulatedClock>,
    pub(super) api_key: &'static str,
    /// The oldest first. Deleted jobs stay here, so a cursor still has its place.
    pub(super) jobs: Vec<StoredJob>,
    pub(super) cache_hits: bool,
    pub(super) faults: Vec<Arc<Mutex<PlannedFault>>>,
    pub(super) on_submit: Option<Arc<Mutex<OnSubmit>>>,
    pub(super) requests: Vec<ReceivedRequest>,
    pub(super) connections: usize,
}

// These run code of the user. They are called while the service is not locked, because they may use the simulator
// themselves, and they may panic.
type PlannedFault = dyn FnMut(&ReceivedRequest) -> Option<Fault> + Send;
type OnSubmit = dyn Fn(&Value) -> SimulatedJob + Send;

pub(super) struct StoredJob {
    pub(super) id: JobId,
    /// The time of submission, since the Unix epoch.
    created: Duration,
    job: SimulatedJob,
    payload: Value,
    pub(super) result: Option<Value>,
    is_deleted: bool,
}

fn json_reply(status: u16, body: &Value) -> Response {
    let mut response = Response::new(status, body.to_string());
    response.headers.push(("content-type".to_owned(), "application/json".to_owned()));
    response
}

fn detail(status: u16, detail: &str) -> Response {
    json_reply(status, &json!({ "detail": detail }))
}

/// Refuses a field of the body or of the query, in the format of FastAPI.
fn invalid(place: &str, name: &str, msg: &str) -> Response {
    json_reply(422, &json!({ "detail": [{ "loc": [place, name], "msg": msg, "type": "value_error" }] }))
}

impl StoredJob {
    /// Returns how long ago the job began to run, or `None` if it is pending.
    fn ran(&self, now: Duration) -> Option<Duration> {
        now.saturating_sub(self.created).checked_sub(self.job.pending_for)
    }

    fn state(&self, now: Duration) -> JobState {
        match (&self.job.state, self.ran(now)) {
            (Some(state), _) => state.clone(),
            (None, None) => JobState::Pending,
            (None, Some(time)) if time < self.job.running_for => JobState::Running,
            (None, Some(_)) => self.job.outcome.clone(),
        }
    }

    fn summary(&self, now: Duration) -> Value {
        let seconds = self.ran(now).unwrap_or_default().min(self.job.running_for).as_secs_f64();
        json!({
            "job_id": self.id,
            "name": self.job.name,
            "state": self.state(now),
            "job_type": self.job.job_type,
            "created_at": rfc3339(self.created),
            "billed_core_seconds": self.job.billed_core_seconds.or((seconds > 0.0).then_some(4.0 * seconds)),
            "molecule_preview": self.job.molecule_preview,
        })
    }

    pub(super) fn finish(&mut self, now: Duration, state: JobState) {
        // The time after this is not billed.
        self.job.running_for = self.job.running_for.min(self.ran(now).unwrap_or_default());
        self.job.state = Some(state);
    }

    /// Returns the response to a request for this job.
    fn respond(&mut self, now: Duration, method: &str, action: &[&str], body: &Value) -> Response {
        let state = self.state(now);
        match (method, action) {
            ("GET", ["result"]) => {
                let none = || detail(404, "Job has no result");
                return self.result.as_ref().map_or_else(none, |result| json_reply(200, result));
            }
            ("PATCH", _) => match checked_name(&body["name"]) {
                Ok(name) => self.job.name = Some(name),
                Err(reason) => return invalid("body", "name", reason),
            },
            ("POST", _) if !state.is_terminal() && !self.job.ignores_cancel => {
                self.finish(now, JobState::Cancelled);
            }
            ("DELETE", _) if state.is_terminal() => {
                self.is_deleted = true;
                return Response::new(204, []);
            }
            ("DELETE", _) => {
                return detail(409, &format!("Job is {state}; only a job that has ended can be deleted"));
            }
            _ => {}
        }
        json_reply(200, &self.summary(now))
    }
}

impl Service {
    /// Adds a job. The payload is that of a submission.
    pub(super) fn add(&mut self, job: SimulatedJob, payload: Value) -> &StoredJob {
        let id = JobId::from(format!("job-{:06}", self.jobs.len() + 1));
        let created = self.clock.since_epoch().saturating_sub(job.age);
        let stored = StoredJob { id, created, job, payload, result: None, is_deleted: false };
        let place = self.jobs.partition_point(|other| other.created <= created);
        self.jobs.insert(place, stored);
        &self.jobs[place]
    }

    pub(super) fn find(&mut self, id: &str) -> Option<&mut StoredJob> {
        self.jobs.iter_mut().find(|job| job.id == *id && !job.is_deleted)
    }

    fn list(&self, query: &str) -> Response {
        let limit = parameter(query, "limit").map_or(Some(50), |limit| limit.parse().ok());
        let Some(limit @ 1..=1000) = limit else {
            return invalid("query", "limit", "Input should be from 1 to 1000");
        };
        // A cursor names the last job that was listed. Jobs that are added or deleted later do not move it.
        let find = |cursor: &str| {
            let id = cursor.strip_prefix("before-")?;
            self.jobs.iter().position(|job| job.id == *id)
        };
        let Some(end) = parameter(query, "cursor").map_or(Some(self.jobs.len()), find) else {
            return invalid("query", "cursor", "Invalid cursor");
        };
        let mut jobs = self.jobs[..end].iter().rev().filter(|job| !job.is_deleted);
        let page: Vec<&StoredJob> = jobs.by_ref().take(limit).collect();
        let has_more = jobs.next().is_some();
        let next_cursor = page.last().filter(|_| has_more).map(|job| format!("before-{}", job.id));
        let now = self.clock.since_epoch();
        let jobs: Vec<Value> = page.into_iter().map(|job| job.summary(now)).collect();
        json_reply(200, &json!({ "jobs": jobs, "has_more": has_more, "next_cursor": next_cursor }))
    }
}

/// Records a request. Returns how many there are now, and the fault that applies to this one.
pub(super) fn receive(service: &Mutex<Service>, request: &ReceivedRequest) -> (usize, Option<Fault>) {
    let (number, faults) = {
        let mut service = lock(service);
        service.requests.push(request.clone());
        (service.requests.len(), service.faults.clone())
    };
    (number, faults.iter().find_map(|fault| lock(fault)(request)))
}

/// Returns the response to a request.
pub(super) fn respond(service: &Mutex<Service>, request: &ReceivedRequest) -> Response {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let path: Vec<&str> = path.split('/').skip(1).collect();
    let method = request.method.as_str();
    let key = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if path.starts_with(&["api", "v1"]) && key != Some(lock(service).api_key) {
        return detail(401, "Invalid API key");
    }
    if request.header("transfer-encoding").is_some() {
        return detail(411, "Send a Content-Length in place of a Transfer-Encoding");
    }
    let allowed = match path[..] {
        ["job"] | ["api", "v1", "jobs", _, "result"] => "GET",
        ["api", "v1", "jobs"] => "GET, POST",
        // With GET, PATCH or DELETE, `batch` is the id of a job, and there is no such job.
        ["api", "v1", "jobs", "batch"] if !["GET", "PATCH", "DELETE"].contains(&method) => "POST",
        ["api", "v1", "jobs", _] => "GET, PATCH, DELETE",
        ["api", "v1", "jobs", _, "cancel"] => "POST",
        _ => return detail(404, "Not Found"),
    };
    if !allowed.split(", ").any(|allowed| allowed == method) {
        let mut response = detail(405, "Method Not Allowed");
        response.headers.push(("allow".to_owned(), allowed.to_owned()));
        return response;
    }
    // A body that is not JSON is refused like null, because it lacks the same fields.
    let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
    match path.as_slice() {
        ["api", "v1", "jobs"] if method == "GET" => lock(service).list(query),
        ["api", "v1", "jobs"] => submit(service, &body),
        ["api", "v1", "jobs", "batch"] if method == "POST" => submit_batch(service, &body),
        path => {
            let (id, action) = match path {
                ["api", "v1", "jobs", id, action @ ..] => (*id, action),
                _ => (parameter(query, "job_id").unwrap_or_default(), &[][..]),
            };
            let mut service = lock(service);
            let now = service.clock.since_epoch();
            let job = service.find(id);
            job.map_or_else(|| detail(404, "Job not found"), |job| job.respond(now, method, action, &body))
        }
    }
}

fn submit(service: &Mutex<Service>, payload: &Value) -> Response {
    match accept(service, payload) {
        Ok((mut job, status)) => {
            job["status"] = json!(status);
            json_reply(if status == "cache_hit" { 200 } else { 201 }, &job)
        }
        Err((field, reason)) => invalid("body", field, reason),
    }
}

fn submit_batch(service: &Mutex<Service>, body: &Value) -> Response {
    let Some(payloads) = body["jobs"].as_array().filter(|payloads| payloads.len() <= 1000) else {
        return invalid("body", "jobs", "Input should be a list of at most 1000 items");
    };
    let submit = |payload| match accept(service, payload) {
        Ok((job, status)) => json!({ "job_id": job["job_id"], "state": job["state"], "status": status }),
        Err((field, reason)) => {
            let error = format!("{field}: {reason}");
            json!({ "job_id": null, "state": null, "status": "failed", "error": error })
        }
    };
    let entries: Vec<Value> = payloads.iter().map(submit).collect();
    let count = |status: &str| entries.iter().filter(|entry| entry["status"] == status).count();
    let response = json!({
        "total": entries.len(),
        "submitted": count("submitted"),
        "failed": count("failed"),
        "cache_hits": count("cache_hit"),
        "jobs": entries,
    });
    json_reply(200, &response)
}

/// The summary of the job of a payload, and the status of the submission; or a field, and what is wrong with it.
type Accepted = Result<(Value, &'static str), (&'static str, &'static str)>;

fn accept(service: &Mutex<Service>, payload: &Value) -> Accepted {
    let job_type = payload["job_type"].as_str().filter(|job_type| !job_type.is_empty());
    let job_type = job_type.ok_or(("job_type", "Field required"))?;
    let name = Some(&payload["name"]).filter(|name| !name.is_null()).map(checked_name);
    let name = name.transpose().map_err(|reason| ("name", reason))?;
    let on_submit = {
        let service = lock(service);
        let now = service.clock.since_epoch();
        let mut jobs = service.jobs.iter().filter(|job| service.cache_hits && !job.is_deleted);
        if let Some(job) = jobs.find(|job| job.payload == *payload && job.state(now) == JobState::Done) {
            return Ok((job.summary(now), "cache_hit"));
        }
        service.on_submit.clone()
    };
    let new = || SimulatedJob::new(job_type);
    let mut job = on_submit.map_or_else(new, |on_submit| lock(&on_submit)(payload));
    let molecule = serde_json::from_value(payload["molecule"].clone()).ok();
    job.job_type = job_type.to_owned();
    job.name = name.or(job.name);
    job.molecule_preview = molecule.or(job.molecule_preview);
    let mut service = lock(service);
    let now = service.clock.since_epoch();
    Ok((service.add(job, payload.clone()).summary(now), "submitted"))
}

/// Checks the documented rules: a name is not empty after trimming, and has at most 120 characters, all of them
/// printable.
fn checked_name(name: &Value) -> Result<String, &'static str> {
    let name = name.as_str().ok_or("Input should be a valid string")?.trim();
    match name.chars().count() {
        0 => Err("Name must not be empty"),
        121.. => Err("Name must have at most 120 characters"),
        _ if name.chars().any(char::is_control) => Err("Name must have printable characters only"),
        _ => Ok(name.to_owned()),
    }
}

/// Returns the value of a parameter as it was sent. Identifiers and cursors hold no character that is percent-encoded.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Formats a time since the Unix epoch, in microseconds.
fn rfc3339(time: Duration) -> String {
    // Such as `Sat, 02 May 2026 14:32:01 GMT`.
    let text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + time);
    let (day, month, year, clock) = (&text[5..7], &text[8..11], &text[12..16], &text[17..25]);
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(month).unwrap_or_default() / 3 + 1;
    format!("{year}-{month:02}-{day}T{clock}.{:06}Z", time.subsec_micros())
}
