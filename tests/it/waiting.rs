//! Tests that a wait returns one outcome for each id, whatever happens to the others, and that the simulator keeps its
//! order and its time.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use atomiverse::simulator::{SimulatedJob, Simulator};
use atomiverse::{Client, ClientBuilder, Error, JobState, JobSummary, Result, StopToken, WaitOptions};

use crate::contract::Service;
use crate::support::{Answer, Message, RawServer, Step, answer, job, json, lock, page, secs};

const HOUR: Duration = Duration::from_secs(3600);

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Returns a summary in a state other than done.
fn job_in(state: &str, id: &str) -> String {
    job(id).replace(r#""done""#, &format!("{state:?}"))
}

/// Returns the last page, with jobs in this state.
fn page_in(state: &str, ids: &[&str]) -> String {
    page(ids, false, None).replace(r#""done""#, &format!("{state:?}"))
}

/// The kind of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Asked {
    Page,
    Job(String),
    Cancel(String),
}

fn asked(request: &Message) -> Asked {
    let target = request.line.split(' ').nth(1).unwrap().trim_start_matches("/api/v1/jobs");
    match target.trim_start_matches('/') {
        id if target.starts_with('/') => match id.strip_suffix("/cancel") {
            Some(id) => Asked::Cancel(id.to_owned()),
            None => Asked::Job(id.to_owned()),
        },
        _ => Asked::Page,
    }
}

/// Starts a server whose response depends on the request, and on the number of equal requests before it.
fn serve(mut respond: impl FnMut(&Asked, usize) -> Answer + Send + 'static) -> RawServer {
    let mut counts = HashMap::new();
    RawServer::start(move |_, request| {
        let asked = asked(request);
        let count = counts.entry(asked.clone()).or_insert(0);
        *count += 1;
        respond(&asked, *count - 1)
    })
}

/// A listing without jobs, so that jobs have to be polled by id.
fn empty_page() -> Answer {
    json(&page(&[], false, None))
}

fn count(server: &RawServer, counts: impl Fn(&Asked) -> bool) -> usize {
    server.requests().iter().filter(|request| counts(&asked(request))).count()
}

fn pages(server: &RawServer) -> usize {
    count(server, |asked| *asked == Asked::Page)
}

fn gets(server: &RawServer, id: &str) -> usize {
    count(server, |asked| *asked == Asked::Job(id.to_owned()))
}

/// Delays a response. Other requests are served in the meantime.
fn delayed(answer: Answer, delay: Duration) -> Answer {
    let Some(Step::Send(bytes)) = answer.first() else { panic!("no bytes to delay") };
    vec![Step::Trickle(bytes[..1].to_vec(), delay), Step::Send(bytes[1..].to_vec())]
}

/// Returns a builder of clients of this server whose pauses advance the clock of a simulator.
fn simulated(server: &RawServer) -> ClientBuilder {
    Simulator::start().unwrap().client_builder().base_url(server.url())
}

fn id_of(outcome: &Result<JobSummary>) -> &str {
    match outcome {
        Ok(job) => job.job_id.as_str(),
        Err(error) => error.job_id().map_or("", |id| id.as_str()),
    }
}

/// Waits for all jobs, and returns the outcomes in order. Fails unless each id has exactly one.
fn wait_for_each<S: AsRef<str>>(
    client: &Client,
    ids: &[S],
    options: &WaitOptions<'_>,
) -> Vec<Result<JobSummary>> {
    // The number of outcomes is limited, because a faulty wait might not end.
    let outcomes: Vec<_> = client.wait_for_jobs(ids, options).take(2 * ids.len()).collect();
    let mut seen: Vec<&str> = outcomes.iter().map(id_of).collect();
    let mut expected: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected, "each id must have one outcome: {}", shown(&outcomes));
    outcomes
}

/// Describes the first outcomes, for messages of assertions.
fn shown(outcomes: &[Result<JobSummary>]) -> String {
    let shown = outcomes.iter().map(|outcome| match outcome {
        Ok(job) => format!("{}: {}", job.job_id, job.state),
        Err(error) => error.to_string(),
    });
    shown.take(12).collect::<Vec<_>>().join("\n")
}

fn error_of<'a>(outcomes: &'a [Result<JobSummary>], id: &str) -> &'a Error {
    let outcome = outcomes.iter().find(|outcome| id_of(outcome) == id).unwrap();
    outcome.as_ref().expect_err("an error was expected")
}

/// Returns the ids of the jobs that were returned as done, sorted.
fn done(outcomes: &[Result<JobSummary>]) -> Vec<&str> {
    let jobs = outcomes.iter().flatten().filter(|job| job.state == JobState::Done);
    let mut ids: Vec<&str> = jobs.map(|job| job.job_id.as_str()).collect();
    ids.sort_unstable();
    ids
}

