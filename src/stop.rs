//! Stopping calls from another thread.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, mem};

use crate::sync::lock;

/// How often a thread that waits for the network checks the token. Calls end within 100 ms, so most of that time is
/// left for a machine that is busy.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// A token that stops calls from another thread, such as a Ctrl-C handler or the shutdown of a service.
///
/// A client made by [`Client::with_stop`](crate::Client::with_stop) watches the token. After [`stop`](StopToken::stop),
/// each of its calls returns within 100 milliseconds with an error for which [`is_stopped`](crate::Error::is_stopped)
/// is true, and a new call sends nothing. Clones of the token are stopped together. A token that was stopped cannot be
/// reset.
///
/// Two things are not interrupted: the decoding of a response that was received, which can take longer than that for
/// tens of megabytes, and functions of the caller, such as hooks. An iterator still returns the jobs of a page that it
/// has received.
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
/// let waiting = thread::spawn(move || client.wait_for_job(id, &WaitOptions::new()));
/// stop.stop();
/// assert!(waiting.join().unwrap().unwrap_err().is_stopped());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct StopToken(Arc<State>);

#[derive(Default)]
struct State {
    is_stopped: Mutex<bool>,
    stopped: Condvar,
    /// A token that stops this one too.
    parent: Option<StopToken>,
}

impl StopToken {
    /// Creates a token that is not stopped.
    pub fn new() -> Self {
        StopToken::default()
    }

    /// Stops every call that watches this token or a clone of it. Does not block.
    pub fn stop(&self) {
        *lock(&self.0.is_stopped) = true;
        self.0.stopped.notify_all();
    }

    /// Returns whether [`stop`](StopToken::stop) was called.
    pub fn is_stopped(&self) -> bool {
        *lock(&self.0.is_stopped) || self.0.parent.as_ref().is_some_and(StopToken::is_stopped)
    }

    /// Returns a token that is stopped together with its parent, and can be stopped without it.
    pub(crate) fn child(parent: Option<&StopToken>) -> Self {
        StopToken(Arc::new(State { parent: parent.cloned(), ..State::default() }))
    }

    /// Sleeps until the pause is over or the token is stopped.
    pub(crate) fn sleep(&self, pause: Duration) {
        let started = Instant::now();
        let parent = self.0.parent.as_ref();
        let mut is_stopped = lock(&self.0.is_stopped);
        while !*is_stopped && !parent.is_some_and(StopToken::is_stopped) {
            let left = pause.saturating_sub(started.elapsed());
            if left.is_zero() {
                return;
            }
            // Stopping the parent does not wake this thread up, so the parent is polled.
            let left = if parent.is_some() { left.min(POLL_INTERVAL) } else { left };
            let woken = self.0.stopped.wait_timeout(is_stopped, left);
            is_stopped = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Runs work that cannot be interrupted on a thread of its own, and abandons that thread if the token is stopped
    /// first. The work must end by itself. `abandoned` counts the threads that were abandoned and have not ended.
    pub(crate) fn run_abandonable<T: Send + 'static>(
        &self,
        abandoned: &Arc<AtomicUsize>,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if abandoned.load(Ordering::Relaxed) >= MAX_ABANDONED {
            return Err(io::Error::other("too many stopped attempts have not ended yet"));
        }
        let progress = Arc::new(Mutex::new(Progress::Running));
        let (sender, result) = mpsc::channel();
        let ending = Ending { progress: progress.clone(), abandoned: abandoned.clone() };
        thread::Builder::new().name("atomiverse-attempt".to_owned()).spawn(move || {
            // This is dropped after the result was sent, and also after a panic.
            let _ending = ending;
            // Sending fails if the work was abandoned.
            let _ = sender.send(work());
        })?;
        loop {
            match result.recv_timeout(POLL_INTERVAL) {
                Ok(result) => return result,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(io::Error::other("a panic")),
                Err(mpsc::RecvTimeoutError::Timeout) if !self.is_stopped() => {}
                Err(mpsc::RecvTimeoutError::Timeout) => break,
            }
        }
        let mut progress = lock(&progress);
        if matches!(*progress, Progress::Running) {
            abandoned.fetch_add(1, Ordering::Relaxed);
            *progress = Progress::Abandoned;
        }
        Err(io::Error::other("stopped"))
    }
}

/// Locks a mutex that another thread may hold for long. Returns `None` if the token is stopped.
pub(crate) fn lock_unless_stopped<'a, T: ?Sized>(
    mutex: &'a Mutex<T>,
    stop: Option<&StopToken>,
) -> Option<MutexGuard<'a, T>> {
    let Some(stop) = stop else { return Some(lock(mutex)) };
    while !stop.is_stopped() {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => stop.sleep(POLL_INTERVAL),
        }
    }
    None
}

