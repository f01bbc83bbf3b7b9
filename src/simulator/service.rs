//! The rules of the service, without sockets: a function from a request to a response.

use std::cmp::Reverse;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::clock::SimulatedClock;
use super::{Fault, ReceivedRequest, SimulatedJob};
use crate::sync::lock;
use crate::types::{JobId, JobState};

#[derive(Default)]
pub(super) struct Service {
    clock: Arc<SimulatedClock>,
    pub(super) api_key: &'static str,
    /// In the order of the serial numbers, which begin at 1. Deleted jobs stay here, so a cursor still has its place.
    jobs: Vec<StoredJob>,
    responses: u64,
    pub(super) cache_hits: bool,
    pub(super) faults: Vec<Arc<PlannedFault>>,
    pub(super) on_submit: Option<Arc<Mutex<OnSubmit>>>,
    pub(super) requests: Vec<ReceivedRequest>,
    pub(super) connections: usize,
}

// Functions of the user. They are called while the service is not locked, because they may use the simulator
// themselves, and they may panic.
type Fits = dyn Fn(&ReceivedRequest) -> bool + Send;
type OnSubmit = dyn Fn(&Value) -> SimulatedJob + Send;

pub(super) struct PlannedFault {
    pub(super) fits: Mutex<Box<Fits>>,
    pub(super) times: AtomicUsize,
    pub(super) fault: Fault,
}

impl PlannedFault {
    /// Returns whether the fault applies to the request, which then uses it up.
    fn take(&self, request: &ReceivedRequest) -> bool {
        let one_less = |times: usize| times.checked_sub(1);
        self.times.load(SeqCst) > 0
            && lock(&self.fits)(request)
            && self.times.fetch_update(SeqCst, SeqCst, one_less).is_ok()
    }
}

pub(super) struct StoredJob {
    /// The time of submission, since the Unix epoch, and the serial number. Jobs are listed by both.
    place: (Duration, usize),
    id: JobId,
    job: SimulatedJob,
    payload: Option<Value>,
    /// When the job was cancelled or finished.
    ended: Option<Duration>,
    pub(super) result: Option<Value>,
    is_deleted: bool,
}

/// A response of the service.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, content_type: &str, body: String) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Reply { status, headers, body: body.into_bytes() }
    }

    fn json(status: u16, body: &Value) -> Self {
        Reply::new(status, "application/json", body.to_string())
    }

    pub(super) fn detail(status: u16, detail: &str) -> Self {
        Reply::json(status, &json!({ "detail": detail }))
    }

    /// Returns the standard response of FastAPI to an invalid value.
    fn invalid(loc: &[&str], msg: &str) -> Self {
        Reply::json(422, &json!({ "detail": [{ "loc": loc, "msg": msg, "type": "value_error" }] }))
    }

    fn wrong_method(allowed: &str) -> Self {
        let mut reply = Reply::detail(405, "Method Not Allowed");
        reply.headers.push(("allow".to_owned(), allowed.to_owned()));
        reply
    }
}

impl StoredJob {
    /// Returns the state and the charge at this time.
    fn at(&self, now: Duration) -> (JobState, Option<f64>) {
        let run = self.place.0.saturating_add(self.job.pending_for);
        let end = run.saturating_add(self.job.running_for);
        let state = match &self.job.state {
            Some(state) => state,
            None if now < run => &JobState::Pending,
            None if now < end => &JobState::Running,
            None => &self.job.outcome,
        };
        let seconds = self.ended.unwrap_or(now).min(end).saturating_sub(run).as_secs_f64();
        let charge = self.job.billed_core_seconds.or((seconds > 0.0).then_some(4.0 * seconds));
        (state.clone(), charge)
    }

    fn summary(&self, now: Duration) -> Value {
        let (state, billed_core_seconds) = self.at(now);
        json!({
            "job_id": self.id,
            "name": self.job.name,
            "state": state,
            "job_type": self.job.job_type,
            "created_at": rfc3339(self.place.0),
            "billed_core_seconds": billed_core_seconds,
            "molecule_preview": self.job.molecule_preview,
        })
    }

    fn rename(&mut self, now: Duration, body: &str) -> Reply {
        let Ok(Value::Object(fields)) = serde_json::from_str(body) else {
            return Reply::invalid(&["body"], "Input should be a valid dictionary");
        };
        match checked_name(fields.get("name")) {
            Ok(name) => {
                self.job.name = Some(name);
                Reply::json(200, &self.summary(now))
            }
            Err(reason) => Reply::invalid(&["body", "name"], reason),
        }
    }

