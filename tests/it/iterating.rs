//! Tests that each iteration equals the list or ends with an error: generated cases of servers, limits and faults, and
//! what the iterator promises besides.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;

use atomiverse::simulator::{Fault, Simulator};
use atomiverse::{Client, Error, JobSummary, JobsIter};

use crate::support::{Answer, Message, Random, RawServer, Step, answer, job, json, lines, lock, page, raw};

/// How a server finds the page that a cursor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Cursors {
    /// The number of jobs before the page.
    #[default]
    Offset,
    /// The same, as a JSON number.
    Integer,
    /// The last job of the page before.
    Key,
    /// A number of pages, whatever their limit.
    PageNumber,
    /// Refused with another limit than that of the page that had it.
    BoundToLimit,
    /// Refused when it is used again.
    OnceOrRefused,
    /// Leads to an empty last page when it is used again.
    OnceOrEmpty,
    /// Always the first page, with the cursor that belongs to it.
    Ignored,
    /// Always the first page, with a new cursor each time.
    NeverReadButRenewed,
    /// The third page leads back to the second.
    Cyclic,
    /// More jobs are promised without a cursor.
    Missing,
}

/// What a server does with a limit above 100.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Maximum {
    #[default]
    None,
    Refused,
    Capped,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Added,
    Deleted,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    Status(u16),
    Cut,
    HalfBody,
}

/// Who continues after a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Continued {
    /// The client, which retries.
    #[default]
    Retried,
    /// The caller, by `resume`.
    Resumed,
    /// Another iteration, by `resume_from`.
    Elsewhere,
}

#[derive(Debug, Clone, Default)]
struct Case {
    cursors: Cursors,
    maximum: Maximum,
    jobs: usize,
    limit: Option<u32>,
    max_jobs: Option<usize>,
    /// How a page says that there are more, and how the last one says that there are none: places in `MORE` and `LAST`.
    more: usize,
    last: usize,
    /// The number of empty pages before each page but the first.
    empty_pages: usize,
    unreadable: Option<usize>,
    /// The requests that fail, counted from 0.
    failures: Vec<(usize, Failure)>,
    continued: Continued,
    /// How the list changes after the first page.
    change: Option<Change>,
}

