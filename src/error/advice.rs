//! The message of an error: what failed, on which job, what the server said, and one remedy.

use std::fmt;

use super::kind::{Class, ErrorKind, FailedCancellation, Seen, sanitize, seconds};
use super::{Context, Error, RequestContext};
use crate::types::PartialBatch;

/// The number of characters that a message has at most.
const LONGEST: usize = 250;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut happened = String::new();
        if let Some(Context { action, job_id, .. }) = self.context() {
            let id = job_id.as_ref().map(|id| format!(" {}", sanitize(id.as_str(), 60)));
            happened = format!("{action}{}: ", id.unwrap_or_default());
        }
        happened += &self.kind().to_string();
        let parts = [self.progress(), self.consequence(), self.remedy()].into_iter().flatten();
        let mut rest: String = parts.map(|part| format!("; {part}")).collect();
        rest += &self.origin().map(|origin| format!(" ({origin})")).unwrap_or_default();
        // What the server said is cut, and nothing after it.
        let room = LONGEST.saturating_sub(rest.chars().count() + 1);
        write!(f, "{}{rest}", sanitize(&happened, room))
    }
}

impl Error {
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
    fn consequence(&self) -> Option<String> {
        let request = self.request();
        let class = request.map_or(Class::Read, |request| request.class);
        if self.is_cancelled() {
            return Some("the request to cancel the job was accepted".to_owned());
        }
        if let ErrorKind::WaitTimedOut { cancellation, .. } = self.kind() {
            return match cancellation {
                None => None,
                Some(Ok(())) => Some("the request to cancel it was accepted".to_owned()),
                Some(Err(FailedCancellation { error, may_have_been_processed: true, .. })) => {
                    Some(format!("it may have been cancelled ({})", sanitize(error, 80)))
                }
                Some(Err(FailedCancellation { error, .. })) => {
                    Some(format!("it was not cancelled ({})", sanitize(error, 80)))
                }
            };
        }
        if class == Class::Read || self.partial_batch().is_some() {
            return None;
        }
        let was_sent = request.is_some_and(|request| request.earlier.was_sent);
        if self.kind().is_unsent() && !was_sent {
            return Some("nothing was sent".to_owned());
        }
        self.may_have_been_processed().then(|| match class {
            Class::Submission => "the job may have been submitted".to_owned(),
            _ => "the change may have been made".to_owned(),
        })
    }