    fn cancel(&mut self, now: Duration) -> Reply {
        if !self.job.ignores_cancel && !self.at(now).0.is_terminal() {
            self.finish(now, JobState::Cancelled);
        }
        Reply::json(200, &self.summary(now))
    }

    pub(super) fn finish(&mut self, now: Duration, state: JobState) {
        self.ended = Some(now);
        self.job.state = Some(state);
    }

    fn delete(&mut self, now: Duration) -> Reply {
        let (state, _) = self.at(now);
        self.is_deleted = state.is_terminal();
        if self.is_deleted {
            return Reply { status: 204, headers: Vec::new(), body: Vec::new() };
        }
        Reply::detail(409, &format!("Job is {state}; only done, failed or cancelled jobs can be deleted"))
    }

    fn result(&self) -> Reply {
        let result = self.result.as_ref();
        result.map_or_else(|| Reply::detail(404, "Job has no result"), |result| Reply::json(200, result))
    }
}

impl Service {
    pub(super) fn new(clock: Arc<SimulatedClock>, api_key: &'static str) -> Self {
        Service { clock, api_key, ..Service::default() }
    }

    /// Adds a job. The payload is that of a submission.
    pub(super) fn add(&mut self, job: SimulatedJob, payload: Option<Value>) -> JobId {
        let place = (self.clock.since_epoch().saturating_sub(job.age), self.jobs.len() + 1);
        let id = JobId::from(format!("job-{:06}", place.1));
        let job =
            StoredJob { place, id: id.clone(), job, payload, ended: None, result: None, is_deleted: false };
        self.jobs.push(job);
        id
    }

    /// Returns the number of a response, for `x-request-id`.
    pub(super) fn next_request_id(&mut self) -> String {
        self.responses += 1;
        format!("sim-{}", self.responses)
    }

    /// Returns the number of a job in the list of jobs.
    fn index(&self, prefix: &str, text: &str) -> Option<usize> {
        let serial: usize = text.strip_prefix(prefix)?.parse().ok()?;
        serial.checked_sub(1).filter(|index| *index < self.jobs.len())
    }

    fn find(&mut self, id: &str) -> Option<&mut StoredJob> {
        let index = self.index("job-", id)?;
        Some(&mut self.jobs[index]).filter(|job| job.id == id && !job.is_deleted)
    }

    /// Does nothing if there is no such job.
    pub(super) fn change(&mut self, id: &str, act: impl FnOnce(&mut StoredJob, Duration)) {
        let now = self.clock.since_epoch();
        if let Some(job) = self.find(id) {
            act(job, now);
        }
    }

    fn on_job(&mut self, id: &str, act: impl FnOnce(&mut StoredJob, Duration) -> Reply) -> Reply {
        let mut reply = Reply::detail(404, "Job not found");
        self.change(id, |job, now| reply = act(job, now));
        reply
    }

    fn list(&self, query: &str) -> Reply {
        let limit = match parameter(query, "limit").map_or(Ok(50), |limit| limit.parse()) {
            Ok(limit @ 1..=1000) => limit,
            _ => return Reply::invalid(&["query", "limit"], "Input should be from 1 to 1000"),
        };
        // A cursor names the last job that was listed. Jobs that are added or deleted later do not move it.
        let before = match parameter(query, "cursor").map(|cursor| self.index("before-", &cursor)) {
            None => None,
            Some(Some(index)) => Some(self.jobs[index].place),
            Some(None) => return Reply::invalid(&["query", "cursor"], "Invalid cursor"),
        };
        let is_listed = |job: &&StoredJob| !job.is_deleted && before.is_none_or(|before| job.place < before);
        let mut page: Vec<&StoredJob> = self.jobs.iter().filter(is_listed).collect();
        page.sort_by_key(|job| Reverse(job.place));
        let has_more = page.len() > limit;
        page.truncate(limit);
        let next_cursor = page.last().filter(|_| has_more).map(|job| format!("before-{}", job.place.1));
        let now = self.clock.since_epoch();
        let jobs: Vec<Value> = page.into_iter().map(|job| job.summary(now)).collect();
        Reply::json(200, &json!({ "jobs": jobs, "has_more": has_more, "next_cursor": next_cursor }))
    }

