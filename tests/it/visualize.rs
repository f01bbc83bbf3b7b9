//! Tests how the dashboard is opened, with scripts as launchers. Each case runs in a process of its own, because it
//! changes the environment.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use atomiverse::{Client, VisualizeMode};

use crate::support::in_own_process;

const LINK: &str = "https://atomiverse.example/job?job_id=9f2c%2Bx";
const PRINTED: &str = "Open the job in a browser: https://atomiverse.example/job?job_id=9f2c%2Bx\n";

/// Runs in the process of a case.
fn child() {
    let mode = env::var("VISUALIZE_MODE").unwrap();
    let client = Client::builder().api_key("key").base_url("https://atomiverse.example").build();
    // Without TLS the API must be on this machine. Only the link matters here.
    let client = client.or_else(|_| {
        Client::builder()
            .api_key("key")
            .api_url("http://localhost")
            .base_url("https://atomiverse.example")
            .build()
    });
    let job = client.unwrap().job("9f2c+x").unwrap();
    let started = Instant::now();
    let link = match mode.as_str() {
        "plain" => job.visualize(),
        "auto" => job.visualize_with(VisualizeMode::Auto),
        "browser" => job.visualize_with(VisualizeMode::Browser),
        "link" => job.visualize_with(VisualizeMode::Link),
        flag => job.visualize_with(flag == "true"),
    };
    assert_eq!(link, LINK);
    assert!(started.elapsed() < Duration::from_secs(3), "took {:?}", started.elapsed());
}

struct Case {
    test: &'static str,
    directory: PathBuf,
    variables: Vec<(&'static str, &'static str)>,
}

impl Case {
    /// Creates a directory for `PATH` with these launchers. Each is a script that first records its arguments.
    fn new(test: &'static str, launchers: &[(&str, &str)]) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        for (name, script) in launchers {
            let path = directory.join(name);
            let called = directory.join("called");
            // The record is written under another name first, so that it is complete when it appears.
            let text = format!(
                "#!/bin/sh\nprintf '%s %s\\n' {name} \"$*\" > '{0}.new' && /bin/mv '{0}.new' '{0}'\n{script}\n",
                called.display()
            );
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Case { test, directory, variables: Vec::new() }
    }

