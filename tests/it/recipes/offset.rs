struct Offset;

#[derive(serde::Deserialize, serde::Serialize)]
struct Page {
    #[serde(alias = "results")]
    jobs: Vec<Box<RawValue>>,
    next_cursor: Option<u64>,
}

impl Contract for Offset {
    fn request(&self, operation: Operation<'_>) -> Request {
        match operation {
            Operation::List { limit, cursor } => {
                Request::new("GET", ["jobs"]).query("limit", limit).query("offset", cursor.unwrap_or("0"))
            }
            other => Request::assumed(other),
        }
    }

    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if let (Operation::List { cursor, .. }, Ok(mut page)) = (operation, response.json::<Page>()) {
            let offset: u32 = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
            let next = u64::from(offset) + page.jobs.len() as u64;
            page.next_cursor = Some(next).filter(|_| !page.jobs.is_empty());
            response.set_json(&page);
        }
    }
}
