use atomiverse::{Client, Contract, Operation, Request, Response};
use serde_json::value::RawValue;

struct PageNumber;

#[derive(serde::Deserialize, serde::Serialize)]
struct Page {
    #[serde(alias = "items")]
    jobs: Vec<Box<RawValue>>,
    page: u32,
    pages: u32,
    next_cursor: Option<u32>,
}

impl Contract for PageNumber {
    fn request(&self, operation: Operation<'_>) -> Request {
        match operation {
            Operation::List { limit, cursor } => {
                Request::new("GET", ["jobs"]).query("per_page", limit).query("page", cursor.unwrap_or("1"))
            }
            other => Request::assumed(other),
        }
    }

    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if let (Operation::List { .. }, Ok(mut page)) = (operation, response.json::<Page>()) {
            page.next_cursor = (page.page < page.pages).then(|| page.page + 1);
            response.set_json(&page);
        }
    }
}

fn main() -> atomiverse::Result<()> {
    let second_page = Operation::List { limit: 50, cursor: Some("2") };
    assert_eq!(PageNumber.request(second_page).path, "/jobs?per_page=50&page=2");
    let mut response = Response::new(200, r#"{"items": [{}], "page": 2, "pages": 3}"#);
    PageNumber.response(second_page, &mut response);
    assert_eq!(response.text(), r#"{"jobs":[{}],"page":2,"pages":3,"next_cursor":3}"#);

    let _client = Client::builder().api_key("your-key").contract(PageNumber).build()?;
    Ok(())
}