/// One id that the server fails for, and nine others.
const BAD_AND_NINE: [&str; 10] = ["bad", "g1", "g2", "g3", "g4", "g5", "g6", "g7", "g8", "g9"];

#[test]
fn an_id_that_recovers_is_returned_as_done() {
    let server = serve(|asked, count| match asked {
        Asked::Job(id) if id == "bad" && count < 3 => answer(429, &["retry-after: 1"], ""),
        Asked::Job(id) => json(&job(id)),
        _ => empty_page(),
    });
    let client = simulated(&server).max_retries(0).build().unwrap();
    let outcomes = wait_for_each(&client, &BAD_AND_NINE, &WaitOptions::new());
    assert_eq!(done(&outcomes), BAD_AND_NINE, "{}", shown(&outcomes));
}

#[test]
fn an_id_that_is_refused_yields_its_own_error_at_once_and_ends_no_other_wait() {
    for status in [400, 403, 404, 410, 422] {
        // The id is refused at the first poll, or at a later one.
        for refused_at in [0, 2] {
            let server = serve(move |asked, count| match asked {
                Asked::Job(id) if id == "bad" && count >= refused_at => answer(status, &[], ""),
                Asked::Job(id) if count < 5 => json(&job_in("running", id)),
                Asked::Job(id) => json(&job(id)),
                _ => empty_page(),
            });
            let client = simulated(&server).build().unwrap();
            let outcomes = wait_for_each(&client, &BAD_AND_NINE, &WaitOptions::new());
            assert_eq!(done(&outcomes), BAD_AND_NINE[1..], "{status}: {}", shown(&outcomes));
            assert_eq!(id_of(&outcomes[0]), "bad", "{status}: the refusal must be reported at once");
            let error = error_of(&outcomes, "bad");
            assert_eq!(error.status(), Some(status));
            assert!(!error.is_timeout());
            assert_eq!(gets(&server, "bad"), refused_at + 1, "{status}: the id must not be polled again");
        }
    }
}

#[test]
fn a_refused_key_yields_an_error_for_each_remaining_id() {
    let ids = ["a", "b", "c"];
    let server = serve(|_, _| answer(401, &[], ""));
    let outcomes = wait_for_each(&simulated(&server).build().unwrap(), &ids, &WaitOptions::new());
    assert!(ids.iter().all(|id| error_of(&outcomes, id).is_unauthorized()), "{}", shown(&outcomes));
    assert!(server.requests().len() <= 4, "the key must not be used again: {:?}", server.lines());

    // Here the key is revoked during the wait, after one job has ended.
    let server = serve(|asked, count| match asked {
        Asked::Job(id) if count == 0 => json(&if id == "a" { job(id) } else { job_in("running", id) }),
        Asked::Page => empty_page(),
        _ => answer(401, &[], ""),
    });
    let outcomes = wait_for_each(&simulated(&server).build().unwrap(), &ids, &WaitOptions::new());
    assert_eq!(done(&outcomes), ["a"]);
    assert!(ids[1..].iter().all(|id| error_of(&outcomes, id).is_unauthorized()), "{}", shown(&outcomes));
}

#[test]
fn a_poll_longer_than_the_timeout_of_a_call_reaches_the_last_id() {
    let simulator = Arc::new(Simulator::start().unwrap());
    let ids: Vec<String> = (0..100).map(|n| format!("j{n:02}")).collect();
    let clock = simulator.clone();
    let server = serve(move |asked, _| match asked {
        Asked::Job(id) => {
            clock.advance(secs(5));
            json(&if id.as_str() >= "j80" { job(id) } else { job_in("running", id) })
        }
        _ => empty_page(),
    });
    // A poll of all jobs takes 500 seconds, or less with several requests at a time.
    let client = simulator.client_builder().base_url(server.url()).timeout(secs(60)).build().unwrap();
    let outcomes = wait_for_each(&client, &ids, &WaitOptions::new().timeout(HOUR));
    assert_eq!(done(&outcomes), ids[80..], "{}", shown(&outcomes));
    for outcome in &outcomes {
        let is_expected = |error: &Error| error.is_timeout() && error.state() == Some(&JobState::Running);
        assert!(outcome.as_ref().err().is_none_or(is_expected), "{}", shown(&outcomes));
    }
}

