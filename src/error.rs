//! What failed, on which job, what the server said, and what the caller can do next.

use std::fmt;
use std::time::Duration;

use crate::types::{JobId, JobState, PartialBatch};

/// A [`Result`](std::result::Result) with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
///
/// Its text is one line that says what failed, on which job, what the server said and what can be done.
/// Both `{}` and `{:?}` show it, so it reads well when it is returned from `main`. It does not contain the
/// API key. There is no [`source`](std::error::Error::source): the text is complete.
///
/// # Examples
///
/// ```no_run
/// # let client = atomiverse::Client::from_env()?;
/// match client.delete_job("9f2c") {
///     Ok(()) => println!("deleted"),
///     Err(error) if error.is_not_found() => println!("already gone"),
///     Err(error) if error.is_conflict() => println!("still {:?}: cancel it first", error.state()),
///     Err(error) => return Err(error),
/// }
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[non_exhaustive]
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    context: Option<Context>,
    partial_batch: Option<PartialBatch>,
}

/// The call behind an error.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// What the caller wanted, such as "rename job".
    pub(crate) action: &'static str,
    pub(crate) job_id: Option<JobId>,
    pub(crate) effect: Effect,
    pub(crate) method: &'static str,
    /// Without the query, which may hold a cursor.
    pub(crate) url: String,
    pub(crate) request_id: Option<String>,
    /// How many times the request was sent.
    pub(crate) attempts: u32,
    /// From the start of the call to its end.
    pub(crate) elapsed: Duration,
    pub(crate) earlier: Earlier,
    /// Whether this client has had a successful response below its API URL.
    pub(crate) address_verified: bool,
}

#[cfg(any(test, fuzzing))]
impl Context {
    /// Of a call that lists jobs.
    pub(crate) fn for_tests() -> Self {
        Context {
            action: "list jobs",
            job_id: None,
            effect: Effect::Read,
            method: "GET",
            url: "http://localhost/jobs".to_owned(),
            request_id: None,
            attempts: 1,
            elapsed: Duration::ZERO,
            earlier: Earlier::default(),
            address_verified: false,
        }
    }
}

/// What a request does on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    /// Rename, cancel, delete.
    Change,
    /// Creates jobs.
    Submission,
}

/// What the attempts before the last one of a call may have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Earlier {
    pub(crate) may_have_been_processed: bool,
    /// One of them may have deleted the job that is now not found.
    pub(crate) explains_not_found: bool,
}

impl Earlier {
    pub(crate) fn add(&mut self, kind: &ErrorKind) {
        self.may_have_been_processed |= kind.may_have_been_processed();
        self.explains_not_found |= kind.explains_not_found();
    }
}

