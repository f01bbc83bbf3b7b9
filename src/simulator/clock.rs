//! A clock that stands still until it is advanced.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::http::clock::{Clock, SystemClock};
use crate::http::stop::Stops;
use crate::sync::lock;

#[derive(Debug)]
pub(super) struct SimulatedClock {
    started: Instant,
    /// The time of day at the start, as the time since the Unix epoch.
    started_at: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The simulated time since the start, without the time for which the clock has been running.
    advanced: Duration,
    running_since: Option<Instant>,
}

/// The longest time by which the clock is advanced at once. No program can take so many such steps that the clock
/// reaches its end, at which it would stand still and a wait would poll for ever.
const LONGEST_STEP: Duration = Duration::from_secs(30 * 365 * 86_400);

/// About 36 billion years, which an `Instant` can hold.
const END: Duration = Duration::from_secs(1 << 60);

impl Default for SimulatedClock {
    fn default() -> Self {
        let started_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        SimulatedClock { started: Instant::now(), started_at, state: Mutex::default() }
    }
}

impl SimulatedClock {
    pub(super) fn advance(&self, time: Duration) {
        let mut state = self.state();
        state.advanced = state.advanced.saturating_add(time.min(LONGEST_STEP));
    }

    /// Makes the clock run in real time from now on.
    pub(super) fn run(&self) {
        self.state().running_since.get_or_insert_with(Instant::now);
    }

    /// Returns the simulated time since the Unix epoch.
    pub(super) fn since_epoch(&self) -> Duration {
        self.started_at.saturating_add(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        let state = self.state();
        let running = state.running_since.map(|since| since.elapsed()).unwrap_or_default();
        state.advanced.saturating_add(running).min(END)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Instant {
        self.started + self.elapsed()
    }

    fn system_time(&self) -> SystemTime {
        // Beyond the range of the platform, the clock shows the time at which it was started.
        let time = SystemTime::UNIX_EPOCH.checked_add(self.since_epoch());
        time.unwrap_or_else(|| SystemTime::UNIX_EPOCH + self.started_at)
    }

    fn sleep(&self, pause: Duration, stops: &Stops) {
        let is_running = self.state().running_since.is_some();
        if is_running { SystemClock.sleep(pause, stops) } else { self.advance(pause) }
    }
}
