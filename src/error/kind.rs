//! What happened: how each error is made, with all that follows from it.

use std::time::Duration;

use super::advice::{CONTRACT, Remedy};
use super::{Error, Inner};
use crate::types::{JobId, JobState};

/// What sending a request twice does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Class {
    /// The request changes nothing on the server: list, get.
    #[default]
    Read,
    /// Sending it twice has the same effect as sending it once: rename, cancel, delete.
    Idempotent,
    /// Sending it twice may create two jobs.
    Submission,
}

/// What a request has done on the server. Several requests have the greatest of their effects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// No complete request was sent.
    #[default]
    Unsent,
    /// The server has changed nothing.
    Rejected,
    /// The server may have made the change.
    Possible,
}

/// The kinds of errors that this crate or its users must recognize. All else is in the other fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    #[default]
    Other,
    Unsupported,
    /// The server may have closed a connection that had served an earlier request before it received this one.
    ConnectionLost {
        was_reused: bool,
    },
    Decode,
    UnreadableJob,
}

impl Inner {
    fn unsent(what: impl Into<String>) -> Self {
        Inner { what: what.into(), ..Inner::default() }
    }

    fn possible(what: impl Into<String>) -> Self {
        Inner { effect: Effect::Possible, ..Inner::unsent(what) }
    }
}

impl Error {
    fn new(inner: Inner) -> Self {
        Error(Box::new(inner))
    }

    // Failures before a request was sent.

    /// The input, the configuration or the request is not valid.
    pub(crate) fn input(what: impl Into<String>) -> Self {
        Error::new(Inner { is_about_request: true, ..Inner::unsent(what) })
    }

    /// The contract says that the service has no request for this.
    pub(crate) fn unsupported(why: impl Into<String>) -> Self {
        let kind = ErrorKind::Unsupported;
        Error::new(Inner { kind, is_about_request: true, ..Inner::unsent(why) })
    }

    /// The request could not be made this time, or was not made because others had failed.
    pub(crate) fn not_made(why: impl Into<String>) -> Self {
        Error::new(Inner { is_transient: true, ..Inner::unsent(why) })
    }

    /// No connection was made. The address may be wrong, unless the failure is about this machine or a proxy.
    pub(crate) fn not_connected(reason: &str, is_timeout: bool, is_about_address: bool) -> Self {
        let network = Remedy::address("check the network", " and ");
        Error::new(Inner {
            is_timeout,
            is_transient: true,
            remedy: if is_about_address { network } else { Remedy::None },
            ..Inner::unsent(format!("no connection: {reason}"))
        })
    }

    /// The connection is not secure. It may be one that was secure when the request was sent.
    pub(crate) fn tls(reason: &str, effect: Effect) -> Self {
        let remedy = Remedy::text("for a private certificate authority, set root_certificates");
        Error::new(Inner { remedy, effect, ..Inner::unsent(format!("no secure connection: {reason}")) })
    }

    /// The deadline had passed before the request could be sent.
    pub(crate) fn out_of_time() -> Self {
        let inner = Inner::unsent("no time was left to send the request");
        Error::new(Inner { is_timeout: true, is_transient: true, ..inner })
    }

    // Requests without a complete response.

    /// A stop token ended the call. Whatever was in flight then was abandoned.
    pub(crate) fn stopped(is_in_flight: bool) -> Self {
        let effect = if is_in_flight { Effect::Possible } else { Effect::Unsent };
        Error::new(Inner { effect, is_stopped: true, ..Inner::unsent("stopped") })
    }

    pub(crate) fn connection_lost(reason: &str, was_reused: bool) -> Self {
        let kind = ErrorKind::ConnectionLost { was_reused };
        let what = format!("the connection broke: {reason}");
        Error::new(Inner { kind, is_transient: true, ..Inner::possible(what) })
    }

    pub(crate) fn timeout() -> Self {
        Error::new(Inner {
            is_timeout: true,
            is_transient: true,
            remedy: Remedy::text("a longer timeout may help"),
            ..Inner::possible("no response")
        })
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        let what = format!("the response is larger than {limit} bytes");
        Error::new(Inner { remedy: Remedy::text("raise max_response_bytes"), ..Inner::possible(what) })
    }

    /// The response is not HTTP, or its body is broken.
    pub(crate) fn bad_response(what: String) -> Self {
        Error::new(Inner { remedy: Remedy::address("", "check "), ..Inner::possible(what) })
    }

    // Responses.

    /// The status is that of a failure or a redirect, or the response leaves open what happened. `said` is the server's
    /// message, the target of the redirect, or the beginning of the body.
    pub(crate) fn from_status(
        status: u16,
        name: &str,
        said: Option<String>,
        retry_after: Option<Duration>,
        is_html: bool,
    ) -> Self {
        let remedy = match status {
            300..=399 => Remedy::address("redirects are not followed", ": correct "),
            _ if is_html => Remedy::page(),
            404 | 405 | 410 | 501 => Remedy::NotFound,
            401 => Remedy::Key,
            // The server's own reason needs no remedy of ours.
            _ if said.is_some() => Remedy::None,
            429 => Remedy::text("send requests less often"),
            _ => Remedy::None,
        };
        let pause = retry_after.map(|pause| format!("the server asks to wait {}", seconds(pause)));
        // The whole error stays readable.
        let text = said.as_deref().map(|said| format!(": {}", sanitize(said, 120))).unwrap_or_default();
        Error::new(Inner {
            what: format!("{status} {name}{text}"),
            effect: match status {
                307 | 308 => Effect::Rejected,
                // A redirect with another status may be the response to a change that was made.
                ..=399 | 408 | 500.. => Effect::Possible,
                _ => Effect::Rejected,
            },
            status: Some(status),
            server_message: said.filter(|_| status >= 400),
            retry_after,
            is_about_request: status >= 400 && !is_html,
            // The statuses above 511 are those of gateways.
            is_transient: matches!(status, 408 | 425 | 429 | 500..) && !matches!(status, 501 | 505),
            remedy: pause.map_or(remedy, Remedy::Text),
            ..Inner::default()
        })
    }

