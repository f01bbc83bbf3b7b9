//! The link to a job's dashboard, and the browser that shows it.

use std::io::Write;
#[cfg(feature = "browser")]
use std::{
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// The mode of [`Job::visualize_with`](crate::Job::visualize_with), which decides how the dashboard is shown.
///
/// `true` converts to [`Browser`](VisualizeMode::Browser) and `false` to [`Link`](VisualizeMode::Link), like the flag
/// `open_browser` of the Python SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum VisualizeMode {
    /// Opens a browser tab if there is a display or `BROWSER` is set, and prints the link unless the system's
    /// browser is known to have opened.
    #[default]
    Auto,
    /// Tries to open a browser tab in any case, and prints the link like `Auto`.
    Browser,
    /// Prints the link only.
    Link,
}

impl From<bool> for VisualizeMode {
    fn from(open_browser: bool) -> Self {
        if open_browser { VisualizeMode::Browser } else { VisualizeMode::Link }
    }
}

/// Shows the page, and prints its link on standard error unless somebody is known to see the page.
pub(crate) fn show(url: &str, mode: VisualizeMode) {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let has_display = !cfg!(unix)
        || cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"].into_iter().any(is_set);
    let opened = match mode {
        VisualizeMode::Link => false,
        VisualizeMode::Auto => (has_display || is_set("BROWSER")) && open(url),
        VisualizeMode::Browser => open(url),
    };
    // Without a display, a launcher may report success and show nothing. A program in `BROWSER` may be a text browser.
    if !opened || !has_display || is_set("BROWSER") {
        // If standard error is closed, nobody can be told.
        let _ = writeln!(std::io::stderr(), "Open the job in a browser: {url}");
    }
}

/// Returns whether a browser is known to have started. A launcher that is still running then is left alone.
#[cfg(feature = "browser")]
fn open(url: &str) -> bool {
    const PATIENCE: Duration = Duration::from_secs(2);
    let (sender, opened) = mpsc::channel();
    let url = url.to_owned();
    let launch = move || {
        let commands = std::env::var_os("BROWSER").unwrap_or_default();
        let is_open = std::env::split_paths(&commands)
            .any(|command| !command.as_os_str().is_empty() && start(&command.to_string_lossy(), &url))
            // The caller has left before a launcher that is still running counts as successful.
            || open::that_detached_with_timeout(&url, 2 * PATIENCE)
                .inspect_err(|error| log::debug!("no browser for {url}: {error}"))
                .is_ok();
        // Sending fails if the caller has left.
        let _ = sender.send(is_open);
    };
    let started = thread::Builder::new().name("atomiverse-browser".to_owned()).spawn(launch);
    started.is_ok() && opened.recv_timeout(PATIENCE).unwrap_or(false)
}

/// Runs a command of `BROWSER`, in which `%s` stands for the link, and returns whether it succeeds.
#[cfg(feature = "browser")]
fn start(command: &str, url: &str) -> bool {
    let command = if command.contains("%s") { command.to_owned() } else { format!("{command} %s") };
    let mut words = command.split_whitespace().map(|word| word.replace("%s", url));
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C in the terminal of the caller does not reach the browser.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.status().is_ok_and(|status| status.success())
}

#[cfg(not(feature = "browser"))]
fn open(_: &str) -> bool {
    false
}
