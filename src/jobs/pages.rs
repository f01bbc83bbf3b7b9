//! Which page comes next. Pure: the caller fetches the pages.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

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
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// The cursor of the page that was received last.
    current: Option<String>,
    /// The cursor of the page from which another iteration continues.
    next: Option<String>,
    state: State,
    /// A hash of the ids on the page that was received last, if it has at least two jobs.
    ids: Option<u64>,
    /// Hashes of the cursors of the pages that were received. Hashes keep long iterations small.
    used: HashSet<u64>,
    hasher: RandomState,
}

#[derive(Debug, Default, PartialEq)]
enum State {
    /// The next page has not been requested.
    #[default]
    Due,
    /// It was requested, and it was not received or could not be used.
    Requested,
    /// No page can be requested.
    Over,
}

impl Pages {
    /// Starts at the page with this cursor.
    pub(crate) fn starting_at(cursor: Option<&str>) -> Self {
        Pages { next: cursor.map(str::to_owned), ..Pages::default() }
    }

    /// Returns the cursor with which to request the next page, and records that it is requested. Returns `None` if there
    /// is none to request.
    pub(crate) fn request(&mut self) -> Option<Option<&str>> {
        if self.state != State::Due {
            return None;
        }
        self.state = State::Requested;
        Some(self.next())
    }

    /// Returns the cursor of the page that was received last.
    pub(crate) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Returns the cursor of the page from which another iteration continues.
    pub(crate) fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// Makes the page that was requested and not received the next one again.
    pub(crate) fn resume(&mut self) {
        if self.state == State::Requested {
            self.state = State::Due;
        }
    }

    /// Refuses a page with the same jobs as the page that was checked before it. A page of one job is not refused: the
    /// job may have moved, because another one was added to the list.
    pub(crate) fn check(&mut self, page: &Page) -> Result<()> {
        let ids = self.hash_ids(page);
        match page.jobs.first().and_then(id_of) {
            Some(first) if ids.is_some() && ids == self.ids => Err(Error::broken_pages(format!(
                "the page has the same jobs as the page before it, beginning with job {}",
                sanitize(first.as_str(), 60)
            ))),
            _ => {
                self.ids = ids;
                Ok(())
            }
        }
    }

    /// Moves past the page that was received. An error concerns the page after it.
    pub(crate) fn advance(&mut self, page: &Page) -> Result<()> {
        self.current = self.next.take();
        if let Some(cursor) = &self.current {
            self.used.insert(self.hasher.hash_one(cursor.as_str()));
        }
        self.state = State::Over;
        if !page.has_more {
            return Ok(());
        }
        let problem = match page.next_cursor.as_deref() {
            None | Some("") => "the server says that there are more jobs, but sent no cursor".to_owned(),
            Some(next) if self.used.contains(&self.hasher.hash_one(next)) => {
                format!("the server sent the cursor {} a second time", sanitize(&format!("{next:?}"), 60))
            }
            Some(next) => {
                (self.next, self.state) = (Some(next.to_owned()), State::Due);
                return Ok(());
            }
        };
        self.next.clone_from(&self.current);
        Err(Error::broken_pages(problem))
    }

    fn hash_ids(&self, page: &Page) -> Option<u64> {
        let ids: Vec<&JobId> = page.jobs.iter().map(id_of).collect::<Option<_>>()?;
        (ids.len() > 1).then(|| self.hasher.hash_one(ids))
    }
}

fn id_of(job: &Result<JobSummary>) -> Option<&JobId> {
    job.as_ref().map_or_else(Error::job_id, |job| Some(&job.job_id))
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
        assert_eq!(pages.request(), Some(Some("c9999")));
        let error = pages.advance(&page(&[], Some("c17"))).unwrap_err();
        assert!(error.to_string().contains("c17"));
        pages.resume();
        assert_eq!(pages.request(), None, "the same page would have the same cursor");
        assert_eq!(pages.next(), Some("c9999"), "the page that had the cursor");
    }

    #[test]
    fn a_page_that_failed_is_due_again_after_resume() {
        let mut pages = Pages::starting_at(Some("c1"));
        assert_eq!(pages.request(), Some(Some("c1")));
        assert_eq!(pages.request(), None);
        assert_eq!(pages.next(), Some("c1"));
        pages.resume();
        assert_eq!(pages.request(), Some(Some("c1")));
        pages.advance(&page(&["a"], None)).unwrap();
        pages.resume();
        assert_eq!(pages.request(), None);
        assert_eq!((pages.next(), pages.current()), (None, Some("c1")));
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
            pages.check(&page(first, Some("c1"))).unwrap();
            assert_eq!(pages.check(&page(second, Some("c2"))).is_err(), is_repeated, "{first:?} {second:?}");
        }
    }
}
