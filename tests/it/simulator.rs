//! Tests that the simulator follows the rules of the service.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
use atomiverse::{Client, JobState, SubmissionStatus, WaitOptions};
use serde_json::{Value, json};

use crate::contract::{self, Service, lines};
use crate::support::{lock, secs};

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
    let simulator = Service::start();
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
fn a_simulated_job_has_the_given_fields() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    simulator.set_time(SystemTime::UNIX_EPOCH + secs(1_777_732_321));
    let id = simulator.add_job(
        SimulatedJob::new("opt")
            .name("benzene")
            .age(secs(60))
            .pending_for(secs(10))
            .running_for(secs(20))
            .billed_core_seconds(7.5)
            .fails(),
    );
    let job = client.get_job(&id).unwrap();
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.created_at.as_str(), "2026-05-02T14:31:01.000000Z");
    assert_eq!(job.billed_core_seconds, Some(7.5));
    assert_eq!(job.name.as_deref(), Some("benzene"));
    let fixed = simulator.add_job(SimulatedJob::new("opt").state(JobState::Unknown("paused".into())));
    assert_eq!(client.get_job(fixed).unwrap().state, JobState::Unknown("paused".into()));
}

#[test]
fn time_stands_still_until_run_in_real_time() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    let id = simulator.add_job(SimulatedJob::new("opt").pending_for(Duration::from_millis(1)));
    assert_eq!(client.get_job(&id).unwrap().state, JobState::Pending);
    simulator.run_in_real_time();
    let started = Instant::now();
    while client.get_job(&id).unwrap().state == JobState::Pending {
        assert!(started.elapsed() < secs(20), "the clock must run");
    }
}

#[test]
fn another_key_is_refused() {
    let simulator = Service::start();
    let client = Client::builder().api_key("av_other").base_url(simulator.base_url()).build().unwrap();
    let error = client.list_jobs().send().unwrap_err();
    assert!(error.is_unauthorized());
    assert_eq!(error.server_message(), Some("Invalid API key"));
    assert_eq!(error.request_id(), Some("sim-1"));
}

#[test]
fn an_invalid_limit_or_cursor_is_refused() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    assert!(client.list_jobs().limit(1001).send().unwrap_err().is_validation());
    assert!(client.list_jobs().cursor(Some("elsewhere")).send().unwrap_err().is_validation());
    for query in ["limit=0", "limit=-1", "limit=x", "cursor=before-x"] {
        assert_eq!(send(&simulator, &format!("GET /api/v1/jobs?{query}"), "").0, 422, "{query}");
    }
}

#[test]
fn a_rename_needs_a_name_that_is_a_string() {
    let simulator = Service::start();
    let id = simulator.add_job(SimulatedJob::new("opt"));
    for body in ["", "[]", "{}", r#"{"name":7}"#, r#"{"name":null}"#] {
        assert_eq!(send(&simulator, &format!("PATCH /api/v1/jobs/{id}"), body).0, 422, "{body}");
    }
    let longest = "é".repeat(120);
    simulator.client().unwrap().rename_job(&id, &longest).unwrap();
}

#[test]
fn a_submission_that_is_not_an_object_is_refused() {
    let simulator = Service::start();
    for body in ["", "null", "7", "[null, null]", "\"jobs\"", "{}", r#"{"jobs":{}}"#] {
        assert_eq!(send(&simulator, "POST /api/v1/jobs/batch", body).0, 422, "{body}");
        assert_eq!(send(&simulator, "POST /api/v1/jobs", body).0, 422, "{body}");
    }
    let (status, answer) = send(&simulator, "POST /api/v1/jobs/batch", r#"{"jobs":[null,[],7]}"#);
    assert_eq!(status, 200, "each payload is rejected individually");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer).unwrap()["failed"], 3);
}

#[test]
fn unknown_routes_and_methods_get_404_or_405() {
    let simulator = Service::start();
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
    ] {
        assert_eq!(send(&simulator, request, "").0, status, "{request}");
    }
}