#[test]
fn a_poll_longer_than_the_timeout_of_a_call_reaches_the_last_id_in_real_time() {
    let ids: Vec<String> = (0..100).map(|n| format!("j{n:02}")).collect();
    let server = serve(|asked, _| match asked {
        Asked::Job(id) if id.as_str() >= "j90" => delayed(json(&job(id)), millis(10)),
        Asked::Job(id) => delayed(json(&job_in("running", id)), millis(10)),
        _ => empty_page(),
    });
    let client = server.client_builder().timeout(millis(100)).build().unwrap();
    let options = WaitOptions::new().timeout(secs(5)).min_interval(millis(10)).max_interval(millis(10));
    // Only the ten outcomes are taken, because the other jobs do not end.
    let outcomes: Vec<_> = client.wait_for_jobs(&ids, &options).take(10).collect();
    assert_eq!(done(&outcomes), ids[90..], "{}", shown(&outcomes));
}

/// Returns a job of this age that is done this long after it was added.
fn done_in(seconds: u64, age: Duration) -> SimulatedJob {
    SimulatedJob::new("opt").age(age).pending_for(Duration::ZERO).running_for(age + secs(seconds))
}

/// Returns options for two polls, because the jobs of the tests run for 10 seconds.
fn every_twenty_seconds() -> WaitOptions<'static> {
    WaitOptions::new().min_interval(secs(20)).max_interval(secs(20))
}

/// Counts listing requests and other requests.
fn pages_and_gets(simulator: &Simulator) -> (usize, usize) {
    let requests = simulator.requests();
    let pages = requests.iter().filter(|request| request.target.contains("limit=")).count();
    (pages, requests.len() - pages)
}

#[test]
fn the_newest_five_hundred_jobs_are_polled_by_listing_alone() {
    let simulator = Service::start();
    simulator.add_sample_jobs(200);
    let ids: Vec<String> = (0..500).map(|_| simulator.add_job(done_in(10, Duration::ZERO)).into()).collect();
    let outcomes = wait_for_each(&simulator.client().unwrap(), &ids, &every_twenty_seconds());
    assert_eq!(done(&outcomes), ids);
    let (pages, gets) = pages_and_gets(&simulator);
    assert!(pages <= 2 * 10, "{pages} pages in two polls");
    assert_eq!(gets, 0);
}

/// Starts a server with jobs that never end, behind `newer` other jobs.
fn history(newer: usize, running: usize) -> RawServer {
    RawServer::start(move |_, request| {
        let Asked::Page = asked(request) else { return json(&job_in("running", &last_segment(request))) };
        let number = |name: &str| {
            let value = request.line.split_once(&format!("{name}="))?.1.split('&').next()?;
            value.trim_start_matches('c').parse::<usize>().ok()
        };
        let (from, limit) = (number("cursor").unwrap_or_default(), number("limit").unwrap());
        let to = newer.saturating_add(running).min(from + limit);
        let jobs: Vec<String> = (from..to)
            .map(|n| match n.checked_sub(newer) {
                Some(n) => job_in("running", &format!("j{n}")),
                None => job(format!("newer-{n}")),
            })
            .collect();
        let has_more = to < newer + running;
        let page = format!(r#"{{"jobs":[{}],"has_more":{has_more},"next_cursor":"c{to}"}}"#, jobs.join(","));
        json(&page)
    })
}

fn last_segment(request: &Message) -> String {
    request.line.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Returns the number of requests in the first minute of a wait with the default intervals.
fn requests_in_a_minute(newer: usize, running: usize) -> usize {
    let server = history(newer, running);
    let ids: Vec<String> = (0..running).map(|n| format!("j{n}")).collect();
    let options = WaitOptions::new().timeout(secs(60));
    let outcomes = wait_for_each(&simulated(&server).build().unwrap(), &ids, &options);
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().is_timeout()));
    server.lines().len()
}

#[test]
fn the_request_rate_of_a_wait_is_limited_for_any_number_of_jobs() {
    // Listing does not work, so each job is polled by id, which takes longer than the wait for so many jobs.
    let server = serve(|asked, _| match asked {
        Asked::Page => answer(501, &[], ""),
        Asked::Job(id) | Asked::Cancel(id) => json(&job_in("running", id)),
    });
    let ids: Vec<String> = (0..20_000).map(|n| format!("j{n}")).collect();
    let options = WaitOptions::new().timeout(secs(60));
    wait_for_each(&simulated(&server).build().unwrap(), &ids, &options);
    let requests = server.lines().len();
    assert!((1000..=20 * 60 + 16).contains(&requests), "{requests}");
}

#[test]
fn jobs_deep_in_the_history_are_not_searched_for_page_by_page() {
    // Older than the oldest of the sample jobs, which are an hour apart.
    let age = 6000 * HOUR;
    for newest in [0, 10] {
        let simulator = Service::start();
        let mut ids: Vec<String> = (0..40).map(|_| simulator.add_job(done_in(10, age)).into()).collect();
        simulator.add_sample_jobs(5000);
        ids.extend((0..newest).map(|_| String::from(simulator.add_job(done_in(10, Duration::ZERO)))));
        let outcomes = wait_for_each(&simulator.client().unwrap(), &ids, &every_twenty_seconds());
        assert_eq!(done(&outcomes), ids);
        let requests = simulator.requests().len();
        // These are two polls by id, and a few requests to find out that listing does not help.
        assert!(requests <= 2 * ids.len() + 10, "{requests} requests for {} ids", ids.len());
    }
}

