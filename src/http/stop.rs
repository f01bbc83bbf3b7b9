//! Stopping calls from another thread, and waiting for something that may be stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::sync::lock;

/// A token that stops calls from another thread, such as a Ctrl-C handler or the shutdown of a service.
///
/// A client made by [`Client::with_stop`](crate::Client::with_stop) watches the token. After [`stop`](StopToken::stop),
/// each of its calls returns within 100 milliseconds with an error for which [`is_stopped`](crate::Error::is_stopped)
/// is true, and a new call sends nothing. Clones of the token are stopped together. A token that was stopped cannot be
/// reset.
///
/// Two things are not interrupted: the decoding of a response that was received, which can take longer than that for
/// tens of megabytes, and code of the caller, such as a [`Contract`](crate::Contract). An iterator still returns the
/// jobs of a page that it has received.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "simulator")] {
/// use atomiverse::{StopToken, WaitOptions, simulator::{SimulatedJob, Simulator}};
/// use std::thread;
///
/// let simulator = Simulator::start()?;
/// simulator.run_in_real_time();
/// let id = simulator.add_job(SimulatedJob::new("opt").running_for(std::time::Duration::MAX));
/// let stop = StopToken::new();
/// let client = simulator.client()?.with_stop(&stop);
///
/// let waiting = thread::spawn(move || client.wait_for_job(id, WaitOptions::new()));
/// stop.stop();
/// assert!(waiting.join().unwrap().unwrap_err().is_stopped());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct StopToken(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_stopped: AtomicBool,
    /// The threads to wake up.
    waiting: Mutex<Vec<Thread>>,
}

impl StopToken {
    /// Creates a token that is not stopped.
    pub fn new() -> Self {
        StopToken::default()
    }

    /// Stops every call that watches this token or a clone of it. Does not wait for these calls to return.
    pub fn stop(&self) {
        self.0.is_stopped.store(true, Ordering::SeqCst);
        lock(&self.0.waiting).iter().for_each(Thread::unpark);
    }

    /// Returns whether [`stop`](StopToken::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(Ordering::SeqCst)
    }
}

/// The tokens that a client watches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stops(Vec<StopToken>);

impl Stops {
    /// Returns these tokens and one more.
    pub(crate) fn and(&self, token: &StopToken) -> Self {
        Stops(self.0.iter().chain([token]).cloned().collect())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.iter().any(StopToken::is_stopped)
    }

    /// Parks this thread until `ready` returns something, a token is stopped or the deadline has passed. Returns `None` in
    /// the latter two cases. Whoever makes `ready` return something must unpark the thread.
    pub(crate) fn wait<T>(&self, deadline: Instant, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
        // The thread is listed before the first check, so that no stop is missed.
        let this = thread::current();
        self.0.iter().for_each(|token| lock(&token.0.waiting).push(this.clone()));
        let result = loop {
            let result = ready();
            let left = deadline.saturating_duration_since(Instant::now());
            if result.is_some() || self.is_stopped() || left.is_zero() {
                break result;
            }
            thread::park_timeout(left);
        };
        self.0.iter().for_each(|token| lock(&token.0.waiting).retain(|thread| thread.id() != this.id()));
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn clones_share_one_state_and_stay_stopped() {
        let token = StopToken::new();
        let clone = token.clone();
        assert!(!clone.is_stopped());
        token.stop();
        token.stop();
        assert!(clone.is_stopped());
    }

    #[test]
    fn each_token_of_a_client_ends_a_wait_and_no_thread_stays_listed() {
        let tokens = [StopToken::new(), StopToken::new()];
        let stops = Stops::default().and(&tokens[0]).and(&tokens[1]);
        for token in &tokens {
            thread::scope(|scope| {
                let waiting = scope.spawn(|| stops.wait(Instant::now() + LONG, || None::<()>));
                while lock(&token.0.waiting).is_empty() && !stops.is_stopped() {
                    thread::yield_now();
                }
                token.stop();
                assert_eq!(waiting.join().unwrap(), None);
            });
        }
        assert!(tokens.iter().all(|token| lock(&token.0.waiting).is_empty()));
    }

    #[test]
    fn what_is_ready_counts_even_after_a_stop_and_a_deadline() {
        let token = StopToken::new();
        token.stop();
        let stops = Stops::default().and(&token);
        assert_eq!(stops.wait(Instant::now(), || Some(1)), Some(1));
        assert_eq!(Stops::default().wait(Instant::now(), || None::<()>), None);
    }
}
