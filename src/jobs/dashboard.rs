//! The link to a job's dashboard, and the browser that shows it.

use std::ffi::{OsStr, OsString};
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
    /// Opens a browser tab if a graphical browser is expected to be present, and prints the link otherwise.
    #[default]
    Auto,
    /// Tries to open a browser tab in any case.
    Browser,
    /// Prints the link only.
    Link,
}

impl From<bool> for VisualizeMode {
    fn from(open_browser: bool) -> Self {
        if open_browser { VisualizeMode::Browser } else { VisualizeMode::Link }
    }
}

/// Shows the page, or prints its link on standard error if nobody would see the page.
pub(crate) fn show(url: &str, mode: VisualizeMode) {
    let somebody_looks = graphical_browser_expected(|name| std::env::var_os(name));
    let opened = match mode {
        VisualizeMode::Link => false,
        VisualizeMode::Auto => somebody_looks && open(url),
        // Without a display, a launcher may report success and show nothing.
        VisualizeMode::Browser => open(url) && somebody_looks,
    };
    if !opened {
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
        let browser = std::env::var_os("BROWSER").unwrap_or_default();
        let is_open = browsers(&browser).iter().any(|browser| start(browser, &url))
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

/// Returns the commands in `BROWSER`. Text browsers are left out: they would run where nobody sees them.
fn browsers(variable: &OsStr) -> Vec<String> {
    let commands = std::env::split_paths(variable).map(|command| command.to_string_lossy().into_owned());
    let is_graphical = |command: &String| {
        let program = command.split(' ').next().and_then(|path| path.rsplit('/').next());
        program.is_some_and(|name| !name.is_empty() && !TEXT_BROWSERS.contains(&name))
    };
    commands.filter(is_graphical).collect()
}

/// Runs a command of `BROWSER`, in which `%s` stands for the link, and returns whether it succeeds.
#[cfg(feature = "browser")]
fn start(browser: &str, url: &str) -> bool {
    let mut words: Vec<String> = browser.split_whitespace().map(|word| word.replace("%s", url)).collect();
    if !browser.contains("%s") {
        words.push(url.to_owned());
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C in the terminal of the caller does not reach the browser.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.status().is_ok_and(|status| status.success())
}

#[cfg(not(feature = "browser"))]
fn open(_: &str) -> bool {
    false
}

fn graphical_browser_expected(var: impl Fn(&str) -> Option<OsString>) -> bool {
    if !cfg!(unix) || cfg!(target_os = "macos") {
        return true;
    }
    let is_set = |name| var(name).is_some_and(|value| !value.is_empty());
    if ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"].into_iter().any(is_set) {
        return true;
    }
    // Without a display, `BROWSER` may still name a program that passes the link on, as remote editors do.
    var("BROWSER").is_some_and(|browser| !browsers(&browser).is_empty())
}

const TEXT_BROWSERS: [&str; 8] =
    ["browsh", "elinks", "links", "links2", "lynx", "retawq", "w3m", "www-browser"];

#[cfg(all(test, unix, not(target_os = "macos")))]
mod tests {
    use super::*;

    fn expected(variables: &[(&str, &str)]) -> bool {
        graphical_browser_expected(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn a_browser_is_expected_where_somebody_can_see_it() {
        assert!(expected(&[("DISPLAY", ":0")]));
        assert!(expected(&[("WAYLAND_DISPLAY", "wayland-0")]));
        assert!(expected(&[("WSL_DISTRO_NAME", "Debian")]));
        assert!(expected(&[("BROWSER", "/opt/editor/open-on-my-laptop")]));
        assert!(expected(&[("DISPLAY", ":0"), ("BROWSER", "w3m")]));
    }

    #[test]
    fn no_browser_is_expected_without_a_display() {
        assert!(!expected(&[]));
        assert!(!expected(&[("DISPLAY", ""), ("WAYLAND_DISPLAY", ""), ("BROWSER", "")]));
        for browser in TEXT_BROWSERS {
            assert!(!expected(&[("BROWSER", browser)]), "{browser}");
        }
        assert!(!expected(&[("BROWSER", "/usr/bin/lynx %s")]));
        assert!(!expected(&[("BROWSER", "w3m:lynx")]));
    }
}
