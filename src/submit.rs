//! Submissions: what is sent, and the outcome.

use serde::Serialize;

use crate::api;
use crate::error::{Error, ErrorKind, Result, sanitize};
use crate::http::Http;
use crate::types::{BatchSubmission, LARGEST_BATCH, PartialBatch, Submitted};

pub(crate) fn submit(http: &Http, payload: &(impl Serialize + ?Sized)) -> Result<Submitted> {
    let payload = to_json(payload).map_err(|problem| refused("the payload", &problem))?;
    let request = api::submit(payload, http.idempotency_key());
    let submitted = http.send(&request, http.deadline())?.submitted()?;
    http.address_is_right();
    Ok(submitted)
}

/// Sends the payloads in requests of at most 1000, up to the first that fails, and combines the responses.
pub(crate) fn submit_batch<P: Serialize>(
    http: &Http,
    payloads: impl IntoIterator<Item = P>,
) -> Result<BatchSubmission> {
    // Every payload is checked before the first request.
    let payloads = payloads.into_iter().enumerate().map(|(n, payload)| {
        to_json(&payload).map_err(|problem| refused(&format!("payloads[{n}]"), &problem))
    });
    let payloads = payloads.collect::<Result<Vec<Vec<u8>>>>()?;
    let mut received = BatchSubmission::default();
    let mut from = 0;
    for chunk in payloads.chunks(LARGEST_BATCH) {
        let (batch, outcome) = submit_chunk(http, chunk);
        received.extend(batch);
        outcome.map_err(|error| {
            let to = if error.attempts() > 0 { from + chunk.len() } else { from };
            error.with_partial_batch(PartialBatch {
                received: std::mem::take(&mut received),
                answered: 0..from,
                failed: from..to,
                not_sent: to..payloads.len(),
            })
        })?;
        from += chunk.len();
    }
    Ok(received)
}

/// Returns what the server returned, and whether it can be relied on.
fn submit_chunk(http: &Http, payloads: &[Vec<u8>]) -> (BatchSubmission, Result<()>) {
    let request = api::submit_batch(payloads, http.idempotency_key());
    let response = http.send(&request, http.deadline());
    let response = match response {
        Ok(response) => response,
        Err(error) => return (BatchSubmission::default(), Err(error)),
    };
    match response.batch() {
        Ok(batch) if batch.jobs.len() == payloads.len() => {
            let outcome = response.check_entries(&batch);
            (batch, outcome)
        }
        Ok(batch) => {
            let kind = ErrorKind::EntryCount { payloads: payloads.len(), entries: batch.jobs.len() };
            (batch, Err(response.error(kind)))
        }
        Err(error) => (response.readable_batch(), Err(error)),
    }
}

fn refused(payload: &str, problem: &str) -> Error {
    Error::input(format!("{payload} {problem}; nothing was sent"))
}

/// Returns the payload as JSON, or why it cannot be sent.
fn to_json(payload: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, String> {
    let json = serde_json::to_vec(payload)
        .map_err(|error| format!("cannot be written as JSON: {}", sanitize(&error.to_string(), 300)))?;
    match json.first() {
        Some(b'{') => Ok(json),
        Some(b'"') => {
            Err("is a string, not a JSON object: parse it first, for example into a serde_json::Value".into())
        }
        _ => Err("is not a JSON object".into()),
    }
}
