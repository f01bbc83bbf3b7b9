//! What went wrong, on which job, what the server said, and what the caller can do next.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::retry::Failure;
use crate::submit::PartialBatch;
use crate::summary::{JobId, JobState};

/// A result with this crate's [`Error`].
///
/// ```
/// fn names(client: &atomiverse::Client) -> atomiverse::Result<Vec<Option<String>>> {
///     client.iter_jobs().map(|job| Ok(job?.name)).collect()
/// }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call did not do what it was asked for.
///
/// Its text is one line that says what failed, on which job, what the server said and what can be
/// done; both `{}` and `{:?}` show it, so that it reads well from `fn main() -> Result<(), Error>`.
/// Its questions let a program decide. It never holds the API key.
///
/// ```no_run
/// # let client = atomiverse::Client::from_env()?;
/// match client.delete_job("9f2c") {
///     Ok(()) => println!("deleted"),
///     Err(error) if error.is_not_found() => println!("gone already"),
///     Err(error) if error.is_conflict() => println!("still {:?}: cancel it first", error.state()),
///     Err(error) => return Err(error),
/// }
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[non_exhaustive]
pub struct Error(Box<Inner>);

struct Inner {
    cause: Cause,
    exchange: Option<Exchange>,
    partial_batch: Option<PartialBatch>,
}

/// The request behind an error.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// What was to be done, as the user would say it: "rename job".
    pub(crate) action: &'static str,
    pub(crate) job_id: Option<JobId>,
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) request_id: Option<String>,
    /// How often the request was sent.
    pub(crate) attempts: u32,
    pub(crate) failure: Failure,
    /// A submission of which the server may have taken more than it said.
    pub(crate) may_have_been_submitted: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    /// Bad input or configuration: nothing was sent.
    #[error("{0}")]
    Input(String),
    #[error("{status} {reason}{}", said(message.as_deref()))]
    Status { status: u16, reason: &'static str, message: Option<String>, retry_after: Option<Duration> },
    /// A delete that met 409, and what a reload then showed.
    #[error("409 Conflict{}. {}", said(message.as_deref()), reloaded.as_ref().map_or_else(reload_failed, not_terminal))]
    NotTerminal { message: Option<String>, reloaded: Result<JobState> },
    #[error("{status}: the server redirects to {}, which is not followed: the key goes to the configured address only, \
             and a redirect may turn a change into a read. If the new address is right, set it as the base URL",
            location.as_deref().unwrap_or("an address that it does not name"))]
    Redirect { status: u16, location: Option<String> },
    #[error("{what} within {}", seconds(within))]
    Timeout { what: &'static str, within: Duration },
    #[error("{text}")]
    Connection { text: String, source: Option<io::Error> },
    #[error("the answer is larger than the limit of {0} bytes (max_response_bytes)")]
    TooLarge(u64),
    #[error("the answer cannot be read as {expected}: {reason}; content type {}, {}. \
             Something else than the service (a proxy, say) may have answered, or the base URL is wrong",
            content_type.as_deref().unwrap_or("not given"), begins(excerpt))]
    Decode {
        expected: &'static str,
        content_type: Option<String>,
        excerpt: String,
        reason: String,
        status: u16,
        source: Option<serde_json::Error>,
    },
    #[error("the server says that there are more jobs, but sent no cursor for the next page")]
    MissingCursor,
    #[error("the server sent the cursor {0:?} a second time: its pages go round in a circle")]
    RepeatedCursor(String),
    #[error(
        "the server answered {entries} entries for {payloads} payloads, so that it cannot be said which belongs \
             to which; what it answered is in Error::partial_batch"
    )]
    EntryCount { payloads: usize, entries: usize },
    #[error("wait for job {}: {} after {}{}{}", printable(job_id.as_str(), 80), last_seen(state.as_ref()), seconds(waited),
            last_failure.as_ref().map(|error| format!(" (the last look failed: {error})")).unwrap_or_default(),
            runs_on(cancellation.as_ref()))]
    WaitTimedOut {
        job_id: JobId,
        state: Option<JobState>,
        waited: Duration,
        /// Why the last look saw nothing.
        last_failure: Option<String>,
        cancellation: Option<Result<()>>,
    },
}

