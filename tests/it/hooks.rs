//! Tests hooks, which see each request, response and attempt, and raw requests.

use std::mem::ManuallyDrop;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atomiverse::{Attempt, Client, ClientBuilder, JobId, RawRequest, Result, StopToken, WaitOptions};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::{Value, json};

use crate::support::{
    Answer, KEY, Message, RawServer, Step, answer, in_own_process, job, json as json_answer, lock, page, raw,
    secs, until,
};

/// Starts a server that is not dropped, because it would then check the requests against the contract.
fn script(answers: Vec<Answer>) -> ManuallyDrop<RawServer> {
    ManuallyDrop::new(RawServer::script(answers))
}

fn start(answer: impl FnMut(usize, &Message) -> Answer + Send + 'static) -> ManuallyDrop<RawServer> {
    ManuallyDrop::new(RawServer::start(answer))
}

fn unavailable() -> Answer {
    answer(503, &[], r#"{"detail":"try later"}"#)
}

/// What hooks have seen.
type Seen<T> = Arc<Mutex<Vec<T>>>;

/// The same call as a typed and as a raw request.
const CALLS: [fn(&Client) -> Result<()>; 2] = [
    |client| client.get_job("a").map(drop),
    |client| client.send(RawRequest::new("GET", ["jobs", "a"])).map(drop),
];

#[test]
fn hooks_run_for_each_attempt_of_typed_and_raw_requests() {
    for call in CALLS {
        let server = script(vec![unavailable(), unavailable(), json_answer(&job("a"))]);
        let statuses: Seen<u16> = Seen::default();
        let (count, seen) = (AtomicUsize::new(0), statuses.clone());
        let builder = server.client_builder().on_request(move |request| {
            assert!(request.headers.is_empty(), "each attempt starts with the original request");
            let n = count.fetch_add(1, Ordering::Relaxed);
            request.headers.push(("X-Attempt".to_owned(), format!("attempt {n}")));
        });
        let client =
            builder.on_response(move |_, response| lock(&seen).push(response.status)).build().unwrap();
        call(&client).unwrap();
        assert_eq!(*lock(&statuses), [503, 503, 200]);
        let sent: Vec<String> =
            server.requests().iter().map(|request| request.header("x-attempt").to_owned()).collect();
        assert_eq!(sent, ["attempt 0", "attempt 1", "attempt 2"]);
    }
}

#[test]
fn hooks_run_in_the_order_in_which_they_were_added() {
    let server = script(vec![answer(418, &[], r#"{"step":0}"#)]);
    let mut builder = server.client_builder();
    for n in 1..=3_u16 {
        builder = builder.on_request(move |request| request.path += &format!("/{n}")).on_response(
            move |request, response| {
                assert_eq!(request.path, "/step/1/2/3", "on_response sees the request as it was sent");
                let step: Value = response.json().unwrap();
                assert_eq!(step["step"], n - 1);
                response.body = json!({"step": n}).to_string().into_bytes();
                response.status = 200;
            },
        );
    }
    let response = builder.build().unwrap().send(RawRequest::new("GET", ["step"])).unwrap();
    assert_eq!(response.json::<Value>().unwrap(), json!({"step": 3}));
    assert_eq!(server.lines(), ["GET /api/v1/step/1/2/3"]);
}

#[test]
fn a_header_added_by_a_hook_replaces_that_of_the_client() {
    let server = script(vec![json_answer(&job("a"))]);
    let builder = server.client_builder().header("X-Team", "first").header("X-Other", "kept");
    let client = builder
        .on_request(|request| {
            for name in ["authorization", "X-TEAM", "Accept", "User-Agent"] {
                request.headers.push((name.to_owned(), "replaced".to_owned()));
            }
        })
        .build()
        .unwrap();
    for call in CALLS {
        call(&client).unwrap();
    }
    for request in server.requests() {
        for name in ["authorization", "x-team", "accept", "user-agent"] {
            let sent: Vec<&String> = request
                .headers
                .iter()
                .filter(|header| header.to_lowercase().starts_with(&format!("{name}:")))
                .collect();
            assert_eq!(sent, [&format!("{name}: replaced")]);
        }
        assert_eq!(request.header("x-other"), "kept");
    }
}

/// Must not appear in any output.
const SECRET: &str = "signature-that-must-not-leak";

struct Printer;

impl Log for Printer {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with("atomiverse") || metadata.level() <= Level::Debug
    }
    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            println!("{} {}: {}", record.level(), record.target(), record.args());
        }
    }
    fn flush(&self) {}
}

/// Makes calls to a server that returns the header value added by a hook, and prints everything that can be printed.
fn print_everything_about_a_secret_header() {
    log::set_logger(&Printer).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let unreadable = format!(r#"{{"job_id":"a","state":{{"{SECRET}":1}}}}"#);
    let server = script(vec![
        answer(
            401,
            &[&format!("x-request-id: {SECRET}")],
            &format!(r#"{{"detail":"bad signature {SECRET}"}}"#),
        ),
        answer(302, &[&format!("location: https://elsewhere.example/{SECRET}")], ""),
        answer(200, &[], &format!("X-Signature: {SECRET}")),
        json_answer(&unreadable),
        answer(500, &[], SECRET),
        answer(500, &[], SECRET),
        answer(500, &[], SECRET),
        json_answer(&format!(r#"["{SECRET}"]"#)),
        raw(format!("{SECRET}\r\n\r\n")),
    ]);
    let builder = server.client_builder().on_request(|request| {
        request.headers.push(("X-Signature".to_owned(), format!("Hmac {SECRET}")));
        println!("{request:?} {request:#?}");
    });
    let builder = builder
        .on_response(|request, response| println!("{request:?} {response:?} {response:#?}"))
        .on_attempt(|attempt| println!("{attempt:?}"));
    println!("{builder:?}");
    let client = builder.build().unwrap();
    println!("{client:?} {:?}", client.list_jobs());
    for n in 0..7 {
        let outcome = match n {
            5 => client
                .send(RawRequest::new("GET", ["x"]))
                .and_then(|response| response.json::<u32>())
                .map(drop),
            _ => client.get_job("a").map(drop),
        };
        let error = outcome.unwrap_err();
        println!("{error} {error:#?} {:?} {:?}", error.server_message(), error.request_id());
    }
    assert!(
        server.requests().iter().all(|request| request.header("x-signature") == format!("Hmac {SECRET}"))
    );
    println!("all was printed");
}

#[test]
fn a_header_value_added_by_a_hook_is_hidden_even_if_the_server_returns_it() {
    let test = "hooks::a_header_value_added_by_a_hook_is_hidden_even_if_the_server_returns_it";
    let output = in_own_process(test, &[], print_everything_about_a_secret_header);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for shown in ["all was printed", "DEBUG atomiverse", "ureq", "X-Signature", "bad signature (hidden)"] {
        assert!(text.contains(shown), "{shown} in {text}");
    }
    assert!(!text.contains("must-not-leak"), "{text}");
}

#[test]
fn a_header_value_added_by_a_hook_is_hidden_in_the_content_type_of_an_error() {
    // This is tested separately, because ureq logs the content types of responses at the level debug.
    let server = script(vec![answer(200, &[&format!("content-type: text/{SECRET}")], "no JSON")]);
    let builder = server.client_builder().on_request(|request| {
        request.headers.push(("X-Signature".to_owned(), SECRET.to_owned()));
    });
    let text = builder.build().unwrap().get_job("a").unwrap_err().to_string();
    assert!(text.contains("content type text/(hidden)"), "{text}");
}

/// Changes a request.
type Edit = fn(&mut RawRequest);

fn add(request: &mut RawRequest, name: &str) {
    request.headers.push((name.to_owned(), "0".to_owned()));
}

#[test]
fn a_header_added_by_a_hook_replaces_that_of_the_request() {
    let server = script(vec![answer(201, &["content-type: application/json"], &job("a"))]);
    let builder = server.client_builder().on_request(|request| {
        for name in ["content-type", "Idempotency-Key"] {
            request.headers.push((name.to_owned(), "replaced/by-the-hook".to_owned()));
        }
    });
    builder.build().unwrap().submit_job(&json!({"job_type": "opt"})).unwrap();
    for name in ["content-type", "idempotency-key"] {
        let request = &server.requests()[0];
        let sent: Vec<&String> = request.headers.iter().filter(|header| header.starts_with(name)).collect();
        assert_eq!(sent, [&format!("{name}: replaced/by-the-hook")]);
    }
}

#[test]
fn an_invalid_header_added_by_a_hook_is_an_error_that_does_not_show_its_value() {
    let headers =
        [("X Y", SECRET), ("", SECRET), ("X-Y\r\nZ", SECRET), ("X-Y", "signature-that\r\nX-Evil: 1")];
    for (name, value) in headers {
        let server = script(vec![json_answer(&job("a"))]);
        let builder = server.client_builder().on_request(move |request| {
            request.headers.push((name.to_owned(), value.to_owned()));
        });
        let client = builder.build().unwrap();
        let error = client.cancel_job("a").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("on_request made a request that cannot be sent: the header "), "{text}");
        assert!(text.contains("; nothing was sent") && !text.contains("no connection"), "{text}");
        assert!(!text.contains("signature-that"), "{text}");
        assert!(!error.is_transient() && !error.may_have_been_processed(), "{text}");
        assert_eq!(server.lines().len(), 0);
    }
}

#[test]
fn a_hook_cannot_send_the_key_to_another_host() {
    let server = script(vec![json_answer(&job("a"))]);
    for api_url in [format!("{}/api/v1", server.url()), server.url()] {
        let builder = server.client_builder().api_url(api_url);
        let client =
            builder.on_request(|request| request.path.insert_str(0, "//elsewhere.example")).build().unwrap();
        // The path may change, but the request still goes to this server.
        client.get_job("a").unwrap();
    }
    assert_eq!(server.lines(), ["GET /api/v1//elsewhere.example/jobs/a", "GET //elsewhere.example/jobs/a"]);
}

#[test]
fn a_hook_that_fails_the_second_attempt_does_not_hide_what_the_first_may_have_done() {
    let server = script(vec![answer(500, &[], "")]);
    let count = AtomicUsize::new(0);
    let builder = server.client_builder().on_request(move |request| {
        if count.fetch_add(1, Ordering::Relaxed) == 1 {
            request.path.clear();
        }
    });
    let error = builder.build().unwrap().cancel_job("a").unwrap_err();
    assert!(error.to_string().contains("on_request made a request"), "{error}");
    assert!(error.may_have_been_processed(), "{error}");
    assert_eq!(server.lines().len(), 1);
}

/// Panics from the call with the number `from` on.
#[derive(Default)]
struct Bomb {
    calls: AtomicUsize,
    from: AtomicUsize,
}

impl Bomb {
    fn call(&self) {
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(n < self.from.load(Ordering::SeqCst), "on purpose");
    }

    fn set(&self, from: usize) {
        self.calls.store(0, Ordering::SeqCst);
        self.from.store(from, Ordering::SeqCst);
    }
}

fn panic_of(call: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(call)).expect_err("the panic reaches the caller");
    panic.downcast_ref::<&str>().expect("the panic of the hook").to_string()
}

/// Starts a server with the jobs `0` to `7` on pages of four. Without `has_listing`, listings fail.
fn jobs_server(has_listing: bool) -> ManuallyDrop<RawServer> {
    start(move |_, request| match request.line.split_once(' ').unwrap() {
        ("GET", path) if path.contains("limit=") && !has_listing => answer(405, &[], r#"{"detail":"no"}"#),
        ("GET", path) if path.contains("cursor=") => json_answer(&page(&["4", "5", "6", "7"], false, None)),
        ("GET", path) if path.contains("limit=") => {
            json_answer(&page(&["0", "1", "2", "3"], true, Some("c")))
        }
        ("DELETE", _) => answer(204, &[], ""),
        (_, path) => json_answer(&job(path.trim_start_matches("/api/v1/jobs/"))),
    })
}

const IDS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

#[test]
fn after_a_panic_in_a_bulk_call_each_other_job_has_its_outcome() {
    let server = jobs_server(true);
    let builder = server.client_builder().on_response(|request, _| {
        assert!(request.job_id.as_ref().is_none_or(|id| id != "2"), "on purpose");
    });
    let client = builder.build().unwrap();
    let mut deleted = Vec::new();
    let panic = panic_of(|| {
        for (id, outcome) in client.delete_jobs(IDS) {
            assert!(outcome.unwrap());
            deleted.push(id);
        }
    });
    assert_eq!(panic, "on purpose");
    deleted.sort();
    assert_eq!(deleted, ["0", "1", "3", "4", "5", "6", "7"]);
}

#[test]
fn on_response_sees_error_statuses_and_can_change_them() {
    let body = r#"{"detail":"as it came"}"#;
    for status in [400, 401, 403, 404, 409, 418, 422, 429, 500, 503] {
        let server = script(vec![answer(status, &["x-kind: test"], body)]);
        let builder = server.client_builder().on_response(move |request, response| {
            assert_eq!((request.method.as_str(), response.status), ("GET", status));
            assert_eq!(response.body, body.as_bytes());
            assert!(response.headers.contains(&("x-kind".to_owned(), "test".to_owned())));
            response.status = 200;
            response.body = job("a").into_bytes();
        });
        assert_eq!(builder.build().unwrap().get_job("a").unwrap().job_id, "a");
        assert_eq!(server.lines().len(), 1);
    }
    // A success that the hook turns into an error is retried.
    let server = script(vec![json_answer(r#"{"status":"overloaded"}"#), json_answer(&job("a"))]);
    let builder = server.client_builder().on_response(|_, response| {
        if response.json::<Value>().is_ok_and(|body| body["status"] == "overloaded") {
            response.status = 503;
        }
    });
    builder.build().unwrap().get_job("a").unwrap();
    assert_eq!(server.lines().len(), 2);
}

/// An attempt, without what differs between runs.
#[derive(Debug, PartialEq)]
struct Noted {
    action: String,
    job_id: Option<JobId>,
    method: String,
    number: u32,
    status: Option<u16>,
    /// The beginning of the error.
    error: Option<String>,
    is_retried: bool,
}

fn noted(number: u32, status: impl Into<Option<u16>>, error: &str, is_retried: bool) -> Noted {
    Noted {
        action: "get job".to_owned(),
        job_id: Some("a".into()),
        method: "GET".to_owned(),
        number,
        status: status.into(),
        error: (!error.is_empty()).then(|| error.to_owned()),
        is_retried,
    }
}

/// Makes the call, and returns its attempts and how long each one took. Errors are cut at the first `:` or `0`.
fn attempts_of(builder: ClientBuilder, call: impl FnOnce(Client)) -> (Vec<Noted>, Vec<Duration>) {
    let seen: Seen<(Noted, Duration)> = Seen::default();
    let kept = seen.clone();
    let builder = builder.on_attempt(move |attempt: &Attempt<'_>| {
        let words = |error: &str| error.split([':', '0']).next().unwrap_or_default().trim().to_owned();
        let noted = Noted {
            action: attempt.action.to_owned(),
            job_id: attempt.job_id.cloned(),
            method: attempt.method.to_owned(),
            number: attempt.number,
            status: attempt.status,
            error: attempt.error.map(words),
            is_retried: attempt.retry_in.is_some(),
        };
        lock(&kept).push((noted, attempt.elapsed));
    });
    call(builder.build().unwrap());
    std::mem::take(&mut *lock(&seen)).into_iter().unzip()
}

#[test]
fn on_attempt_sees_that_no_connection_was_made() {
    // The port is free again when the listener is dropped.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pause = Duration::from_millis(1);
    let builder = Client::builder().api_key(KEY).base_url(format!("http://{address}"));
    let (seen, _) = attempts_of(builder, |client| drop(client.get_job("a").unwrap_err()));
    let failure = |number, is_retried| noted(number, None, "no connection", is_retried);
    assert_eq!(seen, [failure(1, true), failure(2, true), failure(3, false)]);
}

#[test]
fn on_attempt_sees_that_an_attempt_was_stopped() {
    let stop = StopToken::new();
    let stopper = stop.clone();
    let server = RawServer::start(move |_, _| {
        stopper.stop();
        vec![Step::Silence]
    });
    let (seen, _) = attempts_of(server.client_builder(), |client| {
        let error = client.with_stop(&stop).get_job("a").unwrap_err();
        assert!(error.is_stopped(), "{error}");
        // With a stopped token no attempt is made.
        client.with_stop(&stop).get_job("a").unwrap_err();
    });
    assert_eq!(seen, [noted(1, None, "stopped before the response came", false)]);
}

#[test]
fn on_attempt_counts_the_attempts_of_each_call_and_sees_the_method_that_was_sent() {
    let server = script(vec![json_answer(&job("a"))]);
    let builder = server.client_builder().on_request(|request| {
        if request.action == "rename job" {
            request.method = "POST".to_owned();
        }
    });
    let (seen, _) = attempts_of(builder, |client| {
        client.cancel_job("a").unwrap();
        let _ = client.rename_job("a", "b");
        let mut request = RawRequest::new("PUT", ["x"]);
        request.action = "put x".to_owned();
        client.send(request).unwrap();
    });
    let seen: Vec<_> =
        seen.iter().map(|seen| (seen.action.as_str(), seen.method.as_str(), seen.number)).collect();
    assert_eq!(seen, [("cancel job", "POST", 1), ("rename job", "POST", 1), ("put x", "PUT", 1)]);
}

#[test]
fn an_error_of_a_raw_request_names_its_action() {
    let problem = r#"{"detail":"no result yet"}"#;
    for (status, words) in [(404, "404 Not Found"), (409, "409 Conflict"), (422, "422 Unprocessable")] {
        let server = script(vec![answer(status, &["x-request-id: r1"], problem)]);
        let mut request = RawRequest::new("GET", ["jobs", "a", "result"]).query("token", "secret");
        let plain = server.client().send(request.clone()).unwrap_err().to_string();
        assert!(plain.starts_with(&format!("request: {words}")), "{plain}");
        request.action = "get result".to_owned();
        request.job_id = Some("a".into());
        let error = server.client().send(request).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("get result a: {words}")), "{text}");
        assert!(text.contains("no result yet") && text.contains("request id r1"), "{text}");
        assert!(text.contains(&format!("(GET {}/api/v1/jobs/a/result", server.url())), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!((error.status(), error.server_message()), (Some(status), Some("no result yet")));
        assert_eq!(error.job_id().map(JobId::as_str), Some("a"));
    }
}

#[test]
fn an_error_of_a_raw_change_says_whether_it_may_have_been_processed() {
    for (method, wanted) in [("GET", false), ("PUT", true), ("POST", true), ("PATCH", true), ("DELETE", true)]
    {
        let server = script(vec![answer(502, &[], "")]);
        let error = server.client().send(RawRequest::new(method, ["x"])).unwrap_err();
        assert_eq!(error.may_have_been_processed(), wanted, "{method}: {error}");
        assert!(!error.may_have_been_submitted());
    }
}

#[test]
fn a_raw_response_that_is_not_json_is_a_decode_error_with_an_excerpt() {
    for (response, words) in [
        (answer(204, &[], ""), "the body is empty"),
        (
            answer(200, &["content-type: text/html"], "<h1>Sign in</h1>"),
            "a proxy or gateway may have sent it",
        ),
        (answer(200, &[], "energy = 1"), r#"the body begins with "energy = 1""#),
        (json_answer(r#"{"energy":"high"}"#), "invalid type: map"),
    ] {
        let server = script(vec![response]);
        let response = server.client().send(RawRequest::new("GET", ["jobs", "a", "result"])).unwrap();
        let error = response.json::<f64>().unwrap_err();
        assert!(error.is_decode(), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("request: ") && text.contains(words), "{words}: {text}");
        assert!(text.contains("/api/v1/jobs/a/result"), "{text}");
    }
}

#[test]
fn a_raw_response_has_its_headers_in_lower_case_and_its_body() {
    let server =
        script(vec![answer(201, &["X-Kind: One", "x-kind: two", "Content-Type: application/json"], "[1]")]);
    let response = server.client().send(RawRequest::new("POST", ["x"])).unwrap();
    assert_eq!((response.status, response.body.as_slice()), (201, &b"[1]"[..]));
    let kinds: Vec<&str> =
        response.headers.iter().filter(|(name, _)| name == "x-kind").map(|(_, v)| v.as_str()).collect();
    assert_eq!(kinds, ["One", "two"]);
    assert_eq!(response.json::<Vec<u8>>().unwrap(), [1]);
}

#[test]
fn the_size_limit_applies_to_raw_responses() {
    let server = script(vec![answer(200, &[], &"x".repeat(1001))]);
    let send = |limit| {
        let client = server.client_builder().max_response_bytes(limit).build().unwrap();
        client.send(RawRequest::new("GET", ["x"]))
    };
    assert_eq!(send(1001).unwrap().body.len(), 1001);
    let text = send(1000).unwrap_err().to_string();
    assert!(text.contains("larger than 1000 bytes; raise max_response_bytes"), "{text}");
}

#[test]
fn head_returns_headers_without_a_body_and_the_connection_stays_usable() {
    let plain = raw("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n");
    let compressed = raw("HTTP/1.1 200 OK\r\ncontent-length: 123\r\ncontent-encoding: gzip\r\n\r\n");
    let missing = raw("HTTP/1.1 404 Not Found\r\ncontent-length: 12\r\n\r\n");
    let server = script(vec![plain, compressed, missing, json_answer(&job("a"))]);
    let client = server.client();
    let head = || client.send(RawRequest::new("HEAD", ["jobs", "a", "result"]));
    let response = head().unwrap();
    assert!(response.body.is_empty());
    assert!(response.headers.contains(&("content-length".to_owned(), "1234".to_owned())));
    assert!(head().unwrap().body.is_empty());
    assert!(head().unwrap_err().is_not_found());
    assert_eq!(client.get_job("a").unwrap().job_id, "a");
    let result = "HEAD /api/v1/jobs/a/result";
    assert_eq!(server.lines(), [result, result, result, "GET /api/v1/jobs/a"]);
    assert_eq!(server.most_open(), 1);
}

#[test]
fn raw_requests_are_sent_with_and_without_a_body() {
    let server = script(vec![json_answer("{}")]);
    let client = server.client();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        client.send(RawRequest::new(method, ["x"])).unwrap();
        let bare = server.requests().pop().unwrap();
        assert_eq!(bare.line, format!("{method} /api/v1/x"));
        assert_eq!(
            (bare.body.len(), bare.header("transfer-encoding"), bare.header("content-type")),
            (0, "", "")
        );
        let length = if ["POST", "PUT", "PATCH"].contains(&method) { "0" } else { "" };
        assert_eq!(bare.header("content-length"), length, "{method}");
        assert_eq!(bare.header("authorization"), format!("Bearer {KEY}"));
    }
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        client.send(RawRequest::new(method, ["x"]).json(&json!({"name": "wässrig"}))).unwrap();
        let full = server.requests().pop().unwrap();
        assert_eq!(full.body, r#"{"name":"wässrig"}"#.as_bytes(), "{method}");
        assert_eq!(full.header("content-type"), "application/json");
        assert_eq!((full.header("content-length"), full.header("transfer-encoding")), ("19", ""));
        assert_eq!(full.header("idempotency-key"), "");
    }
}

#[test]
fn the_query_of_a_raw_request_is_encoded_and_its_segments_stay_segments() {
    let server = script(vec![json_answer("{}")]);
    let request = RawRequest::new("GET", ["jobs", "a/b?c#d", "%2e%2e", "é ü", "..a"]);
    server.client().send(request.query("a b", "c&d=é/?#").query("n", 7).query("", "")).unwrap();
    assert_eq!(
        server.lines(),
        ["GET /api/v1/jobs/a%2Fb%3Fc%23d/%252e%252e/%C3%A9%20%C3%BC/..a?a%20b=c%26d%3D%C3%A9%2F%3F%23&n=7&=",]
    );
}
