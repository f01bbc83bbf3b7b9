//! 10,000 clients with few calls in an outage of ten minutes, and one busy client in an outage of one second.

use super::*;

use std::sync::OnceLock;
use std::thread;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    NoRetries,
    /// Like openai-python: two retries after 0.5 and 1 second, less up to a quarter, without a limit on their total
    /// number.
    NoBudget,
    /// The standard mode of botocore. A retry costs 5 of 500 tokens. If it succeeds, they are given back, and a call
    /// that needs no retry earns 1. The pauses are random, up to 1 and 2 seconds.
    Botocore,
    Ours,
}

const POLICIES: [Policy; 4] = [Policy::NoRetries, Policy::NoBudget, Policy::Botocore, Policy::Ours];

impl Policy {
    fn name(self) -> &'static str {
        match self {
            Policy::NoRetries => "no retries",
            Policy::NoBudget => "2 retries without a budget (as openai-python)",
            Policy::Botocore => "2 retries, standard mode of botocore",
            Policy::Ours => "2 retries, `retry_budget(10)` (this crate)",
        }
    }

    fn budget(self, start: Instant) -> Budget {
        match self {
            Policy::NoRetries | Policy::NoBudget => Budget::Unlimited,
            Policy::Botocore => Budget::Botocore(500),
            Policy::Ours => Budget::Ours(RetryBudget::new(10, start)),
        }
    }
}

/// The budget of one client.
enum Budget {
    Unlimited,
    Botocore(u32),
    Ours(RetryBudget),
}

impl Budget {
    fn try_spend(&mut self, kind: &ErrorKind, now: Instant) -> Option<u32> {
        match self {
            Budget::Unlimited => Some(0),
            Budget::Botocore(left) => {
                *left = left.checked_sub(5)?;
                Some(5)
            }
            Budget::Ours(budget) => budget.try_spend(kind, now),
        }
    }

    fn succeeded(&mut self, spent: u32, now: Instant) {
        match self {
            Budget::Unlimited => {}
            Budget::Botocore(left) => *left = (*left + spent.max(1)).min(500),
            Budget::Ours(budget) => budget.succeeded(spent, now),
        }
    }
}

/// The call that a client or a thread is making.
#[derive(Clone, Default)]
struct Call {
    started: Duration,
    attempts: u32,
    /// The cost of its last retry.
    spent: u32,
    was_hit: bool,
}

/// The state that all clients of a simulation share.
struct World {
    policy: Policy,
    retries: RetryPolicy,
    unavailable: ErrorKind,
    random: Random,
    start: Instant,
}

impl World {
    fn new(policy: Policy) -> Self {
        let max_retries = if policy == Policy::NoRetries { 0 } else { RetryPolicy::default().max_retries };
        World {
            policy,
            retries: RetryPolicy { max_retries, ..RetryPolicy::default() },
            unavailable: status(503, None),
            random: Random(1),
            start: Instant::now(),
        }
    }

    /// Returns the pause before the next attempt of a call that received a 503, or `None` if the call is lost.
    fn retry(&mut self, call: &mut Call, budget: &mut Budget, now: Duration) -> Option<Duration> {
        let jitter = self.random.jitter();
        let remaining = TIMEOUT.saturating_sub(now - call.started);
        let (kind, attempts) = (&self.unavailable, call.attempts);
        let mut delay = self.retries.delay(Idempotency::Safe, kind, attempts, remaining, jitter)?;
        if self.policy == Policy::Botocore {
            delay = Duration::from_secs(1 << (attempts - 1)).mul_f64(jitter);
        }
        call.spent = budget.try_spend(kind, self.start + now)?;
        Some(delay)
    }
}

const CLIENTS: u32 = 10_000;
/// In milliseconds. The outage begins after one minute, lasts for ten minutes, and is followed by another minute.
const OUTAGE: std::ops::Range<u32> = 60_000..660_000;
const END: u32 = 720_000;

