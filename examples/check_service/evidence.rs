//! Calls the service, records its responses, and compares them with `openapi.yaml`.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atomiverse::{
    Client, ClientBuilder, Error, JobId, JobSummary, JobsPage, RawRequest, RawResponse, Result,
};
use jsonschema::{ValidationError, Validator};
use serde_json::{Value, json};

/// A response as it was received, with the method and path of its request.
#[derive(Clone)]
pub struct Exchange {
    method: String,
    path: String,
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub json: Option<Value>,
}

impl Exchange {
    fn new(request: &RawRequest, response: &RawResponse) -> Self {
        Exchange {
            method: request.method.to_lowercase(),
            path: request.path.split('?').next().unwrap_or_default().trim_end_matches('/').to_owned(),
            status: response.status,
            headers: response.headers.clone(),
            body: response.body.clone(),
            json: serde_json::from_slice(&response.body).ok(),
        }
    }

    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(other, value)| other.eq_ignore_ascii_case(name) && !value.is_empty())
    }

    pub fn shape(&self) -> String {
        match (&self.json, self.body.trim_ascii_start().first()) {
            (Some(value), _) => shape(value),
            (None, None) => "an empty body".to_owned(),
            (None, Some(b'<')) => "HTML".to_owned(),
            (None, Some(_)) => "a body that is not JSON".to_owned(),
        }
    }

    /// Returns the jobs in a response to a read, in any envelope.
    pub fn jobs(&self) -> Vec<&Value> {
        match self.json.as_ref().filter(|_| self.method == "get" && self.status == 200) {
            None => Vec::new(),
            Some(body) if self.path == "/jobs" => jobs_in(body, 2),
            Some(body) => vec![unwrapped(body)],
        }
    }
}

fn jobs_in(value: &Value, depth: usize) -> Vec<&Value> {
    match value {
        Value::Array(items) if items.iter().all(Value::is_object) => items.iter().collect(),
        Value::Object(fields) if depth > 0 => match fields.get("jobs") {
            Some(jobs) => jobs_in(jobs, depth - 1),
            None => {
                let found = fields.values().map(|value| jobs_in(value, depth - 1));
                found.max_by_key(Vec::len).unwrap_or_default()
            }
        },
        _ => Vec::new(),
    }
}

pub fn unwrapped(body: &Value) -> &Value {
    body.get("data").filter(|data| data.is_object()).unwrap_or(body)
}

/// Describes the type of a value, and the field names of an object, without their contents.
pub fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) if number.is_f64() => "a number".to_owned(),
        Value::Number(_) => "an integer".to_owned(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(fields) => {
            let keys: Vec<&str> =
                fields.iter().filter(|(key, value)| is_shown(key, value)).map(|(k, _)| &**k).collect();
            match (keys.is_empty(), keys.len() < fields.len()) {
                (true, _) => "an object whose fields are not shown".to_owned(),
                (_, true) => {
                    format!("an object with the fields {} and others that are not shown", keys.join(", "))
                }
                (_, false) => format!("an object with the fields {}", keys.join(", ")),
            }
        }
    }
}

/// Returns whether a key looks like a field name. The keys of a map may be identifiers, names or elements, which are
/// not shown.
fn is_shown(key: &str, value: &Value) -> bool {
    const WRAPPERS: [&str; 14] = [
        "attributes",
        "data",
        "error",
        "info",
        "item",
        "job",
        "links",
        "meta",
        "molecule_preview",
        "moleculePreview",
        "page",
        "pagination",
        "relationships",
        "result",
    ];
    key.starts_with(|first: char| first.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
        && (key == "id" || (3..=30).contains(&key.len()))
        && (!value.is_object() || WRAPPERS.contains(&key))
}

/// The contract in `openapi.yaml`.
pub struct Contract(Value);

impl Contract {
    fn validator(&self, schema: &Value) -> Validator {
        let mut schema = schema.clone();
        schema["components"] = self.0["components"].clone();
        jsonschema::draft202012::new(&schema).expect("the schemas of openapi.yaml are valid")
    }

    pub fn schema(&self, name: &str) -> Validator {
        self.validator(&json!({ "$ref": format!("#/components/schemas/{name}") }))
    }

    /// Returns where a response differs from the contract, and from which rule.
    fn differences(&self, exchange: &Exchange) -> BTreeSet<String> {
        let path = format!("/api/v1{}", exchange.path);
        let path: Vec<&str> = path.split('/').collect();
        let mut paths = self.0["paths"].as_object().into_iter().flatten();
        let known = paths.find(|(template, _)| {
            let template: Vec<&str> = template.split('/').collect();
            let mut parts = template.iter().zip(&path);
            template.len() == path.len() && parts.all(|(known, part)| known.starts_with('{') || known == part)
        });
        let Some((template, operations)) = known else {
            return BTreeSet::from(["an unknown path".to_owned()]);
        };
        let mut response = &operations[&exchange.method]["responses"][exchange.status.to_string()];
        if let Some(reference) = response["$ref"].as_str() {
            response = self.0.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
        }
        let places = match (&response["content"]["application/json"]["schema"], &exchange.json) {
            _ if response.is_null() => BTreeSet::from(["the status".to_owned()]),
            (Value::Null, _) if exchange.body.is_empty() => BTreeSet::new(),
            (Value::Null, _) | (_, None) => BTreeSet::from([exchange.shape()]),
            (schema, Some(body)) => {
                self.validator(schema).iter_errors(body).map(|error| place(&error)).collect()
            }
        };
        let call = format!("{} {template} {}", exchange.method.to_uppercase(), exchange.status);
        places.into_iter().map(|place| format!("{call} ({place})")).collect()
    }
}

/// Describes the place of a difference. It contains only fields that the contract names.
fn place(error: &ValidationError) -> String {
    let (place, rule) = (error.instance_path().to_string(), error.schema_path().to_string());
    let is_index = |part: &str| part.parse::<usize>().is_ok();
    let parts: Vec<&str> = place.split('/').map(|part| if is_index(part) { "*" } else { part }).collect();
    format!("{} {}", parts.join("/"), rule.rsplit('/').next().unwrap_or_default()).trim().to_owned()
}

/// The outcome of a call, and the last response as it was before the crate decoded it.
pub struct Call<T> {
    pub seen: Option<Exchange>,
    pub result: Result<T>,
}

pub struct Session {
    pub client: Client,
    contract: Contract,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl Session {
    pub fn new(api_key_header: Option<&str>) -> Result<Self, Box<dyn std::error::Error>> {
        let exchanges = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&exchanges);
        let mut builder = ClientBuilder::from_env()?
            .on_response(move |request, response| lock(&recorded).push(Exchange::new(request, response)));
        if let Some(name) = api_key_header {
            builder = builder.api_key_header(name);
        }
        let client = builder.build()?;
        let contract = serde_saphyr::from_str(include_str!("../../tests/contract/openapi.yaml"))?;
        Ok(Session { client, contract: Contract(contract), exchanges })
    }

    pub fn call<T>(&self, call: impl FnOnce(&Client) -> Result<T>) -> Call<T> {
        let before = lock(&self.exchanges).len();
        let result = call(&self.client);
        Call { seen: lock(&self.exchanges)[before..].last().cloned(), result }
    }

    /// Returns the number of responses, how many of them differ from the contract, and where.
    pub fn differences(&self) -> (usize, usize, BTreeSet<String>) {
        let exchanges = lock(&self.exchanges);
        let each: Vec<_> = exchanges.iter().map(|exchange| self.contract.differences(exchange)).collect();
        let count = each.iter().filter(|differences| !differences.is_empty()).count();
        (exchanges.len(), count, each.into_iter().flatten().collect())
    }
}

fn lock(exchanges: &Mutex<Vec<Exchange>>) -> MutexGuard<'_, Vec<Exchange>> {
    exchanges.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The responses to calls that only read.
pub struct Evidence<'a> {
    pub contract: &'a Contract,
    pub first: Call<JobsPage>,
    pub second: Option<Call<JobsPage>>,
    pub many: Option<Call<JobsPage>>,
    pub one: Option<Call<JobSummary>>,
    pub unknown: Option<Call<JobSummary>>,
    pub wrong_key: Option<Call<JobsPage>>,
    pub exchanges: Vec<Exchange>,
}

