//! Waiting for jobs: polls with pauses between them, under one deadline.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::api;
use crate::bulk::Bulk;
use crate::clock::{DECADES, saturating_add};
use crate::error::{Error, ErrorKind, FailedCancellation, Result, seconds};
use crate::http::Http;
use crate::jobs::list;
use crate::jobs::pages::Pages;
use crate::operations;
use crate::stop;
use crate::types::{JobId, JobState, JobSummary};

/// How many jobs are loaded by id before those that have ended are yielded.
const CHUNK: usize = 16;

/// The average interval between the requests of one poll, after the first page or chunk. It bounds the requests of a
/// wait for any number of jobs.
const REQUEST_INTERVAL: Duration = Duration::from_millis(50);

/// Options of a wait: its maximum duration, its polling intervals, and what happens on updates and when the time is up.
///
/// [`Client::wait_for_job`](crate::Client::wait_for_job) and other methods that wait take a reference to them.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "simulator")] {
/// # use atomiverse::simulator::{SimulatedJob, Simulator};
/// # let simulator = Simulator::start()?;
/// # let client = simulator.client()?;
/// # let id = simulator.add_job(SimulatedJob::new("opt").running_for(std::time::Duration::MAX));
/// use atomiverse::WaitOptions;
/// use std::time::Duration;
///
/// let options = WaitOptions::new()
///     .timeout(Duration::from_secs(600))
///     .cancel_on_timeout(true)
///     .on_update(|job| println!("{} is {}", job.job_id, job.state));
/// let error = client.wait_for_job(id, &options).unwrap_err(); // This job does not end by itself.
/// assert!(error.is_timeout());
/// assert_eq!(error.cancellation_accepted(), Some(true));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct WaitOptions<'a> {
    /// `None` means no limit.
    timeout: Option<Duration>,
    min_interval: Duration,
    max_interval: Duration,
    cancel_on_timeout: bool,
    on_update: Option<OnUpdate<'a>>,
}

type OnUpdate<'a> = Arc<Mutex<dyn FnMut(&JobSummary) + Send + 'a>>;

impl<'a> WaitOptions<'a> {
    /// Returns the default options: a maximum duration of one hour, and polling intervals that grow from 1 to 15
    /// seconds.
    pub fn new() -> Self {
        WaitOptions {
            timeout: Some(Duration::from_secs(3600)),
            min_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(15),
            cancel_on_timeout: false,
            on_update: None,
        }
    }

    /// Sets the maximum duration of the wait, including requests, retries and pauses. Defaults to one hour.
    ///
    /// The last poll begins up to a second before the end, or earlier if polls take longer, so that it can complete. A
    /// job that ends after it counts as not ended.
    ///
    /// If the process was suspended past that time, the wait polls once more before it reports that a job has not
    /// ended. This poll takes at most 10 seconds, and at most as long as the timeout.
    ///
    /// With a timeout of zero, the wait returns an error without sending anything.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Removes the limit on the duration of the wait.
    ///
    /// A job that does not end, or that stays in a state that this version does not know, then blocks the caller until
    /// a [`StopToken`](crate::StopToken) stops the client or the process ends. Each request remains bounded by the
    /// [`timeout`](crate::ClientBuilder::timeout) of the client.
    pub fn for_ever(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// Sets the initial polling interval. Each later interval is 1.5 times the previous one. Defaults to 1 second.
    ///
    /// With an interval of zero, the wait returns an error without sending anything.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.min_interval = interval;
        self
    }

