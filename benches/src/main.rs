//! Compares `atomiverse` with loops that a programmer might write by hand. All clients run against the same server, in
//! another process:
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml                 # all tables, about 5 minutes
//! cargo run --release --manifest-path benches/Cargo.toml -- scan memory  # some of them
//! cargo run --release --manifest-path benches/Cargo.toml -- --smoke      # a short run; its figures mean little
//! ```
//!
//! Every table is printed and written between its markers in `BENCHMARKS.md`. A ratio is the median of the ratios of runs
//! that alternate.

mod clients;
mod report;
mod server;
mod tables;

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use clients::{Scan, Work};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve"] => server::run(),
        // Makes one scan, so that the memory, the time or the instructions of a whole process can be measured.
        ["once", client, url, limit, max_jobs] => {
            let (limit, max_jobs) = (limit.parse().unwrap(), max_jobs.parse().unwrap());
            clients::by_name(client)(&Work { url: (*url).to_owned(), limit, max_jobs });
            println!("{}", status("VmHWM"));
        }
        names => {
            let is_smoke = names.contains(&"--smoke");
            let bench = Bench { server: Server::start(), rounds: if is_smoke { 3 } else { 11 }, is_smoke };
            let names: Vec<&str> = names.iter().copied().filter(|name| *name != "--smoke").collect();
            tables::write(&bench, &names);
        }
    }
}

/// Shared by all tables.
struct Bench {
    server: Server,
    rounds: usize,
    is_smoke: bool,
}

impl Bench {
    fn url(&self, kind: &str, atoms: usize) -> String {
        format!("{}/{kind}/{atoms}", self.server.url)
    }

    /// Alternates these runs for some rounds, after one round as a warm-up. Returns the seconds of each run. Every
    /// other round is in reverse order, because a run is faster after one of the same kind.
    fn alternate<const N: usize>(&self, rounds: usize, runs: [&mut dyn FnMut(); N]) -> [Vec<f64>; N] {
        let mut times = [const { Vec::new() }; N];
        for round in 0..=rounds {
            for n in 0..N {
                let n = if round % 2 == 0 { n } else { N - 1 - n };
                let started = Instant::now();
                runs[n]();
                if round > 0 {
                    times[n].push(started.elapsed().as_secs_f64());
                }
            }
        }
        times
    }

    fn scans<const N: usize>(&self, rounds: usize, scans: [(Scan, &Work); N]) -> [Vec<f64>; N] {
        let mut runs = scans.map(|(scan, work)| {
            move || {
                let jobs = scan(work);
                assert_eq!(jobs, work.max_jobs.min(server::JOBS), "every job was read");
            }
        });
        self.alternate(rounds, runs.each_mut().map(|run| run as &mut dyn FnMut()))
    }
}

/// The server, in a process that ends when this is dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .arg("serve")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Server { process, url: url.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn median(times: impl IntoIterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.into_iter().collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Returns how many times as fast as `than` the runs in `of` are: the median of the ratios of runs in the same round.
fn speed(of: &[f64], than: &[f64]) -> f64 {
    median(than.iter().zip(of).map(|(than, of)| than / of))
}

/// Runs this program with these arguments, under the tool `before` if one is given, such as valgrind.
fn this_program(before: &[&str], arguments: &[&str]) -> std::process::Output {
    let program = env::current_exe().unwrap();
    let (first, rest) = before.split_first().map_or((None, &[][..]), |(first, rest)| (Some(first), rest));
    let mut command = match first {
        Some(first) => Command::new(first),
        None => Command::new(&program),
    };
    if first.is_some() {
        command.args(rest).arg(&program);
    }
    let output = command.args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn numbers(output: &std::process::Output) -> Vec<u64> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

/// Returns the peak resident memory in KiB of a process that makes this scan.
fn peak_memory(client: &str, work: &Work) -> u64 {
    let (limit, max_jobs) = (work.limit.to_string(), work.max_jobs.to_string());
    numbers(&this_program(&[], &["once", client, &work.url, &limit, &max_jobs]))[0]
}

/// Returns a number from `/proc/self/status`, or 0 if it is missing.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
