//! Tests that the simulator follows the rules of the service.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
use atomiverse::{JobState, SubmissionStatus};
use serde_json::{Value, json};

use crate::support::{in_own_process, lock, secs, until};
use crate::support::{lines, start};

/// Sends a request without the client, and returns the status and the body of the response.
fn send(simulator: &Simulator, request: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(simulator.base_url().trim_start_matches("http://")).unwrap();
    let length = body.len();
    let key = simulator.api_key();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[test]
fn a_job_goes_from_pending_to_running_to_done_on_the_simulated_clock() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    let id = simulator.add_job(SimulatedJob::new("opt"));
    let load = || {
        let job = client.get_job(&id).unwrap();
        (job.state, job.billed_core_seconds)
    };
    assert_eq!(load(), (JobState::Pending, None));
    simulator.advance(secs(3));
    assert_eq!(load(), (JobState::Running, Some(4.0)));
    simulator.advance(secs(8));
    assert_eq!(load(), (JobState::Running, Some(36.0)));
    simulator.advance(secs(1));
    assert_eq!(load(), (JobState::Done, Some(40.0)));
    simulator.advance(secs(1_000_000));
    assert_eq!(load(), (JobState::Done, Some(40.0)));
}

#[test]
fn a_submission_that_is_not_an_object_is_refused() {
    let simulator = Simulator::start().unwrap();
    for body in ["", "null", "7", "[null, null]", "\"jobs\"", "{}", r#"{"jobs":{}}"#] {
        assert_eq!(send(&simulator, "POST /api/v1/jobs/batch", body).0, 422, "{body}");
        assert_eq!(send(&simulator, "POST /api/v1/jobs", body).0, 422, "{body}");
    }
    let (status, answer) = send(&simulator, "POST /api/v1/jobs/batch", r#"{"jobs":[null,[],7]}"#);
    assert_eq!(status, 200, "each payload is rejected individually");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer).unwrap()["failed"], 3);
}

#[test]
fn a_request_that_is_not_in_the_contract_is_refused() {
    let simulator = Simulator::start().unwrap();
    for (request, status) in [
        ("GET /", 404),
        ("GET /api/v1/other", 404),
        ("GET /api/v1/jobs/a/b/c", 404),
        ("GET /api/v1/jobs/nope", 404),
        ("PUT /api/v1/jobs/nope", 405),
        ("GET /api/v1/jobs/nope/cancel", 405),
        ("GET /job?job_id=nope", 404),
        ("POST /job?job_id=nope", 405),
        ("GET /api/v1/jobs/batch/cancel", 405),
        ("GET /api/v1/jobs?limit=0", 422),
        ("GET /api/v1/jobs?limit=1001", 422),
        ("GET /api/v1/jobs?limit=x", 422),
        ("GET /api/v1/jobs?cursor=before-x", 422),
    ] {
        assert_eq!(send(&simulator, request, "").0, status, "{request}");
    }
}

#[test]
fn faults_occur_in_order_and_are_used_up() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    simulator.fail_next(Fault::status(418).header("x-teapot", "yes").body("short and stout"));
    simulator.fail_times(2, Fault::Garbage);
    simulator.fail_next(Fault::Delay(Duration::from_millis(20)));
    assert_eq!(client.list_jobs().send().unwrap_err().server_message(), Some("short and stout"));
    assert!(client.list_jobs().send().unwrap_err().to_string().contains("not valid HTTP"));
    assert!(client.list_jobs().send().is_err());
    let started = Instant::now();
    client.list_jobs().send().unwrap();
    assert!(started.elapsed() >= Duration::from_millis(20));
    client.list_jobs().send().unwrap();
}

#[test]
fn a_lost_response_processes_the_request_and_other_faults_do_not() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    for (fault, is_done) in [(Fault::LostResponse, true), (Fault::Cut, false), (Fault::status(500), false)] {
        let id = simulator.add_job(SimulatedJob::new("opt").name("old"));
        simulator.fail_next(fault.clone());
        client.rename_job(&id, "new").unwrap_err();
        let name = client.get_job(&id).unwrap().name.unwrap();
        assert_eq!(name == "new", is_done, "{fault:?}");
    }
}

#[test]
fn a_panic_in_a_callback_is_printed_and_ends_only_its_connection() {
    let name = "simulator::a_panic_in_a_callback_is_printed_and_ends_only_its_connection";
    let output = in_own_process(name, &[], || {
        let simulator = Simulator::start().unwrap();
        let client = simulator.client_builder().max_retries(0).build().unwrap();
        simulator.on_submit(|payload| {
            assert!(payload["name"] != "bad", "no job for {}", payload["name"]);
            SimulatedJob::new("opt")
        });
        let payload = |name: &str| json!({"job_type": "opt", "name": name});
        assert!(client.submit_job(&payload("bad")).unwrap_err().may_have_been_processed());
        client.submit_batch([payload("a"), payload("bad"), payload("b")]).unwrap_err();
        let names: Vec<_> = client.iter_jobs().map(|job| job.unwrap().name.unwrap()).collect();
        assert_eq!(names, ["a"], "jobs that were accepted earlier remain");
        client.submit_job(&payload("good")).unwrap();

        let id = simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
        simulator.fail_when(|request| panic!("no fault for {}", request.method), 1, Fault::status(503));
        for _ in 0..2 {
            assert_eq!(client.delete_job(&id).unwrap_err().status(), None);
        }
        simulator.clear_faults();
        client.get_job(&id).expect("the request was not processed");
        assert!(lines(&simulator).iter().any(|line| line.starts_with("DELETE")), "the request was recorded");
    });
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert!(output.status.success(), "{printed}");
    assert_eq!(printed.matches("simulator.rs").count(), 4, "{printed}");
    assert!(printed.contains("no job for \"bad\"") && printed.contains("no fault for DELETE"), "{printed}");
}

