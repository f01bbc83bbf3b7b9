use atomiverse::{Client, Contract, JobId, JobState, JobSummary, Operation, Response};

struct StateWords;

impl Contract for StateWords {
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        response.edit_jobs(operation, |job| {
            let state = match job["state"].as_str() {
                Some("queued" | "accepted") => "pending",
                Some("in_progress") => "running",
                Some("completed") => "done",
                Some("error" | "timed_out") => "failed",
                Some("aborted") => "cancelled",
                _ => return,
            };
            job["state"] = state.into();
        });
    }
}

fn main() -> atomiverse::Result<()> {
    let body = r#"{"job_id": "9f2c", "state": "completed", "job_type": "opt", "created_at": 1777732321}"#;
    let mut response = Response::new(200, body);
    StateWords.response(Operation::Get { id: &JobId::from("9f2c") }, &mut response);
    assert_eq!(response.json::<JobSummary>()?.state, JobState::Done);

    let _client = Client::builder().api_key("your-key").contract(StateWords).build()?;
    Ok(())
}