/// What happened. Whether it is transient, whether the server may have acted, and the message all derive
/// from this one description. Every string in it was cut to a bounded length.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ErrorKind {
    /// Bad input or configuration. Nothing was sent.
    #[error("{0}")]
    Input(String),
    /// No connection was made, so nothing was sent.
    #[error("no connection{}: {reason}; nothing was sent", within(*timed_out))]
    NotConnected { reason: String, timed_out: Option<Duration>, retryable: bool },
    /// The connection is not secure. It was given up before anything was sent on it.
    #[error(
        "no secure connection: {0}; nothing was sent. If the server's certificate comes from a private \
         certificate authority, pass that to add_root_certificates or enable the feature platform-verifier"
    )]
    Tls(String),
    /// The deadline had passed before the request could be sent.
    #[error("not tried: no time was left to send the request")]
    OutOfTime,
    #[error("the connection broke: {0}")]
    ConnectionLost(String),
    #[error("no response within {}", seconds(*within))]
    Timeout { within: Duration },
    /// A response came and is not HTTP, or its body is broken.
    #[error("{0}")]
    BadResponse(String),
    #[error("the response is larger than the limit of {0} bytes (max_response_bytes)")]
    TooLarge(u64),
    #[error("{status} {reason}{}", server_said(message.as_deref()))]
    Status {
        status: u16,
        reason: &'static str,
        message: Option<String>,
        retry_after: Option<Duration>,
        is_html: bool,
    },
    #[error(
        "{status}: the server redirects to {}, which is not followed: the API key is sent to the configured \
         address only. If the new address is right, set it as the base URL",
        location.as_deref().unwrap_or("an address that it does not name")
    )]
    Redirect { status: u16, location: Option<String> },
    #[error(
        "the response cannot be read as {expected}: {reason}; content type {}, {}",
        content_type,
        begins(excerpt)
    )]
    Decode {
        expected: &'static str,
        reason: String,
        content_type: String,
        excerpt: String,
        status: u16,
        is_html: bool,
        /// The state of a job that is otherwise unreadable.
        state: Option<JobState>,
    },
    #[error("the server responded with another job, {0}")]
    WrongJob(String),
    /// A change met a success status and a body that contradicts it.
    #[error("{status}, but the body of the response does not confirm it: {}", begins(excerpt))]
    Contradicted {
        status: u16,
        excerpt: String,
        /// The body says that nothing was done.
        is_denial: bool,
    },
    /// A delete met a success status, and the job is still there.
    #[error("{status}, but the job is still there and is {}", sanitize(state.as_str(), 40))]
    NotDeleted { status: u16, state: JobState },
    #[error("the server says that there are more jobs, but sent no cursor for the next page")]
    MissingCursor,
    #[error("the server sent the cursor {0:?} a second time: its pages repeat")]
    RepeatedCursor(String),
    #[error(
        "the response has {entries} entries for {payloads} payloads, so it is not known which entry belongs to \
         which payload; Error::partial_batch holds the entries"
    )]
    EntryCount { payloads: usize, entries: usize },
    /// A change that the state of the job does not allow (409 or 400), and what a reload then showed.
    #[error("{status} {}{}", status_name(*status), server_said(message.as_deref()))]
    WrongState { status: u16, message: Option<String>, reloaded: Result<JobState, String> },
    /// A 404 from an address that could not be verified.
    #[error("404 Not Found, but it is not known whether the job is gone: {0}")]
    UnverifiedNotFound(String),
    #[error("wait for job {}: {} after {}{}", sanitize(job_id.as_str(), 80), last_seen(state.as_ref()),
            seconds(*waited), last_failure.as_ref().map(|error| format!(" (the last poll failed: {error})")).unwrap_or_default())]
    WaitTimedOut {
        job_id: JobId,
        state: Option<JobState>,
        waited: Duration,
        /// Why the last poll could not read the job.
        last_failure: Option<String>,
        cancellation: Option<Result<(), String>>,
    },
}

impl ErrorKind {
    /// Whether the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            ErrorKind::NotConnected { retryable, .. } => *retryable,
            ErrorKind::ConnectionLost(_) | ErrorKind::Timeout { .. } | ErrorKind::OutOfTime => true,
            ErrorKind::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Whether the server may have done what was asked. Only meaningful for a change or a submission.
    pub(crate) fn may_have_been_processed(&self) -> bool {
        match self {
            ErrorKind::Input(_)
            | ErrorKind::NotConnected { .. }
            | ErrorKind::Tls(_)
            | ErrorKind::OutOfTime
            | ErrorKind::WrongState { .. }
            | ErrorKind::UnverifiedNotFound(_)
            | ErrorKind::WaitTimedOut { .. } => false,
            ErrorKind::Status { status, .. } => matches!(status, 408 | 500..),
            // Other redirects may be the response to a change that was made.
            ErrorKind::Redirect { status, .. } => !matches!(status, 307 | 308),
            ErrorKind::Contradicted { is_denial, .. } => !is_denial,
            _ => true,
        }
    }

    /// Whether the server had no time to respond. What was asked may still be under way.
    pub(crate) fn is_response_timeout(&self) -> bool {
        matches!(self, ErrorKind::Timeout { .. } | ErrorKind::Status { status: 408 | 504, .. })
    }

    /// Whether a delete that failed like this may be the reason why the job is not found later. A 503 is
    /// not: most of these come from a gateway that passed nothing on.
    fn explains_not_found(&self) -> bool {
        self.may_have_been_processed() && !matches!(self, ErrorKind::Status { status: 503, .. })
    }

    fn status(&self) -> Option<u16> {
        match self {
            ErrorKind::Status { status, .. }
            | ErrorKind::Redirect { status, .. }
            | ErrorKind::Decode { status, .. }
            | ErrorKind::Contradicted { status, .. }
            | ErrorKind::NotDeleted { status, .. }
            | ErrorKind::WrongState { status, .. } => Some(*status),
            ErrorKind::UnverifiedNotFound(_) => Some(404),
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

fn within(timed_out: Option<Duration>) -> String {
    timed_out.map(|within| format!(" within {}", seconds(within))).unwrap_or_default()
}

fn server_said(message: Option<&str>) -> String {
    message.map(|message| format!(": the server said: {message}")).unwrap_or_default()
}

fn begins(excerpt: &str) -> String {
    if excerpt.is_empty() {
        "the body is empty".to_owned()
    } else {
        format!("the body begins with {excerpt:?}")
    }
}

fn status_name(status: u16) -> &'static str {
    if status == 409 { "Conflict" } else { "Bad Request" }
}

fn last_seen(state: Option<&JobState>) -> String {
    match state {
        Some(JobState::Unknown(state)) => {
            format!("it was in the state {:?}, which this version does not know,", sanitize(state, 40))
        }
        Some(state) => format!("it was still {state}"),
        None => "its state could not be read".to_owned(),
    }
}

/// `30 s`, `0.25 s`
fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_millis() as f64 / 1000.0)
}

