//! Which page comes next: cursors and limits. Pure: the caller passes a function that fetches a page.

use std::cmp;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::api::{self, Page};
use crate::error::{Context, Error, ErrorKind, Result, sanitize};
use crate::sync::lock;
use crate::types::{JobId, JobSummary};

/// The pages of the job history, in their order.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The caller's limit. `None` lets the pages grow.
    pub(crate) limit: Option<u32>,
    /// The limit of the next page if pages grow.
    grown: u32,
    /// The limit of the last page that was received.
    worked: Option<u32>,
    sizes: Arc<PageSizes>,
    /// How many jobs are still wanted. `None` is all of them.
    pub(crate) remaining: Option<usize>,
    state: State,
    /// The cursor of the last page that was fetched.
    current: Option<String>,
    /// The first job of the last page that had any.
    first_job: Option<JobId>,
    /// An error about the last page, reported after its jobs.
    deferred_error: Option<Error>,
    /// Hashes of the cursors used so far; hashes keep long scans small.
    seen_cursors: HashSet<u64>,
    /// The number of jobs received so far.
    received: usize,
    /// The job with which a smaller last page begins if the cursors count pages.
    misplaced_job: Option<JobId>,
    hasher: RandomState,
}

/// What is known of the pages of a server, shared by all iterations of a client.
#[derive(Debug, Default)]
pub(crate) struct PageSizes {
    /// The largest page that it gives. 0 if that is not known.
    largest: AtomicU32,
    cursors: Mutex<Cursors>,
}

/// Whether a cursor leads to the same place with another limit than that of the page that it came with. A cursor that
/// counts pages does not, and one may also be refused with another limit.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Cursors {
    #[default]
    Unknown,
    AnyLimit,
    OneLimit,
}

impl PageSizes {
    fn cursors(&self) -> Cursors {
        *lock(&self.cursors)
    }

    fn learn(&self, works: bool) {
        *lock(&self.cursors) = if works { Cursors::AnyLimit } else { Cursors::OneLimit };
    }
}

/// Identifies pages by their cursors. The first page has none.
#[derive(Debug)]
enum State {
    Next(Option<String>),
    /// The page could not be fetched.
    Failed(Option<String>),
    /// The page was fetched, and its cursor for the next page cannot be used.
    BadCursor(Option<String>),
    Done,
}

/// A page, and the context of the call that fetched it.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) page: Page,
    /// The size of the response.
    pub(crate) bytes: usize,
    pub(crate) context: Context,
}

impl Pages {
    pub(crate) fn new(sizes: &Arc<PageSizes>) -> Self {
        Pages {
            limit: None,
            grown: api::PAGE_SIZE,
            worked: None,
            sizes: sizes.clone(),
            remaining: None,
            state: State::Next(None),
            current: None,
            first_job: None,
            deferred_error: None,
            seen_cursors: HashSet::new(),
            received: 0,
            misplaced_job: None,
            hasher: RandomState::new(),
        }
    }

    /// Pages for a caller who wants to see this many jobs as soon as possible.
    pub(crate) fn for_many(jobs: usize, sizes: &Arc<PageSizes>) -> Self {
        let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
        Pages { grown: jobs.clamp(api::PAGE_SIZE, api::MAX_PAGE_SIZE), ..Pages::new(sizes) }
    }

    /// Starts at a page other than the first.
    pub(crate) fn start_at(&mut self, cursor: String) {
        self.state = State::Next(Some(cursor));
        self.deferred_error = None;
        self.first_job = None;
        self.seen_cursors.clear();
        self.received = 0;
        self.misplaced_job = None;
    }

    /// After a page that could not be fetched, makes it the next one again.
    pub(crate) fn resume(&mut self) {
        self.state = match mem::replace(&mut self.state, State::Done) {
            State::Failed(cursor) => State::Next(cursor),
            state => state,
        };
    }

    /// Returns the cursor of the last page that was fetched.
    pub(crate) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Returns the cursor of the page to fetch next, or of the page that could not be fetched.
    pub(crate) fn next_cursor(&self) -> Option<&str> {
        match &self.state {
            State::Next(cursor) | State::Failed(cursor) | State::BadCursor(cursor) => cursor.as_deref(),
            State::Done => None,
        }
    }

