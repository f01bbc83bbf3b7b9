//! The clients that are compared. Each one reads all pages and returns the number of jobs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Debug, Clone)]
pub struct Work {
    pub url: String,
    /// The number of jobs on a page. With `None` the client chooses it; the other loops then use 50.
    pub limit: Option<usize>,
    pub max_jobs: usize,
}

pub type Scan = fn(&Work) -> usize;

pub const ATOMIVERSE: (&str, Scan) = ("atomiverse", atomiverse);
pub const WITHOUT_PREVIEWS: (&str, Scan) = ("previews(false)", without_previews);
pub const PREFETCH: (&str, Scan) = ("prefetch(true)", prefetch);
pub const BY_HAND: (&str, Scan) = ("ureq loop", ureq_loop);
pub const BY_HAND_WITH_TIMEOUTS: (&str, Scan) = ("ureq loop with timeouts", ureq_loop_with_timeouts);
/// A bound for clients that skip previews: only the cursor is decoded.
pub const SKIPPING: (&str, Scan) = ("ureq loop that skips all jobs", ureq_loop_that_skips);
pub const REQWEST: (&str, Scan) = ("reqwest loop", reqwest);
pub const PYTHON_REQUESTS: (&str, Scan) = ("python requests", |work| python(work, "requests"));
pub const PYTHON_HTTPX: (&str, Scan) = ("python httpx", |work| python(work, "httpx"));
/// A bound for all clients: the bytes are received and dropped.
pub const RAW: (&str, Scan) = ("raw socket, no JSON", raw);

const ALL: [(&str, Scan); 7] =
    [ATOMIVERSE, WITHOUT_PREVIEWS, PREFETCH, BY_HAND, BY_HAND_WITH_TIMEOUTS, SKIPPING, REQWEST];

pub fn by_name(name: &str) -> Scan {
    ALL.iter().find(|(known, _)| *known == name).expect("a client of this name").1
}

/// Returns whether Python and a package are installed.
pub fn has_python(package: &str) -> bool {
    let import = format!("import {package}");
    let status = Command::new("python3").args(["-c", &import]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

// atomiverse

pub fn client(url: &str) -> atomiverse::Client {
    atomiverse::Client::builder().api_key("av_key").api_url(url).base_url(url).build().unwrap()
}

pub fn jobs(work: &Work) -> atomiverse::JobsIter {
    let jobs = client(&work.url).iter_jobs().max_jobs(work.max_jobs);
    match work.limit {
        Some(limit) => jobs.limit(limit as u32),
        None => jobs,
    }
}

fn count(jobs: atomiverse::JobsIter) -> usize {
    jobs.map(|job| usize::from(std::hint::black_box(job.unwrap()).job_id.as_str().len() > 1)).sum()
}

fn atomiverse(work: &Work) -> usize {
    count(jobs(work))
}

fn without_previews(work: &Work) -> usize {
    count(jobs(work).previews(false))
}

fn prefetch(work: &Work) -> usize {
    count(jobs(work).prefetch(true))
}

// Loops that a careful user might write by hand

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

/// A page of which only the cursor is read.
#[derive(Deserialize)]
struct Skipped {
    #[serde(rename = "jobs")]
    _jobs: IgnoredAny,
    has_more: bool,
    next_cursor: Option<String>,
}

/// Reads all pages and returns the number of jobs. `get` loads the page at a URL, and returns the number of its jobs
/// and the next cursor.
fn by_pages(work: &Work, mut get: impl FnMut(&str) -> (usize, Option<String>)) -> usize {
    let first = format!("{}/jobs?limit={}", work.url, work.limit.unwrap_or(50));
    let mut url = first.clone();
    let mut count = 0;
    loop {
        let (jobs, cursor) = get(&url);
        count += jobs;
        match cursor {
            Some(cursor) if count < work.max_jobs => url = format!("{first}&cursor={cursor}"),
            _ => return count,
        }
    }
}

fn count_page(page: Page) -> (usize, Option<String>) {
    let jobs = page.jobs.into_iter().map(|job| usize::from(std::hint::black_box(job).job_id.len() > 1)).sum();
    (jobs, page.next_cursor.filter(|_| page.has_more))
}

fn by_ureq(work: &Work, agent: &ureq::Agent, read: impl Fn(&[u8]) -> (usize, Option<String>)) -> usize {
    let mut body = Vec::new();
    by_pages(work, |url| {
        let mut response = agent.get(url).header("authorization", "Bearer av_key").call().unwrap();
        body.clear();
        response.body_mut().as_reader().read_to_end(&mut body).unwrap();
        read(&body)
    })
}

fn ureq_loop(work: &Work) -> usize {
    let read = |body: &[u8]| count_page(serde_json::from_slice(body).unwrap());
    by_ureq(work, &ureq::Agent::new_with_defaults(), read)
}

/// Same as [`ureq_loop`], with a timeout, without which a pipeline may hang.
fn ureq_loop_with_timeouts(work: &Work) -> usize {
    let config = ureq::Agent::config_builder().timeout_global(Some(std::time::Duration::from_secs(30)));
    let read = |body: &[u8]| count_page(serde_json::from_slice(body).unwrap());
    by_ureq(work, &config.build().into(), read)
}

fn ureq_loop_that_skips(work: &Work) -> usize {
    by_ureq(work, &ureq::Agent::new_with_defaults(), |body| {
        let page: Skipped = serde_json::from_slice(body).unwrap();
        (work.limit.unwrap_or(50), page.next_cursor.filter(|_| page.has_more))
    })
}

fn reqwest(work: &Work) -> usize {
    // Fails if it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::blocking::Client::new();
    by_pages(work, |url| count_page(client.get(url).bearer_auth("av_key").send().unwrap().json().unwrap()))
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
    let limit = work.limit.unwrap_or(50).to_string();
    let output = Command::new("python3")
        .args(["-c", &script, &work.url, &limit, &work.max_jobs.to_string()])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("a count")
}

fn raw(work: &Work) -> usize {
    let (host, path) = work.url.trim_start_matches("http://").split_once('/').unwrap();
    let stream = TcpStream::connect(host).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::with_capacity(64 * 1024, &stream);
    let mut line = String::new();
    let mut body = Vec::new();
    let limit = work.limit.unwrap_or(50);
    let pages = work.max_jobs / limit;
    for page in 0..pages {
        write!(
            &mut &stream,
            "GET /{path}/jobs?limit={}&cursor={} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: gzip\r\n\r\n",
            limit,
            page * limit
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
    pages * limit
}
