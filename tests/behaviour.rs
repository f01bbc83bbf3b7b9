//! Tests the behaviour of the service through the client alone. The tests run against the simulator, or against the
//! server at `ATOMIVERSE_TEST_URL` with the key `ATOMIVERSE_TEST_KEY`. `ATOMIVERSE_TEST_ROOT` is a PEM file with a root
//! certificate, if one is needed. `tests/contract/run` starts such servers. Other tests may use the same server at the
//! same time.

use std::env;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atomiverse::simulator::Simulator;
use atomiverse::{Client, ClientBuilder, Job, JobId, JobState, SubmissionStatus, WaitOptions};
use serde_json::{Value, json};

struct Service {
    builder: ClientBuilder,
    /// Used if no other server is configured.
    _simulator: Option<Simulator>,
}

impl Service {
    fn new() -> Self {
        let Some(url) = env::var_os("ATOMIVERSE_TEST_URL") else {
            let simulator = Simulator::start().unwrap();
            return Service { builder: simulator.client_builder(), _simulator: Some(simulator) };
        };
        let mut builder = Client::builder().base_url(url.into_string().unwrap());
        builder = builder.api_key(env::var("ATOMIVERSE_TEST_KEY").unwrap());
        if let Some(root) = env::var_os("ATOMIVERSE_TEST_ROOT") {
            builder = builder.root_certificates(fs::read(root).unwrap());
        }
        Service { builder, _simulator: None }
    }

    fn client(&self) -> Client {
        self.builder.clone().build().unwrap()
    }
}

/// A payload that no other test submits.
fn payload(job_type: &str) -> Value {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    json!({"job_type": job_type, "name": format!("behaviour {} {count}", std::process::id())})
}

fn submit(client: &Client) -> Job {
    client.submit_job(&payload("opt")).unwrap()
}

fn patiently() -> WaitOptions<'static> {
    WaitOptions::new().timeout(Duration::from_secs(60)).min_interval(Duration::from_millis(100))
}

fn finished(client: &Client) -> JobId {
    let mut job = submit(client);
    job.wait(patiently()).unwrap();
    job.id().clone()
}

#[test]
fn a_submitted_job_reaches_a_terminal_state() {
    let service = Service::new();
    let payload = payload("single_point_energy");
    let mut job = service.client().submit_job(&payload).unwrap();
    let mut states = Vec::new();
    let options = patiently().on_update(|job| states.push(job.state.clone()));
    let done = job.wait(options).unwrap().clone();
    assert_eq!(done.state, JobState::Done);
    assert_eq!(done.job_type, "single_point_energy");
    assert_eq!(done.name.as_deref(), payload["name"].as_str());
    assert!(done.billed_core_seconds.unwrap() > 0.0);
    assert!(done.created_at.to_jiff().is_some(), "{}", done.created_at);
    assert!(matches!(states[0], JobState::Pending | JobState::Running), "{states:?}");
    assert_eq!(states.last(), Some(&JobState::Done));
}

#[test]
fn a_batch_reports_each_payload() {
    let service = Service::new();
    let client = service.client();
    let batch = client.submit_batch([&payload("opt"), &json!({"name": "of no type"})]).unwrap();
    let statuses: Vec<_> = batch.jobs.iter().map(|entry| entry.status.clone()).collect();
    assert_eq!(statuses, [SubmissionStatus::Submitted, SubmissionStatus::Failed]);
    assert_eq!((batch.total, batch.cache_hits, batch.failed, batch.submitted), (2, 0, 1, 1));
    assert!(batch.jobs[1].error.as_deref().unwrap().contains("job_type"), "{batch:?}");
    assert_eq!(batch.job_ids().count(), 1);
}

#[test]
fn a_payload_without_a_job_type_is_refused() {
    let error = Service::new().client().submit_job(&json!({"name": "x"})).unwrap_err();
    assert!(error.is_validation() && !error.may_have_been_processed(), "{error}");
    assert!(error.server_message().unwrap().contains("job_type"), "{error}");
}

#[test]
fn a_new_name_is_trimmed_and_validated() {
    let service = Service::new();
    let client = service.client();
    let mut job = submit(&client);
    job.rename(" H₂O, \"heavy\" ").unwrap();
    assert_eq!(job.refresh().unwrap().name.as_deref(), Some("H₂O, \"heavy\""));
    for name in ["", "  ", "a\u{7}b", &"x".repeat(121)] {
        let error = job.rename(name).unwrap_err();
        assert!(error.is_validation(), "{error}");
        assert!(error.server_message().unwrap().starts_with("name: "), "{error}");
    }
    assert_eq!(job.refresh().unwrap().name.as_deref(), Some("H₂O, \"heavy\""));
}

#[test]
fn cancel_stops_a_new_job_and_leaves_a_finished_one_unchanged() {
    let service = Service::new();
    let client = service.client();
    let mut job = submit(&client);
    job.cancel().unwrap();
    assert_eq!(job.wait(patiently()).unwrap().state, JobState::Cancelled);
    let done = finished(&client);
    client.cancel_job(&done).unwrap();
    assert_eq!(client.get_job(&done).unwrap().state, JobState::Done);
}

#[test]
fn only_a_finished_job_can_be_deleted_and_only_once() {
    let service = Service::new();
    let client = service.client();
    let job = submit(&client);
    let error = job.delete().unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(!error.state().unwrap().is_terminal(), "{error}");

    let done = finished(&client);
    client.delete_job(&done).unwrap();
    assert!(client.delete_job(&done).unwrap_err().is_not_found());
    assert!(!client.delete_job_if_exists(&done).unwrap());
    assert!(client.iter_jobs().all(|job| job.unwrap().job_id != done));
}

#[test]
fn an_identifier_cannot_select_another_endpoint() {
    let service = Service::new();
    let client = service.client();
    for id in ["nope", "batch", "a/b", "a&limit=1", "a;b", "%2e%2e"] {
        assert!(client.get_job(id).unwrap_err().is_not_found(), "{id}");
        assert!(client.rename_job(id, "water").unwrap_err().is_not_found(), "{id}");
        assert!(client.cancel_job(id).unwrap_err().is_not_found(), "{id}");
        assert!(client.delete_job(id).unwrap_err().is_not_found(), "{id}");
    }
}

#[test]
fn a_wrong_key_is_refused() {
    let service = Service::new();
    let client = service.builder.clone().api_key("av_wrong").build().unwrap();
    assert!(client.list_jobs().send().unwrap_err().is_unauthorized());
    assert!(client.delete_job("a").unwrap_err().is_unauthorized());
}

#[test]
fn a_limit_above_the_maximum_is_refused_with_the_message_of_the_server() {
    let error = Service::new().client().list_jobs().limit(100_000).send().unwrap_err();
    assert!(error.is_validation(), "{error}");
    assert!(error.server_message().unwrap().contains("limit"), "{error}");
}

#[test]
fn wait_for_jobs_returns_each_of_several_jobs() {
    let service = Service::new();
    let client = service.client();
    let mut ids: Vec<JobId> = (0..5).map(|_| submit(&client).id().clone()).collect();
    client.cancel_job(&ids[2]).unwrap();
    let mut ended: Vec<JobId> = client
        .wait_for_jobs(&ids, patiently())
        .map(|(_, job)| job.unwrap())
        .inspect(|job| assert_eq!(job.state == JobState::Cancelled, job.job_id == ids[2]))
        .map(|job| job.job_id)
        .collect();
    ids.sort();
    ended.sort();
    assert_eq!(ended, ids);
}
