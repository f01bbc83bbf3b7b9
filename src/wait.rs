//! Waiting for jobs: look, pause, look again, under one deadline.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api;
use crate::client::Client;
use crate::clock::after;
use crate::error::{Cause, Error, Result};
use crate::summary::{JobId, JobState, JobSummary};

/// How to wait for a job: how long, how often to look, and whom to tell.
///
/// ```no_run
/// use atomiverse::WaitOptions;
/// use std::time::Duration;
/// # let client = atomiverse::Client::from_env()?;
///
/// let options = WaitOptions::new()
///     .timeout(Duration::from_secs(600))
///     .cancel_on_timeout(true)
///     .on_update(|job| println!("{} is {}", job.job_id, job.state));
/// let job = client.wait_for_job("9f2c", &options)?;
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct WaitOptions<'a> {
    /// `None` is for ever.
    timeout: Option<Duration>,
    min_interval: Duration,
    max_interval: Duration,
    cancel_on_timeout: bool,
    on_update: Option<OnUpdate<'a>>,
}

type OnUpdate<'a> = Arc<Mutex<dyn FnMut(&JobSummary) + Send + 'a>>;

impl<'a> WaitOptions<'a> {
    /// One hour at most, with pauses that grow from 1 to 15 seconds.
    ///
    /// ```
    /// let options = atomiverse::WaitOptions::new();
    /// ```
    pub fn new() -> Self {
        WaitOptions {
            timeout: Some(Duration::from_secs(3600)),
            min_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(15),
            cancel_on_timeout: false,
            on_update: None,
        }
    }

    /// The longest that the wait may take, with everything in it: requests, retries, pauses. One hour
    /// unless set.
    ///
    /// ```
    /// use std::time::Duration;
    /// let options = atomiverse::WaitOptions::new().timeout(Duration::from_secs(600));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Wait for ever: a job that never ends, or that is in a state which this version does not know,
    /// then holds the caller until the process ends. Each single request stays bounded.
    ///
    /// ```
    /// let options = atomiverse::WaitOptions::new().for_ever();
    /// ```
    pub fn for_ever(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// The first pause between two looks; each further one is half as long again. 1 second unless set.
    ///
    /// ```
    /// use std::time::Duration;
    /// let options = atomiverse::WaitOptions::new().min_interval(Duration::from_millis(200));
    /// ```
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.min_interval = interval;
        self
    }

    /// The ceiling of the pauses. 15 seconds unless set. Each pause is shortened by up to a quarter, at
    /// random.
    ///
    /// ```
    /// use std::time::Duration;
    /// let options = atomiverse::WaitOptions::new().max_interval(Duration::from_secs(60));
    /// ```
    pub fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = interval;
        self
    }

    /// Whether a job is cancelled when the time is up, since a job that runs on costs money. It is not
    /// unless set.
    ///
    /// The last tenth of the timeout, at most ten seconds, is kept for it: the timeout bounds this too. The
    /// [error](Error::cancellation_accepted) says whether the server accepted the request.
    ///
    /// ```
    /// let options = atomiverse::WaitOptions::new().cancel_on_timeout(true);
    /// ```
    pub fn cancel_on_timeout(mut self, cancel: bool) -> Self {
        self.cancel_on_timeout = cancel;
        self
    }

    /// Called with each job at the first look and at each change of its state.
    ///
    /// ```
    /// let mut states = Vec::new();
    /// let options = atomiverse::WaitOptions::new().on_update(|job| states.push(job.state.clone()));
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
            return refuse("the timeout is zero: use get_job for a single look");
        }
        if self.min_interval.is_zero() {
            return refuse("min_interval is zero: the server would be asked without a pause");
        }
        if self.max_interval < self.min_interval {
            return refuse("max_interval is shorter than min_interval");
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

/// Jobs as they finish. Made by [`Client::wait_for_jobs`], which says how it looks at them.
///
/// ```no_run
/// # let client = atomiverse::Client::from_env()?;
/// let ids = ["9f2c", "77ab"];
/// for job in client.wait_for_jobs(ids, &atomiverse::WaitOptions::new()) {
///     println!("{}", job?.job_id);
/// }
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy: nothing is asked for before the first `next`"]
pub struct WaitForJobs<'a> {
    client: Client,
    options: WaitOptions<'a>,
    /// In the order of the caller.
    pending: Vec<Pending>,
    ready: VecDeque<Result<JobSummary>>,
    schedule: Option<Schedule>,
    /// Whether listing pages are worth a try.
    by_listing: bool,
    /// Whether any look has succeeded.
    has_seen: bool,
    last_failure: Option<String>,
}

