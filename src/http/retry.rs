//! Whether a request is retried, and after which pause. Pure: no clock, no network.

use std::time::Duration;

use crate::error::{Class, Effect, Error, ErrorKind};

/// Returns the pause before the next attempt of a call, or `None` if there is to be none.
///
/// `attempts` is the number of attempts so far, `left` is the time before the deadline, and `random` is in `0.0..1.0`.
pub(crate) fn pause(
    class: Class,
    failure: &Error,
    attempts: u32,
    max_retries: u32,
    left: Duration,
    random: f64,
) -> Option<Duration> {
    if attempts > max_retries || !is_retried(class, failure) {
        return None;
    }
    let pause = match (failure.kind(), failure.retry_after()) {
        // The server had closed the connection while it was idle, which says nothing about its health.
        (ErrorKind::ConnectionLost { was_reused: true }, _) if attempts == 1 => Duration::ZERO,
        // Clients that were told to come back at the same time must not do so. Half of the time that is left after the
        // pause is kept for the attempt.
        (_, Some(asked)) => asked.checked_add(asked.min(left.saturating_sub(asked)).mul_f64(random / 2.0))?,
        _ => {
            let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
            // Clients that failed at the same time must not retry at the same time.
            Duration::from_millis(500).saturating_mul(doubled).mul_f64(1.0 - random / 4.0)
        }
    };
    (pause < left).then_some(pause)
}

fn is_retried(class: Class, failure: &Error) -> bool {
    let is_unsent = failure.effect() == Effect::Unsent;
    failure.is_transient()
        && match class {
            Class::Read => true,
            _ if is_unsent => true,
            // After a timeout the server may still be processing the request, and a retried rename could undo a later
            // one.
            Class::Idempotent => !failure.is_timeout() && !matches!(failure.status(), Some(408 | 504)),
            // A 503 is excluded: Varnish has been seen to send it after the backend had accepted the job.
            Class::Submission => failure.is_rate_limited(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Class::{Idempotent, Read, Submission};

    const LONG: Duration = Duration::from_secs(3600);

    fn status(status: u16, retry_after: Option<Duration>) -> Error {
        Error::from_status(status, "", None, retry_after, false)
    }

    fn lost(was_reused: bool) -> Error {
        Error::connection_lost("", was_reused)
    }

    #[test]
    fn the_class_and_the_failure_decide_whether_a_request_is_retried() {
        let retried =
            |failure: &Error| [Read, Idempotent, Submission].map(|class| is_retried(class, failure));
        let none = [false, false, false];
        let (reads, changes, all) = ([true, false, false], [true, true, false], [true, true, true]);
        for (failure, expected) in [
            (Error::not_connected("", false, true), all),
            (Error::not_connected("", true, true), all),
            (lost(false), changes),
            (lost(true), changes),
            (Error::timeout(), reads),
            (Error::tls("", Effect::Unsent), none),
            (Error::too_large(1), none),
            (Error::bad_response(String::new()), none),
            (Error::unsupported(""), none),
            (Error::stopped(true), none),
        ] {
            assert_eq!(retried(&failure), expected, "{failure:?}");
        }
        for code in 100..600 {
            let expected = match code {
                429 => all,
                408 | 504 => reads,
                501 | 505 => none,
                425 | 500.. => changes,
                _ => none,
            };
            assert_eq!(retried(&status(code, None)), expected, "{code}");
        }
    }

    fn seconds(class: Class, failure: &Error, attempts: u32, left: f64, random: f64) -> Option<f64> {
        let left = Duration::from_secs_f64(left);
        pause(class, failure, attempts, 9, left, random).map(|pause| pause.as_secs_f64())
    }

    #[test]
    fn pauses_double_and_end_with_the_retries() {
        let pauses = [1, 2, 3, 4, 9].map(|attempts| seconds(Read, &Error::timeout(), attempts, 3600.0, 0.0));
        assert_eq!(pauses, [Some(0.5), Some(1.0), Some(2.0), Some(4.0), Some(128.0)]);
        assert_eq!(seconds(Read, &Error::timeout(), 10, 3600.0, 0.0), None);
        assert_eq!(pause(Read, &Error::timeout(), 1, 0, LONG, 0.0), None);
    }

    #[test]
    fn chance_shortens_a_pause_by_at_most_a_quarter_and_lengthens_a_retry_after_by_at_most_half() {
        let asked = status(429, Some(Duration::from_secs(10)));
        for (random, own, told) in [(0.0, 0.5, 10.0), (0.5, 0.4375, 12.5), (1.0, 0.375, 15.0)] {
            assert_eq!(seconds(Read, &Error::timeout(), 1, 3600.0, random), Some(own));
            assert_eq!(seconds(Submission, &asked, 1, 3600.0, random), Some(told));
        }
    }

    #[test]
    fn no_pause_reaches_the_deadline() {
        assert_eq!(seconds(Read, &Error::timeout(), 1, 0.5, 0.0), None);
        assert_eq!(seconds(Read, &Error::timeout(), 1, 0.501, 0.0), Some(0.5));
        let asked = status(503, Some(Duration::from_secs(10)));
        for (left, told) in [(10.0, None), (10.002, Some(10.001)), (12.0, Some(11.0)), (20.0, Some(15.0))] {
            assert_eq!(seconds(Read, &asked, 1, left, 1.0), told, "{left}");
        }
    }

    #[test]
    fn the_first_retry_on_a_new_connection_after_a_stale_one_has_no_pause() {
        for class in [Read, Idempotent] {
            assert_eq!(seconds(class, &lost(true), 1, 3600.0, 0.0), Some(0.0));
            assert_eq!(seconds(class, &lost(true), 2, 3600.0, 0.0), Some(1.0));
            assert_eq!(seconds(class, &lost(false), 1, 3600.0, 0.0), Some(0.5));
        }
    }

    #[test]
    fn huge_numbers_do_not_overflow() {
        let retries = u32::MAX;
        assert_eq!(pause(Read, &Error::timeout(), u32::MAX, retries, LONG, 0.0), None);
        let endless = status(429, Some(Duration::MAX));
        for left in [LONG, Duration::MAX] {
            for random in [0.0, 1.0] {
                assert_eq!(pause(Read, &endless, 1, retries, left, random), None);
            }
        }
        assert!(pause(Read, &Error::timeout(), u32::MAX, retries, Duration::MAX, 0.0).is_some());
    }
}
