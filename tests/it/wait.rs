//! Tests waiting on the clock of the simulator, which the pauses of the client advance.

use std::time::{Duration, Instant};

use atomiverse::simulator::{Fault, SimulatedJob};
use atomiverse::{JobId, JobState, WaitOptions};

use crate::contract::{Service, lines, start};
use crate::support::{RawServer, Step, answer, job, page, secs};

/// Returns a job that is pending for 2 seconds, and then running for this long.
fn running_for(seconds: u64) -> SimulatedJob {
    SimulatedJob::new("opt").running_for(secs(seconds))
}

#[test]
fn a_wait_ends_with_the_terminal_state_whatever_it_is() {
    let (simulator, client) = start();
    let done = simulator.add_job(running_for(60));
    let failed = simulator.add_job(running_for(60).fails());
    let cancelled = simulator.add_job(SimulatedJob::new("opt").state(JobState::Cancelled));
    for (id, state) in [(done, JobState::Done), (failed, JobState::Failed), (cancelled, JobState::Cancelled)]
    {
        assert_eq!(client.wait_for_job(&id, &WaitOptions::new()).unwrap().state, state);
    }
}

#[test]
fn a_handle_waits_and_keeps_the_last_summary() {
    let (simulator, client) = start();
    let mut job = client.job(simulator.add_job(running_for(60))).unwrap();
    assert_eq!(job.wait(&WaitOptions::new()).unwrap().state, JobState::Done);
    assert_eq!(job.summary().unwrap().billed_core_seconds, Some(240.0));
}

#[test]
fn on_update_is_called_at_the_first_poll_and_at_each_change_of_state() {
    let (simulator, client) = start();
    let id = simulator.add_job(running_for(60));
    let mut states = Vec::new();
    client.wait_for_job(&id, &WaitOptions::new().on_update(|job| states.push(job.state.clone()))).unwrap();
    assert_eq!(states, [JobState::Pending, JobState::Running, JobState::Done]);
    assert!(simulator.requests().len() > 5);
}

#[test]
fn the_polling_interval_grows_by_half_up_to_its_maximum() {
    let (simulator, client) = start();
    let id = simulator.add_job(running_for(300));
    let options = WaitOptions::new().min_interval(secs(2)).max_interval(secs(10));
    client.wait_for_job(&id, &options).unwrap();
    // The intervals are 2, 3, 4.5, 6.75, 10, 10, ..., less up to a quarter. 302 seconds are therefore 32 to 43 polls.
    let polls = simulator.requests().len();
    assert!((32..=43).contains(&polls), "{polls} polls");
}

#[test]
fn the_connection_is_reused_between_polls() {
    let (simulator, client) = start();
    let id = simulator.add_job(running_for(300));
    client.wait_for_job(&id, &WaitOptions::new()).unwrap();
    assert_eq!(simulator.connections(), 1);
}

#[test]
fn a_timeout_is_an_error_with_the_last_state_and_the_time() {
    let (simulator, client) = start();
    let id = simulator.add_job(running_for(10_000));
    let error = client.wait_for_job(&id, &WaitOptions::new().timeout(secs(100))).unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.state(), Some(&JobState::Running));
    assert_eq!(error.job_id(), Some(&id));
    assert_eq!(error.cancellation_accepted(), None);
    let text = error.to_string();
    assert!(text.starts_with(&format!("wait for job {id}: timed out after ")), "{text}");
    assert!(text.contains("was not cancelled and may cost more"), "{text}");
    assert_eq!(client.get_job(&id).unwrap().state, JobState::Running, "the job is not cancelled");
}

#[test]
fn the_last_poll_is_shortly_before_the_deadline() {
    let (simulator, client) = start();
    // The job is done after 98.5 seconds, which only a poll in the last 1.5 seconds can see.
    let job = SimulatedJob::new("opt").pending_for(Duration::ZERO).running_for(Duration::from_millis(98_500));
    let id = simulator.add_job(job);
    let options = WaitOptions::new().timeout(secs(100)).min_interval(secs(90)).max_interval(secs(90));
    assert_eq!(client.wait_for_job(&id, &options).unwrap().state, JobState::Done);
}