#[derive(Debug)]
struct Pending {
    id: JobId,
    /// As last seen.
    state: Option<JobState>,
}

#[derive(Debug)]
struct Schedule {
    started: Instant,
    /// When the whole wait has to be over.
    deadline: Option<Instant>,
    /// When the looks have to be over; what is left is for cancelling.
    last_look: Option<Instant>,
    next_look: Instant,
    interval: Duration,
    /// The next look is the last.
    is_last: bool,
}

impl<'a> WaitForJobs<'a> {
    pub(crate) fn new(
        client: &Client,
        ids: impl IntoIterator<Item = impl AsRef<str>>,
        options: &WaitOptions<'a>,
    ) -> Self {
        let mut wait = WaitForJobs {
            client: client.clone(),
            options: options.clone(),
            pending: Vec::new(),
            ready: VecDeque::new(),
            schedule: None,
            by_listing: true,
            has_seen: false,
            last_failure: None,
        };
        let mut known = HashSet::new();
        let mut checked = options.check();
        for id in ids {
            let id = JobId::from(id.as_ref());
            checked = checked.and_then(|()| api::get(id.as_str()).map(drop));
            if known.insert(id.clone()) {
                wait.pending.push(Pending { id, state: None });
            }
        }
        if let Err(error) = checked {
            wait.pending.clear();
            wait.ready.push_back(Err(error));
        }
        wait
    }

