//! The HTTP contract: from a call to a request, and from a response to a value. Pure.
//!
//! The service's HTTP API is not publicly documented. This file and `types` contain what this crate assumes.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::confirm::{self, Objection};
use crate::error::{
    CANCEL_JOB, Context, DELETE_JOB, Error, ErrorKind, HTML_PAGE, Idempotency, Result, sanitize,
};
use crate::jobs::pages::Page;
use crate::raw::{RawRequest, RawResponse, encode, is_html, is_json, without_bom};
use crate::types::{BatchEntry, BatchSubmission, JobId, JobState, JobSummary, ReceivedPage, Submitted};

/// The default base URL.
pub(crate) const BASE_URL: &str = "https://atomiverse.com";
/// The default path of the API below the base URL.
pub(crate) const API_PATH: &str = "/api/v1";
/// The default number of jobs on a page: the one number that the service documents.
pub(crate) const PAGE_SIZE: u32 = 50;

pub(crate) fn list(limit: u32, cursor: Option<&str>) -> RawRequest {
    let request = RawRequest::typed("list jobs", "GET", "/jobs".to_owned(), Idempotency::Safe);
    let request = request.query("limit", limit);
    match cursor {
        Some(cursor) => request.query("cursor", cursor),
        None => request,
    }
}

pub(crate) fn get(id: &JobId) -> RawRequest {
    on_job("get job", "GET", id, "", Idempotency::Safe)
}

pub(crate) fn rename(id: &JobId, name: &str) -> RawRequest {
    on_job("rename job", "PATCH", id, "", Idempotency::Idempotent).json(&serde_json::json!({ "name": name }))
}

pub(crate) fn cancel(id: &JobId) -> RawRequest {
    on_job(CANCEL_JOB, "POST", id, "/cancel", Idempotency::Idempotent)
}

pub(crate) fn delete(id: &JobId) -> RawRequest {
    on_job(DELETE_JOB, "DELETE", id, "", Idempotency::Idempotent)
}

/// Returns the request for a payload, which is JSON.
pub(crate) fn submit(payload: Vec<u8>, idempotency_key: String) -> RawRequest {
    submission("submit job", "/jobs", payload, idempotency_key)
}

/// Returns the request for payloads, which are JSON.
pub(crate) fn submit_batch(payloads: &[Vec<u8>], idempotency_key: String) -> RawRequest {
    let body = [br#"{"jobs":["#, payloads.join(&b',').as_slice(), b"]}"].concat();
    submission("submit batch", "/jobs/batch", body, idempotency_key)
}

fn submission(action: &str, path: &str, body: Vec<u8>, idempotency_key: String) -> RawRequest {
    RawRequest::typed(action, "POST", path.to_owned(), Idempotency::NonIdempotent)
        .json_body(body)
        .submission(idempotency_key)
}

/// Returns the path of the dashboard page of a job, below the base URL.
pub(crate) fn dashboard(id: &JobId) -> String {
    format!("/job?job_id={}", encode(id.as_str()))
}

fn on_job(action: &str, method: &str, id: &JobId, rest: &str, idempotency: Idempotency) -> RawRequest {
    let path = format!("/jobs/{}{rest}", encode(id.as_str()));
    RawRequest::typed(action, method, path, idempotency).job(id)
}

/// Checks an identifier from the caller. It becomes exactly one path segment.
pub(crate) fn job_id(id: &str) -> Result<JobId> {
    match problem_of_id(id) {
        None => Ok(JobId::from(id)),
        Some(problem) => {
            Err(Error::without_request(ErrorKind::RefusedId { job_id: JobId::from(id), problem }))
        }
    }
}

fn problem_of_id(id: &str) -> Option<&'static str> {
    Some(match id {
        "" => "is empty",
        // A server or proxy that normalises the path treats these as relative segments, even if they are encoded.
        "." | ".." => "is not allowed: it would change the path of the request",
        _ if id.contains(char::is_control) => "contains a control character",
        _ if id.trim() != id => "begins or ends with whitespace",
        _ => return None,
    })
}

