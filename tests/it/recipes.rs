//! Tests the contracts of `HTTP.md` and the helpers that they use: no response makes one panic, and each job of a page
//! is edited by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use atomiverse::{Contract, JobId, JobSummary, Operation, Request, Response, Result};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::{RawServer, json as ok};

macro_rules! recipes {
    ($($name:ident = $contract:expr;)*) => {
        $(mod $name {
            use super::*;
            include!(concat!("recipes/", stringify!($name), ".rs"));
            pub fn contract() -> Arc<dyn Contract> {
                Arc::new($contract)
            }
        })*

        /// The contracts of `HTTP.md` that change responses, with their text there.
        const RECIPES: &[(&str, &str, fn() -> Arc<dyn Contract>)] = &[$((
            stringify!($name),
            include_str!(concat!("recipes/", stringify!($name), ".rs")),
            $name::contract,
        )),*];
    };
}

recipes! {
    bare_list = BareList;
    offset = Offset;
    page_number = PageNumber;
    next_link = NextLink;
    state_words = StateWords;
    field_names = FieldNames;
    envelope = Envelope;
    soft_delete = SoftDelete;
    expiring_token = ExpiringToken::default();
}

/// Renames a field of each job, and a field of everything.
struct Renaming;

impl Contract for Renaming {
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        response.edit_jobs(operation, |job| job["job_id"] = job["id"].take());
        if !matches!(operation, Operation::List { .. }) {
            response.map_json(|body| json!({"job_id": body["job_id"], "state": body["status"]["phase"]}));
        }
    }
}

#[test]
fn the_contracts_of_http_md_are_those_that_are_tested_and_are_short() {
    let page = include_str!("../../HTTP.md");
    for (name, text, _) in RECIPES {
        assert!(page.contains(text), "HTTP.md differs from tests/it/recipes/{name}.rs");
    }
    let programs: Vec<&str> =
        page.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(programs.len() >= 15);
    for program in programs {
        let (contract, _) = program.split_once("\nfn main() -> atomiverse::Result<()> {\n").expect(program);
        let lines = contract.lines().filter(|line| !line.is_empty() && !line.starts_with("use ")).count();
        assert!(lines <= 25, "{lines} lines: {program}");
        assert!(program.lines().all(|line| !line.starts_with("# ")), "a hidden line: {program}");
    }
}

const ODD: [&str; 18] = [
    "",
    "null",
    "true",
    "0",
    "-1",
    "1e400",
    "18446744073709551615",
    r#""""#,
    r#""ok""#,
    r#""\ud83d""#,
    "[]",
    "[[]]",
    "{}",
    r#"{"a": 1}"#,
    r#"{"phase": []}"#,
    r#"{"\ud83d": 1}"#,
    "<html>",
    "\u{feff}",
];

