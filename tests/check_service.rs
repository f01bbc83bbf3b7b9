//! Runs the example `check_service` against the simulator, and against services that differ from the contract.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs, thread};

use atomiverse::simulator::{SimulatedJob, Simulator};
use atomiverse::{JobState, MoleculePreview};
use serde_json::{Value, json};

#[path = "it/support.rs"]
#[allow(dead_code)]
mod support;

use support::{Answer, KEY, Message, RawServer, Step, answer, example};

const PAYLOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/water.json");

const WITH_JOB: &[&str] = &["--with-job", PAYLOAD, "--yes"];

struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Outcome {
    /// Returns the line about an assumption.
    #[track_caller]
    fn line(&self, assumption: &str) -> &str {
        let mut lines = self
            .out
            .lines()
            .filter(|line| line.get(13..).is_some_and(|rest| rest.split(": ").next() == Some(assumption)));
        lines.next().unwrap_or_else(|| panic!("no line about {assumption}: {}\n{}", self.out, self.err))
    }

    #[track_caller]
    fn has(&self, assumption: &str, verdict: &str, text: &str) {
        let line = self.line(assumption);
        assert!(line.starts_with(verdict) && line.contains(text), "{line}\n{}", self.out);
    }

    /// Fails if anything is different or tolerated, except that the server has no TLS.
    #[track_caller]
    fn is_as_assumed(&self) {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        let others = self.out.lines().filter(|line| !line.starts_with("as assumed  "));
        assert_eq!(
            others.collect::<Vec<_>>(),
            ["tolerated    TLS: got plain http", "The crate will work with this service."]
        );
    }
}

/// Returns a command that runs the example with a key for this server.
fn command(url: &str, key: &str) -> Command {
    let mut command = example("check_service");
    command.env("ATOMIVERSE_API_KEY", key).env("ATOMIVERSE_BASE_URL", url);
    command
}

