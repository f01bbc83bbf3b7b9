//! The rules of the service, without sockets: a function from a request to a response.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::clock::{SimulatedClock, nanoseconds};
use super::{Fault, ReceivedRequest, SimulatedJob, dashboard};
use crate::sync::lock;
use crate::types::{JobId, JobState};

#[derive(Debug)]
pub(super) struct Service {
    clock: Arc<SimulatedClock>,
    pub(super) api_key: &'static str,
    /// Sorted by the time of submission, the oldest first.
    jobs: Vec<StoredJob>,
    /// The time of submission of every job that was ever added, by its serial number.
    submission_times: Vec<i128>,
    /// The job of each payload that was submitted.
    submitted: HashMap<String, JobId>,
    serial: u64,
    answers: u64,
    pub(super) capacity: Option<usize>,
    faults: Vec<PlannedFault>,
    pub(super) on_submit: Option<UserFunction<OnSubmit>>,
    pub(super) requests: Vec<ReceivedRequest>,
}

#[derive(Debug)]
struct PlannedFault {
    /// `None` applies to every request.
    fits: Option<UserFunction<Fits>>,
    times: usize,
    fault: Fault,
}

pub(super) type Fits = dyn Fn(&ReceivedRequest) -> bool + Send;
pub(super) type OnSubmit = dyn Fn(&Value) -> SimulatedJob + Send;

/// A function of the user. It is called while the service is not locked, because it may use the simulator itself, and
/// it may panic.
pub(super) struct UserFunction<F: ?Sized>(Arc<Mutex<F>>);

impl<F: ?Sized> UserFunction<F> {
    pub(super) fn new(function: Arc<Mutex<F>>) -> Self {
        UserFunction(function)
    }

    /// Passes the function to `call`. A panic becomes a message that names the method to which the function was passed.
    fn call<T>(&self, method: &str, call: impl FnOnce(&F) -> T) -> Result<T, String> {
        let call = AssertUnwindSafe(|| call(&lock(&self.0)));
        catch_unwind(call).map_err(|panic| {
            format!("the function passed to {method} panicked: {}", panic_message(panic.as_ref()))
        })
    }
}

impl<F: ?Sized> Clone for UserFunction<F> {
    fn clone(&self) -> Self {
        UserFunction(self.0.clone())
    }
}

impl<F: ?Sized> fmt::Debug for UserFunction<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserFunction")
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[derive(Debug)]
pub(super) struct StoredJob {
    serial: u64,
    pub(super) id: JobId,
    pub(super) job: SimulatedJob,
    /// In simulated time since the start, less the age. It may lie before the start.
    submitted: i128,
    cancelled: Option<i128>,
}

impl StoredJob {
    /// Returns the state and the charge at a time in nanoseconds since the start.
    fn at(&self, now: i128) -> (JobState, Option<f64>) {
        let run = self.submitted + nanoseconds(self.job.pending_for);
        let end = run + nanoseconds(self.job.running_for);
        let until = self.cancelled.unwrap_or(now).min(end);
        let state = match &self.job.state {
            _ if self.cancelled.is_some() => JobState::Cancelled,
            Some(state) => state.clone(),
            None if now < run => JobState::Pending,
            None if now < end => JobState::Running,
            None => self.job.outcome.clone(),
        };
        let seconds = (until - run).max(0) as f64 / 1e9;
        let charge = self.job.billed_core_seconds.or((seconds > 0.0).then_some(4.0 * seconds));
        (state, charge)
    }
}

/// A response of the service.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Reply {
    fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Reply { status, headers, body: body.to_string() }
    }

    fn detail(status: u16, detail: &str) -> Self {
        Reply::json(status, &json!({ "detail": detail }))
    }

    fn wrong_method(allowed: &str) -> Self {
        let mut reply = Reply::detail(405, "Method Not Allowed");
        reply.headers.push(("allow".to_owned(), allowed.to_owned()));
        reply
    }

    /// Returns the standard response of FastAPI to an invalid value.
    fn invalid(loc: &[&str], msg: &str, kind: &str) -> Self {
        Reply::json(422, &json!({ "detail": [{ "loc": loc, "msg": msg, "type": kind }] }))
    }
}

