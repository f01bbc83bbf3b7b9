//! Every request that the client sends, and every response of the simulator, follows `openapi.yaml`. A proxy between
//! them records both.

mod openapi;

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
use atomiverse::{Client, JobState, WaitOptions};
use openapi::{Message, OpenApi};
use serde_json::{Value, json};

type Exchanges = Arc<Mutex<Vec<(Message, Message)>>>;

/// Starts a proxy that records what goes to and from a server. Its threads end with the process of the test.
fn record(server: &str) -> (String, Exchanges) {
    let server = server.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let exchanges = Exchanges::default();
    let recorded = Arc::clone(&exchanges);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (server, recorded) = (TcpStream::connect(&server).unwrap(), Arc::clone(&recorded));
            thread::spawn(move || forward(client, server, &recorded));
        }
    });
    (url, exchanges)
}

/// Forwards one message after the other, until one end closes the connection.
fn forward(
    client: TcpStream,
    server: TcpStream,
    recorded: &Mutex<Vec<(Message, Message)>>,
) -> io::Result<()> {
    let mut from_client = BufReader::new(client.try_clone()?);
    let mut from_server = BufReader::new(server.try_clone()?);
    let (mut to_client, mut to_server) = (client, server);
    while let Some((request, bytes)) = read(&mut from_client)? {
        to_server.write_all(&bytes)?;
        let Some((response, bytes)) = read(&mut from_server)? else { break };
        // Recorded before it is forwarded, so that the client cannot be ahead of the recording.
        recorded.lock().unwrap().push((request, response));
        to_client.write_all(&bytes)?;
    }
    Ok(())
}

/// Reads the next message, and returns it with its bytes.
fn read(reader: &mut impl BufRead) -> io::Result<Option<(Message, Vec<u8>)>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut message = Message { line, headers, body: Vec::new() };
    reader.take(message.header("content-length").parse().unwrap_or(0)).read_to_end(&mut message.body)?;
    bytes.extend_from_slice(&message.body);
    Ok(Some((message, bytes)))
}

/// Calls each method, with its success and the failures that the simulator has.
fn drive(client: &Client, simulator: &Simulator) -> atomiverse::Result<()> {
    assert_eq!(client.iter_jobs().limit(7).count(), 30);
    let page = client.list_jobs().limit(2).send()?;
    client.list_jobs().cursor(page.next_cursor.as_deref()).send()?;
    client.get_job(&page.jobs[0].job_id)?;
    assert!(client.get_job("9f2c").unwrap_err().is_not_found());

    let name = "benzène ".repeat(4);
    let id = client.submit_job(&json!({"job_type": "opt", "name": "water"}))?.id().clone();
    client.rename_job(&id, &name)?;
    assert_eq!(client.get_job(&id)?.name.as_deref(), Some(name.trim()));
    assert!(client.rename_job(&id, " ").unwrap_err().is_validation());
    assert!(client.rename_job("9f2c", "water").unwrap_err().is_not_found());
    assert!(client.delete_job(&id).unwrap_err().is_conflict());
    client.cancel_job(&id)?;
    client.delete_job(&id)?;
    assert!(!client.delete_job_if_exists(&id)?);
    assert!(client.cancel_job(&id).unwrap_err().is_not_found());
    assert!(client.submit_job(&json!({"name": "no type"})).unwrap_err().is_validation());

    simulator.cache_hits(true);
    let payload = json!({"job_type": "single_point_energy"});
    let mut job = client.submit_job(&payload)?;
    assert_eq!(job.wait(WaitOptions::new())?.state, JobState::Done);
    assert!(client.submit_job(&payload)?.is_cache_hit());
    let batch = client.submit_batch([&payload, &json!({"job_type": "opt"}), &json!({"name": "no type"})])?;
    assert_eq!((batch.submitted, batch.cache_hits, batch.failed), (1, 1, 1));
    let ids: Vec<_> = batch.job_ids().cloned().collect();
    for (id, outcome) in client.wait_for_jobs(&ids, Duration::from_secs(3600)) {
        assert!(outcome?.state.is_terminal(), "{id}");
    }
    let endless = simulator.add_job(SimulatedJob::new("opt").running_for(Duration::MAX));
    assert!(client.cancel_and_delete(endless, WaitOptions::new())?);
    assert!(client.list_jobs().limit(1001).send().unwrap_err().is_validation());
    assert!(client.with_api_key("another")?.list_jobs().send().unwrap_err().is_unauthorized());
    Ok(())
}