    /// Sets the longest polling interval. Defaults to 15 seconds. Each interval is shortened by up to a quarter at
    /// random.
    ///
    /// A `Retry-After` of the server can make a single interval longer. If the value is below
    /// [`min_interval`](WaitOptions::min_interval), the wait returns an error without sending anything.
    pub fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = interval;
        self
    }

    /// Sets whether to cancel the jobs that have not ended when the time is up. Disabled by default.
    ///
    /// A job that nobody waits for continues to run and costs money. The last tenth of the timeout, at most 10 seconds,
    /// is reserved for cancelling. The jobs are cancelled four at a time: if a request takes 100 milliseconds, 10
    /// seconds are enough for 400 jobs. [`Error::cancellation_accepted`] says for each job whether the server accepted
    /// the request. Pass the ids of the others to [`Client::cancel_jobs`](crate::Client::cancel_jobs). If a job turns
    /// out to have ended, its summary is returned instead of an error.
    pub fn cancel_on_timeout(mut self, cancel: bool) -> Self {
        self.cancel_on_timeout = cancel;
        self
    }

    /// Sets a function that is called with each job when its summary is first received, and whenever its state has
    /// changed.
    ///
    /// The function runs on the thread of the wait, which makes no progress meanwhile: a slow function can carry the
    /// wait past its timeout. After a [stop](crate::StopToken) it is not called any more. Waits that share the options
    /// call it one at a time. It must therefore not wait with the same options itself.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # use atomiverse::simulator::{SimulatedJob, Simulator};
    /// # let simulator = Simulator::start()?;
    /// # let client = simulator.client()?;
    /// # let id = simulator.add_job(SimulatedJob::new("opt"));
    /// let mut states = Vec::new();
    /// let options = atomiverse::WaitOptions::new().on_update(|job| states.push(job.state.to_string()));
    /// client.wait_for_job(id, &options)?;
    /// drop(options);
    /// assert_eq!(states, ["pending", "running", "done"]);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_update<'b>(self, on_update: impl FnMut(&JobSummary) + Send + 'b) -> WaitOptions<'b> {
        WaitOptions {
            timeout: self.timeout,
            min_interval: self.min_interval,
            max_interval: self.max_interval,
            cancel_on_timeout: self.cancel_on_timeout,
            on_update: Some(Arc::new(Mutex::new(on_update))),
        }
    }

    fn check(&self) -> Result<()> {
        let refuse = |text: &str| Err(Error::input(format!("{text}; nothing was sent")));
        if self.timeout == Some(Duration::ZERO) {
            return refuse("timeout is zero: use get_job to load a job once");
        }
        if self.min_interval.is_zero() {
            return refuse("min_interval is zero: the server would be polled without a pause");
        }
        if self.max_interval < self.min_interval {
            let (max, min) = (seconds(self.max_interval), seconds(self.min_interval));
            return refuse(&format!("max_interval ({max}) is shorter than min_interval ({min})"));
        }
        Ok(())
    }
}

impl Default for WaitOptions<'_> {
    fn default() -> Self {
        WaitOptions::new()
    }
}

impl fmt::Debug for WaitOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitOptions")
            .field("timeout", &self.timeout)
            .field("min_interval", &self.min_interval)
            .field("max_interval", &self.max_interval)
            .field("cancel_on_timeout", &self.cancel_on_timeout)
            .finish_non_exhaustive()
    }
}

/// An iterator that yields jobs as they end.
///
/// [`Client::wait_for_jobs`](crate::Client::wait_for_jobs) returns one.
#[derive(Debug)]
#[must_use = "iterators are lazy: nothing is requested before the first `next`"]
pub struct WaitForJobs<'a> {
    http: Http,
    options: WaitOptions<'a>,
    /// All jobs, in the order in which the caller passed them.
    ids: Vec<JobId>,
    pending: HashMap<JobId, Pending>,
    ready: VecDeque<Result<JobSummary>>,
    schedule: Option<Schedule>,
    round: Option<Round>,
    listing: Listing,
    /// Whether a poll has succeeded.
    has_seen: bool,
    /// Whether the server has accepted a request to cancel the jobs.
    is_cancelled: bool,
}

/// A job that is not known to have ended.
#[derive(Debug, Default)]
struct Pending {
    /// The state that was received last.
    state: Option<JobState>,
    /// Why the last poll could not read the job.
    last_failure: Option<String>,
}

/// Whether jobs are read from listing pages.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Listing {
    Useful,
    /// The last listing failed for a transient reason. After a second failure listing is given up.
    FailedOnce,
    GivenUp,
}

/// One poll of all pending jobs: first on listing pages, if that takes fewer requests, then by id.
#[derive(Debug)]
struct Round {
    pages: Option<Pages>,
    /// The jobs that have not been found on a listing page.
    unseen: HashSet<JobId>,
    pages_asked: usize,
    /// The number of pages in a row on which none of the jobs was found.
    fruitless: usize,
    by_id: VecDeque<JobId>,
    /// The jobs that are being loaded by id.
    chunk: Option<Bulk<JobSummary>>,
    /// When the next page or chunk may be requested.
    next_request: Instant,
    pending_at_start: usize,
    started: Instant,
    deadline: Option<Instant>,
    /// A listing that is slow or hangs must leave time to load the jobs by id.
    listing_until: Option<Instant>,
    is_last: bool,
    /// The longest `Retry-After` that the server sent.
    asked_pause: Duration,
}

