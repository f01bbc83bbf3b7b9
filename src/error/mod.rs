//! Errors: what failed, on which job, what the server said, and what the caller can do next.

mod advice;
mod kind;

use std::fmt;
use std::time::Duration;

use advice::Remedy;
pub(crate) use kind::{Class, Effect, ErrorKind, sanitize};

use crate::types::{JobId, JobState, PartialBatch};

/// A [`Result`](std::result::Result) with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
///
/// Its message is one line that says what failed, on which job, what the server said and, where known, the remedy. Both `{}` and
/// `{:?}` show the message, so an error that `main` returns is readable. The message does not contain the API key, unless
/// the server sends it back in a changed form or in place of data.
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

/// What happened, and what is known of it. Every string that is not the user's has a limited length.
#[derive(Clone, Default)]
struct Inner {
    kind: ErrorKind,
    /// What happened, in words.
    what: String,
    /// The limit that ended the call, if the user knows it. It follows the words.
    within: Option<Duration>,
    effect: Effect,
    status: Option<u16>,
    server_message: Option<String>,
    retry_after: Option<Duration>,
    /// The job that the error is about, if it is not the one of the call.
    job_id: Option<JobId>,
    state: Option<JobState>,
    /// Whether the failure is about the request and not about the way to the service: the service responded with JSON
    /// or an error that is not a page, or the request could not be sent.
    is_about_request: bool,
    is_transient: bool,
    is_timeout: bool,
    is_stopped: bool,
    cancellation_accepted: Option<bool>,
    remedy: Remedy,
    partial_batch: Option<PartialBatch>,
    context: Context,
}

/// The call that an error belongs to. The default is that of an error that belongs to none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    /// The name of the operation, such as "rename job".
    pub(crate) action: &'static str,
    pub(crate) job_id: Option<JobId>,
    pub(crate) class: Class,
    /// The setting that the address comes from, if the user set it.
    pub(crate) address: Option<&'static str>,
    /// The setting that the key comes from, such as "api_key".
    pub(crate) key: &'static str,
    pub(crate) request_id: Option<String>,
    /// The number of attempts to send the request.
    pub(crate) attempts: u32,
    /// The time from the start of the call to its end.
    pub(crate) elapsed: Duration,
    /// What the attempts before the last one have done.
    pub(crate) earlier: Effect,
    /// Whether a response has shown that the service is at this address.
    pub(crate) has_responded: bool,
}

impl Error {
    /// Records the call that the error belongs to. Keeps the identifier of its request.
    pub(crate) fn with_context(mut self, context: Context) -> Self {
        let request_id = self.0.context.request_id.take().or(context.request_id);
        self.0.context = Context { request_id, ..context };
        self
    }

    /// Records the server's identifier of the request, from a response that cannot be used.
    pub(crate) fn with_request_id(mut self, request_id: Option<String>) -> Self {
        self.0.context.request_id = request_id;
        self
    }

    pub(crate) fn into_context(self) -> Context {
        self.0.context
    }

    pub(crate) fn with_partial_batch(mut self, partial_batch: PartialBatch) -> Self {
        self.0.partial_batch = Some(partial_batch);
        self
    }

    /// Returns the same error, about a job that the server has agreed to cancel.
    pub(crate) fn after_cancellation(mut self) -> Self {
        self.0.cancellation_accepted = Some(true);
        self
    }

    /// Returns the same error for a job, for which it had no request of its own.
    pub(crate) fn for_job(&self, action: &'static str, id: &JobId) -> Self {
        let mut error = Error(self.0.clone());
        error.0.context.action = action;
        error.0.context.job_id = Some(id.clone());
        error
    }

