//! Shows what each method does, on a simulator inside this process:
//!
//! ```text
//! cargo run --example tour
//! ```
//!
//! If `ATOMIVERSE_API_KEY` is set, the tour uses the real service, and only reads.

use std::env;
use std::error::Error;
use std::time::Duration;

use atomiverse::simulator::{SimulatedJob, Simulator};
use atomiverse::{Client, JobSummary, VisualizeMode, WaitOptions};

fn main() -> Result<(), Box<dyn Error>> {
    if env::var_os("ATOMIVERSE_API_KEY").is_some() {
        println!("ATOMIVERSE_API_KEY is set: using the real service. Nothing is changed there.");
        return read(&Client::from_env()?);
    }
    let simulator = Simulator::start()?;
    simulator.add_sample_jobs(120);
    println!("ATOMIVERSE_API_KEY is not set: using a simulator at {}.", simulator.base_url());
    let client = simulator.client()?;
    read(&client)?;
    change(&client, &simulator)
}

/// Calls the methods that change nothing.
fn read(client: &Client) -> Result<(), Box<dyn Error>> {
    heading("List a page of 4 jobs, and the next one");
    let page = client.list_jobs().limit(4).send()?;
    page.jobs.iter().for_each(show);
    if let Some(cursor) = page.next_cursor.as_deref().filter(|_| page.has_more) {
        println!("  next_cursor: {}", shortened(cursor, 60));
        client.list_jobs().limit(4).cursor(Some(cursor)).send()?.jobs.iter().for_each(show);
    }

    heading("Iterate over at most 100 jobs, 40 per page");
    let jobs: Vec<JobSummary> = client.iter_jobs().limit(40).max_jobs(100).collect::<Result<_, _>>()?;
    let billed: f64 = jobs.iter().filter_map(|job| job.billed_core_seconds).sum();
    let unfinished = jobs.iter().filter(|job| !job.state.is_terminal()).count();
    println!("  {} jobs, {unfinished} of them unfinished, {billed:.1} core-seconds billed", jobs.len());

    heading("Link to the dashboard of the newest job");
    if let Some(job) = jobs.first() {
        println!("  {}", client.job_dashboard_url(&job.job_id)?);
    }
    Ok(())
}

/// Calls the methods that change something. Only the simulator is changed.
fn change(client: &Client, simulator: &Simulator) -> Result<(), Box<dyn Error>> {
    heading("Submit a job and wait for it");
    let payload = serde_json::json!({"job_type": "single_point_energy", "name": "ammonia"});
    let mut job = client.submit_job(&payload)?;
    job.wait(WaitOptions::new().timeout(Duration::from_secs(600)).on_update(show))?;

    let pending = simulator.add_job(SimulatedJob::new("opt").name("benzene"));
    let running = simulator.add_job(SimulatedJob::new("opt").name("aspirin").age(Duration::from_secs(5)));

    heading("Rename a job, and try a name that the server refuses");
    let mut job = client.job(&pending)?;
    job.rename("benzene-b3lyp")?;
    show(job.refresh()?);
    if let Err(error) = job.rename("   ") {
        println!("  is_validation: {}", error.is_validation());
        wrapped(&error.to_string());
    }

    heading("Cancel the pending job, and load it again");
    job.cancel()?;
    show(job.refresh()?);

    heading("Try to delete a running job: the error says what to do");
    if let Err(error) = client.delete_job(&running) {
        println!("  is_conflict: {}, state: {:?}", error.is_conflict(), error.state());
        wrapped(&error.to_string());
    }

    heading("Delete the cancelled job, then delete it again");
    job.delete()?;
    println!("  deleted");
    println!("  delete_job_if_exists: {}", client.delete_job_if_exists(&pending)?);

    heading("Show the dashboard (here only its link, on standard error)");
    client.job(&running)?.visualize_with(VisualizeMode::Link);
    Ok(())
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn show(job: &JobSummary) {
    println!(
        "  {:<14} {:<17} {:<9} {:<19} {:>10}",
        shortened(job.job_id.as_str(), 14),
        shortened(job.name.as_deref().unwrap_or("-"), 17),
        job.state,
        shortened(&job.job_type, 19),
        job.billed_core_seconds.map_or("-".to_owned(), |charge| format!("{charge:.1} cs")),
    );
}

fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

/// Prints the text in lines of at most 80 columns.
fn wrapped(text: &str) {
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.len() + word.len() > 75 {
            println!("    {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    println!("    {line}");
}
