//! Calls that are stopped, time out or meet a broken connection at random moments, against a server that knows what it
//! has done. What a call says must be true.

use std::collections::HashMap;
use std::env;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use atomiverse::simulator::Simulator;
use atomiverse::{Client, Error, StopToken};
use serde_json::json;

use crate::support::{Message, Random, in_own_process, job, lock, read_message};

/// Which requests the server has carried out, by the number of the case.
type Done = Arc<Mutex<HashMap<u64, u32>>>;

/// Serves one connection. Returns when it is to be closed, and whether by a reset.
fn serve<S: Read + Write>(stream: S, mut random: Random, done: &Done) -> bool {
    let mut stream = BufReader::new(stream);
    loop {
        let fate = random.below(100);
        if fate < 3 {
            // Ends the connection while it is idle, or before the request is read.
            thread::sleep(random.millis(5));
            return fate == 0;
        }
        let Ok(Some(request)) = read_message(&mut stream) else { return false };
        if request.body.len() < request.header("content-length").parse().unwrap_or(0) {
            // The client has left in the middle of the request, which counts as not sent.
            return false;
        }
        match fate {
            3..7 => return fate < 5,
            7..10 => {
                let limited = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n";
                if stream.get_mut().write_all(limited.as_bytes()).is_err() {
                    return false;
                }
                continue;
            }
            _ => {}
        }
        // A server that is slow to begin acts on a request whose caller may have left.
        if fate < 30 {
            thread::sleep(random.millis(30));
        }
        let case = case_of(&request);
        *lock(done).entry(case).or_default() += 1;
        if fate < 40 {
            thread::sleep(random.millis(30));
        }
        let body = if request.line.starts_with("POST") && !request.line.ends_with("cancel") {
            format!(r#"{{"job_id":"{case}"}}"#)
        } else if request.line.starts_with("GET") {
            job(case)
        } else {
            r#"{"success":true}"#.to_owned()
        };
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let cut = match fate {
            40..50 => random.below(response.len()),
            _ => response.len(),
        };
        if stream.get_mut().write_all(&response.as_bytes()[..cut]).is_err() || cut < response.len() {
            return fate < 45;
        }
    }
}

/// Returns the number of the case, which is the id of the job or stands in the payload.
fn case_of(request: &Message) -> u64 {
    let text = match request.line.split_once("/jobs/") {
        Some((_, id)) => id.to_owned(),
        None => String::from_utf8_lossy(&request.body).into_owned(),
    };
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    digits(text.trim_start_matches(|c: char| !c.is_ascii_digit())).parse().unwrap()
}

/// Wraps a connection in TLS, or not.
type Accept = Arc<dyn Fn(TcpStream, Random, &Done) -> bool + Send + Sync>;

fn start(accept: Accept, seed: u64) -> (SocketAddr, Done) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let done = Done::default();
    let server = done.clone();
    thread::spawn(move || {
        let mut random = Random(seed);
        for stream in listener.incoming().flatten() {
            let (done, random, accept) = (server.clone(), Random(random.next()), accept.clone());
            thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                if accept(stream.try_clone().unwrap(), random, &done) {
                    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                } else {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            });
        }
    });
    (address, done)
}

/// What a call says about its request.
struct Outcome {
    case: u64,
    what: &'static str,
    result: Result<(), Error>,
    /// How long the call went on after it was stopped.
    stopped: Option<Duration>,
}

fn call(client: &Client, case: u64, what: usize) -> (&'static str, Result<(), Error>) {
    let id = case.to_string();
    match what {
        0 => ("get", client.get_job(&id).map(|job| assert_eq!(job.job_id, id.as_str()))),
        1 => ("rename", client.rename_job(&id, "water")),
        2 => ("cancel", client.cancel_job(&id)),
        3 => ("delete", client.delete_job(&id)),
        _ => {
            let submitted = client.submit_job(&json!({ "n": case, "job_type": "opt" }));
            ("submit", submitted.map(|job| assert_eq!(job.id(), id.as_str())))
        }
    }
}

/// Makes a call that is stopped, times out, or is left alone.
fn make_case(client: &Client, seed: u64, case: u64) -> Outcome {
    let mut random = Random(seed ^ (case << 20));
    let what = random.below(5);
    match random.below(5) {
        0 | 1 => {
            let token = StopToken::new();
            let (client, after) = (client.with_stop(&token), random.millis(25));
            let stopper = thread::spawn(move || {
                thread::sleep(after);
                token.stop();
                Instant::now()
            });
            let (what, result) = call(&client, case, what);
            let returned = Instant::now();
            let stopped = stopper.join().unwrap();
            Outcome { case, what, result, stopped: Some(returned.saturating_duration_since(stopped)) }
        }
        2 | 3 => {
            let (what, result) = call(&client.with_timeout(random.millis(25)), case, what);
            Outcome { case, what, result, stopped: None }
        }
        _ => {
            let (what, result) = call(client, case, what);
            Outcome { case, what, result, stopped: None }
        }
    }
}

