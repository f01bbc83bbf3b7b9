//! The simulator keeps the rules of the service that it stands for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
use atomiverse::{Client, JobState};

use crate::contract::Service;
use crate::support::secs;

/// One request by hand: status and body.
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
    let look = || {
        let job = client.get_job(&id).unwrap();
        (job.state, job.billed_core_seconds)
    };
    assert_eq!(look(), (JobState::Pending, None));
    simulator.advance(secs(3));
    assert_eq!(look(), (JobState::Running, Some(4.0)));
    simulator.advance(secs(8));
    assert_eq!(look(), (JobState::Running, Some(36.0)));
    simulator.advance(secs(1));
    assert_eq!(look(), (JobState::Done, Some(40.0)));
    simulator.advance(secs(1_000_000));
    assert_eq!(look(), (JobState::Done, Some(40.0)));
}

#[test]
fn a_job_is_what_the_test_makes_it() {
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
fn time_stands_still_unless_it_is_let_run() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    let id = simulator.add_job(SimulatedJob::new("opt").pending_for(Duration::from_millis(1)));
    assert_eq!(client.get_job(&id).unwrap().state, JobState::Pending);
    simulator.run_in_real_time();
    let started = Instant::now();
    while client.get_job(&id).unwrap().state == JobState::Pending {
        assert!(started.elapsed() < secs(20), "the clock does not run");
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
fn a_limit_or_cursor_that_makes_no_sense_is_refused() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    assert!(client.list_jobs().limit(1001).send().unwrap_err().is_validation());
    assert!(client.list_jobs().cursor("elsewhere").send().unwrap_err().is_validation());
    for query in ["limit=0", "limit=-1", "limit=x", "cursor=before-x"] {
        assert_eq!(send(&simulator, &format!("GET /api/v1/jobs?{query}"), "").0, 422, "{query}");
    }
}

#[test]
fn a_rename_needs_a_name_that_is_a_text() {
    let simulator = Service::start();
    let id = simulator.add_job(SimulatedJob::new("opt"));
    for body in ["", "[]", "{}", r#"{"name":7}"#, r#"{"name":null}"#] {
        assert_eq!(send(&simulator, &format!("PATCH /api/v1/jobs/{id}"), body).0, 422, "{body}");
    }
    let longest = "é".repeat(120);
    simulator.client().unwrap().rename_job(&id, &longest).unwrap();
}

#[test]
fn a_submission_that_is_no_object_is_refused() {
    let simulator = Service::start();
    for body in ["", "null", "7", "[null, null]", "\"jobs\"", "{}", r#"{"jobs":{}}"#] {
        assert_eq!(send(&simulator, "POST /api/v1/jobs/batch", body).0, 422, "{body}");
        assert_eq!(send(&simulator, "POST /api/v1/jobs", body).0, 422, "{body}");
    }
    let (status, answer) = send(&simulator, "POST /api/v1/jobs/batch", r#"{"jobs":[null,[],7]}"#);
    assert_eq!(status, 200, "each is rejected alone");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer).unwrap()["failed"], 3);
}

#[test]
fn what_it_does_not_serve_is_404_or_405() {
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
fn the_dashboard_shows_the_job_and_runs_no_text_of_it() {
    let simulator = Service::start();
    simulator.add_sample_jobs(1);
    let id = simulator.add_job(SimulatedJob::new("opt").name("<script>alert(1)</script>"));
    let (status, page) = send(&simulator, "GET /job?job_id=job-000001", "");
    assert_eq!(status, 200);
    for part in ["water-001", "done", "H2O", "20.0 core-seconds", "<svg"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let (_, page) = send(&simulator, &format!("GET /job?job_id={id}"), "");
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
}

#[test]
fn faults_come_in_order_and_are_used_up() {
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
fn a_fault_that_says_so_does_what_was_asked_all_the_same() {
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
    assert_eq!((&open).read(&mut [0]).unwrap_or(0), 0, "the connection was closed");
}

#[test]
fn two_simulators_know_nothing_of_each_other() {
    let (one, two) = (Service::start(), Service::start());
    one.add_sample_jobs(3);
    assert_eq!(one.client().unwrap().iter_jobs().count(), 3);
    assert_eq!(two.client().unwrap().iter_jobs().count(), 0);
}
