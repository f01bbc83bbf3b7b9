//! Serves the simulator until Ctrl-C, to run a program of your own without a key, in any language:
//!
//! ```text
//! cargo run --example serve -- --port 8080 --faults --latency 0.2
//! ```

mod common;

use std::cell::Cell;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use atomiverse::simulator::{Fault, ReceivedRequest, SimulatedJob};
use clap::Parser;

/// Serve the simulator until Ctrl-C, and print the variables that a program needs; a job takes about 12 seconds
#[derive(Parser)]
#[command(name = "serve", after_help = "Exit codes: 1 failed, 2 wrong usage, 130 after Ctrl-C.")]
struct Arguments {
    /// The port on 127.0.0.1; 0 selects a free port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The number of finished jobs at the start
    #[arg(long, value_name = "NUMBER", default_value_t = 120)]
    jobs: u32,
    /// Make requests fail: every twentieth loses its connection, and every tenth of the others gets status 503
    #[arg(long)]
    faults: bool,
    /// Delay every response that does not fail by this time
    #[arg(long, value_name = "SECONDS", value_parser = common::seconds)]
    latency: Option<Duration>,
}

fn main() -> ExitCode {
    common::finish(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> common::Result<ExitCode> {
    let simulator = common::simulator(arguments.port, arguments.jobs)?;
    simulator.add_job(SimulatedJob::new("opt").name("benzene"));
    simulator.run_in_real_time();
    if arguments.faults {
        simulator.fail_when(every(20), usize::MAX, Fault::Cut);
        simulator.fail_when(every(10), usize::MAX, Fault::status(503));
    }
    if let Some(latency) = arguments.latency {
        simulator.fail_times(usize::MAX, Fault::Delay(latency));
    }
    writeln!(io::stdout(), "export ATOMIVERSE_BASE_URL={}", simulator.base_url())?;
    writeln!(io::stdout(), "export ATOMIVERSE_API_KEY={}", simulator.api_key())?;
    loop {
        thread::park();
    }
}

/// Returns a function that is true for every `n`th request.
fn every(n: u32) -> impl Fn(&ReceivedRequest) -> bool {
    let count = Cell::new(0);
    move |_| {
        count.set((count.get() + 1) % n);
        count.get() == 0
    }
}
