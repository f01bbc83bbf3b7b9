//! Listing jobs: one page, and the iterator over all pages.

use std::iter::FusedIterator;
use std::time::Instant;
use std::vec;

use crate::api;
use crate::error::{Error, Result};
use crate::http::Http;
use crate::jobs::pages::{self, Page, Pages};
use crate::types::{JobSummary, JobsPage};

/// Fetches one page of jobs.
pub(crate) fn fetch(http: &Http, limit: u32, cursor: Option<&str>, deadline: Instant) -> Result<Page> {
    let page = http.send(&api::list(limit, cursor), deadline)?.into_page(cursor.is_none())?;
    http.address_is_right();
    Ok(page)
}

/// Refuses a limit or a cursor with which no page can be requested.
fn check(limit: u32, cursor: Option<&str>) -> Result<()> {
    if limit == 0 {
        return Err(Error::input("limit is 0, but a page has at least one job; nothing was sent"));
    }
    if cursor == Some("") {
        return Err(Error::input("the cursor is empty; leave it out for the first page; nothing was sent"));
    }
    Ok(())
}

/// A request for one page of jobs.
///
/// [`Client::list_jobs`](crate::Client::list_jobs) returns one, and [`send`](ListJobs::send) sends it.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `send`"]
pub struct ListJobs {
    http: Http,
    limit: u32,
    cursor: Option<String>,
}

impl ListJobs {
    pub(crate) fn new(http: Http) -> Self {
        ListJobs { http, limit: api::PAGE_SIZE, cursor: None }
    }

    /// Sets the maximum number of jobs on the page. Defaults to 50. The server may have a lower maximum.
    ///
    /// [`send`](ListJobs::send) refuses 0 without sending anything.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Sets which page to request, by the [`next_cursor`](JobsPage::next_cursor) of an earlier page. Defaults to
    /// `None`, the first page.
    pub fn cursor(mut self, cursor: Option<&str>) -> Self {
        self.cursor = cursor.map(str::to_owned);
        self
    }

    /// Sends the request and returns the page. A page that is larger than the limit is not cut.
    ///
    /// # Errors
    ///
    /// Returns an error if
    ///
    /// - the limit is 0 or the cursor is empty (nothing is sent in these cases);
    /// - the request fails;
    /// - the response or one of its jobs cannot be read;
    /// - the response says that there are more jobs, but has no cursor, or the same one as the request.
    pub fn send(self) -> Result<JobsPage> {
        let cursor = self.cursor.as_deref();
        check(self.limit, cursor)?;
        let page = fetch(&self.http, self.limit, cursor, self.http.deadline())?;
        let Page { jobs, has_more, next_cursor, context } = page;
        let jobs = jobs.into_iter().collect::<Result<Vec<JobSummary>>>()?;
        match pages::next_cursor(has_more, next_cursor.as_deref()) {
            Ok(Some(next)) if cursor == Some(next) => Err(Error::new(pages::repeated(next), context)),
            Ok(_) => Ok(JobsPage { jobs, has_more, next_cursor }),
            Err(kind) => Err(Error::new(kind, context)),
        }
    }
}

/// An iterator over the jobs of the history, page by page.
///
/// [`Client::iter_jobs`](crate::Client::iter_jobs) returns one. Nothing is requested before the first `next`. Each
/// response is one page of jobs with a cursor, a string that names the next page. The iterator holds one page at a
/// time, and a hash of eight bytes for each earlier page. It skips empty pages.
///
/// # Errors
///
/// A job that cannot be read is an `Err` in its place, for which [`is_unreadable_job`](crate::Error::is_unreadable_job)
/// is true. The iteration continues after it.
///
/// The iterator ends after any other `Err`, which means one of the following:
///
/// - The limit is 0 or the cursor is an empty string. Nothing was sent.
/// - A request failed. [`resume`](JobsIter::resume) continues the iteration.
/// - A page has the same jobs as the page before it, and at least two. The server seems to ignore the cursor.
/// - The server says that there are more jobs, but sent no cursor, or one that it had sent before. The jobs of that
///   page come before this error.
///
/// # Changes during an iteration
///
/// The iterator yields the jobs as the server lists them. If the server lists a job on two pages, the iterator yields
/// it twice.
///
/// The service documents neither the order of the list nor whether jobs that are added or deleted during an iteration
/// shift the later pages. If a cursor stands for a position in the list, a job that is added makes the iteration repeat
/// another one, and **a job that is deleted makes the iteration skip another one**. It is therefore not safe to delete
/// jobs while iterating: collect the ids first, and delete the jobs after that. This also holds for renaming and
/// cancelling, if these could change the order of the list.
///
/// # Examples
///
/// After an error, [`cursor`](JobsIter::cursor) says where another iterator continues, for example in a later process:
///
/// ```
/// # #[cfg(feature = "simulator")] {
/// # use atomiverse::simulator::{Fault, Simulator};
/// # let simulator = Simulator::start()?;
/// # simulator.add_sample_jobs(120);
/// # simulator.fail_when(|request| request.target.contains("cursor="), 1, Fault::status(503));
/// # let client = simulator.client_builder().max_retries(0).build()?;
/// let mut jobs = client.iter_jobs();
/// let mut count = 0;
/// for job in &mut jobs {
///     match job {
///         Ok(_) => count += 1,
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// if let Some(cursor) = jobs.cursor() {
///     count += client.iter_jobs().resume_from(Some(cursor)).count();
/// }
/// assert_eq!(count, 120);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy: nothing is requested before the first `next`"]
pub struct JobsIter {
    http: Http,
    limit: u32,
    /// How many jobs are still wanted. `None` is all of them.
    remaining: Option<usize>,
    pages: Pages,
    /// The jobs of the current page that the caller has not taken.
    buffered: vec::IntoIter<Result<JobSummary>>,
}

