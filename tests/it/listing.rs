//! Tests pages and iterators: their requests, the jobs that they return, and how they end.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atomiverse::simulator::{Fault, SimulatedJob};
use atomiverse::{Client, Error, JobSummary, JobsIter};

use crate::contract::{Service, lines};
use crate::support::{Answer, Message, RawServer, Step, answer, in_own_process, json, page, until};

fn with_jobs(count: u32) -> Service {
    let simulator = Service::start();
    simulator.add_sample_jobs(count);
    simulator
}

fn ids(jobs: impl IntoIterator<Item = Result<JobSummary, Error>>) -> Vec<String> {
    jobs.into_iter().map(|job| job.unwrap().job_id.into()).collect()
}

/// Returns the jobs until the first error, and that error.
fn until_error(jobs: &mut JobsIter) -> (Vec<String>, Error) {
    let mut ids = Vec::new();
    loop {
        match jobs.next().expect("the iterator ended without an error") {
            Ok(job) => ids.push(job.job_id.into()),
            Err(error) => return (ids, error),
        }
    }
}

#[test]
fn the_next_page_is_not_requested_while_the_caller_uses_the_first() {
    let simulator = with_jobs(3);
    let client = simulator.client().unwrap();
    let mut jobs = client.iter_jobs().limit(1);
    let first = jobs.next().unwrap().unwrap().job_id;
    // These requests leave time for a page to be fetched too early.
    for _ in 0..20 {
        client.get_job(&first).unwrap();
    }
    let pages = lines(&simulator).into_iter().filter(|line| line.contains("limit=")).count();
    assert_eq!(pages, 1);
}

#[test]
fn next_cursor_requests_the_next_page() {
    let simulator = with_jobs(5);
    let client = simulator.client().unwrap();

    let first = client.list_jobs().limit(3).send().unwrap();
    assert_eq!(first.jobs.len(), 3);
    assert!(first.has_more);
    let second = client.list_jobs().limit(3).cursor(first.next_cursor.as_deref()).send().unwrap();
    assert_eq!(second.jobs.len(), 2);
    assert!(!second.has_more);
    assert_eq!(second.next_cursor, None);

    assert_eq!(lines(&simulator), ["GET /api/v1/jobs?limit=3", "GET /api/v1/jobs?limit=3&cursor=before-3"]);
}

#[test]
fn the_limit_defaults_to_fifty() {
    let simulator = with_jobs(51);
    assert_eq!(simulator.client().unwrap().list_jobs().send().unwrap().jobs.len(), 50);
    assert_eq!(lines(&simulator), ["GET /api/v1/jobs?limit=50"]);
}

#[test]
fn a_cursor_is_percent_encoded() {
    let server = RawServer::script(vec![json(&page(&[], false, None))]);
    let cursor = "a b&limit=9#x/?é+%41==";
    server.client().list_jobs().cursor(Some(cursor)).send().unwrap();
    assert_eq!(
        server.lines(),
        ["GET /api/v1/jobs?limit=50&cursor=a%20b%26limit%3D9%23x%2F%3F%C3%A9%2B%2541%3D%3D"]
    );
}

/// Returns the limits in these request lines.
fn limits(lines: &[String]) -> Vec<u32> {
    let limit = |line: &String| line.split("limit=").nth(1)?.split('&').next()?.parse().ok();
    lines.iter().filter_map(limit).collect()
}

#[test]
fn no_further_page_is_requested_if_max_jobs_is_reached_at_the_end_of_a_page() {
    let simulator = with_jobs(100);
    assert_eq!(simulator.client().unwrap().iter_jobs().limit(50).max_jobs(50).count(), 50);
    assert_eq!(simulator.requests().len(), 1);
}

#[test]
fn max_jobs_of_zero_and_an_unused_iterator_send_nothing() {
    let simulator = with_jobs(3);
    let client = simulator.client().unwrap();
    assert!(client.iter_jobs().max_jobs(0).next().is_none());
    assert!(client.iter_jobs().limit(0).max_jobs(0).next().is_none());
    drop(client.iter_jobs().limit(2).max_jobs(2));
    assert_eq!(simulator.requests().len(), 0);
}

#[test]
fn no_page_is_fetched_before_it_is_needed() {
    let simulator = with_jobs(10);
    let client = simulator.client().unwrap();
    assert_eq!(client.iter_jobs().limit(5).take(5).count(), 5);
    assert_eq!(simulator.requests().len(), 1);
}