impl<'a> WaitForJobs<'a> {
    pub(crate) fn new(
        http: Http,
        ids: impl IntoIterator<Item = impl AsRef<str>>,
        options: &WaitOptions<'a>,
    ) -> Self {
        let mut wait = WaitForJobs {
            http,
            options: options.clone(),
            ids: Vec::new(),
            pending: HashMap::new(),
            ready: VecDeque::new(),
            schedule: None,
            round: None,
            listing: Listing::Useful,
            has_seen: false,
            is_cancelled: false,
        };
        if let Err(error) = options.check().and_then(|()| check_timeout(&wait.http)) {
            wait.ready.push_back(Err(error));
            return wait;
        }
        let mut refused = HashSet::new();
        for id in ids {
            match api::job_id(id.as_ref()) {
                Ok(id) => {
                    if wait.pending.insert(id.clone(), Pending::default()).is_none() {
                        wait.ids.push(id);
                    }
                }
                Err(error) if refused.insert(id.as_ref().to_owned()) => wait.ready.push_back(Err(error)),
                Err(_) => {}
            }
        }
        wait
    }

    /// Makes some progress: pauses and starts a round, fetches one page, starts to load some jobs by id, takes one of
    /// them, or ends the round.
    fn step(&mut self) {
        let Some(mut round) = self.round.take() else {
            self.round = Some(self.start_round());
            return;
        };
        if let Some(pages) = round.pages.take() {
            round.pages = self.poll_page(&mut round, pages);
            if round.pages.is_none() {
                let unseen = &round.unseen;
                round.by_id = self.ids.iter().filter(|id| unseen.contains(*id)).cloned().collect();
            }
            self.round = Some(round);
        } else if let Some(mut chunk) = round.chunk.take() {
            // A job that has come is passed on while the requests for others are in flight.
            if let Some((id, outcome)) = chunk.next() {
                match outcome {
                    Ok(job) => self.seen(&id, job),
                    Err(error) => self.lookup_failed(&mut round, &id, error),
                }
                round.chunk = Some(chunk);
            }
            self.round = Some(round);
        } else if !round.by_id.is_empty() && round.deadline.is_none_or(|deadline| self.now() < deadline) {
            self.poll_by_id(&mut round);
            self.round = Some(round);
        } else {
            self.end_round(&round);
        }
    }

    fn start_round(&mut self) -> Round {
        let http = self.http.clone();
        let schedule = self.schedule.get_or_insert_with(|| Schedule::new(http.clock().now(), &self.options));
        http.sleep_until(schedule.next_poll);
        let started = http.clock().now();
        let overslept = schedule.end_of_polls.is_some_and(|end| started >= end);
        let pending = &self.pending;
        self.ids.retain(|id| pending.contains_key(id));
        let is_last = schedule.next_is_last || overslept;
        let deadline = if overslept { Some(started + schedule.grace) } else { schedule.end_of_polls };
        // The last poll of a few jobs does not rely on a listing, which may be slow or out of date.
        let skip_listing = is_last && (self.ids.len() <= CHUNK || self.listing == Listing::FailedOnce);
        let use_listing = self.ids.len() > 1 && self.listing != Listing::GivenUp && !skip_listing;
        let (mut unseen, mut by_id) = (HashSet::new(), VecDeque::new());
        if use_listing {
            unseen.extend(self.ids.iter().cloned());
        } else {
            by_id.extend(self.ids.iter().cloned());
        }
        Round {
            pages: use_listing.then(|| Pages::starting_at(None)),
            unseen,
            pages_asked: 0,
            fruitless: 0,
            by_id,
            chunk: None,
            next_request: started,
            pending_at_start: self.ids.len(),
            started,
            deadline,
            listing_until: deadline.map(|end| started + end.saturating_duration_since(started) / 4),
            is_last,
            asked_pause: Duration::ZERO,
        }
    }

