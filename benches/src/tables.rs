//! The tables.

use std::fs;
use std::process::Command;
use std::time::Instant;
use std::{env, thread};

use crate::clients::{self, Scan, Work};
use crate::report::{self, table};
use crate::{Bench, median, peak_memory, speed, this_program};

type Table = fn(&Bench) -> String;

const ALL: [(&str, Table); 7] = [
    ("machine", machine),
    ("scan", scan),
    ("instructions", instructions),
    ("first", first),
    ("memory", memory),
    ("start", start),
    ("python", python),
];

/// Makes the tables with these names, or without names all tables except the footprint.
pub fn write(bench: &Bench, names: &[&str]) {
    for name in names {
        assert!(
            *name == "footprint" || ALL.iter().any(|(known, _)| known == name),
            "no table is named {name}"
        );
    }
    for (name, make) in ALL.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
        report::publish(name, &make(bench), bench.is_smoke);
    }
    if names.contains(&"footprint") {
        report::publish("footprint", &footprint(), false);
    }
}

fn machine(_: &Bench) -> String {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let information = text("/proc/cpuinfo");
    let processor = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let compiler =
        Command::new("rustc").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    format!(
        "{cores} cores of {}, {}, {}.\n",
        processor.map_or("an unknown processor", |(_, name)| name),
        env::consts::OS,
        String::from_utf8_lossy(&compiler).trim()
    )
}

const BODIES: [(&str, usize); 6] =
    [("length", 3), ("chunked", 3), ("gzip", 3), ("length", 24), ("chunked", 24), ("gzip", 24)];

const SCANNED: usize = 20_000;

fn work(bench: &Bench, kind: &str, atoms: usize, limit: usize, max_jobs: usize) -> Work {
    Work { url: bench.url(kind, atoms), limit, max_jobs }
}

fn scan(bench: &Bench) -> String {
    const CLIENTS: [(&str, Scan); 3] =
        [clients::ATOMIVERSE, clients::BY_HAND_WITH_TIMEOUTS, clients::REQWEST];
    let rows = BODIES.map(|(body, atoms)| {
        let work = work(bench, body, atoms, 50, SCANNED);
        let [by_hand, ours, limited, reqwest] = bench.scans(
            bench.rounds,
            [clients::BY_HAND, CLIENTS[0], CLIENTS[1], CLIENTS[2]].map(|(_, scan)| (scan, &work)),
        );
        let ratios = [&ours, &limited, &reqwest].map(|times| speed(times, &by_hand));
        vec![
            body.to_owned(),
            atoms.to_string(),
            format!("{:.0}", SCANNED as f64 / median(by_hand) / 1000.0),
            format!("{:.2}", ratios[0]),
            format!("{:.2}", ratios[1]),
            format!("{:.2}", ratios[2]),
        ]
    });
    let mut head = vec!["body", "atoms", "ureq loop, thousand jobs a second"];
    head.extend(CLIENTS.map(|(name, _)| name));
    table(&head, rows)
}

/// Measures the instructions per job, in thousands, as the difference of two runs under valgrind.
fn instructions(bench: &Bench) -> String {
    const MORE: usize = 1000;
    if Command::new("valgrind").arg("--version").output().is_err() {
        return "valgrind is not installed.\n".to_owned();
    }
    let count = |client: &str, work: &Work| {
        let tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"];
        let arguments = ["once", client, &work.url, "50", &work.max_jobs.to_string()];
        let output = this_program(&tool, &arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let collected = text.split("Collected : ").nth(1).expect("a count");
        collected.split_whitespace().next().and_then(|count| count.parse::<f64>().ok()).expect("a number")
    };
    let rows = BODIES.map(|(body, atoms)| {
        let (short, long) = (work(bench, body, atoms, 50, MORE), work(bench, body, atoms, 50, 2 * MORE));
        let [ours, by_hand] = [clients::ATOMIVERSE, clients::BY_HAND]
            .map(|(name, _)| (count(name, &long) - count(name, &short)) / MORE as f64 / 1000.0);
        let ratio = format!("{ours:.1} ({:.2})", ours / by_hand);
        vec![body.to_owned(), atoms.to_string(), ratio, format!("{by_hand:.1}")]
    });
    table(&["body", "atoms", "atomiverse", "ureq loop"], rows)
}

fn first(bench: &Bench) -> String {
    let rows = [3, 24].map(|atoms| {
        let url = bench.url("length", atoms);
        let one = Work { url: url.clone(), limit: 50, max_jobs: 50 };
        let mut ours = || drop(clients::client(&url).iter_jobs().next().unwrap().unwrap());
        let mut by_hand = || assert_eq!(clients::BY_HAND.1(&one), 50);
        let [ours, by_hand] = bench.alternate(20 * bench.rounds, [&mut ours, &mut by_hand]);
        vec![
            atoms.to_string(),
            format!("{:.2}", median(ours.iter().copied()) * 1000.0),
            format!("{:.2}", speed(&ours, &by_hand)),
        ]
    });
    table(&["atoms", "ms", "multiple of the ureq loop"], rows)
}

fn memory(bench: &Bench) -> String {
    let many = if bench.is_smoke { 10_000 } else { 100_000 };
    let rows = [1_000, 10_000, many].map(|jobs| {
        let work = work(bench, "length", 24, 50, jobs);
        let mib = |client: &str| format!("{:.1}", peak_memory(client, &work) as f64 / 1024.0);
        vec![jobs.to_string(), mib(clients::ATOMIVERSE.0), mib(clients::BY_HAND.0)]
    });
    table(&["jobs of 24 atoms", "atomiverse, MiB", "ureq loop, MiB"], rows)
}

fn start(bench: &Bench) -> String {
    let work = work(bench, "length", 3, 50, 50);
    let once = |client: &str| assert!(peak_memory(client, &work) < u64::MAX);
    let [ours, by_hand, reqwest] = bench.alternate(
        6 * bench.rounds,
        [&mut || once(clients::ATOMIVERSE.0), &mut || once(clients::BY_HAND.0), &mut || {
            once(clients::REQWEST.0)
        }],
    );
    table(
        &["ms", "multiple of the ureq loop", "multiple of the reqwest loop"],
        [vec![
            format!("{:.2}", median(ours.iter().copied()) * 1000.0),
            format!("{:.2}", speed(&ours, &by_hand)),
            format!("{:.2}", speed(&ours, &reqwest)),
        ]],
    )
}

fn python(bench: &Bench) -> String {
    let rows = BODIES[..4].iter().step_by(3).map(|(body, atoms)| {
        let work = work(bench, body, *atoms, 50, 5_000);
        let ratio = |package: &str, scan: Scan| {
            if !clients::has_python(package) {
                return "not installed".to_owned();
            }
            // The time to start Python is subtracted.
            let started = Instant::now();
            scan(&Work { max_jobs: 50, ..work.clone() });
            let start = started.elapsed().as_secs_f64();
            let [ours, theirs] = bench.scans(3, [(clients::ATOMIVERSE.1, &work), (scan, &work)]);
            format!("{:.1}", (median(theirs) - start) / median(ours))
        };
        let (requests, httpx) = (clients::PYTHON_REQUESTS.1, clients::PYTHON_HTTPX.1);
        vec![atoms.to_string(), ratio("requests", requests), ratio("httpx", httpx)]
    });
    table(&["atoms", "times as fast as requests", "times as fast as httpx"], rows)
}

fn footprint() -> String {
    let output = Command::new(report::path("benches/footprint")).output().expect("benches/footprint runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
