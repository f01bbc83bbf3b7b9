//! Whether the body of a response to a change contradicts its success status. Pure.

use serde_json::{Map, Value};

use crate::error::{CANCEL_JOB, DELETE_JOB};
use crate::raw::{RawResponse, looks_like_html, without_bom};

/// What a body says against the change that its status confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objection {
    /// Nothing was done.
    Denied,
    /// It is not known what was done.
    Unclear,
}

/// A body without an objection. `None` if it is not JSON.
pub(crate) fn body(response: &RawResponse, action: &str) -> Result<Option<Value>, Objection> {
    let body = without_bom(&response.body).trim_ascii();
    if body.is_empty() {
        return Ok(None);
    }
    let is_encoded = response.header("content-encoding").is_some_and(|encoding| {
        !["gzip", "x-gzip", "identity"].iter().any(|known| encoding.eq_ignore_ascii_case(known))
    });
    if is_encoded || looks_like_html(body) {
        return Err(Objection::Unclear);
    }
    if let Ok(value) = serde_json::from_slice(body) {
        return match objection(&value, action, 0) {
            Some(objection) => Err(objection),
            None => Ok(Some(value)),
        };
    }
    // A single word such as `OK` may be labelled as HTML. Any other HTML is a page, such as one for signing in.
    let text = String::from_utf8_lossy(body);
    let is_called = |name: &str| response.header("content-type").is_some_and(|kind| kind.contains(name));
    let is_a_word =
        !text.contains(|c: char| c.is_whitespace() || !(c.is_alphanumeric() || "._-!".contains(c)));
    let is_a_page = is_called("html") && !is_a_word;
    if is_a_page || text.contains(['{', '[', '\0', '\u{fffd}']) || tells_of_failure(&text) {
        return Err(Objection::Unclear);
    }
    Ok(None)
}

/// The objects that may describe the job: the body, and what stands within its envelopes.
pub(crate) fn objects(value: &Value) -> Vec<&Map<String, Value>> {
    const ENVELOPES: [&str; 6] = ["job", "data", "result", "response", "item", "attributes"];
    fn collect<'a>(value: &'a Value, depth: u8, found: &mut Vec<&'a Map<String, Value>>) {
        match value {
            Value::Object(fields) => {
                found.push(fields);
                if depth < 3 {
                    let inner = ENVELOPES.iter().filter_map(|name| fields.get(*name));
                    inner.for_each(|value| collect(value, depth + 1, found));
                }
            }
            Value::Array(entries) if entries.len() == 1 && depth < 3 => {
                collect(&entries[0], depth + 1, found)
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(value, 0, &mut found);
    found
}

fn objection(value: &Value, action: &str, depth: u8) -> Option<Objection> {
    /// Where the outcome may stand.
    const OUTCOMES: [&str; 8] =
        ["job", "data", "result", "response", "item", "results", "responses", "items"];
    match value {
        Value::Bool(false) => Some(Objection::Denied),
        Value::String(text) => tells_of_failure(text).then_some(Objection::Unclear),
        Value::Array(entries) if depth < 3 => {
            let mut entries = entries.iter().filter(|entry| entry.is_object());
            entries.find_map(|entry| objection(entry, action, depth + 1))
        }
        Value::Object(fields) => {
            let own = objection_of(fields, action);
            if own.is_some() || is_job(fields) || depth >= 3 {
                return own;
            }
            let mut inner = OUTCOMES.iter().filter_map(|name| fields.get(*name));
            inner.find_map(|value| objection(value, action, depth + 1))
        }
        _ => None,
    }
}

fn objection_of(fields: &Map<String, Value>, action: &str) -> Option<Objection> {
    let has = |names: &[&str], holds: fn(&Value) -> bool| {
        names.iter().any(|name| fields.get(*name).is_some_and(holds))
    };
    let is_nothing = |value: &Value| means_no(value) || !is_present(value);
    // In the response to another change, these may be fields of the job.
    let is_not_deleted =
        action == DELETE_JOB && has(&["deleted", "deleted_count", "deletedCount"], is_nothing);
    let is_not_cancelled =
        action == CANCEL_JOB && !fields.contains_key("state") && has(&["cancelled", "canceled"], means_no);
    if has(&["success", "ok"], is_nothing) || is_not_deleted || is_not_cancelled {
        return Some(Objection::Denied);
    }
    // A job that failed may have an `error` of its own.
    if is_job(fields) {
        return None;
    }
    let tells = has(&["error", "errors", "exception", "errorMessage", "errorType", "errorCode"], is_present)
        || has(&["status", "code", "statusCode", "status_code"], is_error_status)
        || has(&["detail"], |detail| detail.as_str().is_some_and(tells_of_failure));
    tells.then_some(Objection::Unclear)
}

/// Whether this describes a job, and not what became of a request.
fn is_job(fields: &Map<String, Value>) -> bool {
    let has = |name: &str| fields.contains_key(name);
    has("state") || (has("job_id") && ["job_type", "created_at", "name"].iter().any(|name| has(name)))
}

/// `false`, in the forms in which services write it.
fn means_no(value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => ["false", "no", "0"].iter().any(|word| value.eq_ignore_ascii_case(word)),
        _ => false,
    }
}

fn is_present(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(entries) => !entries.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

fn is_error_status(value: &Value) -> bool {
    const WORDS: [&str; 9] =
        ["error", "fail", "failed", "failure", "denied", "rejected", "refused", "forbidden", "not_found"];
    let number = match value {
        Value::String(text) if WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) => return true,
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    };
    number.is_some_and(|status| (400..600).contains(&status))
}

/// Whether a text begins as messages about failures do.
fn tells_of_failure(text: &str) -> bool {
    const BEGINNINGS: [&str; 10] = [
        "error",
        "fail",
        "denied",
        "forbidden",
        "not ",
        "cannot",
        "could not",
        "unable",
        "unauthorized",
        "invalid",
    ];
    let text = text.trim_start().to_ascii_lowercase();
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
}
