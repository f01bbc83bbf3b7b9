//! Computes each payload of a file with one JSON object per line: `build_tool <payloads.jsonl> [seconds]`.
//! Exit codes: 0 if all jobs are done, 1 if something failed, 75 to try again later, 130 if interrupted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{env, error::Error, fs, io, process::ExitCode};

use atomiverse::{Client, JobId, JobState, JobSummary, StopToken, WaitOptions};
use serde_json::Value;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// The id of the job of each payload, or [`IN_DOUBT`] if it may have been submitted.
type Jobs = BTreeMap<String, String>;

const IN_DOUBT: &str = "?";

fn main() -> ExitCode {
    ExitCode::from(run().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        match error.downcast_ref::<atomiverse::Error>() {
            Some(e) if e.is_stopped() => 130,
            Some(e) if e.is_transient() && !e.may_have_been_processed() => 75,
            _ => 1,
        }
    }))
}

fn run() -> Result<u8> {
    let path = env::args().nth(1).ok_or("usage: build_tool <payloads.jsonl> [seconds]")?;
    let seconds: u32 = env::args().nth(2).map_or(Ok(3600), |seconds| seconds.parse())?;
    let deadline = Instant::now() + Duration::from_secs(seconds.into());
    let stop = StopToken::new();
    let client = Client::from_env()?.with_stop(&stop);
    ctrlc::set_handler(move || stop.stop())?;

    let mut payloads: BTreeMap<String, Value> = BTreeMap::new();
    for (n, line) in fs::read_to_string(&path)?.lines().enumerate() {
        let payload: Value = serde_json::from_str(line).map_err(|e| format!("{path}:{}: {e}", n + 1))?;
        payloads.insert(payload.to_string(), payload);
    }
    let file = format!("{path}.jobs");
    let mut jobs = load(&file)?;
    submit(&client, &payloads, &mut jobs, &file)?;

    let ids: Vec<String> = payloads.keys().filter_map(|payload| jobs.get(payload).cloned()).collect();
    let (mut done, mut unknown, mut failed) = (0, 0, payloads.len() - ids.len());
    let mut ended: Vec<JobId> = Vec::new(); // without a result
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    for (_, outcome) in client.wait_for_jobs(ids, WaitOptions::new().timeout(left).cancel_on_timeout(true)) {
        match outcome.inspect(report).inspect_err(|error| eprintln!("{error}")) {
            Ok(job) if job.state == JobState::Done => done += 1,
            Ok(job) => ended.push(job.job_id),
            Err(e) if e.is_stopped() => return Ok(130),
            Err(e) if e.cancellation_accepted() == Some(true) => ended.extend(e.job_id().cloned()),
            Err(e) if e.is_transient() => unknown += 1,
            Err(_) => failed += 1,
        }
    }
    // The next run submits their payloads again.
    jobs.retain(|_, id| !ended.iter().any(|job| job == id.as_str()));
    save(&file, &jobs)?;
    failed += ended.len();
    println!("{done} done, {failed} failed, {unknown} unknown");
    let code_of_unknown = if unknown > 0 { 75 } else { 0 };
    Ok(if failed > 0 { 1 } else { code_of_unknown })
}

fn report(job: &JobSummary) {
    let core_seconds = job.billed_core_seconds.unwrap_or(0.0);
    let name = job.name.as_deref().unwrap_or_default();
    println!("{} {} {core_seconds:.1} core-seconds {name}", job.job_id, job.state);
}

/// Submits the payloads that have no job yet.
fn submit(client: &Client, payloads: &BTreeMap<String, Value>, jobs: &mut Jobs, file: &str) -> Result<()> {
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
