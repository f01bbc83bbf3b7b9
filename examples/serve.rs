//! Serves the simulator until Ctrl-C, for programs in other languages:
//!
//! ```text
//! cargo run --example serve -- --port 8080
//! ```

use std::process::ExitCode;
use std::thread;

use atomiverse::simulator::{SimulatedJob, Simulator};
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
    println!("ATOMIVERSE_BASE_URL={}", simulator.base_url());
    println!("ATOMIVERSE_API_KEY={}", simulator.api_key());
    loop {
        thread::park();
    }
}
