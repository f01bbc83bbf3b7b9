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
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use common::Result;

/// Manage jobs on Atomiverse. Exits with 0 on success, 1 after an error, and 2 on wrong usage. `watch` also exits with
/// 1 if a job failed or was cancelled.
#[derive(Parser)]
#[command(name = "jobs")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List jobs, newest first
    List {
        /// Only jobs in this state
        #[arg(long)]
        state: Option<String>,
        /// Only jobs whose name contains this text
        #[arg(long)]
        name: Option<String>,
        /// Only jobs submitted on this day (UTC) or later: 2026-05-02, today or yesterday
        #[arg(long, value_parser = day)]
        since: Option<Date>,
        /// Only jobs submitted before this day (UTC)
        #[arg(long, value_parser = day)]
        until: Option<Date>,
        /// Check at most this many jobs of the history
        #[arg(long)]
        max_jobs: Option<usize>,
        /// Print one JSON summary per line
        #[arg(long)]
        json: bool,
    },
    /// Show jobs as JSON
    Show {
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Rename a job
    Rename { id: String, name: String },
    /// Ask the service to stop jobs
    Cancel {
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Remove finished jobs from the history; a job that does not exist is not an error
    Delete {
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Open the dashboard of a job in the browser
    Open {
        id: String,
        /// Only print the link
        #[arg(long)]
        link: bool,
    },
    /// Wait until jobs have finished, and show each one as it does
    Watch {
        #[arg(required = true)]
        ids: Vec<String>,
        /// Give up after this many seconds
        #[arg(long, default_value_t = 3600)]
        timeout: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    common::finish(common::connect().and_then(|service| run(arguments.command, &service.client)))
}

fn run(command: Command, client: &Client) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut failed = false;
    match command {
        Command::List { state, name, since, until, max_jobs, json } => {
            let state = state.map(|state| JobState::from(state.as_str()));
            let mut jobs = client.iter_jobs();
            if let Some(max_jobs) = max_jobs {
                jobs = jobs.max_jobs(max_jobs);
            }
            for job in jobs {
                let job = job?;
                let fits = state.as_ref().is_none_or(|state| job.state == *state)
                    && name.as_ref().is_none_or(|name| job.name.as_ref().is_some_and(|of| of.contains(name)))
                    && is_between(&job, since, until);
                if fits && json {
                    writeln!(out, "{}", serde_json::to_string(&job)?)?;
                } else if fits {
                    writeln!(out, "{}", common::line(&job))?;
                }
            }
        }
        Command::Show { ids } => {
            for id in ids {
                writeln!(out, "{}", serde_json::to_string_pretty(&client.get_job(id)?)?)?;
            }
        }
        Command::Rename { id, name } => {
            let mut job = client.job(id)?;
            job.rename(name)?;
            writeln!(out, "{}", common::line(job.refresh()?))?;
        }
        Command::Cancel { ids } => {
            for id in ids {
                client.cancel_job(&id)?;
                // Cancelling is best effort, so the state after it is shown.
                writeln!(out, "{}", common::line(&client.get_job(&id)?))?;
            }
        }
        Command::Delete { ids } => {
            for id in ids {
                let was_there = client.delete_job_if_exists(&id)?;
                writeln!(out, "{id} {}", if was_there { "deleted" } else { "did not exist" })?;
            }
        }
        Command::Open { id, link } => {
            let mode = if link { VisualizeMode::Link } else { VisualizeMode::Auto };
            client.job(id)?.visualize_with(mode);
        }
        Command::Watch { ids, timeout } => {
            let options = WaitOptions::new()
                .timeout(Duration::from_secs(timeout))
                .on_update(|job| eprintln!("{} is {}", job.job_id, job.state));
            for (_, outcome) in client.wait_for_jobs(ids, options) {
                match outcome {
                    Ok(job) => {
                        failed |= job.state != JobState::Done;
                        writeln!(out, "{}", common::line(&job))?;
                    }
                    Err(error) => {
                        failed = true;
                        eprintln!("error: {error}");
                    }
                }
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A job whose time cannot be read is shown, because it must not be missed.
fn is_between(job: &JobSummary, since: Option<Date>, until: Option<Date>) -> bool {
    let Some(moment) = job.created_at.to_jiff() else { return true };
    let day = TimeZone::UTC.to_datetime(moment).date();
    since.is_none_or(|since| day >= since) && until.is_none_or(|until| day < until)
}

fn day(text: &str) -> Result<Date, String> {
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    match text {
        "today" => Ok(today),
        "yesterday" => Ok(today.saturating_sub(1.day())),
        _ => text.parse().map_err(|error: jiff::Error| error.to_string()),
    }
}