    /// Returns the limit and cursor of the next request, or `None` if no page is wanted. `buffered` is the number of
    /// jobs of the last page that the caller has not received.
    pub(crate) fn next_request(&self, buffered: usize) -> Result<Option<(u32, Option<&str>)>> {
        let State::Next(cursor) = &self.state else { return Ok(None) };
        let wanted = self.remaining.map(|remaining| remaining.saturating_sub(buffered));
        if wanted == Some(0) {
            return Ok(None);
        }
        let cursors = self.sizes.cursors();
        let limit = self.limit.unwrap_or_else(|| {
            let grown = self.worked.filter(|_| cursors == Cursors::OneLimit).unwrap_or(self.grown);
            match self.sizes.largest.load(Ordering::Relaxed) {
                0 => grown,
                largest => grown.min(largest),
            }
        });
        check(limit, cursor.as_deref())?;
        let wanted = wanted.filter(|_| cursors != Cursors::OneLimit);
        let wanted = wanted.map_or(u32::MAX, |wanted| u32::try_from(wanted).unwrap_or(u32::MAX));
        Ok(Some((limit.min(wanted), cursor.as_deref())))
    }

    /// The limit of the last page that was received. That of the first page is assumed to work.
    fn worked(&self) -> u32 {
        self.worked.or(self.limit).unwrap_or(api::PAGE_SIZE)
    }

    /// After a page that came: the next one may be larger, unless this one was slow or large already, or the server
    /// gave fewer jobs than were asked for.
    fn grow(&mut self, limit: u32, jobs: usize, bytes: usize, took: Duration) {
        const MAX_TIME: Duration = Duration::from_secs(1);
        const MAX_BYTES: usize = 2 << 20;
        self.worked = Some(limit);
        if took < MAX_TIME && bytes < MAX_BYTES && u32::try_from(jobs).is_ok_and(|jobs| jobs >= limit) {
            self.grown = self.grown.saturating_mul(2).min(api::MAX_PAGE_SIZE);
        }
    }

    /// Requests a page, and again with the last limit that worked if this one does not.
    fn request(
        &self,
        limit: u32,
        cursor: Option<&str>,
        fetch: &mut impl FnMut(u32, Option<&str>) -> Result<Fetched>,
    ) -> Result<(u32, Fetched)> {
        let worked = self.worked();
        let fetched = fetch(limit, cursor);
        let works = match &fetched {
            Ok(fetched) if limit > worked => self.larger_works(cursor, &fetched.page, fetch),
            Ok(fetched) if limit < worked => self.smaller_works(&fetched.page),
            Ok(_) => true,
            Err(error) => !self.is_refused(limit, error),
        };
        if works {
            return fetched.map(|fetched| (limit, fetched));
        }
        let again = fetch(worked, cursor)?;
        match fetched {
            // A job may also come again because others were added to the list.
            Ok(smaller) if limit < worked => {
                self.sizes.learn(first_of(&smaller.page) == first_of(&again.page))
            }
            Ok(_) => {}
            Err(_) if limit > worked => self.sizes.largest.store(worked, Ordering::Relaxed),
            Err(_) if self.sizes.cursors() == Cursors::Unknown => self.sizes.learn(false),
            Err(_) => {}
        }
        Ok((worked, again))
    }

    /// Whether a page may have been refused because of its limit. It was if the same page comes with another limit.
    fn is_refused(&self, limit: u32, error: &Error) -> bool {
        let status = matches!(error.status(), Some(400 | 422));
        match limit.cmp(&self.worked()) {
            cmp::Ordering::Greater => status || matches!(error.kind(), ErrorKind::TooLarge(_)),
            cmp::Ordering::Less => status && self.worked.is_some(),
            cmp::Ordering::Equal => false,
        }
    }

