//! Tests the views of a client: stop tokens and time limits. `secrets` tests those with another key.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use atomiverse::{Client, ClientBuilder, Error, JobState, Request, Result, StopToken, WaitOptions};
use serde_json::{Value, json as value};

use crate::support::{
    Answer, KEY, Message, RawServer, Step, answer, job, json, lock, millis, page, secs, start, until,
};

fn payload() -> Value {
    value!({"job_type": "opt"})
}

/// Returns a builder of clients that pause in real time.
fn builder(server: &RawServer) -> ClientBuilder {
    Client::builder().api_key(KEY).base_url(server.url())
}

/// Starts a server that never responds.
fn silent() -> RawServer {
    RawServer::script(vec![vec![Step::Silence]])
}

fn job_in(state: &str, id: &str) -> Answer {
    json(&job(id).replace("done", state))
}

fn id_of(request: &Message) -> &str {
    request.line.trim_end_matches("/cancel").rsplit('/').next().unwrap()
}

fn is_list(request: &Message) -> bool {
    request.line.contains("/jobs?")
}

fn count(server: &RawServer, method: &str) -> usize {
    server.lines().iter().filter(|line| line.starts_with(method)).count()
}

pub type Call = fn(&Client) -> Vec<Error>;

fn error<T>(result: Result<T>) -> Vec<Error> {
    result.err().into_iter().collect()
}

fn errors<K, T>(outcomes: impl IntoIterator<Item = (K, Result<T>)>) -> Vec<Error> {
    outcomes.into_iter().filter_map(|(_, outcome)| outcome.err()).collect()
}

/// Every kind of call, with the number of requests that it makes at first, and whether they change anything.
pub const CALLS: [(&str, usize, bool, Call); 17] = [
    ("get", 1, false, |client| error(client.get_job("a"))),
    ("refresh", 1, false, |client| error(client.job("a").unwrap().refresh())),
    ("list", 1, false, |client| error(client.list_jobs().send())),
    ("iterate", 1, false, |client| error(client.iter_jobs().next().unwrap())),
    ("send", 1, false, |client| error(client.send(Request::new("GET", ["result"])))),
    ("rename", 1, true, |client| error(client.rename_job("a", "water"))),
    ("cancel", 1, true, |client| error(client.cancel_job("a"))),
    ("delete", 1, true, |client| error(client.delete_job("a"))),
    ("delete if it exists", 1, true, |client| error(client.delete_job_if_exists("a"))),
    ("cancel and wait", 1, true, |client| error(client.cancel_and_wait("a", secs(60)))),
    ("cancel and delete", 1, true, |client| error(client.cancel_and_delete("a", secs(60)))),
    ("submit", 1, true, |client| error(client.submit_job(&payload()))),
    ("submit a batch", 1, true, |client| error(client.submit_batch([payload()]))),
    ("wait", 1, false, |client| error(client.wait_for_job("a", secs(60)))),
    ("wait for several", 1, false, |client| errors(client.wait_for_jobs(["a", "b"], secs(60)))),
    ("cancel several", 3, true, |client| errors(client.cancel_jobs(["a", "b", "c"]))),
    ("delete several", 3, true, |client| errors(client.delete_jobs(["a", "b", "c"]))),
];

