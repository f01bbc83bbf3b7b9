//! Whether a request is retried, and after which delay. Pure: no clock, no network.

#[cfg(test)]
mod fleet;

use std::time::{Duration, Instant};

use crate::clock::{DECADES, saturating_add};
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
    /// The longest `Retry-After` that is honoured. If it is longer, the error is returned at once.
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
            Some(asked) if asked > self.max_retry_after => return None,
            Some(asked) => spread(asked, asked, remaining, jitter),
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

/// Adds up to half of `asked` to a wait, because threads that were told to come back at the same time must not do so.
/// At least half of the time that remains after the wait is left for the attempt.
fn spread(wait: Duration, asked: Duration, remaining: Duration, jitter: f64) -> Duration {
    wait + asked.min(remaining.saturating_sub(wait)).mul_f64(jitter / 2.0)
}

/// The retries that a client may spend on a service that does not recover.
///
/// A retry that fails is spent, one that succeeds is given back, and ten calls that need no retry earn one. The part of
/// the budget that exceeds the initial one halves every ten seconds. A client with many calls can therefore retry all
/// of them after a short failure, and a client with few calls adds little to an outage, however long the client has
/// been running.
#[derive(Debug, Clone)]
pub(crate) struct RetryBudget {
    /// In tenths of a retry, like `balance`.
    initial: u32,
    balance: u32,
    halved_at: Instant,
}

impl RetryBudget {
    const COST: u32 = 10;
    const HALF_LIFE: Duration = Duration::from_secs(10);

    pub(crate) fn new(retries: u32, now: Instant) -> Self {
        let initial = retries.saturating_mul(Self::COST);
        RetryBudget { initial, balance: initial, halved_at: now }
    }

    /// Spends a retry after `kind` and returns its cost, or `None` if the budget does not allow it.
    pub(crate) fn try_spend(&mut self, kind: &ErrorKind, now: Instant) -> Option<u32> {
        self.halve(now);
        // A server that limits the rate is healthy and says when to come back. Its rejections must not use up the
        // budget that is meant for failures.
        let is_asked_for = matches!(kind, ErrorKind::Status { status: 429, retry_after: Some(_), .. });
        let cost = if is_asked_for { 0 } else { Self::COST };
        if self.initial > 0 {
            self.balance = self.balance.checked_sub(cost)?;
            return Some(cost);
        }
        None
    }

    /// Records a call that ended without a transient failure. `spent` is the cost of its last retry, or 0.
    pub(crate) fn succeeded(&mut self, spent: u32, now: Instant) {
        self.halve(now);
        self.balance = self.balance.saturating_add(spent.max(1));
    }

    fn halve(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.halved_at).as_secs();
        let times = u32::try_from(elapsed / Self::HALF_LIFE.as_secs()).unwrap_or(u32::MAX);
        if times > 0 {
            self.halved_at += Self::HALF_LIFE.saturating_mul(times);
            let extra = self.balance.saturating_sub(self.initial);
            self.balance -= extra - extra.checked_shr(times).unwrap_or(0);
        }
    }
}

/// The last `Retry-After` that a call of a client received. Other calls wait for it as well.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hold(Option<Held>);

#[derive(Debug, Clone, Copy)]
struct Held {
    since: Instant,
    until: Instant,
    asked: Duration,
}

impl Hold {
    /// Records a `Retry-After`. It does not shorten an earlier one.
    pub(crate) fn extend(&mut self, now: Instant, asked: Duration) {
        let until = saturating_add(now, asked);
        if self.0.is_none_or(|held| held.until < until) {
            self.0 = Some(Held { since: now, until, asked });
        }
    }

    /// Returns the delay before a request may be sent, or `None` if it may be sent now. If the delay is not less than
    /// `remaining`, the time before its deadline, the request cannot succeed.
    ///
    /// `told` is the pause that the server requested in response to this call, and when. An earlier pause, or one that
    /// is not longer, does not delay the call.
    pub(crate) fn delay(
        &self,
        now: Instant,
        remaining: Duration,
        jitter: f64,
        told: Option<(Instant, Duration)>,
    ) -> Option<Duration> {
        let is_newer = |held: &Held| told.is_none_or(|(at, asked)| held.since > at && held.asked > asked);
        let held = self.0.filter(|held| now < held.until).filter(is_newer)?;
        Some(spread(held.until - now, held.asked, remaining, jitter))
    }

    /// Ends the hold if a request that was sent after its beginning has succeeded: the server accepts requests again.
    pub(crate) fn accepted(&mut self, sent: Instant) {
        self.0 = self.0.filter(|held| sent < held.since);
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
    fn retry_after_is_honoured_up_to_its_ceiling() {
        let delay = |asked| RetryPolicy::default().delay(Safe, &rate_limited(asked), 1, LONG, 0.0);
        assert_eq!(delay(0), Some(Duration::ZERO));
        assert_eq!(delay(30), Some(Duration::from_secs(30)));
        assert_eq!(delay(31), None);
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

    #[test]
    fn a_budget_is_spent_by_failures() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(10, now);
        for _ in 0..10 {
            assert_eq!(budget.try_spend(&status(503), now), Some(10));
        }
        assert_eq!(budget.try_spend(&status(503), now), None);
        // Time alone does not restore the budget.
        assert_eq!(budget.try_spend(&status(503), now + LONG), None);
    }

    #[test]
    fn a_retry_that_succeeds_is_given_back() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(1, now);
        for _ in 0..100 {
            let spent = budget.try_spend(&TIMEOUT, now).unwrap();
            assert_eq!(budget.try_spend(&TIMEOUT, now), None);
            budget.succeeded(spent, now);
        }
    }

