//! What the examples share: where the jobs come from, and how a program ends.
#![allow(dead_code)] // Each example uses a part of it.

use std::error::Error;
use std::process::ExitCode;
use std::{env, io};

use atomiverse::simulator::Simulator;
use atomiverse::{Client, JobSummary};

pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// The real service where `ATOMIVERSE_API_KEY` is set, otherwise a simulator with some history.
pub struct Service {
    pub client: Client,
    /// Lives as long as the client is used.
    _simulator: Option<Simulator>,
}

pub fn connect() -> Result<Service> {
    if env::var_os("ATOMIVERSE_API_KEY").is_some() {
        return Ok(Service { client: Client::from_env()?, _simulator: None });
    }
    eprintln!("ATOMIVERSE_API_KEY is not set: these are the jobs of a simulator.");
    let simulator = Simulator::start()?;
    simulator.add_sample_jobs(120);
    Ok(Service { client: simulator.client()?, _simulator: Some(simulator) })
}

/// The exit code of a program: 1 after an error, which is told. A reader that went away (`| head -1`) is none.
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
            ExitCode::FAILURE
        }
    }
}

/// One job as one line, aligned.
pub fn line(job: &JobSummary) -> String {
    let charge = job.billed_core_seconds.map_or("-".to_owned(), |charge| format!("{charge:.1}"));
    let day = job.created_at.as_str().get(..16).unwrap_or(job.created_at.as_str());
    let name = job.name.as_deref().unwrap_or("-");
    format!("{:<12} {:<9} {:<20} {day} {charge:>9}  {}", job.job_id, job.state, job.job_type, printable(name))
}

/// A name came from anywhere: none may give orders to a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