#[test]
fn requests_and_responses_follow_the_contract() {
    let simulator = Simulator::start().unwrap();
    simulator.add_sample_jobs(30);
    let (url, exchanges) = record(&simulator.base_url());
    drive(&simulator.client_builder().base_url(url).build().unwrap(), &simulator).unwrap();
    let openapi = OpenApi::read();
    let mut seen = BTreeSet::new();
    for (request, response) in &*exchanges.lock().unwrap() {
        // This request is outside the contract on purpose; its response is not.
        if request.line.contains("limit=1001") {
            assert!(openapi.check(request, response).unwrap_err().contains("1001"));
            continue;
        }
        match openapi.check(request, response) {
            Ok(operation) => _ = seen.insert(format!("{operation} {}", response.status())),
            Err(difference) => panic!("{} -> {}: {difference}", request.line, response.line),
        }
    }
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    let expected = "cancelJob 200, cancelJob 404, deleteJob 204, deleteJob 404, deleteJob 409, getJob 200, \
                    getJob 404, listJobs 200, listJobs 401, renameJob 200, renameJob 404, renameJob 422, \
                    submitBatch 200, submitJob 200, submitJob 201, submitJob 422";
    assert_eq!(seen.join(", "), expected);
}

fn message(line: &str, body: &str) -> Message {
    let headers = [("Content-Type", "application/json"), ("Authorization", "Bearer key")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Message { line: line.to_owned(), headers, body: body.into() }
}

#[test]
fn a_difference_is_detected() {
    let openapi = OpenApi::read();
    let job = r#"{"job_id": "a", "name": "water", "state": "done", "job_type": "opt", "created_at": 1}"#;
    let ok = |body: &str| message("HTTP/1.1 200 OK", body);
    let rename = |body: &str| message("PATCH /api/v1/jobs/a", body);
    let get = message("GET /api/v1/jobs/a", "");
    let name = r#"{"name": "water"}"#;
    assert_eq!(openapi.check(&rename(name), &ok(job)).as_deref(), Ok("renameJob"));
    for (request, response, how) in [
        (rename(r#"{"new_name": "water"}"#), ok(job), r#""name" is a required property"#),
        (message("PUT /api/v1/jobs/a", ""), ok(job), "unknown operation"),
        (message("GET /api/v1/jobs?page=2", ""), ok(job), "unknown parameter: page"),
        (message("GET /api/v1/jobs?limit=0", ""), ok(job), "less than the minimum of 1"),
        (message("GET /api/v1/jobs/a", "{}"), ok(job), "unexpected body"),
        (Message { headers: Vec::new(), ..get.clone() }, ok(job), "no key"),
        (get.clone(), message("HTTP/1.1 202 Accepted", job), "unknown status"),
        (get.clone(), ok(&job.replace("job_id", "id")), r#""job_id" is a required property"#),
        (get.clone(), ok(&job.replace("done", "finished")), r#""finished" is not one of"#),
        (get, message("HTTP/1.1 404 Not Found", "{}"), "not valid under any of the schemas"),
        (message("DELETE /api/v1/jobs/a", ""), message("HTTP/1.1 204 No Content", "gone"), "unexpected body"),
    ] {
        let difference = openapi.check(&request, &response).unwrap_err();
        assert!(difference.contains(how), "{} -> {}: {difference}", request.line, response.line);
    }
}

#[test]
fn the_client_reads_every_example_of_the_contract() {
    let openapi = OpenApi::read();
    let mut read = 0;
    for (path, item) in openapi.0["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(responses) = operation["responses"].as_object() else { continue };
            // The page of a job is for people.
            if operation["operationId"] == "dashboard" {
                continue;
            }
            for status in responses.keys() {
                let at = format!("/paths/{}/{method}/responses/{status}", path.replace('/', "~1"));
                let content = &openapi.at(&openapi.followed(at)).unwrap()["content"]["application/json"];
                let example = content.get("example").or_else(|| content.pointer("/examples/page/value"));
                if let Some(example) = example {
                    reads(operation["operationId"].as_str().unwrap(), status.parse().unwrap(), example);
                    read += 1;
                }
            }
        }
    }
    assert!(read > 30, "{read} examples");
}

/// Checks that the client understands a response with this body.
fn reads(operation: &str, status: u16, example: &Value) {
    let simulator = Simulator::start().unwrap();
    let body = example.to_string();
    let response = Fault::status(status).header("content-type", "application/json").body(body);
    simulator.fail_next(response);
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    let payload = json!({"job_type": "opt"});
    let read = match operation {
        "listJobs" => client.list_jobs().send().map(|page| json!(page)),
        "getJob" => client.get_job("9f2c").map(|job| json!(job)),
        "renameJob" => client.rename_job("9f2c", "water").map(|()| example.clone()),
        "cancelJob" => client.cancel_job("9f2c").map(|()| example.clone()),
        "deleteJob" => client.delete_job("9f2c").map(|()| example.clone()),
        "submitJob" => client.submit_job(&payload).map(|job| {
            assert_eq!(job.id().as_str(), example["job_id"]);
            example.clone()
        }),
        "submitBatch" => client.submit_batch([&payload, &payload]).map(|batch| json!(batch)),
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
