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