    fn find_cached(&self, payload: &Value) -> Option<JobId> {
        let now = self.clock.since_epoch();
        let mut jobs = self.jobs.iter().filter(|job| self.cache_hits && !job.is_deleted);
        let hit = jobs.find(|job| job.payload.as_ref() == Some(payload) && job.at(now).0 == JobState::Done);
        hit.map(|job| job.id.clone())
    }

    fn show_dashboard(&mut self, id: &str) -> Reply {
        self.on_job(id, |job, now| {
            let name = job.job.name.as_deref().unwrap_or_default().replace('&', "&amp;").replace('<', "&lt;");
            let (id, state) = (&job.id, job.at(now).0);
            let page = format!("<!doctype html>\n<title>{id}</title>\n<p>{id} {name}: {state}</p>\n");
            Reply::new(200, "text/html; charset=utf-8", page)
        })
    }
}

/// Records a request and returns the fault that applies to it.
pub(super) fn receive(service: &Mutex<Service>, request: &ReceivedRequest) -> Option<Fault> {
    let faults = {
        let mut service = lock(service);
        service.requests.push(request.clone());
        service.faults.clone()
    };
    for planned in faults {
        match call_user("fail_when", || planned.take(request)) {
            Ok(true) => return Some(planned.fault.clone()),
            Ok(false) => {}
            Err(panicked) => return Some(Fault::status(500).body(json!({ "detail": panicked }).to_string())),
        }
    }
    None
}

/// Returns the response to a request.
pub(super) fn respond(service: &Mutex<Service>, request: &ReceivedRequest) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let segments: Vec<String> = path.split('/').skip(1).map(decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (method, body) = (request.method.as_str(), request.body.as_str());
    let key = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let path = match segments.as_slice() {
        ["job"] if method == "GET" => {
            return lock(service).show_dashboard(&parameter(query, "job_id").unwrap_or_default());
        }
        ["job"] => return Reply::wrong_method("GET"),
        ["api", "v1", ..] if key != Some(lock(service).api_key) => {
            return Reply::detail(401, "Invalid API key");
        }
        ["api", "v1", path @ ..] => path,
        _ => return Reply::detail(404, "Not Found"),
    };
    match (method, path) {
        ("GET", ["jobs"]) => lock(service).list(query),
        ("POST", ["jobs"]) => submit(service, body),
        ("POST", ["jobs", "batch"]) => submit_batch(service, body),
        ("GET", ["jobs", id]) => lock(service).on_job(id, |job, now| Reply::json(200, &job.summary(now))),
        ("PATCH", ["jobs", id]) => lock(service).on_job(id, |job, now| job.rename(now, body)),
        ("DELETE", ["jobs", id]) => lock(service).on_job(id, StoredJob::delete),
        ("POST", ["jobs", id, "cancel"]) => lock(service).on_job(id, StoredJob::cancel),
        ("GET", ["jobs", id, "result"]) => lock(service).on_job(id, |job, _| job.result()),
        (_, ["jobs"]) => Reply::wrong_method("GET, POST"),
        (_, ["jobs", "batch"] | ["jobs", _, "cancel"]) => Reply::wrong_method("POST"),
        (_, ["jobs", _]) => Reply::wrong_method("GET, PATCH, DELETE"),
        (_, ["jobs", _, "result"]) => Reply::wrong_method("GET"),
        _ => Reply::detail(404, "Not Found"),
    }
}

fn submit(service: &Mutex<Service>, body: &str) -> Reply {
    let Ok(payload) = serde_json::from_str::<Value>(body) else {
        return Reply::invalid(&["body"], "JSON decode error");
    };
    match accept(service, &payload) {
        Ok((id, is_hit)) => lock(service).on_job(id.as_str(), |job, now| {
            let mut summary = job.summary(now);
            if is_hit {
                summary["status"] = json!("cache_hit");
            }
            Reply::json(if is_hit { 200 } else { 201 }, &summary)
        }),
        Err(Refused::Invalid(field, reason)) => Reply::invalid(&["body", field], reason),
        Err(Refused::Panicked(panicked)) => Reply::detail(500, &panicked),
    }
}

