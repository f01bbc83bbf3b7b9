//! Requests and responses as plain data, for hooks and for requests that have no method of their own.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use ureq::http::{HeaderName, HeaderValue};

use crate::error::{Context, Error, ErrorKind, Idempotency, REQUESTED_TYPE, Result, sanitize};
use crate::types::{JobId, JobState};

/// A request as plain data.
///
/// [`Client::send`](crate::Client::send) sends it, for parts of the service for which this crate has no method.
/// [`ClientBuilder::on_request`](crate::ClientBuilder::on_request) passes each request of the client in this form.
///
/// `Debug` shows neither the values of headers nor the body.
///
/// # Examples
///
/// This assumes that the service returns the result of a job at `/jobs/{job_id}/result`, which is not documented:
///
/// ```no_run
/// use atomiverse::RawRequest;
/// # let client = atomiverse::Client::from_env()?;
///
/// let request = RawRequest::new("GET", ["jobs", "9f2c", "result"]).query("format", "json");
/// let result: serde_json::Value = client.send(request)?.json()?;
/// println!("{}", result["energy"]);
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RawRequest {
    /// The purpose of the request, such as `rename job`. Error messages begin with it. [`new`](RawRequest::new) sets it
    /// to `request`.
    pub action: String,
    /// The job that the request is about, for error messages.
    pub job_id: Option<JobId>,
    /// The HTTP method, in upper case.
    pub method: String,
    /// The path below the API URL, percent-encoded, with the query if there is one, such as `/jobs/9f2c?full=true`.
    pub path: String,
    /// The headers of this request, such as `Content-Type` and `Idempotency-Key`. The headers that the client adds to
    /// every request, such as the one with the API key, are not in this list. A header in this list replaces one of the
    /// client with the same name.
    pub headers: Vec<(String, String)>,
    /// The body, if there is one.
    pub body: Option<Vec<u8>>,
    idempotency: Option<Idempotency>,
    is_submission: bool,
    /// Why the request cannot be sent.
    problem: Option<String>,
}

impl RawRequest {
    /// Creates a request to the path that consists of these segments, below the API URL.
    ///
    /// Each segment becomes exactly one segment of the path: `/`, `?` and other special characters in it are
    /// percent-encoded. [`Client::send`](crate::Client::send) refuses an empty segment, `.` and `..` without sending
    /// anything.
    ///
    /// # Examples
    ///
    /// ```
    /// let request = atomiverse::RawRequest::new("GET", ["jobs", "a/b", "result"]).query("page", 2);
    /// assert_eq!(request.path, "/jobs/a%2Fb/result?page=2");
    /// ```
    pub fn new(method: &str, segments: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut path = String::new();
        let mut problem = None;
        for segment in segments {
            let segment = segment.as_ref();
            if matches!(segment, "" | "." | "..") {
                problem =
                    Some(format!("the path segment {segment:?} is not allowed: it would change the path"));
            }
            path.push('/');
            path.push_str(&encode(segment));
        }
        RawRequest {
            action: "request".to_owned(),
            job_id: None,
            method: method.to_owned(),
            path,
            headers: Vec::new(),
            body: None,
            idempotency: None,
            is_submission: false,
            problem,
        }
    }

    /// Creates a request of this crate, whose path is known to be valid.
    pub(crate) fn typed(action: &str, method: &str, path: String, idempotency: Idempotency) -> Self {
        RawRequest {
            action: action.to_owned(),
            path,
            idempotency: Some(idempotency),
            ..RawRequest::new(method, [""; 0])
        }
    }

