//! Tests the recipes of `HTTP.md`. Each one is used with a service that differs in the way that it handles. Every call
//! must then have the same outcome as with a service that does not differ.

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atomiverse::{Client, ClientBuilder, Error, JobSummary, RawResponse, Result, WaitOptions};
use serde_json::{Map, Value, json};

use self::service::{ENDED, ENDED_BADLY, NEW_NAME, RUNNING, Reply, Request, Route, Service, UNKNOWN};
use crate::support::{KEY, Message, RawServer, lock, secs};

#[path = "deviations/service.rs"]
#[allow(dead_code, clippy::duplicate_mod)] // This is shared with the deviations.
mod service;

/// Edits the JSON of a successful response, and then each of the jobs in it.
fn edit(response: &mut RawResponse, change: impl Fn(&mut Value)) {
    let Ok(mut json) = response.json::<Value>() else { return };
    if (200..300).contains(&response.status) {
        change(&mut json);
        json.get_mut("jobs").and_then(Value::as_array_mut).into_iter().flatten().for_each(&change);
        response.body = json.to_string().into_bytes();
    }
}

fn rename_by_post(builder: ClientBuilder) -> ClientBuilder {
    builder.on_request(|request| {
        if request.action == "rename job" {
            request.method = "POST".to_owned();
            request.path += "/rename";
        }
    })
}

fn key_in_another_header(builder: ClientBuilder) -> ClientBuilder {
    builder.api_key_header("X-API-Key")
}

fn key_with_another_scheme(builder: ClientBuilder) -> ClientBuilder {
    let key = KEY;
    builder.on_request(move |request| {
        request.headers.push(("Authorization".to_owned(), format!("Token {key}")));
    })
}

fn envelope(builder: ClientBuilder) -> ClientBuilder {
    builder.on_response(|_, response| {
        edit(response, |json| {
            if json["items"].is_array() && json["job_id"].is_null() {
                *json = json!({"jobs": json["items"], "next_cursor": json["cursor"]});
            }
        });
    })
}

fn data_around_everything(builder: ClientBuilder) -> ClientBuilder {
    builder.on_response(|_, response| {
        edit(response, |json| {
            if json["data"].is_object() && json["job_id"].is_null() && json["success"] != false {
                *json = json["data"].take();
            }
        });
    })
}

const STATES: [(&str, &str); 5] = [
    ("queued", "pending"),
    ("in_progress", "running"),
    ("completed", "done"),
    ("error", "failed"),
    ("aborted", "cancelled"),
];

fn other_words_for_states(builder: ClientBuilder) -> ClientBuilder {
    builder.on_response(|_, response| {
        edit(response, |json| {
            if let Some((_, state)) = STATES.iter().find(|(word, _)| json["state"] == *word) {
                json["state"] = json!(state);
            }
        });
    })
}

fn snake_case(key: String) -> String {
    key.chars().flat_map(|c| c.is_uppercase().then_some('_').into_iter().chain(c.to_lowercase())).collect()
}

fn camel_case_keys(builder: ClientBuilder) -> ClientBuilder {
    builder.on_response(|_, response| {
        edit(response, |json| {
            let Some(fields) = json.as_object_mut() else { return };
            let received = std::mem::take(fields).into_iter();
            *fields = received.map(|(key, value)| (snake_case(key), value)).collect();
        });
    })
}

fn status_400_for_an_unknown_job(builder: ClientBuilder) -> ClientBuilder {
    builder.on_response(|request, response| {
        let is_about_a_job = response.status == 400 && request.job_id.is_some();
        if is_about_a_job && String::from_utf8_lossy(&response.body).contains("Job not found") {
            response.status = 404;
        }
    })
}

fn delete_by_post(builder: ClientBuilder) -> ClientBuilder {
    builder.on_request(|request| {
        if request.action == "delete job" {
            request.method = "POST".to_owned();
            request.path += "/delete";
        }
    })
}

fn status_for_state(builder: ClientBuilder) -> ClientBuilder {
    builder.on_response(|_, response| {
        edit(response, |json| {
            if json["state"].is_null() && json["status"].is_string() && !json["job_id"].is_null() {
                json["state"] = json["status"].clone();
            }
        });
    })
}

