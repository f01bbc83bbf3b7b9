//! Tests which differences of a service from the contract are tolerated, and which are errors.

use atomiverse::{Client, Error, JobState, JobSummary};
use serde_json::{Value, json};

use crate::support::{RawServer, answer, job, json, page};

/// Returns a summary with another value in one field.
fn with(field: &str, value: Value) -> String {
    let mut summary: Value = serde_json::from_str(&job("a")).unwrap();
    summary[field] = value;
    summary.to_string()
}

fn without(field: &str) -> String {
    let mut summary: Value = serde_json::from_str(&job("a")).unwrap();
    summary.as_object_mut().unwrap().remove(field);
    summary.to_string()
}

fn get(body: &str) -> Result<JobSummary, Error> {
    RawServer::script(vec![json(body)]).client().get_job("a")
}

fn page_of(jobs: &[String], rest: &str) -> String {
    format!(r#"{{"jobs":[{}]{rest}}}"#, jobs.join(","))
}

fn ids(client: &Client) -> Vec<String> {
    client
        .iter_jobs()
        .map(|job| job.map_or_else(|error| format!("({error})"), |job| job.job_id.into()))
        .collect()
}

#[test]
fn one_unreadable_job_does_not_affect_the_others() {
    let bad = job("bad").replace(r#""created_at":"2026-05-02T14:32:01Z""#, r#""created_at":null"#);
    let server = RawServer::script(vec![
        json(&page_of(&[job("a"), bad, job("b")], r#","has_more":true,"next_cursor":"c1""#)),
        json(&page(&["c"], false, None)),
    ]);
    let client = server.client();
    let mut jobs = client.iter_jobs();
    assert_eq!(jobs.next().unwrap().unwrap().job_id, "a");
    let error = jobs.next().unwrap().unwrap_err();
    assert!(error.is_unreadable_job() && error.is_decode() && !error.is_transient());
    assert_eq!(error.job_id().unwrap(), "bad");
    assert_eq!(error.state(), Some(&JobState::Done));
    let text = error.to_string();
    assert!(text.contains("job 2 of the page (bad) cannot be read: created_at: "), "{text}");
    let rest: Vec<String> = jobs.map(|job| job.unwrap().job_id.into()).collect();
    assert_eq!(rest, ["b", "c"]);
}

#[test]
fn a_single_page_is_an_error_if_a_job_cannot_be_read() {
    let server =
        RawServer::script(vec![json(&page_of(&[job("a"), without("state")], r#","has_more":false"#))]);
    let error = server.client().list_jobs().send().unwrap_err();
    assert!(error.is_unreadable_job(), "{error}");
    assert!(error.to_string().contains("missing field `state`"), "{error}");
}

#[test]
fn the_cursor_decides_if_has_more_is_missing() {
    for (first, expected) in [
        (r#","next_cursor":"c1""#, vec!["a", "b"]),
        (r#","has_more":null,"next_cursor":"c1""#, vec!["a", "b"]),
        (r#","next_cursor":null"#, vec!["a"]),
        (r#","next_cursor":"""#, vec!["a"]),
        (r#","has_more":null,"next_cursor":null"#, vec!["a"]),
        (r#","has_more":false,"next_cursor":"c1""#, vec!["a"]),
    ] {
        // A later page may have neither field.
        let server =
            RawServer::script(vec![json(&page_of(&[job("a")], first)), json(&page_of(&[job("b")], ""))]);
        assert_eq!(ids(&server.client()), expected, "{first}");
    }
    let server = RawServer::script(vec![json(&page_of(&[job("a")], r#","next_cursor":17"#))]);
    let first = server.client().list_jobs().send().unwrap();
    assert_eq!((first.has_more, first.next_cursor.as_deref()), (true, Some("17")));
    let server = RawServer::script(vec![json(&page_of(&[job("a")], ""))]);
    let error = server.client().iter_jobs().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("neither `has_more` nor `next_cursor`"), "{error}");
    for odd in [r#","has_more":1"#, r#","has_more":"true""#, r#","has_more":true,"next_cursor":{"id":1}"#] {
        let server = RawServer::script(vec![json(&page_of(&[job("a")], odd))]);
        assert!(server.client().list_jobs().send().unwrap_err().is_decode(), "{odd}");
    }
}

#[test]
fn a_page_that_begins_like_the_previous_one_is_an_error() {
    let server = RawServer::start(|n, _| json(&page(&["a", "b"], true, Some(&format!("c{n}")))));
    let client = server.client();
    let mut jobs = client.iter_jobs();
    assert_eq!(jobs.next().unwrap().unwrap().job_id, "a");
    assert_eq!(jobs.next().unwrap().unwrap().job_id, "b");
    let error = jobs.next().unwrap().unwrap_err();
    assert!(error.to_string().contains("the server seems to ignore the cursor"), "{error}");
    assert!(jobs.next().is_none());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn charges_and_ids_are_read_in_several_forms() {
    assert_eq!(get(&with("billed_core_seconds", json!("12.50"))).unwrap().billed_core_seconds, Some(12.5));
    assert_eq!(get(&with("billed_core_seconds", json!(7))).unwrap().billed_core_seconds, Some(7.0));
    assert_eq!(get(&with("billed_core_seconds", Value::Null)).unwrap().billed_core_seconds, None);
    let server = RawServer::script(vec![json(&with("job_id", json!(7)))]);
    assert_eq!(server.client().get_job("7").unwrap().job_id, "7");
    for odd in [json!("free"), json!("NaN"), json!("inf"), json!({"amount": 1}), json!([1]), json!(true)] {
        let error = get(&with("billed_core_seconds", odd.clone())).unwrap_err();
        assert!(error.is_decode(), "{odd}: an unreadable charge is an error");
    }
}

#[test]
fn a_missing_required_field_is_an_error() {
    for field in ["job_id", "state", "job_type", "created_at"] {
        let error = get(&without(field)).unwrap_err();
        assert!(error.to_string().contains(&format!("missing field `{field}`")), "{error}");
    }
    for field in ["job_type", "created_at"] {
        assert!(get(&with(field, Value::Null)).unwrap_err().is_decode(), "{field}");
    }
}

#[test]
fn unknown_fields_are_kept_and_written_back() {
    let failed = with("error", json!({"code": "scf", "message": "did not converge"}));
    let job = get(&failed).unwrap();
    assert_eq!(job.extra["error"]["message"], "did not converge");
    let written = serde_json::to_value(&job).unwrap();
    assert_eq!(written["error"]["code"], "scf");
    assert_eq!(serde_json::from_value::<JobSummary>(written).unwrap(), job);
    assert!(get(&self::job("a")).unwrap().extra.is_empty());
}

/// Starts a server that redirects each path without a trailing slash to the same path with one, as FastAPI does.
fn slashes(location: impl Fn(&str) -> String + Send + 'static) -> RawServer {
    RawServer::start(move |_, request| {
        let (_, target) = request.line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if !path.ends_with('/') {
            let location = format!("location: {}", location(&format!("{path}/?{query}")));
            return answer(307, &[&location], "");
        }
        match request.line.split(' ').next() {
            Some("GET") if path.ends_with("/jobs/") => json(&page(&["a"], false, None)),
            Some("GET") => json(&job("a")),
            Some("POST") => answer(201, &[], &job("a")),
            _ => answer(204, &[], ""),
        }
    })
}

fn use_all(client: &Client) {
    assert_eq!(ids(client), ["a"]);
    client.get_job("a").unwrap();
    client.rename_job("a", "b").unwrap();
    client.cancel_job("a").unwrap();
    client.delete_job("a").unwrap();
    client.submit_job(&json!({"job_type": "opt"})).unwrap();
}
