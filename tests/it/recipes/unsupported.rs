use atomiverse::{Client, Contract, Operation, Request};

struct Fewer;

impl Contract for Fewer {
    fn request(&self, operation: Operation<'_>) -> Request {
        match operation {
            Operation::Rename { .. } => Request::unsupported("this service cannot rename jobs"),
            Operation::SubmitBatch { .. } => {
                Request::unsupported("this service has no batches: use submit_job")
            }
            other => Request::assumed(other),
        }
    }
}

fn main() -> atomiverse::Result<()> {
    let client = Client::builder().api_key("your-key").contract(Fewer).build()?;
    let error = client.rename_job("9f2c", "water").unwrap_err();
    assert!(error.is_unsupported());
    assert_eq!(error.attempts(), 0);
    Ok(())
}
