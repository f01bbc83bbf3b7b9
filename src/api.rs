//! The HTTP contract: one function for each endpoint, and how its answers and errors are read. Pure.
//!
//! The service's HTTP interface is not publicly documented: what stands here is this crate's stated
//! assumption. Where the real interface differs, this file changes and no other.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Cause, Error, Result, printable};
use crate::listing::JobsPage;
use crate::retry::Resend;
use crate::submit::BatchSubmission;
use crate::summary::{JobId, JobSummary, Submitted};

/// Where the service is, unless the user says otherwise.
pub(crate) const BASE_URL: &str = "https://atomiverse.com";
/// Where the interface stands below the base URL, unless the user says otherwise.
pub(crate) const API_PATH: &str = "/api/v1";
/// Jobs on a page, unless the user says otherwise.
pub(crate) const PAGE_SIZE: u32 = 50;

/// A request, described and not yet sent.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// What is to be done, as a user would say it.
    pub(crate) action: &'static str,
    pub(crate) job_id: Option<JobId>,
    pub(crate) method: Method,
    /// Below the root of the interface, with the query.
    pub(crate) path: String,
    /// JSON.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) resend: Resend,
    /// Whether the answer is of use beyond its status.
    pub(crate) reads_answer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Patch,
    Delete,
}

impl Method {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

pub(crate) fn list(limit: u32, cursor: Option<&str>) -> Call {
    let cursor = cursor.map(|cursor| format!("&cursor={}", encode(cursor))).unwrap_or_default();
    Call {
        action: "list jobs",
        job_id: None,
        method: Method::Get,
        path: format!("/jobs?limit={limit}{cursor}"),
        body: None,
        resend: Resend::Read,
        reads_answer: true,
    }
}

pub(crate) fn get(id: &str) -> Result<Call> {
    job("get job", Method::Get, id, "", Resend::Read)
}

pub(crate) fn rename(id: &str, name: &str) -> Result<Call> {
    let call = job("rename job", Method::Patch, id, "", Resend::Idempotent)?;
    let body = serde_json::json!({ "name": name }).to_string().into_bytes();
    Ok(Call { body: Some(body), ..call })
}

pub(crate) fn cancel(id: &str) -> Result<Call> {
    job("cancel job", Method::Post, id, "/cancel", Resend::Idempotent)
}

pub(crate) fn delete(id: &str) -> Result<Call> {
    job("delete job", Method::Delete, id, "", Resend::Idempotent)
}

/// The payload is JSON.
pub(crate) fn submit(payload: Vec<u8>) -> Call {
    submission("submit job", "/jobs", payload)
}

/// The payloads are JSON.
pub(crate) fn submit_batch(payloads: &[Vec<u8>]) -> Call {
    let body = [br#"{"jobs":["#, payloads.join(&b',').as_slice(), b"]}"].concat();
    submission("submit batch", "/jobs/batch", body)
}

fn submission(action: &'static str, path: &str, body: Vec<u8>) -> Call {
    Call {
        action,
        job_id: None,
        method: Method::Post,
        path: path.to_owned(),
        body: Some(body),
        resend: Resend::Never,
        reads_answer: true,
    }
}

/// The dashboard's page for people, below the base URL.
pub(crate) fn dashboard(id: &str) -> Result<String> {
    Ok(format!("/job?job_id={}", segment(id)?))
}

fn job(action: &'static str, method: Method, id: &str, rest: &str, resend: Resend) -> Result<Call> {
    let path = format!("/jobs/{}{rest}", segment(id)?);
    let reads_answer = resend == Resend::Read;
    Ok(Call { action, job_id: Some(id.into()), method, path, body: None, resend, reads_answer })
}

/// The identifier as exactly one path segment, whatever it holds.
fn segment(id: &str) -> Result<String> {
    match id {
        "" => Err(Error::input("the job id is empty; nothing was sent")),
        // Encoded or not, these mean "this place" and "one up" to whoever normalises the path.
        "." | ".." => Err(Error::input(format!("{id:?} cannot be a job id; nothing was sent"))),
        _ => Ok(encode(id)),
    }
}

fn encode(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

/// An answer with a status of 2xx, not yet decoded.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) request_id: Option<String>,
    /// How often the request was sent until it came.
    pub(crate) attempts: u32,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn page(&self) -> Result<JobsPage, Cause> {
        self.decode("a page of jobs")
    }

    pub(crate) fn summary(&self) -> Result<JobSummary, Cause> {
        self.decode("a job")
    }

    /// The new job, and what the answer says of it: all but the identifier may be missing or strange.
    pub(crate) fn submitted(&self) -> Result<(JobId, Option<JobSummary>), Cause> {
        let submitted: Submitted = self.decode("a submitted job")?;
        match segment(submitted.job_id.as_str()) {
            Ok(_) => Ok(submitted.into()),
            Err(error) => Err(self.unreadable("a submitted job", error.to_string(), None)),
        }
    }

    pub(crate) fn batch(&self) -> Result<BatchSubmission, Cause> {
        self.decode("the answer to a batch")
    }

    fn decode<T: DeserializeOwned>(&self, expected: &'static str) -> Result<T, Cause> {
        serde_json::from_slice(&self.body)
            .map_err(|error| self.unreadable(expected, error.to_string(), Some(error)))
    }

    fn unreadable(&self, expected: &'static str, reason: String, source: Option<serde_json::Error>) -> Cause {
        Cause::Decode {
            expected,
            content_type: self.content_type.clone(),
            excerpt: excerpt(&self.body, 120),
            reason: printable(&reason, 200),
            status: self.status,
            source,
        }
    }
}

fn excerpt(body: &[u8], max: usize) -> String {
    // A character has at most four bytes.
    let start = &body[..body.len().min(4 * max)];
    printable(&String::from_utf8_lossy(start), max)
}

/// The words of an error answer, in every form that the contract lists: FastAPI's `detail` as a text
/// or as a list, RFC 9457, `error.message`, `message`, plain text, an HTML page, nothing.
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
            Some(title) => format!("an HTML page, {title:?}"),
            None => "an HTML page".to_owned(),
        },
        _ => excerpt(body, LONGEST),
    };
    let text = printable(&text, LONGEST);
    (!text.is_empty()).then_some(text)
}

/// `["body", "name"]` is the field `name`: where in the request it stood is no news to the user.
fn location(loc: &[serde_json::Value]) -> Option<String> {
    let start = usize::from(loc.len() > 1 && ["body", "query", "path"].iter().any(|place| loc[0] == *place));
    let parts: Vec<String> = loc[start..].iter().map(plain).collect();
    (!parts.is_empty()).then(|| parts.join("."))
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn is_html(content_type: Option<&str>, body: &[u8]) -> bool {
    content_type.is_some_and(|content_type| content_type.contains("html"))
        || body.trim_ascii_start().starts_with(b"<")
}

fn title(page: &str) -> Option<&str> {
    // ASCII case only, so that places stay the same.
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