/// Makes text from elsewhere fit for a terminal and a log: one line, without control characters and those
/// that reorder text, of at most `max` characters.
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

impl Error {
    pub(crate) fn new(kind: ErrorKind, context: Context) -> Self {
        Error(Box::new(Inner { kind, context: Some(context), partial_batch: None }))
    }

    /// An error without a request.
    pub(crate) fn without_request(kind: ErrorKind) -> Self {
        Error(Box::new(Inner { kind, context: None, partial_batch: None }))
    }

    /// Bad input or configuration, found before anything was sent.
    pub(crate) fn input(text: impl Into<String>) -> Self {
        Error::without_request(ErrorKind::Input(text.into()))
    }

    pub(crate) fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The same call, with a better description of what happened.
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    pub(crate) fn with_partial_batch(mut self, partial_batch: PartialBatch) -> Self {
        self.0.partial_batch = Some(partial_batch);
        self
    }

    /// The same error status for another job, which was not asked for because of it.
    pub(crate) fn status_for(&self, id: &JobId) -> Option<Error> {
        let ErrorKind::Status { status, reason, message, is_html, .. } = self.kind() else { return None };
        let (status, reason, is_html) = (*status, *reason, *is_html);
        let kind = ErrorKind::Status { status, reason, message: message.clone(), retry_after: None, is_html };
        let context = Context { action: "wait for job", job_id: Some(id.clone()), ..self.0.context.clone()? };
        Some(Error::new(kind, context))
    }

    pub(crate) fn into_kind(self) -> ErrorKind {
        self.0.kind
    }

    /// What the earlier attempts of the same call may have done.
    pub(crate) fn earlier(&self) -> Earlier {
        self.context().map(|context| context.earlier).unwrap_or_default()
    }

    pub(crate) fn address_verified(&self) -> bool {
        self.context().is_some_and(|context| context.address_verified)
    }

    fn context(&self) -> Option<&Context> {
        self.0.context.as_ref()
    }

    /// Returns the HTTP status of the server's response.
    ///
    /// `None` if there was no response, if it was not HTTP, or if the error is about something else than
    /// one response, such as a repeated cursor or a wait that timed out.
    pub fn status(&self) -> Option<u16> {
        self.kind().status()
    }

    /// Returns the server's identifier of the request (`x-request-id`), which the service's support can look up.
    pub fn request_id(&self) -> Option<&str> {
        self.context()?.request_id.as_deref()
    }

    /// Returns the job that the call was about.
    pub fn job_id(&self) -> Option<&JobId> {
        match self.kind() {
            ErrorKind::WaitTimedOut { job_id, .. } => Some(job_id),
            _ => self.context()?.job_id.as_ref(),
        }
    }

    /// Returns the state of the job if the call depended on it.
    ///
    /// For a change that was refused because of the job's state, this is the state that a reload showed. For
    /// a wait that timed out, it is the last state seen. For a job that could not be read, it is its state if
    /// that could be read.
    pub fn state(&self) -> Option<&JobState> {
        match self.kind() {
            ErrorKind::WrongState { reloaded: Ok(state), .. } | ErrorKind::NotDeleted { state, .. } => {
                Some(state)
            }
            ErrorKind::WaitTimedOut { state, .. } | ErrorKind::Decode { state, .. } => state.as_ref(),
            _ => None,
        }
    }

    /// Returns the server's message, on one line and of a bounded length. For a 422 it names each field.
    pub fn server_message(&self) -> Option<&str> {
        match self.kind() {
            ErrorKind::Status { message, .. } | ErrorKind::WrongState { message, .. } => message.as_deref(),
            _ => None,
        }
    }

