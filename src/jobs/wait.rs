//! Waiting for jobs: polls with pauses between them, under one deadline.

use std::collections::{HashMap, HashSet, VecDeque};
use std::iter::FusedIterator;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use std::{fmt, mem};

use crate::config::builder::PAGE_SIZE;
use crate::error::{Context, Error, ErrorKind, FailedCancellation, Result, seconds};
use crate::http::call::Http;
use crate::http::clock::{DECADES, saturating_add};
use crate::jobs::bulk::{self, Pace};
use crate::jobs::{change, list};
use crate::types::{JobId, JobState, JobSummary};

/// The action in the errors of a wait.
const ACTION: &str = "wait for job";

/// The longest time for one request of a poll. The next poll is the retry.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A failure ends the wait for a job if two polls had it that are at least this far apart.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// Options of a wait: its maximum duration, its polling intervals, and what happens on updates and when the time is up.
///
/// [`Client::wait_for_job`](crate::Client::wait_for_job) and other methods that wait take them. They also take a
/// [`Duration`], which is the timeout.
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
/// let error = client.wait_for_job(id, options).unwrap_err(); // This job does not end by itself.
/// assert!(error.is_timeout());
/// assert_eq!(error.cancellation_accepted(), Some(true));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct WaitOptions<'a> {
    /// `None` means no limit.
    timeout: Option<Duration>,
    min_interval: Duration,
    max_interval: Duration,
    cancel_on_timeout: bool,
    on_update: Option<OnUpdate<'a>>,
}

