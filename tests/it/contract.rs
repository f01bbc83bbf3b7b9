//! Compares the traffic of the tests with `tests/contract/openapi.yaml`: every request, and every response of the
//! simulator, unless a test makes it deviate.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
use atomiverse::{Client, ClientBuilder, JobState, Result};
use jsonschema::Validator;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::support::{Message, RawServer, answer, lock, read_message};

/// A simulator whose traffic is recorded. When this is dropped, traffic that does not follow the contract fails the
/// test.
pub struct Service {
    simulator: Simulator,
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Arc<Recording>>>>,
    allows_invalid_responses: AtomicBool,
}

/// Starts a simulator, and returns it with a client.
pub fn start() -> (Service, Client) {
    let simulator = Service::start();
    let client = simulator.client().unwrap();
    (simulator, client)
}

/// Returns the request lines that the simulator has received.
pub fn lines(simulator: &Simulator) -> Vec<String> {
    simulator.requests().iter().map(ToString::to_string).collect()
}

/// The bytes that were sent over one connection.
#[derive(Default)]
struct Recording {
    requests: Mutex<Vec<u8>>,
    answers: Mutex<Vec<u8>>,
}

impl Service {
    pub fn start() -> Self {
        let simulator = Simulator::start().unwrap();
        let server = simulator.base_url().trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let service = Service {
            simulator,
            address,
            connections: Arc::clone(&connections),
            allows_invalid_responses: AtomicBool::new(false),
        };
        // This thread ends with the process of the test.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let recording = Arc::new(Recording::default());
                lock(&connections).push(Arc::clone(&recording));
                let server = TcpStream::connect(&server).unwrap();
                let (from_client, to_client) = (client.try_clone().unwrap(), client);
                let (from_server, to_server) = (server.try_clone().unwrap(), server);
                let answers = Arc::clone(&recording);
                thread::spawn(move || listen(from_client, to_server, &recording.requests));
                thread::spawn(move || listen(from_server, to_client, &answers.answers));
            }
        });
        service
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn client_builder(&self) -> ClientBuilder {
        self.simulator.client_builder().base_url(self.base_url())
    }

    pub fn client(&self) -> Result<Client> {
        self.client_builder().build()
    }

    pub fn fail_next(&self, fault: Fault) {
        self.fail_times(1, fault);
    }

    pub fn fail_times(&self, count: usize, fault: Fault) {
        self.allow_invalid_responses();
        self.simulator.fail_times(count, fault);
    }

    /// Allows responses that do not follow the contract from now on.
    pub fn allow_invalid_responses(&self) {
        self.allows_invalid_responses.store(true, Ordering::Relaxed);
    }
}

impl Deref for Service {
    type Target = Simulator;

    fn deref(&self) -> &Simulator {
        &self.simulator
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        for recording in lock(&self.connections).iter() {
            let (requests, answers) = (lock(&recording.requests), lock(&recording.answers));
            let (mut requests, mut answers) = (&requests[..], &answers[..]);
            while let Ok(Some(request)) = read_message(&mut requests) {
                let answer = read_message(&mut answers).ok().flatten();
                let answer = answer.filter(|_| !self.allows_invalid_responses.load(Ordering::Relaxed));
                hold_to_contract(&request, answer.as_ref());
            }
        }
    }
}

fn listen(mut from: TcpStream, mut to: TcpStream, recording: &Mutex<Vec<u8>>) {
    let _ = to.set_nodelay(true);
    let mut bytes = [0; 16 * 1024];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => {
                // Bytes are recorded before they are forwarded, so a response that has arrived is in the recording.
                lock(recording).extend_from_slice(&bytes[..count]);
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

impl Drop for RawServer {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.requests().iter().for_each(|request| hold_to_contract(request, None));
        }
    }
}

