//! Tests what an error tells a program. `messages` tests what it tells people.

use atomiverse::Error;

use crate::support::{RawServer, Step, answer, raw};

fn get(server: &RawServer) -> Error {
    let client = server.client_builder().max_retries(0).build().unwrap();
    client.get_job("9f2c").unwrap_err()
}

fn get_with(status: u16, headers: &[&str], body: &str) -> Error {
    get(&RawServer::script(vec![answer(status, headers, body)]))
}

#[test]
fn an_error_tells_the_job_the_status_the_message_and_the_id_of_the_request() {
    let error = get_with(404, &["x-request-id: req-7"], r#"{"detail":"Job not found"}"#);
    assert_eq!(format!("{error:?}"), error.to_string(), "an error returned from `main` must be readable");
    assert_eq!((error.status(), error.request_id(), error.attempts()), (Some(404), Some("req-7"), 1));
    assert_eq!((error.job_id().unwrap().as_str(), error.server_message()), ("9f2c", Some("Job not found")));
}

#[test]
fn each_status_satisfies_only_its_own_predicate() {
    type Question = fn(&Error) -> bool;
    let kinds: [(u16, Question); 5] = [
        (401, Error::is_unauthorized),
        (404, Error::is_not_found),
        (409, Error::is_conflict),
        (422, Error::is_validation),
        (429, Error::is_rate_limited),
    ];
    for (status, _) in kinds {
        let error = get_with(status, &[], "");
        assert_eq!(error.status(), Some(status));
        for (other, of_other) in kinds {
            assert_eq!(of_other(&error), other == status, "the predicate for {other} on status {status}");
        }
        assert_eq!(error.server_message(), None);
    }
}

#[test]
fn the_message_is_found_in_a_long_error_body() {
    let body = format!(r#"{{"context":"{}","detail":"out of memory"}}"#, "x".repeat(30_000));
    assert_eq!(get_with(422, &[], &body).server_message(), Some("out of memory"));
}

#[test]
fn a_truncated_response_keeps_its_request_id() {
    let broken = raw("HTTP/1.1 200 OK\r\nx-request-id: r1\r\ncontent-length: 100\r\n\r\n{");
    let server = RawServer::script(vec![[broken, vec![Step::Close]].concat()]);
    assert_eq!(server.client().get_job("a").unwrap_err().request_id(), Some("r1"));
}

#[test]
fn a_redirect_is_not_followed_and_the_error_names_its_target() {
    for status in [300, 301, 302, 303, 307, 308] {
        let server =
            RawServer::script(vec![answer(status, &["location: https://elsewhere.example/jobs"], "")]);
        let client = server.client();
        for error in [
            client.get_job("a").unwrap_err(),
            client.rename_job("a", "b").unwrap_err(),
            client.cancel_job("a").unwrap_err(),
            client.delete_job("a").unwrap_err(),
            client.list_jobs().send().unwrap_err(),
        ] {
            assert_eq!(error.status(), Some(status));
            assert!(error.to_string().contains("https://elsewhere.example/jobs"), "{error}");
        }
        assert_eq!(server.requests().len(), 5, "{status}");
    }
}
