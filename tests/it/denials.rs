//! Tests bodies that contradict a success status, and responses that leave open what happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atomiverse::{Client, Error, Result, WaitOptions};

use crate::support::{Answer, RawServer, Step, answer, job, json, page, raw, until};

type Change = (&'static str, fn(&Client) -> Result<()>);

const CHANGES: [Change; 3] = [
    ("rename", |client| client.rename_job("101", "water")),
    ("cancel", |client| client.cancel_job("101")),
    ("delete", |client| client.delete_job("101")),
];

/// Returns the outcome of each change that gets this response. The job is running before and after.
fn outcomes(response: &Answer) -> Vec<(&'static str, Result<()>)> {
    let response = response.clone();
    let server = RawServer::start(move |_, request| {
        if request.line.starts_with("GET ") {
            return json(&job("101").replace("done", "running"));
        }
        response.clone()
    });
    let client = server.client_builder().max_retries(0).build().unwrap();
    // The server is not dropped, because it would then check the requests against the contract.
    std::mem::forget(server);
    CHANGES.iter().map(|(name, change)| (*name, change(&client))).collect()
}

#[track_caller]
fn assert_no_change_is_confirmed(what: &str, response: &Answer) {
    for (change, outcome) in outcomes(response) {
        let error = outcome.expect_err(&format!("{change}: {what}"));
        assert!(error.to_string().contains("does not confirm success"), "{change}: {what}: {error}");
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
        assert!(outcome.unwrap_err().to_string().contains("does not confirm success"), "{body}");
    }
}

#[test]
fn common_success_bodies_confirm_a_change() {
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
fn a_rename_is_not_confirmed_by_the_old_name_anywhere_in_the_body() {
    for body in [
        r#"{"result":{"job_id":"101","name":"old"}}"#,
        r#"[{"job_id":"101","name":"old"}]"#,
        r#"{"data":{"job":{"name":"old"}}}"#,
        r#"{"data":{"id":"101","attributes":{"name":"old"}}}"#,
        r#"{"item":{"name":"old"}}"#,
        r#"{"job":{},"data":{"name":"old"}}"#,
    ] {
        let (_, outcome) = outcomes(&json(body)).swap_remove(0);
        assert!(outcome.unwrap_err().to_string().contains("does not confirm success"), "{body}");
    }
}

#[test]
fn a_delete_is_verified_if_the_job_is_anywhere_in_the_body() {
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

/// Returns a client of a service that has no routes for changes and responds to a `GET` of the job with `get`.
fn without_routes(get: Answer) -> Client {
    let server = RawServer::start(move |_, request| match request.line.split_once(' ').unwrap() {
        ("GET", path) if path.contains("limit=") => json(&page(&["101"], false, None)),
        ("GET", _) => get.clone(),
        _ => answer(404, &["content-type: application/json"], r#"{"detail":"Not Found"}"#),
    });
    let client = server.client_builder().max_retries(0).attempt_timeout(Duration::from_millis(300));
    let client = client.build().unwrap();
    std::mem::forget(server);
    client
}

#[test]
fn a_job_is_reported_as_gone_only_if_a_reload_does_not_find_it() {
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
fn an_unreadable_response_does_not_verify_the_base_url() {
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

fn payloads(count: usize) -> Vec<serde_json::Value> {
    vec![serde_json::json!({"job_type": "opt"}); count]
}

#[test]
fn an_unreadable_batch_entry_does_not_lose_the_other_ids() {
    let odd = [
        r#"{"job_id":"b","state":3,"status":"submitted"}"#,
        r#"{"job_id":"b","state":"pending"}"#,
        r#"{"job_id":2.5,"state":"pending","status":"submitted"}"#,
        "null",
    ];
    let good = |id: &str| format!(r#"{{"job_id":"{id}","state":"pending","status":"submitted"}}"#);
    for odd in odd {
        let body = format!(
            r#"{{"total":3,"submitted":3,"failed":0,"cache_hits":0,"jobs":[{},{odd},{}]}}"#,
            good("a"),
            good("c")
        );
        let server = RawServer::script(vec![json(&body)]);
        let error = server.client().submit_batch(payloads(3)).unwrap_err();
        std::mem::forget(server);
        let received = &error.partial_batch().unwrap().received.jobs;
        let ids: Vec<Option<&str>> =
            received.iter().map(|entry| entry.job_id.as_ref().map(|id| id.as_str())).collect();
        assert_eq!((ids.len(), ids[0], ids[2]), (3, Some("a"), Some("c")), "{odd}");
        assert!(error.may_have_been_submitted(), "{error}");
    }
}

#[test]
fn an_index_must_be_the_position_of_its_entry() {
    let failed = |index: &str| format!(r#"{{"job_id":null,"state":null,"status":"failed","index":{index}}}"#);
    let job = |id: &str, index: &str| {
        format!(r#"{{"job_id":"{id}","state":"pending","status":"submitted","index":{index}}}"#)
    };
    let outcome = |entries: &[String]| {
        let body = format!(
            r#"{{"total":{n},"submitted":0,"failed":0,"cache_hits":0,"jobs":[{}]}}"#,
            entries.join(","),
            n = entries.len()
        );
        let server = RawServer::script(vec![json(&body)]);
        let outcome = server.client().submit_batch(payloads(entries.len()));
        std::mem::forget(server);
        outcome.map(drop)
    };
    outcome(&[job("a", "null"), job("b", "null"), failed("2")]).unwrap();
    outcome(&[job("a", "1"), job("b", "\"2\"")]).unwrap();
    outcome(&[job("a", "0.0"), job("b", "1")]).unwrap();
    for wrong in [
        [failed("1"), job("a", "null")],
        [job("a", "\"1\""), job("b", "\"0\"")],
        [job("a", "1.0"), job("b", "0.0")],
        [job("a", "[]"), job("b", "1")],
    ] {
        let error = outcome(&wrong).unwrap_err();
        assert!(error.to_string().contains("has an index that is not its position"), "{wrong:?}: {error}");
    }
}

#[test]
fn only_the_id_of_a_new_job_is_accepted_as_such() {
    for (body, named) in [
        (r#"{"jsonrpc":"2.0","id":1,"result":"107"}"#, None),
        (r#"{"id":"req-1","jobs":[{"job_id":"107"}]}"#, Some("107")),
        (r#"{"id":"req-1","data":{"job":{"job_id":"107"}}}"#, Some("107")),
        (r#"{"id":"req-1","job_ids":["107"]}"#, None),
        (r#""Quota exceeded: 0 core-seconds left""#, None),
        (r#""error""#, None),
        ("0", None),
        ("-1", None),
        (r#"{"id":"u-7","errors":{"name":["too long"]}}"#, None),
        (r#"{"job_id":"107","status":"error"}"#, Some("107")),
    ] {
        let server = RawServer::script(vec![answer(201, &["content-type: application/json"], body)]);
        let error = server.client().submit_job(&payloads(1)[0]).unwrap_err();
        std::mem::forget(server);
        assert!(error.may_have_been_submitted(), "{body}: {error}");
        assert!(named.is_none_or(|id| error.to_string().contains(id)), "{body}: {error}");
    }
    let server = RawServer::script(vec![answer(201, &["location: /api/v1/jobs/107"], "")]);
    let error = server.client().submit_job(&payloads(1)[0]).unwrap_err();
    std::mem::forget(server);
    assert!(error.to_string().contains("/api/v1/jobs/107"), "{error}");
}

#[test]
fn a_dotted_word_is_a_state_only_after_the_name_of_an_enum() {
    use atomiverse::JobState;
    assert_eq!(JobState::from("JobState.DONE"), JobState::Done);
    assert_eq!(JobState::from("app.JobStatus.canceled"), JobState::Cancelled);
    for word in ["scf.done", "stage1.done", "relax.failed", "not.done"] {
        assert_eq!(JobState::from(word), JobState::Unknown(word.to_owned()));
    }
}

#[test]
fn an_id_in_another_spelling_is_reported_at_once() {
    let server = RawServer::start(|_, request| match request.line.contains("limit=") {
        true => json(&page(&["abc-1"], false, None)),
        false => json(&job(if request.line.contains("101") { "101" } else { "abc-1" })),
    });
    let client = server.client();
    let outcomes: Vec<_> = client.wait_for_jobs(["101", "ABC1"], &WaitOptions::new()).collect();
    let error = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).unwrap();
    assert!(
        error.to_string().contains(
            "another job, abc-1; this seems to be the same id in the spelling of the service: use that"
        ),
        "{error}"
    );
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn a_single_response_from_a_gateway_does_not_end_a_wait() {
    let server = RawServer::start(|n, _| match n {
        0 => json(&job("a").replace("done", "running")),
        1 => answer(404, &["content-type: text/html"], "<h1>Not Found</h1>"),
        2 => answer(403, &["content-type: text/html"], "<h1>Forbidden</h1>"),
        _ => json(&job("a")),
    });
    let often = WaitOptions::new().min_interval(Duration::from_millis(1));
    assert_eq!(server.client().wait_for_job("a", &often).unwrap().job_id, "a");
}

#[test]
fn nothing_is_sent_after_the_deadline_if_a_hook_is_slow() {
    let server = RawServer::script(vec![json(&job("a"))]);
    let builder = server.client_builder().timeout(Duration::from_millis(50));
    let builder = builder.on_request(|_| std::thread::sleep(Duration::from_millis(100)));
    let error = builder.build().unwrap().cancel_job("a").unwrap_err();
    assert!(error.is_timeout() && !error.may_have_been_processed(), "{error}");
    assert_eq!(server.lines().len(), 0);
}

#[test]
fn a_key_that_the_server_escapes_is_hidden() {
    let key = "c2VjcmV0/a2V5LXZhbHVl==";
    for echo in [r"c2VjcmV0\/a2V5LXZhbHVl==", r"c2VjcmV0/a2V5LXZhbHVl\u003d\u003d"] {
        let server =
            RawServer::script(vec![answer(401, &[], &format!(r#"{{"detail":"invalid key {echo}"}}"#))]);
        let error = server.client_builder().api_key(key).build().unwrap().get_job("a").unwrap_err();
        std::mem::forget(server);
        assert_eq!(error.server_message(), Some("invalid key (hidden)"));
        assert!(!error.to_string().contains("a2V5LXZhbHVl"), "{error}");
    }
}

#[test]
fn a_remote_proxy_does_not_get_the_key_in_plain_text_unless_allowed() {
    let builder =
        || Client::builder().api_key("key").base_url("http://127.0.0.1:9").proxy("http://proxy.example:3128");
    let error = builder().build().unwrap_err();
    assert!(error.to_string().contains("would see the API key"), "{error}");
    builder().allow_insecure_http(true).build().unwrap();
    #[cfg(any(feature = "rustls", feature = "native-tls"))]
    Client::builder().api_key("key").proxy("http://proxy.example:3128").build().unwrap();
}

#[test]
fn a_dropped_bulk_call_sends_no_request_after_a_pause() {
    let server = RawServer::start(|n, _| match n {
        0 => answer(204, &[], ""),
        _ => answer(503, &["Retry-After: 20"], ""),
    });
    // Each worker has a clone of the client and therefore of the hook.
    let held = Arc::new(());
    let in_hook = held.clone();
    let client =
        server.client_builder().on_request(move |_| _ = Arc::strong_count(&in_hook)).build().unwrap();
    let mut bulk = client.delete_jobs(["a", "b", "c", "d"]).parallel(2);
    bulk.next().unwrap().1.unwrap();
    until(|| server.lines().len() >= 2);
    let dropped = Instant::now();
    drop((bulk, client));
    until(|| Arc::strong_count(&held) == 1);
    assert!(dropped.elapsed() < Duration::from_secs(15), "{:?}", dropped.elapsed());
    assert!(server.lines().len() <= 3, "{:?}", server.lines());
}

#[test]
fn a_prefetch_of_endless_empty_pages_is_bounded() {
    let server = RawServer::start(|n, _| json(&page(&[], true, Some(&format!("c{n}")))));
    let client = server.client().with_timeout(Duration::from_millis(300));
    let error = client.iter_jobs().prefetch(true).next().unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

#[test]
fn a_cursor_that_means_none_ends_a_listing_without_has_more() {
    for end in ["0", "-1", "\"0\"", "\"null\"", "\"None\"", "\"\"", "null"] {
        let server = RawServer::start(move |n, _| {
            let cursor = if n == 0 { "17".to_owned() } else { end.to_owned() };
            json(&format!(r#"{{"jobs":[{}],"next_cursor":{cursor}}}"#, job(n)))
        });
        let jobs = server.client().iter_jobs().collect::<Result<Vec<_>>>();
        std::mem::forget(server);
        assert_eq!(jobs.unwrap().len(), 2, "{end}");
    }
}