    /// Returns how long the server asked to wait before another attempt (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        self.kind().retry_after()
    }

    /// Returns how many times the request was sent, or tried to be sent. 0 if the call was refused before.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = atomiverse::Client::new("key")?;
    /// assert_eq!(client.get_job("").unwrap_err().attempts(), 0);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn attempts(&self) -> u32 {
        self.context().map_or(0, |context| context.attempts)
    }

    /// Returns whether the service has no such job (404 or 410): it never existed, was deleted, or belongs
    /// to another account.
    ///
    /// An HTML page with this status does not count: it comes from something else than the service.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind(), ErrorKind::Status { status: 404 | 410, is_html: false, .. })
    }

    /// Returns whether the state of the job does not allow the change (409): a pending or running job
    /// cannot be deleted.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Returns whether the server refused a value (422), such as the name of a job.
    /// [`server_message`](Error::server_message) says why.
    pub fn is_validation(&self) -> bool {
        self.status() == Some(422)
    }

    /// Returns whether the server did not accept the API key (401).
    pub fn is_unauthorized(&self) -> bool {
        self.status() == Some(401)
    }

    /// Returns whether there were too many requests (429). [`retry_after`](Error::retry_after) may say how
    /// long to wait.
    pub fn is_rate_limited(&self) -> bool {
        self.status() == Some(429)
    }

    /// Returns whether the time ran out before there was a response or a connection.
    ///
    /// [`may_have_been_processed`](Error::may_have_been_processed) says whether a change may have been made
    /// all the same.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Timeout { .. }
                | ErrorKind::OutOfTime
                | ErrorKind::NotConnected { timed_out: Some(_), .. }
                | ErrorKind::WaitTimedOut { .. }
        )
    }

    /// Returns whether the same call may succeed later: the connection failed or broke, the time ran out, or
    /// the server responded with 408, 425, 429, 500, 502, 503 or 504.
    pub fn is_transient(&self) -> bool {
        self.kind().is_transient() || matches!(self.kind(), ErrorKind::WaitTimedOut { .. })
    }

    /// Returns whether a response could not be read as what was expected.
    pub fn is_decode(&self) -> bool {
        matches!(self.kind(), ErrorKind::Decode { .. })
    }

    /// Returns whether the server may have done what was asked, although the call failed.
    ///
    /// This is true if a request of the call may have reached the server and its outcome is unknown: the
    /// connection broke, the time ran out, or the response was a server error (5xx), was broken or did not
    /// confirm the change. It is false for calls that only read.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// if let Err(error) = client.cancel_job("9f2c") {
    ///     if error.may_have_been_processed() {
    ///         println!("{}", client.get_job("9f2c")?.state);
    ///     }
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn may_have_been_processed(&self) -> bool {
        self.context().is_some_and(|context| {
            let is_change = context.effect != Effect::Read;
            is_change && (self.kind().may_have_been_processed() || context.earlier.may_have_been_processed)
        })
    }

    /// Returns whether a submission that failed may have created jobs all the same: the server may have
    /// accepted it, and its response was lost or cannot be read. Check the newest jobs before submitting
    /// again.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// # let payload = serde_json::json!({});
    /// match client.submit_job(&payload) {
    ///     Err(error) if error.may_have_been_submitted() => {
    ///         for job in client.list_jobs().limit(5).send()?.jobs {
    ///             println!("{} {} {}", job.job_id, job.created_at, job.name.unwrap_or_default());
    ///         }
    ///     }
    ///     Err(error) => return Err(error),
    ///     Ok(job) => println!("{}", job.id()),
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn may_have_been_submitted(&self) -> bool {
        let is_submission = self.context().is_some_and(|context| context.effect == Effect::Submission);
        is_submission && self.may_have_been_processed()
    }

    /// Returns which payloads of a batch were submitted before it failed, and what the server returned for
    /// them.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// # let payloads: Vec<serde_json::Value> = Vec::new();
    /// if let Err(error) = client.submit_batch(&payloads) {
    ///     if let Some(partial) = error.partial_batch() {
    ///         println!("not sent: payloads {:?}", partial.not_sent);
    ///     }
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn partial_batch(&self) -> Option<&PartialBatch> {
        self.0.partial_batch.as_ref()
    }

    /// Returns whether a wait that timed out cancelled the job: `Some(true)` if the server accepted the
    /// request, `Some(false)` if it did not or if none was sent, and `None` if the wait was not asked to
    /// cancel or the error is another one.
    pub fn cancellation_accepted(&self) -> Option<bool> {
        match self.kind() {
            ErrorKind::WaitTimedOut { cancellation, .. } => cancellation.as_ref().map(Result::is_ok),
            _ => None,
        }
    }

    /// What the user can do next.
    fn advice(&self) -> Option<String> {
        let fixed = match self.kind() {
            ErrorKind::Status { retry_after: Some(pause), .. } => {
                return Some(format!("the server asks to wait {} before another attempt", seconds(*pause)));
            }
            ErrorKind::Status { is_html: true, status: 400..500, .. }
            | ErrorKind::Decode { is_html: true, .. } => {
                "an HTML page is not a response of the API: a proxy or gateway may have sent it, or the base \
                 URL (base_url, ATOMIVERSE_BASE_URL) may be wrong"
            }
            ErrorKind::Status { status, message, .. } => self.status_advice(*status, message.as_deref())?,
            ErrorKind::Decode { .. } => "the service differs from what this version expects",
            ErrorKind::WrongJob(_) => {
                "an earlier response on the same connection may have been taken for this one"
            }
            ErrorKind::WrongState { reloaded: Ok(state), .. } if state.is_terminal() => {
                return Some(format!("the job is {state} now: try again"));
            }
            ErrorKind::WrongState { reloaded: Ok(state), .. } if self.is_about_deleting() => {
                return Some(format!(
                    "the job is {}. Only a done, failed or cancelled job can be deleted: cancel it, wait \
                     until it has stopped, then delete it",
                    sanitize(state.as_str(), 40)
                ));
            }
            ErrorKind::WrongState { reloaded: Ok(state), .. } => {
                return Some(format!("the job is {}", sanitize(state.as_str(), 40)));
            }
            ErrorKind::WrongState { reloaded: Err(error), .. } => {
                return Some(format!("the state of the job could not be loaded: {error}"));
            }
            ErrorKind::WaitTimedOut { cancellation, .. } => match cancellation {
                None => "the job was not cancelled and may cost more: wait again, or cancel it",
                Some(Ok(())) => {
                    "the server accepted the request to cancel it; load the job to see whether it stopped"
                }
                Some(Err(error)) => {
                    return Some(format!("the job could not be cancelled and may cost more: {error}"));
                }
            },
            _ => return None,
        };
        Some(fixed.to_owned())
    }

    fn is_about_deleting(&self) -> bool {
        self.context().is_some_and(|context| context.method == "DELETE")
    }

    fn status_advice(&self, status: u16, message: Option<&str>) -> Option<&'static str> {
        let on_a_job = self.job_id().is_some();
        Some(match status {
            401 if message.is_some_and(says_no_credentials_came) => {
                "no API key seems to have reached the service: a proxy or gateway may have removed the \
                 Authorization header"
            }
            401 => "check the API key (ATOMIVERSE_API_KEY): it may be mistyped or revoked",
            404 | 410 if on_a_job && self.address_verified() => {
                "the job may have been deleted or belong to another account"
            }
            404 | 410 if on_a_job => {
                "the job may have been deleted or belong to another account, or the base URL (base_url, \
                 ATOMIVERSE_BASE_URL) may be wrong: no call of this client has succeeded yet"
            }
            404 | 405 => "the base URL (base_url, ATOMIVERSE_BASE_URL) may be wrong",
            429 => "send fewer requests",
            500.. => "the error is the server's: try again later",
            _ => return None,
        })
    }
}

