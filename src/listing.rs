//! Pages of jobs, and the iterator that goes through them. The logic of cursors and limits knows no network.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::iter::FusedIterator;
use std::sync::mpsc;
use std::time::Instant;
use std::{thread, vec};

use serde::{Deserialize, Serialize};

use crate::api::{self, Call};
use crate::client::Client;
use crate::error::{Cause, Error, Result};
use crate::http::Attempt;
use crate::summary::JobSummary;

/// One page of the job history, newest jobs first as far as the service keeps to that.
///
/// ```no_run
/// # let client = atomiverse::Client::from_env()?;
/// let page = client.list_jobs().limit(20).send()?;
/// for job in &page.jobs {
///     println!("{} {}", job.job_id, job.state);
/// }
/// if let Some(cursor) = page.next_cursor.filter(|_| page.has_more) {
///     let _next = client.list_jobs().limit(20).cursor(cursor).send()?;
/// }
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobsPage {
    /// The jobs of this page.
    pub jobs: Vec<JobSummary>,
    /// Whether there is a next page. This alone decides: some servers send a cursor on the last page too.
    pub has_more: bool,
    /// Names the next page; always there when `has_more` is.
    pub next_cursor: Option<String>,
}

impl JobsPage {
    /// The cursor of the page after this one: `Ok(None)` on the last page.
    fn next(&self) -> Result<Option<&str>, Cause> {
        match self.next_cursor.as_deref() {
            _ if !self.has_more => Ok(None),
            None | Some("") => Err(Cause::MissingCursor),
            cursor => Ok(cursor),
        }
    }
}

/// One page of jobs, asked for with [`send`](ListJobs::send). Made by [`Client::list_jobs`].
///
/// ```no_run
/// # let client = atomiverse::Client::from_env()?;
/// let page = client.list_jobs().limit(10).send()?;
/// println!("{} jobs, more: {}", page.jobs.len(), page.has_more);
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is asked for before `send`"]
pub struct ListJobs {
    client: Client,
    limit: u32,
    cursor: Option<String>,
}

impl ListJobs {
    pub(crate) fn new(client: Client) -> Self {
        ListJobs { client, limit: api::PAGE_SIZE, cursor: None }
    }

    /// At most this many jobs; 50 unless set. The server may have a ceiling of its own.
    ///
    /// 0 is refused by [`send`](ListJobs::send) before any request.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let newest = client.list_jobs().limit(1).send()?.jobs.pop();
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Ask for the page that an earlier page's [`next_cursor`](JobsPage::next_cursor) names.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// # let cursor = "c2";
    /// let page = client.list_jobs().cursor(cursor).send()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// Sends the request. A page larger than asked for is handed over whole.
    ///
    /// # Errors
    ///
    /// A limit of 0; a request that fails; an answer that is no page of jobs, or that says
    /// `has_more` without a cursor or with the cursor that was asked with.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// for job in client.list_jobs().send()?.jobs {
    ///     println!("{} {}", job.job_id, job.state);
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn send(self) -> Result<JobsPage> {
        check(self.limit, self.cursor.as_deref())?;
        let http = self.client.http();
        let call = api::list(self.limit, self.cursor.as_deref());
        let answer = http.send(&call, http.deadline())?;
        let page = answer.page().map_err(|cause| http.error(cause, &call, &answer))?;
        match page.next() {
            Ok(Some(next)) if self.cursor.as_deref() == Some(next) => {
                Err(http.error(Cause::RepeatedCursor(next.to_owned()), &call, &answer))
            }
            Ok(_) => Ok(page),
            Err(cause) => Err(http.error(cause, &call, &answer)),
        }
    }
}

fn check(limit: u32, cursor: Option<&str>) -> Result<()> {
    if limit == 0 {
        return Err(Error::input("limit is 0: a page has at least one job; nothing was sent"));
    }
    if cursor == Some("") {
        return Err(Error::input("the cursor is empty: leave it out for the first page; nothing was sent"));
    }
    Ok(())
}

/// All jobs, page by page: the settings and the iterator in one. Made by [`Client::iter_jobs`].
///
/// Nothing is asked for before the first `next`; then one page at a time is fetched and held, however
/// long the history is (and eight bytes or so for each cursor seen). An empty page is passed over. A
/// server that sends no cursor for the next page, or one that it sent before, ends the iteration with
/// an error after the jobs of that page, never silently and never in an endless loop.
///
/// After an `Err` the iterator ends. [`cursor`](JobsIter::cursor) then says where to go on:
///
/// ```no_run
/// # let client = atomiverse::Client::from_env()?;
/// let mut jobs = client.iter_jobs().max_jobs(1000);
/// for job in &mut jobs {
///     match job {
///         Ok(job) => println!("{} {}", job.job_id, job.state),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// if let Some(cursor) = jobs.cursor() {
///     println!("go on with client.iter_jobs().resume_from({cursor:?})");
/// }
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy: nothing is asked for before the first `next`"]
pub struct JobsIter {
    client: Client,
    pager: Pager,
    page: vec::IntoIter<JobSummary>,
    /// Found on the page that is being handed out; reported after its jobs.
    fault: Option<Error>,
    prefetch: bool,
    ahead: Option<Ahead>,
}

