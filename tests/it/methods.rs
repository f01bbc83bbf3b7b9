//! Tests the methods that concern one job: their requests and their outcomes.

use atomiverse::simulator::{Fault, SimulatedJob};
use atomiverse::{Client, JobState, JobsIter};

use crate::support::{RawServer, answer, job, knows_localhost, start};

fn in_state(state: JobState) -> SimulatedJob {
    SimulatedJob::new("opt").state(state)
}

#[test]
fn every_request_carries_the_headers_of_the_contract() {
    let (simulator, client) = start();
    let id = simulator.add_job(in_state(JobState::Done));
    client.list_jobs().send().unwrap();
    client.get_job(&id).unwrap();
    client.rename_job(&id, "water").unwrap();
    client.cancel_job(&id).unwrap();
    client.delete_job(&id).unwrap();
    let requests = simulator.requests();
    let lines: Vec<String> = requests.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/jobs?limit=50",
            "GET /api/v1/jobs/job-000001",
            "PATCH /api/v1/jobs/job-000001",
            "POST /api/v1/jobs/job-000001/cancel",
            "DELETE /api/v1/jobs/job-000001",
        ]
    );
    for request in &requests {
        assert_eq!(request.header("authorization"), Some("Bearer av_simulated_key"), "{request}");
        assert_eq!(request.header("accept"), Some("application/json"), "{request}");
        assert_eq!(
            request.header("user-agent"),
            Some(concat!("atomiverse-rust/", env!("CARGO_PKG_VERSION"))),
            "{request}"
        );
        assert_eq!(request.header("transfer-encoding"), None, "{request}");
    }
    for read in [0, 1] {
        assert_eq!(requests[read].header("content-length"), None);
        assert_eq!(requests[read].header("content-type"), None);
    }
    assert_eq!(requests[2].header("content-type"), Some("application/json"));
    assert_eq!(requests[2].body, r#"{"name":"water"}"#);
    assert_eq!(requests[3].header("content-length"), Some("0"));
    assert_eq!(simulator.connections(), 1);
}

#[test]
fn a_name_is_sent_unchanged_and_validated_by_the_server() {
    let (simulator, client) = start();
    let id = simulator.add_job(in_state(JobState::Done));
    let long = "x".repeat(121);
    for (name, words) in [
        ("", "name: Name must not be empty"),
        ("  \t", "name: Name must not be empty"),
        (long.as_str(), "name: Name must have at most 120 characters"),
        ("a\u{7}b", "name: Name must have printable characters only"),
    ] {
        let error = client.rename_job(&id, name).unwrap_err();
        assert!(error.is_validation());
        assert_eq!(error.server_message(), Some(words));
        assert!(error.to_string().contains(words), "{error}");
        let sent: serde_json::Value =
            serde_json::from_str(&simulator.requests().pop().unwrap().body).unwrap();
        assert_eq!(sent["name"], name);
    }
    client.rename_job(&id, " H₂O \"heavy\" ").unwrap();
    assert_eq!(client.get_job(&id).unwrap().name.as_deref(), Some("H₂O \"heavy\""));
}

#[test]
fn a_new_handle_sends_nothing_and_refresh_updates_its_summary() {
    let (simulator, client) = start();
    let id = simulator.add_job(SimulatedJob::new("opt").name("water"));
    let mut job = client.job(&id).unwrap();
    assert_eq!(job.id(), &id);
    assert!(job.summary().is_none());
    assert_eq!(job.job_dashboard_url(), format!("{}/job?job_id={id}", simulator.base_url()));
    assert_eq!(simulator.requests().len(), 0);

    assert_eq!(job.refresh().unwrap().name.as_deref(), Some("water"));
    job.rename("ice").unwrap();
    assert_eq!(job.summary().unwrap().name.as_deref(), Some("water"), "only `refresh` changes the summary");
    assert_eq!(job.refresh().unwrap().name.as_deref(), Some("ice"));

    simulator.fail_next(Fault::status(400));
    job.refresh().unwrap_err();
    assert_eq!(job.summary().unwrap().name.as_deref(), Some("ice"), "a failed `refresh` keeps the summary");

    job.cancel().unwrap();
    job.delete().unwrap();
    assert!(job.refresh().unwrap_err().is_not_found());
}

#[test]
fn public_types_can_be_sent_between_threads() {
    fn send<T: Send + 'static>() {}
    fn shared<T: Send + Sync + Clone + 'static>() {}
    send::<JobsIter>();
    send::<atomiverse::WaitForJobs>();
    send::<atomiverse::Error>();
    shared::<Client>();
    shared::<atomiverse::ClientBuilder>();
    shared::<atomiverse::ListJobs>();
    shared::<atomiverse::Job>();
    shared::<atomiverse::JobsPage>();
    shared::<atomiverse::BatchSubmission>();
    shared::<atomiverse::PartialBatch>();
    fn error<T: std::error::Error + Sync>() {}
    error::<atomiverse::Error>();
}

#[test]
fn the_api_may_have_another_url_than_the_dashboard() {
    let server = RawServer::script(vec![answer(200, &[], &job("a"))]);
    let client = server
        .client_builder()
        .base_url("https://dashboard.example/")
        .api_url(format!("{}/other/v2/", server.url()))
        .user_agent("nightly-report/2.1")
        .build()
        .unwrap();
    client.get_job("a").unwrap();
    assert_eq!(server.lines(), ["GET /other/v2/jobs/a"]);
    assert!(server.requests()[0].headers.contains(&"user-agent: nightly-report/2.1".to_owned()));
    assert_eq!(client.job_dashboard_url("a").unwrap(), "https://dashboard.example/job?job_id=a");
}

#[test]
fn a_server_may_be_given_by_host_name() {
    if !knows_localhost() {
        return;
    }
    let server = RawServer::script(vec![answer(200, &[], &job("a"))]);
    let client =
        server.client_builder().base_url(server.url().replace("127.0.0.1", "localhost")).build().unwrap();
    for _ in 0..2 {
        assert_eq!(client.get_job("a").unwrap().job_id, "a");
    }
}
