//! Calls for many jobs, several at a time.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;

use crate::error::{Error, Result};
use crate::jobs::check_id;
use crate::types::JobId;

/// The number of calls that are made at a time.
const AT_A_TIME: usize = 8;

/// After this number of transient failures in a row, no other call is made.
pub(crate) const MAX_FAILURES: u32 = 8;

/// Makes one call for each id, in their order, and passes each outcome to `each`. If it returns false, no other call is
/// started, and the outcomes of those in flight are still passed on.
pub(crate) fn run<'a, T: Send>(
    mut ids: impl Iterator<Item = &'a JobId>,
    call: impl Fn(&JobId) -> Result<T> + Sync,
    mut each: impl FnMut(&'a JobId, Result<T>) -> bool,
) {
    let (sender, outcomes) = mpsc::channel();
    let (sender, call) = (&sender, &call);
    let (mut in_flight, mut is_over) = (0, false);
    thread::scope(|scope| {
        loop {
            for id in ids.by_ref().take(if is_over { 0 } else { AT_A_TIME - in_flight }) {
                in_flight += 1;
                let work = move || {
                    let outcome = catch_unwind(AssertUnwindSafe(|| call(id)));
                    // The receiver is there until all threads have ended.
                    let _ = sender.send((id, outcome));
                };
                let thread = thread::Builder::new().name("atomiverse-bulk".to_owned());
                if thread.spawn_scoped(scope, work).is_err() {
                    work();
                }
            }
            if in_flight == 0 {
                return;
            }
            let Ok((id, outcome)) = outcomes.recv() else { return };
            in_flight -= 1;
            match outcome {
                Ok(outcome) => is_over |= !each(id, outcome),
                Err(panic) => resume_unwind(panic),
            }
        }
    });
}

/// Makes one call for each distinct id and returns the outcomes in the order of the ids. After some transient failures
/// in a row, the calls that are left are not made.
pub(crate) fn call_each<T: Send>(
    action: &'static str,
    ids: impl IntoIterator<Item = impl AsRef<str>>,
    call: impl Fn(&JobId) -> Result<T> + Sync,
) -> Vec<(JobId, Result<T>)> {
    let ids = distinct(ids);
    let valid = ids.iter().filter(|(_, check)| check.is_ok()).map(|(id, _)| id);
    let (mut outcomes, mut failures, mut is_stopped) = (HashMap::new(), 0, false);
    run(valid, call, |id, outcome| {
        // A lack of time says nothing about the service.
        let is_failure = |error: &Error| error.is_transient() && !error.is_out_of_time();
        failures = if outcome.as_ref().is_err_and(is_failure) { failures + 1 } else { 0 };
        is_stopped |= outcome.as_ref().is_err_and(Error::is_stopped);
        outcomes.insert(id.clone(), outcome);
        !is_stopped && failures < MAX_FAILURES
    });
    let outcome = |(id, check): (JobId, Result<()>)| {
        let outcome = check.and_then(|()| {
            outcomes.remove(&id).unwrap_or_else(|| {
                let why = format!("not sent, because {MAX_FAILURES} requests in a row had failed");
                let error = if is_stopped { Error::stopped(false) } else { Error::not_made(why) };
                Err(error.for_job(action, &id))
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