#[test]
fn jobs_found_on_a_page_are_not_requested_by_id() {
    let simulator = Service::start();
    let deep: Vec<String> = (0..3).map(|_| simulator.add_job(done_in(10, 6000 * HOUR)).into()).collect();
    simulator.add_sample_jobs(1000);
    let new: Vec<String> = (0..60).map(|_| simulator.add_job(done_in(10, Duration::ZERO)).into()).collect();
    let ids = [deep.clone(), new].concat();
    let outcomes = wait_for_each(&simulator.client().unwrap(), &ids, &every_twenty_seconds());
    assert_eq!(done(&outcomes), ids);
    let (pages, gets) = pages_and_gets(&simulator);
    assert!(gets <= 2 * deep.len() && pages <= 10, "{pages} pages and {gets} requests by id in two polls");
}

#[test]
fn a_wait_that_was_suspended_past_its_deadline_polls_once_more() {
    // The computer is suspended during the first request, which then gets one of these responses.
    let cases = [
        ("running", None),
        ("503", Some(answer(503, &[], ""))),
        ("a broken connection", Some(vec![Step::Close])),
    ];
    for (case, failure) in cases {
        for ids in [&["a"][..], &["a", "b", "c"]] {
            let simulator = Arc::new(Simulator::start().unwrap());
            let (clock, failure) = (simulator.clone(), failure.clone());
            let mut is_first = true;
            let server = serve(move |asked, _| {
                let state = if is_first { "running" } else { "done" };
                if is_first {
                    is_first = false;
                    clock.advance(2 * HOUR);
                    if let Some(failure) = &failure {
                        return failure.clone();
                    }
                }
                match asked {
                    Asked::Job(id) => json(&job_in(state, id)),
                    _ => json(&page_in(state, &["a", "b", "c"])),
                }
            });
            let client = simulator.client_builder().base_url(server.url()).build().unwrap();
            let outcomes = wait_for_each(&client, ids, &WaitOptions::new().cancel_on_timeout(true));
            assert_eq!(done(&outcomes), ids, "{case}: {}", shown(&outcomes));
            let cancels = count(&server, |asked| matches!(asked, Asked::Cancel(_)));
            assert_eq!(cancels, 0, "{case}: a job that is done must not be cancelled");
        }
    }
}

#[test]
fn a_callback_that_takes_longer_than_the_wait_is_followed_by_one_more_poll() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    let ids = [simulator.add_job(done_in(5400, Duration::ZERO)), simulator.add_job(done_in(9000, HOUR))];
    let is_first = Mutex::new(true);
    let options = WaitOptions::new().timeout(HOUR).on_update(|_| {
        if std::mem::take(&mut *lock(&is_first)) {
            simulator.advance(2 * HOUR);
        }
    });
    let outcomes = wait_for_each(&client, &ids, &options);
    assert_eq!(done(&outcomes), [ids[0].as_str()], "{}", shown(&outcomes));
    let error = error_of(&outcomes, ids[1].as_str());
    assert!(error.is_timeout() && error.state() == Some(&JobState::Running), "{error}");
}

#[test]
fn an_invalid_id_has_its_own_error() {
    for (bad, said) in [("", "empty"), (".", "\".\""), ("..", "\"..\""), ("a\n", "\\n"), (" a", "\" a\"")] {
        let simulator = Service::start();
        let client = simulator.client().unwrap();
        let good = simulator.add_job(done_in(10, Duration::ZERO));
        for ids in [&[good.as_str(), bad][..], &[bad, good.as_str(), bad]] {
            // The error need not contain the id, because no job can have it.
            let outcomes: Vec<_> = client.wait_for_jobs(ids, &WaitOptions::new()).take(6).collect();
            assert_eq!(outcomes.len(), 2, "{bad:?}: {}", shown(&outcomes));
            assert_eq!(done(&outcomes), [good.as_str()], "{bad:?}: {}", shown(&outcomes));
            let error = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).unwrap();
            assert_eq!((error.attempts(), error.status()), (0, None), "{bad:?}: {error}");
            assert!(error.to_string().contains(said), "{bad:?}: {error}");
        }
        let for_good = format!("/jobs/{good}");
        let requests = simulator.requests();
        let is_for_good = |target: &str| target.ends_with(&for_good) || target.contains("limit=");
        assert!(requests.iter().all(|request| is_for_good(&request.target)), "{bad:?}: {requests:?}");

        let before = simulator.requests().len();
        assert!(client.wait_for_job(bad, &WaitOptions::new()).is_err());
        assert_eq!(simulator.requests().len(), before, "{bad:?} is refused before any request");
    }
}