fn last_seen(state: Option<&JobState>) -> String {
    match state {
        Some(state) => format!("it was still {}", printable(state.as_str(), 40)),
        None => "its state was never seen".to_owned(),
    }
}

fn runs_on(cancellation: Option<&Result<()>>) -> String {
    match cancellation {
        None => ". It runs on, and may cost more: wait again, or cancel it".to_owned(),
        Some(Ok(())) => {
            ". The server accepted the request to cancel it, which is best effort: look at it again to see what came of it"
                .to_owned()
        }
        Some(Err(error)) => format!(". It could not be cancelled, runs on, and may cost more: {error}"),
    }
}

fn said(message: Option<&str>) -> String {
    message.map(|message| format!(": the server said: {message}")).unwrap_or_default()
}

fn begins(excerpt: &str) -> String {
    if excerpt.is_empty() { "an empty body".to_owned() } else { format!("the body begins with {excerpt:?}") }
}

fn not_terminal(state: &JobState) -> String {
    let state_text = printable(state.as_str(), 40);
    if state.is_terminal() {
        format!("The job has become {state_text} in the meantime: delete it again")
    } else {
        format!(
            "The job is {state_text}, and only a done, failed or cancelled job can be deleted. \
             Cancel it first, wait until it has stopped, then delete it"
        )
    }
}

fn reload_failed(error: &Error) -> String {
    format!(
        "Only a done, failed or cancelled job can be deleted. Cancel it first, wait until it has stopped, \
         then delete it (its state could not be loaded: {error})"
    )
}

/// `30 s`, `0.25 s`
pub(crate) fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_millis() as f64 / 1000.0)
}

