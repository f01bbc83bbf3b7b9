//! Submits every payload (`*.json`) in a folder, waits for the jobs, and prints a line for each of them.

use std::{error::Error, fs, path::PathBuf, process::ExitCode, time::Duration};

use atomiverse::{Client, JobState, WaitOptions};
use clap::Parser;
use serde_json::value::RawValue;

/// Submit every payload (*.json) in a folder, and wait for the jobs, for a day at most; they cost money
///
/// Needs ATOMIVERSE_API_KEY. The service is that at ATOMIVERSE_BASE_URL, by default https://atomiverse.com.
#[derive(Parser)]
#[command(name = "script", after_help = "Exit codes: 0 all done, 1 something failed, 2 wrong usage.")]
struct Arguments {
    /// The folder with the payloads
    folder: PathBuf,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Arguments { folder } = Arguments::parse();
    let client = Client::from_env()?;

    // Every file is read before anything is submitted, so a mistake in the last one costs nothing.
    let (mut files, mut payloads): (Vec<String>, Vec<Box<RawValue>>) = Default::default();
    let in_folder = |error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(&folder).map_err(in_folder)? {
        let path = entry.map_err(in_folder)?.path();
        let file = path.display().to_string();
        if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("json")) {
            continue;
        }
        // Some systems write such files themselves.
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            eprintln!("{file} is hidden, and was left out");
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
        payloads.push(serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))?);
        files.push(file);
    }
    if files.is_empty() {
        return Err(format!("{} contains no *.json file", folder.display()).into());
    }

    let entries = client.submit_batch(&payloads)?.jobs;
    for (file, entry) in files.iter().zip(&entries) {
        match &entry.job_id {
            Some(id) => println!("{file} is job {id}"),
            None => eprintln!("{file} was rejected: {}", entry.error.as_deref().unwrap_or("no reason given")),
        }
    }
    let ids = entries.iter().filter_map(|entry| entry.job_id.as_ref());
    let mut done = 0;
    for (_, outcome) in client.wait_for_jobs(ids, WaitOptions::new().timeout(Duration::from_secs(24 * 3600)))
    {
        let Ok(job) = outcome.inspect_err(|error| eprintln!("{error}")) else { continue };
        let core_seconds = job.billed_core_seconds.unwrap_or(0.0);
        println!("{}: {}, {core_seconds} core-seconds", job.name.unwrap_or_default(), job.state);
        done += usize::from(job.state == JobState::Done);
    }
    println!("{done} of {} are done", files.len());
    Ok(if done == files.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