    /// One round: pauses until it is time, looks at all jobs that are still pending, and puts what is
    /// finished into `ready`. An error ends the wait.
    fn round(&mut self) -> Result<()> {
        let client = self.client.clone();
        let clock = client.http().clock();
        let schedule = self.schedule.get_or_insert_with(|| Schedule::new(clock.now(), &self.options));
        let pause = schedule.next_look.saturating_duration_since(clock.now());
        if !pause.is_zero() {
            clock.sleep(pause);
        }
        let last_look = schedule.last_look;
        let is_last = schedule.is_last;
        let within_call = client.http().deadline();
        let mut asked_pause = None;
        if last_look.is_none_or(|last_look| clock.now() < last_look) {
            match self.look(last_look.map_or(within_call, |last_look| last_look.min(within_call))) {
                Ok(()) => self.last_failure = None,
                // A proxy may answer nonsense for a while; before the first success the address may be wrong.
                Err(error) if error.is_passing().unwrap_or(self.has_seen) => {
                    log::debug!("a look failed and does not end the wait: {error}");
                    asked_pause = error.retry_after();
                    self.last_failure = Some(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        let now = clock.now();
        if is_last || last_look.is_some_and(|last_look| now >= last_look) {
            self.give_up(now);
        } else if let Some(schedule) = &mut self.schedule {
            schedule.plan(now, asked_pause, client.http().jitter(), self.options.max_interval);
        }
        Ok(())
    }

    /// Looks at every pending job: on listing pages as long as these are fewer requests, one by one else.
    fn look(&mut self, deadline: Instant) -> Result<()> {
        let client = self.client.clone();
        let count = self.pending.len();
        let mut missing: Vec<JobId> = self.pending.iter().map(|job| job.id.clone()).collect();
        if self.by_listing && count > 1 {
            let mut unseen: HashSet<JobId> = missing.iter().cloned().collect();
            let mut pages = client.iter_jobs();
            let mut asked = 0;
            while asked < unseen.len() {
                let Some(jobs) = pages.next_page(deadline)? else { break };
                asked += 1;
                for job in jobs {
                    if let Some(id) = unseen.take(&job.job_id) {
                        self.seen(&id, job);
                    }
                }
            }
            missing.retain(|id| unseen.contains(id));
            self.by_listing = asked + missing.len() < count;
        }
        for id in missing {
            match client.get_job_before(id.as_str(), deadline) {
                Ok(job) => self.seen(&id, job),
                Err(error) if error.is_not_found() => {
                    self.pending.retain(|job| job.id != id);
                    self.ready.push_back(Err(error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn seen(&mut self, id: &JobId, job: JobSummary) {
        self.has_seen = true;
        let Some(index) = self.pending.iter().position(|pending| pending.id == *id) else { return };
        if self.pending[index].state.as_ref() != Some(&job.state) {
            self.pending[index].state = Some(job.state.clone());
            if let Some(on_update) = &self.options.on_update {
                (on_update.lock().unwrap_or_else(PoisonError::into_inner))(&job);
            }
        }
        if job.state.is_terminal() {
            self.pending.remove(index);
            self.ready.push_back(Ok(job));
        }
    }

    /// The time is up: an error for each job that is left.
    fn give_up(&mut self, now: Instant) {
        let Some(Schedule { started, deadline: Some(deadline), .. }) = self.schedule else { return };
        for Pending { id, state } in self.pending.drain(..) {
            let cancellation =
                self.options.cancel_on_timeout.then(|| self.client.cancel_job_before(id.as_str(), deadline));
            let cause = Cause::WaitTimedOut {
                job_id: id,
                state,
                waited: now.saturating_duration_since(started),
                last_failure: self.last_failure.clone(),
                cancellation,
            };
            self.ready.push_back(Err(Error::new(cause, None)));
        }
    }
}

impl Schedule {
    fn new(now: Instant, options: &WaitOptions<'_>) -> Self {
        const LONGEST_RESERVE: Duration = Duration::from_secs(10);
        let deadline = options.timeout.map(|timeout| after(now, timeout));
        let last_look = options.timeout.map(|timeout| {
            let reserve =
                if options.cancel_on_timeout { (timeout / 10).min(LONGEST_RESERVE) } else { Duration::ZERO };
            after(now, timeout - reserve)
        });
        Schedule {
            started: now,
            deadline,
            last_look,
            next_look: now,
            interval: options.min_interval,
            is_last: false,
        }
    }

    /// Sets the next look. The last one stands shortly before the end, so that it is worth something.
    fn plan(&mut self, now: Instant, asked_pause: Option<Duration>, jitter: f64, max_interval: Duration) {
        const TIME_FOR_A_LOOK: Duration = Duration::from_secs(1);
        // A server whose clock is wrong may ask for years.
        const LONGEST_ASKED: Duration = Duration::from_secs(86_400);
        let asked = asked_pause.unwrap_or_default().min(LONGEST_ASKED);
        let pause = self.interval.mul_f64(1.0 - jitter / 4.0).max(asked);
        self.interval = self.interval.saturating_mul(3).min(max_interval.saturating_mul(2)) / 2;
        self.next_look = after(now, pause);
        if let Some(end) = self.last_look.filter(|end| self.next_look >= *end) {
            let left = end.saturating_duration_since(now);
            self.next_look = now + left.saturating_sub(TIME_FOR_A_LOOK.min(left / 4));
            self.is_last = true;
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
            if let Err(error) = self.round() {
                self.pending.clear();
                self.ready.push_back(Err(error));
            }
        }
    }
}

impl FusedIterator for WaitForJobs<'_> {}
