//! What happened to a call. Whether it is transient and whether the server may have acted are derived from it.

use std::time::Duration;

use crate::types::{JobId, JobState};

/// What sending a request twice does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The request changes nothing on the server: list, get.
    Read,
    /// Sending it twice has the same effect as sending it once: rename, cancel, delete.
    Idempotent,
    /// Sending it twice may create two jobs.
    Submission,
}

/// What the attempts of a call before the last one may have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Earlier {
    pub(crate) may_have_been_processed: bool,
    /// Whether one of them got as far as sending the request.
    pub(crate) was_sent: bool,
}

impl Earlier {
    pub(crate) fn add(&mut self, kind: &ErrorKind) {
        self.may_have_been_processed |= kind.may_have_been_processed();
        self.was_sent |= !kind.is_unsent();
    }
}

/// What happened. Every string in it has a limited length.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ErrorKind {
    /// The input or the configuration is not valid. Nothing was sent.
    #[error("{0}")]
    Input(String),
    /// The contract says that the service has no request for this.
    #[error("{0}")]
    Unsupported(String),
    /// The contract could not make the request this time.
    #[error("{0}")]
    NotMade(String),
    /// No connection was made, so nothing was sent.
    #[error("no connection{}: {reason}", within(*timed_out))]
    NotConnected {
        reason: String,
        timed_out: Option<Duration>,
        /// Whether the address or the network may be wrong, and not this machine or a proxy.
        is_about_address: bool,
    },
    /// The connection is not secure. It was given up before anything was sent on it.
    #[error("no secure connection: {0}")]
    Tls(String),
    /// The deadline had passed before the request could be sent.
    #[error("no time was left to send the request")]
    OutOfTime,
    /// A stop token ended the call. Whatever was in flight then was abandoned.
    #[error("stopped")]
    Stopped { is_in_flight: bool },
    #[error("the connection broke: {reason}")]
    ConnectionLost {
        reason: String,
        /// Whether the connection had served an earlier request. The server may then have closed it before this one.
        was_reused: bool,
    },
    #[error("no response within {}", seconds(*within))]
    Timeout { within: Duration },
    /// The response is not HTTP, or its body is broken.
    #[error("{0}")]
    BadResponse(String),
    #[error("the response is larger than {0} bytes")]
    TooLarge(u64),
    #[error("{status} {name}{}", said(message.as_deref()))]
    Status {
        status: u16,
        /// The standard name of the status.
        name: &'static str,
        message: Option<String>,
        retry_after: Option<Duration>,
        /// Whether the body is an HTML page, so the response may not come from the service.
        is_html: bool,
    },
    #[error("{status} {name} to {}", location.as_deref().unwrap_or("an unknown address"))]
    Redirect { status: u16, name: &'static str, location: Option<String> },
    #[error("the response is not {expected}: {problem}")]
    Decode {
        expected: &'static str,
        problem: String,
        status: u16,
        is_html: bool,
        is_json: bool,
        /// The state of a job that cannot be read otherwise.
        state: Option<JobState>,
    },
    /// One job of a page cannot be read. The others are not affected.
    #[error("job {} cannot be read: {reason}", placed(*position, job_id.as_ref()))]
    UnreadableJob {
        /// The position of the job on the page, counted from 1.
        position: usize,
        job_id: Option<JobId>,
        reason: String,
        state: Option<JobState>,
    },
    #[error("the server responded with another job, {0}")]
    WrongJob(String),
    /// The response to a change does not say plainly what happened, and the job does not show it either: a success
    /// that shows no effect, or a "not found" although the job is not known to be gone. `said` is the beginning of the
    /// body, or the message in it.
    #[error("the server responded with {status}{}, and {seen}", quoted_reply(said.as_deref()))]
    Unconfirmed { status: u16, said: Option<String>, seen: Seen },
    /// The state of the job does not allow the change (409, or 400 for a cancel).
    #[error("{status} {}{}", if *status == 409 { "Conflict" } else { "Bad Request" }, said(message.as_deref()))]
    Conflict { status: u16, message: Option<String>, seen: Seen },
    /// The pages of a listing cannot be all of it.
    #[error("{0}")]
    BrokenPages(String),
    /// One of many calls, which was not made because others had failed.
    #[error("not sent, because {failures} requests in a row had failed")]
    NotSent { failures: u32 },
    #[error("stopped{}", seen_last(state.as_ref()))]
    WaitStopped {
        /// The state that was received last.
        state: Option<JobState>,
    },
    #[error("not done after {}{}", seconds(*timeout), seen_last(state.as_ref()))]
    WaitTimedOut {
        timeout: Duration,
        state: Option<JobState>,
        /// Why the last poll could not read the job.
        last_failure: Option<String>,
        cancellation: Option<Result<(), FailedCancellation>>,
    },
}

