//! The message of an error: what failed, on which job, what the server said, and one remedy.

use std::fmt;

use super::Error;
use super::kind::{Class, Effect, sanitize, seconds};
use crate::types::PartialBatch;

/// The number of characters that a message has at most.
const LONGEST: usize = 250;

/// What the user can do.
#[derive(Clone, Default)]
pub(crate) enum Remedy {
    #[default]
    None,
    Text(String),
    /// The first string, followed by the second one and the setting of the address if that may be wrong.
    Address(String, &'static str),
    /// The service has no such job, or no such request.
    NotFound,
    Key,
    /// The job goes on, unless the user has cancelled it.
    NotCancelled,
}

impl Remedy {
    pub(super) fn text(text: &str) -> Self {
        Remedy::Text(text.to_owned())
    }

    pub(super) fn address(text: &str, and: &'static str) -> Self {
        Remedy::Address(text.to_owned(), and)
    }

    /// The body is an HTML page, so the response may not come from the service.
    pub(super) fn page() -> Self {
        Remedy::address("a gateway may have sent this page", ": check ")
    }
}

pub(super) const CONTRACT: &str = "see Contract if the HTTP API differs";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = &self.0.context;
        let id = context.job_id.as_ref().map(|id| format!(" {}", sanitize(id.as_str(), 60)));
        let happened = match context.action {
            "" => self.summary(),
            action => format!("{action}{}: {}", id.unwrap_or_default(), self.summary()),
        };
        let consequence = self.consequence().map(str::to_owned);
        let parts = [self.progress(), consequence, self.remedy()].into_iter().flatten();
        let mut rest: String = parts.map(|part| format!("; {part}")).collect();
        rest += &self.origin().map(|origin| format!(" ({origin})")).unwrap_or_default();
        // What the server said is cut, and nothing after it.
        let room = LONGEST.saturating_sub(rest.chars().count() + 1);
        write!(f, "{}{rest}", sanitize(&happened, room))
    }
}

impl Error {
    /// Returns what happened, without the call and without advice.
    pub(crate) fn summary(&self) -> String {
        let within = self.0.within.map(|within| format!(" within {}", seconds(within)));
        format!("{}{}", self.0.what, within.unwrap_or_default())
    }

    /// Returns what became of the payloads of a batch.
    fn progress(&self) -> Option<String> {
        let PartialBatch { answered, failed, not_sent, .. } = self.partial_batch()?;
        let may_have_been =
            if self.may_have_been_processed() { "may have been submitted" } else { "were not submitted" };
        let parts = [(answered, "were submitted"), (failed, may_have_been), (not_sent, "were not sent")];
        let parts = parts.iter().filter(|(range, _)| !range.is_empty());
        let parts: Vec<String> =
            parts.map(|(range, what)| format!("{}-{} {what}", range.start, range.end - 1)).collect();
        Some(format!("payloads {}", parts.join(", ")))
    }

    /// Returns what the caller has to know about the change or the submission.
    fn consequence(&self) -> Option<&'static str> {
        match (self.cancellation_accepted(), self.0.context.class, self.effect()) {
            (Some(true), ..) => Some("the request to cancel the job was accepted"),
            (Some(false), _, Effect::Possible) => Some("the job may have been cancelled"),
            (Some(false), ..) => Some("the job was not cancelled"),
            (None, Class::Read, _) => None,
            _ if self.partial_batch().is_some() => None,
            (.., Effect::Unsent) => Some("nothing was sent"),
            (.., Effect::Rejected) => None,
            _ if self.0.context.action == "submit job" => Some("the job may have been submitted"),
            _ => Some("the request may have been processed"),
        }
    }

    /// Returns what the user can do.
    fn remedy(&self) -> Option<String> {
        let context = &self.0.context;
        // Once the service has responded, the address is right.
        let address = context.address.filter(|_| !context.has_responded);
        match (&self.0.remedy, address) {
            (Remedy::None, _) => None,
            (Remedy::Text(text), _) if context.action == "request" && text == CONTRACT => None,
            (Remedy::Text(text), _) => Some(text.clone()),
            (Remedy::Address(text, and), Some(address)) => Some(format!("{text}{and}{address}")),
            (Remedy::Address(text, _), None) => Some(text.clone()).filter(|text| !text.is_empty()),
            (Remedy::NotFound, _) if context.action == "request" => Some("check the path".to_owned()),
            (Remedy::NotFound, Some(address)) if self.is_not_found() && self.job_id().is_some() => {
                Some(format!("the id or {address} may be wrong"))
            }
            (Remedy::NotFound, Some(address)) => Some(format!("{address} may be wrong")),
            (Remedy::NotFound, None) if self.is_not_found() && self.job_id().is_some() => None,
            (Remedy::NotFound, None) => Some(CONTRACT.to_owned()),
            (Remedy::Key, _) => Some(format!("check the key from {}", context.key)),
            (Remedy::NotCancelled, _) if self.cancellation_accepted().is_some() => None,
            (Remedy::NotCancelled, _) => Some("the job was not cancelled".to_owned()),
        }
    }

    /// Returns the attempts and the server's id of the request.
    fn origin(&self) -> Option<String> {
        let context = &self.0.context;
        let attempts = context.attempts;
        let tried = (attempts > 1)
            .then(|| format!("tried {attempts} times in {:.1} s", context.elapsed.as_secs_f64()));
        let request_id = self.request_id().map(|id| format!("request id {}", sanitize(id, 40)));
        let parts: Vec<String> = tried.into_iter().chain(request_id).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