    /// Describes a time-out of an attempt by the limits that the user knows: that of the call, and that of connecting.
    pub(crate) fn with_limits(mut self, call: Duration, connect: Duration) -> Self {
        let limit = if self.0.effect == Effect::Unsent { call.min(connect) } else { call };
        self.0.within = self.0.is_timeout.then_some(limit);
        self
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns what the attempts of the call have done.
    pub(crate) fn effect(&self) -> Effect {
        self.0.effect.max(self.0.context.earlier)
    }

    /// Returns whether the call ended because there was no time to send a request.
    pub(crate) fn is_out_of_time(&self) -> bool {
        self.is_timeout() && self.attempts() == 0
    }

    pub(crate) fn is_about_request(&self) -> bool {
        self.0.is_about_request
    }

    /// Returns the HTTP status of the response that the error is about.
    ///
    /// It is `None` in the following cases:
    ///
    /// - No complete response was received: the call was refused, stopped or timed out, the connection failed, or the
    ///   body of a successful response was broken or too large.
    /// - A wait timed out or was stopped.
    /// - The response was successful, and a job on a page cannot be read, a job is another one than requested, or a cursor or a
    ///   page is missing or repeated.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Returns the server's identifier of the request (`x-request-id`), if the response had one. The service's support
    /// can look it up.
    pub fn request_id(&self) -> Option<&str> {
        self.0.context.request_id.as_deref()
    }

    /// Returns the id of the job that the call was about.
    pub fn job_id(&self) -> Option<&JobId> {
        self.0.job_id.as_ref().or(self.0.context.job_id.as_ref())
    }

    /// Returns the state of the job, if the error depends on it and the state is known:
    ///
    /// - If a change was refused because of the state, or its response left open what happened, this is the state that
    ///   the job then showed.
    /// - If a wait timed out or was stopped, this is the last state that was received.
    /// - If a job could not be read, this is its state if that could be read.
    pub fn state(&self) -> Option<&JobState> {
        self.0.state.as_ref()
    }

    /// Returns the server's message, on one line and of limited length. For a 422 in the format of FastAPI it names
    /// each field.
    pub fn server_message(&self) -> Option<&str> {
        self.0.server_message.as_deref()
    }

    /// Returns how long the server asked to wait before another attempt (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns how many times the request was attempted, including attempts that failed to connect.
    ///
    /// It is 0 if the call was refused before any attempt, and for a wait that timed out or was stopped. If a call
    /// sends several different requests, as waits and iterations do, the attempts are those of the request that failed.
    pub fn attempts(&self) -> u32 {
        self.0.context.attempts
    }

    /// Returns whether the service has no such job (404 or 410): it never existed, was deleted, or belongs to another
    /// account.
    ///
    /// It is false if the body of such a response is an HTML page, which may come from a gateway, and for submissions. It is true
    /// as well after such a response to a call about no particular job, such as a list.
    pub fn is_not_found(&self) -> bool {
        let is_about_job = self.is_about_request() && self.0.context.class != Class::Submission;
        is_about_job && matches!(self.status(), Some(404 | 410))
    }

    /// Returns whether the [`Contract`](crate::Contract) says that the service has no request for this operation.
    pub fn is_unsupported(&self) -> bool {
        self.kind() == ErrorKind::Unsupported
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
    /// A change that timed out may have been made: [`may_have_been_processed`](Error::may_have_been_processed) tells.
    pub fn is_timeout(&self) -> bool {
        self.0.is_timeout
    }

    /// Returns whether the same call may succeed later: the connection failed or broke, a time limit ended the call, or
    /// the server responded with 408, 425, 429, or 5xx other than 501 and 505.
    ///
    /// A TLS failure is not transient. A proxy that refuses the connection is, whatever its status. Before you repeat a
    /// change or a submission, check [`may_have_been_processed`](Error::may_have_been_processed) too.
    pub fn is_transient(&self) -> bool {
        self.0.is_transient
    }

    /// Returns whether a [`StopToken`](crate::StopToken) ended the call.
    ///
    /// [`may_have_been_processed`](Error::may_have_been_processed) says whether a change may have been made
    /// nevertheless. If a wait timed out and was stopped while it cancelled the job, [`is_timeout`](Error::is_timeout)
    /// is true as well.
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped
    }

    /// Returns whether a response, or a job in it, could not be read in the expected format.
    pub fn is_decode(&self) -> bool {
        matches!(self.kind(), ErrorKind::Decode | ErrorKind::UnreadableJob)
    }

    /// Returns whether one job of a page could not be read. An [iteration](crate::JobsIter) continues after such an
    /// error.
    pub fn is_unreadable_job(&self) -> bool {
        self.kind() == ErrorKind::UnreadableJob
    }

    /// Returns whether the server may have made the requested change, or accepted the submission, although the call
    /// failed.
    ///
    /// This is true if a request of the call may have been sent and its outcome is unknown: the connection broke, the
    /// time ran out, or the response was 408, a server error (5xx) or a redirect other than 307 and 308, could not be
    /// read, or left open what happened. It is false for calls that only read, and if nothing was sent.
    ///
    /// After a change, load the job before you repeat the call. After a submission, look for the job in the
    /// dashboard: the list may not show a new job at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
    /// # let simulator = Simulator::start()?;
    /// # let client = simulator.client_builder().max_retries(0).build()?;
    /// # let id = simulator.add_job(SimulatedJob::new("opt"));
    /// # simulator.fail_next(Fault::LostResponse);
    /// use atomiverse::JobState;
    ///
    /// let error = client.cancel_job(&id).unwrap_err(); // The response was lost.
    /// assert!(error.may_have_been_processed());
    /// assert_eq!(client.get_job(&id)?.state, JobState::Cancelled);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn may_have_been_processed(&self) -> bool {
        self.0.context.class != Class::Read && self.effect() == Effect::Possible
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

    /// Returns whether the server accepted the request to cancel the job, for a call that cancels and then does more:
    ///
    /// - `Some(true)` if the server accepted it. The job may still be running for a while, or finish.
    /// - `Some(false)` if it is not known to have accepted it.
    ///   [`may_have_been_processed`](Error::may_have_been_processed) says whether the job may have been cancelled.
    /// - `None` if no request to cancel was due, and for all other errors.
    pub fn cancellation_accepted(&self) -> Option<bool> {
        self.0.cancellation_accepted
    }
}

/// Same as [`Display`](fmt::Display).
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
