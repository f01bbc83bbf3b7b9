//! Tests stop tokens, views of a client, calls on many jobs, shared pauses, the retry budget, and jitter.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader, Read as _, Write};
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
use atomiverse::{Client, ClientBuilder, Error, JobId, JobState, RawRequest, Result, StopToken, WaitOptions};
use serde_json::{Value, json};

use crate::contract::{Service, lines, start};
use crate::support::{
    Answer, KEY, Message, RawServer, Step, answer, job, json, lock, page, raw, read_message, secs, until,
};

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const HOUR: Duration = Duration::from_secs(3600);

fn payload() -> Value {
    json!({"job_type": "opt"})
}

/// Counts what happens in another thread.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts attempts as they begin.
    fn attempts_of(&self, builder: ClientBuilder) -> ClientBuilder {
        let counter = self.clone();
        builder.on_request(move |_| counter.add())
    }

    /// Counts attempts that failed and are to be retried.
    fn pauses_of(&self, builder: ClientBuilder) -> ClientBuilder {
        let counter = self.clone();
        builder.on_attempt(move |attempt| {
            if attempt.retry_in.is_some() {
                counter.add();
            }
        })
    }
}

/// The kind of a call, which decides what the error after a stop says.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Read,
    Change,
    Submission,
}

use Kind::{Change, Read, Submission};

type Call = fn(&Client) -> Result<()>;

/// Calls that begin with one request.
const CALLS: [(&str, Kind, Call); 10] = [
    ("get", Read, |client| client.get_job("a").map(drop)),
    ("list", Read, |client| client.list_jobs().send().map(drop)),
    ("iterate", Read, |client| client.iter_jobs().next().unwrap().map(drop)),
    ("send", Read, |client| client.send(RawRequest::new("GET", ["jobs"])).map(drop)),
    ("rename", Change, |client| client.rename_job("a", "water")),
    ("cancel", Change, |client| client.cancel_job("a")),
    ("cancel and wait", Change, |client| client.cancel_and_wait("a", &WaitOptions::new()).map(drop)),
    ("cancel and delete", Change, |client| client.cancel_and_delete("a", &WaitOptions::new()).map(drop)),
    ("delete", Change, |client| client.delete_job_if_exists("a").map(drop)),
    ("submit", Submission, |client| client.submit_job(&payload()).map(drop)),
];

#[track_caller]
fn assert_stopped(what: &str, kind: Kind, error: &Error, is_in_flight: bool) {
    assert!(error.is_stopped(), "{what}: {error}");
    assert!(!error.is_timeout() && !error.is_transient(), "{what}: {error}");
    assert_eq!(error.may_have_been_processed(), is_in_flight && kind != Read, "{what}: {error}");
    assert_eq!(error.may_have_been_submitted(), is_in_flight && kind == Submission, "{what}: {error}");
}

/// Makes the call and stops the token a moment after `is_under_way`. Returns the outcome, and the time from the stop to
/// the return of the call.
fn stop_during<T: Send>(
    stop: &StopToken,
    is_under_way: impl FnMut() -> bool,
    moment: Duration,
    call: impl FnOnce() -> T + Send,
) -> (T, Duration) {
    thread::scope(|scope| {
        let call = scope.spawn(|| (call(), Instant::now()));
        until(is_under_way);
        // What the call does next cannot be observed. A stop that comes too early must work as well.
        thread::sleep(moment);
        let stopped = Instant::now();
        stop.stop();
        let (outcome, returned) = call.join().unwrap();
        (outcome, returned.saturating_duration_since(stopped))
    })
}

/// Stops the call several times, at different moments of the polling interval.
///
/// A stop should take at most 100 ms, but a busy machine may delay the thread. Therefore one of a dozen tries has to
/// meet this bound, and every try has to return within 5 seconds, which only a stop can cause.
#[track_caller]
fn assert_prompt(what: &str, mut try_once: impl FnMut(Duration) -> Duration) {
    let mut took = Vec::new();
    for moment in [5, 25, 45].into_iter().cycle().take(12) {
        took.push(try_once(millis(moment)));
        assert!(took.iter().all(|took| *took < secs(5)), "{what}: {took:?}");
        if took.len() >= 3 && took.iter().any(|took| *took < millis(100)) {
            return;
        }
    }
    panic!("{what}: {took:?}");
}

/// Stops each call after a server has received it and while the server delays the response. `received` counts the
/// requests that the server has received at least in part.
fn assert_calls_stop(received: impl Fn() -> usize, builder: impl Fn() -> ClientBuilder) {
    for call in CALLS {
        assert_call_stops(call, true, |_| received(), &builder);
    }
}

/// Stops each call while no connection to the server can be made.
fn assert_calls_stop_unsent(builder: impl Fn() -> ClientBuilder) {
    for call in CALLS {
        // Without `dns-cache`, nothing shows whether a request without a body was sent.
        let is_in_doubt = cfg!(not(feature = "dns-cache")) && call.1 == Change && call.0 != "rename";
        assert_call_stops(call, is_in_doubt, Counter::get, &builder);
    }
}

/// Stops a call once `progress`, which gets the counter of attempts, returns a larger number than before.
fn assert_call_stops(
    (what, kind, call): (&str, Kind, Call),
    is_in_flight: bool,
    progress: impl Fn(&Counter) -> usize,
    builder: &impl Fn() -> ClientBuilder,
) {
    assert_prompt(what, |moment| {
        let (stop, attempts) = (StopToken::new(), Counter::default());
        let client = attempts.attempts_of(builder()).build().unwrap().with_stop(&stop);
        let before = progress(&attempts);
        let is_under_way = || progress(&attempts) > before;
        let (outcome, took) = stop_during(&stop, is_under_way, moment, || call(&client));
        let error = outcome.unwrap_err();
        assert_stopped(what, kind, &error, is_in_flight);
        assert_eq!((error.attempts(), attempts.get()), (1, 1), "{what}: {error}");
        took
    });
}

// Stops: each way in which a server can delay a call.

/// Starts a server that reads each request and then does this.
fn doing(steps: Vec<Step>) -> RawServer {
    RawServer::start(move |_, _| steps.clone())
}

#[test]
fn a_call_to_a_silent_server_can_be_stopped() {
    let server = doing(vec![Step::Silence]);
    assert_calls_stop(|| server.lines().len(), || server.client_builder());
}

#[test]
fn a_call_whose_response_trickles_can_be_stopped() {
    let head = format!("HTTP/1.1 200 OK\r\nx-padding: {}", "x".repeat(1000));
    let server = doing(vec![Step::Trickle(head.into_bytes(), millis(5))]);
    assert_calls_stop(|| server.lines().len(), || server.client_builder());
}

#[test]
fn a_call_whose_body_trickles_can_be_stopped() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2000\r\n\r\n";
    let steps = vec![Step::Send(head.into()), Step::Trickle(vec![b' '; 2000], millis(5))];
    let server = doing(steps);
    assert_calls_stop(|| server.lines().len(), || server.client_builder());
    let chunks = "1\r\n \r\n".repeat(1000);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let server = doing(vec![Step::Send(head.into()), Step::Trickle(chunks.into_bytes(), millis(5))]);
    assert_calls_stop(|| server.lines().len(), || server.client_builder());
}

