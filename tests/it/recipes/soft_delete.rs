use atomiverse::{Client, Contract, JobId, Operation, Response};
use serde_json::value::RawValue;

struct SoftDelete;

#[derive(serde::Deserialize, serde::Serialize)]
struct Page {
    jobs: Vec<Box<RawValue>>,
    has_more: bool,
    next_cursor: Option<String>,
}

#[derive(serde::Deserialize)]
struct Job {
    deleted: bool,
}

impl Contract for SoftDelete {
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if let (Operation::Get { .. }, Ok(Job { deleted: true })) = (operation, response.json()) {
            response.status = 404;
            response.body.clear();
        }
        if let (Operation::List { .. }, Ok(mut page)) = (operation, response.json::<Page>()) {
            page.jobs.retain(|job| !serde_json::from_str(job.get()).is_ok_and(|job: Job| job.deleted));
            response.set_json(&page);
        }
    }
}

fn main() -> atomiverse::Result<()> {
    let mut response = Response::new(200, r#"{"job_id": "9f2c", "deleted": true}"#);
    SoftDelete.response(Operation::Get { id: &JobId::from("9f2c") }, &mut response);
    assert_eq!(response.status, 404);

    let _client = Client::builder().api_key("your-key").contract(SoftDelete).build()?;
    Ok(())
}
