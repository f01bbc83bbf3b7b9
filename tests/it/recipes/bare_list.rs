use atomiverse::{Client, Contract, Operation, Response};
use serde_json::value::RawValue;

struct BareList;

#[derive(serde::Serialize)]
struct Page {
    jobs: Vec<Box<RawValue>>,
    has_more: bool,
}

impl Contract for BareList {
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if let (Operation::List { .. }, Ok(jobs)) = (operation, response.json()) {
            response.set_json(&Page { jobs, has_more: false });
        }
    }
}

fn main() -> atomiverse::Result<()> {
    let mut response = Response::new(200, r#"[{"job_id": "9f2c"}]"#);
    BareList.response(Operation::List { limit: 50, cursor: None }, &mut response);
    assert_eq!(response.text(), r#"{"jobs":[{"job_id": "9f2c"}],"has_more":false}"#);

    let _client = Client::builder().api_key("your-key").contract(BareList).build()?;
    Ok(())
}
