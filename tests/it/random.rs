//! Compares the iterator with a simple model, for random job histories on servers with random faults.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use crate::support::{Answer, RawServer, Step, answer, page, raw};

/// One page of a random server, and the faults that occur before it is served.
#[derive(Debug, Clone)]
struct Page {
    jobs: usize,
    faults: Vec<Fault>,
    /// A cursor that leads back to an earlier page, or none at all.
    bad_cursor: Option<BadCursor>,
    /// Some servers send a cursor on the last page too.
    needless_cursor: bool,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Cut,
    Reset,
    HalfBody,
    Busy,
    Html,
    NotFound,
}

#[derive(Debug, Clone, Copy)]
enum BadCursor {
    Missing,
    Earlier(usize),
}

const RETRIES: usize = 2;

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::Cut),
        3 => Just(Fault::Reset),
        3 => Just(Fault::HalfBody),
        3 => Just(Fault::Busy),
        1 => Just(Fault::Html),
        1 => Just(Fault::NotFound),
    ]
}

fn a_page() -> impl Strategy<Value = Page> {
    let bad = prop_oneof![
        30 => Just(None),
        1 => Just(Some(BadCursor::Missing)),
        1 => (0usize..8).prop_map(|n| Some(BadCursor::Earlier(n))),
    ];
    (0usize..4, prop::collection::vec(fault(), 0..4), bad, any::<bool>()).prop_map(
        |(jobs, faults, bad_cursor, needless_cursor)| Page { jobs, faults, bad_cursor, needless_cursor },
    )
}

fn cursor(n: usize) -> String {
    format!("c {n}/é")
}

fn ids(pages: &[Page], n: usize) -> Vec<String> {
    (0..pages[n].jobs).map(|k| format!("job-{n}-{k}")).collect()
}

fn body(pages: &[Page], n: usize) -> String {
    let ids = ids(pages, n);
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let last = n + 1 == pages.len();
    let next = match pages[n].bad_cursor {
        _ if last => pages[n].needless_cursor.then(|| cursor(0)),
        Some(BadCursor::Missing) => None,
        Some(BadCursor::Earlier(earlier)) => Some(cursor(1 + earlier % n.max(1))),
        None => Some(cursor(n + 1)),
    };
    page(&ids, !last, next.as_deref())
}

/// Starts a server for these pages. Each fault occurs once.
fn serve(pages: &[Page]) -> RawServer {
    let left = Arc::new(Mutex::new(pages.to_vec()));
    let pages = pages.to_vec();
    RawServer::start(move |_, request| {
        let n = match request.line.split_once("cursor=c%20") {
            Some((_, rest)) => rest.split('%').next().unwrap().parse().unwrap(),
            None => 0,
        };
        let body = body(&pages, n);
        let faults = &mut left.lock().unwrap()[n].faults;
        if faults.is_empty() { answer(200, &[], &body) } else { faulty(faults.remove(0), &body) }
    })
}

fn faulty(fault: Fault, body: &str) -> Answer {
    match fault {
        Fault::Cut => vec![Step::Close],
        Fault::Reset => vec![Step::Reset],
        Fault::HalfBody => {
            let half = &body[..body.len() / 2];
            [
                raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{half}", body.len())),
                vec![Step::Close],
            ]
            .concat()
        }
        Fault::Busy => answer(503, &["retry-after: 0"], ""),
        Fault::Html => answer(200, &["content-type: text/html"], "<html>"),
        Fault::NotFound => answer(404, &[], ""),
    }
}

/// The expected outcome of an iteration: its jobs, whether it fails, and the page where it resumes.
struct Expected {
    ids: Vec<String>,
    fails: bool,
    resume: Option<usize>,
}

/// The model of an iteration that starts at page `from`: one page after the other, where each fault takes one attempt.
fn model(pages: &mut [Page], from: usize, mut wanted: usize) -> Expected {
    let mut ids = Vec::new();
    let mut used = if from == 0 { vec![] } else { vec![from] };
    let mut n = from;
    while wanted > 0 {
        let mut attempts = 0;
        while !pages[n].faults.is_empty() {
            let fault = pages[n].faults.remove(0);
            attempts += 1;
            if attempts > RETRIES || matches!(fault, Fault::Html | Fault::NotFound) {
                return Expected { ids, fails: true, resume: Some(n) };
            }
        }
        let page = self::ids(pages, n);
        let taken = page.len().min(wanted);
        wanted -= taken;
        ids.extend_from_slice(&page[..taken]);
        if wanted == 0 || n + 1 == pages.len() {
            break;
        }
        let next = match pages[n].bad_cursor {
            None => n + 1,
            Some(BadCursor::Missing) => return Expected { ids, fails: true, resume: Some(n) },
            Some(BadCursor::Earlier(earlier)) => 1 + earlier % n.max(1),
        };
        if used.contains(&next) {
            return Expected { ids, fails: true, resume: Some(n) };
        }
        used.push(next);
        n = next;
    }
    Expected { ids, fails: false, resume: None }
}

proptest! {
    // Each case starts a server, so a hundred cases take a few seconds.
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_iterator_agrees_with_a_simple_model(
        pages in prop::collection::vec(a_page(), 1..7),
        max_jobs in prop::option::weighted(0.5, 0usize..14),
    ) {
        let served = pages;
        let mut requests = Vec::new();
        for prefetch in [false, true] {
        let server = serve(&served);
        // The model has no retry budget, so the client gets one that is large enough for all faults.
        let builder = server.client_builder().max_retries(RETRIES as u32).retry_budget(100);
        let client = builder.build().unwrap();
        let mut pages = served.clone();
        let mut from = 0;
        let mut wanted = max_jobs.unwrap_or(usize::MAX);
        // A failed iteration is resumed a few times. A page with a bad cursor fails each time.
        for _ in 0..6 {
            let expected = model(&mut pages, from, wanted);
            let mut jobs = client.iter_jobs().prefetch(prefetch);
            if let Some(max) = max_jobs {
                jobs = jobs.max_jobs(wanted.min(max));
            }
            if from > 0 {
                jobs = jobs.resume_from(cursor(from));
            }
            let mut ids: Vec<String> = Vec::new();
            let mut failures = 0;
            for job in &mut jobs {
                prop_assert_eq!(failures, 0, "the iterator must end after an error");
                match job {
                    Ok(job) => ids.push(job.job_id.into()),
                    Err(_) => failures += 1,
                }
            }
            prop_assert!(jobs.next().is_none());
            prop_assert_eq!(&ids, &expected.ids);
            prop_assert_eq!(failures, usize::from(expected.fails));
            if !expected.fails {
                break;
            }
            let resume = expected.resume.unwrap();
            prop_assert_eq!(jobs.cursor().map(str::to_owned), (resume > 0).then(|| cursor(resume)));
            wanted = wanted.saturating_sub(ids.len());
            from = resume;
        }
        requests.push(server.lines());
        }
        prop_assert_eq!(&requests[0], &requests[1], "the requests must be the same with and without prefetch");
    }
}