#[test]
fn a_short_wait_polls_once_more_in_its_last_quarter() {
    let (simulator, client) = start();
    let job = SimulatedJob::new("opt").pending_for(Duration::ZERO).running_for(Duration::from_millis(1200));
    let id = simulator.add_job(job);
    let options = WaitOptions::new().timeout(secs(2)).min_interval(secs(5)).max_interval(secs(5));
    assert_eq!(client.wait_for_job(&id, &options).unwrap().state, JobState::Done);
}

#[test]
fn the_timeout_defaults_to_one_hour_and_for_ever_removes_it() {
    let (simulator, client) = start();
    let id = simulator.add_job(running_for(3 * 3600));
    let error = client.wait_for_job(&id, &WaitOptions::new()).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(error.to_string().contains("timed out after 3599"), "{error}");
    assert_eq!(client.wait_for_job(&id, &WaitOptions::new().for_ever()).unwrap().state, JobState::Done);
}

#[test]
fn an_unknown_state_is_not_terminal() {
    let (simulator, client) = start();
    simulator.allow_invalid_responses();
    let id = simulator.add_job(SimulatedJob::new("opt").state(JobState::Unknown("archived".into())));
    let error = client.wait_for_job(&id, &WaitOptions::new().timeout(secs(60))).unwrap_err();
    assert!(
        error.to_string().contains("in the state \"archived\", which this version does not know;"),
        "{error}"
    );
}

#[test]
fn a_silent_server_cannot_delay_the_caller_past_the_timeout() {
    for cancel in [false, true] {
        let server = RawServer::script(vec![vec![Step::Silence]]);
        let options = WaitOptions::new().timeout(Duration::from_millis(300)).cancel_on_timeout(cancel);
        let started = Instant::now();
        let error = server.client().wait_for_job("a", &options).unwrap_err();
        assert!(started.elapsed() < secs(5), "{:?}", started.elapsed());
        assert!(error.is_timeout());
        assert_eq!(error.state(), None);
        assert!(error.to_string().contains("the state of the job could not be loaded"), "{error}");
        assert!(error.to_string().contains("the last poll failed"), "{error}");
    }
}

#[test]
fn a_transient_failure_does_not_end_the_wait() {
    let (simulator, client) = start();
    let id = simulator.add_job(running_for(60));
    let options = WaitOptions::new().on_update(|_| {
        // Each of these lasts longer than the retries of a poll.
        simulator.fail_times(4, Fault::status(502));
        simulator.fail_times(4, Fault::Cut);
        simulator.fail_next(Fault::status(429).header("Retry-After", "3000"));
        // These unreadable responses come after a first success, as from a proxy.
        simulator.fail_next(Fault::status(200).body("<html>down for maintenance</html>"));
        simulator.fail_next(Fault::Garbage);
    });
    assert_eq!(client.wait_for_job(&id, &options.timeout(secs(20_000))).unwrap().state, JobState::Done);
}

#[test]
fn retry_after_is_honoured_between_polls() {
    let (simulator, client) = start();
    let id = simulator.add_job(running_for(10_000));
    simulator.fail_next(Fault::status(429).header("Retry-After", "20000"));
    client.wait_for_job(&id, &WaitOptions::new().timeout(secs(30_000))).unwrap();
    assert_eq!(simulator.requests().len(), 2);
}

#[test]
fn a_retry_after_of_years_is_cut_to_one_day() {
    let (simulator, client) = start();
    let id = simulator.add_job(running_for(60));
    simulator.fail_times(2, Fault::status(429).header("Retry-After", "999999999"));
    let three_days = WaitOptions::new().timeout(secs(3 * 86_400));
    assert_eq!(client.wait_for_job(&id, &three_days).unwrap().state, JobState::Done);
    assert_eq!(simulator.requests().len(), 3);
}