#[test]
fn callbacks_may_use_the_simulator() {
    let simulator = Arc::new(Simulator::start().unwrap());
    let (weak, weaker) = (Arc::downgrade(&simulator), Arc::downgrade(&simulator));
    simulator.on_submit(move |_| {
        let simulator = weak.upgrade().unwrap();
        simulator.advance(secs(60));
        simulator.add_job(SimulatedJob::new("opt").name("another"));
        simulator.on_submit(|_| SimulatedJob::new("opt"));
        SimulatedJob::new("opt").name(format!("after {} requests", simulator.requests().len()))
    });
    let fits = move |_: &_| {
        let simulator = weaker.upgrade().unwrap();
        simulator.fail_next(Fault::status(404));
        simulator.requests().len() == 2
    };
    simulator.fail_when(fits, 1, Fault::status(403));
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    let before = simulator.now();
    client.submit_job(&json!({"job_type": "opt"})).unwrap();
    assert_eq!(simulator.now().duration_since(before).unwrap(), secs(60));
    let statuses = [(); 4].map(|()| client.list_jobs().send().err().and_then(|error| error.status()));
    assert_eq!(statuses, [Some(403), Some(404), Some(404), None]);
    let names: Vec<_> = client.iter_jobs().map(|job| job.unwrap().name.unwrap()).collect();
    assert_eq!(names, ["after 1 requests", "another"]);
}

#[test]
fn a_simulator_owned_by_its_own_callback_can_be_dropped() {
    let simulator = Arc::new(Simulator::start().unwrap());
    let address = simulator.base_url().trim_start_matches("http://").to_owned();
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    let weak = Arc::downgrade(&simulator);
    let (owns, owned) = mpsc::channel();
    let (let_go, may_go) = mpsc::channel();
    let fits = move |_: &_| {
        let last = weak.upgrade();
        owns.send(()).unwrap();
        may_go.recv_timeout(secs(60)).unwrap();
        drop(last);
        false
    };
    simulator.fail_when(fits, 1, Fault::Cut);
    let request = thread::spawn(move || client.list_jobs().send());
    owned.recv_timeout(secs(60)).unwrap();
    drop(simulator);
    let_go.send(()).unwrap();
    // The response may or may not be sent, but dropping the simulator must not panic.
    let status = request.join().unwrap().err().and_then(|error| error.status());
    assert_eq!(status, None);
    let started = Instant::now();
    while TcpStream::connect(&address).is_ok() {
        assert!(started.elapsed() < secs(60), "the port must be closed");
    }
}

#[test]
fn a_job_that_runs_for_ever_outlasts_the_longest_durations() {
    let (simulator, client) = start();
    let running = simulator.add_job(SimulatedJob::new("opt").running_for(Duration::MAX));
    let pending =
        simulator.add_job(SimulatedJob::new("opt").pending_for(Duration::MAX).running_for(Duration::MAX));
    let oldest = simulator.add_job(SimulatedJob::new("opt").age(Duration::MAX));
    for _ in 0..3 {
        simulator.advance(Duration::MAX);
    }
    let states = || [&running, &pending, &oldest].map(|id| client.get_job(id).unwrap().state);
    assert_eq!(states(), [JobState::Running, JobState::Pending, JobState::Done]);
    assert!(client.get_job(&running).unwrap().billed_core_seconds.unwrap() > 0.0);
    client.cancel_job(&running).unwrap();
    client.cancel_job(&pending).unwrap();
    assert_eq!(states(), [JobState::Cancelled, JobState::Cancelled, JobState::Done]);
    let listed: Vec<_> = client.iter_jobs().map(|job| job.unwrap().job_id).collect();
    assert_eq!(listed, [pending, running, oldest]);
}

#[test]
fn a_payload_that_is_submitted_twice_becomes_two_jobs_unless_cache_hits_are_enabled() {
    let (simulator, client) = start();
    let submit = || client.submit_job(&json!({"job_type": "opt", "name": "water"})).unwrap().id().clone();
    let first = submit();
    simulator.finish(&first, JobState::Done);
    let second = submit();
    assert_ne!(second, first);
    simulator.finish(&first, JobState::Failed);
    simulator.cache_hits(true);
    let third = submit();
    assert_ne!(third, second, "a job that is not done is no hit");
    simulator.finish(&second, JobState::Done);
    assert_eq!(submit(), second);
    let batch = client.submit_batch([json!({"name": "water", "job_type": "opt"})]).unwrap();
    assert_eq!(
        (&batch.jobs[0].status, batch.jobs[0].job_id.as_ref()),
        (&SubmissionStatus::CacheHit, Some(&second))
    );
    client.delete_job(&second).unwrap();
    assert_ne!(submit(), second);
}

