//! A clock that stands still until it is advanced.

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
    /// The time of day that was set last.
    wall: SystemTime,
    /// The simulated time at which it was set.
    wall_set_at: Duration,
    /// The simulated time since the start, up to the moment at which the clock began to run.
    elapsed: Duration,
    running_since: Option<Instant>,
}

impl State {
    fn elapsed(&self) -> Duration {
        let running = self.running_since.map(|since| since.elapsed()).unwrap_or_default();
        self.elapsed.saturating_add(running).min(END)
    }

    fn advance(&mut self, time: Duration) {
        // At its end the clock would stand still, and a wait would then poll for ever. Each step is limited so that no
        // program gets there.
        self.elapsed = self.elapsed.saturating_add(time.min(DECADES)).min(END);
    }
}

/// About 36 billion years, which an `Instant` can hold.
const END: Duration = Duration::from_secs(1 << 60);

impl SimulatedClock {
    pub(super) fn new(wall: SystemTime) -> Self {
        let state = State { wall, wall_set_at: Duration::ZERO, elapsed: Duration::ZERO, running_since: None };
        SimulatedClock { started: Instant::now(), state: Mutex::new(state) }
    }

    pub(super) fn advance(&self, time: Duration) {
        self.state().advance(time);
    }

    pub(super) fn set_wall(&self, wall: SystemTime) {
        let mut state = self.state();
        state.wall = wall;
        state.wall_set_at = state.elapsed();
    }

    pub(super) fn run(&self) {
        self.state().running_since.get_or_insert_with(Instant::now);
    }

    /// Returns the simulated time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.state().elapsed()
    }

    /// Converts a time in nanoseconds since the start to nanoseconds since the Unix epoch.
    pub(super) fn unix_time(&self, since_start: i128) -> i128 {
        let state = self.state();
        let wall = match state.wall.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => nanoseconds(after),
            Err(before) => -nanoseconds(before.duration()),
        };
        wall + since_start - nanoseconds(state.wall_set_at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Returns a duration in nanoseconds. The largest one is about 2^94 nanoseconds, so the sum of several fits.
pub(super) fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX / 4)
}

impl Clock for SimulatedClock {
    fn now(&self) -> Instant {
        self.started + self.elapsed()
    }

    fn system_time(&self) -> SystemTime {
        let state = self.state();
        let since = state.elapsed().saturating_sub(state.wall_set_at);
        // Beyond the range of the platform, the clock shows the time that was last set.
        state.wall.checked_add(since).unwrap_or(state.wall)
    }

    fn sleep(&self, pause: Duration, stop: Option<&StopToken>) {
        let mut state = self.state();
        if state.running_since.is_none() {
            state.advance(pause);
            return;
        }
        drop(state);
        SystemClock.sleep(pause, stop);
    }
}
