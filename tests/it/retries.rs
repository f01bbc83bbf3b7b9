//! Tests retries: when, how often, and after which pause. The pauses advance the clock of the simulator.

use std::time::{Duration, Instant};

use atomiverse::simulator::{Fault, SimulatedJob};

use crate::contract::Service;
use crate::support::{RawServer, answer, job};

#[test]
fn a_transient_failure_is_retried() {
    let simulator = Service::start();
    let id = simulator.add_job(SimulatedJob::new("opt"));
    let client = simulator.client().unwrap();
    for fault in [Fault::Cut, Fault::LostAnswer, Fault::TruncatedBody, Fault::status(502), Fault::status(429)]
    {
        simulator.fail_times(2, fault.clone());
        let before = simulator.requests().len();
        client.get_job(&id).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(simulator.requests().len() - before, 3, "{fault:?}");
    }
}

#[test]
fn a_lasting_failure_is_an_error_with_the_number_of_attempts() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    simulator.fail_times(3, Fault::status(503));
    let error = client.list_jobs().send().unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(503), 3));
    assert!(error.to_string().contains("tried 3 times"), "{error}");
    assert!(client.list_jobs().send().is_ok(), "the third fault was the last one");
}

#[test]
fn retry_after_is_honoured_up_to_a_maximum() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    let job = SimulatedJob::new("opt").pending_for(Duration::from_secs(29));
    let job = simulator.add_job(job.running_for(Duration::from_secs(17)));
    simulator.fail_next(Fault::status(429).header("Retry-After", "30"));
    assert_eq!(
        client.get_job(&job).unwrap().state.as_str(),
        "running",
        "the pause was between 30 and 45 seconds"
    );

    simulator.fail_next(Fault::status(429).header("Retry-After", "31"));
    let error = client.get_job(&job).unwrap_err();
    assert!(error.is_rate_limited());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(31)));
    assert!(error.to_string().contains("asks to wait 31 s"), "{error}");
    assert_eq!(error.attempts(), 1);
}

#[test]
fn pauses_take_real_time_without_a_simulator() {
    let server = RawServer::script(vec![answer(503, &[], ""), answer(200, &[], &job("a"))]);
    let pause = Duration::from_millis(40);
    let client = server.client_builder().retry_pause(pause, pause).build().unwrap();
    let started = Instant::now();
    client.get_job("a").unwrap();
    assert!(started.elapsed() >= Duration::from_millis(30), "the pause is shortened by at most a quarter");
}

#[test]
fn no_pause_extends_beyond_the_deadline() {
    let simulator = Service::start();
    let client = simulator.client_builder().timeout(Duration::from_secs(5)).build().unwrap();
    simulator.fail_next(Fault::status(503).header("Retry-After", "5"));
    let error = client.list_jobs().send().unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(503), 1));
}

#[test]
fn permanent_failures_are_not_retried() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    for status in [400, 401, 403, 404, 409, 422, 501] {
        simulator.fail_next(Fault::status(status));
        let error = client.list_jobs().send().unwrap_err();
        assert_eq!((error.status(), error.attempts()), (Some(status), 1));
    }
    simulator.fail_next(Fault::Garbage);
    assert_eq!(client.list_jobs().send().unwrap_err().attempts(), 1);
}
