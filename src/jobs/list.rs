//! Listing jobs: one page, and the iterator over all pages.

use std::iter::FusedIterator;
use std::time::Instant;
use std::vec;

use serde_json::value::RawValue;

use crate::config::builder::PAGE_SIZE;
use crate::contract::Operation;
use crate::error::{Error, Result};
use crate::http::call::Http;
use crate::http::message::from_json;
use crate::http::response::Response;
use crate::jobs::pages::{Page, Pages};
use crate::types::{JobId, JobState, JobSummary, JobsPage, ReceivedPage, fields};

/// Fetches one page of jobs. Also returns the response, for errors about the page as a whole.
pub(crate) fn fetch(
    http: &Http,
    limit: u32,
    cursor: Option<&str>,
    deadline: Instant,
) -> Result<(Page, Response)> {
    if limit == 0 {
        return Err(Error::input("limit is 0, but a page has at least one job"));
    }
    if cursor == Some("") {
        return Err(Error::input("the cursor is empty; pass None for the first page"));
    }
    let response = http.send(Operation::List { limit, cursor }, deadline)?;
    let page = decode_page(&response, cursor.is_none())?;
    Ok((page, response))
}

/// Decodes a page and the jobs on it. A job that cannot be read does not affect the others. The first page must say
/// whether there are more.
fn decode_page(response: &Response, is_first: bool) -> Result<Page> {
    let (next, jobs) = match from_json::<ReceivedPage<JobSummary>>(&response.body) {
        Some(page) => (page.next(), page.jobs.into_iter().map(Ok).collect()),
        // Reading the jobs one by one takes half as long again.
        None => {
            let Some(page) = from_json::<ReceivedPage<&RawValue>>(&response.body) else {
                return Err(response.unreadable("a page of jobs"));
            };
            let jobs = (1..).zip(&page.jobs);
            (page.next(), jobs.map(|(position, job)| decode_entry(response, position, job)).collect())
        }
    };
    match next {
        Some((has_more, next_cursor)) => Ok(Page { jobs, has_more, next_cursor }),
        None if !is_first => Ok(Page { jobs, has_more: false, next_cursor: None }),
        None => Err(response.unreadable("a page with `has_more` or `next_cursor`")),
    }
}

