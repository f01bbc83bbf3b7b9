//! The tables, each with its goals.

use std::fs;
use std::process::Command;
use std::time::Instant;
use std::{env, thread};

use crate::chart::{self, Bars};
use crate::clients::{self, Scan, Work};
use crate::report::{self, at_least, at_most, table};
use crate::{Bench, median, numbers, peak_memory, server, speed, this_program};

type Table = fn(&Bench) -> String;

const ALL: [(&str, Table); 11] = [
    ("machine", machine),
    ("scan", scan),
    ("previews", previews),
    ("instructions", instructions),
    ("growing", growing),
    ("prefetch", prefetch),
    ("abandoned", abandoned),
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

fn work(bench: &Bench, kind: &str, atoms: usize, limit: Option<usize>, max_jobs: usize) -> Work {
    Work { url: bench.url(kind, atoms), limit, max_jobs }
}

fn scan(bench: &Bench) -> String {
    const CLIENTS: [(&str, Scan); 4] =
        [clients::ATOMIVERSE, clients::WITHOUT_PREVIEWS, clients::BY_HAND_WITH_TIMEOUTS, clients::REQWEST];
    let mut bars: Bars = Vec::new();
    let rows = BODIES.map(|(body, atoms)| {
        let work = work(bench, body, atoms, Some(50), SCANNED);
        let [by_hand, ours, skipping, limited, reqwest] = bench.scans(
            bench.rounds,
            [clients::BY_HAND, CLIENTS[0], CLIENTS[1], CLIENTS[2], CLIENTS[3]].map(|(_, scan)| (scan, &work)),
        );
        let ratios = [&ours, &skipping, &limited, &reqwest].map(|times| speed(times, &by_hand));
        let names = CLIENTS.map(|(name, _)| name);
        bars.push((format!("{body}, {atoms} atoms"), names.into_iter().zip(ratios).collect()));
        vec![
            body.to_owned(),
            atoms.to_string(),
            format!("{:.0}", SCANNED as f64 / median(by_hand) / 1000.0),
            at_least(1.08, ratios[0]),
            format!("{:.2}", ratios[1]),
            format!("{:.2}", ratios[2]),
            format!("{:.2}", ratios[3]),
        ]
    });
    chart::draw(&bars);
    let mut head = vec!["body", "atoms", "ureq loop, thousand jobs a second"];
    head.extend(CLIENTS.map(|(name, _)| name));
    table(&head, rows)
}

fn previews(bench: &Bench) -> String {
    let rows = [(3, 1.35, 0.0), (24, 2.0, 0.8)].map(|(atoms, than_by_hand, than_floor)| {
        let work = work(bench, "length", atoms, Some(50), SCANNED);
        let [ours, by_hand, floor, raw] = bench.scans(
            bench.rounds,
            [clients::WITHOUT_PREVIEWS, clients::BY_HAND, clients::SKIPPING, clients::RAW]
                .map(|(_, scan)| (scan, &work)),
        );
        let to_floor = speed(&ours, &floor);
        vec![
            atoms.to_string(),
            at_least(than_by_hand, speed(&ours, &by_hand)),
            if than_floor > 0.0 { at_least(than_floor, to_floor) } else { format!("{to_floor:.2}") },
            format!("{:.2}", speed(&ours, &raw)),
        ]
    });
    table(
        &[
            "atoms",
            "multiple of the ureq loop",
            "multiple of a ureq loop that skips all jobs",
            "multiple of a raw socket without JSON",
        ],
        rows,
    )
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
        let (short, long) = (work(bench, body, atoms, None, MORE), work(bench, body, atoms, None, 2 * MORE));
        let [ours, skipping, by_hand, floor] =
            [clients::ATOMIVERSE, clients::WITHOUT_PREVIEWS, clients::BY_HAND, clients::SKIPPING]
                .map(|(name, _)| (count(name, &long) - count(name, &short)) / MORE as f64 / 1000.0);
        let cell = |count: f64| format!("{count:.1} ({:.2})", count / by_hand);
        vec![
            body.to_owned(),
            atoms.to_string(),
            cell(ours),
            cell(skipping),
            format!("{by_hand:.1}"),
            cell(floor),
        ]
    });
    table(
        &["body", "atoms", "atomiverse", "previews(false)", "ureq loop", "ureq loop that skips all jobs"],
        rows,
    )
}

fn growing(bench: &Bench) -> String {
    let jobs = if bench.is_smoke { 5_000 } else { 20_000 };
    let (free, fixed) = (work(bench, "slow", 3, None, jobs), work(bench, "slow", 3, Some(50), jobs));
    let (_, scan) = clients::ATOMIVERSE;
    let [free, fixed, by_hand] = bench.scans(
        if bench.is_smoke { 1 } else { 2 },
        [(scan, &free), (scan, &fixed), (clients::BY_HAND.1, &fixed)],
    );
    let seconds = |times: &[f64]| format!("{:.2}", median(times.iter().copied()));
    table(
        &[
            "jobs",
            "growing pages, s",
            "pages of 50, s",
            "ureq loop with pages of 50, s",
            "speed-up by growing pages",
        ],
        [vec![
            jobs.to_string(),
            seconds(&free),
            seconds(&fixed),
            seconds(&by_hand),
            at_least(6.0, speed(&free, &fixed)),
        ]],
    )
}

