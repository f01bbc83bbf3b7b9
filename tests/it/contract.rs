//! Tests the contract as users meet it: what passes through it, and what it decides.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use atomiverse::simulator::SimulatedJob;
use atomiverse::{Client, Contract, Error, JobId, Operation, Request, Response, Result};
use serde_json::{Value, json};

use crate::support::{KEY, Message, RawServer, answer, job, json as ok, lines, lock, page, secs, start};

/// A contract of two functions.
struct Of<Q, S>(Q, S);

impl<Q, S> Contract for Of<Q, S>
where
    Q: Fn(Operation<'_>) -> Request + Send + Sync + 'static,
    S: Fn(Operation<'_>, &mut Response) + Send + Sync + 'static,
{
    fn request(&self, operation: Operation<'_>) -> Request {
        (self.0)(operation)
    }

    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        (self.1)(operation, response);
    }
}

fn unchanged(_: Operation<'_>, _: &mut Response) {}

/// Returns whether the count was not zero yet, and counts down.
fn strikes(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

type Call = (&'static str, fn(&Client) -> Result<()>);

/// One call for each operation, by the name of the operation.
const CALLS: [Call; 8] = [
    ("list jobs", |client| client.list_jobs().send().map(drop)),
    ("get job", |client| client.get_job("9f2c").map(drop)),
    ("rename job", |client| client.rename_job("9f2c", "water")),
    ("cancel job", |client| client.cancel_job("9f2c")),
    ("delete job", |client| client.delete_job("9f2c")),
    ("submit job", |client| client.submit_job(&json!({})).map(drop)),
    ("submit batch", |client| client.submit_batch([json!({})]).map(drop)),
    ("request", |client| client.send(Request::new("GET", ["x"])).map(drop)),
];

/// The body of a success for each operation.
fn success(request: &Message) -> String {
    let (method, path) = request.line.split_once(' ').unwrap();
    let batch = r#"{"total":1,"submitted":1,"failed":0,"cache_hits":0,"jobs":[{"job_id":"9f2c","status":"submitted"}]}"#;
    match (method, path.trim_start_matches("/api/v1")) {
        ("GET", "/jobs?limit=50") => page(&["9f2c"], false, None),
        ("GET", "/jobs/9f2c") | ("POST", "/jobs") => job("9f2c"),
        ("POST", "/jobs/batch") => batch.to_owned(),
        _ => String::new(),
    }
}

#[test]
fn each_operation_passes_through_the_contract_once_for_each_attempt_on_the_calling_thread() {
    type Seen = (&'static str, Option<JobId>, Option<u16>, ThreadId);
    let server = RawServer::start(|n, request| match n % 2 {
        0 => answer(429, &[], ""),
        _ => ok(&success(request)),
    });
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let see = |seen: &Arc<Mutex<Vec<Seen>>>, operation: Operation<'_>, status| {
        lock(seen).push((operation.name(), operation.job_id().cloned(), status, thread::current().id()));
    };
    let (requests, responses, attempts) = (seen.clone(), seen.clone(), seen.clone());
    let contract = Of(
        move |operation: Operation<'_>| {
            see(&requests, operation, None);
            Request::assumed(operation)
        },
        move |operation: Operation<'_>, response: &mut Response| {
            see(&responses, operation, Some(response.status));
        },
    );
    let client = server.client_builder().contract(contract);
    let client = client.on_attempt(move |attempt| see(&attempts, attempt.operation, attempt.status)).build();
    let client = client.unwrap();
    for (name, call) in CALLS {
        call(&client).unwrap_or_else(|error| panic!("{name}: {error}"));
        let id = ["get job", "rename job", "cancel job", "delete job"].contains(&name).then(|| "9f2c".into());
        let expected: Vec<Seen> = [None, Some(429), Some(429), None, Some(200), Some(200)]
            .map(|status| (name, id.clone(), status, thread::current().id()))
            .into();
        assert_eq!(std::mem::take(&mut *lock(&seen)), expected);
    }
}

#[test]
fn a_panic_in_a_contract_reaches_the_caller_and_the_client_still_works() {
    for in_request in [true, false] {
        let server = RawServer::start(|_, request| ok(&success(request)));
        let panics = Arc::new(AtomicUsize::new(usize::MAX));
        let left = panics.clone();
        let strike = move |here: bool| assert!(!here || !strikes(&left), "a fault of the contract");
        let again = strike.clone();
        let contract = Of(
            move |operation: Operation<'_>| {
                strike(in_request);
                Request::assumed(operation)
            },
            move |_: Operation<'_>, _: &mut Response| again(!in_request),
        );
        let client = server.client_builder().contract(contract).build().unwrap();
        let several: [Call; 3] = [
            ("delete", |client| client.delete_jobs(["a", "b"]).into_iter().try_for_each(|x| x.1.map(drop))),
            ("wait", |client| client.wait_for_job("9f2c", secs(60)).map(drop)),
            ("wait for two", |c| c.wait_for_jobs(["9f2c", "b"], secs(60)).try_for_each(|x| x.1.map(drop))),
        ];
        for (name, call) in CALLS.into_iter().chain(several) {
            panics.store(usize::MAX, Ordering::Relaxed);
            let outcome = catch_unwind(AssertUnwindSafe(|| call(&client)));
            assert!(outcome.is_err(), "{name}, in_request {in_request}");
            panics.store(0, Ordering::Relaxed);
            CALLS[1].1(&client).unwrap_or_else(|error| panic!("after {name}: {error}"));
        }
    }
}

#[test]
fn an_unsupported_operation_is_an_error_of_its_own_kind_and_sends_nothing() {
    let server = RawServer::script(vec![ok("{}")]);
    let contract = Of(|_: Operation<'_>| Request::unsupported("this service cannot rename jobs"), unchanged);
    let client = server.client_builder().contract(contract).build().unwrap();
    for (name, call) in CALLS {
        let error = call(&client).unwrap_err();
        assert!(error.is_unsupported() && !error.is_transient(), "{error}");
        assert!(!error.may_have_been_processed(), "{error}");
        assert_eq!((error.attempts(), error.to_string().starts_with(name)), (0, true), "{error}");
    }
    assert!(server.lines().is_empty());
    let error = client.rename_job("9f2c", "water").unwrap_err();
    assert_eq!(error.to_string(), "rename job 9f2c: this service cannot rename jobs");
}

#[test]
fn without_listing_an_address_is_not_checked_and_a_wait_loads_each_job() {
    let request = |operation: Operation<'_>| match operation {
        Operation::List { .. } => Request::unsupported("this service has no list"),
        other => Request::assumed(other),
    };
    let server = RawServer::script(vec![answer(404, &[], "")]);
    let client = server.client_builder().contract(Of(request, unchanged)).build().unwrap();
    assert!(!client.delete_job_if_exists("9f2c").unwrap());
    assert_eq!(server.lines(), ["DELETE /api/v1/jobs/9f2c", "GET /api/v1/jobs/9f2c"]);

    let (simulator, _) = start();
    let ids: Vec<JobId> =
        (0..6).map(|_| simulator.add_job(SimulatedJob::new("opt").pending_for(secs(20)))).collect();
    let client = simulator.client_builder().contract(Of(request, unchanged)).build().unwrap();
    let waited = client.wait_for_jobs(&ids, secs(86_400)).filter(|(_, outcome)| outcome.is_ok()).count();
    assert_eq!(waited, ids.len(), "{:?}", lines(&simulator));
}

#[test]
fn a_request_that_could_not_be_made_is_a_transient_failure_and_sends_nothing() {
    let server = RawServer::start(|_, request| ok(&success(request)));
    let failures = Arc::new(AtomicUsize::new(usize::MAX));
    let left = failures.clone();
    let request = move |operation: Operation<'_>| {
        if strikes(&left) { Request::failed("no token") } else { Request::assumed(operation) }
    };
    let client = server.client_builder().contract(Of(request, unchanged)).build().unwrap();
    for (_, call) in CALLS {
        let error = call(&client).unwrap_err();
        assert!(error.is_transient() && !error.is_unsupported(), "{error}");
        assert!(!error.may_have_been_processed() && error.to_string().contains("no token"), "{error}");
    }
    assert!(server.lines().is_empty());
    failures.store(2, Ordering::Relaxed);
    client.wait_for_job("9f2c", secs(60)).expect("the third poll has a token");
}

