//! Tests what an error says: what failed, on which job, the message of the server, and what to do.

use atomiverse::{Client, Error, WaitOptions};

use crate::support::{RawServer, Step, answer, client_of_nobody, in_own_process, job, json, raw};

fn get(server: &RawServer) -> Error {
    let client = server.client_builder().max_retries(0).build().unwrap();
    client.get_job("9f2c").unwrap_err()
}

fn get_with(status: u16, headers: &[&str], body: &str) -> Error {
    get(&RawServer::script(vec![answer(status, headers, body)]))
}

#[test]
fn an_error_is_one_line_with_action_job_status_message_advice_and_request_id() {
    let server = RawServer::script(vec![answer(
        404,
        &["x-request-id: req-7", "content-type: application/json"],
        r#"{"detail":"Job not found"}"#,
    )]);
    let error = get(&server);
    assert_eq!(
        error.to_string(),
        "get job 9f2c: 404 Not Found: Job not found; base_url may be wrong (request id req-7)"
    );
    assert_eq!(format!("{error:?}"), error.to_string(), "an error returned from `main` must be readable");
    assert_eq!(error.status(), Some(404));
    assert_eq!(error.request_id(), Some("req-7"));
    assert_eq!(error.job_id().unwrap(), &"9f2c");
    assert_eq!(error.server_message(), Some("Job not found"));
    assert_eq!(error.attempts(), 1);
    assert!(error.is_not_found());
    assert!(!error.is_conflict() && !error.is_timeout());
}

#[test]
fn each_status_satisfies_only_its_own_predicate() {
    type Question = fn(&Error) -> bool;
    let kinds: [(u16, Question, &str); 6] = [
        (401, Error::is_unauthorized, "check the API key"),
        (404, Error::is_not_found, "base_url may be wrong"),
        (409, Error::is_conflict, ""),
        (422, Error::is_validation, ""),
        (429, Error::is_rate_limited, "send requests less often"),
        (403, |error| error.status() == Some(403), "403 Forbidden"),
    ];
    for (status, question, advice) in kinds {
        let error = get_with(status, &[], "");
        assert_eq!(error.status(), Some(status));
        assert!(error.to_string().contains(advice), "{error}");
        for (other, of_other, _) in kinds {
            assert_eq!(of_other(&error), other == status, "the predicate for {other} on status {status}");
        }
        assert_eq!(error.server_message(), None);
        assert!(question(&error));
    }
}