/// FastAPI and gateways use such messages when a request carries no key at all.
fn says_no_credentials_came(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["not authenticated", "missing", "no credentials", "not provided", "required"]
        .iter()
        .any(|words| message.contains(words))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = self.context();
        if let Some(Context { action, job_id, .. }) = context {
            f.write_str(action)?;
            if let Some(id) = job_id {
                write!(f, " {}", sanitize(id.as_str(), 80))?;
            }
            f.write_str(": ")?;
        }
        self.kind().fmt(f)?;
        if let Some(advice) = self.advice() {
            write!(f, "; {advice}")?;
        }
        if let Some(PartialBatch { answered, failed, not_sent, .. }) = self.partial_batch() {
            write!(
                f,
                "; of {} payloads, the first {} were submitted, the next {} were in the request that failed, \
                 and the last {} were not sent",
                not_sent.end,
                answered.len(),
                failed.len(),
                not_sent.len()
            )?;
        }
        if self.may_have_been_submitted() {
            f.write_str(
                "; the payloads of this request may have been submitted: check the newest jobs (list_jobs) \
                 before you submit them again",
            )?;
        } else if self.may_have_been_processed() {
            f.write_str("; the change may have been made all the same: load the job to see")?;
        }
        let Some(Context { method, url, request_id, attempts, elapsed, .. }) = context else { return Ok(()) };
        write!(f, " ({method} {url}")?;
        if let Some(id) = request_id {
            write!(f, ", request id {id}")?;
        }
        if *attempts > 1 {
            write!(f, ", tried {attempts} times in {}", seconds(*elapsed))?;
        }
        f.write_str(")")
    }
}

/// The same as [`Display`](fmt::Display).
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