/// When each client acts next, in milliseconds. This is a wheel of lists, because a heap of all clients takes too long
/// in a debug build. An event lies at most one turn of the wheel ahead.
struct Wheel {
    first: Vec<u32>,
    next: Vec<u32>,
}

impl Wheel {
    const TURN: u32 = 1 << 14;
    const NOBODY: u32 = u32::MAX;

    fn new() -> Self {
        Wheel { first: vec![Self::NOBODY; Self::TURN as usize], next: vec![Self::NOBODY; CLIENTS as usize] }
    }

    fn push(&mut self, time: u32, client: u32) {
        let slot = &mut self.first[(time % Self::TURN) as usize];
        self.next[client as usize] = std::mem::replace(slot, client);
    }

    fn pop(&mut self, time: u32) -> Option<u32> {
        let slot = &mut self.first[(time % Self::TURN) as usize];
        let client = *slot;
        *slot = *self.next.get(client as usize)?;
        Some(client)
    }
}

/// The events of each second, by the second in which a call began or a request was sent.
struct Seconds {
    calls: Vec<u32>,
    lost: Vec<u32>,
    requests: Vec<u32>,
}

impl Seconds {
    fn new() -> Self {
        let none = || vec![0; (END / 1000) as usize];
        Seconds { calls: none(), lost: none(), requests: none() }
    }

    /// Returns the number of requests for each call, in the whole outage and in its worst minute.
    fn load(&self) -> (f64, f64) {
        let load = |from: u32, to: u32| {
            let sum = |counts: &[u32]| f64::from(counts[from as usize..to as usize].iter().sum::<u32>());
            sum(&self.requests) / sum(&self.calls)
        };
        let (from, to) = (OUTAGE.start / 1000, OUTAGE.end / 1000);
        (load(from, to), (from..to).step_by(60).map(|minute| load(minute, minute + 60)).fold(0.0, f64::max))
    }

    /// Returns the seconds from the end of the outage until 99 % of the calls that begin in each second succeed, for
    /// the rest of the simulation.
    fn recovery(&self) -> usize {
        let after = (OUTAGE.end / 1000) as usize;
        let is_bad = |second: &usize| self.lost[*second] * 100 > self.calls[*second];
        (after..self.calls.len()).rev().find(is_bad).map_or(0, |second| second + 1 - after)
    }
}

/// Simulates clients that each make a call every 10 seconds on average. Without retries these are 1000 requests/s. The
/// service handles 1300 requests/s, or none in the outage, and responds with 503 to the rest.
fn outage(policy: Policy) -> Seconds {
    let mut world = World::new(policy);
    let mut wheel = Wheel::new();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| (Call::default(), policy.budget(world.start))).collect();
    (0..CLIENTS).for_each(|client| wheel.push(world.random.below(10_000), client));
    let mut seconds = Seconds::new();
    let mut capacity = 0; // In tenths of a request; at most what the service handles in 0.1 seconds.
    for time in 0..END {
        capacity = if OUTAGE.contains(&time) { 0 } else { (capacity + 13).min(1300) };
        let (now, second) = (Duration::from_millis(time.into()), (time / 1000) as usize);
        while let Some(client) = wheel.pop(time) {
            let (call, budget) = &mut clients[client as usize];
            if call.attempts == 0 {
                call.started = now;
                seconds.calls[second] += 1;
            }
            call.attempts += 1;
            seconds.requests[second] += 1;
            let is_handled = capacity >= 10;
            if is_handled {
                capacity -= 10;
                budget.succeeded(call.spent, world.start + now);
            } else if let Some(delay) = world.retry(call, budget, now) {
                wheel.push(time + 1 + delay.as_millis() as u32, client);
                continue;
            }
            let began = call.started.as_millis() as u32;
            seconds.lost[(began / 1000) as usize] += u32::from(!is_handled);
            *call = Call::default();
            wheel.push((began + 5_000 + world.random.below(10_000)).max(time + 1), client);
        }
    }
    seconds
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Sent,
    Responded { is_success: bool },
}