    fn set(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Runs the case and returns what was printed on standard error. Fails if the link was printed elsewhere.
    fn run(&self, mode: &str) -> String {
        let _ = fs::remove_file(self.directory.join("called"));
        let mut variables = self.variables.clone();
        variables.push(("PATH", self.directory.to_str().unwrap()));
        variables.push(("VISUALIZE_MODE", mode));
        let output = in_own_process(&format!("visualize::{}", self.test), &variables, child);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{stdout}{stderr}");
        assert!(!stdout.contains("atomiverse.example"), "printed on standard output: {stdout}");
        stderr
    }

    #[cfg(feature = "browser")]
    /// Waits until a launcher was called in the background, and returns its name and argument.
    fn called(&self) -> String {
        let started = Instant::now();
        loop {
            if let Ok(called) = fs::read_to_string(self.directory.join("called")) {
                return called;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "no launcher was called");
            std::thread::yield_now();
        }
    }

    fn was_called(&self) -> bool {
        self.directory.join("called").exists()
    }
}

#[cfg(feature = "browser")]
#[test]
fn with_a_display_the_launcher_gets_the_link_and_nothing_is_printed() {
    let case = Case::new(
        "with_a_display_the_launcher_gets_the_link_and_nothing_is_printed",
        &[("xdg-open", "exit 0")],
    );
    let case = case.set("DISPLAY", ":0");
    for mode in ["plain", "auto", "browser", "true"] {
        assert_eq!(case.run(mode), "", "{mode}");
        assert_eq!(case.called(), format!("xdg-open {LINK}\n"), "{mode}");
    }
}

#[test]
fn link_only_prints_and_starts_nothing() {
    let case = Case::new("link_only_prints_and_starts_nothing", &[("xdg-open", "exit 0")]);
    let case = case.set("DISPLAY", ":0");
    for mode in ["link", "false"] {
        assert_eq!(case.run(mode), PRINTED, "{mode}");
        assert!(!case.was_called());
    }
}

#[test]
fn without_a_display_auto_prints_and_starts_nothing() {
    let case = Case::new("without_a_display_auto_prints_and_starts_nothing", &[("xdg-open", "exit 0")]);
    assert_eq!(case.run("auto"), PRINTED);
    assert!(!case.was_called());
}

#[cfg(feature = "browser")]
#[test]
fn without_a_display_browser_mode_tries_and_also_prints_the_link() {
    let case =
        Case::new("without_a_display_browser_mode_tries_and_also_prints_the_link", &[("xdg-open", "exit 0")]);
    assert_eq!(case.run("browser"), PRINTED, "the success of a launcher is not trusted without a display");
    assert_eq!(case.called(), format!("xdg-open {LINK}\n"));
}

#[test]
fn a_launcher_that_fails_leaves_the_printed_link() {
    let case = Case::new("a_launcher_that_fails_leaves_the_printed_link", &[("xdg-open", "exit 3")]);
    let case = case.set("DISPLAY", ":0");
    for mode in ["auto", "browser"] {
        assert_eq!(case.run(mode), PRINTED, "{mode}");
    }
}

#[test]
fn without_any_launcher_the_link_is_printed() {
    let case = Case::new("without_any_launcher_the_link_is_printed", &[]).set("DISPLAY", ":0");
    for mode in ["auto", "browser"] {
        assert_eq!(case.run(mode), PRINTED, "{mode}");
    }
}

#[cfg(feature = "browser")]
#[test]
fn a_launcher_that_keeps_running_does_not_block_the_caller() {
    let case = Case::new(
        "a_launcher_that_keeps_running_does_not_block_the_caller",
        // The launcher ends after 20 seconds, so that no process is left behind.
        &[("xdg-open", "exec >/dev/null 2>&1; n=0; while [ $n -lt 20 ]; do /bin/sleep 1; n=$((n+1)); done")],
    );
    let case = case.set("DISPLAY", ":0");
    assert_eq!(case.run("auto"), PRINTED, "it is not known whether it starts a browser");
    assert_eq!(case.called(), format!("xdg-open {LINK}\n"));
}

#[cfg(feature = "browser")]
#[test]
fn a_launcher_that_fails_after_a_while_leaves_the_printed_link() {
    let test = "a_launcher_that_fails_after_a_while_leaves_the_printed_link";
    let case = Case::new(test, &[("xdg-open", "/bin/sleep 0.5; exit 3")]).set("DISPLAY", ":0");
    assert_eq!(case.run("auto"), PRINTED);
}

#[cfg(feature = "browser")]
#[test]
fn the_browser_that_the_environment_names_comes_first_and_the_link_is_printed_too() {
    let test = "the_browser_that_the_environment_names_comes_first_and_the_link_is_printed_too";
    let case = Case::new(test, &[("xdg-open", "exit 0"), ("mine", "exit 0"), ("broken", "exit 1")]);
    for (browser, arguments) in [
        ("mine", LINK.to_owned()),
        ("broken:mine --new", format!("--new {LINK}")),
        ("mine %s -q", format!("{LINK} -q")),
    ] {
        let case = Case { variables: vec![("BROWSER", browser)], directory: case.directory.clone(), test };
        assert_eq!(case.run("auto"), PRINTED, "{browser}");
        assert_eq!(case.called(), format!("mine {arguments}\n"), "{browser}");
    }
}

#[cfg(feature = "browser")]
#[test]
fn launchers_that_all_fail_late_take_about_two_seconds_together() {
    let late = "/bin/sleep 0.1; exit 1";
    let case = Case::new(
        "launchers_that_all_fail_late_take_about_two_seconds_together",
        &[("xdg-open", late), ("gio", late), ("gnome-open", late), ("kde-open", late), ("wslview", late)],
    );
    let case = case.set("DISPLAY", ":0");
    // The child process checks the time of its call.
    assert_eq!(case.run("browser"), PRINTED);
}