    /// Fetches one listing page. Returns the pages if another one should be fetched.
    fn poll_page(&mut self, round: &mut Round, mut pages: Pages) -> Option<Pages> {
        self.pace(round, 1);
        let deadline = earlier(self.http.deadline(), round.listing_until);
        let jobs = match pages.next_page(|cursor| list::fetch(&self.http, api::PAGE_SIZE, cursor, deadline)) {
            Ok(Some(jobs)) => jobs,
            Ok(None) => {
                self.listing = Listing::Useful;
                return None;
            }
            Err(error) => {
                self.listing_failed(round, &error);
                return None;
            }
        };
        round.pages_asked += 1;
        round.fruitless += 1;
        for job in jobs {
            match job {
                Ok(job) => {
                    if let Some(id) = round.unseen.take(&job.job_id) {
                        round.fruitless = 0;
                        self.seen(&id, job);
                    }
                }
                // A job that cannot be read is loaded by id.
                Err(error) => log::debug!("{error}"),
            }
        }
        // A page on which a job is found saves a request for it. The jobs that are left may be far down the list, so
        // only a few pages are spent on searching for them, and none for the last one.
        let patience = round.unseen.len().div_ceil(10);
        let has_time = round.listing_until.is_none_or(|until| self.now() < until);
        if round.unseen.len() > 1 && round.fruitless < patience && has_time {
            return Some(pages);
        }
        self.listing = Listing::Useful;
        None
    }

    fn listing_failed(&mut self, round: &mut Round, error: &Error) {
        if error.is_unauthorized() {
            self.key_was_refused(round, error);
            return;
        }
        if error.is_stopped() {
            return;
        }
        log::debug!("a listing failed and does not end the wait: {error}");
        round.asked_pause = round.asked_pause.max(error.retry_after().unwrap_or_default());
        self.listing = match self.listing {
            Listing::Useful if error.is_transient() => Listing::FailedOnce,
            _ => Listing::GivenUp,
        };
        // The round ends here, because a request for each job would burden a server that is already failing.
        if self.listing == Listing::FailedOnce && round.pages_asked == 0 && !round.is_last {
            for id in round.unseen.drain() {
                if let Some(pending) = self.pending.get_mut(&id) {
                    pending.last_failure = Some(error.to_string());
                }
            }
        }
    }

    /// Starts to load some jobs by id, several at a time.
    fn poll_by_id(&mut self, round: &mut Round) {
        let chunk: Vec<JobId> = round.by_id.drain(..round.by_id.len().min(CHUNK)).collect();
        self.pace(round, CHUNK as u32);
        let deadline = round.deadline;
        let get =
            move |http: &Http, id: &JobId| operations::get(http, id, earlier(http.deadline(), deadline));
        round.chunk = Some(Bulk::new(&self.http, chunk, get));
    }

    /// Waits until the next requests of the poll may be sent, or the time is up.
    fn pace(&self, round: &mut Round, requests: u32) {
        self.http.sleep_until(earlier(round.next_request, round.deadline));
        round.next_request = saturating_add(self.now(), REQUEST_INTERVAL * requests);
    }

    /// Records that a job could not be loaded. The failure concerns this job only, unless the key was refused.
    fn lookup_failed(&mut self, round: &mut Round, id: &JobId, error: Error) {
        let is_over = round.deadline.is_some_and(|deadline| self.now() >= deadline);
        let Some(pending) = self.pending.get_mut(id) else { return };
        if error.is_stopped() || (is_over && matches!(error.kind(), ErrorKind::OutOfTime)) {
            return;
        }
        // A response that is not JSON may come from a gateway.
        let is_foreign =
            matches!(error.kind(), ErrorKind::Status { is_foreign: true, status, .. } if *status != 401);
        let is_refused = matches!(error.status(), Some(300..500)) && !error.is_decode() && !is_foreign;
        let is_other_spelling = error.is_other_spelling();
        // If such a job has ended, polling it again would not help.
        let has_ended = error.is_decode() && error.state().is_some_and(JobState::is_terminal);
        // After a first success, such a response may come from a gateway and is not final. Before it, the address may
        // be wrong, so the error ends the wait.
        if error.is_transient() || (!is_refused && !has_ended && !is_other_spelling && self.has_seen) {
            log::debug!("a poll failed and does not end the wait: {error}");
            round.asked_pause = round.asked_pause.max(error.retry_after().unwrap_or_default());
            pending.last_failure = Some(error.to_string());
            return;
        }
        if error.is_unauthorized() {
            self.key_was_refused(round, &error);
        } else {
            self.pending.remove(id);
            self.ready.push_back(Err(error));
        }
    }

    /// Ends the wait for all jobs, since the same key would be refused for each of them.
    fn key_was_refused(&mut self, round: &mut Round, error: &Error) {
        let pending = &self.pending;
        let left = self.ids.iter().filter(|id| pending.contains_key(*id));
        self.ready.extend(left.filter_map(|id| error.status_for(id)).map(Err));
        self.pending.clear();
        round.unseen.clear();
        round.by_id.clear();
    }

