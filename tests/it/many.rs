//! Cancelling and deleting many jobs.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
use atomiverse::{Error, JobState, Operation, StopToken};

use crate::support::{Answer, Message, RawServer, Step, Watching, answer, json, secs, until};

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("job-{n}")).collect()
}

/// Returns the id in the path of a request for a job.
fn id_of(request: &Message) -> &str {
    request.line.split("/jobs/").nth(1).unwrap_or_default().trim_end_matches("/cancel")
}

fn accepted() -> Answer {
    answer(202, &[], "")
}

fn deleted_jobs(server: &RawServer) -> HashSet<String> {
    let deletes = server.requests().into_iter().filter(|request| request.line.starts_with("DELETE"));
    deletes.map(|request| id_of(&request).to_owned()).collect()
}

#[test]
fn outcomes_are_in_the_order_of_the_ids_and_a_repeated_id_counts_once() {
    let simulator = Simulator::start().unwrap();
    let jobs: Vec<_> = (0..30).map(|_| simulator.add_job(SimulatedJob::new("opt"))).collect();
    let mut ids: Vec<&str> = jobs.iter().rev().map(|id| id.as_str()).collect();
    ids.insert(3, "missing");
    ids.insert(7, "");
    ids.insert(9, ids[0]);
    ids.push("");
    let outcomes = simulator.client().unwrap().cancel_jobs(&ids);
    ids.remove(9);
    ids.pop();
    let order: Vec<&str> = outcomes.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(order, ids);
    for (id, outcome) in &outcomes {
        match (id.as_str(), outcome) {
            ("", Err(error)) => assert_eq!(error.attempts(), 0, "{error}"),
            ("missing", Err(error)) => assert!(error.is_not_found(), "{error}"),
            (_, outcome) => assert!(outcome.is_ok(), "{outcome:?}"),
        }
    }
    let client = simulator.client().unwrap();
    assert!(client.iter_jobs().all(|job| job.unwrap().state == JobState::Cancelled));
    let deleted = client.delete_jobs([ids[0], "missing"]);
    assert!(matches!(&deleted[..], [(_, Ok(true)), (_, Ok(false))]), "{deleted:?}");
}

#[test]
fn without_valid_ids_nothing_is_sent() {
    let server = RawServer::script(vec![accepted()]);
    assert!(server.client().cancel_jobs(Vec::<String>::new()).is_empty());
    let outcomes = server.client().delete_jobs(["..", ""]);
    assert!(outcomes.len() == 2 && outcomes.iter().all(|(_, outcome)| outcome.is_err()));
    assert!(server.requests().is_empty());
}