#[test]
fn faults_occur_in_order_and_are_used_up() {
    let simulator = Service::start();
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
fn lost_answer_processes_the_request_and_other_faults_do_not() {
    let simulator = Service::start();
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    for (fault, is_done) in [(Fault::LostAnswer, true), (Fault::Cut, false), (Fault::status(500), false)] {
        let id = simulator.add_job(SimulatedJob::new("opt").name("old"));
        simulator.fail_next(fault.clone());
        client.rename_job(&id, "new").unwrap_err();
        let name = client.get_job(&id).unwrap().name.unwrap();
        assert_eq!(name == "new", is_done, "{fault:?}");
    }
}

#[test]
fn dropping_the_simulator_frees_its_port() {
    let simulator = Simulator::start().unwrap();
    let address = simulator.base_url().trim_start_matches("http://").to_owned();
    let open = TcpStream::connect(&address).unwrap();
    drop(simulator);
    assert!(TcpStream::connect(&address).is_err());
    open.set_read_timeout(Some(secs(20))).unwrap();
    assert_eq!((&open).read(&mut [0]).unwrap_or(0), 0, "the open connection must be closed");
}

#[test]
fn two_simulators_are_independent() {
    let (one, two) = (Service::start(), Service::start());
    one.add_sample_jobs(3);
    assert_eq!(one.client().unwrap().iter_jobs().count(), 3);
    assert_eq!(two.client().unwrap().iter_jobs().count(), 0);
}

#[test]
fn fail_when_affects_only_matching_requests() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    let id = simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
    simulator.fail_when(|_| true, 0, Fault::Cut);
    simulator.fail_when(|request| request.method == "DELETE", 2, Fault::status(503));
    simulator.fail_when(|request| request.body.contains("forbidden"), usize::MAX, Fault::status(403));
    for _ in 0..2 {
        client.get_job(&id).unwrap();
        assert_eq!(client.delete_job(&id).unwrap_err().status(), Some(503));
        assert_eq!(client.rename_job(&id, "forbidden").unwrap_err().status(), Some(403));
    }
    client.rename_job(&id, "allowed").unwrap();
    client.delete_job(&id).unwrap();
    assert_eq!(client.rename_job(&id, "forbidden").unwrap_err().status(), Some(403));
}

#[test]
fn the_first_matching_fault_is_used() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    let is_page = |text: &'static str| {
        move |request: &atomiverse::simulator::ReceivedRequest| request.target.contains(text)
    };
    simulator.fail_when(is_page("limit=2"), 1, Fault::status(418));
    simulator.fail_next(Fault::status(500));
    simulator.fail_when(is_page("limit=2"), 1, Fault::status(502));
    simulator.fail_next(Fault::status(503));
    let statuses = [1, 2, 2, 2, 2].map(|limit| {
        let outcome = client.list_jobs().limit(limit).send();
        outcome.map_or_else(|error| error.status().unwrap(), |_| 200)
    });
    assert_eq!(statuses, [500, 418, 502, 503, 200]);
}

#[test]
fn on_submit_determines_how_a_submitted_job_behaves() {
    let (simulator, client) = contract::start();
    simulator.on_submit(|payload| match payload["name"].as_str() {
        Some("fails") => SimulatedJob::new("other").name("other").fails().billed_core_seconds(7.5),
        Some("never ends") => SimulatedJob::new("other").pending_for(secs(1)).running_for(Duration::MAX),
        Some(_) => SimulatedJob::new("other"),
        None => SimulatedJob::new("other").name("unnamed"),
    });
    let payloads = [
        json!({"job_type": "opt", "name": "fails"}),
        json!({"job_type": "opt", "name": "never ends"}),
        json!({"job_type": "opt", "name": "like any other"}),
        json!({"job_type": "opt"}),
    ];
    let batch = client.submit_batch(&payloads[..2]).unwrap();
    let mut ids: Vec<_> = batch.jobs.into_iter().map(|entry| entry.job_id.unwrap()).collect();
    ids.extend(payloads[2..].iter().map(|payload| client.submit_job(payload).unwrap().id().clone()));
    simulator.advance(secs(3600));
    let jobs: Vec<_> = ids.iter().map(|id| client.get_job(id).unwrap()).collect();
    let states: Vec<_> = jobs.iter().map(|job| job.state.as_str()).collect();
    assert_eq!(states, ["failed", "running", "done", "done"]);
    let names: Vec<_> = jobs.iter().map(|job| job.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["fails", "never ends", "like any other", "unnamed"]);
    assert!(jobs.iter().all(|job| job.job_type == "opt"), "the job type is that of the payload");
    assert_eq!(jobs[0].billed_core_seconds, Some(7.5));
    assert_eq!(jobs[1].billed_core_seconds, Some(4.0 * 3599.0));
}

