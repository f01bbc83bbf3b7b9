//! Submits one job and waits for it:
//!
//! ```text
//! cargo run --example submit_and_wait -- examples/water.json
//! ```
//!
//! The file contains the payload as JSON, such as the output of Python's `model_dump()`. `water.json` is for the
//! simulator, which only needs a `job_type`. Without `ATOMIVERSE_API_KEY`, the job runs on a simulator inside this
//! process. Exits with 0 if the job is done, 1 if it failed, 2 if it was cancelled, 3 after a timeout, 4 after any
//! other error, and 130 on Ctrl-C, which leaves the job running.

mod common;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use atomiverse::{JobState, JobSummary, WaitOptions};

use common::Result;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(match error.downcast_ref::<atomiverse::Error>() {
                Some(error) if error.is_stopped() => common::INTERRUPTED,
                Some(error) if error.is_timeout() => 3,
                _ => 4,
            })
        }
    }
}

fn run() -> Result<ExitCode> {
    let path = env::args().nth(1).ok_or("usage: submit_and_wait <payload.json>")?;
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let payload: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;

    let stop = common::stop_on_signal()?;
    let service = common::connect()?;
    let client = service.client.with_stop(&stop);

    let job = client.submit_job(&payload)?;
    writeln!(io::stdout(), "submitted {} ({})", job.id(), job.job_dashboard_url())?;

    let options = WaitOptions::new().timeout(Duration::from_secs(3600)).on_update(progress());
    let outcome = client.wait_for_job(job.id(), options);
    if io::stdout().is_terminal() {
        println!();
    }
    let state = outcome
        .inspect_err(|error| {
            if error.is_stopped() || error.is_timeout() {
                common::report_running([job.id()]);
            }
        })?
        .state;
    Ok(ExitCode::from(match state {
        JobState::Done => 0,
        JobState::Failed => 1,
        _ => 2,
    }))
}

/// Returns a callback that updates one line on a terminal, and prints a new line for each state elsewhere.
fn progress() -> impl FnMut(&JobSummary) + Send {
    let started = Instant::now();
    let on_terminal = io::stdout().is_terminal();
    move |job| {
        let charge = job.billed_core_seconds.unwrap_or(0.0);
        let text = format!("{:>6} s  {:<9} {charge:.1} core-seconds", started.elapsed().as_secs(), job.state);
        let mut out = io::stdout();
        // The wait goes on even if standard output is closed.
        let _ = if on_terminal { write!(out, "\r{text:<60}") } else { writeln!(out, "{text}") };
        let _ = out.flush();
    }
}
