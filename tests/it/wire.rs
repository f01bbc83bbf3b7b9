//! What one call does on the network: its bounds, its connections, and how it is stopped.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use atomiverse::simulator::Simulator;
use atomiverse::{Client, ClientBuilder, Error};
use serde_json::json;

#[cfg(feature = "gzip")]
use crate::support::gzip;
use crate::support::{KEY, RawServer, Step, job, json, knows_localhost, lock, millis, raw, secs};
#[cfg(target_os = "linux")]
use crate::support::{signal, until};

fn builder(url: impl Into<String>) -> ClientBuilder {
    Client::builder().api_key(KEY).base_url(url).max_retries(0)
}

fn client(server: &RawServer) -> Client {
    builder(server.url()).build().unwrap()
}

type Call = (&'static str, fn(&Client) -> Result<(), Error>);

fn calls() -> [Call; 6] {
    [
        ("get", |client| client.get_job("a").map(drop)),
        ("list", |client| client.list_jobs().send().map(drop)),
        ("rename", |client| client.rename_job("a", "water")),
        ("cancel", |client| client.cancel_job("a")),
        ("delete", |client| client.delete_job("a")),
        ("submit", |client| client.submit_job(&json!({"job_type": "opt"})).map(drop)),
    ]
}

/// Makes each call at the same time, and checks that it ends by its deadline. Debug builds on a busy machine are late.
fn assert_bounded(
    what: &str,
    timeout: Duration,
    build: impl Fn() -> ClientBuilder,
    check: impl Fn(&str, &Error) + Sync,
) {
    let clients: Vec<(Call, Client)> =
        calls().into_iter().map(|call| (call, build().timeout(timeout).build().unwrap())).collect();
    thread::scope(|scope| {
        for ((name, call), client) in &clients {
            let check = &check;
            scope.spawn(move || {
                let started = Instant::now();
                let error = call(client).unwrap_err();
                let took = started.elapsed();
                assert!(took < timeout + millis(500), "{what}, {name}: {took:?}: {error}");
                assert!(error.is_timeout(), "{what}, {name}: {error}");
                check(name, &error);
            });
        }
    });
}

fn is_change(call: &str) -> bool {
    !["get", "list"].contains(&call)
}

// Bounds.

#[test]
fn a_call_to_a_server_that_does_not_finish_its_response_ends_in_time() {
    let endless = |head: &str| Step::Trickle([head.as_bytes(), &[b'x'; 1000]].concat(), millis(20));
    for (what, step) in [
        ("silence", Step::Silence),
        ("a head that trickles", endless("HTTP/1.1 200 OK\r\nx: ")),
        ("a body that trickles", endless("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n")),
        ("an error that trickles", endless("HTTP/1.1 404 Not Found\r\ncontent-length: 9999\r\n\r\n")),
    ] {
        let server = RawServer::script(vec![vec![step]]);
        assert_bounded(
            what,
            secs(1),
            || builder(server.url()),
            |call, error| {
                assert_eq!(error.may_have_been_processed(), is_change(call), "{what}, {call}: {error}");
            },
        );
    }
}

#[test]
fn a_call_to_a_server_that_reads_slowly_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // With small buffers and segments, the rest of the body stays at the client.
    let socket = socket2::SockRef::from(&listener);
    socket.set_recv_buffer_size(4096).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        while stream.read(&mut [0; 250]).is_ok_and(|count| count > 0) {
            thread::sleep(millis(500));
        }
    });
    let client = builder(format!("http://{address}")).timeout(secs(2)).build().unwrap();
    let started = Instant::now();
    let error = client.submit_job(&json!({ "note": "x".repeat(4 << 20) })).unwrap_err();
    // Most of what exceeds the two seconds is the writing of the payload in a debug build. The server would take hours.
    assert!(started.elapsed() < secs(8), "{:?}: {error}", started.elapsed());
    assert!(error.is_timeout() && error.may_have_been_processed(), "{error}");
}

