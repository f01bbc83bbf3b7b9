//! Calls for many jobs, several at a time.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::http::call::Http;
use crate::http::clock::saturating_add;
use crate::jobs::check_id;
use crate::types::JobId;

/// The number of calls that are made at a time.
const AT_A_TIME: usize = 8;

/// After this number of transient failures in a row, no other call is made.
pub(crate) const MAX_FAILURES: u32 = 8;

/// The interval between the starts of calls with a pace.
const INTERVAL: Duration = Duration::from_millis(50);

/// Bounds the rate at which calls start.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    next: Option<Instant>,
}

/// Makes one call for each id, in their order, and passes each outcome to `each` when it comes, with the position of
/// its id. If `each` breaks, no other call is started, and the outcomes of those in flight are still passed on.
pub(crate) fn run<T: Send>(
    http: &Http,
    ids: &[JobId],
    mut pace: Option<&mut Pace>,
    call: impl Fn(&JobId) -> Result<T> + Sync,
    mut each: impl FnMut(usize, Result<T>) -> ControlFlow<()>,
) {
    let (sender, outcomes) = mpsc::channel();
    let (sender, call) = (&sender, &call);
    let (mut started, mut ended, mut is_over) = (0, 0, false);
    thread::scope(|scope| {
        loop {
            let can_start = !is_over && started < ids.len() && started - ended < AT_A_TIME;
            if !can_start && started == ended {
                return;
            }
            let outcome = if can_start { outcomes.try_recv().ok() } else { outcomes.recv().ok() };
            if let Some((n, outcome)) = outcome {
                ended += 1;
                match outcome {
                    Ok(outcome) => is_over |= each(n, outcome).is_break(),
                    Err(panic) => resume_unwind(panic),
                }
                continue;
            }
            let now = http.clock().now();
            if let Some(pace) = pace.as_deref_mut() {
                if let Some(next) = pace.next.filter(|next| now < *next && !http.is_stopped()) {
                    http.sleep_until(next);
                    continue; // An outcome may have come meanwhile.
                }
                pace.next = Some(saturating_add(now, INTERVAL));
            }
            let n = started;
            started += 1;
            let work = move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| call(&ids[n])));
                // The receiver is there until all threads have ended.
                let _ = sender.send((n, outcome));
            };
            let thread = thread::Builder::new().name("atomiverse-bulk".to_owned());
            // Calls on a stopped client return at once.
            if http.is_stopped() || thread.spawn_scoped(scope, work).is_err() {
                work();
            }
        }
    });
}

/// Makes one call for each distinct id and returns the outcomes in the order of the ids. After some transient failures
/// in a row, the calls that are left are not made.
pub(crate) fn call_each<T: Send>(
    http: &Http,
    action: &'static str,
    ids: impl IntoIterator<Item = impl AsRef<str>>,
    call: impl Fn(&JobId) -> Result<T> + Sync,
) -> Vec<(JobId, Result<T>)> {
    let ids = distinct(ids);
    let valid: Vec<JobId> = ids.iter().filter(|(_, check)| check.is_ok()).map(|(id, _)| id.clone()).collect();
    let mut outcomes: Vec<Option<Result<T>>> = valid.iter().map(|_| None).collect();
    let mut failures = 0;
    run(http, &valid, None, call, |n, outcome| {
        // A lack of time says nothing about the service.
        let is_failure = |error: &Error| error.is_transient() && !error.is_out_of_time();
        failures = if outcome.as_ref().is_err_and(is_failure) { failures + 1 } else { 0 };
        outcomes[n] = Some(outcome);
        if failures >= MAX_FAILURES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let mut outcomes = outcomes.into_iter();
    let outcome = |(id, check): (JobId, Result<()>)| {
        let outcome = check.and_then(|()| {
            outcomes.next().flatten().unwrap_or_else(|| {
                let why = format!("not sent, because {MAX_FAILURES} requests in a row had failed");
                Err(Error::not_made(why).for_job(action, &id))
            })
        });
        (id, outcome)
    };
    ids.into_iter().map(outcome).collect()
}

/// Returns each id once, in their order, and whether it is valid.
pub(crate) fn distinct(ids: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<(JobId, Result<()>)> {
    let mut seen = HashSet::new();
    let ids = ids.into_iter().map(|id| JobId::from(id.as_ref()));
    let ids = ids.filter(|id| seen.insert(id.clone()));
    ids.map(|id| (id.clone(), check_id(id.as_str()).map(drop))).collect()
}