/// A page that is being fetched on a thread of its own.
#[derive(Debug)]
struct Ahead {
    call: Call,
    attempt: mpsc::Receiver<Attempt>,
}

impl JobsIter {
    pub(crate) fn new(client: Client) -> Self {
        JobsIter {
            client,
            pager: Pager::new(),
            page: Vec::new().into_iter(),
            fault: None,
            prefetch: false,
            ahead: None,
        }
    }

    /// Jobs on a page; 50 unless set. The last page asks for no more than is still wanted.
    ///
    /// 0 gives one error and no request.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let jobs = client.iter_jobs().limit(50).max_jobs(120); // asks for 50, 50, 20
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn limit(mut self, limit: u32) -> Self {
        self.pager.limit = limit;
        self
    }

    /// At most this many jobs in all; without it, every job. 0 sends nothing.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let newest: Vec<_> = client.iter_jobs().max_jobs(200).collect::<Result<_, _>>()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn max_jobs(mut self, max_jobs: usize) -> Self {
        self.pager.left = Some(max_jobs);
        self
    }

    /// Start at the page that [`cursor`](JobsIter::cursor) of an earlier iteration named.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// # let saved = String::new();
    /// for job in client.iter_jobs().resume_from(saved) {
    ///     println!("{}", job?.job_id);
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn resume_from(mut self, cursor: impl Into<String>) -> Self {
        self.pager.cursor = Some(cursor.into());
        self
    }

    /// Fetch the next page while the caller works on this one. Off unless set.
    ///
    /// For a caller who does some work on each job: the server's time and the caller's then pass together. Jobs,
    /// their order, errors, [`cursor`](JobsIter::cursor) and requests stay those of the plain iterator, but for one
    /// page more that may have been asked for when the caller stops early. Two pages are held at a time. Each page is
    /// asked for on a thread of its own, which ends with that one request; nothing is sent again by it.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// # fn write_report(_: atomiverse::JobSummary) {}
    /// for job in client.iter_jobs().prefetch(true) {
    ///     write_report(job?);
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn prefetch(mut self, prefetch: bool) -> Self {
        self.prefetch = prefetch;
        self
    }

    /// The page from which [`resume_from`](JobsIter::resume_from) goes on.
    ///
    /// - While jobs of a page are left, that page: to resume repeats some of it and loses nothing.
    /// - Once its last job was handed out, the next page. So it is after a request that failed:
    ///   nothing is lost and nothing comes twice.
    /// - After an error about the cursor itself, the page that carried the faulty cursor.
    /// - `None` stands for the first page. It is also what remains after the last one.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let mut jobs = client.iter_jobs();
    /// let first_hundred: Vec<_> = jobs.by_ref().take(100).collect();
    /// let later = jobs.cursor().map(str::to_owned);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn cursor(&self) -> Option<&str> {
        let page = if self.page.len() == 0 { &self.pager.cursor } else { &self.pager.current };
        page.as_deref()
    }

    /// Fetches pages until one has jobs or there are no more.
    fn fetch(&mut self) -> Result<()> {
        // One deadline over all: a server with nothing but empty pages cannot hold the caller.
        let deadline = self.client.http().deadline();
        while self.page.len() == 0 && self.fault.is_none() {
            let Some(jobs) = self.next_page(deadline)? else { return Ok(()) };
            self.page = jobs.into_iter();
        }
        if self.prefetch && self.fault.is_none() {
            self.fetch_ahead();
        }
        Ok(())
    }

    /// Asks for the page after the one at hand. Where no thread can be had it is asked for later.
    fn fetch_ahead(&mut self) {
        let Ok(Some((limit, cursor))) = self.pager.ask(self.page.len()) else { return };
        let call = api::list(limit, cursor);
        let (sender, attempt) = mpsc::channel();
        let fetch = {
            let (client, call) = (self.client.clone(), call.clone());
            move || {
                let attempt = client.http().first_attempt(&call, client.http().deadline());
                // Nobody waits for it any more where the iterator was dropped.
                let _ = sender.send(attempt);
            }
        };
        let thread = thread::Builder::new().name("atomiverse-prefetch".to_owned());
        if thread.spawn(fetch).is_ok() {
            self.ahead = Some(Ahead { call, attempt });
        }
    }

    /// The next page as it comes, or `None` where there is none to ask for.
    pub(crate) fn next_page(&mut self, deadline: Instant) -> Result<Option<Vec<JobSummary>>> {
        if let Some(error) = self.fault.take() {
            return Err(error);
        }
        let (call, first) = match self.ahead.take() {
            // Bounded as every attempt is.
            Some(Ahead { call, attempt }) => (call, attempt.recv().ok()),
            None => match self.pager.ask(0)? {
                Some((limit, cursor)) => (api::list(limit, cursor), None),
                None => return Ok(None),
            },
        };
        let http = self.client.http();
        let answer = http.go_on(&call, first, deadline)?;
        let page = answer.page().map_err(|cause| http.error(cause, &call, &answer))?;
        if let Err(cause) = self.pager.turn(&page) {
            self.fault = Some(http.error(cause, &call, &answer));
        }
        Ok(Some(page.jobs))
    }
}

