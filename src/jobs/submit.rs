//! Submissions: what is sent, and the outcome.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::config::builder::LARGEST_BATCH;
use crate::contract::Operation;
use crate::error::{Error, Result, sanitize};
use crate::http::call::Http;
use crate::types::{BatchSubmission, PartialBatch, Submitted};

pub(crate) fn submit(http: &Http, payload: &(impl Serialize + ?Sized)) -> Result<Submitted> {
    let payload = check_payload("the payload", payload)?;
    let response = http.send(Operation::Submit { payload: &payload }, http.deadline())?;
    let submitted = Submitted::from_json(&response.text());
    submitted.ok_or_else(|| response.unreadable("an object with the job_id of the new job"))
}

/// Sends the payloads in requests of at most 1000, up to the first that fails, and combines the responses.
pub(crate) fn submit_batch<P: Serialize>(
    http: &Http,
    payloads: impl IntoIterator<Item = P>,
) -> Result<BatchSubmission> {
    // Every payload is checked before the first request.
    let payloads = payloads.into_iter().enumerate();
    let payloads = payloads.map(|(n, payload)| check_payload(&format!("payloads[{n}]"), &payload));
    let payloads = payloads.collect::<Result<Vec<Box<RawValue>>>>()?;
    let payloads: Vec<&RawValue> = payloads.iter().map(|payload| &**payload).collect();
    let mut received = BatchSubmission::default();
    let mut from = 0;
    for chunk in payloads.chunks(LARGEST_BATCH) {
        let (batch, outcome) = submit_chunk(http, chunk);
        received.extend(batch);
        if let Err(error) = outcome {
            let to = if error.attempts() > 0 { from + chunk.len() } else { from };
            return Err(error.with_partial_batch(PartialBatch {
                received,
                answered: 0..from,
                failed: from..to,
                not_sent: to..payloads.len(),
            }));
        }
        from += chunk.len();
    }
    Ok(received)
}

/// Returns all entries that can be read, and whether they are known to be the outcomes of the payloads.
fn submit_chunk(http: &Http, payloads: &[&RawValue]) -> (BatchSubmission, Result<()>) {
    let response = match http.send(Operation::SubmitBatch { payloads }, http.deadline()) {
        Ok(response) => response,
        Err(error) => return (BatchSubmission::default(), Err(error)),
    };
    let (batch, is_complete) = BatchSubmission::from_json(&response.text());
    let outcome = match is_complete {
        false => Err(response.unreadable("the outcome of a batch")),
        true if batch.jobs.len() == payloads.len() => Ok(()),
        true => Err(response.unreadable("a batch with one entry for each payload")),
    };
    (batch, outcome)
}

/// Returns the payload as JSON.
fn check_payload(name: &str, payload: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>> {
    let problem = match to_raw_value(payload) {
        Ok(json) if json.get().starts_with('{') => return Ok(json),
        Ok(json) if json.get().starts_with('"') => "is a string, not an object: parse it first".to_owned(),
        Ok(_) => "is not a JSON object".to_owned(),
        Err(error) => format!("cannot be written as JSON: {}", sanitize(&error.to_string(), 120)),
    };
    Err(Error::input(format!("{name} {problem}; nothing was sent")))
}