/// Methods that interpret the status and the headers of a response.
impl RawResponse {
    fn message(&self) -> Option<String> {
        // Secrets are hidden again after decoding, because the server may have escaped them.
        let body = self.secrets.hide(&String::from_utf8_lossy(&self.body));
        let message = error_message(self.header("content-type"), body.as_bytes())?;
        Some(self.secrets.hide(&message))
    }

    /// Describes a status that is not a success. `reason` is its standard name.
    pub(crate) fn error(&self, reason: &'static str, now: SystemTime) -> ErrorKind {
        let status = self.status;
        if (300..400).contains(&status) {
            // The query may hold a credential for the new address.
            let location = self.header("location").and_then(|location| location.split('?').next());
            let location = location.map(|location| self.shown(location, 200));
            return ErrorKind::Redirect { status, reason, location };
        }
        ErrorKind::Status {
            status,
            reason,
            message: self.message(),
            retry_after: self.header("retry-after").and_then(|text| retry_after(text, now)),
            is_foreign: !self.body.is_empty() && !is_json(&self.body),
        }
    }
}

/// `Retry-After`: seconds, which some servers write with a fraction, or an HTTP date. No pause, or a date in the past,
/// which a clock that is ahead makes of any date, leaves the client to its own pauses.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    let fraction = || {
        let seconds: f64 =
            text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)?;
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    };
    let date = || httpdate::parse_http_date(text).ok()?.duration_since(now).ok();
    seconds.or_else(fraction).or_else(date).filter(|pause| !pause.is_zero())
}

/// A response with a success status, and the call that it belongs to. Its context makes the errors of decoding
/// complete.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) raw: RawResponse,
    pub(crate) context: Context,
}

