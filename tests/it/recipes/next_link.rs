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