    fn seen(&mut self, id: &JobId, job: JobSummary) {
        self.has_seen = true;
        let Some(pending) = self.pending.get_mut(id) else { return };
        pending.last_failure = None;
        if pending.state.as_ref() != Some(&job.state) {
            pending.state = Some(job.state.clone());
            // Another wait that shares the options may be in `on_update`.
            let on_update = self.options.on_update.as_ref();
            let stop = self.http.stop.as_ref();
            if let Some(mut on_update) = on_update.and_then(|mutex| stop::lock_unless_stopped(mutex, stop)) {
                on_update(&job);
            }
        }
        if job.state.is_terminal() {
            self.pending.remove(id);
            self.ready.push_back(Ok(job));
        }
    }

    fn end_round(&mut self, round: &Round) {
        // Listing is given up if it takes as many requests as loading each job by id.
        let looked_up = round.unseen.len();
        if round.pages_asked > 0 && round.pages_asked + looked_up >= round.pending_at_start {
            self.listing = Listing::GivenUp;
        }
        let now = self.now();
        let Some(schedule) = &mut self.schedule else { return };
        let late = schedule.end_of_polls.map(|end| now.saturating_duration_since(end));
        let is_over = schedule.end_of_polls.is_some_and(|end| now >= end);
        // No request takes longer than the deadline allows, so a clock that is far beyond it shows that the process was
        // suspended.
        let was_suspended = late.is_some_and(|late| late > SUSPENDED);
        if round.is_last || (is_over && !was_suspended) {
            self.time_out(now);
        } else {
            let took = now.saturating_duration_since(round.started);
            schedule.plan(now, took, round.asked_pause, self.http.jitter(), self.options.max_interval);
        }
    }

    /// Yields an error for each job that has not ended.
    fn time_out(&mut self, now: Instant) {
        let Some(Schedule { started, deadline: Some(deadline), grace, .. }) = self.schedule else { return };
        let ids: Vec<JobId> = self.ids.iter().filter(|id| self.pending.contains_key(*id)).cloned().collect();
        let mut cancellations = HashMap::new();
        if self.options.cancel_on_timeout {
            // After a suspension, none of the time reserved for cancelling is left.
            let is_late = now.saturating_duration_since(deadline) > SUSPENDED;
            let deadline = if is_late { now + grace } else { deadline };
            let cancel = move |http: &Http, id: &JobId| operations::cancel(http, id, deadline);
            cancellations.extend(Bulk::new(&self.http, &ids, cancel));
        }
        for job_id in ids {
            let Pending { state, last_failure } = self.pending.remove(&job_id).unwrap_or_default();
            let waited = now.saturating_duration_since(started);
            let cancellation = match cancellations.remove(&job_id) {
                // The job had already ended.
                Some(Ok(Some(job))) => {
                    self.ready.push_back(Ok(job));
                    continue;
                }
                Some(Ok(None)) => Some(Ok(())),
                Some(Err(error)) => Some(Err(FailedCancellation {
                    error: error.to_string(),
                    may_have_been_processed: error.may_have_been_processed(),
                    is_stopped: error.is_stopped(),
                })),
                None => self.is_cancelled.then_some(Ok(())),
            };
            let kind = ErrorKind::WaitTimedOut { job_id, state, waited, last_failure, cancellation };
            self.ready.push_back(Err(Error::without_request(kind)));
        }
    }

    /// Yields an error for each job that is left: the wait was stopped.
    fn stop(&mut self) {
        for job_id in self.ids.drain(..) {
            if let Some(Pending { state, .. }) = self.pending.remove(&job_id) {
                let kind = ErrorKind::WaitStopped { job_id, state, is_cancelled: self.is_cancelled };
                self.ready.push_back(Err(Error::without_request(kind)));
            }
        }
    }

    fn now(&self) -> Instant {
        self.http.clock().now()
    }
}

/// Refuses a client whose timeout is zero: the wait would poll without ever sending a request.
fn check_timeout(http: &Http) -> Result<()> {
    if http.timeout.is_zero() {
        return Err(Error::input("with_timeout is zero: the wait cannot poll; nothing was sent"));
    }
    Ok(())
}

