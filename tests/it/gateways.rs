//! Tests settings for gateways between the client and the service: headers, the header of the key, and proxies.

use atomiverse::Client;

use crate::support::{KEY, Message, RawServer, answer, job, json};

fn named(request: &Message, name: &str) -> Vec<String> {
    let headers = request.headers.iter().filter_map(|header| header.split_once(':'));
    headers.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned()).collect()
}

#[test]
fn a_header_is_sent_with_every_request_and_hidden_in_debug_output() {
    let server = RawServer::script(vec![json(&job("a")), answer(500, &[], "")]);
    let builder = server.client_builder().header("X-Team", "catalysis-secret").header("x-two", "2");
    assert!(!format!("{builder:?}").contains("catalysis-secret"));
    let client = builder.max_retries(0).build().unwrap();
    client.get_job("a").unwrap();
    let error = client.cancel_job("a").unwrap_err();
    assert!(!format!("{error} {error:#?} {client:?}").contains("catalysis-secret"));
    for request in server.requests() {
        assert_eq!(named(&request, "x-team"), ["catalysis-secret"]);
        assert_eq!(named(&request, "x-two"), ["2"]);
        assert_eq!(named(&request, "authorization"), [format!("Bearer {KEY}")]);
    }
}

#[test]
fn an_invalid_header_is_refused_without_showing_its_value() {
    let build = |name: &str, value: &str| {
        let builder = Client::builder().api_key(KEY).base_url("http://localhost").header(name, value);
        builder.build().unwrap_err().to_string()
    };
    for (name, value, words) in [
        ("", "secret", "not a valid header name"),
        ("a b", "secret", "not a valid header name"),
        ("x\n", "secret", "not a valid header name"),
        ("x-team", "secret\r\nx: y", "line break"),
        ("Host", "secret", "the client sets this header"),
        ("content-length", "secret", "the client sets this header"),
        ("AUTHORIZATION", "secret", "carries the API key"),
    ] {
        let error = build(name, value);
        assert!(error.contains(words) && !error.contains("secret") && !error.contains(KEY), "{error}");
    }
}

#[test]
fn the_key_can_be_sent_in_another_header() {
    let server = RawServer::script(vec![json(&job("a"))]);
    let builder = server.client_builder().api_key_header("X-API-Key");
    let client = builder.clone().header("Authorization", "Basic Z2F0ZXdheQ==").build().unwrap();
    client.get_job("a").unwrap();
    let request = &server.requests()[0];
    assert_eq!(named(request, "x-api-key"), [KEY]);
    assert_eq!(named(request, "authorization"), ["Basic Z2F0ZXdheQ=="]);
    builder.build().unwrap().get_job("a").unwrap();
    assert_eq!(named(&server.requests()[1], "authorization"), [""; 0]);
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
#[test]
fn an_explicit_proxy_is_also_used_for_local_servers() {
    use std::io::BufReader;
    use std::net::TcpListener;
    use std::thread;

    use crate::support::read_message;

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:hunter2@{}", listener.local_addr().unwrap());
    let proxy = thread::spawn(move || {
        let mut head = BufReader::new(listener.accept().unwrap().0);
        read_message(&mut head).unwrap().unwrap()
    });
    let client = Client::builder().api_key(KEY).base_url("https://127.0.0.1:9").proxy(url).max_retries(0);
    let error = client.build().unwrap().get_job("a").unwrap_err().to_string();
    assert!(error.contains("the proxy http://127.0.0.1:") && error.contains("(set by proxy)"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let head = proxy.join().unwrap();
    assert_eq!(head.line, "CONNECT 127.0.0.1:9");
    assert!(!format!("{head:?}").contains(KEY), "{head:?}");
}