#[test]
fn a_call_whose_error_body_trickles_can_be_stopped() {
    let head = "HTTP/1.1 409 Conflict\r\ncontent-type: application/json\r\ncontent-length: 2000\r\n\r\n";
    let server = doing(vec![Step::Send(head.into()), Step::Trickle(vec![b' '; 2000], millis(5))]);
    assert_calls_stop(|| server.lines().len(), || server.client_builder());
}

/// Starts a proxy that is not dropped, because it would then check the request for a tunnel against the contract.
fn proxy(step: Step) -> ManuallyDrop<RawServer> {
    ManuallyDrop::new(doing(vec![step]))
}

fn through(proxy: &RawServer) -> ClientBuilder {
    Client::builder()
        .api_key(KEY)
        .base_url("http://service.example")
        .allow_insecure_http(true)
        .proxy(proxy.url())
}

#[test]
fn a_call_whose_proxy_opens_no_tunnel_can_be_stopped_and_was_not_sent() {
    let silent = proxy(Step::Silence);
    assert_calls_stop_unsent(|| through(&silent));
    let head = format!("HTTP/1.1 200 OK\r\nx-padding: {}", "x".repeat(1000));
    let trickling = proxy(Step::Trickle(head.into_bytes(), millis(5)));
    assert_calls_stop_unsent(|| through(&trickling));
}

/// Returns a listener whose connections are accepted but never served.
#[cfg(feature = "rustls")]
fn deaf_listener() -> TcpListener {
    // The operating system completes the TCP handshake.
    TcpListener::bind("127.0.0.1:0").unwrap()
}

// OpenSSL takes over 100 ms in a debug build to read the root certificates, and cannot be interrupted.
#[cfg(feature = "rustls")]
#[test]
fn a_call_that_hangs_in_the_tls_handshake_can_be_stopped_and_was_not_sent() {
    let listener = deaf_listener();
    let url = format!("https://{}", listener.local_addr().unwrap());
    assert_calls_stop_unsent(|| Client::builder().api_key(KEY).base_url(url.as_str()));
}

#[cfg(all(any(feature = "rustls", feature = "native-tls"), not(feature = "platform-verifier")))]
mod tls {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;

    /// Starts a server that reads the head of each request, sends `head`, and then one byte at a time. Returns its URL
    /// and certificate.
    fn server(head: &'static str, trickle: usize, received: &Counter) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let received = received.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let received = received.clone();
                let connection = ServerConnection::new(config.clone()).unwrap();
                // The client may close the connection at any time.
                thread::spawn(move || {
                    drop(serve(StreamOwned::new(connection, stream), head, trickle, &received))
                });
            }
        });
        (url, certificate.pem())
    }

    fn serve(
        stream: StreamOwned<ServerConnection, TcpStream>,
        head: &str,
        trickle: usize,
        received: &Counter,
    ) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        read_message(&mut reader)?;
        received.add();
        reader.get_mut().write_all(head.as_bytes())?;
        for _ in 0..trickle {
            reader.get_mut().write_all(b" ")?;
            thread::sleep(millis(5));
        }
        read_message(&mut reader).map(drop)
    }

    #[test]
    fn a_call_over_tls_to_a_silent_or_slow_server_can_be_stopped() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2000\r\n\r\n";
        for (head, trickle) in [("", 0), (head, 2000)] {
            let received = Counter::default();
            let (url, certificate) = server(head, trickle, &received);
            assert_calls_stop(
                || received.get(),
                || {
                    let builder = Client::builder().api_key(KEY).base_url(url.as_str());
                    builder.root_certificates(certificate.as_str())
                },
            );
        }
    }
}

