//! Responses as plain data.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use ureq::http::{HeaderMap, HeaderValue, StatusCode};

use crate::error::{Context, Error, Result, sanitize};
use crate::http::message::{error_message, from_json, is_html, parse_retry_after, without_bom};
use crate::types::JobState;

/// A response as plain data.
///
/// [`Client::send`](crate::Client::send) returns one, and a [`Contract`](crate::Contract) receives one for each
/// operation.
///
/// `Debug` shows the status only.
///
/// # Examples
///
/// This changes the response of a service that has its list in `items`, and calls the state of a job `status`. Such code
/// can be tested without a server:
///
/// ```
/// use atomiverse::{Operation, Response};
/// use serde_json::{Value, json};
///
/// fn adapt(operation: Operation<'_>, response: &mut Response) {
///     if let Operation::List { .. } = operation {
///         response.map_json(|body| json!({"jobs": body["items"], "next_cursor": body["next"]}));
///     }
///     response.edit_jobs(operation, |job| job["state"] = job["status"].take());
/// }
///
/// let mut response = Response::new(200, r#"{"items": [{"job_id": "9f2c", "status": "done"}], "next": null}"#);
/// adapt(Operation::List { limit: 50, cursor: None }, &mut response);
/// let body: Value = response.json()?;
/// assert_eq!(body["jobs"][0]["state"], "done");
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers in no particular order, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, decompressed. Empty if there was none. If the status is not 2xx, the body is cut after 1 MiB.
    pub body: Vec<u8>,
    /// What no error may show of the response.
    secrets: Vec<String>,
    /// The call that the response belongs to, once it has ended.
    context: Option<Box<Context>>,
}

impl Response {
    /// Creates a response without headers, for tests of a [`Contract`](crate::Contract).
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Response { status, headers: Vec::new(), body: body.into(), secrets: Vec::new(), context: None }
    }

    /// Creates a response whose body has not been read. No error shows one of the secrets.
    pub(crate) fn received(status: StatusCode, headers: &HeaderMap, secrets: Vec<String>) -> Self {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Response { headers, secrets, ..Response::new(status.as_u16(), []) }
    }

    /// Records the call that the response belongs to.
    pub(crate) fn of_call(self, context: Context) -> Self {
        let context = Context { request_id: self.request_id(), ..context };
        Response { context: Some(Box::new(context)), ..self }
    }

    /// Returns the value of a header, or `None` if there is none or it is empty. Upper and lower case are the same.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        headers.next().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns the body as a string, without a byte order mark. Bytes that are not UTF-8 are replaced with U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(without_bom(&self.body))
    }

    /// Decodes the body as JSON.
    ///
    /// # Errors
    ///
    /// Returns a [decoding error](Error::is_decode) if the body is not valid JSON or does not fit the type. It says
    /// what was requested and how the body begins.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        from_json(&self.body).ok_or_else(|| self.unreadable("of the requested type"))
    }

    /// Replaces the body with this value as JSON. A value that cannot be written as JSON leaves the body as it is.
    pub fn set_json(&mut self, value: &(impl Serialize + ?Sized)) {
        if let Ok(body) = serde_json::to_vec(value) {
            self.body = body;
        }
    }

    /// Replaces the body of a success, if it is JSON, with what a function makes of it.
    ///
    /// A response with another status, or whose body is not valid JSON as a whole, is left as it is.
    ///
    /// The value can be anything, such as a list. Reading a field that it does not have returns null, but taking or
    /// assigning one panics if it is not an object.
    pub fn map_json(&mut self, map: impl FnOnce(Value) -> Value) {
        if self.is_success() {
            if let Some(body) = from_json(&self.body) {
                self.set_json(&map(body));
            }
        }
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn is_json(&self) -> bool {
        from_json::<IgnoredAny>(&self.body).is_some()
    }

    pub(crate) fn request_id(&self) -> Option<String> {
        self.header("x-request-id").map(|id| self.shown(id, 200))
    }

    /// Hides secrets in a string from this response.
    pub(crate) fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "(hidden)"))
    }

    /// Prepares a string from this response for an error: hides secrets and cuts it.
    pub(crate) fn shown(&self, text: &str, max: usize) -> String {
        sanitize(&self.hide(text), max)
    }

    /// Returns the beginning of the body.
    pub(crate) fn excerpt(&self) -> String {
        // Secrets are hidden before the string is cut. One at the cut would not be found.
        let start = &self.body[..self.body.len().min(64 * 1024)];
        self.shown(&String::from_utf8_lossy(start), 80)
    }

    /// Describes a body that cannot be read by how it begins.
    pub(crate) fn unreadable(&self, expected: &'static str) -> Error {
        let excerpt = self.excerpt();
        let problem =
            if excerpt.is_empty() { "it is empty".to_owned() } else { format!("it begins with {excerpt}") };
        self.not_a(expected, problem, None)
    }

    /// Describes a body that cannot be read. The state of the job may be known nevertheless.
    pub(crate) fn not_a(&self, expected: &'static str, problem: String, state: Option<JobState>) -> Error {
        let what = format!("the response is not {expected}: {problem}");
        self.error(Error::decode(self.status, what, self.is_json(), is_html(&self.body), state))
    }

    /// Describes a status that is not a success, or a success that leaves open what happened.
    pub(crate) fn failure(&self) -> Error {
        let said = match self.status {
            200..=299 => Some(self.excerpt()).filter(|excerpt| !excerpt.is_empty()),
            // The query may hold a credential for the new address.
            300..=399 => self
                .header("location")
                .map(|place| self.shown(place.split('?').next().unwrap_or_default(), 80)),
            // Secrets are hidden again after decoding, because the server may have escaped them.
            _ => error_message(&self.hide(&self.text())).map(|message| self.hide(&message)),
        };
        // The clock of the server decides what a date means.
        let sent = self.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
        let retry_after = self.header("retry-after").and_then(|text| parse_retry_after(text, sent));
        let name = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let name = name.unwrap_or("(nonstandard status)").to_owned();
        let name = if self.is_success() { name + " without a confirmation" } else { name };
        let error = Error::from_status(self.status, &name, said, retry_after, is_html(&self.body));
        self.error(error.with_request_id(self.request_id()))
    }

    /// Adds the call that the response belongs to.
    pub(crate) fn error(&self, error: Error) -> Error {
        match &self.context {
            Some(context) => error.with_context((**context).clone()),
            None => error,
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}
