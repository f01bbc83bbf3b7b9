//! Tests that a change reports what really happened. The servers here record what they did, whatever they then
//! respond.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use atomiverse::{Client, ClientBuilder, Error, WaitOptions};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::{
    Answer, Message, RawServer, Step, answer, client_of_nobody, job, json as ok_json, lock, page, raw,
    read_message,
};

const JSON: &str = "content-type: application/json";
const HTML: &str = "content-type: text/html; charset=utf-8";
const NOT_FOUND: &str = r#"{"detail":"Job not found"}"#;
const GATEWAY_PAGE: &str = "<html><head><title>Sign in</title></head></html>";

/// How long a client waits for a server that stays silent.
const PATIENCE: Duration = Duration::from_millis(250);

/// `Ok(false)` means that `delete_job_if_exists` found no such job.
type Reported = Result<bool, Error>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Rename,
    Cancel,
    Delete,
    DeleteIfExists,
    Submit,
    SubmitBatch,
}
use Method::{Cancel, Delete, DeleteIfExists, Rename, Submit, SubmitBatch};

const METHODS: [Method; 6] = [Rename, Cancel, Delete, DeleteIfExists, Submit, SubmitBatch];
const CHANGES: [Method; 4] = [Rename, Cancel, Delete, DeleteIfExists];

impl Method {
    fn is_submission(self) -> bool {
        matches!(self, Submit | SubmitBatch)
    }

    fn is_delete(self) -> bool {
        matches!(self, Delete | DeleteIfExists)
    }

    fn call(self, client: &Client) -> Reported {
        let payload = json!({"job_type": "opt"});
        match self {
            Rename => client.rename_job("a", "water").map(|()| true),
            Cancel => client.cancel_job("a").map(|()| true),
            Delete => client.delete_job("a").map(|()| true),
            DeleteIfExists => client.delete_job_if_exists("a"),
            Submit => client.submit_job(&payload).map(|_| true),
            SubmitBatch => client.submit_batch([&payload]).map(|_| true),
        }
    }

    /// Sets a timeout that also bounds submissions, which ignore `attempt_timeout`.
    fn impatient(self, builder: ClientBuilder) -> ClientBuilder {
        builder.timeout(PATIENCE)
    }

