//! What the body of a response says, and what of it may be shown. Pure.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;
use ureq::http::HeaderMap;

use crate::error::sanitize;

/// `Retry-After`: seconds, or an HTTP date. No pause, or a date in the past, leaves the client to its own pauses.
pub(crate) fn parse_retry_after(text: &str, sent: Option<SystemTime>) -> Option<Duration> {
    let text = text.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(sent?).ok(),
    };
    pause.filter(|pause| !pause.is_zero())
}

/// Returns the message in the body of an error response, in each form that the contract lists: FastAPI's `detail` as a
/// string or as a list, RFC 9457, `error`, `message`, `msg`, `description`, plain text, or the title of an HTML page.
pub(crate) fn error_message(body: &str) -> Option<String> {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let text = match json.as_ref().and_then(message_of_json) {
        Some(message) => message,
        None if is_html(body.as_bytes()) => match title(body) {
            Some(title) => format!("an HTML page, {:?}", sanitize(title, 200)),
            None => "an HTML page".to_owned(),
        },
        None => body.to_owned(),
    };
    let text = sanitize(&text, 300);
    let says_nothing = ["", "{}", "[]", "null", "\"\""].contains(&text.as_str());
    (!says_nothing).then_some(text)
}

/// Returns the message in a field of the object, or those in a list. FastAPI names the place in the request.
fn message_of_json(value: &Value) -> Option<String> {
    const NAMES: [&str; 6] = ["detail", "message", "msg", "description", "error", "title"];
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Array(values) => {
            let messages: Vec<String> = values.iter().filter_map(message_of_json).collect();
            (!messages.is_empty()).then(|| messages.join("; "))
        }
        Value::Object(_) => {
            let message = NAMES.iter().find_map(|name| message_of_json(&value[name]))?;
            let place = value["loc"].as_array().into_iter().flatten().filter(|part| **part != "body");
            let place: Vec<String> = place.map(|part| part.to_string().replace('"', "")).collect();
            let code = value["code"].as_str().map(|code| format!(" ({code})")).unwrap_or_default();
            let colon = if place.is_empty() { "" } else { ": " };
            Some(format!("{}{colon}{message}{code}", place.join(".")))
        }
        _ => None,
    }
}

fn title(page: &str) -> Option<&str> {
    // Only ASCII letters change, so byte positions stay the same.
    let lower = page.to_ascii_lowercase();
    let from = lower.find("<title>")? + "<title>".len();
    let to = from + lower[from..].find("</title>")?;
    Some(page[from..to].trim())
}

/// Decodes JSON. Checking the encoding of the whole body once is cheaper than checking each string in it.
pub(crate) fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    serde_json::from_str(std::str::from_utf8(without_bom(body)).ok()?).ok()
}

/// Returns whether a body is a page. Its label says little: `OK` may be called HTML.
pub(crate) fn is_html(body: &[u8]) -> bool {
    without_bom(body).trim_ascii_start().starts_with(b"<")
}

/// Some servers write a byte order mark before their JSON.
pub(crate) fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Returns what no error may show, although the server may have sent it back: the values of headers that are sensitive,
/// such as the key. The longest comes first, because one may be part of another.
pub(crate) fn secrets(headers: &HeaderMap) -> Vec<String> {
    // A shorter value is hardly a secret, and hiding it would make other words unreadable.
    const SHORTEST: usize = 6;
    let values = headers.values().filter(|value| value.is_sensitive());
    let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    // The server may show the token without its scheme, such as `Bearer`.
    let parts = values.flat_map(|value| [value.rsplit(' ').next().unwrap_or_default().to_owned(), value]);
    let mut secrets: Vec<String> = parts.filter(|part| part.len() >= SHORTEST).collect();
    secrets.sort_by_key(|secret| Reverse(secret.len()));
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::parse_header;

    fn message(body: &str) -> Option<String> {
        error_message(body)
    }

    #[test]
    fn every_error_body_of_the_contract_is_understood() {
        let cases = [
            (r#"{"detail": "Job not found"}"#, "Job not found"),
            (
                r#"[{"loc": ["body", "name"], "msg": "too long"}, {"loc": ["body", 3, "charge"], "msg": "not a number"}]"#,
                "name: too long; 3.charge: not a number",
            ),
            (r#"{"detail": [{"loc": ["body"], "msg": "required"}]}"#, "required"),
            (r#"{"detail": [{"loc": ["query", "limit"], "msg": "required"}]}"#, "query.limit: required"),
            (r#"{"detail": {"reason": "limit", "max": 3}}"#, r#"{"detail": {"reason": "limit", "max": 3}}"#),
            (r#"{"title": "Conflict", "status": 409, "detail": "still running"}"#, "still running"),
            (r#"{"title": "Conflict", "status": 409}"#, "Conflict"),
            (r#"{"error": {"message": "no such key", "code": "auth_7"}}"#, "no such key (auth_7)"),
            (r#"{"error": {"message": "no such key"}}"#, "no such key"),
            (r#"{"error": "no such key"}"#, "no such key"),
            (r#"{"error": "Not Found", "message": "no such job"}"#, "no such job"),
            (r#"{"message": "slow down"}"#, "slow down"),
            (r#"{"msg": "slow down"}"#, "slow down"),
            (r#"{"code": 7, "description": "slow down"}"#, "slow down"),
            ("upstream connect error", "upstream connect error"),
            (
                "<html><head><TITLE>502 Bad\n Gateway</TITLE></head></html>",
                r#"an HTML page, "502 Bad Gateway""#,
            ),
            ("<html><body>oops</body></html>", "an HTML page"),
            (r#"{"unheard": "of"}"#, r#"{"unheard": "of"}"#),
            (r#"["a", "list"]"#, "a; list"),
        ];
        for (body, expected) in cases {
            assert_eq!(message(body).as_deref(), Some(expected), "{body}");
        }
        for nothing in ["", " \r\n ", "{}", "[]", "null", r#""""#] {
            assert_eq!(message(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now = httpdate::parse_http_date("Sat, 02 May 2026 14:32:01 GMT").unwrap();
        let read = |text| parse_retry_after(text, Some(now));
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sat, 02 May 2026 14:32:11 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(read("99999999999"), Some(Duration::from_secs(99_999_999_999)));
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
        assert_eq!(message.chars().count(), 301);
    }

    #[test]
    fn secrets_are_hidden_with_and_without_their_scheme() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "Basic dXNlcjpwYXNz"), ("b", "on"), ("content-type", "signature")] {
            headers.extend([parse_header("", name, value).unwrap()]);
        }
        assert_eq!(secrets(&headers), ["Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"]);
    }
}
