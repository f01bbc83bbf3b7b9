//! Tests submissions: the requests, the results, and the errors if the outcome is uncertain.

use std::time::Duration;

use atomiverse::simulator::Fault;
use atomiverse::{Client, Error, JobState, SubmissionStatus};
use serde::Serialize;
use serde_json::{Value, json};

use crate::contract::start;
use crate::support::{Answer, RawServer, Step, answer, client_of_nobody, json as answer_json, raw};

fn payload(n: usize) -> Value {
    json!({"job_type": "opt", "name": format!("job {n}")})
}

fn submitted_ids(client: &Client) -> usize {
    client.iter_jobs().count()
}

#[test]
fn any_payload_that_is_an_object_is_sent_unchanged() {
    #[derive(Serialize)]
    struct SinglePoint<'a> {
        job_type: &'a str,
        name: &'a str,
        charge: i32,
        positions: Vec<[f64; 3]>,
    }
    let (simulator, client) = start();
    let payload = SinglePoint {
        job_type: "single_point_energy",
        name: "water",
        charge: 0,
        positions: vec![[0.0, 0.1, -0.5]],
    };
    let job = client.submit_job(&payload).unwrap();

    let request = simulator.requests().pop().unwrap();
    assert_eq!(request.to_string(), "POST /api/v1/jobs");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        request.body,
        r#"{"job_type":"single_point_energy","name":"water","charge":0,"positions":[[0.0,0.1,-0.5]]}"#
    );
    let summary = job.summary().unwrap();
    assert_eq!(summary.state, JobState::Pending);
    assert_eq!(summary.name.as_deref(), Some("water"));
    assert_eq!(summary.job_id, *job.id());

    let value: Value = serde_json::from_str(r#"{"job_type": "opt"}"#).unwrap();
    client.submit_job(&value).unwrap();
    assert_eq!(submitted_ids(&client), 2);
}

#[test]
fn a_repeated_payload_returns_the_existing_job() {
    let (_simulator, client) = start();
    let first = client.submit_job(&payload(1)).unwrap();
    let second = client.submit_job(&payload(1)).unwrap();
    assert_eq!(first.id(), second.id());
    assert_eq!(submitted_ids(&client), 1);
}

