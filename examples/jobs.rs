//! Manages jobs on the command line: list, show, rename, cancel, delete, open, watch.
//!
//! ```text
//! cargo run --example jobs -- list --state failed --since yesterday
//! cargo run --example jobs -- --help
//! ```

mod common;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use atomiverse::{Client, JobState, JobSummary, VisualizeMode, WaitOptions};
use clap::{Parser, Subcommand};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};

use common::{Outcome, Result};

/// Manage jobs on Atomiverse
#[derive(Parser)]
#[command(name = "jobs", after_help = common::CLIENT_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List jobs, newest first
    List {
        /// Only jobs in this state: pending, running, done, failed or cancelled
        #[arg(long, value_parser = state)]
        state: Option<JobState>,
        /// Only jobs whose name contains this text
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        /// Only jobs submitted on this day (local time) or later: 2026-05-02, today or yesterday
        #[arg(long, value_name = "DAY", value_parser = day)]
        since: Option<Date>,
        /// Check at most this many jobs of the history
        #[arg(long, value_name = "NUMBER", default_value_t = usize::MAX, hide_default_value = true)]
        max_jobs: usize,
        /// Print one JSON summary per line
        #[arg(long)]
        json: bool,
    },
    /// Show jobs as JSON
    Show(Ids),
    /// Rename a job
    Rename {
        /// The id of the job
        id: String,
        /// The new name
        name: String,
    },
    /// Ask the service to cancel jobs; a job that has ended is not an error
    Cancel(Ids),
    /// Remove finished jobs from the history; a job that does not exist is not an error
    Delete(Ids),
    /// Open the dashboard of a job in the browser
    Open {
        /// The id of the job
        id: String,
        /// Only print the link, on standard error
        #[arg(long)]
        link: bool,
    },
    /// Wait until jobs have ended, and show each new state; fails if a job does not end as done
    Watch {
        #[command(flatten)]
        ids: Ids,
        /// Give up after this time; the jobs go on
        #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = common::seconds)]
        timeout: Duration,
    },
}

#[derive(clap::Args)]
struct Ids {
    /// The ids of the jobs
    #[arg(required = true)]
    ids: Vec<String>,
}

fn main() -> ExitCode {
    common::main(run)
}

fn run(arguments: &Arguments, client: &Client) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut outcome = Outcome::default();
    match &arguments.command {
        Command::List { state, name, since, max_jobs, json } => {
            outcome.for_each_job(client.iter_jobs().max_jobs(*max_jobs), |_, job| {
                let fits = state.as_ref().is_none_or(|state| job.state == *state)
                    && name.as_ref().is_none_or(|name| job.name.as_ref().is_some_and(|of| of.contains(name)))
                    && is_since(&job, *since);
                if fits && *json {
                    writeln!(out, "{}", common::printable_json(&serde_json::to_string(&job)?))?;
                } else if fits {
                    writeln!(out, "{}", common::line(&job))?;
                }
                Ok(())
            })?;
        }
        Command::Show(Ids { ids }) => {
            for id in ids {
                if let Some(job) = outcome.keep(client.get_job(id)) {
                    writeln!(out, "{}", common::printable_json(&serde_json::to_string_pretty(&job)?))?;
                }
            }
        }
        Command::Rename { id, name } => {
            let mut job = client.job(id)?;
            job.rename(name)?;
            writeln!(out, "{}", common::line(job.refresh()?))?;
        }
        Command::Cancel(Ids { ids }) => {
            for (id, result) in client.cancel_jobs(ids) {
                if outcome.keep(result).is_some() {
                    writeln!(out, "{id} is being cancelled, or has ended")?;
                }
            }
        }
        Command::Delete(Ids { ids }) => {
            for (id, result) in client.delete_jobs(ids) {
                if let Some(existed) = outcome.keep(result) {
                    writeln!(out, "{id} {}", if existed { "deleted" } else { "did not exist" })?;
                }
            }
        }
        Command::Open { id, link } => {
            let mode = if *link { VisualizeMode::Link } else { VisualizeMode::Auto };
            client.job(id)?.visualize_with(mode);
        }
        Command::Watch { ids: Ids { ids }, timeout } => {
            let options = WaitOptions::new().timeout(*timeout);
            let options = options.on_update(|job| eprintln!("{}", common::line(job)));
            for (_, result) in client.wait_for_jobs(ids, options) {
                if let Some(job) = outcome.keep(result) {
                    outcome.failed |= job.state != JobState::Done;
                    writeln!(out, "{}", common::line(&job))?;
                }
            }
        }
    }
    Ok(outcome.code())
}

/// A job whose time cannot be read is shown, because it must not be missed.
fn is_since(job: &JobSummary, since: Option<Date>) -> bool {
    let Some(moment) = job.created_at.to_jiff() else { return true };
    let day = TimeZone::system().to_datetime(moment).date();
    since.is_none_or(|since| day >= since)
}

fn day(text: &str) -> Result<Date, String> {
    let today = TimeZone::system().to_datetime(Timestamp::now()).date();
    match text {
        "today" => Ok(today),
        "yesterday" => Ok(today.saturating_sub(1.day())),
        _ => text.parse().map_err(|error: jiff::Error| error.to_string()),
    }
}

fn state(text: &str) -> Result<JobState, String> {
    match JobState::from(text) {
        JobState::Unknown(_) => Err("expected pending, running, done, failed or cancelled".to_owned()),
        state => Ok(state),
    }
}
