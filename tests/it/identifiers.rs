//! Tests that an identifier is one path segment, and that everything else is refused before any request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atomiverse::{Client, Error, WaitOptions};

use crate::support::{RawServer, answer, job, lock};

type Call = fn(&Client, &str) -> Result<(), Error>;

/// A call, and the method and the path below the job of its last request.
const CALLS: [(Call, &str, &str); 6] = [
    (|client, id| client.get_job(id).map(drop), "GET", ""),
    (|client, id| client.rename_job(id, "name"), "PATCH", ""),
    (|client, id| client.cancel_job(id), "POST", "/cancel"),
    (|client, id| client.delete_job(id), "DELETE", ""),
    (|client, id| client.delete_job_if_exists(id).map(drop), "DELETE", ""),
    (|client, id| client.job(id)?.refresh().map(drop), "GET", ""),
];

/// The other methods that take an identifier.
const OTHERS: [Call; 8] = [
    |client, id| client.job(id).map(drop),
    |client, id| client.job_dashboard_url(id).map(drop),
    |client, id| client.wait_for_job(id, options()).map(drop),
    |client, id| client.wait_for_jobs([id], options()).next().unwrap().1.map(drop),
    |client, id| client.cancel_and_wait(id, options()).map(drop),
    |client, id| client.cancel_and_delete(id, options()).map(drop),
    |client, id| client.cancel_jobs([id]).remove(0).1,
    |client, id| client.delete_jobs([id]).remove(0).1.map(drop),
];

fn options() -> WaitOptions<'static> {
    WaitOptions::new().timeout(Duration::from_secs(1))
}

#[test]
fn an_identifier_of_any_allowed_characters_is_sent_as_one_encoded_segment() {
    // The server responds to a GET with the requested job.
    let asked = Arc::new(Mutex::new(String::new()));
    let server = {
        let asked = asked.clone();
        RawServer::start(move |_, request| match request.line.starts_with("GET") {
            false => answer(204, &[], ""),
            true => answer(200, &[], &job(&*lock(&asked))),
        })
    };
    let client = server.client();
    let allowed = ('!'..='~').filter(|c| !"\"'`<>?#\\".contains(*c)).map(String::from);
    let others = ["9f2c-A_b.c~d", "%2e%2e", "../jobs", "...", "-.", ".a"].map(str::to_owned);
    for id in allowed.chain(others).chain(["x".repeat(256)]).filter(|id| id != ".") {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
        let encode = |c: char| if plain(c) { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
        let segment: String = id.chars().map(encode).collect();
        id.clone_into(&mut lock(&asked));
        for (call, method, rest) in CALLS {
            call(&client, &id).unwrap();
            assert_eq!(server.lines().pop().unwrap(), format!("{method} /api/v1/jobs/{segment}{rest}"));
        }
        let link = client.job_dashboard_url(&id).unwrap();
        assert_eq!(link, format!("{}/job?job_id={segment}", server.url()));
    }
}

#[test]
fn everything_else_is_refused_before_any_request_and_the_character_is_shown() {
    let server = RawServer::script(vec![answer(200, &[], &job("any"))]);
    let client = server.client();
    let calls: Vec<Call> = CALLS.iter().map(|(call, ..)| *call).chain(OTHERS).collect();
    let refused =
        (0..0x250).chain([0x200b, 0x200d, 0x2028, 0x202e, 0x2069, 0xfeff, 0xfffd, 0x1f600, 0xe0001]);
    let refused =
        refused.filter_map(char::from_u32).filter(|c| !c.is_ascii_graphic() || "\"'`<>?#\\".contains(*c));
    let with_one = refused
        .flat_map(|c| [format!("{c}9f2c"), format!("9f{c}2c"), format!("9f2c{c}")].map(|id| (id, Some(c))));
    let others =
        [String::new(), ".".into(), "..".into(), "x".repeat(257), "x".repeat(10_000)].map(|id| (id, None));
    for (id, character) in with_one.chain(others) {
        for call in &calls {
            let error = call(&client, &id).unwrap_err();
            assert_eq!(error.attempts(), 0, "{id:?}: {error}");
            let text = error.to_string();
            assert!(text.len() < 500 && !text.contains(char::is_control), "{id:?}: {text:?}");
            // A character that cannot be seen is shown by its number.
            let shown = |c: char| if c.is_ascii_graphic() { c.into() } else { format!("{:x}", u32::from(c)) };
            assert!(
                character.is_none_or(|c| c == ' ' || text.to_lowercase().contains(&shown(c))),
                "{id:?}: {text}"
            );
        }
    }
    assert_eq!(server.requests().len(), 0);
}
