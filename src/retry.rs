//! Whether a request that failed is sent again, and after what pause. Pure: no clock, no network.

use std::time::Duration;

/// What sending a request a second time can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resend {
    /// Nothing changes on the server.
    Read,
    /// Done twice is done once: rename, cancel, delete.
    Idempotent,
    /// Done twice is two jobs: only where the server surely did not take the first.
    Never,
}

/// Why an attempt failed, as far as the policy cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection was made: the server saw nothing.
    NotConnected,
    /// The connection broke under the request or the answer.
    ConnectionLost,
    /// Time was up.
    Timeout,
    /// The server answered with an error status.
    Status(u16),
    /// The connection was made and then refused by this side, before anything was sent on it.
    Refused,
    /// Something else that another try would meet again.
    Unclear,
}

impl Failure {
    /// Whether the same request may do better a little later.
    pub(crate) fn is_transient(self) -> bool {
        match self {
            Failure::NotConnected | Failure::ConnectionLost | Failure::Timeout => true,
            Failure::Status(status) => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            Failure::Refused | Failure::Unclear => false,
        }
    }

    /// Whether the server may have done what was asked, for all that is known.
    pub(crate) fn may_have_been_taken(self) -> bool {
        match self {
            Failure::NotConnected | Failure::Refused => false,
            Failure::ConnectionLost | Failure::Timeout | Failure::Unclear => true,
            // A redirect may be the answer to what was done; 307 and 308 ask for it elsewhere.
            Failure::Status(status) => matches!(status, 300..=306 | 408 | 500..=502 | 504..),
        }
    }

    fn allows(self, resend: Resend) -> bool {
        self.is_transient()
            && match resend {
                Resend::Read => true,
                Resend::Idempotent => self != Failure::Timeout,
                Resend::Never => !self.may_have_been_taken(),
            }
    }
}

/// How often and how patiently; every part can be set in the builder.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) max_retries: u32,
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
    /// The longest `Retry-After` that is obeyed; beyond it the error goes to the caller at once.
    pub(crate) longest_retry_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            max_retries: 2,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(8),
            longest_retry_after: Duration::from_secs(30),
        }
    }
}

impl Policy {
    /// The pause before the next attempt, or `None` where there is to be none.
    ///
    /// `attempts` were made so far, `left` is the time before the deadline, `jitter` is in `0.0..1.0`.
    pub(crate) fn pause(
        &self,
        resend: Resend,
        failure: Failure,
        attempts: u32,
        retry_after: Option<Duration>,
        left: Duration,
        jitter: f64,
    ) -> Option<Duration> {
        if attempts > self.max_retries || !failure.allows(resend) {
            return None;
        }
        let pause = match retry_after {
            Some(asked) if asked > self.longest_retry_after => return None,
            Some(asked) => asked,
            None => {
                let doubled = 2u32.saturating_pow(attempts.saturating_sub(1));
                let full = self.first_pause.saturating_mul(doubled).min(self.longest_pause);
                // Many clients that failed together must not come back together.
                full.mul_f64(1.0 - jitter / 4.0)
            }
        };
        (pause < left).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn pause(resend: Resend, failure: Failure) -> Option<Duration> {
        Policy::default().pause(resend, failure, 1, None, LONG, 0.0)
    }

    #[test]
    fn reads_are_sent_again_after_every_transient_failure() {
        for failure in [Failure::NotConnected, Failure::ConnectionLost, Failure::Timeout] {
            assert!(pause(Resend::Read, failure).is_some(), "{failure:?}");
        }
        for status in 100..600 {
            let again = [408, 425, 429, 500, 502, 503, 504].contains(&status);
            assert_eq!(pause(Resend::Read, Failure::Status(status)).is_some(), again, "{status}");
        }
        assert_eq!(pause(Resend::Read, Failure::Refused), None);
        assert_eq!(pause(Resend::Read, Failure::Unclear), None);
    }

    #[test]
    fn changes_are_not_sent_again_after_a_timeout() {
        assert_eq!(pause(Resend::Idempotent, Failure::Timeout), None);
        assert!(pause(Resend::Idempotent, Failure::ConnectionLost).is_some());
        assert!(pause(Resend::Idempotent, Failure::Status(502)).is_some());
        assert_eq!(pause(Resend::Idempotent, Failure::Status(409)), None);
    }

    #[test]
    fn a_submission_is_sent_again_only_when_the_server_surely_did_not_take_it() {
        for failure in [Failure::NotConnected, Failure::Status(429), Failure::Status(503)] {
            assert!(pause(Resend::Never, failure).is_some(), "{failure:?}");
        }
        for failure in [Failure::ConnectionLost, Failure::Timeout, Failure::Status(408), Failure::Status(500)]
        {
            assert_eq!(pause(Resend::Never, failure), None, "{failure:?}");
        }
    }

    #[test]
    fn pauses_double_from_half_a_second_to_eight_and_end_with_the_retries() {
        let policy = Policy { max_retries: 6, ..Policy::default() };
        let pauses: Vec<_> = (1..=7)
            .map(|attempts| policy.pause(Resend::Read, Failure::Timeout, attempts, None, LONG, 0.0))
            .map(|pause| pause.map(|pause| pause.as_secs_f64()))
            .collect();
        assert_eq!(pauses, [Some(0.5), Some(1.0), Some(2.0), Some(4.0), Some(8.0), Some(8.0), None]);
    }

    #[test]
    fn jitter_shortens_a_pause_by_at_most_a_quarter() {
        let pause = |jitter| Policy::default().pause(Resend::Read, Failure::Timeout, 1, None, LONG, jitter);
        assert_eq!(pause(0.0), Some(Duration::from_millis(500)));
        assert_eq!(pause(0.5), Some(Duration::from_micros(437_500)));
        assert_eq!(pause(1.0), Some(Duration::from_millis(375)));
    }

    #[test]
    fn retry_after_is_obeyed_up_to_its_ceiling() {
        let pause = |asked| {
            let asked = Some(Duration::from_secs(asked));
            Policy::default().pause(Resend::Read, Failure::Status(429), 1, asked, LONG, 0.7)
        };
        assert_eq!(pause(0), Some(Duration::ZERO));
        assert_eq!(pause(30), Some(Duration::from_secs(30)));
        assert_eq!(pause(31), None);
    }

    #[test]
    fn there_is_no_pause_that_reaches_the_deadline() {
        let pause = |left| {
            Policy::default().pause(Resend::Read, Failure::Timeout, 1, None, Duration::from_millis(left), 0.0)
        };
        assert_eq!(pause(500), None);
        assert!(pause(501).is_some());
    }

    #[test]
    fn no_retries_means_one_attempt() {
        let policy = Policy { max_retries: 0, ..Policy::default() };
        assert_eq!(policy.pause(Resend::Read, Failure::NotConnected, 1, None, LONG, 0.0), None);
    }

    #[test]
    fn a_huge_number_of_attempts_does_not_overflow() {
        let policy = Policy { max_retries: u32::MAX, ..Policy::default() };
        let pause = policy.pause(Resend::Read, Failure::Timeout, u32::MAX - 1, None, LONG, 0.0);
        assert_eq!(pause, Some(Duration::from_secs(8)));
    }
}
