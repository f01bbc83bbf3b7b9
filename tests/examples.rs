//! Runs the examples as programs, and tests their output, their exit codes and their requests.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
use atomiverse::{JobState, JobSummary};

#[path = "it/support.rs"]
#[allow(dead_code)]
mod support;

/// What `learn_contract` prints in its test. It compiles, because it is a part of this program.
#[path = "contract/learned.rs"]
#[allow(unused)]
#[rustfmt::skip]
mod learned;

use support::{KEY, RawServer, answer, example, json};

/// Returns a command that runs the example with a key for this server.
fn example_on(name: &str, url: &str, key: &str) -> Command {
    let mut command = example(name);
    command.env("ATOMIVERSE_API_KEY", key).env("ATOMIVERSE_BASE_URL", url);
    command
}

fn on(name: &str, simulator: &Simulator) -> Command {
    example_on(name, &simulator.base_url(), simulator.api_key())
}

struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Outcome {
    /// Checks the exit code, and that each of these texts was printed. Returns the standard output.
    #[track_caller]
    fn expect(self, code: i32, texts: &[&str]) -> String {
        let Outcome { code: actual, out, err } = self;
        assert_eq!(actual, code, "{out}\n{err}");
        for text in texts {
            assert!(out.contains(text) || err.contains(text), "{text:?} is missing: {out}\n{err}");
        }
        out
    }
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
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Creates a folder with these files.
fn folder_with(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let folder = folder(name);
    for (file, text) in files {
        fs::write(folder.join(file), text).unwrap();
    }
    folder
}

fn input(name: &str) -> String {
    format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn states(simulator: &Simulator) -> Vec<JobState> {
    simulator.client().unwrap().iter_jobs().map(|job| job.unwrap().state).collect()
}

#[test]
fn every_example_has_help_with_exit_codes_and_exits_with_2_after_wrong_usage() {
    let sources = fs::read_dir(input("")).unwrap().map(|entry| entry.unwrap().path());
    let names: Vec<PathBuf> =
        sources.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect();
    assert!(names.len() >= 14);
    for path in names {
        let name = path.file_stem().unwrap().to_str().unwrap();
        run(example(name).arg("--help")).expect(0, &["Usage:", "Exit codes: "]);
        assert_eq!(run(example(name).arg("--no-such-option")).expect(2, &["--no-such-option"]), "", "{name}");
        let readme = fs::read_to_string(input("README.md")).unwrap();
        assert!(readme.contains(&format!("--example {name}")), "README.md lacks {name}");
    }
    for command in ["list", "show", "rename", "cancel", "delete", "open", "watch"] {
        let help = run(example("jobs").args([command, "--help"])).out;
        let blank = help.lines().filter(|line| line.trim_start().starts_with(['<', '[']));
        assert!(blank.clone().all(|line| line.trim().contains("  ")), "{help}");
    }
}

#[test]
fn the_tour_calls_every_method_of_client_and_job() {
    run(&mut example("tour")).expect(0, &[]);
    let source = fs::read_to_string(input("tour.rs")).unwrap();
    let (doc, source) = source.split_once("\nmod common;").unwrap();
    for (of, file) in [("Client", "../src/client.rs"), ("Job", "../src/job.rs")] {
        let code = fs::read_to_string(input(file)).unwrap();
        for line in code.lines().filter_map(|line| line.strip_prefix("    pub fn ")) {
            let method = line.split(['(', '<']).next().unwrap();
            let is_named = doc.contains(&format!("`{of}::{method}`")) || method == "build";
            assert!(source.contains(&format!(".{method}(")) || is_named, "{of}::{method}");
        }
    }
}

#[test]
fn jobs_list_filters_and_prints_plain_lines_or_json() {
    let simulator = Simulator::start().unwrap();
    let day = Duration::from_secs(86_400);
    simulator.add_job(SimulatedJob::new("opt").name("old").state(JobState::Failed).age(3 * day));
    simulator.add_job(SimulatedJob::new("opt").name("new").state(JobState::Failed).age(day / 24));
    simulator.add_job(SimulatedJob::new("opt").name("good").state(JobState::Done).age(day));
    let list = |arguments: &[&str]| run(on("jobs", &simulator).arg("list").args(arguments)).expect(0, &[]);
    let failed = list(&["--state", "FAILED", "--since", "yesterday"]);
    assert!(failed.lines().count() == 1 && failed.contains(" new"), "{failed}");
    assert_eq!(list(&["--name", "o"]).lines().count(), 2);
    assert_eq!(list(&["--max-jobs", "1"]).lines().count(), 1);
    let jobs: Vec<JobSummary> =
        list(&["--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(jobs, simulator.client().unwrap().iter_jobs().collect::<Result<Vec<_>, _>>().unwrap());
}

#[test]
fn jobs_list_refuses_an_unknown_state_and_names_the_known_ones() {
    let states = ["pending", "running", "done", "failed", "cancelled"];
    run(example("jobs").args(["list", "--state", "faild"])).expect(2, &states);
}

#[test]
fn jobs_tries_all_ids_and_exits_with_1_if_one_failed() {
    let simulator = Simulator::start().unwrap();
    let ids: Vec<String> = (0..3).map(|_| simulator.add_job(SimulatedJob::new("opt")).to_string()).collect();
    let [first, second, third] = [&ids[0], &ids[1], &ids[2]].map(String::as_str);
    let jobs = |arguments: &[&str]| run(on("jobs", &simulator).args(arguments));
    assert_eq!(jobs(&["delete", first, second]).code, 1, "they are pending");
    let cancelled = jobs(&["cancel", first, "no-such-job", second]);
    assert_eq!((cancelled.code, cancelled.out.lines().count(), cancelled.err.lines().count()), (1, 2, 1));
    let pending = states(&simulator).iter().filter(|state| **state == JobState::Pending).count();
    assert_eq!(pending, 1);
    let deleted =
        jobs(&["delete", third, first, "no-such-job", second]).expect(1, &["no-such-job did not exist\n"]);
    assert_eq!(deleted.matches(" deleted\n").count(), 2, "{deleted}");
    assert_eq!(states(&simulator).len(), 1);
    assert_eq!(jobs(&["show", "no-such-job", third]).out.matches("job_id").count(), 1);
    jobs(&["rename", third, "benzene"]).expect(0, &[" benzene\n"]);
    jobs(&["open", "--link", third]).expect(0, &[&format!("/job?job_id={third}")]);
    simulator.finish(third, JobState::Failed);
    assert_eq!(jobs(&["watch", third]).code, 1, "the job failed");
}

/// The programs that read all jobs, and what each prints if there are two, `a` and `b`.
fn readers(folder: &Path) -> [(&'static str, Vec<&str>, &'static str); 6] {
    let folder = folder.to_str().unwrap();
    [
        ("jobs", vec!["list"], "\nb  "),
        ("jobs", vec!["list", "--json"], "\n{\"job_id\":\"b\""),
        ("cleanup", vec![], "2 jobs would be deleted"),
        ("usage_report", vec![], "total                        2 "),
        ("usage_report", vec!["--csv"], ",2,0\n"),
        ("export_xyz", vec![folder], "2 without a molecule"),
    ]
}

#[test]
fn an_unreadable_job_is_a_warning_and_the_others_are_still_read() {
    let job = |id: &str| support::job(id).replace("done", "cancelled").replace("2026", "2020");
    let jobs = [job("a"), r#"{"job_id":"broken","state":7}"#.to_owned(), job("b")].join(",");
    let server =
        RawServer::script(vec![json(&format!(r#"{{"jobs":[{jobs}],"has_more":false,"next_cursor":null}}"#))]);
    for (name, arguments, text) in readers(&folder("unreadable")) {
        let texts = [text, "warning: ", "broken"];
        run(example_on(name, &server.url(), KEY).args(&arguments)).expect(1, &texts);
    }
}

#[test]
fn every_field_is_safe_for_a_terminal() {
    let evil = r"x\u001b[2J\r\nforged\u009b1m\u202e\u007f";
    let job = format!(
        r#"{{"job_id":"{evil}","name":"{evil}","state":"{evil}","job_type":"{evil}","created_at":"{evil}"}}"#
    );
    let cancelled = format!(
        r#"{{"job_id":"{evil}","name":"{evil}","state":"cancelled","job_type":"{evil}","created_at":"2020-01-01T00:00:00Z"}}"#
    );
    let page = format!(r#"{{"jobs":[{job},{cancelled}],"has_more":false}}"#);
    let server = RawServer::script(vec![json(&page)]);
    for (name, arguments, _) in readers(&folder("terminal")) {
        let outcome = run(example_on(name, &server.url(), KEY).args(&arguments));
        let text = outcome.out.clone() + &outcome.err;
        assert_eq!(outcome.code, 0, "{name}: {text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{name} {arguments:?}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("forged")), "{name}: {text}");
        let is_list = name == "jobs" || name == "cleanup";
        assert!(!is_list || outcome.out.lines().count() == 2, "{name}: {}", outcome.out);
    }
    let server = RawServer::script(vec![json(&cancelled.replacen(evil, "a", 1))]);
    let shown = run(example_on("jobs", &server.url(), KEY).args(["show", "a"]));
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", shown.out);
    let job: JobSummary = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(job.name.as_deref(), Some("x\u{1b}[2J\r\nforged\u{9b}1m\u{202e}\u{7f}"), "it is only escaped");
}

#[test]
fn the_defaults_of_cleanup_find_something_and_only_yes_deletes_it() {
    let simulator = Simulator::start().unwrap();
    simulator.add_sample_jobs(120);
    let found = run(&mut on("cleanup", &simulator)).expect(0, &["--yes"]).lines().count() - 1;
    assert_eq!(states(&simulator).len(), 120);
    run(on("cleanup", &simulator).arg("--yes")).expect(0, &[&format!("{found} deleted")]);
    assert!(found > 0 && states(&simulator).len() == 120 - found);
    assert_eq!(run(on("cleanup", &simulator).arg("--yes")).out, "Nothing to delete.\n");
    assert_eq!(run(example("cleanup").args(["--state", "running"])).code, 2);
}

#[test]
fn the_usage_report_counts_by_day_in_the_local_time_zone() {
    let job =
        support::job("a").replace("14:32:01Z", "23:30:00Z").replace('}', r#","billed_core_seconds":30.5}"#);
    let other = support::job("b").replace(r#""opt""#, r#""a \"new\", type""#);
    let page = format!(r#"{{"jobs":[{job},{other}],"has_more":false}}"#);
    let server = RawServer::script(vec![json(&page)]);
    let report = |zone: &str, arguments: &[&str]| {
        run(example_on("usage_report", &server.url(), KEY).env("TZ", zone).args(arguments)).expect(0, &[])
    };
    assert!(report("UTC0", &["--csv"]).contains("opt,done,2026-05-02,1,30.5\n"));
    let east = report("EAST-5", &["--csv"]);
    assert!(east.contains("opt,done,2026-05-03,1,30.5\n"), "{east}");
    assert!(east.contains("\"a \"\"new\"\", type\",done,2026-05-02,1,0\n"), "{east}");
    assert_eq!(report("EAST-5", &["--csv", "--since", "2026-05-03"]).lines().count(), 2);
    let table = report("UTC0", &[]);
    assert_eq!(table.matches("total                        2           30.5").count(), 3, "{table}");
}

#[test]
fn export_xyz_gives_each_job_a_file_and_keeps_existing_files() {
    let preview = r#","molecule_preview":{"formula":"H2","atoms":[{"element":"H","position":[0,0,0]}]}}"#;
    let jobs = ["a:1", "a/1", "a_1", "../../etc"].map(|id| support::job(id).replace('}', preview)).join(",");
    let page = format!(r#"{{"jobs":[{jobs},{}],"has_more":false}}"#, support::job("none"));
    let server = RawServer::script(vec![json(&page)]);
    let folder = folder("export");
    let export = || run(example_on("export_xyz", &server.url(), KEY).arg(&folder));
    assert_eq!(export().out, "4 written, 0 already there, 1 without a molecule\n");
    let paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(paths.len(), 4, "{paths:?}");
    fs::write(&paths[0], "mine").unwrap();
    assert_eq!(export().out, "0 written, 4 already there, 1 without a molecule\n");
    assert_eq!(fs::read_to_string(&paths[0]).unwrap(), "mine");
}

#[test]
fn result_works_on_the_simulator_and_keeps_an_existing_file() {
    let folder = folder("result");
    let result = |arguments: &[&str]| run(example("result").current_dir(&folder).args(arguments));
    let printed = result(&["--output", "-", "job-000119"]).expect(0, &["energy"]);
    result(&["job-000119"]).expect(0, &["job-000119.json"]);
    let path = folder.join("job-000119.json");
    assert_eq!(fs::read_to_string(&path).unwrap(), printed);
    fs::write(&path, "mine").unwrap();
    result(&["job-000119"]).expect(1, &["job-000119.json"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(result(&["no-such-job"]).code, 1);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);

    let server = RawServer::start(|_, request| match request.line.as_str() {
        "GET /api/v1/results/..%2Fa/json" => json("[1.10]"),
        _ => answer(404, &[], ""),
    });
    let path = ["--path", "results/{id}/json", "--output", "-", "../a"];
    assert_eq!(run(example_on("result", &server.url(), KEY).args(path)).out, "[1.10]\n");
}

#[test]
fn payload_files_are_sent_byte_for_byte() {
    let payload = r#"{"z": 123456789012345678901234567890, "job_type":  "opt", "a": [1.10, {"b": 1E400}]}"#;
    let with_bom = format!("\u{feff}{payload}\n");
    let folder = folder_with("bytes", &[("a.json", payload.as_bytes()), ("bom.json", with_bom.as_bytes())]);
    for (name, file) in [
        ("submit_and_wait", "a.json"),
        ("submit_and_wait", "bom.json"),
        ("batch", "bom.json"),
        ("build_tool", "a.json"),
    ] {
        let simulator = Simulator::start().unwrap();
        simulator.on_submit(|_| SimulatedJob::new("any").state(JobState::Done));
        run(on(name, &simulator).arg(folder.join(file)));
        let requests = simulator.requests();
        assert!(requests[0].body.contains(payload), "{name}: {:?}", requests[0].body);
    }
}

#[test]
fn a_payload_file_that_cannot_be_sent_is_explained_and_nothing_is_sent() {
    let utf16: Vec<u8> = "{\"job_type\": \"opt\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_mark = [&[0xff, 0xfe], utf16.as_slice()].concat();
    let cases: [(&str, &[u8], &str); 8] = [
        ("two.json", br#"{"job_type": "opt", "job_type": "sp"}"#, "\"job_type\" occurs twice"),
        ("deep.json", br#"{"job_type": "opt", "a": [{"b": 1, "b": 2}]}"#, "\"b\" occurs twice"),
        ("utf16.json", &utf16, "UTF-16"),
        ("mark.json", &with_mark, "UTF-16"),
        ("latin1.json", b"{\"name\": \"\xe4\"}", "not UTF-8"),
        ("comment.json", b"{ // water\n \"job_type\": \"opt\"}", "no comments"),
        ("hash.json", b"# water\n{\"job_type\": \"opt\"}", "no comments"),
        ("end.json", b"{\"job_type\": \"opt\"", "EOF"),
    ];
    let simulator = Simulator::start().unwrap();
    let folder = folder("refused");
    for (file, text, words) in cases {
        fs::write(folder.join(file), text).unwrap();
        run(on("submit_and_wait", &simulator).arg(folder.join(file))).expect(1, &[words, file]);
    }
    assert!(simulator.requests().is_empty());
    run(on("batch", &simulator).arg("no-such-file")).expect(1, &["no-such-file"]);
}

#[test]
fn the_exit_code_of_submit_and_wait_shows_the_outcome() {
    for (state, code) in [("done", 0), ("failed", 1), ("cancelled", 1)] {
        let server = RawServer::script(vec![json(&support::job("a").replace("done", state))]);
        run(example_on("submit_and_wait", &server.url(), KEY).arg(input("water.json")))
            .expect(code, &[state]);
    }
}

#[test]
fn batch_reports_rejected_payloads_and_waits_for_the_rest() {
    let payloads = b"{\"job_type\": \"opt\"}\n{\"name\": \"without a type\"}\n{\"job_type\": \"opt\"}\n";
    let scan = folder_with("rejected", &[("scan.jsonl", payloads)]).join("scan.jsonl");
    let out = run(example("batch").arg(scan)).expect(1, &["payloads[1] was rejected"]);
    assert_eq!(out.matches(" done ").count(), 2, "{out}");
    let out = run(example("batch").arg(input("scan.jsonl"))).expect(0, &[]);
    assert_eq!(out.matches(" done ").count(), 4, "{out}");
}

/// The programs of the guides.
mod guides {
    use super::*;

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
        let water = br#"{"job_type": "opt", "name": "water"}"#;
        let folder = folder_with(
            "script",
            &[("water.json", water), ("A.JSON", water), ("._a.json", b"\0"), ("notes.txt", b"no payload")],
        );
        let script = || run(on("script", &simulator).arg(&folder));
        script().expect(0, &["A.JSON is job ", "2 of 2 are done", "._a.json"]);
        fs::write(folder.join("fails.json"), r#"{"job_type": "opt", "name": "fails"}"#).unwrap();
        fs::write(folder.join("rejected.json"), r#"{"name": "no type"}"#).unwrap();
        script().expect(1, &["2 of 4 are done", "rejected.json was rejected: "]);
    }

    #[test]
    fn the_script_names_the_file_that_it_cannot_read_and_submits_nothing() {
        let simulator = instant_simulator();
        let script = |folder: &Path| run(on("script", &simulator).arg(folder));
        script(&folder_with("script-empty", &[("notes.txt", b"")])).expect(1, &["script-empty"]);
        let files: [(&str, &[u8]); 2] = [("a.json", br#"{"job_type":"opt"}"#), ("b.json", b"{")];
        script(&folder_with("script-broken", &files)).expect(1, &["b.json"]);
        script(Path::new("no-such-folder")).expect(1, &["no-such-folder"]);
        #[cfg(unix)]
        {
            let folder = folder("script-link");
            std::os::unix::fs::symlink("nowhere", folder.join("link.json")).unwrap();
            script(&folder).expect(1, &["link.json"]);
        }
        assert!(simulator.requests().is_empty());
    }

    /// Two payloads, one per line.
    const PAYLOADS: &str =
        "{\"job_type\": \"opt\", \"name\": \"a\"}\n{\"job_type\": \"opt\", \"name\": \"b\"}\n";

    /// Returns a command that runs the build tool with the payloads in this folder.
    fn build_tool(simulator: &Simulator, folder: &Path) -> Command {
        let mut command = on("build_tool", simulator);
        command.arg(folder.join("scan.jsonl"));
        command
    }

    fn submissions(simulator: &Simulator) -> usize {
        simulator.requests().iter().filter(|request| request.method == "POST").count()
    }

    #[test]
    fn the_build_tool_submits_each_payload_once() {
        let simulator = instant_simulator();
        // The last two differ in a digit that a float does not hold.
        let digits = "{\"job_type\": \"opt\", \"x\": 0.12345678901234567890}\n{\"job_type\": \"opt\", \"x\": 0.12345678901234567891}\n";
        let folder = folder_with("build", &[("scan.jsonl", format!("{PAYLOADS}{digits}").as_bytes())]);
        run(&mut build_tool(&simulator, &folder)).expect(0, &["\n4 of 4 are done\n"]);
        assert_eq!(states(&simulator).len(), 4);
        assert_eq!(run(&mut build_tool(&simulator, &folder)).code, 0);
        assert_eq!(submissions(&simulator), 1);

        let more = format!("{PAYLOADS}{digits}{{\"job_type\": \"opt\", \"name\": \"c\"}}\n");
        fs::write(folder.join("scan.jsonl"), more).unwrap();
        assert_eq!(run(&mut build_tool(&simulator, &folder)).code, 0);
        assert_eq!(states(&simulator).len(), 5);
    }

    #[test]
    fn the_build_tool_exits_with_1_if_a_job_failed_or_a_payload_was_rejected() {
        let simulator = instant_simulator();
        let scan = b"{\"job_type\": \"opt\"}\n{\"job_type\": \"opt\", \"name\": \"fails\"}\n{\"name\": \"no type\"}\n";
        let folder = folder_with("build-failed", &[("scan.jsonl", scan)]);
        run(&mut build_tool(&simulator, &folder)).expect(1, &["\n1 of 3 are done\n", "rejected: "]);
        // The payload of the failed job is submitted again, and that of the job that is done is not.
        assert_eq!(run(&mut build_tool(&simulator, &folder)).code, 1);
        let bodies: Vec<String> =
            simulator.requests().iter().map(|request| request.body.to_string()).collect();
        let again = bodies.iter().rfind(|body| !body.is_empty()).unwrap();
        assert!(again.contains("fails") && again.matches("opt").count() == 1, "{again}");
    }

    #[test]
    fn the_build_tool_cancels_unfinished_jobs_at_the_deadline() {
        let simulator = Simulator::start().unwrap();
        simulator.on_submit(|_| SimulatedJob::new("any").running_for(Duration::MAX));
        let folder = folder_with("build-deadline", &[("scan.jsonl", PAYLOADS.as_bytes())]);
        run(build_tool(&simulator, &folder).arg("3")).expect(1, &["0 of 2 are done\n"]);
        assert_eq!(states(&simulator), [JobState::Cancelled, JobState::Cancelled]);
        assert_eq!(fs::read_to_string(folder.join("scan.jsonl.jobs")).unwrap(), "");
    }

    #[test]
    fn the_build_tool_does_not_resubmit_what_may_have_been_processed() {
        let simulator = instant_simulator();
        let folder = folder_with("build-doubt", &[("scan.jsonl", PAYLOADS.as_bytes())]);
        simulator.fail_next(Fault::Cut);
        run(&mut build_tool(&simulator, &folder)).expect(1, &["may have been submitted"]);
        run(&mut build_tool(&simulator, &folder)).expect(1, &["scan.jsonl.jobs: ", "`?`"]);
        assert_eq!(submissions(&simulator), 1);

        // The user finds one of the jobs in the dashboard, and not the other one.
        let id = simulator.add_job(SimulatedJob::new("opt").state(JobState::Done)).to_string();
        let file = folder.join("scan.jsonl.jobs");
        let marked = fs::read_to_string(&file).unwrap();
        assert_eq!(marked.lines().filter(|line| line.starts_with("?\t")).count(), 2, "{marked}");
        fs::write(&file, marked.lines().next().unwrap().replacen('?', &id, 1)).unwrap();
        run(&mut build_tool(&simulator, &folder)).expect(0, &[]);
        assert_eq!(submissions(&simulator), 2);
    }
}

/// Programs that run until a request or a signal ends them.
#[cfg(unix)]
mod processes {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::process::Child;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::support::{Step, until};
    use super::*;

    /// Shorter than any timeout in these tests, and longer than a busy machine needs after a signal.
    const PROMPT: Duration = Duration::from_secs(8);

    /// A running program, which is killed if the test fails. Its output goes to files.
    struct Running {
        child: Child,
        folder: PathBuf,
    }

    impl Running {
        fn start(command: &mut Command) -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let folder = folder(&format!("process-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
            let file = |name| File::create(folder.join(name)).unwrap();
            let child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
            Running { child, folder }
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.folder.join(name)).unwrap()
        }

        /// Waits for a line of the output that contains this text, and returns what comes after it.
        fn line_after(&self, text: &str) -> String {
            let find =
                || self.read("out").split_once(text)?.1.split_once('\n').map(|(line, _)| line.to_owned());
            until(|| find().is_some());
            find().unwrap()
        }

        fn end(mut self) -> Outcome {
            until(|| self.child.try_wait().unwrap().is_some());
            let code = self.child.wait().unwrap().code().expect("the program was not killed");
            Outcome { code, out: self.read("out"), err: self.read("err") }
        }

        /// Sends a signal, after which the program must end promptly.
        fn end_by(self, signal: &str) -> Outcome {
            let started = Instant::now();
            super::support::signal(signal, self.child.id());
            let outcome = self.end();
            assert!(started.elapsed() < PROMPT, "{signal}: {:?}: {}", started.elapsed(), outcome.err);
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

    fn silent_server() -> RawServer {
        RawServer::script(vec![vec![Step::Silence]])
    }

    #[test]
    fn an_interrupted_wait_names_the_jobs_and_leaves_them_running() {
        for (name, file, count) in [("submit_and_wait", "water.json", 1), ("batch", "scan.jsonl", 4)] {
            // The clock of the simulator stands still, so the jobs stay pending.
            let simulator = Simulator::start().unwrap();
            let program = Running::start(on(name, &simulator).arg(input(file)));
            until(|| simulator.requests().len() >= 2);
            let outcome = program.end_by("-INT");
            assert_eq!(outcome.code, 130, "{name}: {}", outcome.err);
            assert_eq!(states(&simulator), vec![JobState::Pending; count], "{name}");
            let (_, ids) = outcome.err.split_once("cargo run --example jobs -- cancel ").unwrap();
            let ids = ids.lines().next().unwrap().split_whitespace();
            assert_eq!(
                run(on("jobs", &simulator).arg("cancel").args(ids)).code,
                0,
                "the printed command works"
            );
            assert_eq!(states(&simulator), vec![JobState::Cancelled; count], "{name}");
        }
    }

    #[test]
    fn an_interrupted_submission_says_that_the_job_may_exist() {
        let folder = folder_with("interrupted", &[("scan.jsonl", b"{\"job_type\": \"opt\"}\n")]);
        let own = folder.join("scan.jsonl").display().to_string();
        for (name, file) in
            [("submit_and_wait", input("water.json")), ("batch", input("scan.jsonl")), ("build_tool", own)]
        {
            let server = silent_server();
            let program = Running::start(example_on(name, &server.url(), KEY).arg(file));
            until(|| !server.lines().is_empty());
            program.end_by("-INT").expect(130, &["may have been submitted"]);
        }
        let marked = fs::read_to_string(folder.join("scan.jsonl.jobs")).unwrap();
        assert!(marked.starts_with("?\t"), "{marked}");
    }

    #[test]
    fn the_build_tool_waits_for_the_jobs_of_an_interrupted_run() {
        let simulator = Simulator::start().unwrap();
        let folder = folder_with("build-again", &[("scan.jsonl", b"{\"job_type\": \"opt\"}\n")]);
        let tool = || {
            let mut command = on("build_tool", &simulator);
            command.arg(folder.join("scan.jsonl"));
            command
        };
        let program = Running::start(&mut tool());
        until(|| simulator.requests().len() >= 2);
        assert_eq!(program.end_by("-INT").code, 130);
        simulator.advance(Duration::from_secs(60));
        let second = run(&mut tool());
        assert_eq!((second.code, states(&simulator).len()), (0, 1), "{}", second.err);
    }

    #[test]
    fn an_interrupted_cleanup_counts_deleted_uncertain_and_remaining_jobs() {
        let old = |n| support::job(format!("old-{n}")).replace("done", "cancelled").replace("2026", "2020");
        let jobs: Vec<String> = (0..14).map(old).collect();
        let listing = format!(r#"{{"jobs":[{}],"has_more":false}}"#, jobs.join(","));
        let mut deletions = 0;
        let server = RawServer::start(move |_, request| match request.line.starts_with("GET ") {
            true => json(&listing),
            false if deletions < 2 => {
                deletions += 1;
                answer(204, &[], "")
            }
            false => vec![Step::Silence],
        });
        let program = Running::start(example_on("cleanup", &server.url(), KEY).arg("--yes"));
        // The listing, two deletions that succeed, and as many that hang as the crate sends at a time.
        until(|| server.lines().len() == 1 + 2 + 8);
        let outcome = program.end_by("-INT");
        assert_eq!(outcome.err.lines().count(), 8, "{}", outcome.err);
        outcome.expect(130, &["2 deleted, 0 already gone, 8 may be deleted, 4 not deleted."]);
    }

    /// Sends a request on a connection of its own.
    fn send(address: &str, head: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let length = body.len();
        write!(stream, "{head}\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        stream
    }

    /// Returns the status and the body of the response.
    fn ask(address: &str, head: &str, body: &str) -> (u16, String) {
        let mut response = String::new();
        send(address, head, body).read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{response:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[test]
    fn the_service_exits_promptly_while_calls_hang() {
        for signal in ["-INT", "-TERM"] {
            let server = silent_server();
            // Without the signal, each of these calls would hang until the deadline.
            let program =
                Running::start(example_on("service", &server.url(), KEY).args(["--deadline", "30"]));
            let address = program.line_after("listening on http://");
            let heads = ["GET /jobs/a HTTP/1.1", "POST /energies/water HTTP/1.1"];
            let hanging = heads.map(|head| send(&address, head, ""));
            until(|| server.lines().len() == 2);
            program.end_by(signal).expect(0, &["may have been submitted"]);
            // The program joins its threads, so they could still respond.
            for mut stream in hanging {
                let mut response = String::new();
                stream.read_to_string(&mut response).unwrap();
                assert!(response.starts_with("HTTP/1.1 503 "), "{signal}: {response}");
            }
        }
    }

    #[test]
    fn the_service_has_a_deadline_for_each_call_and_lists_the_jobs_that_still_run() {
        let server = silent_server();
        let program = Running::start(example_on("service", &server.url(), KEY).args(["--deadline", "0.5"]));
        assert_eq!(ask(&program.line_after("listening on http://"), "GET /jobs/a HTTP/1.1", "").0, 503);

        let simulator = Simulator::start().unwrap();
        let program = Running::start(&mut on("service", &simulator));
        let address = program.line_after("listening on http://");
        let ask = |head: &str| ask(&address, &format!("{head} HTTP/1.1"), "");
        assert_eq!(ask("POST /energies/water"), (200, "job-000001\n".to_owned()));
        simulator.advance(Duration::MAX);
        assert_eq!(ask("POST /energies/ammonia"), (200, "job-000002\n".to_owned()));
        assert!(ask("GET /jobs/job-000001").1.contains(" done "));
        assert_eq!((ask("GET /jobs/no-such-job").0, ask("GET /favicon.ico").0), (404, 404));
        program.end_by("-INT").expect(0, &["These jobs may still be running: job-000002\n"]);
    }

    #[test]
    fn serve_makes_requests_fail_and_delays_others() {
        let program = Running::start(example("serve").args(["--faults", "--latency", "0.05"]));
        let url = program.line_after("export ATOMIVERSE_BASE_URL=");
        let key = program.line_after("export ATOMIVERSE_API_KEY=");
        let client = atomiverse::Client::builder().api_key(key).base_url(url).max_retries(0).build().unwrap();
        let started = Instant::now();
        let outcomes: Vec<_> = (0..40).map(|_| client.list_jobs().limit(1).send()).collect();
        let busy =
            outcomes.iter().filter(|page| page.as_ref().is_err_and(|error| error.status() == Some(503)));
        let cut = outcomes.iter().filter(|page| page.as_ref().is_err_and(|error| error.status().is_none()));
        assert_eq!((busy.count(), cut.count()), (3, 2));
        assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
        let port = client.job_dashboard_url("a").unwrap().split(['/', ':']).nth(4).unwrap().to_owned();
        run(example("serve").args(["--port", &port])).expect(1, &[&port]);
    }

    #[test]
    fn learn_contract_prints_a_contract_for_a_service_that_differs() {
        let server = RawServer::start(|_, request| {
            let is_known = request.header("x-api-key") == KEY;
            match request.line.as_str() {
                _ if !is_known => answer(401, &[], ""),
                "GET /api/v2/runs?size=2" | "GET /api/v2/runs?size=2&after=p7" => {
                    json(r#"{"items":[{"run_id":"r7","status":"QUEUED"}],"after":"p7"}"#)
                }
                "POST /api/v2/runs" | "GET /api/v2/runs/r7" | "PUT /api/v2/runs/r7" => {
                    json(r#"{"run_id":"r7","status":"QUEUED"}"#)
                }
                "POST /api/v2/runs/r7/stop" | "DELETE /api/v2/runs/r7" => answer(204, &[], ""),
                _ => answer(404, &[], r#"{"error":"no such path"}"#),
            }
        });
        let mut command = example("learn_contract");
        command.env("ATOMIVERSE_API_KEY", KEY).args(["--to", &server.url(), "--requests", "8"]);
        let program = Running::start(&mut command);
        let address = program.line_after("listening on http://");
        let ask = |request: &str, body: &str| {
            ask(
                &address,
                &format!("{request} HTTP/1.1\r\nX-Api-Key: {KEY}\r\ncontent-type: application/json"),
                body,
            )
        };
        let page = ask("GET /api/v2/runs?size=2", "");
        assert_eq!(page, (200, r#"{"items":[{"run_id":"r7","status":"QUEUED"}],"after":"p7"}"#.to_owned()));
        ask("GET /api/v2/runs?size=2&after=p7", "");
        assert_eq!(ask("GET /api/v2/other", "").0, 404, "errors are passed on too");
        ask("POST /api/v2/runs", r#"{"title":"water"}"#);
        ask("GET /api/v2/runs/r7", "");
        ask("PUT /api/v2/runs/r7", r#"{"title":"heavy water"}"#);
        ask("POST /api/v2/runs/r7/stop", "");
        ask("DELETE /api/v2/runs/r7", "");
        let texts =
            ["/api/v2", "X-Api-Key: <key>", "GET /runs?after?size", "PUT /runs/{job_id} {title: string}"];
        let out = program.end().expect(0, &texts);
        assert!(!out.contains(KEY) && !out.contains("water"), "{out}");
        let (_, draft) = out.split_once("// A draft").unwrap();
        let expected = include_str!("contract/learned.rs");
        assert_eq!(format!("// A draft{draft}").trim(), expected.trim(), "{draft}");
        let id = atomiverse::JobId::from("r7");
        let operation = atomiverse::Operation::Rename { id: &id, name: "a" };
        let request = atomiverse::Contract::request(&super::learned::Learned, operation);
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/runs/r7"));
        assert_eq!(request.body.unwrap(), br#"{"title":"a"}"#);
    }
}
