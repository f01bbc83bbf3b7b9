//! Waiting: generated histories and failures in simulated time. A server knows when each job ends, and what the wait
//! reports, when, and after how many requests is compared with that.

use std::collections::HashMap;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use atomiverse::simulator::{SimulatedJob, Simulator};
use atomiverse::{Client, Error, JobState, JobSummary, Result, StopToken, WaitOptions};

use crate::support::{Answer, Message, RawServer, Step, answer, json, lock, secs, until};

/// What a server does in place of responding.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    Status(u16),
    /// A status with `Retry-After: 30`.
    Later(u16),
    Html,
    Silence,
}

use Failure::{Html, Later, Silence, Status};

impl Failure {
    fn answer(self) -> Answer {
        match self {
            Status(status) => answer(status, &[], r#"{"detail": "on purpose"}"#),
            Later(status) => answer(status, &["retry-after: 30"], r#"{"detail": "on purpose"}"#),
            Html => answer(200, &["content-type: text/html"], "<html><title>Maintenance</title></html>"),
            Silence => vec![Step::Silence],
        }
    }
}

/// A history, and what fails in it. Times are in seconds since the start of the wait.
#[derive(Debug, Clone)]
struct Case {
    jobs: usize,
    /// The number of newer jobs that are not waited for.
    newer: usize,
    /// How far the jobs are apart in the list.
    stride: usize,
    /// The jobs end evenly within this time, in an order that is not that of the list.
    span: f64,
    timeout: f64,
    /// All requests fail from the first time to the second.
    outage: Option<(Failure, f64, f64)>,
    /// The listing fails for good.
    listing: Option<Failure>,
    /// The number of jobs that the list does not show, and how each look-up of them fails.
    bad: Option<(usize, Failure)>,
    /// The number of jobs that do not exist.
    missing: usize,
}

const HOUR: f64 = 3600.0;
/// The longest interval between two polls.
const INTERVAL: f64 = 30.0;
/// How long the server takes for a page, and for a look-up.
const PAGE: f64 = 0.1;
const LOOK_UP: f64 = 0.01;

impl Case {
    fn new(jobs: usize, newer: usize) -> Self {
        Case {
            jobs,
            newer,
            stride: 1,
            span: HOUR,
            timeout: 2.0 * HOUR,
            outage: None,
            listing: None,
            bad: None,
            missing: 0,
        }
    }

    fn id(&self, n: usize) -> String {
        format!("job-{n}")
    }

    /// When a job ends.
    fn ends(&self, n: usize) -> f64 {
        self.span * ((n * 7919) % self.jobs + 1) as f64 / (self.jobs + 1) as f64
    }

    fn is_bad(&self, n: usize) -> bool {
        self.bad.is_some_and(|(bad, _)| n % 3 == 0 && n / 3 < bad)
    }

    fn is_missing(&self, n: usize) -> bool {
        n >= self.jobs - self.missing
    }

    /// How long a poll takes at most.
    fn poll(&self) -> f64 {
        let (jobs, on_a_page) = (self.jobs as f64, 50.0 / self.stride as f64);
        // The pages that are read before they outnumber the jobs on them by a tenth of the jobs.
        let pages =
            if on_a_page < 1.0 { jobs / 10.0 / (1.0 - on_a_page) } else { jobs / 10.0 + jobs / on_a_page };
        jobs * 0.05 + (pages + 3.0) * PAGE
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Page { is_first: bool },
    LookUp,
    Outcome,
}

/// What happened, when, and whether a request failed.
type Events = Arc<Mutex<Vec<(f64, Event, bool)>>>;

struct Service {
    server: RawServer,
    simulator: Arc<Simulator>,
    /// Nothing fails and nothing is recorded before this time.
    started: Arc<Mutex<Option<SystemTime>>>,
    events: Events,
}

fn since(simulator: &Simulator, started: SystemTime) -> f64 {
    simulator.now().duration_since(started).unwrap_or_default().as_secs_f64()
}

impl Service {
    fn start(case: &Case) -> Self {
        let simulator = Arc::new(Simulator::start().unwrap());
        let (started, events) = (Arc::new(Mutex::new(None)), Events::default());
        let server = RawServer::start({
            let (case, started, events) = (case.clone(), started.clone(), events.clone());
            let simulator = Arc::downgrade(&simulator);
            move |_, request| {
                let Some(simulator) = simulator.upgrade() else { return vec![Step::Close] };
                let Some(started) = *lock(&started) else { return respond(&case, request, 0.0).1 };
                let now = since(&simulator, started);
                let (event, answer, failure) = respond(&case, request, now);
                let took = if event == Event::LookUp { LOOK_UP } else { PAGE };
                simulator.advance(Duration::from_secs_f64(took));
                lock(&events).push((now, event, failure.is_some()));
                failure.map_or(answer, Failure::answer)
            }
        });
        Service { server, simulator, started, events }
    }

    /// Returns a client that has had a JSON response. A short timeout ends silence, in real time.
    fn client(&self, case: &Case) -> Client {
        let has_silence = [case.listing, case.outage.map(|outage| outage.0), case.bad.map(|bad| bad.1)];
        let builder = self.simulator.client_builder().base_url(self.server.url());
        let client = builder.build().unwrap();
        client.get_job("job-0").unwrap();
        *lock(&self.started) = Some(self.simulator.now());
        let is_silent = has_silence.contains(&Some(Silence));
        if is_silent { client.with_timeout(Duration::from_millis(250)) } else { client }
    }

    fn now(&self) -> f64 {
        lock(&self.started).map_or(0.0, |started| since(&self.simulator, started))
    }
}

fn summary(id: &str, is_done: bool) -> String {
    let state = if is_done { "done" } else { "running" };
    format!(r#"{{"job_id":"{id}","state":"{state}","job_type":"opt","created_at":"2026-05-02T14:32:01Z"}}"#)
}

fn respond(case: &Case, request: &Message, now: f64) -> (Event, Answer, Option<Failure>) {
    let target = request.line.split("/api/v1/jobs").nth(1).unwrap();
    let outage = case.outage.filter(|(_, from, to)| (*from..*to).contains(&now)).map(|outage| outage.0);
    let Some(id) = target.strip_prefix('/') else {
        let cursor = target.split("cursor=").nth(1).map(|cursor| cursor.parse::<usize>().unwrap());
        let from = cursor.unwrap_or(0);
        let (to, end) = (from + 50, case.newer + case.jobs * case.stride);
        let jobs = (from..to.min(end)).filter_map(|place| {
            let n = place.checked_sub(case.newer).filter(|n| n % case.stride == 0).map(|n| n / case.stride);
            match n {
                Some(n) if case.is_bad(n) || case.is_missing(n) => None,
                Some(n) => Some(summary(&case.id(n), now >= case.ends(n))),
                None => Some(summary(&format!("other-{place}"), true)),
            }
        });
        let jobs: Vec<String> = jobs.collect();
        let (jobs, more) = (jobs.join(","), to < end);
        let body = format!(r#"{{"jobs":[{jobs}],"has_more":{more},"next_cursor":"{to}"}}"#);
        return (Event::Page { is_first: cursor.is_none() }, json(&body), outage.or(case.listing));
    };
    let n: usize = id.trim_start_matches("job-").parse().unwrap();
    let bad = case.bad.map(|bad| bad.1).filter(|_| case.is_bad(n));
    let missing = Some(Status(404)).filter(|_| case.is_missing(n));
    (Event::LookUp, json(&summary(id, now >= case.ends(n))), outage.or(bad).or(missing))
}

struct Run {
    outcomes: HashMap<String, (f64, Result<JobSummary>)>,
    events: Vec<(f64, Event, bool)>,
}

impl Run {
    fn requests(&self) -> usize {
        self.events.iter().filter(|(_, event, _)| *event != Event::Outcome).count()
    }
}

fn run(case: &Case) -> Run {
    let service = Service::start(case);
    let client = service.client(case);
    let ids: Vec<String> = (0..case.jobs).map(|n| case.id(n)).collect();
    let options = WaitOptions::new().timeout(Duration::from_secs_f64(case.timeout)).max_interval(secs(30));
    let mut outcomes = HashMap::new();
    for (id, outcome) in client.wait_for_jobs(&ids, options) {
        let now = service.now();
        lock(&service.events).push((now, Event::Outcome, false));
        let other = outcomes.insert(id.to_string(), (now, outcome));
        assert!(other.is_none(), "{id} has two outcomes: {case:?}");
    }
    assert_eq!(outcomes.len(), case.jobs, "{case:?}");
    let events = lock(&service.events).clone();
    Run { outcomes, events }
}

/// Runs the case and compares what was reported with what is promised. Returns the number of requests and the delays
/// from the end of a job to its outcome.
fn check(case: &Case) -> (usize, Vec<f64>) {
    const SLACK: f64 = 2.0;
    let Run { outcomes, events } = run(case);
    let requests = Run { outcomes: HashMap::new(), events: events.clone() }.requests();
    let poll = case.poll();
    let waiting_bad = case.bad.map_or(0, |(bad, _)| bad) as f64;
    let mut delays = Vec::new();
    for n in 0..case.jobs {
        let (at, outcome) = &outcomes[&case.id(n)];
        let ends = case.ends(n);
        let shown =
            || format!("{} ends at {ends:.1}, reported at {at:.1}: {outcome:?}\n{case:?}", case.id(n));
        if case.is_missing(n) {
            let error = outcome.as_ref().expect_err("the job does not exist");
            assert!(error.is_not_found() && *at <= f64::max(10.0, 2.0 * poll) + SLACK, "{}", shown());
            continue;
        }
        if case.is_bad(n) {
            assert!(outcome.as_ref().is_err_and(Error::is_timeout), "{}", shown());
            continue;
        }
        let (mut from, mut allowed) = (ends, f64::max(INTERVAL, poll) + SLACK);
        if let Some((_, begins, over)) = case.outage {
            if ends > begins - allowed && ends < over + allowed {
                (from, allowed) = (ends.max(over), INTERVAL + poll + SLACK);
            }
        }
        // Silence is short here, and so are the ten seconds.
        allowed += waiting_bad * 0.3;
        if from + allowed > case.timeout {
            let is_timeout = outcome.as_ref().is_err_and(Error::is_timeout);
            assert!(is_timeout || outcome.is_ok(), "{}", shown());
            assert!(*at <= case.timeout + SLACK, "{}", shown());
            continue;
        }
        assert!(outcome.as_ref().is_ok_and(|job| job.state == JobState::Done), "{}", shown());
        assert!(*at >= ends && *at <= from + allowed, "{}", shown());
        delays.push(at - ends);
    }
    check_polls(case, &events);
    delays.sort_by(f64::total_cmp);
    (requests, delays)
}

/// Checks the number of requests of each poll. One of several jobs begins with the first page, which is asked for at
/// most twice; a look-up before that belongs to the poll before it.
fn check_polls(case: &Case, events: &[(f64, Event, bool)]) {
    let first = Event::Page { is_first: true };
    let (mut left, mut left_at_start, mut count, mut before) =
        (case.jobs, case.jobs, 0, (Event::Outcome, false));
    let limit = |left: usize| {
        let tenth = left as f64 * 1.1 + 2.0;
        if case.listing.is_some() { tenth.max(left as f64 + 3.0) } else { tenth }
    };
    for (at, event, failed) in events {
        match event {
            Event::Outcome => left -= 1,
            event if *event == first && before != (first, true) => (count, left_at_start) = (1, left),
            _ => count += 1,
        }
        let is_outage = case.outage.is_some_and(|(_, _, over)| *at < over + 2.0 * INTERVAL);
        let is_probing = case.bad.is_some() && case.listing.is_some();
        if left > 1 && !is_outage && !is_probing {
            let limit = limit(left_at_start);
            assert!(
                f64::from(count) <= limit,
                "{count} requests in the poll at {at:.1}, {limit} allowed: {case:?}"
            );
        }
        if *event != Event::Outcome {
            before = (*event, *failed);
        }
    }
    let Some((failure, begins, over)) = case.outage else { return };
    if matches!(failure, Status(403 | 404)) {
        return; // This says something about each job.
    }
    // Polls in the outage are at least half a second apart. One may have been under way when it began.
    let failed: Vec<f64> = events
        .iter()
        .filter(|(at, event, failed)| *failed && *event != Event::Outcome && (begins..over).contains(at))
        .map(|(at, ..)| *at)
        .collect();
    let groups: Vec<usize> = failed.chunk_by(|a, b| b - a < 0.5).map(<[f64]>::len).collect();
    let under_way = if begins > 0.0 { 16 } else { 0 };
    for (n, count) in groups.iter().enumerate() {
        let limit = if n > 1 || (n == 1 && begins == 0.0) { 1 } else { 16 + under_way };
        assert!(*count <= limit, "{count} requests in poll {n} of the outage, {limit} allowed: {case:?}");
    }
}

/// Returns whether all cases are to run, which takes minutes, and not only a sample.
fn runs_all() -> bool {
    env::var("ATOMIVERSE_TEST_CASES").is_ok_and(|cases| cases == "all")
}

#[test]
fn each_job_is_reported_within_one_interval_or_one_poll() {
    let all = [1, 20, 200, 2000].map(|jobs| [0, 200, 100_000].map(|newer| Case::new(jobs, newer)));
    let spread = all.clone().into_iter().flatten().map(|case| Case { stride: 100, ..case });
    let sample = [(1, 200), (20, 0), (20, 200), (200, 0)].map(|(jobs, newer)| Case::new(jobs, newer));
    let cases: Vec<Case> = if runs_all() {
        all.into_iter().flatten().chain(spread).collect()
    } else {
        sample.into_iter().chain([Case { stride: 100, ..Case::new(20, 200) }]).collect()
    };
    for case in cases {
        let (requests, delays) = check(&case);
        let (median, longest) = (delays[delays.len() / 2], delays[delays.len() - 1]);
        let Case { jobs, newer, stride, .. } = case;
        println!("| {jobs}, {newer}, 1/{stride} | {requests} | {median:.0} s, {longest:.0} s |");
    }
    // Each of four pages shows five of the jobs, so none is looked up.
    assert_eq!(run(&Case { stride: 10, timeout: 0.0, ..Case::new(20, 0) }).requests(), 4);
}

#[test]
fn an_outage_costs_few_requests_and_delays_no_job_beyond_the_next_poll() {
    const SHAPES: [(usize, usize); 7] =
        [(1, 0), (20, 0), (20, 200), (200, 0), (200, 200), (200, 100_000), (2000, 0)];
    let sample = [(Status(503), (20, 200)), (Later(429), (200, 0)), (Html, (20, 0)), (Silence, (1, 0))];
    let mut cases = Vec::new();
    for (failure, sampled) in sample {
        for (length, begins) in
            [10.0, 60.0, 600.0].iter().flat_map(|length| [(*length, 0.0), (*length, 412.5)])
        {
            let outage = Some((failure, begins, begins + length));
            let is_sample = length == 60.0 || (length == 600.0 && begins == 0.0 && failure != Silence);
            let span = if runs_all() { HOUR } else { HOUR / 3.0 };
            for shape in SHAPES {
                if runs_all() || (is_sample && shape == sampled) {
                    cases.push(Case { outage, span, ..Case::new(shape.0, shape.1) });
                }
            }
        }
    }
    let mut undisturbed = HashMap::new();
    for case in cases {
        let (requests, delays) = check(&case);
        let without = Case { outage: None, ..case.clone() };
        let shape = (case.jobs, case.newer);
        let usual = *undisturbed.entry(shape).or_insert_with(|| run(&without).requests());
        let ratio = requests as f64 / usual as f64;
        let Case { jobs, newer, outage, .. } = &case;
        println!("| {jobs}, {newer} {outage:?} | {ratio:.2} | {:.0} s |", delays[delays.len() - 1]);
        // A wait for a single job ends at one time, so its number of polls varies by a few. If a short outage ends
        // between the second page that fails and the look-ups, one poll looks all jobs up.
        let by_id = if outage.is_some_and(|(_, begins, over)| over - begins < INTERVAL) { *jobs } else { 0 };
        let allowed = usual as f64 * 1.2 + 16.0 + by_id as f64;
        assert!((requests as f64) < allowed, "{requests} requests in place of {usual}: {case:?}");
    }
}

#[test]
fn an_outage_at_the_deadline_leaves_one_timeout_for_each_job() {
    for failure in [Status(503), Later(429), Html] {
        for jobs in [1, 20, 200] {
            let outage = Some((failure, 1700.0, 2000.0));
            let case = Case { outage, timeout: 1800.0, ..Case::new(jobs, 0) };
            let Run { outcomes, .. } = run(&case);
            for n in 0..jobs {
                let (at, outcome) = &outcomes[&case.id(n)];
                let shown = format!("{} {outcome:?} at {at}: {case:?}", case.id(n));
                let ends = case.ends(n);
                assert!(*at <= 1802.0 && (outcome.is_ok() == (*at < 1701.0)), "{shown}");
                assert!(outcome.is_ok() || ends > 1670.0, "{shown}");
                let Err(error) = outcome else { continue };
                assert!(error.is_timeout() && error.state() == Some(&JobState::Running), "{shown}");
                assert!(error.to_string().contains("not ended after 1800 s"), "{shown}");
            }
        }
    }
}

#[test]
fn a_listing_that_never_works_leaves_out_no_job() {
    for listing in [Status(503), Later(429), Status(401), Status(404), Html, Silence] {
        for (jobs, newer) in [(2, 0), (20, 0), (20, 200), (200, 0), (2000, 100_000)] {
            let span = if listing == Silence { 10.0 } else { 600.0 };
            let case = Case { listing: Some(listing), span, ..Case::new(jobs, newer) };
            if runs_all() || (jobs, newer) == (20, 0) || (listing == Status(401) && jobs == 2) {
                check(&case);
            }
        }
    }
}

#[test]
fn ids_that_always_fail_delay_no_other() {
    for failure in [Status(503), Later(503), Silence] {
        for listing in [None, Some(Status(503)), Some(Status(404))] {
            for bad in [1, 5] {
                for (jobs, newer) in [(10, 0), (20, 0), (20, 200), (200, 200)] {
                    let (span, timeout) = if failure == Silence { (40.0, 60.0) } else { (300.0, 400.0) };
                    let bad = Some((if jobs == 10 { bad.min(3) } else { bad }, failure));
                    let case = Case { listing, bad, span, timeout, ..Case::new(jobs, newer) };
                    let is_sample = failure != Silence || (bad == Some((5, Silence)) && listing.is_none());
                    if runs_all() || ((jobs, newer) == (20, 0) && is_sample) {
                        check(&case);
                    }
                }
            }
        }
    }
}

#[test]
fn ids_that_do_not_exist_end_within_ten_seconds_or_two_polls_and_no_other_does() {
    for (jobs, newer, missing) in [(1, 0, 1), (20, 0, 1), (20, 200, 3), (200, 0, 100), (200, 200, 200)] {
        for listing in [None, Some(Status(503))] {
            check(&Case { missing, listing, span: 300.0, ..Case::new(jobs, newer) });
        }
    }
}

#[test]
fn a_refusal_of_three_seconds_ends_no_wait_and_a_lasting_one_does() {
    for refusal in [401, 403, 404] {
        for begins in [0.0, 100.0] {
            for (jobs, newer) in [(1, 0), (20, 0), (20, 200), (200, 0), (200, 200)] {
                let is_sample = runs_all() || jobs <= 20;
                for length in [1.0, 3.0, f64::INFINITY] {
                    let outage = Some((Status(refusal), begins, begins + length));
                    let case = Case { outage, span: 400.0, ..Case::new(jobs, newer) };
                    if length.is_finite() && is_sample {
                        check(&case);
                    } else if is_sample {
                        let until = begins + INTERVAL + f64::max(10.0, INTERVAL + 2.0 * case.poll()) + 2.0;
                        for (id, (at, outcome)) in run(&case).outcomes {
                            let status = outcome.as_ref().err().and_then(Error::status);
                            let is_refused = status == Some(refusal);
                            assert!(outcome.is_ok() || is_refused, "{id} {outcome:?}: {case:?}");
                            assert!(at < until, "{id} at {at} {outcome:?}: {case:?}");
                        }
                    }
                }
            }
        }
    }
}

/// Starts a server whose response depends on what follows `/jobs` in the request, such as `GET /7`, and on the seconds
/// of simulated time since the start. Returns it, a client, and the simulator that keeps the time.
fn serve(
    mut respond: impl FnMut(&str, &Simulator, f64) -> Answer + Send + 'static,
) -> (RawServer, Client, Arc<Simulator>) {
    let simulator = Arc::new(Simulator::start().unwrap());
    let (weak, started) = (Arc::downgrade(&simulator), simulator.now());
    let server = RawServer::start(move |_, request| {
        let Some(simulator) = weak.upgrade() else { return vec![Step::Close] };
        let now = since(&simulator, started);
        respond(&request.line.replace("/api/v1/jobs", ""), &simulator, now)
    });
    let client = simulator.client_builder().base_url(server.url()).build().unwrap();
    (server, client, simulator)
}

fn empty_page() -> Answer {
    json(r#"{"jobs": [], "has_more": false}"#)
}

/// Responds to a look-up, or to a request for a page with an empty one.
fn job_or_empty_page(request: &str, is_done: bool) -> Answer {
    match request.strip_prefix("GET /") {
        Some(id) => json(&summary(id, is_done)),
        None => empty_page(),
    }
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

fn all(client: &Client, ids: &[String], options: WaitOptions<'_>) -> HashMap<String, Result<JobSummary>> {
    let outcomes: Vec<_> = client.wait_for_jobs(ids, options).collect();
    let count = outcomes.len();
    let outcomes: HashMap<_, _> =
        outcomes.into_iter().map(|(id, outcome)| (id.to_string(), outcome)).collect();
    assert_eq!((count, outcomes.len()), (ids.len(), ids.len()));
    outcomes
}

#[test]
fn an_outage_of_the_look_ups_is_seen_whatever_the_listing_responds() {
    for listing in [Status(503), Status(401), Status(403), Status(404), Html] {
        for (look_up, seconds, requests) in [(Status(503), HOUR, 400), (Status(401), 20.0, 40)] {
            let (server, client, simulator) = serve(move |request, _, now| match request {
                _ if now == 0.0 => job_or_empty_page(request, false),
                request if request.starts_with("GET /") => look_up.answer(),
                _ => listing.answer(),
            });
            client.list_jobs().send().unwrap();
            simulator.advance(secs(1));
            let started = simulator.now();
            assert!(all(&client, &numbered(20), WaitOptions::new()).values().all(Result::is_err));
            let (elapsed, sent) = (since(&simulator, started), server.lines().len());
            assert!(elapsed <= seconds && sent <= requests, "{listing:?} {look_up:?}: {elapsed} s, {sent}");
        }
    }
}

#[test]
fn a_job_that_fails_with_retry_after_delays_no_other() {
    let (_server, client, simulator) = serve(|request, _, now| match request {
        "GET /3" => Later(503).answer(),
        _ => job_or_empty_page(request, now >= 3.0),
    });
    let started = simulator.now();
    let jobs = client.wait_for_jobs(numbered(20), secs(60));
    assert!(jobs.take(19).all(|(_, outcome)| outcome.is_ok()));
    assert!(since(&simulator, started) < 6.0);
}

#[test]
fn a_retry_after_of_a_day_lengthens_one_interval_to_the_longest() {
    let mut count = 0;
    let (_server, client, simulator) = serve(move |request, _, now| {
        count += 1;
        let later = answer(503, &["retry-after: 86400"], "");
        if count == 2 { later } else { job_or_empty_page(request, now >= 2.0) }
    });
    let started = simulator.now();
    client.wait_for_job("1", secs(40)).unwrap();
    assert!(since(&simulator, started) < 17.0);
}

#[test]
fn an_outcome_is_passed_on_before_the_other_jobs_are_looked_up() {
    let (server, client, _simulator) = serve(|request, _, _| job_or_empty_page(request, true));
    let mut wait = client.wait_for_jobs(numbered(100), WaitOptions::new());
    assert!(server.requests().is_empty());
    assert!(wait.next().unwrap().1.is_ok());
    assert!(server.requests().len() <= 19);
    assert_eq!(wait.count(), 99);
}

#[test]
fn each_id_has_one_outcome_whether_it_is_valid_or_repeated() {
    let simulator = Simulator::start().unwrap();
    let id = simulator.add_job(SimulatedJob::new("opt"));
    let ids = ["", id.as_str(), "..", "missing", id.as_str(), ""];
    let wait = simulator.client().unwrap().wait_for_jobs(ids, secs(600));
    let mut outcomes: Vec<_> = wait.map(|(id, outcome)| (id.to_string(), outcome.is_ok())).collect();
    outcomes.sort();
    let mut expected = vec![(String::new(), false), ("..".into(), false), ("missing".into(), false)];
    expected.push((id.to_string(), true));
    expected.sort();
    assert_eq!(outcomes, expected);
}

#[test]
fn options_that_are_not_valid_are_refused_for_each_id_before_any_request() {
    let (server, client, _simulator) = serve(|request, _, _| job_or_empty_page(request, true));
    let zero = Duration::ZERO;
    let new = WaitOptions::new;
    for options in [
        || WaitOptions::new().min_interval(Duration::ZERO),
        || WaitOptions::new().max_interval(Duration::ZERO),
    ] {
        assert!(all(&client, &numbered(2), options()).values().all(Result::is_err));
        assert!(client.cancel_and_wait("1", options()).is_err());
        assert!(client.cancel_and_delete("1", options()).is_err());
    }
    assert!(client.with_timeout(zero).wait_for_job("1", new()).is_err());
    assert_eq!(client.wait_for_jobs(Vec::<String>::new(), new()).count(), 0);
    assert!(server.requests().is_empty());
}

#[test]
fn at_most_twenty_look_ups_a_second_begin_even_if_each_job_has_ended() {
    let (_server, client, simulator) = serve(|request, _, _| job_or_empty_page(request, true));
    let started = simulator.now();
    assert_eq!(all(&client, &numbered(100), secs(600).into()).len(), 100);
    assert!(since(&simulator, started) > 98.0 / 20.0, "{} s", since(&simulator, started));
}

#[test]
fn a_wait_without_time_left_polls_once_and_cancels_if_that_was_asked_for() {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    let running = simulator.add_job(SimulatedJob::new("opt").state(JobState::Running));
    let done = simulator.add_job(SimulatedJob::new("opt").state(JobState::Done));
    let options = WaitOptions::from(Duration::ZERO).cancel_on_timeout(true);
    let outcomes = all(&client, &[running.to_string(), done.to_string()], options);
    assert_eq!(outcomes[done.as_str()].as_ref().unwrap().state, JobState::Done);
    let error = outcomes[running.as_str()].as_ref().unwrap_err();
    assert!(error.is_timeout() && error.job_id() == Some(&running), "{error}");
    assert_eq!((error.state(), error.cancellation_accepted()), (Some(&JobState::Running), Some(true)));
    let error = client.cancel_and_wait(&running, Duration::ZERO).unwrap_err();
    assert!(error.is_timeout() && !error.may_have_been_processed(), "{error}");
}

#[test]
fn on_update_sees_each_state_once_and_a_timeout_names_the_last_one_and_the_limit() {
    let simulator = Simulator::start().unwrap();
    let long = SimulatedJob::new("opt").pending_for(secs(5)).running_for(secs(1000));
    let id = simulator.add_job(long);
    let client = simulator.client().unwrap();
    let mut states = Vec::new();
    let options = WaitOptions::from(secs(60)).on_update(|job| states.push(job.state.to_string()));
    let error = client.wait_for_job(&id, options).unwrap_err();
    assert!(error.is_timeout() && error.cancellation_accepted().is_none());
    assert!(error.to_string().contains("not ended after 60 s"), "{error}");
    assert_eq!(error.state(), Some(&JobState::Running));
    assert_eq!(states, ["pending", "running"]);
    let mut job = client.job(&id).unwrap();
    assert_eq!(job.wait(WaitOptions::new().no_timeout()).unwrap().state, JobState::Done);
}

#[test]
fn a_wait_that_was_suspended_past_its_deadline_polls_once_more() {
    for suspended in 0..4 {
        let mut count = 0;
        let (server, client, _simulator) = serve(move |request, simulator, now| {
            count += 1;
            // The process is suspended while a response is on its way.
            if count == suspended + 1 {
                simulator.advance(secs(5000));
            }
            job_or_empty_page(request, now >= 5000.0)
        });
        let outcome = client.wait_for_job("1", secs(60));
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(server.requests().len(), suspended + 2);
    }
}

#[test]
fn a_client_that_never_had_json_stops_waiting_after_a_few_seconds() {
    for answer in
        [Html.answer(), answer(404, &["content-type: text/html"], "<html>no</html>"), Status(401).answer()]
    {
        let (server, client, simulator) = serve(move |_, _, _| answer.clone());
        let started = simulator.now();
        assert!(all(&client, &numbered(200), secs(600).into()).values().all(Result::is_err));
        assert!(since(&simulator, started) < 10.0);
        assert!(server.requests().len() <= 21, "{}", server.requests().len());
    }
}

#[test]
fn a_running_job_that_cannot_be_read_is_waited_for_and_an_ended_one_is_an_error() {
    for field in [r#""name": "half \ud83d""#, r#""billed_core_seconds": [1]"#] {
        for state in ["done", "failed"] {
            let (_server, client, _simulator) = serve(move |request, _, now| {
                let Some(id) = request.strip_prefix("GET /") else { return empty_page() };
                // The name is replaced before the job ends.
                if (60.0..100.0).contains(&now) && state == "done" || now > 100.0 && id == "0" {
                    return json(&summary(id, now > 70.0));
                }
                let state = if now > 100.0 { state } else { "running" };
                let rest = r#""job_type": "opt", "created_at": "2026-05-02T14:32:01Z""#;
                json(&format!(r#"{{"job_id": "{id}", "state": "{state}", {field}, {rest}}}"#))
            });
            for (id, outcome) in all(&client, &numbered(2), secs(600).into()) {
                match outcome {
                    Ok(job) => assert!(job.state.is_terminal()),
                    Err(error) => {
                        assert!(error.is_decode() && state == "failed" && id == "1", "{error}");
                        assert_eq!(error.state(), Some(&JobState::Failed));
                    }
                }
            }
        }
    }
}

#[test]
fn a_stop_ends_the_wait_with_one_error_for_each_job() {
    let simulator = Simulator::start().unwrap();
    let job = SimulatedJob::new("opt").state(JobState::Running).running_for(Duration::MAX);
    let ids: Vec<String> = (0..3).map(|_| simulator.add_job(job.clone()).to_string()).collect();
    simulator.run_in_real_time();
    let stop = StopToken::new();
    let client = simulator.client().unwrap().with_stop(&stop);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| all(&client, &ids, WaitOptions::new().no_timeout()));
        until(|| !simulator.requests().is_empty());
        stop.stop();
        for (_, outcome) in waiting.join().unwrap() {
            let error = outcome.unwrap_err();
            assert!(error.is_stopped() && error.cancellation_accepted().is_none(), "{error}");
        }
    });
}

#[test]
fn a_panic_in_on_update_reaches_the_caller_and_the_client_still_works() {
    let (_server, client, _simulator) = serve(|request, _, _| job_or_empty_page(request, true));
    let options = WaitOptions::new().on_update(|_| panic!("on purpose"));
    let wait = catch_unwind(AssertUnwindSafe(|| client.wait_for_jobs(numbered(20), options).count()));
    assert_eq!(wait.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
    assert_eq!(client.wait_for_jobs(numbered(20), secs(60)).count(), 20);
}

/// Waits for running jobs whose cancelling takes a tenth of a second, eight at a time.
fn cancel_at_the_deadline(jobs: usize, timeout: u64, client_timeout: u64, took: Duration) -> Vec<Error> {
    let (_server, client, simulator) =
        serve(move |request, simulator, _| match request.strip_prefix("POST /") {
            Some(_) => {
                simulator.advance(took);
                answer(202, &[], "")
            }
            None => job_or_empty_page(request, false),
        });
    let started = simulator.now();
    let options = WaitOptions::from(secs(timeout)).cancel_on_timeout(true);
    let client = client.with_timeout(secs(client_timeout));
    let outcomes = all(&client, &numbered(jobs), options);
    // Eight requests may be in flight at the end.
    assert!(since(&simulator, started) < (timeout + client_timeout) as f64 + 1.0 + 8.0 * took.as_secs_f64());
    outcomes.into_values().map(Result::unwrap_err).collect()
}

#[test]
fn all_jobs_are_cancelled_at_the_deadline_and_those_without_time_are_named() {
    for (jobs, timeout) in [(200, 10), (2000, 10)] {
        let errors = cancel_at_the_deadline(jobs, timeout, 60, Duration::from_micros(12_500));
        assert!(errors.iter().all(|error| error.cancellation_accepted() == Some(true)));
        assert!(!errors.iter().any(|error| error.to_string().contains("no time was left")));
    }
    // The last request has more than a second, also in real time.
    let errors = cancel_at_the_deadline(200, 10, 100, Duration::from_millis(1250));
    let (accepted, others): (Vec<_>, Vec<_>) =
        errors.iter().partition(|error| error.cancellation_accepted() == Some(true));
    assert!((70..=90).contains(&accepted.len()), "{} of 200", accepted.len());
    for error in others {
        assert!(error.cancellation_accepted() == Some(false) && !error.may_have_been_processed(), "{error}");
        assert!(error.is_timeout() && error.to_string().contains("no time was left"), "{error}");
    }
}

#[test]
fn cancelling_on_a_dead_service_ends_and_says_what_was_not_sent() {
    let (server, client, simulator) = serve(|request, _, now| match request.strip_prefix("POST /") {
        None if now < 5.0 => job_or_empty_page(request, false),
        _ => Status(503).answer(),
    });
    let started = simulator.now();
    let options = WaitOptions::from(secs(20)).cancel_on_timeout(true);
    let outcomes = all(&client, &numbered(200), options);
    assert!(since(&simulator, started) < 80.0);
    let sent = server.requests().iter().filter(|request| request.line.starts_with("POST")).count();
    assert!(sent <= 45, "{sent} requests to cancel"); // At most fifteen, of three attempts each.
    let unsent =
        outcomes.values().filter(|outcome| outcome.as_ref().unwrap_err().to_string().contains("not sent"));
    assert!((185..=192).contains(&unsent.count()));
}

#[test]
fn a_job_found_to_have_ended_when_it_is_cancelled_is_returned() {
    let mut has_ended = false;
    let (_server, client, _simulator) = serve(move |request, _, _| {
        has_ended |= request.starts_with("POST");
        if request.starts_with("POST") {
            answer(409, &[], "{}")
        } else {
            job_or_empty_page(request, has_ended)
        }
    });
    for outcome in all(&client, &numbered(3), WaitOptions::from(secs(20)).cancel_on_timeout(true)).values() {
        assert_eq!(outcome.as_ref().unwrap().state, JobState::Done);
    }
    assert!(client.cancel_and_wait("1", secs(20)).is_ok());
}

/// A service that accepts a request to cancel. The job is gone from the first second to the second one.
fn cancellable(gone: (f64, f64), deletion: u16) -> (RawServer, Client, Arc<Simulator>) {
    let mut cancelled = None;
    serve(move |request, _, now| {
        let since = |cancelled: Option<f64>| cancelled.map(|cancelled| now - cancelled);
        let is_gone = since(cancelled).is_some_and(|since| (gone.0..gone.1).contains(&since));
        match request.split(' ').next() {
            Some("POST") => {
                cancelled = Some(now);
                answer(202, &[], "")
            }
            _ if is_gone => answer(404, &[], r#"{"detail": "no such job"}"#),
            Some("DELETE") => answer(deletion, &[], if deletion == 204 { "" } else { "{}" }),
            _ => job_or_empty_page(request, since(cancelled).is_some_and(|since| since > 3.0)),
        }
    })
}

#[test]
fn cancel_and_delete_deletes_the_job_and_says_what_became_of_it() {
    let deletes =
        |server: &RawServer| server.lines().iter().filter(|line| line.starts_with("DELETE")).count();
    // One response says that the job is gone, and it is there.
    let (server, client, _simulator) = cancellable((0.0, 0.5), 204);
    assert!(client.cancel_and_delete("1", WaitOptions::new()).unwrap());
    assert_eq!(deletes(&server), 1);
    // The service removes a job that is cancelled.
    let (server, client, _simulator) = cancellable((0.0, f64::MAX), 204);
    client.list_jobs().send().unwrap();
    assert!(client.cancel_and_delete("1", WaitOptions::new()).unwrap());
    assert_eq!(deletes(&server), 1);
    // The job is cancelled, and deleting it fails.
    let (_server, client, _simulator) = cancellable((0.0, 0.0), 403);
    let error = client.cancel_and_delete("1", WaitOptions::new()).unwrap_err();
    assert_eq!((error.status(), error.cancellation_accepted()), (Some(403), Some(true)), "{error}");
    // It does not end in time.
    let error = client.cancel_and_delete("1", secs(2)).unwrap_err();
    assert_eq!((error.is_timeout(), error.cancellation_accepted()), (true, Some(true)), "{error}");
    let error = client.job("1").unwrap().cancel_and_wait(secs(2)).unwrap_err();
    assert_eq!((error.is_timeout(), error.cancellation_accepted()), (true, Some(true)), "{error}");
}
