//! Requests as plain data, and the check of what is sent.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use ureq::http::{self, HeaderMap, HeaderName, HeaderValue};

use crate::error::{Class, Error, Result, sanitize};

/// A request as plain data.
///
/// A [`Contract`](crate::Contract) makes one for each operation, and [`Client::send`](crate::Client::send) sends one for
/// which this crate has no method. It is checked when it is sent: one that cannot be sent is an error, and nothing is
/// sent.
///
/// `Debug` shows neither the query, nor the values of headers, nor the body.
///
/// # Examples
///
/// This assumes that the service returns the result of a job at `/jobs/{job_id}/result`, which is not documented:
///
/// ```no_run
/// use atomiverse::Request;
/// # let client = atomiverse::Client::from_env()?;
///
/// let request = Request::new("GET", ["jobs", "9f2c", "result"]).query("format", "json");
/// let result: serde_json::Value = client.send(request)?.json()?;
/// println!("{}", result["energy"]);
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Request {
    /// The HTTP method, in upper case.
    pub method: String,
    /// The path below the API URL, percent-encoded, with the query if there is one, such as `/jobs/9f2c?full=true`.
    pub path: String,
    /// The headers of this request, such as `Content-Type`. The headers that the client adds, such as the one with the
    /// API key, are not among them. A header in this list replaces one of the client with the same name.
    pub headers: Vec<(String, String)>,
    /// The body, if there is one.
    pub body: Option<Vec<u8>>,
    is_idempotent: Option<bool>,
    /// Why the request is not sent.
    problem: Option<Problem>,
}

/// How an error is created, and its text.
type Problem = (fn(String) -> Error, String);

impl Request {
    /// Creates a request to the path that consists of these segments, below the API URL.
    ///
    /// Each segment becomes exactly one segment of the path: `/`, `?` and other special characters in it are
    /// percent-encoded. A request with an empty segment, `.` or `..` cannot be sent.
    ///
    /// # Examples
    ///
    /// ```
    /// let request = atomiverse::Request::new("GET", ["jobs", "a/b", "result"]).query("page", 2);
    /// assert_eq!(request.path, "/jobs/a%2Fb/result?page=2");
    /// ```
    pub fn new(method: &str, segments: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut request = Request::with_path(method, "");
        for segment in segments {
            let segment = segment.as_ref();
            if matches!(segment, "" | "." | "..") {
                let problem =
                    format!("the path segment {segment:?} is not allowed: it would change the path");
                request.problem = Some((Error::input, problem));
            }
            request.path.push('/');
            request.path += &encode(segment);
        }
        request
    }

    /// Creates a request to this path below the API URL, which is percent-encoded already, such as `/jobs/`.
    pub fn with_path(method: &str, encoded_path: &str) -> Self {
        let (method, path) = (method.to_owned(), encoded_path.to_owned());
        Request { method, path, headers: Vec::new(), body: None, is_idempotent: None, problem: None }
    }

    /// Creates a request that is not sent, because the service has none for the operation. The call fails with this
    /// reason, and [`Error::is_unsupported`](crate::Error::is_unsupported) is true.
    pub fn unsupported(why: impl Into<String>) -> Self {
        let why = sanitize(&why.into(), 200);
        Request { problem: Some((Error::unsupported, why)), ..Request::with_path("GET", "/") }
    }

    /// Creates a request that is not sent, because it could not be made, for example because no token could be had. The
    /// call fails with this reason, and [`Error::is_transient`](crate::Error::is_transient) is true.
    pub fn failed(why: impl Into<String>) -> Self {
        let why = sanitize(&why.into(), 200);
        Request { problem: Some((Error::not_made, why)), ..Request::with_path("GET", "/") }
    }

    /// Adds a parameter to the query. Its name and value are percent-encoded.
    pub fn query(mut self, name: impl AsRef<str>, value: impl fmt::Display) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        self.path.push(separator);
        self.path += &format!("{}={}", encode(name.as_ref()), encode(&value.to_string()));
        self
    }

    /// Adds a parameter to the query if there is a value.
    pub fn query_if(self, name: impl AsRef<str>, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Sets a header, in place of one with the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        self.headers.push((name, value.into()));
        self
    }

    /// Sets the body to this value as JSON, and the header `Content-Type` to `application/json`.
    ///
    /// A request with a value that cannot be written as JSON cannot be sent.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.body("application/json", body),
            Err(error) => {
                let problem = format!("its body cannot be written as JSON: {error}");
                self.problem = Some((Error::input, problem));
                self
            }
        }
    }

    /// Sets the body, and the header `Content-Type`.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", content_type)
    }

    /// Sets whether sending the request twice has the same effect as sending it once. Defaults to true for GET, HEAD,
    /// OPTIONS, PUT and DELETE, and to false for other methods.
    ///
    /// This decides when a request passed to [`Client::send`](crate::Client::send) is
    /// [retried](crate::ClientBuilder::max_retries): GET, HEAD and OPTIONS like calls that read, others like rename,
    /// cancel and delete, and like submissions if this is false. It has no effect on the request for another
    /// [`Operation`](crate::Operation).
    pub fn idempotent(self, idempotent: bool) -> Self {
        Request { is_idempotent: Some(idempotent), ..self }
    }

    /// Returns what sending the request twice does.
    pub(crate) fn class(&self) -> Class {
        match (self.is_idempotent, self.method.as_str()) {
            (None | Some(true), "GET" | "HEAD" | "OPTIONS") => Class::Read,
            (None, "PUT" | "DELETE") | (Some(true), _) => Class::Idempotent,
            _ => Class::Submission,
        }
    }

    /// Returns the path without the query.
    pub(crate) fn path_only(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Returns the request as it is sent to this API. Its headers replace those that are given. Refuses a request that
    /// cannot or must not be sent, and a path that leads out of the API.
    pub(crate) fn into_http(self, api_url: &str, mut headers: HeaderMap) -> Result<http::Request<Vec<u8>>> {
        const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        if let Some((error, why)) = self.problem {
            return Err(error(why));
        }
        if !METHODS.contains(&self.method.as_str()) {
            return Err(Error::input(format!("unsupported method `{}`", sanitize(&self.method, 40))));
        }
        if !is_sound(&self.path) {
            let path = sanitize(self.path_only(), 80);
            return Err(Error::input(format!("`{path}` is not an encoded path of the API, such as /jobs")));
        }
        for (name, value) in &self.headers {
            let (name, value) = parse_header("the header", name, value)?;
            headers.insert(name, value);
        }
        let builder =
            http::Request::builder().method(self.method.as_str()).uri(format!("{api_url}{}", self.path));
        let request = builder.body(self.body.unwrap_or_default());
        let mut request = request.map_err(|error| Error::input(error.to_string()))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Checks and converts a header that a user may set. The error does not show its value.
pub(crate) fn parse_header(setting: &str, name: &str, value: &str) -> Result<(HeaderName, HeaderValue)> {
    // The transport sets these headers.
    const RESERVED: [&str; 6] =
        ["accept-encoding", "connection", "content-length", "expect", "host", "transfer-encoding"];
    const SHOWN: [&str; 3] = ["content-type", "idempotency-key", "user-agent"];
    let bad = |why: &str| Error::input(format!("{setting} {:?}: {why}", sanitize(name, 80)));
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("not a valid header name"))?;
    if RESERVED.contains(&header.as_str()) {
        return Err(bad("the client sets this header itself; leave it out"));
    }
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| bad("its value contains a line break or another character that is not visible ASCII"))?;
    value.set_sensitive(!SHOWN.contains(&header.as_str()));
    Ok((header, value))
}

