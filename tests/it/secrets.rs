//! Tests that the key appears only in its header.

use std::sync::Mutex;

use atomiverse::{Client, WaitOptions};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::support::{KEY, RawServer, answer, json, page, raw};

/// Records all log lines of this crate, and those of other crates up to the level debug.
struct Recorder(Mutex<String>);

impl Log for Recorder {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with("atomiverse") || metadata.level() <= Level::Debug
    }
    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let mut lines = self.0.lock().unwrap();
            *lines += &format!("{} {}: {}\n", record.level(), record.target(), record.args());
        }
    }
    fn flush(&self) {}
}

static RECORDER: Recorder = Recorder(Mutex::new(String::new()));

#[test]
fn the_key_is_in_no_log_line_error_or_debug_output() {
    log::set_logger(&RECORDER).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let server = RawServer::script(vec![
        json(&page(&["a"], false, None)),
        answer(401, &["x-request-id: r1"], r#"{"detail":"Invalid API key"}"#),
        answer(302, &["location: https://elsewhere.example"], ""),
        json("[]"),
        raw("no HTTP\r\n\r\n"),
        answer(500, &[], ""),
    ]);
    let builder = server.client_builder();
    let client = builder.clone().build().unwrap();
    let job = client.job("a").unwrap();
    let mut texts = vec![format!("{builder:?} {builder:#?} {client:?} {client:#?} {job:?} {job:#?}")];
    let jobs = client.iter_jobs();
    texts.push(format!("{jobs:?} {jobs:#?} {:?}", client.list_jobs()));
    texts.push(format!("{:?}", jobs.collect::<Vec<_>>()));
    for _ in 0..5 {
        let error = client.delete_job("a").and_then(|()| client.get_job("a").map(drop)).unwrap_err();
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = source {
            texts.push(format!("{error} {error:?} {error:#?}"));
            source = error.source();
        }
    }
    texts.push(job.job_dashboard_url());

    let logged = RECORDER.0.lock().unwrap().clone();
    assert!(logged.contains("DEBUG atomiverse"), "the lines of this crate must be recorded: {logged}");
    assert!(logged.contains("ureq"), "the lines of ureq must be recorded: {logged}");
    texts.push(logged);
    for text in texts {
        assert!(!text.contains("must-not-leak"), "{text}");
    }
    for request in server.requests() {
        let carrying = format!("{:?}", request).matches("must-not-leak").count();
        assert_eq!(carrying, 1);
        assert!(request.headers.contains(&format!("authorization: Bearer {KEY}")));
    }
}

#[test]
fn an_invalid_key_is_refused_and_not_shown() {
    for key in ["", " ", "secret\n", "sec ret", "secret\r\nX-Evil: 1", "secré", "\u{feff}secret", "sec\0ret"]
    {
        let error = Client::new(key).unwrap_err();
        for text in [error.to_string(), format!("{error:#?}")] {
            assert!(!text.contains("sec"), "{text}");
        }
    }
}

#[test]
fn the_prefix_of_a_key_is_not_checked() {
    for key in ["av_1", "sk-av-1", "sk-rn-1", "anything/at+all=="] {
        Client::builder().api_key(key).base_url("http://localhost").build().unwrap();
    }
}

#[test]
fn a_key_that_the_server_returns_is_hidden() {
    let echo = format!(r#"{{"detail":"Invalid API key: {KEY}"}}"#);
    let location = format!("location: https://elsewhere.example/?key={KEY}");
    let request_id = format!("x-request-id: {KEY}");
    for answer in [
        answer(401, &[&request_id], &echo),
        answer(401, &[], &format!("{}{KEY}", "x".repeat(490))),
        answer(302, &[&location], ""),
        answer(200, &[], &format!("authorization: Bearer {KEY}")),
        answer(
            200,
            &["content-type: application/json"],
            &format!(r#"{{"job_id":"a","state":{{"{KEY}":1}}}}"#),
        ),
        answer(200, &[], &format!("<html>{KEY}</html>")),
    ] {
        let server = RawServer::script(vec![answer]);
        let client = server.client();
        for error in [client.get_job("a").unwrap_err(), client.list_jobs().send().unwrap_err()] {
            let text = format!("{error} {error:#?} {:?} {:?}", error.server_message(), error.request_id());
            assert!(!text.contains(&KEY[..12]), "{text}");
        }
    }
}

#[test]
fn no_part_of_a_long_key_is_shown_if_the_server_repeats_it() {
    let key = "0123456789".repeat(10);
    let server = RawServer::script(vec![answer(200, &[], &key.repeat(20))]);
    let client = server.client_builder().api_key(key).build().unwrap();
    let text = client.get_job("a").unwrap_err().to_string();
    assert!(!text.contains("0123456789"), "{text}");
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
