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

use atomiverse::Client;
use clap::Parser;
use jiff::{civil::Date, tz::TimeZone};

use common::{Outcome, Result, printable};

/// Report what the jobs cost in core-seconds, by type, state and day.
#[derive(Parser)]
#[command(name = "usage_report", after_help = common::CLIENT_HELP)]
struct Arguments {
    /// Only jobs submitted on this day (local time) or later, such as 2026-05-01
    #[arg(long, value_name = "DAY")]
    since: Option<Date>,
    /// Print CSV, with one line for each type, state and day
    #[arg(long)]
    csv: bool,
}

/// Type, state, day.
type Key = [String; 3];

/// The number of jobs, and their core-seconds.
type Usage = (u64, f64);

fn main() -> ExitCode {
    common::main(run)
}

fn run(arguments: &Arguments, client: &Client) -> Result<ExitCode> {
    let mut outcome = Outcome::default();
    let usage = collect(client, arguments.since, &mut outcome)?;
    let mut out = io::stdout().lock();
    if arguments.csv {
        writeln!(out, "job_type,state,day,jobs,core_seconds")?;
        for ([job_type, state, day], (jobs, core_seconds)) in &usage {
            writeln!(out, "{},{},{},{jobs},{core_seconds}", quoted(job_type), quoted(state), quoted(day))?;
        }
        return Ok(outcome.code());
    }
    for (n, title) in ["Type", "State", "Day"].into_iter().enumerate() {
        let mut groups: BTreeMap<&str, Usage> = BTreeMap::new();
        for (key, usage) in &usage {
            add(groups.entry(&key[n]).or_default(), *usage);
        }
        table(&mut out, title, &groups)?;
    }
    Ok(outcome.code())
}

fn collect(client: &Client, since: Option<Date>, outcome: &mut Outcome) -> Result<BTreeMap<Key, Usage>> {
    let mut usage: BTreeMap<Key, Usage> = BTreeMap::new();
    outcome.for_each_job(client.iter_jobs(), |_, job| {
        let day = job.created_at.to_jiff().map(|moment| TimeZone::system().to_datetime(moment).date());
        if day.zip(since).is_some_and(|(day, since)| day < since) {
            return Ok(());
        }
        // A job whose time cannot be read is counted under the day `unknown`.
        let day = day.map_or("unknown".to_owned(), |day| day.to_string());
        let key = [printable(&job.job_type), printable(job.state.as_str()), day];
        add(usage.entry(key).or_default(), (1, job.billed_core_seconds.unwrap_or(0.0)));
        Ok(())
    })?;
    Ok(usage)
}

fn add(sum: &mut Usage, (jobs, core_seconds): Usage) {
    *sum = (sum.0 + jobs, sum.1 + core_seconds);
}

fn table(out: &mut impl Write, title: &str, groups: &BTreeMap<&str, Usage>) -> io::Result<()> {
    let mut total = Usage::default();
    groups.values().for_each(|usage| add(&mut total, *usage));
    writeln!(out, "{title:<24} {:>7} {:>14}", "jobs", "core-seconds")?;
    for (name, (jobs, core_seconds)) in groups.iter().chain([(&"total", &total)]) {
        writeln!(out, "  {name:<22} {jobs:>7} {core_seconds:>14.1}")?;
    }
    writeln!(out)
}

fn quoted(text: &str) -> String {
    let is_plain = !text.contains([',', '"']);
    if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}
