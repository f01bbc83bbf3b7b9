//! Tests the messages of errors: some of them word by word, and what holds for all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
use atomiverse::{Client, Contract, Error, JobState, Operation, Request, Result, StopToken, WaitOptions};
use serde_json::json as value;

use crate::support::{
    Answer, KEY, Random, RawServer, Step, answer, client_of_nobody, job, json, lock, page, raw, secs,
};
use crate::views::CALLS;

/// Makes a call on a server with these responses, which is not retried.
fn of<T>(answers: impl Into<Vec<Answer>>, call: impl FnOnce(&Client) -> Result<T>) -> Error {
    let server = RawServer::script(answers.into());
    let client = server.client_builder().max_retries(0).max_response_bytes(99_999).build().unwrap();
    call(&client).err().expect("the call fails")
}

fn get(answer: Answer) -> Error {
    of([answer], |client| client.get_job("9f2c"))
}

fn list(answers: impl Into<Vec<Answer>>) -> Error {
    of(answers, |client| client.iter_jobs().collect::<Result<Vec<_>>>())
}

fn delete(answers: impl Into<Vec<Answer>>) -> Error {
    of(answers, |client| client.delete_job("9f2c"))
}

fn submit(answer: Answer) -> Error {
    of([answer], |client| client.submit_job(&value!({})))
}

