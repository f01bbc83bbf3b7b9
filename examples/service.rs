//! A synchronous web service whose worker threads share one client:
//!
//! ```text
//! cargo run --example service -- --port 8080
//! curl -X POST http://127.0.0.1:8080/energies/water   # submits a job and shows its id
//! curl http://127.0.0.1:8080/jobs/job-000121          # shows the job
//! ```
//!
//! Ctrl-C or SIGTERM ends it within two seconds, even while calls are in flight.

mod common;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use atomiverse::{Client, Error, JobId, Request, Response};
use clap::Parser;
use common::web;
use serde_json::json;

/// Serve a web API on 127.0.0.1 that submits and shows jobs; with a key, they cost money
///
/// POST /energies/NAME submits a job and returns its id. GET /jobs/ID shows a job. Without ATOMIVERSE_API_KEY, the program
/// uses a simulator. With it, it uses the service at ATOMIVERSE_BASE_URL, by default https://atomiverse.com.
#[derive(Parser)]
#[command(name = "service", after_help = "Exit codes: 0 after Ctrl-C or SIGTERM, 1 failed, 2 wrong usage.")]
struct Arguments {
    /// The port; 0 selects a free port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The time that a call to Atomiverse may take, including its retries
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = common::seconds)]
    deadline: Duration,
}

struct Service {
    client: Client,
    /// Jobs that were submitted here and have not been seen to end.
    unfinished: Mutex<BTreeSet<JobId>>,
}

fn main() -> ExitCode {
    common::finish(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> common::Result<ExitCode> {
    let stop = common::stop_on_signal()?;
    let (builder, simulator) = common::builder()?;
    if let Some(simulator) = &simulator {
        simulator.run_in_real_time();
    }

    // These views share the connections and the key of one client.
    let client = builder.build()?.with_stop(&stop).with_timeout(arguments.deadline);
    let listener = web::listen(arguments.port)?;

    let service = Service { client, unfinished: Mutex::default() };
    // The scope joins the workers.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| web::serve(&listener, &stop, |request| service.respond(&request)));
        }
    });
    common::report_running(service.unfinished.lock().unwrap().iter());
    Ok(ExitCode::SUCCESS)
}

impl Service {
    fn respond(&self, request: &Request) -> Response {
        let segments: Vec<&str> = request.path.split('/').collect();
        let outcome = match (request.method.as_str(), segments.as_slice()) {
            ("POST", ["", "energies", name]) => self.submit(name),
            ("GET", ["", "jobs", id]) => self.show(id),
            _ => return Response::new(404, "no such page\n"),
        };
        outcome.map_or_else(failure, |body| Response::new(200, body + "\n"))
    }

    fn submit(&self, name: &str) -> Result<String, Error> {
        // This is enough for the simulator. The real service also needs the atoms.
        let job = self.client.submit_job(&json!({"job_type": "single_point_energy", "name": name}))?;
        self.unfinished.lock().unwrap().insert(job.id().clone());
        Ok(job.id().to_string())
    }

    fn show(&self, id: &str) -> Result<String, Error> {
        let job = self.client.get_job(id)?;
        if job.state.is_terminal() {
            self.unfinished.lock().unwrap().remove(&job.job_id);
        }
        Ok(common::line(&job))
    }
}

fn failure(error: Error) -> Response {
    // The error also says whether a submission that was stopped may have been accepted.
    eprintln!("{error}");
    Response::new(if error.is_not_found() { 404 } else { 503 }, format!("{error}\n"))
}
