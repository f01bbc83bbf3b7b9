//! Submits many jobs and waits for all of them:
//!
//! ```text
//! cargo run --example batch -- examples/scan.jsonl
//! ```

mod common;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use atomiverse::{BatchSubmission, Client, JobState, WaitOptions};
use clap::Parser;

use common::{Outcome, Result, printable};

/// Submit many jobs and wait for all of them, for an hour at most; with a key, they cost money
///
/// It fails if a payload was rejected or a job did not end as done. The timeout and Ctrl-C leave the jobs running.
#[derive(Parser)]
#[command(name = "batch", after_help = common::CLIENT_HELP)]
struct Arguments {
    /// A file that contains one JSON payload per line
    payloads: PathBuf,
}

fn main() -> ExitCode {
    common::main(run)
}

fn run(arguments: &Arguments, client: &Client) -> Result<ExitCode> {
    let payloads = common::payload::read_lines(&arguments.payloads)?;
    let batch = client.submit_batch(&payloads).inspect_err(|error| {
        if let Some(partial) = error.partial_batch().filter(|partial| !partial.received.jobs.is_empty()) {
            eprintln!("Submitted before the failure:");
            // A failure to print must not replace the error of the submission.
            let _ = report(&partial.received);
            common::report_running(partial.received.job_ids());
        }
    })?;
    report(&batch)?;

    let mut outcome = Outcome::default();
    outcome.failed = batch.job_ids().count() < payloads.len();
    let mut unfinished = Vec::new();
    for (id, result) in client.wait_for_jobs(batch.job_ids(), WaitOptions::new()) {
        unfinished.extend(result.as_ref().err().filter(|error| !error.is_not_found()).map(|_| id));
        if let Some(job) = outcome.keep(result) {
            writeln!(io::stdout(), "{}", common::line(&job))?;
            outcome.failed |= job.state != JobState::Done;
        }
    }
    common::report_running(&unfinished);
    Ok(outcome.code())
}

fn report(batch: &BatchSubmission) -> io::Result<()> {
    for (n, entry) in batch.jobs.iter().enumerate().filter(|(_, entry)| entry.job_id.is_none()) {
        let reason = entry.error.as_deref().unwrap_or("no reason given");
        eprintln!("payloads[{n}] was rejected: {}", printable(reason));
    }
    let BatchSubmission { total, submitted, cache_hits, failed, .. } = batch;
    writeln!(io::stdout(), "{total} payloads: {submitted} new, {cache_hits} known, {failed} rejected")
}