#[test]
fn a_contract_can_call_another_one() {
    struct Prefixed<C>(C);
    impl<C: Contract> Contract for Prefixed<C> {
        fn request(&self, operation: Operation<'_>) -> Request {
            let mut request = self.0.request(operation);
            request.path.insert_str(0, "/team");
            request
        }
        fn response(&self, operation: Operation<'_>, response: &mut Response) {
            self.0.response(operation, response);
            response.edit_jobs(operation, |job| job["job_type"] = json!("opt"));
        }
        fn dashboard_url(&self, base_url: &str, id: &JobId) -> String {
            self.0.dashboard_url(base_url, id)
        }
    }
    struct Inner;
    impl Contract for Inner {
        fn response(&self, operation: Operation<'_>, response: &mut Response) {
            response.edit_jobs(operation, |job| job["job_id"] = job["id"].take());
        }
        fn dashboard_url(&self, base_url: &str, id: &JobId) -> String {
            format!("{base_url}/#/{id}")
        }
    }
    let server = RawServer::script(vec![ok(r#"{"id": 7, "state": "done", "created_at": 1777732321}"#)]);
    let shared: Arc<dyn Contract> = Arc::new(Inner);
    let client = server.client_builder().contract(Prefixed(shared)).build().unwrap();
    assert_eq!(client.get_job("7").unwrap().job_type, "opt");
    assert_eq!(server.lines(), ["GET /api/v1/team/jobs/7"]);
    assert_eq!(client.job_dashboard_url("7").unwrap(), format!("{}/#/7", server.url()));
}

#[test]
fn the_operation_decides_about_retries_and_for_a_request_of_ones_own_the_request_that_is_sent() {
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let server = RawServer::script(vec![answer(502, &[], "")]);
        let request = move |operation: Operation<'_>| {
            let mut request = Request::assumed(operation);
            request.method = method.to_owned();
            request
        };
        let client = server.client_builder().contract(Of(request, unchanged)).build().unwrap();
        for (name, call) in CALLS {
            let error = call(&client).unwrap_err();
            let is_sent_once = match name {
                "submit job" | "submit batch" => true,
                "request" => matches!(method, "POST" | "PATCH"),
                _ => false,
            };
            assert_eq!(error.attempts(), if is_sent_once { 1 } else { 3 }, "{name} by {method}");
            let is_read = matches!(name, "list jobs" | "get job") || (name == "request" && method == "GET");
            assert_eq!(error.may_have_been_processed(), !is_read, "{name} by {method}");
        }
        let request = Request::new("GET", ["x"]).idempotent(true);
        assert_eq!(client.send(request).unwrap_err().attempts(), 3, "{method}");
    }
}

#[test]
fn a_header_of_the_request_replaces_that_of_the_client() {
    let server = RawServer::start(|_, request| ok(&success(request)));
    let own = ["Accept", "AUTHORIZATION", "user-agent", "X-Team", "Idempotency-Key", "content-type"];
    let request = move |operation: Operation<'_>| {
        own.into_iter()
            .fold(Request::assumed(operation), |request, name| request.header(name, "of-the-request"))
    };
    let client = server.client_builder().header("x-team", "of the client");
    let client = client.contract(Of(request, unchanged)).build().unwrap();
    client.submit_job(&json!({})).unwrap();
    let sent = &server.requests()[0];
    for name in own {
        let names = sent.headers.iter().filter_map(|header| Some(header.split_once(':')?.0));
        let count = names.filter(|other| other.eq_ignore_ascii_case(name)).count();
        assert_eq!((sent.header(name), count), ("of-the-request", 1), "{name}");
    }
    assert!(!sent.headers.iter().any(|header| header.contains(KEY)));
}

