//! Checks whether this crate works with a service, operation by operation:
//!
//! ```text
//! cargo run --example check_service
//! cargo run --example check_service -- --with-job payload.json
//! ```
//!
//! For each difference it names the operation that a [`Contract`] has to change. Put the contract in place of
//! [`ToCheck`], and run the program again.

mod common;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atomiverse::{
    Client, ClientBuilder, Contract, Error, JobId, JobState, JobSummary, Operation, Request, Response,
    StopToken, WaitOptions,
};
use clap::Parser;
use serde_json::value::RawValue;

use common::{Result, printable, types};

/// The contract that is checked. This one is what the crate assumes.
pub struct ToCheck;

impl Contract for ToCheck {}

/// Check whether this crate works with a service; only reads, unless --with-job is given; a difference is a failure
#[derive(Parser)]
#[command(name = "check_service", after_help = common::CLIENT_HELP)]
struct Arguments {
    /// Also submit the payload in this file, and rename, cancel and delete its job; it may cost a little
    #[arg(long, value_name = "PAYLOAD")]
    with_job: Option<PathBuf>,
}

fn main() -> ExitCode {
    common::finish(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let payload = arguments.with_job.as_deref().map(common::payload::read).transpose()?;
    let stop = common::stop_on_signal()?;
    let (builder, _simulator) = common::builder()?;
    let works = check(builder, ToCheck, payload.as_deref(), &stop, &mut io::stdout())?;
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what was found, and returns whether the crate works with the service as far as it was checked.
pub fn check(
    builder: ClientBuilder,
    contract: impl Contract,
    payload: Option<&RawValue>,
    stop: &StopToken,
    out: &mut dyn Write,
) -> Result<bool> {
    let seen = Arc::new(Recording { contract, last: Mutex::default() });
    let client = builder.contract(seen.clone()).build()?.with_stop(stop);
    let mut check = Check { client, seen: &seen.last, out, differences: 0 };
    let job = check.list()?;
    check.get(job.as_ref())?;
    check.notes()?;
    match payload {
        Some(payload) => check.own_job(payload)?,
        None => check.note("changes", "not checked; pass --with-job")?,
    }
    writeln!(check.out, "Differences from this contract, as far as it was checked: {}", check.differences)?;
    Ok(check.differences == 0)
}

/// A contract that keeps the form of the last response, after the contract has changed it.
struct Recording<C> {
    contract: C,
    last: Mutex<String>,
}

impl<C: Contract> Contract for Recording<C> {
    fn request(&self, operation: Operation<'_>) -> Request {
        self.last.lock().unwrap().clear();
        self.contract.request(operation)
    }

    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        self.contract.response(operation, response);
        let form = response.json().map_or("no JSON".to_owned(), |json| types(&json));
        *self.last.lock().unwrap() = format!(" (status {}: {form})", response.status);
    }

    fn dashboard_url(&self, base_url: &str, id: &JobId) -> String {
        self.contract.dashboard_url(base_url, id)
    }
}

const LIST: &str = "List";
const GET: &str = "Get";

struct Check<'a> {
    client: Client,
    seen: &'a Mutex<String>,
    out: &'a mut dyn Write,
    differences: usize,
}