/// Submits 2500 payloads, of which the first thousand are accepted.
fn submit_many(second: Answer) -> Error {
    let entries = vec![r#"{"job_id":"a","status":"submitted"}"#; 1000].join(",");
    let totals = r#""total":0,"submitted":0,"failed":0,"cache_hits":0"#;
    let first = json(&format!(r#"{{{totals},"jobs":[{entries}]}}"#));
    of([first, second], |client| client.submit_batch(vec![value!({}); 2500]))
}

/// Waits for a job that does not end, on a service that fails for this method.
fn wait(method: &'static str, cancel: bool) -> Error {
    let simulator = Simulator::start().unwrap();
    let job = SimulatedJob::new("opt").state(JobState::Running).running_for(Duration::MAX);
    let id = simulator.add_job(job);
    simulator.fail_when(move |request| request.method == method, usize::MAX, Fault::status(503).body("busy"));
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    client.wait_for_job(id, WaitOptions::from(secs(60)).cancel_on_timeout(cancel)).unwrap_err()
}

struct Refusing;

impl Contract for Refusing {
    fn request(&self, operation: Operation<'_>) -> Request {
        match operation {
            Operation::Cancel { .. } => Request::unsupported("this service cannot cancel jobs"),
            _ => Request::failed("no token could be had"),
        }
    }
}

/// What the system and ureq say, and how long it took, is written as `*`.
const MESSAGES: &str = r#"
the API key (api_key) is in quotation marks: set it without them
base_url `ftp://x`: unsupported scheme; expected a URL such as https://atomiverse.com
proxy `socks5://x`: unsupported scheme; expected the URL of an HTTP proxy, such as http://proxy.example:3128
the job id "9f2c\u{feff}" contains '\u{feff}': pass the id alone
the payload is a string, not an object: parse it first; nothing was sent
cancel job 9f2c: this service cannot cancel jobs
get job 9f2c: no token could be had
get job 9f2c: no connection: *; check the network and base_url (tried 3 times in * s)
delete job 9f2c: no connection: *; nothing was sent; check the network and base_url (tried 3 times in * s)
submit job: no connection: the proxy http://127.0.0.1:1 (set by proxy): *; nothing was sent
delete job 9f2c: no time was left to send the request
delete job 9f2c: stopped
wait for job 9f2c: stopped; the job was not cancelled
delete job 9f2c: the connection broke: *; the request may have been processed
cancel job 9f2c: no response within 0.25 s; the request may have been processed; a longer timeout may help
get job 9f2c: the response is not valid HTTP: *; check base_url
get job 9f2c: the response is larger than 99999 bytes; raise max_response_bytes
get job 9f2c: 401 Unauthorized: no such key; check the key from api_key (request id r-17)
get job 9f2c: 403 Forbidden: an HTML page, "Sign in"; a gateway may have sent this page: check base_url
get job 9f2c: 404 Not Found: Job not found; the id or base_url may be wrong
request: 404 Not Found; check the path
get job 9f2c: 503 Service Unavailable; the server asks to wait 90 s
submit job: 422 Unprocessable Entity: charge: not a number
get job 9f2c: 302 Found: https://login.example/x; redirects are not followed: correct base_url
get job 9f2c: the response is not a job: its job_type is missing or not valid; see Contract if the HTTP API differs
get job 9f2c: the server responded with another job, 77ab
list jobs: job a (number 1 of the page) cannot be read: its job_type is missing or not valid; see Contract if the HTTP API differs
list jobs: the page has the same jobs as the page before it, beginning with job a; see Contract if the HTTP API differs
submit job: the response is not an object with the job_id of the new job: it begins with {"id":"req-1"}; the job may have been submitted; see Contract if the HTTP API differs
delete job 9f2c: 200 OK without a confirmation: {"deleted":0}; the request may have been processed; the job is running
delete job 9f2c: 404 Not Found: Job not found; yet the job is running; see Contract if the HTTP API differs
delete job 9f2c: 404 Not Found: Job not found; the job could not be loaded (429)
delete job 9f2c: 409 Conflict; the job is running: cancel it first, or use cancel_and_delete
delete job 9f2c: 409 Conflict: Job is running
rename job 9f2c: 200 OK without a confirmation: {}; the request may have been processed; the service stored the name as "water"
delete job 98: not sent, because 8 requests in a row had failed
submit batch: 403 Forbidden: balance too low; payloads 0-999 were submitted, 1000-1999 were not submitted, 2000-2499 were not sent
submit batch: the connection broke: *; payloads 0-999 were submitted, 1000-1999 may have been submitted, 2000-2499 were not sent
wait for job job-000001: not ended after 60 s; the job was running; the job was not cancelled
wait for job job-000001: not ended after 60 s; the job was running; the request to cancel the job was accepted
wait for job job-000001: not ended after 60 s; the last poll failed: 503 Service Unavailable: busy
wait for job job-000001: not ended after 60 s; the job was running; the job may have been cancelled; cancelling failed: 503 Service Unavailable: busy
"#;

fn errors() -> Vec<Error> {
    let nobody = client_of_nobody();
    let local = Client::builder().api_key(KEY).base_url("http://localhost").allow_insecure_http(true);
    let proxied = local.clone().proxy("http://127.0.0.1:1").max_retries(0).build().unwrap();
    let refusing = local.clone().contract(Refusing).build().unwrap();
    let stopped = StopToken::new();
    stopped.stop();
    let error = |status, body| answer(status, &[], body);
    let (refused, gone) = (r#"{"detail":"Job is running"}"#, r#"{"detail":"Job not found"}"#);
    let (html, location) =
        ("<html><title>Sign in</title></html>", "location: https://login.example/x?token=1");
    let running = job("9f2c").replace("done", "running");
    vec![
        local.clone().api_key("'av_x'").build().unwrap_err(),
        local.clone().base_url("ftp://x").build().unwrap_err(),
        local.clone().proxy("socks5://x").build().unwrap_err(),
        nobody.get_job("9f2c\u{feff}").unwrap_err(),
        nobody.submit_job("{}").unwrap_err(),
        refusing.cancel_job("9f2c").unwrap_err(),
        refusing.get_job("9f2c").unwrap_err(),
        nobody.get_job("9f2c").unwrap_err(),
        nobody.delete_job("9f2c").unwrap_err(),
        proxied.submit_job(&value!({})).unwrap_err(),
        nobody.with_timeout(Duration::ZERO).delete_job("9f2c").unwrap_err(),
        nobody.with_stop(&stopped).delete_job("9f2c").unwrap_err(),
        nobody.with_stop(&stopped).wait_for_job("9f2c", secs(60)).unwrap_err(),
        delete([vec![Step::Close]]),
        of([vec![Step::Silence]], |client| {
            client.with_timeout(Duration::from_millis(250)).cancel_job("9f2c")
        }),
        get(raw("SSH-2.0-OpenSSH\r\n\r\n")),
        get(json(&" ".repeat(100_000))),
        get(answer(401, &["x-request-id: r-17"], "no such key")),
        get(error(403, html)),
        get(error(404, gone)),
        of([error(404, "")], |client| client.send(Request::new("GET", ["x"]))),
        get(answer(503, &["retry-after: 90"], "")),
        submit(error(422, r#"{"detail":[{"loc":["body","charge"],"msg":"not a number"}]}"#)),
        get(answer(302, &[location], "")),
        get(json(r#"{"job_id":"9f2c","state":"done"}"#)),
        get(json(&job("77ab"))),
        list([json(&page(&["a"], false, None).replace("opt", "\\ud83d"))]),
        list([json(&page(&["a", "b"], true, Some("c1"))), json(&page(&["a", "b"], true, Some("c2")))]),
        submit(json(r#"{"id":"req-1"}"#)),
        delete([json(r#"{"deleted":0}"#), json(&running)]),
        delete([error(404, gone), json(&running)]),
        delete([error(404, gone), error(429, "{}")]),
        delete([error(409, ""), json(&running)]),
        delete([error(409, refused), json(&running)]),
        of([json("{}"), json(&running.replace("null", "\"water\""))], |client| {
            client.rename_job("9f2c", "Water")
        }),
        of([error(503, "")], |client| client.delete_jobs((0..99).map(|n| n.to_string())).pop().unwrap().1),
        submit_many(error(403, r#"{"detail":"balance too low"}"#)),
        submit_many(vec![Step::Close]),
        wait("", false),
        wait("", true),
        wait("GET", false),
        wait("POST", true),
    ]
}

/// Returns whether the text is as expected, where a `*` stands for anything.
fn fits(text: &str, expected: &str) -> bool {
    match expected.split_once('*') {
        None => text == expected,
        Some((start, rest)) => text
            .strip_prefix(start)
            .is_some_and(|text| text.char_indices().any(|(at, _)| fits(&text[at..], rest))),
    }
}

#[test]
fn each_message_is_as_a_user_should_read_it() {
    let errors: Vec<String> = errors().iter().map(Error::to_string).collect();
    let expected: Vec<&str> = MESSAGES.trim().lines().collect();
    assert_eq!(errors.len(), expected.len(), "{}", errors.join("\n"));
    for (text, expected) in errors.iter().zip(expected) {
        assert!(fits(text, expected), "{text}\n{expected}");
    }
    let mut lengths: Vec<usize> = errors.iter().map(|text| text.chars().count()).collect();
    lengths.sort_unstable();
    assert!(lengths[lengths.len() / 2] <= 110 && lengths[lengths.len() - 1] <= 180, "{lengths:?}");
}

/// Texts that servers send.
const TEXTS: [&str; 11] = [
    "",
    "Job not found",
    "the job is running: cancel it first",
    "check the API key, it may be revoked",
    "please send requests less often",
    "\u{1b}[2J\u{202e}\u{7}\u{2066}reversed\0\r\n\tnext",
    "\u{fffd}\u{feff}\u{1f600}",
    "Bearer av_key-that-must-not-leak",
    "gateway-value-7 was rejected",
    "%s {} ${HOME} `id` <b>",
    "this reason has more words than anybody wants to read in one line, because it was written by a program that \
     explains each thing to those who have all the time of the world, and then goes on with details on the weather",
];

fn body(text: &str, form: usize) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    match form {
        0 => format!(r#"{{"detail":{quoted}}}"#),
        1 => format!(r#"{{"error":{{"message":{quoted},"code":"e-7"}}}}"#),
        2 => format!(r#"{{"success":false,"message":{quoted}}}"#),
        3 => format!("<html><head><title>{text}</title></head></html>"),
        4 => text.to_owned(),
        5 => format!(r#"{{"job_id":{quoted},"state":7}}"#),
        6 => format!(r#"{{"jobs":[{{"job_id":7}},7],"has_more":true,"next_cursor":{quoted}}}"#),
        7 => job("a").replace("null", &quoted),
        8 => job("a").replace("done", "running"),
        _ => format!(r#"{{"detail":[{{"loc":["body","x"],"msg":{quoted}}}]"#),
    }
}

/// Returns what is wrong with a message.
fn problems(text: &str, is_change: bool) -> Vec<&'static str> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    let is_repeated =
        words.windows(5).enumerate().any(|(n, five)| words[n + 5..].windows(5).any(|other| other == five));
    let is_unsafe = |c: char| c.is_control() || "\u{202e}\u{2066}\u{2028}".contains(c);
    let mut problems = Vec::new();
    let mut check = |is_wrong: bool, what| problems.extend(is_wrong.then_some(what));
    check(text.chars().count() > 250, "it is too long");
    check(text.contains("line 1 column"), "it names a place in the JSON");
    check(text.contains("must-not-leak") || text.contains("-value-7"), "it shows a secret");
    check(is_repeated, "it says something twice");
    check(text.contains(is_unsafe), "it has a control character");
    check(text.contains("nothing was sent") && !is_change, "it says of a read that nothing was sent");
    check(text.contains("base_url"), "it names a setting that the user did not set");
    problems
}

#[test]
fn each_message_is_one_short_line_without_secrets_and_says_nothing_twice() {
    const STATUSES: [u16; 22] = [
        200, 200, 200, 201, 202, 301, 302, 307, 400, 401, 403, 404, 404, 405, 408, 409, 409, 410, 422, 429,
        500, 529,
    ];
    const HEADERS: [&[&str]; 4] = [
        &[],
        &[],
        &["x-request-id: r-7", "retry-after: 7"],
        &["location: https://av_key-that-must-not-leak@elsewhere.example/x?token=gateway-value-7"],
    ];
    let answers: Arc<Mutex<Vec<Answer>>> = Arc::default();
    let served = answers.clone();
    let server = RawServer::start(move |_, _| {
        let mut answers = lock(&served);
        if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() }
    });
    let simulator = Simulator::start().unwrap();
    let builder = simulator.client_builder().api_key(KEY).header("X-Gateway", "gateway-value-7");
    let builder = builder.api_url(server.url()).max_retries(1);
    for (n, (what, _, is_change, call)) in (0..60).flat_map(|_| CALLS).enumerate() {
        let mut random = Random(n as u64);
        let mut below = |end| random.below(end);
        let planned = [(); 3].map(|()| {
            let (status, headers) = (STATUSES[below(STATUSES.len())], HEADERS[below(HEADERS.len())]);
            answer(status, headers, &body(TEXTS[below(TEXTS.len())], below(10)))
        });
        *lock(&answers) = planned.to_vec();
        for error in call(&builder.clone().build().unwrap()) {
            let problems = problems(&error.to_string(), is_change);
            assert!(problems.is_empty(), "{what}: {planned:?}\n{problems:?}: {error}");
        }
    }
}
