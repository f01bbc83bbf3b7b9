use atomiverse::{Client, Contract, Operation, Request, Response};
use serde_json::value::RawValue;

struct NextLink;

#[derive(serde::Deserialize, serde::Serialize)]
struct Page {
    #[serde(alias = "results")]
    jobs: Vec<Box<RawValue>>,
    #[serde(alias = "next")]
    next_cursor: Option<String>,
}

impl Contract for NextLink {
    fn request(&self, operation: Operation<'_>) -> Request {
        match operation {
            Operation::List { cursor: Some(link), .. } => {
                let query = link.split_once('?').map_or("", |(_, query)| query);
                Request::with_path("GET", &format!("/jobs?{query}"))
            }
            other => Request::assumed(other),
        }
    }

    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if let (Operation::List { .. }, Ok(page)) = (operation, response.json::<Page>()) {
            response.set_json(&page);
        }
    }
}

fn main() -> atomiverse::Result<()> {
    let link = "https://example.com/jobs?limit=1&after=9f2c";
    let mut response = Response::new(200, format!(r#"{{"results": [{{}}], "next": "{link}"}}"#));
    NextLink.response(Operation::List { limit: 1, cursor: None }, &mut response);
    assert_eq!(response.text(), format!(r#"{{"jobs":[{{}}],"next_cursor":"{link}"}}"#));
    let next_page = Operation::List { limit: 1, cursor: Some(link) };
    assert_eq!(NextLink.request(next_page).path, "/jobs?limit=1&after=9f2c");

    let _client = Client::builder().api_key("your-key").contract(NextLink).build()?;
    Ok(())
}