impl Response {
    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.context.clone())
    }

    /// Decodes a page and the jobs on it. A job that cannot be read does not affect the others. `is_first` says whether
    /// this is the first page, which must say whether there are more.
    pub(crate) fn into_page(self, is_first: bool) -> Result<Page> {
        const EXPECTED: &str = "a page of jobs";
        let body = &self.raw.body;
        let (next, jobs) = match from_json::<ReceivedPage<JobSummary>>(body) {
            Ok(page) => (page.next(), page.jobs.into_iter().map(Ok).collect()),
            Err(error) => {
                let Ok(page) = from_json::<ReceivedPage<&RawValue>>(body) else {
                    return Err(self.unreadable(EXPECTED, &error.to_string()));
                };
                let entries = page.jobs.iter().enumerate();
                (page.next(), entries.map(|(n, job)| self.entry(n + 1, job)).collect())
            }
        };
        let (has_more, next_cursor) = match next {
            Some(next) => next,
            None if is_first => {
                return Err(self.unreadable(EXPECTED, "it has neither `has_more` nor `next_cursor`"));
            }
            None => (false, None),
        };
        Ok(Page { jobs, has_more, next_cursor, context: self.context })
    }

    /// Decodes one job of a page on which some job cannot be read.
    fn entry(&self, position: usize, job: &RawValue) -> Result<JobSummary> {
        serde_json::from_str(job.get()).map_err(|error| {
            let job: Value = serde_json::from_str(job.get()).unwrap_or_default();
            let field = |name: &str| job.get(name).cloned().unwrap_or_default();
            let reason = match JobSummary::unreadable_field(&job) {
                Some(name) if job.get(name).is_some() => format!("{name}: {error}"),
                _ => error.to_string(),
            };
            self.error(ErrorKind::UnreadableJob {
                position,
                job_id: serde_json::from_value(field("job_id")).ok(),
                reason: self.raw.shown(&reason, 200),
                state: serde_json::from_value(field("state")).ok(),
            })
        })
    }

    /// Decodes the job that was requested. Another one is an error: the response may belong to another request.
    pub(crate) fn job(&self) -> Result<JobSummary> {
        let job: JobSummary = self.decode("a job")?;
        self.check_job(&job.job_id)?;
        Ok(job)
    }

    fn check_job(&self, id: &JobId) -> Result<()> {
        match &self.context.job_id {
            Some(asked) if asked != id => {
                Err(self.error(ErrorKind::WrongJob(self.raw.shown(id.as_str(), 80))))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn submitted(&self) -> Result<Submitted> {
        self.confirm(None)?;
        Submitted::from_json(without_bom(&self.raw.body))
            .map_err(|error| self.unreadable("a submitted job", &error.to_string()))
    }

    pub(crate) fn batch(&self) -> Result<BatchSubmission> {
        self.decode("the response to a batch")
    }

    /// Checks that each job that was submitted has an id.
    pub(crate) fn check_entries(&self, batch: &BatchSubmission) -> Result<()> {
        match batch.jobs.iter().position(BatchEntry::lacks_id) {
            Some(n) => Err(self.unreadable("the response to a batch", &format!("entry {n} has no job_id"))),
            None => Ok(()),
        }
    }

    fn batch_entries(&self) -> Vec<Value> {
        let mut body = from_json::<Value>(&self.raw.body).unwrap_or_default();
        match body.get_mut("jobs").map(Value::take) {
            Some(Value::Array(entries)) => entries,
            _ => Vec::new(),
        }
    }

    /// Returns what can be read of a response to a batch that cannot be read as a whole: no id must be lost.
    pub(crate) fn readable_batch(&self) -> BatchSubmission {
        let jobs = self.batch_entries().iter().map(BatchEntry::from_json).collect();
        BatchSubmission { jobs, ..BatchSubmission::default() }
    }

    /// Checks that the body of the response to a change does not contradict its success status. An empty body does not.
    /// If the change was a rename, `name` is the new name of the job.
    pub(crate) fn confirm(&self, name: Option<&str>) -> Result<Option<Value>> {
        let contradicted = |is_denial| {
            let excerpt = self.raw.excerpt();
            Err(self.error(ErrorKind::Contradicted { status: self.raw.status, excerpt, is_denial }))
        };
        let body = match confirm::body(&self.raw, &self.context.action) {
            Ok(Some(body)) => body,
            Ok(None) => return Ok(None),
            Err(objection) => return contradicted(objection == Objection::Denied),
        };
        let objects = confirm::objects(&body);
        let id = objects.iter().find_map(|fields| fields.get("job_id"));
        if let Some(Ok(id)) = id.map(JobId::deserialize) {
            self.check_job(&id)?;
        }
        let names: Vec<&Value> = objects.iter().filter_map(|fields| fields.get("name")).collect();
        // The server may trim a name.
        let is_name =
            |given: &&Value, name: &str| given.as_str().is_some_and(|given| given.trim() == name.trim());
        match name {
            Some(name) if !names.is_empty() && !names.iter().any(|given| is_name(given, name)) => {
                contradicted(false)
            }
            _ => Ok(Some(body)),
        }
    }

    /// Whether the body shows the job that the request was about.
    pub(crate) fn shows_the_job(&self, body: &Value) -> bool {
        confirm::objects(body).iter().any(|fields| {
            let id = fields.get("job_id").or(fields.get("id")).map(JobId::deserialize);
            let is_other = id.is_some_and(|id| id.ok().as_ref() != self.context.job_id.as_ref());
            !is_other
                && (fields.contains_key("state")
                    || (fields.contains_key("status") && fields.contains_key("job_id")))
        })
    }

    /// The state in the body, if it shows the job.
    pub(crate) fn state(&self) -> Option<JobState> {
        #[derive(Deserialize)]
        struct Job {
            job_id: Option<JobId>,
            state: JobState,
        }
        let Job { job_id, state } = serde_json::from_slice(&self.raw.body).ok()?;
        (job_id.is_none() || job_id == self.context.job_id).then_some(state)
    }

    fn decode<T: DeserializeOwned>(&self, expected: &'static str) -> Result<T> {
        from_json(&self.raw.body).map_err(|error| self.unreadable(expected, &error.to_string()))
    }

    fn unreadable(&self, expected: &'static str, reason: &str) -> Error {
        self.error(self.raw.unreadable(expected, reason, self.state()))
    }

    /// Returns the response as plain data.
    pub(crate) fn into_raw(self) -> RawResponse {
        RawResponse { context: Some(Box::new(self.context)), ..self.raw }
    }
}

/// Decodes JSON. Checking the encoding of the whole body once is cheaper than checking each string in it.
fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> serde_json::Result<T> {
    let body = without_bom(body);
    match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        // This fails with an error that names the position.
        Err(_) => serde_json::from_slice(body),
    }
}

fn excerpt(body: &[u8], max: usize) -> String {
    // A character has at most four bytes.
    let start = &body[..body.len().min(4 * max)];
    sanitize(&String::from_utf8_lossy(start), max)
}

/// Returns the message of an error response, in every form that the contract lists: FastAPI's `detail` as a string or
/// as a list, RFC 9457, `error.message`, `message`, plain text, an HTML page, nothing.
pub(crate) fn error_message(content_type: Option<&str>, body: &[u8]) -> Option<String> {
    const LONGEST: usize = 500;

    #[derive(Deserialize)]
    struct Body {
        detail: Option<Detail>,
        title: Option<String>,
        error: Option<Named>,
        message: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Detail {
        Text(String),
        Fields(Vec<Field>),
        Other(serde_json::Value),
    }
    #[derive(Deserialize)]
    struct Field {
        #[serde(default)]
        loc: Vec<serde_json::Value>,
        msg: String,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Named {
        Object { message: String, code: Option<serde_json::Value> },
        Text(String),
    }

    let text = match serde_json::from_slice(body) {
        Ok(Body { detail: Some(Detail::Fields(fields)), .. }) if !fields.is_empty() => {
            let fields = fields.iter().map(|Field { loc, msg }| match location(loc) {
                Some(loc) => format!("{loc}: {msg}"),
                None => msg.clone(),
            });
            fields.collect::<Vec<_>>().join("; ")
        }
        Ok(Body { detail: Some(Detail::Text(detail)), title: Some(title), .. }) => {
            format!("{title}: {detail}")
        }
        Ok(Body { detail: Some(Detail::Text(text)), .. })
        | Ok(Body { error: Some(Named::Object { message: text, code: None }), .. })
        | Ok(Body { error: Some(Named::Text(text)), .. })
        | Ok(Body { message: Some(text), .. }) => text,
        Ok(Body { error: Some(Named::Object { message, code: Some(code) }), .. }) => {
            format!("{message} ({})", plain(&code))
        }
        Ok(Body { detail: Some(Detail::Other(value)), .. }) => value.to_string(),
        Ok(Body { title: Some(title), .. }) => title,
        _ if is_html(content_type, body) => match title(&excerpt(body, 2000)) {
            Some(title) => format!("{HTML_PAGE}, {title:?}"),
            None => HTML_PAGE.to_owned(),
        },
        _ => excerpt(body, LONGEST),
    };
    let text = sanitize(&text, LONGEST);
    (!text.is_empty()).then_some(text)
}

/// Returns the name of a field, such as `name` for `["body", "name"]`. The part of the request that it was in is left
/// out.
fn location(loc: &[serde_json::Value]) -> Option<String> {
    let start = usize::from(loc.len() > 1 && ["body", "query", "path"].iter().any(|place| loc[0] == *place));
    let parts: Vec<String> = loc[start..].iter().map(plain).collect();
    (!parts.is_empty()).then(|| parts.join("."))
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn title(page: &str) -> Option<&str> {
    // Only ASCII letters change, so byte positions stay the same.
    let lower = page.to_ascii_lowercase();
    let from = lower.find("<title>")? + "<title>".len();
    let to = from + lower[from..].find("</title>")?;
    Some(page[from..to].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> Option<String> {
        error_message(Some("application/json"), body.as_bytes())
    }

    #[test]
    fn every_error_body_of_the_contract_is_understood() {
        let cases = [
            (r#"{"detail": "Job not found"}"#, "Job not found"),
            (
                r#"{"detail": [{"loc": ["body", "name"], "msg": "too long", "type": "x"},
                               {"loc": ["body", "jobs", 3, "charge"], "msg": "not a number", "type": "y"}]}"#,
                "name: too long; jobs.3.charge: not a number",
            ),
            (r#"{"detail": [{"loc": ["body"], "msg": "required"}]}"#, "body: required"),
            (r#"{"detail": [{"msg": "required"}]}"#, "required"),
            (r#"{"detail": [{"loc": ["name", "first"], "msg": "too long"}]}"#, "name.first: too long"),
            (r#"{"detail": []}"#, r#"{"detail": []}"#),
            (r#"{"detail": {"reason": "limit", "max": 3}}"#, r#"{"max":3,"reason":"limit"}"#),
            (
                r#"{"type": "about:blank", "title": "Conflict", "status": 409, "detail": "still running"}"#,
                "Conflict: still running",
            ),
            (r#"{"title": "Conflict", "status": 409}"#, "Conflict"),
            (r#"{"error": {"message": "no such key", "code": "auth_7"}}"#, "no such key (auth_7)"),
            (r#"{"error": {"message": "no such key"}}"#, "no such key"),
            (r#"{"error": "no such key"}"#, "no such key"),
            (r#"{"message": "slow down"}"#, "slow down"),
            ("upstream connect error", "upstream connect error"),
            (
                "<html><head><TITLE>502 Bad\n Gateway</TITLE></head></html>",
                r#"an HTML page, "502 Bad Gateway""#,
            ),
            ("<html><body>oops</body></html>", "an HTML page"),
            (r#"{"unheard": "of"}"#, r#"{"unheard": "of"}"#),
            (r#"["a", "list"]"#, r#"["a", "list"]"#),
        ];
        for (body, expected) in cases {
            assert_eq!(message(body).as_deref(), Some(expected), "{body}");
        }
        assert_eq!(message(""), None);
        assert_eq!(message(" \r\n "), None);
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now = httpdate::parse_http_date("Sat, 02 May 2026 14:32:01 GMT").unwrap();
        let read = |text| retry_after(text, now);
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sat, 02 May 2026 14:32:11 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(read("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(read("99999999999999999999999"), Some(Duration::MAX));
        for none in ["0", "0.0", "Sat, 02 May 2026 14:00:00 GMT", "soon", "-1", "nan", "inf", ""] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn server_text_is_one_line_without_controls_and_not_endless() {
        let hostile =
            format!(r#"{{"detail": "a\u001b[31mred\u0007\nnext\u202ereversed {}"}}"#, "x".repeat(10_000));
        let message = message(&hostile).unwrap();
        assert!(message.starts_with("a [31mred next reversed xxx"), "{message}");
        assert_eq!(message.chars().count(), 501);
        assert!(message.ends_with('…'));
    }

    #[test]
    fn an_excerpt_counts_characters_and_not_bytes() {
        let shown = excerpt("ü".repeat(200).as_bytes(), 120);
        assert_eq!(shown, format!("{}…", "ü".repeat(120)));
    }

    #[test]
    fn bytes_that_are_no_text_do_not_break_an_error() {
        assert_eq!(error_message(None, b"\xff\xfe\x00bad").as_deref(), Some("\u{fffd}\u{fffd} bad"));
    }
}
