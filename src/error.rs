//! Errors: what failed, on which job, what the server said, and what the caller can do next.

mod kind;

use std::fmt;
use std::time::Duration;

pub(crate) use kind::{Earlier, ErrorKind, FailedCancellation, HTML_PAGE, Idempotency, sanitize, seconds};

use crate::types::{JobId, JobState, PartialBatch, SubmissionStatus};

/// A [`Result`](std::result::Result) with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
///
/// Its message is one line that says what failed, on which job, what the server said, and what to do. Both `{}` and
/// `{:?}` show the message, so an error that `main` returns is readable. The message does not contain the API key.
/// There is no [`source`](std::error::Error::source), because the message is complete.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "simulator")] {
/// # use atomiverse::simulator::{SimulatedJob, Simulator};
/// # let simulator = Simulator::start()?;
/// # let client = simulator.client()?;
/// # let id = simulator.add_job(SimulatedJob::new("opt"));
/// match client.delete_job(&id) {
///     Ok(()) => println!("deleted"),
///     Err(error) if error.is_not_found() => println!("already gone"),
///     Err(error) if error.is_conflict() => println!("still {:?}: cancel it first", error.state()),
///     Err(error) => return Err(error.into()),
/// }
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    context: Option<Context>,
    partial_batch: Option<PartialBatch>,
}

/// The call that an error belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The purpose of the request, such as "rename job".
    pub(crate) action: String,
    pub(crate) job_id: Option<JobId>,
    pub(crate) idempotency: Idempotency,
    /// Whether the request creates jobs.
    pub(crate) is_submission: bool,
    pub(crate) method: String,
    /// The URL without the query, which may hold a cursor.
    pub(crate) url: String,
    /// The setting that the address comes from, such as "the base URL (base_url)".
    pub(crate) address: &'static str,
    /// The setting that the key comes from, such as "api_key".
    pub(crate) key: &'static str,
    pub(crate) request_id: Option<String>,
    /// The number of attempts to send the request.
    pub(crate) attempts: u32,
    /// Whether the server had accepted a request to cancel the job before.
    pub(crate) is_cancelled: bool,
    /// The time from the start of the call to its end.
    pub(crate) elapsed: Duration,
    pub(crate) earlier: Earlier,
    /// Whether this client has had a successful response below its API URL.
    pub(crate) address_verified: bool,
    /// Whether there was any JSON with a success status below the API URL, which is less.
    pub(crate) has_responded: bool,
}