    /// Returns the number of retries that are left.
    fn left(budget: &RetryBudget, now: Instant) -> u32 {
        let mut budget = budget.clone();
        (0..).take_while(|_| budget.try_spend(&TIMEOUT, now).is_some()).count() as u32
    }

    #[test]
    fn ten_successes_earn_a_retry() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(10, now);
        while budget.try_spend(&TIMEOUT, now).is_some() {}
        (0..9).for_each(|_| budget.succeeded(0, now));
        assert_eq!(left(&budget, now), 0);
        budget.succeeded(0, now);
        assert_eq!(left(&budget, now), 1);
    }

    #[test]
    fn what_is_earned_beyond_the_initial_budget_halves_every_ten_seconds() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(10, now);
        (0..3200).for_each(|_| budget.succeeded(0, now));
        let left = |seconds| left(&budget, now + Duration::from_secs(seconds));
        assert_eq!([left(0), left(9), left(10), left(20), left(30)], [330, 330, 170, 90, 50]);
        assert_eq!([left(3600), left(u64::from(u32::MAX))], [10, 10]);
    }

    #[test]
    fn a_quiet_client_does_not_save_retries_up() {
        let mut now = Instant::now();
        let mut budget = RetryBudget::new(10, now);
        for _ in 0..10_000 {
            now += Duration::from_secs(10);
            budget.succeeded(0, now);
        }
        assert_eq!(left(&budget, now), 10);
    }

    #[test]
    fn a_retry_that_a_rate_limit_asks_for_costs_nothing() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(1, now);
        let unavailable = status_with(503, Some(Duration::from_secs(1)));
        for _ in 0..100 {
            assert_eq!(budget.try_spend(&rate_limited(1), now), Some(0));
        }
        assert_eq!(budget.try_spend(&unavailable, now), Some(10));
        assert_eq!(budget.try_spend(&unavailable, now), None);
        assert_eq!(budget.try_spend(&status(429), now), None);
        assert_eq!(budget.try_spend(&rate_limited(1), now), Some(0));
    }

    #[test]
    fn a_budget_of_zero_allows_no_retry() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(0, now);
        (0..1000).for_each(|_| budget.succeeded(0, now));
        assert_eq!(budget.try_spend(&TIMEOUT, now), None);
        assert_eq!(budget.try_spend(&rate_limited(1), now), None);
    }

    #[test]
    fn a_huge_budget_does_not_overflow() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(u32::MAX, now);
        budget.succeeded(0, now);
        assert_eq!(budget.try_spend(&TIMEOUT, now), Some(10));
    }

    #[test]
    fn a_hold_lasts_as_long_as_the_server_asked_and_up_to_half_more() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut hold = Hold::default();
        assert_eq!(hold.delay(now, LONG, 0.0, None), None);
        hold.extend(now, second * 10);
        assert_eq!(hold.delay(now, LONG, 0.0, None), Some(second * 10));
        assert_eq!(hold.delay(now, LONG, 1.0, None), Some(second * 15));
        assert_eq!(hold.delay(now + second * 9, LONG, 1.0, None), Some(second * 6));
        assert_eq!(hold.delay(now + second * 10, LONG, 1.0, None), None);
    }

    #[test]
    fn a_hold_is_never_shortened() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut hold = Hold::default();
        hold.extend(now, second * 10);
        hold.extend(now, second);
        assert_eq!(hold.delay(now, LONG, 0.0, None), Some(second * 10));
        hold.extend(now + second, second * 10);
        assert_eq!(hold.delay(now, LONG, 0.0, None), Some(second * 11));
    }

    #[test]
    fn a_call_whose_deadline_is_nearer_than_the_end_of_the_hold_sees_that() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut hold = Hold::default();
        hold.extend(now, second * 10);
        assert_eq!(hold.delay(now, second * 10, 1.0, None), Some(second * 10));
        assert_eq!(hold.delay(now, second * 12, 1.0, None), Some(second * 11));
        hold.extend(now, Duration::MAX);
        assert!(hold.delay(now, LONG, 1.0, None) >= Some(LONG));
    }

    #[test]
    fn a_call_that_was_told_its_own_pause_is_held_by_a_later_and_longer_one_only() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        for (since, asked, is_held) in [(0, 10, false), (2, 3, false), (2, 4, true)] {
            let mut hold = Hold::default();
            hold.extend(now + second * since, second * asked);
            let delay = hold.delay(now + second * 4, LONG, 0.0, Some((now + second, second * 3)));
            assert_eq!(delay.is_some(), is_held, "{since} {asked}");
        }
    }

    #[test]
    fn a_success_ends_a_hold_only_if_its_request_was_sent_later() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut hold = Hold::default();
        hold.extend(now + second, second);
        hold.accepted(now);
        assert!(hold.delay(now + second, LONG, 0.0, None).is_some());
        hold.accepted(now + second);
        assert_eq!(hold.delay(now + second, LONG, 0.0, None), None);
    }
}
