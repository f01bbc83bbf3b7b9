//! Deletes old jobs, after listing them and asking for confirmation:
//!
//! ```text
//! cargo run --example cleanup -- --older-than 30 --state cancelled --state failed
//! ```

mod common;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use atomiverse::{Client, JobState, JobSummary, StopToken};
use clap::Parser;
use indicatif::ProgressBar;
use jiff::{SignedDuration, Timestamp};

use common::Result;

/// Delete old jobs from the history. Lists the jobs and asks for confirmation first. Exits with 0 if none of them is
/// left, 1 after an error or if a job could not be deleted, 2 on wrong usage, 3 without confirmation, and 130 on
/// Ctrl-C.
#[derive(Parser)]
#[command(name = "cleanup")]
struct Arguments {
    /// Only jobs that were submitted more than this many days ago
    #[arg(long, value_name = "DAYS")]
    older_than: u32,
    /// Only jobs in this state; can be given more than once: done, failed, cancelled [default: cancelled]
    #[arg(long, value_name = "STATE", default_value = "cancelled", hide_default_value = true, value_parser = terminal)]
    state: Vec<JobState>,
    /// Only jobs whose name contains this text
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Delete without asking for confirmation
    #[arg(long)]
    yes: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    common::finish(common::connect().and_then(|service| run(&arguments, &service.client)))
}

fn run(arguments: &Arguments, client: &Client) -> Result<ExitCode> {
    let stop = StopToken::new();
    let client = client.with_stop(&stop);
    let is_deleting = Arc::new(AtomicBool::new(false));
    ctrlc::set_handler({
        let (stop, is_deleting) = (stop.clone(), is_deleting.clone());
        // Before the first deletion nothing has changed, and the token cannot interrupt the question on the terminal.
        move || match is_deleting.load(Ordering::Relaxed) {
            true => stop.stop(),
            false => process::exit(common::INTERRUPTED.into()),
        }
    })?;

    let mut out = io::stdout().lock();
    let old = find(arguments, &client)?;
    for job in &old {
        writeln!(out, "{}", common::line(job))?;
    }
    if old.is_empty() {
        writeln!(out, "Nothing to delete.")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.yes && !agreed(&mut out, old.len())? {
        writeln!(out, "Nothing was deleted.")?;
        return Ok(ExitCode::from(3));
    }

    is_deleting.store(true, Ordering::Relaxed);
    delete(&mut out, &client, &stop, &old)
}

fn delete(out: &mut impl Write, client: &Client, stop: &StopToken, old: &[JobSummary]) -> Result<ExitCode> {
    let (mut deleted, mut gone, mut left) = (0, 0, 0);
    let (mut failed, mut uncertain) = (Vec::new(), Vec::new());
    let mut gave_up = false;
    let bar = ProgressBar::new(old.len() as u64);
    for (_, outcome) in bar.wrap_iter(client.delete_jobs(old.iter().map(|job| &job.job_id)).into_iter()) {
        match outcome {
            Ok(true) => deleted += 1,
            Ok(false) => gone += 1,
            Err(error) => {
                // A conflict concerns one job. Any other failure is likely to concern all of them.
                if !error.is_conflict() && !error.is_stopped() {
                    gave_up = true;
                    stop.stop();
                }
                if error.may_have_been_processed() {
                    uncertain.push(error);
                } else if error.is_stopped() {
                    left += 1;
                } else {
                    failed.push(error);
                }
            }
        }
    }
    bar.finish_and_clear();
    for error in failed.iter().chain(&uncertain) {
        eprintln!("{error}");
    }
    writeln!(out, "{deleted} deleted, {gone} already gone, {} could not be deleted.", failed.len())?;
    if left + uncertain.len() > 0 {
        writeln!(out, "{} may have been deleted, {left} were not deleted.", uncertain.len())?;
        writeln!(out, "Run the same command again to delete the rest.")?;
        if stop.is_stopped() && !gave_up {
            return Ok(ExitCode::from(common::INTERRUPTED));
        }
    }
    Ok(if gave_up || !failed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn find(arguments: &Arguments, client: &Client) -> Result<Vec<JobSummary>> {
    let limit = Timestamp::now() - SignedDuration::from_hours(24 * i64::from(arguments.older_than));
    let spinner = ProgressBar::new_spinner().with_message("jobs checked");
    let mut old = Vec::new();
    for job in client.iter_jobs() {
        let job = job?;
        spinner.inc(1);
        // A job whose time cannot be read is kept, because its age is unknown.
        let is_old = job.created_at.to_jiff().is_some_and(|created| created < limit);
        let is_named =
            arguments.name.as_ref().is_none_or(|text| job.name.as_ref().is_some_and(|n| n.contains(text)));
        if is_old && is_named && arguments.state.contains(&job.state) {
            old.push(job);
        }
    }
    spinner.finish_and_clear();
    Ok(old)
}

fn agreed(out: &mut impl Write, count: usize) -> Result<bool> {
    if !io::stdin().is_terminal() {
        writeln!(
            out,
            "{count} jobs would be deleted. Standard input is not a terminal: pass --yes to delete them."
        )?;
        return Ok(false);
    }
    write!(out, "Delete these {count} jobs? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn terminal(text: &str) -> Result<JobState, String> {
    let state = JobState::from(text);
    if state.is_terminal() {
        Ok(state)
    } else {
        Err("only done, failed and cancelled jobs can be deleted".to_owned())
    }
}
