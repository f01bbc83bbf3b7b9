//! Checks whether the service meets the assumptions of this crate (see HTTP.md):
//!
//! ```text
//! cargo run --example check_service
//! cargo run --example check_service -- --with-job examples/water.json
//! ```
//!
//! The first command only reads. The report on standard output contains no key, identifier, name or molecule, and can
//! be shared. It shows statuses, types, states, and field names that look like those of an API. Standard error names a
//! job that may be left behind.
//!
//! To check a recipe of `HTTP.md`, add its hook to the builder in `Session::new` in `check_service/evidence.rs`.

mod common;

#[path = "check_service/evidence.rs"]
mod evidence;
#[path = "check_service/trial.rs"]
mod trial;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fmt, fs};

use atomiverse::{Atom, Error, JobState, JobSummary, JobsPage};
use clap::Parser;
use jsonschema::Validator;
use serde_json::{Value, json};

use Finding::{AsAssumed, Different, NotChecked, Tolerated};
use common::Result;
use evidence::{Call, Contract, Evidence, Session, seen, shape, unwrapped};

/// Check whether the service meets the assumptions of this crate. Prints one line for each assumption. Exits with 0 if
/// the crate will work, 1 if it will not or if that could not be determined, and 2 on wrong usage.
#[derive(Parser)]
#[command(name = "check_service")]
struct Arguments {
    /// Also submit the payload in this file, then rename, cancel and delete the job; asks for confirmation first
    #[arg(long, value_name = "FILE")]
    with_job: Option<PathBuf>,
    /// Send the key in this header, without a scheme, instead of `Authorization: Bearer`
    #[arg(long, value_name = "NAME")]
    api_key_header: Option<String>,
    /// Submit without asking for confirmation
    #[arg(long, requires = "with_job")]
    yes: bool,
}

type Check = fn(&Evidence) -> Finding;

/// The assumptions that can be checked by reading, in the order of the report.
const CHECKS: [(&str, Check); 20] = [
    ("TLS", tls),
    ("key", key),
    ("envelope", envelope),
    ("limit", limit),
    ("cursor", cursor),
    ("order", order),
    ("page", page),
    ("one job", one_job),
    ("job_id", |evidence| field(evidence, "job_id")),
    ("name", |evidence| field(evidence, "name")),
    ("state", |evidence| field(evidence, "state")),
    ("job_type", |evidence| field(evidence, "job_type")),
    ("created_at", |evidence| field(evidence, "created_at")),
    ("billed_core_seconds", |evidence| field(evidence, "billed_core_seconds")),
    ("molecule_preview", |evidence| field(evidence, "molecule_preview")),
    ("positions", positions),
    ("unknown job", unknown_job),
    ("wrong key", wrong_key),
    ("error body", error_body),
    ("request id", request_id),
];

