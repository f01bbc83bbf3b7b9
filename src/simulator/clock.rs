//! A clock that stands still until it is advanced.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use crate::http::clock::{Clock, DECADES, SystemClock};
use crate::http::stop::Stops;
use crate::sync::lock;

#[derive(Debug, Default)]
pub(super) struct SimulatedClock {
    /// The time of the first look at the clock.
    started: OnceLock<(Instant, SystemTime)>,
    /// The simulated time since the start, without the time for which the clock has been running.
    advanced: Mutex<Duration>,
    running_since: OnceLock<Instant>,
}

impl SimulatedClock {
    /// Advances the clock by at most some decades, so that a sum does not overflow and no wait meets the end of time.
    pub(super) fn advance(&self, time: Duration) {
        *lock(&self.advanced) += time.min(DECADES);
    }

    /// Makes the clock run in real time from now on.
    pub(super) fn run(&self) {
        self.running_since.get_or_init(Instant::now);
    }

    /// Returns the simulated time since the Unix epoch.
    pub(super) fn since_epoch(&self) -> Duration {
        (self.started().1 + self.elapsed()).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn started(&self) -> (Instant, SystemTime) {
        *self.started.get_or_init(|| (Instant::now(), SystemTime::now()))
    }

    fn elapsed(&self) -> Duration {
        *lock(&self.advanced) + self.running_since.get().map(Instant::elapsed).unwrap_or_default()
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Instant {
        self.started().0 + self.elapsed()
    }

    fn sleep(&self, pause: Duration, stops: &Stops) {
        if self.running_since.get().is_some() {
            SystemClock.sleep(pause, stops);
        } else {
            self.advance(pause);
        }
    }
}