/// Stops a call once it is under way, by the first or the second token of its client, and returns what it returned.
/// `is_under_way` gets the number of attempts that have ended.
///
/// A stop takes at most 100 ms, but a busy machine may delay any thread. Therefore one of ten tries has to meet this
/// bound, and each has to return within seconds, which only the stop can cause.
fn stopped<T: Send>(
    what: &str,
    serve: impl Fn() -> RawServer,
    is_under_way: impl Fn(&RawServer, usize) -> bool,
    call: impl Fn(&Client) -> T + Sync,
) -> (T, RawServer) {
    for n in 0..10 {
        let (server, attempts) = (serve(), Arc::new(AtomicUsize::new(0)));
        let counter = attempts.clone();
        let client = builder(&server).on_attempt(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let tokens = [StopToken::new(), StopToken::new()];
        let client = client.build().unwrap().with_stop(&tokens[0]).with_stop(&tokens[1]);
        let (outcome, took) = thread::scope(|scope| {
            let running = scope.spawn(|| (call(&client), Instant::now()));
            until(|| is_under_way(&server, attempts.load(Ordering::SeqCst)));
            let stopped = Instant::now();
            tokens[n % 2].stop();
            let (outcome, returned) = running.join().unwrap();
            (outcome, returned.saturating_duration_since(stopped))
        });
        assert!(took < secs(5), "{what}: {took:?}");
        if took < millis(100) && n > 0 {
            return (outcome, server);
        }
    }
    panic!("{what}: no stop took less than 100 ms");
}

#[test]
fn each_token_ends_every_kind_of_call_within_100_ms() {
    for (what, requests, is_change, call) in CALLS {
        let (errors, server) = stopped(what, silent, |server, _| server.lines().len() == requests, call);
        assert!(errors.len() >= requests && server.lines().len() == requests, "{what}: {errors:?}");
        for error in errors {
            assert!(error.is_stopped() && !error.is_timeout() && !error.is_transient(), "{what}: {error}");
            assert_eq!(error.may_have_been_processed(), is_change, "{what}: {error}");
        }
    }
}

#[test]
fn a_stop_ends_the_pause_before_a_retry() {
    let limited = || RawServer::script(vec![answer(429, &["retry-after: 20"], "")]);
    for (what, requests, _, call) in CALLS.into_iter().filter(|(what, ..)| !what.contains("wait")) {
        let (errors, server) = stopped(what, limited, |_, attempts| attempts == requests, call);
        assert_eq!((server.lines().len(), errors.len()), (requests, requests), "{what}: {errors:?}");
        let is_sound = |error: &Error| error.is_stopped() && !error.may_have_been_processed();
        assert!(errors.iter().all(is_sound), "{errors:?}");
    }
}

#[test]
fn a_stop_ends_a_poll_and_the_pause_between_polls() {
    let serve =
        || RawServer::script(vec![job_in("pending", "a"), job_in("pending", "a"), vec![Step::Silence]]);
    let hourly = || WaitOptions::new().no_timeout().min_interval(secs(3600)).max_interval(secs(3600));
    let often = || WaitOptions::new().min_interval(millis(1));
    let during = stopped("poll", serve, |s, _| s.lines().len() == 3, |c| c.wait_for_job("a", often()));
    let between = stopped("pause", serve, |_, n| n == 1, |c| c.wait_for_job("a", hourly()));
    for ((outcome, server), requests) in [(during, 3), (between, 1)] {
        let error = outcome.unwrap_err();
        assert!(error.is_stopped() && error.state() == Some(&JobState::Pending), "{error}");
        assert_eq!((error.job_id().unwrap().as_str(), server.lines().len()), ("a", requests));
    }
}

#[test]
fn a_stop_ends_the_cancelling_at_the_deadline_of_a_wait() {
    let serve = || {
        RawServer::start(|_, request| match request.line.split(' ').next() {
            Some("POST") => vec![Step::Silence],
            _ if is_list(request) => json(&page(&[], false, None)),
            _ => job_in("running", id_of(request)),
        })
    };
    let ids: Vec<String> = (0..10).map(|n| format!("j{n}")).collect();
    let wait = |client: &Client| {
        let options = WaitOptions::from(millis(300)).min_interval(millis(100)).cancel_on_timeout(true);
        errors(client.wait_for_jobs(&ids, options))
    };
    let (errors, server) = stopped("cancelling", serve, |server, _| count(server, "POST") == 8, wait);
    assert!(errors.len() == 10 && errors.iter().all(|error| error.is_stopped() && error.is_timeout()));
    assert!(errors.iter().all(|error| error.cancellation_accepted() == Some(false)), "{errors:?}");
    let in_flight = errors.iter().filter(|error| error.may_have_been_processed()).count();
    assert_eq!((in_flight, count(&server, "POST")), (8, 8), "{errors:?}");
}

#[test]
fn a_stopped_wait_reports_each_id_once_with_its_last_state() {
    let serve = || {
        RawServer::start(|_, request| match id_of(request) {
            _ if is_list(request) => json(&page(&[], false, None)),
            "finished" => job_in("done", "finished"),
            "silent" => vec![Step::Silence],
            "late" => job_in("pending", "late"),
            id => job_in("running", id),
        })
    };
    let ids = ["running", "finished", " bad", "late", "silent", "late", "running"];
    let wait = |client: &Client| {
        let options = WaitOptions::new().cancel_on_timeout(true);
        client.wait_for_jobs(ids, options).collect::<Vec<_>>()
    };
    // A page and three look-ups have ended, and one look-up has no response.
    let is_silent = |server: &RawServer| server.lines().iter().any(|line| line.ends_with("silent"));
    let (outcomes, server) = stopped("wait", serve, |server, n| n == 4 && is_silent(server), wait);
    assert_eq!((outcomes.len(), count(&server, "POST")), (5, 0), "{outcomes:?}");
    let shown = outcomes.iter().map(|(id, outcome)| match outcome {
        Ok(job) => format!("{id}: {}", job.state),
        Err(error) if error.is_stopped() => format!("{id}: stopped, {:?}", error.state()),
        Err(_) => format!("{id}: refused"),
    });
    let [last_running, last_pending] = ["running: stopped, Some(Running)", "late: stopped, Some(Pending)"];
    let expected = [" bad: refused", "finished: done", last_pending, last_running, "silent: stopped, None"];
    assert_eq!(shown.collect::<BTreeSet<_>>(), expected.map(str::to_owned).into());
}

#[test]
fn a_stopped_batch_says_which_payloads_were_submitted() {
    let entries = vec![r#"{"job_id":"a","status":"submitted"}"#; 1000].join(",");
    let totals = r#""total":1000,"submitted":1000,"failed":0,"cache_hits":0"#;
    let first = json(&format!(r#"{{{totals},"jobs":[{entries}]}}"#));
    let serve = || RawServer::script(vec![first.clone(), vec![Step::Silence]]);
    let submit = |client: &Client| client.submit_batch(vec![payload(); 2500]).unwrap_err();
    let (error, _) = stopped("batch", serve, |server, _| server.lines().len() == 2, submit);
    assert!(error.is_stopped() && error.may_have_been_processed(), "{error}");
    let partial = error.partial_batch().unwrap();
    let ranges = (partial.answered.clone(), partial.failed.clone(), partial.not_sent.clone());
    assert_eq!(ranges, (0..1000, 1000..2000, 2000..2500));
    assert_eq!((partial.received.submitted, partial.received.jobs.len()), (1000, 1000));
}

#[test]
fn a_stopped_client_sends_nothing_and_neither_does_one_without_time() {
    let (server, token) = (silent(), StopToken::new());
    token.stop();
    let client = builder(&server).build().unwrap();
    for (what, _, _, call) in CALLS {
        let errors = call(&client.with_stop(&token));
        assert!(!errors.is_empty() && errors.iter().all(Error::is_stopped), "{what}: {errors:?}");
        let late = call(&client.with_timeout(Duration::ZERO));
        let is_refused =
            |error: &Error| error.is_timeout() || error.to_string().contains("is zero: the wait");
        assert!(!late.is_empty() && late.iter().all(is_refused), "{what}: {late:?}");
        for error in errors.into_iter().chain(late) {
            assert!(!error.may_have_been_processed() && error.attempts() == 0, "{what}: {error}");
        }
    }
    assert_eq!(server.lines().len(), 0);
}

#[test]
fn on_attempt_sees_a_stopped_attempt_and_later_calls_do_not_get_its_response() {
    let (stop, seen, returned) = (StopToken::new(), Arc::new(Mutex::new(Vec::new())), StopToken::new());
    let (token, sink) = (returned.clone(), seen.clone());
    let server = RawServer::start(move |n, request| {
        // The response to the second request comes after its call has returned.
        until(|| n != 1 || token.is_stopped());
        json(&job(id_of(request)))
    });
    let client = builder(&server).on_attempt(move |attempt| {
        lock(&sink).push((attempt.number, attempt.status, attempt.error.is_some(), attempt.retry_in));
    });
    let client = client.build().unwrap();
    client.get_job("warm").unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(|| client.with_stop(&stop).get_job("a"));
        until(|| server.lines().len() == 2);
        stop.stop();
        assert!(running.join().unwrap().unwrap_err().is_stopped());
    });
    returned.stop();
    assert_eq!(*lock(&seen), [(1, Some(200), false, None), (1, None, true, None)]);
    for id in ["b", "c", "d"] {
        assert_eq!(client.get_job(id).unwrap().job_id, id);
    }
}

#[test]
fn all_views_share_one_connection_pool() {
    let (simulator, client) = start();
    simulator.add_sample_jobs(1);
    let own = client.with_api_key(simulator.api_key()).unwrap();
    for view in [
        client.clone(),
        client.with_timeout(secs(5)),
        client.with_stop(&StopToken::new()),
        own.with_stop(&StopToken::new()).with_timeout(Duration::MAX),
    ] {
        view.get_job("job-000001").unwrap();
        view.rename_job("job-000001", "water").unwrap();
    }
    assert_eq!(simulator.connections(), 1);
}

#[test]
fn with_timeout_bounds_an_iteration_and_resume_continues_at_the_page_that_timed_out() {
    let server = RawServer::script(vec![
        json(&page(&["a", "b"], true, Some("two"))),
        vec![Step::Silence],
        json(&page(&["c"], false, None)),
    ]);
    let mut jobs = builder(&server).max_retries(0).build().unwrap().with_timeout(millis(400)).iter_jobs();
    assert_eq!(jobs.by_ref().take(2).filter(Result::is_ok).count(), 2);
    assert!(jobs.next().unwrap().unwrap_err().is_timeout());
    assert_eq!((jobs.next().is_none(), jobs.cursor()), (true, Some("two")));
    jobs.resume();
    assert_eq!(jobs.map(|job| job.unwrap().job_id.to_string()).collect::<Vec<_>>(), ["c"]);
    let [first, second] = ["", "&cursor=two"].map(|cursor| format!("GET /api/v1/jobs?limit=50{cursor}"));
    assert_eq!(server.lines(), [first, second.clone(), second]);
}