fn id_for_job_id(builder: ClientBuilder) -> ClientBuilder {
    builder.on_response(|_, response| {
        edit(response, |json| {
            if json["job_id"].is_null() && !json["id"].is_null() && json["state"].is_string() {
                json["job_id"] = json["id"].clone();
            }
        });
    })
}

const ANGSTROM: f64 = 0.529_177_210_544; // one bohr

fn positions_in_bohr(builder: ClientBuilder) -> ClientBuilder {
    builder.on_response(|_, response| {
        edit(response, |json| {
            let atoms = json.pointer_mut("/molecule_preview/atoms").and_then(Value::as_array_mut);
            let all = atoms.into_iter().flatten().filter_map(|atom| atom.get_mut("position")?.as_array_mut());
            all.flatten().for_each(|x| *x = json!(x.as_f64().map(|bohr| bohr * ANGSTROM)));
        });
    })
}

/// The difference: how the service responds to a request.
type Difference = fn(&mut Service, Message) -> Reply;

fn contract(service: &mut Service, message: Message) -> Reply {
    service.contract(&Request::read(&message))
}

fn refused(status: u16, detail: &str) -> Reply {
    Reply::new(status, json!({"detail": detail}))
}

/// Returns the response of the contract. The body of a success is edited.
fn edited(service: &mut Service, message: &Message, edit: impl Fn(Route, &mut Value)) -> Reply {
    let request = Request::read(message);
    let mut reply = service.contract(&request);
    if !reply.body.is_empty() && reply.is_success() {
        let mut body = reply.json();
        edit(request.route, &mut body);
        reply.body = body.to_string().into_bytes();
    }
    reply
}

/// Returns the response of the contract, with each job in it edited.
fn with_jobs(service: &mut Service, message: &Message, edit: impl Fn(&mut Value)) -> Reply {
    edited(service, message, |_, body| match body.get_mut("jobs").and_then(Value::as_array_mut) {
        Some(jobs) => jobs.iter_mut().for_each(&edit),
        None => edit(body),
    })
}

/// Responds like a service that has another method and path for this request.
fn by_post(service: &mut Service, mut message: Message, method: &str, name: &str) -> Reply {
    if message.line.starts_with(method) {
        return refused(405, "Method Not Allowed");
    }
    let path = message.line.strip_prefix("POST ").and_then(|path| path.strip_suffix(name));
    if let Some(path) = path {
        message.line = format!("{method} {path}");
    }
    contract(service, message)
}

fn map_keys(json: Value, key: &impl Fn(&str) -> String) -> Value {
    match json {
        Value::Array(values) => values.into_iter().map(|value| map_keys(value, key)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (key(&name), map_keys(value, key))).collect()
        }
        other => other,
    }
}

fn camel_case(key: &str) -> String {
    let mut words = key.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |key, word| key + &word[..1].to_uppercase() + &word[1..])
}

type Call = (&'static str, fn(&Client, &WaitOptions<'_>) -> Result<Value>);

/// The calls of a user, whose outcomes are compared as JSON.
const CALLS: &[Call] = &[
    ("list", |client, _| {
        let page = client.list_jobs().limit(2).send()?;
        Ok(json!([page.jobs.into_iter().map(shown).collect::<Value>(), page.has_more, page.next_cursor]))
    }),
    ("list the last page", |client, _| {
        let page = client.list_jobs().limit(2).cursor(Some("after-102")).send()?;
        Ok(json!([page.jobs.into_iter().map(shown).collect::<Value>(), page.has_more, page.next_cursor]))
    }),
    ("iterate", |client, _| client.iter_jobs().limit(2).map(|job| job.map(shown)).collect()),
    ("get", |client, _| client.get_job(ENDED).map(shown)),
    ("get unknown", |client, _| client.get_job(UNKNOWN).map(shown)),
    ("rename", |client, _| client.rename_job(ENDED, NEW_NAME).map(|()| Value::Null)),
    ("rename unknown", |client, _| client.rename_job(UNKNOWN, NEW_NAME).map(|()| Value::Null)),
    ("cancel", |client, _| client.cancel_job(RUNNING).map(|()| Value::Null)),
    ("cancel unknown", |client, _| client.cancel_job(UNKNOWN).map(|()| Value::Null)),
    ("delete", |client, _| client.delete_job(ENDED).map(|()| Value::Null)),
    ("delete running", |client, _| client.delete_job(RUNNING).map(|()| Value::Null)),
    ("delete if exists", |client, _| client.delete_job_if_exists(ENDED).map(Value::Bool)),
    ("delete unknown if exists", |client, _| client.delete_job_if_exists(UNKNOWN).map(Value::Bool)),
    ("submit", |client, _| {
        let job = client.submit_job(&json!({"job_type": "opt"}))?;
        Ok(json!([job.id(), job.state()]))
    }),
    ("submit what is refused", |client, _| client.submit_job(&json!({})).map(|job| json!(job.id()))),
    ("submit batch", |client, _| {
        client.submit_batch([json!({"job_type": "opt"}), json!({})]).map(|batch| json!(batch))
    }),
    ("wait", |client, options| client.wait_for_job(RUNNING, options).map(shown)),
    ("wait for unknown", |client, options| client.wait_for_job(UNKNOWN, options).map(shown)),
    ("wait for several", |client, options| {
        let jobs = client.wait_for_jobs([RUNNING, ENDED, ENDED_BADLY], options);
        let mut jobs = jobs.collect::<Result<Vec<JobSummary>>>()?;
        jobs.sort_by(|job, other| job.job_id.cmp(&other.job_id));
        Ok(jobs.into_iter().map(shown).collect())
    }),
];
const READS: &[&str] =
    &["list", "list the last page", "iterate", "get", "wait", "wait for several", "delete running"];

