use atomiverse::{Client, Contract, Operation, Request};
use serde_json::json;

struct ListByPost;

impl Contract for ListByPost {
    fn request(&self, operation: Operation<'_>) -> Request {
        match operation {
            Operation::List { limit, cursor } => {
                Request::new("POST", ["jobs", "search"]).json(&json!({"limit": limit, "after": cursor}))
            }
            other => Request::assumed(other),
        }
    }
}

fn main() -> atomiverse::Result<()> {
    let request = ListByPost.request(Operation::List { limit: 50, cursor: None });
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/jobs/search"));
    assert_eq!(request.body.as_deref(), Some(br#"{"after":null,"limit":50}"#.as_slice()));

    let _client = Client::builder().api_key("your-key").contract(ListByPost).build()?;
    Ok(())
}