/// Tests that depend on how Linux treats sockets, and on its list of threads.
#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::support::{BlackHole, in_own_process};

    /// Returns a listener with a small buffer, so that what the server does not read stays with the client.
    fn listener(backlog: i32) -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(2304).unwrap();
        socket.set_tcp_mss(1400).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(backlog).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    #[test]
    fn a_call_that_hangs_while_it_connects_can_be_stopped_and_was_not_sent() {
        let hole = BlackHole::new();
        assert_calls_stop_unsent(|| hole.client_builder());
    }

    #[test]
    fn a_large_body_that_the_server_does_not_read_can_be_stopped() {
        fn submit(client: &Client) -> Result<()> {
            let payloads: Vec<Value> = vec![json!({"job_type": "opt", "note": "x".repeat(10_000)}); 400];
            client.submit_batch(payloads).map(drop)
        }
        let (listener, address) = listener(16);
        let received = Counter::default();
        let counter = received.clone();
        thread::spawn(move || {
            let mut connections = Vec::new();
            for mut stream in TcpListener::from(listener).incoming().flatten() {
                if stream.read(&mut [0]).is_ok_and(|count| count > 0) {
                    counter.add();
                }
                // The connection stays open, but nothing more is read.
                connections.push(stream);
            }
        });
        let builder = || Client::builder().api_key(KEY).base_url(format!("http://{address}"));
        assert_call_stops(("submit batch", Submission, submit), true, |_| received.get(), &builder);
    }

    /// Counts the threads of this process with this name. Linux cuts names to 15 bytes.
    fn threads(name: &str) -> usize {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|other| other.starts_with(name)).count()
    }

    const ATTEMPT_THREAD: &str = "atomiverse-atte";

    #[test]
    fn abandoned_connections_end_within_their_limit_and_are_bounded_in_number() {
        let output = in_own_process(
            "control::linux::abandoned_connections_end_within_their_limit_and_are_bounded_in_number",
            &[],
            || {
                let hole = BlackHole::new();
                let attempts = Counter::default();
                let builder = hole.client_builder().connect_timeout(secs(3)).max_retries(0);
                let client = attempts.attempts_of(builder).build().unwrap();
                let call = |_: usize| {
                    let stop = StopToken::new();
                    let before = attempts.get();
                    let view = client.with_stop(&stop);
                    stop_during(&stop, || attempts.get() > before, millis(1), || view.get_job("a")).0
                };
                // The calls are stopped faster than their threads end. At most 64 threads are left behind.
                let most = (0..80).map(|n| (call(n).unwrap_err(), threads(ATTEMPT_THREAD)));
                let (errors, counts): (Vec<Error>, Vec<usize>) = most.unzip();
                assert!(errors.iter().all(|error| !error.may_have_been_processed()));
                let most = counts.into_iter().max().unwrap();
                assert!((32..=65).contains(&most), "{most} threads");
                until(|| threads(ATTEMPT_THREAD) == 0);
                assert!(call(0).unwrap_err().is_stopped(), "the client can be used again");
            },
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn a_call_without_a_token_starts_no_thread() {
        let output = in_own_process("control::linux::a_call_without_a_token_starts_no_thread", &[], || {
            let hole = BlackHole::new();
            let attempts = Counter::default();
            let builder = hole.client_builder().connect_timeout(millis(300)).max_retries(0);
            let client = attempts.attempts_of(builder).build().unwrap();
            let most = |client: &Client, call: fn(&Client)| {
                thread::scope(|scope| {
                    let call = scope.spawn(|| call(client));
                    let mut most = 0;
                    while !call.is_finished() {
                        most = most.max(threads("atomiverse"));
                        thread::sleep(millis(5));
                    }
                    most
                })
            };
            let get = |client: &Client| drop(client.get_job("a").unwrap_err());
            assert_eq!(most(&client, get), 0);
            assert_eq!(most(&client.with_stop(&StopToken::new()), get), 1);
            let delete = |client: &Client| assert_eq!(client.delete_jobs(numbered(3)).count(), 3);
            assert_eq!(most(&client, delete), 3, "one for each call at a time");
        });
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn the_threads_of_a_bulk_call_end_with_their_requests() {
        let output =
            in_own_process("control::linux::the_threads_of_a_bulk_call_end_with_their_requests", &[], || {
                let server = Desk::start(|line, desk| desk.is_closed && !line.ends_with("/j0"));
                server.close();
                let mut bulk = server.client().delete_jobs(numbered(50)).parallel(3);
                assert_eq!(threads("atomiverse-bulk"), 0, "no thread is started before the first `next`");
                assert!(bulk.next().unwrap().1.unwrap());
                until(|| lock(&server.state).at_once == 3);
                assert_eq!(threads("atomiverse-bulk"), 3);
                drop(bulk);
                assert_eq!(lock(&server.state).lines.len(), 4, "one outcome and three open requests");
                server.open();
                until(|| threads("atomiverse-bulk") == 0);
                assert_eq!(lock(&server.state).lines.len(), 4, "none was sent after the drop");
            });
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

// Stops: pauses, waits, many requests.

fn job_in(state: &str, id: &str) -> String {
    job(id).replace(r#""state":"done""#, &format!(r#""state":"{state}""#))
}

/// Returns the job id in the path of a request.
fn id_of(request: &Message) -> &str {
    request.line.trim_end_matches("/cancel").rsplit('/').next().unwrap()
}

/// Starts a server that responds to each load with a job in this state, and to each cancel with 202.
fn serving_jobs_in(state: &'static str) -> RawServer {
    RawServer::start(move |_, request| match request.line.split(' ').next() {
        Some("POST") => answer(202, &[], ""),
        _ if request.line.contains("jobs?") => json(&page(&[], false, None)),
        _ => json(&job_in(state, id_of(request))),
    })
}

#[test]
fn a_poll_can_be_stopped() {
    let server =
        RawServer::start(|n, _| if n == 0 { json(&job_in("pending", "a")) } else { vec![Step::Silence] });
    let stop = StopToken::new();
    let client = server.client().with_stop(&stop);
    let often = WaitOptions::new().min_interval(millis(1));
    let polls = || server.lines().len() == 2;
    let (outcome, took) = stop_during(&stop, polls, millis(0), || client.wait_for_job("a", &often));
    let error = outcome.unwrap_err();
    assert_stopped("wait", Read, &error, false);
    assert_eq!(error.state(), Some(&JobState::Pending));
    assert!(took < secs(1), "{took:?}");
}

#[test]
fn a_stopped_wait_for_several_jobs_reports_each_id_once_with_its_last_state() {
    for cancel_on_timeout in [false, true] {
        let server = RawServer::start(|_, request| match id_of(request) {
            "finished" => json(&job_in("done", "finished")),
            "unknown" => answer(404, &["content-type: application/json"], "{}"),
            "silent" => vec![Step::Silence],
            id if id.starts_with("jobs?") => json(&page(&[], false, None)),
            id => json(&job_in(if id == "late" { "pending" } else { "running" }, id)),
        });
        let (stop, updates) = (StopToken::new(), Counter::default());
        let client = server.client().with_stop(&stop);
        let ids = ["running", "finished", " bad", "late", "silent", "unknown", "late", "running"];
        let options = WaitOptions::new().cancel_on_timeout(cancel_on_timeout).on_update(|_| updates.add());
        let wait = || client.wait_for_jobs(ids, &options).take(20).collect::<Vec<_>>();
        let (outcomes, took) = stop_during(&stop, || updates.get() == 3, millis(20), wait);
        assert!(took < secs(1), "{took:?}");
        let mut seen = HashMap::new();
        for outcome in outcomes {
            let (id, what) = match outcome {
                Ok(job) => (job.job_id.to_string(), format!("{}", job.state)),
                Err(error) if error.is_stopped() => {
                    assert!(error.cancellation_accepted().is_none(), "{error}");
                    (error.job_id().unwrap().to_string(), format!("stopped, {:?}", error.state()))
                }
                Err(error) => (error.job_id().unwrap().to_string(), format!("{:?}", error.status())),
            };
            assert_eq!(seen.insert(id, what), None, "one outcome for each");
        }
        let expected = [
            ("running", "stopped, Some(Running)"),
            ("finished", "done"),
            (" bad", "None"),
            ("late", "stopped, Some(Pending)"),
            ("silent", "stopped, None"),
            ("unknown", "Some(404)"),
        ];
        let expected = expected.map(|(id, what)| (id.to_owned(), what.to_owned()));
        assert_eq!(seen, HashMap::from(expected));
        assert!(server.lines().iter().all(|line| line.starts_with("GET ")), "nothing was cancelled");
    }
}

#[test]
fn cancelling_at_the_end_of_a_wait_can_be_stopped() {
    assert_prompt("cancel on timeout", |moment| {
        let simulator = Arc::new(Simulator::start().unwrap());
        let clock = simulator.clone();
        let server = RawServer::start(move |_, request| match request.line.split(' ').next() {
            Some("POST") => {
                // Up to here, pauses took only simulated time.
                clock.run_in_real_time();
                vec![Step::Silence]
            }
            _ if request.line.contains("jobs?") => json(&page(&[], false, None)),
            _ => json(&job_in("running", id_of(request))),
        });
        let stop = StopToken::new();
        let client = simulator.client_builder().base_url(server.url()).build().unwrap().with_stop(&stop);
        let ids = numbered(8);
        // 10 seconds of this are reserved for cancelling.
        let options = WaitOptions::new().timeout(secs(100)).cancel_on_timeout(true);
        let cancels = || server.lines().iter().filter(|line| line.starts_with("POST ")).count();
        let wait = || client.wait_for_jobs(&ids, &options).take(20).collect::<Vec<_>>();
        let (outcomes, took) = stop_during(&stop, || cancels() == 4, moment, wait);
        let errors: Vec<Error> = outcomes.into_iter().map(|outcome| outcome.unwrap_err()).collect();
        let named: HashSet<&str> = errors.iter().map(|error| error.job_id().unwrap().as_str()).collect();
        assert_eq!((errors.len(), named.len()), (8, 8));
        assert!(errors.iter().all(|error| error.is_stopped() && error.is_timeout()), "{errors:?}");
        // Four requests were in flight and may have been processed. The others were not sent.
        assert!(errors.iter().all(|error| error.cancellation_accepted() == Some(false)));
        let unknown = errors.iter().filter(|error| error.may_have_been_processed()).count();
        assert_eq!((unknown, cancels()), (4, 4));
        took
    });
}

#[test]
fn a_change_that_is_stopped_after_it_was_refused_was_not_made() {
    let calls: [(&str, u16, Call); 5] = [
        ("cancel", 409, |client| client.cancel_job("a")),
        ("cancel", 404, |client| client.cancel_job("a")),
        ("delete", 409, |client| client.delete_job("a")),
        ("delete", 404, |client| client.delete_job_if_exists("a").map(drop)),
        ("rename", 404, |client| client.rename_job("a", "water")),
    ];
    for (what, status, call) in calls {
        let refusal = answer(status, &["content-type: application/json"], r#"{"detail":"refused"}"#);
        // The server is silent when the client loads the job to see its state.
        let server = RawServer::script(vec![refusal, vec![Step::Silence]]);
        let stop = StopToken::new();
        let client = server.client().with_stop(&stop);
        let is_under_way = || server.lines().len() == 2;
        let (outcome, took) = stop_during(&stop, is_under_way, millis(0), || call(&client));
        let error = outcome.unwrap_err();
        assert_stopped(what, Change, &error, false);
        assert!(!error.is_not_found(), "the job may still exist: {error}");
        assert_eq!(error.status(), Some(status), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(took < secs(5), "{what}: {took:?}");
    }
}

#[test]
fn a_wait_can_be_stopped_while_another_one_is_in_their_on_update() {
    let server = serving_jobs_in("running");
    let (stop, updates, release) = (StopToken::new(), Counter::default(), StopToken::new());
    let options = WaitOptions::new().on_update(|_| {
        updates.add();
        until(|| release.is_stopped());
    });
    thread::scope(|scope| {
        let first = scope.spawn(|| server.client().with_stop(&release).wait_for_job("a", &options));
        until(|| updates.get() == 1);
        let client = server.client().with_stop(&stop);
        let before = server.lines().len();
        let wait = || client.wait_for_job("b", &options);
        let (outcome, took) = stop_during(&stop, || server.lines().len() > before, millis(20), wait);
        release.stop();
        let error = outcome.unwrap_err();
        assert!(error.is_stopped() && took < secs(5), "{error} after {took:?}");
        assert_eq!(error.state(), Some(&JobState::Running));
        assert!(first.join().unwrap().unwrap_err().is_stopped());
        assert_eq!(updates.get(), 1);
    });
}

#[test]
fn a_stopped_cancel_and_wait_says_whether_the_cancellation_was_accepted() {
    let server = serving_jobs_in("running");
    let (stop, updates) = (StopToken::new(), Counter::default());
    let client = server.client().with_stop(&stop);
    let options = WaitOptions::new().min_interval(HOUR).max_interval(HOUR).timeout(10 * HOUR);
    let options = options.on_update(|_| updates.add());
    let wait = || client.cancel_and_wait("a", &options);
    let (outcome, _) = stop_during(&stop, || updates.get() > 0, millis(0), wait);
    let error = outcome.unwrap_err();
    assert_stopped("cancel and wait", Read, &error, false);
    assert_eq!(error.cancellation_accepted(), Some(true));
    assert!(error.to_string().contains("accepted the request to cancel it"), "{error}");
}

#[test]
fn a_bulk_call_in_progress_can_be_stopped() {
    for parallel in [1, 4, 1000] {
        assert_prompt(&format!("parallel({parallel})"), |moment| {
            let server = doing(vec![Step::Silence]);
            let stop = StopToken::new();
            let client = server.client().with_stop(&stop);
            let ids = numbered(40);
            let at_once = parallel.min(ids.len());
            let bulk =
                client.delete_jobs(ids.iter().map(String::as_str).chain(["", "j0"])).parallel(parallel);
            let is_under_way = || server.lines().len() == at_once;
            let (outcomes, took) = stop_during(&stop, is_under_way, moment, || bulk.collect::<Vec<_>>());
            let named: HashSet<&str> = outcomes.iter().map(|(id, _)| id.as_str()).collect();
            assert_eq!((outcomes.len(), named.len()), (41, 41));
            assert!(named.contains("") && ids.iter().all(|id| named.contains(id.as_str())));
            let errors = outcomes.iter().map(|(id, outcome)| (id, outcome.as_ref().unwrap_err()));
            let stopped: Vec<_> = errors.filter(|(id, _)| !id.as_str().is_empty()).collect();
            assert!(stopped.iter().all(|(id, error)| error.is_stopped() && error.job_id() == Some(*id)));
            let in_flight = stopped.iter().filter(|(_, error)| error.may_have_been_processed()).count();
            assert_eq!((in_flight, server.lines().len()), (at_once, at_once));
            took
        });
    }
}

/// Returns the response to a batch of this many payloads, all of which were submitted.
fn batch_response(count: usize) -> Answer {
    let entries: Vec<String> = (0..count)
        .map(|n| format!(r#"{{"job_id":"j{n}","state":"pending","status":"submitted"}}"#))
        .collect();
    json(&format!(
        r#"{{"total":{count},"submitted":{count},"failed":0,"cache_hits":0,"jobs":[{}]}}"#,
        entries.join(",")
    ))
}

#[test]
fn a_stopped_batch_says_which_payloads_were_submitted() {
    let server = RawServer::script(vec![batch_response(1000), vec![Step::Silence]]);
    let stop = StopToken::new();
    let client = server.client().with_stop(&stop);
    let submit = || client.submit_batch(vec![payload(); 2500]);
    let (outcome, took) = stop_during(&stop, || server.lines().len() == 2, millis(5), submit);
    assert!(took < secs(1), "{took:?}");
    let error = outcome.unwrap_err();
    assert_stopped("batch", Submission, &error, true);
    let partial = error.partial_batch().unwrap();
    assert_eq!(
        (&partial.answered, &partial.failed, &partial.not_sent),
        (&(0..1000), &(1000..2000), &(2000..2500))
    );
    assert_eq!((partial.received.submitted, partial.received.jobs.len()), (1000, 1000));
}

#[test]
fn a_batch_that_is_stopped_between_two_requests_has_sent_only_the_first() {
    let stop = StopToken::new();
    let server = {
        let stop = stop.clone();
        RawServer::start(move |_, _| {
            stop.stop();
            batch_response(1000)
        })
    };
    let error = server.client().with_stop(&stop).submit_batch(vec![payload(); 1500]).unwrap_err();
    assert!(error.is_stopped(), "{error}");
    let partial = error.partial_batch().unwrap();
    // The response may have been read although the token was stopped before.
    let is_first_known = partial.answered == (0..1000);
    assert!(is_first_known || partial.answered.is_empty(), "{error}");
    assert_eq!(error.may_have_been_submitted(), !is_first_known, "{error}");
    assert_eq!(partial.failed, if is_first_known { 1000..1000 } else { 0..1000 });
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn one_token_stops_the_calls_of_many_threads_and_clients() {
    let server = doing(vec![Step::Silence]);
    let (stop, attempts) = (StopToken::new(), Counter::default());
    let clients = [0, 1].map(|_| attempts.attempts_of(server.client_builder()).build().unwrap());
    let unwatched = attempts.attempts_of(server.client_builder()).timeout(secs(3)).build().unwrap();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..32)
            .map(|n| {
                let (_, kind, call) = CALLS[n % CALLS.len()];
                let client = clients[n % 2].with_stop(&stop.clone());
                scope.spawn(move || (kind, call(&client).unwrap_err(), Instant::now()))
            })
            .collect();
        let unwatched = scope.spawn(|| unwatched.get_job("a").unwrap_err());
        until(|| server.lines().len() == 33);
        let stopped = Instant::now();
        stop.stop();
        for call in calls {
            let (kind, error, returned) = call.join().unwrap();
            assert_stopped("many", kind, &error, true);
            assert!(returned - stopped < secs(1), "{:?}", returned - stopped);
        }
        assert!(unwatched.join().unwrap().is_timeout(), "a client without the token is not stopped");
    });
}

#[test]
fn on_attempt_sees_the_attempt_that_was_stopped() {
    let server = doing(vec![Step::Silence]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let builder = server.client_builder().on_attempt(move |attempt| {
        lock(&sink).push((
            attempt.number,
            attempt.status,
            attempt.error.map(str::to_owned),
            attempt.retry_in,
        ));
    });
    let stop = StopToken::new();
    let client = builder.build().unwrap().with_stop(&stop);
    let (outcome, _) = stop_during(&stop, || !server.lines().is_empty(), millis(1), || client.get_job("a"));
    assert!(outcome.unwrap_err().is_stopped());
    assert_eq!(*lock(&seen), [(1, None, Some("stopped before the response came".to_owned()), None)]);
}

#[test]
fn later_calls_do_not_get_the_response_of_a_stopped_call() {
    let stop = StopToken::new();
    let token = stop.clone();
    // The response to the second request arrives after the stop, and must not be taken for that to the third.
    let server = RawServer::start(move |n, request| {
        let response = json(&job(id_of(request)));
        if n != 1 {
            return response;
        }
        until(|| token.is_stopped());
        let Some(Step::Send(bytes)) = response.into_iter().next() else { unreachable!() };
        vec![Step::Trickle(bytes[..1].to_vec(), millis(200)), Step::Send(bytes[1..].to_vec())]
    });
    let client = server.client();
    client.get_job("warm-up").unwrap();
    let view = client.with_stop(&stop);
    let (outcome, _) = stop_during(&stop, || server.lines().len() == 2, millis(1), || view.get_job("a"));
    // On a busy machine the call may still receive its response.
    assert!(outcome.map_or_else(|error| error.is_stopped(), |job| job.job_id.as_str() == "a"));
    for id in ["b", "c", "d"] {
        assert_eq!(client.get_job(id).unwrap().job_id.as_str(), id);
    }
}

#[test]
fn a_response_that_has_arrived_is_returned_even_if_the_token_is_stopped() {
    let stop = StopToken::new();
    let hook = stop.clone();
    let server = RawServer::script(vec![json(&job("a"))]);
    let client = server.client_builder().on_response(move |_, _| hook.stop()).build().unwrap();
    assert_eq!(client.with_stop(&stop).get_job("a").unwrap().job_id.as_str(), "a");
}

#[test]
fn a_later_token_replaces_an_earlier_one_and_the_original_client_has_none() {
    let (simulator, client) = start();
    let id = simulator.add_job(SimulatedJob::new("opt"));
    let (first, second) = (StopToken::new(), StopToken::default());
    let view = client.with_stop(&first).with_stop(&second);
    first.stop();
    view.get_job(&id).unwrap();
    second.stop();
    assert!(view.get_job(&id).unwrap_err().is_stopped());
    assert!(view.clone().job(&id).unwrap().refresh().unwrap_err().is_stopped());
    client.get_job(&id).unwrap();
}

// Views.

#[test]
fn with_timeout_bounds_only_the_calls_of_the_view() {
    let server = RawServer::script(vec![json(&job("a")), vec![Step::Silence], json(&job("a"))]);
    let client = server.client_builder().max_retries(0).build().unwrap();
    client.with_timeout(Duration::MAX).get_job("a").unwrap();
    let started = Instant::now();
    assert!(client.with_timeout(millis(100)).get_job("a").unwrap_err().is_timeout());
    assert!(started.elapsed() < secs(10));
    client.get_job("a").unwrap();
}

#[test]
fn a_view_with_a_timeout_of_zero_sends_nothing() {
    let server = doing(vec![Step::Silence]);
    let client = server.client().with_timeout(Duration::ZERO);
    for (what, _, call) in CALLS {
        let error = call(&client).unwrap_err();
        assert!(error.is_timeout() && !error.may_have_been_processed(), "{what}: {error}");
        assert_eq!(error.attempts(), 0, "{what}");
    }
    assert!(client.delete_jobs(["a", "b"]).all(|(_, outcome)| outcome.unwrap_err().is_timeout()));
    let waits = [WaitOptions::new(), WaitOptions::new().for_ever()];
    for error in waits.map(|options| client.wait_for_job("a", &options).unwrap_err()) {
        assert!(error.to_string().contains("with_timeout is zero"), "{error}");
    }
    assert_eq!(server.lines().len(), 0);
}

/// Returns the keys of the requests so far.
fn keys(server: &RawServer) -> Vec<String> {
    let requests = server.requests();
    requests.iter().map(|request| request.header("authorization").replace("Bearer ", "")).collect()
}

#[test]
fn a_wait_and_an_iteration_in_progress_use_the_new_key() {
    let server = RawServer::start(|_, request| {
        let is_new = request.header("authorization") == "Bearer new";
        match id_of(request) {
            "jobs?limit=2" => json(&page(&["a", "b"], true, Some("two"))),
            id if id.starts_with("jobs?") => json(&page(&["c"], false, None)),
            id => json(&job_in(if is_new { "done" } else { "running" }, id)),
        }
    });
    let client = server.client();
    let options = WaitOptions::new().min_interval(millis(1)).on_update(|job| {
        if job.state == JobState::Running {
            client.set_api_key("new").unwrap();
        }
    });
    assert_eq!(client.wait_for_job("a", &options).unwrap().state, JobState::Done);
    assert_eq!(keys(&server), [KEY, "new"]);
    let mut jobs = client.iter_jobs().limit(2);
    assert_eq!(jobs.by_ref().take(2).filter(Result::is_ok).count(), 2);
    client.set_api_key("newer").unwrap();
    assert_eq!(jobs.count(), 1);
    assert_eq!(keys(&server)[2..], ["new", "newer"]);
}

#[test]
fn a_retry_uses_the_new_key() {
    let server = RawServer::script(vec![answer(503, &[], ""), json(&job("a"))]);
    let slot: Arc<Mutex<Option<Client>>> = Arc::default();
    let hook = slot.clone();
    let builder = server.client_builder().on_attempt(move |attempt| {
        if attempt.retry_in.is_some() {
            lock(&hook).as_ref().unwrap().set_api_key("new").unwrap();
        }
    });
    let client = builder.build().unwrap();
    *lock(&slot) = Some(client.clone());
    client.get_job("a").unwrap();
    assert_eq!(keys(&server), [KEY, "new"]);
}

#[test]
fn an_invalid_key_is_refused_and_the_old_one_kept() {
    let server = RawServer::script(vec![json(&job("a"))]);
    let client = server.client();
    for key in
        ["", "\"secret-1\"", "'secret-1'", "secret-1\n", "secret-1\r\nx-admin: 1", "secret 1", "sécret-1"]
    {
        for (name, error) in [
            ("set_api_key", client.set_api_key(key).unwrap_err()),
            ("with_api_key", client.with_api_key(key).unwrap_err()),
        ] {
            let text = error.to_string();
            assert!(text.contains(&format!("the API key ({name})")), "{text}");
            assert!(!text.contains("cret-1") && !text.contains("cret 1"), "{text}");
        }
        client.get_job("a").unwrap();
    }
    assert!(keys(&server).iter().all(|key| key == KEY));
}

#[test]
fn no_error_shows_a_key_that_was_set_later() {
    let server = RawServer::start(|_, request| {
        let key = request.header("authorization").to_owned();
        answer(422, &["content-type: application/json"], &format!(r#"{{"detail":"not for {key}"}}"#))
    });
    let client = server.client();
    client.set_api_key("later-secret").unwrap();
    let own = client.with_api_key("own-secret").unwrap();
    for client in [client, own] {
        let text = client.get_job("a").unwrap_err().to_string();
        assert!(text.contains("not for Bearer (hidden)"), "{text}");
        assert!(!format!("{client:?}").contains("secret"));
    }
}

// Cancelling and waiting, cancelling and deleting.

#[test]
fn cancel_and_wait_returns_the_terminal_state() {
    let (simulator, client) = start();
    let endless = simulator.add_job(SimulatedJob::new("opt").running_for(HOUR * 1000));
    let done = simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
    let failed = simulator.add_job(SimulatedJob::new("opt").state(JobState::Failed));
    let options = WaitOptions::new();
    for (id, state) in [(&endless, JobState::Cancelled), (&done, JobState::Done), (&failed, JobState::Failed)]
    {
        let job = client.cancel_and_wait(id, &options).unwrap();
        assert_eq!((&job.job_id, &job.state), (id, &state));
    }
    assert!(client.cancel_and_wait("missing", &options).unwrap_err().is_not_found());
    let before = simulator.requests().len();
    assert!(client.cancel_and_wait(" x", &options).is_err());
    assert!(client.cancel_and_wait(&endless, &options.clone().timeout(Duration::ZERO)).is_err());
    assert_eq!(simulator.requests().len(), before, "refused before any request");
}

#[test]
fn the_timeout_of_the_options_bounds_cancelling_and_waiting_together() {
    let simulator = Service::start();
    let server = serving_jobs_in("running");
    let client = simulator.client_builder().base_url(server.url()).build().unwrap();
    let options = WaitOptions::new().timeout(secs(60));
    let before = simulated_now(&simulator);
    let error = client.cancel_and_wait("a", &options).unwrap_err();
    let took = simulated_now(&simulator).duration_since(before).unwrap();
    assert!(error.is_timeout() && error.state() == Some(&JobState::Running), "{error}");
    assert!((secs(55)..=secs(60)).contains(&took), "{took:?}");
    assert_eq!(error.cancellation_accepted(), Some(true));
    assert!(error.to_string().contains("accepted the request to cancel it"), "{error}");
    assert!(client.cancel_and_delete("a", &options).unwrap_err().is_timeout());
    assert!(
        !server.lines().iter().any(|line| line.starts_with("DELETE ")),
        "a job that has not ended is not deleted"
    );
    let hung = doing(vec![Step::Silence]);
    let options = options.timeout(millis(100));
    let started = Instant::now();
    let error = hung.client().cancel_and_wait("a", &options).unwrap_err();
    assert!(error.is_timeout() && error.may_have_been_processed(), "{error}");
    assert!(started.elapsed() < secs(10));
}

#[test]
fn cancel_and_delete_leaves_no_job() {
    let (simulator, client) = start();
    let endless = simulator.add_job(SimulatedJob::new("opt").running_for(HOUR * 1000));
    let done = simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
    let options = WaitOptions::new();
    for id in [&endless, &done] {
        assert!(client.cancel_and_delete(id, &options).unwrap());
        assert!(!client.cancel_and_delete(id, &options).unwrap(), "the job no longer exists");
    }
    let mut job = client.job(simulator.add_job(SimulatedJob::new("opt"))).unwrap();
    assert_eq!(job.cancel_and_wait(&options).unwrap().state, JobState::Cancelled);
    assert_eq!(job.state(), Some(&JobState::Cancelled));
    assert!(job.cancel_and_delete(&options).unwrap());
    assert_eq!(client.iter_jobs().count(), 0);
}

#[test]
fn cancel_and_delete_reports_no_missing_job_if_the_base_url_may_be_wrong() {
    let server = RawServer::script(vec![answer(404, &["content-type: application/json"], "{}")]);
    let error = server.client().cancel_and_delete("a", &WaitOptions::new()).unwrap_err();
    assert!(!error.is_not_found() && error.status() == Some(404), "{error}");
}

#[test]
fn a_handle_keeps_the_last_state_that_it_has_loaded() {
    let (simulator, client) = start();
    let id = simulator.add_job(SimulatedJob::new("opt"));
    let mut job = client.job(&id).unwrap();
    assert_eq!(job.state(), None);
    job.rename("water").unwrap();
    assert_eq!(job.state(), None);
    job.refresh().unwrap();
    assert_eq!(job.state(), Some(&JobState::Pending));
    job.wait(&WaitOptions::new()).unwrap();
    assert_eq!(job.state(), Some(&JobState::Done));
    job.delete().unwrap();
    assert!(job.refresh().unwrap_err().is_not_found());
    assert_eq!(job.state(), Some(&JobState::Done), "the state is the last one that was loaded");
    let submitted = client.submit_job(&json!({"job_type": "opt"})).unwrap();
    assert_eq!(submitted.state(), Some(&JobState::Pending));
}

// Calls on many jobs.

/// A server that delays each response while a condition is true, and counts requests and connections.
struct Desk {
    address: SocketAddr,
    state: Arc<Mutex<DeskState>>,
}

#[derive(Default)]
struct DeskState {
    lines: Vec<String>,
    connections: usize,
    at_once: usize,
    most_at_once: usize,
    is_closed: bool,
    /// The total time that requests took.
    served: Duration,
}

impl Desk {
    fn start(holds: impl Fn(&str, &DeskState) -> bool + Send + Sync + 'static) -> Self {
        Desk::taking(Duration::ZERO, holds)
    }

    /// Starts a server that also takes this long for each request.
    fn taking(time: Duration, holds: impl Fn(&str, &DeskState) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(DeskState::default()));
        let (shared, holds) = (state.clone(), Arc::new(holds));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                lock(&shared).connections += 1;
                let (state, holds) = (shared.clone(), holds.clone());
                thread::spawn(move || drop(Desk::serve(&stream, &state, time, &*holds)));
            }
        });
        Desk { address, state }
    }

    fn serve(
        stream: &TcpStream,
        state: &Mutex<DeskState>,
        time: Duration,
        holds: &dyn Fn(&str, &DeskState) -> bool,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_message(&mut reader)? {
            let began = Instant::now();
            {
                let mut state = lock(state);
                state.lines.push(request.line.clone());
                state.at_once += 1;
                state.most_at_once = state.most_at_once.max(state.at_once);
            }
            thread::sleep(time);
            while holds(&request.line, &lock(state)) {
                thread::sleep(millis(1));
            }
            // This is counted before the client can send its next request.
            lock(state).at_once -= 1;
            lock(state).served += began.elapsed();
            (&mut &*stream).write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        }
        Ok(())
    }

    fn client_builder(&self) -> ClientBuilder {
        Client::builder().api_key(KEY).base_url(format!("http://{}", self.address))
    }

    fn client(&self) -> Client {
        self.client_builder().build().unwrap()
    }

    /// Delays all requests from now on.
    fn close(&self) {
        lock(&self.state).is_closed = true;
    }

    fn open(&self) {
        lock(&self.state).is_closed = false;
    }

    fn most_at_once(&self) -> usize {
        lock(&self.state).most_at_once
    }
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("j{n}")).collect()
}

#[test]
fn each_id_of_a_bulk_call_has_one_outcome() {
    let (simulator, client) = start();
    let running = simulator.add_job(SimulatedJob::new("opt").running_for(HOUR * 1000));
    let done = simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
    let ids =
        [running.as_str(), "..", "missing", done.as_str(), "", "missing", "x\ny", running.as_str(), ".."];
    let expect = |outcomes: Vec<(JobId, String)>, expected: [(&str, &str); 6]| {
        let count = outcomes.len();
        let outcomes: HashMap<String, String> =
            outcomes.into_iter().map(|(id, outcome)| (id.to_string(), outcome)).collect();
        assert_eq!((count, outcomes.len()), (6, 6));
        assert_eq!(outcomes, expected.map(|(id, outcome)| (id.to_owned(), outcome.to_owned())).into());
    };
    let say = |error: Error| {
        assert!(error.job_id().is_some(), "{error}");
        error.status().map_or("refused".to_owned(), |status| status.to_string())
    };
    let cancelled = client.cancel_jobs(ids);
    let outcomes = cancelled.map(|(id, outcome)| (id, outcome.map_or_else(say, |()| "ok".to_owned())));
    let bad = [("..", "refused"), ("", "refused"), ("x\ny", "refused")];
    let [dots, empty, line] = bad;
    let known = [(running.as_str(), "ok"), (done.as_str(), "ok"), ("missing", "404")];
    expect(outcomes.collect(), [known[0], known[1], known[2], dots, empty, line]);
    let deleted = client.delete_jobs(ids);
    let outcomes = deleted.map(|(id, outcome)| (id, outcome.map_or_else(say, |found| found.to_string())));
    let known = [(running.as_str(), "true"), (done.as_str(), "true"), ("missing", "false")];
    expect(outcomes.collect(), [known[0], known[1], known[2], dots, empty, line]);
}

#[test]
fn a_bulk_call_without_valid_ids_sends_nothing() {
    let server = Desk::start(|_, _| false);
    let client = server.client();
    let mut empty = client.delete_jobs([""; 0]);
    assert_eq!((empty.len(), empty.size_hint()), (0, (0, Some(0))));
    assert!(empty.next().is_none() && empty.next().is_none());
    assert_eq!(client.cancel_jobs(["", "."]).count(), 2);
    drop(client.delete_jobs(numbered(10)));
    assert_eq!(lock(&server.state).connections, 0);
}

#[test]
fn a_bulk_call_knows_how_many_outcomes_are_left() {
    let server = Desk::start(|_, _| false);
    let mut bulk = server.client().delete_jobs(["a", "b", "", "a", "c"]);
    for left in (0..4).rev() {
        assert_eq!((bulk.len(), bulk.size_hint()), (left + 1, (left + 1, Some(left + 1))));
        assert!(format!("{bulk:?}").contains(&format!("left: {}", left + 1)));
        assert!(bulk.next().is_some());
    }
    assert_eq!(bulk.len(), 0);
    assert!(bulk.next().is_none() && bulk.next().is_none());
}

#[test]
fn parallel_sets_the_number_of_simultaneous_calls() {
    for (parallel, at_once) in [(None, 4), (Some(0), 1), (Some(1), 1), (Some(7), 7), (Some(1000), 30)] {
        // The server responds only after `at_once` requests have arrived, so fewer of them would time out.
        let server = Desk::taking(millis(5), move |_, desk| desk.most_at_once < at_once);
        let bulk = server.client().with_timeout(secs(60)).delete_jobs(numbered(30));
        let mut bulk = parallel.into_iter().fold(bulk, |bulk, parallel| bulk.parallel(parallel));
        assert!(bulk.all(|(_, outcome)| outcome.unwrap()));
        assert_eq!(server.most_at_once(), at_once, "{parallel:?}");
        assert_eq!(lock(&server.state).lines.len(), 30);
    }
}

#[test]
fn a_slow_job_does_not_delay_the_others() {
    let server = Desk::start(|line, desk| line.ends_with("/slow") && desk.lines.len() < 21);
    let ids = ["slow".to_owned()].into_iter().chain(numbered(20));
    let order: Vec<JobId> = server.client().delete_jobs(ids).parallel(2).map(|(id, _)| id).collect();
    let place = order.iter().position(|id| id.as_str() == "slow").unwrap();
    assert!(place >= 18, "the others must come first: {place}");
}

#[test]
fn outcomes_are_returned_while_other_calls_are_in_progress() {
    let server = Desk::start(|line, desk| desk.is_closed && !line.ends_with("/j0"));
    server.close();
    let mut bulk = server.client().delete_jobs(numbered(4).iter().rev());
    assert_eq!(lock(&server.state).lines.len(), 0, "nothing is sent before the first `next`");
    let (id, outcome) = bulk.next().unwrap();
    assert_eq!((id.as_str(), outcome.unwrap()), ("j0", true));
    server.open();
    assert_eq!(bulk.filter(|(_, outcome)| outcome.is_ok()).count(), 3);
}

/// The goal is that 2,000 deletions of 20 ms each take at most 11 seconds, which is a tenth more than the server needs.
/// A loaded machine needs more, so this only shows that the connections are not used one after the other.
#[test]
fn a_bulk_call_keeps_its_connections_busy() {
    let mut best = f64::MAX;
    for _ in 0..3 {
        let server = Desk::taking(millis(20), |_, _| false);
        let started = Instant::now();
        assert!(server.client().delete_jobs(numbered(200)).all(|(_, outcome)| outcome.unwrap()));
        let took = started.elapsed();
        let state = lock(&server.state);
        assert_eq!((state.lines.len(), state.most_at_once), (200, 4));
        best = best.min(took.as_secs_f64() / (state.served.as_secs_f64() / 4.0));
    }
    assert!(best < 2.0, "{best} times as long as the server needs");
}

#[test]
fn a_bulk_call_keeps_its_connections_open() {
    let server = Desk::taking(millis(1), |_, _| false);
    assert!(server.client().delete_jobs(numbered(200)).parallel(16).all(|(_, outcome)| outcome.unwrap()));
    let connections = lock(&server.state).connections;
    assert!(connections <= 16, "{connections}");
}

#[test]
fn a_bulk_call_does_not_run_ahead_of_its_caller() {
    let server = Desk::start(|_, _| false);
    let mut bulk = server.client().delete_jobs(numbered(100)).parallel(3);
    for taken in 1..=5 {
        bulk.next().unwrap().1.unwrap();
        // Each of the three workers holds the outcome of one call until the caller takes it.
        until(|| lock(&server.state).lines.len() == taken + 3);
    }
    drop(bulk);
    assert_eq!(lock(&server.state).lines.len(), 8);
}

#[test]
fn calls_in_flight_are_completed_after_a_bulk_is_dropped() {
    let server = Desk::start(|line, desk| desk.is_closed && !line.ends_with("/j0"));
    server.close();
    let statuses = Arc::new(Mutex::new(Vec::new()));
    let observed = statuses.clone();
    let builder = server.client_builder().on_attempt(move |attempt| lock(&observed).push(attempt.status));
    let mut bulk = builder.build().unwrap().delete_jobs(numbered(50)).parallel(3);
    assert!(bulk.next().unwrap().1.unwrap());
    until(|| lock(&server.state).at_once == 3);
    drop(bulk);
    // A call that was abandoned would have ended by then.
    thread::sleep(millis(80));
    server.open();
    until(|| lock(&statuses).len() == 4);
    assert_eq!(*lock(&statuses), [Some(204); 4]);
}

#[test]
fn a_panic_in_a_bulk_call_reaches_the_caller_and_the_client_still_works() {
    for parallel in [1, 4] {
        let server = RawServer::script(vec![raw("HTTP/1.1 204 No Content\r\n\r\n")]);
        let builder = server.client_builder().on_request(|request| {
            assert!(request.job_id.as_ref().is_none_or(|id| id.as_str() != "j2"), "on purpose");
        });
        let client = builder.build().unwrap();
        let mut bulk = client.delete_jobs(numbered(8)).parallel(parallel);
        let mut outcomes = HashSet::new();
        let panic =
            catch_unwind(AssertUnwindSafe(|| outcomes.extend(bulk.by_ref().map(|(id, _)| id.to_string()))));
        let panic = *panic.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(panic, "on purpose");
        assert_eq!(bulk.len(), 7 - outcomes.len());
        outcomes.extend(bulk.map(|(id, _)| id.to_string()));
        assert!(outcomes.len() == 7 && !outcomes.contains("j2"), "{outcomes:?}");
        // The other calls were not affected, and no request was sent twice.
        let lines: HashSet<String> = server.lines().into_iter().collect();
        assert_eq!((lines.len(), server.lines().len()), (7, 7));
        assert!(client.delete_job_if_exists("later").unwrap());
    }
}

#[test]
fn each_panic_in_a_bulk_reaches_the_caller() {
    let server = Desk::start(|_, _| false);
    let builder = server.client_builder().on_request(|request| {
        let id = request.job_id.as_ref().unwrap().as_str();
        assert!(!["j3", "j11", "j25", "j39"].contains(&id), "{id}");
    });
    let client = builder.build().unwrap();
    for parallel in [1, 2, 4, 40] {
        let mut bulk = client.delete_jobs(numbered(40)).parallel(parallel);
        let (mut ids, mut panics) = (Vec::new(), Vec::new());
        loop {
            match catch_unwind(AssertUnwindSafe(|| bulk.next())) {
                Ok(Some((id, outcome))) => {
                    outcome.unwrap();
                    ids.push(id);
                }
                Ok(None) => break,
                Err(panic) => panics.push(*panic.downcast::<String>().unwrap()),
            }
        }
        panics.sort_unstable();
        assert_eq!(panics, ["j11", "j25", "j3", "j39"], "{parallel}");
        assert_eq!((ids.len(), bulk.len()), (36, 0), "{parallel}");
    }
}

#[test]
fn a_bulk_call_can_be_sent_to_another_thread() {
    let server = Desk::start(|_, _| false);
    let bulk = server.client().cancel_jobs(numbered(5));
    assert_eq!(thread::spawn(move || bulk.count()).join().unwrap(), 5);
}

// Resuming an iteration.

#[test]
fn resuming_without_a_failed_request_has_no_effect() {
    let server = RawServer::script(vec![
        json(&page(&["a"], true, Some("two"))),
        json(&page(&["b"], true, Some("two"))),
        json(&page(&["c"], false, None)),
    ]);
    let mut jobs = server.client().iter_jobs();
    jobs.resume();
    let mut next = || {
        let next = jobs.next();
        jobs.resume();
        next.map(|job| job.map(|job| job.job_id.to_string()).map_err(|error| error.to_string()))
    };
    assert_eq!(next(), Some(Ok("a".to_owned())));
    assert_eq!(next(), Some(Ok("b".to_owned())));
    let error = next().unwrap().unwrap_err();
    assert!(error.contains("cursor"), "{error}");
    assert_eq!(next(), None, "there is no request to repeat");
    assert_eq!(server.lines().len(), 2);
}

// Pauses that one call learns from the server and that hold for the others.

/// Returns the simulated time.
fn simulated_now(simulator: &Service) -> SystemTime {
    let client = simulator.client().unwrap();
    let id = simulator.add_job(SimulatedJob::new("opt"));
    client.get_job(id).unwrap().created_at.to_system_time().unwrap()
}

/// Returns the simulated time that the call takes.
fn simulated(simulator: &Service, call: impl FnOnce()) -> Duration {
    let before = simulated_now(simulator);
    call();
    simulated_now(simulator).duration_since(before).unwrap()
}

#[test]
fn a_retry_after_of_zero_or_in_the_past_leaves_the_usual_pause() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    for past in ["0", "Fri, 01 Jan 2016 00:00:00 GMT"] {
        let took = simulated(&simulator, || {
            simulator.fail_next(Fault::status(429).header("Retry-After", past));
            client.list_jobs().send().unwrap();
        });
        assert!((millis(375)..=millis(500)).contains(&took), "{past}: {took:?}");
    }
}

// The retry budget.

fn attempts(client: &Client) -> u32 {
    match client.get_job("a") {
        Ok(_) => 0,
        Err(error) => error.attempts(),
    }
}

// Jitter.

/// Fails unless the pauses, as multiples of the nominal one, lie within these bounds and reach both outer thirds. The
/// probability that random pauses miss one of these thirds is less than 1e-10.
#[track_caller]
fn assert_spread(pauses: &[Duration], nominal: Duration, from: f64, to: f64) {
    assert_eq!(pauses.len(), SAMPLES);
    let factors: Vec<f64> =
        pauses.iter().map(Duration::as_secs_f64).map(|pause| pause / nominal.as_secs_f64()).collect();
    // The simulator shows times in microseconds.
    let tolerance = 1e-5;
    assert!(factors.iter().all(|factor| (from - tolerance..=to + tolerance).contains(factor)), "{factors:?}");
    let third = (to - from) / 3.0;
    assert!(factors.iter().any(|factor| *factor < from + third), "{factors:?}");
    assert!(factors.iter().any(|factor| *factor > to - third), "{factors:?}");
    let distinct: HashSet<&Duration> = pauses.iter().collect();
    assert!(distinct.len() > SAMPLES / 2, "{factors:?}");
}

const SAMPLES: usize = 64;

#[test]
fn pauses_before_retries_are_shortened_by_up_to_a_quarter_at_random() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    let pauses = [0; SAMPLES].map(|_| {
        simulated(&simulator, || {
            simulator.fail_next(Fault::status(503));
            client.list_jobs().send().unwrap();
        })
    });
    assert_spread(&pauses, millis(500), 0.75, 1.0);
}

#[test]
fn pauses_between_polls_are_shortened_by_up_to_a_quarter_at_random() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    let interval = secs(100);
    let options = WaitOptions::new().min_interval(interval).max_interval(interval);
    let pauses = [0; SAMPLES].map(|_| {
        // The job is running at the first poll, and done at the second.
        let id = simulator.add_job(SimulatedJob::new("opt").running_for(secs(1)));
        simulated(&simulator, || drop(client.wait_for_job(&id, &options).unwrap()))
    });
    assert_spread(&pauses, interval, 0.75, 1.0);
}
