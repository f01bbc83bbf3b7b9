//! Runs the examples as programs, and tests their output, their exit codes and their requests.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use atomiverse::simulator::{SimulatedJob, Simulator};
use atomiverse::{JobState, JobSummary};

#[path = "it/support.rs"]
#[allow(dead_code)]
mod support;

use support::{KEY, RawServer, answer, example, json};

/// Returns a command that runs the example with a key for this server.
fn example_on(name: &str, url: &str, key: &str) -> Command {
    let mut command = example(name);
    command.env("ATOMIVERSE_API_KEY", key).env("ATOMIVERSE_BASE_URL", url);
    command
}

struct Outcome {
    code: i32,
    out: String,
    err: String,
}

fn run(command: &mut Command) -> Outcome {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Outcome {
        code: status.code().expect("the program was not killed"),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

#[test]
fn every_tool_prints_help_and_reports_wrong_usage() {
    for name in ["jobs", "cleanup", "usage_report", "export_xyz", "result"] {
        let help = run(example(name).arg("--help"));
        assert_eq!(help.code, 0, "{name}");
        assert!(help.out.contains("Usage:") && help.out.contains("Exits with"), "{name}: {}", help.out);
        let wrong = run(example(name).arg("--no-such-option"));
        assert_eq!(wrong.code, 2, "{name}");
        assert!(wrong.err.contains("--no-such-option"), "{name}: {}", wrong.err);
        assert_eq!(wrong.out, "", "{name}");
    }
    assert!(run(example("jobs").args(["list", "--since", "tomorow"])).err.contains("tomorow"));
    assert!(
        run(example("cleanup").args(["--older-than", "1", "--state", "running"]))
            .err
            .contains("cancelled jobs")
    );
}

#[test]
fn the_tour_succeeds_and_fits_into_80_columns() {
    let tour = run(&mut example("tour"));
    assert_eq!(tour.code, 0, "{}", tour.err);
    for part in
        ["benzene-b3lyp", "is_validation: true", "state: Some(Running)", "delete_job_if_exists: false"]
    {
        assert!(tour.out.contains(part), "{part} in {}", tour.out);
    }
    for line in tour.out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn the_tour_only_reads_if_a_key_is_set() {
    let simulator = Simulator::start().unwrap();
    simulator.add_sample_jobs(10);
    let tour = run(&mut example_on("tour", &simulator.base_url(), simulator.api_key()));
    assert_eq!(tour.code, 0, "{}", tour.err);
    let requests = simulator.requests();
    assert!(requests.len() >= 3);
    assert!(requests.iter().all(|request| request.method == "GET"), "{requests:?}");
}

#[test]
fn jobs_list_filters_and_prints_plain_lines_or_json() {
    let simulator = Simulator::start().unwrap();
    let day = Duration::from_secs(86_400);
    simulator.add_job(SimulatedJob::new("opt").name("old").state(JobState::Failed).age(3 * day));
    simulator.add_job(SimulatedJob::new("opt").name("yesterday").state(JobState::Failed).age(day));
    simulator.add_job(SimulatedJob::new("opt").name("good").state(JobState::Done).age(day));
    let list = |arguments: &[&str]| {
        let outcome =
            run(example_on("jobs", &simulator.base_url(), simulator.api_key()).arg("list").args(arguments));
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
        outcome.out
    };
    let failed = list(&["--state", "FAILED", "--since", "yesterday", "--until", "today"]);
    assert_eq!(failed.lines().count(), 1, "{failed}");
    assert!(failed.starts_with("job-000002   failed    opt "), "{failed}");
    assert!(failed.trim_end().ends_with(" yesterday"), "{failed}");
    assert_eq!(list(&["--name", "o"]).lines().count(), 2);
    assert_eq!(list(&["--max-jobs", "1"]).lines().count(), 1);

    let jobs: Vec<JobSummary> =
        list(&["--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(jobs, simulator.client().unwrap().iter_jobs().collect::<Result<Vec<_>, _>>().unwrap());
}

#[test]
fn jobs_runs_every_command_and_exits_with_1_after_a_failure() {
    let simulator = Simulator::start().unwrap();
    let id = simulator.add_job(SimulatedJob::new("opt")).to_string();
    let jobs = |arguments: &[&str]| {
        run(example_on("jobs", &simulator.base_url(), simulator.api_key()).args(arguments))
    };
    assert!(jobs(&["rename", &id, "benzene"]).out.trim_end().ends_with("benzene"));
    let refused = jobs(&["rename", &id, " "]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("Name must not be empty"), "{}", refused.err);
    let shown: JobSummary = serde_json::from_str(&jobs(&["show", &id]).out).unwrap();
    assert_eq!(shown.name.as_deref(), Some("benzene"));
    assert!(jobs(&["delete", &id]).err.contains("cancel it first"));
    assert!(jobs(&["cancel", &id]).out.contains("cancelled"));
    assert!(
        jobs(&["watch", &id, "nope"])
            .err
            .contains("the job may have been deleted or belong to another account")
    );
    assert_eq!(jobs(&["watch", &id]).code, 1, "the job was cancelled");
    assert!(jobs(&["open", "--link", &id]).err.contains(&format!("/job?job_id={id}")));
    assert_eq!(jobs(&["delete", &id, &id]).out, format!("{id} deleted\n{id} did not exist\n"));
    assert_eq!(jobs(&["show", &id]).code, 1);
}

#[test]
fn a_closed_pipe_ends_a_program_quietly() {
    let simulator = Simulator::start().unwrap();
    // This is more than a pipe holds.
    simulator.add_sample_jobs(3000);
    let mut command = example_on("jobs", &simulator.base_url(), simulator.api_key());
    let mut process = command.arg("list").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    drop(out);
    let mut err = String::new();
    process.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((process.wait().unwrap().code(), err.as_str()), (Some(0), ""));
    assert!(line.starts_with("job-003000"), "{line}");
}

#[test]
fn cleanup_asks_before_it_deletes() {
    let simulator = Simulator::start().unwrap();
    simulator.add_sample_jobs(120);
    let cleanup = |arguments: &[&str]| {
        let mut command = example_on("cleanup", &simulator.base_url(), simulator.api_key());
        run(command.args(["--older-than", "3"]).args(arguments))
    };
    let left = || simulator.client().unwrap().iter_jobs().count();
    let asked = cleanup(&[]);
    assert_eq!(asked.code, 3);
    assert!(asked.out.contains("4 jobs would be deleted") && asked.out.contains("--yes"), "{}", asked.out);
    assert_eq!(left(), 120);
    let done = cleanup(&["--yes"]);
    assert_eq!(done.code, 0);
    assert!(done.out.ends_with("4 deleted, 0 already gone, 0 could not be deleted.\n"), "{}", done.out);
    assert_eq!(left(), 116);
    assert_eq!(cleanup(&["--yes"]).out, "Nothing to delete.\n");
    let named = cleanup(&["--yes", "--state", "failed", "--state", "done", "--name", "water-001"]);
    assert!(named.out.contains("1 deleted"), "{}", named.out);
}

#[test]
fn cleanup_continues_after_a_conflict_and_counts_missing_jobs() {
    let old = |id: &str| {
        format!(
            r#"{{"job_id":"{id}","state":"cancelled","job_type":"opt","created_at":"2020-01-01T00:00:00Z"}}"#
        )
    };
    let listing = format!(r#"{{"jobs":[{},{},{}],"has_more":false}}"#, old("a"), old("b"), old("c"));
    let server = RawServer::start(move |_, request| match request.line.as_str() {
        "DELETE /api/v1/jobs/a" => answer(409, &[], r#"{"detail":"Job is running"}"#),
        "DELETE /api/v1/jobs/b" | "GET /api/v1/jobs/b" => answer(404, &[], ""),
        "DELETE /api/v1/jobs/c" => answer(204, &[], ""),
        line if line.contains("limit=") => json(&listing),
        _ => json(&old("a").replace("cancelled", "running")),
    });
    let outcome = run(example_on("cleanup", &server.url(), KEY).args(["--older-than", "1", "--yes"]));
    assert_eq!(outcome.code, 1);
    assert!(outcome.out.ends_with("1 deleted, 1 already gone, 1 could not be deleted.\n"), "{}", outcome.out);
    assert!(outcome.err.contains("the job is running"), "{}", outcome.err);
}

#[test]
fn the_usage_report_adds_up_and_can_be_csv() {
    let simulator = Simulator::start().unwrap();
    let job = |kind: &str, charge| SimulatedJob::new(kind).state(JobState::Done).billed_core_seconds(charge);
    simulator.add_job(job("opt", 10.5));
    simulator.add_job(job("opt", 20.0));
    simulator.add_job(job("a \"new\", type", 5.0));
    let report = |arguments: &[&str]| {
        run(example_on("usage_report", &simulator.base_url(), simulator.api_key()).args(arguments))
    };
    let table = report(&[]);
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    assert!(table.out.contains("  opt                          2           30.5 ████"), "{}", table.out);
    assert_eq!(
        table.out.matches("total                        3           35.5").count(),
        3,
        "{}",
        table.out
    );
    let csv = report(&["--csv"]).out;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "job_type,state,day,jobs,core_seconds");
    assert!(lines[1].starts_with(r#""a ""new"", type",done,20"#) && lines[1].ends_with(",1,5"), "{csv}");
    assert!(lines[2].starts_with("opt,done,20") && lines[2].ends_with(",2,30.5"), "{csv}");
    assert!(report(&["--since", "2999-01-01"]).out.contains("total                        0"));
}

#[test]
fn export_xyz_uses_safe_names_and_keeps_existing_files() {
    let simulator = Simulator::start().unwrap();
    let preview: atomiverse::MoleculePreview =
        serde_json::from_str(r#"{"formula":"H2","atoms":[{"element":"H","position":[0,0,0]},{"element":"H","position":[0,0,0.74]}]}"#)
            .unwrap();
    simulator.add_job(SimulatedJob::new("opt").name("../../etc/h2").molecule_preview(preview));
    simulator.add_job(SimulatedJob::new("opt"));
    let folder = folder("export");
    let export = || run(example_on("export_xyz", &simulator.base_url(), simulator.api_key()).arg(&folder));
    assert_eq!(export().out, "1 written, 0 already there, 1 without a molecule\n");
    let path = folder.join("______etc_h2.job-000001.xyz");
    assert!(fs::read_to_string(&path).unwrap().starts_with("2\nH2\nH "));
    fs::write(&path, "mine").unwrap();
    assert_eq!(export().out, "0 written, 1 already there, 1 without a molecule\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn result_uses_a_safe_name_and_keeps_an_existing_file() {
    let server = RawServer::start(|n, request| match request.line.as_str() {
        "GET /api/v1/jobs/..%2F..%2Fetc%2Fh2/result" => json(&format!(r#"{{"energy":-1.5,"request":{n}}}"#)),
        "GET /api/v1/results/a%2Fb/json" => json("[1]"),
        _ => answer(404, &["content-type: application/json"], r#"{"detail":"no result yet"}"#),
    });
    let folder = folder("result");
    fs::create_dir_all(&folder).unwrap();
    let result = |arguments: &[&str]| {
        run(example_on("result", &server.url(), KEY).current_dir(&folder).args(arguments))
    };
    let id = "../../etc/h2";
    let first = result(&[id]);
    assert_eq!((first.code, first.out.as_str(), first.err.as_str()), (0, "______etc_h2.json written\n", ""));
    let path = folder.join("______etc_h2.json");
    let written = "{\n  \"energy\": -1.5,\n  \"request\": 0\n}\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), written);

    let again = result(&[id]);
    assert_eq!((again.code, again.out.as_str()), (1, ""));
    assert!(
        again.err.contains("______etc_h2.json already exists; pass --force to overwrite it"),
        "{}",
        again.err
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), written);
    assert_eq!(result(&["--force", id]).code, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), written.replace("0", "2"));

    let named = result(&["--path", "/results/{id}/json", "--output", "b.json", "a/b"]);
    assert_eq!((named.code, named.out.as_str()), (0, "b.json written\n"));
    assert_eq!(fs::read_to_string(folder.join("b.json")).unwrap(), "[\n  1\n]\n");
    let printed = result(&["--path", "results/{id}/json", "--output", "-", "a/b"]);
    assert_eq!((printed.code, printed.out.as_str()), (0, "[\n  1\n]\n"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn result_writes_no_file_after_an_error() {
    let folder = folder("no-result");
    fs::create_dir_all(&folder).unwrap();
    let page = "<html><title>Sign in</title></html>";
    let server = RawServer::script(vec![
        answer(404, &["content-type: application/json"], r#"{"detail":"no result yet"}"#),
        answer(200, &["content-type: text/html"], page),
        json("[1]"),
    ]);
    let result = |arguments: &[&str]| {
        run(example_on("result", &server.url(), KEY).current_dir(&folder).args(arguments))
    };
    for (arguments, words) in [
        (&["a"][..], "get result a: 404 Not Found: the server said: no result yet"),
        (&["a"], "a proxy or gateway may have sent it"),
        (&["--output", "missing/a.json", "a"], "missing/a.json: "),
        (&["--path", "jobs/../{id}", "a"], r#"the path segment ".." is not allowed"#),
        (&["--path", "", "a"], r#"the path segment "" is not allowed"#),
        (&[".."], "the job id"),
    ] {
        let outcome = result(arguments);
        assert_eq!((outcome.code, outcome.out.as_str()), (1, ""), "{arguments:?}");
        assert!(outcome.err.contains(words), "{words}: {}", outcome.err);
    }
    assert_eq!(server.requests().len(), 3);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn the_exit_code_of_submit_and_wait_shows_the_outcome() {
    let payload = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/water.json");
    let done = run(example("submit_and_wait").arg(payload));
    assert_eq!(done.code, 0, "{}", done.err);
    let states: Vec<&str> = done.out.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(&states[1..], ["pending", "running", "done"], "{}", done.out);

    for (state, code) in [("failed", 1), ("cancelled", 2)] {
        let server = RawServer::script(vec![json(&support::job("a").replace("done", state))]);
        assert_eq!(run(example_on("submit_and_wait", &server.url(), KEY).arg(payload)).code, code);
    }
    let missing = run(example("submit_and_wait").arg("no-such-file.json"));
    assert_eq!(missing.code, 4);
    assert!(missing.err.contains("no-such-file.json"), "{}", missing.err);
    let server = RawServer::script(vec![answer(422, &[], r#"{"detail":"no job_type"}"#)]);
    let refused = run(example_on("submit_and_wait", &server.url(), KEY).arg(payload));
    assert_eq!(refused.code, 4);
    assert!(refused.err.contains("no job_type"), "{}", refused.err);
}

#[test]
fn batch_reports_rejected_payloads_and_waits_for_the_rest() {
    let scan = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/scan.jsonl");
    let outcome = run(example("batch").arg(scan));
    assert_eq!(outcome.code, 1, "one payload was rejected");
    assert!(outcome.out.contains("5 payloads: 3 submitted, 1 already there, 1 rejected"), "{}", outcome.out);
    assert_eq!(outcome.out.matches(" done ").count(), 3, "{}", outcome.out);
    assert!(outcome.err.contains("payload 4 was rejected"), "{}", outcome.err);
}

#[test]
fn jobs_show_prints_unknown_fields() {
    let failed =
        support::job("a").replace("done", "failed").replace('}', r#","error":"SCF did not converge"}"#);
    let server = RawServer::script(vec![json(&failed)]);
    let shown = run(example_on("jobs", &server.url(), KEY).args(["show", "a"]));
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains(r#""error": "SCF did not converge""#), "{}", shown.out);
}

/// Tests what programs do after a signal. The signals are sent with the program `kill`.
#[cfg(unix)]
mod signals {
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};
    use std::{fs, mem, thread};

    use atomiverse::JobState;
    use atomiverse::simulator::{Fault, Simulator};

    use super::support::{Answer, KEY, RawServer, Step, answer, job, json, secs};
    use super::{Outcome, example, example_on, folder, run};

    /// How long a test waits for something that should happen at once.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Shorter than any timeout in these tests, and longer than a busy machine needs after a signal.
    const PROMPT: Duration = Duration::from_secs(5);

    /// The output of a program. It is read on a thread, so that a test can stop waiting.
    struct Lines {
        lines: mpsc::Receiver<String>,
        seen: String,
    }

    impl Lines {
        fn new(stream: impl Read + Send + 'static) -> Self {
            let (sender, lines) = mpsc::channel();
            // The thread ends with the program.
            thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
                    if sender.send(mem::take(&mut line)).is_err() {
                        return;
                    }
                }
            });
            Lines { lines, seen: String::new() }
        }

        /// Reads up to a line that contains this text, and returns that line.
        fn line_with(&mut self, text: &str) -> String {
            loop {
                let line = self.lines.recv_timeout(PATIENCE);
                let line = line.unwrap_or_else(|_| panic!("{text:?} is missing in {:?}", self.seen));
                self.seen += &line;
                if line.contains(text) {
                    return line;
                }
            }
        }

        /// Waits for the end of the program and returns the whole output.
        fn all(&mut self) -> String {
            self.seen.extend(self.lines.iter());
            mem::take(&mut self.seen)
        }
    }

    /// A running program, which is killed if the test fails.
    struct Running {
        child: Child,
        out: Lines,
        err: Lines,
    }

    impl Running {
        fn start(command: &mut Command) -> Self {
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let out = Lines::new(child.stdout.take().unwrap());
            let err = Lines::new(child.stderr.take().unwrap());
            Running { child, out, err }
        }

        /// Sends a signal, after which the program must end promptly.
        fn end_by(mut self, signal: &str) -> Outcome {
            let started = Instant::now();
            let killed = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
            assert!(killed.success());
            let status = until("the program ends", || self.child.try_wait().unwrap());
            let took = started.elapsed();
            let code = status.code().expect("the program was not killed");
            let outcome = Outcome { code, out: self.out.all(), err: self.err.all() };
            assert!(took < PROMPT, "{took:?} after {signal}: {} {}", outcome.out, outcome.err);
            outcome
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            // The program may have ended already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Waits until there is a value.
    fn until<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(value) = value() {
                return value;
            }
            assert!(started.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn until_received(server: &RawServer, count: usize) {
        until("requests arrive", || (server.lines().len() >= count).then_some(()));
    }

    fn silent_server() -> RawServer {
        RawServer::script(vec![vec![Step::Silence]])
    }

    fn input(name: &str) -> String {
        format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn an_interrupted_wait_names_the_job_and_leaves_it_running() {
        // The clock of the simulator stands still, so the job stays pending.
        let simulator = Simulator::start().unwrap();
        let url = simulator.base_url();
        let mut command = example_on("submit_and_wait", &url, simulator.api_key());
        let mut program = Running::start(command.arg(input("water.json")));
        program.out.line_with("pending");
        let outcome = program.end_by("-INT");
        assert_eq!(outcome.code, 130, "{}", outcome.err);
        assert!(outcome.err.contains("These jobs may still be running: job-000001\n"), "{}", outcome.err);
        assert!(outcome.err.contains("jobs -- watch job-000001\n"), "{}", outcome.err);
        assert_eq!(simulator.client().unwrap().get_job("job-000001").unwrap().state, JobState::Pending);

        // The printed command works.
        let (_, advice) = outcome.err.split_once("cargo run --example jobs -- cancel ").unwrap();
        let ids = advice.lines().next().unwrap().split_whitespace();
        assert_eq!(run(example_on("jobs", &url, simulator.api_key()).arg("cancel").args(ids)).code, 0);
        assert_eq!(simulator.client().unwrap().get_job("job-000001").unwrap().state, JobState::Cancelled);
    }

    #[test]
    fn an_interrupted_submission_says_that_the_job_may_exist() {
        for (name, file) in [("submit_and_wait", "water.json"), ("batch", "scan.jsonl")] {
            let server = silent_server();
            let program = Running::start(example_on(name, &server.url(), KEY).arg(input(file)));
            until_received(&server, 1);
            let outcome = program.end_by("-INT");
            assert_eq!(outcome.code, 130, "{name}: {}", outcome.err);
            assert!(outcome.err.contains("may have been submitted"), "{name}: {}", outcome.err);
            assert_eq!(outcome.out, "", "{name}");
        }
    }

    #[test]
    fn an_interrupted_batch_names_the_jobs_that_have_not_ended() {
        let simulator = Simulator::start().unwrap();
        let mut command = example_on("batch", &simulator.base_url(), simulator.api_key());
        let mut program = Running::start(command.arg(input("scan.jsonl")));
        program.out.line_with("5 payloads: 4 submitted");
        until("the program polls", || (simulator.requests().len() >= 2).then_some(()));
        let outcome = program.end_by("-INT");
        assert_eq!(outcome.code, 130, "{}", outcome.err);
        let ids = "job-000001 job-000002 job-000003 job-000004\n";
        for advice in ["These jobs may still be running: ", "jobs -- watch ", "jobs -- cancel "] {
            assert!(outcome.err.contains(&format!("{advice}{ids}")), "{}", outcome.err);
        }
        assert!(simulator.requests().iter().all(|request| !request.target.ends_with("/cancel")));
    }

    /// Starts a server that lists old jobs. `delete` responds to the `n`th deletion, counted from 0.
    fn server_of_old_jobs(
        count: usize,
        mut delete: impl FnMut(usize) -> Answer + Send + 'static,
    ) -> RawServer {
        let old = |n| job(format!("old-{n}")).replace("done", "cancelled").replace("2026", "2020");
        let jobs: Vec<String> = (0..count).map(old).collect();
        let listing = format!(r#"{{"jobs":[{}],"has_more":false}}"#, jobs.join(","));
        let mut deletions = 0..;
        RawServer::start(move |_, request| match request.line.starts_with("GET ") {
            true => json(&listing),
            false => delete(deletions.next().unwrap()),
        })
    }

    #[test]
    fn an_interrupted_cleanup_counts_deleted_uncertain_and_remaining_jobs() {
        let server =
            server_of_old_jobs(10, |n| if n < 2 { answer(204, &[], "") } else { vec![Step::Silence] });
        let mut command = example_on("cleanup", &server.url(), KEY);
        let program = Running::start(command.args(["--older-than", "1", "--yes"]));
        // These are the listing, two deletions that succeed, and four simultaneous ones that hang.
        until_received(&server, 1 + 2 + 4);
        let outcome = program.end_by("-INT");
        assert_eq!(outcome.code, 130, "{}", outcome.err);
        assert!(
            outcome.out.contains("2 deleted, 0 already gone, 0 could not be deleted."),
            "{}",
            outcome.out
        );
        assert!(outcome.out.contains("4 may have been deleted, 4 were not deleted."), "{}", outcome.out);
        assert_eq!(outcome.err.matches("the change may have been made").count(), 4, "{}", outcome.err);
        assert_eq!(server.lines().len(), 7);
    }

    #[test]
    fn a_cleanup_interrupted_before_it_deletes_ends_at_once() {
        let server = silent_server();
        let mut command = example_on("cleanup", &server.url(), KEY);
        let program = Running::start(command.args(["--older-than", "1", "--yes"]));
        until_received(&server, 1);
        let outcome = program.end_by("-INT");
        assert_eq!((outcome.code, outcome.out.as_str()), (130, ""), "{}", outcome.err);
        assert_eq!(server.lines().len(), 1);
    }

    #[test]
    fn cleanup_stops_after_a_failure_that_concerns_all_jobs() {
        let server = server_of_old_jobs(100, |_| answer(401, &[], r#"{"detail":"The key was revoked"}"#));
        let outcome = run(example_on("cleanup", &server.url(), KEY).args(["--older-than", "1", "--yes"]));
        assert_eq!(outcome.code, 1, "{}", outcome.out);
        assert!(outcome.err.contains("The key was revoked"), "{}", outcome.err);
        assert!(outcome.out.contains(" were not deleted."), "{}", outcome.out);
        assert!(server.lines().len() < 50, "{}", server.lines().len());
    }

    /// The running example `service`, and its address.
    struct WebService {
        program: Running,
        address: String,
    }

    impl WebService {
        fn start(command: &mut Command) -> Self {
            let mut program = Running::start(command);
            let line = program.out.line_with("listening on http://");
            let address = line.trim().trim_start_matches("listening on http://").to_owned();
            WebService { program, address }
        }

        fn send(&self, request: &str) -> TcpStream {
            let mut stream = TcpStream::connect(&self.address).unwrap();
            let request = format!("{request} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
            stream.write_all(request.as_bytes()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        }

        /// Sends a request and returns the status and the body of the response.
        fn ask(&self, request: &str) -> (u16, String) {
            let mut response = String::new();
            self.send(request).read_to_string(&mut response).unwrap();
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
        }

        /// Returns the number of attempts by action and status.
        fn attempts(&self) -> BTreeMap<String, usize> {
            let (status, text) = self.ask("GET /metrics");
            assert_eq!(status, 200, "{text}");
            let counts =
                text.lines().filter_map(|line| line.strip_prefix("atomiverse_attempt_seconds_count"));
            counts
                .map(|line| line.rsplit_once(' ').unwrap())
                .map(|(labels, count)| (labels.to_owned(), count.parse().unwrap()))
                .collect()
        }
    }

    #[test]
    fn the_service_exits_promptly_while_calls_hang() {
        for signal in ["-INT", "-TERM"] {
            let server = silent_server();
            // Without the signal, each of these calls would hang until the deadline.
            let service =
                WebService::start(example_on("service", &server.url(), KEY).args(["--deadline", "30"]));
            let hanging = [service.send("GET /jobs/a"), service.send("POST /energies/water")];
            until_received(&server, 2);
            let outcome = service.program.end_by(signal);
            assert_eq!(outcome.code, 0, "{signal}: {}", outcome.err);
            assert!(outcome.err.contains("may have been submitted"), "{signal}: {}", outcome.err);
            // The program joins its threads, so they could still respond.
            for mut stream in hanging {
                let mut response = String::new();
                stream.read_to_string(&mut response).unwrap();
                assert!(response.starts_with("HTTP/1.1 503 "), "{signal}: {response}");
            }
        }
    }

    #[test]
    fn a_call_of_the_service_ends_at_its_deadline() {
        let server = silent_server();
        let service = WebService::start(example_on("service", &server.url(), KEY).args(["--deadline", "1"]));
        let started = Instant::now();
        assert_eq!(service.ask("GET /jobs/a").0, 503);
        // Without the deadline, an attempt takes 30 seconds and a call 60.
        assert!(started.elapsed() < secs(20), "{:?}", started.elapsed());
        assert_eq!(service.program.end_by("-TERM").code, 0);
    }

    #[test]
    fn the_service_lists_the_jobs_that_are_still_running() {
        let simulator = Simulator::start().unwrap();
        let service =
            WebService::start(&mut example_on("service", &simulator.base_url(), simulator.api_key()));
        assert_eq!(service.ask("POST /energies/water"), (200, "job-000001\n".to_owned()));
        simulator.advance(Duration::MAX);
        assert_eq!(service.ask("POST /energies/ammonia"), (200, "job-000002\n".to_owned()));
        let (status, shown) = service.ask("GET /jobs/job-000001");
        assert!(status == 200 && shown.contains(" done "), "{shown}");
        assert_eq!(service.ask("GET /jobs/no-such-job").0, 404);
        assert_eq!(service.ask("GET /favicon.ico").0, 404);
        let outcome = service.program.end_by("-INT");
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        assert!(outcome.err.contains("These jobs may still be running: job-000002\n"), "{}", outcome.err);
    }

    /// Replaces the file atomically, as tools that rotate keys do.
    fn write_key(path: &Path, key: &str) {
        let new = path.with_extension("new");
        fs::write(&new, format!("{key}\n")).unwrap();
        fs::rename(&new, path).unwrap();
    }

    #[test]
    fn the_service_uses_a_new_key_without_a_restart() {
        let simulator = Simulator::start().unwrap();
        let id = simulator.add_job(atomiverse::simulator::SimulatedJob::new("opt"));
        let folder = folder("rotation");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("key");
        let show = format!("GET /jobs/{id}");
        let mut command = example_on("service", &simulator.base_url(), simulator.api_key());
        let mut service = WebService::start(command.arg("--key-file").arg(&path));
        assert_eq!(service.ask(&show).0, 200);

        simulator.set_api_key("av_second_key");
        assert_eq!(service.ask(&show).0, 503);
        write_key(&path, "av_second_key");
        until("the new key is used", || (service.ask(&show).0 == 200).then_some(()));
        let requests = simulator.requests();
        assert_eq!(requests.last().unwrap().header("authorization"), Some("Bearer av_second_key"));

        write_key(&path, "");
        service.program.err.line_with("the old key stays in use");
        assert_eq!(service.ask(&show).0, 200);
        let outcome = service.program.end_by("-TERM");
        assert!(!outcome.err.contains("av_second_key"), "{}", outcome.err);
    }

    #[test]
    fn the_metrics_of_the_service_match_the_requests_received() {
        let simulator = Simulator::start().unwrap();
        let service =
            WebService::start(&mut example_on("service", &simulator.base_url(), simulator.api_key()));
        assert_eq!(service.attempts(), BTreeMap::new());
        service.ask("POST /energies/water");
        simulator.fail_next(Fault::status(503));
        assert_eq!(service.ask("GET /jobs/job-000001").0, 200);
        service.ask("GET /jobs/no-such-job");
        let attempts = service.attempts();
        let expected = [
            (r#"{action="get job",status="200"}"#, 1),
            (r#"{action="get job",status="404"}"#, 1),
            (r#"{action="get job",status="503"}"#, 1),
            (r#"{action="submit job",status="201"}"#, 1),
        ];
        assert_eq!(attempts, expected.map(|(labels, count)| (labels.to_owned(), count)).into());
        assert_eq!(attempts.values().sum::<usize>(), simulator.requests().len());
        assert_eq!(service.program.end_by("-TERM").code, 0);
    }

    #[test]
    fn the_service_runs_on_a_simulator_without_a_key() {
        let service = WebService::start(&mut example("service"));
        assert_eq!(service.ask("POST /energies/water"), (200, "job-000121\n".to_owned()));
        assert!(service.ask("GET /jobs/job-000121").1.contains(" pending "));
        let outcome = service.program.end_by("-INT");
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        assert!(outcome.err.contains("These jobs may still be running: job-000121\n"), "{}", outcome.err);
    }
}

/// Tests the programs of the guides.
mod guides {
    use std::path::Path;

    use atomiverse::simulator::Fault;

    use super::*;

    /// Creates a folder with these files.
    fn folder_with(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = folder(name);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            fs::write(folder.join(file), text).unwrap();
        }
        folder
    }

    /// Starts a simulator whose submitted jobs end at once: failed if their name begins with `fails`, otherwise done.
    fn instant_simulator() -> Simulator {
        let simulator = Simulator::start().unwrap();
        simulator.on_submit(|payload| {
            let fails = payload["name"].as_str().is_some_and(|name| name.starts_with("fails"));
            let state = if fails { JobState::Failed } else { JobState::Done };
            SimulatedJob::new("any").state(state).billed_core_seconds(12.5)
        });
        simulator
    }

    #[test]
    fn the_script_submits_each_payload_of_a_folder_and_reports_every_job() {
        let simulator = instant_simulator();
        let folder = folder_with(
            "script",
            &[
                ("water.json", r#"{"job_type": "opt", "name": "water"}"#),
                ("fails.json", r#"{"job_type": "opt", "name": "fails"}"#),
                ("rejected.json", r#"{"name": "no type"}"#),
                ("notes.txt", "not a payload"),
            ],
        );
        let script = || run(example_on("script", &simulator.base_url(), simulator.api_key()).arg(&folder));
        let Outcome { code, out, err } = script();
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("\nwater: done, 12.5 core-seconds\n"), "{out}");
        assert!(out.contains("\nfails: failed, 12.5 core-seconds\n"), "{out}");
        assert!(out.contains("water.json is job job-00000"), "{out}");
        assert_eq!((out.lines().count(), err.lines().count()), (4, 1), "{out}{err}");
        assert!(err.contains("rejected.json was rejected: ") && err.contains("job_type"), "{err}");

        // A file that is not JSON is named, and nothing is submitted.
        fs::write(folder.join("broken.json"), "{").unwrap();
        let before = simulator.requests().len();
        let Outcome { code, out, err } = script();
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains("broken.json: EOF"), "{err}");
        assert_eq!(simulator.requests().len(), before);
    }

    #[test]
    fn the_script_says_what_to_do_about_a_wrong_key() {
        let simulator = instant_simulator();
        let folder = folder_with("script-key", &[("water.json", r#"{"job_type": "opt"}"#)]);
        let script = run(example_on("script", &simulator.base_url(), "wrong").arg(&folder));
        assert_eq!(script.code, 1);
        assert!(script.err.contains("401") && script.err.contains("ATOMIVERSE_API_KEY"), "{}", script.err);
        let script = run(example("script").arg(&folder));
        assert_eq!(script.code, 1);
        assert!(script.err.contains("ATOMIVERSE_API_KEY"), "{}", script.err);
    }

    /// Two payloads, one per line.
    const PAYLOADS: &str =
        "{\"job_type\": \"opt\", \"name\": \"a\"}\n{\"job_type\": \"opt\", \"name\": \"b\"}\n";

    /// Returns a command that runs the build tool with the payloads in this folder.
    fn build_tool(simulator: &Simulator, folder: &Path) -> Command {
        let mut command = example_on("build_tool", &simulator.base_url(), simulator.api_key());
        command.arg(folder.join("scan.jsonl"));
        command
    }

    fn submissions(simulator: &Simulator) -> usize {
        let requests = simulator.requests();
        requests.iter().filter(|request| request.to_string() == "POST /api/v1/jobs/batch").count()
    }

    #[test]
    fn the_build_tool_submits_each_payload_once() {
        let simulator = instant_simulator();
        let folder = folder_with("build", &[("scan.jsonl", PAYLOADS)]);
        let first = run(&mut build_tool(&simulator, &folder));
        assert_eq!((first.code, first.err.as_str()), (0, ""));
        assert!(first.out.contains("job-000001 done 12.5 core-seconds a\n"), "{}", first.out);
        assert!(first.out.ends_with("\n2 done, 0 failed, 0 unknown\n"), "{}", first.out);
        let second = run(&mut build_tool(&simulator, &folder));
        assert_eq!((second.code, second.out.lines().count()), (0, 3), "{}", second.out);
        assert_eq!(submissions(&simulator), 1);

        // After another payload was added, only this one is submitted.
        fs::write(
            folder.join("scan.jsonl"),
            format!("{PAYLOADS}{{\"job_type\": \"opt\", \"name\": \"c\"}}\n"),
        )
        .unwrap();
        let third = run(&mut build_tool(&simulator, &folder));
        assert!(third.out.ends_with("\n3 done, 0 failed, 0 unknown\n"), "{}", third.out);
        assert_eq!(simulator.client().unwrap().iter_jobs().count(), 3);
    }

    #[test]
    fn the_build_tool_exits_with_1_if_a_job_failed_or_a_payload_was_rejected() {
        let simulator = instant_simulator();
        let scan = "{\"job_type\": \"opt\"}\n{\"job_type\": \"opt\", \"name\": \"fails\"}\n{\"name\": \"no type\"}\n";
        let folder = folder_with("build-failed", &[("scan.jsonl", scan)]);
        let outcome = run(&mut build_tool(&simulator, &folder));
        assert_eq!(outcome.code, 1);
        assert!(outcome.out.ends_with("\n1 done, 2 failed, 0 unknown\n"), "{}", outcome.out);
        assert!(outcome.err.starts_with("rejected: ") && outcome.err.contains("no type"), "{}", outcome.err);

        // The payload of the failed job is submitted again. The simulator returns the same job.
        let again = run(&mut build_tool(&simulator, &folder));
        assert_eq!((again.code, submissions(&simulator)), (1, 2));
        assert!(
            simulator
                .requests()
                .iter()
                .rfind(|request| request.method == "POST")
                .unwrap()
                .body
                .contains("fails")
        );

        fs::write(folder.join("scan.jsonl"), "{\n").unwrap();
        let broken = run(&mut build_tool(&simulator, &folder));
        assert_eq!(broken.code, 1);
        assert!(broken.err.contains("scan.jsonl:1: EOF"), "{}", broken.err);
    }

    #[test]
    fn the_build_tool_exits_with_75_if_a_later_run_may_succeed() {
        let simulator = instant_simulator();
        let folder = folder_with("build-later", &[("scan.jsonl", PAYLOADS)]);
        let busy = Fault::status(429).header("Retry-After", "3600");
        simulator.fail_next(busy.clone());
        let submitting = run(&mut build_tool(&simulator, &folder));
        assert_eq!((submitting.code, submitting.out.as_str()), (75, ""), "{}", submitting.err);
        assert!(submitting.err.contains("429"), "{}", submitting.err);

        // Here the jobs are submitted, but then the service is unavailable until the tool stops waiting.
        simulator.fail_when(|request| request.to_string() != "POST /api/v1/jobs/batch", usize::MAX, busy);
        let waiting = run(build_tool(&simulator, &folder).arg("1"));
        assert_eq!(waiting.code, 75, "{}", waiting.err);
        assert!(waiting.out.ends_with("0 done, 0 failed, 2 unknown\n"), "{}", waiting.out);
        let kept = fs::read_to_string(folder.join("scan.jsonl.jobs")).unwrap();
        assert_eq!(kept.lines().filter(|line| line.starts_with("job-00000")).count(), 2, "{kept}");
    }

    #[test]
    fn the_build_tool_cancels_unfinished_jobs_at_the_deadline() {
        let simulator = Simulator::start().unwrap();
        simulator.on_submit(|_| SimulatedJob::new("any").running_for(Duration::MAX));
        let folder = folder_with("build-deadline", &[("scan.jsonl", PAYLOADS)]);
        let outcome = run(build_tool(&simulator, &folder).arg("10"));
        assert_eq!(outcome.code, 1, "{}", outcome.err);
        assert_eq!(outcome.out, "0 done, 2 failed, 0 unknown\n");
        let jobs: Vec<JobSummary> =
            simulator.client().unwrap().iter_jobs().collect::<Result<_, _>>().unwrap();
        assert!(jobs.iter().all(|job| job.state == JobState::Cancelled), "{jobs:?}");
        assert_eq!(fs::read_to_string(folder.join("scan.jsonl.jobs")).unwrap(), "");
    }

    #[cfg(unix)]
    #[test]
    fn the_build_tool_waits_for_the_jobs_of_an_interrupted_run() {
        let simulator = Simulator::start().unwrap();
        let folder = folder_with("build-interrupted", &[("scan.jsonl", PAYLOADS)]);
        let first = interrupt(build_tool(&simulator, &folder), || simulator.requests().len() >= 2);
        assert_eq!(first.code, 130, "{}", first.err);
        assert!(first.err.contains("the job was not cancelled"), "{}", first.err);

        simulator.advance(Duration::from_secs(60));
        let second = run(&mut build_tool(&simulator, &folder));
        assert_eq!((second.code, second.err.as_str()), (0, ""));
        assert!(second.out.ends_with("\n2 done, 0 failed, 0 unknown\n"), "{}", second.out);
        assert_eq!(submissions(&simulator), 1);
    }

    #[test]
    fn the_build_tool_does_not_resubmit_what_may_have_been_processed() {
        let simulator = instant_simulator();
        let folder = folder_with("build-doubt", &[("scan.jsonl", PAYLOADS)]);
        simulator.fail_next(Fault::Cut);
        let first = run(&mut build_tool(&simulator, &folder));
        assert_eq!((first.code, submissions(&simulator)), (1, 1));
        assert!(first.err.contains("may have been submitted"), "{}", first.err);

        let second = run(&mut build_tool(&simulator, &folder));
        assert_eq!((second.code, submissions(&simulator)), (1, 1));
        assert!(second.err.contains("scan.jsonl.jobs: ") && second.err.contains("`?`"), "{}", second.err);

        // The user finds one of the jobs in the dashboard, and not the other one.
        let id = simulator.add_job(SimulatedJob::new("opt").state(JobState::Done)).to_string();
        let file = folder.join("scan.jsonl.jobs");
        let marked = fs::read_to_string(&file).unwrap();
        assert_eq!(marked.lines().filter(|line| line.starts_with("?\t")).count(), 2, "{marked}");
        fs::write(&file, marked.lines().next().unwrap().replacen('?', &id, 1)).unwrap();
        let third = run(&mut build_tool(&simulator, &folder));
        assert_eq!((third.code, submissions(&simulator)), (0, 2), "{}", third.err);
        assert!(third.out.ends_with("\n2 done, 0 failed, 0 unknown\n"), "{}", third.out);
    }

    #[cfg(unix)]
    #[test]
    fn the_build_tool_marks_the_payloads_of_an_interrupted_submission() {
        let simulator = instant_simulator();
        let folder = folder_with("build-marks", &[("scan.jsonl", PAYLOADS)]);
        simulator.fail_next(Fault::Delay(Duration::from_secs(600)));
        let outcome = interrupt(build_tool(&simulator, &folder), || submissions(&simulator) == 1);
        assert_eq!(outcome.code, 130, "{}", outcome.err);
        assert!(outcome.err.contains("may have been submitted"), "{}", outcome.err);
        let marked = fs::read_to_string(folder.join("scan.jsonl.jobs")).unwrap();
        assert_eq!(marked.lines().filter(|line| line.starts_with("?\t")).count(), 2, "{marked}");
    }

    /// Runs the program until the condition is true, then interrupts it like Ctrl-C.
    #[cfg(unix)]
    fn interrupt(mut command: Command, condition: impl FnMut() -> bool) -> Outcome {
        let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        support::until(condition);
        let kill = Command::new("sh").arg("-c").arg(format!("kill -INT {}", process.id())).status().unwrap();
        assert!(kill.success());
        let Output { status, stdout, stderr } = process.wait_with_output().unwrap();
        Outcome {
            code: status.code().expect("the program was not killed"),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }
}