#[test]
fn a_repeated_id_has_one_outcome() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    let a = simulator.add_job(done_in(10, Duration::ZERO));
    let b = simulator.add_job(done_in(60, Duration::ZERO));
    let ids = [a.as_str(), "gone", b.as_str(), a.as_str(), "gone", b.as_str()];
    let outcomes: Vec<_> = client.wait_for_jobs(ids, &WaitOptions::new()).take(12).collect();
    assert_eq!(done(&outcomes), [a.as_str(), b.as_str()]);
    assert!(error_of(&outcomes, "gone").is_not_found());
    assert_eq!(outcomes.len(), 3, "{}", shown(&outcomes));
}

/// Three hundred jobs that do not end, and a server that takes `delay` to cancel one.
struct Cancelling {
    client: Client,
    ids: Vec<String>,
    delay: Duration,
    /// When each request to cancel arrived.
    cancels: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Cancelling {
    fn start(delay: Duration) -> Self {
        let simulator = Arc::new(Simulator::start().unwrap());
        let cancels = Arc::new(Mutex::new(Vec::new()));
        let ids: Vec<String> = (0..300).map(|n| format!("j{n:03}")).collect();
        let listed: Vec<&str> = ids.iter().map(String::as_str).collect();
        let listing = page_in("running", &listed);
        let (clock, received) = (simulator.clone(), cancels.clone());
        let server = serve(move |asked, _| match asked {
            Asked::Job(id) => json(&job_in("running", id)),
            Asked::Page => json(&listing),
            Asked::Cancel(id) => {
                // Up to here, pauses took only simulated time. Cancelling takes real time.
                clock.run_in_real_time();
                lock(&received).push((Instant::now(), id.clone()));
                delayed(answer(202, &[], ""), delay)
            }
        });
        let client = simulator.client_builder().base_url(server.url()).build().unwrap();
        Cancelling { client, ids, delay, cancels }
    }

    /// Returns the largest number of cancel requests that were served at the same time.
    fn most_at_a_time(&self) -> usize {
        let cancels = lock(&self.cancels);
        // Serving a request takes at least the delay.
        let overlap = |at: Instant| {
            cancels.iter().filter(|(start, _)| *start <= at && at < *start + self.delay).count()
        };
        cancels.iter().map(|(start, _)| overlap(*start)).max().unwrap_or(0)
    }

    /// Waits until the timeout. Returns the outcomes, and how long cancelling took.
    fn wait(&self, timeout: Duration) -> (Vec<Result<JobSummary>>, Duration) {
        let options = WaitOptions::new().timeout(timeout).cancel_on_timeout(true);
        let outcomes = wait_for_each(&self.client, &self.ids, &options);
        let ended = Instant::now();
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(Error::is_timeout)));
        let first = lock(&self.cancels).first().expect("at least one cancel request").0;
        (outcomes, ended - first)
    }

    /// Fails unless each error says correctly whether cancelling the job was tried.
    fn check_what_is_said(&self, outcomes: &[Result<JobSummary>]) {
        let cancels = lock(&self.cancels);
        let received: HashSet<&str> = cancels.iter().map(|(_, id)| id.as_str()).collect();
        assert_eq!(received.len(), cancels.len(), "each job must be cancelled once");
        for error in outcomes.iter().map(|outcome| outcome.as_ref().unwrap_err()) {
            if received.contains(error.job_id().unwrap().as_str()) {
                // The request may have been abandoned at the deadline.
                assert!(error.cancellation_accepted().is_some() && !says_not_tried(error), "{error}");
            } else {
                assert_eq!(error.cancellation_accepted(), Some(false), "{error}");
                // A busy server may not have read a request that was abandoned.
                let is_known = says_not_tried(error) || error.may_have_been_processed();
                assert!(is_known, "the error must say that cancelling was not tried: {error}");
            }
        }
    }
}

fn cancelled(outcomes: &[Result<JobSummary>]) -> usize {
    let errors = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    errors.filter(|error| error.cancellation_accepted() == Some(true)).count()
}

fn says_not_tried(error: &Error) -> bool {
    let text = error.to_string();
    ["not tried", "not attempted", "not sent", "not requested"].iter().any(|said| text.contains(said))
}

#[test]
fn three_hundred_jobs_are_cancelled_several_at_a_time_before_the_deadline() {
    // Two seconds are reserved for cancelling. One request at a time would take six.
    let jobs = Cancelling::start(millis(20));
    let (outcomes, took) = jobs.wait(secs(20));
    let (accepted, at_a_time) = (cancelled(&outcomes), jobs.most_at_a_time());
    assert!((2..=4).contains(&at_a_time), "{at_a_time} at a time, {accepted} cancelled");
    // All jobs are cancelled, unless the machine is slow. One request at a time would cancel about 100.
    assert!(accepted > 200, "{accepted} cancelled in {took:?}");
    assert!(took < secs(9), "{took:?}");
    jobs.check_what_is_said(&outcomes);
}

