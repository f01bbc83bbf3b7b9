//! What a wait may take, and when its polls begin. Pure: the caller passes the time.

use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::http::clock::{DECADES, saturating_add};
use crate::types::JobSummary;

/// The longest time for one request of a poll. The next poll is the retry.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

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
    pub(super) timeout: Option<Duration>,
    min_interval: Duration,
    max_interval: Duration,
    pub(super) cancel_on_timeout: bool,
    pub(super) on_update: Option<OnUpdate<'a>>,
}

pub(super) type OnUpdate<'a> = Box<dyn FnMut(&JobSummary) + Send + 'a>;

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
    /// [Cancelling](WaitOptions::cancel_on_timeout) comes after it.
    ///
    /// The first poll always happens. The last one begins as long before the end as the poll before it took: at least a
    /// second, and at most a quarter of the timeout. A job that ends after it counts as not ended.
    ///
    /// If the process was suspended past that time, the wait polls once more before it reports that a job has not
    /// ended. This poll takes at most as long as the timeout, but one second at least and 10 seconds at most.
    ///
    /// With a timeout of zero, the wait polls once, for at most one second. A program can therefore pass what is left of
    /// its own time.
    pub fn timeout(self, timeout: Duration) -> Self {
        WaitOptions { timeout: Some(timeout), ..self }
    }

    /// Removes the limit on the duration of the wait.
    ///
    /// A job that does not end, or that stays in a state that this version does not know, then blocks the caller until
    /// a [`StopToken`](crate::StopToken) stops the client or the process ends. Each request still takes at most 10
    /// seconds.
    pub fn no_timeout(self) -> Self {
        WaitOptions { timeout: None, ..self }
    }

    /// Sets the initial polling interval, from the start of one poll to the start of the next. Each later interval is
    /// 1.5 times the previous one. Defaults to 1 second.
    ///
    /// With an interval of zero, the wait returns an error without sending anything.
    pub fn min_interval(self, interval: Duration) -> Self {
        WaitOptions { min_interval: interval, ..self }
    }

    /// Sets the longest polling interval. Defaults to 15 seconds. Each interval is shortened by up to a quarter at
    /// random.
    ///
    /// A poll that takes longer is followed by the next one at once. If all requests of a poll fail and say nothing
    /// about a job, and the last failure has a `Retry-After`, the next interval is at least as long, up to this value. A value below
    /// [`min_interval`](WaitOptions::min_interval) counts for both. With an interval of zero, the wait returns an error
    /// without sending anything.
    pub fn max_interval(self, interval: Duration) -> Self {
        WaitOptions { max_interval: interval, ..self }
    }

    /// Sets whether to cancel the jobs that have not ended when the time is up. Disabled by default.
    ///
    /// A job that nobody waits for continues to run and costs money. The jobs are cancelled after the last poll, eight
    /// at a time, all together within the [`timeout`](crate::ClientBuilder::timeout) of the client.
    /// [`Error::cancellation_accepted`] says for each job whether the server accepted the request. Pass the ids of the
    /// others to [`Client::cancel_jobs`](crate::Client::cancel_jobs). If a job turns out to have ended, its summary is
    /// returned instead of an error.
    pub fn cancel_on_timeout(self, cancel: bool) -> Self {
        WaitOptions { cancel_on_timeout: cancel, ..self }
    }

    /// Sets a function that is called with each job when its summary is first received, and whenever its state has
    /// changed. It is not called for jobs that are cancelled when the time is up. What it collects can be read during
    /// the wait if it is in a `Mutex`.
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
    pub fn on_update(self, on_update: impl FnMut(&JobSummary) + Send + 'a) -> Self {
        WaitOptions { on_update: Some(Box::new(on_update)), ..self }
    }

    /// Refuses options with which the wait cannot poll. `call_timeout` is the timeout of the client.
    pub(super) fn check(&self, call_timeout: Duration) -> Result<()> {
        let refuse = |text: &str| Err(Error::input(format!("{text}; nothing was sent")));
        if call_timeout.is_zero() {
            return refuse("the timeout of the client is zero: the wait cannot poll");
        }
        if self.min_interval.is_zero() || self.max_interval.is_zero() {
            return refuse("the interval is zero: the server would be polled without a pause");
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

/// When polls begin, and when the wait ends.
#[derive(Debug)]
pub(super) struct Schedule {
    timeout: Duration,
    /// When the wait has to be over.
    pub(super) deadline: Instant,
    interval: Duration,
    max_interval: Duration,
    /// When the next poll begins.
    pub(super) next: Instant,
    /// When the current poll began.
    started: Instant,
}

impl Schedule {
    /// A wait whose poll ends this long after the deadline was suspended: no request takes longer than the deadline
    /// allows.
    const SUSPENDED: Duration = Duration::from_secs(1);

    pub(super) fn new(now: Instant, options: &WaitOptions<'_>) -> Self {
        let timeout = options.timeout.unwrap_or(DECADES).min(DECADES);
        Schedule {
            timeout,
            deadline: now + timeout,
            interval: options.min_interval.min(options.max_interval),
            max_interval: options.max_interval,
            next: now,
            started: now,
        }
    }

    /// Begins a poll, and returns when it has to be over. One that begins after the deadline, because the process was
    /// suspended or the timeout is zero, has a time of its own.
    pub(super) fn begin_poll(&mut self, now: Instant) -> Instant {
        self.started = now;
        let limit = self.timeout.clamp(Duration::from_secs(1), REQUEST_TIMEOUT);
        if now < self.deadline { self.deadline } else { now + limit }
    }

    /// Sets the time of the next poll, unless too little time is left for one. `retry_after` is what a poll that failed
    /// was told.
    pub(super) fn end_poll(&mut self, now: Instant, retry_after: Duration, jitter: f64) -> ControlFlow<()> {
        let pause = self.interval.min(DECADES).mul_f64(1.0 - jitter / 4.0);
        let pause = pause.max(retry_after.min(self.max_interval));
        self.interval = self.interval.saturating_mul(3).min(self.max_interval.saturating_mul(2)) / 2;
        let is_suspended = now > self.deadline + Self::SUSPENDED && self.started < self.deadline;
        let shortest = Duration::from_secs(1).min(self.timeout / 4);
        if now + shortest >= self.deadline && !is_suspended {
            return ControlFlow::Break(());
        }
        let took = now.saturating_duration_since(self.started);
        let latest = self.deadline - took.max(shortest).min(self.timeout / 4);
        self.next = saturating_add(self.started, pause).min(latest).max(now);
        ControlFlow::Continue(())
    }
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
            let ends = if took < 100.0 { deadline.min(ends) } else { ends };
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
            [(100.0, 0.1, 99.0), (99.0, 3.0, 96.0), (100.0, 40.0, 80.0), (2.0, 0.1, 1.5), (3.0, 0.9, 2.25)]
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
            assert_eq!(schedule.begin_poll(now), now + secs(timeout));
            let late = now + secs(1000.0);
            assert_eq!(schedule.begin_poll(late), late + secs(limit));
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