impl<'a> Evidence<'a> {
    pub fn gather(session: &'a Session) -> Self {
        let first = session.call(|client| client.list_jobs().limit(1).send());
        let (mut second, mut many, mut one, mut unknown, mut wrong_key) = (None, None, None, None, None);
        // If the first page fails, the key or the address is probably wrong, and other responses would mean nothing.
        if let Some(seen) = first.seen.as_ref().filter(|seen| (200..300).contains(&seen.status)) {
            let id = seen.jobs().first().and_then(|job| id_of(job));
            let page = first.result.as_ref().ok().filter(|page| page.has_more);
            if let Some(cursor) = page.and_then(|page| page.next_cursor.clone()) {
                second =
                    Some(session.call(|client| client.list_jobs().limit(1).cursor(Some(&cursor)).send()));
            }
            many = Some(session.call(|client| client.list_jobs().limit(50).send()));
            one = id.as_ref().map(|id| session.call(|client| client.get_job(id)));
            let other = unknown_id(id.as_deref().unwrap_or("00000000-0000-4000-8000-000000000000"));
            unknown = Some(session.call(|client| client.get_job(other)));
            let wrong = |client: &Client| client.with_api_key("a-wrong-key")?.list_jobs().limit(1).send();
            wrong_key = Some(session.call(wrong));
        }
        let exchanges = lock(&session.exchanges).clone();
        Evidence { contract: &session.contract, first, second, many, one, unknown, wrong_key, exchanges }
    }

    pub fn jobs(&self) -> Vec<&Value> {
        self.exchanges.iter().flat_map(Exchange::jobs).collect()
    }
}

fn id_of(job: &Value) -> Option<String> {
    let id = ["job_id", "jobId", "id"].iter().find_map(|key| job.get(key))?;
    serde_json::from_value::<JobId>(id.clone()).ok().map(String::from)
}

/// Returns an identifier of the same form that no job has. A service may reject another form without looking for the
/// job.
fn unknown_id(known: &str) -> String {
    let random = RandomState::new();
    let random = |n: usize, of: u64, first: u8| char::from(first + (random.hash_one(n) % of) as u8);
    let random_like = |(n, c): (usize, char)| match c {
        _ if n + 12 < known.len() => c,
        '0'..='9' => random(n, 10, b'0'),
        'a'..='z' => random(n, 6, b'a'),
        'A'..='Z' => random(n, 6, b'A'),
        _ => c,
    };
    if known.len() < 20 {
        let number: String = (0..8).map(|n| random(n, 10, b'0')).collect();
        return format!("{}9{number}", known.trim_end_matches(|c: char| c.is_ascii_digit()));
    }
    known.char_indices().map(random_like).collect()
}

/// Describes why a call failed, without any text from the server.
pub fn seen(error: &Error) -> String {
    match error.status() {
        Some(status) if !(200..300).contains(&status) => format!("status {status}"),
        Some(_) if error.is_decode() || error.is_unreadable_job() => "an unreadable response".to_owned(),
        Some(_) => "a response that contradicts the request".to_owned(),
        None if error.is_transient() || error.is_stopped() => "no response".to_owned(),
        None => "no usable response".to_owned(),
    }
}