    /// Returns what the user can do. The server's own reason needs no remedy of ours.
    fn remedy(&self) -> Option<String> {
        let fixed = match self.kind() {
            ErrorKind::Status { retry_after: Some(pause), .. } => {
                return Some(format!("the server asks to wait {}", seconds(*pause)));
            }
            ErrorKind::Status { is_html: true, .. } | ErrorKind::Decode { is_html: true, .. } => {
                return Some(match self.address() {
                    Some(address) => format!("a gateway may have sent this page, or {address} may be wrong"),
                    None => "a gateway may have sent this page".to_owned(),
                });
            }
            ErrorKind::Status { status: 404 | 405 | 410 | 501, .. } => return self.remedy_of_not_found(),
            ErrorKind::Status { message: Some(_), .. } => return None,
            ErrorKind::Status { status: 401, .. } => {
                let key = self.request().map_or("api_key", |request| request.key);
                return Some(format!("check the API key ({key}): it may be mistyped or revoked"));
            }
            ErrorKind::Status { status: 429, .. } => "send requests less often",
            ErrorKind::Status { status, .. } if *status >= 500 && !self.may_have_been_processed() => {
                "try again later"
            }
            ErrorKind::Redirect { .. } => {
                return Some(match self.address() {
                    Some(address) => format!("redirects are not followed: correct {address}"),
                    None => "redirects are not followed".to_owned(),
                });
            }
            ErrorKind::NotConnected { is_about_address: true, .. } => {
                return Some(match self.address() {
                    Some(address) => format!("check the network and {address}"),
                    None => "check the network".to_owned(),
                });
            }
            ErrorKind::BadResponse(_) => return self.remedy_of_address(),
            ErrorKind::Timeout { .. } | ErrorKind::OutOfTime => "a longer timeout may help",
            ErrorKind::Tls(_) => "a private authority's certificate goes to root_certificates",
            ErrorKind::TooLarge(_) => "raise max_response_bytes",
            ErrorKind::Decode { .. }
            | ErrorKind::UnreadableJob { .. }
            | ErrorKind::BrokenPages(_)
            | ErrorKind::Unconfirmed { seen: Seen::Here { .. }, status: 404 | 410, .. } => CONTRACT,
            ErrorKind::WrongJob(id) if self.is_other_spelling(id) => "use the id as the service spells it",
            ErrorKind::Unconfirmed { seen: Seen::Unknown(_), .. } => return self.remedy_of_address(),
            ErrorKind::Conflict { message: Some(_), .. } => return None,
            ErrorKind::Conflict { seen: Seen::Here { state, .. }, .. }
                if !state.is_terminal() && self.action() == Some("delete job") =>
            {
                let state = sanitize(state.as_str(), 40);
                return Some(format!("the job is {state}: cancel it first, or use cancel_and_delete"));
            }
            ErrorKind::Conflict { seen, .. } => return Some(seen.to_string()),
            ErrorKind::WaitStopped { .. } => "the job was not cancelled",
            ErrorKind::WaitTimedOut { cancellation: None, last_failure: None, .. } => "it was not cancelled",
            ErrorKind::WaitTimedOut {
                last_failure: Some(failure),
                cancellation: None | Some(Ok(())),
                ..
            } => {
                return Some(format!("the last poll failed: {}", sanitize(failure, 100)));
            }
            _ => return None,
        };
        let is_about_cancelling =
            matches!(self.kind(), ErrorKind::WaitStopped { .. } | ErrorKind::WaitTimedOut { .. });
        (!(self.is_cancelled() && is_about_cancelling)).then(|| fixed.to_owned())
    }

    fn remedy_of_not_found(&self) -> Option<String> {
        let is_about_job = self.job_id().is_some() && !matches!(self.status(), Some(405 | 501));
        match self.action() {
            Some("request") => Some("check the path".to_owned()),
            _ if is_about_job => self.remedy_of_address(),
            _ => self.remedy_of_address().or_else(|| Some(CONTRACT.to_owned())),
        }
    }

    /// Until the service has responded once, the address that the user set may be wrong.
    fn remedy_of_address(&self) -> Option<String> {
        let has_responded = self.request().is_some_and(|request| request.has_responded);
        self.address().filter(|_| !has_responded).map(|address| format!("{address} may be wrong"))
    }

    /// Returns whether the response was for the job that was asked for, whose id the service writes differently.
    pub(crate) fn is_other_spelling(&self, id: &str) -> bool {
        let plain = |id: &str| id.replace('-', "").to_ascii_lowercase();
        self.job_id().is_some_and(|asked| plain(id) == plain(asked.as_str()))
    }

    /// Returns the attempts and the server's id of the request.
    fn origin(&self) -> Option<String> {
        let RequestContext { request_id, attempts, elapsed, .. } = self.request()?;
        let tried =
            (*attempts > 1).then(|| format!("tried {attempts} times in {:.1} s", elapsed.as_secs_f64()));
        let request_id = request_id.as_ref().map(|id| format!("request id {}", sanitize(id, 40)));
        let parts: Vec<String> = tried.into_iter().chain(request_id).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn action(&self) -> Option<&'static str> {
        self.context().map(|context| context.action)
    }

    /// Returns the setting that the address comes from, if the user set it.
    fn address(&self) -> Option<&'static str> {
        self.request()?.address
    }
}

const CONTRACT: &str = "see Contract if the HTTP API differs";
