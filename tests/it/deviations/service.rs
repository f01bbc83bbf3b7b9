//! A small service that follows the contract, and records which jobs exist and what was done.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::support::{Answer, Message, Step};

pub const ENDED: &str = "101";
pub const ENDED_BADLY: &str = "103";
/// Ends when it is read for the fourth time, so that a wait has to poll.
pub const RUNNING: &str = "105";
pub const UNKNOWN: &str = "999";
pub const PAGE_SIZE: usize = 2;
pub const NEW_NAME: &str = "water";

/// The requests of the contract.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Route {
    List,
    Get,
    Rename,
    Cancel,
    Delete,
    Submit,
    Batch,
}
pub const CHANGES: &[Route] = &[Route::Rename, Route::Cancel, Route::Delete];
pub const READS: &[Route] = &[Route::List, Route::Get];
pub const SUBMISSIONS: &[Route] = &[Route::Submit, Route::Batch];
pub const ROUTES: &[Route] =
    &[Route::List, Route::Get, Route::Rename, Route::Cancel, Route::Delete, Route::Submit, Route::Batch];

#[derive(Clone)]
pub struct Request {
    pub route: Route,
    pub id: String,
    pub path: String,
    pub cursor: Option<String>,
    pub limit: usize,
    pub body: Value,
}