#[test]
fn eight_calls_are_made_at_a_time() {
    // No response comes before eight requests have.
    let barrier = Arc::new(Barrier::new(8));
    let (waiting, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let simulator = Simulator::start().unwrap();
    let client = simulator.client_builder().contract(Watching({
        let (barrier, waiting, most) = (barrier.clone(), waiting.clone(), most.clone());
        move |_: Operation<'_>| {
            most.fetch_max(waiting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            barrier.wait();
            waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }));
    let ids: Vec<_> = (0..32).map(|_| simulator.add_job(SimulatedJob::new("opt"))).collect();
    let outcomes = client.build().unwrap().cancel_jobs(&ids);
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
    assert_eq!(most.load(Ordering::SeqCst), 8);
}

#[test]
fn a_dead_service_ends_the_calls_and_the_errors_say_which_were_not_sent() {
    let server = RawServer::script(vec![answer(503, &[], "")]);
    let ids = numbered(1000);
    let outcomes = server.client().delete_jobs(&ids);
    let order: Vec<&str> = outcomes.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(order, ids);
    let sent = deleted_jobs(&server);
    assert!((8..=15).contains(&sent.len()), "{} jobs were sent", sent.len());
    for (id, outcome) in outcomes {
        let error = outcome.expect_err("the service is dead");
        assert_eq!(error.job_id(), Some(&id));
        assert_eq!(error.to_string().contains("not sent"), !sent.contains(id.as_str()), "{error}");
        assert_eq!(error.may_have_been_processed(), sent.contains(id.as_str()), "{error}");
        assert!(error.is_transient(), "{error}");
    }
}

#[test]
fn failures_with_successes_between_them_end_nothing() {
    let server = RawServer::start(|_, request| {
        let n: usize = id_of(request).trim_start_matches("job-").parse().unwrap();
        if n % 2 == 0 { accepted() } else { answer(503, &[], "") }
    });
    let outcomes = server.client_builder().max_retries(0).build().unwrap().cancel_jobs(numbered(64));
    assert_eq!(outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 32, "{outcomes:?}");
    assert_eq!(server.requests().len(), 64);
}

#[test]
fn the_retry_after_of_one_job_delays_no_other() {
    let simulator = Simulator::start().unwrap();
    let ids: Vec<_> =
        (0..100).map(|_| simulator.add_job(SimulatedJob::new("opt").state(JobState::Done))).collect();
    simulator.run_in_real_time();
    let slow = ids[3].clone();
    let path = format!("/{slow}");
    let fault = Fault::status(503).header("retry-after", "20");
    simulator.fail_when(move |request| request.target.ends_with(&path), 1, fault);
    let client = simulator.client().unwrap();
    let stop = StopToken::new();
    let stopped = client.with_stop(&stop);
    thread::scope(|scope| {
        let deleting = scope.spawn(|| stopped.delete_jobs(&ids));
        // The test hangs here if the others wait for the slow one.
        until(|| client.iter_jobs().count() == 1);
        stop.stop();
        let outcomes = deleting.join().unwrap();
        for (id, outcome) in outcomes {
            // The last response may still be on its way when the server has deleted the job.
            let is_deleted = outcome.as_ref().err().is_none_or(Error::may_have_been_processed);
            assert!(if id == slow { outcome.is_err() } else { is_deleted }, "{id}: {outcome:?}");
        }
    });
}

#[test]
fn a_stop_ends_all_calls_at_once() {
    let server = RawServer::start(|n, _| if n < 20 { accepted() } else { vec![Step::Silence] });
    let stop = StopToken::new();
    let client = server.client().with_stop(&stop);
    thread::scope(|scope| {
        let cancelling = scope.spawn(|| client.cancel_jobs(numbered(1000)));
        until(|| server.requests().len() >= 28);
        let began = Instant::now();
        stop.stop();
        let outcomes = cancelling.join().unwrap();
        assert!(began.elapsed() < secs(5), "it took {:?}", began.elapsed());
        assert_eq!(outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 20);
        let stopped = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
        assert!(stopped.clone().all(|error| error.is_stopped()));
        assert_eq!(stopped.filter(|error| error.may_have_been_processed()).count(), 8);
    });
    assert_eq!(server.requests().len(), 28);
}

#[test]
fn a_panic_reaches_the_caller_and_the_client_still_works() {
    let simulator = Simulator::start().unwrap();
    let ids: Vec<_> = (0..20).map(|_| simulator.add_job(SimulatedJob::new("opt"))).collect();
    let bad = ids[7].clone();
    let builder = simulator.client_builder().contract(Watching(move |operation: Operation<'_>| {
        assert!(operation.job_id() != Some(&bad), "on purpose");
    }));
    let client = builder.build().unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| client.cancel_jobs(&ids))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    assert!(client.cancel_job(&ids[0]).is_ok());
}

#[test]
fn a_rate_limit_without_retry_after_is_reported_for_the_jobs_that_met_it() {
    let server = RawServer::start(|n, _| if n % 3 == 0 { answer(429, &[], "") } else { json("{}") });
    let outcomes = server.client_builder().max_retries(0).build().unwrap().cancel_jobs(numbered(9));
    let limited = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
    assert_eq!(limited.filter(|error| error.is_rate_limited()).count(), 3);
}
