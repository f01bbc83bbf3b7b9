//! Whether a request is retried, and after which delay. Pure: no clock, no network.

use std::time::Duration;

use crate::clock::DECADES;
use crate::error::{ErrorKind, Idempotency};

impl Idempotency {
    fn allows_retry_after(self, kind: &ErrorKind) -> bool {
        kind.is_transient()
            && match self {
                Idempotency::Safe => true,
                // After a timeout the server may still be processing the request, and a retried rename could undo a
                // later one.
                Idempotency::Idempotent => !kind.is_response_timeout(),
                // A 503 is excluded: Varnish has been seen to send it after the backend had accepted the job.
                Idempotency::NonIdempotent => {
                    matches!(kind, ErrorKind::NotConnected { .. } | ErrorKind::Status { status: 429, .. })
                }
            }
    }
}

/// How often a request is retried, and how long the delays are.
#[derive(Debug, Clone)]
pub(crate) struct RetryPolicy {
    pub(crate) max_retries: u32,
    pub(crate) first_pause: Duration,
    pub(crate) max_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            max_retries: 2,
            first_pause: Duration::from_millis(500),
            max_pause: Duration::from_secs(8),
        }
    }
}

impl RetryPolicy {
    /// Returns the delay before the next attempt, or `None` if there is to be none.
    ///
    /// `attempts` is the number of attempts so far, `remaining` is the time before the deadline, and `jitter` is in
    /// `0.0..1.0`.
    pub(crate) fn delay(
        &self,
        idempotency: Idempotency,
        kind: &ErrorKind,
        attempts: u32,
        remaining: Duration,
        jitter: f64,
    ) -> Option<Duration> {
        if attempts > self.max_retries || !idempotency.allows_retry_after(kind) {
            return None;
        }
        let delay = match kind.retry_after() {
            Some(asked) => spread(asked, remaining, jitter),
            None => {
                let factor = 2_u32.saturating_pow(attempts.saturating_sub(1));
                let full = self.first_pause.saturating_mul(factor).min(self.max_pause).min(DECADES);
                // Clients that failed at the same time must not retry at the same time.
                full.mul_f64(1.0 - jitter / 4.0)
            }
        };
        (delay < remaining).then_some(delay)
    }
}

