use atomiverse::{Client, Contract, JobId, Operation, Response};
use serde_json::Value;
use serde_json::value::RawValue;

struct Envelope;

#[derive(serde::Deserialize)]
struct Received {
    data: Box<RawValue>,
    error: Option<Value>,
}

impl Contract for Envelope {
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if let Operation::Custom { .. } = operation {
            return;
        }
        match response.json() {
            Ok(Received { error: Some(_), .. }) if response.status < 300 => response.status = 400,
            Ok(Received { error: None, data }) => response.set_json(&data),
            _ => {}
        }
    }
}

fn main() -> atomiverse::Result<()> {
    let id = JobId::from("9f2c");
    let mut response = Response::new(200, r#"{"data": {"job_id": "9f2c"}, "error": null}"#);
    Envelope.response(Operation::Get { id: &id }, &mut response);
    assert_eq!(response.text(), r#"{"job_id": "9f2c"}"#);
    let mut response = Response::new(200, r#"{"data": null, "error": "the job is running"}"#);
    Envelope.response(Operation::Delete { id: &id }, &mut response);
    assert_eq!(response.status, 400);

    let _client = Client::builder().api_key("your-key").contract(Envelope).build()?;
    Ok(())
}
