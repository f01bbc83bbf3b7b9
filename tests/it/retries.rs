//! Sending again: when, how often, and after what pause. The pauses move the simulator's clock.

use std::time::{Duration, Instant};

use atomiverse::simulator::{Fault, SimulatedJob};

use crate::contract::Service;
use crate::support::{RawServer, answer, job};

#[test]
fn a_passing_failure_is_invisible() {
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
fn a_lasting_failure_is_an_error_that_says_how_often_it_was_tried() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    simulator.fail_times(3, Fault::status(503));
    let error = client.list_jobs().send().unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(503), 3));
    assert!(error.to_string().contains("tried 3 times"), "{error}");
    assert!(client.list_jobs().send().is_ok(), "a fourth attempt was not made");
}

#[test]
fn what_the_server_asks_for_is_waited_for_up_to_a_ceiling() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    let job = SimulatedJob::new("opt").pending_for(Duration::from_secs(29));
    let job = simulator.add_job(job.running_for(Duration::from_secs(17)));
    simulator.fail_next(Fault::status(429).header("Retry-After", "30"));
    assert_eq!(client.get_job(&job).unwrap().state.as_str(), "running", "30 to 45 seconds have passed");

    simulator.fail_next(Fault::status(429).header("Retry-After", "31"));
    let error = client.get_job(&job).unwrap_err();
    assert!(error.is_rate_limited());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(31)));
    assert!(error.to_string().contains("asks to wait 31 s"), "{error}");
    assert_eq!(error.attempts(), 1);
}

#[test]
fn outside_of_simulations_pauses_take_their_time() {
    let server = RawServer::script(vec![answer(503, &[], ""), answer(200, &[], &job("a"))]);
    let pause = Duration::from_millis(40);
    let client = server.client_builder().retry_pause(pause, pause).build().unwrap();
    let started = Instant::now();
    client.get_job("a").unwrap();
    assert!(started.elapsed() >= Duration::from_millis(30), "less a quarter at most");
}

#[test]
fn no_pause_goes_past_the_deadline() {
    let simulator = Service::start();
    let client = simulator.client_builder().timeout(Duration::from_secs(5)).build().unwrap();
    simulator.fail_next(Fault::status(503).header("Retry-After", "5"));
    let error = client.list_jobs().send().unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(503), 1));
}

#[test]
fn what_is_no_passing_failure_is_not_tried_again() {
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