#[test]
fn a_permanent_failure_ends_the_wait_at_once() {
    for status in [400, 401, 403, 404, 422] {
        let (simulator, client) = start();
        let id = simulator.add_job(running_for(60));
        simulator.fail_next(Fault::status(status));
        let error = client.wait_for_job(&id, &WaitOptions::new()).unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert_eq!(simulator.requests().len(), 1, "{status}");

        let options = WaitOptions::new().on_update(|_| simulator.fail_next(Fault::status(status)));
        let error = client.wait_for_job(&id, &options).unwrap_err();
        assert_eq!(error.status(), Some(status), "a later poll must fail in the same way");
        assert_eq!(simulator.requests().len(), 3, "{status}");
    }
}

#[test]
fn an_unreadable_first_response_ends_the_wait() {
    let server = RawServer::script(vec![answer(200, &[], "<html>welcome</html>")]);
    let error = server.client().wait_for_job("a", &WaitOptions::new()).unwrap_err();
    assert!(error.to_string().contains("the base URL (base_url) may be wrong"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn cancel_on_timeout_cancels_the_job() {
    let (simulator, client) = start();
    let id = simulator.add_job(running_for(10_000));
    let options = WaitOptions::new().timeout(secs(100)).cancel_on_timeout(true);
    let error = client.wait_for_job(&id, &options).unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.cancellation_accepted(), Some(true));
    assert!(error.to_string().contains("accepted the request to cancel it"), "{error}");
    assert_eq!(client.get_job(&id).unwrap().state, JobState::Cancelled);
    let cancels = lines(&simulator).iter().filter(|line| line.ends_with("/cancel")).count();
    assert_eq!(cancels, 1);
}

#[test]
fn a_refused_cancellation_is_reported() {
    let server = RawServer::start(|_, request| match request.line.ends_with("/cancel") {
        true => answer(403, &[], r#"{"detail":"not yours"}"#),
        false => answer(200, &[], &job("a").replace("done", "running")),
    });
    let options = WaitOptions::new()
        .timeout(Duration::from_millis(200))
        .min_interval(Duration::from_millis(10))
        .cancel_on_timeout(true);
    let error = server.client().wait_for_job("a", &options).unwrap_err();
    assert_eq!(error.cancellation_accepted(), Some(false));
    let text = error.to_string();
    assert!(text.contains("the job could not be cancelled") && text.contains("not yours"), "{text}");
}

#[test]
fn invalid_options_are_refused_before_any_request() {
    let (simulator, client) = start();
    for options in [
        WaitOptions::new().timeout(Duration::ZERO),
        WaitOptions::new().min_interval(Duration::ZERO),
        WaitOptions::new().min_interval(secs(20)),
    ] {
        let error = client.wait_for_job("a", &options).unwrap_err();
        assert!(error.to_string().contains("nothing was sent"), "{error}");
    }
    for id in ["", ".", ".."] {
        assert!(client.wait_for_job(id, &WaitOptions::new()).is_err());
        let mut jobs = client.wait_for_jobs([id], &WaitOptions::new());
        assert!(jobs.next().unwrap().is_err());
        assert!(jobs.next().is_none());
    }
    assert_eq!(simulator.requests().len(), 0);
    client.wait_for_job("a", &WaitOptions::new().timeout(Duration::MAX)).unwrap_err();
}

#[test]
fn several_jobs_are_returned_as_they_finish() {
    let (simulator, client) = start();
    let slow = simulator.add_job(running_for(500));
    let fast = simulator.add_job(running_for(5));
    let middle = simulator.add_job(running_for(60).fails());
    let ids = [&slow, &fast, &middle, &slow];
    let jobs: Vec<(JobId, JobState)> = client
        .wait_for_jobs(ids, &WaitOptions::new())
        .map(|job| job.map(|job| (job.job_id, job.state)).unwrap())
        .collect();
    assert_eq!(jobs, [(fast, JobState::Done), (middle, JobState::Failed), (slow, JobState::Done)]);
}

#[test]
fn waiting_for_no_jobs_and_an_unused_wait_send_nothing() {
    let (simulator, client) = start();
    assert!(client.wait_for_jobs([""; 0], &WaitOptions::new()).next().is_none());
    drop(client.wait_for_jobs(["a", "b"], &WaitOptions::new()));
    assert_eq!(simulator.requests().len(), 0);
}

fn add_newer_jobs(simulator: &Service) {
    for _ in 0..500 {
        simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
    }
}

#[test]
fn jobs_deep_in_the_history_are_polled_one_by_one() {
    let (simulator, client) = start();
    let ids = [simulator.add_job(running_for(40)), simulator.add_job(running_for(40))];
    add_newer_jobs(&simulator);
    let options = WaitOptions::new().min_interval(secs(20)).max_interval(secs(20));
    assert_eq!(client.wait_for_jobs(&ids, &options).filter_map(Result::ok).count(), 2);
    let lines = lines(&simulator);
    // After one page, each poll is one request per job.
    let pages = lines.iter().filter(|line| line.contains("limit=")).count();
    assert_eq!(pages, 1, "{lines:?}");
    assert_eq!(lines.len() % 2, 1);
}

#[test]
fn a_listing_that_saves_no_requests_is_not_repeated() {
    let (simulator, client) = start();
    let deep = simulator.add_job(running_for(30));
    add_newer_jobs(&simulator);
    let new = simulator.add_job(running_for(30));
    let options = WaitOptions::new().min_interval(secs(20)).max_interval(secs(20));
    assert_eq!(client.wait_for_jobs([&deep, &new], &options).filter_map(Result::ok).count(), 2);
    // A page that shows one of two jobs saves no requests compared with polling each job by id.
    let lines = lines(&simulator);
    let pages = lines.iter().filter(|line| line.contains("limit=")).count();
    assert_eq!((pages, lines[0].contains("limit=")), (1, true), "{lines:?}");
}

#[test]
fn the_last_of_several_jobs_is_polled_by_id() {
    let (simulator, client) = start();
    let ids = [simulator.add_job(running_for(1)), simulator.add_job(running_for(100))];
    let options = WaitOptions::new().min_interval(secs(10)).max_interval(secs(10));
    assert_eq!(client.wait_for_jobs(&ids, &options).count(), 2);
    let lines = lines(&simulator);
    let pages = lines.iter().filter(|line| line.contains("limit=")).count();
    assert!(pages <= 2, "{lines:?}");
    assert!(lines.ends_with(&["GET /api/v1/jobs/job-000002".to_owned()]), "{lines:?}");
}

#[test]
fn each_job_has_one_outcome_even_if_one_is_missing_and_others_time_out() {
    let (simulator, client) = start();
    let short = simulator.add_job(running_for(5));
    let long = simulator.add_job(running_for(5000));
    let longer = simulator.add_job(running_for(6000));
    let options = WaitOptions::new().timeout(secs(100)).cancel_on_timeout(true);
    let mut outcomes: Vec<String> = client
        .wait_for_jobs([short.as_str(), "gone", long.as_str(), longer.as_str()], &options)
        .map(|outcome| match outcome {
            Ok(job) => format!("{} {}", job.job_id, job.state),
            Err(error) if error.is_not_found() => format!("{} not found", error.job_id().unwrap()),
            Err(error) => {
                assert!(error.is_timeout(), "{error}");
                assert_eq!(error.cancellation_accepted(), Some(true));
                format!("{} {}", error.job_id().unwrap(), error.state().unwrap())
            }
        })
        .collect();
    outcomes.sort();
    assert_eq!(
        outcomes,
        [
            "gone not found".to_owned(),
            format!("{short} done"),
            format!("{long} running"),
            format!("{longer} running")
        ]
    );
    assert_eq!(client.get_job(&longer).unwrap().state, JobState::Cancelled);
}

#[test]
fn a_refused_key_ends_the_wait_for_each_job() {
    let (simulator, client) = start();
    let ids = [simulator.add_job(running_for(5)), simulator.add_job(running_for(5))];
    simulator.fail_next(Fault::status(401));
    let mut jobs = client.wait_for_jobs(&ids, &WaitOptions::new());
    for id in &ids {
        let error = jobs.next().unwrap().unwrap_err();
        assert!(error.is_unauthorized());
        assert_eq!(error.job_id(), Some(id));
    }
    assert!(jobs.next().is_none());
    assert_eq!(simulator.requests().len(), 1);
}

#[test]
fn pages_that_form_a_cycle_do_not_block_a_wait() {
    let server = RawServer::start(|n, request| match request.line.contains("limit=") {
        true => answer(200, &[], &page(&["x"], true, Some(["c1", "c2"][n % 2]))),
        false => answer(200, &[], &job(request.line.rsplit('/').next().unwrap())),
    });
    let ids: Vec<String> = (0..40).map(|n| format!("job-{n}")).collect();
    let client = server.client();
    assert_eq!(client.wait_for_jobs(&ids, &WaitOptions::new()).filter_map(Result::ok).count(), 40);
    let pages = server.lines().iter().filter(|line| line.contains("limit=")).count();
    assert!(pages <= 4, "{pages}");
}

#[test]
fn time_spent_by_the_caller_counts_towards_the_polling_interval() {
    let (simulator, client) = start();
    let first = simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
    let second = simulator.add_job(running_for(50));
    let mut jobs = client.wait_for_jobs([&first, &second], &WaitOptions::new());
    assert_eq!(jobs.next().unwrap().unwrap().job_id, first);
    simulator.advance(secs(60));
    let before = simulator.requests().len();
    assert_eq!(jobs.next().unwrap().unwrap().job_id, second);
    assert_eq!(simulator.requests().len() - before, 1);
}

#[test]
fn wait_options_are_send_and_sync() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    shared(&WaitOptions::new().on_update(|job| println!("{}", job.state)));
    fn send<T: Send>(_: &T) {}
    let (_simulator, client) = start();
    send(&client.wait_for_jobs(["a"], &WaitOptions::new()));
}

#[test]
fn a_cancellation_without_a_response_is_not_reported_as_refused() {
    let server = RawServer::start(|_, request| match request.line.ends_with("/cancel") {
        true => vec![Step::Silence],
        false => answer(200, &[], &job("a").replace("done", "running")),
    });
    let options = WaitOptions::new()
        .timeout(Duration::from_millis(400))
        .min_interval(Duration::from_millis(10))
        .cancel_on_timeout(true);
    let error = server.client().wait_for_job("a", &options).unwrap_err();
    assert_eq!(error.cancellation_accepted(), Some(false));
    assert!(error.may_have_been_processed());
    assert!(error.to_string().contains("it is not known whether the job was cancelled"), "{error}");
}

#[test]
fn a_listing_whose_second_page_fails_delays_no_job_for_ever() {
    let (simulator, _) = start();
    let server = RawServer::start(|_, request| match request.line.as_str() {
        line if line.contains("cursor=") => answer(500, &[], ""),
        line if line.contains("limit=") => {
            answer(200, &[], &page(&["a"], true, Some("c2")).replace("done", "running"))
        }
        line if line.ends_with("/a") => answer(200, &[], &job("a").replace("done", "running")),
        line => answer(200, &[], &job(line.rsplit('/').next().unwrap())),
    });
    let client = simulator.client_builder().base_url(server.url()).build().unwrap();
    let mut jobs = client.wait_for_jobs(["a", "b", "c"], &WaitOptions::new().for_ever());
    let mut done = [jobs.next(), jobs.next()].map(|job| job.unwrap().unwrap().job_id);
    done.sort();
    assert_eq!(done, ["b", "c"]);
}

#[test]
fn a_job_found_to_be_done_when_it_is_cancelled_is_returned() {
    let server = RawServer::start({
        let mut cancelled = false;
        move |_, request| {
            cancelled |= request.line.ends_with("/cancel");
            match (request.line.ends_with("/cancel"), cancelled) {
                (true, _) => answer(409, &[], r#"{"detail":"Job is done"}"#),
                (false, true) => answer(200, &[], &job("a")),
                (false, false) => answer(200, &[], &job("a").replace("done", "running")),
            }
        }
    });
    let options = WaitOptions::new()
        .timeout(Duration::from_millis(200))
        .min_interval(Duration::from_millis(20))
        .cancel_on_timeout(true);
    assert_eq!(server.client().wait_for_job("a", &options).unwrap().state, JobState::Done);
}