#[test]
fn on_submit_is_called_once_for_each_new_job_in_the_order_of_the_batch() {
    let (simulator, client) = contract::start();
    let ignored = Arc::new(AtomicUsize::new(0));
    let counter = ignored.clone();
    simulator.on_submit(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        SimulatedJob::new("opt")
    });
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let record = seen.clone();
    simulator.on_submit(move |payload| {
        lock(&record).push(payload["n"].clone());
        SimulatedJob::new("opt")
    });
    simulator.set_capacity(3);
    let of_type = |n: u32| json!({"job_type": "opt", "n": n});
    let payloads =
        [of_type(1), json!({"n": 2}), of_type(3), of_type(1), json!({"job_type": "opt", "name": "\u{7}"})];
    client.submit_batch(&payloads).unwrap();
    client.submit_job(&of_type(3)).unwrap();
    let batch = client.submit_batch([of_type(4), of_type(5)]).unwrap();
    assert_eq!(batch.jobs[1].status, SubmissionStatus::Failed, "there is no capacity for the last one");
    assert_eq!(*lock(&seen), [1, 3, 4]);
    assert_eq!(ignored.load(Ordering::Relaxed), 0, "the first callback was replaced");
}

#[test]
fn a_panic_in_a_callback_becomes_a_response_and_the_simulator_continues() {
    let (simulator, client) = contract::start();
    simulator.allow_invalid_responses();
    simulator.on_submit(|payload| {
        assert!(payload["name"] != "bad", "no job for {}", payload["name"]);
        SimulatedJob::new("opt")
    });
    let payload = |name: &str| json!({"job_type": "opt", "name": name});
    let error = client.submit_job(&payload("bad")).unwrap_err();
    assert_eq!(error.status(), Some(500));
    let said = error.server_message().unwrap();
    assert_eq!(said, "the function passed to on_submit panicked: no job for \"bad\"");
    let error = client.submit_batch([payload("a"), payload("bad"), payload("b")]).unwrap_err();
    assert_eq!(error.status(), Some(500));
    let names: Vec<_> = client.iter_jobs().map(|job| job.unwrap().name.unwrap()).collect();
    assert_eq!(names, ["a"], "jobs that were accepted earlier remain");
    client.submit_job(&payload("good")).unwrap();

    let id = simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
    simulator.fail_when(|request| panic!("{}", request.method), 1, Fault::Cut);
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    for _ in 0..2 {
        let error = client.delete_job(&id).unwrap_err();
        assert_eq!(error.status(), Some(500));
        assert_eq!(
            error.server_message(),
            Some("the function passed to fail_when panicked: DELETE"),
            "the callback runs for each request, and no request is processed"
        );
    }
    assert_eq!(simulator.add_job(SimulatedJob::new("opt")), "job-000004", "the simulator is not locked");
    assert!(lines(&simulator).last().unwrap().starts_with("DELETE"), "the request was recorded");
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
fn only_the_key_that_was_set_last_is_accepted() {
    let (simulator, client) = contract::start();
    let first = simulator.api_key();
    client.list_jobs().send().unwrap();
    simulator.set_api_key("av_second");
    assert_eq!(simulator.api_key(), "av_second");
    assert!(client.list_jobs().send().unwrap_err().is_unauthorized());
    simulator.client().unwrap().list_jobs().send().unwrap();
    client.set_api_key("av_second").unwrap();
    client.list_jobs().send().unwrap();
    simulator.set_api_key(String::from(first));
    assert!(client.list_jobs().send().unwrap_err().is_unauthorized());
}

#[test]
fn a_job_that_ignores_cancel_keeps_running_after_an_accepted_cancellation() {
    let (simulator, client) = contract::start();
    let id = simulator.add_job(SimulatedJob::new("opt").ignores_cancel());
    simulator.advance(secs(5));
    client.cancel_job(&id).unwrap();
    assert_eq!(client.get_job(&id).unwrap().state, JobState::Running);
    let error = client.delete_job(&id).unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert_eq!(error.state(), Some(&JobState::Running));
    simulator.advance(secs(7));
    let job = client.get_job(&id).unwrap();
    assert_eq!((job.state, job.billed_core_seconds), (JobState::Done, Some(40.0)));
    client.delete_job(&id).unwrap();

    simulator.on_submit(|_| SimulatedJob::new("opt").running_for(Duration::MAX).ignores_cancel());
    let job = client.submit_job(&json!({"job_type": "opt"})).unwrap();
    let options = WaitOptions::new().timeout(secs(60)).cancel_on_timeout(true);
    let error = client.wait_for_job(job.id(), &options).unwrap_err();
    assert_eq!(error.cancellation_accepted(), Some(true), "{error}");
    assert_eq!(client.get_job(job.id()).unwrap().state, JobState::Running);
}

#[test]
fn a_job_that_runs_for_ever_outlasts_the_longest_durations() {
    let (simulator, client) = contract::start();
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
fn the_time_of_day_follows_the_simulated_clock() {
    let (simulator, client) = contract::start();
    let second = |seconds| SystemTime::UNIX_EPOCH + secs(seconds);
    simulator.advance(secs(5));
    simulator.set_time(second(1000));
    assert_eq!(simulator.now(), second(1000));
    simulator.advance(secs(10));
    assert_eq!(simulator.now(), second(1010));
    let id = simulator.add_job(SimulatedJob::new("opt").running_for(secs(100)));
    client.wait_for_job(&id, &WaitOptions::new()).unwrap();
    let waited = simulator.now().duration_since(second(1010)).unwrap();
    assert!((secs(102)..secs(130)).contains(&waited), "{waited:?}");
    assert_eq!(simulator.now(), second(1010) + waited, "the clock stands still");
    // The age of the job has not changed.
    simulator.set_time(second(5000));
    let created = client.get_job(&id).unwrap().created_at.to_system_time().unwrap();
    let age = second(5000).duration_since(created).unwrap();
    // The time is shown in microseconds.
    assert!(age.abs_diff(waited) <= Duration::from_micros(1), "{age:?} and {waited:?}");
    simulator.run_in_real_time();
    let started = Instant::now();
    while simulator.now() == second(5000) {
        assert!(started.elapsed() < secs(60), "the clock must run");
    }
}

#[test]
fn set_time_accepts_any_time() {
    let (simulator, client) = contract::start();
    let id = simulator.add_job(SimulatedJob::new("opt").age(secs(3600)));
    simulator.advance(Duration::MAX);
    let steps = || (0..64).rev().map(|bit| secs(1 << bit));
    let latest = steps().fold(SystemTime::UNIX_EPOCH, |time, step| time.checked_add(step).unwrap_or(time));
    let earliest = steps().fold(SystemTime::UNIX_EPOCH, |time, step| time.checked_sub(step).unwrap_or(time));
    for (time, year) in [(latest, "9999-"), (earliest, "-009999-"), (SystemTime::UNIX_EPOCH, "18")] {
        simulator.set_time(time);
        assert_eq!(simulator.now(), time);
        let created = client.get_job(&id).unwrap().created_at;
        assert!(created.as_str().starts_with(year), "{created} for {time:?}");
        // This must not panic.
        simulator.advance(Duration::MAX);
        assert!(simulator.now() >= time);
    }
}

#[test]
fn a_wait_ends_however_far_the_clock_was_moved() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    for _ in 0..1000 {
        simulator.advance(Duration::MAX);
    }
    let job = client.submit_job(&json!({"job_type": "opt"})).unwrap();
    assert_eq!(client.wait_for_job(job.id(), &WaitOptions::new()).unwrap().state, JobState::Done);
    let endless = simulator.add_job(SimulatedJob::new("opt").running_for(Duration::MAX));
    let options = WaitOptions::new().timeout(Duration::MAX).min_interval(secs(86_400 * 365));
    let options = options.max_interval(Duration::MAX);
    assert!(client.wait_for_job(endless, &options).unwrap_err().is_timeout());
}

#[test]
fn submitted_jobs_are_listed_by_age_among_the_others() {
    let (simulator, client) = contract::start();
    simulator.on_submit(|payload| {
        let age = payload["age"].as_u64().unwrap_or_default();
        SimulatedJob::new("opt").age(secs(age))
    });
    let submit = |age: u64| client.submit_job(&json!({"job_type": "opt", "age": age})).unwrap().id().clone();
    let add = |age| simulator.add_job(SimulatedJob::new("opt").age(secs(age)));
    let (d, b) = (add(40), submit(20));
    simulator.advance(secs(5));
    let (a, c, e) = (submit(0), add(30), submit(50));
    for limit in [1, 2, 50] {
        let listed: Vec<_> = client.iter_jobs().limit(limit).map(|job| job.unwrap().job_id).collect();
        assert_eq!([&a, &b, &c, &d, &e], listed.iter().collect::<Vec<_>>()[..], "{limit} jobs per page");
    }
}

/// A build tool that submits 30 jobs, waits for at most an hour, cancels unfinished jobs, and reports.
fn build(client: &Client) -> atomiverse::Result<String> {
    let payloads = (0..30).map(|n| json!({"job_type": "opt", "name": format!("molecule-{n}")}));
    let batch = client.submit_batch(payloads)?;
    let ids = batch.jobs.iter().filter_map(|entry| entry.job_id.as_ref());
    let options = WaitOptions::new().timeout(secs(3600)).cancel_on_timeout(true);
    let (mut done, mut failed, mut cancelled) = (0, 0, 0);
    for outcome in client.wait_for_jobs(ids, &options) {
        match outcome {
            Ok(job) if job.state == JobState::Done => done += 1,
            Ok(_) => failed += 1,
            Err(error) if error.cancellation_accepted() == Some(true) => cancelled += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(format!("{done} done, {failed} failed, {cancelled} cancelled"))
}

#[test]
fn a_build_tool_is_tested_through_its_deadline_in_simulated_time() {
    let (simulator, client) = contract::start();
    simulator.on_submit(|payload| match payload["name"].as_str() {
        Some("molecule-7") => SimulatedJob::new("opt").fails(),
        Some("molecule-8") => SimulatedJob::new("opt").running_for(Duration::MAX),
        _ => SimulatedJob::new("opt"),
    });
    let (started, before) = (Instant::now(), simulator.now());
    assert_eq!(build(&client).unwrap(), "28 done, 1 failed, 1 cancelled");
    let simulated = simulator.now().duration_since(before).unwrap();
    assert!((secs(3500)..=secs(3600)).contains(&simulated), "{simulated:?}");
    // This takes well under a second, unless the machine is loaded.
    assert!(started.elapsed() < secs(60), "{:?}", started.elapsed());
    let cancels: Vec<_> = lines(&simulator).into_iter().filter(|line| line.ends_with("/cancel")).collect();
    assert_eq!(cancels, ["POST /api/v1/jobs/job-000009/cancel"]);
    assert_eq!(client.get_job("job-000009").unwrap().state, JobState::Cancelled);
}
