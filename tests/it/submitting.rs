//! Tests that the id of a submission is right, or that the error says that the job may have been submitted: generated
//! responses, and what is sent.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atomiverse::simulator::{Fault, Simulator};
use atomiverse::{BatchSubmission, Client, Error, JobState, SubmissionStatus};
use serde_json::{Value, json};

use crate::support::{Answer, Random, RawServer, Step, answer, json as answer_json, lock, raw};

fn payload(n: usize) -> Value {
    json!({"job_type": "opt", "name": format!("job {n}")})
}

/// Values of `job_id`, and the id that each of them is.
const IDS: [(&str, Option<&str>); 15] = [
    (r#""9f2c""#, Some("9f2c")),
    (r#" "9f2c" "#, Some("9f2c")),
    (r#""\u0039f\/2c""#, Some("9f/2c")),
    (r#""\ud83d\ude00 é""#, Some("\u{1f600} é")),
    ("17", Some("17")),
    ("18446744073709551616000000000000001", Some("18446744073709551616000000000000001")),
    ("", None),
    (r#""""#, None),
    ("null", None),
    ("17.0", None),
    ("1e400", None),
    (r#""\ud83d""#, None),
    (r#"["9f2c"]"#, None),
    (r#"{"job_id":"9f2c"}"#, None),
    (r#""a","job_id":"9f2c""#, Some("9f2c")),
];

/// Fields beside the id, in which nothing may decide what the id is.
const FIELDS: [&[u8]; 10] = [
    br#""name":"\ud83d""#,
    br#""name":"Mol\ude00ecule""#,
    b"\"name\":\"caf\xe9\"",
    br#""billed_core_seconds":1e400"#,
    br#""queue":{"position":-1e999,"job_id":"other"}"#,
    br#""id":"other""#,
    br#""job":{"job_id":"other","id":7}"#,
    br#""success":false"#,
    br#""state":7,"created_at":[],"job_type":{}"#,
    br#""JOB_ID":"other"," job_id":"other""#,
];

/// Returns the status and the body of a response, the id that is right, and whether the job is a cache hit.
fn submission(seed: u64) -> (u16, Vec<u8>, Option<&'static str>, bool) {
    let random = &mut Random(seed);
    let (value, mut id) = random.pick(&IDS);
    let is_cache_hit = random.below(4) == 0;
    let mut fields: Vec<Vec<u8>> = (0..random.below(4)).map(|_| random.pick(&FIELDS).to_vec()).collect();
    if random.below(8) == 0 {
        fields.push(format!(r#""deep":{}{}"#, "[".repeat(300), "]".repeat(300)).into_bytes());
    }
    if is_cache_hit {
        fields.push(br#""status":"cache_hit""#.to_vec());
    }
    if !value.is_empty() {
        let at = random.below(fields.len() + 1);
        fields.insert(at, format!(r#""job_id":{value}"#).into_bytes());
    }
    let object = [b"{".as_slice(), &fields.join(b",".as_slice()), b"}"].concat();
    let status = random.pick(&[200, 201, 202, 204]);
    let shape = if status == 204 { 8 } else { random.below(18) };
    let body = match shape {
        0 => [b"[".as_slice(), &object, b"]"].concat(),
        1 => [br#"{"data":"#.as_slice(), &object, b"}"].concat(),
        2 => object[..random.below(object.len())].to_vec(),
        3 => [object.as_slice(), b" ok"].concat(),
        4 => [object.as_slice(), &object].concat(),
        5 => [b"<html><title>Created</title>".as_slice(), &object].concat(),
        6 => random.pick(&[br#""9f2c""#.to_vec(), b"17".to_vec(), br#""ok""#.to_vec(), b"9f2c".to_vec()]),
        7 => random.pick(&[b"null".to_vec(), b"[]".to_vec(), b"true".to_vec(), b"id=9f2c".to_vec()]),
        8 => Vec::new(),
        9 => [b"\xef\xbb\xbf".as_slice(), &object].concat(),
        10 => [b" \r\n\t".as_slice(), &object, b"\n"].concat(),
        _ => object,
    };
    if shape < 9 {
        id = None;
    }
    (status, body, id, is_cache_hit)
}

/// Whether a message quotes the beginning of a body, in any notation.
fn quotes(message: &str, body: &[u8]) -> bool {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_ascii_graphic() && !['"', '\\'].contains(c)).take(4000).collect()
    };
    let beginning: String = plain(&String::from_utf8_lossy(body)).chars().take(20).collect();
    plain(message).contains(&beginning)
}

/// Starts a server that sends the response that is set.
fn server_of(response: &Arc<Mutex<Answer>>) -> RawServer {
    let response = response.clone();
    RawServer::start(move |_, _| lock(&response).clone())
}

fn with_body(status: u16, body: &[u8]) -> Answer {
    let head = match status {
        204 => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        _ => format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n", body.len()),
    };
    raw([head.as_bytes(), body].concat())
}

#[test]
fn the_id_of_a_submission_is_right_or_the_job_may_have_been_submitted() {
    let response = Arc::default();
    let server = server_of(&response);
    let client = server.client();
    for seed in 0..4_000 {
        let (status, body, id, is_cache_hit) = submission(seed);
        *lock(&response) = with_body(status, &body);
        let shown = format!("seed {seed}: {status} {}", String::from_utf8_lossy(&body));
        match (client.submit_job(&payload(1)), id) {
            (Ok(job), Some(id)) => {
                assert_eq!((job.id().as_str(), job.is_cache_hit()), (id, is_cache_hit), "{shown}");
                assert_eq!(job.summary(), None, "{shown}: an incomplete summary is not filled in");
            }
            (Err(error), None) => {
                assert!(error.may_have_been_processed() && error.is_decode(), "{shown}: {error}");
                assert!(error.to_string().contains("may have been submitted"), "{shown}: {error}");
                assert!(quotes(&error.to_string(), &body), "{shown}: {error}");
            }
            (outcome, _) => panic!("{shown}: {outcome:?}"),
        }
    }
    assert_eq!(server.requests().len(), 4_000, "no submission is sent twice");
}

#[test]
fn only_job_id_is_an_id() {
    for body in [r#""ok""#, r#""duplicate""#, "1", r#"{"id": "req-1", "status": "accepted"}"#] {
        let error = RawServer::script(vec![answer_json(body)]).client().submit_job(&payload(1)).unwrap_err();
        assert!(error.may_have_been_processed() && quotes(&error.to_string(), body.as_bytes()), "{error}");
    }
}

#[test]
fn half_an_emoji_in_the_name_does_not_lose_the_id() {
    let body = r#"{"job_id":"9f2c","name":"\ud83d","state":"pending","status":"cache_hit"}"#;
    let job = RawServer::script(vec![answer(201, &[], body)]).client().submit_job(&payload(1)).unwrap();
    assert_eq!(
        (job.id().as_str(), job.state(), job.is_cache_hit()),
        ("9f2c", Some(&JobState::Pending), true)
    );
}

/// Entries for a payload, the ids in them, and whether each says what became of its payload.
const ENTRIES: [(&str, Option<&str>, bool); 19] = [
    (r#"{"job_id":"a","state":"pending","status":"submitted"}"#, Some("a"), true),
    (r#"{"job_id":"b","state":"DONE","status":"cache_hit","error":null}"#, Some("b"), true),
    (r#"{"job_id":7,"state":null,"status":"submitted"}"#, Some("7"), true),
    (r#"{"job_id":"c","status":"queued","name":"\ud83d"}"#, Some("c"), true),
    (r#"{"load":1e400,"job_id":"d","status":"submitted","error":"\ud83d"}"#, Some("d"), true),
    (r#"{"job_id":"e","state":9,"status":9,"error":{"code":1e400}}"#, Some("e"), true),
    (r#"{"job_id":"f"}"#, Some("f"), true),
    (r#"{"job_id":"g","status":"failed","error":["full"]}"#, Some("g"), true),
    (r#"{"job_id":null,"state":null,"status":"failed","error":"job_type: Field required"}"#, None, true),
    (r#"{"job_id":"","status":"failed","error":{"code":7}}"#, None, true),
    (r#"{"job_id":[],"status":"skipped"}"#, None, true),
    (r#"{"id":"other","status":"submitted"}"#, None, false),
    (r#"{"job_id":null,"status":"submitted"}"#, None, false),
    (r#"{"job_id":{"job_id":"other"},"status":"cache_hit"}"#, None, false),
    (r#"{"job_id":"\ud83d","status":"submitted"}"#, None, false),
    (r#"{"job_id":"other","job_id":"other2","status":"submitted"}"#, Some("other2"), true),
    ("{}", None, false),
    ("null", None, false),
    (r#""other""#, None, false),
];

#[test]
fn the_ids_of_a_batch_are_right_and_none_is_lost() {
    let response = Arc::default();
    let server = server_of(&response);
    let client = server.client();
    for seed in 0..3_000 {
        let random = &mut Random(seed);
        // Half of the batches are sound.
        let among = if random.below(2) == 0 { &ENTRIES[..11] } else { &ENTRIES[..] };
        let entries: Vec<_> = (0..1 + random.below(6)).map(|_| random.pick(among)).collect();
        let count = if random.below(5) == 0 { 1 + random.below(6) } else { entries.len() };
        let list = entries.iter().map(|(entry, ..)| *entry).collect::<Vec<_>>().join(",");
        let totals = r#""total":9,"submitted":8,"failed":7,"cache_hits":6"#;
        let (body, is_whole, has_entries) = match random.below(12) {
            0 => (format!(r#"{{"jobs":[{list}]}}"#), false, true),
            1 => (
                format!(r#"{{"jobs":[{list}],"total":-1,"submitted":8,"failed":7,"cache_hits":6}}"#),
                false,
                true,
            ),
            2 => (format!(r#"{{"jobs":[{list}],{totals}"#), false, false),
            3 => (format!(r#"[{list}]"#), false, false),
            4 => (format!("{{{totals}}}"), false, false),
            5 => (format!("<html>{list}"), false, false),
            6 => (format!(r#"{{"note":"\ud83d","jobs":[{list}],"load":1e400,{totals}}}"#), true, true),
            _ => (format!(r#"{{{totals},"jobs":[{list}]}}"#), true, true),
        };
        *lock(&response) = with_body(random.pick(&[200, 201, 202]), body.as_bytes());
        let is_ok = is_whole && count == entries.len() && entries.iter().all(|(.., is_clear)| *is_clear);
        let ids: Vec<Option<&str>> = entries.iter().map(|(_, id, _)| *id).filter(|_| has_entries).collect();
        let ids_of = |batch: &BatchSubmission| -> Vec<Option<String>> {
            batch.jobs.iter().map(|entry| entry.job_id.clone().map(String::from)).collect()
        };
        let shown = format!("seed {seed}: {count} payloads, {body}");
        match client.submit_batch((0..count).map(payload)) {
            Ok(batch) => {
                assert!(is_ok, "{shown}");
                assert_eq!(
                    ids_of(&batch),
                    ids.iter().map(|id| id.map(str::to_owned)).collect::<Vec<_>>(),
                    "{shown}"
                );
                assert_eq!((batch.total, batch.submitted, batch.failed, batch.cache_hits), (9, 8, 7, 6));
                let names: Vec<&str> = batch.job_ids().map(|id| id.as_str()).collect();
                assert_eq!(names, ids.into_iter().flatten().collect::<Vec<_>>(), "{shown}");
            }
            Err(error) => {
                assert!(!is_ok && error.may_have_been_processed(), "{shown}: {error}");
                let partial = error.partial_batch().unwrap();
                let expected: Vec<_> = ids.iter().map(|id| id.map(str::to_owned)).collect();
                assert_eq!(ids_of(&partial.received), expected, "{shown}: {error}");
                assert_eq!((partial.answered.len(), partial.failed.clone()), (0, 0..count), "{shown}");
            }
        }
    }
}

#[test]
fn the_reason_and_the_status_of_an_entry_are_kept_as_they_are() {
    let body = format!(
        r#"{{"total":3,"submitted":0,"failed":3,"cache_hits":0,"jobs":[{},{},{}]}}"#,
        ENTRIES[8].0, ENTRIES[9].0, ENTRIES[10].0
    );
    let server = RawServer::script(vec![answer_json(&body)]);
    let batch = server.client().submit_batch((0..3).map(payload)).unwrap();
    let reasons: Vec<Option<&str>> = batch.jobs.iter().map(|entry| entry.error.as_deref()).collect();
    assert_eq!(reasons, [Some("job_type: Field required"), Some(r#"{"code":7}"#), None]);
    assert_eq!(batch.jobs[2].status, SubmissionStatus::Unknown("skipped".into()));
}

/// Submits 2500 payloads. The first thousand are accepted, and the second request gets this response.
fn second_of_three(second: Answer) -> (RawServer, Error) {
    let entry = r#"{"job_id":"a","state":"pending","status":"submitted"}"#;
    let most = u64::MAX;
    let first = format!(
        r#"{{"total":{most},"submitted":1000,"failed":0,"cache_hits":0,"jobs":[{}]}}"#,
        vec![entry; 1000].join(",")
    );
    let server = RawServer::script(vec![answer_json(&first), second]);
    let error = server.client().submit_batch((0..2500).map(payload)).unwrap_err();
    (server, error)
}

#[test]
fn a_long_batch_stops_at_the_first_request_that_fails_and_tells_what_was_sent() {
    let short =
        r#"{"total":1,"submitted":1,"failed":0,"cache_hits":0,"jobs":[{"job_id":"b","status":"submitted"}]}"#;
    for (second, may_be_there, received) in [
        (answer(403, &[], r#"{"detail":"balance too low"}"#), false, 1000),
        (vec![Step::Close], true, 1000),
        (answer(200, &[], "<html>"), true, 1000),
        // The totals are added up to the largest number that there is.
        (answer_json(short), true, 1001),
    ] {
        let (server, error) = second_of_three(second);
        assert_eq!(server.requests().len(), 2, "{error}");
        assert_eq!(error.may_have_been_processed(), may_be_there, "{error}");
        let partial = error.partial_batch().unwrap();
        assert_eq!(partial.received.jobs.len(), received, "{error}");
        assert_eq!(
            (partial.answered.clone(), partial.failed.clone(), partial.not_sent.clone()),
            (0..1000, 1000..2000, 2000..2500)
        );
    }
}

#[test]
fn a_batch_is_sent_in_requests_of_a_thousand_and_has_one_entry_for_each_payload() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    assert_eq!(client.submit_batch::<Value>([]).unwrap().total, 0);
    assert_eq!(simulator.requests().len(), 0);
    let payload = |n| if n == 1 { json!({}) } else { payload(n) };
    let batch = client.submit_batch((0..2001).map(payload)).unwrap();
    let sizes = simulator.requests().into_iter().map(|request| {
        assert_eq!(request.to_string(), "POST /api/v1/jobs/batch");
        serde_json::from_str::<Value>(&request.body).unwrap()["jobs"].as_array().unwrap().len()
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [1000, 1000, 1]);
    assert_eq!((batch.total, batch.submitted, batch.failed, batch.jobs.len()), (2001, 2000, 1, 2001));
    assert_eq!(
        (&batch.jobs[0].status, &batch.jobs[1].status),
        (&SubmissionStatus::Submitted, &SubmissionStatus::Failed)
    );
    assert_eq!(batch.jobs[1].error.as_deref(), Some("job_type: Field required"));
    assert_eq!(batch.job_ids().count(), 2000);
    let last = batch.jobs[2000].job_id.as_ref().unwrap();
    assert_eq!(client.get_job(last).unwrap().name.as_deref(), Some("job 2000"));
}

#[test]
fn any_payload_that_is_an_object_is_sent_unchanged() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    let job = client.submit_job(&payload(1)).unwrap();
    let sent = simulator.requests().pop().unwrap();
    assert_eq!(sent.to_string(), "POST /api/v1/jobs");
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_eq!(job.summary().unwrap().name.as_deref(), Some("job 1"));
    // Numbers and keys that a `Value` would change are sent byte for byte.
    let text = r#"{"job_type":"opt","n":123456789012345678901234567890,"x":1,"x":1.10}"#;
    client.submit_job(&serde_json::value::RawValue::from_string(text.into()).unwrap()).unwrap();
    assert_eq!(simulator.requests().pop().unwrap().body, text);
}

#[test]
fn a_payload_that_is_not_an_object_is_refused_before_any_request() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    let mut errors = vec![client.submit_job(r#"{"job_type": "opt"}"#).unwrap_err()];
    errors.extend([json!([]), json!(7), Value::Null].map(|payload| client.submit_job(&payload).unwrap_err()));
    errors.push(client.submit_job(&std::collections::HashMap::from([((1, 2), 3)])).unwrap_err());
    errors.push(client.submit_batch([payload(0), json!("text"), payload(2)]).unwrap_err());
    assert!(errors.pop().unwrap().to_string().contains("payloads[1]"));
    assert!(errors.iter().all(|error| error.attempts() == 0 && !error.may_have_been_processed()));
    assert_eq!(simulator.requests().len(), 0);
    let refused = client.submit_job(&json!({"name": "water"})).unwrap_err();
    assert!(refused.is_validation() && !refused.may_have_been_processed(), "{refused}");
}

#[test]
fn a_submission_is_sent_again_only_if_it_cannot_have_been_accepted() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    simulator.fail_times(2, Fault::status(429).header("Retry-After", "1"));
    client.submit_job(&payload(0)).unwrap();
    client.submit_job(&payload(1)).unwrap();
    let keys: Vec<String> = simulator
        .requests()
        .iter()
        .map(|request| request.header("idempotency-key").unwrap().to_owned())
        .collect();
    assert!(
        keys[0] == keys[1] && keys[0] == keys[2] && keys[0] != keys[3],
        "one key for each call: {keys:?}"
    );
    // The port is free again when the listener is dropped.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = simulator.client_builder().base_url(format!("http://{nobody}")).build().unwrap();
    let error = nobody.submit_job(&payload(1)).unwrap_err();
    assert!(error.attempts() == 3 && !error.may_have_been_processed(), "{error}");

    let submit: [fn(&Client) -> Error; 2] = [
        |client| client.submit_job(&payload(1)).unwrap_err(),
        |client| client.submit_batch([payload(1)]).unwrap_err(),
    ];
    let half = [raw("HTTP/1.1 201 Created\r\ncontent-length: 99\r\n\r\n{"), vec![Step::Close]].concat();
    let mut cases = vec![
        (vec![Step::Close], true),
        (vec![Step::Silence], true),
        (half, true),
        (answer(303, &["location: /jobs/1"], ""), true),
    ];
    cases.extend([408, 500, 502, 503, 504].map(|status| (answer(status, &[], ""), true)));
    cases.extend(
        [307, 308, 400, 401, 403, 404, 409, 413, 422, 425].map(|status| (answer(status, &[], ""), false)),
    );
    for (response, may_be_there) in cases {
        for submit in submit {
            let server = RawServer::script(vec![response.clone()]);
            // A busy machine may need a while for a response that comes.
            let timeout = if matches!(response[..], [Step::Silence]) { 300 } else { 30_000 };
            let client = server.client_builder().timeout(Duration::from_millis(timeout)).build().unwrap();
            let error = submit(&client);
            assert_eq!(error.may_have_been_processed(), may_be_there, "{response:?}: {error}");
            assert_eq!(error.to_string().contains("may have been submitted"), may_be_there, "{error}");
            assert_eq!(server.requests().len(), 1, "{error}");
        }
    }
}
