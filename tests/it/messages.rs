//! Texts of errors and log lines: bounded, not repeated, no guess stated as a fact, and naming what to change.

use std::error::Error as _;
use std::sync::Mutex;
use std::time::Duration;

use atomiverse::{Client, Error, WaitOptions};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::{Value, json as value};

use crate::support::{
    Answer, KEY, RawServer, Step, answer, client_of_nobody, in_own_process, job, json, lock, page, raw,
};

const JSON: &str = "content-type: application/json";
const HTML: &str = "content-type: text/html";

const MEGABYTE: usize = 1 << 20;

/// What the server may still be sent in a URL; above 64 KB the client cannot even build one.
const LONG_URL: usize = 30_000;

/// The longest text of an error, however much the server or the caller put into it.
const LONGEST_TEXT: usize = 8 * 1024;

/// A client that makes one attempt.
fn one_attempt(server: &RawServer) -> Client {
    server.client_builder().max_retries(0).timeout(Duration::from_secs(10)).build().unwrap()
}

fn get_error(answer: Answer) -> Error {
    one_attempt(&RawServer::script(vec![answer])).get_job("9f2c").unwrap_err()
}

fn status_error(status: u16, header: &str, body: &str) -> Error {
    get_error(answer(status, &[header], body))
}

fn detail(text: &str) -> String {
    value!({ "detail": text }).to_string()
}

fn payload() -> Value {
    value!({"job_type": "opt"})
}

/// The error and its sources, each as its text.
fn chain(error: &Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    texts
}

/// A text in parts that each say one thing.
fn clauses(text: &str) -> Vec<String> {
    let mut text = text.to_owned();
    for separator in [". ", ": ", "; ", " ("] {
        text = text.replace(separator, "\n");
    }
    text.lines().map(|clause| clause.trim_matches([' ', '.', ')', '(']).to_lowercase()).collect()
}

/// Whether the text states this as a fact, without "may", "or" and the like in the same clause.
fn asserts(text: &str, claim: &str) -> bool {
    const HEDGES: [&str; 8] = ["may", "might", "or", "either", "perhaps", "maybe", "possibly", "if"];
    let is_hedged =
        |clause: &str| clause.split(|c: char| !c.is_alphabetic()).any(|word| HEDGES.contains(&word));
    clauses(text).iter().any(|clause| clause.contains(claim) && !is_hedged(clause))
}

fn names_the_base_url(text: &str) -> bool {
    text.contains("base_url") || text.contains("ATOMIVERSE_BASE_URL")
}