    fn success(self) -> Answer {
        match self {
            Rename => ok_json(&job("a").replace("null", r#""water""#)),
            Cancel => answer(202, &[JSON], r#"{"success":true}"#),
            Delete | DeleteIfExists => raw("HTTP/1.1 204 No Content\r\n\r\n"),
            Submit => answer(201, &[JSON], r#"{"job_id":"new","state":"pending"}"#),
            SubmitBatch => ok_json(
                r#"{"total":1,"submitted":1,"failed":0,"cache_hits":0,
                    "jobs":[{"job_id":"new","state":"pending","status":"submitted"}]}"#,
            ),
        }
    }
}

/// How the first attempt fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    NotConnected,
    /// The connection is closed after the request was read.
    Lost,
    Silence,
    Status(u16),
}

/// One row of the table: a first failure, and what may follow it.
#[derive(Debug, Clone, Copy)]
struct First {
    how: How,
    /// The server may have made the change before it failed.
    may_act: bool,
    retries_changes: bool,
    retries_submissions: bool,
    /// If a delete then gets 404, the first attempt deleted the job.
    gone_means_done: bool,
}

#[rustfmt::skip]
const TABLE: [First; 10] = [
    First { how: How::NotConnected, may_act: false, retries_changes: true, retries_submissions: true, gone_means_done: false },
    First { how: How::Lost, may_act: true, retries_changes: true, retries_submissions: false, gone_means_done: true },
    First { how: How::Silence, may_act: true, retries_changes: false, retries_submissions: false, gone_means_done: false },
    First { how: How::Status(408), may_act: true, retries_changes: false, retries_submissions: false, gone_means_done: false },
    First { how: How::Status(425), may_act: false, retries_changes: true, retries_submissions: false, gone_means_done: false },
    First { how: How::Status(429), may_act: false, retries_changes: true, retries_submissions: true, gone_means_done: false },
    First { how: How::Status(500), may_act: true, retries_changes: true, retries_submissions: false, gone_means_done: true },
    First { how: How::Status(502), may_act: true, retries_changes: true, retries_submissions: false, gone_means_done: true },
    First { how: How::Status(503), may_act: true, retries_changes: true, retries_submissions: false, gone_means_done: false },
    First { how: How::Status(504), may_act: true, retries_changes: false, retries_submissions: false, gone_means_done: false },
];

/// The responses to the attempts after the first.
const SECOND: [u16; 5] = [200, 404, 409, 410, 422];

impl First {
    fn is_retried(&self, method: Method) -> bool {
        if method.is_submission() { self.retries_submissions } else { self.retries_changes }
    }

    fn response(&self) -> Answer {
        match self.how {
            How::Lost => vec![Step::Close],
            How::Silence => vec![Step::Silence],
            How::Status(status) => answer(status, &[JSON], r#"{"detail":"first attempt"}"#),
            How::NotConnected => unreachable!("a server that was not reached sends nothing"),
        }
    }
}

/// What the service really did, and the job that it has.
#[derive(Debug)]
struct Truth {
    method: Method,
    exists: bool,
    name: &'static str,
    state: &'static str,
    submitted: usize,
    /// Whether any attempt changed anything.
    acted: bool,
    /// The number of requests that ask for a change.
    attempts: usize,
}

impl Truth {
    fn act(&mut self) {
        self.acted = true;
        match self.method {
            Rename => self.name = "water",
            Cancel => self.state = "cancelled",
            Delete | DeleteIfExists => self.exists = false,
            Submit | SubmitBatch => self.submitted += 1,
        }
    }

    fn is_done(&self) -> bool {
        match self.method {
            Rename => self.name == "water",
            Cancel => self.state == "cancelled",
            Delete | DeleteIfExists => !self.exists,
            Submit | SubmitBatch => self.submitted == 1,
        }
    }

    /// Responds to a read with the truth.
    fn read(&self, request: &Message) -> Answer {
        if request.line.contains("/jobs?") {
            return ok_json(&page(if self.exists { &["a"] } else { &[] }, false, None));
        }
        if !self.exists {
            return answer(404, &[JSON], NOT_FOUND);
        }
        let name = format!("{:?}", self.name);
        ok_json(&job("a").replace("null", &name).replace(r#""done""#, &format!("{:?}", self.state)))
    }
}

/// One case: a method, its first failure, what that attempt really did, and the second response.
#[derive(Debug, Clone, Copy)]
struct Cell {
    method: Method,
    first: First,
    acted: bool,
    existed: bool,
    second: u16,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.method, self.first.how)?;
        f.write_str(if self.acted { " (which did it)" } else { " (which did nothing)" })?;
        f.write_str(if self.existed { "" } else { " of a job that never existed" })?;
        if self.first.is_retried(self.method) { write!(f, ", then {}", self.second) } else { Ok(()) }
    }
}

/// Returns every case of the method that can happen.
fn cells(method: Method) -> Vec<Cell> {
    let mut cells = Vec::new();
    for first in TABLE {
        // Without a retry, the second response does not matter.
        let second = if first.is_retried(method) { &SECOND[..] } else { &SECOND[..1] };
        for &second in second {
            for (acted, existed) in [(false, true), (true, true), (false, false)] {
                let gone = matches!(second, 404 | 410);
                let possible = match (method.is_delete(), acted, existed) {
                    (_, true, _) => first.may_act,
                    (true, false, true) => !gone,
                    (true, false, false) => gone || second == 409,
                    (false, false, existed) => existed,
                };
                if possible {
                    cells.push(Cell { method, first, acted, existed, second });
                }
            }
        }
    }
    cells
}

impl Cell {
    /// Returns how many requests for the change reach the server, and what the method reports.
    fn expected(&self) -> (usize, String) {
        let Cell { method, first, acted, existed, second } = *self;
        let failed = |what: &str| {
            if first.may_act { format!("{what}, may have been processed") } else { what.to_owned() }
        };
        if !first.is_retried(method) {
            return match first.how {
                How::Status(status) => (1, failed(&status.to_string())),
                How::Silence => (1, failed("timeout")),
                How::Lost => (1, failed("no response")),
                How::NotConnected => (0, failed("no response")),
            };
        }
        let is_gone = matches!(second, 404 | 410) || second == 409 && (acted || !existed);
        let outcome = match method {
            _ if second == 200 => "done".to_owned(),
            Delete | DeleteIfExists if is_gone && first.gone_means_done => "done".to_owned(),
            DeleteIfExists if is_gone => "gone".to_owned(),
            Delete if is_gone => failed("not found"),
            Cancel if second == 409 && acted => "done".to_owned(),
            _ => match second {
                404 | 410 if method.is_submission() => failed(&second.to_string()),
                404 | 410 => failed("not found"),
                409 => failed("conflict"),
                _ => failed("validation"),
            },
        };
        (if first.how == How::NotConnected { 1 } else { 2 }, outcome)
    }

    /// Returns how the report differs from the table or from the truth.
    fn differences(&self) -> Vec<String> {
        let (truth, reported) = (0..20)
            .find_map(|_| self.run())
            .unwrap_or_else(|| panic!("{self}: the server listened before each first attempt"));
        let truth = lock(&truth);
        let (requests, outcome) = self.expected();
        let mut differences = Vec::new();
        let shown = shown(&reported);
        if shown != outcome {
            differences.push(format!("reported {shown:?}, expected {outcome:?}"));
        }
        if truth.attempts != requests {
            differences.push(format!("{} requests, expected {requests}", truth.attempts));
        }
        if truth.submitted > 1 {
            differences.push(format!("{} jobs were created", truth.submitted));
        }
        match &reported {
            Ok(true) if !truth.is_done() => differences.push("reported as done, but it is not".to_owned()),
            Ok(false) if truth.exists => differences.push("reported as gone, but it exists".to_owned()),
            Ok(_) => {}
            Err(error) => {
                if truth.acted && !error.may_have_been_processed() {
                    differences.push(format!("it was done, but the error does not allow for it: {error}"));
                }
                differences.extend(contradictions(self.method, error));
            }
        }
        differences
    }

    /// Makes the call once. Returns `None` if the intended failure did not occur.
    fn run(&self) -> Option<(Arc<Mutex<Truth>>, Reported)> {
        let Cell { method, first, acted, existed, second } = *self;
        let state = if method == Cancel || method.is_delete() && second == 409 { "running" } else { "done" };
        let truth = Arc::new(Mutex::new(Truth {
            method,
            exists: existed,
            name: "untitled",
            state,
            submitted: 0,
            acted: false,
            attempts: 0,
        }));
        let kept = Arc::clone(&truth);
        let server = RawServer::start(move |_, request| {
            let mut truth = lock(&kept);
            if request.line.starts_with("GET ") {
                return truth.read(request);
            }
            truth.attempts += 1;
            if truth.attempts == 1 && first.how != How::NotConnected {
                if acted {
                    truth.act();
                }
                return first.response();
            }
            match second {
                200 => {
                    truth.act();
                    method.success()
                }
                404 | 410 => {
                    // Someone else has deleted the job in the meantime.
                    truth.exists = false;
                    answer(second, &[JSON], NOT_FOUND)
                }
                status => answer(status, &[JSON], r#"{"detail":"second attempt"}"#),
            }
        });
        let reported = match first.how {
            How::NotConnected => call_unreachable_at_first(method, &server)?,
            How::Silence => method.call(&method.impatient(server.client_builder()).build().unwrap()),
            _ => method.call(&server.client()),
        };
        Some((truth, reported))
    }
}

/// Describes an outcome in words that can be compared.
fn shown(reported: &Reported) -> String {
    let error = match reported {
        Ok(true) => return "done".to_owned(),
        Ok(false) => return "gone".to_owned(),
        Err(error) => error,
    };
    let kinds = [
        (error.is_not_found(), "not found"),
        (error.is_conflict(), "conflict"),
        (error.is_validation(), "validation"),
    ];
    let kinds: Vec<&str> = kinds.iter().filter(|(is, _)| *is).map(|(_, kind)| *kind).collect();
    let what = match error.status() {
        _ if !kinds.is_empty() => kinds.join(" and "),
        Some(status) => status.to_string(),
        None if error.is_timeout() => "timeout".to_owned(),
        None => "no response".to_owned(),
    };
    if error.may_have_been_processed() { format!("{what}, may have been processed") } else { what }
}

/// Returns how the parts of an error contradict each other.
fn contradictions(method: Method, error: &Error) -> Vec<String> {
    let processed = error.may_have_been_processed();
    let mut contradictions = Vec::new();
    if error.may_have_been_submitted() != (method.is_submission() && processed) {
        contradictions.push(format!("may_have_been_submitted is {}", error.may_have_been_submitted()));
    }
    if processed && !error.to_string().contains("may have been") {
        contradictions.push(format!("the text does not say that it may have been processed: {error}"));
    }
    contradictions
}

/// Makes the call to an address that refuses connections until after the first attempt. Returns `None` if the
/// first attempt came too late to be refused.
fn call_unreachable_at_first(method: Method, server: &RawServer) -> Option<Reported> {
    let pause = Duration::from_millis(80);
    // A socket that is bound but does not listen refuses connections, and keeps its port from other tests.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let behind: SocketAddr = server.url().trim_start_matches("http://").parse().unwrap();
    let client =
        server.client_builder().base_url(format!("http://{address}")).max_retries(5).build().unwrap();
    let started = Instant::now();
    thread::spawn(move || {
        // A refused connection cannot be observed here, so a short time is given for it.
        thread::sleep(Duration::from_millis(20));
        socket.listen(16).unwrap();
        for stream in TcpListener::from(socket).incoming().flatten() {
            let other = TcpStream::connect(behind).unwrap();
            let (stream_too, other_too) = (stream.try_clone().unwrap(), other.try_clone().unwrap());
            thread::spawn(move || forward(&stream, &other));
            thread::spawn(move || forward(&other_too, &stream_too));
        }
    });
    let reported = method.call(&client);
    // A call that took less than a pause was not retried.
    (started.elapsed() > pause / 2).then_some(reported)
}

fn forward(mut from: &TcpStream, mut to: &TcpStream) {
    // Either side may close its connection at any time.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

#[track_caller]
fn holds_for(method: Method) {
    let cells = cells(method);
    let wrong: Vec<String> = cells
        .iter()
        .map(|cell| (cell, cell.differences()))
        .filter(|(_, differences)| !differences.is_empty())
        .map(|(cell, differences)| format!("{cell}: {}", differences.join("; ")))
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases are wrong:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
}

// Without `dns-cache`, nothing shows whether a request without a body was sent.
/// Makes the call with a single attempt, on a server that always sends this response.
fn single_attempt(method: Method, response: Answer) -> (RawServer, Reported) {
    let server = RawServer::script(vec![response]);
    let client = method.impatient(server.client_builder()).max_retries(0).build().unwrap();
    let reported = method.call(&client);
    (server, reported)
}

#[test]
fn an_error_of_a_change_says_if_it_may_have_been_processed() {
    let mut failures: Vec<(String, Answer, bool)> = vec![
        ("closed".to_owned(), vec![Step::Close], true),
        ("reset".to_owned(), vec![Step::Reset], true),
        ("silence".to_owned(), vec![Step::Silence], true),
        ("cut status line".to_owned(), [raw("HTTP/1.1 2"), vec![Step::Close]].concat(), true),
        ("cut head".to_owned(), [raw("HTTP/1.1 200 OK\r\ncontent-"), vec![Step::Close]].concat(), true),
        ("another protocol".to_owned(), raw("SSH-2.0-OpenSSH_9.7\r\n\r\n"), true),
        ("broken status line".to_owned(), raw("HTTP/1.1 two OK\r\n\r\n"), true),
        ("HTML page with 200".to_owned(), answer(200, &[HTML], GATEWAY_PAGE), true),
    ];
    for status in [408, 500, 501, 502, 503, 504, 507, 520, 522, 524, 529] {
        failures.push((status.to_string(), answer(status, &[], ""), true));
    }
    for status in [400, 401, 402, 403, 404, 405, 409, 410, 413, 415, 422, 425, 429, 431, 451] {
        failures.push((status.to_string(), answer(status, &[JSON], "{}"), false));
    }
    let mut wrong = Vec::new();
    for (name, response, processed) in failures {
        for method in METHODS {
            let (_server, reported) = single_attempt(method, response.clone());
            match reported {
                Ok(_) => wrong.push(format!("{method:?}, {name}: reported as done")),
                Err(error) if error.may_have_been_processed() != processed => {
                    wrong.push(format!("{method:?}, {name}: not {processed}: {error}"));
                }
                Err(error) => wrong.extend(
                    contradictions(method, &error).iter().map(|what| format!("{method:?}, {name}: {what}")),
                ),
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_change_that_timed_out_while_connecting_has_not_been_processed() {
    let hole = crate::support::BlackHole::new();
    let builder = hole.client_builder().connect_timeout(Duration::from_millis(50));
    let client = builder.max_retries(0).build().unwrap();
    for method in METHODS {
        let error = method.call(&client).unwrap_err();
        assert!(error.is_timeout(), "{method:?}: {error}");
        assert!(!error.may_have_been_processed() && !error.may_have_been_submitted(), "{method:?}: {error}");
    }
}

/// Starts a server that responds with these statuses in turn. `None` closes the connection.
fn scripted(statuses: &[Option<u16>]) -> (RawServer, Client) {
    let statuses = statuses.to_vec();
    let server = RawServer::start(move |n, request| match statuses.get(n) {
        Some(Some(status)) => answer(*status, &[JSON], NOT_FOUND),
        Some(None) => vec![Step::Close],
        // A delete that gets 404 loads the job, and may verify the base URL.
        None if request.line.contains("limit=") => ok_json(&page(&[], false, None)),
        None => answer(404, &[JSON], NOT_FOUND),
    });
    let client = server.client_builder().max_retries(2).build().unwrap();
    (server, client)
}

#[test]
fn may_have_been_processed_takes_every_earlier_attempt_into_account() {
    for (statuses, processed) in [
        ([Some(429), Some(429), Some(429)], false),
        ([Some(425), Some(429), Some(422)], false),
        ([Some(500), Some(429), Some(429)], true),
        ([Some(429), Some(503), Some(422)], true),
        ([None, Some(429), Some(403)], true),
        ([Some(429), Some(429), Some(502)], true),
    ] {
        for method in CHANGES {
            let (server, client) = scripted(&statuses);
            let error = method.call(&client).unwrap_err();
            assert_eq!(error.status(), statuses[2], "{method:?} {statuses:?}: {error}");
            assert_eq!(server.requests().len(), 3, "{method:?} {statuses:?}");
            assert_eq!(error.may_have_been_processed(), processed, "{method:?} {statuses:?}: {error}");
            assert_eq!(contradictions(method, &error), [""; 0], "{method:?} {statuses:?}");
        }
    }
}

#[test]
fn a_delete_that_gets_404_succeeds_only_if_an_earlier_attempt_may_have_deleted_the_job() {
    for (statuses, outcome) in [
        ([Some(429), Some(429), Some(404)], "not found"),
        ([Some(425), Some(429), Some(410)], "not found"),
        ([Some(503), Some(503), Some(404)], "not found, may have been processed"),
        ([Some(503), Some(429), Some(410)], "not found, may have been processed"),
        ([Some(500), Some(503), Some(404)], "done"),
        ([Some(503), Some(502), Some(410)], "done"),
        ([None, Some(429), Some(404)], "done"),
    ] {
        let (_server, client) = scripted(&statuses);
        assert_eq!(shown(&Delete.call(&client)), outcome, "{statuses:?}");
    }
}

#[test]
fn a_job_with_status_410_is_not_found() {
    for method in [Rename, Cancel, Delete] {
        let error = method.call(&scripted(&[Some(410)]).1).unwrap_err();
        assert!(error.is_not_found(), "{method:?}: {error}");
    }
    assert!(scripted(&[Some(410)]).1.get_job("a").unwrap_err().is_not_found());
    let server = RawServer::start(|_, request| match request.line.as_str() {
        "DELETE /api/v1/jobs/a" | "GET /api/v1/jobs/a" => answer(410, &[JSON], NOT_FOUND),
        _ => ok_json(&page(&[], false, None)),
    });
    assert!(!server.client().delete_job_if_exists("a").unwrap());
}

#[test]
fn a_conflict_about_a_missing_job_is_not_found() {
    for reload in [404, 410] {
        let start = || {
            RawServer::start(move |_, request| match request.line.as_str() {
                "DELETE /api/v1/jobs/a" => answer(409, &[JSON], r#"{"detail":"Job is being removed"}"#),
                "GET /api/v1/jobs/a" => answer(reload, &[JSON], NOT_FOUND),
                _ => ok_json(&page(&[], false, None)),
            })
        };
        assert_eq!(shown(&Delete.call(&start().client())), "not found", "{reload}");
        assert_eq!(shown(&DeleteIfExists.call(&start().client())), "gone", "{reload}");
    }
}

/// Starts a server that responds to a cancel with this status, and to a reload with the job in this state.
fn refuses_to_cancel(status: u16, state: &'static str) -> RawServer {
    RawServer::start(move |_, request| {
        if request.line.starts_with("GET ") {
            return ok_json(&job("a").replace(r#""done""#, &format!("{state:?}")));
        }
        answer(status, &[JSON], r#"{"detail":"cannot be cancelled now"}"#)
    })
}

#[test]
fn a_cancel_that_is_refused_because_the_job_has_finished_is_not_an_error() {
    for status in [400, 409] {
        for state in ["done", "failed", "cancelled"] {
            let server = refuses_to_cancel(status, state);
            server.client().cancel_job("a").unwrap_or_else(|error| panic!("{status} {state}: {error}"));
            assert_eq!(server.lines(), ["POST /api/v1/jobs/a/cancel", "GET /api/v1/jobs/a"]);
        }
    }
}

#[test]
fn a_cancel_that_is_refused_while_the_job_runs_is_an_error() {
    for status in [400, 409] {
        for state in ["pending", "running", "paused"] {
            let server = refuses_to_cancel(status, state);
            let error = server.client().cancel_job("a").unwrap_err();
            assert!(error.to_string().contains("cannot be cancelled now"), "{status} {state}: {error}");
            assert!(!error.may_have_been_processed(), "{status} {state}: {error}");
            if status == 409 {
                assert!(error.is_conflict(), "{state}: {error}");
            }
            assert_eq!(server.lines(), ["POST /api/v1/jobs/a/cancel", "GET /api/v1/jobs/a"]);
        }
    }
}

#[test]
fn a_cancel_whose_reload_fails_is_still_a_conflict() {
    let server = RawServer::script(vec![answer(409, &[JSON], "{}"), answer(403, &[JSON], "{}")]);
    let error = server.client().cancel_job("a").unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert_eq!(server.requests().len(), 2);
}

/// `delete_job_if_exists` is left out because it sends the same request as `delete_job`.
const WITH_BODY: [Method; 3] = [Rename, Cancel, Delete];

#[test]
fn an_html_page_in_place_of_a_response_is_an_error() {
    for headers in [&[HTML][..], &[]] {
        for method in WITH_BODY {
            let (_server, reported) = single_attempt(method, answer(200, headers, GATEWAY_PAGE));
            let Err(error) = reported else { panic!("{method:?} {headers:?}: reported as done") };
            assert!(error.may_have_been_processed(), "{method:?} {headers:?}: {error}");
            assert!(error.to_string().contains("Sign in"), "{method:?} {headers:?}: {error}");
        }
    }
}

#[test]
fn a_response_that_is_cut_short_leaves_the_change_uncertain() {
    for start in ["", r#"{"success": "#] {
        let cut = [raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{start}")), vec![Step::Close]];
        for method in WITH_BODY {
            let (_server, reported) = single_attempt(method, cut.concat());
            let Err(error) = reported else { panic!("{method:?} {start:?}: reported as done") };
            assert!(error.may_have_been_processed(), "{method:?} {start:?}: {error}");
        }
    }
}

#[test]
fn a_response_that_does_not_deny_the_change_is_a_success() {
    for response in [
        raw("HTTP/1.1 204 No Content\r\n\r\n"),
        answer(200, &[], ""),
        answer(202, &[JSON], ""),
        answer(200, &[JSON], "null"),
        answer(200, &[JSON], "{}"),
        answer(200, &["content-type: text/plain"], "OK"),
        answer(200, &[JSON], r#"{"success":true}"#),
        answer(200, &[JSON], r#"{"ok":true,"message":"accepted"}"#),
        answer(200, &[JSON], r#"{"deleted":true,"job_id":"a"}"#),
    ] {
        for method in WITH_BODY {
            let (server, reported) = single_attempt(method, response.clone());
            assert_eq!(shown(&reported), "done", "{method:?} {response:?}");
            assert_eq!(server.requests().len(), 1, "{method:?} {response:?}");
        }
    }
}

/// Returns the outcome of a rename to `name` whose response shows the name `answered`.
fn rename_answered_with(name: &str, answered: &str) -> Result<(), Error> {
    let server = RawServer::script(vec![ok_json(&job("a").replace("null", &format!("{answered:?}")))]);
    server.client().rename_job("a", name)
}

#[test]
fn a_rename_whose_response_has_another_name_is_an_error() {
    let error = rename_answered_with("water", "untitled").expect_err("the job has another name");
    assert!(error.to_string().contains("untitled"), "{error}");
    rename_answered_with("water", "Water").expect_err("the job has another name");
    rename_answered_with("heavy water", "heavywater").expect_err("the job has another name");
}

#[test]
fn a_rename_may_trim_the_name() {
    for (name, answered) in [("water", "water"), (" water\t", "water"), ("water", " water ")] {
        rename_answered_with(name, answered).unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
}

#[test]
fn the_response_to_a_cancel_may_be_the_job() {
    for state in ["running", "cancelled", "done"] {
        let body = job("a").replace(r#""done""#, &format!("{state:?}"));
        let (_server, reported) = single_attempt(Cancel, ok_json(&body));
        assert_eq!(shown(&reported), "done", "{state}");
    }
}

#[test]
fn a_delete_whose_response_is_the_job_is_verified() {
    let start = |deletes: bool| {
        RawServer::start(move |_, request| match request.line.starts_with("GET ") {
            true if deletes => answer(404, &[JSON], NOT_FOUND),
            _ => ok_json(&job("a")),
        })
    };
    for method in [Delete, DeleteIfExists] {
        for deletes in [true, false] {
            let server = start(deletes);
            let reported = method.call(&server.client());
            assert_eq!(reported.is_ok_and(|deleted| deleted), deletes, "{method:?}");
            assert_eq!(server.lines(), ["DELETE /api/v1/jobs/a", "GET /api/v1/jobs/a"], "{method:?}");
        }
    }
}

#[test]
fn a_submission_is_not_retried_after_503() {
    for headers in [&[][..], &["retry-after: 0"], &["retry-after: 1"]] {
        for method in [Submit, SubmitBatch] {
            let server = RawServer::script(vec![answer(503, headers, ""), method.success()]);
            let reported = method.call(&server.client());
            assert_eq!(server.requests().len(), 1, "{method:?} {headers:?}");
            let error = reported.unwrap_err();
            assert!(error.may_have_been_submitted(), "{method:?} {headers:?}: {error}");
            assert!(error.may_have_been_processed(), "{method:?} {headers:?}: {error}");
        }
    }
}

#[test]
fn a_submission_that_is_retried_after_429_keeps_its_idempotency_key() {
    for method in [Submit, SubmitBatch] {
        let server = RawServer::start(move |n, _| match n % 3 {
            2 => method.success(),
            _ => answer(429, &[], ""),
        });
        let client = server.client();
        method.call(&client).unwrap();
        method.call(&client).unwrap();
        let requests = server.requests();
        let keys: Vec<&str> = requests.iter().map(|request| request.header("idempotency-key")).collect();
        assert_eq!(keys.len(), 6, "{method:?}");
        assert!(keys.iter().all(|key| !key.is_empty()), "{method:?}: {keys:?}");
        assert!(keys[0] == keys[1] && keys[1] == keys[2], "{method:?}: {keys:?}");
        assert!(keys[3] == keys[4] && keys[4] == keys[5], "{method:?}: {keys:?}");
        assert_ne!(keys[0], keys[3], "{method:?}");
    }
}

#[test]
fn idempotency_keys_differ_between_clients() {
    let server = RawServer::script(vec![Submit.success()]);
    for _ in 0..2 {
        Submit.call(&server.client()).unwrap();
    }
    let requests = server.requests();
    assert!(!requests[0].header("idempotency-key").is_empty());
    assert_ne!(requests[0].header("idempotency-key"), requests[1].header("idempotency-key"));
}

/// With the same key, a server could respond to the second request with the jobs of the first.
#[test]
fn each_request_of_a_long_batch_has_its_own_idempotency_key() {
    let server = RawServer::start(|_, request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let n = body["jobs"].as_array().unwrap().len();
        let entry = json!({"job_id": "new", "state": "pending", "status": "submitted"});
        let jobs = vec![entry; n];
        ok_json(&json!({"total": n, "submitted": n, "failed": 0, "cache_hits": 0, "jobs": jobs}).to_string())
    });
    let payloads = vec![json!({"job_type": "opt"}); 1001];
    assert_eq!(server.client().submit_batch(&payloads).unwrap().jobs.len(), 1001);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(!requests[0].header("idempotency-key").is_empty());
    assert_ne!(requests[0].header("idempotency-key"), requests[1].header("idempotency-key"));
}

#[test]
fn only_submissions_carry_an_idempotency_key() {
    let server = RawServer::start(|_, request| match request.line.as_str() {
        "POST /api/v1/jobs" => Submit.success(),
        "GET /api/v1/jobs/a" => ok_json(&job("a")),
        line if line.starts_with("GET ") => ok_json(&page(&["a"], false, None)),
        _ => answer(200, &[], ""),
    });
    let client = server.client();
    Submit.call(&client).unwrap();
    client.list_jobs().send().unwrap();
    client.get_job("a").unwrap();
    client.rename_job("a", "water").unwrap();
    client.cancel_job("a").unwrap();
    client.delete_job("a").unwrap();
    let requests = server.requests();
    let carriers: Vec<&str> = requests
        .iter()
        .filter(|request| !request.header("idempotency-key").is_empty())
        .map(|request| request.line.as_str())
        .collect();
    assert_eq!(carriers, ["POST /api/v1/jobs"]);
}

#[test]
fn no_job_is_reported_as_gone_if_the_base_url_cannot_be_verified() {
    for (name, verification) in [
        ("401", answer(401, &[JSON], "{}")),
        ("403", answer(403, &[JSON], "{}")),
        ("404", answer(404, &[JSON], NOT_FOUND)),
        ("503", answer(503, &[], "")),
        ("HTML", answer(200, &[HTML], GATEWAY_PAGE)),
        ("not a page of jobs", answer(200, &[JSON], "{}")),
        ("closed", vec![Step::Close]),
    ] {
        let server = RawServer::start(move |_, request| match request.line.as_str() {
            "DELETE /api/v1/jobs/a" => answer(404, &[JSON], NOT_FOUND),
            _ => verification.clone(),
        });
        let reported = server.client().delete_job_if_exists("a");
        assert!(reported.is_err(), "{name}: reported as {reported:?}");
    }
}

#[test]
fn a_base_url_that_has_worked_before_is_not_verified() {
    let server = RawServer::start(|_, request| match request.line.as_str() {
        "GET /api/v1/jobs/b" => ok_json(&job("b")),
        _ => answer(404, &[JSON], NOT_FOUND),
    });
    let client = server.client();
    client.get_job("b").unwrap();
    assert!(!client.delete_job_if_exists("a").unwrap());
    assert_eq!(server.lines(), ["GET /api/v1/jobs/b", "DELETE /api/v1/jobs/a", "GET /api/v1/jobs/a"]);
}

/// Starts a server that responds to reads like the service, and to deletes with `before`, then the page of a gateway.
fn gateway(headers: &'static [&'static str], before: Vec<Answer>) -> RawServer {
    let mut before = before.into_iter();
    RawServer::start(move |_, request| match request.line.as_str() {
        "DELETE /api/v1/jobs/a" => before.next().unwrap_or_else(|| {
            answer(404, headers, "\r\n<html><head><title>404 Not Found</title></head></html>")
        }),
        "GET /api/v1/jobs/a" => ok_json(&job("a")),
        _ => ok_json(&page(&["a"], false, None)),
    })
}

#[test]
fn a_404_page_of_a_gateway_does_not_mean_that_a_job_is_gone() {
    for headers in [&[HTML][..], &[]] {
        let server = gateway(headers, Vec::new());
        let client = server.client();
        let reported = client.delete_job_if_exists("a");
        assert!(reported.is_err(), "{headers:?}: reported as {reported:?}");
        client.get_job("a").unwrap();
        let reported = client.delete_job_if_exists("a");
        assert!(reported.is_err(), "{headers:?}, after a successful response: reported as {reported:?}");
    }
}

#[test]
fn a_404_page_of_a_gateway_does_not_mean_that_an_earlier_attempt_deleted_the_job() {
    for method in [Delete, DeleteIfExists] {
        let server = gateway(&[HTML], vec![vec![Step::Close]]);
        let Err(error) = method.call(&server.client()) else { panic!("{method:?}: reported as done") };
        assert!(error.may_have_been_processed(), "{method:?}: {error}");
    }
}

#[test]
fn an_identifier_with_stray_characters_is_refused_before_any_request() {
    type Taker = fn(&Client, &str) -> Result<(), Error>;
    const TAKERS: [(&str, Taker); 8] = [
        ("get_job", |client, id| client.get_job(id).map(drop)),
        ("rename_job", |client, id| client.rename_job(id, "water")),
        ("cancel_job", |client, id| client.cancel_job(id)),
        ("delete_job", |client, id| client.delete_job(id)),
        ("delete_job_if_exists", |client, id| client.delete_job_if_exists(id).map(drop)),
        ("job", |client, id| client.job(id).map(drop)),
        ("job_dashboard_url", |client, id| client.job_dashboard_url(id).map(drop)),
        ("wait_for_job", |client, id| {
            client.wait_for_job(id, &WaitOptions::new().timeout(PATIENCE)).map(drop)
        }),
    ];
    let server = RawServer::script(vec![answer(404, &[JSON], NOT_FOUND)]);
    let client = server.client_builder().max_retries(0).build().unwrap();
    let mut wrong = Vec::new();
    for (id, shown) in [
        ("abc\n", r#""abc\n""#),
        ("abc\r\n", r#""abc\r\n""#),
        ("\nabc", r#""\nabc""#),
        ("abc\t", r#""abc\t""#),
        (" abc", r#"" abc""#),
        ("abc ", r#""abc ""#),
        (" ", r#"" ""#),
        ("a\nb", r#""a\nb""#),
        ("a\0b", r#""a\0b""#),
        ("a\u{7}b", r#""a\u{7}b""#),
        ("\u{1b}[31mabc", r#""\u{1b}[31mabc""#),
        ("a\u{7f}", r#""a\u{7f}""#),
        ("a\u{85}b", r#""a\u{85}b""#),
        ("abc\u{a0}", r#""abc\u{a0}""#),
        ("\u{3000}abc", r#""\u{3000}abc""#),
    ] {
        for (name, take) in TAKERS {
            match take(&client, id) {
                Ok(()) => wrong.push(format!("{name} {shown}: accepted")),
                Err(error) if !error.to_string().contains(shown) => {
                    wrong.push(format!("{name} {shown}: not shown: {error}"));
                }
                Err(error) if error.attempts() > 0 => wrong.push(format!("{name} {shown}: {error}")),
                Err(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(server.requests().len(), 0);
}

/// The service decides whether an identifier may contain whitespace.
#[test]
fn an_identifier_with_an_inner_space_is_sent() {
    let server = RawServer::script(vec![answer(200, &[], "")]);
    server.client().cancel_job("a b").unwrap();
    assert_eq!(server.lines(), ["POST /api/v1/jobs/a%20b/cancel"]);
}

#[test]
fn a_change_is_not_retried_after_a_gateway_timeout() {
    const PAGE: &str = "<html><head><title>504 Gateway Time-out</title></head></html>";
    for method in METHODS {
        let server = RawServer::script(vec![answer(504, &[HTML], PAGE), method.success()]);
        let reported = method.call(&server.client());
        assert_eq!(server.requests().len(), 1, "{method:?}");
        let error = reported.unwrap_err();
        assert_eq!(error.status(), Some(504), "{method:?}: {error}");
        assert!(error.may_have_been_processed(), "{method:?}: {error}");
    }
}

#[test]
fn a_404_that_is_not_json_does_not_mean_that_a_job_is_gone() {
    for body in ["404 page not found", "default backend - 404", "<?xml version='1.0'?><Error/>"] {
        let server = RawServer::start(move |_, request| match request.line.starts_with("GET") {
            true => answer(200, &[JSON], r#"{"jobs":[],"has_more":false,"next_cursor":null}"#),
            false => answer(404, &[], body),
        });
        let client = server.client();
        client.list_jobs().send().unwrap();
        let error = client.delete_job_if_exists("a").unwrap_err();
        assert!(error.status() == Some(404) && !error.is_not_found(), "{error}");
        assert!(error.to_string().contains("a proxy or gateway may have sent it"), "{error}");
    }
}

#[test]
fn an_error_does_not_say_that_nothing_was_sent_after_an_earlier_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // The server reads one request and then stops listening.
    let server = thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        read_message(&mut io::BufReader::new(&stream)).unwrap();
    });
    let pause = Duration::from_millis(50);
    let client = Client::builder().api_key("key").base_url(url).build().unwrap();
    let error = client.rename_job("a", "water").unwrap_err();
    server.join().unwrap();
    let text = error.to_string();
    assert!(text.contains("no connection") && !text.contains("nothing was sent"), "{text}");
    assert!(error.may_have_been_processed(), "{text}");
}

#[test]
fn an_error_names_the_identifier_that_was_refused() {
    assert_eq!(client_of_nobody().get_job(" a").unwrap_err().job_id().unwrap(), " a");
}

#[test]
fn a_request_that_cannot_be_built_was_not_processed() {
    let server = RawServer::script(vec![answer(204, &[], "")]);
    let error = server.client().cancel_job("a".repeat(70_000)).unwrap_err();
    assert!(!error.may_have_been_processed() && error.attempts() == 1, "{error}");
    assert!(error.to_string().contains("the request cannot be sent"), "{error}");
    assert_eq!(server.requests().len(), 0);
}