impl Iterator for JobsIter {
    type Item = Result<JobSummary>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.pager.left == Some(0) {
            return None;
        }
        if self.page.len() == 0 && self.fault.is_none() {
            if let Err(error) = self.fetch() {
                self.pager.done = true;
                return Some(Err(error));
            }
        }
        if let Some(job) = self.page.next() {
            self.pager.left = self.pager.left.map(|left| left - 1);
            return Some(Ok(job));
        }
        self.fault.take().map(Err)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let at_hand = self.page.len();
        match self.pager.left {
            Some(left) => (at_hand.min(left), Some(left)),
            None => (at_hand, None),
        }
    }
}

impl FusedIterator for JobsIter {}

/// Which page comes next, and how much of it is wanted.
#[derive(Debug)]
struct Pager {
    limit: u32,
    /// Jobs still wanted; `None` is all.
    left: Option<usize>,
    /// The page to ask for next; `None` is the first.
    cursor: Option<String>,
    /// The page before it, which may still be in the caller's hands.
    current: Option<String>,
    /// Cursors that were asked with, by hash: a long scan is to hold no texts.
    used: HashSet<u64>,
    hasher: RandomState,
    /// No page is to be asked for any more.
    done: bool,
}

impl Pager {
    fn new() -> Self {
        Pager {
            limit: api::PAGE_SIZE,
            left: None,
            cursor: None,
            current: None,
            used: HashSet::new(),
            hasher: RandomState::new(),
            done: false,
        }
    }

    /// Limit and cursor of the next page when so many jobs are at hand, or `None` where there is none to ask for.
    fn ask(&self, at_hand: usize) -> Result<Option<(u32, Option<&str>)>> {
        let left = self.left.map(|left| left.saturating_sub(at_hand));
        if self.done || left == Some(0) {
            return Ok(None);
        }
        check(self.limit, self.cursor.as_deref())?;
        let wanted = left.map_or(u32::MAX, |left| u32::try_from(left).unwrap_or(u32::MAX));
        Ok(Some((self.limit.min(wanted), self.cursor.as_deref())))
    }

    /// Takes note of the page that was asked for. After an `Err` its jobs are still good.
    fn turn(&mut self, page: &JobsPage) -> Result<(), Cause> {
        if let Some(cursor) = &self.cursor {
            self.used.insert(self.hasher.hash_one(cursor.as_str()));
        }
        self.current.clone_from(&self.cursor);
        self.done = true;
        match page.next()? {
            Some(next) if self.used.contains(&self.hasher.hash_one(next)) => {
                return Err(Cause::RepeatedCursor(next.to_owned()));
            }
            next => {
                self.done = next.is_none();
                self.cursor = next.map(str::to_owned);
            }
        }
        Ok(())
    }
}

/// Runs the logic of cursors and limits over what `answer` says: whether there are more, the next cursor, the
/// number of jobs; `None` is a request that failed.
#[cfg(fuzzing)]
#[doc(hidden)]
#[allow(missing_docs)]
pub fn scan(
    limit: u32,
    max_jobs: Option<usize>,
    mut answer: impl FnMut(u32, Option<&str>) -> Option<(bool, Option<String>, usize)>,
) {
    let mut pager = Pager::new();
    pager.limit = limit;
    pager.left = max_jobs;
    while pager.left != Some(0) {
        let Ok(Some((limit, cursor))) = pager.ask(0) else { return };
        let Some((has_more, next_cursor, jobs)) = answer(limit, cursor) else { return };
        pager.left = pager.left.map(|left| left.saturating_sub(jobs));
        if pager.turn(&JobsPage { jobs: Vec::new(), has_more, next_cursor }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(has_more: bool, next_cursor: Option<&str>) -> JobsPage {
        JobsPage { jobs: Vec::new(), has_more, next_cursor: next_cursor.map(str::to_owned) }
    }

    #[test]
    fn a_cursor_is_remembered_over_a_long_scan() {
        let mut pager = Pager::new();
        for n in 0..10_000 {
            pager.turn(&page(true, Some(&format!("c{n}")))).unwrap();
        }
        let error = pager.turn(&page(true, Some("c17"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"the server sent the cursor "c17" a second time: its pages go round in a circle"#
        );
        assert!(pager.ask(0).unwrap().is_none());
    }

    #[test]
    fn more_jobs_than_a_u32_can_be_wanted() {
        let mut pager = Pager::new();
        pager.left = Some(usize::MAX);
        assert_eq!(pager.ask(0).unwrap(), Some((50, None)));
    }
}
