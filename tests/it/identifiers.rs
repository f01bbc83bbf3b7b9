//! Tests that an untrusted identifier cannot change which endpoint is called.

use std::sync::{Arc, Mutex};

use atomiverse::{Client, Error};

use crate::support::{RawServer, answer, job, lock};

type Call = fn(&Client, &str) -> Result<(), Error>;

const CALLS: [(Call, &str, &str); 5] = [
    (|client, id| client.get_job(id).map(drop), "GET", ""),
    (|client, id| client.rename_job(id, "name"), "PATCH", ""),
    (|client, id| client.cancel_job(id), "POST", "/cancel"),
    (|client, id| client.delete_job(id), "DELETE", ""),
    (|client, id| client.job(id)?.refresh().map(drop), "GET", ""),
];

#[test]
fn an_identifier_is_sent_as_one_encoded_path_segment() {
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
    for (id, segment) in [
        ("9f2c-A_b.c~d", "9f2c-A_b.c~d"),
        ("a/b", "a%2Fb"),
        ("a?x=1#y", "a%3Fx%3D1%23y"),
        ("%2e%2e", "%252e%252e"),
        ("../jobs", "..%2Fjobs"),
        ("...", "..."),
        ("a b", "a%20b"),
        ("a;b", "a%3Bb"),
        ("café-H₂O", "caf%C3%A9-H%E2%82%82O"),
    ] {
        id.clone_into(&mut lock(&asked));
        for (call, method, rest) in CALLS {
            call(&client, id).unwrap();
            assert_eq!(server.lines().pop().unwrap(), format!("{method} /api/v1/jobs/{segment}{rest}"));
        }
        let link = client.job_dashboard_url(id).unwrap();
        assert_eq!(link, format!("{}/job?job_id={segment}", server.url()));
        assert_eq!(client.job(id).unwrap().job_dashboard_url(), link);
    }
}

#[test]
fn an_identifier_that_cannot_be_a_segment_is_refused_before_any_request() {
    let server = RawServer::script(vec![answer(200, &[], &job("any"))]);
    let client = server.client();
    for id in ["", ".", ".."] {
        for (call, ..) in CALLS {
            let error = call(&client, id).unwrap_err();
            assert!(error.to_string().contains("nothing was sent"), "{error}");
        }
        assert!(client.job(id).is_err());
        assert!(client.job_dashboard_url(id).is_err());
        assert!(client.delete_job_if_exists(id).is_err());
    }
    assert_eq!(server.requests().len(), 0);
}
