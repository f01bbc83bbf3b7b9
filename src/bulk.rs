//! One call for each of many jobs, several at a time.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use crate::api;
use crate::error::{Error, Result};
use crate::http::Http;
use crate::stop::StopToken;
use crate::sync::lock;
use crate::types::JobId;

const DEFAULT_PARALLEL: usize = 4;

/// An iterator that makes one call for each of many jobs, several at a time.
///
/// [`Client::cancel_jobs`](crate::Client::cancel_jobs) and [`Client::delete_jobs`](crate::Client::delete_jobs) return
/// one, and have examples. It yields each id with the outcome of its call, in the order in which the calls complete.
///
/// - Each id has exactly one outcome. An id that occurs twice counts once. The outcome of an id that is not valid is an
///   error.
/// - After the client's [`StopToken`](crate::StopToken) was stopped, the outcome of each remaining id is an error for
///   which [`is_stopped`](Error::is_stopped) is true, unless the id is not valid.
/// - Nothing is sent before the first `next`. After that, at most [`parallel`](Bulk::parallel) calls are in flight or
///   have an outcome that the caller has not taken.
/// - After the iterator is dropped, no new call begins. Calls that are in flight at that time complete in the
///   background.
/// - If a [hook](crate::ClientBuilder::on_request) panics, the panic takes the place of the outcome.
///
/// A service that limits the rate of requests may refuse some of the calls, in particular if it sends no `Retry-After`.
/// [`is_rate_limited`](Error::is_rate_limited) is true for their errors. Make fewer calls at a time with
/// [`parallel(1)`](Bulk::parallel), or pass the ids of these errors to the method again later.
#[must_use = "iterators are lazy: nothing is sent before the first `next`"]
pub struct Bulk<T> {
    http: Http,
    call: Arc<Call<T>>,
    queue: Arc<Mutex<VecDeque<JobId>>>,
    refused: VecDeque<(JobId, Error)>,
    /// The number of outcomes that have not been yielded.
    left: usize,
    parallel: usize,
    workers: Option<Workers<T>>,
    /// Ends the pauses of the workers when the iterator is dropped.
    dropped: StopToken,
}

type Call<T> = dyn Fn(&Http, &JobId) -> Result<T> + Send + Sync;

struct Workers<T> {
    outcomes: mpsc::Receiver<(JobId, Result<T>)>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Bulk<T> {
    /// Creates an iterator that calls `call` for each of the valid ids.
    pub(crate) fn new(
        http: &Http,
        ids: impl IntoIterator<Item = impl AsRef<str>>,
        call: impl Fn(&Http, &JobId) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        let (mut queue, mut refused, mut seen) = (VecDeque::new(), VecDeque::new(), HashSet::new());
        for id in ids {
            let id = id.as_ref();
            if !seen.insert(id.to_owned()) {
                continue;
            }
            match api::job_id(id) {
                Ok(id) => queue.push_back(id),
                Err(error) => refused.push_back((JobId::from(id), error)),
            }
        }
        let dropped = StopToken::child(http.stop.as_ref());
        Bulk {
            http: http.without_new_attempts_after(&dropped),
            dropped,
            call: Arc::new(call),
            left: queue.len() + refused.len(),
            queue: Arc::new(Mutex::new(queue)),
            refused,
            parallel: DEFAULT_PARALLEL,
            workers: None,
        }
    }

    /// Sets how many calls are made at a time. Defaults to 4. 0 counts as 1.
    ///
    /// The method has no effect after the first `next`.
    pub fn parallel(mut self, parallel: usize) -> Self {
        self.parallel = parallel;
        self
    }

    fn start(&self) -> Workers<T> {
        // Without a buffer, a worker keeps its outcome until the caller takes it, and does not run ahead.
        let (sender, outcomes) = mpsc::sync_channel(0);
        let count = self.parallel.min(lock(&self.queue).len());
        let mut threads = Vec::new();
        // A single worker needs no thread, because its calls are made on the thread of the caller.
        for _ in 0..if count > 1 { count } else { 0 } {
            let (http, call, queue) = (self.http.clone(), self.call.clone(), self.queue.clone());
            let sender = sender.clone();
            let work = move || {
                while let Some(id) = pop(&queue) {
                    let outcome = call(&http, &id);
                    if sender.send((id, outcome)).is_err() {
                        // The iterator was dropped.
                        return;
                    }
                }
            };
            match thread::Builder::new().name("atomiverse-bulk".to_owned()).spawn(work) {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
        Workers { outcomes, threads }
    }

    /// Returns the next outcome. Makes a call on this thread if no worker is left to make it.
    fn next_outcome(&mut self) -> Option<(JobId, Result<T>)> {
        if self.workers.is_none() {
            self.workers = Some(self.start());
        }
        let workers = self.workers.as_mut()?;
        if let Ok(outcome) = workers.outcomes.recv() {
            self.left -= 1;
            return Some(outcome);
        }
        // All threads have ended.
        while let Some(thread) = workers.threads.pop() {
            if let Err(panic) = thread.join() {
                // The panic is the outcome of its call.
                self.left -= 1;
                resume_unwind(panic);
            }
        }
        let id = pop(&self.queue)?;
        // This is counted before the call, because the call may panic.
        self.left -= 1;
        let outcome = (self.call)(&self.http, &id);
        Some((id, outcome))
    }
}

/// Takes the next id. The lock is not held while the call is made.
fn pop(queue: &Mutex<VecDeque<JobId>>) -> Option<JobId> {
    lock(queue).pop_front()
}

impl<T> Drop for Bulk<T> {
    /// Clears the queue, so that a worker whose outcome was just taken begins no other call.
    fn drop(&mut self) {
        lock(&self.queue).clear();
        self.dropped.stop();
    }
}

impl<T: Send + 'static> Iterator for Bulk<T> {
    type Item = (JobId, Result<T>);

    fn next(&mut self) -> Option<Self::Item> {
        let Some((id, error)) = self.refused.pop_front() else { return self.next_outcome() };
        self.left -= 1;
        Some((id, Err(error)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Send + 'static> ExactSizeIterator for Bulk<T> {}

impl<T: Send + 'static> FusedIterator for Bulk<T> {}

impl<T> fmt::Debug for Bulk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk")
            .field("left", &self.left)
            .field("parallel", &self.parallel)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Setting, Settings};

    #[test]
    fn no_call_begins_after_the_iterator_was_dropped() {
        let setting = |name, value: &str| Setting { name, value: value.to_owned() };
        let api_key = Some(setting("api_key", "key"));
        let base_url = setting("base_url", "http://127.0.0.1:1");
        let http = Http::new(Settings { api_key, base_url, ..Settings::default() }).unwrap();
        let ids: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let mut bulk = Bulk::new(&http, ids, |_, _| Ok(()));
        assert!(bulk.next().is_some());
        let queue = bulk.queue.clone();
        drop(bulk);
        assert_eq!(lock(&queue).len(), 0);
    }
}
