//! Tests the proxy from the environment: how it is used and disabled, and that it does not see the key.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use atomiverse::Client;

use crate::support::{KEY, RawServer, answer, in_own_process, job};

/// Starts a proxy that responds with 502. Returns its URL and the heads of the requests that it receives.
fn proxy() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            // The head is recorded before the response is sent, so a client with the response can rely on it.
            sender.send(head.join("\n")).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
        }
    });
    (url, receiver)
}

fn get(proxy_from_env: bool) {
    let client = Client::builder()
        .api_key(KEY)
        .base_url(env::var("BASE_URL").unwrap())
        .allow_insecure_http(true)
        .proxy_from_env(proxy_from_env)
        .max_retries(0)
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    match client.get_job("a") {
        Ok(_) => print!("[got it]"),
        Err(error) => print!("[{error}]"),
    }
}

const TARGET: &str = if cfg!(any(feature = "rustls", feature = "native-tls")) {
    "https://atomiverse.invalid"
} else {
    "http://atomiverse.invalid"
};

#[test]
fn the_environments_proxy_is_asked_for_a_tunnel_and_does_not_see_the_key() {
    for variable in ["ALL_PROXY", "https_proxy", "HTTPS_PROXY"] {
        if variable != "ALL_PROXY" && TARGET.starts_with("http:") {
            continue;
        }
        let (url, noted) = proxy();
        let output = in_own_process(
            "proxy::the_environments_proxy_is_asked_for_a_tunnel_and_does_not_see_the_key",
            &[(variable, &url), ("BASE_URL", TARGET)],
            || get(true),
        );
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("the proxy http://127.0.0.1:"), "{variable}: {text}");
        let head = noted.try_recv().unwrap_or_else(|_| panic!("{variable}: the proxy was not used: {text}"));
        assert!(head.starts_with("CONNECT atomiverse.invalid:"), "{head}");
        assert!(!head.contains(KEY), "{head}");
    }
}

#[test]
fn the_environments_proxy_can_be_disabled() {
    let (url, noted) = proxy();
    let output = in_own_process(
        "proxy::the_environments_proxy_can_be_disabled",
        &[("ALL_PROXY", &url), ("BASE_URL", TARGET)],
        || get(false),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("get job a: "), "{text}");
    assert!(!text.contains("proxy"), "{text}");
    assert!(noted.try_recv().is_err());
}

#[test]
fn a_host_in_no_proxy_bypasses_the_proxy() {
    let (url, noted) = proxy();
    let output = in_own_process(
        "proxy::a_host_in_no_proxy_bypasses_the_proxy",
        &[("ALL_PROXY", &url), ("NO_PROXY", "atomiverse.invalid"), ("BASE_URL", TARGET)],
        || get(true),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("get job a: "), "{text}");
    assert!(noted.try_recv().is_err());
}

#[test]
fn a_local_server_bypasses_the_environments_proxy() {
    let (url, noted) = proxy();
    // Both processes start a server, but requests only go to that of the parent.
    let server = RawServer::script(vec![answer(200, &[], &job("a"))]);
    let output = in_own_process(
        "proxy::a_local_server_bypasses_the_environments_proxy",
        &[("ALL_PROXY", &url), ("HTTP_PROXY", &url), ("BASE_URL", &server.url())],
        || get(true),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("[got it]"), "{text}");
    assert!(noted.try_recv().is_err());
}