#[test]
fn the_pace_of_requests_by_id_takes_no_time_from_cancelling() {
    let server = serve(|asked, _| match asked {
        Asked::Job(id) => json(&job(id).replace("done", "running")),
        Asked::Cancel(_) => answer(202, &[], ""),
        _ => answer(404, &["content-type: application/json"], r#"{"detail":"Not Found"}"#),
    });
    let simulator = Simulator::start().unwrap();
    let client = simulator.client_builder().base_url(server.url()).build().unwrap();
    let ids: Vec<String> = (0..40).map(|n| format!("j{n}")).collect();
    let before = simulator.now();
    let options = WaitOptions::new().timeout(secs(2)).cancel_on_timeout(true);
    let outcomes = wait_for_each(&client, &ids, &options);
    assert_eq!(cancelled(&outcomes), 40, "{}", shown(&outcomes));
    let took = simulator.now().duration_since(before).unwrap();
    assert!(took <= secs(2), "{took:?}");
}

#[test]
fn after_a_stop_on_update_is_not_called_any_more() {
    let server = serve(|asked, _| match asked {
        Asked::Job(id) => json(&job(id).replace("done", "running")),
        _ => {
            let ids: Vec<String> = (0..30).map(|n| format!("j{n}")).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            json(&page(&ids, false, None).replace("done", "running"))
        }
    });
    let stop = StopToken::new();
    let mut updates = 0;
    let options = WaitOptions::new().on_update(|_| {
        updates += 1;
        if updates == 2 {
            stop.stop();
        }
    });
    let ids: Vec<String> = (0..30).map(|n| format!("j{n}")).collect();
    let client = server.client().with_stop(&stop);
    let outcomes = wait_for_each(&client, &ids, &options);
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(Error::is_stopped)));
    drop(options);
    assert_eq!(updates, 2);
}

