//! Serves the simulator until Ctrl-C, for programs in other languages:
//!
//! ```text
//! cargo run --example serve -- --port 8080
//! ```

use std::process::ExitCode;
use std::thread;

use atomiverse::simulator::{SimulatedJob, Simulator};
use clap::Parser;

/// Serve the simulator. Prints where it listens and the key that it takes; its time runs with the real one. Ends
/// with 1 where the port is taken, with 2 on wrong usage.
#[derive(Parser)]
#[command(name = "serve")]
struct Arguments {
    /// The port on 127.0.0.1; any free one unless given
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How many finished jobs there are at the start
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
