//! Shared by the examples: connecting, stopping, exit codes, and output.
#![allow(dead_code)] // Each example uses only a part of this.

pub mod web;

use std::error::Error;
use std::process::ExitCode;
use std::{env, io};

use atomiverse::simulator::Simulator;
use atomiverse::{Client, ClientBuilder, JobId, JobSummary, StopToken};

pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// The exit code of a program that was interrupted, the same as shells report.
pub const INTERRUPTED: u8 = 130;

/// The real service if `ATOMIVERSE_API_KEY` is set, otherwise a simulator with sample jobs.
pub struct Service {
    pub client: Client,
    /// Kept alive while the client is used.
    _simulator: Option<Simulator>,
}

pub fn connect() -> Result<Service> {
    let (builder, simulator) = builder()?;
    Ok(Service { client: builder.build()?, _simulator: simulator })
}

/// The same as `connect`, for a program with settings of its own. The simulator must live as long as the client.
pub fn builder() -> Result<(ClientBuilder, Option<Simulator>)> {
    if env::var_os("ATOMIVERSE_API_KEY").is_some() {
        return Ok((ClientBuilder::from_env()?, None));
    }
    eprintln!("ATOMIVERSE_API_KEY is not set: using a simulator.");
    let simulator = Simulator::start()?;
    simulator.add_sample_jobs(120);
    Ok((simulator.client_builder(), Some(simulator)))
}

/// Returns a token that is stopped by Ctrl-C, and by the signal that asks a process to terminate.
pub fn stop_on_signal() -> Result<StopToken> {
    let stop = StopToken::new();
    let token = stop.clone();
    ctrlc::set_handler(move || token.stop())?;
    Ok(stop)
}

/// Prints which jobs may still be running, and how to wait for them or cancel them.
pub fn report_running<'a>(ids: impl IntoIterator<Item = &'a JobId>) {
    let ids: Vec<&str> = ids.into_iter().map(JobId::as_str).collect();
    if ids.is_empty() {
        return;
    }
    let ids = printable(&ids.join(" "));
    eprintln!("These jobs may still be running: {ids}");
    eprintln!("  wait for them:  cargo run --example jobs -- watch {ids}");
    eprintln!("  cancel them:    cargo run --example jobs -- cancel {ids}");
}

/// Returns the exit code of a program: 1 after an error, which is printed, and 130 after a stop. A closed pipe
/// (`| head -1`) is not an error.
pub fn finish(outcome: Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            let is_stopped = error.downcast_ref().is_some_and(atomiverse::Error::is_stopped);
            if is_stopped { ExitCode::from(INTERRUPTED) } else { ExitCode::FAILURE }
        }
    }
}

/// Formats a job as one aligned line.
pub fn line(job: &JobSummary) -> String {
    let charge = job.billed_core_seconds.map_or("-".to_owned(), |charge| format!("{charge:.1}"));
    let day = job.created_at.as_str().get(..16).unwrap_or(job.created_at.as_str());
    let name = job.name.as_deref().unwrap_or("-");
    format!("{:<12} {:<9} {:<20} {day} {charge:>9}  {}", job.job_id, job.state, job.job_type, printable(name))
}

/// Replaces control characters, so that a name cannot control the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
