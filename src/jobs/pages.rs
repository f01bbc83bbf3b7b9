//! Which page comes next. Pure: the caller fetches the pages.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::mem;

use crate::error::{Error, Result, sanitize};
use crate::types::{JobId, JobSummary};

/// A page of jobs.
#[derive(Debug)]
pub(crate) struct Page {
    /// The jobs. One that cannot be read is an error in its place.
    pub(crate) jobs: Vec<Result<JobSummary>>,
    pub(crate) has_more: bool,
    pub(crate) next_cursor: Option<String>,
}

/// A position between the pages of the job history. A page is identified by its cursor, and the first page has none.
#[derive(Debug)]
pub(crate) struct Pages {
    state: State,
    /// The cursor of the page that was received last.
    current: Option<String>,
    /// A hash of the ids on that page, if it has at least two jobs.
    ids: Option<u64>,
    /// Hashes of the cursors of the pages that were received. Hashes keep long iterations small.
    used: HashSet<u64>,
    hasher: RandomState,
}

#[derive(Debug)]
enum State {
    /// The page with this cursor is the next one.
    Due(Option<String>),
    /// The page with this cursor was requested and could not be used.
    Failed(Option<String>),
    /// The page with this cursor was received, and its cursor for the next page cannot be used.
    Stuck(Option<String>),
    Done,
}

impl Pages {
    /// Starts at the page with this cursor.
    pub(crate) fn starting_at(cursor: Option<&str>) -> Self {
        Pages {
            state: State::Due(cursor.map(str::to_owned)),
            current: None,
            ids: None,
            used: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Returns the cursor with which to request the next page. Returns `None` if there is none to request.
    pub(crate) fn due(&self) -> Option<Option<&str>> {
        match &self.state {
            State::Due(cursor) => Some(cursor.as_deref()),
            _ => None,
        }
    }

    /// Returns the cursor of the page that was received last.
    pub(crate) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Returns the cursor of the page from which another iteration continues.
    pub(crate) fn next(&self) -> Option<&str> {
        match &self.state {
            State::Due(cursor) | State::Failed(cursor) | State::Stuck(cursor) => cursor.as_deref(),
            State::Done => None,
        }
    }

    /// Ends the iteration at the page that is due.
    pub(crate) fn fail(&mut self) {
        self.state = match mem::replace(&mut self.state, State::Done) {
            State::Due(cursor) => State::Failed(cursor),
            state => state,
        };
    }

    /// Makes the page that failed the next one again.
    pub(crate) fn resume(&mut self) {
        self.state = match mem::replace(&mut self.state, State::Done) {
            State::Failed(cursor) => State::Due(cursor),
            state => state,
        };
    }

    /// Refuses a page with the same jobs as the page before it. A page of one job is not refused: the job may have
    /// moved, because another one was added to the list.
    pub(crate) fn check(&self, page: &Page) -> Result<()> {
        match page.jobs.first().and_then(id_of) {
            Some(first) if self.ids.is_some() && self.hash_ids(page) == self.ids => {
                Err(Error::broken_pages(format!(
                    "the page has the jobs of the page before it, beginning with {}",
                    sanitize(first.as_str(), 60)
                )))
            }
            _ => Ok(()),
        }
    }

    /// Moves past the page that is due, which was received. An error concerns the page after it.
    pub(crate) fn advance(&mut self, page: &Page) -> Result<()> {
        let State::Due(cursor) = mem::replace(&mut self.state, State::Done) else { return Ok(()) };
        if let Some(cursor) = &cursor {
            self.used.insert(self.hasher.hash_one(cursor.as_str()));
        }
        self.ids = self.hash_ids(page);
        self.current.clone_from(&cursor);
        match next_cursor(page.has_more, page.next_cursor.as_deref()) {
            Ok(None) => Ok(()),
            Ok(Some(next)) if !self.used.contains(&self.hasher.hash_one(next)) => {
                self.state = State::Due(Some(next.to_owned()));
                Ok(())
            }
            unusable => {
                self.state = State::Stuck(cursor);
                unusable.and_then(|next| next.map_or(Ok(()), |next| Err(repeated(next))))
            }
        }
    }

    fn hash_ids(&self, page: &Page) -> Option<u64> {
        let ids: Vec<&JobId> = page.jobs.iter().map(id_of).collect::<Option<_>>()?;
        (ids.len() > 1).then(|| self.hasher.hash_one(ids))
    }
}

fn id_of(job: &Result<JobSummary>) -> Option<&JobId> {
    job.as_ref().map_or_else(Error::job_id, |job| Some(&job.job_id))
}

/// Returns the cursor of the page after this one, or `None` on the last page.
pub(crate) fn next_cursor(has_more: bool, cursor: Option<&str>) -> Result<Option<&str>> {
    match cursor {
        _ if !has_more => Ok(None),
        None | Some("") => Err(Error::broken_pages(
            "the server says that there are more jobs, but sent no cursor".to_owned(),
        )),
        cursor => Ok(cursor),
    }
}

pub(crate) fn repeated(cursor: &str) -> Error {
    Error::broken_pages(format!("the server sent the cursor {:?} a second time", sanitize(cursor, 60)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: &[&str], next_cursor: Option<&str>) -> Page {
        let job = |id: &&str| Ok(JobSummary::new(*id, "done", "opt", "2026-05-02T14:32:01Z"));
        let next_cursor = next_cursor.map(str::to_owned);
        Page { jobs: ids.iter().map(job).collect(), has_more: next_cursor.is_some(), next_cursor }
    }

    #[test]
    fn a_cursor_is_remembered_over_a_long_iteration() {
        let mut pages = Pages::starting_at(None);
        for n in 0..10_000 {
            pages.advance(&page(&[], Some(&format!("c{n}")))).unwrap();
        }
        assert_eq!(pages.due(), Some(Some("c9999")));
        let error = pages.advance(&page(&[], Some("c17"))).unwrap_err();
        assert!(error.to_string().contains("c17"));
        pages.resume();
        assert_eq!(pages.due(), None, "the same page would have the same cursor");
        assert_eq!(pages.next(), Some("c9999"), "the page that had the cursor");
    }

    #[test]
    fn a_page_that_failed_is_due_again_after_resume() {
        let mut pages = Pages::starting_at(Some("c1"));
        pages.fail();
        assert_eq!((pages.due(), pages.next()), (None, Some("c1")));
        pages.resume();
        assert_eq!(pages.due(), Some(Some("c1")));
        pages.advance(&page(&["a"], None)).unwrap();
        pages.resume();
        assert_eq!((pages.due(), pages.next(), pages.current()), (None, None, Some("c1")));
    }

    #[test]
    fn only_a_page_of_two_jobs_or_more_can_repeat_the_page_before() {
        for (first, second, is_repeated) in [
            (&["a", "b"][..], &["a", "b"][..], true),
            (&["a"], &["a"], false),
            (&["a", "b"], &["b", "a"], false),
            (&["a", "b"], &["a"], false),
            (&[], &[], false),
        ] {
            let mut pages = Pages::starting_at(None);
            pages.advance(&page(first, Some("c1"))).unwrap();
            assert_eq!(pages.check(&page(second, Some("c2"))).is_err(), is_repeated, "{first:?} {second:?}");
        }
    }
}
