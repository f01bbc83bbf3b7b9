//! The description of what happened to a call. Whether it is transient, whether the server may have acted, and the
//! message are all derived from it.

use std::time::Duration;

use crate::types::{JobId, JobState};

/// The effect of sending a request twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idempotency {
    /// The request changes nothing on the server: list, get.
    Safe,
    /// Sending it twice has the same effect as sending it once: rename, cancel, delete.
    Idempotent,
    /// Sending it twice may create two jobs: submissions.
    NonIdempotent,
}

/// What the attempts of a call before the last one may have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Earlier {
    pub(crate) may_have_been_processed: bool,
    /// Whether one of them may have deleted the job that is now not found.
    pub(crate) explains_not_found: bool,
    /// Whether one of them got as far as sending the request.
    pub(crate) was_sent: bool,
}

impl Earlier {
    pub(crate) fn add(&mut self, kind: &ErrorKind) {
        self.may_have_been_processed |= kind.may_have_been_processed();
        self.explains_not_found |= kind.explains_not_found();
        self.was_sent |= !kind.is_unsent();
    }
}

/// What happened. Every string in it has a limited length.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ErrorKind {
    /// The input or the configuration is not valid. Nothing was sent.
    #[error("{0}")]
    Input(String),
    /// The job id that the caller passed is not valid. Nothing was sent.
    #[error("the job id {} {problem}; nothing was sent", quoted(job_id.as_str()))]
    RefusedId { job_id: JobId, problem: &'static str },
    /// The request is one that cannot be sent.
    #[error("the request cannot be sent: {0}")]
    Unsendable(String),
    /// No connection was made, so nothing was sent.
    #[error("no connection{}: {reason}", within(*timed_out))]
    NotConnected {
        reason: String,
        timed_out: Option<Duration>,
        retryable: bool,
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
    #[error("stopped{}", if *is_in_flight { " before the response came" } else { "; no request was in flight" })]
    Stopped { is_in_flight: bool },
    /// A stop token ended the call after a response that another request was to explain.
    #[error("{0}; stopped before it was known what became of the job")]
    StoppedAfter(Box<ErrorKind>),
    #[error("the connection broke: {0}")]
    ConnectionLost(String),
    #[error("no response within {}", seconds(*within))]
    Timeout { within: Duration },
    /// The response is not HTTP, or its body is broken.
    #[error("{text}")]
    BadResponse { text: String, is_http: bool },
    #[error("the response is larger than {0} bytes; raise max_response_bytes")]
    TooLarge(u64),
    #[error("{status} {reason}{}", server_said(message.as_deref()))]
    Status {
        status: u16,
        reason: &'static str,
        message: Option<String>,
        retry_after: Option<Duration>,
        /// The body is not JSON, so the response may not come from the service.
        is_foreign: bool,
    },
    #[error(
        "{status} {reason}: the server redirects to {}, which is not followed, because the API key is sent only to \
         the configured address",
        location.as_deref().unwrap_or("an unknown address (no Location header)")
    )]
    Redirect { status: u16, reason: &'static str, location: Option<String> },
    #[error("the response cannot be read as {expected}: {}", problem_of_body(reason, content_type, excerpt))]
    Decode {
        expected: &'static str,
        reason: String,
        content_type: String,
        excerpt: String,
        status: u16,
        is_html: bool,
        /// The state of a job that cannot be read otherwise.
        state: Option<JobState>,
    },
    /// One job of a page cannot be read. The others are not affected.
    #[error("job {position} of the page{} cannot be read: {reason}", named(job_id.as_ref()))]
    UnreadableJob {
        /// The position of the job on the page, counted from 1.
        position: usize,
        job_id: Option<JobId>,
        /// The reason, with the name of the field if it is known.
        reason: String,
        state: Option<JobState>,
    },
    #[error("the server responded with another job, {0}")]
    WrongJob(String),
    /// The response to a change has a success status, and its body contradicts it.
    #[error(
        "the server responded with {status}, but the body does not confirm success: it {}",
        begins(excerpt)
    )]
    Contradicted {
        status: u16,
        excerpt: String,
        /// Whether the body says that nothing was done.
        is_denial: bool,
    },
    /// The response to a delete has a success status, and its body shows the job. `reloaded` is what a reload then
    /// showed.
    #[error("the server responded with {status}, but {}", still_there(reloaded.as_ref()))]
    NotDeleted { status: u16, reloaded: Result<JobState, String> },
    #[error("the server says that there are more jobs, but sent no cursor for the next page")]
    MissingCursor,
    #[error("the server sent the cursor {0:?} a second time, so its pages would repeat")]
    RepeatedCursor(String),
    #[error(
        "the page begins with the same job ({0}) as an earlier one: the server seems to ignore the cursor"
    )]
    RepeatedPage(String),
    #[error(
        "the number of entries in the response ({entries}) differs from the number of payloads ({payloads}), so it is \
         not known which entry belongs to which payload; Error::partial_batch holds the entries"
    )]
    EntryCount { payloads: usize, entries: usize },
    /// The state of the job does not allow the change (409 or 400). `reloaded` is what a reload then showed.
    #[error("{status} {}{}", status_name(*status), server_said(message.as_deref()))]
    WrongState { status: u16, message: Option<String>, reloaded: Result<JobState, String> },
    /// A change met 404, and the job is there.
    #[error("404 Not Found, but the job exists and is {}: the service does not seem to support this request", sanitize(state.as_str(), 40))]
    NoSuchRequest { state: JobState },
    /// The response is 404, and the address could not be verified.
    #[error("404 Not Found, but it is not known whether the job is gone: {error}")]
    UnverifiedNotFound { error: String, is_transient: bool },
    #[error("wait for job {}: stopped{}", sanitize(job_id.as_str(), 80), last_seen_before_stop(state.as_ref()))]
    WaitStopped {
        job_id: JobId,
        /// The state that was received last.
        state: Option<JobState>,
        /// Whether the server had accepted a request to cancel the job.
        is_cancelled: bool,
    },
    #[error("wait for job {}: timed out after {}; {}{}", sanitize(job_id.as_str(), 80), seconds(*waited),
            last_seen(state.as_ref()), last_failure.as_ref().map(|error| format!(" (the last poll failed: {error})")).unwrap_or_default())]
    WaitTimedOut {
        job_id: JobId,
        state: Option<JobState>,
        waited: Duration,
        /// Why the last poll could not read the job.
        last_failure: Option<String>,
        cancellation: Option<Result<(), FailedCancellation>>,
    },
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
            ErrorKind::NotConnected { retryable, .. } => *retryable,
            ErrorKind::ConnectionLost(_) | ErrorKind::Timeout { .. } | ErrorKind::OutOfTime => true,
            ErrorKind::UnverifiedNotFound { is_transient, .. } => *is_transient,
            ErrorKind::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Returns whether a stop token ended the call.
    pub(crate) fn is_stopped(&self) -> bool {
        match self {
            ErrorKind::Stopped { .. } | ErrorKind::StoppedAfter(_) | ErrorKind::WaitStopped { .. } => true,
            ErrorKind::WaitTimedOut { cancellation: Some(Err(failed)), .. } => failed.is_stopped,
            _ => false,
        }
    }

    /// Returns whether the server may have made the requested change. Only meaningful for a change or a submission.
    pub(crate) fn may_have_been_processed(&self) -> bool {
        match self {
            ErrorKind::Input(_)
            | ErrorKind::RefusedId { .. }
            | ErrorKind::Unsendable(_)
            | ErrorKind::NotConnected { .. }
            | ErrorKind::Tls(_)
            | ErrorKind::OutOfTime
            | ErrorKind::WaitStopped { .. }
            | ErrorKind::WrongState { .. }
            | ErrorKind::NoSuchRequest { .. }
            | ErrorKind::UnverifiedNotFound { .. } => false,
            ErrorKind::Stopped { is_in_flight } => *is_in_flight,
            ErrorKind::StoppedAfter(kind) => kind.may_have_been_processed(),
            ErrorKind::WaitTimedOut { cancellation, .. } => {
                matches!(cancellation, Some(Err(FailedCancellation { may_have_been_processed: true, .. })))
            }
            ErrorKind::Status { status, .. } => matches!(status, ..200 | 408 | 500..),
            // A redirect with another status may be the response to a change that was made.
            ErrorKind::Redirect { status, .. } => !matches!(status, 307 | 308),
            ErrorKind::Contradicted { is_denial, .. } => !is_denial,
            _ => true,
        }
    }

    /// Returns whether the attempt ended before the request was sent.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, ErrorKind::Unsendable(_) | ErrorKind::NotConnected { .. } | ErrorKind::Tls(_))
    }

    /// Returns whether there was no response in time. The server may still be processing the request.
    pub(crate) fn is_response_timeout(&self) -> bool {
        matches!(self, ErrorKind::Timeout { .. } | ErrorKind::Status { status: 408 | 504, .. })
    }

    /// Returns whether a delete that failed like this may be the reason why the job is not found later. A 503 is not,
    /// because most of these come from a gateway that did not pass the request on.
    fn explains_not_found(&self) -> bool {
        self.may_have_been_processed() && !matches!(self, ErrorKind::Status { status: 503, .. })
    }

    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            ErrorKind::Status { status, .. }
            | ErrorKind::Redirect { status, .. }
            | ErrorKind::Decode { status, .. }
            | ErrorKind::Contradicted { status, .. }
            | ErrorKind::NotDeleted { status, .. }
            | ErrorKind::WrongState { status, .. } => Some(*status),
            ErrorKind::UnverifiedNotFound { .. } | ErrorKind::NoSuchRequest { .. } => Some(404),
            ErrorKind::StoppedAfter(kind) => kind.status(),
            _ => None,
        }
    }

    /// Returns the server's message.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            ErrorKind::Status { message, .. } | ErrorKind::WrongState { message, .. } => message.as_deref(),
            ErrorKind::StoppedAfter(kind) => kind.message(),
            _ => None,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            ErrorKind::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Returns the text in quotation marks, with control characters escaped, cut to 80 characters.
fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(80).collect();
    format!("{shown:?}{}", if shown.len() < text.len() { "…" } else { "" })
}

fn still_there(reloaded: Result<&JobState, &String>) -> String {
    match reloaded {
        Ok(state) => format!("the job is still there and is {}", sanitize(state.as_str(), 40)),
        Err(error) => format!("the response shows the job, and it is not known whether it is gone: {error}"),
    }
}

fn named(id: Option<&JobId>) -> String {
    id.map(|id| format!(" ({})", sanitize(id.as_str(), 80))).unwrap_or_default()
}

fn within(timed_out: Option<Duration>) -> String {
    timed_out.map(|within| format!(" within {}", seconds(within))).unwrap_or_default()
}

fn server_said(message: Option<&str>) -> String {
    match message {
        Some(page) if page.starts_with(HTML_PAGE) => format!(": the server sent {page}"),
        Some(message) => format!(": the server said: {message}"),
        None => String::new(),
    }
}

/// How the message of an HTML page begins.
pub(crate) const HTML_PAGE: &str = "an HTML page";

fn begins(excerpt: &str) -> String {
    if excerpt.is_empty() { "is empty".to_owned() } else { format!("begins with {excerpt:?}") }
}

fn problem_of_body(reason: &str, content_type: &str, excerpt: &str) -> String {
    // So says serde_json of an empty body.
    if let Some(rest) = reason.strip_prefix("EOF while parsing a value at line 1 column 0") {
        return format!("the body is empty{rest}; content type {content_type}");
    }
    format!("{reason}; content type {content_type}, the body {}", begins(excerpt))
}

fn status_name(status: u16) -> &'static str {
    if status == 409 { "Conflict" } else { "Bad Request" }
}

fn last_seen(state: Option<&JobState>) -> String {
    match state {
        Some(JobState::Unknown(state)) => {
            format!("the job was in the state {:?}, which this version does not know", sanitize(state, 40))
        }
        Some(state) => format!("the job was still {state}"),
        None => "the state of the job could not be loaded".to_owned(),
    }
}

fn last_seen_before_stop(state: Option<&JobState>) -> String {
    match state {
        Some(state) => format!("; the job was {} when last seen", sanitize(state.as_str(), 40)),
        None => "; the state of the job had not been loaded".to_owned(),
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
