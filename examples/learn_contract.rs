//! Learns the HTTP API of a service from a client that knows it, such as the Python SDK:
//!
//! ```text
//! ATOMIVERSE_API_KEY=... cargo run --example learn_contract -- --to https://atomiverse.com --port 8080
//! ```
//!
//! Set the address of the other client to `http://127.0.0.1:8080`, and let it list, load, rename, cancel, delete and
//! submit. Each request is passed on as it is. In the end, names and types are printed, and no values. A part of a path
//! is an id if it occurs in a response, in a field whose name ends with `id`.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use atomiverse::{Client, ClientBuilder, Contract, JobId, Operation, Request, Response};
use clap::Parser;
use common::{Result, printable, types, web};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use serde_json::value::RawValue;

/// Learn the HTTP API of a service from a client that knows it, such as the Python SDK
///
/// Set the address of that client to the one that is printed: each of its requests is passed on. In the end, the program
/// prints how the API differs from what this crate assumes, and a draft of a contract.
#[derive(Parser)]
#[command(name = "learn_contract", after_help = "Exit codes: 0 after Ctrl-C, 1 failed, 2 wrong usage.")]
struct Arguments {
    /// The address of the service, such as https://atomiverse.com; without it, a simulator is used
    ///
    /// It is the address without the path of the API. It needs a key in ATOMIVERSE_API_KEY, which is sent to it unless the
    /// client sends an Authorization header. The key of the simulator is av_simulated_key.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// The port on 127.0.0.1; 0 selects a free port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// End after this many requests instead of at Ctrl-C
    #[arg(long, value_name = "NUMBER")]
    requests: Option<usize>,
}

