//! Tests networks that fail: connections that die silently, addresses that do not respond, and servers that stop
//! reading. All connections use loopback addresses.

use std::env;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use atomiverse::{Client, ClientBuilder, Error, WaitOptions};
use serde_json::{Value, json};

use crate::support::{
    Answer, KEY, RawServer, Step, answer, in_own_process, job, json, lock, page, raw, read_message,
};

const MOMENT: Duration = Duration::from_millis(1);
const ATTEMPT: Duration = Duration::from_millis(200);

fn client_builder(base_url: impl Into<String>) -> ClientBuilder {
    Client::builder().api_key(KEY).base_url(base_url)
}

fn payload() -> Value {
    json!({"job_type": "opt"})
}

type Call = fn(&Client) -> atomiverse::Result<()>;

const READS: [(&str, Call); 2] =
    [("get", |client| client.get_job("a").map(drop)), ("list", |client| client.list_jobs().send().map(drop))];

const CHANGES: [(&str, Call); 3] = [
    ("rename", |client| client.rename_job("a", "water")),
    ("cancel", |client| client.cancel_job("a")),
    ("delete", |client| client.delete_job("a")),
];

const SUBMISSIONS: [(&str, Call); 2] = [
    ("submit", |client| client.submit_job(&payload()).map(drop)),
    ("submit batch", |client| client.submit_batch([payload()]).map(drop)),
];

fn calls() -> impl Iterator<Item = (&'static str, Call)> {
    READS.into_iter().chain(CHANGES).chain(SUBMISSIONS)
}

/// Keeps the calls of which the client knows whether they were sent. Without `dns-cache`, these are those with a body.
fn traced(
    calls: impl IntoIterator<Item = (&'static str, Call)>,
) -> impl Iterator<Item = (&'static str, Call)> {
    calls.into_iter().filter(|(what, _)| {
        cfg!(feature = "dns-cache") || ["rename", "submit", "submit batch"].contains(what)
    })
}

/// Fails unless every part of the error says that the request was not sent.
#[track_caller]
fn assert_nothing_was_sent(what: &str, error: &Error) {
    assert!(!error.may_have_been_submitted(), "{what}: {error}");
    assert!(!error.may_have_been_processed(), "{what}: {error}");
    assert_eq!(error.status(), None, "{what}: {error}");
    let text = error.to_string();
    let says_so = text.contains("nothing was sent") || text.contains("no connection");
    assert!(says_so, "{what}: does not say that nothing was sent: {text}");
}

// Connections that die silently.

/// A server that can fall silent on its open connections, as if a firewall had dropped them.
struct MortalServer {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    /// Connections with a smaller number are dead.
    dead_before: usize,
    requests: usize,
    requests_on_dead_connections: usize,
}

/// The number of idle connections that the client keeps for one host.
const IDLE: usize = 3;

impl MortalServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = MortalServer { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = Arc::clone(&server.seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                let number = lock(&seen).connections;
                lock(&seen).connections += 1;
                // The client may close the connection at any time.
                thread::spawn(move || drop(MortalServer::converse(&stream, number, &seen)));
            }
        });
        server
    }

    fn converse(stream: &TcpStream, number: usize, seen: &Mutex<Seen>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = io::BufReader::new(stream);
        while let Some(request) = read_message(&mut reader)? {
            // Requests that open connections are held until all of them are open: an earlier response
            // would free its connection for the next request.
            while request.line.contains("warm-up") && lock(seen).connections < IDLE {
                thread::sleep(MOMENT);
            }
            let is_dead = {
                let mut seen = lock(seen);
                let is_dead = number < seen.dead_before;
                seen.requests += 1;
                seen.requests_on_dead_connections += usize::from(is_dead);
                is_dead
            };
            if !is_dead {
                for step in MortalServer::respond(&request.line) {
                    let Step::Send(bytes) = step else { unreachable!() };
                    (&mut &*stream).write_all(&bytes)?;
                }
            }
        }
        Ok(())
    }

    fn respond(line: &str) -> Answer {
        let (method, target) = line.split_once(' ').unwrap();
        let path = target.trim_start_matches("/api/v1/jobs");
        match (method, path) {
            ("GET", path) if path.contains("cursor=2") => json(&page(&["c", "d"], true, Some("3"))),
            ("GET", path) if path.contains("cursor=3") => json(&page(&["e"], false, None)),
            ("GET", path) if path.starts_with('/') => json(&job(&path[1..])),
            ("GET", _) => json(&page(&["a", "b"], true, Some("2"))),
            ("POST", "") => answer(201, &["content-type: application/json"], &job("new")),
            ("POST", "/batch") => json(
                r#"{"total":1,"submitted":1,"failed":0,"cache_hits":0,
                    "jobs":[{"job_id":"new","state":"pending","status":"submitted"}]}"#,
            ),
            _ => raw("HTTP/1.1 204 No Content\r\n\r\n"),
        }
    }

    fn client_builder(&self) -> ClientBuilder {
        client_builder(format!("http://{}", self.address)).timeout(ATTEMPT)
    }

    /// Opens several connections of the client, which become idle and then die.
    fn kill_idle_connections_of(&self, client: &Client) {
        thread::scope(|scope| {
            for _ in 0..IDLE {
                scope.spawn(|| client.get_job("warm-up").unwrap());
            }
        });
        let mut seen = lock(&self.seen);
        assert!(seen.connections >= IDLE);
        *seen = Seen { connections: seen.connections, dead_before: seen.connections, ..Seen::default() };
    }

    /// Returns the number of requests since the connections died, and how many of them used dead connections.
    fn requests(&self) -> (usize, usize) {
        let seen = lock(&self.seen);
        (seen.requests, seen.requests_on_dead_connections)
    }
}

