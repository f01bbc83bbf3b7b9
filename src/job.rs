//! A handle to one job.

use crate::client::Client;
use crate::error::Result;
use crate::jobs::dashboard::{self, VisualizeMode};
use crate::jobs::schedule::WaitOptions;
use crate::types::{JobId, JobState, JobSummary, Submitted};

/// A handle to one job: its identifier, a client, and the summary that was received last.
///
/// [`Client::job`] and [`Client::submit_job`] return one.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "simulator")] {
/// # use atomiverse::simulator::{SimulatedJob, Simulator};
/// # let simulator = Simulator::start()?;
/// # let client = simulator.client()?;
/// # let id = simulator.add_job(SimulatedJob::new("opt"));
/// use atomiverse::JobState;
///
/// let mut job = client.job(&id)?;
/// job.cancel()?;
/// assert_eq!(job.state(), None); // Only `refresh` and waiting update the handle.
/// assert_eq!(job.refresh()?.state, JobState::Cancelled);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Job {
    client: Client,
    /// What was received last.
    received: Submitted,
}

impl Job {
    pub(crate) fn new(client: &Client, received: Submitted) -> Self {
        Job { client: client.clone(), received }
    }

    /// Returns the identifier of the job.
    pub fn id(&self) -> &JobId {
        &self.received.job_id
    }

    /// Returns the state of the job that was received last, or `None` if no response to this handle has shown one.
    ///
    /// [`Client::submit_job`], [`refresh`](Job::refresh), [`wait`](Job::wait) and
    /// [`cancel_and_wait`](Job::cancel_and_wait) update it.
    pub fn state(&self) -> Option<&JobState> {
        self.received.state.as_ref()
    }

    /// Returns the summary of the job that was received last, or `None` if there is none yet.
    ///
    /// [`refresh`](Job::refresh), [`wait`](Job::wait) and [`cancel_and_wait`](Job::cancel_and_wait) update it, and
    /// other methods do not. After [`Client::submit_job`] it is present if the response described the job completely.
    pub fn summary(&self) -> Option<&JobSummary> {
        self.received.summary.as_ref()
    }

    /// Returns whether the service returned an existing job for the payload: the response to the submission carried
    /// `"status": "cache_hit"`.
    pub fn is_cache_hit(&self) -> bool {
        self.received.is_cache_hit
    }

    /// Loads the job and returns its summary.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Client::get_job`], and keeps the previous summary.
    pub fn refresh(&mut self) -> Result<&JobSummary> {
        let summary = self.client.get_job(&self.received.job_id)?;
        Ok(self.seen(summary))
    }

    /// Waits until the job is done, failed or cancelled, and returns its summary.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Client::wait_for_job`], and keeps the previous summary.
    pub fn wait<'a>(&mut self, options: impl Into<WaitOptions<'a>>) -> Result<&JobSummary> {
        let summary = self.client.wait_for_job(&self.received.job_id, options)?;
        Ok(self.seen(summary))
    }

    /// Renames the job.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Client::rename_job`].
    pub fn rename(&self, name: impl AsRef<str>) -> Result<()> {
        self.client.rename_job(&self.received.job_id, name)
    }

    /// Asks the service to cancel the job. Success means that it has accepted this, or that the job has already ended.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Client::cancel_job`].
    pub fn cancel(&self) -> Result<()> {
        self.client.cancel_job(&self.received.job_id)
    }

    /// Cancels the job, waits until it has ended, and returns its last summary.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Client::cancel_and_wait`], and keeps the previous summary.
    pub fn cancel_and_wait<'a>(&mut self, options: impl Into<WaitOptions<'a>>) -> Result<&JobSummary> {
        let summary = self.client.cancel_and_wait(&self.received.job_id, options)?;
        Ok(self.seen(summary))
    }

    /// Cancels the job if it has not ended, waits until it has, and deletes it. Returns `false` if there was no such
    /// job.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Client::cancel_and_delete`].
    pub fn cancel_and_delete<'a>(&self, options: impl Into<WaitOptions<'a>>) -> Result<bool> {
        self.client.cancel_and_delete(&self.received.job_id, options)
    }

    /// Deletes the job from the history.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Client::delete_job`].
    pub fn delete(&self) -> Result<()> {
        self.client.delete_job(&self.received.job_id)
    }

    /// Returns the link to the job's dashboard. Sends nothing.
    pub fn job_dashboard_url(&self) -> String {
        self.client.dashboard_url(&self.received.job_id)
    }

    /// Opens the job's dashboard in a new browser tab and returns its link.
    ///
    /// This method does not fail and takes at most about two seconds. A program in the environment variable `BROWSER` is
    /// tried first. The link is printed on standard error unless the system's own browser is known to have opened.
    /// Nothing else in this crate prints.
    pub fn visualize(&self) -> String {
        self.visualize_with(VisualizeMode::Auto)
    }

    /// Same as [`visualize`](Job::visualize), in the given mode.
    pub fn visualize_with(&self, mode: impl Into<VisualizeMode>) -> String {
        let url = self.job_dashboard_url();
        dashboard::show(&url, mode.into());
        url
    }

    fn seen(&mut self, summary: JobSummary) -> &JobSummary {
        self.received.state = Some(summary.state.clone());
        self.received.summary.insert(summary)
    }
}
