//! Tests retries: when, how often, and after which pause. The pauses advance the clock of the simulator.

use std::time::Duration;

use atomiverse::simulator::{Fault, SimulatedJob};

use crate::support::{RawServer, answer, job};
use atomiverse::simulator::Simulator;

#[test]
fn a_lasting_failure_is_an_error_with_the_number_of_attempts() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    simulator.fail_times(3, Fault::status(503));
    let error = client.list_jobs().send().unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(503), 3));
    assert!(error.to_string().contains("tried 3 times"), "{error}");
    assert!(client.list_jobs().send().is_ok(), "the third fault was the last one");
}

#[test]
fn retry_after_is_waited_for_within_the_deadline() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    let job = SimulatedJob::new("opt").pending_for(Duration::from_secs(49));
    let job = simulator.add_job(job.running_for(Duration::from_secs(11)));
    simulator.fail_next(Fault::status(429).header("Retry-After", "50"));
    assert_eq!(client.get_job(&job).unwrap().state.as_str(), "running", "the pause was shorter or longer");

    simulator.fail_next(Fault::status(429).header("Retry-After", "61"));
    let error = client.get_job(&job).unwrap_err();
    assert!(error.is_rate_limited());
    assert_eq!((error.retry_after(), error.attempts()), (Some(Duration::from_secs(61)), 1), "{error}");
}

#[test]
fn a_retry_after_that_is_a_date_is_compared_with_the_clock_of_the_server() {
    let headers = ["Date: Sat, 02 May 2020 14:32:01 GMT", "Retry-After: Sat, 02 May 2020 14:32:11 GMT"];
    let server = RawServer::script(vec![answer(503, &headers, "")]);
    let error = server.client_builder().max_retries(0).build().unwrap().get_job("a").unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(10)), "{error}");
}

#[test]
fn the_pause_of_one_call_holds_no_other() {
    let limited = answer(429, &["Retry-After: 20"], "");
    let server = RawServer::script(vec![limited, answer(200, &[], &job("a"))]);
    let client = server.client_builder().timeout(Duration::from_secs(10)).build().unwrap();
    assert!(client.get_job("a").unwrap_err().is_rate_limited());
    client.get_job("a").unwrap();
}

#[test]
fn no_pause_extends_beyond_the_deadline() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client_builder().timeout(Duration::from_secs(5)).build().unwrap();
    simulator.fail_next(Fault::status(503).header("Retry-After", "5"));
    let error = client.list_jobs().send().unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(503), 1));
}

#[test]
fn permanent_failures_are_not_retried() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    for status in [400, 401, 403, 404, 409, 422, 501] {
        simulator.fail_next(Fault::status(status));
        let error = client.list_jobs().send().unwrap_err();
        assert_eq!((error.status(), error.attempts()), (Some(status), 1));
    }
    simulator.fail_next(Fault::Garbage);
    assert_eq!(client.list_jobs().send().unwrap_err().attempts(), 1);
}
