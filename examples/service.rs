//! A synchronous web service whose worker threads share one client:
//!
//! ```text
//! cargo run --example service -- --port 8080
//! curl -X POST http://127.0.0.1:8080/energies/water   # submits a job and shows its id
//! curl http://127.0.0.1:8080/jobs/job-000121          # shows the job
//! curl http://127.0.0.1:8080/metrics                  # shows metrics in the Prometheus format
//! ```
//!
//! Ctrl-C or SIGTERM ends it within a second, even while calls are in flight.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

use atomiverse::{Client, Error, JobId, StopToken};
use clap::Parser;
use common::web;
use serde_json::json;

/// Serve a web API on 127.0.0.1 that submits and shows jobs. Exits with 0 on Ctrl-C or SIGTERM, 1 after an error, and 2
/// on wrong usage.
#[derive(Parser)]
#[command(name = "service")]
struct Arguments {
    /// The port; 0 selects a free port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The number of seconds that a call may take, including its retries
    #[arg(long, default_value_t = 10)]
    deadline: u64,
    /// A file whose content replaces the API key whenever it changes
    #[arg(long)]
    key_file: Option<PathBuf>,
}

/// The number of attempts and their time, by labels.
type Metrics = Mutex<BTreeMap<String, (u64, Duration)>>;

struct Service {
    client: Client,
    metrics: Arc<Metrics>,
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

    let metrics = Arc::new(Metrics::default());
    let counted = metrics.clone();
    let builder = builder.on_attempt(move |attempt| {
        let status = attempt.status.map_or("none".to_owned(), |status| status.to_string());
        let labels = format!("action=\"{}\",status=\"{status}\"", attempt.operation.name());
        let mut counted = counted.lock().unwrap();
        let (count, time) = counted.entry(labels).or_default();
        *count += 1;
        *time += attempt.elapsed;
    });
    // These views share the connections and the key of one client.
    let client = builder.build()?.with_stop(&stop).with_timeout(Duration::from_secs(arguments.deadline));

    let listener = TcpListener::bind(("127.0.0.1", arguments.port))?;
    listener.set_nonblocking(true)?;
    writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?)?;

    let service = Service { client, metrics, unfinished: Mutex::default() };
    // The scope joins the workers.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| web::serve(&listener, &stop, |method, path| service.respond(method, path)));
        }
        rotate_key(&service.client, arguments.key_file.as_deref(), &stop);
    });
    common::report_running(service.unfinished.lock().unwrap().iter());
    Ok(ExitCode::SUCCESS)
}

/// Replaces the key whenever the key file changes, until the stop. A file that cannot be read counts as empty.
fn rotate_key(client: &Client, path: Option<&Path>, stop: &StopToken) {
    let mut last = String::new();
    while !stop.is_stopped() {
        let text = path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        if text.trim() != last {
            last = text.trim().to_owned();
            match client.set_api_key(&last) {
                Ok(()) => eprintln!("the key was replaced"),
                Err(error) => eprintln!("the old key stays in use: {error}"),
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
}

impl Service {
    fn respond(&self, method: &str, path: &str) -> (u16, String) {
        let outcome = match (method, path.split('/').collect::<Vec<_>>().as_slice()) {
            ("POST", ["", "energies", name]) => self.submit(name),
            ("GET", ["", "jobs", id]) => self.show(id),
            ("GET", ["", "metrics"]) => return (200, self.show_metrics()),
            _ => return (404, "no such page\n".to_owned()),
        };
        outcome.map_or_else(failure, |body| (200, body + "\n"))
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

    fn show_metrics(&self) -> String {
        let mut text = "# TYPE atomiverse_attempt_seconds summary\n".to_owned();
        for (labels, (count, time)) in self.metrics.lock().unwrap().iter() {
            text += &format!("atomiverse_attempt_seconds_count{{{labels}}} {count}\n");
            text += &format!("atomiverse_attempt_seconds_sum{{{labels}}} {}\n", time.as_secs_f64());
        }
        text
    }
}

fn failure(error: Error) -> (u16, String) {
    // The error also says whether a submission that was stopped may have been accepted.
    eprintln!("{error}");
    (if error.is_not_found() { 404 } else { 503 }, format!("{error}\n"))
}