#[test]
fn after_a_change_on_a_dead_connection_the_next_call_uses_a_new_one() {
    for (next, call) in calls() {
        let server = MortalServer::start();
        // Without retries, the next call must succeed at its first attempt.
        let client = server.client_builder().max_retries(0).timeout(Duration::from_secs(2)).build().unwrap();
        server.kill_idle_connections_of(&client);
        if let Err(error) = client.rename_job("a", "water") {
            assert!(error.is_timeout() && error.may_have_been_processed(), "{error}");
        }
        call(&client).unwrap_or_else(|error| panic!("a rename, then {next}: {error}"));
        assert!(server.requests().1 <= 1, "{next}: {} requests went unanswered", server.requests().1);
    }
}

#[test]
fn a_dead_connection_costs_at_most_one_submission() {
    for (what, submit) in SUBMISSIONS {
        let server = MortalServer::start();
        let client = server.client_builder().timeout(Duration::from_millis(700)).build().unwrap();
        server.kill_idle_connections_of(&client);
        if let Err(error) = submit(&client) {
            assert!(error.is_timeout() && error.may_have_been_submitted(), "{what}: {error}");
            assert_eq!(error.attempts(), 1, "{what}: {error}");
        }
        submit(&client).unwrap_or_else(|error| panic!("{what}, the second time: {error}"));
        assert!(server.requests().1 <= 1, "{what}: {} requests went unanswered", server.requests().1);
    }
}

#[test]
fn a_wait_survives_dead_connections_with_one_unanswered_request() {
    let server = MortalServer::start();
    let client = server.client_builder().build().unwrap();
    server.kill_idle_connections_of(&client);
    let options = WaitOptions::new().timeout(Duration::from_secs(5)).min_interval(Duration::from_millis(10));
    let job = client.wait_for_job("a", &options).unwrap();
    assert_eq!(job.job_id.as_str(), "a");
    assert!(server.requests().1 <= 1, "{} requests went unanswered", server.requests().1);
}

#[test]
fn a_clone_in_another_thread_learns_that_the_connections_are_dead() {
    let server = MortalServer::start();
    let client = server.client_builder().max_retries(0).build().unwrap();
    server.kill_idle_connections_of(&client);
    let _ = client.get_job("a");
    let clone = client.clone();
    let job = thread::spawn(move || clone.get_job("b")).join().unwrap();
    assert_eq!(job.unwrap().job_id.as_str(), "b");
    assert!(server.requests().1 <= 1, "{} requests went unanswered", server.requests().1);
}

/// The pause takes real time, because ureq measures the age of a connection with its own clock.
#[test]
fn a_submission_does_not_use_a_connection_that_has_been_idle_for_seconds() {
    for_each_in_parallel(SUBMISSIONS, |(what, submit)| {
        let server = MortalServer::start();
        let client = server.client_builder().timeout(Duration::from_secs(2)).build().unwrap();
        server.kill_idle_connections_of(&client);
        thread::sleep(Duration::from_secs(6));
        submit(&client).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(server.requests(), (1, 0), "{what}");
    });
}

