use atomiverse::{Client, Contract, JobId, Operation, Request};

struct CancelDeletes;

impl Contract for CancelDeletes {
    fn request(&self, operation: Operation<'_>) -> Request {
        match operation {
            Operation::Cancel { id } => Request::assumed(Operation::Delete { id }),
            other => Request::assumed(other),
        }
    }
}

fn main() -> atomiverse::Result<()> {
    let request = CancelDeletes.request(Operation::Cancel { id: &JobId::from("9f2c") });
    assert_eq!((request.method.as_str(), request.path.as_str()), ("DELETE", "/jobs/9f2c"));

    let _client = Client::builder().api_key("your-key").contract(CancelDeletes).build()?;
    Ok(())
}
