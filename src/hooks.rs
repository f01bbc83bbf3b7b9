//! The caller's functions that are called for each request, response and attempt.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::raw::{RawRequest, RawResponse};
use crate::types::JobId;

/// One attempt of a request, for [`ClientBuilder::on_attempt`](crate::ClientBuilder::on_attempt).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Attempt<'a> {
    /// The purpose of the request, such as `rename job`.
    pub action: &'a str,
    /// The job that the request is about.
    pub job_id: Option<&'a JobId>,
    /// The HTTP method.
    pub method: &'a str,
    /// The number of the attempt, counted from 1.
    pub number: u32,
    /// The HTTP status. `None` if the attempt failed before the response was complete.
    pub status: Option<u16>,
    /// Why the attempt failed. `None` if the status is 2xx.
    pub error: Option<&'a str>,
    /// The duration of the attempt, without the pause after it.
    pub elapsed: Duration,
    /// The pause before the next attempt. `None` if there will be none.
    pub retry_in: Option<Duration>,
}

type OnRequest = Arc<dyn Fn(&mut RawRequest) + Send + Sync>;
type OnResponse = Arc<dyn Fn(&RawRequest, &mut RawResponse) + Send + Sync>;
type OnAttempt = Arc<dyn Fn(&Attempt<'_>) + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) on_request: Vec<OnRequest>,
    pub(crate) on_response: Vec<OnResponse>,
    pub(crate) on_attempt: Vec<OnAttempt>,
}

impl Hooks {
    /// Returns the request as the hooks have adapted it.
    pub(crate) fn adapt_request<'a>(&self, request: &'a RawRequest) -> Result<Cow<'a, RawRequest>, String> {
        if self.on_request.is_empty() {
            return Ok(Cow::Borrowed(request));
        }
        let mut adapted = request.clone();
        for hook in &self.on_request {
            hook(&mut adapted);
        }
        adapted
            .check()
            .map_err(|problem| format!("on_request made a request that cannot be sent: {problem}"))?;
        Ok(Cow::Owned(adapted))
    }

    pub(crate) fn adapt_response(&self, request: &RawRequest, response: &mut RawResponse) {
        for hook in &self.on_response {
            hook(request, response);
        }
    }

    pub(crate) fn observe(&self, attempt: &Attempt<'_>) {
        for hook in &self.on_attempt {
            hook(attempt);
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("on_request", &self.on_request.len())
            .field("on_response", &self.on_response.len())
            .field("on_attempt", &self.on_attempt.len())
            .finish()
    }
}
