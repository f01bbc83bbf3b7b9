//! Submits many jobs and waits for all of them:
//!
//! ```text
//! cargo run --example batch -- examples/scan.jsonl
//! ```
//!
//! The file holds one payload a line, as JSON. Without `ATOMIVERSE_API_KEY` a simulator inside this process
//! takes them. Ends with 1 where a payload was rejected or a job did not get done.

mod common;

use std::io::Write;
use std::process::ExitCode;
use std::{env, fs, io};

use atomiverse::{BatchSubmission, JobState, WaitOptions};
use serde_json::Value;

use common::Result;

fn main() -> ExitCode {
    common::finish(run())
}

fn run() -> Result<ExitCode> {
    let path = env::args().nth(1).ok_or("usage: batch <payloads.jsonl>")?;
    let payloads = read(&path)?;

    let service = common::connect()?;
    let client = &service.client;

    let answer = client.submit_batch(&payloads).inspect_err(|error| {
        if let Some(partial) = error.partial_batch() {
            eprintln!("These went out before the failure:");
            // The error itself is what counts.
            let _ = report(&partial.received);
        }
    })?;
    report(&answer)?;
    let mut good = answer.failed == 0;

    let ids = answer.jobs.iter().filter_map(|entry| entry.job_id.as_ref());
    for outcome in client.wait_for_jobs(ids, &WaitOptions::new()) {
        match outcome {
            Ok(job) => {
                writeln!(
                    io::stdout(),
                    "{} {:<9} {}",
                    job.job_id,
                    job.state,
                    common::printable(job.name.as_deref().unwrap_or("-"))
                )?;
                good &= job.state == JobState::Done;
            }
            Err(error) => {
                eprintln!("{error}");
                good = false;
            }
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(n, line)| {
            serde_json::from_str(line).map_err(|error| format!("{path}, line {}: {error}", n + 1).into())
        })
        .collect()
}

fn report(answer: &BatchSubmission) -> io::Result<()> {
    for (n, entry) in answer.jobs.iter().enumerate() {
        if let Some(error) = &entry.error {
            eprintln!("payload {} was rejected: {error:?}", n + 1);
        }
    }
    writeln!(
        io::stdout(),
        "{} payloads: {} submitted, {} there already, {} rejected",
        answer.total,
        answer.submitted,
        answer.cache_hits,
        answer.failed
    )
}
