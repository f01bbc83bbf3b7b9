//! Reports what the jobs cost in core-seconds, by type, state and day:
//!
//! ```text
//! cargo run --example usage_report -- --since 2026-05-01
//! cargo run --example usage_report -- --csv > usage.csv
//! ```

mod common;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use atomiverse::{Client, JobSummary};
use clap::Parser;
use indicatif::ProgressBar;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use common::Result;

/// Report what the jobs cost in core-seconds, by type, state and day. Exits with 0 on success, 1 after an error, and 2
/// on wrong usage.
#[derive(Parser)]
#[command(name = "usage_report")]
struct Arguments {
    /// Only jobs submitted on this day (UTC) or later, such as 2026-05-01
    #[arg(long, value_name = "DAY")]
    since: Option<Date>,
    /// Print CSV, with one line for each type, state and day
    #[arg(long)]
    csv: bool,
}

/// Jobs and their core-seconds.
#[derive(Default, Clone, Copy)]
struct Usage {
    jobs: u64,
    core_seconds: f64,
}

impl Usage {
    fn add(&mut self, other: Usage) {
        self.jobs += other.jobs;
        self.core_seconds += other.core_seconds;
    }
}

/// Type, state, day.
type Key = [String; 3];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    common::finish(common::connect().and_then(|service| run(&arguments, &service.client)))
}

fn run(arguments: &Arguments, client: &Client) -> Result<ExitCode> {
    let usage = collect(client, arguments.since)?;
    let mut out = io::stdout().lock();
    if arguments.csv {
        writeln!(out, "job_type,state,day,jobs,core_seconds")?;
        for ([job_type, state, day], usage) in &usage {
            let Usage { jobs, core_seconds } = usage;
            writeln!(out, "{},{},{},{jobs},{core_seconds}", quoted(job_type), quoted(state), quoted(day))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    for (n, title) in ["Type", "State", "Day"].into_iter().enumerate() {
        let mut groups: BTreeMap<&str, Usage> = BTreeMap::new();
        for (key, usage) in &usage {
            groups.entry(&key[n]).or_default().add(*usage);
        }
        table(&mut out, title, &groups)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn collect(client: &Client, since: Option<Date>) -> Result<BTreeMap<Key, Usage>> {
    let spinner = ProgressBar::new_spinner().with_message("jobs counted");
    let mut usage: BTreeMap<Key, Usage> = BTreeMap::new();
    for job in client.iter_jobs() {
        let job: JobSummary = job?;
        spinner.inc(1);
        let day = job.created_at.to_jiff().map(|moment| TimeZone::UTC.to_datetime(moment).date());
        // A job whose time cannot be read is counted under the day `unknown`.
        if day.zip(since).is_some_and(|(day, since)| day < since) {
            continue;
        }
        let day = day.map_or("unknown".to_owned(), |day| day.to_string());
        let key = [job.job_type, job.state.to_string(), day].map(|text| common::printable(&text));
        let core_seconds = job.billed_core_seconds.unwrap_or(0.0);
        usage.entry(key).or_default().add(Usage { jobs: 1, core_seconds });
    }
    spinner.finish_and_clear();
    Ok(usage)
}

fn table(out: &mut impl Write, title: &str, groups: &BTreeMap<&str, Usage>) -> io::Result<()> {
    const WIDTH: f64 = 24.0;
    let largest = groups.values().map(|usage| usage.core_seconds).fold(0.0, f64::max);
    writeln!(out, "{title:<24} {:>7} {:>14}", "jobs", "core-seconds")?;
    let mut total = Usage::default();
    for (name, usage) in groups {
        let length = if largest > 0.0 { (usage.core_seconds / largest * WIDTH).round() as usize } else { 0 };
        writeln!(out, "  {name:<22} {:>7} {:>14.1} {}", usage.jobs, usage.core_seconds, "█".repeat(length))?;
        total.add(*usage);
    }
    writeln!(out, "  {:<22} {:>7} {:>14.1}\n", "total", total.jobs, total.core_seconds)
}

fn quoted(text: &str) -> String {
    let is_plain = !text.contains([',', '"', '\n']);
    if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}
