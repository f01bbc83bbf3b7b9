//! Measures `atomiverse` beside its alternatives, in one run, against a server in a process of its own:
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml            # everything but the footprint
//! cargo run --release --manifest-path benches/Cargo.toml -- scan    # scan, latency, memory, start, pages
//! ```
//!
//! Every table has medians and ratios of runs that alternate.

mod clients;
mod server;

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clients::{Scan, Work};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve"] => server::run(),
        // In a process of its own, for its memory or its start.
        ["once", client, url, limit, max_jobs] => {
            let work = Work { url: (*url).to_owned(), limit: limit.parse().unwrap(), max_jobs: max_jobs.parse().unwrap() };
            clients::by_name(client)(&work);
            println!("{}", peak_memory_kib());
        }
        [] => {
            scan();
            latency();
            memory();
            start();
            page_sizes();
        }
        names => {
            for name in names {
                match *name {
                    "scan" => scan(),
                    "latency" => latency(),
                    "memory" => memory(),
                    "start" => start(),
                    "pages" => page_sizes(),
                    _ => panic!("{name} is none of: scan, latency, memory, start, pages"),
                }
            }
        }
    }
}

/// The server in a process of its own, until this is dropped.
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

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn timed(scan: Scan, work: &Work) -> f64 {
    let started = Instant::now();
    let jobs = scan(work);
    let time = started.elapsed().as_secs_f64();
    assert_eq!(jobs, work.max_jobs.min(server::JOBS), "every job was read");
    time
}

const JOBS: usize = 50_000;

/// All jobs of a history of 50,000, by every client in turn.
fn scan() {
    const ROUNDS: usize = 11;
    let server = Server::start();
    println!("\nScan of {JOBS} jobs, pages of 50: thousand jobs a second, median of {ROUNDS} runs in turn");
    println!("(Python: of 3), and as a ratio to atomiverse.\n");
    println!("| body | atoms | {} |", clients::ALL.map(|(name, _)| name).join(" | "));
    println!("|---|---|{}", "---|".repeat(clients::ALL.len()));
    for body in ["length", "chunked", "gzip"] {
        for atoms in [3, 24] {
            let work = Work { url: format!("{}/{body}/{atoms}", server.url), limit: 50, max_jobs: JOBS };
            let mut times: Vec<Vec<f64>> = vec![Vec::new(); clients::ALL.len()];
            for round in 0..=ROUNDS {
                for (n, (name, scan)) in clients::ALL.iter().enumerate() {
                    let is_python = name.starts_with("python");
                    if is_python && round > 3 || !clients::is_there(name) {
                        continue;
                    }
                    let time = timed(*scan, &work);
                    // The first round warms up.
                    if round > 0 {
                        times[n].push(time);
                    }
                }
            }
            let ours = median(times[0].clone());
            let cells: Vec<String> = times
                .into_iter()
                .map(|times| match times.is_empty() {
                    true => "not there".to_owned(),
                    false => {
                        let time = median(times);
                        format!("{:.0} ({:.2})", JOBS as f64 / time / 1000.0, ours / time)
                    }
                })
                .collect();
            println!("| {body} | {atoms} | {} |", cells.join(" | "));
        }
    }
}

/// A server that takes 20 ms for a page, and a caller who takes 20 ms for what is on it.
fn latency() {
    const PAGES: usize = 50;
    const WORK: Duration = Duration::from_millis(20);
    let server = Server::start();
    let url = format!("{}/slow/3", server.url);
    println!("\n20 ms a page from the server and 20 ms a page of the caller's own work, {PAGES} pages:\n");
    println!("| iterator | ms a page |\n|---|---|");
    for prefetch in [false, true] {
        let jobs = clients::atomiverse_client(&url).iter_jobs().max_jobs(50 * PAGES).prefetch(prefetch);
        let started = Instant::now();
        for (n, job) in jobs.enumerate() {
            job.unwrap();
            if n % 50 == 49 {
                std::thread::sleep(WORK);
            }
        }
        let per_page = started.elapsed().as_secs_f64() * 1000.0 / PAGES as f64;
        println!("| prefetch({prefetch}) | {per_page:.1} |");
    }
}

fn once(client: &str, url: &str, limit: usize, max_jobs: usize) -> (f64, u64) {
    let started = Instant::now();
    let output = Command::new(env::current_exe().unwrap())
        .args(["once", client, url, &limit.to_string(), &max_jobs.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let time = started.elapsed().as_secs_f64();
    assert!(output.status.success());
    (time, String::from_utf8(output.stdout).unwrap().trim().parse().unwrap())
}

/// Peak resident memory of a process, by the length of the history.
fn memory() {
    let server = Server::start();
    let url = format!("{}/length/3", server.url);
    println!("\nPeak resident memory of a process that iterates, KiB:\n");
    println!("| jobs | atomiverse |\n|---|---|");
    for jobs in [1_000, 1_000_000] {
        println!("| {jobs} | {} |", once("atomiverse", &url, 50, jobs).1);
    }
}

/// From the start of a process to its end, with one page listed.
fn start() {
    const RUNS: usize = 101;
    let server = Server::start();
    let url = format!("{}/length/3", server.url);
    let names = ["atomiverse", "ureq loop", "reqwest"];
    let mut times = vec![Vec::new(); names.len()];
    for _ in 0..RUNS {
        for (n, name) in names.iter().enumerate() {
            times[n].push(once(name, &url, 50, 50).0 * 1000.0);
        }
    }
    println!("\nA process that lists one page, from start to end, ms, median of {RUNS} in turn:\n");
    println!("| {} |\n|{}", names.join(" | "), "---|".repeat(names.len()));
    let cells: Vec<String> = times.into_iter().map(|times| format!("{:.2}", median(times))).collect();
    println!("| {} |", cells.join(" | "));
}

/// The cost of a job by the size of the page it came on.
fn page_sizes() {
    const ROUNDS: usize = 7;
    let server = Server::start();
    println!("\nMicroseconds a job by the size of the page, 3 atoms, median of {ROUNDS}:\n");
    println!("| page | atomiverse | of it beyond the request |\n|---|---|---|");
    for limit in [10, 50, 200, 1000] {
        let url = format!("{}/length/3", server.url);
        let work = Work { url, limit, max_jobs: JOBS };
        let time = |scan: Scan| median((0..ROUNDS).map(|_| timed(scan, &work)).collect()) * 1e6 / JOBS as f64;
        let ours = time(clients::atomiverse);
        println!("| {limit} | {ours:.2} | {:.2} |", ours - time(clients::raw));
    }
}

/// Of this process, from the kernel; 0 where it does not say.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