/// Adds up to half to a pause that the server asked for, because threads that were told to come back at the same time
/// must not do so. At least half of the time that remains after the pause is left for the attempt.
fn spread(asked: Duration, remaining: Duration, jitter: f64) -> Duration {
    asked.saturating_add(asked.min(remaining.saturating_sub(asked)).mul_f64(jitter / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Idempotency::{Idempotent, NonIdempotent, Safe};

    const LONG: Duration = Duration::from_secs(3600);
    const TIMEOUT: ErrorKind = ErrorKind::Timeout { within: LONG };

    fn status(status: u16) -> ErrorKind {
        status_with(status, None)
    }

    fn status_with(status: u16, retry_after: Option<Duration>) -> ErrorKind {
        ErrorKind::Status { status, reason: "", message: None, retry_after, is_foreign: false }
    }

    fn not_connected() -> ErrorKind {
        not_connected_if(true)
    }

    fn not_connected_if(retryable: bool) -> ErrorKind {
        ErrorKind::NotConnected { reason: String::new(), timed_out: None, retryable, is_about_address: true }
    }

    fn lost() -> ErrorKind {
        ErrorKind::ConnectionLost(String::new())
    }

    fn is_retried(idempotency: Idempotency, kind: &ErrorKind) -> bool {
        RetryPolicy::default().delay(idempotency, kind, 1, LONG, 0.0).is_some()
    }

    #[test]
    fn reads_are_retried_after_every_transient_error() {
        for kind in [not_connected(), lost(), TIMEOUT] {
            assert!(is_retried(Safe, &kind), "{kind:?}");
        }
        for code in 100..600 {
            let transient = [408, 425, 429, 500, 502, 503, 504].contains(&code);
            assert_eq!(is_retried(Safe, &status(code)), transient, "{code}");
        }
        assert!(!is_retried(Safe, &ErrorKind::Tls(String::new())));
        assert!(!is_retried(Safe, &ErrorKind::BadResponse { text: String::new(), is_http: true }));
        assert!(!is_retried(Safe, &not_connected_if(false)));
        assert!(!is_retried(Safe, &ErrorKind::Unsendable(String::new())));
    }

    #[test]
    fn changes_are_not_retried_after_a_timeout() {
        for kind in [TIMEOUT, status(408), status(504), status(409)] {
            assert!(!is_retried(Idempotent, &kind), "{kind:?}");
        }
        for kind in [not_connected(), lost(), status(429), status(500), status(502), status(503)] {
            assert!(is_retried(Idempotent, &kind), "{kind:?}");
        }
    }

    #[test]
    fn a_submission_is_retried_only_if_the_server_cannot_have_accepted_it() {
        assert!(is_retried(NonIdempotent, &not_connected()));
        assert!(is_retried(NonIdempotent, &status(429)));
        for kind in [lost(), TIMEOUT, status(408), status(425), status(500), status(502), status(503)] {
            assert!(!is_retried(NonIdempotent, &kind), "{kind:?}");
        }
    }

    #[test]
    fn delays_double_from_half_a_second_to_eight_and_end_with_the_retries() {
        let policy = RetryPolicy { max_retries: 6, ..RetryPolicy::default() };
        let delays: Vec<_> = (1..=7)
            .map(|attempts| policy.delay(Safe, &TIMEOUT, attempts, LONG, 0.0))
            .map(|delay| delay.map(|delay| delay.as_secs_f64()))
            .collect();
        assert_eq!(delays, [Some(0.5), Some(1.0), Some(2.0), Some(4.0), Some(8.0), Some(8.0), None]);
    }

    #[test]
    fn jitter_shortens_a_delay_by_at_most_a_quarter() {
        let delay = |jitter| RetryPolicy::default().delay(Safe, &TIMEOUT, 1, LONG, jitter);
        assert_eq!(delay(0.0), Some(Duration::from_millis(500)));
        assert_eq!(delay(0.5), Some(Duration::from_micros(437_500)));
        assert_eq!(delay(1.0), Some(Duration::from_millis(375)));
    }

    fn rate_limited(asked: u64) -> ErrorKind {
        status_with(429, Some(Duration::from_secs(asked)))
    }

    #[test]
    fn jitter_adds_up_to_half_to_a_retry_after() {
        let delay = |jitter| RetryPolicy::default().delay(Safe, &rate_limited(10), 1, LONG, jitter);
        assert_eq!(delay(0.0), Some(Duration::from_secs(10)));
        assert_eq!(delay(0.5), Some(Duration::from_millis(12_500)));
        assert_eq!(delay(1.0), Some(Duration::from_secs(15)));
    }

    #[test]
    fn jitter_does_not_carry_a_retry_after_past_the_deadline() {
        let delay = |remaining| {
            let remaining = Duration::from_millis(remaining);
            RetryPolicy::default().delay(Safe, &rate_limited(10), 1, remaining, 1.0)
        };
        assert_eq!(delay(10_000), None);
        assert_eq!(delay(10_002), Some(Duration::from_millis(10_001)));
        assert_eq!(delay(12_000), Some(Duration::from_secs(11)));
        assert_eq!(delay(20_000), Some(Duration::from_secs(15)));
    }

    #[test]
    fn no_delay_reaches_the_deadline() {
        let delay = |remaining| {
            RetryPolicy::default().delay(Safe, &TIMEOUT, 1, Duration::from_millis(remaining), 0.0)
        };
        assert_eq!(delay(500), None);
        assert!(delay(501).is_some());
    }

    #[test]
    fn no_retries_means_one_attempt() {
        let policy = RetryPolicy { max_retries: 0, ..RetryPolicy::default() };
        assert_eq!(policy.delay(Safe, &not_connected(), 1, LONG, 0.0), None);
    }

    #[test]
    fn huge_numbers_do_not_overflow() {
        let policy = RetryPolicy { max_retries: u32::MAX, ..RetryPolicy::default() };
        let delay = policy.delay(Safe, &TIMEOUT, u32::MAX - 1, LONG, 0.0);
        assert_eq!(delay, Some(Duration::from_secs(8)));
        let endless = RetryPolicy { first_pause: Duration::MAX, max_pause: Duration::MAX, ..policy };
        assert_eq!(endless.delay(Safe, &TIMEOUT, 1, LONG, 0.0), None);
    }
}