#[test]
fn a_request_that_must_not_be_sent_is_refused_and_the_key_goes_nowhere_else() {
    let (server, other) = (RawServer::script(vec![ok("{}")]), RawServer::script(vec![ok("{}")]));
    let elsewhere = other.url().replace("http://", "");
    let get = |path: &str| Request::with_path("GET", path);
    let mut requests =
        vec![get("jobs"), get("/../admin"), get("/jobs/%2e%2e/x"), get("/jobs#x"), get("/a b")];
    requests.extend([get(&format!("@{elsewhere}/")), get(&other.url()), get(&format!("\\\\{elsewhere}/x"))]);
    requests.extend([Request::new("get", ["jobs"]), Request::new("CONNECT", ["jobs"])]);
    for name in ["Host", "content-length", "Transfer-Encoding", "Connection", "Accept-Encoding", "a b"] {
        requests.push(get("/jobs").header(name, "secret-value"));
    }
    requests.push(get("/jobs").header("X-Team", "secret-value\r\nHost: x"));
    for request in requests {
        let case = format!("{request:?}");
        let sent = request.clone();
        let contract = Of(move |_: Operation<'_>| sent.clone(), unchanged);
        let client = server.client_builder().contract(contract).build().unwrap();
        for error in [client.rename_job("9f2c", "water").unwrap_err(), client.send(request).unwrap_err()] {
            assert!(error.attempts() == 0 && !error.is_transient(), "{case}: {error}");
            assert!(!error.to_string().contains("secret-value"), "{case}: {error}");
        }
    }
    // This is a path at the same host.
    server.client().send(get(&format!("//{elsewhere}/x"))).unwrap();
    assert_eq!((server.lines().len(), other.lines().len()), (1, 0));
}

#[test]
fn a_request_of_ones_own_goes_through_the_contract_and_back() {
    let server = RawServer::start(|_, request| match request.line.contains("/result") {
        true => ok(&json!({"data": {"energy": -1.1}, "team": request.header("X-Team")}).to_string()),
        false => answer(404, &[], r#"{"detail": "Not Found"}"#),
    });
    let request = |operation: Operation<'_>| Request::assumed(operation).header("X-Team", "chemistry");
    let response = |operation: Operation<'_>, response: &mut Response| {
        if let Operation::Custom { request: Request { path, .. } } = operation {
            response.map_json(|body| json!([path, body["data"]["energy"], body["team"]]));
        }
    };
    let client = server.client_builder().contract(Of(request, response)).build().unwrap();
    let result: Value = client.send(Request::new("GET", ["jobs", "9f2c", "result"])).unwrap().json().unwrap();
    assert_eq!(result, json!(["/jobs/9f2c/result", -1.1, "chemistry"]));

    let error = client.send(Request::new("GET", ["jobs", "9f2c", "output"])).unwrap_err().to_string();
    assert!(error.contains("check the path") && !error.contains("deleted"), "{error}");
}

#[test]
fn a_token_that_expires_is_renewed_by_the_next_call() {
    #[derive(Default)]
    struct Renewing {
        token: Mutex<Option<String>>,
        logins: Arc<AtomicUsize>,
    }
    impl Contract for Renewing {
        fn request(&self, operation: Operation<'_>) -> Request {
            let mut token = lock(&self.token);
            let log_in = || format!("token-{:04}", self.logins.fetch_add(1, Ordering::Relaxed) + 1);
            Request::assumed(operation).header("Authorization", token.get_or_insert_with(log_in).as_str())
        }
        fn response(&self, _: Operation<'_>, response: &mut Response) {
            if response.status == 401 {
                *lock(&self.token) = None;
            }
        }
    }
    // Each token is valid for three requests.
    let server = RawServer::start(|n, request| {
        let token = request.header("Authorization");
        match token == format!("token-{:04}", n / 4 + 1) && n % 4 != 3 {
            true => ok(&job("9f2c")),
            false => answer(401, &[], &format!("{{\"detail\": \"{token} has expired\"}}")),
        }
    });
    let contract = Renewing::default();
    let logins = contract.logins.clone();
    let client = server.client_builder().contract(contract).build().unwrap();
    for n in 0..12 {
        let error = client.get_job("9f2c").err();
        assert_eq!(error.as_ref().is_some_and(Error::is_unauthorized), n % 4 == 3, "{n}: {error:?}");
        assert!(error.is_none_or(|error| !error.to_string().contains("token-")), "the token is shown");
    }
    client.wait_for_job("9f2c", secs(60)).unwrap();
    assert_eq!(logins.load(Ordering::Relaxed), 4);
}