    /// Adds a parameter to the query. Its name and value are percent-encoded.
    pub fn query(mut self, name: impl AsRef<str>, value: impl fmt::Display) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        self.path.push(separator);
        self.path += &format!("{}={}", encode(name.as_ref()), encode(&value.to_string()));
        self
    }

    /// Sets the body to this value as JSON, and the header `Content-Type` to `application/json`.
    ///
    /// [`Client::send`](crate::Client::send) refuses a value that cannot be written as JSON without sending anything.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.json_body(body),
            Err(error) => {
                let error = sanitize(&error.to_string(), 300);
                self.problem = Some(format!("its body cannot be written as JSON: {error}"));
                self
            }
        }
    }

    pub(crate) fn json_body(mut self, body: Vec<u8>) -> Self {
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        self.headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        self.body = Some(body);
        self
    }

    pub(crate) fn job(mut self, id: &JobId) -> Self {
        self.job_id = Some(id.clone());
        self
    }

    /// Marks a request that creates jobs. The key is the same for all of its attempts.
    pub(crate) fn submission(mut self, idempotency_key: String) -> Self {
        self.headers.push(("Idempotency-Key".to_owned(), idempotency_key));
        self.is_submission = true;
        self
    }

    /// Sets whether sending the request twice has the same effect as sending it once. Defaults to true for GET, HEAD,
    /// OPTIONS, PUT and DELETE, and to false for other methods.
    ///
    /// This decides when the request is [retried](crate::ClientBuilder::max_retries). If it is set to true, a GET, HEAD
    /// or OPTIONS request is retried like calls that only read, and any other request like rename, cancel and delete.
    /// If it is set to false, the request is retried like submissions.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotency = Some(match idempotent {
            true if self.is_read() => Idempotency::Safe,
            true => Idempotency::Idempotent,
            false => Idempotency::NonIdempotent,
        });
        self
    }

    fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    pub(crate) fn idempotency(&self) -> Idempotency {
        match &self.idempotency {
            Some(idempotency) => *idempotency,
            None if self.is_read() => Idempotency::Safe,
            None if matches!(self.method.as_str(), "PUT" | "DELETE") => Idempotency::Idempotent,
            None => Idempotency::NonIdempotent,
        }
    }

    pub(crate) fn is_submission(&self) -> bool {
        self.is_submission
    }

    /// Returns the path without the query.
    pub(crate) fn path_only(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Adds the values of the headers that the caller set to the secrets.
    pub(crate) fn secrets(&self, secrets: Secrets) -> Secrets {
        let is_own = |name: &str| ["Content-Type", "Idempotency-Key"].contains(&name);
        let mut values =
            self.headers.iter().filter(|(name, _)| !is_own(name)).map(|(_, value)| value.as_str());
        match values.next() {
            None => secrets,
            Some(first) => secrets.and([first].into_iter().chain(values)),
        }
    }

    /// Refuses a request that cannot be sent, and a path that leads out of the API.
    pub(crate) fn check(&self) -> Result<(), String> {
        // These headers are set by the transport.
        const RESERVED: [&str; 6] =
            ["accept-encoding", "connection", "content-length", "expect", "host", "transfer-encoding"];
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        if !["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&self.method.as_str()) {
            let method = sanitize(&self.method, 40);
            return Err(format!(
                "unsupported method `{method}`; expected GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS in upper case"
            ));
        }
        if let Some(problem) = problem_of_path(&self.path) {
            return Err(format!("the path `{}` {problem}", sanitize(self.path_only(), 200)));
        }
        for (name, value) in &self.headers {
            let bad = |why: &str| Err(format!("the header {:?}: {why}", sanitize(name, 80)));
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                return bad("not a valid header name");
            }
            if HeaderValue::from_str(value).is_err() {
                return bad(BAD_HEADER_VALUE);
            }
            if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
                return bad(RESERVED_HEADER);
            }
        }
        Ok(())
    }
}

pub(crate) const BAD_HEADER_VALUE: &str =
    "its value contains a line break or another character that is not visible ASCII";

pub(crate) const RESERVED_HEADER: &str = "the client sets this header itself; leave it out";

fn problem_of_path(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("does not begin with a slash; expected a path below the API URL, such as /jobs");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains(['#', '\\']) {
        return Some("contains a character that must be percent-encoded");
    }
    let path = path.split('?').next().unwrap_or_default();
    // An encoded slash belongs to its segment.
    let is_dots = |segment: &str| {
        let decoded = percent_decode_str(segment).decode_utf8_lossy();
        matches!(decoded.split(';').next(), Some("." | ".."))
    };
    path.split('/')
        .any(is_dots)
        .then_some("has a segment `.` or `..`, which is not allowed: it would change the path")
}

