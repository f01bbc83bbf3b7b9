use atomiverse::{Client, Contract, Operation, Request};

struct TokenScheme {
    key: String,
}

impl Contract for TokenScheme {
    fn request(&self, operation: Operation<'_>) -> Request {
        Request::assumed(operation).header("Authorization", format!("Token {}", self.key))
    }
}

fn main() -> atomiverse::Result<()> {
    // X-API-Key: <key>
    let _client = Client::builder().api_key("your-key").api_key_header("X-API-Key").build()?;

    // Authorization: Token <key>
    let contract = TokenScheme { key: "your-key".to_owned() };
    let _client = Client::builder().api_key("your-key").contract(contract).build()?;
    Ok(())
}