fn options(timeout: Duration) -> WaitOptions<'static> {
    let interval = Duration::from_millis(1);
    WaitOptions::new().timeout(timeout).min_interval(interval).max_interval(interval * 10)
}

/// Shows a job as JSON, without unknown fields and with rounded positions.
fn shown(mut job: JobSummary) -> Value {
    job.extra = Map::new();
    let atoms = job.molecule_preview.iter_mut().flat_map(|preview| &mut preview.atoms);
    for x in atoms.flat_map(|atom| &mut atom.position) {
        *x = (*x * 1e6).round() / 1e6 + 0.0;
    }
    json!(job)
}

fn shown_error(error: &Error) -> Value {
    json!({
        "status": error.status(), "not found": error.is_not_found(), "message": error.server_message(),
        "state": error.state(), "processed": error.may_have_been_processed(), "timeout": error.is_timeout(),
    })
}

/// Longer than any wait takes that ends.
const LONG: Duration = Duration::from_secs(60);

/// Returns the outcome of each call on a new service, and the jobs that the service then has. Waits take at most
/// `timeout`.
fn outcomes(
    difference: Difference,
    recipe: impl Fn(ClientBuilder) -> ClientBuilder,
    timeout: Duration,
) -> Vec<(&'static str, Value)> {
    let outcome = |(name, call): &Call| {
        let service = Arc::new(Mutex::new(Service::new()));
        let held = Arc::clone(&service);
        // The server is not dropped, because it would then check the requests against the contract.
        let server = ManuallyDrop::new(RawServer::start(move |_, message| {
            difference(&mut lock(&service), message.clone()).answer()
        }));
        let client = recipe(server.client_builder().max_retries(0)).build().unwrap();
        let outcome = call(&client, &options(timeout)).unwrap_or_else(|error| shown_error(&error));
        let held = lock(&held);
        (*name, json!([outcome, held.jobs, held.acted]))
    };
    CALLS.iter().map(outcome).collect()
}

/// Fails unless exactly these calls need the recipe, and every call with it has the same outcome as with a service that
/// does not differ.
#[track_caller]
fn helps(difference: Difference, recipe: fn(ClientBuilder) -> ClientBuilder, needed_by: &[&str]) {
    helps_to_end_waits(LONG, difference, recipe, needed_by);
}

/// Same as [`helps`], for differences with which a wait does not end. Without the recipe, it takes `timeout`.
#[track_caller]
fn helps_to_end_waits(
    timeout_without: Duration,
    difference: Difference,
    recipe: fn(ClientBuilder) -> ClientBuilder,
    needed_by: &[&str],
) {
    let wanted = outcomes(contract, |builder| builder, LONG);
    let without = outcomes(difference, |builder| builder, timeout_without);
    let differ: BTreeSet<&str> = wanted
        .iter()
        .zip(&without)
        .filter(|(wanted, got)| wanted != got)
        .map(|((name, _), _)| *name)
        .collect();
    assert_eq!(differ, needed_by.iter().copied().collect::<BTreeSet<_>>(), "without the recipe");
    for (wanted, got) in wanted.iter().zip(outcomes(difference, recipe, LONG)) {
        assert_eq!(*wanted, got, "with the recipe");
    }
}

