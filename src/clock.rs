//! Time, so that no logic reads it by itself.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub(crate) trait Clock: Debug + Send + Sync {
    fn now(&self) -> Instant;
    /// The time of day, to read a `Retry-After` that is a date.
    fn wall(&self) -> SystemTime;
    fn sleep(&self, pause: Duration);
}

/// The computer's own.
#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, pause: Duration) {
        thread::sleep(pause);
    }
}

/// A time from now, at most some decades: `Instant` cannot hold every sum.
pub(crate) fn after(now: Instant, duration: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(30 * 365 * 86_400);
    now + duration.min(LONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_from_now_is_exact_for_decades_and_never_overflows() {
        let (now, years) = (Instant::now(), |years: u64| Duration::from_secs(years * 365 * 86_400));
        assert_eq!(after(now, years(29)) - now, years(29));
        assert_eq!(after(now, Duration::MAX) - now, years(30));
    }
}
