//! Whether a request is retried, and after what delay. Pure: no clock, no network.

use std::time::Duration;

use crate::clock::DECADES;
use crate::error::{ErrorKind, Idempotency};

impl Idempotency {
    fn allows_retry_after(self, kind: &ErrorKind) -> bool {
        kind.is_transient()
            && match self {
                Idempotency::Safe => true,
                // The server may still be at it: a second rename could undo a later one.
                Idempotency::Idempotent => !kind.is_response_timeout(),
                // A 503 does not count: Varnish was seen to send it after the backend had accepted the job.
                Idempotency::NonIdempotent => {
                    matches!(kind, ErrorKind::NotConnected { .. } | ErrorKind::Status { status: 429, .. })
                }
            }
    }
}

/// How many times a request is retried and how long the delays are.
#[derive(Debug, Clone)]
pub(crate) struct RetryPolicy {
    pub(crate) max_retries: u32,
    pub(crate) first_pause: Duration,
    pub(crate) max_pause: Duration,
    /// The longest `Retry-After` that is honoured. Beyond it the error is returned at once.
    pub(crate) max_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            max_retries: 2,
            first_pause: Duration::from_millis(500),
            max_pause: Duration::from_secs(8),
            max_retry_after: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// The delay before the next attempt, or `None` if there is to be none.
    ///
    /// `attempts` is the number of attempts so far, `remaining` the time before the deadline, and `jitter` is
    /// in `0.0..1.0`.
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
            Some(asked) if asked > self.max_retry_after => return None,
            Some(asked) => asked,
            None => {
                let factor = 2_u32.saturating_pow(attempts.saturating_sub(1));
                let full = self.first_pause.saturating_mul(factor).min(self.max_pause).min(DECADES);
                // Clients that failed together must not all come back together.
                full.mul_f64(1.0 - jitter / 4.0)
            }
        };
        (delay < remaining).then_some(delay)
    }
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
        ErrorKind::NotConnected { reason: String::new(), timed_out: None, retryable: true }
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
        assert!(!is_retried(Safe, &ErrorKind::BadResponse(String::new())));
        assert!(!is_retried(
            Safe,
            &ErrorKind::NotConnected { reason: String::new(), timed_out: None, retryable: false }
        ));
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

    #[test]
    fn retry_after_is_honoured_up_to_its_ceiling() {
        let delay = |asked| {
            let kind = status_with(429, Some(Duration::from_secs(asked)));
            RetryPolicy::default().delay(Safe, &kind, 1, LONG, 0.7)
        };
        assert_eq!(delay(0), Some(Duration::ZERO));
        assert_eq!(delay(30), Some(Duration::from_secs(30)));
        assert_eq!(delay(31), None);
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