/// Makes the cases on eight threads, and compares what they say with what the server did.
fn compare(client: &Client, done: &Done, seed: u64) {
    let cases: u64 = env::var("ATOMIVERSE_TEST_CASES").map_or(1500, |cases| cases.parse().unwrap());
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|first| {
                let cases = (first..cases).step_by(8);
                scope.spawn(move || cases.map(|case| make_case(client, seed, case + 1)).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // What was still on its way has arrived by now.
    thread::sleep(Duration::from_secs(1));
    #[cfg(target_os = "linux")]
    assert!(crate::wire::workers() <= 16, "seed {seed}: {} workers are left", crate::wire::workers());
    let done = lock(done);
    let (mut unsent, mut in_doubt, mut ok) = (0, 0, 0);
    for Outcome { case, what, result, .. } in &outcomes {
        let count = done.get(case).copied().unwrap_or(0);
        match result {
            Ok(()) => {
                ok += 1;
                assert!(count > 0, "seed {seed}, case {case}: {what} is Ok, and was not done");
            }
            Err(error) if *what == "get" => assert!(!error.may_have_been_processed(), "{error}"),
            Err(error) if error.may_have_been_processed() => in_doubt += 1,
            Err(error) => {
                unsent += 1;
                assert_eq!(count, 0, "seed {seed}, case {case}: {what} was done, and says: {error}");
            }
        }
        assert!(*what != "submit" || count < 2, "seed {seed}, case {case}: submitted {count} times");
    }
    println!("seed {seed}: {ok} Ok, {in_doubt} in doubt, {unsent} unsent");
    assert!(ok > 0 && in_doubt > 0 && unsent > 0, "seed {seed}");
    let mut stops: Vec<Duration> = outcomes.iter().filter_map(|outcome| outcome.stopped).collect();
    stops.sort();
    let (median, p99) = (stops[stops.len() / 2], stops[stops.len() * 99 / 100]);
    println!("stops: median {median:?}, p99 {p99:?}, longest {:?}", stops.last());
    // On an idle machine the promise of 100 ms holds for the p99 too.
    assert!(median < Duration::from_millis(100) && p99 < Duration::from_secs(2), "seed {seed}: {p99:?}");
}

/// Returns the seed of this run, which can be set to repeat one that failed.
fn seed() -> u64 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    env::var("ATOMIVERSE_TEST_SEED").map_or(time.as_nanos() as u64 % 1_000_000, |seed| seed.parse().unwrap())
}

/// Runs in a process of its own, so that its workers can be counted.
fn in_process(test: &str, body: impl FnOnce()) {
    let variables: Vec<(String, String)> = ["ATOMIVERSE_TEST_CASES", "ATOMIVERSE_TEST_SEED"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), env::var(name).ok()?)))
        .collect();
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let output = in_own_process(test, &variables, body);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    println!("{text}");
}

/// Returns a client that retries without real pauses.
fn client(url: String) -> atomiverse::ClientBuilder {
    Simulator::start().unwrap().client_builder().base_url(url).timeout(Duration::from_secs(5))
}

#[test]
fn no_call_says_what_is_not_true() {
    in_process("truth::no_call_says_what_is_not_true", || {
        let seed = seed();
        let (address, done) = start(Arc::new(serve), seed);
        compare(&client(format!("http://{address}")).build().unwrap(), &done, seed);
    });
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
#[test]
fn no_call_over_tls_says_what_is_not_true() {
    in_process("truth::no_call_over_tls_says_what_is_not_true", || {
        let seed = seed();
        let authority = crate::tls::authority();
        let config = crate::tls::server_config(&authority, "127.0.0.1", false);
        let accept = move |stream, mut random: Random, done: &Done| {
            if random.below(20) == 0 {
                // The connection ends in the middle of the handshake.
                return random.below(2) == 0;
            }
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            serve(rustls::StreamOwned::new(connection, stream), random, done)
        };
        let (address, done) = start(Arc::new(accept), seed);
        let client = client(format!("https://{address}")).root_certificates(authority.pem);
        compare(&client.build().unwrap(), &done, seed);
    });
}
