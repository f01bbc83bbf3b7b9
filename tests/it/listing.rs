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
    let second = client.list_jobs().limit(3).cursor(first.next_cursor.unwrap()).send().unwrap();
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
    server.client().list_jobs().cursor(cursor).send().unwrap();
    assert_eq!(
        server.lines(),
        ["GET /api/v1/jobs?limit=50&cursor=a%20b%26limit%3D9%23x%2F%3F%C3%A9%2B%2541%3D%3D"]
    );
}

#[test]
fn iterating_returns_every_job_once_newest_first() {
    let simulator = with_jobs(120);
    let jobs = ids(simulator.client().unwrap().iter_jobs());
    let expected: Vec<String> = (1..=120).rev().map(|n| format!("job-{n:06}")).collect();
    assert_eq!(jobs, expected);
    assert_eq!(
        limits(&lines(&simulator)),
        [50, 100, 1],
        "the request for one job tests whether a cursor works with another limit"
    );
    assert_eq!(simulator.connections(), 1);
}

/// Returns the limits in these request lines.
fn limits(lines: &[String]) -> Vec<u32> {
    let limit = |line: &String| line.split("limit=").nth(1)?.split('&').next()?.parse().ok();
    lines.iter().filter_map(limit).collect()
}

#[test]
fn pages_grow_so_that_a_long_history_takes_few_requests() {
    let simulator = with_jobs(2_500);
    let client = simulator.client().unwrap();
    assert_eq!(client.iter_jobs().map(Result::unwrap).count(), 2_500);
    assert_eq!(limits(&lines(&simulator)), [50, 100, 1, 200, 400, 800, 1000]);
    let simulator = with_jobs(500);
    assert_eq!(simulator.client().unwrap().iter_jobs().max_jobs(320).prefetch(true).count(), 320);
    assert_eq!(limits(&lines(&simulator)), [50, 100, 1, 170], "no more jobs are requested than are needed");
}

