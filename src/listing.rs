//! Listing jobs: one page, and the iterator over all pages.

use std::iter::FusedIterator;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{mem, thread, vec};

use crate::api::{self, Page};
use crate::error::{Error, Result};
use crate::http::Http;
use crate::pages::{self, Fetched, Pages};
use crate::stop::StopToken;
use crate::sync::lock;
use crate::types::{JobSummary, JobsPage};

/// Fetches one page of jobs.
pub(crate) fn fetch(
    http: &Http,
    limit: u32,
    cursor: Option<&str>,
    previews: bool,
    deadline: Instant,
) -> Result<Fetched> {
    let response = http.send(&api::list(limit, cursor), deadline)?;
    let page = response.page(cursor.is_none(), previews)?;
    http.address_is_right();
    let bytes = response.raw.body.len();
    http.keep_buffer(response.raw.body);
    Ok(Fetched { page, bytes, context: response.context })
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
    previews: bool,
}

impl ListJobs {
    pub(crate) fn new(http: Http) -> Self {
        ListJobs { http, limit: api::PAGE_SIZE, cursor: None, previews: true }
    }

    /// Sets the maximum number of jobs on the page. Defaults to 50. The server may have a lower maximum.
    ///
    /// [`send`](ListJobs::send) refuses 0 without sending anything.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Sets which page to request, by the [`next_cursor`](JobsPage::next_cursor) of an earlier page. Defaults to the
    /// first page.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// Sets whether to decode the previews of the molecules. Enabled by default. If disabled, each
    /// [`molecule_preview`](JobSummary::molecule_preview) is `None`, and decoding takes less time.
    pub fn previews(mut self, previews: bool) -> Self {
        self.previews = previews;
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
        pages::check(self.limit, self.cursor.as_deref())?;
        let cursor = self.cursor.as_deref();
        let fetched = fetch(&self.http, self.limit, cursor, self.previews, self.http.deadline())?;
        let Fetched { page: Page { jobs, has_more, next_cursor }, context, .. } = fetched;
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
/// - A page begins with the same job as the page before it. The server seems to ignore the cursor.
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
///     count += client.iter_jobs().resume_from(cursor).count();
/// }
/// assert_eq!(count, 120);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy: nothing is requested before the first `next`"]
pub struct JobsIter {
    http: Http,
    pages: Pages,
    buffered: vec::IntoIter<Result<JobSummary>>,
    prefetch: bool,
    previews: bool,
    prefetcher: Option<Prefetcher>,
    /// When the caller got the current page.
    page_began: Option<Instant>,
}

/// A caller that has taken all jobs of a page within this time does no work that a prefetch could overlap. Waking a
/// thread up for the next page would take about as long.
const NO_WORK: Duration = Duration::from_micros(50);

impl JobsIter {
    pub(crate) fn new(http: Http) -> Self {
        JobsIter {
            pages: Pages::new(http.page_sizes()),
            http: http.with_buffer(),
            previews: true,
            buffered: Vec::new().into_iter(),
            prefetch: false,
            prefetcher: None,
            page_began: None,
        }
    }

    /// Sets the number of jobs on a page. By default the size of pages grows from 50 to 1000.
    ///
    /// With a limit, only the last page is smaller if [`max_jobs`](JobsIter::max_jobs) requires it:
    /// `limit(50).max_jobs(120)` requests 50, 50 and 20 jobs. With 0 the iterator yields one error and sends nothing.
    ///
    /// Without a limit, the first page has 50 jobs and each later one twice as many as the one before, up to 1000, so a
    /// long history takes few requests. The size does not grow after a page that takes a second or has 2 MiB. If the
    /// server refuses a larger page (400 or 422), the page is requested again with the last size that worked, and this
    /// client does not exceed that size from then on.
    ///
    /// A page of another size requires that a cursor names the same place in the list whatever the size of the page. To
    /// check this, the client follows its first larger page by a request for one job with the same cursor. If the
    /// response has another job, the server's cursors count pages, and the pages of this client do not grow. A smaller
    /// last page that begins with a job of an earlier page, or that the server refuses, is requested again with the
    /// size of the page before.
    pub fn limit(mut self, limit: u32) -> Self {
        self.pages.limit = Some(limit);
        self
    }

    /// Sets whether to decode the previews of the molecules. Enabled by default. If disabled, each
    /// [`molecule_preview`](JobSummary::molecule_preview) is `None`, and decoding takes less time.
    pub fn previews(mut self, previews: bool) -> Self {
        self.previews = previews;
        self
    }

    /// Sets the maximum number of jobs that the iterator yields. Defaults to no maximum. A job that cannot be read
    /// counts too. With 0 nothing is sent.
    pub fn max_jobs(mut self, max_jobs: usize) -> Self {
        self.pages.remaining = Some(max_jobs);
        self
    }

    /// Starts at the page with this cursor, from [`cursor`](JobsIter::cursor) of another iterator or from
    /// [`next_cursor`](JobsPage::next_cursor). Defaults to the first page.
    pub fn resume_from(mut self, cursor: impl Into<String>) -> Self {
        self.pages.start_at(cursor.into());
        self.buffered = Vec::new().into_iter();
        self.prefetcher = None;
        self
    }

    /// Sets whether to fetch the next page while the caller processes the current one. Disabled by default.
    ///
    /// This saves time if the caller does some work for each job. The jobs, their order, errors and
    /// [`cursor`](JobsIter::cursor) are the same as without it. The iterator holds two pages at a time, and if the
    /// caller stops early, it may have requested one page more than needed. One thread fetches all pages. When the
    /// iterator is dropped, the thread abandons its request and ends. While the caller takes all jobs of a page within
    /// 50 microseconds, there is no work to overlap, and the iterator does not prefetch.
    pub fn prefetch(mut self, prefetch: bool) -> Self {
        self.prefetch = prefetch;
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
        if self.buffered.len() == 0 { self.pages.next_cursor() } else { self.pages.current() }
    }

    fn next_page(&mut self, deadline: Instant) -> Result<Option<Vec<Result<JobSummary>>>> {
        let now = self.http.clock().now();
        let has_work = self.page_began.is_none_or(|began| now.saturating_duration_since(began) >= NO_WORK);
        // If the time of this call is over, a prefetched page is not used, and the request reports the timeout.
        let is_late = now >= deadline;
        let prefetched = self.prefetcher.as_mut().and_then(Prefetcher::take);
        let mut prefetched = prefetched.filter(|_| !is_late);
        let jobs = self.pages.next_page(|limit, cursor| {
            let fetched = prefetched.take();
            fetched.unwrap_or_else(|| fetch(&self.http, limit, cursor, self.previews, deadline))
        })?;
        if self.prefetch {
            if has_work {
                self.start_prefetch(jobs.as_ref().map_or(0, Vec::len));
            }
            self.page_began = Some(self.http.clock().now());
        }
        Ok(jobs)
    }

    /// Starts to fetch the page after this one. If no thread can be started, the page is fetched later.
    fn start_prefetch(&mut self, buffered: usize) {
        let Ok(Some((limit, cursor))) = self.pages.next_request(buffered) else { return };
        if self.prefetcher.is_none() {
            self.prefetcher = Prefetcher::start(&self.http, self.previews);
        }
        if let Some(prefetcher) = &mut self.prefetcher {
            prefetcher.order(limit, cursor);
        }
    }
}

/// A thread that fetches the next page while the caller works on this one.
#[derive(Debug)]
struct Prefetcher {
    /// The page that was ordered, until the thread begins.
    order: Arc<Mutex<Option<Order>>>,
    /// Wakes the thread up for an order.
    wake: mpsc::Sender<()>,
    fetched: mpsc::Receiver<Result<Fetched>>,
    /// Whether an order was sent whose result has not been received.
    is_ordered: bool,
    stop: StopToken,
    thread: Option<JoinHandle<()>>,
}

/// The limit and cursor of a page.
type Order = (u32, Option<String>);

impl Prefetcher {
    fn start(http: &Http, previews: bool) -> Option<Self> {
        let (wake, woken) = mpsc::channel();
        let order: Arc<Mutex<Option<Order>>> = Arc::default();
        let orders = order.clone();
        let (sender, fetched) = mpsc::channel();
        let stop = StopToken::child(http.stop.as_ref());
        let mut http = http.clone();
        http.stop = Some(stop.clone());
        let work = move || {
            while woken.recv().is_ok() {
                let Some((limit, cursor)) = lock(&orders).take() else { continue };
                // Sending fails if the iterator was dropped.
                if sender.send(fetch(&http, limit, cursor.as_deref(), previews, http.deadline())).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("atomiverse-prefetch".to_owned()).spawn(work).ok()?;
        Some(Prefetcher { order, wake, fetched, is_ordered: false, stop, thread: Some(thread) })
    }

    fn order(&mut self, limit: u32, cursor: Option<&str>) {
        *lock(&self.order) = Some((limit, cursor.map(str::to_owned)));
        self.is_ordered = self.wake.send(()).is_ok();
    }

    /// Returns the page that was ordered. Waits for it, within the time limit of a call. If the thread has not begun,
    /// the caller is faster itself, and there is none. Passes on a panic of a hook.
    fn take(&mut self) -> Option<Result<Fetched>> {
        if !mem::take(&mut self.is_ordered) || lock(&self.order).take().is_some() {
            return None;
        }
        match self.fetched.recv() {
            Ok(fetched) => Some(fetched),
            Err(_) => {
                if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                    resume_unwind(panic);
                }
                None
            }
        }
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl Iterator for JobsIter {
    type Item = Result<JobSummary>;

    fn next(&mut self) -> Option<Self::Item> {
        // All requests share one deadline, which also bounds a server that sends empty pages only.
        let mut deadline = None;
        while self.pages.remaining != Some(0) {
            if let Some(job) = self.buffered.next() {
                self.pages.remaining = self.pages.remaining.map(|remaining| remaining - 1);
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
        match self.pages.remaining {
            Some(remaining) => (buffered.min(remaining), Some(remaining)),
            None => (buffered, None),
        }
    }
}

impl FusedIterator for JobsIter {}