/// Runs an attempt during which this thread watches the token.
pub(crate) fn during<T>(stop: Option<&StopToken>, attempt: impl FnOnce() -> T) -> T {
    let Some(stop) = stop else { return attempt() };
    /// Restores the previous token, also after a panic.
    struct Reset(Option<StopToken>);
    impl Drop for Reset {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _outer = Reset(CURRENT.replace(Some(stop.clone())));
    attempt()
}

/// Returns the token of the call that this thread makes.
pub(crate) fn current() -> Option<StopToken> {
    CURRENT.with_borrow(Option::clone)
}

/// Returns whether the call that this thread makes was stopped.
pub(crate) fn is_current_stopped() -> bool {
    CURRENT.with_borrow(|stop| stop.as_ref().is_some_and(StopToken::is_stopped))
}

thread_local! {
    /// ureq calls its transport on the thread of its caller, and offers no other way to pass the token on.
    static CURRENT: RefCell<Option<StopToken>> = const { RefCell::new(None) };
}

impl fmt::Debug for StopToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopToken").field("is_stopped", &self.is_stopped()).finish()
    }
}

/// The maximum number of threads of a client that do abandoned work.
const MAX_ABANDONED: usize = 64;

/// The progress of work that may be abandoned.
enum Progress {
    Running,
    Abandoned,
    Ended,
}

/// Records the end of abandoned work.
struct Ending {
    progress: Arc<Mutex<Progress>>,
    abandoned: Arc<AtomicUsize>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Progress::Abandoned = mem::replace(&mut *lock(&self.progress), Progress::Ended) {
            self.abandoned.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_one_state_and_stay_stopped() {
        let token = StopToken::new();
        let clone = token.clone();
        assert!(!clone.is_stopped());
        token.stop();
        token.stop();
        assert!(clone.is_stopped());
        assert_eq!(format!("{clone:?}"), "StopToken { is_stopped: true }");
        // This returns at once.
        clone.sleep(Duration::MAX);
    }

    #[test]
    fn a_pause_ends_when_the_token_is_stopped() {
        let token = StopToken::new();
        let sleeper = thread::spawn({
            let token = token.clone();
            move || token.sleep(Duration::MAX)
        });
        token.stop();
        sleeper.join().unwrap();
    }

    #[test]
    fn a_parent_stops_its_children_and_not_the_other_way_round() {
        let parent = StopToken::new();
        let child = StopToken::child(Some(&parent));
        let other = StopToken::child(Some(&parent));
        child.stop();
        assert!(child.is_stopped() && !parent.is_stopped() && !other.is_stopped());
        let sleeper = thread::spawn(move || other.sleep(Duration::MAX));
        parent.stop();
        sleeper.join().unwrap();
    }

    #[test]
    fn work_that_is_not_stopped_returns_its_result() {
        let (token, abandoned) = (StopToken::new(), Arc::default());
        assert_eq!(token.run_abandonable(&abandoned, || Ok(7)).unwrap(), 7);
        let panicked = token.run_abandonable::<()>(&abandoned, || panic!("on purpose"));
        assert_eq!(panicked.unwrap_err().to_string(), "a panic");
    }

    #[test]
    fn abandoned_work_is_counted_until_it_ends_and_its_number_is_bounded() {
        let (token, abandoned) = (StopToken::new(), Arc::default());
        token.stop();
        let mut releases = Vec::new();
        for _ in 0..MAX_ABANDONED {
            let (release, released) = mpsc::channel::<()>();
            // Ends when `release` is dropped.
            let outcome = token.run_abandonable(&abandoned, move || Ok(released.recv().is_ok()));
            assert_eq!(outcome.unwrap_err().to_string(), "stopped");
            releases.push(release);
        }
        let refused = token.run_abandonable(&abandoned, || Ok(())).unwrap_err();
        assert_eq!(refused.to_string(), "too many stopped attempts have not ended yet");
        drop(releases);
        while abandoned.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        assert!(StopToken::new().run_abandonable(&abandoned, || Ok(())).is_ok());
    }
}