/// Decodes one job of a page. Positions are counted from 1.
fn decode_entry(response: &Response, position: usize, job: &RawValue) -> Result<JobSummary> {
    JobSummary::from_json(job.get()).ok_or_else(|| {
        let [job_id, state] = fields(job.get(), ["job_id", "state"]).unwrap_or_default();
        let (job_id, state) = (job_id.and_then(JobId::from_raw), state.and_then(JobState::from_raw));
        let why = JobSummary::problem_of(job.get());
        response.error(Error::unreadable_job(position, job_id, state, &why))
    })
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
        ListJobs { http, limit: PAGE_SIZE, cursor: None }
    }

    /// Sets the maximum number of jobs on the page. Defaults to 50. The server may have a lower maximum.
    ///
    /// [`send`](ListJobs::send) refuses 0 without sending anything.
    pub fn limit(self, limit: u32) -> Self {
        ListJobs { limit, ..self }
    }

    /// Sets which page to request, by the [`next_cursor`](JobsPage::next_cursor) of an earlier page. Defaults to
    /// `None`, the first page.
    pub fn cursor(self, cursor: Option<&str>) -> Self {
        ListJobs { cursor: cursor.map(str::to_owned), ..self }
    }

    /// Sends the request and returns the page. A page that is larger than the limit is not cut.
    ///
    /// # Errors
    ///
    /// Returns an error if
    ///
    /// - the limit is 0 or the cursor is an empty string (nothing is sent in these cases);
    /// - the request fails;
    /// - the response or one of its jobs cannot be read;
    /// - the response says that there are more jobs, but has no cursor, or the same one as the request.
    pub fn send(self) -> Result<JobsPage> {
        let cursor = self.cursor.as_deref();
        let (page, response) = fetch(&self.http, self.limit, cursor, self.http.deadline())?;
        let next = Pages::starting_at(cursor).advance(&page);
        let jobs = page.jobs.into_iter().collect::<Result<Vec<JobSummary>>>()?;
        next.map_err(|error| response.error(error))?;
        Ok(JobsPage { jobs, has_more: page.has_more, next_cursor: page.next_cursor })
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
/// - A page of at least two jobs has the same jobs as the page before it. The server seems to ignore the cursor.
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
/// count += client.iter_jobs().resume_from(jobs.cursor()).count();
/// assert_eq!(count, 120);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy: nothing is requested before the first `next`"]
pub struct JobsIter {
    http: Http,
    limit: u32,
    remaining: Option<usize>,
    pages: Pages,
    /// The jobs of the page that was received last.
    jobs: vec::IntoIter<Result<JobSummary>>,
    /// What is wrong with the cursor of that page.
    cursor_error: Option<Error>,
}

impl JobsIter {
    pub(crate) fn new(http: Http) -> Self {
        JobsIter {
            http,
            limit: PAGE_SIZE,
            remaining: None,
            pages: Pages::starting_at(None),
            jobs: Vec::new().into_iter(),
            cursor_error: None,
        }
    }

    /// Sets the number of jobs on a page. Defaults to 50. All pages are requested with this limit.
    ///
    /// With 0 the iterator yields one error and sends nothing.
    pub fn limit(self, limit: u32) -> Self {
        JobsIter { limit, ..self }
    }

    /// Sets the maximum number of jobs that the iterator yields. Defaults to no maximum. A job that cannot be read
    /// counts too. With 0 nothing is sent.
    ///
    /// This does not change the [`limit`](JobsIter::limit): the last page may have more jobs than the iterator yields.
    pub fn max_jobs(self, max_jobs: usize) -> Self {
        JobsIter { remaining: Some(max_jobs), ..self }
    }

    /// Starts at the page with this cursor, from [`cursor`](JobsIter::cursor) of another iterator or from
    /// [`next_cursor`](JobsPage::next_cursor). Defaults to `None`, the first page. Use the same
    /// [`limit`](JobsIter::limit) as before: a cursor may count pages.
    pub fn resume_from(self, cursor: Option<&str>) -> Self {
        let jobs = Vec::new().into_iter();
        JobsIter { pages: Pages::starting_at(cursor), jobs, cursor_error: None, ..self }
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
        if self.jobs.len() == 0 { self.pages.next() } else { self.pages.current() }
    }

    /// Fetches the page that is due. Returns whether there was one.
    fn fetch_page(&mut self, deadline: Instant) -> Result<bool> {
        if let Some(error) = self.cursor_error.take() {
            return Err(error);
        }
        let Some(cursor) = self.pages.request() else { return Ok(false) };
        let (page, response) = fetch(&self.http, self.limit, cursor, deadline)?;
        self.pages.check(&page).map_err(|error| response.error(error))?;
        self.cursor_error = self.pages.advance(&page).err().map(|error| response.error(error));
        self.jobs = page.jobs.into_iter();
        Ok(true)
    }
}

impl Iterator for JobsIter {
    type Item = Result<JobSummary>;

    fn next(&mut self) -> Option<Self::Item> {
        // All requests share one deadline, which also bounds a server that sends empty pages only.
        let mut deadline = None;
        while self.remaining != Some(0) {
            if let Some(job) = self.jobs.next() {
                self.remaining = self.remaining.map(|remaining| remaining - 1);
                return Some(job);
            }
            let deadline = *deadline.get_or_insert_with(|| self.http.deadline());
            match self.fetch_page(deadline) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let loaded = self.jobs.len();
        (self.remaining.map_or(loaded, |remaining| loaded.min(remaining)), self.remaining)
    }
}

impl FusedIterator for JobsIter {}