/// Returns a body in the form that some contract expects, with odd values in it.
fn odd_body(shape: usize, a: &str, b: &str) -> String {
    let job = format!(r#"{{"job_id": {a}, "id": {b}, "state": {a}, "status": {b}, "deleted": {a}}}"#);
    let rest = format!(r#""page": {a}, "pages": 4294967295, "next": {b}, "has_more": {a}, "error": {b}"#);
    match shape {
        0 => format!("{a}{b}"),
        1 => format!("[{a}, {job}]"),
        2 => job,
        3 => format!(r#"{{"jobs": {a}, "results": {b}, "items": {a}, "data": {b}, {rest}}}"#),
        4 => format!(r#"{{"jobs": [{job}], "data": {job}, {rest}}}"#),
        5 => format!(r#"{{"results": [{a}, {job}], {rest}}}"#),
        _ => format!(r#"{{"items": [{job}, {b}], {rest}}}"#),
    }
}

#[test]
fn no_response_makes_a_contract_panic() {
    let own = Request::new("GET", ["x"]);
    let (id, payload) = (JobId::from("9f2c"), RawValue::from_string("{}".to_owned()).unwrap());
    let operations = [
        Operation::List { limit: u32::MAX, cursor: Some("4294967295") },
        Operation::List { limit: 1, cursor: None },
        Operation::Get { id: &id },
        Operation::Rename { id: &id, name: "water" },
        Operation::Cancel { id: &id },
        Operation::Delete { id: &id },
        Operation::Submit { payload: &payload },
        Operation::SubmitBatch { payloads: &[&payload] },
        Operation::Custom { request: &own },
    ];
    let renaming: Arc<dyn Contract> = Arc::new(Renaming);
    let contracts = RECIPES.iter().map(|(name, _, contract)| (*name, contract()));
    for (name, contract) in contracts.chain([("renaming", renaming)]) {
        for n in 0..7 * ODD.len() * ODD.len() {
            let (a, b) = (ODD[n % ODD.len()], ODD[n / ODD.len() % ODD.len()]);
            let body = odd_body(n / ODD.len() / ODD.len(), a, b);
            // Each body meets each operation and several statuses, most often a success.
            for (m, operation) in operations.into_iter().enumerate() {
                let status = [200, 200, 204, 404, 500][(n + m) % 5];
                let mut response = Response::new(status, body.as_str());
                let outcome = catch_unwind(AssertUnwindSafe(|| contract.response(operation, &mut response)));
                assert!(outcome.is_ok(), "{name}, {operation:?}, {status} {body}");
            }
        }
    }
}

#[test]
fn one_odd_job_leaves_the_others_edited() {
    let job = |id| format!(r#"{{"id":"{id}","state":"done","job_type":"opt","created_at":1}}"#);
    // A job that is not valid JSON is left as it is, so its own id can still be read.
    for (odd, id) in [
        (r#"{"job_id": "b", "name": "\ud83d"}"#, Some("b")),
        (r#"{"job_id": "b", "x": 1e400}"#, Some("b")),
        ("7", None),
        ("null", None),
        ("[]", None),
        (r#""ok""#, None),
        ("{}", None),
    ] {
        let jobs = format!("[{}, {odd}, {}]", job("a"), job("c"));
        let server = RawServer::script(vec![ok(&format!(r#"{{"jobs": {jobs}, "has_more": false}}"#))]);
        let client = server.client_builder().contract(Renaming).build().unwrap();
        let jobs: Vec<Result<JobSummary>> = client.iter_jobs().collect();
        let id_of = |job: &Result<JobSummary>| match job {
            Ok(job) => (true, Some(job.job_id.to_string())),
            Err(error) => (false, error.job_id().map(JobId::to_string)),
        };
        let expected = [(true, Some("a")), (false, id), (true, Some("c"))];
        let expected = expected.map(|(is_read, id)| (is_read, id.map(str::to_owned)));
        assert_eq!(jobs.iter().map(id_of).collect::<Vec<_>>(), expected, "{odd}");
    }
    // The contracts that change the page as a whole keep such a job too.
    for (contract, body) in [
        (bare_list::contract(), r#"[{"job_id": "a", "name": "\ud83d"}]"#),
        (offset::contract(), r#"{"results": [{"job_id": "a", "x": 1e400}]}"#),
        (page_number::contract(), r#"{"items": [{"job_id": "a", "name": "\ud83d"}], "page": 1, "pages": 1}"#),
        (next_link::contract(), r#"{"results": [{"job_id": "a", "name": "\ud83d"}], "next": null}"#),
        (envelope::contract(), r#"{"data": {"jobs": [{"job_id": "a", "x": 1e400}], "has_more": false}}"#),
        (soft_delete::contract(), r#"{"jobs": [{"job_id": "a", "x": 1e400}], "has_more": false}"#),
    ] {
        let server =
            RawServer::script(vec![ok(body), ok(&body.replace(r#"{"job_id": "a", "x": 1e400}"#, ""))]);
        let client = server.client_builder().contract(contract).build().unwrap();
        let errors: Vec<_> = client.iter_jobs().map(Result::unwrap_err).collect();
        assert_eq!(
            errors.iter().map(|error| error.job_id().cloned()).collect::<Vec<_>>(),
            [Some("a".into())],
            "{body}"
        );
    }
}

#[test]
fn only_the_jobs_of_a_success_are_edited_and_other_fields_stay_as_they_are() {
    let id = JobId::from("a");
    let (list, get) = (Operation::List { limit: 1, cursor: None }, Operation::Get { id: &id });
    let edit = |status, body: &str, operation| {
        let mut response = Response::new(status, body);
        response.edit_jobs(operation, |job| job["n"] = json!(1));
        response.text().into_owned()
    };
    assert_eq!(edit(200, "\u{feff}{}", get), r#"{"n":1}"#);
    let page = r#"{"x": 1e400, "jobs": [{}, {}]}"#;
    assert_eq!(edit(200, page, list), r#"{"jobs":[{"n":1},{"n":1}],"x":1e400}"#);
    let delete = Operation::Delete { id: &id };
    for (status, body, operation) in [
        (404, "{}", get),
        (404, page, list),
        (200, "[{}]", list),
        (200, "{}", delete),
        (200, r#"{"jobs": {}}"#, list),
    ] {
        assert_eq!(edit(status, body, operation), body);
    }

    let map = |status, body: &str| {
        let mut response = Response::new(status, body);
        response.map_json(|body| json!([body]));
        response.text().into_owned()
    };
    assert_eq!([map(200, "1"), map(200, "<p>"), map(500, "1"), map(200, "")], ["[1]", "<p>", "1", ""]);
    let mut response = Response::new(500, "before");
    response.set_json(&std::collections::HashMap::from([((1, 2), 3)]));
    assert_eq!(response.text(), "before", "this map cannot be written as JSON");
    response.set_json("after");
    assert_eq!(response.json::<String>().unwrap(), "after");
}

#[test]
fn a_job_that_is_marked_as_deleted_is_gone_and_a_cancel_that_deletes_is_no_error_of_cancel_and_delete() {
    // The service has one request for both, and goes on showing the job.
    let mut deleted = false;
    let server = RawServer::start(move |_, request| {
        deleted |= request.line.starts_with("DELETE");
        let job =
            format!(r#"{{"job_id":"a","state":"done","job_type":"opt","created_at":1,"deleted":{deleted}}}"#);
        ok(&if request.line.contains("limit") {
            format!(r#"{{"jobs":[{job}],"has_more":false}}"#)
        } else {
            job
        })
    });
    struct CancelDeletes(Arc<dyn Contract>);
    impl Contract for CancelDeletes {
        fn request(&self, operation: Operation<'_>) -> Request {
            match operation {
                Operation::Cancel { id } => Request::assumed(Operation::Delete { id }),
                other => Request::assumed(other),
            }
        }
        fn response(&self, operation: Operation<'_>, response: &mut Response) {
            self.0.response(operation, response);
        }
    }
    let client = server.client_builder().contract(CancelDeletes(soft_delete::contract())).build().unwrap();
    assert_eq!(client.list_jobs().send().unwrap().jobs.len(), 1);
    assert!(client.cancel_and_delete("a", Duration::from_secs(60)).unwrap());
    assert!(client.get_job("a").unwrap_err().is_not_found());
    assert!(client.cancel_and_wait("a", Duration::from_secs(60)).unwrap_err().is_not_found());
    assert_eq!(client.list_jobs().send().unwrap().jobs.len(), 0);
}