#[test]
fn on_submit_is_called_for_each_new_job_in_the_order_of_the_batch() {
    let (simulator, client) = start();
    simulator.cache_hits(true);
    simulator.on_submit(|_| panic!("this function is replaced"));
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let record = seen.clone();
    simulator.on_submit(move |payload| {
        lock(&record).push(payload["n"].clone());
        SimulatedJob::new("opt").state(JobState::Done)
    });
    let of_type = |n: u32| json!({"job_type": "opt", "n": n});
    let invalid = json!({"job_type": "opt", "name": "\u{7}"});
    client.submit_batch([of_type(1), json!({"n": 2}), of_type(3), of_type(1), invalid]).unwrap();
    client.submit_job(&of_type(3)).unwrap();
    client.submit_job(&of_type(4)).unwrap();
    assert_eq!(*lock(&seen), [1, 3, 4]);
}

#[test]
fn a_result_is_served_as_long_as_its_job_exists() {
    let simulator = Simulator::start().unwrap();
    let id = simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
    let get = || send(&simulator, &format!("GET /api/v1/jobs/{id}/result"), "");
    assert_eq!(get(), (404, r#"{"detail":"Job has no result"}"#.to_owned()));
    simulator.result("job-000002", json!(1));
    simulator.result(&id, json!({"energy": -76.4}));
    assert_eq!(get(), (200, r#"{"energy":-76.4}"#.to_owned()));
    simulator.client().unwrap().delete_job(&id).unwrap();
    assert_eq!(get(), (404, r#"{"detail":"Job not found"}"#.to_owned()));
}

#[test]
fn a_job_was_created_as_long_ago_as_its_age() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    let now = simulator.now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    for n in 0..500 {
        let age = Duration::new(n * n * 7_057, n as u32 * 1_999_999);
        let id = simulator.add_job(SimulatedJob::new("opt").age(age));
        let created = jiff::Timestamp::UNIX_EPOCH + now.saturating_sub(age);
        assert_eq!(client.get_job(id).unwrap().created_at.as_str(), format!("{created:.6}"), "{age:?}");
    }
}

/// Sends these bytes over one connection, and returns everything that the simulator responds until it closes the
/// connection.
fn exchange(simulator: &Simulator, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(simulator.base_url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(secs(60))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn the_requests_of_a_connection_are_read_one_after_the_other() {
    let simulator = Simulator::start().unwrap();
    let key = format!("Authorization: Bearer {}\r\n", simulator.api_key());
    let large = json!({"job_type": "opt", "text": "x".repeat(20_000_000)}).to_string();
    let requests = [
        format!("GET /api/v1/jobs HTTP/1.1\r\n{key}\r\n"),
        format!("HEAD /api/v1/jobs HTTP/1.1\r\n{key}\r\n"),
        format!("POST /api/v1/jobs HTTP/1.1\r\n{key}content-LENGTH: {}\r\n\r\n{large}", large.len()),
        format!("POST /api/v1/jobs HTTP/1.1\r\n{key}expect: 100-continue\r\ncontent-length: 2\r\n\r\n[]"),
        format!("POST /api/v1/jobs HTTP/1.1\r\n{key}transfer-encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"),
    ];
    let response = exchange(&simulator, requests.concat().as_bytes());
    let statuses: Vec<_> = response.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["200", "405", "201", "100", "422", "411"]);
    let received = simulator.requests();
    assert_eq!(received[2].body, large);
    assert_eq!(simulator.connections(), 1);
}

/// Returns how many threads of simulators there are, as far as the operating system shows it.
fn threads_of_simulators() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let names = threads.map(|thread| std::fs::read_to_string(thread.path().join("comm")));
    names.filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("atomiverse-sim"))).count()
}

#[test]
fn a_dropped_simulator_leaves_no_thread_and_no_open_port() {
    let output =
        in_own_process("simulator::a_dropped_simulator_leaves_no_thread_and_no_open_port", &[], || {
            for _ in 0..20 {
                let simulator = Simulator::start().unwrap();
                let address = simulator.base_url().trim_start_matches("http://").to_owned();
                let idle = TcpStream::connect(&address).unwrap();
                let mut half = TcpStream::connect(&address).unwrap();
                half.write_all(b"POST /api/v1/jobs HTTP/1.1\r\ncontent-length: 9\r\n\r\n[").unwrap();
                simulator.fail_next(Fault::Delay(secs(600)));
                let mut delayed = TcpStream::connect(&address).unwrap();
                delayed.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                until(|| simulator.requests().len() == 1);
                let client = simulator.client().unwrap();
                client.list_jobs().send().unwrap();
                drop(simulator);
                assert!(TcpStream::connect(&address).is_err());
                for mut stream in [idle, half] {
                    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "open connections are closed");
                }
                until(|| threads_of_simulators() == 0);
            }
        });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
