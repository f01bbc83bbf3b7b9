//! Tests that the key appears only in its header, and that it can be replaced.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atomiverse::{Client, JobState, Result, WaitOptions};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::support::{KEY, RawServer, answer, job, json, lock, page, raw};

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

/// Returns the keys of the requests so far.
fn keys(server: &RawServer) -> Vec<String> {
    server.requests().iter().map(|request| request.header("authorization").replace("Bearer ", "")).collect()
}

#[test]
fn a_new_key_affects_clones_and_views_except_those_with_their_own() {
    let server = RawServer::script(vec![json(&job("a"))]);
    let client = server.client_builder().build().unwrap();
    let (clone, view, own) =
        (client.clone(), client.with_timeout(Duration::from_secs(20)), client.with_api_key("own").unwrap());
    let (own_view, mut handle) = (own.with_timeout(Duration::from_secs(20)), client.job("a").unwrap());
    client.set_api_key("new").unwrap();
    for client in [&client, &clone, &view, &own, &own_view] {
        client.get_job("a").unwrap();
    }
    handle.refresh().unwrap();
    own_view.set_api_key("own-2").unwrap();
    view.set_api_key("newer").unwrap();
    for client in [&client, &own, &clone] {
        client.get_job("a").unwrap();
    }
    assert_eq!(keys(&server), ["new", "new", "new", "own", "own", "new", "newer", "own-2", "newer"]);
}

#[test]
fn waits_iterations_and_retries_in_progress_use_the_new_key() {
    let server = RawServer::start(|n, request| match request.line.rsplit('/').next().unwrap() {
        "jobs?limit=2" => json(&page(&["a", "b"], true, Some("two"))),
        id if id.starts_with("jobs?") => json(&page(&["c"], false, None)),
        _ if n == 4 => answer(503, &[], ""),
        id if n == 0 => json(&job(id).replace("done", "running")),
        id => json(&job(id)),
    });
    let slot: Arc<Mutex<Option<Client>>> = Arc::default();
    let rotated = slot.clone();
    let client = server.client_builder().on_attempt(move |attempt| {
        if attempt.retry_in.is_some() {
            lock(&rotated).as_ref().unwrap().set_api_key("key-3").unwrap();
        }
    });
    let client = client.build().unwrap();
    *lock(&slot) = Some(client.clone());
    let options = WaitOptions::new().min_interval(Duration::from_millis(1)).on_update(|job| {
        if job.state == JobState::Running {
            client.set_api_key("key-1").unwrap();
        }
    });
    client.wait_for_job("a", options).unwrap();
    let mut jobs = client.iter_jobs().limit(2);
    assert_eq!(jobs.by_ref().take(2).filter(Result::is_ok).count(), 2);
    client.set_api_key("key-2").unwrap();
    assert_eq!(jobs.filter(Result::is_ok).count(), 1);
    client.get_job("a").unwrap();
    assert_eq!(keys(&server), [KEY, "key-1", "key-1", "key-2", "key-2", "key-3"]);
}

#[test]
fn an_invalid_key_is_refused_and_the_old_one_kept_and_no_error_shows_any() {
    let server = RawServer::start(|_, request| {
        answer(422, &[], &format!(r#"{{"detail":"not for {}"}}"#, request.header("authorization")))
    });
    let client = server.client_builder().api_key("secret-0").build().unwrap();
    for key in ["", "\"secret-9\"", "secret-9\n", "secret-9\r\nx-admin: 1", "secret 9", "s\u{e9}cret-9"] {
        let refused =
            [("set_api_key", client.set_api_key(key)), ("with_api_key", client.with_api_key(key).map(drop))];
        for (name, outcome) in refused {
            let text = outcome.unwrap_err().to_string();
            assert!(text.contains(&format!("({name})")) && !text.contains("cret"), "{text}");
        }
    }
    client.get_job("a").unwrap_err();
    client.set_api_key("secret-1").unwrap();
    let own = client.with_api_key("secret-2").unwrap();
    for client in [client, own] {
        let text = client.get_job("a").unwrap_err().to_string();
        assert!(text.contains("not for (hidden)"), "{text}");
        assert!(!format!("{client:?}").contains("secret"));
    }
    assert_eq!(keys(&server), ["secret-0", "secret-1", "secret-2"]);
}

#[test]
fn a_proxy_does_not_see_the_key_of_a_plain_http_api() {
    let builder =
        |base_url: &str| Client::builder().api_key(KEY).base_url(base_url).proxy("http://proxy.example:3128");
    let error = builder("http://localhost").build().unwrap_err();
    assert!(error.to_string().contains("would show the API key"), "{error}");
    assert!(builder("http://localhost").allow_insecure_http(true).build().is_ok());
    if cfg!(any(feature = "rustls", feature = "native-tls")) {
        assert!(builder("https://svc.example").build().is_ok());
    }
}