impl fmt::Debug for RawRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("RawRequest")
            .field("action", &self.action)
            .field("job_id", &self.job_id)
            .field("method", &self.method)
            .field("path", &self.path_only())
            .field("headers", &names)
            .field("body_length", &self.body.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

/// A response as plain data.
///
/// [`Client::send`](crate::Client::send) returns one. [`ClientBuilder::on_response`](crate::ClientBuilder::on_response)
/// passes each response to the client in this form.
///
/// `Debug` shows the status and the length of the body.
#[derive(Clone)]
#[non_exhaustive]
pub struct RawResponse {
    /// The HTTP status.
    pub status: u16,
    /// The headers in the server's order, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, decompressed. Empty if there was none. If the status is not 2xx, the body is cut after 1 MiB.
    pub body: Vec<u8>,
    pub(crate) secrets: Secrets,
    /// The call that the response belongs to. `None` in a hook, which runs before the call has ended.
    pub(crate) context: Option<Box<Context>>,
}

impl RawResponse {
    pub(crate) fn new(status: u16, secrets: &Secrets) -> Self {
        RawResponse { status, headers: Vec::new(), body: Vec::new(), secrets: secrets.clone(), context: None }
    }

    /// Decodes the body as JSON.
    ///
    /// # Errors
    ///
    /// Returns a [decoding error](Error::is_decode) if the body is not valid JSON or does not fit the type. It says
    /// what was requested and how the body begins.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(without_bom(&self.body)).map_err(|error| {
            let kind = self.unreadable(REQUESTED_TYPE, &error.to_string(), None);
            match &self.context {
                Some(context) => Error::new(kind, (**context).clone()),
                None => Error::without_request(kind),
            }
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        headers.next().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn request_id(&self) -> Option<String> {
        self.header("x-request-id").map(|id| self.shown(id, 200))
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn is_html(&self) -> bool {
        is_html(self.header("content-type"), &self.body)
    }

    /// Prepares a string from this response for an error: hides secrets and cuts it.
    pub(crate) fn shown(&self, text: &str, max: usize) -> String {
        sanitize(&self.secrets.hide(text), max)
    }

    /// Returns the beginning of the body.
    pub(crate) fn excerpt(&self) -> String {
        // Secrets are hidden before the string is cut, so that one at the cut is found.
        let start = &self.body[..self.body.len().min(64 * 1024)];
        self.shown(&String::from_utf8_lossy(start), 120)
    }

    pub(crate) fn unreadable(
        &self,
        expected: &'static str,
        reason: &str,
        state: Option<JobState>,
    ) -> ErrorKind {
        let content_type = self.header("content-type").unwrap_or("not given");
        ErrorKind::Decode {
            expected,
            reason: self.shown(reason, 200),
            content_type: self.shown(content_type, 100),
            excerpt: self.excerpt(),
            status: self.status,
            is_html: self.is_html(),
            state,
        }
    }
}

impl fmt::Debug for RawResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawResponse")
            .field("status", &self.status)
            .field("body_length", &self.body.len())
            .finish_non_exhaustive()
    }
}

pub(crate) fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(without_bom(body)).is_ok()
}

pub(crate) fn is_html(content_type: Option<&str>, body: &[u8]) -> bool {
    looks_like_html(body) || (content_type.is_some_and(|kind| kind.contains("html")) && !is_json(body))
}

pub(crate) fn looks_like_html(body: &[u8]) -> bool {
    without_bom(body).trim_ascii_start().starts_with(b"<")
}

/// Some servers write a byte order mark before their JSON.
pub(crate) fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Encodes a string as one segment of a path, or as one part of a query.
pub(crate) fn encode(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Strings that no error may show, although the server may have sent them back: the key and the values of headers.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<[String]>);

impl Secrets {
    /// Adds the values of further headers to the secrets.
    pub(crate) fn and<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> Self {
        // A shorter value is hardly a secret, and hiding it would make other words unreadable.
        const SHORTEST: usize = 6;
        let mut secrets = self.0.to_vec();
        for value in values {
            // The server may show the token without its scheme, such as `Bearer`.
            let token = value.rsplit(' ').next().unwrap_or_default();
            let parts = [value, token].into_iter().filter(|part| part.len() >= SHORTEST);
            secrets.extend(parts.map(str::to_owned));
        }
        // The longest is hidden first, because one may be part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Secrets(secrets.into())
    }

    pub(crate) fn key(key: &str) -> Self {
        Secrets(if key.is_empty() { Arc::default() } else { [key.to_owned()].into() })
    }