    /// Whether a page that is larger than the one before begins where that one ended. Otherwise jobs would be lost. One
    /// request for a client finds out.
    fn larger_works(
        &self,
        cursor: Option<&str>,
        page: &Page,
        fetch: &mut impl FnMut(u32, Option<&str>) -> Result<Fetched>,
    ) -> bool {
        let first = first_of(page);
        if cursor.is_none() || self.sizes.cursors() == Cursors::AnyLimit || first.is_none() {
            return true;
        }
        match fetch(1, cursor) {
            Ok(small) => self.sizes.learn(first_of(&small.page) == first),
            Err(error) if error.is_transient() || error.is_stopped() => return false,
            Err(_) => self.sizes.learn(false),
        }
        self.sizes.cursors() == Cursors::AnyLimit
    }

    /// Whether a page that is smaller than the one before begins where that one ended. If the cursor counts pages, the
    /// page begins with a job that was received before.
    fn smaller_works(&self, page: &Page) -> bool {
        let first = first_of(page);
        first.is_none() || first != self.misplaced_job.as_ref() || self.sizes.cursors() == Cursors::AnyLimit
    }

    /// Fetches the next page and returns its jobs, or `None` if there is none. After an error there is none.
    pub(crate) fn next_page(
        &mut self,
        mut fetch: impl FnMut(u32, Option<&str>) -> Result<Fetched>,
    ) -> Result<Option<Vec<Result<JobSummary>>>> {
        if let Some(error) = self.deferred_error.take() {
            return Err(error);
        }
        let fetched = match self.next_request(0) {
            Ok(None) => return Ok(None),
            Ok(Some((limit, cursor))) => self.request(limit, cursor, &mut fetch),
            Err(error) => Err(error),
        };
        let State::Next(cursor) = mem::replace(&mut self.state, State::Done) else { return Ok(None) };
        match fetched.and_then(|(limit, fetched)| Ok((limit, self.refuse_repeated(fetched)?))) {
            Ok((limit, Fetched { page, bytes, context })) => {
                self.grow(limit, page.jobs.len(), bytes, context.elapsed);
                self.find_misplaced_job(limit, &page);
                self.advance(cursor, &page).unwrap_or_else(|kind| {
                    self.deferred_error = Some(Error::new(kind, context));
                });
                Ok(Some(page.jobs))
            }
            Err(error) => {
                self.state = State::Failed(cursor);
                Err(error)
            }
        }
    }

    /// Looks on the page for the job with which the last page begins if it is smaller and the cursors count pages: page
    /// number `n` of another size `s` begins at place `n * s` of the list.
    fn find_misplaced_job(&mut self, limit: u32, page: &Page) {
        let (limit, first) = (limit as usize, self.received);
        self.received += page.jobs.len();
        let Some(wanted) = self.remaining.map(|remaining| remaining.saturating_add(first)) else { return };
        let place = (wanted / limit).saturating_mul(wanted % limit);
        let job = place.checked_sub(first).and_then(|place| page.jobs.get(place));
        if let Some(id) = job.and_then(id_of) {
            self.misplaced_job = Some(id.clone());
        }
    }

    /// Refuses a page that begins like the previous one: the server ignores the cursor.
    fn refuse_repeated(&mut self, fetched: Fetched) -> Result<Fetched> {
        let Some(first) = first_of(&fetched.page).cloned() else { return Ok(fetched) };
        if self.first_job.as_ref() == Some(&first) {
            let id = sanitize(first.as_str(), 80);
            return Err(Error::new(ErrorKind::RepeatedPage(id), fetched.context));
        }
        self.first_job = Some(first);
        Ok(fetched)
    }

    /// Moves past the page that was requested with this cursor.
    fn advance(&mut self, cursor: Option<String>, page: &Page) -> Result<(), ErrorKind> {
        if let Some(cursor) = &cursor {
            self.seen_cursors.insert(self.hasher.hash_one(cursor.as_str()));
        }
        self.current.clone_from(&cursor);
        let next = next_cursor(page.has_more, page.next_cursor.as_deref()).and_then(|next| match next {
            Some(next) if self.seen_cursors.contains(&self.hasher.hash_one(next)) => Err(repeated(next)),
            next => Ok(next),
        });
        match next {
            Ok(Some(next)) => self.state = State::Next(Some(next.to_owned())),
            Ok(None) => self.state = State::Done,
            Err(kind) => {
                self.state = State::BadCursor(cursor);
                return Err(kind);
            }
        }
        Ok(())
    }
}