/// Text from elsewhere, fit for a terminal and a log: one line, no control characters and none that
/// reorder what stands around them, not longer than `max` characters.
pub(crate) fn printable(text: &str, max: usize) -> String {
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
    pub(crate) fn new(cause: Cause, exchange: Option<Exchange>) -> Self {
        Error(Box::new(Inner { cause, exchange, partial_batch: None }))
    }

    /// Bad input or configuration, found before anything was sent.
    pub(crate) fn input(text: impl Into<String>) -> Self {
        Error::new(Cause::Input(text.into()), None)
    }

    pub(crate) fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// A delete that met 409, with what a reload of the job then showed.
    pub(crate) fn with_reloaded_state(self, reloaded: Result<JobState>) -> Self {
        let Inner { cause, exchange, .. } = *self.0;
        match cause {
            Cause::Status { message, .. } => Error::new(Cause::NotTerminal { message, reloaded }, exchange),
            cause => Error::new(cause, exchange),
        }
    }

    pub(crate) fn with_partial_batch(mut self, partial_batch: PartialBatch) -> Self {
        self.0.partial_batch = Some(partial_batch);
        self
    }

    /// Whether the same call may well do better later: `Some(false)` for what was refused, `None` where
    /// it cannot be told from what came (an answer that makes no sense may be a proxy's).
    pub(crate) fn is_passing(&self) -> Option<bool> {
        let exchange = self.0.exchange.as_ref()?;
        match (exchange.failure, self.status()) {
            (failure, _) if failure.is_transient() => Some(true),
            (_, Some(300..500)) => Some(false),
            _ => None,
        }
    }

    /// The HTTP status of the server's answer, or `None` where there was none.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let error = client.rename_job("9f2c", "").unwrap_err();
    /// assert_eq!(error.status(), Some(422));
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn status(&self) -> Option<u16> {
        match self.cause() {
            Cause::Status { status, .. } | Cause::Redirect { status, .. } | Cause::Decode { status, .. } => {
                Some(*status)
            }
            Cause::NotTerminal { .. } => Some(409),
            _ => None,
        }
    }

    /// The server's own number for the request (`x-request-id`): give it to the service's support.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// if let Err(error) = client.cancel_job("9f2c") {
    ///     eprintln!("{error} (request {})", error.request_id().unwrap_or("unknown"));
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn request_id(&self) -> Option<&str> {
        self.0.exchange.as_ref()?.request_id.as_deref()
    }

    /// The job that the call was about.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let error = client.get_job("nope").unwrap_err();
    /// assert_eq!(error.job_id().unwrap(), &"nope");
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn job_id(&self) -> Option<&JobId> {
        match self.cause() {
            Cause::WaitTimedOut { job_id, .. } => Some(job_id),
            _ => self.0.exchange.as_ref()?.job_id.as_ref(),
        }
    }

    /// The state of the job where the call depended on it: for a delete that was refused with 409, the
    /// state that the job was in; for a wait whose time was up, the last one seen.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// if let Err(error) = client.delete_job("9f2c") {
    ///     println!("state: {:?}", error.state());
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn state(&self) -> Option<&JobState> {
        match self.cause() {
            Cause::NotTerminal { reloaded: Ok(state), .. } => Some(state),
            Cause::WaitTimedOut { state, .. } => state.as_ref(),
            _ => None,
        }
    }

    /// The server's words, made fit for a terminal and cut to a sane length. Of a 422, each field's.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// if let Err(error) = client.rename_job("9f2c", " ") {
    ///     println!("{}", error.server_message().unwrap_or("no reason given"));
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn server_message(&self) -> Option<&str> {
        match self.cause() {
            Cause::Status { message, .. } | Cause::NotTerminal { message, .. } => message.as_deref(),
            _ => None,
        }
    }

    /// How long the server asked to wait before another try (`Retry-After`).
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// if let Err(error) = client.get_job("9f2c") {
    ///     println!("try again in {:?}", error.retry_after());
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn retry_after(&self) -> Option<Duration> {
        match self.cause() {
            Cause::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// How often the request was sent; 0 where the call was refused before.
    ///
    /// ```
    /// let client = atomiverse::Client::new("key")?;
    /// assert_eq!(client.get_job("").unwrap_err().attempts(), 0);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn attempts(&self) -> u32 {
        self.0.exchange.as_ref().map_or(0, |exchange| exchange.attempts)
    }

    /// No such job (404): it never was, is deleted already, or is another account's.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// assert!(client.get_job("nope").unwrap_err().is_not_found());
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// The state of the job forbids it (409): a pending or running job cannot be deleted.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// # let running = "9f2c";
    /// assert!(client.delete_job(running).unwrap_err().is_conflict());
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// The server refused a value (422), a job's name for one; [`server_message`](Error::server_message) says why.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// assert!(client.rename_job("9f2c", "").unwrap_err().is_validation());
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn is_validation(&self) -> bool {
        self.status() == Some(422)
    }

    /// The API key is wrong or revoked (401).
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::new("wrong-key")?;
    /// assert!(client.list_jobs().send().unwrap_err().is_unauthorized());
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn is_unauthorized(&self) -> bool {
        self.status() == Some(401)
    }

    /// Too many requests (429); [`retry_after`](Error::retry_after) may say how long to wait.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let limited = client.list_jobs().send().is_err_and(|error| error.is_rate_limited());
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn is_rate_limited(&self) -> bool {
        self.status() == Some(429)
    }

    /// The time was up before there was an answer. What was asked for may have been done all the same.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// if client.get_job("9f2c").is_err_and(|error| error.is_timeout()) {
    ///     println!("the service is slow today");
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn is_timeout(&self) -> bool {
        matches!(self.cause(), Cause::Timeout { .. } | Cause::WaitTimedOut { .. })
    }

    /// Whether a submission that failed may all the same have made a job (or several): the server may have
    /// taken it and its answer was lost or cannot be read. Look at the newest jobs before submitting again.
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
        self.0.exchange.as_ref().is_some_and(|exchange| exchange.may_have_been_submitted)
    }

    /// Which payloads of a batch went out and what was answered, where a submission of several broke.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// # let payloads: Vec<serde_json::Value> = Vec::new();
    /// if let Err(error) = client.submit_batches(&payloads) {
    ///     if let Some(partial) = error.partial_batch() {
    ///         println!("not sent: payloads {:?}", partial.not_sent);
    ///     }
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn partial_batch(&self) -> Option<&PartialBatch> {
        self.0.partial_batch.as_ref()
    }

    /// Whether a wait whose time was up cancelled the job: `None` where it was not asked to (or this is
    /// another error), `Some(true)` where the server accepted the request to cancel.
    ///
    /// ```no_run
    /// use atomiverse::WaitOptions;
    /// # let client = atomiverse::Client::from_env()?;
    /// let options = WaitOptions::new().cancel_on_timeout(true);
    /// if let Err(error) = client.wait_for_job("9f2c", &options) {
    ///     println!("cancelled: {:?}", error.cancellation_accepted());
    /// }
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn cancellation_accepted(&self) -> Option<bool> {
        match self.cause() {
            Cause::WaitTimedOut { cancellation, .. } => cancellation.as_ref().map(Result::is_ok),
            _ => None,
        }
    }

    /// What the user can do next, where the status says it.
    fn advice(&self) -> Option<String> {
        let on_a_job = self.job_id().is_some();
        match self.cause() {
            Cause::Status { retry_after: Some(pause), .. } => {
                Some(format!("The server asks to wait {} before another try", seconds(pause)))
            }
            Cause::Status { status, .. } => match status {
                401 => Some("Check the API key: a revoked key stops working at once"),
                403 => Some("The API key does not allow this: a workspace key is needed, not a runner key"),
                404 if on_a_job => {
                    Some("There is no such job: it may be deleted already, or be another account's")
                }
                404 => Some("Check the base URL: nothing answers there"),
                429 => Some("Ask less often"),
                500.. => Some("The fault is the server's: try again later"),
                _ => None,
            }
            .map(str::to_owned),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(exchange) = &self.0.exchange else {
            return self.cause().fmt(f);
        };
        f.write_str(exchange.action)?;
        if let Some(id) = &exchange.job_id {
            write!(f, " {}", printable(id.as_str(), 80))?;
        }
        write!(f, ": {}", self.cause())?;
        if let Some(advice) = self.advice() {
            write!(f, ". {advice}")?;
        }
        if let Some(PartialBatch { answered, failed, not_sent, .. }) = self.partial_batch() {
            write!(
                f,
                ". Of {} payloads the first {} went out and were answered, the next {} were in this request, \
                 the last {} were not sent",
                not_sent.end,
                answered.len(),
                failed.len(),
                not_sent.len()
            )?;
        }
        if exchange.may_have_been_submitted {
            f.write_str(
                ". What was in this request may have been submitted: look at the newest jobs (list_jobs) \
                 before you submit it again",
            )?;
        }
        write!(f, " ({} {}", exchange.method, exchange.url)?;
        if let Some(id) = &exchange.request_id {
            write!(f, ", request id {id}")?;
        }
        if exchange.attempts > 1 {
            write!(f, ", tried {} times", exchange.attempts)?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            let Inner { cause, exchange, partial_batch } = &*self.0;
            return f
                .debug_struct("Error")
                .field("cause", cause)
                .field("exchange", exchange)
                .field("partial_batch", partial_batch)
                .finish();
        }
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.cause() {
            Cause::Connection { source: Some(source), .. } => Some(source),
            Cause::Decode { source: Some(source), .. } => Some(source),
            _ => None,
        }
    }
}
