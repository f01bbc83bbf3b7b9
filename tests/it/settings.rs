//! Tests settings from the builder and the environment, timestamps, and small parts of the public types.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use atomiverse::{
    Atom, Client, ClientBuilder, Element, JobId, JobState, MoleculePreview, SubmissionStatus, Timestamp,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{KEY, RawServer, answer, in_own_process, job, json as json_answer};

const LOCAL: &str = "http://localhost:8080";

/// Runs `body` in a process of its own with these variables, and returns its result.
fn in_environment(test: &str, variables: &[(&str, &str)], body: impl FnOnce() -> String) -> String {
    const MARK: &str = "RESULT ";
    let test = format!("settings::{test}");
    let output = in_own_process(&test, variables, || println!("\n{MARK}{}", body()));
    let text = String::from_utf8(output.stdout).unwrap();
    match text.lines().find_map(|line| line.strip_prefix(MARK)) {
        Some(line) => line.to_owned(),
        None => panic!("{text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Returns `ok`, or the text of the error.
fn outcome<T>(result: atomiverse::Result<T>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "ok".to_owned())
}

fn panic_text(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[test]
fn each_setting_accepts_the_longest_duration() {
    type Change = fn(ClientBuilder) -> ClientBuilder;
    const MAX: Duration = Duration::MAX;
    let changes: [(&str, Change); 3] = [
        ("connect_timeout", |b| b.connect_timeout(MAX)),
        ("timeout", |b| b.timeout(MAX)),
        ("both", |b| b.connect_timeout(MAX).timeout(MAX)),
    ];
    let mut failures = Vec::new();
    for (name, change) in changes {
        let server = RawServer::script(vec![json_answer(&job("a"))]);
        // A host name is also tested, because it uses the resolver with a time limit of its own.
        for url in [server.url(), server.url().replace("127.0.0.1", "localhost")] {
            let client = change(server.client_builder().base_url(&url)).build().unwrap();
            let calls = || {
                client.get_job("a").unwrap();
                client.cancel_job("a").unwrap();
            };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(calls)) {
                failures.push(format!("{name}, {url}: {}", panic_text(panic)));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_pause_longer_than_the_timeout_ends_the_call() {
    let endless = format!("retry-after: {}", u64::MAX);
    let server = RawServer::script(vec![answer(503, &[&endless], "")]);
    let error = server.client().get_job("a").unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(503), 1), "{error}");
}

#[test]
fn a_base_url_with_the_path_of_the_api_is_refused() {
    for end in ["/api/v1", "/api/v1/", "/gateway/api/v1"] {
        let url = format!("{LOCAL}{end}");
        let text = outcome(Client::builder().api_key(KEY).base_url(&url).build());
        assert!(text.contains("base_url") && text.contains("/api/v1"), "{url}: {text}");
        assert!(text.contains("api_url"), "{url}: {text}");
    }
}

#[test]
fn an_api_url_with_the_path_of_the_api_is_accepted() {
    let client = |builder: ClientBuilder| builder.api_key(KEY).build();
    client(Client::builder().base_url(LOCAL).api_url(format!("{LOCAL}/api/v1"))).unwrap();
    client(Client::builder().base_url(format!("{LOCAL}/gateway"))).unwrap();
    client(Client::builder().base_url(format!("{LOCAL}/api/v1-of-ours"))).unwrap();
}

#[test]
fn a_token_in_the_query_of_a_url_is_refused_and_not_shown() {
    let builder = Client::builder().api_key(KEY).base_url(LOCAL);
    for (name, builder) in [
        ("base_url", builder.clone().base_url(format!("{LOCAL}/?token=abc"))),
        ("base_url", builder.clone().base_url(format!("{LOCAL}?token=abc"))),
        ("api_url", builder.clone().api_url(format!("{LOCAL}/v2?token=abc"))),
    ] {
        let shown = format!("{builder:?} {builder:#?}");
        let error = builder.build().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        for text in [shown, error.to_string(), format!("{error:?}"), format!("{error:#?}")] {
            assert!(!text.contains("abc"), "{name}: {text}");
        }
    }
}

#[test]
fn a_key_in_quotation_marks_is_refused_with_an_explanation() {
    for key in [r#""av_x""#, "'av_x'"] {
        let builder = Client::builder().api_key(key).base_url(LOCAL);
        let shown = format!("{builder:?}");
        let text = outcome(builder.build());
        assert!(text.contains("quot"), "{key}: {text}");
        assert!(!text.contains("av_x") && !shown.contains("av_x"), "{text}");
    }
}

#[test]
fn a_key_with_a_quotation_mark_inside_is_not_called_quoted() {
    Client::builder().api_key(r#"av"x"#).base_url(LOCAL).build().unwrap();
}

#[test]
fn an_error_about_a_key_from_the_environment_names_its_variable() {
    let mut failures = Vec::new();
    for key in ["av_sec\nret", "av secret", "'av_secret'", "\"av_secret\""] {
        let text = in_environment(
            "an_error_about_a_key_from_the_environment_names_its_variable",
            &[("ATOMIVERSE_API_KEY", key), ("ATOMIVERSE_BASE_URL", LOCAL)],
            || format!("{} | {}", outcome(Client::from_env()), outcome(builder_from_env())),
        );
        let (client, builder) = text.split_once(" | ").unwrap();
        for text in [client, builder] {
            if !text.contains("ATOMIVERSE_API_KEY") || text.contains("secret") || text.contains("av_sec") {
                failures.push(format!("{key:?}: {text}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Builds a client from the environment. Either `from_env` or `build` may report an error.
fn builder_from_env() -> atomiverse::Result<Client> {
    ClientBuilder::from_env().and_then(ClientBuilder::build)
}

#[test]
fn an_error_about_a_url_from_the_environment_names_its_variable() {
    let mut failures = Vec::new();
    for (variable, url) in [
        ("ATOMIVERSE_BASE_URL", "service.example"),
        ("ATOMIVERSE_BASE_URL", "ftp://service.example"),
        ("ATOMIVERSE_BASE_URL", "http://service.example"),
        ("ATOMIVERSE_BASE_URL", "https://user:hunter2@service.example"),
        ("ATOMIVERSE_BASE_URL", "http://localhost/api/v1"),
        ("ATOMIVERSE_BASE_URL", "http://localhost/?token=hunter2"),
        ("ATOMIVERSE_API_URL", "ftp://service.example"),
    ] {
        let text = in_environment(
            "an_error_about_a_url_from_the_environment_names_its_variable",
            &[("ATOMIVERSE_API_KEY", KEY), ("ATOMIVERSE_BASE_URL", LOCAL), (variable, url)],
            || format!("{} | {}", outcome(Client::from_env()), outcome(builder_from_env())),
        );
        let (client, builder) = text.split_once(" | ").unwrap();
        // `Client::from_env` may leave the other variable unread.
        let texts = if variable == "ATOMIVERSE_BASE_URL" { vec![client, builder] } else { vec![builder] };
        for text in texts {
            if !text.contains(variable) || text.contains("base_url") || text.contains("hunter2") {
                failures.push(format!("{url}: {text}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_builder_can_be_created_from_the_environment() {
    let server = RawServer::script(vec![json_answer(&job("a"))]);
    let test = "a_builder_can_be_created_from_the_environment";
    let url = server.url();
    let get = |variables: &[(&str, &str)]| {
        let key = [("ATOMIVERSE_API_KEY", "av_of-the-environment")];
        in_environment(test, &[&key, variables].concat(), || {
            // Further settings can be made.
            let builder = ClientBuilder::from_env().map(|builder| builder.user_agent("after/1"));
            outcome(builder.and_then(ClientBuilder::build).and_then(|client| client.get_job("a")))
        })
    };
    assert_eq!(get(&[("ATOMIVERSE_BASE_URL", &url)]), "ok");
    let request = server.requests().pop().unwrap();
    assert_eq!(request.line, "GET /api/v1/jobs/a");
    assert_eq!(request.header("authorization"), "Bearer av_of-the-environment");
    assert_eq!(request.header("user-agent"), "after/1");

    let api_url = format!("{url}/v9");
    assert_eq!(get(&[("ATOMIVERSE_BASE_URL", LOCAL), ("ATOMIVERSE_API_URL", &api_url)]), "ok");
    assert_eq!(server.lines().last().unwrap(), "GET /v9/jobs/a");

    // An empty variable counts as not set.
    assert_eq!(get(&[("ATOMIVERSE_BASE_URL", &url), ("ATOMIVERSE_API_URL", "")]), "ok");
    assert_eq!(server.lines().last().unwrap(), "GET /api/v1/jobs/a");
}

#[test]
fn a_builder_from_the_environment_needs_a_key() {
    for variables in [&[][..], &[("ATOMIVERSE_API_KEY", "")]] {
        let text = in_environment("a_builder_from_the_environment_needs_a_key", variables, || {
            outcome(builder_from_env())
        });
        assert!(text.contains("ATOMIVERSE_API_KEY"), "{text}");
    }
}

#[test]
fn whitespace_around_a_variable_is_ignored_and_other_invisible_characters_are_shown() {
    let test = "whitespace_around_a_variable_is_ignored_and_other_invisible_characters_are_shown";
    for (url, key, expected) in [
        (" http://127.0.0.1:8000\r\n", "av_key\n", "ok"),
        ("\u{feff}http://127.0.0.1:8000", "av_key", "U+FEFFhttp://127.0.0.1:8000"),
        ("http://127.0.0.1:8000", "av\u{200b}_key", "U+200B"),
    ] {
        let variables = [("ATOMIVERSE_BASE_URL", url), ("ATOMIVERSE_API_KEY", key)];
        let text = in_environment(test, &variables, || outcome(builder_from_env()));
        assert!(text.contains(expected) && !text.contains("_key"), "{text}");
    }
}

#[test]
fn links_begin_with_the_origin_of_the_api_if_only_its_url_is_set() {
    let client = Client::builder().api_key(KEY).api_url("http://127.0.0.1:8000/x/api").build().unwrap();
    assert_eq!(client.job_dashboard_url("9f2c").unwrap(), "http://127.0.0.1:8000/job?job_id=9f2c");
}

#[test]
fn the_default_builder_equals_client_builder() {
    assert_eq!(format!("{:?}", ClientBuilder::default()), format!("{:?}", Client::builder()));
    ClientBuilder::default().api_key(KEY).base_url(LOCAL).build().unwrap();
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
mod proxies {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn service() -> ClientBuilder {
        let builder = Client::builder().api_key(KEY).base_url("https://service.example");
        builder.timeout(Duration::from_secs(10))
    }

    /// Starts a proxy that responds with this status. Returns its URL and the first lines of the requests.
    fn proxy(status: u16) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, receiver) = mpsc::channel();
        // This thread ends with the process of the test.
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                // The line is recorded before the response is sent, so a client with the response can rely on it.
                sender.send(head[0].clone()).unwrap();
                let _ = write!(stream, "HTTP/1.1 {status} Status\r\ncontent-length: 0\r\n\r\n");
            }
        });
        (address, receiver)
    }

    const UNUSABLE: [&str; 8] = [
        "not a url",
        "ftp://x",
        "ftp://user:hunter2@x",
        "socks5://127.0.0.1:1080",
        "socks5://user:hunter2@127.0.0.1:1080",
        "http://",
        "http://user:hunter2@",
        "http://user:hunter2@127.0.0.1:port",
    ];

    #[test]
    fn an_unusable_proxy_in_the_environment_is_refused_when_the_client_is_built() {
        let test = "proxies::an_unusable_proxy_in_the_environment_is_refused_when_the_client_is_built";
        let mut failures = Vec::new();
        for (n, url) in UNUSABLE.into_iter().enumerate() {
            let variable = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"][n % 3];
            let text = in_environment(test, &[(variable, url)], || outcome(service().build()));
            if !text.contains(variable) || text.contains("hunter2") {
                failures.push(format!("{variable}={url}: {text}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn an_unused_proxy_is_not_validated() {
        let test = "proxies::an_unused_proxy_is_not_validated";
        for url in UNUSABLE {
            let variables = [("HTTPS_PROXY", url), ("NO_PROXY", "other.example")];
            let text = in_environment(test, &variables, || {
                let loopback = service().base_url("https://127.0.0.1:1");
                let switched_off = service().proxy_from_env(false);
                let excepted = service().base_url("https://other.example");
                let builders = [loopback, switched_off, excepted];
                format!("{:?}", builders.map(|builder| outcome(builder.build())))
            });
            assert_eq!(text, r#"["ok", "ok", "ok"]"#, "{url}");
        }
    }

    #[test]
    fn an_empty_proxy_variable_is_ignored() {
        // This is how a proxy is disabled for one command.
        let test = "proxies::an_empty_proxy_variable_is_ignored";
        let text = in_environment(test, &[("HTTPS_PROXY", "")], || outcome(service().build()));
        assert_eq!(text, "ok");
    }

    /// Returns the hosts that are reached through the proxy with this `NO_PROXY`.
    fn through_the_proxy(test: &str, no_proxy: &str, hosts: &str) -> Vec<String> {
        let (address, noted) = proxy(403);
        let url = format!("http://{address}");
        let variables = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", no_proxy), ("HOSTS", hosts)];
        in_environment(test, &variables, || {
            for host in std::env::var("HOSTS").unwrap().split(' ') {
                let builder = service().base_url(format!("https://{host}")).max_retries(0);
                let error = builder.build().unwrap().get_job("a").unwrap_err();
                assert_eq!(error.attempts(), 1, "{error}");
            }
            String::new()
        });
        let host = |line: String| {
            line.trim_start_matches("CONNECT ").split(':').next().unwrap_or_default().to_owned()
        };
        noted.try_iter().map(host).collect()
    }

    #[test]
    fn whitespace_around_the_hosts_of_no_proxy_is_ignored() {
        let test = "proxies::whitespace_around_the_hosts_of_no_proxy_is_ignored";
        let hosts = "svc.test other.test third.test";
        assert_eq!(through_the_proxy(test, " svc.test , other.test", hosts), ["third.test"]);
    }

    #[test]
    fn a_domain_in_no_proxy_includes_its_subdomains() {
        let test = "proxies::a_domain_in_no_proxy_includes_its_subdomains";
        let hosts = "svc.test a.svc.test b.a.svc.test SVC.test xsvc.test svc.test.example";
        assert_eq!(through_the_proxy(test, ".svc.test", hosts), ["xsvc.test", "svc.test.example"]);
    }

    #[test]
    fn a_tunnel_that_a_proxy_refuses_is_reported_without_the_password() {
        let test = "proxies::a_tunnel_that_a_proxy_refuses_is_reported_without_the_password";
        for status in [403, 407] {
            let (address, _noted) = proxy(status);
            let url = format!("http://user:hunter2@{address}");
            let text = in_environment(test, &[("HTTPS_PROXY", &url)], || {
                outcome(service().build().unwrap().delete_job("a"))
            });
            assert!(text.contains("proxy") && text.contains(&status.to_string()), "{text}");
            assert!(!text.contains("hunter2") && text.contains("nothing was sent"), "{text}");
        }
    }

    #[test]
    fn the_proxy_for_the_scheme_comes_first_and_one_that_can_be_used_replaces_one_that_cannot() {
        let test =
            "proxies::the_proxy_for_the_scheme_comes_first_and_one_that_can_be_used_replaces_one_that_cannot";
        let (address, noted) = proxy(403);
        let url = format!("http://{address}");
        for (variables, is_used) in [
            (&[("HTTPS_PROXY", url.as_str()), ("ALL_PROXY", "http://127.0.0.1:1")][..], true),
            (&[("https_proxy", &url), ("all_proxy", "socks5://127.0.0.1:1080")], true),
            (&[("https_proxy", "socks5://127.0.0.1:1080"), ("all_proxy", &url)], true),
            (&[("all_proxy", &url)], true),
            (&[("HTTP_PROXY", &url), ("ALL_PROXY", "http://127.0.0.1:1")], false),
        ] {
            let text = in_environment(test, variables, || {
                outcome(service().max_retries(0).build().and_then(|client| client.get_job("a")))
            });
            assert_eq!(noted.try_iter().count() > 0, is_used, "{variables:?}: {text}");
        }
    }

    #[test]
    fn a_transient_failure_of_a_proxy_is_retried() {
        let (address, noted) = proxy(503);
        let url = format!("http://{address}");
        let text = in_environment(
            "proxies::a_transient_failure_of_a_proxy_is_retried",
            &[("HTTPS_PROXY", &url)],
            || outcome(service().build().unwrap().get_job("a")),
        );
        assert_eq!(noted.try_iter().count(), 3, "{text}");
    }
}

fn timestamp(wire: Value) -> Timestamp {
    serde_json::from_value(wire).unwrap()
}

fn moment(text: &str) -> Option<SystemTime> {
    timestamp(json!(text)).to_system_time()
}

/// Returns the time this many seconds and nanoseconds after 1970-01-01.
fn at(seconds: i64, nanoseconds: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let start = if seconds < 0 { SystemTime::UNIX_EPOCH - whole } else { SystemTime::UNIX_EPOCH + whole };
    start + Duration::from_nanos(nanoseconds.into())
}

/// 2026-05-02T14:32:01Z
const SOME_DAY: i64 = 1_777_732_321;

#[track_caller]
fn assert_moments(cases: &[(&str, SystemTime)]) {
    for (text, expected) in cases {
        assert_eq!(moment(text), Some(*expected), "{text}");
    }
}

#[test]
fn a_timestamp_is_read_with_any_offset_and_without() {
    assert_moments(&[
        ("2026-05-02T14:32:01Z", at(SOME_DAY, 0)),
        ("2026-05-02T14:32:01", at(SOME_DAY, 0)),
        ("2026-05-02 14:32:01", at(SOME_DAY, 0)),
        ("2026-05-02 14:32:01Z", at(SOME_DAY, 0)),
        ("2026-05-02t14:32:01z", at(SOME_DAY, 0)),
        ("2026-05-02T14:32:01+00:00", at(SOME_DAY, 0)),
        ("2026-05-02T14:32:01-00:00", at(SOME_DAY, 0)),
        ("2026-05-02T16:32:01+02:00", at(SOME_DAY, 0)),
        ("2026-05-02 16:32:01+02:00", at(SOME_DAY, 0)),
        ("2026-05-02T09:02:01-05:30", at(SOME_DAY, 0)),
        ("2026-05-03T04:32:01+14:00", at(SOME_DAY, 0)),
        ("2026-05-01T20:32:01-18:00", at(SOME_DAY, 0)),
        ("2026-05-02T16:32:01.25+02:00", at(SOME_DAY, 250_000_000)),
    ]);
    // RFC 3339 requires the colon. An offset without it must be read correctly or not at all.
    let lenient = moment("2026-05-02T09:02:01-0530");
    assert!(lenient.is_none() || lenient == Some(at(SOME_DAY, 0)), "{lenient:?}");
}

#[test]
fn a_timestamp_is_read_with_any_fraction() {
    let digits = "123456789";
    for count in 1..=digits.len() {
        let nanoseconds = digits[..count].parse::<u32>().unwrap() * 10u32.pow(9 - count as u32);
        for zone in ["", "Z", "+00:00"] {
            let text = format!("2026-05-02T14:32:01.{}{zone}", &digits[..count]);
            assert_eq!(moment(&text), Some(at(SOME_DAY, nanoseconds)), "{text}");
        }
    }
    for further in ["1", "12", "1234567890", &"1".repeat(100)] {
        let text = format!("2026-05-02T14:32:01.{digits}{further}Z");
        assert_eq!(moment(&text), Some(at(SOME_DAY, 123_456_789)), "{text}");
    }
    assert_eq!(moment("2026-05-02T14:32:01.000000000Z"), Some(at(SOME_DAY, 0)));
}

#[test]
fn a_timestamp_is_read_in_every_year() {
    assert_moments(&[
        ("1970-01-01T00:00:00Z", SystemTime::UNIX_EPOCH),
        ("1970-01-01T00:00:00.000000001Z", at(0, 1)),
        ("1969-12-31T23:59:59Z", at(-1, 0)),
        ("1969-12-31T23:59:59.5Z", at(-1, 500_000_000)),
        ("1970-01-01T01:00:00+02:00", at(-3600, 0)),
        ("1969-07-20T20:17:40Z", at(-14_182_940, 0)),
        ("1900-03-01T00:00:00Z", at(-2_203_891_200, 0)),
        ("2000-02-29T12:00:00Z", at(951_825_600, 0)),
        ("2024-02-29T00:00:00Z", at(1_709_164_800, 0)),
        ("2024-12-31T23:59:59Z", at(1_735_689_599, 0)),
        ("2100-01-01T00:00:00Z", at(4_102_444_800, 0)),
        ("2100-03-01T00:00:00Z", at(4_107_542_400, 0)),
        ("9999-12-30T00:00:00Z", at(253_402_128_000, 0)),
    ]);
}

#[test]
fn a_leap_second_is_the_next_second_or_nothing() {
    let leap = moment("2016-12-31T23:59:60Z");
    assert!(leap.is_none() || leap == Some(at(1_483_228_800, 0)), "{leap:?}");
    assert_eq!(moment("2016-12-31T23:59:61Z"), None);
}

#[test]
fn an_invalid_timestamp_converts_to_none() {
    for text in [
        "",
        " ",
        "yesterday",
        "T",
        "Z",
        "2026-05-02T",
        "2026-05-02TZ",
        "2026-05-02T14:32:01X",
        "2026-05-02T14:32:01Z and more",
        "2026-05-02T14:32:01ZZ",
        "2026-05-02T14:32:01+",
        "2026-05-02T14:32:01+2",
        "2026-05-02T14:32:01+99:99",
        "2026-05-02T14:32:01+02:60",
        "2026-05-02T14:32:01.Z",
        "2026-05-02T14:32:01.5.5Z",
        "2026-05-02T14:32:-1Z",
        "2026-05-02T+4:32:01Z",
        "2026-05-02T24:00:00Z",
        "2026-05-02T25:00:00Z",
        "2026-05-02T14:60:00Z",
        "2026-00-02T14:32:01Z",
        "2026-13-02T14:32:01Z",
        "2026-05-00T14:32:01Z",
        "2026-05-32T14:32:01Z",
        "2026-04-31T14:32:01Z",
        "2023-02-29T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "26-05-02T14:32:01Z",
        "２０２６-05-02T14:32:01Z",
        "2026-05-02é14:32:01Z",
        "2026-05-0é14:32:01Z",
    ] {
        assert_eq!(moment(text), None, "{text:?}");
    }
}

#[test]
fn a_number_is_seconds_or_milliseconds_by_its_size() {
    let cases = [
        (json!(0), at(0, 0)),
        (json!(-1), at(-1, 0)),
        (json!(SOME_DAY), at(SOME_DAY, 0)),
        (json!(1_777_732_321.5), at(SOME_DAY, 500_000_000)),
        (json!(-0.5), at(-1, 500_000_000)),
        (json!(1_777_732_321.0), at(SOME_DAY, 0)),
        (json!(99_999_999_999_u64), at(99_999_999_999, 0)),
        (json!(100_000_000_000_u64), at(100_000_000, 0)),
        (json!(1e11), at(100_000_000, 0)),
        (json!(1_777_732_321_123_u64), at(SOME_DAY, 123_000_000)),
        (json!(1_777_732_321_500.0), at(SOME_DAY, 500_000_000)),
        (json!(1_777_732_321_000.5), at(SOME_DAY, 500_000)),
    ];
    for (wire, expected) in cases {
        assert_eq!(timestamp(wire.clone()).to_system_time(), Some(expected), "{wire}");
    }
}

#[test]
fn a_number_out_of_range_converts_to_none() {
    for wire in [json!(1e300), json!(-1e300), json!(f64::MAX), json!(f64::MIN)] {
        assert_eq!(timestamp(wire.clone()).to_system_time(), None, "{wire}");
    }
    // Some platforms can represent these times. Either result is fine, but there must be no panic.
    for wire in [json!(i64::MAX), json!(i64::MIN), json!(u64::MAX)] {
        let _ = timestamp(wire).to_system_time();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_string_makes_a_timestamp_panic(text in any::<String>(), place in 0usize..25, other in any::<char>()) {
        moment(&text);
        // A string that is almost valid is more likely to cause a mistake.
        let mut characters: Vec<char> = "2026-05-02T14:32:01.5+02:00".chars().collect();
        characters[place] = other;
        moment(&characters.iter().collect::<String>());
        characters.remove(place);
        moment(&characters.iter().collect::<String>());
        characters.truncate(place);
        let prefix: String = characters.iter().collect();
        prop_assert!(moment(&prefix).is_none() || place >= 10, "an incomplete date was accepted: {}", prefix);
    }
}

/// A random number generator with the same numbers in every run.
#[cfg(feature = "jiff")]
struct Random(u64);

#[cfg(feature = "jiff")]
impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }

    /// Returns a timestamp. Some of them are on days that do not exist.
    fn text(&mut self) -> String {
        let (year, month, day) = (1600 + self.below(1200), 1 + self.below(12), 1 + self.below(31));
        let (hour, minute, second) = (self.below(24), self.below(60), self.below(60));
        let mut text = format!("{year:04}-{month:02}-{day:02}{}", self.one_of(&["T", "t", " "]));
        text += &format!("{hour:02}:{minute:02}:{second:02}");
        let digits = self.below(10) as usize;
        if digits > 0 {
            text += &format!(".{:0digits$}", self.below(10u64.pow(digits as u32)));
        }
        match self.below(4) {
            0 => {}
            1 => text += self.one_of(&["Z", "z"]),
            _ => {
                let (sign, hours, minutes) = (self.one_of(&["+", "-"]), 1 + self.below(14), self.below(60));
                text += &format!("{sign}{hours:02}:{minutes:02}");
            }
        }
        text
    }
}

#[cfg(feature = "jiff")]
#[test]
fn to_jiff_and_to_system_time_agree_on_strings() {
    let mut random = Random(20_260_502);
    let mut moments = 0;
    for _ in 0..3000 {
        let text = random.text();
        let expected = timestamp(json!(text)).to_jiff().and_then(|moment| moment.try_into().ok());
        assert_eq!(moment(&text), expected, "{text}");
        moments += usize::from(expected.is_some());
    }
    assert!((2800..3000).contains(&moments), "most days must exist, but not all: {moments}");
}

#[cfg(feature = "jiff")]
#[test]
fn to_jiff_and_to_system_time_agree_on_numbers() {
    let mut random = Random(20_260_502);
    for _ in 0..3000 {
        let seconds = random.below(5_000_000_000);
        let milliseconds = 100_000_000_000 + random.below(1 << 31) * 1000 + random.below(1000);
        let fraction = random.below(1_000_000) as f64 / 1e6;
        for wire in [
            json!(seconds),
            json!(seconds as f64 + fraction),
            json!(-(seconds as f64) - fraction),
            json!(milliseconds),
            json!(milliseconds as f64 + fraction),
        ] {
            let timestamp = timestamp(wire.clone());
            let ours = timestamp.to_system_time().unwrap_or_else(|| panic!("{wire}"));
            let other = timestamp.to_jiff().and_then(|moment| moment.try_into().ok());
            let other: SystemTime = other.unwrap_or_else(|| panic!("{wire}"));
            let apart = ours.duration_since(other).unwrap_or_else(|error| error.duration());
            // The two conversions may round a binary fraction differently.
            assert!(apart < Duration::from_micros(1), "{wire}: {apart:?}");
        }
    }
}

#[test]
fn a_constructed_molecule_survives_xyz_and_json() {
    let atoms = vec![
        Atom::new("O", [0.0, 0.0, 0.117]),
        Atom::new(Element::from("H"), [0.0, 0.757, -0.471]),
        Atom::new("Xx", [-1.5, 1e-3, 12.25]),
    ];
    let molecule = MoleculePreview::new("H2O", atoms.clone());
    assert_eq!(molecule, MoleculePreview::new("H2O".to_owned(), atoms));
    assert_eq!(molecule.formula, "H2O");
    assert_eq!(molecule.atoms[1].element.atomic_number(), Some(1));

    let xyz = molecule.to_xyz();
    let mut lines = xyz.lines();
    assert_eq!(lines.next(), Some("3"));
    let formula = lines.next().unwrap();
    let atoms = lines.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |n: usize| words[n].parse().unwrap();
        Atom::new(words[0], [number(1), number(2), number(3)])
    });
    assert_eq!(MoleculePreview::new(formula, atoms.collect::<Vec<_>>()), molecule);

    let wire = serde_json::to_value(&molecule).unwrap();
    assert_eq!(wire["atoms"][0], json!({"element": "O", "position": [0.0, 0.0, 0.117]}));
    assert_eq!(serde_json::from_value::<MoleculePreview>(wire).unwrap(), molecule);
}

/// Uses a value as generic code of a user would.
fn assert_reads_as<T>(value: T, text: &str)
where
    T: AsRef<str> + PartialEq<str> + for<'a> PartialEq<&'a str>,
{
    assert_eq!(value.as_ref(), text);
    assert!(value == *text && value == text);
    let other = "another";
    assert!(value != *other && value != other);
}

#[test]
fn string_types_are_read_and_compared_as_strings() {
    assert_reads_as(JobId::from("9f2c"), "9f2c");
    assert_reads_as(Element::from("O"), "O");
    assert_reads_as(Element::from("Xx"), "Xx");
    assert_reads_as(JobState::Cancelled, "cancelled");
    assert_reads_as(JobState::Unknown("paused".to_owned()), "paused");
    assert_reads_as(timestamp(json!("2026-05-02T14:32:01Z")), "2026-05-02T14:32:01Z");
    assert_reads_as(timestamp(json!(1_777_732_321)), "1777732321");
    assert_reads_as(SubmissionStatus::CacheHit, "cache_hit");
    assert_reads_as(SubmissionStatus::Unknown("queued".to_owned()), "queued");
}

#[test]
fn no_part_of_a_password_with_special_characters_is_shown() {
    for url in [
        "https://us:se#cret@api.test",
        "https://us:se?cret@api.test",
        "https://us:4711/cret@api.test/",
        "us:se?cret@api.test",
        "us:cret://x@api.test",
    ] {
        let builder = Client::builder().api_key("key").base_url(url);
        let shown = format!("{builder:?} {}", builder.clone().build().unwrap_err());
        let shown = format!("{shown} {}", builder.clone().proxy(url).build().unwrap_err());
        let proxy = Client::builder().api_key("key").base_url("http://localhost").proxy(url);
        let shown = format!("{shown} {}", proxy.build().unwrap_err());
        for part in ["us:", "cret", "4711", "se#", "se?"] {
            assert!(!shown.contains(part), "{url}: {shown}");
        }
    }
}