const MORE: [&str; 3] = [r#""has_more":true,"#, "", r#""has_more":null,"#];
const LAST: [&str; 7] = [
    r#""has_more":false,"next_cursor":null"#,
    r#""has_more":false,"next_cursor":"z""#,
    r#""has_more":false"#,
    r#""has_more":null,"next_cursor":"""#,
    r#""next_cursor":null"#,
    r#""next_cursor":"""#,
    // Nothing is said about more. On a first page this is an error.
    r#""total":null"#,
];

fn case(seed: u64) -> Case {
    use Cursors::*;
    let random = &mut Random(seed);
    let sound = [Offset, Integer, Key, PageNumber, BoundToLimit, OnceOrRefused, OnceOrEmpty];
    let odd = [Ignored, NeverReadButRenewed, Cyclic, Missing];
    let cursors = if random.below(5) == 0 { random.pick(&odd) } else { random.pick(&sound) };
    let jobs = random.pick(&[0, 1, 2, 49, 50, 51, 60, 99, 100, 101, 120, 150, 200, 201, 300]);
    let limit = random.pick(&[None, None, Some(1), Some(7), Some(50), Some(100), Some(200)]);
    let is_short = limit == Some(1);
    let count = random.below(4);
    let faults = [Failure::Status(503), Failure::Cut, Failure::HalfBody];
    let failures = (0..count).map(|_| (random.below(8), random.pick(&faults))).collect();
    let continued = random.pick(&[Continued::Retried, Continued::Resumed, Continued::Elsewhere]);
    let is_plain = sound.contains(&cursors);
    Case {
        cursors,
        maximum: random.pick(&[Maximum::None, Maximum::None, Maximum::Refused, Maximum::Capped]),
        // A page for each job takes long, and shows nothing after forty jobs.
        jobs: if is_short { jobs.min(40) } else { jobs },
        // The same single job on one page after another may have moved there.
        limit: if is_short && [Ignored, NeverReadButRenewed].contains(&cursors) { None } else { limit },
        max_jobs: random.pick(&[None, None, Some(0), Some(1), Some(50), Some(75), Some(120), Some(201)]),
        more: random.below(MORE.len()),
        last: random.below(LAST.len()),
        empty_pages: random.once_in(4, |random| 1 + random.below(2)).filter(|_| is_plain).unwrap_or(0),
        unreadable: random.once_in(4, |random| random.below(jobs + 1)),
        failures,
        // Another iteration does not know which pages there were before, so it cannot notice that one repeats.
        continued: if is_plain { continued } else { Continued::Resumed },
        change: random
            .once_in(5, |random| random.pick(&[Change::Added, Change::Deleted]))
            .filter(|_| is_plain),
    }
}

/// A server, and what it knows of one case.
struct Model {
    case: Case,
    /// The list, newest first.
    list: Vec<usize>,
    requests: usize,
    /// The cursors of the pages that were served, and the jobs on them.
    served: Vec<Option<String>>,
    jobs_served: Vec<usize>,
    limits: HashSet<usize>,
    /// Whether a cursor was sent again after its page was served.
    sent_twice: bool,
}

impl Model {
    fn new(case: Case) -> Self {
        Model {
            list: (0..case.jobs).rev().collect(),
            case,
            requests: 0,
            served: Vec::new(),
            jobs_served: Vec::new(),
            limits: HashSet::new(),
            sent_twice: false,
        }
    }

    fn answer(&mut self, request: &Message) -> Answer {
        let limit = limit_of(request);
        let cursor = parameter(request, "cursor").map(str::to_owned);
        self.limits.insert(limit);
        let is_known = self.served.contains(&cursor);
        self.sent_twice |= is_known;
        let n = self.requests;
        self.requests += 1;
        if n == 500 {
            return refused("iteration, which is endless");
        }
        let failure = self.case.failures.iter().position(|(at, _)| *at == n);
        let failure = failure.map(|at| self.case.failures.remove(at).1);
        match failure {
            Some(Failure::Status(status)) => return answer(status, &[], ""),
            Some(Failure::Cut) => return vec![Step::Close],
            _ => {}
        }
        let limit = match self.case.maximum {
            Maximum::Refused if limit > 100 => return refused("limit"),
            Maximum::Capped => limit.min(100),
            _ => limit,
        };
        let Some((ids, rest)) = self.page(cursor.as_deref(), limit, is_known) else {
            return refused("cursor");
        };
        let jobs: Vec<String> = ids.iter().map(|id| self.job(*id)).collect();
        let body = format!(r#"{{"jobs":[{}],{rest}}}"#, jobs.join(","));
        if failure.is_some() {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            return [raw(head + &body[..body.len() / 2]), vec![Step::Close]].concat();
        }
        self.served.push(cursor);
        self.jobs_served.extend(&ids);
        if self.served.len() == 1 {
            match self.case.change {
                Some(Change::Added) => self.list.insert(0, self.case.jobs),
                Some(Change::Deleted) if !self.list.is_empty() => drop(self.list.remove(0)),
                _ => {}
            }
        }
        json(&body)
    }

    fn job(&self, id: usize) -> String {
        let job = job(format_args!("j{id}"));
        if self.case.unreadable == Some(id) { job.replace(r#""state":"done""#, r#""state":7"#) } else { job }
    }

    /// Returns the jobs of a page, and what it says about the next one. `None` if the cursor is refused.
    fn page(&self, cursor: Option<&str>, limit: usize, is_known: bool) -> Option<(Vec<usize>, String)> {
        use Cursors::*;
        // A cursor is a place, the limit for which it is valid, and the number of empty pages before the place.
        let mut parts = cursor.into_iter().flat_map(|cursor| cursor.split('_'));
        let mut number = || parts.next().map_or(0, |part| part.parse::<usize>().unwrap());
        let (place, bound, empty_pages) = (number(), number(), number());
        let kind = self.case.cursors;
        let from = match (kind, cursor) {
            (_, None) | (Ignored | NeverReadButRenewed, _) => 0,
            (Key, _) => self.list.iter().position(|id| *id < place).unwrap_or(self.list.len()),
            (PageNumber, _) => place * limit,
            (BoundToLimit, _) if bound != limit => return None,
            (OnceOrRefused, _) if is_known => return None,
            (OnceOrEmpty, _) if is_known => return Some((vec![], LAST[self.case.last].to_owned())),
            _ => place,
        };
        let from = from.min(self.list.len());
        let (to, empty_pages) = if empty_pages > 0 {
            (from, empty_pages - 1)
        } else {
            ((from + limit).min(self.list.len()), self.case.empty_pages)
        };
        let ids = self.list[from..to].to_vec();
        if to == self.list.len() {
            return Some((ids, LAST[self.case.last].to_owned()));
        }
        let next = match kind {
            Key if ids.is_empty() => place,
            Key => ids[ids.len() - 1],
            PageNumber if ids.is_empty() => place,
            PageNumber => from / limit + 1,
            NeverReadButRenewed => self.requests,
            Cyclic if from >= 2 * limit => limit,
            _ => to,
        };
        let more = match kind {
            Missing => r#""has_more":true,"next_cursor":null"#.to_owned(),
            Integer if empty_pages == 0 => format!(r#"{}"next_cursor":{next}"#, MORE[self.case.more]),
            _ => format!(r#"{}"next_cursor":"{next}_{limit}_{empty_pages}""#, MORE[self.case.more]),
        };
        Some((ids, more))
    }

    /// Whether a page of this case cannot be the right one, so that an error is due.
    fn must_fail(&self, client_limit: usize) -> bool {
        use Cursors::*;
        let case = &self.case;
        let limit = if case.maximum == Maximum::Capped { client_limit.min(100) } else { client_limit };
        let pages = case.max_jobs.unwrap_or(usize::MAX).min(case.jobs).div_ceil(limit).max(1);
        if case.max_jobs == Some(0) {
            return false;
        }
        (case.maximum == Maximum::Refused && client_limit > 100)
            || (LAST[case.last].contains("total") && case.jobs <= limit)
            || match case.cursors {
                // The page after the first is the first again, or its own cursor leads back to it.
                Ignored | NeverReadButRenewed | Missing => pages > 1,
                Cyclic => pages > 3,
                _ => false,
            }
    }
}

fn refused(what: &str) -> Answer {
    answer(422, &["content-type: application/json"], &format!(r#"{{"detail":"bad {what}"}}"#))
}

/// Returns a parameter of the query.
fn parameter<'a>(request: &'a Message, name: &str) -> Option<&'a str> {
    let (_, value) = request.line.split_once(&format!("{name}="))?;
    value.split(['&', ' ']).next()
}

fn limit_of(request: &Message) -> usize {
    parameter(request, "limit").unwrap().parse().unwrap()
}

/// Iterates as the case says. Returns the numbers of the jobs, and the error that the iteration ended with.
fn iterate(client: &Client, case: &Case) -> (Vec<usize>, Option<Error>) {
    let start = |cursor: Option<&str>, max_jobs: Option<usize>| {
        let jobs = client.iter_jobs().resume_from(cursor);
        let jobs = if let Some(limit) = case.limit { jobs.limit(limit) } else { jobs };
        if let Some(max_jobs) = max_jobs { jobs.max_jobs(max_jobs) } else { jobs }
    };
    let mut jobs = start(None, case.max_jobs);
    let mut seen = Vec::new();
    let number = |id: &atomiverse::JobId| id.as_str()[1..].parse::<usize>().unwrap();
    loop {
        match jobs.next() {
            None => return (seen, None),
            Some(Ok(job)) => seen.push(number(&job.job_id)),
            Some(Err(error)) if error.is_unreadable_job() => seen.push(number(error.job_id().unwrap())),
            Some(Err(error)) => {
                assert!(jobs.next().is_none() && jobs.next().is_none(), "it ends after an error");
                if !error.is_transient() {
                    return (seen, Some(error));
                }
                match case.continued {
                    // There are more failures than retries.
                    Continued::Retried | Continued::Resumed => jobs.resume(),
                    Continued::Elsewhere => {
                        let cursor = jobs.cursor().map(str::to_owned);
                        jobs = start(cursor.as_deref(), case.max_jobs.map(|max_jobs| max_jobs - seen.len()));
                    }
                }
            }
        }
    }
}

/// A server, and clients without and with retries.
struct Bench {
    model: Arc<Mutex<Model>>,
    clients: [Client; 2],
    _simulator: Simulator,
    _server: RawServer,
}

impl Bench {
    fn new() -> Self {
        // The pauses of the simulator's clients take no time.
        let simulator = Simulator::start().unwrap();
        let model = Arc::new(Mutex::new(Model::new(case(0))));
        let shared = model.clone();
        let server = RawServer::start(move |_, request| lock(&shared).answer(request));
        let client = |retries| {
            let builder = simulator.client_builder().base_url(server.url());
            builder.max_retries(retries).build().unwrap()
        };
        let clients = [client(0), client(2)];
        Bench { model, clients, _simulator: simulator, _server: server }
    }

    #[track_caller]
    fn check(&self, case: Case, name: &str) {
        *lock(&self.model) = Model::new(case.clone());
        let (seen, error) = iterate(&self.clients[usize::from(case.continued == Continued::Retried)], &case);
        let model = lock(&self.model);
        let limit = case.limit.unwrap_or(50) as usize;
        // What a server says twice, or leaves out, because its list has changed, is not known to the client.
        let list = if case.change.is_some() { &model.jobs_served } else { &model.list };
        let expected = &list[..list.len().min(case.max_jobs.unwrap_or(usize::MAX))];
        let shown = format!("{name}: {} of {} jobs, {error:?}\n{case:?}", seen.len(), expected.len());
        assert!(
            if error.is_some() { expected.starts_with(&seen) } else { expected == seen },
            "{shown}: {seen:?}"
        );
        assert_eq!(error.is_some(), model.must_fail(limit), "whether there is an error: {shown}");
        if case.change == Some(Change::Added) && error.is_none() && case.max_jobs.is_none() {
            assert!(
                (0..case.jobs).all(|id| seen.contains(&id)),
                "a job is missing after an addition: {shown}"
            );
        }
        assert!(model.limits.iter().all(|sent| *sent == limit), "limits {:?}: {shown}", model.limits);
        assert!(!model.sent_twice, "a cursor was sent twice: {:?}: {shown}", model.served);
    }
}

#[test]
fn each_iteration_equals_the_list_or_ends_with_an_error() {
    const CASES: u64 = 4_000;
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                let bench = Bench::new();
                (part..CASES).step_by(4).for_each(|seed| bench.check(case(seed), &format!("seed {seed}")));
            });
        }
    });
}

#[test]
fn cursors_that_count_pages_lose_no_job() {
    let bench = Bench::new();
    (50..110)
        .for_each(|jobs| bench.check(Case { cursors: Cursors::PageNumber, jobs, ..Case::default() }, ""));
}

#[test]
fn a_cursor_that_can_be_used_once_loses_no_job() {
    Bench::new().check(Case { cursors: Cursors::OnceOrEmpty, jobs: 60, ..Case::default() }, "");
}

#[test]
fn a_single_job_that_comes_twice_does_not_end_the_iteration() {
    let change = Some(Change::Added);
    Bench::new().check(Case { jobs: 20, limit: Some(1), change, ..Case::default() }, "");
}

fn simulator(jobs: u32) -> (Simulator, Client) {
    let simulator = Simulator::start().unwrap();
    simulator.add_sample_jobs(jobs);
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    (simulator, client)
}

fn ids(jobs: impl IntoIterator<Item = Result<JobSummary, Error>>) -> Vec<String> {
    jobs.into_iter().map(|job| job.unwrap().job_id.into()).collect()
}

/// Returns the ids of the newest jobs of a simulator.
fn newest(jobs: Range<u32>) -> Vec<String> {
    jobs.rev().map(|n| format!("job-{:06}", n + 1)).collect()
}

#[test]
fn each_page_is_requested_with_the_same_limit_over_one_connection() {
    let (simulator, client) = simulator(120);
    assert_eq!(ids(client.iter_jobs().max_jobs(110)), newest(10..120));
    assert_eq!(
        lines(&simulator),
        [
            "GET /api/v1/jobs?limit=50",
            "GET /api/v1/jobs?limit=50&cursor=before-job-000071",
            "GET /api/v1/jobs?limit=50&cursor=before-job-000021",
        ]
    );
    assert_eq!(simulator.connections(), 1);
    let page = client.list_jobs().limit(7).cursor(Some("before-job-000071")).send().unwrap();
    assert_eq!(
        (page.jobs.len(), page.has_more, page.next_cursor.as_deref()),
        (7, true, Some("before-job-000064"))
    );
    client.list_jobs().cursor(Some("a b&limit=9#x/?é+%41==")).send().unwrap_err();
    let encoded = "GET /api/v1/jobs?limit=50&cursor=a%20b%26limit%3D9%23x%2F%3F%C3%A9%2B%2541%3D%3D";
    assert_eq!(lines(&simulator).pop().unwrap(), encoded);
}

#[test]
fn no_page_is_requested_before_it_is_needed() {
    let (simulator, client) = simulator(10);
    assert_eq!(client.iter_jobs().limit(5).max_jobs(7).size_hint(), (0, Some(7)));
    assert_eq!(simulator.requests().len(), 0);
    assert_eq!(client.iter_jobs().limit(5).take(5).count(), 5);
    let mut jobs = client.iter_jobs().limit(5).max_jobs(5);
    assert!(jobs.next().is_some());
    assert_eq!((jobs.size_hint(), jobs.count()), ((4, Some(4)), 4));
    assert_eq!(simulator.requests().len(), 2);
}

#[test]
fn an_iteration_that_stopped_within_a_page_continues_with_that_page() {
    let (simulator, client) = simulator(30);
    let mut jobs = client.iter_jobs().limit(10);
    let seen = ids(jobs.by_ref().take(15));
    let rest = ids(client.iter_jobs().limit(10).resume_from(jobs.cursor()));
    assert_eq!((&seen[..], &rest[..]), (&newest(15..30)[..], &newest(0..20)[..]), "five jobs come twice");
    simulator.fail_next(Fault::status(503));
    let mut jobs = client.iter_jobs();
    assert!(jobs.next().unwrap().is_err());
    assert_eq!(jobs.cursor(), None, "the first page has no cursor");
    jobs.resume();
    assert_eq!(ids(&mut jobs), newest(0..30));
    assert_eq!(jobs.cursor(), None, "there is no page after the last one");
}

#[test]
fn after_an_error_about_a_cursor_only_another_iteration_continues() {
    let server = RawServer::script(vec![
        json(&page(&["a"], true, Some("c1"))),
        json(&page(&["b"], true, None)),
        json(&page(&["b"], false, None)),
    ]);
    let client = server.client();
    let mut jobs = client.iter_jobs();
    assert_eq!(ids(jobs.by_ref().take(2)), ["a", "b"], "the jobs of the page come first");
    assert!(jobs.next().unwrap().is_err());
    jobs.resume();
    assert!(jobs.next().is_none(), "the page was received");
    assert_eq!(ids(client.iter_jobs().resume_from(jobs.cursor())), ["b"]);
    let server = RawServer::script(vec![json(&page(&["a"], true, Some("c1")))]);
    assert!(server.client().list_jobs().cursor(Some("c1")).send().is_err(), "its own cursor comes next");
}

#[test]
fn a_limit_of_zero_and_an_empty_cursor_are_refused_before_any_request() {
    let (simulator, client) = simulator(3);
    for error in [
        client.list_jobs().limit(0).send().unwrap_err(),
        client.list_jobs().cursor(Some("")).send().unwrap_err(),
        client.iter_jobs().limit(0).next().unwrap().unwrap_err(),
        client.iter_jobs().resume_from(Some("")).next().unwrap().unwrap_err(),
    ] {
        assert_eq!(error.attempts(), 0, "{error}");
    }
    assert!(client.iter_jobs().limit(0).nth(1).is_none(), "the iterator ends after the error");
    assert_eq!(simulator.requests().len(), 0);
}

#[test]
fn clients_jobs_and_iterators_can_be_sent_to_threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<Client>();
    sync::<Client>();
    send::<atomiverse::Job>();
    send::<Error>();
    sync::<Error>();
    send::<JobsIter>();
}