/// What the job showed after a change whose outcome was not clear.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Seen {
    /// `name` is the name that the service has stored, if the change was a rename.
    #[error("{}", described(state, name.as_deref()))]
    Here { state: JobState, name: Option<String> },
    #[error("there is no such job")]
    Gone,
    #[error("the job could not be loaded ({})", .0.brief())]
    Unknown(Box<ErrorKind>),
}

impl Seen {
    fn failure(&self) -> Option<&ErrorKind> {
        match self {
            Seen::Unknown(kind) => Some(kind),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct FailedCancellation {
    pub(crate) error: String,
    pub(crate) may_have_been_processed: bool,
    pub(crate) is_stopped: bool,
}

impl ErrorKind {
    /// Returns whether the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            ErrorKind::NotConnected { .. }
            | ErrorKind::ConnectionLost { .. }
            | ErrorKind::Timeout { .. }
            | ErrorKind::OutOfTime
            | ErrorKind::NotMade(_)
            | ErrorKind::NotSent { .. }
            | ErrorKind::WaitTimedOut { .. } => true,
            // The statuses above 511 are those of gateways.
            ErrorKind::Status { status, .. } => {
                matches!(status, 408 | 425 | 429 | 500..) && !matches!(status, 501 | 505)
            }
            ErrorKind::Unconfirmed { seen, .. } => seen.failure().is_some_and(ErrorKind::is_transient),
            _ => false,
        }
    }

    /// Describes a time-out of an attempt by the limits that the user knows: that of the call, and that of connecting.
    pub(crate) fn with_limits(mut self, call: Duration, connect: Duration) -> Self {
        match &mut self {
            ErrorKind::Timeout { within } => *within = call,
            ErrorKind::NotConnected { timed_out: Some(within), .. } => *within = call.min(connect),
            _ => {}
        }
        self
    }

    /// Returns whether a stop token ended the call.
    pub(crate) fn is_stopped(&self) -> bool {
        match self {
            ErrorKind::Stopped { .. } | ErrorKind::WaitStopped { .. } => true,
            ErrorKind::Unconfirmed { seen, .. } | ErrorKind::Conflict { seen, .. } => {
                seen.failure().is_some_and(ErrorKind::is_stopped)
            }
            ErrorKind::WaitTimedOut { cancellation: Some(Err(failed)), .. } => failed.is_stopped,
            _ => false,
        }
    }

    /// Returns whether a time limit ended the call.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            ErrorKind::Timeout { .. }
            | ErrorKind::OutOfTime
            | ErrorKind::NotConnected { timed_out: Some(_), .. }
            | ErrorKind::WaitTimedOut { .. } => true,
            ErrorKind::Unconfirmed { seen, .. } | ErrorKind::Conflict { seen, .. } => {
                seen.failure().is_some_and(ErrorKind::is_timeout)
            }
            _ => false,
        }
    }

    /// Returns whether the server may have made the requested change. Only meaningful for a change or a submission.
    pub(crate) fn may_have_been_processed(&self) -> bool {
        match self {
            kind if kind.is_unsent() => false,
            ErrorKind::NotSent { .. } | ErrorKind::WaitStopped { .. } | ErrorKind::Conflict { .. } => false,
            ErrorKind::WaitTimedOut { cancellation, .. } => {
                matches!(cancellation, Some(Err(FailedCancellation { may_have_been_processed: true, .. })))
            }
            ErrorKind::Status { status, .. } => matches!(status, ..200 | 408 | 500..),
            ErrorKind::Unconfirmed { status, .. } => *status < 300,
            // A redirect with another status may be the response to a change that was made.
            ErrorKind::Redirect { status, .. } => !matches!(status, 307 | 308),
            _ => true,
        }
    }

    /// Returns whether the attempt ended before the request was sent.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(
            self,
            ErrorKind::Input(_)
                | ErrorKind::Unsupported(_)
                | ErrorKind::NotMade(_)
                | ErrorKind::NotConnected { .. }
                | ErrorKind::Tls(_)
                | ErrorKind::OutOfTime
                | ErrorKind::Stopped { is_in_flight: false }
        )
    }

    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            ErrorKind::Status { status, .. }
            | ErrorKind::Redirect { status, .. }
            | ErrorKind::Decode { status, .. }
            | ErrorKind::Unconfirmed { status, .. }
            | ErrorKind::Conflict { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Returns the state of the job, if it is known.
    pub(crate) fn state(&self) -> Option<&JobState> {
        match self {
            ErrorKind::Conflict { seen, .. } | ErrorKind::Unconfirmed { seen, .. } => match seen {
                Seen::Here { state, .. } => Some(state),
                Seen::Gone => None,
                Seen::Unknown(kind) => kind.state(),
            },
            ErrorKind::WaitTimedOut { state, .. }
            | ErrorKind::WaitStopped { state, .. }
            | ErrorKind::Decode { state, .. }
            | ErrorKind::UnreadableJob { state, .. } => state.as_ref(),
            _ => None,
        }
    }

    /// Returns the server's message.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            ErrorKind::Status { message, .. } | ErrorKind::Conflict { message, .. } => message.as_deref(),
            ErrorKind::Unconfirmed { status: 400.., said, .. } => said.as_deref(),
            _ => None,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            ErrorKind::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Describes the failure of a request that was to explain another one.
    fn brief(&self) -> String {
        match self {
            ErrorKind::Status { status, .. } | ErrorKind::Redirect { status, .. } => status.to_string(),
            kind => sanitize(&kind.to_string(), 60),
        }
    }
}

