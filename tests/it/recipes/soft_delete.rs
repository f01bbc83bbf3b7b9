struct SoftDelete;

#[derive(serde::Deserialize, serde::Serialize)]
struct Page {
    jobs: Vec<Box<RawValue>>,
    has_more: bool,
    next_cursor: Option<String>,
}

#[derive(serde::Deserialize)]
struct Job {
    deleted: bool,
}

impl Contract for SoftDelete {
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if let (Operation::Get { .. }, Ok(Job { deleted: true })) = (operation, response.json()) {
            response.status = 404;
            response.body.clear();
        }
        if let (Operation::List { .. }, Ok(mut page)) = (operation, response.json::<Page>()) {
            page.jobs.retain(|job| !serde_json::from_str(job.get()).is_ok_and(|job: Job| job.deleted));
            response.set_json(&page);
        }
    }
}