#[cfg(any(test, fuzzing))]
impl Context {
    /// Returns the context of a call that lists jobs.
    pub(crate) fn for_tests() -> Self {
        Context {
            action: "list jobs".to_owned(),
            job_id: None,
            idempotency: Idempotency::Safe,
            is_submission: false,
            method: "GET".to_owned(),
            url: "http://localhost/jobs".to_owned(),
            address: "the base URL (base_url)",
            key: "api_key",
            request_id: None,
            attempts: 1,
            is_cancelled: false,
            elapsed: Duration::ZERO,
            earlier: Earlier::default(),
            address_verified: false,
            has_responded: false,
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, context: Context) -> Self {
        Error(Box::new(Inner { kind, context: Some(context), partial_batch: None }))
    }

    /// Creates an error that belongs to no request.
    pub(crate) fn without_request(kind: ErrorKind) -> Self {
        Error(Box::new(Inner { kind, context: None, partial_batch: None }))
    }

    /// Creates an error about input or configuration, found before anything was sent.
    pub(crate) fn input(text: impl Into<String>) -> Self {
        Error::without_request(ErrorKind::Input(text.into()))
    }

    pub(crate) fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Replaces the description of what happened with a better one.
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    pub(crate) fn with_partial_batch(mut self, partial_batch: PartialBatch) -> Self {
        self.0.partial_batch = Some(partial_batch);
        self
    }

    /// Returns the same error status for another job of a wait, for which no request was sent because of it.
    pub(crate) fn status_for(&self, id: &JobId) -> Option<Error> {
        let ErrorKind::Status { status, reason, message, is_foreign, .. } = self.kind() else { return None };
        let (status, reason, is_foreign) = (*status, *reason, *is_foreign);
        let kind =
            ErrorKind::Status { status, reason, message: message.clone(), retry_after: None, is_foreign };
        let context = Context {
            action: "wait for job".to_owned(),
            job_id: Some(id.clone()),
            ..self.0.context.clone()?
        };
        Some(Error::new(kind, context))
    }

    /// Returns the same error, about a job that the server has agreed to cancel.
    pub(crate) fn after_cancellation(mut self) -> Self {
        if let Some(context) = &mut self.0.context {
            context.is_cancelled = true;
        }
        self
    }

    /// Returns the same error, for a call that was stopped before another request could explain it.
    pub(crate) fn stopped(self) -> Self {
        let Inner { kind, context, partial_batch } = *self.0;
        let kind = ErrorKind::StoppedAfter(Box::new(kind));
        Error(Box::new(Inner { kind, context, partial_batch }))
    }

    /// A "not found", of which another error leaves open whether it is about the job.
    pub(crate) fn unverified(self, error: &Error) -> Self {
        let (error, is_transient) = (error.to_string(), error.is_transient());
        self.with_kind(ErrorKind::UnverifiedNotFound { error, is_transient })
    }

    pub(crate) fn into_kind(self) -> ErrorKind {
        self.0.kind
    }

    /// Returns what the earlier attempts of the same call may have done.
    pub(crate) fn earlier(&self) -> Earlier {
        self.context().map(|context| context.earlier).unwrap_or_default()
    }

    pub(crate) fn address_verified(&self) -> bool {
        self.context().is_some_and(|context| context.address_verified)
    }

    fn context(&self) -> Option<&Context> {
        self.0.context.as_ref()
    }

    /// Returns the HTTP status of the response that the error is about.
    ///
    /// It is `None` in the following cases:
    ///
    /// - No complete response was received: the call was refused, stopped or timed out, the connection failed, or the
    ///   body of a successful response was broken or too large.
    /// - A wait timed out or was stopped.
    /// - The response was successful, and one of these problems was found in it: a job of a page cannot be read, it
    ///   describes another job, the number of entries of a batch is wrong, or a cursor or a page is missing or
    ///   repeated.
    pub fn status(&self) -> Option<u16> {
        self.kind().status()
    }

    /// Returns the server's identifier of the request (`x-request-id`), if the response had one. The service's support
    /// can look it up.
    pub fn request_id(&self) -> Option<&str> {
        self.context()?.request_id.as_deref()
    }

    /// Returns the id of the job that the call was about.
    pub fn job_id(&self) -> Option<&JobId> {
        match self.kind() {
            ErrorKind::WaitTimedOut { job_id, .. } | ErrorKind::WaitStopped { job_id, .. } => Some(job_id),
            ErrorKind::UnreadableJob { job_id, .. } => job_id.as_ref(),
            ErrorKind::RefusedId { job_id, .. } => Some(job_id),
            _ => self.context()?.job_id.as_ref(),
        }
    }

    /// Returns the state of the job, if the error depends on it and the state is known:
    ///
    /// - If a change was refused because of the state, this is the state that a reload showed.
    /// - If a wait timed out or was stopped, this is the last state that was received.
    /// - If a job could not be read, this is its state if that could be read.
    pub fn state(&self) -> Option<&JobState> {
        match self.kind() {
            ErrorKind::WrongState { reloaded, .. } | ErrorKind::NotDeleted { reloaded, .. } => {
                reloaded.as_ref().ok()
            }
            ErrorKind::WaitTimedOut { state, .. }
            | ErrorKind::WaitStopped { state, .. }
            | ErrorKind::Decode { state, .. }
            | ErrorKind::UnreadableJob { state, .. } => state.as_ref(),
            ErrorKind::NoSuchRequest { state } => Some(state),
            _ => None,
        }
    }

    /// Returns the server's message, on one line and of limited length. For a 422 in the format of FastAPI it names
    /// each field.
    pub fn server_message(&self) -> Option<&str> {
        self.kind().message()
    }

    /// Returns how long the server asked to wait before another attempt (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        self.kind().retry_after()
    }

    /// Returns how many times the request was attempted, including attempts that failed to connect.
    ///
    /// It is 0 if the call was refused before any attempt, and for a wait that timed out or was stopped. If a call
    /// sends several different requests, as waits and iterations do, the attempts are those of the request that failed.
    pub fn attempts(&self) -> u32 {
        self.context().map_or(0, |context| context.attempts)
    }

