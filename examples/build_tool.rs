//! Computes each payload of a file with one JSON object per line.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{error::Error, fs, io, process::ExitCode};

use atomiverse::{Client, JobId, JobState, JobSummary, StopToken, WaitOptions};
use clap::Parser;
use serde_json::value::RawValue;

/// Submit each line of a file as a job, and wait for the jobs, which cost money
///
/// The ids are kept in PAYLOADS.jobs, so that another run continues where this one ended. Needs ATOMIVERSE_API_KEY. The
/// service is that at ATOMIVERSE_BASE_URL, by default https://atomiverse.com.
#[derive(Parser)]
#[command(name = "build_tool", after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.")]
struct Arguments {
    /// A file with one JSON object per line
    payloads: String,
    /// Cancel the jobs that have not ended after this time
    #[arg(value_name = "SECONDS", default_value_t = 3600)]
    timeout: u32,
}

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Each payload as it stands in the file, with all digits of its numbers.
type Payloads = BTreeMap<String, Box<RawValue>>;

/// The id of the job of each payload, or [`IN_DOUBT`] if it may have been submitted.
type Jobs = BTreeMap<String, String>;

const IN_DOUBT: &str = "?";

fn main() -> ExitCode {
    ExitCode::from(run(&Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        if error.downcast_ref().is_some_and(atomiverse::Error::is_stopped) { 130 } else { 1 }
    }))
}

fn run(arguments: &Arguments) -> Result<u8> {
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout.into());
    let stop = StopToken::new();
    let client = Client::from_env()?.with_stop(&stop);
    ctrlc::set_handler(move || stop.stop())?;

    let path = &arguments.payloads;
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let mut payloads = Payloads::new();
    for (n, line) in text.lines().enumerate() {
        let payload: Box<RawValue> =
            serde_json::from_str(line).map_err(|error| format!("{path}:{}: {error}", n + 1))?;
        payloads.insert(payload.to_string(), payload);
    }
    let file = format!("{path}.jobs");
    let mut jobs = load(&file)?;
    submit(&client, &payloads, &mut jobs, &file)?;

    let ids: Vec<String> = payloads.keys().filter_map(|payload| jobs.get(payload).cloned()).collect();
    let (mut done, mut interrupted, mut ended): (usize, bool, Vec<JobId>) = (0, false, Vec::new());
    let left = deadline.saturating_duration_since(Instant::now());
    for (_, outcome) in client.wait_for_jobs(ids, WaitOptions::new().timeout(left).cancel_on_timeout(true)) {
        match outcome.inspect(report).inspect_err(|error| eprintln!("{error}")) {
            Ok(job) if job.state == JobState::Done => done += 1,
            Ok(job) => ended.push(job.job_id),
            Err(e) if e.is_stopped() => interrupted = true,
            Err(e) if e.cancellation_accepted() == Some(true) => ended.extend(e.job_id().cloned()),
            Err(_) => {}
        }
    }
    // The next run submits the payloads again whose jobs ended without a result.
    jobs.retain(|_, id| !ended.iter().any(|job| job == id.as_str()));
    save(&file, &jobs)?;
    println!("{done} of {} are done", payloads.len());
    Ok(if interrupted { 130 } else { u8::from(done < payloads.len()) })
}

fn report(job: &JobSummary) {
    let core_seconds = job.billed_core_seconds.unwrap_or(0.0);
    let name = job.name.as_deref().unwrap_or_default();
    println!("{} {} {core_seconds:.1} core-seconds {name}", job.job_id, job.state);
}

/// Submits the payloads that have no job yet.
fn submit(client: &Client, payloads: &Payloads, jobs: &mut Jobs, file: &str) -> Result<()> {
    let new: Vec<&String> = payloads.keys().filter(|payload| !jobs.contains_key(*payload)).collect();
    for chunk in new.chunks(1000) {
        // Saved before the request is sent, so that these marks remain if this process is killed.
        jobs.extend(chunk.iter().map(|payload| (payload.to_string(), IN_DOUBT.to_owned())));
        save(file, jobs)?;
        let batch = client.submit_batch(chunk.iter().map(|payload| &payloads[*payload]));
        if !batch.as_ref().is_err_and(atomiverse::Error::may_have_been_processed) {
            jobs.retain(|_, id| id != IN_DOUBT);
        }
        for (payload, entry) in chunk.iter().zip(batch.iter().flat_map(|batch| &batch.jobs)) {
            match &entry.job_id {
                Some(id) => drop(jobs.insert(payload.to_string(), id.to_string())),
                None => eprintln!("rejected: {:?}: {payload}", entry.error),
            }
        }
        save(file, jobs)?;
        batch?;
    }
    Ok(())
}

/// Reads the file of an earlier run. Each line contains an id, a tab, and a payload.
fn load(file: &str) -> Result<Jobs> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let job = |line: &str| match line.split_once('\t') {
        Some((id, payload)) if id != IN_DOUBT => Ok((payload.to_owned(), id.to_owned())),
        _ => Err(format!("{file}: replace `?` with the id from the dashboard, or delete the line: {line}")),
    };
    Ok(text.lines().map(job).collect::<Result<_, _>>()?)
}

/// Replaces the file atomically, so that it is complete even if this process is killed.
fn save(file: &str, jobs: &Jobs) -> io::Result<()> {
    let lines: String = jobs.iter().map(|(payload, id)| format!("{id}\t{payload}\n")).collect();
    let new = format!("{file}.new");
    fs::write(&new, lines)?;
    fs::rename(new, file)
}
