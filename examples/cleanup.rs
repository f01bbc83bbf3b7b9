//! Deletes old jobs. Only lists them unless `--yes` is given:
//!
//! ```text
//! cargo run --example cleanup -- --older-than 30 --state cancelled --state failed
//! ```

mod common;

use std::io::{self, Write};
use std::process::ExitCode;

use atomiverse::{Client, JobState, JobSummary};
use clap::Parser;
use jiff::{SignedDuration, Timestamp};

use common::{Outcome, Result};

/// Delete old jobs from the history; without --yes, only list them
#[derive(Parser)]
#[command(name = "cleanup", after_help = common::CLIENT_HELP)]
struct Arguments {
    /// Only jobs that were submitted more than this many days ago
    #[arg(long, value_name = "DAYS", default_value_t = 3)]
    older_than: u32,
    /// Only jobs in this state: done, failed or cancelled; can be given more than once
    #[arg(long, value_name = "STATE", default_value = "cancelled", value_parser = terminal)]
    state: Vec<JobState>,
    /// Delete the jobs
    #[arg(long)]
    yes: bool,
}

fn main() -> ExitCode {
    common::main(run)
}

fn run(arguments: &Arguments, client: &Client) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut outcome = Outcome::default();
    let old = find(arguments, client, &mut outcome)?;
    for job in &old {
        writeln!(out, "{}", common::line(job))?;
    }
    if old.is_empty() {
        writeln!(out, "Nothing to delete.")?;
        return Ok(outcome.code());
    }
    if !arguments.yes {
        writeln!(out, "{} jobs would be deleted. Pass --yes to delete them.", old.len())?;
        return Ok(outcome.code());
    }

    let (mut deleted, mut gone, mut unknown, mut left) = (0, 0, 0, 0);
    for (_, result) in client.delete_jobs(old.iter().map(|job| &job.job_id)) {
        match &result {
            Ok(true) => deleted += 1,
            Ok(false) => gone += 1,
            Err(error) if error.may_have_been_processed() => unknown += 1,
            Err(_) => left += 1,
        }
        result.err().iter().for_each(|error| outcome.error(error));
    }
    writeln!(out, "{deleted} deleted, {gone} already gone, {unknown} may be deleted, {left} not deleted.")?;
    Ok(outcome.code())
}

fn find(arguments: &Arguments, client: &Client, outcome: &mut Outcome) -> Result<Vec<JobSummary>> {
    let limit = Timestamp::now() - SignedDuration::from_hours(24 * i64::from(arguments.older_than));
    let mut old = Vec::new();
    outcome.for_each_job(client.iter_jobs(), |_, job| {
        // A job whose time cannot be read is kept, because its age is unknown.
        let is_old = job.created_at.to_jiff().is_some_and(|created| created < limit);
        if is_old && arguments.state.contains(&job.state) {
            old.push(job);
        }
        Ok(())
    })?;
    Ok(old)
}

fn terminal(text: &str) -> Result<JobState, String> {
    match JobState::from(text) {
        state if state.is_terminal() => Ok(state),
        _ => Err("only done, failed and cancelled jobs can be deleted".to_owned()),
    }
}
