//! Serves the simulator until Ctrl-C, for programs in other languages:
//!
//! ```text
//! cargo run --example serve -- --port 8080 --faults --latency 0.2
//! ```

use std::cell::Cell;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use atomiverse::simulator::{Fault, ReceivedRequest, SimulatedJob, Simulator};
use clap::Parser;

/// Serve the simulator. Prints its URL and its API key. Simulated time runs in real time. Exits with 1 if the port is
/// in use, and with 2 on wrong usage.
#[derive(Parser)]
#[command(name = "serve")]
struct Arguments {
    /// The port on 127.0.0.1; 0 selects a free port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The number of finished jobs at the start
    #[arg(long, default_value_t = 120)]
    jobs: u32,
    /// Make requests fail: every twentieth loses its connection, and every tenth of the others gets status 503
    #[arg(long)]
    faults: bool,
    /// Delay each other response by this number of seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    latency: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "expected a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let simulator = match Simulator::start_at(arguments.port) {
        Ok(simulator) => simulator,
        Err(error) => {
            eprintln!("error: port {}: {error}", arguments.port);
            return ExitCode::FAILURE;
        }
    };
    simulator.add_sample_jobs(arguments.jobs);
    simulator.add_job(SimulatedJob::new("opt").name("benzene"));
    simulator.run_in_real_time();
    if arguments.faults {
        simulator.fail_when(every(20), usize::MAX, Fault::Cut);
        simulator.fail_when(every(10), usize::MAX, Fault::status(503));
    }
    if let Some(latency) = arguments.latency {
        simulator.fail_times(usize::MAX, Fault::Delay(latency));
    }
    println!("ATOMIVERSE_BASE_URL={}", simulator.base_url());
    println!("ATOMIVERSE_API_KEY={}", simulator.api_key());
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