fn prefetch(bench: &Bench) -> String {
    let mut rows = [3, 24].map(|atoms| {
        let work = work(bench, "length", atoms, Some(50), SCANNED);
        let [with, without] = bench
            .scans(bench.rounds, [clients::PREFETCH, clients::ATOMIVERSE].map(|(_, scan)| (scan, &work)));
        let ratio = at_least(0.95, speed(&with, &without));
        vec![format!("none, {atoms} atoms"), format!("multiple of the speed of the plain iterator: {ratio}")]
    });
    let mut rows = rows.as_mut_slice().to_vec();
    const PAGES: usize = 25;
    let slow = work(bench, "slow", 3, Some(50), 50 * PAGES);
    let go = |prefetch: bool, works: bool| {
        for (n, job) in clients::jobs(&slow).prefetch(prefetch).enumerate() {
            job.unwrap();
            if works && n % 50 == 49 {
                thread::sleep(server::SLOW);
            }
        }
    };
    let rounds = bench.rounds.min(5);
    let [with, fetching, working] = bench.alternate(
        rounds,
        [&mut || go(true, true), &mut || go(false, false), &mut || {
            (0..PAGES).for_each(|_| thread::sleep(server::SLOW))
        }],
    );
    let larger = |(fetching, working): (&f64, &f64)| fetching.max(*working);
    let larger: Vec<f64> = fetching.iter().zip(&working).map(larger).collect();
    let ratio = at_most(1.15, speed(&larger, &with));
    rows.push(vec!["20 ms a page".to_owned(), format!("multiple of the larger time: {ratio}")]);
    table(&["work of the caller", "with prefetch(true)"], rows)
}

fn abandoned(bench: &Bench) -> String {
    let url = bench.url("stuck", 3);
    let rows = [false, true].map(|prefetch| {
        let counts = numbers(&this_program(&[], &["abandon", &url, &prefetch.to_string()]));
        let pair = |n: usize| format!("{} / {:.1}", counts[2 * n], counts[2 * n + 1] as f64 / 1024.0);
        vec![format!("prefetch({prefetch})"), pair(0), pair(1), pair(2)]
    });
    table(&["threads / resident MiB", "before", "after the last of 1,000", "a second later"], rows)
}

fn first(bench: &Bench) -> String {
    let rounds = 20 * bench.rounds;
    let rows = [3, 24].map(|atoms| {
        let url = bench.url("length", atoms);
        let default = || drop(clients::client(&url).iter_jobs().next().unwrap().unwrap());
        let fixed = || drop(clients::client(&url).iter_jobs().limit(50).next().unwrap().unwrap());
        let one = Work { url: url.clone(), limit: Some(50), max_jobs: 50 };
        let by_hand = || assert_eq!(clients::BY_HAND.1(&one), 50);
        let (mut default, mut fixed, mut by_hand) = (default, fixed, by_hand);
        let [default, fixed, by_hand] = bench.alternate(rounds, [&mut default, &mut fixed, &mut by_hand]);
        vec![
            atoms.to_string(),
            format!("{:.2}", median(default.iter().copied()) * 1000.0),
            at_least(0.95, speed(&default, &fixed)),
            format!("{:.2}", speed(&default, &by_hand)),
        ]
    });
    table(&["atoms", "ms", "multiple of limit(50)", "multiple of the ureq loop"], rows)
}

fn memory(bench: &Bench) -> String {
    let many = if bench.is_smoke { 10_000 } else { 100_000 };
    let rows = [1_000, 10_000, many].map(|jobs| {
        let mib = |client: &str, limit| {
            peak_memory(client, &work(bench, "length", 24, limit, jobs)) as f64 / 1024.0
        };
        let (growing, fixed) = (mib(clients::ATOMIVERSE.0, None), mib(clients::ATOMIVERSE.0, Some(50)));
        vec![
            jobs.to_string(),
            format!("{growing:.1}"),
            format!("{fixed:.1}"),
            format!("{:.1}", mib(clients::BY_HAND.0, Some(50))),
            at_most(8.0, growing - fixed),
        ]
    });
    table(
        &[
            "jobs of 24 atoms",
            "growing pages, MiB",
            "pages of 50, MiB",
            "ureq loop, MiB",
            "added by growing pages, MiB",
        ],
        rows,
    )
}

fn start(bench: &Bench) -> String {
    let work = work(bench, "length", 3, Some(50), 50);
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
        let work = work(bench, body, *atoms, Some(50), 5_000);
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