#[test]
fn a_page_larger_than_the_limit_is_returned_whole_up_to_max_jobs() {
    let server = RawServer::script(vec![json(&page(&["a", "b", "c", "d"], true, Some("c2")))]);
    assert_eq!(server.client().list_jobs().limit(2).send().unwrap().jobs.len(), 4);
    assert_eq!(ids(server.client().iter_jobs().limit(2).max_jobs(3)), ["a", "b", "c"]);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn an_empty_page_is_skipped() {
    let server = RawServer::script(vec![
        json(&page(&[], true, Some("c1"))),
        json(&page(&["a"], true, Some("c2"))),
        json(&page(&[], true, Some("c3"))),
        json(&page(&["b"], true, Some("c4"))),
        json(&page(&[], false, None)),
    ]);
    assert_eq!(ids(server.client().iter_jobs()), ["a", "b"]);
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn has_more_takes_precedence_over_the_cursor() {
    let server = RawServer::script(vec![json(&page(&["a"], false, Some("never-null")))]);
    assert_eq!(ids(server.client().iter_jobs()), ["a"]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_missing_cursor_is_an_error_after_the_jobs_of_its_page() {
    for cursor in [None, Some("")] {
        let server = RawServer::script(vec![json(&page(&["a", "b"], true, cursor))]);
        let mut jobs = server.client().iter_jobs();
        let (seen, error) = until_error(&mut jobs);
        assert_eq!(seen, ["a", "b"]);
        assert!(error.to_string().contains("no cursor for the next page"), "{error}");
        assert!(jobs.next().is_none());
        assert_eq!(server.requests().len(), 1);

        let error = server.client().list_jobs().send().unwrap_err();
        assert!(error.to_string().contains("no cursor for the next page"), "{error}");
    }
}

#[test]
fn a_repeated_cursor_is_an_error() {
    let server =
        RawServer::script(vec![json(&page(&["a"], true, Some("c1"))), json(&page(&["b"], true, Some("c1")))]);
    let mut jobs = server.client().iter_jobs();
    let (seen, error) = until_error(&mut jobs);
    assert_eq!(seen, ["a", "b"]);
    assert!(error.to_string().contains(r#"cursor "c1" a second time"#), "{error}");
    assert!(jobs.next().is_none());
    assert_eq!(server.requests().len(), 2);

    let error = server.client().list_jobs().cursor(Some("c1")).send().unwrap_err();
    assert!(error.to_string().contains(r#"cursor "c1" a second time"#), "{error}");
}

#[test]
fn cursors_that_form_a_cycle_are_an_error() {
    let server = RawServer::start(|n, _| {
        let next = ["c1", "c2", "c3"][n % 3];
        json(&page(&[&format!("job-{n}")], true, Some(next)))
    });
    let mut jobs = server.client().iter_jobs();
    let (seen, error) = until_error(&mut jobs);
    assert_eq!(seen, ["job-0", "job-1", "job-2", "job-3"]);
    assert!(error.to_string().contains(r#"cursor "c1" a second time"#), "{error}");
    assert!(jobs.next().is_none());
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_cursor_that_leads_back_to_the_start_of_a_resumed_iteration_is_an_error() {
    let server = RawServer::start(|n, _| json(&page(&[], true, Some(["c2", "c1"][n % 2]))));
    let mut jobs = server.client().iter_jobs().resume_from(Some("c1"));
    let error = jobs.next().unwrap().unwrap_err();
    assert!(error.to_string().contains(r#"cursor "c1" a second time"#), "{error}");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_failed_iteration_resumes_without_losing_or_repeating_jobs() {
    let simulator = with_jobs(120);
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    let mut jobs = client.iter_jobs().limit(50);
    let mut seen = ids(jobs.by_ref().take(100));
    simulator.fail_next(Fault::status(500));
    assert_eq!(jobs.next().unwrap().unwrap_err().status(), Some(500));
    assert!(jobs.next().is_none(), "the iterator ends after an error");
    assert!(jobs.next().is_none());

    let cursor = jobs.cursor().unwrap().to_owned();
    seen.extend(ids(client.iter_jobs().resume_from(Some(&cursor))));
    let expected: Vec<String> = (1..=120).rev().map(|n| format!("job-{n:06}")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn an_iteration_that_fails_on_the_first_page_resumes_at_the_start() {
    let simulator = with_jobs(3);
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    simulator.fail_next(Fault::Cut);
    let mut jobs = client.iter_jobs();
    assert!(jobs.next().unwrap().is_err());
    assert_eq!(jobs.cursor(), None);
    assert_eq!(client.iter_jobs().count(), 3);
}

#[test]
fn an_iteration_that_stopped_within_a_page_resumes_at_that_page() {
    let simulator = with_jobs(30);
    let client = simulator.client().unwrap();
    let mut jobs = client.iter_jobs().limit(10);
    let seen = ids(jobs.by_ref().take(15));
    let resumed = ids(client.iter_jobs().resume_from(jobs.cursor()));
    assert_eq!(resumed[0], seen[10], "the page is repeated so that no job is lost");
    assert_eq!(resumed.len(), 20);
}

#[test]
fn after_a_cursor_error_iteration_resumes_at_the_page_that_had_the_cursor() {
    let server = RawServer::script(vec![
        json(&page(&["a"], true, Some("c1"))),
        json(&page(&["b"], true, None)),
        json(&page(&["b"], false, None)),
    ]);
    let mut jobs = server.client().iter_jobs();
    until_error(&mut jobs);
    assert_eq!(jobs.cursor(), Some("c1"));
    assert_eq!(ids(server.client().iter_jobs().resume_from(Some("c1"))), ["b"]);
}

#[test]
fn a_limit_of_zero_and_an_empty_cursor_are_refused_before_any_request() {
    let simulator = with_jobs(3);
    let client = simulator.client().unwrap();
    let errors = [
        client.list_jobs().limit(0).send().unwrap_err(),
        client.list_jobs().cursor(Some("")).send().unwrap_err(),
        client.iter_jobs().limit(0).next().unwrap().unwrap_err(),
        client.iter_jobs().resume_from(Some("")).next().unwrap().unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("nothing was sent"), "{error}");
        assert_eq!(error.attempts(), 0);
    }
    assert!(client.iter_jobs().limit(0).nth(1).is_none(), "the iterator ends after the error");
    assert_eq!(simulator.requests().len(), 0);
}

#[test]
fn jobs_added_or_deleted_while_iterating_do_not_shift_the_pages() {
    let simulator = with_jobs(20);
    let client = simulator.client().unwrap();
    let mut jobs = client.iter_jobs().limit(10);
    let mut seen = ids(jobs.by_ref().take(10));
    simulator.add_job(SimulatedJob::new("opt"));
    client.delete_job("job-000011").unwrap();
    seen.extend(ids(jobs));
    let expected: Vec<String> = (1..=20).rev().map(|n| format!("job-{n:06}")).collect();
    assert_eq!(seen, expected);
}

/// Waits until the server has received this many requests.
fn wait_for_requests(server: &RawServer, count: usize) {
    let started = Instant::now();
    while server.requests().len() < count {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", server.lines());
        thread::yield_now();
    }
}

#[test]
fn the_size_hint_counts_loaded_jobs_up_to_max_jobs() {
    let simulator = with_jobs(20);
    let client = simulator.client().unwrap();
    assert_eq!(client.iter_jobs().size_hint(), (0, None));
    let mut jobs = client.iter_jobs().limit(10).max_jobs(15);
    assert_eq!(jobs.size_hint(), (0, Some(15)));
    jobs.next();
    assert_eq!(jobs.size_hint(), (9, Some(14)));
}

#[test]
fn clients_jobs_and_iterators_are_send() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<atomiverse::Client>();
    sync::<atomiverse::Client>();
    send::<JobsIter>();
    send::<atomiverse::Job>();
    send::<Error>();
    sync::<Error>();
    fn fused<T: std::iter::FusedIterator>() {}
    fused::<JobsIter>();
}

/// Returns a parameter of the query.
fn parameter<'a>(request: &'a Message, name: &str) -> Option<&'a str> {
    let (_, value) = request.line.split_once(&format!("{name}="))?;
    value.split(['&', ' ']).next()
}

fn limit_of(request: &Message) -> usize {
    parameter(request, "limit").unwrap().parse().unwrap()
}

/// Returns the ids `j0`, `j1`, and so on.
fn numbered(jobs: Range<usize>) -> Vec<String> {
    jobs.map(|n| format!("j{n}")).collect()
}

/// Returns a page with these jobs.
fn page_with(jobs: Range<usize>, has_more: bool, next_cursor: &str) -> Answer {
    let ids = numbered(jobs);
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    json(&page(&ids, has_more, Some(next_cursor)))
}

/// Returns the page of a server with so many jobs, whose cursors are places in the list.
fn page_by_place(jobs: usize, request: &Message) -> Answer {
    let from = parameter(request, "cursor").map_or(0, |cursor| cursor[1..].parse().unwrap());
    let to = jobs.min(from + limit_of(request));
    page_with(from..to, to < jobs, &format!("o{to}"))
}

fn paged_by_place(jobs: usize) -> RawServer {
    RawServer::start(move |_, request| page_by_place(jobs, request))
}

/// Starts a server whose cursors are page numbers, so a cursor leads to another place with another limit.
fn paged_by_number(jobs: usize) -> RawServer {
    RawServer::start(move |_, request| {
        let number: usize = parameter(request, "cursor").map_or(0, |cursor| cursor[1..].parse().unwrap());
        let from = number * limit_of(request);
        let to = jobs.min(from + limit_of(request));
        page_with(from..to, to < jobs, &format!("p{}", number + 1))
    })
}

/// Returns the ids of the jobs that an iteration yields.
fn iterated(client: &Client, limit: Option<u32>, max_jobs: usize) -> Vec<String> {
    let jobs = client.iter_jobs().max_jobs(max_jobs);
    let jobs = if let Some(limit) = limit { jobs.limit(limit) } else { jobs };
    jobs.map(|job| job.unwrap().job_id.to_string()).collect()
}
