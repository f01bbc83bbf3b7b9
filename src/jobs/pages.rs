//! Which page comes next. Pure: the caller passes a function that fetches a page.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::mem;

use crate::error::{Context, Error, ErrorKind, Result, sanitize};
use crate::types::{JobId, JobSummary};

/// A page of jobs, and the call that fetched it.
#[derive(Debug)]
pub(crate) struct Page {
    /// The jobs. One that cannot be read is an error in its place.
    pub(crate) jobs: Vec<Result<JobSummary>>,
    pub(crate) has_more: bool,
    pub(crate) next_cursor: Option<String>,
    pub(crate) context: Context,
}

/// The pages of the job history, in their order. They are named by their cursors, and the first page has none.
#[derive(Debug)]
pub(crate) struct Pages {
    next: Next,
    /// The cursor of the last page that was received.
    current: Option<String>,
    /// Hashes of the cursors used so far, because a long scan would hold many cursors.
    used_cursors: HashSet<u64>,
    /// A hash of the ids on the last page, if it had at least two.
    last_ids: Option<u64>,
    /// An error about the last page, reported after its jobs.
    deferred_error: Option<Error>,
    hasher: RandomState,
}

#[derive(Debug)]
enum Next {
    Page(Option<String>),
    /// The page with this cursor could not be fetched.
    Failed(Option<String>),
    /// The page with this cursor names no page that can come next.
    DeadEnd(Option<String>),
    End,
}

impl Pages {
    /// Begins with the page that has this cursor.
    pub(crate) fn starting_at(cursor: Option<&str>) -> Self {
        Pages {
            next: Next::Page(cursor.map(str::to_owned)),
            current: None,
            used_cursors: HashSet::new(),
            last_ids: None,
            deferred_error: None,
            hasher: RandomState::new(),
        }
    }

    /// Makes a page that could not be fetched the next one again.
    pub(crate) fn resume(&mut self) {
        self.next = match mem::replace(&mut self.next, Next::End) {
            Next::Failed(cursor) => Next::Page(cursor),
            next => next,
        };
    }

    /// Returns the cursor of the last page that was received.
    pub(crate) fn current_cursor(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Returns the cursor of the page to fetch next, or of the page at which the iteration failed.
    pub(crate) fn next_cursor(&self) -> Option<&str> {
        match &self.next {
            Next::Page(cursor) | Next::Failed(cursor) | Next::DeadEnd(cursor) => cursor.as_deref(),
            Next::End => None,
        }
    }

    /// Fetches the next page and returns its jobs, or `None` if there is none. There is none after an error.
    pub(crate) fn next_page(
        &mut self,
        fetch: impl FnOnce(Option<&str>) -> Result<Page>,
    ) -> Result<Option<Vec<Result<JobSummary>>>> {
        if let Some(error) = self.deferred_error.take() {
            return Err(error);
        }
        let cursor = match mem::replace(&mut self.next, Next::End) {
            Next::Page(cursor) => cursor,
            next => {
                self.next = next;
                return Ok(None);
            }
        };
        let fetched = fetch(cursor.as_deref()).and_then(|page| self.refuse_repeated(page));
        let page = match fetched {
            Ok(page) => page,
            Err(error) => {
                self.next = Next::Failed(cursor);
                return Err(error);
            }
        };
        if let Some(cursor) = &cursor {
            self.used_cursors.insert(self.hasher.hash_one(cursor));
        }
        self.current.clone_from(&cursor);
        self.next = match self.cursor_after(&page) {
            Ok(Some(next)) => Next::Page(Some(next)),
            Ok(None) => Next::End,
            Err(kind) => {
                self.deferred_error = Some(Error::new(kind, page.context));
                Next::DeadEnd(cursor)
            }
        };
        Ok(Some(page.jobs))
    }

    fn cursor_after(&self, page: &Page) -> Result<Option<String>, ErrorKind> {
        match next_cursor(page.has_more, page.next_cursor.as_deref())? {
            Some(next) if self.used_cursors.contains(&self.hasher.hash_one(next)) => Err(repeated(next)),
            next => Ok(next.map(str::to_owned)),
        }
    }

    /// Refuses a page with the jobs of the page before it: the server ignores the cursor. A single job may come again
    /// because another one was added to the list.
    fn refuse_repeated(&mut self, page: Page) -> Result<Page> {
        let ids: Option<Vec<&JobId>> = page.jobs.iter().map(id_of).collect();
        let ids = ids.filter(|ids| ids.len() >= 2);
        let hash = ids.as_ref().map(|ids| self.hasher.hash_one(ids));
        let is_repeated = hash.is_some() && hash == self.last_ids;
        self.last_ids = hash;
        match ids {
            Some(ids) if is_repeated => {
                let id = sanitize(ids[0].as_str(), 80);
                Err(Error::new(ErrorKind::RepeatedPage(id), page.context))
            }
            _ => Ok(page),
        }
    }
}

fn id_of(job: &Result<JobSummary>) -> Option<&JobId> {
    match job {
        Ok(job) => Some(&job.job_id),
        Err(error) => error.job_id(),
    }
}

/// Returns the cursor of the page after this one, or `None` on the last page.
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

/// Gives the fuzz target access to private items.
#[cfg(fuzzing)]
#[allow(missing_docs)]
pub mod fuzzing {
    use super::{Page, Pages};
    use crate::error::{Context, Error};
    use crate::types::JobsPage;