#[test]
fn a_listing_that_is_not_found_suggests_a_wrong_base_url() {
    let server = RawServer::script(vec![answer(404, &[], "")]);
    let error = server.client().list_jobs().send().unwrap_err();
    assert!(error.to_string().contains("base_url may be wrong"), "{error}");
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
fn the_environment_sets_the_key_and_the_server() {
    let server = RawServer::script(vec![answer(200, &[], &job("a"))]);
    let test = "errors::the_environment_sets_the_key_and_the_server";
    let from_env = |variables: &[(&str, &str)]| {
        let output = in_own_process(test, variables, || match Client::from_env() {
            Ok(client) => print!("[{client:?}] [{}]", client.get_job("a").is_ok()),
            Err(error) => print!("[{error}]"),
        });
        String::from_utf8(output.stdout).unwrap()
    };
    let url = server.url();
    let text = from_env(&[("ATOMIVERSE_API_KEY", "key"), ("ATOMIVERSE_BASE_URL", &url)]);
    assert!(text.contains(&url) && text.contains("[true]"), "{text}");
    let text = from_env(&[("ATOMIVERSE_BASE_URL", &url)]);
    assert!(text.contains("ATOMIVERSE_API_KEY is not set"), "{text}");
    let text = from_env(&[("ATOMIVERSE_API_KEY", ""), ("ATOMIVERSE_BASE_URL", &url)]);
    assert!(text.contains("ATOMIVERSE_API_KEY is not set"), "{text}");
    assert_eq!(server.requests().len(), 1);
}

#[cfg(not(any(feature = "rustls", feature = "native-tls")))]
#[test]
fn settings_that_need_tls_are_refused_in_a_build_without_it() {
    let builder = Client::builder().api_key("key").base_url("http://localhost");
    assert!(builder.clone().build().is_ok());
    let error = builder.clone().base_url("https://localhost").build().unwrap_err();
    assert!(error.to_string().contains("needs TLS, which this build leaves out"), "{error}");
    let error = builder.root_certificates("-----BEGIN CERTIFICATE-----").build().unwrap_err();
    assert!(error.to_string().contains("which this build leaves out"), "{error}");
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
#[test]
fn an_empty_base_url_in_the_environment_means_the_default() {
    let variables = [("ATOMIVERSE_API_KEY", "key"), ("ATOMIVERSE_BASE_URL", "")];
    let test = "errors::an_empty_base_url_in_the_environment_means_the_default";
    let output = in_own_process(test, &variables, || match Client::from_env() {
        Ok(client) => print!("[{}]", client.job_dashboard_url("a").unwrap()),
        Err(error) => print!("[{error}]"),
    });
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("[https://atomiverse.com/job?job_id=a]"), "{text}");
}

#[test]
fn debug_output_of_settings_hides_secrets() {
    let builder = Client::builder().api_key("secret").base_url("http://localhost:8080");
    let text = format!("{builder:?}");
    assert!(
        text.contains(r#"base_url: Some("http://localhost:8080")"#) && !text.contains("secret"),
        "{text}"
    );
    let text = format!("{:?}", builder.clone().base_url("https://user:secret@host.example"));
    assert!(text.contains(r#"base_url: Some("https://host.example")"#) && !text.contains("secret"), "{text}");
    let text = format!("{:?}", builder.build().unwrap());
    assert!(text.contains("http://localhost:8080/api/v1") && !text.contains("secret"), "{text}");
    let text = format!("{:?}", WaitOptions::new());
    assert!(text.contains("timeout: Some(3600s)"), "{text}");
}

#[test]
fn a_validation_error_shows_the_message_for_each_field() {
    let body = r#"{"detail":[{"loc":["body","name"],"msg":"too long","type":"x"},
                             {"loc":["body","tags",2],"msg":"not a text","type":"y"}]}"#;
    let error = get_with(422, &["content-type: application/json"], body);
    assert!(error.to_string().contains("name: too long; tags.2: not a text"), "{error}");
}

#[test]
fn an_html_page_of_a_proxy_is_shown_by_its_title() {
    let page = format!("<html><head><title>502 Bad Gateway</title></head>{}</html>", "x".repeat(5000));
    let error = get_with(502, &["content-type: text/html"], &page);
    assert_eq!(error.server_message(), Some(r#"an HTML page, "502 Bad Gateway""#));
    assert!(error.to_string().len() < 300, "{error}");
}

#[test]
fn errors_contain_no_control_characters_from_the_server() {
    let body = format!(r#"{{"detail":"a\u001b]0;owned\u0007\r\nb\u202e {}"}}"#, "y".repeat(5000));
    let server = RawServer::script(vec![
        answer(400, &["x-request-id: r\x1b[31m"], &body),
        answer(200, &["content-type: text/\x1b[2Jhtml"], "\u{1b}[2J\u{202e}not json"),
        answer(302, &["location: https://evil.example/\x1b[2J"], ""),
        json(&format!(r#"{{"job_id":"\u001b[2J","state":5,"x":"{}"}}"#, "z".repeat(5000))),
    ]);
    for _ in 0..4 {
        for text in [get(&server).to_string(), format!("{:#?}", get(&server))] {
            let shown = text.replace('\n', "");
            assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}'), "{shown:?}");
            assert!(text.len() < 1500, "{text}");
        }
    }
}

#[test]
fn errors_contain_no_control_characters_from_an_identifier() {
    let server = RawServer::script(vec![answer(404, &[], "")]);
    let error = server.client().get_job("a\u{1b}[2J\nb").unwrap_err();
    assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
}

#[test]
fn a_decode_error_says_what_was_expected_and_what_was_received() {
    let error =
        get_with(200, &["content-type: text/html; charset=utf-8", "x-request-id: r1"], "<html>hello</html>");
    let text = error.to_string();
    for part in ["a job", "<html>hello</html>", "base_url may be wrong", "request id r1"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert_eq!(error.status(), Some(200));
    assert!(error.is_decode());

    let error = RawServer::script(vec![json("[]")]).client().list_jobs().send().unwrap_err();
    assert!(error.to_string().contains("a page of jobs"), "{error}");
    let error = get_with(200, &[], "");
    assert!(error.to_string().contains("it is empty"), "{error}");
}

#[test]
fn a_missing_field_is_named() {
    let error = get_with(200, &[], r#"{"job_id":"9f2c","state":"done"}"#);
    assert!(error.to_string().contains("its job_type is missing"), "{error}");
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

#[test]
fn a_refused_connection_is_reported() {
    let client = client_of_nobody();
    let error = client.get_job("9f2c").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no connection: Connection refused"), "{text}");
    assert!(text.contains("tried 3 times"), "{text}");
    assert_eq!((error.status(), error.attempts()), (None, 3));
}

#[test]
fn a_response_that_is_not_http_is_reported() {
    let error = get(&RawServer::script(vec![raw("SSH-2.0-OpenSSH_9.7\r\n\r\n")]));
    assert!(error.to_string().contains("the response is not valid HTTP"), "{error}");
}
