//! A handle to one job.

use crate::client::Client;
use crate::dashboard::{self, VisualizeMode};
use crate::error::Result;
use crate::types::{JobId, JobState, JobSummary, Submitted};
use crate::wait::WaitOptions;

/// A handle to one job: its identifier, a client, and what was last seen of it.
///
/// Made by [`Client::job`] and [`Client::submit_job`].
///
/// # Examples
///
/// ```no_run
/// # let client = atomiverse::Client::from_env()?;
/// let mut job = client.job("9f2c")?;
/// job.cancel()?;
/// println!("{}", job.refresh()?.state); // cancelled, if it had not finished before
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Job {
    client: Client,
    id: JobId,
    dashboard_url: String,
    state: Option<JobState>,
    summary: Option<JobSummary>,
}

impl Job {
    pub(crate) fn new(client: &Client, id: JobId) -> Result<Self> {
        let dashboard_url = client.job_dashboard_url(&id)?;
        Ok(Job { client: client.clone(), id, dashboard_url, state: None, summary: None })
    }

    pub(crate) fn from_submission(client: &Client, submitted: Submitted) -> Result<Self> {
        let job = Job::new(client, submitted.job_id.clone())?;
        Ok(Job { state: submitted.state, summary: submitted.summary, ..job })
    }

    /// Returns the identifier of the job.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// Returns the state of the job as last seen. `None` if no call of this handle has returned one.
    pub fn state(&self) -> Option<&JobState> {
        self.state.as_ref()
    }

    /// Returns the summary of the job as last seen. `None` before the first [`refresh`](Job::refresh) or
    /// [`wait`](Job::wait).
    ///
    /// Other methods do not change it: `refresh` shows their outcome. After [`Client::submit_job`] it is there
    /// if the response described the job completely.
    pub fn summary(&self) -> Option<&JobSummary> {
        self.summary.as_ref()
    }

    /// Loads the job and returns its summary.
    ///
    /// # Errors
    ///
    /// The same as [`Client::get_job`]. The last summary seen is kept then.
    pub fn refresh(&mut self) -> Result<&JobSummary> {
        let summary = self.client.get_job(&self.id)?;
        Ok(self.seen(summary))
    }

    /// Waits until the job is done, failed or cancelled.
    ///
    /// # Errors
    ///
    /// The same as [`Client::wait_for_job`]. The last summary seen is kept then.
    pub fn wait(&mut self, options: &WaitOptions<'_>) -> Result<&JobSummary> {
        let summary = self.client.wait_for_job(&self.id, options)?;
        Ok(self.seen(summary))
    }

    /// Renames the job.
    ///
    /// # Errors
    ///
    /// The same as [`Client::rename_job`].
    pub fn rename(&self, name: impl AsRef<str>) -> Result<()> {
        self.client.rename_job(&self.id, name)
    }

    /// Asks the service to cancel the job.
    ///
    /// # Errors
    ///
    /// The same as [`Client::cancel_job`].
    pub fn cancel(&self) -> Result<()> {
        self.client.cancel_job(&self.id)
    }

    /// Cancels the job, waits until it has ended, and returns its last summary.
    ///
    /// # Errors
    ///
    /// The same as [`Client::cancel_and_wait`]. The last summary seen is kept then.
    pub fn cancel_and_wait(&mut self, options: &WaitOptions<'_>) -> Result<&JobSummary> {
        let summary = self.client.cancel_and_wait(&self.id, options)?;
        Ok(self.seen(summary))
    }

    /// Cancels the job if it has not ended, waits until it has, and deletes it. Returns `false` if it was already
    /// gone.
    ///
    /// # Errors
    ///
    /// The same as [`Client::cancel_and_delete`].
    pub fn cancel_and_delete(&self, options: &WaitOptions<'_>) -> Result<bool> {
        self.client.cancel_and_delete(&self.id, options)
    }

    /// Deletes the job from the history.
    ///
    /// # Errors
    ///
    /// The same as [`Client::delete_job`].
    pub fn delete(&self) -> Result<()> {
        self.client.delete_job(&self.id)
    }

    /// Returns the link to the job's dashboard. Opens nothing and sends nothing.
    pub fn job_dashboard_url(&self) -> String {
        self.dashboard_url.clone()
    }

    /// Opens the job's dashboard in a new browser tab and returns its link.
    ///
    /// This does not fail and takes at most about two seconds. If no browser opens, for example on a machine
    /// without a display, the link is printed on standard error. That is the only text that this crate prints. A
    /// text browser does not get the terminal.
    pub fn visualize(&self) -> String {
        self.visualize_with(VisualizeMode::Auto)
    }

    /// The same as [`visualize`](Job::visualize), in the given mode.
    pub fn visualize_with(&self, mode: impl Into<VisualizeMode>) -> String {
        dashboard::show(&self.dashboard_url, mode.into());
        self.job_dashboard_url()
    }

    fn seen(&mut self, summary: JobSummary) -> &JobSummary {
        self.state = Some(summary.state.clone());
        self.summary.insert(summary)
    }
}