#[test]
fn without_a_difference_no_recipe_changes_an_outcome() {
    let wanted = outcomes(contract, |builder| builder, LONG);
    for recipe in [
        envelope,
        data_around_everything,
        other_words_for_states,
        camel_case_keys,
        status_400_for_an_unknown_job,
        status_for_state,
        id_for_job_id,
    ] {
        assert_eq!(outcomes(contract, recipe, LONG), wanted);
    }
}

#[test]
fn rename_by_post_helps() {
    let difference = |service: &mut Service, message| by_post(service, message, "PATCH", "/rename");
    helps(difference, rename_by_post, &["rename", "rename unknown"]);
}

#[test]
fn delete_by_post_helps() {
    let difference = |service: &mut Service, message| by_post(service, message, "DELETE", "/delete");
    let deletes = ["delete", "delete running", "delete if exists", "delete unknown if exists"];
    helps(difference, delete_by_post, &deletes);
}

#[test]
fn key_in_another_header_helps() {
    let all: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
    let in_another_header: Difference = |service, message| {
        if message.header("x-api-key") == KEY && message.header("authorization").is_empty() {
            return contract(service, message);
        }
        refused(401, "Not authenticated")
    };
    helps(in_another_header, key_in_another_header, &all);
    let with_another_scheme: Difference = |service, message| {
        let sent: Vec<&String> =
            message.headers.iter().filter(|header| header.starts_with("authorization:")).collect();
        if sent == [&format!("authorization: Token {KEY}")] {
            return contract(service, message);
        }
        refused(401, "Not authenticated")
    };
    helps(with_another_scheme, key_with_another_scheme, &all);
}

#[test]
fn envelope_helps() {
    let difference: Difference = |service, message| {
        edited(service, &message, |route, page| {
            if route == Route::List {
                let cursor = page["next_cursor"].take();
                *page = json!({"items": page["jobs"].take()});
                // The last page has no cursor.
                if !cursor.is_null() {
                    page["cursor"] = cursor;
                }
            }
        })
    };
    // Before the first success, a page is requested to verify the base URL. A wait does not need pages.
    helps(difference, envelope, &["list", "list the last page", "iterate", "delete unknown if exists"]);
}

#[test]
fn data_around_everything_helps() {
    let difference: Difference = |service, message| {
        let mut reply = contract(service, message);
        if !reply.body.is_empty() {
            let body = reply.json();
            let body = match &body["detail"] {
                Value::Null => json!({"data": body}),
                detail => json!({"data": null, "error": {"message": detail}}),
            };
            reply.body = body.to_string().into_bytes();
        }
        reply
    };
    let others = ["submit", "submit batch", "delete unknown if exists"];
    helps(difference, data_around_everything, &[READS, &others].concat());
}

#[test]
fn data_around_a_denial_is_not_taken_for_a_success() {
    let denial = r#"{"success":false,"data":{"reason":"read-only"}}"#;
    let server = RawServer::script(vec![crate::support::json(denial)]);
    let client = data_around_everything(server.client_builder()).build().unwrap();
    let error = client.cancel_job(RUNNING).unwrap_err();
    assert!(error.to_string().contains("does not confirm success"), "{error}");
}

#[test]
fn other_words_for_states_help() {
    let difference: Difference = |service, message| {
        with_jobs(service, &message, |job| {
            if let Some((word, _)) = STATES.iter().find(|(_, state)| job["state"] == *state) {
                job["state"] = json!(word);
            }
        })
    };
    let needed_by = [READS, &["submit", "submit batch"]].concat();
    helps_to_end_waits(secs(1), difference, other_words_for_states, &needed_by);
}

#[test]
fn camel_case_keys_help() {
    let difference: Difference =
        |service, message| edited(service, &message, |_, body| *body = map_keys(body.take(), &camel_case));
    let others = ["submit", "submit batch", "delete unknown if exists"];
    helps(difference, camel_case_keys, &[READS, &others].concat());
}

#[test]
fn status_400_for_an_unknown_job_helps() {
    let difference: Difference = |service, message| {
        let mut reply = contract(service, message);
        if reply.status == 404 {
            reply.status = 400;
        }
        reply
    };
    let unknown =
        ["get unknown", "rename unknown", "cancel unknown", "delete unknown if exists", "wait for unknown"];
    helps(difference, status_400_for_an_unknown_job, &unknown);
}