fn run(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code().expect("the program was not killed"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn check(simulator: &Simulator, arguments: &[&str]) -> Outcome {
    run(command(&simulator.base_url(), simulator.api_key()).args(arguments))
}

/// A service that follows the contract, except for these differences.
#[derive(Clone, Copy)]
struct Differs {
    /// Returns a response to send instead of the one in the contract.
    instead: fn(&Message) -> Option<Answer>,
    job: fn(&mut Value),
    page: fn(Value) -> Value,
    /// Edits the status and the body of the final response.
    response: fn(&mut u16, &mut Value),
    /// Header lines in addition to the content type.
    headers: &'static [&'static str],
}

const CONTRACT: Differs = Differs {
    instead: |_| None,
    job: |_| {},
    page: |page| page,
    response: |_, _| {},
    headers: &["x-request-id: r-1"],
};

const NAME: &str = "secret name";

fn stored(number: usize) -> Value {
    json!({"job_id": format!("secret-{number:06}"), "name": NAME, "state": "done", "job_type": "opt",
           "created_at": format!("2026-05-02T14:32:{number:02}Z"), "billed_core_seconds": 12.5,
           "molecule_preview": {"formula": "Sm5HO", "atoms": [
               {"element": "O", "position": [0.0, 0.0, 0.0]}, {"element": "H", "position": [0.0, 0.0, 0.9625]}]}})
}

impl Differs {
    fn start(self) -> RawServer {
        // The oldest job comes first.
        let mut jobs: Vec<Value> = (1..=3).map(stored).collect();
        RawServer::start(move |_, request| {
            if let Some(answer) = (self.instead)(request) {
                return answer;
            }
            let is_known = request.header("authorization") == format!("Bearer {KEY}")
                || request.header("x-api-key") == KEY;
            let (mut status, mut body) =
                if is_known { self.respond(&mut jobs, request) } else { (401, detail("Invalid API key")) };
            (self.response)(&mut status, &mut body);
            let body = if body.is_null() { String::new() } else { body.to_string() };
            answer(status, &[&["content-type: application/json"], self.headers].concat(), &body)
        })
    }

    fn respond(&self, jobs: &mut Vec<Value>, request: &Message) -> (u16, Value) {
        let (method, target) = request.line.split_once(" /api/v1/jobs").unwrap();
        let show = |job: &Value| {
            let mut job = job.clone();
            (self.job)(&mut job);
            job
        };
        if let (Some(query), "GET") = (target.strip_prefix('?'), method) {
            let number = |name: &str| -> Option<usize> {
                query.split('&').find_map(|pair| pair.strip_prefix(name)?.parse().ok())
            };
            let (start, limit) = (number("cursor=").unwrap_or(0), number("limit=").unwrap());
            let page: Vec<Value> = jobs.iter().rev().skip(start).take(limit).map(show).collect();
            let end = start + page.len();
            let cursor = (end < jobs.len()).then(|| end.to_string());
            return (
                200,
                (self.page)(json!({"jobs": page, "has_more": cursor.is_some(), "next_cursor": cursor})),
            );
        }
        if target.is_empty() {
            jobs.push(stored(jobs.len() + 1));
            let job = jobs.last_mut().unwrap();
            job["state"] = json!("running");
            return (201, show(job));
        }
        let id = target[1..].trim_end_matches("/cancel");
        let Some(index) = jobs.iter().position(|job| job["job_id"] == id) else {
            return (404, detail("No secret-000000"));
        };
        match method {
            "DELETE" => {
                jobs.remove(index);
                return (204, Value::Null);
            }
            "PATCH" => {
                jobs[index]["name"] = serde_json::from_slice::<Value>(&request.body).unwrap()["name"].clone()
            }
            "POST" => jobs[index]["state"] = json!("cancelled"),
            _ => {}
        }
        (200, show(&jobs[index]))
    }

    /// Runs the example, and fails if the report contains anything confidential.
    #[track_caller]
    fn check(self, arguments: &[&str]) -> Outcome {
        let server = self.start();
        let outcome = run(command(&server.url(), KEY).args(arguments));
        for secret in [KEY, "secret", "Sm5", "Sm", "0.96", "12.5", "2026", &server.url()] {
            assert!(!outcome.out.contains(secret), "{secret} in {}", outcome.out);
        }
        outcome
    }

    /// Fails unless the report shows the difference and names the recipe.
    #[track_caller]
    fn is_different(self, arguments: &[&str], assumption: &str, seen: &str, recipe: &str) -> Outcome {
        let outcome = self.check(arguments);
        outcome.has(assumption, "DIFFERENT    ", seen);
        outcome.has(assumption, "", &format!("; see the recipe \"{recipe}\" in HTTP.md"));
        assert!(HTTP_MD.contains(&format!("\n### {recipe}\n")), "{recipe}");
        assert_eq!(outcome.code, 1, "{}", outcome.out);
        assert!(outcome.out.ends_with("will not work with this service as it is.\n"), "{}", outcome.out);
        outcome
    }

    #[track_caller]
    fn is_tolerated(self, assumption: &str, seen: &str) {
        let outcome = self.check(&[]);
        outcome.has(assumption, "tolerated    ", seen);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{}", outcome.out);
        assert!(!outcome.out.contains("DIFFERENT"), "{}", outcome.out);
    }
}

/// Contains the recipes.
const HTTP_MD: &str = include_str!("../HTTP.md");

fn detail(text: &str) -> Value {
    json!({ "detail": text })
}

/// Renames a field.
fn move_field(object: &mut Value, from: &str, to: &str) {
    let fields = object.as_object_mut().unwrap();
    let value = fields.remove(from).unwrap();
    fields.insert(to.to_owned(), value);
}

#[test]
fn the_simulator_meets_all_assumptions_and_is_only_read() {
    let simulator = Simulator::start().unwrap();
    simulator.add_sample_jobs(120);
    check(&simulator, &[]).is_as_assumed();
    let requests = simulator.requests();
    assert!(requests.len() >= 6);
    assert!(requests.iter().all(|request| request.method == "GET"), "{requests:?}");
}

#[test]
fn a_service_that_follows_the_contract_meets_all_assumptions() {
    CONTRACT.check(&[]).is_as_assumed();
    CONTRACT.check(WITH_JOB).is_as_assumed();
}

#[test]
fn an_account_without_jobs_leaves_some_assumptions_unchecked() {
    let simulator = Simulator::start().unwrap();
    let outcome = check(&simulator, &[]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{}", outcome.out);
    outcome.has("envelope", "as assumed   ", "");
    outcome.has("unknown job", "as assumed   ", "");
    for assumption in ["cursor", "limit", "state", "created_at", "one job"] {
        outcome.has(assumption, "not checked  ", "no jobs");
    }
    assert!(outcome.out.ends_with("The crate will work with this service, as far as it could be checked.\n"));
}

#[test]
fn a_job_is_submitted_changed_and_deleted_on_request() {
    let simulator = Simulator::start().unwrap();
    simulator.add_sample_jobs(60);
    let outcome = check(&simulator, WITH_JOB);
    outcome.is_as_assumed();
    for assumption in ["submit", "rename", "cancel", "delete", "clean-up"] {
        outcome.has(assumption, "as assumed   ", "");
    }
    assert_eq!(simulator.client().unwrap().iter_jobs().count(), 60);
    let changes = simulator.requests().into_iter().filter(|request| request.method != "GET");
    let changes: Vec<String> =
        changes.map(|request| format!("{} {}", request.method, request.target)).collect();
    assert_eq!(
        changes,
        [
            "POST /api/v1/jobs",
            "PATCH /api/v1/jobs/job-000061",
            "POST /api/v1/jobs/job-000061/cancel",
            "DELETE /api/v1/jobs/job-000061"
        ]
    );
}

#[test]
fn nothing_is_sent_if_nobody_can_be_asked() {
    let simulator = Simulator::start().unwrap();
    let outcome = check(&simulator, &["--with-job", PAYLOAD]);
    assert_eq!((outcome.code, outcome.out.as_str()), (2, ""));
    assert!(outcome.err.contains("--yes"), "{}", outcome.err);
    assert!(simulator.requests().is_empty());
}

#[test]
fn an_existing_job_is_left_alone() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    let payload: Value = serde_json::from_str(&fs::read_to_string(PAYLOAD).unwrap()).unwrap();
    let old = client.submit_job(&payload).unwrap();
    let before = client.get_job(old.id()).unwrap();
    for newer_jobs in [0, 60] {
        // With 60 newer jobs, the old job is no longer on the first page.
        simulator.advance(support::secs(1));
        (0..newer_jobs).for_each(|_| drop(simulator.add_job(SimulatedJob::new("opt").state(JobState::Done))));
        let outcome = check(&simulator, WITH_JOB);
        outcome.has("submit", "tolerated    ", "was left alone");
        let after = client.get_job(old.id()).unwrap();
        assert_eq!((&after.name, after.state.is_terminal()), (&before.name, false));
    }
}

#[test]
fn wrong_usage_exits_with_2_and_sends_nothing() {
    let simulator = Simulator::start().unwrap();
    let list = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("check_service_list.json");
    fs::write(&list, "[]").unwrap();
    let list = list.to_str().unwrap();
    for arguments in [
        &["--no-such-option"][..],
        &["--yes"],
        &["--with-job", "no-such-file.json", "--yes"],
        &["--with-job", list, "--yes"],
    ] {
        let outcome = check(&simulator, arguments);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{arguments:?}");
        assert!(outcome.err.contains(arguments[arguments.len() / 3]), "{}", outcome.err);
    }
    let keyless = run(command(&simulator.base_url(), "").env_remove("ATOMIVERSE_API_KEY"));
    assert_eq!((keyless.code, keyless.out.as_str()), (2, ""));
    assert!(keyless.err.contains("ATOMIVERSE_API_KEY"), "{}", keyless.err);
    assert!(simulator.requests().is_empty());
    let help = check(&simulator, &["--help"]);
    assert!(help.code == 0 && help.out.contains("Exits with 0 if"), "{}", help.out);
}

#[test]
fn each_recipe_is_named_for_the_difference_that_it_handles() {
    let envelope =
        Differs { page: |page| json!({"items": page["jobs"], "cursor": page["next_cursor"]}), ..CONTRACT };
    let seen = "got an object with the fields cursor, items;";
    let outcome = envelope.is_different(&[], "envelope", seen, "envelope");
    outcome.has("state", "as assumed   ", "");
    outcome.has("one job", "as assumed   ", "");

    let wrapped = Differs { response: |_, body| *body = json!({"data": body.take()}), ..CONTRACT };
    let outcome = wrapped.is_different(&[], "envelope", "the fields data;", "data around everything");
    outcome.has("one job", "DIFFERENT    ", "data around everything");
    outcome.has("state", "as assumed   ", "");

    let words = Differs { job: |job| job["state"] = json!("completed"), ..CONTRACT };
    words.is_different(&[], "state", "got `completed`", "other words for states");

    let camel = Differs {
        page: |mut page| {
            move_field(&mut page, "has_more", "hasMore");
            move_field(&mut page, "next_cursor", "nextCursor");
            page
        },
        job: |job| {
            move_field(job, "job_id", "jobId");
            move_field(job, "billed_core_seconds", "billedCoreSeconds");
        },
        ..CONTRACT
    };
    let outcome = camel.is_different(&[], "job_id", "got `jobId`", "camelCase keys");
    outcome.has("envelope", "DIFFERENT    ", "camelCase keys");
    outcome.has("billed_core_seconds", "DIFFERENT    ", "camelCase keys");

    let bad_request =
        Differs { response: |status, _| *status = if *status == 404 { 400 } else { *status }, ..CONTRACT };
    bad_request.is_different(&[], "unknown job", "got status 400", "400 for an unknown job");

    let other_header = Differs {
        instead: |request| {
            let has_key = !request.header("x-api-key").is_empty();
            (!has_key).then(|| answer(401, &[], r#"{"detail":"Not authenticated"}"#))
        },
        ..CONTRACT
    };
    let outcome = other_header.is_different(WITH_JOB, "key", "got status 401", "key in another header");
    outcome.has("submit", "not checked  ", "");
    let adapted = other_header.check(&["--api-key-header", "X-API-Key"]);
    assert_eq!(adapted.code, 0, "{}", adapted.out);

    let status = Differs { job: |job| move_field(job, "state", "status"), ..CONTRACT };
    status.is_different(&[], "state", "name, status", "status for state");

    let id = Differs { job: |job| move_field(job, "job_id", "id"), ..CONTRACT };
    id.is_different(&[], "job_id", "expected `job_id`", "id for job_id");

    let bohr =
        Differs { job: |job| job["molecule_preview"]["atoms"][1]["position"][2] = json!(1.8189), ..CONTRACT };
    bohr.is_different(&[], "positions", "bohr", "positions in bohr");
}

#[test]
fn each_recipe_for_a_change_is_named_for_the_difference_that_it_handles() {
    let rename = Differs {
        instead: |request| request.line.starts_with("PATCH").then(|| answer(405, &[], "")),
        ..CONTRACT
    };
    let outcome = rename.is_different(WITH_JOB, "rename", "got status 405", "rename by POST");
    outcome.has("clean-up", "as assumed   ", "");

    let delete = Differs {
        instead: |request| request.line.starts_with("DELETE").then(|| answer(405, &[], "")),
        ..CONTRACT
    };
    let outcome = delete.is_different(WITH_JOB, "delete", "got status 405", "delete by POST");
    outcome.has("clean-up", "DIFFERENT    ", "a job may be left behind");
    assert!(outcome.err.contains("secret-000004"), "{}", outcome.err);
}

#[test]
fn other_differences_are_reported() {
    let endless = Differs {
        instead: |request| {
            let first = format!(r#"{{"jobs":[{}],"has_more":true,"next_cursor":"secret"}}"#, stored(3));
            request.line.contains("limit=1").then(|| support::json(&first))
        },
        ..CONTRACT
    };
    endless.is_different(&[], "cursor", "the cursor is ignored", "envelope");

    let public = Differs {
        instead: |request| {
            let is_wrong = !request.header("authorization").ends_with(KEY);
            is_wrong.then(|| support::json(r#"{"jobs":[],"has_more":false}"#))
        },
        ..CONTRACT
    };
    let outcome = public.check(&[]);
    outcome.has("wrong key", "DIFFERENT    ", "expected status 401; got a page of jobs");
    assert_eq!(outcome.code, 1);

    let html = Differs {
        instead: |request| {
            let is_listing = request.line.contains("limit=");
            (!is_listing).then(|| answer(404, &["content-type: text/html"], "<h1>secret</h1>"))
        },
        ..CONTRACT
    };
    html.check(&[]).has("unknown job", "DIFFERENT    ", "got status 404 with HTML");

    let elsewhere = Differs {
        instead: |_| Some(answer(404, &["content-type: text/html"], "<h1>secret</h1>")),
        ..CONTRACT
    };
    let outcome = elsewhere.check(&[]);
    outcome.has("envelope", "DIFFERENT    ", "ATOMIVERSE_BASE_URL");
    outcome.has("one job", "not checked  ", "");
    assert_eq!(outcome.code, 1);
}

#[test]
fn the_keys_of_a_map_are_not_shown() {
    let by_id = Differs {
        page: |page| {
            let jobs = page["jobs"].as_array().unwrap().iter();
            jobs.map(|job| (job["job_id"].as_str().unwrap().to_owned(), job.clone())).collect()
        },
        job: |job| {
            job["molecule_preview"] = json!({"Sm": [0.96], "H": [1]});
            job["state"] = json!("secret name is done");
        },
        ..CONTRACT
    };
    by_id.is_different(&[], "envelope", "not shown", "envelope");
    let by_name = Differs { page: |page| json!({"secret": page["jobs"][0]}), ..CONTRACT };
    by_name.is_different(&[], "envelope", "not shown", "envelope");
}

#[test]
fn tolerated_differences_are_reported_and_are_not_failures() {
    let with_job = |job| Differs { job, ..CONTRACT };
    with_job(|job| job["state"] = json!("DONE")).is_tolerated("state", "got `DONE` (in 6 of 6 summaries)");
    with_job(|job| job["billed_core_seconds"] = json!("12.5"))
        .is_tolerated("billed_core_seconds", "got a string");
    with_job(|job| job["molecule_preview"] = json!({"xyz": "H 0 0 0"}))
        .is_tolerated("molecule_preview", "got an object with the fields xyz, which is read as no preview");
    with_job(|job| job["created_at"] = json!("yesterday")).is_tolerated("created_at", "that is not a time");
    with_job(|job| job["state"] = json!("JobState.DONE")).is_tolerated("openapi.yaml", "/jobs/*/state enum");
    let with_page = |page| Differs { page, ..CONTRACT };
    with_page(|page| json!({"jobs": page["jobs"], "next_cursor": page["next_cursor"]}))
        .is_tolerated("envelope", "has_more: missing, next_cursor: ");
    Differs { headers: &["x-correlation-id: secret"], ..CONTRACT }
        .is_tolerated("request id", "x-correlation-id instead of x-request-id");
    Differs { headers: &[], ..CONTRACT }.is_tolerated("request id", "without x-request-id");
    let forbidden = |status: &mut u16, body: &mut Value| {
        if *status == 401 {
            (*status, *body) = (403, json!({"reason": "secret"}));
        }
    };
    let forbidden = Differs { response: forbidden, ..CONTRACT };
    forbidden.is_tolerated("wrong key", "status 403");
    forbidden.is_tolerated("error body", "got an object with the fields reason, whose message is read");
    let empty = |status: &mut u16, body: &mut Value| {
        if *status == 404 {
            *body = Value::Null;
        }
    };
    Differs { response: empty, ..CONTRACT }.is_tolerated("error body", "an empty body, in which no message");
    Differs { response: |status, _| *status = if *status == 404 { 410 } else { *status }, ..CONTRACT }
        .is_tolerated("unknown job", "status 410");
}

#[test]
fn a_submission_whose_response_is_lost_may_have_left_a_job() {
    let lost = Differs {
        instead: |request| request.line.starts_with("POST").then(|| vec![Step::Close]),
        ..CONTRACT
    };
    let outcome = lost.check(WITH_JOB);
    outcome.has("submit", "not checked  ", "no response");
    outcome.has("clean-up", "DIFFERENT    ", "a job may be left behind");
    assert_eq!(outcome.code, 1);
}

#[test]
fn without_a_response_the_report_is_inconclusive() {
    let down =
        Differs { instead: |_| Some(answer(503, &["retry-after: 0"], r#"{"detail":"secret"}"#)), ..CONTRACT };
    let outcome = down.check(&[]);
    assert_eq!(outcome.code, 1);
    outcome.has("envelope", "not checked  ", "got status 503");
    assert!(
        outcome.out.ends_with("It could not be determined whether the crate will work with this service.\n")
    );

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    // This thread ends with the process of the test.
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let plain = run(&mut command(&url, KEY));
    plain.has("TLS", "DIFFERENT    ", "root_certificates");
    assert_eq!(plain.code, 1);
    assert!(plain.err.contains("no secure connection"), "{}", plain.err);
}

#[test]
fn only_bonds_of_hydrogen_are_evidence_of_bohr() {
    let simulator = Simulator::start().unwrap();
    let preview = |text: &str| serde_json::from_str::<MoleculePreview>(text).unwrap();
    let salt = r#"{"formula":"NaCl","atoms":[{"element":"Na","position":[0,0,0]},{"element":"Cl","position":[0,0,2.36]}]}"#;
    simulator.add_job(SimulatedJob::new("opt").molecule_preview(preview(salt)));
    check(&simulator, &[]).has("positions", "not checked  ", "no molecule with hydrogen");
}

/// The first Ctrl-C ends the calls but not the program, which still has to delete the job.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_no_job_behind() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static CANCELS: AtomicUsize = AtomicUsize::new(0);
    let stubborn = Differs {
        instead: |request| {
            let is_cancel = request.line.ends_with("/cancel");
            let is_first = is_cancel && CANCELS.fetch_add(1, Ordering::Relaxed) == 0;
            is_first.then(|| answer(204, &[], ""))
        },
        ..CONTRACT
    };
    let server = stubborn.start();
    let mut command = command(&server.url(), KEY);
    command.args(["--with-job", PAYLOAD, "--yes"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let is_waiting = || {
        let lines = server.lines();
        let cancel = lines.iter().position(|line| line.ends_with("/cancel"));
        cancel.is_some_and(|cancel| cancel + 1 < lines.len())
    };
    while !is_waiting() {
        assert!(process.try_wait().unwrap().is_none(), "the program ended before it was interrupted");
        thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
    let output = process.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(
        out.contains("not checked  cancel: got no response") && out.contains("as assumed   clean-up"),
        "{out}"
    );
    assert!(server.lines().iter().any(|line| line.starts_with("DELETE")));
}