/// Panics if the exchange does not follow the contract.
fn hold_to_contract(request: &Message, answer: Option<&Message>) {
    if let Err(difference) = CONTRACT.check(request, answer) {
        let answer = answer.map(|answer| format!(" -> {}", answer.line)).unwrap_or_default();
        panic!("not in openapi.yaml: {}{answer}: {difference}", request.line);
    }
}

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
    let document = serde_saphyr::from_str(include_str!("../contract/openapi.yaml"));
    Contract { document: document.expect("openapi.yaml is YAML"), validators: Mutex::default() }
});

struct Contract {
    document: Value,
    /// Validators by the pointer to their schema. They are kept because building one takes long.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

type Check = std::result::Result<(), String>;

impl Contract {
    fn check(&self, request: &Message, answer: Option<&Message>) -> Check {
        let (method, target) = request.line.split_once(' ').ok_or("no method")?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // The client adds a trailing slash if the server redirects to it.
        let path = path.strip_suffix('/').unwrap_or(path);
        let at = self.operation(&method.to_lowercase(), path).ok_or("unknown operation")?;
        let status = answer.map(|answer| answer.line.split(' ').nth(1).unwrap_or_default());

        let is_public = self.at(&format!("{at}/security")).is_some_and(|security| *security == json!([]));
        // If the server refuses the key, the request may have carried none.
        let has_key =
            request.header("authorization").starts_with("Bearer ") || !request.header("x-api-key").is_empty();
        if !is_public && status != Some("401") && !has_key {
            return Err("no key".to_owned());
        }
        self.check_query(&at, query)?;
        match self.at(&format!("{at}/requestBody")) {
            // A request that the server rejects as invalid need not follow the contract.
            Some(_) if status == Some("422") => {}
            _ => self.check_body(&format!("{at}/requestBody"), request)?,
        }
        match (answer, status) {
            (Some(answer), Some(status)) => {
                let at = format!("{at}/responses/{status}");
                self.at(&at).ok_or("unknown status")?;
                self.check_body(&self.followed(at), answer)
            }
            _ => Ok(()),
        }
    }

    /// Returns the pointer to the operation. `/jobs/batch` is preferred to `/jobs/{job_id}`, as the more exact match.
    fn operation(&self, method: &str, path: &str) -> Option<String> {
        let path: Vec<&str> = path.split('/').collect();
        let templates =
            self.document["paths"].as_object()?.iter().filter(|(_, item)| item.get(method).is_some());
        let matching = templates.filter_map(|(template, _)| {
            // A test may have configured another API URL.
            let known: Vec<&str> = template.trim_start_matches("/api/v1").split('/').skip(1).collect();
            let given = &path[path.len().checked_sub(known.len())?..];
            let fits = |(known, given): (&&str, &&str)| {
                known == given || known.starts_with('{') && !given.is_empty()
            };
            let literal = known.iter().filter(|part| !part.starts_with('{')).count();
            known.iter().zip(given).all(fits).then_some(((known.len(), literal), template))
        });
        let (_, template) = matching.max()?;
        Some(format!("/paths/{}/{method}", template.replace('~', "~0").replace('/', "~1")))
    }

