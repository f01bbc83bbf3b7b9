//! Submits one job and waits for it:
//!
//! ```text
//! cargo run --example submit_and_wait -- examples/water.json
//! ```
//!
//! `water.json` suits the simulator only, which needs no more than a `job_type`.

mod common;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use atomiverse::{Client, JobState, WaitOptions};
use clap::Parser;

use common::Result;

/// Submit one job and wait until it has ended; with a key, it costs money
///
/// A timeout and Ctrl-C leave the job running.
#[derive(Parser)]
#[command(name = "submit_and_wait", after_help = common::CLIENT_HELP)]
struct Arguments {
    /// A file that contains the payload as JSON, such as what Python's `model_dump_json()` returns
    payload: PathBuf,
    /// Give up after this time
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = common::seconds)]
    timeout: Duration,
}

fn main() -> ExitCode {
    common::main(run)
}

fn run(arguments: &Arguments, client: &Client) -> Result<ExitCode> {
    let job = client.submit_job(&common::payload::read(&arguments.payload)?)?;
    let id = common::printable(job.id().as_str());
    writeln!(io::stdout(), "submitted {id} ({})", job.job_dashboard_url())?;

    let options = WaitOptions::new().timeout(arguments.timeout).on_update(|job| {
        // The wait goes on even if standard output is closed.
        let _ = writeln!(io::stdout(), "{}", common::line(job));
    });
    let job = client.wait_for_job(job.id(), options).inspect_err(|error| {
        if error.is_stopped() || error.is_timeout() {
            common::report_running([job.id()]);
        }
    })?;
    Ok(if job.state == JobState::Done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
