//! The clients that are compared: each goes through the pages and gives the number of jobs it read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde::Deserialize;

#[derive(Debug, Clone)]
pub struct Work {
    pub url: String,
    pub limit: usize,
    pub max_jobs: usize,
}

pub type Scan = fn(&Work) -> usize;

pub const ALL: [(&str, Scan); 8] = [
    ("atomiverse", atomiverse),
    ("atomiverse, prefetch", atomiverse_prefetch),
    ("ureq loop", ureq_loop),
    ("ureq loop with timeouts", ureq_loop_with_timeouts),
    ("reqwest", reqwest),
    ("python requests", python_requests),
    ("python httpx", python_httpx),
    ("raw socket, no JSON", raw),
];

pub fn by_name(name: &str) -> Scan {
    ALL.iter().find(|(known, _)| *known == name).expect("a client of this name").1
}

/// Whether it can run here: Python and its packages need not be there.
pub fn is_there(name: &str) -> bool {
    let Some(package) = name.strip_prefix("python ") else { return true };
    Command::new("python3")
        .args(["-c", &format!("import {package}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

// atomiverse

pub fn atomiverse_client(url: &str) -> atomiverse::Client {
    atomiverse::Client::builder().api_key("av_key").api_url(url).base_url(url).build().unwrap()
}

pub fn atomiverse(work: &Work) -> usize {
    let jobs = atomiverse_client(&work.url).iter_jobs().limit(work.limit as u32).max_jobs(work.max_jobs);
    jobs.map(|job| usize::from(std::hint::black_box(job.unwrap()).job_id.as_str().len() > 1)).sum()
}

fn atomiverse_prefetch(work: &Work) -> usize {
    let jobs = atomiverse_client(&work.url).iter_jobs().limit(work.limit as u32).max_jobs(work.max_jobs);
    jobs.prefetch(true).map(|job| usize::from(std::hint::black_box(job.unwrap()).job_id.as_str().len() > 1)).sum()
}

// What a careful user would write by hand.

#[derive(Deserialize)]
struct Page {
    jobs: Vec<Job>,
    has_more: bool,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Job {
    job_id: String,
    name: Option<String>,
    state: String,
    job_type: String,
    created_at: String,
    billed_core_seconds: Option<f64>,
    molecule_preview: Option<Preview>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Preview {
    formula: String,
    atoms: Vec<Atom>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Atom {
    element: String,
    position: [f64; 3],
}

/// Goes through the pages that `get` gives for a URL.
fn by_pages(work: &Work, mut get: impl FnMut(&str) -> Page) -> usize {
    let first = format!("{}/jobs?limit={}", work.url, work.limit);
    let mut url = first.clone();
    let mut count = 0;
    loop {
        let page = get(&url);
        for job in page.jobs {
            count += usize::from(std::hint::black_box(job).job_id.len() > 1);
            if count == work.max_jobs {
                return count;
            }
        }
        let Some(cursor) = page.next_cursor.filter(|_| page.has_more) else { return count };
        url = format!("{first}&cursor={cursor}");
    }
}

fn by_ureq(work: &Work, agent: ureq::Agent) -> usize {
    by_pages(work, |url| {
        let mut answer = agent.get(url).header("authorization", "Bearer av_key").call().unwrap();
        let body = answer.body_mut().read_to_vec().unwrap();
        serde_json::from_slice(&body).unwrap()
    })
}

fn ureq_loop(work: &Work) -> usize {
    by_ureq(work, ureq::Agent::new_with_defaults())
}

/// As above, with the limits without which a pipeline may hang.
fn ureq_loop_with_timeouts(work: &Work) -> usize {
    let config = ureq::Agent::config_builder().timeout_global(Some(std::time::Duration::from_secs(30)));
    by_ureq(work, config.build().into())
}

fn reqwest(work: &Work) -> usize {
    let client = reqwest::blocking::Client::new();
    by_pages(work, |url| client.get(url).bearer_auth("av_key").send().unwrap().json().unwrap())
}

// Python

fn python(work: &Work, package: &str) -> usize {
    let script = format!(
        r#"
import sys, {package}
url, limit, max_jobs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
session = {package}.{session}()
session.headers["authorization"] = "Bearer av_key"
count, cursor = 0, None
while count < max_jobs:
    params = {{"limit": limit}} if cursor is None else {{"limit": limit, "cursor": cursor}}
    page = session.get(url + "/jobs", params=params).json()
    count += len(page["jobs"])
    if not page["has_more"]:
        break
    cursor = page["next_cursor"]
print(count)
"#,
        session = if package == "httpx" { "Client" } else { "Session" },
    );
    let output = Command::new("python3")
        .args(["-c", &script, &work.url, &work.limit.to_string(), &work.max_jobs.to_string()])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("a count")
}

fn python_requests(work: &Work) -> usize {
    python(work, "requests")
}

fn python_httpx(work: &Work) -> usize {
    python(work, "httpx")
}

// The floor: the bytes are read and nothing is made of them.

pub fn raw(work: &Work) -> usize {
    let (host, path) = work.url.trim_start_matches("http://").split_once('/').unwrap();
    let stream = TcpStream::connect(host).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::with_capacity(64 * 1024, &stream);
    let mut line = String::new();
    let mut body = Vec::new();
    let pages = work.max_jobs / work.limit;
    for page in 0..pages {
        write!(
            &mut &stream,
            "GET /{path}/jobs?limit={}&cursor={page} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: gzip\r\n\r\n",
            work.limit
        )
        .unwrap();
        let (mut length, mut is_chunked) = (0, false);
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            is_chunked |= line.starts_with("transfer-encoding: chunked");
        }
        body.clear();
        if !is_chunked {
            body.resize(length, 0);
            reader.read_exact(&mut body).unwrap();
            continue;
        }
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            let from = body.len();
            body.resize(from + size + 2, 0);
            reader.read_exact(&mut body[from..]).unwrap();
            if size == 0 {
                break;
            }
        }
        std::hint::black_box(&body);
    }
    pages * work.limit
}