    /// Returns whether the service has no such job (404 or 410): it never existed, was deleted, or belongs to another
    /// account.
    ///
    /// It is false if the body of such a response is not JSON, because the response may then come from a gateway.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind(), ErrorKind::Status { status: 404 | 410, is_foreign: false, .. })
            && !self.context().is_some_and(|context| context.is_submission)
    }

    /// Returns whether the state of the job does not allow the change (409). For example, a pending or running job
    /// cannot be deleted. [`state`](Error::state) returns the state.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Returns whether the server refused a value (422), such as the name of a job.
    /// [`server_message`](Error::server_message) says which value and why.
    pub fn is_validation(&self) -> bool {
        self.status() == Some(422)
    }

    /// Returns whether the server did not accept the API key (401).
    pub fn is_unauthorized(&self) -> bool {
        self.status() == Some(401)
    }

    /// Returns whether the server rejected the request because there were too many (429).
    /// [`retry_after`](Error::retry_after) may say how long to wait.
    pub fn is_rate_limited(&self) -> bool {
        self.status() == Some(429)
    }

    /// Returns whether a time limit ended the call: connecting, an attempt, the whole call or a wait took too long. It
    /// is false for the statuses 408 and 504, with which the server reports a timeout.
    ///
    /// A change that timed out may have been made, unless no attempt got as far as sending the request, for example
    /// because connecting timed out. [`may_have_been_processed`](Error::may_have_been_processed) says which is the
    /// case.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Timeout { .. }
                | ErrorKind::OutOfTime
                | ErrorKind::NotConnected { timed_out: Some(_), .. }
                | ErrorKind::WaitTimedOut { .. }
        )
    }

    /// Returns whether the same call may succeed later: the connection failed or broke, a time limit ended the call,
    /// or the server responded with 408, 425, 429, 500, 502, 503 or 504.
    ///
    /// A TLS failure and a proxy that refuses the connection with a 4xx status are not transient. Before you repeat a
    /// change, check [`may_have_been_processed`](Error::may_have_been_processed) too.
    pub fn is_transient(&self) -> bool {
        self.kind().is_transient() || matches!(self.kind(), ErrorKind::WaitTimedOut { .. })
    }

    /// Returns whether a [`StopToken`](crate::StopToken) ended the call.
    ///
    /// [`may_have_been_processed`](Error::may_have_been_processed) says whether a change may have been made
    /// nevertheless. If a wait timed out and was stopped while it cancelled the job, [`is_timeout`](Error::is_timeout)
    /// is true as well.
    pub fn is_stopped(&self) -> bool {
        self.kind().is_stopped()
    }

    /// Returns whether a response, or a job in it, could not be read in the expected format.
    pub fn is_decode(&self) -> bool {
        matches!(self.kind(), ErrorKind::Decode { .. } | ErrorKind::UnreadableJob { .. })
    }

    /// Returns whether one job of a page could not be read. An [iteration](crate::JobsIter) continues after such an
    /// error.
    pub fn is_unreadable_job(&self) -> bool {
        matches!(self.kind(), ErrorKind::UnreadableJob { .. })
    }

    /// Returns whether the server may have made the requested change although the call failed.
    ///
    /// This is true if a request of the call may have reached the server and its outcome is unknown: the connection
    /// broke, the time ran out after connecting, or the response was 408, a server error (5xx) or a redirect other than
    /// 307 and 308, was broken, or did not confirm the change. It is false for calls that only read, and if no
    /// connection was made.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
    /// # let simulator = Simulator::start()?;
    /// # let client = simulator.client_builder().max_retries(0).build()?;
    /// # let id = simulator.add_job(SimulatedJob::new("opt"));
    /// # simulator.fail_next(Fault::LostAnswer);
    /// use atomiverse::JobState;
    ///
    /// let error = client.cancel_job(&id).unwrap_err(); // The response was lost.
    /// assert!(error.may_have_been_processed());
    /// assert_eq!(client.get_job(&id)?.state, JobState::Cancelled);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn may_have_been_processed(&self) -> bool {
        match self.context() {
            Some(Context { idempotency: Idempotency::Safe, .. }) => false,
            Some(Context { earlier, .. }) => {
                self.kind().may_have_been_processed() || earlier.may_have_been_processed
            }
            // For a wait that timed out, this says whether the job may have been cancelled.
            None => self.kind().may_have_been_processed(),
        }
    }

    /// Returns whether a submission that failed may have created jobs: the server may have accepted it, and its
    /// response was lost or cannot be read. Check the newest jobs before you submit again.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
    /// # let simulator = Simulator::start()?;
    /// # let client = simulator.client()?;
    /// # simulator.fail_next(Fault::LostAnswer);
    /// let payload = serde_json::json!({"job_type": "opt", "name": "water-17"});
    /// let error = client.submit_job(&payload).unwrap_err(); // The response was lost.
    /// assert!(error.may_have_been_submitted());
    ///
    /// let newest = client.list_jobs().limit(5).send()?.jobs;
    /// assert!(newest.iter().any(|job| job.name.as_deref() == Some("water-17")));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn may_have_been_submitted(&self) -> bool {
        self.context().is_some_and(|context| context.is_submission) && self.may_have_been_processed()
    }

    /// Returns which payloads of a batch were submitted before it failed, and what the server returned for them.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
    /// # let simulator = Simulator::start()?;
    /// # let client = simulator.client()?;
    /// use serde_json::json;
    ///
    /// // The second of three requests fails.
    /// simulator.fail_when(|request| request.body.contains("molecule-1500"), 1, Fault::status(500));
    /// let payloads = (0..2500).map(|n| json!({"job_type": "opt", "name": format!("molecule-{n}")}));
    /// let error = client.submit_batch(payloads).unwrap_err();
    /// let partial = error.partial_batch().unwrap();
    /// assert_eq!((&partial.answered, &partial.failed, &partial.not_sent), (&(0..1000), &(1000..2000), &(2000..2500)));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn partial_batch(&self) -> Option<&PartialBatch> {
        self.0.partial_batch.as_ref()
    }

    /// Returns whether the server accepted the request to cancel the job, for a wait that failed:
    ///
    /// - `Some(true)` if the server accepted it. The job may still be running for a while, or finish.
    /// - `Some(false)` if it is not known to have accepted it.
    ///   [`may_have_been_processed`](Error::may_have_been_processed) says whether the job may have been cancelled.
    /// - `None` if no request to cancel was due, and for all other errors.
    pub fn cancellation_accepted(&self) -> Option<bool> {
        match self.kind() {
            ErrorKind::WaitTimedOut { cancellation, .. } => cancellation.as_ref().map(Result::is_ok),
            ErrorKind::WaitStopped { is_cancelled: true, .. } => Some(true),
            _ => self.context().filter(|context| context.is_cancelled).map(|_| true),
        }
    }

    /// Returns what the user can do next.
    fn advice(&self) -> Option<String> {
        let fixed = match self.kind() {
            ErrorKind::Status { retry_after: Some(pause), .. } => {
                return Some(format!("the server asks to wait {} before another attempt", seconds(*pause)));
            }
            ErrorKind::Status { is_foreign: true, status: 400 | 402..=428 | 430..500, .. }
            | ErrorKind::Decode { is_html: true, .. } => return Some(self.foreign_advice()),
            ErrorKind::Contradicted { excerpt, .. }
                if excerpt.trim_start_matches('\u{feff}').starts_with('<') =>
            {
                return Some(self.foreign_advice());
            }
            ErrorKind::Status { status, message, .. } => {
                return self.status_advice(*status, message.as_deref());
            }
            ErrorKind::Redirect { .. } => {
                return Some(format!("if the API has moved there, change {}", self.address()));
            }
            ErrorKind::NotConnected { timed_out: Some(_), is_about_address: true, .. } => {
                return Some(format!(
                    "check the network and {}, or allow more time (connect_timeout, timeout)",
                    self.address()
                ));
            }
            ErrorKind::NotConnected { is_about_address: true, .. } => {
                return Some(format!("check the network and {}", self.address()));
            }
            ErrorKind::BadResponse { is_http: false, .. } => {
                return Some(format!("the scheme or port of {} may be wrong", self.address()));
            }
            ErrorKind::Timeout { .. } if self.idempotency() == Some(Idempotency::NonIdempotent) => {
                "raise timeout if the server needs longer"
            }
            ErrorKind::Timeout { .. } => "raise timeout if the server needs longer",
            ErrorKind::OutOfTime => "raise the timeout",
            ErrorKind::Decode { expected, .. } if *expected == REQUESTED_TYPE => {
                "the type that was passed to RawResponse::json may not fit the response"
            }
            ErrorKind::Decode { .. } | ErrorKind::UnreadableJob { .. } => {
                "the service may differ from what this version expects: see HTTP.md; \
                 ClientBuilder::on_response can adapt responses"
            }
            ErrorKind::RepeatedPage(_) | ErrorKind::MissingCursor | ErrorKind::RepeatedCursor(_) => {
                "the service may differ from what this version expects: see HTTP.md; \
                 ClientBuilder::on_request and on_response can adapt requests and responses"
            }
            ErrorKind::NoSuchRequest { .. } => DIFFERENT_REQUEST,
            ErrorKind::WrongJob(_) if self.is_other_spelling() => {
                "this seems to be the same id in the spelling of the service: use that"
            }
            ErrorKind::WrongJob(_) => "it may be the response to another request",
            ErrorKind::WrongState { reloaded: Ok(state), .. } if state.is_terminal() => {
                return Some(format!("the job is {state} now: try again"));
            }
            ErrorKind::WrongState { reloaded: Ok(state), .. } if self.is_about_deleting() => {
                return Some(format!(
                    "the job is {}, and only a job that has ended can be deleted: cancel it first, or use \
                     cancel_and_delete",
                    sanitize(state.as_str(), 40)
                ));
            }
            ErrorKind::WrongState { reloaded: Ok(state), .. } => {
                return Some(format!("the job is {}", sanitize(state.as_str(), 40)));
            }
            ErrorKind::WrongState { reloaded: Err(error), .. } => {
                return Some(format!("the state of the job could not be loaded: {error}"));
            }
            ErrorKind::WaitStopped { is_cancelled: false, .. } => RUNS_ON,
            ErrorKind::WaitStopped { .. } => MAY_STOP,
            ErrorKind::WaitTimedOut { cancellation, .. } => match cancellation {
                None => RUNS_ON,
                Some(Ok(())) => MAY_STOP,
                Some(Err(FailedCancellation { error, may_have_been_processed: true, .. })) => {
                    return Some(format!("it is not known whether the job was cancelled: {error}"));
                }
                Some(Err(FailedCancellation { error, .. })) => {
                    return Some(format!("the job could not be cancelled and may cost more: {error}"));
                }
            },
            _ => return None,
        };
        Some(fixed.to_owned())
    }

    /// Returns whether the response was for the job that was asked for, whose id the service writes differently.
    pub(crate) fn is_other_spelling(&self) -> bool {
        let plain = |id: &str| id.replace('-', "").to_ascii_lowercase();
        match (self.kind(), self.context().and_then(|context| context.job_id.as_ref())) {
            (ErrorKind::WrongJob(id), Some(asked)) => plain(id) == plain(asked.as_str()),
            _ => false,
        }
    }

    fn is_about_deleting(&self) -> bool {
        self.context().is_some_and(|context| context.action == DELETE_JOB)
    }

    fn idempotency(&self) -> Option<Idempotency> {
        self.context().map(|context| context.idempotency)
    }

    /// Returns the setting that the address comes from.
    fn address(&self) -> &'static str {
        self.context().map_or("the base URL (base_url)", |context| context.address)
    }

    fn foreign_advice(&self) -> String {
        format!(
            "the response is not JSON: a proxy or gateway may have sent it, or {} may be wrong",
            self.address()
        )
    }

    fn status_advice(&self, status: u16, message: Option<&str>) -> Option<String> {
        let on_a_job = self.job_id().is_some();
        let has_responded = self.context().is_some_and(|context| context.has_responded);
        let fixed = match status {
            401 if message.is_some_and(says_no_credentials_came) => NO_KEY_CAME,
            // FastAPI responds with this to a request without credentials.
            403 if message.is_some_and(|message| message.eq_ignore_ascii_case("not authenticated")) => {
                NO_KEY_CAME
            }
            401 => {
                let key = self.context().map_or("api_key", |context| context.key);
                return Some(format!("check the API key ({key}): it may be mistyped or revoked"));
            }
            404 | 410 if on_a_job && has_responded => {
                "the job may have been deleted or belong to another account"
            }
            404 | 410 if on_a_job => {
                return Some(format!(
                    "the job may have been deleted or belong to another account, or {} may be wrong: no call of this \
                     client has succeeded yet",
                    self.address()
                ));
            }
            404 | 405 if has_responded => DIFFERENT_REQUEST,
            404 | 405 => return Some(format!("{} may be wrong", self.address())),
            429 => "send requests less often",
            408 | 425 if !self.may_have_been_processed() => "try again later",
            501 => DIFFERENT_REQUEST,
            500.. if !self.may_have_been_processed() => "try again later",
            _ => return None,
        };
        Some(fixed.to_owned())
    }
}