/// The first job whose id can be read.
fn first_of(page: &Page) -> Option<&JobId> {
    page.jobs.iter().find_map(id_of)
}

fn id_of(job: &Result<JobSummary>) -> Option<&JobId> {
    match job {
        Ok(job) => Some(&job.job_id),
        Err(error) => error.job_id(),
    }
}

/// The cursor of the page after this one: `None` on the last page.
pub(crate) fn next_cursor(has_more: bool, cursor: Option<&str>) -> Result<Option<&str>, ErrorKind> {
    match cursor {
        _ if !has_more => Ok(None),
        None | Some("") => Err(ErrorKind::MissingCursor),
        cursor => Ok(cursor),
    }
}

pub(crate) fn repeated(cursor: &str) -> ErrorKind {
    ErrorKind::RepeatedCursor(sanitize(cursor, 80))
}

/// Refuses a limit or a cursor with which no page can be requested.
pub(crate) fn check(limit: u32, cursor: Option<&str>) -> Result<()> {
    if limit == 0 {
        return Err(Error::input("limit is 0, but a page has at least one job; nothing was sent"));
    }
    if cursor == Some("") {
        return Err(Error::input("the cursor is empty; leave it out for the first page; nothing was sent"));
    }
    Ok(())
}

/// Gives the fuzz target access to private items.
#[cfg(fuzzing)]
#[allow(missing_docs)]
pub mod fuzzing {
    use super::{Fetched, Page, Pages};
    use crate::error::{Context, Error};
    use crate::types::JobsPage;

