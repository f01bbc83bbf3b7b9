//! The clients that are compared. Each one reads all pages and returns the number of jobs.

use std::io::Read;
use std::process::{Command, Stdio};

use serde::Deserialize;

#[derive(Debug, Clone)]
pub struct Work {
    pub url: String,
    /// The number of jobs on a page.
    pub limit: usize,
    pub max_jobs: usize,
}

pub type Scan = fn(&Work) -> usize;

pub const ATOMIVERSE: (&str, Scan) = ("atomiverse", atomiverse);
pub const BY_HAND: (&str, Scan) = ("ureq loop", ureq_loop);
pub const BY_HAND_WITH_TIMEOUTS: (&str, Scan) = ("ureq loop with timeouts", ureq_loop_with_timeouts);
pub const REQWEST: (&str, Scan) = ("reqwest loop", reqwest);
pub const PYTHON_REQUESTS: (&str, Scan) = ("python requests", |work| python(work, "requests"));
pub const PYTHON_HTTPX: (&str, Scan) = ("python httpx", |work| python(work, "httpx"));

const ALL: [(&str, Scan); 4] = [ATOMIVERSE, BY_HAND, BY_HAND_WITH_TIMEOUTS, REQWEST];

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
    client(&work.url).iter_jobs().max_jobs(work.max_jobs).limit(work.limit as u32)
}

fn atomiverse(work: &Work) -> usize {
    jobs(work).map(|job| usize::from(std::hint::black_box(job.unwrap()).job_id.as_str().len() > 1)).sum()
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

/// Reads all pages and returns the number of jobs. `get` loads the page at a URL, and returns the number of its jobs
/// and the next cursor.
fn by_pages(work: &Work, mut get: impl FnMut(&str) -> (usize, Option<String>)) -> usize {
    let first = format!("{}/jobs?limit={}", work.url, work.limit);
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
    let limit = work.limit.to_string();
    let output = Command::new("python3")
        .args(["-c", &script, &work.url, &limit, &work.max_jobs.to_string()])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("a count")
}
