//! Tests settings from the builder and the environment.

use std::time::Duration;

use atomiverse::{Client, ClientBuilder};

use crate::support::{KEY, RawServer, in_own_process, job, json as json_answer, knows_localhost};

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

#[test]
fn each_setting_accepts_the_longest_duration() {
    const MAX: Duration = Duration::MAX;
    let server = RawServer::script(vec![json_answer(&job("a"))]);
    // A host name is also tested, because it is looked up.
    let with_name = knows_localhost().then(|| server.url().replace("127.0.0.1", "localhost"));
    for url in [server.url()].into_iter().chain(with_name) {
        let builder = server.client_builder().base_url(url);
        for builder in [builder.clone().connect_timeout(MAX), builder.connect_timeout(MAX).timeout(MAX)] {
            let client = builder.build().unwrap();
            client.get_job("a").unwrap();
            client.cancel_job("a").unwrap();
        }
    }
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
    Client::builder().api_key(r#"av"x"#).base_url(LOCAL).build().unwrap();
}

/// Builds a client from the environment. Either `from_env` or `build` may report an error.
fn builder_from_env() -> atomiverse::Result<Client> {
    ClientBuilder::from_env().and_then(ClientBuilder::build)
}

#[test]
fn an_error_about_a_variable_names_it_and_shows_no_secret() {
    let test = "an_error_about_a_variable_names_it_and_shows_no_secret";
    for (variable, value) in [
        ("ATOMIVERSE_API_KEY", "hunter2\nx"),
        ("ATOMIVERSE_API_KEY", "hunter2 x"),
        ("ATOMIVERSE_API_KEY", "'hunter2'"),
        ("ATOMIVERSE_BASE_URL", "service.example"),
        ("ATOMIVERSE_BASE_URL", "http://service.example"),
        ("ATOMIVERSE_BASE_URL", "https://user:hunter2@service.example"),
        ("ATOMIVERSE_BASE_URL", "http://localhost/?token=hunter2"),
        ("ATOMIVERSE_API_URL", "ftp://service.example"),
    ] {
        let variables = [("ATOMIVERSE_API_KEY", KEY), ("ATOMIVERSE_BASE_URL", LOCAL), (variable, value)];
        let text = in_environment(test, &variables, || {
            format!("{} | {}", outcome(Client::from_env()), outcome(builder_from_env()))
        });
        for text in text.split(" | ") {
            assert!(text.contains(variable) && !text.contains("base_url"), "{value}: {text}");
            assert!(!text.contains("hunter2"), "{value}: {text}");
        }
    }
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

#[cfg(any(feature = "rustls", feature = "native-tls"))]
#[test]
fn an_empty_variable_counts_as_not_set() {
    let test = "an_empty_variable_counts_as_not_set";
    for key in ["", "key"] {
        let variables = [("ATOMIVERSE_API_KEY", key), ("ATOMIVERSE_BASE_URL", "")];
        let link = |client: Client| client.job_dashboard_url("a").unwrap();
        let text = in_environment(test, &variables, || {
            builder_from_env().map_or_else(|error| error.to_string(), link)
        });
        let missing = "no API key";
        let expected = if key.is_empty() { missing } else { "https://atomiverse.com/job?job_id=a" };
        assert!(text.starts_with(expected), "{text}");
    }
}

#[cfg(not(any(feature = "rustls", feature = "native-tls")))]
#[test]
fn settings_that_need_tls_are_refused_in_a_build_without_it() {
    let builder = Client::builder().api_key("key").base_url("http://localhost");
    assert!(builder.clone().build().is_ok());
    let error = builder.clone().base_url("https://localhost").build().unwrap_err();
    assert!(error.to_string().contains("which this build leaves out"), "{error}");
}

#[test]
fn whitespace_around_a_variable_is_ignored_and_other_invisible_characters_are_shown() {
    let test = "whitespace_around_a_variable_is_ignored_and_other_invisible_characters_are_shown";
    for (url, key, expected) in [
        (" http://127.0.0.1:8000\r\n", "av_key\n", "ok"),
        ("\u{feff}http://127.0.0.1:8000", "av_key", r"\u{feff}http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000", "av\u{200b}_key", r"\u{200b}"),
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
            // On Windows, the names of variables do not differ by case.
            let is_named =
                text.contains(variable) || cfg!(windows) && text.contains(&variable.to_uppercase());
            if !is_named || text.contains("hunter2") {
                failures.push(format!("{variable}={url}: {text}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn an_empty_proxy_variable_disables_the_proxy() {
        let test = "proxies::an_empty_proxy_variable_disables_the_proxy";
        assert_eq!(in_environment(test, &[("HTTPS_PROXY", "")], || outcome(service().build())), "ok");
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