#[test]
fn a_call_through_a_proxy_that_opens_no_tunnel_ends_in_time() {
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'x'; 1000]].concat();
    for step in [Step::Silence, Step::Trickle(endless, millis(20))] {
        let proxy = RawServer::script(vec![vec![step]]);
        let build = || builder("http://127.0.0.1:9").proxy(proxy.url()).allow_insecure_http(true);
        assert_bounded("proxy", secs(1), build, |call, error| {
            // Of a change without a body it is not known.
            if ["rename", "submit"].contains(&call) {
                assert!(!error.may_have_been_processed(), "{call}: {error}");
            }
        });
        assert!(proxy.lines().iter().all(|line| line.starts_with("CONNECT ")), "{:?}", proxy.lines());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_call_to_an_address_that_does_not_respond_ends_in_time() {
    let hole = crate::support::BlackHole::new();
    assert_bounded(
        "black hole",
        secs(1),
        || hole.client_builder().max_retries(0),
        |call, error| {
            if ["rename", "submit"].contains(&call) {
                assert!(!error.may_have_been_processed(), "{call}: {error}");
            }
        },
    );
    let build = || hole.client_builder().max_retries(0).connect_timeout(millis(300));
    for (call, send) in calls() {
        let error = send(&build().build().unwrap()).unwrap_err();
        assert!(error.is_timeout() && !error.may_have_been_processed(), "{call}: {error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn attempts_that_were_abandoned_are_bounded_in_number() {
    let hole = crate::support::BlackHole::new();
    // A connect that is under way goes on for a while after its caller has left.
    let client = hole.client_builder().max_retries(0).connect_timeout(secs(8)).build().unwrap();
    let is_refused = || {
        let error = client.with_timeout(millis(20)).get_job("a").unwrap_err();
        error.to_string().contains("too many attempts")
    };
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| until(is_refused));
        }
    });
    let error = client.delete_job("a").unwrap_err();
    assert!(error.to_string().contains("too many attempts"), "{error}");
    assert!(!error.may_have_been_processed() && error.is_transient(), "{error}");
    until(|| !is_refused());
}

#[test]
fn a_response_with_too_many_headers_is_an_error_at_once() {
    for count in [150, 10_000] {
        let headers = "x: y\r\n".repeat(count);
        let server =
            RawServer::script(vec![raw(format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n"))]);
        let error = client(&server).get_job("a").unwrap_err();
        assert!(!error.is_transient() && !error.is_timeout(), "{error}");
    }
}

#[cfg(feature = "gzip")]
#[test]
fn a_body_that_decompresses_to_more_than_the_maximum_is_an_error() {
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
    let server = RawServer::script(vec![raw([head.as_bytes(), &bomb].concat())]);
    let client = builder(server.url()).max_response_bytes(1 << 20).build().unwrap();
    let error = client.get_job("a").unwrap_err();
    assert!(error.to_string().contains("max_response_bytes"), "{error}");
}

#[cfg(feature = "gzip")]
#[test]
fn an_empty_body_that_is_said_to_be_compressed_is_empty() {
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n";
    for response in [
        format!("{head}content-length: 0\r\n\r\n"),
        format!("{head}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{head}content-length: 0\r\n\r\n").replace("200 OK", "204 No Content"),
    ] {
        let server = RawServer::script(vec![raw(response.as_str())]);
        client(&server).cancel_job("a").unwrap_or_else(|error| panic!("{response}: {error}"));
        assert_eq!(server.lines().len(), 1);
    }
    // A body that ends within is broken.
    let cut = &gzip(b"{}")[..12];
    let head = format!("{head}content-length: {}\r\n\r\n", cut.len());
    let server = RawServer::script(vec![raw([head.as_bytes(), cut].concat())]);
    let error = client(&server).cancel_job("a").unwrap_err();
    assert!(error.is_transient() && error.may_have_been_processed(), "{error}");
}

#[test]
fn a_refusal_of_a_large_body_is_read_before_the_body_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut head = io::BufReader::new(&stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            io::BufRead::read_line(&mut head, &mut line).unwrap();
        }
        (&stream)
            .write_all(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    });
    let client = builder(format!("http://{address}")).build().unwrap();
    let error = client.submit_job(&json!({ "note": "x".repeat(2 << 20) })).unwrap_err();
    assert_eq!(error.status(), Some(413), "{error}");
    assert!(!error.may_have_been_processed(), "{error}");
}

#[test]
fn many_threads_share_a_client() {
    let server = RawServer::start(|n, _| {
        thread::sleep(millis(n as u64 % 3));
        json(&job("a"))
    });
    let client = client(&server);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| (0..3).for_each(|_| drop(client.get_job("a").unwrap())));
        }
    });
}

