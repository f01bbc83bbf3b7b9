struct BareList;

#[derive(serde::Serialize)]
struct Page {
    jobs: Vec<Box<RawValue>>,
    has_more: bool,
}

impl Contract for BareList {
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if let (Operation::List { .. }, Ok(jobs)) = (operation, response.json()) {
            response.set_json(&Page { jobs, has_more: false });
        }
    }
}