impl Service {
    pub(super) fn new(clock: Arc<SimulatedClock>, api_key: &'static str) -> Self {
        Service {
            clock,
            api_key,
            jobs: Vec::new(),
            submission_times: Vec::new(),
            submitted: HashMap::new(),
            serial: 0,
            answers: 0,
            capacity: None,
            faults: Vec::new(),
            on_submit: None,
            requests: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, job: SimulatedJob) -> JobId {
        self.serial += 1;
        let id = JobId::from(format!("job-{:06}", self.serial));
        let submitted = self.now() - nanoseconds(job.age);
        self.submission_times.push(submitted);
        let place = self.jobs.partition_point(|other| other.submitted <= submitted);
        let job = StoredJob { serial: self.serial, id: id.clone(), job, submitted, cancelled: None };
        self.jobs.insert(place, job);
        id
    }

    pub(super) fn plan_fault(&mut self, fits: Option<UserFunction<Fits>>, times: usize, fault: Fault) {
        if times > 0 {
            self.faults.push(PlannedFault { fits, times, fault });
        }
    }

    fn use_fault(&mut self, index: usize) -> Option<Fault> {
        let planned = self.faults.get_mut(index)?;
        planned.times -= 1;
        let is_used_up = planned.times == 0;
        let fault = planned.fault.clone();
        if is_used_up {
            self.faults.remove(index);
        }
        Some(fault)
    }

    /// Returns the number of a response, for `x-request-id`.
    pub(super) fn request_id(&mut self) -> String {
        self.answers += 1;
        format!("sim-{}", self.answers)
    }

    fn now(&self) -> i128 {
        nanoseconds(self.clock.elapsed())
    }

    fn knows(&self, authorization: Option<&str>) -> bool {
        authorization.and_then(|value| value.strip_prefix("Bearer ")) == Some(self.api_key)
    }

    fn on_job(&mut self, id: &str, verb: impl FnOnce(&mut Self, usize) -> Reply) -> Reply {
        match self.jobs.iter().position(|job| job.id == id) {
            Some(index) => verb(self, index),
            None => Reply::detail(404, "Job not found"),
        }
    }

    fn list(&self, limit: Option<&str>, cursor: Option<&str>) -> Reply {
        const LARGEST_PAGE: usize = 1000;
        let limit = match limit.map_or(Ok(50), str::parse) {
            Ok(limit @ 1..=LARGEST_PAGE) => limit,
            _ => return Reply::invalid(&["query", "limit"], "Input should be from 1 to 1000", "int_range"),
        };
        // A cursor names the last job that was listed. Jobs that are added or deleted later do not move it.
        let before = match cursor {
            None => None,
            Some(cursor) => match self.place_before(cursor) {
                None => return Reply::invalid(&["query", "cursor"], "Invalid cursor", "value_error"),
                place => place,
            },
        };
        let is_older = |job: &&StoredJob| before.is_none_or(|before| (job.submitted, job.serial) < before);
        let mut older = self.jobs.iter().rev().filter(is_older).peekable();
        let page: Vec<&StoredJob> = older.by_ref().take(limit).collect();
        let has_more = older.peek().is_some();
        let next_cursor = page.last().filter(|_| has_more).map(|job| format!("before-{}", job.serial));
        let jobs: Vec<Value> = page.into_iter().map(|job| self.summary(job)).collect();
        Reply::json(200, &json!({ "jobs": jobs, "has_more": has_more, "next_cursor": next_cursor }))
    }

    fn place_before(&self, cursor: &str) -> Option<(i128, u64)> {
        let serial: u64 = cursor.strip_prefix("before-")?.parse().ok()?;
        let submitted = self.submission_times.get(usize::try_from(serial).ok()?.checked_sub(1)?)?;
        Some((*submitted, serial))
    }

    fn get(&mut self, index: usize) -> Reply {
        Reply::json(200, &self.summary(&self.jobs[index]))
    }

    fn rename(&mut self, index: usize, body: &str) -> Reply {
        let name = match serde_json::from_str::<Value>(body) {
            Ok(Value::Object(mut fields)) => fields.remove("name"),
            _ => return Reply::invalid(&["body"], "Input should be a valid dictionary", "dict_type"),
        };
        match checked_name(name) {
            Ok(name) => {
                self.jobs[index].job.name = Some(name);
                self.get(index)
            }
            Err(reply) => *reply,
        }
    }

    fn cancel(&mut self, index: usize) -> Reply {
        let now = self.now();
        let job = &mut self.jobs[index];
        if !job.job.ignores_cancel && !job.at(now).0.is_terminal() {
            job.cancelled = Some(now);
        }
        self.get(index)
    }

    fn delete(&mut self, index: usize) -> Reply {
        let (state, _) = self.jobs[index].at(self.now());
        if !state.is_terminal() {
            return Reply::detail(
                409,
                &format!("Job is {state}; only done, failed or cancelled jobs can be deleted"),
            );
        }
        let StoredJob { id, .. } = self.jobs.remove(index);
        self.submitted.retain(|_, job| *job != id);
        Reply { status: 204, headers: Vec::new(), body: String::new() }
    }

    /// Returns the job of a payload that was submitted before, or a new job without what the function of the user
    /// decides.
    fn check(&self, payload: &Value) -> Result<Checked, Refused> {
        let Value::Object(fields) = payload else {
            return Err(Refused::Invalid { field: "job", msg: "Input should be a valid dictionary" });
        };
        let Some(Value::String(job_type)) = fields.get("job_type").filter(|job_type| *job_type != "") else {
            return Err(Refused::Invalid { field: "job_type", msg: "Field required" });
        };
        if let Some(id) = self.submitted.get(&payload.to_string()) {
            return Ok(Checked::Known(id.clone()));
        }
        let now = self.now();
        let active = || self.jobs.iter().filter(|job| !job.at(now).0.is_terminal()).count();
        if self.capacity.is_some_and(|capacity| active() >= capacity) {
            return Err(Refused::AtCapacity);
        }
        let mut job = SimulatedJob::new(job_type.clone());
        if let Some(name) = fields.get("name").filter(|name| !name.is_null()) {
            let name = checked_name(Some(name.clone()));
            job.name = Some(name.map_err(|_| Refused::Invalid { field: "name", msg: "Invalid name" })?);
        }
        let molecule = fields.get("molecule").cloned();
        job.molecule_preview = molecule.and_then(|molecule| serde_json::from_value(molecule).ok());
        Ok(Checked::New(Box::new(job)))
    }

    fn state_of(&self, id: &JobId) -> Option<JobState> {
        self.jobs.iter().find(|job| job.id == *id).map(|job| job.at(self.now()).0)
    }

    fn summary(&self, stored: &StoredJob) -> Value {
        let (state, billed_core_seconds) = stored.at(self.now());
        json!({
            "job_id": stored.id,
            "name": stored.job.name,
            "state": state,
            "job_type": stored.job.job_type,
            "created_at": self.created_at(stored),
            "billed_core_seconds": billed_core_seconds,
            "molecule_preview": stored.job.molecule_preview,
        })
    }

    fn created_at(&self, stored: &StoredJob) -> String {
        let (first, last) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        let created = self.clock.unix_time(stored.submitted);
        let created = created.clamp(first.as_nanosecond(), last.as_nanosecond());
        format!("{:.6}", jiff::Timestamp::from_nanosecond(created).unwrap_or(last))
    }

    fn dashboard(&self, id: Option<&str>) -> Reply {
        let job = self.jobs.iter().find(|job| Some(job.id.as_str()) == id);
        let body = match job {
            Some(stored) => {
                let (state, charge) = stored.at(self.now());
                let charge = charge
                    .map_or_else(|| "nothing yet".to_owned(), |charge| format!("{charge:.1} core-seconds"));
                let preview = stored.job.molecule_preview.as_ref();
                let facts = [
                    ("Job", stored.id.as_str()),
                    ("State", state.as_str()),
                    ("Type", stored.job.job_type.as_str()),
                    ("Charge", charge.as_str()),
                    ("Formula", preview.map_or("unknown", |preview| preview.formula.as_str())),
                ];
                dashboard::page(stored.job.name.as_deref().unwrap_or(stored.id.as_str()), &facts, preview)
            }
            None => dashboard::not_found(),
        };
        let headers = vec![("content-type".to_owned(), "text/html; charset=utf-8".to_owned())];
        Reply { status: if job.is_some() { 200 } else { 404 }, headers, body }
    }
}

/// Records a request and returns the fault that applies to it.
pub(super) fn receive(service: &Mutex<Service>, request: &ReceivedRequest) -> Option<Fault> {
    let planned: Vec<_> = {
        let mut service = lock(service);
        service.requests.push(request.clone());
        service.faults.iter().map(|planned| planned.fits.clone()).collect()
    };
    for (index, fits) in planned.iter().enumerate() {
        let fits = fits.as_ref().map_or(Ok(true), |fits| fits.call("fail_when", |fits| fits(request)));
        match fits {
            // Other requests only append faults, so the index is still valid.
            Ok(true) => return lock(service).use_fault(index),
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
    let query: Vec<(String, String)> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    let query = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let locked = || lock(service);
    match segments.as_slice() {
        ["job"] if request.method == "GET" => locked().dashboard(query("job_id")),
        ["job"] => Reply::wrong_method("GET"),
        ["api", "v1", rest @ ..] if locked().knows(request.header("authorization")) => {
            match (request.method.as_str(), rest) {
                ("GET", ["jobs"]) => locked().list(query("limit"), query("cursor")),
                ("POST", ["jobs"]) => submit(service, &request.body),
                ("POST", ["jobs", "batch"]) => submit_batch(service, &request.body),
                ("GET", ["jobs", id]) => locked().on_job(id, Service::get),
                ("PATCH", ["jobs", id]) => {
                    locked().on_job(id, |service, index| service.rename(index, &request.body))
                }
                ("DELETE", ["jobs", id]) => locked().on_job(id, Service::delete),
                ("POST", ["jobs", id, "cancel"]) => locked().on_job(id, Service::cancel),
                (_, ["jobs"]) => Reply::wrong_method("GET, POST"),
                (_, ["jobs", "batch"] | ["jobs", _, "cancel"]) => Reply::wrong_method("POST"),
                (_, ["jobs", _]) => Reply::wrong_method("GET, PATCH, DELETE"),
                _ => Reply::detail(404, "Not Found"),
            }
        }
        ["api", "v1", ..] => Reply::detail(401, "Invalid API key"),
        _ => Reply::detail(404, "Not Found"),
    }
}

fn submit(service: &Mutex<Service>, body: &str) -> Reply {
    let Ok(payload) = serde_json::from_str::<Value>(body) else {
        return Reply::invalid(&["body"], "JSON decode error", "json_invalid");
    };
    match accept(service, &payload) {
        Ok((id, is_new)) => {
            let mut reply = lock(service).on_job(id.as_str(), Service::get);
            reply.status = if is_new { 201 } else { 200 };
            reply
        }
        Err(Refused::Invalid { field, msg }) => Reply::invalid(&["body", field], msg, "value_error"),
        Err(Refused::AtCapacity) => Reply::detail(429, AT_CAPACITY),
        Err(Refused::Panicked(text)) => Reply::detail(500, &text),
    }
}

fn submit_batch(service: &Mutex<Service>, body: &str) -> Reply {
    let payloads =
        match serde_json::from_str::<Value>(body).map(|mut body| body.get_mut("jobs").map(Value::take)) {
            Ok(Some(Value::Array(payloads))) => payloads,
            _ => return Reply::invalid(&["body", "jobs"], "Input should be a valid list", "list_type"),
        };
    if payloads.len() > 1000 {
        return Reply::invalid(&["body", "jobs"], "List should have at most 1000 items", "too_long");
    }
    let mut entries: Vec<Value> = Vec::with_capacity(payloads.len());
    for payload in &payloads {
        let failed =
            |error: String| json!({ "job_id": null, "state": null, "status": "failed", "error": error });
        entries.push(match accept(service, payload) {
            Ok((id, is_new)) => {
                let status = if is_new { "submitted" } else { "cache_hit" };
                json!({ "job_id": id, "state": lock(service).state_of(&id), "status": status })
            }
            Err(Refused::Invalid { field, msg }) => failed(format!("{field}: {msg}")),
            Err(Refused::AtCapacity) => failed(AT_CAPACITY.to_owned()),
            Err(Refused::Panicked(text)) => return Reply::detail(500, &text),
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

/// Returns the job of a payload, and whether it is new.
fn accept(service: &Mutex<Service>, payload: &Value) -> Result<(JobId, bool), Refused> {
    let (checked, on_submit) = {
        let service = lock(service);
        (service.check(payload)?, service.on_submit.clone())
    };
    let mut job = match checked {
        Checked::Known(id) => return Ok((id, false)),
        Checked::New(job) => *job,
    };
    if let Some(on_submit) = on_submit {
        let simulated = on_submit.call("on_submit", |on_submit| on_submit(payload));
        let simulated = simulated.map_err(Refused::Panicked)?;
        job = SimulatedJob {
            job_type: job.job_type,
            name: job.name.or(simulated.name),
            molecule_preview: job.molecule_preview.or(simulated.molecule_preview),
            ..simulated
        };
    }
    let mut service = lock(service);
    let id = service.add(job);
    service.submitted.insert(payload.to_string(), id.clone());
    Ok((id, true))
}

const AT_CAPACITY: &str = "own controller at capacity";

enum Checked {
    Known(JobId),
    New(Box<SimulatedJob>),
}

enum Refused {
    Invalid {
        field: &'static str,
        msg: &'static str,
    },
    AtCapacity,
    /// The function that was passed to `on_submit` panicked.
    Panicked(String),
}

/// Checks the documented rules: a name is not empty after trimming, and has at most 120 characters, all of them
/// printable.
fn checked_name(name: Option<Value>) -> Result<String, Box<Reply>> {
    let refuse = |msg, kind| Err(Box::new(Reply::invalid(&["body", "name"], msg, kind)));
    match name {
        Some(Value::String(name)) => match name.trim() {
            "" => refuse("Name must not be empty", "value_error"),
            name if name.chars().count() > 120 => {
                refuse("Name must have at most 120 characters", "string_too_long")
            }
            name if name.chars().any(char::is_control) => {
                refuse("Name must have printable characters only", "value_error")
            }
            name => Ok(name.to_owned()),
        },
        Some(_) => refuse("Input should be a valid string", "string_type"),
        None => refuse("Field required", "missing"),
    }
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
