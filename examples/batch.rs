//! Submits many jobs and waits for all of them:
//!
//! ```text
//! cargo run --example batch -- examples/scan.jsonl
//! ```
//!
//! The file contains one JSON payload per line. Without `ATOMIVERSE_API_KEY`, the jobs run on a simulator inside
//! this process. Exits with 1 if a payload was rejected or a job was not done, and with 130 on Ctrl-C, which leaves
//! the jobs running.

mod common;

use std::io::Write;
use std::process::ExitCode;
use std::{env, fs, io};

use atomiverse::{BatchSubmission, JobId, JobState, WaitOptions};
use serde_json::Value;

use common::Result;

fn main() -> ExitCode {
    common::finish(run())
}

fn run() -> Result<ExitCode> {
    let path = env::args().nth(1).ok_or("usage: batch <payloads.jsonl>")?;
    let payloads = read(&path)?;

    let stop = common::stop_on_signal()?;
    let service = common::connect()?;
    let client = service.client.with_stop(&stop);

    let batch = client.submit_batch(&payloads).inspect_err(|error| {
        if let Some(partial) = error.partial_batch().filter(|partial| !partial.received.jobs.is_empty()) {
            eprintln!("Submitted before the failure:");
            // A failure to print must not replace the error of the submission.
            let _ = report(&partial.received);
            common::report_running(ids(&partial.received));
        }
    })?;
    report(&batch)?;

    let mut good = batch.failed == 0;
    let mut is_interrupted = false;
    let mut unfinished = Vec::new();
    for (_, outcome) in client.wait_for_jobs(ids(&batch), WaitOptions::new()) {
        match outcome {
            Ok(job) => {
                let name = common::printable(job.name.as_deref().unwrap_or("-"));
                writeln!(io::stdout(), "{} {:<9} {name}", job.job_id, job.state)?;
                good &= job.state == JobState::Done;
            }
            Err(error) => {
                // A stop ends the wait for every job, so the same error would be printed for each of them.
                if error.is_stopped() {
                    is_interrupted = true;
                } else {
                    eprintln!("{error}");
                }
                if !error.is_not_found() {
                    unfinished.extend(error.job_id().cloned());
                }
                good = false;
            }
        }
    }
    common::report_running(&unfinished);
    Ok(match good {
        _ if is_interrupted => ExitCode::from(common::INTERRUPTED),
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn ids(batch: &BatchSubmission) -> impl Iterator<Item = &JobId> {
    batch.jobs.iter().filter_map(|entry| entry.job_id.as_ref())
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

fn report(batch: &BatchSubmission) -> io::Result<()> {
    for (n, entry) in batch.jobs.iter().enumerate() {
        if let Some(error) = &entry.error {
            eprintln!("payload {} was rejected: {error:?}", n + 1);
        }
    }
    writeln!(
        io::stdout(),
        "{} payloads: {} submitted, {} already there, {} rejected",
        batch.total,
        batch.submitted,
        batch.cache_hits,
        batch.failed
    )
}
