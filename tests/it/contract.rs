//! Tests the contract as users meet it: what passes through it, what it decides, and that no response makes one panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use atomiverse::simulator::SimulatedJob;
use atomiverse::{Client, Contract, JobId, JobSummary, Operation, Request, Response, Result};
use serde_json::value::RawValue;
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
    let client = client.on_attempt(move |attempt| see(&attempts, attempt.operation, attempt.status));
    let client = client.build().unwrap();
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
        let strike = move |here: bool| {
            let is_due = |left: usize| left.checked_sub(1);
            if here && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_ok() {
                panic!("a fault of the contract");
            }
        };
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
            ("delete several", |client| {
                let _: () = drop(client.delete_jobs(["a", "b", "c"]));
                Ok(())
            }),
            ("wait", |client| client.wait_for_job("9f2c", secs(60)).map(drop)),
            ("wait for several", |client| {
                let _: () = client.wait_for_jobs(["9f2c", "b"], secs(60)).for_each(drop);
                Ok(())
            }),
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
    let contract = Of(|_: Operation<'_>| Request::unsupported("this service cannot do that"), unchanged);
    let client = server.client_builder().contract(contract).build().unwrap();
    for (name, call) in CALLS {
        let error = call(&client).unwrap_err();
        let (is_transient, may_have_been) = (error.is_transient(), error.may_have_been_processed());
        assert_eq!((error.is_unsupported(), is_transient, may_have_been), (true, false, false), "{error}");
        assert_eq!(error.attempts(), 0, "{name}");
        assert!(error.to_string().starts_with(name), "{error}");
    }
    assert!(server.lines().is_empty());

    let contract = Of(|_: Operation<'_>| Request::unsupported("this service cannot rename jobs"), unchanged);
    let client = server.client_builder().contract(contract).build().unwrap();
    let error = client.rename_job("9f2c", "water").unwrap_err();
    assert_eq!(error.to_string(), "rename job 9f2c: this service cannot rename jobs");
}

#[test]
fn without_listing_an_address_is_not_checked_and_a_wait_loads_each_job() {
    let without_list = || {
        let request = |operation: Operation<'_>| match operation {
            Operation::List { .. } => Request::unsupported("this service has no list"),
            other => Request::assumed(other),
        };
        Of(request, unchanged)
    };
    let server = RawServer::script(vec![answer(404, &[], "")]);
    let client = server.client_builder().contract(without_list()).build().unwrap();
    assert!(!client.delete_job_if_exists("9f2c").unwrap());
    assert_eq!(server.lines(), ["DELETE /api/v1/jobs/9f2c", "GET /api/v1/jobs/9f2c"]);

    let (simulator, _) = start();
    let ids: Vec<JobId> =
        (0..6).map(|_| simulator.add_job(SimulatedJob::new("opt").pending_for(secs(20)))).collect();
    let client = simulator.client_builder().contract(without_list()).build().unwrap();
    let waited = client.wait_for_jobs(&ids, secs(86_400)).filter(|(_, outcome)| outcome.is_ok()).count();
    assert_eq!(waited, ids.len(), "{:?}", lines(&simulator));
}

#[test]
fn a_request_that_could_not_be_made_is_a_transient_failure_and_sends_nothing() {
    let server = RawServer::start(|_, request| ok(&success(request)));
    let failures = Arc::new(AtomicUsize::new(usize::MAX));
    let left = failures.clone();
    let request = move |operation: Operation<'_>| {
        let is_due = |left: usize| left.checked_sub(1);
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due) {
            Ok(_) => Request::failed("no token"),
            Err(_) => Request::assumed(operation),
        }
    };
    let client = server.client_builder().contract(Of(request, unchanged)).build().unwrap();
    for (_, call) in CALLS {
        let error = call(&client).unwrap_err();
        let (is_unsupported, may_have_been) = (error.is_unsupported(), error.may_have_been_processed());
        assert_eq!((error.is_transient(), is_unsupported, may_have_been), (true, false, false), "{error}");
        assert!(error.to_string().contains("no token"), "{error}");
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
    let with_method = |method: &'static str| {
        let request = move |operation: Operation<'_>| {
            let mut request = Request::assumed(operation);
            request.method = method.to_owned();
            request
        };
        Of(request, unchanged)
    };
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let server = RawServer::script(vec![answer(502, &[], "")]);
        let client = server.client_builder().contract(with_method(method)).build().unwrap();
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
        let count = sent
            .headers
            .iter()
            .filter(|header| header.split(':').next().is_some_and(|other| other.eq_ignore_ascii_case(name)));
        assert_eq!((sent.header(name), count.count()), ("of-the-request", 1), "{name}");
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
    for name in
        ["Host", "content-length", "Transfer-Encoding", "Connection", "Expect", "Accept-Encoding", "a b"]
    {
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
            response.map_json(
                |body| json!({"path": path, "energy": body["data"]["energy"], "team": body["team"]}),
            );
        }
    };
    let client = server.client_builder().contract(Of(request, response)).build().unwrap();
    let result: Value = client.send(Request::new("GET", ["jobs", "9f2c", "result"])).unwrap().json().unwrap();
    assert_eq!(result, json!({"path": "/jobs/9f2c/result", "energy": -1.1, "team": "chemistry"}));

    let error = client.send(Request::new("GET", ["jobs", "9f2c", "output"])).unwrap_err().to_string();
    assert!(error.contains("check the path") && !error.contains("deleted"), "{error}");
}