    fn check_query(&self, operation: &str, query: &str) -> Check {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("a parameter without a value")?;
            let known = self.at(&format!("{operation}/parameters")).and_then(Value::as_array);
            let index = known
                .and_then(|known| {
                    known.iter().position(|known| known["name"] == name && known["in"] == "query")
                })
                .ok_or_else(|| format!("unknown parameter: {name}"))?;
            let value = percent_decode_str(value).decode_utf8().map_err(|error| error.to_string())?;
            let value = value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number));
            self.check_value(&format!("{operation}/parameters/{index}/schema"), &value)?;
        }
        Ok(())
    }

    fn check_body(&self, at: &str, message: &Message) -> Check {
        let Some(content) = self.at(&format!("{at}/content")).and_then(Value::as_object) else {
            let is_empty = message.body.is_empty();
            return if is_empty { Ok(()) } else { Err("unexpected body".to_owned()) };
        };
        let kind = message.header("content-type").split(';').next().unwrap_or_default();
        if !content.contains_key(kind) {
            return Err(format!("unknown content type: {kind:?}"));
        }
        if kind != "application/json" {
            return Ok(());
        }
        let value = serde_json::from_slice(&message.body).map_err(|error| error.to_string())?;
        self.check_value(&format!("{at}/content/application~1json/schema"), &value)
    }

    fn check_value(&self, at: &str, value: &Value) -> Check {
        self.validator(at)?
            .validate(value)
            .map_err(|error| format!("{error} at {:?}", error.instance_path().to_string()))
    }

    fn validator(&self, at: &str) -> std::result::Result<Arc<Validator>, String> {
        if let Some(validator) = lock(&self.validators).get(at) {
            return Ok(Arc::clone(validator));
        }
        // The schema is the whole file with a `$ref`, so that its references still resolve.
        let mut schema = self.document.clone();
        schema["$ref"] = json!(format!("#{}", at.replace('{', "%7B").replace('}', "%7D")));
        let validator = Arc::new(jsonschema::draft202012::new(&schema).map_err(|error| error.to_string())?);
        lock(&self.validators).insert(at.to_owned(), Arc::clone(&validator));
        Ok(validator)
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        self.document.pointer(pointer)
    }

    /// Follows the reference at this place, if there is one.
    fn followed(&self, at: String) -> String {
        let reference = self.at(&at).and_then(|value| value["$ref"].as_str());
        reference.map_or(at.clone(), |reference| reference.trim_start_matches('#').to_owned())
    }
}

fn message(line: &str, body: &str) -> Message {
    let headers = ["content-type: application/json", "authorization: Bearer key"].map(str::to_owned);
    Message { line: line.to_owned(), headers: headers.into(), body: body.into() }
}

#[track_caller]
fn differs(request: &Message, answer: Option<&Message>, how: &str) {
    let difference = CONTRACT.check(request, answer).expect_err("a deliberate difference is detected");
    assert!(difference.contains(how), "{difference}");
}