fn main() -> ExitCode {
    common::finish(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let stop = common::stop_on_signal()?;
    let simulator = common::simulator(0, 20)?;
    simulator.run_in_real_time();
    let key = || std::env::var("ATOMIVERSE_API_KEY").map_err(|_| "--to needs a key: set ATOMIVERSE_API_KEY");
    let (builder, key) = match &arguments.to {
        Some(to) => (ClientBuilder::from_env()?.api_url(to), key()?),
        None => (simulator.client_builder().api_url(simulator.base_url()), simulator.api_key().to_owned()),
    };
    let last = Arc::new(Last::default());
    let client = builder.contract(last.clone()).max_retries(0).build()?.with_stop(&stop);
    let listener = web::listen(arguments.port)?;
    let mut exchanges = Vec::new();
    web::serve(&listener, &stop, |request| {
        let response = forward(&client, &last, request.clone());
        exchanges.push(Exchange::new(&request, response.status, response.json().unwrap_or_default(), &key));
        if arguments.requests == Some(exchanges.len()) {
            stop.stop();
        }
        response
    });
    Ok(report(&mut exchanges, &mut io::stdout().lock()).map(|()| ExitCode::SUCCESS)?)
}

/// The last response, whatever its status.
#[derive(Default)]
struct Last(Mutex<Option<Response>>);

impl Contract for Last {
    fn response(&self, _: Operation<'_>, response: &mut Response) {
        *self.0.lock().unwrap() = Some(response.clone());
    }
}

/// Passes a request on. What belongs to one connection is left out.
fn forward(client: &Client, last: &Last, mut request: Request) -> Response {
    const OF_CONNECTION: &str =
        " accept-encoding connection content-encoding content-length expect host transfer-encoding ";
    let is_passed_on = |name: &str| !OF_CONNECTION.contains(&format!(" {} ", name.to_ascii_lowercase()));
    request.headers.retain(|(name, _)| is_passed_on(name));
    let failure = client.send(request).err();
    let no_response = || Response::new(502, failure.map_or(String::new(), |error| error.to_string()));
    let mut response = last.0.lock().unwrap().take().unwrap_or_else(no_response);
    response.headers.retain(|(name, _)| is_passed_on(name));
    response
}

/// A request and its response.
struct Exchange {
    method: String,
    path: Vec<String>,
    query: BTreeMap<String, String>,
    headers: Vec<String>,
    body: Value,
    status: u16,
    answer: Value,
}

impl Exchange {
    fn new(request: &Request, status: u16, answer: Value, key: &str) -> Self {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().replace(key, "<key>");
        let header = |(name, value): &(String, String)| match value.contains(key) {
            true => format!("{name}: {}", value.replace(key, "<key>")),
            false => name.to_ascii_lowercase(),
        };
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Exchange {
            method: request.method.clone(),
            path: path.trim_matches('/').split('/').map(decoded).collect(),
            query: pairs.map(|(name, value)| (decoded(name), decoded(value))).collect(),
            headers: request.headers.iter().map(header).collect(),
            body: serde_json::from_slice(request.body.as_deref().unwrap_or_default()).unwrap_or_default(),
            status,
            answer,
        }
    }

    /// Returns the operation that the method and the form of the path and the body suggest.
    fn operation(&self) -> &'static str {
        let is_batch = |value: &Value| value.get(0).is_some_and(Value::is_object);
        match (self.method.as_str(), self.path.iter().any(|part| part == ID)) {
            ("GET", false) => "List",
            ("GET", true) if self.path.ends_with(&[ID.to_owned()]) => "Get",
            ("DELETE", true) => "Delete",
            ("PUT" | "PATCH" | "POST", true) if field(&self.body, Value::is_string).is_some() => "Rename",
            ("PUT" | "PATCH" | "POST", true) => "Cancel",
            ("POST", false) if is_batch(&self.body) || field(&self.body, is_batch).is_some() => "SubmitBatch",
            ("POST", false) => "Submit",
            _ => "other",
        }
    }

    /// Returns the request without values, such as `GET /jobs?cursor&limit`.
    fn form(&self) -> String {
        let query: String = self.query.keys().map(|name| format!("?{name}")).collect();
        let body = if self.body.is_null() { String::new() } else { types(&self.body) };
        format!("{} /{}{query} {body}", self.method, self.path.join("/"))
    }

    /// Returns the code that makes such a request.
    fn code(&self) -> String {
        let part = |part: &String| if part == ID { "id.as_str()".to_owned() } else { format!("{part:?}") };
        let path = self.path.iter().map(part).collect::<Vec<_>>().join(", ");
        let query = self.query.iter().map(|(name, value)| match value.parse::<u32>() {
            _ if self.operation() != "List" => format!(".query({name:?}, \"TODO\")"),
            Ok(_) => format!(".query({name:?}, limit)"),
            _ => format!(".query_if({name:?}, cursor)"),
        });
        let body = match (self.operation(), field(&self.body, |value| value.is_string() || value.is_array()))
        {
            _ if self.body.is_null() => String::new(),
            ("Rename", Some(field)) => format!(".json(&BTreeMap::from([({field:?}, name)]))"),
            ("SubmitBatch", Some(field)) => format!(".json(&BTreeMap::from([({field:?}, payloads)]))"),
            ("SubmitBatch", None) => ".json(payloads)".to_owned(),
            ("Submit", _) => ".json(payload)".to_owned(),
            _ => ".json(\"TODO\")".to_owned(),
        };
        format!("Request::new({:?}, [{path}]){}{body}", self.method, query.collect::<String>())
    }
}

const ID: &str = "{job_id}";

/// Returns the name of the first field that fits.
fn field(value: &Value, fits: impl Fn(&Value) -> bool) -> Option<&str> {
    value.as_object()?.iter().find(|(_, value)| fits(value)).map(|(name, _)| name.as_str())
}

