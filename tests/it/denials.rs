//! Bodies that contradict a success status, and responses that leave open what happened.

use atomiverse::{Client, Error, Result, WaitOptions};

use crate::support::{Answer, RawServer, Step, answer, job, json, page, raw};

type Change = (&'static str, fn(&Client) -> Result<()>);

const CHANGES: [Change; 3] = [
    ("rename", |client| client.rename_job("101", "water")),
    ("cancel", |client| client.cancel_job("101")),
    ("delete", |client| client.delete_job("101")),
];

/// The outcome of each change that is answered like this. The job is running before and after.
fn outcomes(response: &Answer) -> Vec<(&'static str, Result<()>)> {
    let response = response.clone();
    let server = RawServer::start(move |_, request| {
        if request.line.starts_with("GET ") {
            return json(&job("101").replace("done", "running"));
        }
        response.clone()
    });
    let client = server.client_builder().max_retries(0).build().unwrap();
    // Not dropped, because it would hold these bodies to the contract.
    std::mem::forget(server);
    CHANGES.iter().map(|(name, change)| (*name, change(&client))).collect()
}

#[track_caller]
fn assert_no_change_is_confirmed(what: &str, response: &Answer) {
    for (change, outcome) in outcomes(response) {
        let error = outcome.expect_err(&format!("{change}: {what}"));
        assert!(error.to_string().contains("does not confirm it"), "{change}: {what}: {error}");
    }
}

fn typed(content_type: &str, body: &[u8]) -> Answer {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n", body.len());
    raw([head.as_bytes(), body].concat())
}

#[test]
fn a_body_that_cannot_be_read_confirms_no_change() {
    let utf_16: Vec<u8> = r#"{"success":false}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bodies: [(&str, &[u8]); 12] = [
        ("text/html", b"\xef\xbb\xbf<!doctype html><title>Sign in</title>"),
        ("text/html", b"Please sign in"),
        ("application/json", b"\xef\xbb\xbf{\"success\":false}"),
        ("application/json", &utf_16),
        ("application/json", b")]}'\n{\"success\":false}"),
        ("application/json", b"{\"success\":false}\n// took 3 ms"),
        ("application/json", b"Notice: Undefined index\n{\"success\":false}"),
        ("application/json", b"{\"success\":false,\"took\":NaN}"),
        ("application/json", b"{\"message\":\"caf\xe9\"}"),
        ("application/json", b"{\"success\": fal"),
        ("text/plain", b"ERROR: read-only"),
        ("application/json", b"\"error: read-only\""),
    ];
    for (content_type, body) in bodies {
        assert_no_change_is_confirmed(&String::from_utf8_lossy(body), &typed(content_type, body));
    }
    let encoded = answer(200, &["content-encoding: br"], "OK");
    assert_no_change_is_confirmed("br", &encoded);
    let nested = format!(r#"{{"success":true,"deep":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    assert_no_change_is_confirmed("nested", &json(&nested));
}

#[test]
fn a_denial_in_other_words_confirms_no_change() {
    for body in [
        r#"{"job_id":"101","status":"error","message":"read-only"}"#,
        r#"{"job_id":"101","error":"read-only"}"#,
        r#"{"errors":{"name":["is too long"]}}"#,
        r#"{"errors":"read-only"}"#,
        r#"{"data":{"success":false}}"#,
        r#"{"data":{"error":"read-only"}}"#,
        r#"[{"success":false}]"#,
        r#"[{"job_id":"101","status":409}]"#,
        r#"{"results":[{"job_id":"101","status":409}]}"#,
        r#"{"status":"Failure"}"#,
        r#"{"status":"failed"}"#,
        r#"{"status":"404"}"#,
        r#"{"status_code":404,"detail":"Not found"}"#,
        r#"{"code":"NOT_FOUND"}"#,
        r#"{"detail":"Not found"}"#,
        r#"{"result":false}"#,
        r#"{"result":"error"}"#,
        r#"{"errorMessage":"read-only","errorType":"Error"}"#,
        r#"{"success":null}"#,
        r#"{"success":"no"}"#,
        r#"{"ok":"0"}"#,
    ] {
        assert_no_change_is_confirmed(body, &json(body));
    }
    for body in [r#"{"deleted":null}"#, r#"{"deleted":[]}"#, r#"{"deleted_count":0}"#] {
        let (_, outcome) = outcomes(&json(body)).pop().unwrap();
        assert!(outcome.unwrap_err().to_string().contains("does not confirm it"), "{body}");
    }
}

#[test]
fn what_services_say_of_a_change_that_was_made_confirms_it() {
    for (content_type, body) in [
        ("text/html", "OK"),
        ("text/plain", "Job cancelled."),
        ("application/json", "null"),
        ("application/json", "true"),
        ("application/json", r#""ok""#),
        ("application/json", "\u{feff}{\"success\":true}"),
        ("application/json", r#"{"error":null,"errors":[],"code":0,"status":"ok"}"#),
        ("application/json", r#"{"message":"Job updated","status":200}"#),
        ("application/json", r#"{"job":{"job_id":"101","job_type":"opt","name":"water","error":"SCF"}}"#),
        ("application/json", r#"{"data":{"job_id":"101","name":" water ","owner":{"name":"me"}}}"#),
        ("application/json", r#"{"deleted":true,"deleted_count":1}"#),
    ] {
        for (change, outcome) in outcomes(&typed(content_type, body.as_bytes())) {
            outcome.unwrap_or_else(|error| panic!("{change}: {body}: {error}"));
        }
    }
}

#[test]
fn a_rename_is_not_confirmed_by_the_old_name_wherever_it_stands() {
    for body in [
        r#"{"result":{"job_id":"101","name":"old"}}"#,
        r#"[{"job_id":"101","name":"old"}]"#,
        r#"{"data":{"job":{"name":"old"}}}"#,
        r#"{"data":{"id":"101","attributes":{"name":"old"}}}"#,
        r#"{"item":{"name":"old"}}"#,
        r#"{"job":{},"data":{"name":"old"}}"#,
    ] {
        let (_, outcome) = outcomes(&json(body)).swap_remove(0);
        assert!(outcome.unwrap_err().to_string().contains("does not confirm it"), "{body}");
    }
}

#[test]
fn a_delete_that_shows_the_job_is_checked_wherever_it_stands() {
    for body in [
        r#"{"job":{"job_id":"101","state":"done"}}"#,
        r#"{"data":{"job_id":"101","state":"done"}}"#,
        r#"[{"job_id":"101","state":"done"}]"#,
        r#"{"job_id":"101","status":"archived"}"#,
        r#"{"job_id":"101","state":3}"#,
        "\u{feff}{\"job_id\":\"101\",\"state\":\"done\"}",
    ] {
        let (_, outcome) = outcomes(&json(body)).pop().unwrap();
        assert!(outcome.unwrap_err().to_string().contains("the job is still there and is running"), "{body}");
    }
}

/// A service without these routes, whose `GET` of the job is answered like this.
fn without_routes(get: Answer) -> Client {
    let server = RawServer::start(move |_, request| match request.line.split_once(' ').unwrap() {
        ("GET", path) if path.contains("limit=") => json(&page(&["101"], false, None)),
        ("GET", _) => get.clone(),
        _ => answer(404, &["content-type: application/json"], r#"{"detail":"Not Found"}"#),
    });
    let client =
        server.client_builder().max_retries(0).attempt_timeout(std::time::Duration::from_millis(300));
    let client = client.build().unwrap();
    std::mem::forget(server);
    client
}

#[test]
fn a_job_is_gone_only_if_it_was_looked_for_and_not_found() {
    let running = job("101").replace("done", "running");
    for (what, get) in [
        ("503", answer(503, &[], "")),
        ("500", answer(500, &[], "")),
        ("403", answer(403, &["content-type: application/json"], "{}")),
        ("429", answer(429, &["Retry-After: 3600"], "")),
        ("silence", vec![Step::Silence]),
        ("an unreadable job", json(&running.replace("\"created_at\"", "\"created\""))),
        ("an envelope", json(&format!(r#"{{"job":{running}}}"#))),
        ("another spelling", json(&running.replace("101", "101a"))),
    ] {
        let errors: [Error; 4] = [
            without_routes(get.clone()).delete_job_if_exists("101").unwrap_err(),
            without_routes(get.clone()).delete_job("101").unwrap_err(),
            without_routes(get.clone()).cancel_job("101").unwrap_err(),
            without_routes(get.clone()).cancel_and_delete("101", &WaitOptions::new()).unwrap_err(),
        ];
        for error in errors {
            assert!(!error.is_not_found() && error.status() == Some(404), "{what}: {error}");
            assert!(
                error.to_string().contains("it is not known whether the job is gone: get job 101"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_response_that_cannot_be_read_does_not_verify_the_address() {
    let server = RawServer::start(|_, request| match request.line.starts_with("GET ") {
        true => json(r#"{"status":"up"}"#),
        false => answer(404, &["content-type: application/json"], r#"{"detail":"Not Found"}"#),
    });
    let client = server.client();
    for _ in 0..2 {
        let error = client.delete_job_if_exists("101").unwrap_err();
        assert!(!error.is_not_found(), "{error}");
    }
    std::mem::forget(server);
}
