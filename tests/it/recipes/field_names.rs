use atomiverse::{Client, Contract, JobId, JobSummary, Operation, Response};
use serde_json::{Value, json};

struct FieldNames;

#[derive(serde::Deserialize)]
struct Submitted {
    id: Value,
}

impl Contract for FieldNames {
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if let (Operation::Submit { .. }, 200 | 201, Ok(job)) =
            (operation, response.status, response.json::<Submitted>())
        {
            response.set_json(&json!({"job_id": job.id}));
        }
        response.edit_jobs(operation, |job| {
            job["job_id"] = job["id"].take();
            job["state"] = job["status"]["phase"].clone();
            job["job_type"] = json!("opt"); // for a service whose jobs have no type
            job["created_at"] = job["submitted"].take();
        });
    }
}

fn main() -> atomiverse::Result<()> {
    let body = r#"{"id": 7, "status": {"phase": "done"}, "submitted": "2026-05-02T14:32:01Z"}"#;
    let mut response = Response::new(200, body);
    FieldNames.response(Operation::Get { id: &JobId::from("7") }, &mut response);
    assert_eq!(response.json::<JobSummary>()?.job_id, "7");

    let _client = Client::builder().api_key("your-key").contract(FieldNames).build()?;
    Ok(())
}