fn main() -> ExitCode {
    common::finish(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let payload = arguments.with_job.as_deref().map(|path| payload(path, arguments.yes)).transpose();
    let (payload, session) =
        match payload.and_then(|payload| Ok((payload, Session::new(arguments.api_key_header.as_deref())?))) {
            Ok(ready) => ready,
            Err(problem) => {
                eprintln!("error: {problem}");
                return Ok(ExitCode::from(2));
            }
        };
    let mut report = Report::default();
    let evidence = Evidence::gather(&session);
    for (assumption, check) in CHECKS {
        report.add(assumption, &check(&evidence))?;
    }
    match (payload, &evidence.first.result) {
        (None, _) => {}
        (Some(_), Err(_)) => report.add("submit", &not_checked("the jobs cannot be listed"))?,
        (Some(_), Ok(_)) if !arguments.yes && !agreed()? => {
            report.add("submit", &not_checked("the submission was not confirmed"))?;
        }
        (Some(payload), Ok(_)) => {
            for (assumption, finding) in trial::run(&session, &payload) {
                report.add(assumption, &finding)?;
            }
        }
    }
    report.add("openapi.yaml", &compared_with_contract(&session, report.differences > 0))?;
    report.conclude(&evidence)
}

fn payload(path: &Path, yes: bool) -> Result<Value> {
    if !yes && !io::stdin().is_terminal() {
        return Err(
            "standard input is not a terminal: pass --yes to submit the payload without confirmation".into(),
        );
    }
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let payload: Value =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if payload.is_object() {
        Ok(payload)
    } else {
        Err(format!("{}: not a JSON object", path.display()).into())
    }
}

fn agreed() -> Result<bool> {
    eprint!("Submit the payload, which may cost core-seconds, and delete the job afterwards? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The result for one assumption, from the least to the most serious.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Finding {
    NotChecked(String),
    AsAssumed(String),
    Tolerated(String),
    /// With the recipe in HTTP.md that handles the difference.
    Different(String, Option<&'static str>),
}

fn not_checked(why: impl Into<String>) -> Finding {
    NotChecked(why.into())
}

fn as_assumed() -> Finding {
    AsAssumed(String::new())
}

fn tolerated(seen: impl fmt::Display) -> Finding {
    Tolerated(format!("got {seen}"))
}

fn different(expected: &str, seen: impl fmt::Display, recipe: impl Into<Option<&'static str>>) -> Finding {
    Different(format!("expected {expected}; got {seen}"), recipe.into())
}

/// Describes a call that failed. A failure that may pass is not a difference.
fn failed(expected: &str, error: &Error, recipe: impl Into<Option<&'static str>>) -> Finding {
    let may_pass = error.is_transient() && error.status() != Some(500);
    if may_pass || error.is_stopped() {
        not_checked(format!("got {}", seen(error)))
    } else {
        different(expected, seen(error), recipe)
    }
}

#[derive(Default)]
struct Report {
    differences: usize,
    gaps: usize,
}

impl Report {
    fn add(&mut self, assumption: &str, finding: &Finding) -> io::Result<()> {
        let (verdict, text, recipe) = match finding {
            NotChecked(why) => ("not checked", why, None),
            AsAssumed(text) => ("as assumed", text, None),
            Tolerated(text) => ("tolerated", text, None),
            Different(text, recipe) => ("DIFFERENT", text, *recipe),
        };
        self.differences += usize::from(verdict == "DIFFERENT");
        self.gaps += usize::from(verdict == "not checked");
        let colon = if text.is_empty() { "" } else { ": " };
        let recipe = recipe.map(|recipe| format!("; see the recipe \"{recipe}\" in HTTP.md"));
        writeln!(io::stdout(), "{verdict:<11}  {assumption}{colon}{text}{}", recipe.unwrap_or_default())
    }

    fn conclude(&self, evidence: &Evidence) -> Result<ExitCode> {
        let works = self.differences == 0 && evidence.first.result.is_ok();
        let words = match self.differences {
            0 if !works => "It could not be determined whether the crate will work with this service.",
            0 if self.gaps == 0 => "The crate will work with this service.",
            0 => "The crate will work with this service, as far as it could be checked.",
            _ => "The crate will not work with this service as it is.",
        };
        writeln!(io::stdout(), "{words}")?;
        if let (None, Err(error)) = (&evidence.first.seen, &evidence.first.result) {
            eprintln!("error: {error}");
        }
        Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn tls(evidence: &Evidence) -> Finding {
    let url = ["ATOMIVERSE_API_URL", "ATOMIVERSE_BASE_URL"].iter().find_map(|name| {
        env::var(name).ok().filter(|url| !url.is_empty()).map(|url| url.to_ascii_lowercase())
    });
    let is_plain = url.is_some_and(|url| url.starts_with("http://"));
    match (&evidence.first.seen, &evidence.first.result) {
        (Some(_), _) if is_plain => tolerated("plain http"),
        (Some(_), _) => as_assumed(),
        (None, Err(error)) if error.to_string().contains("no secure connection") => {
            different("a secure connection", "none; see ClientBuilder::root_certificates", None)
        }
        (None, _) => not_checked("no response"),
    }
}

fn key(evidence: &Evidence) -> Finding {
    match evidence.first.seen.as_ref().map(|seen| seen.status) {
        Some(status @ (401 | 403)) => different(
            "`Authorization: Bearer <key>` to be accepted",
            format!("status {status} (assuming that the key is right)"),
            "key in another header",
        ),
        Some(200..300) => as_assumed(),
        Some(status) => not_checked(format!("got status {status}")),
        None => not_checked("no response"),
    }
}

fn envelope(evidence: &Evidence) -> Finding {
    const ADDRESS: &str = "a page of jobs, if ATOMIVERSE_BASE_URL or ATOMIVERSE_API_URL is right";
    let calls = [Some(&evidence.first), evidence.second.as_ref(), evidence.many.as_ref()];
    let findings = calls.into_iter().flatten().filter_map(|call| {
        let seen = call.seen.as_ref()?;
        Some(match (&seen.json, &call.result) {
            (Some(body), _) if (200..300).contains(&seen.status) => envelope_of(evidence.contract, body),
            (_, Err(_)) if [401, 403].contains(&seen.status) => not_checked("the key is refused"),
            (_, Err(error)) if error.is_decode() => different(ADDRESS, seen.shape(), None),
            (_, Err(error)) => failed(ADDRESS, error, None),
            (_, Ok(_)) => as_assumed(),
        })
    });
    findings.max().unwrap_or_else(|| not_checked("no response"))
}

fn envelope_of(contract: &Contract, body: &Value) -> Finding {
    let mut without_jobs = body.clone();
    if body.get("jobs").is_some_and(Value::is_array) {
        without_jobs["jobs"] = json!([]);
    }
    if contract.schema("JobsPage").is_valid(&without_jobs) {
        return as_assumed();
    }
    let seen = |key| format!("{key}: {}", body.get(key).map_or("missing".to_owned(), shape));
    match serde_json::from_value::<JobsPage>(without_jobs) {
        Ok(JobsPage { has_more, next_cursor, .. })
            if !has_more || next_cursor.as_ref().is_some_and(|cursor| !cursor.is_empty()) =>
        {
            tolerated(format!("{}, {}", seen("has_more"), seen("next_cursor")))
        }
        _ => {
            let recipe = match body {
                _ if unwrapped(body).get("jobs").is_some() && body.get("jobs").is_none() => {
                    "data around everything"
                }
                _ if body.get("hasMore").or(body.get("nextCursor")).is_some() => "camelCase keys",
                _ => "envelope",
            };
            let types = || ["jobs", "has_more", "next_cursor"].map(seen).join(", ");
            let seen = body.get("jobs").map_or_else(|| shape(body), |_| types());
            different("an object with the fields jobs, has_more, next_cursor", seen, recipe)
        }
    }
}

fn limit(evidence: &Evidence) -> Finding {
    match evidence.first.seen.as_ref().map(|seen| seen.jobs().len()) {
        None | Some(0) => not_checked("no jobs"),
        Some(1) => as_assumed(),
        Some(count) => tolerated(format!("{count} jobs instead of one")),
    }
}

fn cursor(evidence: &Evidence) -> Finding {
    let first = match &evidence.first.result {
        Ok(page) if page.jobs.is_empty() => return not_checked("no jobs"),
        Ok(page) => page.jobs.first(),
        Err(_) => return not_checked("the first page was not read"),
    };
    const IGNORED: &str = "a repeated page or cursor: the cursor is ignored";
    match evidence.second.as_ref().map(|second| (&second.result, &second.seen)) {
        None => not_checked("no second page"),
        Some((Ok(page), _)) if page.jobs.first().map(|job| &job.job_id) != first.map(|job| &job.job_id) => {
            as_assumed()
        }
        Some((Err(error), Some(seen))) if seen.status != 200 || error.is_decode() => {
            failed("a second page", error, "envelope")
        }
        Some((Err(error), None)) => failed("a second page", error, "envelope"),
        Some(_) => different("a second page", IGNORED, "envelope"),
    }
}

fn order(evidence: &Evidence) -> Finding {
    let Some(Ok(page)) = evidence.many.as_ref().map(|many| &many.result) else {
        return not_checked("no page was read");
    };
    let times: Vec<_> = page.jobs.iter().filter_map(|job| job.created_at.to_system_time()).collect();
    match times.as_slice() {
        [] | [_] => not_checked("fewer than two jobs"),
        times if times.is_sorted_by(|newer, older| newer >= older) => AsAssumed("newest first".to_owned()),
        _ => tolerated("an order other than newest first; waiting takes more requests"),
    }
}

fn page(evidence: &Evidence) -> Finding {
    match &evidence.many {
        None => not_checked("the first page was not read"),
        Some(Call { result: Ok(page), .. }) => AsAssumed(format!("{} jobs were read", page.jobs.len())),
        Some(Call { result: Err(error), .. }) => failed("readable jobs", error, None),
    }
}

fn one_job(evidence: &Evidence) -> Finding {
    match &evidence.one {
        None => not_checked("no jobs"),
        Some(Call { result: Ok(_), .. }) => as_assumed(),
        Some(Call { result: Err(error), seen: Some(seen) }) if error.is_decode() && seen.json.is_some() => {
            let is_wrapped = seen.json.as_ref().is_some_and(|body| !std::ptr::eq(body, unwrapped(body)));
            different("a summary", seen.shape(), is_wrapped.then_some("data around everything"))
        }
        Some(Call { result: Err(error), .. }) => failed("a summary", error, None),
    }
}

fn field(evidence: &Evidence, name: &str) -> Finding {
    let contract = evidence.contract;
    let valid = contract.schema(&format!("JobSummary/properties/{name}"));
    let jobs = evidence.jobs();
    let findings: Vec<Finding> =
        jobs.iter().map(|job| field_of(&valid, job, name)).filter(|f| *f != as_assumed()).collect();
    let Some(worst) = findings.iter().max() else {
        return if jobs.is_empty() { not_checked("no jobs") } else { as_assumed() };
    };
    let texts: BTreeSet<&str> = findings
        .iter()
        .filter(|finding| discriminant(*finding) == discriminant(worst))
        .map(|(Tolerated(text) | Different(text, _) | AsAssumed(text) | NotChecked(text))| text.as_str())
        .collect();
    let texts: Vec<&str> = texts.into_iter().take(5).collect();
    let text = format!("{} (in {} of {} summaries)", texts.join(", "), findings.len(), jobs.len());
    match worst {
        Different(_, recipe) => Different(text, *recipe),
        _ => Tolerated(text),
    }
}

/// Compares a field of one summary with the contract, and with the forms that the crate reads.
fn field_of(valid: &Validator, job: &Value, name: &str) -> Finding {
    let Some(value) = job.get(name) else { return missing(job, name) };
    // Whether the crate reads this value does not depend on the other fields.
    let mut summary = json!({"job_id": "a", "state": "done", "job_type": "opt", "created_at": 0});
    summary[name] = value.clone();
    let seen = match (name, value) {
        ("state", Value::String(word)) if is_word(word) => format!("`{word}`"),
        _ => shape(value),
    };
    match serde_json::from_value::<JobSummary>(summary) {
        Err(_) => different(expected_type(name), seen, None),
        Ok(JobSummary { state: JobState::Unknown(_), .. }) => {
            different("pending, running, done, failed or cancelled", seen, "other words for states")
        }
        Ok(JobSummary { molecule_preview: None, .. }) if name == "molecule_preview" && !value.is_null() => {
            tolerated(format!("{seen}, which is read as no preview"))
        }
        Ok(JobSummary { created_at, .. }) if created_at.to_system_time().is_none() => {
            tolerated(format!("{seen} that is not a time"))
        }
        Ok(_) if valid.is_valid(value) => as_assumed(),
        Ok(_) => tolerated(seen),
    }
}

fn expected_type(name: &str) -> &'static str {
    match name {
        "job_id" => "a string or an integer",
        "created_at" => "a string or a number",
        "billed_core_seconds" => "a finite number",
        _ => "a string",
    }
}

fn missing(job: &Value, name: &str) -> Finding {
    let camel = name.split('_').enumerate().map(|(n, word)| {
        let (first, rest) = word.split_at(usize::from(n > 0));
        first.to_ascii_uppercase() + rest
    });
    let camel: String = camel.collect();
    if camel != name && job.get(&camel).is_some() {
        different(&format!("`{name}`"), format!("`{camel}`"), "camelCase keys")
    } else if ["job_id", "state", "job_type", "created_at"].contains(&name) {
        let recipe = match name {
            "state" if job.get("status").is_some() => Some("status for state"),
            "job_id" if job.get("id").is_some() => Some("id for job_id"),
            _ => None,
        };
        different(&format!("`{name}`"), shape(job), recipe)
    } else {
        as_assumed()
    }
}

/// Returns whether a state is a single word. A longer text may contain a name.
fn is_word(text: &str) -> bool {
    text.len() <= 24 && text.chars().all(|c| c.is_ascii_alphabetic() || "_-.".contains(c))
}

/// Checks the unit of positions. A bond of hydrogen with carbon, nitrogen or oxygen is about 1 angstrom long, which is
/// 1.9 bohr.
fn positions(evidence: &Evidence) -> Finding {
    let Some(Ok(page)) = evidence.many.as_ref().map(|many| &many.result) else {
        return not_checked("no page was read");
    };
    let previews = page.jobs.iter().filter_map(|job| job.molecule_preview.as_ref());
    let mut bonds: Vec<f64> = previews.flat_map(|preview| bonds_of_hydrogen(&preview.atoms)).collect();
    bonds.sort_by(f64::total_cmp);
    match bonds.get(bonds.len() / 2) {
        None => not_checked("no molecule with hydrogen bonded to carbon, nitrogen or oxygen"),
        Some(median) if *median > 1.5 => {
            different("angstrom", "bond lengths as in bohr", "positions in bohr")
        }
        Some(_) => as_assumed(),
    }
}

fn bonds_of_hydrogen(atoms: &[Atom]) -> Vec<f64> {
    let distance = |a: &Atom, b: &Atom| {
        a.position.iter().zip(b.position).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    };
    let of = |symbols: &'static [&str]| atoms.iter().filter(|atom| symbols.contains(&atom.element.as_str()));
    let nearest = |hydrogen| of(&["C", "N", "O"]).map(|atom| distance(hydrogen, atom)).min_by(f64::total_cmp);
    of(&["H"]).filter_map(nearest).collect()
}

fn unknown_job(evidence: &Evidence) -> Finding {
    const RECIPE: &str = "400 for an unknown job";
    match &evidence.unknown {
        None => not_checked("the jobs cannot be listed"),
        Some(Call { result: Ok(_), .. }) => different("status 404", "a job", RECIPE),
        Some(Call { result: Err(error), .. }) if error.is_not_found() => match error.status() {
            Some(404) => as_assumed(),
            _ => tolerated("status 410"),
        },
        Some(Call { result: Err(error), seen: Some(seen) }) if error.status() == Some(404) => {
            different("status 404 with JSON", format!("status 404 with {}", seen.shape()), None)
        }
        Some(Call { result: Err(error), .. }) => failed("status 404", error, RECIPE),
    }
}

fn wrong_key(evidence: &Evidence) -> Finding {
    match &evidence.wrong_key {
        None => not_checked("the jobs cannot be listed"),
        Some(Call { result: Ok(_), .. }) => different("status 401", "a page of jobs", None),
        Some(Call { result: Err(error), .. }) if error.is_unauthorized() => as_assumed(),
        Some(Call { result: Err(error), .. }) if error.status() == Some(403) => tolerated("status 403"),
        Some(Call { result: Err(error), .. }) => failed("status 401", error, None),
    }
}

fn error_body(evidence: &Evidence) -> Finding {
    let unknown =
        evidence.unknown.as_ref().and_then(|call| Some((call.seen.as_ref()?, call.result.as_ref().err()?)));
    let wrong =
        evidence.wrong_key.as_ref().and_then(|call| Some((call.seen.as_ref()?, call.result.as_ref().err()?)));
    let valid = ["Error", "ValidationError"].map(|name| evidence.contract.schema(name));
    let findings = [unknown, wrong].into_iter().flatten().map(|(seen, error)| match &seen.json {
        Some(body) if valid.iter().any(|valid| valid.is_valid(body)) => as_assumed(),
        _ if error.server_message().is_some() => {
            tolerated(format!("{}, whose message is read", seen.shape()))
        }
        _ => tolerated(format!("{}, in which no message is found", seen.shape())),
    });
    findings.max().unwrap_or_else(|| not_checked("no error response"))
}

fn request_id(evidence: &Evidence) -> Finding {
    const OTHERS: [&str; 6] =
        ["request-id", "x-correlation-id", "x-trace-id", "x-amzn-requestid", "traceparent", "cf-ray"];
    let has = |name: &str| evidence.exchanges.iter().all(|exchange| exchange.has_header(name));
    match OTHERS.into_iter().find(|name| has(name)) {
        _ if evidence.exchanges.is_empty() => not_checked("no response"),
        _ if has("x-request-id") => as_assumed(),
        Some(other) => tolerated(format!("{other} instead of x-request-id; errors do not show it")),
        None => tolerated("responses without x-request-id"),
    }
}

fn compared_with_contract(session: &Session, crate_fails: bool) -> Finding {
    let (responses, count, places) = session.differences();
    let places: Vec<String> = places.into_iter().take(8).collect();
    let text = format!("{count} of {responses} responses differ: {}", places.join(", "));
    match count {
        _ if responses == 0 => not_checked("no response"),
        0 => AsAssumed(format!("{responses} responses")),
        _ if crate_fails => Different(text, None),
        _ => Tolerated(text),
    }
}
