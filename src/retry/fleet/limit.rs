//! 16 threads of one client under a limit of 20 requests/s.

use super::*;
use crate::retry::Hold;

use std::collections::VecDeque;

/// How a thread responds to a `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// It waits for exactly that time.
    Alone,
    /// It adds up to half at random.
    Spread,
    /// In addition, all other calls and retries wait.
    HoldAll,
    /// In addition, all calls that were not told to wait themselves wait until a request is accepted.
    Ours,
}

const POLICIES: [Policy; 4] = [Policy::Alone, Policy::Spread, Policy::HoldAll, Policy::Ours];

impl Policy {
    fn name(self) -> &'static str {
        match self {
            Policy::Alone => "each thread waits exactly as long as asked",
            Policy::Spread => "and adds up to half at random",
            Policy::HoldAll => "and every other request of the client waits as well",
            Policy::Ours => "and the other calls wait until a request is accepted (this crate)",
        }
    }
}

/// How the service counts requests. A request that is rejected is told to wait for a second, which is the shortest time
/// other than 0 that a `Retry-After` can express.
#[derive(Debug, Clone, Copy)]
enum Limit {
    /// Like `limit_req` of nginx with `rate=20r/s burst=5 nodelay`.
    Bucket,
    /// At most 20 requests in each second of the clock.
    FixedWindow,
    /// At most 20 requests in any second, including those that are rejected.
    SlidingWindow,
}

const LIMITS: [Limit; 3] = [Limit::Bucket, Limit::FixedWindow, Limit::SlidingWindow];
const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Limiter {
    /// When the bucket will be empty.
    drained: Duration,
    window: VecDeque<Duration>,
}

impl Limiter {
    fn accepts(&mut self, limit: Limit, now: Duration) -> bool {
        let from = match limit {
            Limit::Bucket => {
                let drained = self.drained.max(now);
                let is_accepted = drained <= now + 5 * SECOND / 20;
                self.drained = if is_accepted { drained + SECOND / 20 } else { drained };
                return is_accepted;
            }
            Limit::FixedWindow => Duration::from_secs(now.as_secs()),
            Limit::SlidingWindow => now.saturating_sub(SECOND),
        };
        while self.window.front().is_some_and(|time| *time < from) {
            self.window.pop_front();
        }
        let is_accepted = self.window.len() < 20;
        self.window.push_back(now);
        is_accepted
    }
}

#[derive(Clone, Default)]
struct Call {
    started: Duration,
    attempts: u32,
    spent: u32,
    sent: Duration,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A call begins or continues.
    Ready,
    Responded {
        is_success: bool,
    },
}

#[derive(Debug, Default)]
struct Outcome {
    succeeded: u32,
    failed: u32,
    requests: u32,
}

struct Simulation {
    policy: Policy,
    retries: RetryPolicy,
    budget: RetryBudget,
    hold: Hold,
    random: Random,
    start: Instant,
    outcome: Outcome,
}

impl Simulation {
    fn jitter(&mut self) -> f64 {
        if self.policy == Policy::Alone { 0.0 } else { self.random.jitter() }
    }

    /// Returns how long a call must wait before its next request, because another call was told to wait.
    fn held(&mut self, call: &Call, now: Duration) -> Option<Duration> {
        let was_told_itself = call.attempts > 0;
        match self.policy {
            Policy::Alone | Policy::Spread => return None,
            // No pause is longer than the one of this call.
            Policy::Ours if was_told_itself => return None,
            Policy::HoldAll | Policy::Ours => {}
        }
        let jitter = self.jitter();
        self.hold.delay(self.start + now, TIMEOUT.saturating_sub(now - call.started), jitter, None)
    }

    fn accepted(&mut self, call: &Call, now: Duration) {
        self.outcome.succeeded += 1;
        self.budget.succeeded(call.spent, self.start + now);
        if self.policy == Policy::Ours {
            self.hold.accepted(self.start + call.sent);
        }
    }

