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
