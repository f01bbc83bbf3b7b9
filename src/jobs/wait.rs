//! Waiting for jobs: polls with pauses between them, under one deadline.

use std::collections::{HashMap, HashSet, VecDeque};
use std::iter::FusedIterator;
use std::mem;
use std::time::{Duration, Instant};

use crate::config::builder::PAGE_SIZE;
use crate::error::{Error, Result};
use crate::http::call::{Http, jitter};
use crate::jobs::schedule::{REQUEST_TIMEOUT, Schedule, WaitOptions};
use crate::jobs::{bulk, change, list};
use crate::types::{JobId, JobState, JobSummary};

/// The action in the errors of a wait.
const ACTION: &str = "wait for job";

/// A failure ends the wait for a job if two polls had it that are at least this far apart.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// The shortest interval between the starts of look-ups.
const INTERVAL: Duration = Duration::from_millis(50);

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
    last_failure: Option<String>,
    /// When a look-up first showed that the job cannot be read. None since then has seen it.
    first_unreadable: Option<Instant>,
    looked_up: Option<Instant>,
}

/// One poll of all jobs that are left: first on listing pages, then by id. After a poll that failed, it begins with one
/// look-up.
#[derive(Debug)]
struct Poll {
    deadline: Instant,
    /// The jobs that were neither found on a page nor looked up.
    unseen: HashSet<JobId>,
    cursor: Option<String>,
    /// How many more pages may be requested. Each job that is found on one pays for a further page.
    pages: usize,
    /// When the next look-up may begin. This bounds their rate.
    next_look_up: Instant,
    /// Whether any request of this poll told something about a job.
    is_answered: bool,
    /// How many requests in a row, the last one included, told nothing. After a poll that failed, this starts just below
    /// the limit.
    silent: u32,
    /// The last failure of a request that told nothing.
    silence: Option<Error>,
}

impl Poll {
    /// Counts a request that told something about a job.
    fn answered(&mut self) {
        (self.is_answered, self.silent) = (true, 0);
    }

    /// Counts a request that told nothing about any job.
    fn unanswered(&mut self, error: Error) {
        self.silent += 1;
        self.silence = Some(error);
    }