    pub(crate) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.0.iter().filter(|secret| !secret.is_empty()) {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "(hidden)");
            }
        }
        text
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str) -> RawRequest {
        RawRequest { path: path.to_owned(), ..RawRequest::new("GET", [""; 0]) }
    }

    #[test]
    fn a_path_cannot_lead_out_of_the_api() {
        for path in ["/", "/jobs", "/jobs/", "/jobs/a%2F..%2Fb", "/jobs/..a", "/jobs?next=../x", "//jobs"] {
            assert_eq!(request(path).check(), Ok(()), "{path}");
        }
        for path in [
            "",
            "jobs",
            "@evil.test/",
            ".evil.test",
            "/..",
            "/jobs/../../x",
            "/jobs/%2e%2E/x",
            "/jobs/.%2e",
            "/jobs\\..\\x",
            "/..;/x",
            "/jobs#x",
            "/jobs /x",
            "/jobs\r\nx: y",
            "/ü",
            "/./x",
        ] {
            assert!(request(path).check().is_err(), "{path}");
        }
    }

    #[test]
    fn a_segment_stays_one_segment() {
        for (segment, path) in
            [("a/../b", "/a%2F..%2Fb"), ("?x#y", "/%3Fx%23y"), ("%2e%2e", "/%252e%252e"), ("ü", "/%C3%BC")]
        {
            let request = RawRequest::new("GET", [segment]);
            assert_eq!((request.path.as_str(), request.check()), (path, Ok(())));
        }
        for segment in ["", ".", ".."] {
            let problem = RawRequest::new("GET", ["jobs", segment]).check().unwrap_err();
            assert_eq!(
                problem,
                format!("the path segment {segment:?} is not allowed: it would change the path")
            );
        }
    }

    #[test]
    fn idempotency_follows_the_method_unless_it_is_set() {
        use Idempotency::{Idempotent, NonIdempotent, Safe};
        for (method, default, set, unset) in [
            ("GET", Safe, Safe, NonIdempotent),
            ("HEAD", Safe, Safe, NonIdempotent),
            ("OPTIONS", Safe, Safe, NonIdempotent),
            ("PUT", Idempotent, Idempotent, NonIdempotent),
            ("DELETE", Idempotent, Idempotent, NonIdempotent),
            ("POST", NonIdempotent, Idempotent, NonIdempotent),
            ("PATCH", NonIdempotent, Idempotent, NonIdempotent),
        ] {
            let request = RawRequest::new(method, ["x"]);
            assert_eq!(request.idempotency(), default, "{method}");
            assert_eq!(request.clone().idempotent(true).idempotency(), set, "{method}");
            assert_eq!(request.idempotent(false).idempotency(), unset, "{method}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for method in ["", "get", "TRACE", "GET /"] {
            assert!(RawRequest::new(method, ["x"]).check().is_err(), "{method}");
        }
        let mut smuggled = RawRequest::new("POST", ["x"]);
        smuggled.headers.push(("content-Length".to_owned(), "0".to_owned()));
        assert_eq!(
            smuggled.check().unwrap_err(),
            "the header \"content-Length\": the client sets this header itself; leave it out"
        );
        let nameless = std::collections::HashMap::from([((1, 2), 3)]);
        let problem = RawRequest::new("POST", ["x"]).json(&nameless).check().unwrap_err();
        assert_eq!(problem, "its body cannot be written as JSON: key must be a string");
    }

    #[test]
    fn debug_shows_no_value_of_a_header_and_no_body() {
        let mut request = RawRequest::new("POST", ["x"]).query("token", "secret").json("secret");
        request.headers.push(("X-Signature".to_owned(), "secret".to_owned()));
        let shown = format!("{request:?}");
        assert!(shown.contains("X-Signature") && !shown.contains("secret"), "{shown}");
        let mut response = RawResponse::new(200, &Secrets::default());
        response.body = b"secret".to_vec();
        response.headers.push(("set-cookie".to_owned(), "secret".to_owned()));
        assert_eq!(format!("{response:?}"), "RawResponse { status: 200, body_length: 6, .. }");
    }

    #[test]
    fn secrets_are_hidden_with_and_without_their_scheme() {
        let secrets = Secrets::key("k").and(["Basic dXNlcjpwYXNz", "on", "signature"]);
        assert_eq!(
            secrets.hide("Basic dXNlcjpwYXNz, dXNlcjpwYXNz, on, signature"),
            "(hidden), (hidden), on, (hidden)"
        );
        assert_eq!(Secrets::key("").hide("text"), "text");
    }
}