// Suspension and threads.

/// Starts this test again in a process of its own, whose calls go to `url`.
#[cfg(target_os = "linux")]
fn again(test: &str, url: &str, variables: &[(&str, &str)]) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--quiet", "--test-threads=1"])
        .env("ATOMIVERSE_TEST_URL", url)
        .envs(variables.iter().copied())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

#[cfg(target_os = "linux")]
fn assert_success(child: std::process::Child) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_response_that_came_while_the_process_was_suspended_counts() {
    if let Ok(url) = std::env::var("ATOMIVERSE_TEST_URL") {
        let client = builder(url).timeout(secs(2)).build().unwrap();
        assert_eq!(client.submit_job(&json!({"job_type": "opt"})).unwrap().id(), "a");
        return;
    }
    let (asked, is_asked) = std::sync::mpsc::channel();
    let (respond, response) = std::sync::mpsc::channel();
    let server = RawServer::start(move |_, _| {
        asked.send(()).unwrap();
        response.recv().unwrap()
    });
    let child =
        again("wire::a_response_that_came_while_the_process_was_suspended_counts", &server.url(), &[]);
    is_asked.recv().unwrap();
    signal("-STOP", child.id());
    respond.send(json(r#"{"job_id":"a"}"#)).unwrap();
    thread::sleep(millis(2500));
    signal("-CONT", child.id());
    assert_success(child);
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_thread_a_call_is_an_error_and_nothing_is_sent() {
    if let Ok(url) = std::env::var("ATOMIVERSE_TEST_URL") {
        for (call, send) in calls() {
            let error = send(&builder(url.as_str()).build().unwrap()).unwrap_err();
            assert!(error.to_string().contains("cannot start a thread"), "{call}: {error}");
            assert!(error.is_transient() && !error.may_have_been_processed(), "{call}: {error}");
        }
        return;
    }
    let server = RawServer::script(vec![json("{}")]);
    // No machine has memory for such a stack: 14 EiB, or 3.5 GiB in a 32-bit process. musl allows up to 4 EiB.
    let stack = if cfg!(target_env = "musl") { usize::MAX / 4 } else { usize::MAX / 8 * 7 }.to_string();
    let test = "wire::without_a_thread_a_call_is_an_error_and_nothing_is_sent";
    assert_success(again(test, &server.url(), &[("RUST_MIN_STACK", &stack)]));
    assert_eq!(server.lines(), [""; 0]);
}

/// Returns the number of workers in this process.
#[cfg(target_os = "linux")]
pub fn workers() -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("atomiverse-atte")).count()
}

#[cfg(target_os = "linux")]
#[test]
fn clients_that_are_dropped_leave_no_threads_and_no_descriptors() {
    let output = crate::support::in_own_process(
        "wire::clients_that_are_dropped_leave_no_threads_and_no_descriptors",
        &[],
        || {
            let server = RawServer::script(vec![json(&job("a"))]);
            let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
            client(&server).get_job("a").unwrap();
            until(|| workers() == 0);
            let before = descriptors();
            let count = std::env::var("ATOMIVERSE_TEST_CLIENTS").map_or(300, |count| count.parse().unwrap());
            for n in 0..count {
                let client = client(&server);
                client.get_job("a").unwrap();
                if n % 3 == 0 {
                    drop(client.with_timeout(millis(1)).get_job("a"));
                }
            }
            until(|| workers() == 0 && descriptors() <= before);
        },
    );
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

// Connections.

/// A server whose connections respond a number of times, and then do something else with a request.
struct Tired {
    url: String,
    /// The number of requests on each connection.
    requests: Arc<Mutex<Vec<usize>>>,
}

/// The first connections respond once there are as many as `together`.
fn tired(responses: usize, then: Step, together: usize) -> Tired {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let counts = requests.clone();
    let all = Arc::new(Barrier::new(together));
    thread::spawn(move || {
        for (n, stream) in listener.incoming().flatten().enumerate() {
            lock(&counts).push(0);
            let (counts, then, all) = (counts.clone(), then.clone(), all.clone());
            thread::spawn(move || {
                let counted = || {
                    lock(&counts)[n] += 1;
                    if lock(&counts)[n] == 1 && n < together {
                        all.wait();
                    }
                };
                respond(&stream, responses, &then, counted)
            });
        }
    });
    Tired { url, requests }
}

fn respond(stream: &TcpStream, responses: usize, then: &Step, counted: impl Fn()) -> io::Result<()> {
    let mut reader = io::BufReader::new(stream);
    for n in 0.. {
        let Some(request) = crate::support::read_message(&mut reader)? else { break };
        counted();
        if n >= responses {
            return match then {
                Step::Silence => io::copy(&mut reader, &mut io::sink()).map(drop),
                _ => stream.shutdown(std::net::Shutdown::Both),
            };
        }
        let body = if request.line.starts_with("POST") { r#"{"job_id":"a"}"#.to_owned() } else { job("a") };
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        (&mut &*stream).write_all(response.as_bytes())?;
    }
    Ok(())
}

#[test]
fn a_read_on_a_connection_that_is_closed_is_retried_without_a_pause() {
    let server = tired(1, Step::Close, 1);
    let client = builder(server.url.as_str()).max_retries(2).build().unwrap();
    client.get_job("a").unwrap();
    let started = Instant::now();
    client.get_job("a").unwrap();
    // The first pause is at least 375 ms.
    assert!(started.elapsed() < millis(350), "{:?}", started.elapsed());
    assert_eq!(*lock(&server.requests), [2, 1]);
}

#[test]
fn connections_that_died_silently_cost_one_timeout() {
    let server = tired(1, Step::Silence, 4);
    let client = builder(server.url.as_str()).timeout(millis(5500)).build().unwrap();
    // Several connections are idle.
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| client.get_job("a").unwrap()))));
    let error = client.delete_job("a").unwrap_err();
    assert!(error.is_timeout(), "{error}");
    client.get_job("a").unwrap();
}