const NO_KEY_CAME: &str = "no API key seems to have reached the service: it may expect the key in another header \
                           (api_key_header), or a proxy or gateway may have removed it";

const DIFFERENT_REQUEST: &str = "the service may differ from what this version expects: see HTTP.md; \
                                 ClientBuilder::on_request can adapt requests";

/// The actions whose outcome needs more than a status to judge. A hook may change the method and path of their
/// requests.
pub(crate) const CANCEL_JOB: &str = "cancel job";
pub(crate) const DELETE_JOB: &str = "delete job";

const RUNS_ON: &str = "the job was not cancelled and may cost more: wait again, or cancel it";

const MAY_STOP: &str = "the server accepted the request to cancel it; load the job to see whether it stopped";

/// What [`RawResponse::json`](crate::RawResponse::json) decodes.
pub(crate) const REQUESTED_TYPE: &str = "the requested type";

/// Returns whether the message is one that FastAPI and gateways use if a request carries no key at all.
fn says_no_credentials_came(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    says(&["not authenticated", "no credentials", "not provided", "key required", "key is required"])
        || (says(&["missing"]) && says(&["key", "header", "authorization", "credentials", "token"]))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = self.context();
        if let Some(Context { action, job_id, .. }) = context {
            f.write_str(&sanitize(action, 80))?;
            if let Some(id) = job_id {
                write!(f, " {}", sanitize(id.as_str(), 80))?;
            }
            f.write_str(": ")?;
        }
        if matches!(self.kind(), ErrorKind::OutOfTime) && self.attempts() == 0 {
            f.write_str("not tried: ")?;
        }
        self.kind().fmt(f)?;
        if let Some(advice) = self.advice() {
            write!(f, "; {advice}")?;
        }
        if context.is_some_and(|context| context.is_cancelled) {
            f.write_str("; the server has accepted the request to cancel the job")?;
        }
        if self.kind().is_unsent() && !self.earlier().was_sent {
            f.write_str("; nothing was sent")?;
        }
        let partial = self.partial_batch().filter(|partial| partial.failed.len() < partial.not_sent.end);
        if let Some(partial) = partial {
            write!(f, "; {}", progress(partial))?;
        }
        if self.may_have_been_submitted() {
            f.write_str(match self.partial_batch() {
                Some(_) => {
                    "; the jobs of this request may have been submitted: check the newest jobs (list_jobs) before \
                     you submit them again"
                }
                None => {
                    "; the job may have been submitted: check the newest jobs (list_jobs) before you submit it again"
                }
            })?;
        } else if matches!(self.kind(), ErrorKind::WaitTimedOut { .. }) {
            // The advice already says so.
        } else if context.is_none() {
            // It belongs to no call of its own.
        } else if self.may_have_been_processed() && self.is_not_found() {
            f.write_str("; an earlier attempt of this call may have been processed")?;
        } else if self.may_have_been_processed() {
            f.write_str(match self.kind() {
                ErrorKind::NotDeleted { reloaded: Ok(_), .. } => {
                    "; it may have been marked for deletion: load it again later to check"
                }
                _ if self.job_id().is_none() => "; the request may have been processed",
                _ => "; the change may have been made: load the job to check",
            })?;
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

/// Says which payloads of a batch were processed before one of its requests failed.
fn progress(partial: &PartialBatch) -> String {
    let PartialBatch { received, answered, failed, not_sent, .. } = partial;
    let payloads = not_sent.end;
    let mut parts = Vec::new();
    if !answered.is_empty() {
        // Beyond these, there may be entries of the request that failed.
        let entries = received.jobs.iter().take(answered.len());
        let count = |status| entries.clone().filter(|entry| entry.status == status).count();
        parts.push(format!(
            "{} were processed ({} submitted, {} failed, {} cache hits)",
            answered.len(),
            count(SubmissionStatus::Submitted),
            count(SubmissionStatus::Failed),
            count(SubmissionStatus::CacheHit),
        ));
    }
    if !failed.is_empty() {
        parts.push(format!("{} were in the request that failed", failed.len()));
    }
    if !not_sent.is_empty() {
        parts.push(format!("{} were not sent", not_sent.len()));
    }
    match &parts[..] {
        [first, last] if answered.is_empty() => {
            format!("of {payloads} payloads, the first {first} and the last {last}")
        }
        [first, last] => format!("of {payloads} payloads, the first {first}, and the last {last}"),
        [first, next, last] => {
            format!("of {payloads} payloads, the first {first}, the next {next}, and the last {last}")
        }
        _ => format!("none of the {payloads} payloads was sent"),
    }
}

/// Same as [`Display`](fmt::Display).
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