    /// Returns the pause before the next attempt, or `None` if the call fails.
    fn rejected(&mut self, call: &mut Call, now: Duration) -> Option<Duration> {
        let kind = status(429, Some(SECOND));
        self.hold.extend(self.start + now, SECOND);
        let (remaining, jitter) = (TIMEOUT.saturating_sub(now - call.started), self.jitter());
        let delay = self.retries.delay(Idempotency::Safe, &kind, call.attempts, remaining, jitter)?;
        call.spent = self.budget.try_spend(&kind, self.start + now)?;
        Some(delay)
    }
}

/// Simulates threads that make one call after another for 20 seconds. A response takes about 5 ms.
fn limited(policy: Policy, limit: Limit) -> Outcome {
    let start = Instant::now();
    let mut simulation = Simulation {
        policy,
        retries: RetryPolicy::default(),
        budget: RetryBudget::new(10, start),
        hold: Hold::default(),
        random: Random(1),
        start,
        outcome: Outcome::default(),
    };
    let mut limiter = Limiter::default();
    let mut calls = vec![Call::default(); 16];
    let mut queue = Queue::new();
    (0..16).for_each(|thread| queue.push(Duration::ZERO, (thread, Event::Ready)));
    while let Some((now, (thread, event))) = queue.pop() {
        let call = &mut calls[thread];
        let mut next = now;
        match event {
            Event::Ready if now >= 20 * SECOND => continue,
            Event::Ready => {
                if let Some(delay) = simulation.held(call, now) {
                    queue.push(now + delay, (thread, Event::Ready));
                    continue;
                }
                (call.attempts, call.sent) = (call.attempts + 1, now);
                simulation.outcome.requests += 1;
                let is_success = limiter.accepts(limit, now);
                let latency = Duration::from_millis(5).mul_f64(0.5 + simulation.random.jitter());
                queue.push(now + latency, (thread, Event::Responded { is_success }));
                continue;
            }
            Event::Responded { is_success: true } => {
                simulation.accepted(call, now);
                *call = Call { started: now, ..Call::default() };
            }
            Event::Responded { is_success: false } => match simulation.rejected(call, now) {
                Some(delay) => next += delay,
                None => {
                    simulation.outcome.failed += 1;
                    *call = Call { started: now, ..Call::default() };
                }
            },
        }
        // A thread does not wake up exactly on time.
        let late = Duration::from_micros(simulation.random.below(1000).into());
        queue.push(next + late, (thread, Event::Ready));
    }
    simulation.outcome
}

pub(super) fn table() -> String {
    let mut table = String::from(
        "| what a `Retry-After` does | bucket with a burst of 5 | fixed window | sliding window |\n\
         |---|---|---|---|\n",
    );
    for policy in POLICIES {
        let cells = LIMITS.map(|limit| {
            let Outcome { succeeded, failed, requests } = limited(policy, limit);
            format!("{succeeded} / {failed} / {requests}")
        });
        table += &format!("| {} | {} |\n", policy.name(), cells.join(" | "));
    }
    table
}

#[test]
fn a_shared_and_spread_retry_after_lets_more_calls_succeed_under_every_limit() {
    for limit in LIMITS {
        let ours = limited(Policy::Ours, limit);
        assert!(ours.succeeded >= 300, "{limit:?}: {ours:?}");
        assert!(ours.failed * 10 <= ours.succeeded, "{limit:?}: {ours:?}");
    }
    let (alone, ours) = (limited(Policy::Alone, Limit::Bucket), limited(Policy::Ours, Limit::Bucket));
    assert!(ours.succeeded > 2 * alone.succeeded && ours.failed * 4 < alone.failed, "{alone:?}, {ours:?}");
}

#[test]
fn a_shared_retry_after_spares_requests_that_would_be_rejected() {
    for limit in LIMITS {
        let rejected = |policy| {
            let outcome = limited(policy, limit);
            outcome.requests - outcome.succeeded
        };
        assert!(rejected(Policy::Ours) < rejected(Policy::Spread), "{limit:?}");
    }
}