#[test]
fn a_read_whose_first_attempt_has_no_response_has_time_for_another_one() {
    let server = RawServer::script(vec![vec![Step::Silence], json(&job("a"))]);
    let client = builder(server.url()).timeout(secs(6)).max_retries(1).build().unwrap();
    client.get_job("a").unwrap();
}

#[test]
fn a_submission_uses_no_connection_that_was_idle_for_a_second() {
    let server = tired(2, Step::Close, 1);
    let client = builder(server.url.as_str()).build().unwrap();
    let submit = || client.submit_job(&json!({"job_type": "opt"})).unwrap();
    submit();
    submit();
    // The next one would not be responded to on this connection.
    thread::sleep(millis(1100));
    submit();
    assert_eq!(*lock(&server.requests), [2, 1]);
}

#[test]
fn calls_in_turn_share_a_connection_and_at_most_sixteen_are_kept() {
    let server = RawServer::start(|_, _| {
        thread::sleep(millis(20));
        json(&job("a"))
    });
    let client = client(&server);
    (0..5).for_each(|_| drop(client.get_job("a").unwrap()));
    assert_eq!(server.most_open(), 1);
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| client.get_job("a").unwrap());
        }
    });
    assert!(server.most_open() > 16);
    let another = RawServer::script(vec![json(&job("a"))]);
    assert!(builder(another.url()).build().unwrap().get_job("a").is_ok());
}

// What was not sent.