/// Fails with the lengths and not with the texts, which may be megabytes.
#[track_caller]
fn assert_bounded(errors: Vec<(&str, Error)>) {
    let mut failures = Vec::new();
    for (name, error) in errors {
        let texts = [
            ("{}", error.to_string()),
            ("{:?}", format!("{error:?}")),
            ("{:#?}", format!("{error:#?}")),
            ("the chain", chain(&error).join(": ")),
        ];
        for (form, text) in &texts {
            if text.len() > LONGEST_TEXT {
                failures.push(format!("{name}: {form} has {} bytes", text.len()));
            }
        }
        if texts[0].1.chars().any(char::is_control) {
            failures.push(format!("{name}: more than one line"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_long_cursor_makes_no_long_error() {
    let repeating = |length: usize| {
        let page = json(&page(&["a"], true, Some(&"c".repeat(length))));
        one_attempt(&RawServer::script(vec![page])).iter_jobs().find_map(Result::err).unwrap()
    };
    let listed = |answer: Answer, length: usize| {
        let client = one_attempt(&RawServer::script(vec![answer]));
        client.list_jobs().cursor("c".repeat(length)).send().unwrap_err()
    };
    let without_cursor = json(&page(&["j".repeat(MEGABYTE).as_str()], true, None));
    assert_bounded(vec![
        ("a cursor that repeats", repeating(LONG_URL)),
        ("a cursor too long to be sent", repeating(10 * MEGABYTE)),
        ("a cursor of the caller's", listed(answer(500, &[], ""), LONG_URL)),
        ("a cursor of the caller's that is too long to be sent", listed(answer(500, &[], ""), 10 * MEGABYTE)),
        ("more jobs and no cursor", listed(without_cursor, 1)),
    ]);
}

#[test]
fn a_long_response_makes_no_long_error() {
    let long = "x".repeat(MEGABYTE);
    let location = |length: usize| {
        let header = format!("location: https://service.example/{}", "x".repeat(length));
        get_error(answer(302, &[&header], ""))
    };
    let list = |body: &Value| {
        let server = RawServer::script(vec![json(&body.to_string())]);
        one_attempt(&server).list_jobs().send().unwrap_err()
    };
    let request_id = format!("x-request-id: {}", "r".repeat(LONG_URL));
    let content_type = format!("content-type: text/{}", "h".repeat(LONG_URL));
    assert_bounded(vec![
        ("a Location of 1 MB", location(MEGABYTE)),
        ("a Location of 30 KB", location(LONG_URL)),
        ("a detail of 1 MB", status_error(422, JSON, &detail(&long))),
        ("a detail of 30 KB", status_error(422, JSON, &detail(&long[..LONG_URL]))),
        ("a text of 1 MB", status_error(500, "content-type: text/plain", &long)),
        ("an HTML page of 1 MB", status_error(404, HTML, &format!("<title>{long}</title>"))),
        ("a request id of 30 KB", status_error(500, &request_id, "")),
        ("a content type of 30 KB", status_error(200, &content_type, "?")),
        ("a job that cannot be read", get_error(json(&value!({"job_id": long, "state": 5}).to_string()))),
        ("a flag that is a text of 1 MB", list(&value!({"jobs": [], "has_more": long}))),
        ("bytes that are not HTTP", get_error(raw(format!("{long}\r\n\r\n")))),
    ]);
}

#[test]
fn a_long_state_makes_no_long_error() {
    let long = "s".repeat(MEGABYTE);
    let in_long_state = job("a").replace(r#""done""#, &format!("{long:?}"));

    let server = RawServer::script(vec![answer(409, &[JSON], &detail("busy")), json(&in_long_state)]);
    let conflict = one_attempt(&server).delete_job("a").unwrap_err();
    assert!(conflict.is_conflict());

    let listed = format!(r#"{{"jobs":[{in_long_state}],"has_more":false,"next_cursor":null}}"#);
    let server = RawServer::start(move |_, request| {
        json(if request.line.contains('?') { &listed } else { &in_long_state })
    });
    let options = WaitOptions::new().timeout(Duration::from_millis(100));
    let timeout = one_attempt(&server).wait_for_job("a", &options).unwrap_err();
    assert!(timeout.is_timeout());
    assert_bounded(vec![("a delete that is refused", conflict), ("a wait that times out", timeout)]);
}

#[test]
fn a_large_batch_makes_no_long_error() {
    let entry = value!({"job_id": "a", "state": "pending", "status": "submitted"});
    let batch = |entries: Vec<Value>| {
        let count = entries.len();
        let body =
            value!({"total": count, "submitted": count, "failed": 0, "cache_hits": 0, "jobs": entries});
        json(&body.to_string())
    };

    // The first response has three entries for two payloads, and hands over what it received.
    let mut failed = entry.clone();
    failed["error"] = value!("e".repeat(MEGABYTE));
    let server = RawServer::script(vec![batch(vec![failed, entry.clone(), entry.clone()])]);
    let counted = one_attempt(&server).submit_batch([payload(), payload()]).unwrap_err();
    assert_eq!(counted.partial_batch().unwrap().received.jobs.len(), 3);

    let server = RawServer::script(vec![batch(vec![entry; 999])]);
    let many = one_attempt(&server).submit_batch(vec![payload(); 1000]).unwrap_err();
    assert_eq!(many.partial_batch().unwrap().received.jobs.len(), 999);
    assert_bounded(vec![("an entry with a long error", counted), ("many entries", many)]);
}

#[test]
fn a_long_value_of_the_caller_makes_no_long_error() {
    let server = RawServer::script(vec![answer(404, &[JSON], &detail("Job not found"))]);
    let client = one_attempt(&server);
    let id = |length: usize| "j".repeat(length);
    let build = |base_url: String, user_agent: String| {
        Client::builder().api_key(KEY).base_url(base_url).user_agent(user_agent).build().unwrap_err()
    };
    assert_bounded(vec![
        ("a job id of 30 KB", client.get_job(id(LONG_URL)).unwrap_err()),
        ("a job id of 1 MB", client.get_job(id(MEGABYTE)).unwrap_err()),
        ("a job id of 1 MB, to cancel", client.cancel_job(id(MEGABYTE)).unwrap_err()),
        ("a job id of 1 MB with a blank at its end", client.delete_job(id(MEGABYTE) + " ").unwrap_err()),
        ("a job id that is encoded", client.get_job("é".repeat(LONG_URL / 6)).unwrap_err()),
        ("a base URL of 1 MB", build(format!("ftp://{}", id(MEGABYTE)), "me".to_owned())),
        ("a user agent of 1 MB", build("http://localhost".to_owned(), id(MEGABYTE) + "\n")),
    ]);
}

/// This crate's lines at level debug that are about the job `a`.
struct Recorder(Mutex<Vec<String>>);

impl Log for Recorder {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with("atomiverse") && metadata.level() == Level::Debug
    }
    fn log(&self, record: &Record) {
        let line = record.args().to_string();
        if self.enabled(record.metadata()) && line.contains("/jobs/a") {
            lock(&self.0).push(line);
        }
    }
    fn flush(&self) {}
}

static RECORDER: Recorder = Recorder(Mutex::new(Vec::new()));

#[test]
fn each_attempt_writes_one_debug_line() {
    let test = "messages::each_attempt_writes_one_debug_line";
    // A logger belongs to the process, and another test sets its own.
    let output = in_own_process(test, &[], || {
        log::set_logger(&RECORDER).unwrap();
        log::set_max_level(LevelFilter::Debug);
        let run = |name: &str, max_retries: u32, server: Option<RawServer>| {
            let pause = Duration::from_millis(1);
            let builder = match &server {
                Some(server) => server.client_builder(),
                None => Client::builder().api_key(KEY).base_url(nobody()).retry_pause(pause, pause),
            };
            let client =
                builder.max_retries(max_retries).attempt_timeout(Duration::from_millis(50)).build().unwrap();
            let _ = client.get_job("a");
            for line in lock(&RECORDER.0).drain(..) {
                println!("\n{name}| {line}");
            }
        };
        let script = |answer: Answer| Some(RawServer::script(vec![answer]));
        run("success", 0, script(json(&job("a"))));
        run("status", 0, script(answer(503, &[], "")));
        run("status, retried", 2, script(answer(503, &[], "")));
        run("refused", 0, None);
        run("refused, retried", 2, None);
        run("closed", 0, script(vec![Step::Close]));
        run("reset, retried", 2, script(vec![Step::Reset]));
        run("timeout", 0, script(vec![Step::Silence]));
        run("timeout, retried", 1, script(vec![Step::Silence]));
        run("redirect", 0, script(answer(302, &["location: /elsewhere"], "")));
        run("not found", 0, script(answer(404, &[JSON], &detail("Job not found"))));
    });
    let text = String::from_utf8(output.stdout).unwrap();
    let mut failures = Vec::new();
    for (name, attempts) in [
        ("success", 1),
        ("status", 1),
        ("status, retried", 3),
        ("refused", 1),
        ("refused, retried", 3),
        ("closed", 1),
        ("reset, retried", 3),
        ("timeout", 1),
        ("timeout, retried", 2),
        ("redirect", 1),
        ("not found", 1),
    ] {
        let lines: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("| ")).collect();
        if lines.len() != attempts {
            failures.push(format!("{name}: {attempts} attempts, {} lines: {lines:#?}", lines.len()));
        }
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The URL of a server that is not there.
fn nobody() -> String {
    // The port is free again when the listener is dropped.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{address}")
}

/// What anyhow's `{:#}` would print says nothing twice, and has no prefix of the HTTP library's.
#[track_caller]
fn assert_not_repeated(error: &Error) {
    let texts = chain(error);
    let whole = texts.join(": ");
    for (n, text) in texts.iter().enumerate() {
        for (other_n, other) in texts.iter().enumerate() {
            assert!(n == other_n || !text.contains(other.as_str()), "repeated by {other:?}: {whole}");
        }
    }
    let mut said: Vec<String> = clauses(&whole).into_iter().filter(|clause| clause.len() >= 10).collect();
    let count = said.len();
    said.sort();
    said.dedup();
    assert_eq!(said.len(), count, "a clause appears twice: {whole}");
    for text in &texts {
        assert!(!text.contains("io: "), "{text}");
    }
}

#[test]
fn a_refused_connection_is_said_once() {
    assert_not_repeated(&client_of_nobody().get_job("a").unwrap_err());
}

#[test]
fn a_reset_connection_is_said_once() {
    assert_not_repeated(&get_error(vec![Step::Reset]));
    assert_not_repeated(&get_error(vec![Step::Close]));
    let cut = raw("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{");
    assert_not_repeated(&get_error([cut, vec![Step::Close]].concat()));
}

#[test]
fn a_timeout_is_said_once() {
    let server = RawServer::script(vec![vec![Step::Silence]]);
    let client = server.client_builder().timeout(Duration::from_millis(50)).build().unwrap();
    assert_not_repeated(&client.get_job("a").unwrap_err());
}

#[test]
fn a_decode_error_is_said_once() {
    assert_not_repeated(&status_error(200, JSON, "{\"job_id\":"));
    assert_not_repeated(&status_error(200, JSON, r#"{"job_id":"9f2c","state":"done"}"#));
    assert_not_repeated(&status_error(200, HTML, "<html>hello</html>"));
    let list = RawServer::script(vec![json(r#"{"jobs":{},"has_more":false}"#)]);
    assert_not_repeated(&one_attempt(&list).list_jobs().send().unwrap_err());
}

#[test]
fn bytes_that_are_not_http_are_said_once() {
    assert_not_repeated(&get_error(raw("SSH-2.0-OpenSSH_9.7\r\n\r\n")));
}

#[test]
fn before_any_success_a_job_that_is_not_found_may_be_a_wrong_base_url() {
    type Call = fn(&Client) -> Result<(), Error>;
    let calls: [(&str, Call); 4] = [
        ("get", |client| client.get_job("a").map(drop)),
        ("rename", |client| client.rename_job("a", "water")),
        ("cancel", |client| client.cancel_job("a")),
        ("delete", |client| client.delete_job("a")),
    ];
    for (name, call) in calls {
        let server = RawServer::script(vec![answer(404, &[JSON], &detail("Not Found"))]);
        let text = call(&one_attempt(&server)).unwrap_err().to_string();
        assert!(names_the_base_url(&text), "{name}: {text}");
        assert!(!asserts(&text, "no such job"), "{name}: {text}");
        assert!(text.contains("Not Found"), "{name}: {text}");
    }
}

#[test]
fn after_a_success_a_job_that_is_not_found_is_not_blamed_on_the_base_url() {
    let not_found = answer(404, &[JSON], &detail("Job not found"));
    let client = one_attempt(&RawServer::script(vec![json(&job("a")), not_found]));
    client.get_job("a").unwrap();
    let error = client.get_job("b").unwrap_err();
    assert!(error.is_not_found());
    assert!(!names_the_base_url(&error.to_string()), "{error}");
}

#[test]
fn an_html_page_that_is_not_found_names_the_base_url() {
    let text = status_error(404, HTML, "<title>404 Not Found</title>").to_string();
    assert!(names_the_base_url(&text), "{text}");
    assert!(!asserts(&text, "no such job"), "{text}");
}

#[test]
fn a_forbidden_call_quotes_the_server_and_does_not_guess_at_the_kind_of_key() {
    let text = status_error(403, JSON, &detail("balance too low")).to_string();
    assert!(text.contains("balance too low"), "{text}");
    assert!(!asserts(&text, "workspace key"), "{text}");
    assert!(!asserts(&text, "api key does not allow"), "{text}");
}

#[test]
fn a_key_that_did_not_arrive_is_not_called_revoked() {
    let error = status_error(401, JSON, &detail("Not authenticated"));
    let text = error.to_string();
    assert!(error.is_unauthorized());
    assert!(text.contains("Not authenticated"), "{text}");
    assert!(!text.contains("revoked"), "{text}");
}

#[test]
fn a_key_that_is_refused_is_to_be_checked() {
    let text = status_error(401, JSON, &detail("Invalid API key")).to_string();
    assert!(text.contains("Invalid API key"), "{text}");
    assert!(
        text.to_lowercase().contains("check the api key") || text.contains("ATOMIVERSE_API_KEY"),
        "{text}"
    );
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
mod with_tls {
    use std::io::{Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::thread;

    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;

    /// A server on 127.0.0.1 that does this with each connection.
    fn serve(mut conversation: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Ends with the test's process.
        thread::spawn(move || listener.incoming().flatten().for_each(&mut conversation));
        address
    }

    /// A server whose certificate nobody has signed but itself.
    fn untrusted_server() -> SocketAddr {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        serve(move |stream| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            // The client goes away in the middle of the handshake.
            let _ = StreamOwned::new(connection, stream).read(&mut [0]);
        })
    }

    fn get(base_url: String) -> Error {
        let builder = Client::builder().api_key(KEY).base_url(base_url).proxy_from_env(false);
        builder.max_retries(0).timeout(Duration::from_secs(10)).build().unwrap().get_job("a").unwrap_err()
    }

    #[test]
    fn a_certificate_that_is_not_trusted_leads_to_the_settings_that_help() {
        let error = get(format!("https://{}", untrusted_server()));
        let text = error.to_string();
        assert!(text.contains("add_root_certificates"), "{text}");
        assert!(text.contains("platform-verifier"), "{text}");
        assert_eq!(error.status(), None);
        assert!(!error.is_transient(), "trust does not come by itself");
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_said_once() {
        assert_not_repeated(&get(format!("https://{}", untrusted_server())));
    }

    #[test]
    fn https_to_a_server_of_plain_http_says_so() {
        // As nginx and others do with bytes that are no HTTP.
        let address = serve(|mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.shutdown(Shutdown::Write);
            // Until the client has gone: to close with bytes unread would reset the connection.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let error = get(format!("https://{address}"));
        let text = error.to_string();
        assert!(text.contains("TLS") || text.contains("secure connection"), "{text}");
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
        assert!(words.iter().any(|word| word.eq_ignore_ascii_case("http")), "https is not enough: {text}");
        assert_not_repeated(&error);
    }

    #[test]
    fn a_dead_proxy_is_named_without_its_password() {
        let address = nobody().trim_start_matches("http://").to_owned();
        let test = "messages::with_tls::a_dead_proxy_is_named_without_its_password";
        let proxy = format!("http://user:hunter2@{address}");
        let output = in_own_process(test, &[("HTTPS_PROXY", &proxy)], || {
            let builder = Client::builder().api_key(KEY).base_url("https://service.example");
            let client = builder.max_retries(0).timeout(Duration::from_secs(10)).build().unwrap();
            let error = client.get_job("a").unwrap_err();
            println!("\n{error:#?}\n{}", chain(&error).join(": "));
        });
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("get job a: "), "{text} {}", String::from_utf8_lossy(&output.stderr));
        let line = text.lines().find(|line| line.starts_with("get job a: ")).unwrap();
        assert!(line.contains("proxy"), "{line}");
        assert!(line.contains(&address), "{line}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_url_of_an_error_has_no_query() {
    let cursor = "cursor-of-the-caller";
    let list = |client: Client| client.list_jobs().limit(7).cursor(cursor).send().unwrap_err();
    let of_server = |answer: Answer| {
        let builder = RawServer::script(vec![answer]).client_builder();
        list(builder.max_retries(0).timeout(Duration::from_millis(300)).build().unwrap())
    };
    for (name, error) in [
        ("status", of_server(answer(500, &[], ""))),
        ("decode", of_server(json("[]"))),
        ("closed", of_server(vec![Step::Close])),
        ("timeout", of_server(vec![Step::Silence])),
        ("refused", list(client_of_nobody())),
    ] {
        let texts =
            [error.to_string(), format!("{error:?}"), format!("{error:#?}"), chain(&error).join(": ")];
        for text in texts {
            assert!(!text.contains(cursor) && !text.contains("limit=7"), "{name}: {text}");
        }
        assert!(error.to_string().contains("/api/v1/jobs"), "{name}: {error}");
    }
}

/// The durations in a text, in seconds: `0.05 s`, `50 ms`, `1.5s`.
fn durations(text: &str) -> Vec<f64> {
    let words: Vec<&str> =
        text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric())).collect();
    let mut found = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let following = words.get(n + 1).copied().unwrap_or_default();
        let attached = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &word[..word.len() - attached.len()];
        let unit = if attached.is_empty() { following } else { attached };
        let factor = match unit {
            "s" | "second" | "seconds" => 1.0,
            "ms" | "milliseconds" => 1e-3,
            _ => continue,
        };
        found.extend(number.parse::<f64>().map(|number| number * factor));
    }
    found
}

#[test]
fn a_final_timeout_says_how_long_the_whole_call_took() {
    let server = RawServer::script(vec![vec![Step::Silence]]);
    let client = server
        .client_builder()
        .attempt_timeout(Duration::from_millis(50))
        .retry_pause(Duration::from_millis(60), Duration::from_millis(60))
        .build()
        .unwrap();
    let error = client.get_job("a").unwrap_err();
    let text = error.to_string();
    assert_eq!((error.is_timeout(), error.attempts()), (true, 3), "{text}");
    assert!(text.contains("3 times") || text.contains("3 attempts"), "{text}");
    let durations = durations(&text);
    assert!(durations.iter().any(|seconds| (0.05..0.06).contains(seconds)), "the attempt's bound: {text}");
    assert!(durations.iter().any(|seconds| *seconds >= 0.15), "the whole call's time: {text}");
}

#[test]
fn an_error_that_a_later_call_may_not_meet_is_transient() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let error = status_error(status, JSON, &detail("busy"));
        assert!(error.is_transient(), "{error}");
        assert_eq!(error.status(), Some(status));
        assert!(!error.is_decode(), "{error}");
    }
    let cut = [raw("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"), vec![Step::Close]].concat();
    let silent = RawServer::script(vec![vec![Step::Silence]]);
    let impatient = silent.client_builder().timeout(Duration::from_millis(50)).build().unwrap();
    for (name, error) in [
        ("refused", client_of_nobody().get_job("a").unwrap_err()),
        ("closed", get_error(vec![Step::Close])),
        ("reset", get_error(vec![Step::Reset])),
        ("cut", get_error(cut)),
        ("timeout", impatient.get_job("a").unwrap_err()),
        ("timeout of a change", impatient.cancel_job("a").unwrap_err()),
    ] {
        assert!(error.is_transient(), "{name}: {error}");
        // Of a response that was cut, the status is known.
        assert!(error.status().is_none() || name == "cut", "{name}: {error}");
        assert!(!error.is_decode(), "{name}: {error}");
        assert_eq!(error.is_timeout(), name.starts_with("timeout"), "{name}: {error}");
    }
}

#[test]
fn an_error_that_a_later_call_would_meet_again_is_not_transient() {
    for status in [302, 400, 401, 403, 404, 409, 410, 422, 501] {
        let error = status_error(status, JSON, &detail("no"));
        assert!(!error.is_transient(), "{error}");
        assert_eq!(error.status(), Some(status));
        assert!(!error.is_decode(), "{error}");
    }
    let server = RawServer::script(vec![json(&job("a"))]);
    for (name, error) in [
        ("an empty id", server.client().get_job("").unwrap_err()),
        ("an id that is a path", server.client().get_job("..").unwrap_err()),
        ("a payload that is no object", server.client().submit_job("text").map(drop).unwrap_err()),
        ("no key", Client::builder().build().unwrap_err()),
    ] {
        assert!(!error.is_transient() && !error.is_decode() && !error.is_not_found(), "{name}: {error}");
        assert_eq!((error.status(), error.attempts()), (None, 0), "{name}: {error}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_response_that_cannot_be_read_is_a_decode_error() {
    let list = RawServer::script(vec![json("[]")]);
    let submit = RawServer::script(vec![answer(201, &[JSON], "{}")]);
    let batch = RawServer::script(vec![json(r#"{"jobs":"all"}"#)]);
    for (name, status, error) in [
        ("HTML", 200, status_error(200, HTML, "<html>hello</html>")),
        ("empty", 200, status_error(200, JSON, "")),
        ("half", 200, status_error(200, JSON, "{\"job_id\":")),
        ("a missing field", 200, status_error(200, JSON, r#"{"job_id":"9f2c","state":"done"}"#)),
        ("list", 200, one_attempt(&list).list_jobs().send().unwrap_err()),
        ("submission", 201, one_attempt(&submit).submit_job(&payload()).map(drop).unwrap_err()),
        ("batch", 200, one_attempt(&batch).submit_batch([payload()]).map(drop).unwrap_err()),
    ] {
        assert!(error.is_decode(), "{name}: {error}");
        assert!(!error.is_transient() && !error.is_not_found(), "{name}: {error}");
        assert_eq!(error.status(), Some(status), "{name}: {error}");
    }
}

#[test]
fn a_job_that_is_gone_for_good_is_not_found() {
    for status in [404, 410] {
        let error = status_error(status, JSON, &detail("gone"));
        assert!(error.is_not_found(), "{error}");
        assert_eq!(error.status(), Some(status));
    }
}

#[test]
fn an_html_page_with_404_is_not_a_job_that_is_not_found() {
    for header in [HTML, "content-type: text/html; charset=utf-8"] {
        let error = status_error(404, header, "<html><title>404 Not Found</title></html>");
        assert!(!error.is_not_found(), "{error}");
        assert_eq!(error.status(), Some(404));
    }
}