impl Request {
    pub fn read(message: &Message) -> Self {
        let (method, target) = message.line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let segments: Vec<&str> =
            path.trim_start_matches("/api/v1/").trim_end_matches('/').split('/').collect();
        let (route, id) = match (method, segments[..].get(1..).unwrap()) {
            ("GET", []) => (Route::List, ""),
            ("POST", []) => (Route::Submit, ""),
            ("POST", ["batch"]) => (Route::Batch, ""),
            ("GET", [id]) => (Route::Get, *id),
            ("PATCH", [id]) => (Route::Rename, *id),
            ("DELETE", [id]) => (Route::Delete, *id),
            ("POST", [id, "cancel"]) => (Route::Cancel, *id),
            other => panic!("the contract has no {other:?}"),
        };
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name));
        Request {
            route,
            id: id.to_owned(),
            path: path.to_owned(),
            cursor: parameter("cursor=").map(str::to_owned),
            limit: parameter("limit=").map_or(PAGE_SIZE, |limit| limit.parse().unwrap()),
            body: serde_json::from_slice(&message.body).unwrap_or_default(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16, body: Value) -> Self {
        Reply::typed(status, "application/json", body.to_string())
    }

    pub fn typed(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Reply { status, headers: vec![format!("content-type: {content_type}")], body: body.into() }
    }

    pub fn empty(status: u16) -> Self {
        Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub fn answer(self) -> Answer {
        let Reply { status, headers, body } = self;
        let mut head = format!("HTTP/1.1 {status} Status\r\n");
        headers.iter().for_each(|header| head += &format!("{header}\r\n"));
        let closes = headers.iter().any(|header| header == "connection: close");
        if !closes && status != 204 {
            head += &format!("content-length: {}\r\n", body.len());
        }
        let body = if status == 204 { Vec::new() } else { body };
        let sent = Step::Send([head.as_bytes(), b"\r\n", &body].concat());
        if closes { vec![sent, Step::Close] } else { vec![sent] }
    }
}

/// The jobs of the service, and what it really did.
#[derive(Default)]
pub struct Service {
    /// The jobs, newest first as in a listing.
    pub jobs: Vec<Value>,
    pub reads_of_running: u32,
    /// Whether a change or a submission was made.
    pub acted: bool,
    /// The job id of each payload of the last submission, if it was accepted.
    pub accepted: Vec<Option<String>>,
    /// The status of each response, and whether its body is JSON or empty.
    pub log: Vec<(u16, bool)>,
}

impl Service {
    pub fn new() -> Self {
        let job = |n: u32, state: &str, name: Value, billed: Value| {
            json!({
                "job_id": format!("10{n}"), "name": name, "state": state, "job_type": "opt",
                "created_at": format!("2026-05-02T1{n}:32:01Z"), "billed_core_seconds": billed,
                "molecule_preview": {"formula": "H2", "atoms": [
                    {"element": "H", "position": [0.0, 0.0, -0.37]}, {"element": "H", "position": [0.0, 0.0, 0.37]}]},
            })
        };
        let jobs = vec![
            job(5, "running", json!("wässrig"), Value::Null),
            job(4, "done", Value::Null, json!(0.5)),
            job(3, "failed", json!("three"), json!(7.0)),
            job(2, "cancelled", json!("two"), Value::Null),
            job(1, "done", json!("one"), json!(12.5)),
        ];
        Service { jobs, ..Service::default() }
    }

    pub fn position(&self, id: &str) -> Option<usize> {
        self.jobs.iter().position(|job| job["job_id"] == id)
    }

    pub fn job(&self, id: &str) -> Option<&Value> {
        self.position(id).map(|n| &self.jobs[n])
    }

    pub fn is_running(&self, id: &str) -> bool {
        self.job(id).is_some_and(|job| job["state"] == "running")
    }

    /// Returns the job as a response shows it.
    pub fn show(&mut self, n: usize) -> Value {
        if self.is_running(RUNNING) && self.jobs[n]["job_id"] == RUNNING {
            self.reads_of_running += 1;
            if self.reads_of_running >= 4 {
                self.jobs[n]["state"] = json!("done");
            }
        }
        self.jobs[n].clone()
    }

    pub fn submit(&mut self, payload: &Value) -> Option<String> {
        let accepted = payload["job_type"].is_string().then(|| format!("{}", 106 + self.jobs.len() - 5));
        if let Some(id) = &accepted {
            self.acted = true;
            self.jobs.insert(
                0,
                json!({"job_id": id, "state": "pending", "job_type": "opt", "name": null,
                "created_at": "2026-05-02T16:32:01Z"}),
            );
        }
        self.accepted.push(accepted.clone());
        accepted
    }

    /// Processes a request and responds as the contract says.
    pub fn contract(&mut self, request: &Request) -> Reply {
        let found = self.position(&request.id);
        let refused = |status, detail| Reply::new(status, json!({"detail": detail}));
        match (request.route, found) {
            (Route::List, _) => {
                let after = request.cursor.as_deref().map(|cursor| cursor.trim_start_matches("after-"));
                let from = match after.map(|id| self.position(id)) {
                    None => 0,
                    Some(Some(n)) => n + 1,
                    Some(None) => return refused(400, "invalid cursor"),
                };
                let to = (from + request.limit.min(PAGE_SIZE)).min(self.jobs.len());
                let has_more = to < self.jobs.len();
                let jobs: Vec<Value> = (from..to).map(|n| self.show(n)).collect();
                let last = jobs.last().map_or("", |job| job["job_id"].as_str().unwrap());
                let cursor = has_more.then(|| format!("after-{last}"));
                Reply::new(200, json!({"jobs": jobs, "has_more": has_more, "next_cursor": cursor}))
            }
            (Route::Submit, _) => match self.submit(&request.body) {
                Some(id) => Reply::new(201, json!({"job_id": id, "state": "pending"})),
                None => refused(422, "job_type: Field required"),
            },
            (Route::Batch, _) => {
                let payloads = request.body["jobs"].as_array().unwrap();
                let jobs: Vec<Value> = payloads
                    .iter()
                    .map(|payload| match self.submit(payload) {
                        Some(id) => json!({"job_id": id, "state": "pending", "status": "submitted"}),
                        None => {
                            json!({"job_id": null, "state": null, "status": "failed", "error": "no job_type"})
                        }
                    })
                    .collect();
                let failed = jobs.iter().filter(|job| job["job_id"].is_null()).count();
                Reply::new(
                    200,
                    json!({"total": jobs.len(), "submitted": jobs.len() - failed, "failed": failed,
                    "cache_hits": 0, "jobs": jobs}),
                )
            }
            (_, None) => refused(404, "Job not found"),
            (Route::Get, Some(n)) => Reply::new(200, self.show(n)),
            (Route::Rename, Some(n)) => {
                self.acted = true;
                self.jobs[n]["name"] = request.body["name"].clone();
                Reply::new(200, self.jobs[n].clone())
            }
            (Route::Cancel, Some(n)) => {
                if self.is_running(&request.id) {
                    self.acted = true;
                    self.jobs[n]["state"] = json!("cancelled");
                }
                Reply::new(200, self.jobs[n].clone())
            }
            (Route::Delete, Some(_)) if self.is_running(&request.id) => refused(409, "job is running"),
            (Route::Delete, Some(n)) => {
                self.acted = true;
                self.jobs.remove(n);
                Reply::empty(204)
            }
        }
    }
}

/// Converts a creation time. The jobs were created one hour apart.
pub fn unix_time(created_at: &str) -> u64 {
    let hour: u64 = created_at[11..13].parse().unwrap();
    1_777_681_921 + hour * 3600
}
