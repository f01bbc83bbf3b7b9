//! A clock that stands still until it is moved.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::clock::{Clock, DECADES, SystemClock};
use crate::stop::StopToken;
use crate::sync::lock;

#[derive(Debug)]
pub(super) struct SimulatedClock {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The time of day at the start.
    wall: SystemTime,
    /// Simulated time since the start, up to when it began to run.
    elapsed: Duration,
    running_since: Option<Instant>,
}

impl State {
    fn elapsed(&self) -> Duration {
        let running = self.running_since.map(|since| since.elapsed()).unwrap_or_default();
        self.elapsed.saturating_add(running).min(DECADES)
    }
}

impl SimulatedClock {
    pub(super) fn new(wall: SystemTime) -> Self {
        let state = State { wall, elapsed: Duration::ZERO, running_since: None };
        SimulatedClock { started: Instant::now(), state: Mutex::new(state) }
    }

    pub(super) fn advance(&self, time: Duration) {
        let mut state = self.state();
        state.elapsed = state.elapsed.saturating_add(time).min(DECADES);
    }

    pub(super) fn set_wall(&self, wall: SystemTime) {
        let mut state = self.state();
        state.wall = wall - state.elapsed();
    }

    pub(super) fn run(&self) {
        self.state().running_since.get_or_insert_with(Instant::now);
    }

    /// Simulated time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.state().elapsed()
    }

    /// The time of day at the start.
    pub(super) fn start(&self) -> SystemTime {
        self.state().wall
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Instant {
        self.started + self.elapsed()
    }

    fn system_time(&self) -> SystemTime {
        let state = self.state();
        state.wall + state.elapsed()
    }

    fn sleep(&self, pause: Duration, stop: Option<&StopToken>) {
        let mut state = self.state();
        if state.running_since.is_none() {
            state.elapsed = state.elapsed.saturating_add(pause).min(DECADES);
            return;
        }
        drop(state);
        SystemClock.sleep(pause, stop);
    }
}