type OnUpdate<'a> = Box<dyn FnMut(&JobSummary) + Send + 'a>;

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

    /// Sets the maximum duration of the wait, including requests and pauses. Defaults to one hour.
    ///
    /// The first poll always happens. The last one begins as long before the end as the poll before it took: at least a
    /// second, and at most a quarter of the timeout. A job that ends after it counts as not ended.
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
    /// a [`StopToken`](crate::StopToken) stops the client or the process ends. Each request still takes at most 10
    /// seconds.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// Sets the initial polling interval, from the start of one poll to the start of the next. Each later interval is
    /// 1.5 times the previous one. Defaults to 1 second.
    ///
    /// With an interval of zero, the wait returns an error without sending anything.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.min_interval = interval;
        self
    }

    /// Sets the longest polling interval. Defaults to 15 seconds. Each interval is shortened by up to a quarter at
    /// random.
    ///
    /// A poll that takes longer is followed by the next one at once. If no request of a poll is answered and the server
    /// sends a `Retry-After`, the next interval is at least as long, up to this value. If the value is below
    /// [`min_interval`](WaitOptions::min_interval), the wait returns an error without sending anything.
    pub fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = interval;
        self
    }

    /// Sets whether to cancel the jobs that have not ended when the time is up. Disabled by default.
    ///
    /// A job that nobody waits for continues to run and costs money. The jobs are cancelled after the last poll, eight
    /// at a time, all together within the [`timeout`](crate::ClientBuilder::timeout) of the client.
    /// [`Error::cancellation_accepted`] says for each job whether the server accepted the request. Pass the ids of the
    /// others to [`Client::cancel_jobs`](crate::Client::cancel_jobs). If a job turns out to have ended, its summary is
    /// returned instead of an error.
    pub fn cancel_on_timeout(mut self, cancel: bool) -> Self {
        self.cancel_on_timeout = cancel;
        self
    }

    /// Sets a function that is called with each job when its summary is first received, and whenever its state has
    /// changed.
    ///
    /// The function runs on the thread of the wait, which makes no progress meanwhile: a slow function can carry the
    /// wait past its timeout.
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
    /// client.wait_for_job(id, options)?;
    /// assert_eq!(states, ["pending", "running", "done"]);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_update(mut self, on_update: impl FnMut(&JobSummary) + Send + 'a) -> Self {
        self.on_update = Some(Box::new(on_update));
        self
    }

    fn check(&self, http: &Http) -> Result<()> {
        let refuse = |text: &str| Err(Error::input(format!("{text}; nothing was sent")));
        if http.timeout().is_zero() {
            return refuse("with_timeout is zero: the wait cannot poll");
        }
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

/// The duration is the [`timeout`](WaitOptions::timeout).
impl From<Duration> for WaitOptions<'_> {
    fn from(timeout: Duration) -> Self {
        WaitOptions::new().timeout(timeout)
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

/// An iterator that yields each id with the outcome of its job, as the jobs end.
///
/// [`Client::wait_for_jobs`](crate::Client::wait_for_jobs) returns one.
#[derive(Debug)]
#[must_use = "iterators are lazy: nothing is requested before the first `next`"]
pub struct WaitForJobs<'a> {
    http: Http,
    options: WaitOptions<'a>,
    /// The jobs that are left, those that were looked up longest ago first.
    line: Vec<JobId>,
    pending: HashMap<JobId, Pending>,
    ready: VecDeque<(JobId, Result<JobSummary>)>,
    schedule: Option<Schedule>,
    poll: Option<Poll>,
    /// Why the last poll failed, if it did.
    poll_failure: Option<Error>,
}

/// A job that is not known to have ended.
#[derive(Debug, Default)]
struct Pending {
    /// The state that was received last.
    state: Option<JobState>,
    /// Why the last look-up could not read the job.
    last_failure: Option<Error>,
    /// When a look-up first showed that the job cannot be read. None since then has seen it.
    first_bad: Option<Instant>,
    looked_up: Option<Instant>,
}

/// One poll of all jobs that are left: first on listing pages, then by id. After a poll that failed, it begins with one
/// look-up.
#[derive(Debug, Default)]
struct Poll {
    is_probe: bool,
    /// The jobs that were neither found on a page nor looked up.
    unseen: HashSet<JobId>,
    cursor: Option<String>,
    /// The pages that were asked for, and how many more they may be than the jobs found on them.
    pages: usize,
    allowance: usize,
    found: usize,
    /// The failures of pages in a row.
    page_failures: usize,
    is_list_over: bool,
    pace: Pace,
    deadline: Option<Instant>,
    /// The requests that told something about a job, and those in a row since then that did not.
    answers: u32,
    silent: u32,
    /// The last failure of a request that told nothing, and the longest `Retry-After` of all.
    silence: Option<Error>,
    retry_after: Duration,
}

impl Poll {
    /// Takes the outcome of a request, unless it tells nothing about a job, as transient failures, a refused key and
    /// responses that are not JSON do.
    fn heard<T>(&mut self, outcome: Result<T>) -> Option<Result<T>> {
        match outcome {
            Err(error) if error.is_transient() || error.is_unauthorized() || !error.is_about_request() => {
                self.silent += 1;
                self.retry_after = self.retry_after.max(error.retry_after().unwrap_or_default());
                self.silence = Some(error);
                None
            }
            outcome => {
                self.answers += 1;
                self.silent = 0;
                Some(outcome)
            }
        }
    }

    fn wants_page(&self) -> bool {
        let pays = self.pages <= self.found + self.allowance;
        self.unseen.len() > 1 && pays && self.page_failures < 2 && !self.is_list_over
    }

    /// Whether the service seems not to respond: nothing was heard of several requests in a row, or of the first one
    /// after a poll that failed.
    fn is_dead(&self) -> bool {
        let is_first = self.is_probe && self.answers == 0;
        self.silent >= if is_first { 1 } else { bulk::MAX_FAILURES }
    }
}

impl<'a> WaitForJobs<'a> {
    pub(crate) fn new(
        http: Http,
        ids: impl IntoIterator<Item = impl AsRef<str>>,
        options: WaitOptions<'a>,
    ) -> Self {
        let (mut line, mut ready) = (Vec::new(), VecDeque::new());
        for (id, check) in bulk::distinct(ids) {
            match check.and_then(|()| options.check(&http)) {
                Ok(()) => line.push(id),
                Err(error) => ready.push_back((id, Err(error))),
            }
        }
        let pending = line.iter().map(|id| (id.clone(), Pending::default())).collect();
        WaitForJobs { http, options, line, pending, ready, schedule: None, poll: None, poll_failure: None }
    }

    /// Begins the time of the wait, unless it has begun.
    fn schedule(&mut self) -> &mut Schedule {
        let now = self.http.clock().now();
        self.schedule.get_or_insert_with(|| Schedule::new(now, &self.options))
    }

    /// Makes some progress: begins a poll, requests one page, looks jobs up until one has an outcome, or ends the poll.
    fn step(&mut self) {
        let Some(mut poll) = self.poll.take() else { return self.begin_poll() };
        let is_late = poll.deadline.is_some_and(|deadline| self.http.clock().now() >= deadline);
        if is_late || poll.is_dead() || poll.unseen.is_empty() {
            return self.end_poll(poll);
        }
        if poll.is_probe && poll.answers == 0 {
            self.look_up(&mut poll, 1);
        } else if poll.wants_page() {
            self.read_page(&mut poll);
        } else {
            self.look_up(&mut poll, usize::MAX);
        }
        self.poll = Some(poll);
    }

    fn begin_poll(&mut self) {
        let next = self.schedule().next;
        self.http.sleep_until(next);
        let now = self.http.clock().now();
        let deadline = self.schedule().begin_poll(now);
        let pending = &self.pending;
        self.line.retain(|id| pending.contains_key(id));
        self.line.sort_by_key(|id| pending[id].looked_up);
        self.poll = Some(Poll {
            is_probe: self.poll_failure.is_some(),
            unseen: self.line.iter().cloned().collect(),
            allowance: self.line.len() / 10,
            deadline,
            ..Poll::default()
        });
    }

    /// Requests a listing page. One that fails is asked for once more.
    fn read_page(&mut self, poll: &mut Poll) {
        let (http, cursor) = (self.http.without_retries(), poll.cursor.as_deref());
        let deadline = request_deadline(&http, poll.deadline);
        let page = list::fetch(&http, PAGE_SIZE, cursor, deadline);
        poll.pages += 1;
        let Some(Ok((page, _))) = poll.heard(page) else {
            poll.page_failures += 1;
            return;
        };
        poll.page_failures = 0;
        poll.is_list_over = !page.has_more || page.next_cursor.is_none();
        poll.cursor = page.next_cursor;
        // A job that cannot be read is looked up by id.
        for job in page.jobs.into_iter().flatten() {
            if let Some(id) = poll.unseen.take(&job.job_id) {
                poll.found += 1;
                self.seen(&id, job);
            }
        }
    }

    /// Looks jobs up by id until one of them has an outcome, because outcomes are passed on as they come.
    fn look_up(&mut self, poll: &mut Poll, count: usize) {
        let unseen = self.line.iter().filter(|id| poll.unseen.contains(*id));
        let ids: Vec<JobId> = unseen.take(count).cloned().collect();
        let (http, deadline, mut pace) =
            (self.http.without_retries(), poll.deadline, mem::take(&mut poll.pace));
        let call = |id: &JobId| change::get(&http, id, request_deadline(&http, deadline));
        bulk::run(&http, &ids, Some(&mut pace), call, |n, outcome| {
            let is_unsent =
                |error: &Error| error.is_stopped() || matches!(error.kind(), ErrorKind::OutOfTime);
            if outcome.as_ref().is_err_and(is_unsent) {
                return ControlFlow::Break(());
            }
            self.looked_up(poll, &ids[n], outcome);
            let goes_on = self.ready.is_empty() && !poll.is_dead();
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        poll.pace = pace;
    }

    fn looked_up(&mut self, poll: &mut Poll, id: &JobId, outcome: Result<JobSummary>) {
        poll.unseen.remove(id);
        let Some(pending) = self.pending.get_mut(id) else { return };
        pending.looked_up = Some(self.http.clock().now());
        match poll.heard(outcome) {
            Some(Ok(job)) => self.seen(id, job),
            Some(Err(error)) => self.failed(id, error),
            None => pending.last_failure = poll.silence.as_ref().map(|error| error.for_job(ACTION, id)),
        }
    }

    fn seen(&mut self, id: &JobId, job: JobSummary) {
        let Some(pending) = self.pending.get_mut(id) else { return };
        (pending.last_failure, pending.first_bad) = (None, None);
        if pending.state.as_ref() != Some(&job.state) {
            pending.state = Some(job.state.clone());
            if let Some(on_update) = &mut self.options.on_update {
                on_update(&job);
            }
        }
        if job.state.is_terminal() {
            self.end(id, Ok(job));
        }
    }

    /// Records that a job cannot be read. The wait for it ends if this was so some seconds ago, and none saw it since.
    fn failed(&mut self, id: &JobId, error: Error) {
        let now = self.http.clock().now();
        let Some(pending) = self.pending.get_mut(id) else { return };
        let is_final = match error.state() {
            // The rest of the summary cannot be read. If the job has ended, another poll would not help.
            Some(state) => {
                (pending.state, pending.first_bad) = (Some(state.clone()), None);
                state.is_terminal()
            }
            None => now.saturating_duration_since(*pending.first_bad.get_or_insert(now)) >= CONFIRMATION,
        };
        if is_final {
            self.end(id, Err(error));
        } else {
            pending.last_failure = Some(error);
        }
    }

    fn end(&mut self, id: &JobId, outcome: Result<JobSummary>) {
        self.pending.remove(id);
        self.ready.push_back((id.clone(), outcome));
    }

    fn end_poll(&mut self, poll: Poll) {
        let has_failed = poll.answers == 0;
        self.poll_failure = poll.silence.filter(|_| has_failed);
        if let Some(error) = &self.poll_failure {
            log::warn!("a poll failed and does not end the wait: {error}");
            // A refused key concerns all jobs, and so does an address at which nothing has ever responded with JSON.
            if error.is_unauthorized() || !error.is_transient() && !self.http.has_responded() {
                let failures: Vec<_> =
                    self.line.iter().map(|id| (id.clone(), error.for_job(ACTION, id))).collect();
                failures.into_iter().for_each(|(id, error)| self.failed(&id, error));
            }
        }
        let (now, jitter) = (self.http.clock().now(), self.http.jitter());
        let retry_after = if has_failed { poll.retry_after } else { Duration::ZERO };
        if self.schedule().end_poll(now, retry_after, jitter).is_break() {
            self.time_out();
        }
    }

    /// Yields an error for each job that has not ended, after cancelling it if that was asked for.
    fn time_out(&mut self) {
        let pending = &self.pending;
        self.line.retain(|id| pending.contains_key(id));
        let mut cancellations = Vec::new().into_iter();
        if self.options.cancel_on_timeout {
            let deadline = self.http.deadline();
            let cancel = |id: &JobId| change::cancel(&self.http, id, deadline);
            cancellations = bulk::call_each(&self.http, "cancel job", &self.line, cancel).into_iter();
        }
        for job_id in mem::take(&mut self.line) {
            let cancellation = match cancellations.next().map(|(_, outcome)| outcome) {
                Some(Ok(Some(ended))) => {
                    self.end(&job_id, Ok(ended));
                    continue;
                }
                Some(outcome) => Some(outcome.map(drop).map_err(FailedCancellation::from)),
                None => None,
            };
            let Pending { state, last_failure, .. } = self.pending.remove(&job_id).unwrap_or_default();
            let last_failure = last_failure.as_ref().or(self.poll_failure.as_ref());
            let last_failure = last_failure.map(|error| error.kind().to_string());
            let timeout = self.options.timeout.unwrap_or_default();
            let kind = ErrorKind::WaitTimedOut { timeout, state, last_failure, cancellation };
            self.end(&job_id, Err(Error::new(kind, Context::of_job(ACTION, &job_id))));
        }
    }

    /// Yields an error for each job that is left: the wait was stopped.
    fn stop(&mut self) {
        for job_id in mem::take(&mut self.line) {
            if let Some(Pending { state, .. }) = self.pending.remove(&job_id) {
                let kind = ErrorKind::WaitStopped { state };
                self.end(&job_id, Err(Error::new(kind, Context::of_job(ACTION, &job_id))));
            }
        }
    }
}

/// Returns the time by which a request of a poll must end.
fn request_deadline(http: &Http, poll: Option<Instant>) -> Instant {
    let deadline = http.deadline().min(saturating_add(http.clock().now(), REQUEST_TIMEOUT));
    poll.map_or(deadline, |poll| poll.min(deadline))
}

/// When polls begin, and which one is the last. Pure: the caller passes the time.
#[derive(Debug)]
struct Schedule {
    timeout: Option<Duration>,
    /// When the wait has to be over.
    deadline: Option<Instant>,
    interval: Duration,
    max_interval: Duration,
    /// When the next poll begins.
    next: Instant,
    is_last: bool,
    /// When the current poll began.
    started: Instant,
}

impl Schedule {
    /// A wait whose poll ends this long after the deadline was suspended: no request takes longer than the deadline
    /// allows.
    const SUSPENDED: Duration = Duration::from_secs(1);

    fn new(now: Instant, options: &WaitOptions<'_>) -> Self {
        let deadline = options.timeout.map(|timeout| saturating_add(now, timeout));
        Schedule {
            timeout: options.timeout,
            deadline,
            interval: options.min_interval,
            max_interval: options.max_interval,
            next: now,
            is_last: false,
            started: now,
        }
    }

    /// Begins a poll, and returns when it has to be over. One that begins after the deadline, because the process was
    /// suspended, has a time of its own.
    fn begin_poll(&mut self, now: Instant) -> Option<Instant> {
        self.started = now;
        let limit = self.timeout?.min(REQUEST_TIMEOUT);
        self.deadline.map(|deadline| if now < deadline { deadline } else { now + limit })
    }

    /// Sets the time of the next poll, unless this one was the last. `retry_after` is what a poll that failed was told.
    fn end_poll(&mut self, now: Instant, retry_after: Duration, jitter: f64) -> ControlFlow<()> {
        let pause = self.interval.min(DECADES).mul_f64(1.0 - jitter / 4.0);
        let pause = pause.max(retry_after.min(self.max_interval));
        self.interval = self.interval.saturating_mul(3).min(self.max_interval.saturating_mul(2)) / 2;
        self.next = saturating_add(self.started, pause).max(now);
        let (Some(deadline), Some(timeout)) = (self.deadline, self.timeout) else {
            return ControlFlow::Continue(());
        };
        if now > deadline + Self::SUSPENDED && self.started < deadline {
            self.next = now;
            return ControlFlow::Continue(());
        }
        let shortest = Duration::from_secs(1).min(timeout / 4);
        // A poll with less time than that would tell nothing.
        if self.is_last || now + shortest > deadline {
            return ControlFlow::Break(());
        }
        let took = now.saturating_duration_since(self.started);
        let latest = deadline - took.max(shortest).min(timeout / 4);
        if self.next >= latest {
            self.next = latest.max(now);
            self.is_last = true;
        }
        ControlFlow::Continue(())
    }
}

impl Iterator for WaitForJobs<'_> {
    type Item = (JobId, Result<JobSummary>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(outcome) = self.ready.pop_front() {
                return Some(outcome);
            }
            if self.pending.is_empty() {
                return None;
            }
            if self.http.is_stopped() { self.stop() } else { self.step() }
        }
    }
}

impl FusedIterator for WaitForJobs<'_> {}

/// Waits for one job.
pub(crate) fn wait_for_job(http: &Http, id: &str, options: WaitOptions<'_>) -> Result<JobSummary> {
    outcome_of(WaitForJobs::new(http.clone(), [id], options))
}

fn outcome_of(mut wait: WaitForJobs<'_>) -> Result<JobSummary> {
    let outcome = wait.next().map(|(_, outcome)| outcome);
    outcome.unwrap_or_else(|| Err(Error::input("the wait ended without an outcome")))
}

/// Cancels the job and waits for it. One deadline bounds both.
pub(crate) fn cancel_and_wait(http: &Http, id: &JobId, options: WaitOptions<'_>) -> Result<JobSummary> {
    cancel_then_wait(http, id, options, &mut false)
}

/// Cancels the job, waits for it and deletes it. Returns `false` if there was no such job.
pub(crate) fn cancel_and_delete(http: &Http, id: &JobId, options: WaitOptions<'_>) -> Result<bool> {
    let mut is_accepted = false;
    match cancel_then_wait(http, id, options, &mut is_accepted) {
        Err(error) if !error.is_not_found() => return Err(error),
        // Deleting finds out whether the job is gone.
        _ => {}
    }
    change::delete_if_exists(http, id, is_accepted, http.deadline())
}

fn cancel_then_wait(
    http: &Http,
    id: &JobId,
    options: WaitOptions<'_>,
    is_accepted: &mut bool,
) -> Result<JobSummary> {
    options.check(http)?;
    // When the time is up, the job has been cancelled already.
    let mut wait = WaitForJobs::new(http.clone(), [id], options.cancel_on_timeout(false));
    let wait_ends = wait.schedule().deadline;
    let deadline = wait_ends.map_or(http.deadline(), |ends| ends.min(http.deadline()));
    if let Some(ended) = change::cancel(http, id, deadline)? {
        wait.seen(id, ended);
        return outcome_of(wait);
    }
    *is_accepted = true;
    outcome_of(wait).map_err(Error::after_cancellation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Runs polls that take a while, and returns when each of them begins, in seconds. `took` gets the number of the
    /// poll, and returns how long it takes, the `Retry-After` of a failure, and how late the next poll is.
    fn polls(options: &WaitOptions<'_>, jitter: f64, took: impl Fn(usize) -> (f64, f64, f64)) -> Vec<f64> {
        let started = Instant::now();
        let mut schedule = Schedule::new(started, options);
        let (mut begun, mut late) = (Vec::new(), 0.0);
        while begun.len() < 1000 {
            let now = schedule.next + secs(late);
            begun.push((now - started).as_secs_f64());
            let deadline = schedule.begin_poll(now);
            let (took, retry_after, sleeps) = took(begun.len() - 1);
            late = sleeps;
            // Only a suspension carries a poll past its deadline.
            let ends = now + secs(took);
            let ends = if took < 100.0 { deadline.map_or(ends, |end| end.min(ends)) } else { ends };
            if schedule.end_poll(ends, secs(retry_after), jitter).is_break() {
                break;
            }
        }
        begun
    }

    fn options(timeout: f64) -> WaitOptions<'static> {
        WaitOptions::new().timeout(secs(timeout)).min_interval(secs(1.0)).max_interval(secs(4.0))
    }

    #[test]
    fn polls_begin_an_interval_apart_that_grows_by_half() {
        let begun = polls(&options(20.0), 0.0, |_| (0.1, 0.0, 0.0));
        assert_eq!(begun, [0.0, 1.0, 2.5, 4.75, 8.125, 12.125, 16.125, 19.0]);
        let begun = polls(&options(20.0), 1.0, |_| (0.1, 0.0, 0.0));
        assert_eq!(begun[..3], [0.0, 0.75, 1.875]);
    }

    #[test]
    fn a_poll_that_takes_longer_is_followed_by_the_next_one_at_once() {
        assert_eq!(polls(&options(40.0), 0.0, |_| (8.0, 0.0, 0.0)), [0.0, 8.0, 16.0, 24.0, 32.0]);
    }

    #[test]
    fn the_last_poll_has_the_time_that_the_one_before_it_took() {
        for (timeout, took, last) in
            [(100.0, 0.1, 99.0), (99.0, 3.0, 96.0), (100.0, 40.0, 80.0), (2.0, 0.1, 1.5)]
        {
            let begun = polls(&options(timeout), 0.0, |_| (took, 0.0, 0.0));
            assert_eq!(begun.last(), Some(&last), "timeout {timeout}, polls of {took}: {begun:?}");
        }
    }

    #[test]
    fn there_is_no_poll_without_time() {
        for left in [0.0, 0.015, 0.9] {
            assert_eq!(polls(&options(60.0), 0.0, |_| (60.0 - left, 0.0, 0.0)), [0.0], "{left} s left");
        }
    }

    #[test]
    fn one_poll_follows_a_suspension_past_the_deadline() {
        // During a pause, during a poll, and during the last poll.
        assert_eq!(
            polls(&options(10.0), 0.0, |n| (0.1, 0.0, if n == 1 { 500.0 } else { 0.0 })),
            [0.0, 1.0, 502.5]
        );
        assert_eq!(
            polls(&options(10.0), 0.0, |n| (if n == 1 { 500.0 } else { 0.1 }, 0.0, 0.0)),
            [0.0, 1.0, 501.0]
        );
        let begun = polls(&options(10.0), 0.0, |n| (if n == 5 { 500.0 } else { 0.1 }, 0.0, 0.0));
        assert_eq!(begun, [0.0, 1.0, 2.5, 4.75, 8.125, 9.0, 509.0]);
    }

    #[test]
    fn a_poll_after_the_deadline_has_at_most_the_timeout() {
        let now = Instant::now();
        for (timeout, limit) in [(3.0, 3.0), (600.0, 10.0)] {
            let mut schedule = Schedule::new(now, &options(timeout));
            assert_eq!(schedule.begin_poll(now), Some(now + secs(timeout)));
            let late = now + secs(1000.0);
            assert_eq!(schedule.begin_poll(late), Some(late + secs(limit)));
        }
    }

    #[test]
    fn a_retry_after_lengthens_one_interval_up_to_the_longest() {
        let begun = polls(&options(20.0), 0.0, |n| (0.1, if n == 1 { 86_400.0 } else { 0.0 }, 0.0));
        assert_eq!(begun[..4], [0.0, 1.0, 5.0, 7.25]);
    }

    #[test]
    fn huge_intervals_and_no_timeout_do_not_overflow() {
        let options = WaitOptions::new().no_timeout().min_interval(Duration::MAX).max_interval(Duration::MAX);
        let mut schedule = Schedule::new(Instant::now(), &options);
        assert!(schedule.end_poll(Instant::now(), Duration::MAX, 0.5).is_continue());
    }
}