    /// Fetches all pages that `respond` returns, where `None` is a request that failed. Returns the number of jobs.
    pub fn scan(
        limit: u32,
        max_jobs: Option<usize>,
        mut respond: impl FnMut(u32, Option<&str>) -> Option<JobsPage>,
    ) -> usize {
        let mut pages = Pages::new(&std::sync::Arc::default());
        pages.limit = Some(limit);
        pages.remaining = max_jobs;
        let mut count = 0;
        while pages.remaining != Some(0) {
            let page = pages.next_page(|limit, cursor| match respond(limit, cursor) {
                Some(JobsPage { jobs, has_more, next_cursor }) => {
                    let page = Page { jobs: jobs.into_iter().map(Ok).collect(), has_more, next_cursor };
                    Ok(Fetched { page, bytes: 0, context: Context::for_tests() })
                }
                None => Err(Error::input("the request failed")),
            });
            let Ok(Some(jobs)) = page else { break };
            count += jobs.len();
            pages.remaining = pages.remaining.map(|remaining| remaining.saturating_sub(jobs.len()));
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(has_more: bool, next_cursor: Option<&str>) -> Page {
        Page { jobs: Vec::new(), has_more, next_cursor: next_cursor.map(str::to_owned) }
    }

    fn fetched(page: Page) -> Result<Fetched> {
        Ok(Fetched { page, bytes: 0, context: Context::for_tests() })
    }

    #[test]
    fn a_cursor_is_remembered_over_a_long_scan() {
        let mut pages = Pages::new(&Arc::default());
        for n in 0..10_000 {
            let jobs = pages.next_page(|_, _| fetched(page(true, Some(&format!("c{n}")))));
            assert!(jobs.unwrap().is_some());
        }
        let last = pages.next_page(|_, cursor| {
            assert_eq!(cursor, Some("c9999"));
            fetched(page(true, Some("c17")))
        });
        assert!(last.unwrap().is_some(), "the jobs of the page come first");
        let error = pages.next_page(|_, _| unreachable!()).unwrap_err();
        assert!(error.to_string().contains(r#"sent the cursor "c17" a second time"#), "{error}");
        assert!(pages.next_page(|_, _| unreachable!()).unwrap().is_none());
        assert_eq!(pages.next_cursor(), Some("c9999"), "the page that carried the cursor");
    }

    fn job(id: &str) -> JobSummary {
        let job = serde_json::json!({"job_id": id, "state": "done", "job_type": "opt", "created_at": 0});
        serde_json::from_value(job).unwrap()
    }

    /// The limits that are asked for, of a server that refuses more than `max` with 422.
    fn limits(pages: &mut Pages, max: u32, took: Duration, bytes: usize) -> Vec<u32> {
        let mut limits = Vec::new();
        for n in 0..7 {
            let fetched = pages.next_page(|limit, _| {
                limits.push(limit);
                let context = Context { elapsed: took, ..Context::for_tests() };
                if limit > max {
                    let (message, retry_after) = (None, None);
                    let kind = ErrorKind::Status {
                        status: 422,
                        reason: "",
                        message,
                        retry_after,
                        is_foreign: false,
                    };
                    return Err(Error::new(kind, context));
                }
                let mut page = page(true, Some(&format!("c{n}")));
                page.jobs.extend((0..limit).map(|k| Ok(job(&format!("{n}-{k}")))));
                Ok(Fetched { page, bytes, context })
            });
            assert!(fetched.unwrap().is_some());
        }
        limits
    }

    #[test]
    fn pages_grow_unless_the_caller_sets_a_limit() {
        let sizes: Arc<PageSizes> = Arc::default();
        let fast = |pages: &mut Pages| limits(pages, 1000, Duration::ZERO, 0);
        // The request for one job shows that a cursor works with another limit.
        assert_eq!(fast(&mut Pages::new(&sizes)), [50, 100, 1, 200, 400, 800, 1000, 1000]);
        assert_eq!(fast(&mut Pages::new(&sizes)), [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(fast(&mut Pages::for_many(300, &sizes)), [300, 600, 1000, 1000, 1000, 1000, 1000]);
        assert_eq!(fast(&mut Pages::for_many(5000, &sizes)), [1000; 7]);
        let mut exact = Pages::new(&sizes);
        exact.limit = Some(50);
        assert_eq!(fast(&mut exact), [50; 7]);
    }

    #[test]
    fn slow_or_large_pages_do_not_grow() {
        let sizes: Arc<PageSizes> = Arc::default();
        assert_eq!(limits(&mut Pages::new(&sizes), 1000, Duration::from_secs(1), 0), [50; 7]);
        assert_eq!(limits(&mut Pages::new(&sizes), 1000, Duration::ZERO, 2 << 20), [50; 7]);
    }

    #[test]
    fn a_refused_size_costs_one_request_for_each_client() {
        for (max, expected, later) in [
            (60, vec![50, 100, 50, 50, 50, 50, 50, 50], 50),
            (100, vec![50, 100, 1, 200, 100, 100, 100, 100, 100], 100),
            (500, vec![50, 100, 1, 200, 400, 800, 400, 400, 400], 400),
        ] {
            let sizes: Arc<PageSizes> = Arc::default();
            assert_eq!(limits(&mut Pages::new(&sizes), max, Duration::ZERO, 0), expected);
            let again = limits(&mut Pages::new(&sizes), max, Duration::ZERO, 0);
            assert_eq!((again.len(), again[6]), (7, later));
        }
        let sizes: Arc<PageSizes> = Arc::default();
        assert_eq!(
            limits(&mut Pages::for_many(5000, &sizes), 100, Duration::ZERO, 0),
            [1000, 50, 50, 50, 50, 50, 50, 50]
        );
    }

    #[test]
    fn a_caller_limit_that_is_refused_is_an_error() {
        let mut pages = Pages::new(&Arc::default());
        pages.limit = Some(70);
        let error = pages.next_page(|_, _| {
            let kind = ErrorKind::TooLarge(1);
            Err(Error::new(kind, Context::for_tests()))
        });
        assert!(error.is_err());
    }

    #[test]
    fn more_jobs_than_a_u32_can_be_wanted() {
        let mut pages = Pages::new(&Arc::default());
        pages.remaining = Some(usize::MAX);
        assert_eq!(pages.next_request(0).unwrap(), Some((50, None)));
    }

    #[test]
    fn after_a_failed_request_there_are_no_more_pages() {
        let mut pages = Pages::new(&Arc::default());
        pages.start_at("c1".to_owned());
        assert!(pages.next_page(|_, _| Err(Error::input("failed"))).is_err());
        assert!(pages.next_page(|_, _| unreachable!()).unwrap().is_none());
        assert_eq!(pages.next_cursor(), Some("c1"));
    }
}
