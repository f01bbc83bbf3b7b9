//! Runs the example `check_service` on the simulator, and its check on services that differ, with and without a contract
//! for them.

use std::collections::BTreeMap;

use atomiverse::simulator::{SimulatedJob, Simulator};
use atomiverse::{Contract, JobState, Operation, Request, Response, StopToken};
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[path = "../examples/check_service.rs"]
#[allow(dead_code)]
mod check_service;
#[path = "it/support.rs"]
#[allow(dead_code)]
mod support;

use check_service::{ToCheck, check};
use support::{Answer, RawServer, answer};

/// A service of another kind: other paths, names, states and pages. Jobs are `title`s by number.
fn other_service() -> RawServer {
    let job = |id: u32, (title, status): &(String, String)| json!({"id": id, "title": title, "status": status, "kind": "opt", "created": 1_777_732_321 + id});
    let mut jobs: BTreeMap<u32, (String, String)> =
        (1..=7).map(|id| (id, (format!("run {id}"), "OK".to_owned()))).collect();
    let mut next = 8;
    RawServer::start(move |_, request| {
        let reply =
            |status, body: Value| answer(status, &["content-type: application/json"], &body.to_string());
        let (method, target) = request.line.split_once(" /api/v1/").unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parts: Vec<&str> = path.split('/').collect();
        let number = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.and_then(|value| value.parse::<usize>().ok()).unwrap_or(0)
        };
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let id = parts.get(1).and_then(|id| id.parse().ok()).unwrap_or(0);
        match (method, parts.as_slice()) {
            ("GET", ["runs"]) => {
                let page: Vec<Value> = jobs
                    .iter()
                    .rev()
                    .skip(number("skip"))
                    .take(number("take"))
                    .map(|(id, of)| job(*id, of))
                    .collect();
                reply(200, json!({"runs": page, "total": jobs.len()}))
            }
            ("POST", ["runs"]) => {
                next += 1;
                jobs.insert(next, (body["title"].to_string(), "WAITING".to_owned()));
                reply(201, job(next, &jobs[&next]))
            }
            (_, ["runs", ..]) if !jobs.contains_key(&id) => reply(400, json!({"message": "no such run"})),
            ("GET", ["runs", _]) => reply(200, job(id, &jobs[&id])),
            ("PUT", ["runs", _, "title"]) => {
                jobs.get_mut(&id).unwrap().0 = body["title"].as_str().unwrap().to_owned();
                answer(204, &[], "")
            }
            ("POST", ["runs", _, "kill"]) => {
                jobs.get_mut(&id).unwrap().1 = "KILLED".to_owned();
                answer(204, &[], "")
            }
            ("DELETE", ["runs", _]) => {
                jobs.remove(&id);
                answer(204, &[], "")
            }
            _ => reply(404, json!({"message": "no such path"})),
        }
    })
}

/// The contract of `other_service`. A cursor is the number of jobs to skip.
struct OtherService;

impl Contract for OtherService {
    fn request(&self, operation: Operation<'_>) -> Request {
        match operation {
            Operation::List { limit, cursor } => {
                Request::new("GET", ["runs"]).query("take", limit).query("skip", cursor.unwrap_or("0"))
            }
            Operation::Get { id } => Request::new("GET", ["runs", id.as_str()]),
            Operation::Rename { id, name } => {
                Request::new("PUT", ["runs", id.as_str(), "title"]).json(&json!({"title": name}))
            }
            Operation::Cancel { id } => Request::new("POST", ["runs", id.as_str(), "kill"]),
            Operation::Delete { id } => Request::new("DELETE", ["runs", id.as_str()]),
            Operation::Submit { payload } => Request::new("POST", ["runs"]).json(payload),
            other => Request::assumed(other),
        }
    }

    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if response.status == 400 && operation.job_id().is_some() {
            response.status = 404;
        }
        match operation {
            Operation::List { limit, cursor } => response.map_json(|page| {
                let end = cursor.map_or(0, |cursor| cursor.parse().unwrap_or(0)) + u64::from(limit);
                let has_more = end < page["total"].as_u64().unwrap_or(0);
                json!({"jobs": page["runs"], "has_more": has_more, "next_cursor": end})
            }),
            Operation::Submit { .. } => response.map_json(|job| json!({"job_id": job["id"]})),
            _ => {}
        }
        response.edit_jobs(operation, |job| {
            let state = match job["status"].as_str() {
                Some("WAITING") => "pending",
                Some("KILLED") => "cancelled",
                _ => "done",
            };
            *job = json!({"job_id": job["id"], "name": job["title"], "state": state, "job_type": job["kind"],
                "created_at": job["created"]});
        });
    }
}

