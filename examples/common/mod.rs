//! Shared by the examples: connecting, stopping, exit codes, and output that is safe for a terminal.
#![allow(dead_code)] // Each example uses only a part of this.

pub mod payload;
pub mod web;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, io};

use atomiverse::simulator::Simulator;
use atomiverse::{Client, ClientBuilder, JobId, JobState, JobSummary, JobsIter, StopToken};
use clap::Parser;
use serde_json::{Value, json};

pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// The end of each help text.
pub const EXIT_CODES: &str = "Exit codes: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted.";

/// The same, for a program that gets its client from `builder`.
pub const CLIENT_HELP: &str = "Exit codes: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted.
Without ATOMIVERSE_API_KEY, the program uses a new simulator with sample jobs,
inside its process. With a key, it uses the service at ATOMIVERSE_BASE_URL, by
default https://atomiverse.com, or the HTTP API at ATOMIVERSE_API_URL if set.";

/// The exit code of a program that was interrupted, the same as shells report.
pub const INTERRUPTED: u8 = 130;

/// Runs a program with a client that is stopped by Ctrl-C.
pub fn main<A: Parser>(run: impl FnOnce(&A, &Client) -> Result<ExitCode>) -> ExitCode {
    let arguments = A::parse();
    finish(stop_on_signal().and_then(|stop| {
        let (builder, _simulator) = builder()?;
        run(&arguments, &builder.build()?.with_stop(&stop))
    }))
}

/// Returns the settings for the real service if `ATOMIVERSE_API_KEY` is set, otherwise for a simulator with sample jobs.
/// The simulator must live as long as the client.
pub fn builder() -> Result<(ClientBuilder, Option<Simulator>)> {
    if env::var_os("ATOMIVERSE_API_KEY").is_some() {
        return Ok((ClientBuilder::from_env()?, None));
    }
    eprintln!("ATOMIVERSE_API_KEY is not set: using a simulator.");
    let simulator = simulator(0, 120)?;
    Ok((simulator.client_builder(), Some(simulator)))
}

/// Starts a simulator with sample jobs. Those that are done have a result.
pub fn simulator(port: u16, jobs: u32) -> Result<Simulator> {
    let simulator = Simulator::start_at(port).map_err(|error| format!("port {port}: {error}"))?;
    simulator.add_sample_jobs(jobs);
    for job in simulator.client()?.iter_jobs() {
        let job = job?;
        if job.state == JobState::Done {
            simulator.result(&job.job_id, json!({"energy_hartree": -76.42, "converged": true}));
        }
    }
    Ok(simulator)
}

/// Returns a token that is stopped by Ctrl-C, and by the signal that asks a process to terminate.
pub fn stop_on_signal() -> Result<StopToken> {
    let stop = StopToken::new();
    let token = stop.clone();
    ctrlc::set_handler(move || token.stop())?;
    Ok(stop)
}

/// What went wrong in a program that goes on after a failure.
#[derive(Default)]
pub struct Outcome {
    pub failed: bool,
    interrupted: bool,
}

impl Outcome {
    /// Returns what a call returned, or prints its error.
    pub fn keep<T>(&mut self, result: Result<T, atomiverse::Error>) -> Option<T> {
        result.inspect_err(|error| self.error(error)).ok()
    }

    /// Prints an error. After a stop, the errors of calls that sent nothing are all the same, and are left out.
    pub fn error(&mut self, error: &atomiverse::Error) {
        self.failed = true;
        self.interrupted |= error.is_stopped();
        if !error.is_stopped() || error.may_have_been_processed() {
            eprintln!("error: {error}");
        }
    }

    /// Passes each job on. A job that cannot be read is a warning. Any other failure ends the iteration.
    pub fn for_each_job(
        &mut self,
        jobs: JobsIter,
        mut each: impl FnMut(&mut Self, JobSummary) -> Result<()>,
    ) -> Result<()> {
        for job in jobs {
            match job {
                Ok(job) => each(self, job)?,
                Err(error) if error.is_unreadable_job() => {
                    eprintln!("warning: {error}");
                    self.failed = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub fn code(&self) -> ExitCode {
        ExitCode::from(if self.interrupted { INTERRUPTED } else { u8::from(self.failed) })
    }
}

/// Returns the exit code of a program: 1 after an error, which is printed, and 130 after a stop. A closed pipe
/// (`| head -1`) is not an error.
pub fn finish(outcome: Result<ExitCode>) -> ExitCode {
    let Err(error) = outcome.as_ref() else { return outcome.unwrap_or(ExitCode::FAILURE) };
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error}");
    let is_stopped = error.downcast_ref().is_some_and(atomiverse::Error::is_stopped);
    if is_stopped { ExitCode::from(INTERRUPTED) } else { ExitCode::FAILURE }
}

/// Prints which jobs may still be running, and how to wait for them or cancel them.
pub fn report_running<'a>(ids: impl IntoIterator<Item = &'a JobId>) {
    // A shell must not run what the service has put into an id.
    let is_plain = |id: &str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte));
    let quoted = |id: &JobId| match id.as_str() {
        id if is_plain(id) => id.to_owned(),
        id => format!("'{}'", printable(id).replace('\'', "?")),
    };
    let ids: Vec<String> = ids.into_iter().map(quoted).collect();
    if ids.is_empty() {
        return;
    }
    let ids = ids.join(" ");
    eprintln!("These jobs may still be running: {ids}");
    eprintln!("  wait for them:  cargo run --example jobs -- watch {ids}");
    eprintln!("  cancel them:    cargo run --example jobs -- cancel {ids}");
}

/// Formats a job as one aligned line.
pub fn line(job: &JobSummary) -> String {
    let charge = job.billed_core_seconds.map_or("-".to_owned(), |charge| format!("{charge:.1}"));
    let day: String = job.created_at.as_str().chars().take(16).collect();
    let [id, state, kind, day, name] =
        [job.job_id.as_str(), job.state.as_str(), &job.job_type, &day, job.name.as_deref().unwrap_or("-")]
            .map(printable);
    format!("{id:<12} {state:<9} {kind:<20} {day:<16} {charge:>9}  {name}")
}

/// Replaces characters that control a terminal or hide what stands there, such as escapes and changes of direction.
pub fn printable(text: &str) -> String {
    let is_hidden = |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().map(|c| if c.is_control() || is_hidden(c) { '?' } else { c }).collect()
}

/// Escapes the characters in JSON that control a terminal and may stand in a JSON string as they are.
pub fn printable_json(json: &str) -> String {
    let escaped = |c: char| match c {
        c if c.is_control() && c != '\n' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    json.chars().map(escaped).collect()
}

/// Returns the names and types of JSON, without its values.
pub fn types(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "boolean".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(items) => format!("[{}]", items.first().map_or(String::new(), types)),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}: {}", printable(name), types(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Returns a part of a file name that stands for this text only. Other characters than letters, digits and `-` are
/// written as `_` and a number.
pub fn file_name(text: &str) -> String {
    let safe = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() || byte == b'-' => char::from(byte).to_string(),
        byte => format!("_{byte:02x}"),
    };
    text.bytes().map(safe).collect()
}

/// Parses a number of seconds, for clap.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "expected a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
