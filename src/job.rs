//! One job as a handle.

use crate::api;
use crate::client::Client;
use crate::dashboard::{self, VisualizeMode};
use crate::error::Result;
use crate::summary::{JobId, JobSummary};
use crate::wait::WaitOptions;

/// A handle on one job: its identifier, the client, and what was last seen of it.
///
/// Made by [`Client::job`], which sends nothing.
///
/// ```no_run
/// # let client = atomiverse::Client::from_env()?;
/// let mut job = client.job("9f2c")?;
/// job.cancel()?;
/// println!("{}", job.refresh()?.state); // cancelled, if it was not finished already
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Job {
    client: Client,
    id: JobId,
    dashboard_url: String,
    summary: Option<JobSummary>,
}

impl Job {
    pub(crate) fn new(client: &Client, id: &str) -> Result<Self> {
        let dashboard_url = client.job_dashboard_url(id)?;
        // Whatever the handle is asked to do later, the identifier will be in a path.
        api::get(id)?;
        Ok(Job { client: client.clone(), id: id.into(), dashboard_url, summary: None })
    }

    pub(crate) fn with_summary(self, summary: Option<JobSummary>) -> Self {
        Job { summary, ..self }
    }

    /// The identifier of the job.
    ///
    /// ```
    /// let job = atomiverse::Client::new("key")?.job("9f2c")?;
    /// assert_eq!(job.id(), &"9f2c");
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// The job as last seen; `None` before the first [`refresh`](Job::refresh) or [`wait`](Job::wait).
    ///
    /// The other verbs do not change it: `refresh` shows their outcome. After
    /// [`Client::submit_job`] it is what the answer said.
    ///
    /// ```
    /// let job = atomiverse::Client::new("key")?.job("9f2c")?;
    /// assert!(job.summary().is_none());
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn summary(&self) -> Option<&JobSummary> {
        self.summary.as_ref()
    }

    /// Loads the job anew.
    ///
    /// # Errors
    ///
    /// As [`Client::get_job`]. The last seen summary is kept then.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let mut job = client.job("9f2c")?;
    /// println!("{}", job.refresh()?.state);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn refresh(&mut self) -> Result<&JobSummary> {
        let summary = self.client.get_job(&self.id)?;
        Ok(self.summary.insert(summary))
    }

    /// Waits until the job is done, failed or cancelled.
    ///
    /// # Errors
    ///
    /// As [`Client::wait_for_job`]. The last seen summary is kept then.
    ///
    /// ```no_run
    /// use atomiverse::WaitOptions;
    /// # let client = atomiverse::Client::from_env()?;
    /// let mut job = client.job("9f2c")?;
    /// println!("{}", job.wait(&WaitOptions::new())?.state);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn wait(&mut self, options: &WaitOptions<'_>) -> Result<&JobSummary> {
        let summary = self.client.wait_for_job(&self.id, options)?;
        Ok(self.summary.insert(summary))
    }

    /// Gives the job another name.
    ///
    /// # Errors
    ///
    /// As [`Client::rename_job`].
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// client.job("9f2c")?.rename("benchmark-water-b3lyp")?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn rename(&self, name: impl AsRef<str>) -> Result<()> {
        self.client.rename_job(&self.id, name)
    }

    /// Asks the service to stop the job.
    ///
    /// # Errors
    ///
    /// As [`Client::cancel_job`].
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let mut job = client.job("9f2c")?;
    /// job.cancel()?;
    /// println!("{}", job.refresh()?.state);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn cancel(&self) -> Result<()> {
        self.client.cancel_job(&self.id)
    }

    /// Removes the job from the history.
    ///
    /// # Errors
    ///
    /// As [`Client::delete_job`].
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// client.job("9f2c")?.delete()?;
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn delete(&self) -> Result<()> {
        self.client.delete_job(&self.id)
    }

    /// The link to the job's dashboard. Nothing is opened and nothing is sent.
    ///
    /// ```
    /// let job = atomiverse::Client::new("key")?.job("9f2c")?;
    /// assert_eq!(job.job_dashboard_url(), "https://atomiverse.com/job?job_id=9f2c");
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn job_dashboard_url(&self) -> String {
        self.dashboard_url.clone()
    }

    /// Opens the job's dashboard in a new browser tab and returns its link.
    ///
    /// Never fails, and never takes longer than about two seconds. Where no browser opens (on a
    /// machine without a display, say) the link is printed on standard error: the only text that this
    /// crate ever prints. A text browser never gets the terminal.
    ///
    /// ```no_run
    /// # let client = atomiverse::Client::from_env()?;
    /// let link = client.job("9f2c")?.visualize();
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn visualize(&self) -> String {
        self.visualize_with(VisualizeMode::Auto)
    }

    /// As [`visualize`](Job::visualize), in the mode that the caller names.
    ///
    /// ```no_run
    /// use atomiverse::VisualizeMode;
    /// # let client = atomiverse::Client::from_env()?;
    /// let link = client.job("9f2c")?.visualize_with(VisualizeMode::Link);
    /// # Ok::<(), atomiverse::Error>(())
    /// ```
    pub fn visualize_with(&self, mode: impl Into<VisualizeMode>) -> String {
        dashboard::show(&self.dashboard_url, mode.into());
        self.job_dashboard_url()
    }
}
