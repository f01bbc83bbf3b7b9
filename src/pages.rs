//! Which page comes next: cursors and limits. Pure: the caller passes in how a page is fetched.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::mem;

use crate::api::{self, Page};
use crate::error::{Context, Error, ErrorKind, Result, sanitize};
use crate::types::{JobId, JobSummary};

/// The pages of the job history, one after the other.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) limit: u32,
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
    hasher: RandomState,
}

/// Pages are named by their cursors. The first page has none.
#[derive(Debug)]
enum State {
    Next(Option<String>),
    /// The page could not be fetched.
    Failed(Option<String>),
    /// The page was fetched, and no page can follow it.
    BadCursor(Option<String>),
    Done,
}

/// A page, and the call that it came from.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) page: Page,
    pub(crate) context: Context,
}

impl Pages {
    pub(crate) fn new() -> Self {
        Pages {
            limit: api::PAGE_SIZE,
            remaining: None,
            state: State::Next(None),
            current: None,
            first_job: None,
            deferred_error: None,
            seen_cursors: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Starts at another page than the first.
    pub(crate) fn start_at(&mut self, cursor: String) {
        self.state = State::Next(Some(cursor));
        self.deferred_error = None;
        self.first_job = None;
    }

    /// After a page that could not be fetched: it is the next one again.
    pub(crate) fn resume(&mut self) {
        self.state = match mem::replace(&mut self.state, State::Done) {
            State::Failed(cursor) => State::Next(cursor),
            state => state,
        };
    }

    /// The cursor of the last page that was fetched.
    pub(crate) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// The cursor of the page that is to be fetched next, or whose fetching failed.
    pub(crate) fn next_cursor(&self) -> Option<&str> {
        match &self.state {
            State::Next(cursor) | State::Failed(cursor) | State::BadCursor(cursor) => cursor.as_deref(),
            State::Done => None,
        }
    }

    /// The limit and cursor of the next request, or `None` if no page is wanted. `buffered` jobs of the
    /// last page have not been handed out.
    pub(crate) fn next_request(&self, buffered: usize) -> Result<Option<(u32, Option<&str>)>> {
        let State::Next(cursor) = &self.state else { return Ok(None) };
        let wanted = self.remaining.map(|remaining| remaining.saturating_sub(buffered));
        if wanted == Some(0) {
            return Ok(None);
        }
        check(self.limit, cursor.as_deref())?;
        let wanted = wanted.map_or(u32::MAX, |wanted| u32::try_from(wanted).unwrap_or(u32::MAX));
        Ok(Some((self.limit.min(wanted), cursor.as_deref())))
    }

    /// Fetches the next page and returns its jobs, or `None` if there is none. After an error there is none.
    pub(crate) fn next_page(
        &mut self,
        fetch: impl FnOnce(u32, Option<&str>) -> Result<Fetched>,
    ) -> Result<Option<Vec<Result<JobSummary>>>> {
        if let Some(error) = self.deferred_error.take() {
            return Err(error);
        }
        let fetched = match self.next_request(0) {
            Ok(None) => return Ok(None),
            Ok(Some((limit, cursor))) => fetch(limit, cursor),
            Err(error) => Err(error),
        };
        let State::Next(cursor) = mem::replace(&mut self.state, State::Done) else { return Ok(None) };
        match fetched.and_then(|fetched| self.refuse_repeated(fetched)) {
            Ok(Fetched { page, context }) => {
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

    /// A page that begins like the one before was sent by a server that ignores the cursor.
    fn refuse_repeated(&mut self, Fetched { page, context }: Fetched) -> Result<Fetched> {
        let Some(Ok(first)) = page.jobs.first() else { return Ok(Fetched { page, context }) };
        if self.first_job.as_ref() == Some(&first.job_id) {
            let id = sanitize(first.job_id.as_str(), 80);
            return Err(Error::new(ErrorKind::RepeatedPage(id), context));
        }
        self.first_job = Some(first.job_id.clone());
        Ok(Fetched { page, context })
    }

    /// Moves past the page that was asked for with this cursor.
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

/// Refuses what no request can be made of.
pub(crate) fn check(limit: u32, cursor: Option<&str>) -> Result<()> {
    if limit == 0 {
        return Err(Error::input("limit is 0, but a page has at least one job; nothing was sent"));
    }
    if cursor == Some("") {
        return Err(Error::input("the cursor is empty; leave it out for the first page; nothing was sent"));
    }
    Ok(())
}

/// For the fuzz target, which cannot see what is private.
#[cfg(fuzzing)]
#[allow(missing_docs)]
pub mod fuzzing {
    use super::{Fetched, Page, Pages};
    use crate::error::{Context, Error};
    use crate::types::JobsPage;

    /// Goes through all pages that `respond` returns; `None` is a request that failed. Returns the number of
    /// jobs.
    pub fn scan(
        limit: u32,
        max_jobs: Option<usize>,
        mut respond: impl FnMut(u32, Option<&str>) -> Option<JobsPage>,
    ) -> usize {
        let mut pages = Pages::new();
        pages.limit = limit;
        pages.remaining = max_jobs;
        let mut count = 0;
        while pages.remaining != Some(0) {
            let page = pages.next_page(|limit, cursor| match respond(limit, cursor) {
                Some(JobsPage { jobs, has_more, next_cursor }) => {
                    let page = Page { jobs: jobs.into_iter().map(Ok).collect(), has_more, next_cursor };
                    Ok(Fetched { page, context: Context::for_tests() })
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
        Ok(Fetched { page, context: Context::for_tests() })
    }

    #[test]
    fn a_cursor_is_remembered_over_a_long_scan() {
        let mut pages = Pages::new();
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

    #[test]
    fn more_jobs_than_a_u32_can_be_wanted() {
        let mut pages = Pages::new();
        pages.remaining = Some(usize::MAX);
        assert_eq!(pages.next_request(0).unwrap(), Some((50, None)));
    }

    #[test]
    fn after_a_failed_request_there_are_no_more_pages() {
        let mut pages = Pages::new();
        pages.start_at("c1".to_owned());
        assert!(pages.next_page(|_, _| Err(Error::input("failed"))).is_err());
        assert!(pages.next_page(|_, _| unreachable!()).unwrap().is_none());
        assert_eq!(pages.next_cursor(), Some("c1"));
    }
}