/// Prints a table of the operations, and a contract for those that differ.
fn report(exchanges: &mut [Exchange], out: &mut impl Write) -> io::Result<()> {
    let answers: String = exchanges.iter().map(|seen| seen.answer.to_string().to_ascii_lowercase()).collect();
    let occurs = |field: String| answers.contains(&field.to_ascii_lowercase());
    let is_id = |part: &str| occurs(format!("id\":\"{part}\"")) || occurs(format!("id\":{part}"));
    let (mut roots, mut headers) = (BTreeSet::new(), BTreeSet::new());
    for seen in exchanges.iter_mut() {
        let root = seen.path.iter().take_while(|part| *part == "api" || part.starts_with('v')).count();
        roots.insert(seen.path.drain(..root).map(|part| format!("/{part}")).collect::<String>());
        seen.path.iter_mut().filter(|part| is_id(part)).for_each(|part| *part = ID.to_owned());
        headers.extend(seen.headers.drain(..));
    }
    writeln!(out, "path     {roots:?}; /api/v1 is assumed, see ATOMIVERSE_API_URL")?;
    writeln!(out, "headers  {headers:?}; `Authorization: Bearer <key>` is assumed, see api_key_header")?;

    const PAGE: &str = "jobs, has_more, next_cursor";
    const JOB: &str = "job_id, state, job_type, created_at";
    let (id, payload) = (&JobId::from(ID), &*RawValue::from_string("{}".to_owned())?);
    let assumed = [
        (Operation::List { limit: 9, cursor: Some("c") }, "List { limit, cursor }", PAGE),
        (Operation::Get { id }, "Get { id }", JOB),
        (Operation::Rename { id, name: "n" }, "Rename { id, name }", ""),
        (Operation::Cancel { id }, "Cancel { id }", ""),
        (Operation::Delete { id }, "Delete { id }", ""),
        (Operation::Submit { payload }, "Submit { payload }", "job_id"),
        (Operation::SubmitBatch { payloads: &[payload] }, "SubmitBatch { payloads }", "jobs"),
    ];
    let (mut requests, mut responses) = (String::new(), String::new());
    for (operation, pattern, needed) in assumed {
        let name = pattern.split(' ').next().unwrap_or_default();
        let mut assumed = Exchange::new(&Request::assumed(operation), 200, Value::Null, "\n");
        writeln!(out, "\n{name:<12} assumed  {}", assumed.form())?;
        let of_name = exchanges.iter().filter(|exchange| exchange.operation() == name);
        let seen: BTreeMap<_, _> = of_name.map(|seen| ((seen.form(), seen.status), seen)).collect();
        for ((form, status), seen) in &seen {
            let got = types(&seen.answer);
            writeln!(out, "{:12} seen     {}\n{:12} got      {status} {got}", "", printable(form), "")?;
        }
        let used = seen.values().filter(|seen| seen.status < 300).max_by_key(|seen| seen.query.len());
        let Some(seen) = used else { continue };
        // A client need not use all parameters.
        assumed.query.retain(|name, _| seen.query.contains_key(name));
        if seen.code() != assumed.code() {
            requests += &format!("            Operation::{pattern} => {},\n", seen.code());
        }
        if needed.split(", ").any(|field| !field.is_empty() && seen.answer.get(field).is_none()) {
            responses +=
                &format!("    // {name} needs {needed}, and the response has {}\n", types(&seen.answer));
        }
    }
    for seen in exchanges.iter().filter(|seen| seen.operation() == "other") {
        writeln!(out, "other        seen     {}", printable(&seen.form()))?;
    }
    let draft = if requests.len() + responses.len() == 0 { "Nothing differs." } else { SKELETON };
    writeln!(out, "\n{}", draft.replace("REQUESTS", &requests).replace("RESPONSES", &responses))
}

const SKELETON: &str = "// A draft: check each line, and replace each TODO.
use atomiverse::{Contract, Operation, Request};
use std::collections::BTreeMap;

pub struct Learned;

impl Contract for Learned {
    fn request(&self, operation: Operation<'_>) -> Request {
        match operation {
REQUESTS            other => Request::assumed(other),
        }
    }
    // TODO: fn response, see Response::map_json and Response::edit_jobs.
RESPONSES}";