fn for_each_in_parallel<T: Send>(items: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        for item in items {
            let test = &test;
            scope.spawn(move || test(item));
        }
    });
}

// Responses that belong to another request.

/// Returns two responses in one piece, so that both have arrived when the first one is read.
fn twice(first: &str, second: &str) -> Answer {
    let responses = [first, second].map(|id| {
        let body = job(id);
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    });
    raw(responses.concat())
}

#[test]
fn an_unsolicited_response_is_not_taken_for_the_next_one() {
    let server = RawServer::script(vec![twice("a", "a"), json(&job("b"))]);
    let client = server.client();
    assert_eq!(client.get_job("a").unwrap().job_id.as_str(), "a");
    assert_eq!(client.get_job("b").unwrap().job_id.as_str(), "b");
}

#[test]
fn get_job_does_not_return_another_job() {
    // A duplicate of the first response arrives after the next request was sent.
    let server = RawServer::script(vec![json(&job("a")), twice("a", "b"), json(&job("b"))]);
    let client = server.client();
    assert_eq!(client.get_job("a").unwrap().job_id.as_str(), "a");
    if let Ok(job) = client.get_job("b") {
        assert_eq!(job.job_id.as_str(), "b");
    }
    // The response that is left on the connection is not taken for a later one.
    assert_eq!(client.get_job("b").unwrap().job_id.as_str(), "b");
}

#[test]
fn a_server_that_keeps_sending_another_job_is_reported() {
    let server = RawServer::script(vec![json(&job("alpha"))]);
    let client = server.client();
    let error = client.get_job("beta").expect_err("job alpha is not job beta");
    let text = error.to_string();
    assert!(text.contains("alpha") && text.contains("beta"), "{text}");
}

// Host names.

#[test]
fn many_threads_can_look_up_the_same_host_name_at_once() {
    const THREADS: usize = 32;
    let server = RawServer::start(|_, request| json(&job(request.line.rsplit('/').next().unwrap())));
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let client = client_builder(format!("http://localhost:{port}")).max_retries(0).build().unwrap();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for n in 0..THREADS {
            let (client, barrier) = (&client, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let id = format!("job-{n}");
                assert_eq!(client.get_job(&id).unwrap().job_id, *id);
            });
        }
    });
}

// Proxies that fail before the tunnel is up.

/// The variable that names the proxy, and a URL that this build can reach through it.
const PROXIED: (&str, &str) = if cfg!(any(feature = "rustls", feature = "native-tls")) {
    ("HTTPS_PROXY", "https://service.example")
} else {
    ("HTTP_PROXY", "http://service.example")
};

/// Starts a proxy that reads the request for a tunnel and then does this. It is not dropped, because it would then
/// check that request against the contract.
fn failing_proxy(step: Step) -> ManuallyDrop<RawServer> {
    ManuallyDrop::new(RawServer::start(move |_, _| vec![step.clone()]))
}

/// Makes the call through the proxy in the environment, which needs a process of its own.
fn proxied(call: Call) -> (Error, Duration) {
    let limit = Duration::from_millis(300);
    let client =
        client_builder(PROXIED.1).allow_insecure_http(true).connect_timeout(limit).max_retries(2).build();
    let started = Instant::now();
    let error = call(&client.unwrap()).unwrap_err();
    (error, started.elapsed())
}

#[track_caller]
fn assert_names_the_proxy(what: &str, error: &Error) {
    let text = error.to_string();
    let proxy = env::var(PROXIED.0).unwrap();
    let authority = proxy.trim_start_matches("http://");
    assert!(text.contains("proxy") && text.contains(authority), "{what}: does not name {proxy}: {text}");
}

#[track_caller]
fn assert_passed(output: &Output) {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
}

#[test]
fn a_proxy_that_closes_the_connection_before_the_tunnel_is_open_is_retried() {
    for end in [Step::Close, Step::Reset] {
        let server = failing_proxy(end.clone());
        let output = in_own_process(
            "network::a_proxy_that_closes_the_connection_before_the_tunnel_is_open_is_retried",
            &[(PROXIED.0, &server.url())],
            || {
                for (what, call) in traced(calls()) {
                    let (error, _) = proxied(call);
                    assert_nothing_was_sent(what, &error);
                    assert_eq!(error.attempts(), 3, "{what}: {error}");
                    assert_names_the_proxy(what, &error);
                }
            },
        );
        println!("{end:?}");
        assert_passed(&output);
    }
}