macro_rules! recipes {
    ($($name:ident = $contract:expr;)*) => {
        $(mod $name {
            include!(concat!("recipes/", stringify!($name), ".rs"));
            pub fn run() {
                main().unwrap();
            }
            pub fn contract() -> Box<dyn Contract> {
                Box::new($contract)
            }
        })*

        /// The programs of `HTTP.md`: name, text, `main` and contract.
        const RECIPES: &[(&str, &str, fn(), fn() -> Box<dyn Contract>)] = &[$((
            stringify!($name),
            include_str!(concat!("recipes/", stringify!($name), ".rs")),
            $name::run,
            $name::contract,
        )),*];
    };
}

recipes! {
    bare_list = BareList;
    offset = Offset;
    page_number = PageNumber;
    next_link = NextLink;
    list_by_post = ListByPost;
    state_words = StateWords;
    field_names = FieldNames;
    envelope = Envelope;
    key_header = TokenScheme { key: "key".to_owned() };
    rename_by_post = RenameByPost;
    soft_delete = SoftDelete;
    cancel_deletes = CancelDeletes;
    unsupported = Fewer;
    expiring_token = ExpiringToken::default();
    trailing_slash = TrailingSlash;
}

#[test]
fn the_programs_of_http_md_hold_their_own_assertions_and_are_short() {
    for (name, text, main, _) in RECIPES {
        main();
        assert!(
            include_str!("../../HTTP.md").contains(text),
            "HTTP.md differs from tests/it/recipes/{name}.rs"
        );
        let contract = text.split("\nfn main").next().unwrap().lines();
        let lines = contract.filter(|line| !line.is_empty() && !line.starts_with("use ")).count();
        assert!(lines <= 25, "{name} has {lines} lines");
    }
}