#[test]
fn a_400_with_another_message_is_not_taken_for_an_unknown_job() {
    let refusal = crate::support::answer(400, &[], r#"{"detail":"the job is locked"}"#);
    let server = RawServer::script(vec![refusal]);
    let client = status_400_for_an_unknown_job(server.client_builder()).build().unwrap();
    assert_eq!(client.delete_job_if_exists(ENDED).unwrap_err().status(), Some(400));
}

#[test]
fn status_for_state_helps() {
    let difference: Difference = |service, message| {
        let is_batch = message.line.ends_with("/batch");
        with_jobs(service, &message, |job| {
            if !is_batch {
                job["status"] = job["state"].take();
                job.as_object_mut().unwrap().remove("state");
            }
        })
    };
    helps(difference, status_for_state, &[READS, &["submit"]].concat());
}

#[test]
fn positions_in_bohr_help() {
    let difference: Difference = |service, message| {
        with_jobs(service, &message, |job| {
            let atoms = job.pointer_mut("/molecule_preview/atoms").and_then(Value::as_array_mut);
            for x in atoms.into_iter().flatten().flat_map(|atom| atom["position"].as_array_mut().unwrap()) {
                *x = json!(x.as_f64().unwrap() / ANGSTROM);
            }
        })
    };
    let summaries = ["list", "list the last page", "iterate", "get", "wait", "wait for several"];
    helps(difference, positions_in_bohr, &summaries);
}

#[test]
fn a_job_without_the_field_that_a_recipe_edits_is_unchanged() {
    for text in [
        r#"{"job_id":"a","state":"done","job_type":"opt","created_at":1}"#,
        r#"{"job_id":"a","state":"done","job_type":"opt","created_at":1,"data":{"state":"failed"},"items":[1]}"#,
        r#"{"job_id":"a","state":"done","job_type":"opt","created_at":1,"molecule_preview":{"formula":"H","atoms":[7]}}"#,
        r#"{"job_id":"a","state":"done","job_type":"opt","created_at":1,"molecule_preview":7,"status":"archived"}"#,
    ] {
        let server = RawServer::script(vec![crate::support::json(text)]);
        let plain = server.client().get_job("a").unwrap();
        for recipe in [
            envelope,
            data_around_everything,
            other_words_for_states,
            camel_case_keys,
            status_400_for_an_unknown_job,
            status_for_state,
            id_for_job_id,
            positions_in_bohr,
        ] {
            let client = recipe(server.client_builder()).build().unwrap();
            assert_eq!(client.get_job("a").unwrap(), plain);
        }
    }
}

/// Compares the recipes in the file with those that are tested here.
#[test]
fn the_tested_recipes_are_those_of_http_md() {
    const HEADINGS: [&str; 11] = [
        "rename by POST",
        "key in another header",
        "envelope",
        "data around everything",
        "other words for states",
        "camelCase keys",
        "400 for an unknown job",
        "delete by POST",
        "status for state",
        "id for job_id",
        "positions in bohr",
    ];
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let tested = trimmed(include_str!("recipes.rs"));
    let section =
        include_str!("../../HTTP.md").split_once("\n## Adapting to a service that differs\n").unwrap().1;
    let recipes: Vec<(&str, &str)> =
        section.split("\n### ").skip(1).map(|recipe| recipe.split_once('\n').unwrap()).collect();
    assert_eq!(recipes.iter().map(|(heading, _)| *heading).collect::<Vec<_>>(), HEADINGS);
    let mut hooks = 0;
    for (heading, text) in recipes {
        for hook in text.split("builder.on_re").skip(1) {
            let (code, _) = hook.split_once("\n});\n").expect("a hook ends with its function");
            assert!(code.lines().skip(1).count() <= 5, "{heading} has more than five lines");
            assert!(tested.contains(&trimmed(&format!("builder.on_re{code}\n}})\n"))), "{heading}: {code}");
            hooks += 1;
        }
    }
    assert_eq!(hooks, 11);
    let helper = section.split("```rust\n").nth(1).and_then(|code| code.split("\n```").next()).unwrap();
    let (_, helper) = helper.split_once("\n\n").unwrap();
    assert!(tested.contains(&trimmed(helper)), "{helper}");
}