fn submit_batch(service: &Mutex<Service>, body: &str) -> Reply {
    let body = serde_json::from_str::<Value>(body).unwrap_or_default();
    let payloads = match body.get("jobs") {
        Some(Value::Array(payloads)) if payloads.len() <= 1000 => payloads,
        _ => return Reply::invalid(&["body", "jobs"], "Input should be a list of at most 1000 items"),
    };
    let mut entries: Vec<Value> = Vec::with_capacity(payloads.len());
    for payload in payloads {
        entries.push(match accept(service, payload) {
            Ok((id, is_hit)) => {
                let mut service = lock(service);
                let now = service.clock.since_epoch();
                let state = service.find(id.as_str()).map(|job| job.at(now).0);
                let status = if is_hit { "cache_hit" } else { "submitted" };
                json!({ "job_id": id, "state": state, "status": status })
            }
            Err(Refused::Invalid(field, reason)) => {
                let error = format!("{field}: {reason}");
                json!({ "job_id": null, "state": null, "status": "failed", "error": error })
            }
            Err(Refused::Panicked(panicked)) => return Reply::detail(500, &panicked),
        });
    }
    let count = |status: &str| entries.iter().filter(|entry| entry["status"] == status).count();
    let response = json!({
        "total": entries.len(),
        "submitted": count("submitted"),
        "failed": count("failed"),
        "cache_hits": count("cache_hit"),
        "jobs": entries,
    });
    Reply::json(200, &response)
}

enum Refused {
    /// A field, and what is wrong with it.
    Invalid(&'static str, &'static str),
    /// The function that was passed to `on_submit` panicked.
    Panicked(String),
}

/// Returns the job of a payload, and whether it is a cache hit.
fn accept(service: &Mutex<Service>, payload: &Value) -> Result<(JobId, bool), Refused> {
    let fields = payload.as_object().ok_or(Refused::Invalid("job", "Input should be a valid dictionary"))?;
    let job_type = fields.get("job_type").and_then(Value::as_str).filter(|job_type| !job_type.is_empty());
    let job_type = job_type.ok_or(Refused::Invalid("job_type", "Field required"))?;
    let name = fields.get("name").filter(|name| !name.is_null()).map(|name| checked_name(Some(name)));
    let name = name.transpose().map_err(|reason| Refused::Invalid("name", reason))?;
    let on_submit = {
        let service = lock(service);
        if let Some(id) = service.find_cached(payload) {
            return Ok((id, true));
        }
        service.on_submit.clone()
    };
    let simulated = match on_submit {
        Some(on_submit) => call_user("on_submit", || lock(&on_submit)(payload)).map_err(Refused::Panicked)?,
        None => SimulatedJob::new(job_type),
    };
    let molecule = fields.get("molecule").cloned();
    let molecule = molecule.and_then(|molecule| serde_json::from_value(molecule).ok());
    let job = SimulatedJob {
        job_type: job_type.to_owned(),
        name: name.or(simulated.name),
        molecule_preview: molecule.or(simulated.molecule_preview),
        ..simulated
    };
    Ok((lock(service).add(job, Some(payload.clone())), false))
}

/// Calls a function of the user. A panic becomes a message that names the method to which the function was passed.
fn call_user<T>(method: &str, call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("the function passed to {method} panicked: {}", text.unwrap_or("no message"))
    })
}

/// Checks the documented rules: a name is not empty after trimming, and has at most 120 characters, all of them
/// printable.
fn checked_name(name: Option<&Value>) -> Result<String, &'static str> {
    let name = name.ok_or("Field required")?.as_str().ok_or("Input should be a valid string")?.trim();
    match name.chars().count() {
        0 => Err("Name must not be empty"),
        121.. => Err("Name must have at most 120 characters"),
        _ if name.chars().any(char::is_control) => Err("Name must have printable characters only"),
        _ => Ok(name.to_owned()),
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| decode(value))
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Formats a time since the Unix epoch, in microseconds. A time after the year 9999 becomes the last second of it.
fn rfc3339(time: Duration) -> String {
    let second = Duration::from_secs(time.as_secs().min(253_402_300_799));
    // Such as `Sat, 02 May 2026 14:32:01 GMT`.
    let text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + second);
    let (day, month, year, clock) = (&text[5..7], &text[8..11], &text[12..16], &text[17..25]);
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(month).unwrap_or_default() / 3 + 1;
    format!("{year}-{month:02}-{day}T{clock}.{:06}Z", time.subsec_micros())
}