#[test]
fn the_response_to_a_submission_needs_only_an_id() {
    let server = RawServer::script(vec![
        answer_json(r#"{"job_id":"a"}"#),
        answer(201, &[], r#"{"job_id":"b","state":"RUNNING","queue":{"position":3}}"#),
        answer(202, &[], r#"{"job_id":"c","state":7,"created_at":[],"name":{}}"#),
    ]);
    let client = server.client();
    let job = client.submit_job(&payload(1)).unwrap();
    assert_eq!((job.id().as_str(), job.summary()), ("a", None));
    let job = client.submit_job(&payload(1)).unwrap();
    assert_eq!((job.id().as_str(), job.state()), ("b", Some(&JobState::Running)));
    assert_eq!(job.summary(), None, "an incomplete summary is not filled in");
    let job = client.submit_job(&payload(1)).unwrap();
    assert_eq!((job.id().as_str(), job.summary()), ("c", None));
}

#[test]
fn a_payload_that_is_not_an_object_is_refused_before_any_request() {
    let (simulator, client) = start();
    let text = r#"{"job_type": "opt"}"#;
    let error = client.submit_job(text).unwrap_err();
    assert!(error.to_string().contains("parse it first"), "{error}");
    for payload in [json!([]), json!(7), Value::Null] {
        let error = client.submit_job(&payload).unwrap_err();
        assert!(error.to_string().contains("not a JSON object"), "{error}");
    }
    let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
    assert!(client.submit_job(&unwritable).unwrap_err().to_string().contains("cannot be written as JSON"));
    let error = client.submit_batch([payload(0), json!("text"), payload(2)]).unwrap_err();
    assert!(error.to_string().starts_with("payloads[1] "), "{error}");
    assert!(client.submit_batch([payload(0), json!([])]).is_err());
    assert_eq!(simulator.requests().len(), 0);
}

#[test]
fn a_payload_that_the_server_refuses_is_a_validation_error_with_its_message() {
    let (_simulator, client) = start();
    let error = client.submit_job(&json!({"name": "water"})).unwrap_err();
    assert!(error.is_validation());
    assert_eq!(error.server_message(), Some("job_type: Field required"));
    assert!(!error.may_have_been_submitted());
}

#[test]
fn a_batch_is_one_request_and_one_entry_for_each_payload() {
    let (simulator, client) = start();
    client.submit_job(&payload(1)).unwrap();
    simulator.set_capacity(2);
    let answer = client.submit_batch([payload(1), payload(2), json!({}), payload(3)]).unwrap();

    let request = simulator.requests().pop().unwrap();
    assert_eq!(request.to_string(), "POST /api/v1/jobs/batch");
    let sent: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(sent, json!({"jobs": [payload(1), payload(2), {}, payload(3)]}));

    assert_eq!((answer.total, answer.submitted, answer.failed, answer.cache_hits), (4, 1, 2, 1));
    let statuses: Vec<_> = answer.jobs.iter().map(|entry| entry.status.clone()).collect();
    use SubmissionStatus::{CacheHit, Failed, Submitted};
    assert_eq!(statuses, [CacheHit, Submitted, Failed, Failed]);
    assert_eq!(answer.jobs[1].state, Some(JobState::Pending));
    assert_eq!(answer.jobs[2].job_id, None);
    assert_eq!(answer.jobs[2].error.as_deref(), Some("job_type: Field required"));
    assert_eq!(answer.jobs[3].error.as_deref(), Some("own controller at capacity"));
    assert_eq!(
        client.get_job(answer.jobs[1].job_id.as_ref().unwrap()).unwrap().name.as_deref(),
        Some("job 2")
    );
}

#[test]
fn a_batch_of_a_thousand_is_one_request() {
    let (simulator, client) = start();
    assert_eq!(client.submit_batch((0..1000).map(payload)).unwrap().submitted, 1000);
    assert_eq!(simulator.requests().len(), 1);
}

#[test]
fn an_empty_batch_sends_nothing() {
    let (simulator, client) = start();
    assert_eq!(client.submit_batch::<Value>([]).unwrap().total, 0);
    assert_eq!(simulator.requests().len(), 0);
}

#[test]
fn a_long_batch_is_split_into_requests_of_a_thousand() {
    let (simulator, client) = start();
    let answer = client.submit_batch((0..2500).map(payload)).unwrap();
    let sizes: Vec<usize> = simulator
        .requests()
        .iter()
        .map(|request| {
            serde_json::from_str::<Value>(&request.body).unwrap()["jobs"].as_array().unwrap().len()
        })
        .collect();
    assert_eq!(sizes, [1000, 1000, 500]);
    assert_eq!((answer.total, answer.submitted, answer.jobs.len()), (2500, 2500, 2500));
    let last = answer.jobs[2499].job_id.as_ref().unwrap();
    assert_eq!(client.get_job(last).unwrap().name.as_deref(), Some("job 2499"));
}

/// Submits 2500 payloads. The first request of a thousand succeeds, and the second one gets this response.
fn second_of_three(fault: Answer) -> (RawServer, Error) {
    let entry = r#"{"job_id":"a","state":"pending","status":"submitted"}"#;
    let full = format!(
        r#"{{"total":1000,"submitted":1000,"failed":0,"cache_hits":0,"jobs":[{}]}}"#,
        vec![entry; 1000].join(",")
    );
    let server = RawServer::script(vec![answer_json(&full), fault]);
    let client = server.client_builder().timeout(Duration::from_secs(2)).build().unwrap();
    let error = client.submit_batch((0..2500).map(payload)).unwrap_err();
    (server, error)
}

#[test]
fn a_split_batch_stops_at_the_first_failed_request_and_reports_what_was_sent() {
    let (server, error) = second_of_three(answer(403, &[], r#"{"detail":"balance too low"}"#));
    assert_eq!(server.requests().len(), 2);
    let partial = error.partial_batch().unwrap();
    assert_eq!(partial.received.jobs.len(), 1000);
    assert_eq!(partial.received.submitted, 1000);
    assert_eq!(
        (partial.answered.clone(), partial.failed.clone(), partial.not_sent.clone()),
        (0..1000, 1000..2000, 2000..2500)
    );
    assert!(!error.may_have_been_submitted(), "nothing was submitted by a request with status 403");
    let text = error.to_string();
    assert!(
        text.contains(
            "of 2500 payloads, the first 1000 were processed (1000 submitted, 0 failed, 0 cache hits), the next \
             1000 were in the request that failed, and the last 500 were not sent"
        ),
        "{text}"
    );
    assert!(text.contains("balance too low"), "{text}");
    assert_eq!(error.status(), Some(403));

    let (_, error) = second_of_three(vec![Step::Close]);
    assert!(error.may_have_been_submitted());
    assert_eq!(error.partial_batch().unwrap().failed, 1000..2000);
}

#[test]
fn a_status_is_shown_as_it_is_on_the_wire() {
    for text in ["submitted", "cache_hit", "failed", "queued"] {
        let status: SubmissionStatus = serde_json::from_value(text.into()).unwrap();
        assert_eq!(status.as_str(), text);
        assert_eq!(format!("{status:>10}"), format!("{text:>10}"));
        assert_eq!(serde_json::to_value(&status).unwrap(), text);
        assert_eq!(matches!(status, SubmissionStatus::Unknown(_)), text == "queued");
    }
}

#[test]
fn a_wrong_number_of_entries_is_an_error_with_the_received_entries() {
    let body = r#"{"total":3,"submitted":2,"failed":0,"cache_hits":0,"jobs":[
        {"job_id":"a","state":"pending","status":"submitted"},{"job_id":"b","state":null,"status":"queued"}]}"#;
    let server = RawServer::script(vec![answer_json(body)]);
    let error = server.client().submit_batch((0..3).map(payload)).unwrap_err();
    assert_eq!(server.requests().len(), 1);
    assert!(
        error.to_string().contains("entries in the response (2) differs from the number of payloads (3)"),
        "{error}"
    );
    assert!(error.may_have_been_submitted());
    let partial = error.partial_batch().unwrap();
    assert_eq!(partial.received.jobs[0].job_id.as_ref().unwrap(), &"a");
    assert_eq!(partial.received.jobs[1].status, SubmissionStatus::Unknown("queued".into()));
    assert_eq!((partial.answered.clone(), partial.failed.clone()), (0..0, 0..3));
}

#[test]
fn huge_totals_do_not_overflow() {
    let entry = r#"{"job_id":"a","state":"pending","status":"submitted"}"#;
    let server = RawServer::start(move |n, _| {
        let entries = vec![entry; if n == 0 { 1000 } else { 1 }].join(",");
        let most = u64::MAX;
        answer_json(&format!(
            r#"{{"total":{most},"submitted":{most},"failed":{most},"cache_hits":{most},"jobs":[{entries}]}}"#
        ))
    });
    let answer = server.client().submit_batch((0..1001).map(payload)).unwrap();
    assert_eq!((answer.total, answer.submitted), (u64::MAX, u64::MAX));
    assert_eq!((answer.failed, answer.cache_hits), (u64::MAX, u64::MAX));
}

#[test]
fn a_submission_is_retried_only_if_it_cannot_have_been_accepted() {
    let (simulator, client) = start();
    simulator.fail_times(2, Fault::status(429).header("Retry-After", "1"));
    client.submit_job(&payload(0)).unwrap();
    assert_eq!(simulator.requests().len(), 3);
    simulator.fail_times(3, Fault::status(429));
    let error = client.submit_job(&payload(1)).unwrap_err();
    assert!(!error.may_have_been_submitted(), "{error}");
    assert_eq!(error.attempts(), 3);
    assert_eq!(submitted_ids(&client), 1);
}

#[test]
fn a_submission_without_a_connection_was_not_submitted() {
    let client = client_of_nobody();
    let error = client.submit_job(&payload(1)).unwrap_err();
    assert_eq!(error.attempts(), 3);
    assert!(!error.may_have_been_submitted(), "{error}");
}

#[test]
fn a_refused_submission_was_not_submitted() {
    for status in [400, 401, 403, 404, 409, 413, 422, 425, 307, 308] {
        let server = RawServer::script(vec![answer(status, &[], "")]);
        let error = server.client().submit_job(&payload(1)).unwrap_err();
        assert!(!error.may_have_been_submitted(), "{error}");
        assert!(!error.to_string().contains("may have been submitted"), "{error}");
    }
    let (_simulator, client) = start();
    assert!(!client.get_job("nope").unwrap_err().may_have_been_submitted());
}

#[test]
fn a_submission_whose_response_was_lost_is_found_among_the_newest_jobs() {
    let (simulator, client) = start();
    simulator.fail_next(Fault::LostAnswer);
    assert!(client.submit_job(&payload(1)).unwrap_err().may_have_been_submitted());
    assert_eq!(simulator.requests().len(), 1);
    assert_eq!(client.list_jobs().limit(1).send().unwrap().jobs[0].name.as_deref(), Some("job 1"));
}