#[test]
fn a_request_that_is_not_in_the_contract_is_detected() {
    let rename = |body| message("PATCH /api/v1/jobs/a", body);
    assert_eq!(CONTRACT.check(&rename(r#"{"name": "water"}"#), None), Ok(()));
    differs(&rename(r#"{"new_name": "water"}"#), None, r#""name" is a required property"#);
    differs(&rename(r#"{"name": ""}"#), None, "does not match");
    differs(&message("PUT /api/v1/jobs/a", ""), None, "unknown operation");
    differs(&message("GET /api/v1/job/a/b", ""), None, "unknown operation");
    differs(&message("GET /api/v1/jobs?page=2", ""), None, "unknown parameter: page");
    differs(&message("GET /api/v1/jobs?limit=0", ""), None, "less than the minimum of 1");
    differs(&message("GET /api/v1/jobs?limit=all", ""), None, r#"not of type "integer""#);
    differs(&message("GET /api/v1/jobs/a", "{}"), None, "unexpected body");
    differs(&message("POST /api/v1/jobs/batch", r#"{"payloads": []}"#), None, r#""jobs" is a required"#);
    let keyless = Message { headers: Vec::new(), ..message("GET /api/v1/jobs", "") };
    differs(&keyless, None, "no key");
    let of_no_type =
        Message { headers: vec!["authorization: Bearer key".to_owned()], ..rename(r#"{"name": "water"}"#) };
    differs(&of_no_type, None, "unknown content type");
}

#[test]
fn a_response_that_is_not_in_the_contract_is_detected() {
    let get = message("GET /api/v1/jobs/a", "");
    let job = r#"{"job_id": "a", "state": "done", "job_type": "opt", "created_at": 1}"#;
    let found = |line: &str, body: &str| CONTRACT.check(&get, Some(&message(line, body)));
    assert_eq!(found("HTTP/1.1 200 OK", job), Ok(()));
    assert_eq!(found("HTTP/1.1 404 Not Found", r#"{"detail": "Job not found"}"#), Ok(()));
    let planted = |line: &str, body: &str, how: &str| differs(&get, Some(&message(line, body)), how);
    planted("HTTP/1.1 202 Accepted", job, "unknown status");
    planted("HTTP/1.1 200 OK", &job.replace("job_id", "id"), r#""job_id" is a required property"#);
    planted("HTTP/1.1 200 OK", &job.replace("done", "finished"), r#""finished" is not one of"#);
    planted("HTTP/1.1 404 Not Found", "{}", "not valid under any of the schemas");
    let list = message("GET /api/v1/jobs", "");
    let endless = message("HTTP/1.1 200 OK", r#"{"jobs": [], "has_more": true}"#);
    differs(&list, Some(&endless), r#""next_cursor" is a required property"#);
    let deleted = message("HTTP/1.1 204 No Content", "gone");
    differs(&message("DELETE /api/v1/jobs/a", ""), Some(&deleted), "unexpected body");
}

#[test]
fn traffic_is_compared_with_the_contract() {
    let differs = |visit: fn(&Service)| {
        let service = Service::start();
        visit(&service);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(service))).is_err()
    };
    assert!(!differs(|service| drop(service.client().unwrap().list_jobs().send())));
    assert!(differs(|service| drop(service.client().unwrap().list_jobs().limit(1001).send())));
    assert!(differs(|service| {
        service.add_job(SimulatedJob::new("opt").state(JobState::Unknown("paused".to_owned())));
        drop(service.client().unwrap().list_jobs().send());
    }));
}

#[test]
fn the_client_reads_every_example_of_the_contract() {
    let mut read = 0;
    for (path, item) in CONTRACT.document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(responses) = operation["responses"].as_object() else { continue };
            for status in responses.keys() {
                let at = format!("/paths/{}/{method}/responses/{status}", path.replace('/', "~1"));
                let response = CONTRACT.at(&CONTRACT.followed(at)).unwrap();
                let content = &response["content"]["application/json"];
                let example = content.get("example").or_else(|| content.pointer("/examples/page/value"));
                let Some(example) = example else { continue };
                reads(operation["operationId"].as_str().unwrap(), status.parse().unwrap(), example);
                read += 1;
            }
        }
    }
    assert!(read > 30, "{read} examples");
}

fn reads(operation: &str, status: u16, example: &Value) {
    let server =
        RawServer::script(vec![answer(status, &["content-type: application/json"], &example.to_string())]);
    let client = server.client_builder().max_retries(0).build().unwrap();
    let payload = json!({"job_type": "opt"});
    let read = match operation {
        "listJobs" => client.list_jobs().send().map(|page| json!(page)),
        "getJob" => client.get_job("9f2c").map(|job| json!(job)),
        "renameJob" => client.rename_job("9f2c", "water").map(|()| example.clone()),
        "cancelJob" => client.cancel_job("9f2c").map(|()| example.clone()),
        "deleteJob" => client.delete_job("9f2c").map(|()| example.clone()),
        "submitJob" => {
            client.submit_job(&payload).map(|job| json!({"job_id": job.id(), "state": job.state()}))
        }
        "submitBatch" => client.submit_batch([&payload, &payload]).map(|answer| json!(answer)),
        other => panic!("no method for {other}"),
    };
    match read {
        Ok(read) => assert_eq!((status / 100, &read), (2, example), "{operation} {status}"),
        Err(error) => {
            assert_eq!(error.status(), Some(status), "{operation}: {error}");
            let words = match &example["detail"] {
                Value::Array(fields) => fields[0]["msg"].as_str(),
                detail => detail.as_str(),
            };
            assert!(error.to_string().contains(words.unwrap()), "{operation} {status}: {error}");
        }
    }
}