#[test]
fn a_change_of_an_unknown_host_was_not_sent() {
    // The name is reserved for this purpose, and too long a label is refused without asking anybody.
    let host = format!("{}.invalid", "x".repeat(64));
    for (name, call) in calls() {
        let client = builder(format!("http://{host}")).allow_insecure_http(true).proxy_from_env(false);
        let error = call(&client.build().unwrap()).unwrap_err();
        assert!(error.is_transient() && !error.may_have_been_processed(), "{name}: {error}");
    }
}

#[test]
fn a_change_that_is_refused_a_connection_was_not_sent_and_is_retried() {
    let simulator = Simulator::start().unwrap();
    for (name, call) in calls() {
        // The pauses of the simulator take no time.
        let client = simulator.client_builder().base_url("http://127.0.0.1:9").build().unwrap();
        let error = call(&client).unwrap_err();
        assert!(!error.may_have_been_processed(), "{name}: {error}");
        assert_eq!(error.attempts(), 3, "{name}: {error}");
    }
}

#[test]
fn ipv4_only_connects_to_no_other_address() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let port = listener.local_addr().unwrap().port();
    let client = builder(format!("http://[::1]:{port}")).ipv4_only(true).build().unwrap();
    let error = client.delete_job("a").unwrap_err();
    assert!(!error.may_have_been_processed(), "{error}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

// Responses that belong to another request.

#[test]
fn an_unsolicited_response_is_not_taken_for_the_next_one() {
    // Two responses in one piece: both have arrived when the first one is read.
    let body = job("a");
    let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server = RawServer::script(vec![raw(response.repeat(2)), json(&job("b"))]);
    let client = client(&server);
    assert_eq!(client.get_job("a").unwrap().job_id.as_str(), "a");
    assert_eq!(client.get_job("b").unwrap().job_id.as_str(), "b");
}

#[test]
fn a_response_that_is_another_job_is_not_returned_and_its_connection_not_used_again() {
    // What comes next on the connection of such a response may be late too.
    let server = tired(2, Step::Close, 1);
    let client = builder(server.url.as_str()).build().unwrap();
    assert!(client.get_job("b").is_err() && client.get_job("a").is_ok());
    assert_eq!(*lock(&server.requests), [1, 1]);
}

#[test]
fn a_server_that_keeps_sending_another_job_is_reported() {
    let server = RawServer::script(vec![json(&job("alpha"))]);
    let client = client(&server);
    let error = client.get_job("beta").expect_err("job alpha is not job beta");
    let text = error.to_string();
    assert!(text.contains("alpha") && text.contains("beta"), "{text}");
}

// Proxies and host names.

#[test]
fn a_proxy_that_closes_the_connection_before_the_tunnel_is_open_is_retried() {
    let simulator = Simulator::start().unwrap();
    for end in [Step::Close, Step::Reset] {
        let proxy = RawServer::script(vec![vec![end.clone()]]);
        for (call, send) in calls() {
            if is_change(call) && !["rename", "submit"].contains(&call) {
                // Of a change without a body it is not known.
                continue;
            }
            let client = simulator
                .client_builder()
                .base_url("http://127.0.0.1:9")
                .proxy(proxy.url())
                .allow_insecure_http(true);
            let error = send(&client.build().unwrap()).unwrap_err();
            assert_eq!(error.attempts(), 3, "{end:?}, {call}: {error}");
            assert!(!error.may_have_been_processed(), "{end:?}, {call}: {error}");
        }
    }
}

#[test]
fn many_threads_can_look_up_the_same_host_name_at_once() {
    if !knows_localhost() {
        return;
    }
    let server = RawServer::start(|_, request| json(&job(request.line.rsplit('/').next().unwrap())));
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let client = builder(format!("http://localhost:{port}")).build().unwrap();
    thread::scope(|scope| {
        for n in 0..32 {
            let (client, id) = (&client, format!("job-{n}"));
            scope.spawn(move || assert_eq!(client.get_job(&id).unwrap().job_id, *id));
        }
    });
}