impl Check<'_> {
    fn say(&mut self, kind: &str, operation: &str, text: &str) -> Result<()> {
        Ok(writeln!(self.out, "{kind:<8} {operation:<8} {}", printable(text))?)
    }

    fn ok(&mut self, operation: &str, text: &str) -> Result<()> {
        self.say("ok", operation, text)
    }

    fn note(&mut self, operation: &str, text: &str) -> Result<()> {
        self.say("note", operation, text)
    }

    /// Reports a difference, and which method of the contract can remove it.
    fn differs(&mut self, operation: &str, method: &str, text: &str) -> Result<()> {
        self.differences += 1;
        self.say("DIFFERS", operation, text)?;
        self.say("", "", &format!("change Operation::{operation} in Contract::{method}"))
    }

    /// Reports why a call failed.
    fn failed(&mut self, operation: &str, error: Error) -> Result<()> {
        if error.is_stopped() {
            return Err(error.into());
        }
        let key = if error.is_unauthorized() { "; see also ClientBuilder::api_key_header" } else { "" };
        let text = format!("{error}{}{key}", self.seen.lock().unwrap());
        match error.status() {
            _ if error.is_unsupported() => self.note(operation, &text),
            _ if error.is_decode() => self.differs(operation, "response", &text),
            Some(_) => self.differs(operation, "request", &text),
            None => {
                self.differences += 1;
                self.say("FAILED", operation, &text)
            }
        }
    }

    /// Compares what the crate made of a change with what a `GET` of the job shows. `None` is not known.
    fn compare(&mut self, operation: &str, result: Result<(), Error>, is_made: Option<bool>) -> Result<()> {
        match (result, is_made) {
            (Ok(()), Some(true)) => self.ok(operation, "a GET of the job shows it"),
            (Ok(()), Some(false)) => self.differs(operation, "response", "a GET does not show this success"),
            (Ok(()), None) => self.note(operation, "not compared, because the job cannot be loaded"),
            (Err(error), Some(true)) if !error.is_stopped() => {
                self.differs(operation, "response", &format!("a GET shows the change, but: {error}"))
            }
            (Err(error), _) => self.failed(operation, error),
        }
    }

    /// Lists and iterates. Returns the newest job.
    fn list(&mut self) -> Result<Option<JobSummary>> {
        let page = match self.client.list_jobs().limit(9).send() {
            Ok(page) => page,
            Err(error) => return self.failed(LIST, error).map(|()| None),
        };
        let mut jobs: Vec<JobSummary> = Vec::new();
        for job in self.client.iter_jobs().limit(3).max_jobs(9) {
            match job {
                Ok(job) => jobs.push(job),
                Err(error) => self.failed(LIST, error)?,
            }
        }
        let before = self.differences;
        let ids = |jobs: &[JobSummary]| jobs.iter().take(9).map(|job| job.job_id.clone()).collect::<Vec<_>>();
        if !ids(&jobs).starts_with(&ids(&page.jobs)) {
            self.differs(LIST, "request", "pages of 3 do not have the same jobs as one page of 9")?;
        }
        for job in &jobs {
            if let JobState::Unknown(state) = &job.state {
                self.differs(LIST, "response", &format!("the state {state:?} of {}", job.job_id))?;
            }
            if job.created_at.to_system_time().is_none() {
                let text = format!("created_at of {} is {:?}", job.job_id, job.created_at.as_str());
                self.differs(LIST, "response", &text)?;
            }
        }
        if !jobs.is_sorted_by_key(|job| std::cmp::Reverse(job.created_at.to_system_time())) {
            self.note(LIST, "not the newest job first, so waiting takes more requests")?;
        }
        if page.jobs.len() > 9 {
            self.note(LIST, "a page has more jobs than the limit")?;
        }
        if self.differences == before {
            self.ok(LIST, &format!("{} jobs, the same on pages of 3 and of 9", jobs.len()))?;
        }
        Ok(jobs.into_iter().next())
    }

    /// Loads a job, and one that does not exist.
    fn get(&mut self, listed: Option<&JobSummary>) -> Result<()> {
        let Some(listed) = listed else {
            return self.note(GET, "not checked, because no job is listed");
        };
        match self.client.get_job(&listed.job_id) {
            Ok(job) if (&job.job_type, &job.created_at) != (&listed.job_type, &listed.created_at) => {
                self.differs(GET, "response", "the job is not the same as in the list")?;
            }
            Ok(_) => self.ok(GET, "the job is the same as in the list")?,
            Err(error) => self.failed(GET, error)?,
        }
        // An id of the same form, which is hardly in use.
        let change = |c: char| if c.is_ascii_digit() { '9' } else { c };
        let unknown: String = listed.job_id.as_str().chars().map(change).collect();
        match self.client.get_job(&unknown) {
            Ok(_) => self.differs(GET, "response", "there is a job for an unknown id"),
            Err(error) if error.is_not_found() => self.ok(GET, "an unknown job is not found"),
            Err(error) if error.is_stopped() => Err(error.into()),
            Err(error) => {
                self.differs(GET, "response", &format!("an unknown job must get a 404 with JSON: {error}"))
            }
        }
    }

    /// Looks at what the crate does not need.
    fn notes(&mut self) -> Result<()> {
        match self.client.with_api_key("av_not_a_key")?.list_jobs().limit(1).send() {
            Err(error) if error.is_unauthorized() => self.ok("key", "a wrong key is refused")?,
            _ => self.note("key", "a wrong key is not refused with status 401")?,
        }
        match self.client.send(Request::new("GET", ["no-such-path"])) {
            Err(error) if error.status() == Some(404) && error.request_id().is_some() => Ok(()),
            Err(error) if error.status() == Some(404) => self.note("header", "no x-request-id"),
            _ => self.note("path", "an unknown path does not get the status 404"),
        }
    }

    /// Submits a job, changes it, and deletes it.
    fn own_job(&mut self, payload: &RawValue) -> Result<()> {
        let client = self.client.clone();
        let id = match client.submit_job(payload) {
            Ok(job) if job.is_cache_hit() => {
                return self.note("Submit", "the job exists already; pass another payload");
            }
            Ok(job) => job.id().clone(),
            Err(error) => return self.failed("Submit", error),
        };
        match client.get_job(&id) {
            Ok(job) => self.ok("Submit", &format!("job {id} is {}", job.state))?,
            Err(error) => self.failed(GET, error)?,
        }

        let renamed = client.rename_job(&id, "check_service");
        let name = client.get_job(&id).ok().map(|job| job.name.as_deref() == Some("check_service"));
        self.compare("Rename", renamed, name)?;

        match client.cancel_job(&id) {
            Ok(()) => match client.wait_for_job(&id, WaitOptions::new().timeout(Duration::from_secs(60))) {
                Ok(job) => self.ok("Cancel", &format!("the job is {}", job.state))?,
                Err(error) if error.is_timeout() => self.note("Cancel", &error.to_string())?,
                Err(error) => self.failed(GET, error)?,
            },
            Err(error) => self.failed("Cancel", error)?,
        }

        let deleted = client.delete_job(&id);
        let gone = match client.get_job(&id) {
            Ok(_) => Some(false),
            Err(error) if error.is_not_found() => Some(true),
            Err(_) => None,
        };
        self.compare("Delete", deleted, gone)?;
        if gone == Some(true) { Ok(()) } else { self.note("Delete", &format!("job {id} may still be there")) }
    }
}
