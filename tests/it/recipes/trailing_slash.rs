use atomiverse::{Client, Contract, Operation, Request};

struct TrailingSlash;

impl Contract for TrailingSlash {
    fn request(&self, operation: Operation<'_>) -> Request {
        let mut request = Request::assumed(operation);
        if !matches!(operation, Operation::Custom { .. }) {
            let end = request.path.find('?').unwrap_or(request.path.len());
            request.path.insert(end, '/');
        }
        request
    }
}

fn main() -> atomiverse::Result<()> {
    let request = TrailingSlash.request(Operation::List { limit: 50, cursor: None });
    assert_eq!(request.path, "/jobs/?limit=50");

    let _client = Client::builder().api_key("your-key").contract(TrailingSlash).build()?;
    Ok(())
}