impl JobsIter {
    pub(crate) fn new(http: Http) -> Self {
        JobsIter {
            http,
            limit: api::PAGE_SIZE,
            remaining: None,
            pages: Pages::starting_at(None),
            buffered: Vec::new().into_iter(),
        }
    }

    /// Sets the number of jobs on a page. Defaults to 50. The server may have a lower maximum.
    ///
    /// Every page is requested with this limit, because a cursor may mean another place in the list with another limit.
    /// With 0 the iterator yields one error and sends nothing.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the maximum number of jobs that the iterator yields. Defaults to no maximum. A job that cannot be read
    /// counts too. With 0 nothing is sent.
    pub fn max_jobs(mut self, max_jobs: usize) -> Self {
        self.remaining = Some(max_jobs);
        self
    }

    /// Starts at the page with this cursor, from [`cursor`](JobsIter::cursor) of another iterator or from
    /// [`next_cursor`](JobsPage::next_cursor). Defaults to `None`, the first page.
    ///
    /// The other iterator must have had the same [`limit`](JobsIter::limit).
    pub fn resume_from(mut self, cursor: Option<&str>) -> Self {
        self.pages = Pages::starting_at(cursor);
        self.buffered = Vec::new().into_iter();
        self
    }

    /// Continues after a request that failed: the next call of `next` requests the same page again.
    ///
    /// The settings are kept, and so is the count towards [`max_jobs`](JobsIter::max_jobs). The method has no effect if
    /// no request has failed, or if the server sent no cursor, or one that it had sent before.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// use atomiverse::simulator::{Fault, Simulator};
    ///
    /// let simulator = Simulator::start()?;
    /// simulator.add_sample_jobs(120);
    /// let client = simulator.client_builder().max_retries(0).build()?;
    /// let mut jobs = client.iter_jobs();
    /// let mut count = jobs.by_ref().take(50).filter_map(Result::ok).count();
    ///
    /// simulator.fail_next(Fault::status(503));
    /// assert!(jobs.next().unwrap().unwrap_err().is_transient());
    /// assert!(jobs.next().is_none());
    /// jobs.resume();
    /// count += jobs.filter_map(Result::ok).count();
    /// assert_eq!(count, 120);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(&mut self) {
        self.pages.resume();
    }

    /// Returns the cursor of the page from which [`resume_from`](JobsIter::resume_from) continues.
    ///
    /// - While jobs of a page are left, this is the cursor of that page. Resuming from it repeats some of its jobs and
    ///   skips none.
    /// - After the last job of a page, or after a request that failed, this is the cursor of the next page or of the
    ///   one that failed. Resuming from it repeats and skips nothing, unless the [list
    ///   changes](JobsIter#changes-during-an-iteration).
    /// - After an error about a cursor that the server sent, this is the cursor of the page that carried it.
    ///
    /// `None` stands for the first page, which has no cursor. If the request for the first page failed, call
    /// [`resume`](JobsIter::resume) or start a new iteration. The method also returns `None` after the last page. To
    /// tell whether an iteration is complete, check that it yielded no `Err`.
    pub fn cursor(&self) -> Option<&str> {
        if self.buffered.len() == 0 { self.pages.next_cursor() } else { self.pages.current_cursor() }
    }

    fn next_page(&mut self, deadline: Instant) -> Result<Option<Vec<Result<JobSummary>>>> {
        let (http, limit) = (&self.http, self.limit);
        self.pages.next_page(|cursor| {
            check(limit, cursor)?;
            fetch(http, limit, cursor, deadline)
        })
    }
}

impl Iterator for JobsIter {
    type Item = Result<JobSummary>;

    fn next(&mut self) -> Option<Self::Item> {
        // All requests share one deadline, which also bounds a server that sends empty pages only.
        let mut deadline = None;
        while self.remaining != Some(0) {
            if let Some(job) = self.buffered.next() {
                self.remaining = self.remaining.map(|remaining| remaining - 1);
                return Some(job);
            }
            let deadline = *deadline.get_or_insert_with(|| self.http.deadline());
            match self.next_page(deadline) {
                Ok(Some(jobs)) => self.buffered = jobs.into_iter(),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let buffered = self.buffered.len();
        match self.remaining {
            Some(remaining) => (buffered.min(remaining), Some(remaining)),
            None => (buffered, None),
        }
    }
}

impl FusedIterator for JobsIter {}
