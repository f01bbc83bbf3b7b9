//! The effect of many clients on a service, simulated in virtual time with the policy, the budget and the hold of this
//! crate. The simulation uses no threads, sockets or clocks for the clients, and the random numbers have fixed seeds,
//! so the results can be compared with `fleet.md` to the last digit.

mod limit;
mod outage;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::{RetryBudget, RetryPolicy};
use crate::error::{ErrorKind, Idempotency};

/// The default of `ClientBuilder::timeout`.
const TIMEOUT: Duration = Duration::from_secs(60);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number in `0..bound`.
    fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// Returns a number in `0.0..1.0`.
    fn jitter(&mut self) -> f64 {
        f64::from((self.next() >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
    }
}

/// Events in the order of time, and in the order of insertion if the time is equal.
struct Queue<E>(BinaryHeap<Reverse<(Duration, u64, E)>>, u64);

impl<E: Ord> Queue<E> {
    fn new() -> Self {
        Queue(BinaryHeap::new(), 0)
    }

    fn push(&mut self, time: Duration, event: E) {
        self.1 += 1;
        self.0.push(Reverse((time, self.1, event)));
    }

    fn pop(&mut self) -> Option<(Duration, E)> {
        self.0.pop().map(|Reverse((time, _, event))| (time, event))
    }
}

fn status(status: u16, retry_after: Option<Duration>) -> ErrorKind {
    ErrorKind::Status { status, reason: "", message: None, retry_after, is_foreign: false }
}

#[test]
fn the_documented_tables_are_what_the_simulation_yields() {
    let documented = include_str!("fleet.md");
    let tables = [outage::table(), limit::table()];
    assert!(tables.iter().all(|table| documented.contains(table)), "{}", tables.join("\n"));
}
