//! The link to a job's dashboard, and the browser that shows it.

use std::ffi::OsString;
use std::io::Write;

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

#[cfg(feature = "browser")]
fn open(url: &str) -> bool {
    // The timeout applies to each launcher. `open` knows up to six, so the call takes about two seconds if all of them
    // fail late. A launcher that is still running at its timeout is left alone, in a session without a terminal.
    const PATIENCE: std::time::Duration = std::time::Duration::from_millis(300);
    open::that_detached_with_timeout(url, PATIENCE)
        .inspect_err(|error| log::debug!("no browser for {url}: {error}"))
        .is_ok()
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
    // Without a display, `BROWSER` may still name a program that passes the link on, as remote editors do. Text
    // browsers do not count, because xdg-open would start them where nobody sees them.
    var("BROWSER").is_some_and(|browser| {
        let browser = browser.to_string_lossy();
        let program = browser.split([' ', ':']).next().and_then(|path| path.rsplit('/').next());
        program.is_some_and(|name| !name.is_empty() && !TEXT_BROWSERS.contains(&name))
    })
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