/// Cancels the job and waits for it. One deadline bounds both.
pub(crate) fn cancel_and_wait(http: &Http, id: &JobId, options: &WaitOptions<'_>) -> Result<JobSummary> {
    options.check()?;
    // When the time is up, the job has been cancelled already.
    let options = options.clone().cancel_on_timeout(false);
    let schedule = Schedule::new(http.clock().now(), &options);
    let deadline = earlier(http.deadline(), schedule.end_of_polls);
    let ended = operations::cancel(http, id, deadline)?;
    let mut wait = WaitForJobs::new(http.clone(), [id], &options);
    (wait.schedule, wait.is_cancelled) = (Some(schedule), true);
    if let Some(job) = ended {
        wait.seen(id, job);
    }
    let outcome = wait.next().unwrap_or_else(|| Err(Error::input("the wait ended without an outcome")));
    outcome.map_err(Error::after_cancellation)
}

/// Cancels the job, waits for it and deletes it. Returns `false` if there was no such job.
pub(crate) fn cancel_and_delete(http: &Http, id: &JobId, options: &WaitOptions<'_>) -> Result<bool> {
    match cancel_and_wait(http, id, options) {
        Ok(_) => operations::delete_if_exists(http, id, http.deadline()),
        Err(error) if error.is_not_found() => operations::gone(http, error, http.deadline()),
        Err(error) => Err(error),
    }
}

/// A wait that is later than this after its deadline was suspended.
const SUSPENDED: Duration = Duration::from_secs(1);

fn earlier(deadline: Instant, other: Option<Instant>) -> Instant {
    other.map_or(deadline, |other| deadline.min(other))
}

#[derive(Debug)]
struct Schedule {
    started: Instant,
    /// When the whole wait has to be over.
    deadline: Option<Instant>,
    /// When polling has to be over. The time after it is for cancelling.
    end_of_polls: Option<Instant>,
    /// How long the last poll and cancelling may take if the process was suspended past the deadline.
    grace: Duration,
    next_poll: Instant,
    next_is_last: bool,
    interval: Duration,
}

impl Schedule {
    fn new(now: Instant, options: &WaitOptions<'_>) -> Self {
        const MAX_GRACE: Duration = Duration::from_secs(10);
        const MAX_RESERVE: Duration = Duration::from_secs(10);
        let deadline = options.timeout.map(|timeout| saturating_add(now, timeout));
        let end_of_polls = options.timeout.map(|timeout| {
            let reserve =
                if options.cancel_on_timeout { (timeout / 10).min(MAX_RESERVE) } else { Duration::ZERO };
            saturating_add(now, timeout - reserve)
        });
        Schedule {
            started: now,
            deadline,
            end_of_polls,
            grace: options.timeout.map_or(MAX_GRACE, |timeout| timeout.min(MAX_GRACE)),
            next_poll: now,
            next_is_last: false,
            interval: options.min_interval,
        }
    }

    /// Sets the time of the next poll. The last poll is placed shortly before the end, so that it can finish.
    fn plan(
        &mut self,
        now: Instant,
        last_round_took: Duration,
        asked_pause: Duration,
        jitter: f64,
        max_interval: Duration,
    ) {
        // A server whose clock is wrong may request a pause of years.
        const MAX_ASKED: Duration = Duration::from_secs(86_400);
        let pause = self.interval.min(DECADES).mul_f64(1.0 - jitter / 4.0).max(asked_pause.min(MAX_ASKED));
        self.interval = self.interval.saturating_mul(3).min(max_interval.saturating_mul(2)) / 2;
        self.next_poll = saturating_add(now, pause);
        if let Some(end) = self.end_of_polls.filter(|end| self.next_poll >= *end) {
            let left = end.saturating_duration_since(now);
            let needed = last_round_took.max(Duration::from_secs(1)).min(left / 4);
            self.next_poll = now + (left - needed);
            self.next_is_last = true;
        }
    }
}

impl Iterator for WaitForJobs<'_> {
    type Item = Result<JobSummary>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(outcome) = self.ready.pop_front() {
                return Some(outcome);
            }
            if self.pending.is_empty() {
                return None;
            }
            // The jobs that are being loaded by id notice the stop themselves, and some may have come before.
            let is_loading = self.round.as_ref().is_some_and(|round| round.chunk.is_some());
            if self.http.is_stopped() && !is_loading {
                self.stop();
            } else {
                self.step();
            }
        }
    }
}

impl FusedIterator for WaitForJobs<'_> {}
