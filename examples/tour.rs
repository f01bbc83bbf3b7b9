//! Calls each method of `Client` and `Job`, on a simulator inside this process:
//!
//! ```text
//! cargo run --example tour
//! ```
//!
//! The exceptions are `Client::new`, `Client::from_env` and `Client::builder`, because the simulator makes the client,
//! and `Job::visualize`, which would open a browser.

mod common;

use std::process::ExitCode;
use std::time::Duration;

use atomiverse::simulator::{SimulatedJob, Simulator};
use atomiverse::{Client, JobSummary, Request, StopToken, VisualizeMode, WaitOptions};
use clap::Parser;
use serde_json::{Value, json};

use common::Result;

/// Show what the methods of a client and of a job do, on a simulator inside this process.
#[derive(Parser)]
#[command(name = "tour", after_help = common::EXIT_CODES)]
struct Arguments {}

fn main() -> ExitCode {
    Arguments::parse();
    common::finish(run().map(|()| ExitCode::SUCCESS))
}

fn run() -> Result<()> {
    let simulator = Simulator::start()?;
    simulator.add_sample_jobs(120);
    let client = simulator.client()?;
    println!("This tour uses a simulator, whose time passes as soon as the client waits.");
    read(&client)?;
    submit(&client)?;
    change(&client, &simulator)?;
    configure(&client, &simulator)
}

fn read(client: &Client) -> Result<()> {
    heading("list_jobs: a page of 4 jobs, and the next one");
    let page = client.list_jobs().limit(4).send()?;
    page.jobs.iter().for_each(show);
    client.list_jobs().limit(4).cursor(page.next_cursor.as_deref()).send()?.jobs.iter().for_each(show);

    heading("iter_jobs: at most 100 jobs, 40 per page");
    let jobs: Vec<JobSummary> = client.iter_jobs().limit(40).max_jobs(100).collect::<Result<_, _>>()?;
    println!("  {} jobs", jobs.len());

    heading("get_job and job_dashboard_url: the newest job");
    show(&client.get_job(&jobs[0].job_id)?);
    println!("  {}", client.job_dashboard_url(&jobs[0].job_id)?);
    Ok(())
}

fn submit(client: &Client) -> Result<()> {
    heading("submit_job and Job::wait: each new state is shown");
    let mut job = client.submit_job(&json!({"job_type": "single_point_energy", "name": "ammonia"}))?;
    println!("  {} is {:?}; an existing job: {}", job.id(), job.state(), job.is_cache_hit());
    job.wait(WaitOptions::new().timeout(Duration::from_secs(600)).on_update(show))?;
    println!("  core-seconds: {:?}", job.summary().and_then(|summary| summary.billed_core_seconds));

    heading("submit_batch and wait_for_jobs: one payload is rejected");
    let payloads = [json!({"job_type": "opt", "name": "water"}), json!({"name": "no type"})];
    let batch = client.submit_batch(&payloads)?;
    println!("  {} submitted, and one rejected: {:?}", batch.submitted, batch.jobs[1].error);
    for (id, outcome) in client.wait_for_jobs(batch.job_ids(), WaitOptions::new()) {
        println!("  {id} is {}", outcome?.state);
        show(&client.wait_for_job(&id, WaitOptions::new())?); // It has ended, so this returns at once.
    }
    Ok(())
}

fn change(client: &Client, simulator: &Simulator) -> Result<()> {
    let [pending, second, third] =
        ["benzene", "aspirin", "caffeine"].map(|name| simulator.add_job(SimulatedJob::new("opt").name(name)));

    heading("Job::rename and Job::refresh, and rename_job with a name that the server refuses");
    let mut job = client.job(&pending)?;
    job.rename("benzene-b3lyp")?;
    show(job.refresh()?);
    println!("  {:?}", client.rename_job(&pending, "   "));

    heading("delete_job: a pending job cannot be deleted, and the error says what to do");
    println!("  {:?}", client.delete_job(&second));

    heading("Job::cancel and Job::delete, then delete_job_if_exists");
    job.cancel()?;
    show(job.refresh()?);
    job.delete()?;
    println!("  exists: {}", client.delete_job_if_exists(&pending)?);

    heading("Job::cancel_and_wait and Job::cancel_and_delete, and the same with the client");
    let mut job = client.job(&second)?;
    show(job.cancel_and_wait(WaitOptions::new())?);
    println!("  deleted: {}", job.cancel_and_delete(WaitOptions::new())?);
    client.cancel_job(&third)?;
    show(&client.cancel_and_wait(&third, WaitOptions::new())?);
    println!("  deleted: {}", client.cancel_and_delete(&third, WaitOptions::new())?);

    heading("cancel_jobs and delete_jobs: all are tried, and each has an outcome");
    let ids: Vec<_> = (0..3).map(|_| simulator.add_job(SimulatedJob::new("opt"))).collect();
    println!("  {:?}", client.cancel_jobs(&ids));
    println!("  {:?}", client.delete_jobs(&ids));
    Ok(())
}

fn configure(client: &Client, simulator: &Simulator) -> Result<()> {
    let id = simulator.add_job(SimulatedJob::new("opt").name("ethanol"));
    simulator.result(&id, json!({"energy_hartree": -154.09}));
    heading("send: what the crate has no type for, such as a result");
    let result: Value = client.send(Request::new("GET", ["jobs", id.as_str(), "result"]))?.json()?;
    println!("  {result}");

    heading("with_timeout, with_api_key, set_api_key and with_stop");
    client.with_timeout(Duration::from_secs(5)).get_job(&id)?;
    println!("  wrong key: {:?}", client.with_api_key("wrong")?.get_job(&id).map_err(|error| error.status()));
    simulator.set_api_key("av_second_key");
    client.set_api_key("av_second_key")?;
    let stop = StopToken::new();
    stop.stop();
    println!("  stopped: {:?}", client.with_stop(&stop).get_job(&id).map_err(|error| error.is_stopped()));

    heading("Job::job_dashboard_url and Job::visualize_with (here only the link)");
    let job = client.job(&id)?;
    job.visualize_with(VisualizeMode::Link); // This prints on standard error.
    println!("  {}", job.job_dashboard_url());
    Ok(())
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn show(job: &JobSummary) {
    println!("  {}", common::line(job));
}
