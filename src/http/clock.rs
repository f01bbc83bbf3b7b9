//! Clock abstraction, so tests can control time.

use std::time::{Duration, Instant};

use crate::http::stop::Stops;

pub(crate) trait Clock: Send + Sync {
    fn now(&self) -> Instant;
    /// Sleeps until the pause is over or a token is stopped.
    fn sleep(&self, pause: Duration, stops: &Stops);
}

/// The clock of the operating system.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, pause: Duration, stops: &Stops) {
        stops.wait(saturating_add(self.now(), pause), || None::<()>);
    }
}

/// A duration that stands for no limit, because `Instant` cannot hold every sum.
pub(crate) const DECADES: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Returns `now + duration`, or a time some decades ahead if that is earlier.
pub(crate) fn saturating_add(now: Instant, duration: Duration) -> Instant {
    now + duration.min(DECADES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_exact_for_decades_and_does_not_overflow() {
        let (now, years) = (Instant::now(), |years: u64| Duration::from_secs(years * 365 * 86_400));
        assert_eq!(saturating_add(now, years(29)) - now, years(29));
        assert_eq!(saturating_add(now, Duration::MAX) - now, years(30));
    }
}