/// Simulates threads of one client that make one call after another. A response takes 50 ms. Every request fails for
/// one second after `warm_up`. Returns how many calls were lost and how many met a failure.
fn blip(policy: Policy, threads: usize, warm_up: Duration) -> (u32, u32) {
    let second = Duration::from_secs(1);
    let latency = Duration::from_millis(50);
    let mut world = World::new(policy);
    let mut budget = policy.budget(world.start);
    let mut calls = vec![Call::default(); threads];
    let mut queue = Queue::new();
    (0..threads).for_each(|thread| queue.push(latency.mul_f64(world.random.jitter()), (thread, Event::Sent)));
    let (mut lost, mut hit) = (0, 0);
    while let Some((now, (thread, event))) = queue.pop() {
        let call = &mut calls[thread];
        let mut next = now;
        match event {
            Event::Sent => {
                if call.attempts == 0 {
                    if now > warm_up + second {
                        continue;
                    }
                    call.started = now;
                }
                call.attempts += 1;
                let is_success = !(warm_up..warm_up + second).contains(&now);
                hit += u32::from(!is_success && !std::mem::replace(&mut call.was_hit, !is_success));
                queue.push(now + latency, (thread, Event::Responded { is_success }));
                continue;
            }
            Event::Responded { is_success: true } => {
                budget.succeeded(call.spent, world.start + now);
                *call = Call::default();
            }
            Event::Responded { is_success: false } => {
                if let Some(delay) = world.retry(call, &mut budget, now) {
                    next += delay;
                } else {
                    lost += 1;
                    *call = Call::default();
                }
            }
        }
        queue.push(next, (thread, Event::Sent));
    }
    (lost, hit)
}

const LONG: Duration = Duration::from_secs(30);

/// Simulates the outage for all policies, in parallel because each takes about a second in a debug build.
fn outages() -> &'static [Seconds] {
    static OUTAGES: OnceLock<Vec<Seconds>> = OnceLock::new();
    OUTAGES.get_or_init(|| {
        let threads = POLICIES.map(|policy| thread::spawn(move || outage(policy)));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn outage_of(policy: Policy) -> &'static Seconds {
    &outages()[POLICIES.iter().position(|other| *other == policy).unwrap()]
}

pub(super) fn table() -> String {
    let mut table = String::from(
        "| policy | load in the outage | in its first minute | until 99 % succeed | calls lost to the blip |\n\
         |---|---|---|---|---|\n",
    );
    for policy in POLICIES {
        let ((load, worst), recovery) = (outage_of(policy).load(), outage_of(policy).recovery());
        let (lost, hit) = blip(policy, 16, LONG);
        let name = policy.name();
        table += &format!("| {name} | {load:.2} | {worst:.2} | {recovery} s | {lost} of {hit} |\n");
    }
    table
}

#[test]
fn the_budget_keeps_the_load_in_an_outage_below_1_2() {
    assert!(outage_of(Policy::NoBudget).load().0 > 2.9);
    assert!(outage_of(Policy::Ours).load().0 <= 1.2);
}

#[test]
fn with_the_budget_a_fleet_recovers_as_fast_as_without_retries() {
    assert!(outage_of(Policy::Ours).recovery() <= outage_of(Policy::NoRetries).recovery());
}

#[test]
fn a_blip_costs_a_busy_client_no_call() {
    assert_eq!(blip(Policy::NoRetries, 16, LONG).0, 320);
    for threads in [1, 4, 16, 64, 256] {
        assert_eq!(blip(Policy::Ours, threads, LONG).0, 0, "{threads}");
    }
}

#[test]
fn a_second_of_successes_earns_enough_for_a_blip() {
    assert_eq!(blip(Policy::Ours, 16, Duration::from_secs(1)).0, 0);
    // At the start there is only the initial budget.
    assert!(blip(Policy::Ours, 16, Duration::ZERO).0 > 0);
}