#[test]
fn a_page_size_that_the_server_refuses_costs_a_client_one_request() {
    for status in [400, 422] {
        let server = RawServer::start(move |_, request| {
            if limit_of(request) > 100 {
                return answer(status, &["content-type: application/json"], r#"{"detail":"limit"}"#);
            }
            page_by_place(400, request)
        });
        let client = server.client();
        for prefetch in [false, true] {
            assert_eq!(client.iter_jobs().prefetch(prefetch).map(Result::unwrap).count(), 400);
        }
        assert_eq!(
            limits(&server.lines()),
            [50, 100, 1, 200, 100, 100, 100, 50, 100, 100, 100, 100],
            "{status}: the second iteration uses the limit that worked"
        );
    }
}

#[test]
fn previews_can_be_left_out() {
    let simulator = with_jobs(20);
    let client = simulator.client().unwrap();
    let with: Vec<JobSummary> = client.iter_jobs().map(Result::unwrap).collect();
    assert!(with.iter().any(|job| job.molecule_preview.is_some()));
    let expected: Vec<JobSummary> = with
        .into_iter()
        .map(|mut job| {
            job.molecule_preview = None;
            job
        })
        .collect();
    for prefetch in [false, true] {
        let without: Vec<JobSummary> =
            client.iter_jobs().previews(false).prefetch(prefetch).map(Result::unwrap).collect();
        assert_eq!(without, expected);
    }
    assert_eq!(client.list_jobs().previews(false).send().unwrap().jobs, expected);

    // If one job cannot be read, each job is decoded by itself.
    let preview = r#""molecule_preview":{"formula":"H","atoms":[]}"#;
    let body = page(&["a", "b"], false, None);
    let body = body.replacen("\"name\":null", preview, 1).replacen(r#""state":"done""#, r#""state":7"#, 1);
    let body = body.replacen("\"name\":null", preview, 1);
    let server = RawServer::script(vec![json(&body)]);
    let jobs: Vec<_> = server.client().iter_jobs().previews(false).collect();
    assert!(jobs[0].is_err());
    assert_eq!(jobs[1].as_ref().unwrap().molecule_preview, None);
}

#[test]
fn the_last_page_requests_only_the_remaining_jobs() {
    let simulator = with_jobs(200);
    assert_eq!(simulator.client().unwrap().iter_jobs().limit(50).max_jobs(120).count(), 120);
    assert_eq!(
        lines(&simulator),
        [
            "GET /api/v1/jobs?limit=50",
            "GET /api/v1/jobs?limit=50&cursor=before-151",
            "GET /api/v1/jobs?limit=20&cursor=before-101",
        ]
    );
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

    let error = server.client().list_jobs().cursor("c1").send().unwrap_err();
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
    let mut jobs = server.client().iter_jobs().resume_from("c1");
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
    seen.extend(ids(client.iter_jobs().resume_from(cursor)));
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
    let resumed = ids(client.iter_jobs().resume_from(jobs.cursor().unwrap()));
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
    assert_eq!(ids(server.client().iter_jobs().resume_from("c1")), ["b"]);
}

#[test]
fn a_limit_of_zero_and_an_empty_cursor_are_refused_before_any_request() {
    let simulator = with_jobs(3);
    let client = simulator.client().unwrap();
    let errors = [
        client.list_jobs().limit(0).send().unwrap_err(),
        client.list_jobs().cursor("").send().unwrap_err(),
        client.iter_jobs().limit(0).next().unwrap().unwrap_err(),
        client.iter_jobs().resume_from("").next().unwrap().unwrap_err(),
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
fn prefetch_requests_the_next_page_while_the_caller_uses_the_current_one() {
    let server = RawServer::script(vec![
        json(&page(&["a", "b"], true, Some("c1"))),
        json(&page(&["c"], true, Some("c2"))),
        json(&page(&["d"], false, None)),
    ]);
    let mut jobs = server.client().iter_jobs().prefetch(true);
    assert_eq!(server.requests().len(), 0);
    assert_eq!(jobs.next().unwrap().unwrap().job_id, "a");
    wait_for_requests(&server, 2);
    assert_eq!(jobs.cursor(), None, "the current page is the first one");
    assert_eq!(jobs.next().unwrap().unwrap().job_id, "b");
    assert_eq!(jobs.cursor(), Some("c1"));
    assert_eq!(server.requests().len(), 2, "only one page is prefetched");
    assert_eq!(ids(jobs), ["c", "d"]);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn prefetching_begins_once_the_caller_does_some_work() {
    let pages = 200;
    let server =
        RawServer::start(move |n, _| json(&page(&[&format!("j{n}")], n + 1 < pages, Some(&format!("c{n}")))));
    let mut jobs = server.client().iter_jobs().limit(1).prefetch(true);
    for _ in 0..100 {
        jobs.next().unwrap().unwrap();
    }
    // The work on a page shows when the caller comes for the next one.
    thread::sleep(Duration::from_millis(1));
    jobs.next().unwrap().unwrap();
    wait_for_requests(&server, 102);
    assert_eq!(jobs.map(Result::unwrap).count(), pages - 101);
}

#[test]
fn prefetch_requests_nothing_beyond_max_jobs() {
    let simulator = with_jobs(200);
    let client = simulator.client().unwrap();
    assert_eq!(client.iter_jobs().limit(50).max_jobs(120).prefetch(true).count(), 120);
    assert_eq!(client.iter_jobs().limit(50).max_jobs(50).prefetch(true).count(), 50);
    assert_eq!(
        lines(&simulator),
        [
            "GET /api/v1/jobs?limit=50",
            "GET /api/v1/jobs?limit=50&cursor=before-151",
            "GET /api/v1/jobs?limit=20&cursor=before-101",
            "GET /api/v1/jobs?limit=50",
        ]
    );
}

#[test]
fn a_dropped_prefetching_iterator_requests_no_further_page() {
    let server = RawServer::script(vec![
        json(&page(&["a"], true, Some("c1"))),
        json(&page(&["b"], true, Some("c2"))),
        json(&page(&["c"], false, None)),
    ]);
    let client = server.client();
    let mut jobs = client.iter_jobs().prefetch(true);
    jobs.next().unwrap().unwrap();
    wait_for_requests(&server, 2);
    drop(jobs);
    assert_eq!(ids(client.iter_jobs()), ["c"]);
    let cursors: Vec<bool> = server.lines().iter().map(|line| line.contains("cursor")).collect();
    assert_eq!(cursors, [false, true, false], "the page after the next one was not requested");
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

#[test]
fn resume_from_drops_the_prefetched_page() {
    let server = RawServer::start(|_, request| match request.line.as_str() {
        line if line.contains("cursor=x") => json(&page(&["px"], false, None)),
        line if line.contains("cursor=c2") => json(&page(&["p2"], false, None)),
        _ => json(&page(&["p1"], true, Some("c2"))),
    });
    for prefetch in [false, true] {
        let mut jobs = server.client().iter_jobs().prefetch(prefetch);
        assert_eq!(jobs.next().unwrap().unwrap().job_id, "p1");
        assert_eq!(ids(jobs.resume_from("x")), ["px"], "{prefetch}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn iterators_dropped_during_a_prefetch_leave_no_threads_behind() {
    use std::fs;

    let prefetches = |thread: &fs::DirEntry| {
        let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        name.trim() == "atomiverse-pref"
    };
    let count = || fs::read_dir("/proc/self/task").unwrap().flatten().filter(prefetches).count();
    // This needs a process of its own, because other tests prefetch too.
    let output =
        in_own_process("listing::iterators_dropped_during_a_prefetch_leave_no_threads_behind", &[], || {
            let server = RawServer::start(|_, request| {
                if request.line.contains("cursor=") {
                    return vec![Step::Silence];
                }
                json(&page(&["a", "b"], true, Some("c1")))
            });
            let client = server.client();
            let iterators: Vec<JobsIter> = (0..100)
                .map(|_| {
                    let mut jobs = client.iter_jobs().prefetch(true);
                    assert_eq!(jobs.next().unwrap().unwrap().job_id, "a");
                    jobs
                })
                .collect();
            until(|| count() == 100);
            drop(iterators);
            let started = Instant::now();
            while count() > 0 {
                // Without the drop, an attempt would take 30 seconds.
                assert!(started.elapsed() < Duration::from_secs(10), "{} threads are left", count());
                thread::yield_now();
            }
        });
    assert!(output.status.success(), "{output:?}");
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
fn iterated(client: &Client, limit: Option<u32>, max_jobs: usize, prefetch: bool) -> Vec<String> {
    let jobs = client.iter_jobs().max_jobs(max_jobs).prefetch(prefetch);
    let jobs = if let Some(limit) = limit { jobs.limit(limit) } else { jobs };
    jobs.map(|job| job.unwrap().job_id.to_string()).collect()
}

#[test]
fn a_smaller_last_page_loses_no_job_if_cursors_count_pages() {
    for prefetch in [false, true] {
        for (limit, max_jobs, expected) in [
            (None, 80, vec![50, 30, 50]),
            (None, 51, vec![50, 1, 50]),
            (Some(50), 120, vec![50, 50, 20, 50]),
            (Some(10), 95, [vec![10; 9], vec![5, 10]].concat()),
        ] {
            let server = paged_by_number(500);
            let client = server.client();
            assert_eq!(iterated(&client, limit, max_jobs, prefetch), numbered(0..max_jobs));
            assert_eq!(limits(&server.lines()), expected);
            // From now on the client knows.
            let before = server.lines().len();
            assert_eq!(iterated(&client, limit, max_jobs, prefetch), numbered(0..max_jobs));
            let size = limit.unwrap_or(50);
            assert_eq!(limits(&server.lines()[before..]), vec![size; max_jobs.div_ceil(size as usize)]);
        }
    }
}

#[test]
fn a_job_that_moves_to_a_smaller_last_page_does_not_discredit_the_cursors() {
    // 40 jobs are added after the first page. The next page therefore begins with the same job as if the cursor counted
    // pages of 10.
    let server = RawServer::start(|_, request| {
        let from = if parameter(request, "cursor").is_some() { 10 } else { 0 };
        page_with(from..from + limit_of(request), true, "next")
    });
    let client = server.client();
    for _ in 0..2 {
        assert_eq!(client.iter_jobs().max_jobs(60).map(Result::unwrap).count(), 60);
    }
    assert_eq!(limits(&server.lines()), [50, 10, 50, 50, 10]);
}

#[test]
fn a_cursor_that_is_bound_to_its_limit_costs_two_requests_for_each_client() {
    for (limit, max_jobs, expected) in [
        (None, 80, vec![50, 30, 50]),
        (None, 120, vec![50, 70, 50, 20, 50]),
        (Some(50), 120, vec![50, 50, 20, 50]),
        (None, 300, vec![50, 100, 50, 50, 50, 50, 50]),
    ] {
        let server = RawServer::start(move |_, request| {
            let size = limit_of(request);
            let cursor = parameter(request, "cursor").map(|cursor| cursor.split_once('-').unwrap());
            let number = |text: &str| text.parse::<usize>().unwrap();
            let (from, bound) = cursor.map_or((0, size), |(from, bound)| (number(from), number(bound)));
            if size != bound {
                return answer(422, &["content-type: application/json"], r#"{"detail":"another limit"}"#);
            }
            page_with(from..from + size, true, &format!("{}-{size}", from + size))
        });
        let client = server.client();
        assert_eq!(iterated(&client, limit, max_jobs, false), numbered(0..max_jobs));
        assert_eq!(limits(&server.lines()), expected);
        let before = server.lines().len();
        assert_eq!(iterated(&client, limit, max_jobs, false), numbered(0..max_jobs));
        assert_eq!(limits(&server.lines()[before..]), vec![50; max_jobs.div_ceil(50)]);
    }
}

#[test]
fn a_cursor_that_has_expired_does_not_keep_later_pages_small() {
    let expires = Arc::new(AtomicBool::new(true));
    let has_expired = expires.clone();
    let server = RawServer::start(move |_, request| {
        if parameter(request, "cursor").is_some() && has_expired.load(Ordering::SeqCst) {
            return answer(
                422,
                &["content-type: application/json"],
                r#"{"detail":"the cursor has expired"}"#,
            );
        }
        page_by_place(400, request)
    });
    let client = server.client();
    for max_jobs in [80, 400] {
        let error = client.iter_jobs().max_jobs(max_jobs).last().unwrap().unwrap_err();
        assert!(error.is_validation(), "{error}");
    }
    expires.store(false, Ordering::SeqCst);
    let before = server.lines().len();
    assert_eq!(client.iter_jobs().map(Result::unwrap).count(), 400);
    assert_eq!(limits(&server.lines()[before..]), [50, 100, 1, 200, 400]);
}

#[test]
fn a_check_of_a_cursor_that_fails_for_a_while_does_not_keep_pages_small() {
    let server = RawServer::start(|n, request| {
        // The first request for one job fails.
        if n == 2 { answer(503, &[], "") } else { page_by_place(1000, request) }
    });
    let client = server.client_builder().max_retries(0).build().unwrap();
    assert_eq!(client.iter_jobs().map(Result::unwrap).count(), 1000);
    assert_eq!(limits(&server.lines()), [50, 100, 1, 50, 200, 1, 400, 800]);
}

#[test]
fn pages_grow_only_if_a_cursor_works_with_another_limit() {
    for prefetch in [false, true] {
        for (server, first, second) in [
            (paged_by_place(500), vec![50, 100, 1, 200, 400], vec![50, 100, 200, 400]),
            (paged_by_number(500), [vec![50, 100, 1], vec![50; 9]].concat(), vec![50; 10]),
        ] {
            let client = server.client();
            let ids = || -> Vec<String> {
                client.iter_jobs().prefetch(prefetch).map(|job| job.unwrap().job_id.to_string()).collect()
            };
            let expected: Vec<String> = (0..500).map(|n| format!("j{n}")).collect();
            assert_eq!(ids(), expected);
            let before = limits(&server.lines());
            assert_eq!(ids(), expected);
            // The last page is not made smaller if that would lead to another page.
            let some: Vec<String> =
                client.iter_jobs().max_jobs(120).map(|job| job.unwrap().job_id.to_string()).collect();
            assert_eq!(some, expected[..120]);
            let after = limits(&server.lines())[before.len()..][..second.len()].to_vec();
            if !prefetch {
                assert_eq!((before, after), (first, second));
            }
        }
    }
}