    /// Fetches all pages that `respond` returns, where `None` is a request that failed. Returns the number of jobs.
    pub fn scan(mut respond: impl FnMut(Option<&str>) -> Option<JobsPage>) -> usize {
        let mut pages = Pages::starting_at(None);
        let mut count = 0;
        loop {
            let page = pages.next_page(|cursor| match respond(cursor) {
                Some(JobsPage { jobs, has_more, next_cursor }) => {
                    let jobs = jobs.into_iter().map(Ok).collect();
                    Ok(Page { jobs, has_more, next_cursor, context: Context::for_tests() })
                }
                None => Err(Error::input("the request failed")),
            });
            let Ok(Some(jobs)) = page else { return count };
            count += jobs.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: &[&str], next_cursor: Option<&str>) -> Result<Page> {
        let job = |id: &&str| {
            let json = serde_json::json!({"job_id": id, "state": "done", "job_type": "opt", "created_at": 0});
            Ok(serde_json::from_value(json).unwrap())
        };
        let next_cursor = next_cursor.map(str::to_owned);
        let jobs = ids.iter().map(job).collect();
        Ok(Page { jobs, has_more: next_cursor.is_some(), next_cursor, context: Context::for_tests() })
    }

    #[test]
    fn a_cursor_is_remembered_over_a_long_scan() {
        let mut pages = Pages::starting_at(None);
        for n in 0..10_000 {
            assert!(pages.next_page(|_| page(&[], Some(&format!("c{n}")))).unwrap().is_some());
        }
        let last = pages.next_page(|cursor| {
            assert_eq!(cursor, Some("c9999"));
            page(&["a"], Some("c17"))
        });
        assert!(last.unwrap().is_some(), "the jobs of the page come first");
        assert!(pages.next_page(|_| unreachable!()).is_err());
        assert!(pages.next_page(|_| unreachable!()).unwrap().is_none());
        assert_eq!(pages.next_cursor(), Some("c9999"), "the page that carried the cursor");
    }

    #[test]
    fn a_page_is_repeated_only_if_all_of_its_jobs_are() {
        for (first, second, is_repeated) in [
            (&["a", "b"][..], &["a", "b"][..], true),
            (&["a", "b"], &["b", "a"], false),
            (&["a", "b"], &["a"], false),
            (&["a"], &["a"], false),
            (&[], &[], false),
        ] {
            let mut pages = Pages::starting_at(None);
            assert!(pages.next_page(|_| page(first, Some("c1"))).is_ok());
            assert_eq!(pages.next_page(|_| page(second, Some("c2"))).is_err(), is_repeated, "{second:?}");
        }
    }

    #[test]
    fn after_a_failed_request_there_is_no_page_until_it_is_resumed() {
        let mut pages = Pages::starting_at(Some("c1"));
        assert!(pages.next_page(|_| Err(Error::input("failed"))).is_err());
        assert!(pages.next_page(|_| unreachable!()).unwrap().is_none());
        assert_eq!(pages.next_cursor(), Some("c1"));
        pages.resume();
        assert!(pages.next_page(|cursor| page(&["a"], cursor.and(Some("c2")))).unwrap().is_some());
        assert_eq!((pages.current_cursor(), pages.next_cursor()), (Some("c1"), Some("c2")));
    }
}