#[test]
fn a_silent_proxy_means_that_no_connection_was_made() {
    let server = failing_proxy(Step::Silence);
    let output = in_own_process(
        "network::a_silent_proxy_means_that_no_connection_was_made",
        &[(PROXIED.0, &server.url())],
        || {
            for_each_in_parallel(calls(), |(what, call)| {
                let (error, took) = proxied(call);
                assert_nothing_was_sent(what, &error);
                assert!(error.is_timeout(), "{what}: {error}");
                assert!(took < Duration::from_secs(5), "{what}: {took:?}");
                assert_names_the_proxy(what, &error);
            });
        },
    );
    assert_passed(&output);
}

/// Tests that depend on how Linux treats sockets, or on its tools.
#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio, exit};

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::support::BlackHole;

    /// Binds a local address. It listens with this backlog, or refuses connections if that is `None`.
    fn bound(backlog: Option<i32>, receive_buffer: Option<usize>) -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if let Some(bytes) = receive_buffer {
            // Both are set before listening, because accepted connections inherit them. The segment size is that of
            // Ethernet: with the 64 KB of a loopback connection, the send buffer of the client would hold most of a
            // large body.
            socket.set_recv_buffer_size(bytes).unwrap();
            socket.set_tcp_mss(1400).unwrap();
        }
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        if let Some(backlog) = backlog {
            socket.listen(backlog).unwrap();
        }
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    // Addresses that do not respond.

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn connect_timeout_bounds_an_address_that_does_not_respond() {
        let hole = BlackHole::new();
        for_each_in_parallel(calls(), |(what, call)| {
            let builder = hole.client_builder().timeout(3 * LONG).timeout(3 * LONG);
            let client = builder.connect_timeout(ATTEMPT).max_retries(1).build().unwrap();
            let started = Instant::now();
            let error = call(&client).unwrap_err();
            let took = started.elapsed();
            assert_nothing_was_sent(what, &error);
            assert!(error.is_timeout(), "{what}: {error}");
            assert_eq!(error.attempts(), 2, "{what}: {error}");
            assert!(took < Duration::from_secs(3), "{what}: {took:?}");
        });
    }

    /// ureq gives a connection the remaining time in whole milliseconds. Depending on the fraction, either the
    /// connection or the call times out first. These timeouts cover both cases.
    fn short_timeouts() -> impl Iterator<Item = Duration> {
        [0, 30, 60, 100, 200, 400].into_iter().map(|micros| ATTEMPT + Duration::from_micros(micros))
    }

    #[test]
    fn a_timeout_shorter_than_connect_timeout_still_says_that_no_connection_was_made() {
        let hole = BlackHole::new();
        let cases = traced(calls()).flat_map(|call| short_timeouts().map(move |timeout| (call, timeout)));
        for_each_in_parallel(cases, |((what, call), timeout)| {
            let builder = hole.client_builder().timeout(timeout).connect_timeout(LONG);
            let client = builder.max_retries(0).build().unwrap();
            let started = Instant::now();
            let error = call(&client).unwrap_err();
            let took = started.elapsed();
            assert_nothing_was_sent(what, &error);
            assert!(error.is_timeout(), "{what}: {error}");
            assert!(took < Duration::from_secs(3), "{what}: {took:?}");
        });
    }

    // Errors before the connection is established.

    #[track_caller]
    fn assert_not_connected(base_url: &str) {
        for (what, call) in traced(calls()) {
            let builder = client_builder(base_url).allow_insecure_http(true).proxy_from_env(false);
            let error = call(&builder.max_retries(2).build().unwrap()).unwrap_err();
            let what = format!("{what} at {base_url}");
            assert_eq!(error.attempts(), 3, "{what}: {error}");
            assert_nothing_was_sent(&what, &error);
        }
    }

    #[test]
    fn a_refused_connection_is_retried_and_nothing_was_sent() {
        let (_bound, address) = bound(None, None);
        let port = address.port();
        for host in ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"] {
            assert_not_connected(&format!("http://{host}:{port}"));
        }
    }

    #[test]
    fn an_address_that_the_system_refuses_is_retried_and_nothing_was_sent() {
        // TCP refuses broadcast and multicast addresses (ENETUNREACH) and link-local addresses without an
        // interface (EINVAL) without sending a packet.
        for host in ["255.255.255.255", "224.0.0.1", "[fe80::1]"] {
            assert_not_connected(&format!("http://{host}:9"));
        }
    }

    /// Same as [`in_own_process`], for a process that needs preparation by the shell.
    fn in_prepared_process(test: &str, prepare: &str, base_url: &str, body: impl FnOnce(&str)) -> Output {
        const BASE_URL: &str = "ATOMIVERSE_TEST_IN_PREPARED_PROCESS";
        if let Ok(base_url) = env::var(BASE_URL) {
            body(&base_url);
            exit(0);
        }
        Command::new("sh")
            .args(["-c", &format!("{prepare} exec \"$0\" \"$@\"")])
            .arg(env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--quiet"])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env(BASE_URL, base_url)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Routes and firewalls cause EACCES, EHOSTUNREACH and EINVAL. The routes here are for loopback addresses, in a
    /// network namespace that has no other interface.
    #[test]
    fn an_address_that_routes_refuse_is_retried_and_nothing_was_sent() {
        let output = in_prepared_process(
            "network::linux::an_address_that_routes_refuse_is_retried_and_nothing_was_sent",
            r#"exec unshare --map-root-user --net sh -c '
                ip link set lo up &&
                ip route add table local prohibit 127.9.0.1 &&
                ip route add table local unreachable 127.9.0.2 &&
                ip route add table local blackhole 127.9.0.3 || exit 77
                exec "$0" "$@"' "$0" "$@";"#,
            "",
            |_| {
                for address in ["127.9.0.1", "127.9.0.2", "127.9.0.3"] {
                    assert_not_connected(&format!("http://{address}:9"));
                }
            },
        );
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(77) || stderr.contains("unshare:") {
            // Some machines do not allow namespaces, or lack these tools.
            eprintln!("skipped: {stderr}");
            return;
        }
        assert_passed(&output);
    }

    #[test]
    fn a_process_without_free_file_descriptors_sends_nothing_and_recovers() {
        let server = RawServer::script(vec![json(&job("a"))]);
        let port = server.url().rsplit(':').next().unwrap().to_owned();
        for host in ["127.0.0.1", "localhost"] {
            let output = in_prepared_process(
                "network::linux::a_process_without_free_file_descriptors_sends_nothing_and_recovers",
                "ulimit -n 40;",
                &format!("http://{host}:{port}"),
                |base_url| {
                    // Each call has a client of its own, because calls share a retry budget.
                    let clients: Vec<Client> = traced(calls())
                        .map(|_| client_builder(base_url).max_retries(2).build().unwrap())
                        .collect();
                    let files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
                    let outcomes =
                        traced(calls()).zip(&clients).map(|((what, call), client)| (what, call(client)));
                    let outcomes: Vec<(&str, atomiverse::Result<()>)> = outcomes.collect();
                    // A panic in the assertions needs a file descriptor for its backtrace.
                    drop(files);
                    for (what, outcome) in outcomes {
                        let error = outcome.expect_err(what);
                        assert_eq!(error.attempts(), 3, "{what}: {error}");
                        assert_nothing_was_sent(what, &error);
                    }
                    for client in clients {
                        client.get_job("a").unwrap();
                    }
                },
            );
            println!("{host}");
            assert_passed(&output);
        }
    }

    /// ureq's own resolver panics in this case.
    #[cfg(feature = "dns-cache")]
    #[test]
    fn a_call_does_not_panic_if_no_thread_can_be_started() {
        let server = RawServer::script(vec![json(&job("a"))]);
        let port = server.url().rsplit(':').next().unwrap().to_owned();
        let output = in_prepared_process(
            "network::linux::a_call_does_not_panic_if_no_thread_can_be_started",
            "",
            &format!("http://localhost:{port}"),
            |base_url| {
                let client = client_builder(base_url).max_retries(0).build().unwrap();
                // The limit leaves half of the memory that the stack of a thread needs.
                let status = std::fs::read_to_string("/proc/self/status").unwrap();
                let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
                let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
                let limit = format!("--as={}", (size + 1024) * 1024);
                let pid = format!("--pid={}", std::process::id());
                assert!(Command::new("prlimit").args([pid, limit]).status().unwrap().success());
                assert!(thread::Builder::new().spawn(|| ()).is_err(), "threads can still be started");
                match client.get_job("a") {
                    Ok(job) => assert_eq!(job.job_id.as_str(), "a"),
                    Err(error) => assert_nothing_was_sent("get", &error),
                }
            },
        );
        assert_passed(&output);
    }

    // Servers that do not read what they are sent.

    /// A body of 4 MB, which does not fit into the buffers of a loopback connection.
    fn large_batch() -> Vec<Value> {
        vec![json!({"job_type": "opt", "note": "x".repeat(10_000)}); 400]
    }

    /// Small buffers, so that what the server does not read stays with the client.
    const RECEIVE_BUFFER: usize = 2304;

    #[test]
    fn the_timeout_bounds_a_server_that_reads_slowly() {
        for_each_in_parallel([250, 1000, 4000], |bytes| {
            let (listener, address) = bound(Some(1), Some(RECEIVE_BUFFER));
            let listener = TcpListener::from(listener);
            thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                // The server ends by itself, so that the test does not hang if the client has no timeout.
                let end = Instant::now() + Duration::from_secs(6);
                while Instant::now() < end && stream.read(&mut vec![0; bytes]).is_ok_and(|count| count > 0) {
                    thread::sleep(Duration::from_millis(100));
                }
            });
            let limit = Duration::from_secs(1);
            let builder = client_builder(format!("http://{address}")).timeout(limit).timeout(limit);
            let client = builder.build().unwrap();
            let started = Instant::now();
            let error = client.submit_batch(large_batch()).unwrap_err();
            let took = started.elapsed();
            assert!(took < Duration::from_secs(3), "{bytes} bytes: {took:?}: {error}");
            assert!(error.is_timeout() && error.may_have_been_submitted(), "{bytes} bytes: {error}");
        });
    }

    /// What a server does once it has responded to the head of a request.
    #[cfg(feature = "dns-cache")]
    #[derive(Debug, Clone, Copy)]
    enum After {
        /// Reads the rest, as RFC 9112, section 9.6, requires.
        Drain,
        /// Reads a little now and then for a moment, then closes.
        ReadSlowly,
        /// Reads nothing for a moment, then closes.
        Linger,
        /// Closes at once. The system responds to unread data with RST. Linux still delivers what arrived before
        /// that, and other systems discard it.
        Close,
    }

    #[cfg(feature = "dns-cache")]
    fn early_response(status: u16, body: &'static str, after: After) -> SocketAddr {
        let (listener, address) = bound(Some(1), Some(RECEIVE_BUFFER));
        let listener = TcpListener::from(listener);
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let headers = ["content-type: application/json", "connection: close"];
            for step in answer(status, &headers, body) {
                let Step::Send(bytes) = step else { unreachable!() };
                stream.write_all(&bytes).unwrap();
            }
            if matches!(after, After::Close) {
                return;
            }
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            match after {
                After::Drain => drop(io::copy(&mut stream, &mut io::sink())),
                After::Linger => thread::sleep(Duration::from_millis(300)),
                _ => {
                    for _ in 0..10 {
                        let _ = stream.read(&mut [0; 500]);
                        thread::sleep(Duration::from_millis(30));
                    }
                }
            }
        });
        address
    }

    /// ureq's own connections do not read after they break.
    #[cfg(feature = "dns-cache")]
    #[test]
    fn a_response_that_comes_before_the_body_was_sent_is_not_lost() {
        for (status, body) in
            [(413, r#"{"detail": "at most 1 MB"}"#), (401, r#"{"detail": "the key is revoked"}"#)]
        {
            let message = body.split('"').nth(3).unwrap();
            for after in [After::Drain, After::ReadSlowly, After::Linger, After::Close] {
                let address = early_response(status, body, after);
                let client = client_builder(format!("http://{address}")).timeout(LONG).build().unwrap();
                let error = client.submit_batch(large_batch()).unwrap_err();
                assert_eq!(error.status(), Some(status), "{after:?}: {error}");
                assert_eq!(error.server_message(), Some(message), "{after:?}: {error}");
                assert!(!error.may_have_been_submitted(), "{after:?}: {error}");
                assert_eq!(error.attempts(), 1, "{after:?}: {error}");
            }
        }
    }
}
