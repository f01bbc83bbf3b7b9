//! Tests a table of plausible ways in which the real service may differ from the contract. Each row runs against a
//! small service that records what really happened, and every outcome is compared with that. A method may work, lose a
//! field, or report a clear error, but it must not report anything untrue.
//!
//! `cargo test --test it deviations -- --nocapture` prints the share of each outcome.

mod oracle;
mod service;

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::thread;

use atomiverse::simulator::Simulator;
use serde_json::{Value, json};

use self::oracle::*;
use self::service::*;
use crate::support::{KEY, RawServer, lock};

/// One deviation.
struct Row {
    name: &'static str,
    hook: Hook,
}

fn row(name: &'static str, hook: Hook) -> Row {
    Row { name, hook }
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let envelope = |name, envelope: fn(Value) -> Value| row(name, pages(move |page| *page = envelope(page.take())));
    let state = |name, state: fn(&Value) -> Value| row(name, jobs(move |job| edit(job, "state", state)));
    let created = |name, created: fn(&str) -> Value| {
        row(name, jobs(move |job| edit(job, "created_at", |text| created(text.as_str().unwrap()))))
    };
    let billed = |name, billed: fn(f64) -> Value| {
        row(name, jobs(move |job| edit(job, "billed_core_seconds", |number| billed(number.as_f64().unwrap()))))
    };
    let preview = |name, preview: Value| {
        row(name, jobs(move |job| edit(job, "molecule_preview", |_| preview.clone())))
    };
    vec![
        row("nothing differs", hook(|service, request| service.contract(request))),

        // Pages.
        envelope("`jobs` is `items`", |page| json!({"items": page["jobs"], "has_more": page["has_more"],
            "next_cursor": page["next_cursor"]})),
        envelope("a bare list", |page| page["jobs"].clone()),
        envelope("an offset envelope",
            |page| json!({"jobs": page["jobs"], "total": 5, "limit": 2, "offset": 0})),
        envelope("numbered pages",
            |page| json!({"items": page["jobs"], "page": 1, "pages": 3, "size": 2})),
        envelope("a Django envelope",
            |page| json!({"count": 5, "next": "http://x/jobs?cursor=c", "previous": null,
            "results": page["jobs"]})),
        envelope("a JSON:API envelope",
            |page| json!({"data": page["jobs"], "links": {"next": "/jobs?cursor=c"}})),
        envelope("a HAL envelope",
            |page| json!({"_embedded": {"jobs": page["jobs"]}, "_links": {}})),
        envelope("jobs by id", |page| json!({"jobs": {"101": page["jobs"][0]}, "has_more": false})),
        envelope("jobs by id alone", |page| json!({"jobs": ["105", "104"], "has_more": page["has_more"],
            "next_cursor": page["next_cursor"]})),
        envelope("a page within `data`", |page| json!({"data": page, "status": "success"})),
        envelope("a null page", |_| Value::Null),
        envelope("fields besides the page",
            |mut page| { page["total"] = json!(5); page["took_ms"] = json!(3); page }),
        row("no `has_more`", pages(|page| remove(page, "has_more"))),
        row("a null `has_more`", pages(|page| page["has_more"] = Value::Null)),
        row("no cursor on the last page",
            pages(|page| if page["next_cursor"].is_null() { remove(page, "next_cursor") })),
        row("an empty cursor on the last page",
            pages(|page| if page["next_cursor"].is_null() { page["next_cursor"] = json!("") })),
        row("a cursor on the last page too",
            pages(|page| if page["next_cursor"].is_null() { page["next_cursor"] = json!("after-101") })),
        row("neither `has_more` nor a cursor",
            pages(|page| { remove(page, "has_more"); remove(page, "next_cursor") })),
        row("`has_more` is a number",
            pages(|page| edit(page, "has_more", |more| json!(u8::from(*more == true))))),
        row("`has_more` is a string",
            pages(|page| edit(page, "has_more", |more| json!(more.to_string())))),
        row("a page in camel case", pages(camel_case)),
        row("`next_cursor` is `cursor`", pages(|page| rename(page, "next_cursor", "cursor"))),
        row("cursors are integers",
            pages(|page| edit(page, "next_cursor", |cursor| {
                json!(cursor.as_str().unwrap().trim_start_matches("after-").parse::<u32>().unwrap())
            }))),
        row("cursors are objects",
            pages(|page| edit(page, "next_cursor", |cursor| json!({"after": cursor})))),
        row("cursors are whole URLs, which the server does not accept as cursors",
            pages(|page| edit(page, "next_cursor", |cursor| {
                json!(format!("http://x/jobs?cursor={}", cursor.as_str().unwrap()))
            }))),
        row("the parameter for the cursor has another name", hook(|service, request| {
            service.contract(&Request { cursor: None, ..request.clone() })
        })),
        row("the cursor is ignored, and each page has another one", hook(|service, request| {
            let n = service.log.len();
            let mut reply = service.contract(&Request { cursor: None, ..request.clone() });
            if request.route == Route::List {
                let mut page = reply.json();
                page["next_cursor"] = json!(format!("c{n}"));
                reply.body = page.to_string().into_bytes();
            }
            reply
        })),
        row("the limit is ignored", hook(|service, request| {
            if request.route != Route::List { return service.contract(request) }
            Reply::new(200, json!({"jobs": service.jobs, "has_more": false, "next_cursor": null}))
        })),
        row("a limit above 20 is refused", hook(|service, request| match request.limit {
            21.. => invalid(json!(["query", "limit"]), "Input should be less than or equal to 20"),
            _ => service.contract(request),
        })),
        row("an empty page in the middle", hook(|service, request| match request.cursor.as_deref() {
            Some("after-104") => Reply::new(200, json!({"jobs": [], "has_more": true, "next_cursor": "104"})),
            _ => service.contract(request),
        })),
        row("the last page says that there are more, and an empty one follows", pages(|page| {
            if page["has_more"] == false && page["jobs"] != json!([]) {
                page["has_more"] = json!(true);
                page["next_cursor"] = json!("after-101");
            }
        })),
        row("an empty page is null, as Go writes it", pages(|page| {
            if page["jobs"] == json!([]) {
                page["jobs"] = Value::Null;
            } else if page["has_more"] == false {
                page["has_more"] = json!(true);
                page["next_cursor"] = json!("after-101");
            }
        })),
        row("the last page has its own cursor again", pages(|page| if page["has_more"] == false {
            page["has_more"] = json!(true); page["next_cursor"] = json!("after-102");
        })),
        row("a page begins with the last job of the previous one",
            pages(|page| edit(page, "next_cursor", |cursor| match cursor.as_str() {
            Some("after-104") => json!("after-105"),
            _ => cursor.clone(),
        }))),
        row("the oldest jobs come first", pages(|page| page["jobs"].as_array_mut().unwrap().reverse())),
        row("an entry of a page is null",
            pages(|page| if page["jobs"][1]["job_id"] == "104" { page["jobs"][1] = Value::Null })),
        row("a listing shows less of each job", pages(|page| for job in page["jobs"].as_array_mut().unwrap() {
            remove(job, "job_type"); remove(job, "created_at");
        })),
        row("a listing leaves optional fields out", pages(|page| for job in page["jobs"].as_array_mut().unwrap() {
            remove(job, "molecule_preview"); remove(job, "billed_core_seconds");
        })),
        row("a listing is NDJSON",
            after(&[Route::List], |reply| reply.body = b"{\"job_id\":\"105\"}\n{\"job_id\":\"104\"}\n".to_vec())),
        row("a listing has status 206", after(&[Route::List], |reply| reply.status = 206)),

        // Jobs.
        row("`job_id` is `id`", jobs(|job| rename(job, "job_id", "id"))),
        row("`job_id` is `uuid`", jobs(|job| rename(job, "job_id", "uuid"))),
        row("`state` is `status`", jobs(|job| rename(job, "state", "status"))),
        row("`job_type` is `type`", jobs(|job| rename(job, "job_type", "type"))),
        row("`created_at` is `submitted_at`", jobs(|job| rename(job, "created_at", "submitted_at"))),
        row("`name` is `title`", jobs(|job| rename(job, "name", "title"))),
        row("`billed_core_seconds` has another name",
            jobs(|job| rename(job, "billed_core_seconds", "core_seconds"))),
        row("jobs in camel case", jobs(camel_case)),
        row("ids are integers",
            jobs(|job| edit(job, "job_id", |id| json!(id.as_str().unwrap().parse::<u32>().unwrap())))),
        row("ids are floats",
            jobs(|job| edit(job, "job_id", |id| json!(id.as_str().unwrap().parse::<f64>().unwrap())))),
        row("ids are objects",
            jobs(|job| edit(job, "job_id", |id| json!({"$oid": id})))),
        row("a missing name is an empty string", jobs(|job| if job["name"].is_null() { job["name"] = json!("") })),
        row("names are objects",
            jobs(|job| edit(job, "name", |name| json!({"en": name})))),
        row("a null `job_type`", jobs(|job| job["job_type"] = Value::Null)),
        row("a null `created_at`", jobs(|job| job["created_at"] = Value::Null)),
        row("a null `state`", jobs(|job| job["state"] = Value::Null)),
        state("states in upper case", |state| word(state, ["PENDING", "RUNNING", "DONE", "FAILED", "CANCELLED"])),
        state("states in American spelling",
            |state| word(state, ["Pending", "Running", "Done", "Failed", "Canceled"])),
        state("states in other words",
            |state| word(state, ["queued", "in_progress", "completed", "error", "aborted"])),
        state("states in words of another queue", |state| word(state, ["PD", "R", "CD", "F", "CA"])),
        state("an additional state",
            |state| if state == "failed" { json!("timed_out") } else { state.clone() }),
        state("states are numbers",
            |state| word(state, ["0", "1", "2", "3", "4"]).as_str().unwrap().parse::<u8>().unwrap().into()),
        state("states are objects", |state| json!({"name": state})),
        created("times in Unix seconds", |text| json!(unix_time(text))),
        created("times in Unix milliseconds", |text| json!(unix_time(text) * 1000)),
        created("times in fractions of Unix seconds", |text| json!(unix_time(text) as f64 + 0.0)),
        created("times without an offset", |text| json!(text.trim_end_matches('Z'))),
        created("times as Python prints them", |text| json!(text.replace('T', " ").replace('Z', "+00:00"))),
        created("times in another zone",
            |text| json!(format!("2026-05-02T{}:32:01+02:00", text[11..13].parse::<u8>().unwrap() + 2))),
        created("times as HTTP writes them",
            |text| json!(format!("Sat, 02 May 2026 {}:32:01 GMT", &text[11..13]))),
        created("times as .NET writes them",
            |text| json!(format!("/Date({}000)/", unix_time(text)))),
        created("times are objects", |text| json!({"$date": text})),
        billed("charges are strings", |number| json!(format!("{number:.2}"))),
        billed("charges are objects",
            |number| json!({"amount": number, "unit": "core-seconds"})),
        billed("charges are empty strings", |_| json!("")),
        billed("charges have a unit", |number| json!(format!("{number} s"))),
        row("a charge is NaN", after(READS, |reply| {
            reply.body = reply.text().replace("12.5", "NaN").into_bytes();
        })),
        preview("a preview of flat coordinates",
            json!({"formula": "H2", "symbols": ["H", "H"], "positions": [0, 0, -0.37, 0, 0, 0.37]})),
        preview("a preview of named coordinates",
            json!({"formula": "H2", "atoms": [{"element": "H", "x": 0, "y": 0, "z": -0.37}]})),
        preview("a preview of atomic numbers",
            json!({"formula": "H2", "atoms": [{"element": 1, "position": [0, 0, -0.37]}]})),
        preview("a preview in XYZ", json!("2\nH2\nH 0 0 -0.37\nH 0 0 0.37\n")),
        preview("a preview as a link", json!({"url": "/previews/1.png"})),
        row("unknown fields",
            jobs(|job| { job["error"] = Value::Null; job["tags"] = json!(["a"]); job["user"] = json!({"id": 3}) })),
        row("a field occurs twice", after(READS, |reply| {
            reply.body = reply.text().replace(r#""name":"#, r#""state":"done","name":"#).into_bytes();
        })),
        row("a job within `job`",
            bodies(&[Route::Get, Route::Rename, Route::Cancel], |body| *body = json!({"job": body.take()}))),
        row("a job in a list of one",
            bodies(&[Route::Get], |body| *body = json!([body.take()]))),
        row("a response shows another job",
            bodies(&[Route::Get], |body| body["job_id"] = json!("104"))),

        // Jobs that do not exist.
        row("unknown: 410", unknown(error(410, "gone"))),
        row("unknown: 404 without a body", unknown(Reply::empty(404))),
        row("unknown: 404 with a string", unknown(Reply::new(404, json!("not found")))),
        row("unknown: 404 with errors in a list",
            unknown(Reply::new(404, json!({"errors": [{"code": "not_found", "message": "no job 999"}]})))),
        row("unknown: 404 with an object",
            unknown(Reply::new(404, json!({"detail": {"code": "not_found", "message": "no job 999"}})))),
        row("unknown: 404 as a problem",
            unknown(Reply::typed(404, "application/problem+json", r#"{"title":"Not Found","status":404}"#))),
        row("unknown: 404 as text", unknown(Reply::typed(404, "text/plain", "404 page not found"))),
        row("unknown: 404 as HTML", unknown(html(404))),
        row("unknown: 400", unknown(error(400, "invalid job id"))),
        row("unknown: 403", unknown(error(403, "not your job"))),
        row("unknown: 422",
            unknown(invalid(json!(["path", "job_id"]), "not a UUID"))),
        row("unknown: 500", unknown(error(500, "list index out of range"))),
        row("unknown: 200 with an error",
            unknown(Reply::new(200, json!({"error": "no such job"})))),
        row("unknown: 200 with `success` false",
            unknown(Reply::new(200, json!({"success": false, "data": null})))),
        row("unknown: 200 with null", unknown(Reply::new(200, Value::Null))),
        row("unknown: a delete has status 204", hook(|service, request| match service.contract(request) {
            reply if request.route == Route::Delete && reply.status == 404 => Reply::empty(204),
            reply => reply,
        })),

        // Changes.
        row("changes have no body", done(CHANGES, Reply::empty(200))),
        row("changes have status 202 and a message", done(CHANGES, Reply::new(202, json!({"message": "accepted"})))),
        row("changes have a plain text body", done(CHANGES, Reply::typed(200, "text/plain", "OK"))),
        row("changes have null as body", done(CHANGES, Reply::new(200, Value::Null))),
        row("changes have `status` ok", done(CHANGES, Reply::new(200, json!({"status": "ok", "error": null})))),
        row("changes are redirected to the job",
            done(CHANGES, redirect(303, "/api/v1/jobs/101"))),
        row("changes fail with `success` false",
            instead(CHANGES, Reply::new(200, json!({"success": false, "message": "read-only"})))),
        row("changes fail with `ok` false", instead(CHANGES, Reply::new(200, json!({"ok": false})))),
        row("changes fail with `success` 0", instead(CHANGES, Reply::new(200, json!({"success": 0})))),
        row("changes fail with an error",
            instead(CHANGES, Reply::new(200, json!({"error": {"code": 17, "message": "read-only"}})))),
        row("changes fail with a list of errors",
            instead(CHANGES, Reply::new(200, json!({"errors": [{"message": "read-only"}]})))),
        row("changes fail with `status` error",
            instead(CHANGES, Reply::new(200, json!({"status": "error", "message": "read-only"})))),
        row("changes fail with a status in the body",
            instead(CHANGES, Reply::new(200, json!({"status": 500, "message": "read-only"})))),
        row("changes fail with a sign-in page", instead(CHANGES, html(200))),
        row("changes are redirected to a sign-in page",
            instead(CHANGES, redirect(302, "/login"))),
        row("changes need a CSRF token",
            instead(CHANGES, error(403, "CSRF Failed: CSRF token missing or incorrect."))),
        row("changes need an If-Match header", instead(CHANGES, error(428, "If-Match required"))),
        row("changes show another job",
            done(CHANGES, Reply::new(200, json!({"job_id": "104", "state": "done"})))),
        row("renaming needs PUT", instead(&[Route::Rename], error(405, "Method Not Allowed"))),
        row("renaming has no route: 404", instead(&[Route::Rename], error(404, "Not Found"))),
        row("renaming needs another content type",
            instead(&[Route::Rename], error(415, "Unsupported Media Type"))),
        row("a new name is ignored",
            instead(&[Route::Rename], Reply::new(200, json!({"job_id": "101", "name": "one", "state": "done"})))),
        row("a new name is ignored, and the job is within `job`",
            instead(&[Route::Rename], Reply::new(200, json!({"job": {"job_id": "101", "name": "one"}})))),
        row("a new name is made unique",
            bodies(&[Route::Rename], |job| job["name"] = json!("water (2)"))),
        row("a rename shows the job as it was",
            bodies(&[Route::Rename], |job| job["name"] = json!("one"))),
        row("cancelling has another path: 404",
            // A reload cannot tell this from a service that does not find ended jobs.
            instead(&[Route::Cancel], error(404, "Not Found"))),
        row("cancelling has another path: 405",
            instead(&[Route::Cancel], error(405, "Method Not Allowed"))),
        row("cancelling needs a body",
            instead(&[Route::Cancel], invalid(json!(["body"]), "Field required"))),
        row("cancelling shows the job while it stops",
            bodies(&[Route::Cancel], |job| job["state"] = json!("cancelling"))),
        row("cancelling is refused with 400",
            instead(&[Route::Cancel], error(400, "cannot be cancelled"))),
        row("cancelling fails with `cancelled` false",
            instead(&[Route::Cancel], Reply::new(200, json!({"cancelled": false, "reason": "in its last step"})))),
        row("cancelling an ended job: 409", wrong_state(Route::Cancel, error(409, "already finished"))),
        row("cancelling an ended job: 400", wrong_state(Route::Cancel, error(400, "already finished"))),
        row("cancelling an ended job: 422",
            wrong_state(Route::Cancel, error(422, "already finished"))),
        row("cancelling an ended job: 404", wrong_state(Route::Cancel, error(404, "no running job"))),
        row("deleting is not allowed: 405",
            instead(&[Route::Delete], error(405, "Method Not Allowed"))),
        row("deleting has no route: 404",
            instead(&[Route::Delete], Reply::new(404, json!({"error": "Not Found"})))),
        row("deleting shows the job that is gone",
            hook(|service, request| match (service.job(&request.id).cloned(), service.contract(request)) {
            (Some(job), reply) if request.route == Route::Delete && reply.status == 204 => Reply::new(200, job),
            (_, reply) => reply,
        })),
        row("deleting only marks the job, and shows it",
            hook(|service, request| match service.job(&request.id).cloned() {
            Some(job) if request.route == Route::Delete && job["state"] != "running" => Reply::new(200, job),
            _ => service.contract(request),
        })),
        row("deleting fails with `deleted` false",
            instead(&[Route::Delete], Reply::new(200, json!({"deleted": false})))),
        row("deleting fails with `deleted` 0",
            instead(&[Route::Delete], Reply::new(200, json!({"deleted": 0})))),
        row("deleting a running job: 400",
            wrong_state(Route::Delete, error(400, "job is running"))),
        row("deleting a running job: 423",
            wrong_state(Route::Delete, error(423, "job is running"))),
        row("deleting a running job stops it", hook(|service, request| {
            if request.route == Route::Delete && service.is_running(&request.id) {
                service.contract(&Request { route: Route::Cancel, ..request.clone() });
            }
            service.contract(request)
        })),

        // Submissions.
        row("a submission shows a state in other words",
            bodies(&[Route::Submit], |body| body["state"] = json!("queued"))),
        row("a submission shows `task_id`",
            bodies(&[Route::Submit], |body| rename(body, "job_id", "task_id"))),
        row("a submission shows a job within `job`",
            bodies(&[Route::Submit], |body| *body = json!({"job": body.take()}))),
        row("a submission shows the id of the request and a job",
            bodies(&[Route::Submit], |body| *body = json!({"id": "req-1", "job": body.take()}))),
        row("a submission is answered by JSON-RPC",
            bodies(&[Route::Submit], |body| *body = json!({"jsonrpc": "2.0", "id": 1, "result": body.take()}))),
        row("a submission shows a list of one",
            bodies(&[Route::Submit], |body| *body = json!([body.take()]))),
        row("a submission has status 202", after(SUBMISSIONS, |reply| reply.status = 202)),
        row("a submission has no body but a location",
            done(&[Route::Submit], redirect(201, "/api/v1/jobs/106"))),
        row("a submission is redirected to the job",
            done(&[Route::Submit], redirect(303, "/api/v1/jobs/106"))),
        row("a submission shows a text",
            done(&[Route::Submit], Reply::typed(201, "text/plain", "created job 106"))),
        row("a submission has a null id",
            bodies(&[Route::Submit], |body| body["job_id"] = Value::Null)),
        row("a payload must be within `job`",
            instead(&[Route::Submit], invalid(json!(["body", "job"]), "Field required"))),
        row("there is no money left",
            instead(SUBMISSIONS, Reply::new(402, json!({"error": "no credits"})))),
        row("a submission fails with `success` false",
            instead(SUBMISSIONS, Reply::new(200, json!({"success": false, "message": "full"})))),
        row("a batch has each job within `job`",
            entries(|entry| *entry = json!({"job": {"job_id": entry["job_id"]}, "status": entry["status"]}))),
        row("a batch has `id` and `ok`",
            entries(|entry| *entry = json!({"id": entry["job_id"], "ok": entry["error"].is_null()}))),
        row("a batch has other words",
            entries(|entry| edit(entry, "status", |status| {
                json!(if status == "failed" { "rejected" } else { "created" })
            }))),
        row("a batch has errors that are objects",
            entries(|entry| edit(entry, "error", |error| json!({"message": error})))),
        row("a batch has empty ids for failures",
            entries(|entry| if entry["job_id"].is_null() { entry["job_id"] = json!("") })),
        row("a batch leaves failures out",
            bodies(&[Route::Batch], |body| {
                body["jobs"].as_array_mut().unwrap().retain(|entry| entry["status"] != "failed");
            })),
        row("a batch has `results`", bodies(&[Route::Batch], |body| rename(body, "jobs", "results"))),
        row("a batch is a bare list", bodies(&[Route::Batch], |body| *body = body["jobs"].take())),
        row("a batch has no totals",
            bodies(&[Route::Batch], |body| *body = json!({"jobs": body["jobs"].take()}))),
        row("a batch has two lists",
            bodies(&[Route::Batch], |body| *body = json!({"submitted": body["jobs"].take(), "failed": []}))),
        row("a batch is queued as a whole",
            bodies(&[Route::Batch], |body| *body = json!({"batch_id": "b1", "status": "queued"}))),
        row("a batch has status 207", after(&[Route::Batch], |reply| reply.status = 207)),
        row("a batch is refused as a whole",
            instead(&[Route::Batch], error(422, "jobs.1.job_type: Field required"))),
        row("a batch is too large", instead(&[Route::Batch], error(413, "at most 2 jobs"))),
        row("batches have another path: 404", instead(&[Route::Batch], error(404, "Not Found"))),
        row("batches have another path: 405",
            instead(&[Route::Batch], error(405, "Method Not Allowed"))),

        // Every request.
        row("a trailing slash, with 301", slashes(301, "")),
        row("the API is elsewhere: 404", instead(ROUTES, error(404, "Not Found"))),
        row("the API is elsewhere: redirects",
            instead(ROUTES, redirect(308, "https://api.example/v2"))),
        row("the API is elsewhere: a page", instead(ROUTES, html(200))),
        row("the key goes in another header: 401", instead(ROUTES, error(401, "Not authenticated"))),
        row("the key goes in another header: 403", instead(ROUTES, error(403, "Not authenticated"))),
        row("the key is of another kind", instead(ROUTES, error(401, "Invalid token type"))),
        row("the service is down", instead(ROUTES, error(503, "maintenance"))),
        row("there were too many requests", instead(ROUTES, Reply::empty(429))),
        row("everything is within `data`", bodies(ROUTES, |body| *body = json!({"data": body.take()}))),
        row("errors are as strings and numbers", all(|_, reply| if reply.status >= 400 {
            reply.body = json!({"code": reply.status, "error": "E42", "message": "refused"}).to_string().into_bytes();
        })),
        row("JSON is labelled as text", all(|_, reply| reply.headers = vec!["content-type: text/plain".to_owned()])),
        row("JSON is labelled as HTML", all(|_, reply| reply.headers = vec!["content-type: text/html".to_owned()])),
        row("JSON has no content type", all(|_, reply| reply.headers.clear())),
        row("JSON has blank lines around it",
            all(|_, reply| if !reply.body.is_empty() { reply.body = [b"\n\n ", &reply.body[..], b"\r\n"].concat() })),
        row("JSON has a byte order mark",
            after(ROUTES, |reply| reply.body = [b"\xef\xbb\xbf", &reply.body[..]].concat())),
        row("JSON is UTF-16",
            after(ROUTES, |reply| reply.body = reply.text().encode_utf16().flat_map(u16::to_le_bytes).collect())),
        row("JSON is Latin-1",
            after(READS, |reply| reply.body = reply.text().chars().map(|c| c as u8).collect())),
        row("JSON has a prefix against hijacking",
            after(ROUTES, |reply| reply.body = [b")]}',\n", &reply.body[..]].concat())),
        row("bodies end with the connection", all(|_, reply| reply.headers.push("connection: close".to_owned()))),
    ]
}

/// Responds to a request, possibly with an altered response of the contract.
type Hook = Arc<dyn Fn(&mut Service, &Request) -> Reply + Send + Sync>;

fn hook(hook: impl Fn(&mut Service, &Request) -> Reply + Send + Sync + 'static) -> Hook {
    Arc::new(hook)
}

/// Alters the successful responses to these requests, which have been processed.
fn after(routes: &'static [Route], alter: impl Fn(&mut Reply) + Send + Sync + 'static) -> Hook {
    hook(move |service, request| {
        let mut reply = service.contract(request);
        if routes.contains(&request.route) && reply.is_success() {
            alter(&mut reply);
        }
        reply
    })
}

/// Alters the JSON of these responses.
fn bodies(routes: &'static [Route], alter: impl Fn(&mut Value) + Send + Sync + 'static) -> Hook {
    after(routes, move |reply| {
        let mut body = reply.json();
        alter(&mut body);
        reply.body = body.to_string().into_bytes();
    })
}

fn pages(alter: impl Fn(&mut Value) + Send + Sync + 'static) -> Hook {
    bodies(&[Route::List], alter)
}

/// Alters each job in each response. A job may lack fields.
fn jobs(alter: impl Fn(&mut Value) + Send + Sync + 'static) -> Hook {
    const SHOWN: &[Route] = &[Route::List, Route::Get, Route::Rename, Route::Cancel, Route::Submit];
    bodies(SHOWN, move |body| match body.get_mut("jobs") {
        Some(jobs) => jobs.as_array_mut().unwrap().iter_mut().for_each(&alter),
        None => alter(body),
    })
}

/// Responds with this without processing the request.
fn instead(routes: &'static [Route], reply: Reply) -> Hook {
    hook(
        move |service, request| {
            if routes.contains(&request.route) { reply.clone() } else { service.contract(request) }
        },
    )
}

/// Processes the request and responds with this.
fn done(routes: &'static [Route], reply: Reply) -> Hook {
    after(routes, move |done| *done = reply.clone())
}

/// Responds with this if there is no such job.
fn unknown(reply: Reply) -> Hook {
    hook(move |service, request| match service.contract(request) {
        not_found if not_found.status == 404 => reply.clone(),
        other => other,
    })
}

/// Alters every response.
fn all(alter: impl Fn(&Request, &mut Reply) + Send + Sync + 'static) -> Hook {
    hook(move |service, request| {
        let mut reply = service.contract(request);
        alter(request, &mut reply);
        reply
    })
}

/// Responds with this to a change that the state of the job does not allow: cancelling an ended job, or deleting a
/// running one.
fn wrong_state(route: Route, reply: Reply) -> Hook {
    hook(move |service, request| {
        let is_wrong = (route == Route::Delete) == service.is_running(&request.id);
        if request.route == route && service.job(&request.id).is_some() && is_wrong {
            return reply.clone();
        }
        service.contract(request)
    })
}

/// Alters each entry of a batch response.
fn entries(alter: impl Fn(&mut Value) + Send + Sync + 'static) -> Hook {
    bodies(&[Route::Batch], move |body| body["jobs"].as_array_mut().unwrap().iter_mut().for_each(&alter))
}

/// Redirects each path to the same path with a trailing slash.
fn slashes(status: u16, origin: &'static str) -> Hook {
    hook(move |service, request| {
        if request.path.ends_with('/') {
            return service.contract(request);
        }
        redirect(status, &format!("{origin}{}/", request.path))
    })
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(value) = object.as_object_mut().and_then(|object| object.remove(from)) {
        object[to] = value;
    }
}

fn remove(object: &mut Value, key: &str) {
    object.as_object_mut().map(|object| object.remove(key));
}

/// Alters a field that is present and not null.
fn edit(object: &mut Value, key: &str, alter: impl Fn(&Value) -> Value) {
    if let Some(value) = object.get_mut(key).filter(|value| !value.is_null()) {
        *value = alter(value);
    }
}

fn camel_case(object: &mut Value) {
    let Some(fields) = object.as_object().cloned() else { return };
    for key in fields.keys() {
        let mut words = key.split('_');
        let first = words.next().unwrap().to_owned();
        let rest = words.map(|word| word[..1].to_uppercase() + &word[1..]);
        rename(object, key, &(first + &rest.collect::<String>()));
    }
}

fn word(state: &Value, words: [&'static str; 5]) -> Value {
    let states = ["pending", "running", "done", "failed", "cancelled"];
    json!(words[states.iter().position(|known| state == *known).unwrap()])
}

fn error(status: u16, detail: &str) -> Reply {
    Reply::new(status, json!({"detail": detail}))
}

/// Returns a validation error in the form of FastAPI.
fn invalid(place: Value, message: &str) -> Reply {
    Reply::new(422, json!({"detail": [{"loc": place, "msg": message}]}))
}

fn html(status: u16) -> Reply {
    Reply::typed(status, "text/html", "<!doctype html><html><head><title>Sign in</title></head></html>")
}

fn redirect(status: u16, location: &str) -> Reply {
    Reply { headers: vec![format!("location: {location}")], ..Reply::empty(status) }
}

/// Makes every call against a service with this deviation.
fn run(row: &Row) -> Vec<(Call, Verdict)> {
    let service = Arc::new(Mutex::new(Service::new()));
    let (kept, hook) = (service.clone(), row.hook.clone());
    let server = RawServer::start(move |_, message| {
        let mut service = lock(&kept);
        let reply = hook(&mut service, &Request::read(message));
        let is_json = reply.body.is_empty() || serde_json::from_slice::<Value>(&reply.body).is_ok();
        service.log.push((reply.status, is_json));
        reply.answer()
    });
    // Pauses move its clock, so no wait depends on how fast the machine is.
    let clock = Simulator::start().unwrap();
    let verdict = |call| {
        *lock(&service) = Service::new();
        let builder = clock.client_builder().api_key(KEY).base_url(server.url());
        let client = builder.max_retries(0).build().unwrap();
        if call != FirstDelete {
            // This may fail. It only decides whether the client has had a success before the call.
            let _ = client.get_job(ENDED);
        }
        (call, judge(call, &client, &service))
    };
    CALLS.into_iter().map(verdict).collect()
}

/// Runs the rows in parallel, because most of their time is spent on waiting.
fn run_all(rows: &[Row]) -> Vec<(&Row, Vec<(Call, Verdict)>)> {
    const AT_A_TIME: usize = 16;
    thread::scope(|scope| {
        let chunks: Vec<_> = (0..AT_A_TIME)
            .map(|n| {
                scope.spawn(move || {
                    rows.iter().skip(n).step_by(AT_A_TIME).map(|row| (row, run(row))).collect::<Vec<_>>()
                })
            })
            .collect();
        chunks.into_iter().flat_map(|chunk| chunk.join().unwrap()).collect()
    })
}

/// Returns a line with the share of each outcome.
fn shares(what: &str, outcomes: impl Iterator<Item = Outcome>) -> String {
    let outcomes: Vec<Outcome> = outcomes.collect();
    let mut text = format!("{what} ({}):", outcomes.len());
    for outcome in [Works, WorksWithLoss, ClearError, Misleading, SilentlyWrong] {
        let count = outcomes.iter().filter(|other| **other == outcome).count();
        let _ = write!(text, " {outcome:?} {count} ({:.1} %)", 100.0 * count as f64 / outcomes.len() as f64);
    }
    text
}

#[test]
fn no_deviation_leads_to_an_untrue_outcome() {
    let rows = rows();
    let names: HashSet<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "names must be unique");
    let results = run_all(&rows);
    let mut untrue = String::new();
    for (row, verdicts) in &results {
        for (call, Verdict(outcome, why)) in verdicts {
            let is_right =
                if row.name == "nothing differs" { *outcome == Works } else { *outcome <= ClearError };
            if !is_right {
                let _ = writeln!(untrue, "{} | {call:?} | {outcome:?} | {why}", row.name);
            }
        }
    }
    let worst =
        results.iter().map(|(_, verdicts)| verdicts.iter().map(|(_, verdict)| verdict.0).max().unwrap());
    println!("{}", shares("worst outcome of each row", worst.skip(1)));
    println!(
        "{}",
        shares("calls", results.iter().flat_map(|(_, verdicts)| verdicts.iter().map(|(_, v)| v.0)))
    );
    assert!(untrue.is_empty(), "untrue outcomes:\n{untrue}");
}

/// The service lies in ways that no client can detect, so each outcome must be untrue.
#[test]
fn the_oracle_detects_an_untrue_outcome() {
    let lies = [
        (Delete, instead(&[Route::Delete], Reply::empty(204))),
        (DeleteIfExists, instead(&[Route::Delete], Reply::empty(204))),
        (Rename, instead(&[Route::Rename], Reply::empty(204))),
        (Rename, done(&[Route::Rename], error(422, "name: too long"))),
        (Submit, done(&[Route::Submit], error(422, "job_type: unknown"))),
        (Submit, bodies(&[Route::Submit], |body| body["job_id"] = json!("104"))),
        (Batch, entries(|entry| edit(entry, "job_id", |_| json!("104")))),
        (Iter, pages(|page| page["has_more"] = json!(false))),
        (List, pages(|page| page["jobs"][0]["job_id"] = json!("7"))),
        (Get, jobs(|job| job["billed_core_seconds"] = json!(1.0))),
        (Wait, jobs(|job| job["state"] = json!("done"))),
        (WaitAll, jobs(|job| job["state"] = json!("failed"))),
    ];
    for (call, lie) in lies {
        let verdicts = run(&row("a lie", lie));
        let (_, Verdict(outcome, why)) = verdicts.iter().find(|(other, _)| *other == call).unwrap();
        assert_eq!(*outcome, SilentlyWrong, "{call:?}: {why}");
    }
}