/// Returns whether the path is encoded and stays in the API. An encoded slash belongs to its segment.
fn is_sound(path: &str) -> bool {
    let is_dots = |segment: &str| {
        let decoded = percent_decode_str(segment).decode_utf8_lossy();
        matches!(decoded.split(';').next(), Some("." | ".."))
    };
    path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\\".contains(&byte))
        && !path.split('?').next().unwrap_or_default().split('/').any(is_dots)
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, path) = (&self.method, self.path_only());
        f.debug_struct("Request").field("method", method).field("path", &path).finish_non_exhaustive()
    }
}

/// Encodes a string as one segment of a path, or as one part of a query.
pub(crate) fn encode(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sent(request: Request) -> bool {
        request.into_http("http://localhost/api", HeaderMap::new()).is_ok()
    }

    #[test]
    fn a_path_cannot_lead_out_of_the_api() {
        for path in ["/", "/jobs", "/jobs/", "/jobs/a%2F..%2Fb", "/jobs/..a", "/jobs?next=../x", "//jobs"] {
            assert!(is_sent(Request::with_path("GET", path)), "{path}");
        }
        let control = "/jobs\r\nx: y";
        for path in
            ["", "jobs", "@evil.test/", ".evil.test", "/..", "/jobs/../../x", "/jobs/%2e%2E/x", control]
                .into_iter()
                .chain(["/jobs/.%2e", "/jobs\\..\\x", "/..;/x", "/jobs#x", "/jobs /x", "/ü", "/./x"])
        {
            assert!(!is_sent(Request::with_path("GET", path)), "{path}");
        }
    }

    #[test]
    fn a_segment_stays_one_segment() {
        for (segment, path) in
            [("a/../b", "/a%2F..%2Fb"), ("?x#y", "/%3Fx%23y"), ("%2e%2e", "/%252e%252e"), ("ü", "/%C3%BC")]
        {
            let request = Request::new("GET", [segment]);
            assert_eq!(request.path, path);
            assert!(is_sent(request));
        }
        for segment in ["", ".", ".."] {
            assert!(!is_sent(Request::new("GET", ["jobs", segment])), "{segment:?}");
        }
    }

    #[test]
    fn idempotency_follows_the_method_unless_it_is_set() {
        use Class::{Idempotent, Read, Submission};
        for (method, default, if_idempotent) in [
            ("GET", Read, Read),
            ("HEAD", Read, Read),
            ("OPTIONS", Read, Read),
            ("PUT", Idempotent, Idempotent),
            ("DELETE", Idempotent, Idempotent),
            ("POST", Submission, Idempotent),
            ("PATCH", Submission, Idempotent),
        ] {
            let request = Request::new(method, ["x"]);
            assert_eq!(request.class(), default, "{method}");
            assert_eq!(request.clone().idempotent(true).class(), if_idempotent, "{method}");
            assert_eq!(request.idempotent(false).class(), Submission, "{method}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for method in ["", "get", "TRACE", "GET /"] {
            assert!(!is_sent(Request::new(method, ["x"])), "{method}");
        }
        for (name, value) in [("content-Length", "0"), ("Host", "x"), ("a b", "x"), ("X-Y", "a\r\nb: c")] {
            assert!(!is_sent(Request::new("POST", ["x"]).header(name, value)), "{name}");
        }
        let nameless = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(!is_sent(Request::new("POST", ["x"]).json(&nameless)));
    }

    #[test]
    fn debug_shows_no_query_no_value_of_a_header_and_no_body() {
        let request = Request::new("POST", ["x"]).query("token", "secret").json("secret");
        let shown = format!("{:?}", request.header("X-Signature", "secret"));
        assert!(shown.contains("POST") && !shown.contains("secret"), "{shown}");
    }
}