    /// Whether the service seems not to respond.
    fn is_dead(&self) -> bool {
        self.silent >= bulk::MAX_FAILURES
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
            match check.and_then(|()| options.check(http.timeout())) {
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
        let is_late = self.http.clock().now() >= poll.deadline;
        if is_late || poll.is_dead() || poll.unseen.is_empty() {
            return self.end_poll(poll);
        }
        if poll.silent + 1 == bulk::MAX_FAILURES {
            self.look_up(&mut poll, 1);
        } else if poll.unseen.len() > 1 && poll.pages > 0 {
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
        self.poll = Some(Poll {
            deadline: self.schedule().begin_poll(now),
            unseen: self.line.iter().cloned().collect(),
            cursor: None,
            pages: self.line.len() / 10 + 1,
            next_look_up: now,
            is_answered: false,
            // After a poll that failed, the first request decides.
            silent: if self.poll_failure.is_some() { bulk::MAX_FAILURES - 1 } else { 0 },
            silence: None,
        });
    }

    /// Requests a listing page. One that fails is requested once more, if `pages` allows it.
    fn read_page(&mut self, poll: &mut Poll) {
        let http = self.http.without_retries();
        let deadline = request_deadline(&http, poll.deadline);
        let page = match list::fetch(&http, PAGE_SIZE, poll.cursor.as_deref(), deadline) {
            Ok((page, _)) => page,
            Err(error) => {
                poll.unanswered(error);
                poll.pages = if poll.silent < 2 { poll.pages - 1 } else { 0 };
                return;
            }
        };
        poll.answered();
        poll.pages -= 1;
        // A job that cannot be read is looked up by id.
        for job in page.jobs.into_iter().flatten() {
            if let Some(id) = poll.unseen.take(&job.job_id) {
                poll.pages += 1;
                self.record_summary(&id, job);
            }
        }
        // Without a new cursor, the next page would be this one again.
        let next = page.next_cursor.filter(|next| !next.is_empty() && Some(next) != poll.cursor.as_ref());
        if !page.has_more || next.is_none() {
            poll.pages = 0;
        }
        poll.cursor = next;
    }

    /// Looks jobs up by id until one of them has an outcome, because outcomes are passed on as they come.
    fn look_up(&mut self, poll: &mut Poll, count: usize) {
        let unseen = self.line.iter().filter(|id| poll.unseen.contains(*id));
        let ids: Vec<JobId> = unseen.take(count).cloned().collect();
        let (http, deadline, mut next) = (self.http.without_retries(), poll.deadline, poll.next_look_up);
        let paced = ids.iter().inspect(|_| {
            http.sleep_until(next);
            next = http.clock().now() + INTERVAL;
        });
        let call = |id: &JobId| change::get(&http, id, request_deadline(&http, deadline));
        bulk::run(paced, call, |id, outcome| {
            if outcome.as_ref().is_err_and(|error| error.is_stopped() || error.is_out_of_time()) {
                return false;
            }
            self.record_look_up(poll, id, outcome);
            self.ready.is_empty() && !poll.is_dead()
        });
        poll.next_look_up = next;
    }

    fn record_look_up(&mut self, poll: &mut Poll, id: &JobId, outcome: Result<JobSummary>) {
        poll.unseen.remove(id);
        let Some(pending) = self.pending.get_mut(id) else { return };
        pending.looked_up = Some(self.http.clock().now());
        match outcome {
            Ok(job) => {
                poll.answered();
                self.record_summary(id, job);
            }
            Err(error) => {
                pending.last_failure = Some(error.summary());
                // A transient failure, a refused key and a response that is not JSON tell nothing about the job.
                if error.is_transient() || error.is_unauthorized() || !error.is_about_request() {
                    return poll.unanswered(error);
                }
                poll.answered();
                self.record_failure(id, &error);
            }
        }
    }

    fn record_summary(&mut self, id: &JobId, job: JobSummary) {
        let Some(pending) = self.pending.get_mut(id) else { return };
        (pending.last_failure, pending.first_unreadable) = (None, None);
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
    fn record_failure(&mut self, id: &JobId, error: &Error) {
        let now = self.http.clock().now();
        let Some(pending) = self.pending.get_mut(id) else { return };
        let is_final = match error.state() {
            // The rest of the summary cannot be read. If the job has ended, another poll would not help.
            Some(state) => {
                (pending.state, pending.first_unreadable) = (Some(state.clone()), None);
                state.is_terminal()
            }
            None => {
                now.saturating_duration_since(*pending.first_unreadable.get_or_insert(now)) >= CONFIRMATION
            }
        };
        if is_final {
            self.end(id, Err(error.for_job(ACTION, id)));
        }
    }

    fn end(&mut self, id: &JobId, outcome: Result<JobSummary>) {
        self.pending.remove(id);
        self.ready.push_back((id.clone(), outcome));
    }

    fn end_poll(&mut self, poll: Poll) {
        let failure = poll.silence.filter(|_| !poll.is_answered);
        if let Some(error) = &failure {
            log::warn!("a poll failed and does not end the wait: {error}");
            // A refused key concerns all jobs, and so does an address at which no call has ever succeeded.
            if error.is_unauthorized() || !error.is_transient() && !self.http.has_responded() {
                self.line.clone().iter().for_each(|id| self.record_failure(id, error));
            }
        }
        let retry_after = failure.as_ref().and_then(Error::retry_after).unwrap_or_default();
        self.poll_failure = failure;
        let pending = &self.pending;
        self.line.retain(|id| pending.contains_key(id));
        self.line.sort_by_key(|id| pending[id].looked_up);
        let (now, jitter) = (self.http.clock().now(), jitter());
        if self.schedule().end_poll(now, retry_after, jitter).is_break() {
            self.give_up();
        }
    }

    /// Yields an error for each job that is left, because the time is up or the wait was stopped. If the time is up and
    /// that was asked for, the jobs are cancelled before.
    fn give_up(&mut self) {
        let timeout = self.options.timeout.filter(|_| !self.http.is_stopped());
        let mut cancellations = Vec::new().into_iter();
        if timeout.is_some() && self.options.cancel_on_timeout {
            let deadline = self.http.deadline();
            let cancel = |id: &JobId| change::cancel(&self.http, id, deadline);
            cancellations = bulk::call_each("cancel job", &self.line, cancel).into_iter();
        }
        for job_id in mem::take(&mut self.line) {
            let Some(Pending { state, last_failure, .. }) = self.pending.remove(&job_id) else { continue };
            let mut error = Error::wait_ended(timeout, state).for_job(ACTION, &job_id);
            if let Some(why) = self.poll_failure.as_ref().map(Error::summary).or(last_failure) {
                error = error.with_last_failure(&why);
            }
            let outcome = match cancellations.next() {
                Some((_, Ok(Some(ended)))) => Ok(ended),
                Some((_, Ok(None))) => Err(error.after_cancellation()),
                Some((_, Err(failed))) => Err(error.with_failed_cancellation(&failed)),
                None => Err(error),
            };
            self.end(&job_id, outcome);
        }
    }
}

/// Returns the time by which a request of a poll must end.
fn request_deadline(http: &Http, poll: Instant) -> Instant {
    poll.min(http.deadline()).min(http.clock().now() + REQUEST_TIMEOUT)
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
            if self.http.is_stopped() { self.give_up() } else { self.step() }
        }
    }
}

impl FusedIterator for WaitForJobs<'_> {}

impl WaitForJobs<'_> {
    /// Returns the outcome of a wait for one job.
    pub(crate) fn outcome(mut self) -> Result<JobSummary> {
        let outcome = self.next().map(|(_, outcome)| outcome);
        outcome.unwrap_or_else(|| Err(Error::input("the wait ended without an outcome")))
    }
}

/// Cancels the job and waits for it. One deadline bounds both. Also returns whether the service accepted a request to
/// cancel it.
pub(crate) fn cancel_and_wait(
    http: &Http,
    id: &JobId,
    options: WaitOptions<'_>,
) -> Result<(JobSummary, bool)> {
    options.check(http.timeout())?;
    // When the time is up, the job has been cancelled already.
    let mut wait = WaitForJobs::new(http.clone(), [id], options.cancel_on_timeout(false));
    let deadline = wait.schedule().deadline.min(http.deadline());
    if let Some(ended) = change::cancel(http, id, deadline)? {
        wait.record_summary(id, ended);
        return Ok((wait.outcome()?, false));
    }
    Ok((wait.outcome().map_err(Error::after_cancellation)?, true))
}

/// Cancels the job, waits for it and deletes it. Returns `false` if there was no such job.
pub(crate) fn cancel_and_delete(http: &Http, id: &JobId, options: WaitOptions<'_>) -> Result<bool> {
    let is_accepted = match cancel_and_wait(http, id, options) {
        Ok((_, is_accepted)) => is_accepted,
        // Deleting finds out whether the job is gone.
        Err(error) if error.is_not_found() => error.cancellation_accepted() == Some(true),
        Err(error) => return Err(error),
    };
    let deleted = change::delete_if_exists(http, id);
    if is_accepted { deleted.map(|_| true).map_err(Error::after_cancellation) } else { deleted }
}
