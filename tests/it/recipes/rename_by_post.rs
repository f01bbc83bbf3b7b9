use atomiverse::{Client, Contract, JobId, Operation, Request};
use serde_json::json;

struct RenameByPost;

impl Contract for RenameByPost {
    fn request(&self, operation: Operation<'_>) -> Request {
        match operation {
            Operation::Rename { id, name } => {
                Request::new("POST", ["jobs", id.as_str(), "rename"]).json(&json!({"new_name": name}))
            }
            other => Request::assumed(other),
        }
    }
}

fn main() -> atomiverse::Result<()> {
    let request = RenameByPost.request(Operation::Rename { id: &JobId::from("9f2c"), name: "water" });
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/jobs/9f2c/rename"));

    let _client = Client::builder().api_key("your-key").contract(RenameByPost).build()?;
    Ok(())
}