/// The server's message, so short that the whole error stays readable.
fn said(message: Option<&str>) -> String {
    message.map(|message| format!(": {}", sanitize(message, 120))).unwrap_or_default()
}

fn quoted_reply(said: Option<&str>) -> String {
    said.filter(|said| !said.is_empty()).map(|said| format!(" ({})", sanitize(said, 40))).unwrap_or_default()
}

fn described(state: &JobState, name: Option<&str>) -> String {
    match name {
        Some("") => "the job has no name".to_owned(),
        Some(name) => format!("the service stored the name as {:?}", sanitize(name, 60)),
        None => format!("the job is {}", sanitize(state.as_str(), 40)),
    }
}

fn placed(position: usize, id: Option<&JobId>) -> String {
    match id {
        Some(id) => format!("{} (number {position} of the page)", sanitize(id.as_str(), 60)),
        None => format!("number {position} of the page"),
    }
}

fn within(timed_out: Option<Duration>) -> String {
    timed_out.map(|within| format!(" within {}", seconds(within))).unwrap_or_default()
}

fn seen_last(state: Option<&JobState>) -> String {
    match state {
        Some(state) => format!("; the job was {}", sanitize(state.as_str(), 40)),
        None => String::new(),
    }
}

/// Formats a duration as `30 s` or `0.25 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_millis() as f64 / 1000.0)
}

/// Makes a string of unknown origin safe for a terminal and a log: one line of at most `max` characters, without
/// control characters and characters that change the direction of text.
pub(crate) fn sanitize(text: &str, max: usize) -> String {
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || is_unsafe(c)).filter(|word| !word.is_empty()) {
        let blank = if line.is_empty() { "" } else { " " };
        for c in blank.chars().chain(word.chars()) {
            if count == max {
                line.push('…');
                return line;
            }
            line.push(c);
            count += 1;
        }
    }
    line
}