    /// Adds what the job showed after a change that the service refused or whose outcome is not clear. This is a
    /// conflict (409, or 400 for a cancel), a "not found" although the job is not known to be gone, or a success that
    /// shows no effect.
    ///
    /// `seen` is what the job showed, in words, and `failure` is why it could not be loaded.
    pub(crate) fn with_seen(mut self, seen: String, state: Option<JobState>, failure: Option<Error>) -> Self {
        let inner = &mut *self.0;
        let status = inner.status.unwrap_or_default();
        let is_refusal = matches!(status, 400 | 409);
        let is_running = state.as_ref().is_some_and(|state| !state.is_terminal());
        if let Some(failure) = &failure {
            inner.is_timeout = failure.is_timeout();
            inner.is_stopped = failure.is_stopped();
            inner.is_transient = failure.is_transient() && !is_refusal;
            inner.context.has_responded |= failure.0.context.has_responded;
        }
        inner.is_about_request = is_refusal;
        inner.remedy = match failure {
            _ if is_refusal && inner.server_message.is_some() => Remedy::None,
            None if is_refusal && is_running && inner.context.action == "delete job" => {
                Remedy::Text(format!("{seen}: cancel it first, or use cancel_and_delete"))
            }
            None if matches!(status, 404 | 410) => Remedy::Text(format!("yet {seen}; {CONTRACT}")),
            Some(_) if !is_refusal && !inner.is_transient => Remedy::address(&seen, ": check "),
            _ => Remedy::Text(seen),
        };
        inner.state = state;
        self
    }

    /// The body of a success cannot be read. The state of a job may be known nevertheless.
    pub(crate) fn decode(
        status: u16,
        what: String,
        is_json: bool,
        is_html: bool,
        state: Option<JobState>,
    ) -> Self {
        Error::new(Inner {
            kind: ErrorKind::Decode,
            status: Some(status),
            is_about_request: is_json,
            state,
            remedy: if is_html { Remedy::page() } else { Remedy::text(CONTRACT) },
            ..Inner::possible(what)
        })
    }

    /// A job of a page cannot be read. The position is counted from 1.
    pub(crate) fn unreadable_job(
        position: usize,
        job_id: Option<JobId>,
        state: Option<JobState>,
        why: &str,
    ) -> Self {
        let id = job_id.as_ref().map(|id| format!(" {}", sanitize(id.as_str(), 60))).unwrap_or_default();
        let what = format!("job{id} (number {position} of the page) cannot be read: {why}");
        let (kind, remedy) = (ErrorKind::UnreadableJob, Remedy::text(CONTRACT));
        Error::new(Inner { kind, job_id, state, remedy, ..Inner::possible(what) })
    }

    pub(crate) fn wrong_job(id: &str) -> Self {
        let what = format!("the server responded with another job, {id}");
        Error::new(Inner { is_about_request: true, ..Inner::possible(what) })
    }

    /// The pages of a listing cannot be all of it.
    pub(crate) fn broken_pages(what: String) -> Self {
        Error::new(Inner { remedy: Remedy::text(CONTRACT), ..Inner::possible(what) })
    }

    // Waits.

    /// A wait was stopped, or timed out if there is a time-out.
    pub(crate) fn wait_ended(timeout: Option<Duration>, state: Option<JobState>) -> Self {
        let mut what = match timeout {
            Some(timeout) => format!("not ended after {}", seconds(timeout)),
            None => "stopped".to_owned(),
        };
        if let Some(state) = &state {
            what += &format!("; the job was {}", sanitize(state.as_str(), 40));
        }
        Error::new(Inner {
            state,
            is_timeout: timeout.is_some(),
            is_transient: timeout.is_some(),
            is_stopped: timeout.is_none(),
            remedy: Remedy::NotCancelled,
            ..Inner::unsent(what)
        })
    }

    /// Adds why the last poll could not read the job.
    pub(crate) fn with_last_failure(mut self, why: &str) -> Self {
        self.0.remedy = Remedy::Text(format!("the last poll failed: {}", sanitize(why, 100)));
        self
    }

    /// Adds that the job could not be cancelled.
    pub(crate) fn with_failed_cancellation(mut self, failed: &Error) -> Self {
        let inner = &mut *self.0;
        inner.cancellation_accepted = Some(false);
        inner.effect = if failed.may_have_been_processed() { Effect::Possible } else { Effect::Rejected };
        inner.context.class = Class::Idempotent;
        inner.is_stopped = failed.is_stopped();
        inner.remedy = Remedy::Text(format!("cancelling failed: {}", sanitize(&failed.summary(), 80)));
        self
    }
}

/// Formats a duration as `30 s` or `0.25 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// Makes a string of unknown origin safe for a terminal and a log: one line of at most `max` characters and an
/// ellipsis, without control characters and characters that change the direction of text.
pub(crate) fn sanitize(text: &str, max: usize) -> String {
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let words = text.split(|c: char| c.is_whitespace() || is_unsafe(c)).filter(|word| !word.is_empty());
    let mut line = words.collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(max) {
        line.truncate(end);
        line.push('…');
    }
    line
}