/// A job in the form of each recipe, whose fields are odd in the way of `n`.
fn odd_body(n: usize) -> String {
    const ODD: [&str; 18] = [
        "null",
        "true",
        "0",
        "-1",
        "1e400",
        "18446744073709551615",
        "1.5",
        r#""""#,
        r#""ok""#,
        r#""\ud83d""#,
        "[]",
        "{}",
        "[[]]",
        r#"{"a": 1}"#,
        r#"{"phase": []}"#,
        r#"{"\ud83d": 1}"#,
        "<html>",
        "",
    ];
    let odd = |n: usize| ODD[n % ODD.len()];
    let (first, second, shape) = (odd(n), odd(n / ODD.len()), n / ODD.len() / ODD.len());
    let job = format!(
        r#"{{"job_id": {first}, "id": {second}, "state": {first}, "status": {second}, "deleted": {first}}}"#
    );
    let paging = format!(
        r#""page": {second}, "pages": 4294967295, "next": {second}, "has_more": {first}, "error": {second}"#
    );
    match shape {
        0 => format!("{first}{second}"),
        1 => format!("[{first}, {job}]"),
        2 => job,
        3 => {
            format!(r#"{{"jobs": {first}, "results": {first}, "items": {first}, "data": {first}, {paging}}}"#)
        }
        4 => format!(r#"{{"jobs": [{job}], "data": {job}, {paging}}}"#),
        5 => format!(r#"{{"results": [{first}, {job}], {paging}}}"#),
        _ => format!(r#"{{"items": [{job}, {second}], {paging}}}"#),
    }
}

#[test]
fn no_response_makes_a_contract_panic() {
    let own = Request::new("GET", ["x"]);
    let (id, payload) = (JobId::from("9f2c"), RawValue::from_string("{}".to_owned()).unwrap());
    let operations = [
        Operation::List { limit: u32::MAX, cursor: Some("4294967295") },
        Operation::List { limit: 1, cursor: None },
        Operation::Get { id: &id },
        Operation::Rename { id: &id, name: "\u{feff}" },
        Operation::Cancel { id: &id },
        Operation::Delete { id: &id },
        Operation::Submit { payload: &payload },
        Operation::SubmitBatch { payloads: &[&payload] },
        Operation::Custom { request: &own },
    ];
    let assigns = |operation: Operation<'_>, response: &mut Response| {
        response.edit_jobs(operation, |job| job["state"] = job["status"].take());
        response.map_json(|body| json!({"jobs": body["items"], "next_cursor": body["next"]["after"]}));
    };
    let assigns: Box<dyn Contract> = Box::new(Of(|_: Operation<'_>| Request::new("GET", ["x"]), assigns));
    let contracts =
        RECIPES.iter().map(|(name, .., contract)| (*name, contract())).chain([("assigns", assigns)]);
    for (name, contract) in contracts {
        for operation in operations {
            let _ = contract.request(operation);
            for body in (0..18 * 18 * 7).map(odd_body).chain([String::from("\u{feff}{}")]) {
                let mut response = Response::new(200, body.clone());
                let outcome = catch_unwind(AssertUnwindSafe(|| contract.response(operation, &mut response)));
                assert!(outcome.is_ok(), "{name}, {operation:?}, {body}");
            }
            for status in [100, 204, 304, 404, 409, 500] {
                for body in [r#"{"jobs": [1, {}], "data": 1}"#, "[1]", r#"{"deleted": true}"#, "\u{0}", ""] {
                    contract.response(operation, &mut Response::new(status, body));
                }
            }
        }
    }
}

#[test]
fn one_odd_job_leaves_the_others_edited() {
    let rename = |operation: Operation<'_>, response: &mut Response| {
        response.edit_jobs(operation, |job| job["job_id"] = job["id"].take());
    };
    let contract = |n: usize| match n {
        0 => Box::new(Of(Request::assumed, rename)) as Box<dyn Contract>,
        _ => field_names::contract(),
    };
    for odd in
        [r#"{"id": "b", "name": "\ud83d"}"#, r#"{"id": "b", "x": 1e400}"#, "7", "null", "[]", r#""ok""#, "{}"]
    {
        let job = |id| {
            format!(
                r#"{{"id":"{id}","state":"done","job_type":"opt","created_at":1,"status":{{"phase":"done"}},"submitted":1}}"#
            )
        };
        let body = format!(r#"{{"jobs": [{}, {odd}, {}], "has_more": false}}"#, job("a"), job("c"));
        for n in 0..2 {
            let server = RawServer::script(vec![ok(&body)]);
            let contract: Arc<dyn Contract> = contract(n).into();
            let client = server.client_builder().contract(contract).build().unwrap();
            let jobs: Vec<Result<JobSummary>> = client.iter_jobs().collect();
            let ids: Vec<Option<&str>> =
                jobs.iter().map(|job| Some(job.as_ref().ok()?.job_id.as_str())).collect();
            assert_eq!(ids, [Some("a"), None, Some("c")], "{odd}");
        }
    }
}

#[test]
fn only_the_jobs_of_a_success_are_edited_and_other_fields_stay_as_they_are() {
    let id = JobId::from("a");
    let (list, get) = (Operation::List { limit: 1, cursor: None }, Operation::Get { id: &id });
    let edit = |status, body: &str, operation| {
        let mut response = Response::new(status, body);
        response.edit_jobs(operation, |job| job["n"] = json!(1));
        response.text().into_owned()
    };
    assert_eq!(edit(200, "\u{feff}{}", get), r#"{"n":1}"#);
    let page = r#"{"x": 1e400, "jobs": [{}, {}]}"#;
    assert_eq!(edit(200, page, list), r#"{"jobs":[{"n":1},{"n":1}],"x":1e400}"#);
    for (status, body, operation) in [
        (404, "{}", get),
        (404, page, list),
        (200, "[{}]", list),
        (200, "{}", Operation::Delete { id: &id }),
        (200, r#"{"jobs": {"a": {}}}"#, list),
    ] {
        assert_eq!(edit(status, body, operation), body);
    }

    let map = |status, body: &str| {
        let mut response = Response::new(status, body);
        response.map_json(|body| json!([body]));
        response.text().into_owned()
    };
    assert_eq!([map(200, "1"), map(200, "<p>"), map(500, "1"), map(200, "")], ["[1]", "<p>", "1", ""]);
    let mut response = Response::new(200, "before");
    response.set_json(&std::collections::HashMap::from([((1, 2), 3)]));
    assert_eq!(response.text(), "before", "this map cannot be written as JSON");
    response.set_json("after");
    assert_eq!(response.json::<String>().unwrap(), "after");
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
        match client.get_job("9f2c") {
            Ok(_) => assert_ne!(n % 4, 3),
            Err(error) => {
                assert!(n % 4 == 3 && error.is_unauthorized(), "{n}: {error}");
                assert!(error.to_string().contains("has expired") && !error.to_string().contains("token-"));
            }
        }
    }
    client.wait_for_job("9f2c", secs(60)).unwrap();
    assert_eq!(logins.load(Ordering::Relaxed), 4);
}