#[test]
fn cancel_and_wait_reports_a_job_that_had_ended() {
    let server = serve(|asked, _| match asked {
        Asked::Cancel(_) => answer(409, &["content-type: application/json"], r#"{"detail":"it is done"}"#),
        Asked::Job(id) => json(&job(id)),
        _ => empty_page(),
    });
    let mut updates = Vec::new();
    let options = WaitOptions::new().on_update(|job| updates.push(job.state.clone()));
    assert_eq!(server.client().cancel_and_wait("a", &options).unwrap().state, JobState::Done);
    drop(options);
    assert_eq!(updates, [JobState::Done]);
}

#[test]
fn an_error_after_an_accepted_cancellation_says_that_it_was_accepted() {
    for status in [400, 401, 403, 404] {
        let server = serve(move |asked, _| match asked {
            Asked::Cancel(_) => answer(202, &[], ""),
            _ => answer(status, &["content-type: application/json"], r#"{"detail":"no"}"#),
        });
        let error = server.client().cancel_and_wait("a", &WaitOptions::new()).unwrap_err();
        assert_eq!((error.status(), error.cancellation_accepted()), (Some(status), Some(true)));
        assert!(error.to_string().contains("accepted the request to cancel the job"), "{error}");
    }
}

#[test]
fn cancel_and_wait_keeps_no_time_for_a_second_cancellation() {
    let waited = |cancel_on_timeout| {
        let simulator = Simulator::start().unwrap();
        let id = simulator.add_job(SimulatedJob::new("opt").running_for(Duration::MAX).ignores_cancel());
        let options = WaitOptions::new().timeout(secs(600)).cancel_on_timeout(cancel_on_timeout);
        let before = simulator.now();
        let error = simulator.client().unwrap().cancel_and_wait(id, &options).unwrap_err();
        assert_eq!((error.is_timeout(), error.cancellation_accepted()), (true, Some(true)));
        simulator.now().duration_since(before).unwrap()
    };
    for cancel_on_timeout in [false, true] {
        let waited = waited(cancel_on_timeout);
        assert!((secs(598)..=secs(600)).contains(&waited), "{cancel_on_timeout}: {waited:?}");
    }
}

#[test]
fn jobs_without_time_to_be_cancelled_are_reported_as_such() {
    // 0.2 seconds are reserved for cancelling, which would take 7.5 seconds with four requests at a time.
    let jobs = Cancelling::start(millis(100));
    let (outcomes, took) = jobs.wait(secs(2));
    assert!(took < secs(3), "the deadline must bound cancelling: {took:?}");
    assert!(cancelled(&outcomes) < 150, "{} cancelled", cancelled(&outcomes));
    jobs.check_what_is_said(&outcomes);
}

#[test]
fn a_response_with_another_job_is_an_error() {
    let server = serve(|asked, _| match asked {
        Asked::Job(id) if id == "a" => json(&job("another")),
        Asked::Job(id) => json(&job(id)),
        _ => empty_page(),
    });
    let client = simulated(&server).build().unwrap();
    assert_eq!(client.get_job("b").unwrap().job_id, "b");
    let error = client.get_job("a").unwrap_err();
    assert_eq!(error.job_id().unwrap(), &"a");
    assert!(error.to_string().contains("another"), "{error}");

    let mut handle = client.job("a").unwrap();
    assert!(handle.refresh().is_err());
    assert!(handle.summary().is_none());

    let options = WaitOptions::new().timeout(secs(60));
    assert_eq!(client.wait_for_job("a", &options).unwrap_err().job_id().unwrap(), &"a");
    let outcomes = wait_for_each(&client, &["a", "c", "d"], &options);
    assert_eq!(done(&outcomes), ["c", "d"], "{}", shown(&outcomes));
}

#[test]
fn an_id_that_the_server_writes_as_a_number_is_the_same_job() {
    let server = serve(|_, _| json(&job("7").replace(r#""7""#, "7")));
    assert_eq!(server.client().get_job("7").unwrap().job_id, "7");
}

#[test]
fn a_job_that_ended_but_cannot_be_read_is_an_error_with_its_state() {
    let ids = ["a", "b", "c"];
    let without_time = |text: &str| text.replace(r#","created_at":"2026-05-02T14:32:01Z""#, "");
    let unreadable = without_time(&job("a"));
    assert_ne!(unreadable, job("a"));
    let listings = [
        ("by listing", json(&page(&ids, false, None).replace(&job("a"), &unreadable))),
        ("by id", empty_page()),
    ];
    for (case, listing) in listings {
        let unreadable = unreadable.clone();
        let server = serve(move |asked, _| match asked {
            Asked::Job(id) if id == "a" => json(&unreadable),
            Asked::Job(id) => json(&job(id)),
            _ => listing.clone(),
        });
        let client = simulated(&server).build().unwrap();
        let outcomes = wait_for_each(&client, &ids, &WaitOptions::new());
        assert_eq!(done(&outcomes), ["b", "c"], "{case}: {}", shown(&outcomes));
        let error = error_of(&outcomes, "a");
        assert_eq!(error.state(), Some(&JobState::Done), "{case}: {error}");
        assert!(!error.is_timeout(), "{case}: {error}");
        let error = client.wait_for_job("a", &WaitOptions::new()).unwrap_err();
        assert_eq!(error.state(), Some(&JobState::Done), "the same must hold for a single job: {error}");
    }
}

#[test]
fn a_timeout_in_an_unknown_state_says_that_the_state_is_unknown() {
    let simulator = Service::start();
    simulator.allow_invalid_responses();
    let client = simulator.client().unwrap();
    let options = WaitOptions::new().timeout(secs(60));
    let error_in = |state| {
        let id = simulator.add_job(SimulatedJob::new("opt").state(state));
        client.wait_for_job(&id, &options).unwrap_err().to_string()
    };
    let text = error_in(JobState::Unknown("archived".into()));
    assert!(text.contains("archived") && text.contains("know"), "{text}");
    let text = error_in(JobState::Running);
    assert!(!text.contains("know"), "{text}");
}

#[test]
fn a_panic_in_on_update_reaches_the_caller_and_the_client_still_works() {
    let listings = [("by listing", json(&page(&["a", "b", "c", "d"], false, None))), ("by id", empty_page())];
    for (case, listing) in listings {
        let server = serve(move |asked, _| match asked {
            Asked::Job(id) => json(&job(id)),
            _ => listing.clone(),
        });
        let client = simulated(&server).build().unwrap();
        for ids in [&["a"][..], &["a", "b", "c", "d"]] {
            let calls = Mutex::new(0);
            let options = WaitOptions::new().on_update(|_| {
                let first = {
                    let mut calls = lock(&calls);
                    *calls += 1;
                    *calls == 1
                };
                assert!(!first, "a panic of the caller");
            });
            let wait = || client.wait_for_jobs(ids, &options).collect::<Vec<_>>();
            let panic = catch_unwind(AssertUnwindSafe(wait)).unwrap_err();
            let said = panic.downcast_ref::<&str>().copied().unwrap_or_default();
            assert_eq!(said, "a panic of the caller", "{case}");
            let before = *lock(&calls);
            assert_eq!(done(&wait_for_each(&client, ids, &options)), ids, "{case}");
            assert_eq!(
                *lock(&calls) - before,
                ids.len(),
                "{case}: the callback must be called again for each job"
            );
        }
    }
}

/// Returns the ids of all jobs in the order of the listing.
fn listed(client: &Client, limit: u32) -> Vec<String> {
    client.iter_jobs().limit(limit).map(|job| job.unwrap().job_id.into()).collect()
}

#[test]
fn simulated_jobs_are_listed_by_the_time_of_their_submission() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    let new = simulator.add_job(SimulatedJob::new("opt"));
    let old = simulator.add_job(SimulatedJob::new("opt").age(40 * 24 * HOUR));
    assert_eq!(listed(&client, 50), [new.as_str(), old.as_str()]);
    // Simulated time that has passed is taken into account.
    simulator.advance(2 * HOUR);
    let between = simulator.add_job(SimulatedJob::new("opt").age(3 * HOUR));
    let newest = simulator.add_job(SimulatedJob::new("opt").age(HOUR));
    let expected = [newest.as_str(), new.as_str(), between.as_str(), old.as_str()];
    for limit in [1, 2, 50] {
        assert_eq!(listed(&client, limit), expected, "{limit} jobs per page");
    }
}

#[test]
fn pages_of_simulated_jobs_of_all_ages_lose_and_repeat_none() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    let mut jobs: Vec<(u64, usize, String)> = Vec::new();
    for n in 0..60 {
        // Each age occurs several times. Of the jobs with the same age, the last one added is the newest.
        let age = n as u64 * 7 % 20;
        let id = simulator.add_job(SimulatedJob::new("opt").age(age as u32 * HOUR));
        jobs.push((age, 60 - n, id.into()));
    }
    jobs.sort();
    let expected: Vec<String> = jobs.into_iter().map(|(_, _, id)| id).collect();
    for limit in [1, 3, 7, 50, 1000] {
        assert_eq!(listed(&client, limit), expected, "{limit} jobs per page");
    }
}

#[test]
fn a_simulated_history_that_changes_between_two_pages_loses_and_repeats_none() {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    let add = |age: u32| -> String {
        let done = SimulatedJob::new("opt").state(JobState::Done);
        simulator.add_job(done.age(age * HOUR)).into()
    };
    // The jobs are not added in the order of their age.
    let [d, b, a, c] = [40, 20, 10, 30].map(add);
    let first = client.list_jobs().limit(2).send().unwrap();
    let ids: Vec<&str> = first.jobs.iter().map(|job| job.job_id.as_str()).collect();
    assert_eq!(ids, [&a, &b]);
    // The last job of the page is deleted, and jobs are added before and after it.
    client.delete_job(&b).unwrap();
    add(5);
    let later = add(35);
    let cursor = first.next_cursor.unwrap();
    let rest = client.iter_jobs().resume_from(Some(&cursor)).map(|job| job.unwrap().job_id.into());
    assert_eq!(rest.collect::<Vec<String>>(), [c, later, d]);
}

#[test]
fn the_simulated_time_can_be_moved_by_the_longest_duration() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    let old = simulator.add_job(SimulatedJob::new("opt"));
    simulator.advance(secs(1));
    simulator.advance(Duration::MAX);
    simulator.advance(Duration::MAX);
    assert_eq!(client.get_job(&old).unwrap().state, JobState::Done);
    assert_eq!(client.wait_for_job(&old, &WaitOptions::new()).unwrap().state, JobState::Done);

    let new = simulator.add_job(SimulatedJob::new("opt"));
    assert_eq!(client.get_job(&new).unwrap().state, JobState::Pending);
    client.rename_job(&new, "late").unwrap();
    client.cancel_job(&new).unwrap();
    assert_eq!(listed(&client, 1), [new.as_str(), old.as_str()]);
    client.delete_job(&old).unwrap();
    assert_eq!(listed(&client, 50), [new.as_str()]);
    simulator.set_time(SystemTime::UNIX_EPOCH);
    assert_eq!(client.get_job(&new).unwrap().name.as_deref(), Some("late"));
}

#[test]
fn a_job_that_the_server_lists_on_two_pages_is_returned_twice() {
    let server = RawServer::start(|_, request| {
        json(&match asked(request) {
            Asked::Page if request.line.contains("cursor=c2") => page(&["b", "c"], false, None),
            Asked::Page => page(&["a", "b"], true, Some("c2")),
            Asked::Job(id) | Asked::Cancel(id) => job(id),
        })
    });
    // The iterator does not remember jobs, so that its memory does not grow with the history.
    assert_eq!(listed(&server.client(), 2), ["a", "b", "b", "c"]);
    let outcomes = wait_for_each(&simulated(&server).build().unwrap(), &["a", "b", "c"], &WaitOptions::new());
    assert_eq!(done(&outcomes), ["a", "b", "c"], "a wait still returns one outcome for each job");
}