/// Returns whether the check passed, and what it printed.
fn checked(server: &RawServer, contract: impl Contract, payload: Option<&str>) -> (bool, String) {
    let payload = payload.map(|payload| RawValue::from_string(payload.to_owned()).unwrap());
    let mut out = Vec::new();
    let passed =
        check(server.client_builder(), contract, payload.as_deref(), &StopToken::new(), &mut out).unwrap();
    (passed, String::from_utf8(out).unwrap())
}

#[test]
fn the_program_passes_on_the_simulator_and_only_reads_without_a_job() {
    let simulator = Simulator::start().unwrap();
    simulator.add_sample_jobs(20);
    let run = |arguments: &[&str]| {
        let mut command = support::example("check_service");
        command
            .env("ATOMIVERSE_BASE_URL", simulator.base_url())
            .env("ATOMIVERSE_API_KEY", simulator.api_key());
        let output = command.args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, out) = run(&[]);
    assert_eq!(code, Some(0), "{out}");
    assert!(simulator.requests().iter().all(|request| request.method == "GET"));
    let payload = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/water.json");
    let (code, out) = run(&["--with-job", payload]);
    assert_eq!((code, out.matches("ok ").count()), (Some(0), 8), "{out}");
    assert_eq!(simulator.client().unwrap().iter_jobs().count(), 20, "its own job is deleted");
}

#[test]
fn a_service_that_differs_fails_with_the_operations_to_change_and_passes_with_its_contract() {
    let server = other_service();
    let payload = r#"{"title": "water"}"#;
    let (passed, out) = checked(&server, ToCheck, Some(payload));
    assert!(!passed, "{out}");
    for operation in ["List", "Submit"] {
        assert!(out.contains(&format!("change Operation::{operation} in Contract::")), "{operation}: {out}");
    }

    let (passed, out) = checked(&server, OtherService, Some(payload));
    assert!(passed, "{out}");
    // No authentication is a note.
    assert!(out.contains("note     key"), "{out}");
    for operation in ["List", "Get", "Submit", "Rename", "Cancel", "Delete"] {
        assert!(out.contains(&format!("ok       {operation}")), "{operation}: {out}");
    }
}

/// Passes requests on to a simulator, but for those that `differ` responds to.
fn differing(differ: impl Fn(&str) -> Option<Answer> + Send + 'static) -> (Simulator, RawServer) {
    let simulator = Simulator::start().unwrap();
    simulator.run_in_real_time();
    for _ in 0..12 {
        simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
    }
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    let server = RawServer::start(move |_, request| {
        differ(&request.line).unwrap_or_else(|| {
            let (method, path) = request.line.split_once(" /api/v1").unwrap();
            let mut passed_on = Request::with_path(method, path);
            passed_on.body = Some(request.body.clone()).filter(|body| !body.is_empty());
            match client.send(passed_on) {
                Ok(response) => answer(response.status, &[], &response.text()),
                Err(error) => answer(error.status().unwrap(), &[], r#"{"detail": "no"}"#),
            }
        })
    });
    (simulator, server)
}

#[test]
fn each_difference_names_the_operation_and_the_method_that_a_contract_has_to_change() {
    type Differ = fn(&str) -> Option<Answer>;
    let cases: [(&str, Differ); 6] = [
        ("Operation::List in Contract::response", |line| {
            line.contains("?limit").then(|| answer(200, &[], "[]"))
        }),
        ("Operation::Get in Contract::response", |line| {
            line.contains("999999").then(|| answer(400, &[], "{}"))
        }),
        ("Operation::Submit in Contract::response", |line| {
            line.eq("POST /api/v1/jobs").then(|| answer(200, &[], "{}"))
        }),
        ("Operation::Rename in Contract::response", |line| {
            line.starts_with("PATCH").then(|| answer(204, &[], ""))
        }),
        ("Operation::Cancel in Contract::request", |line| {
            line.ends_with("/cancel").then(|| answer(405, &[], "{}"))
        }),
        ("Operation::Delete in Contract::request", |line| {
            line.starts_with("DELETE").then(|| answer(405, &[], "{}"))
        }),
    ];
    for (expected, differ) in cases {
        let (_simulator, server) = differing(differ);
        let (passed, out) = checked(&server, ToCheck, Some(r#"{"job_type": "opt"}"#));
        assert!(!passed && out.contains(expected), "{expected}: {out}");
    }
    let (_simulator, server) = differing(|_| None);
    let (passed, out) = checked(&server, ToCheck, Some(r#"{"job_type": "opt"}"#));
    assert!(passed, "{out}");
}
