//! Submits every payload (`*.json`) in a folder, waits for the jobs, and prints a line for each of them.

use std::{env, error::Error, fs, time::Duration};

use atomiverse::{Client, WaitOptions};
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args().nth(1).ok_or("usage: script <folder>")?;
    let client = Client::from_env()?;

    // Every file is read before anything is submitted, so a mistake in the last one costs nothing.
    let (mut files, mut payloads): (Vec<String>, Vec<Value>) = Default::default();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path().display().to_string();
        if file.ends_with(".json") {
            let payload = serde_json::from_str(&fs::read_to_string(&file)?);
            payloads.push(payload.map_err(|error| format!("{file}: {error}"))?);
            files.push(file);
        }
    }
    let entries = client.submit_batch(&payloads)?.jobs;
    for (file, entry) in files.iter().zip(&entries) {
        match &entry.job_id {
            Some(id) => println!("{file} is job {id}"),
            None => eprintln!("{file} was rejected: {}", entry.error.as_deref().unwrap_or("no reason given")),
        }
    }
    let ids = entries.iter().filter_map(|entry| entry.job_id.as_ref());
    for (_, outcome) in client.wait_for_jobs(ids, WaitOptions::new().timeout(Duration::from_secs(24 * 3600)))
    {
        let Ok(job) = outcome.inspect_err(|error| eprintln!("{error}")) else { continue };
        let core_seconds = job.billed_core_seconds.unwrap_or(0.0);
        println!("{}: {}, {core_seconds} core-seconds", job.name.unwrap_or_default(), job.state);
    }
    Ok(())
}
