struct FieldNames;

#[derive(serde::Deserialize)]
struct Submitted {
    id: Value,
}

impl Contract for FieldNames {
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        if let (Operation::Submit { .. }, 200 | 201, Ok(job)) =
            (operation, response.status, response.json::<Submitted>())
        {
            response.set_json(&json!({"job_id": job.id}));
        }
        response.edit_jobs(operation, |job| {
            job["job_id"] = job["id"].take();
            job["state"] = job["status"]["phase"].clone();
            job["job_type"] = json!("opt"); // for a service whose jobs have no type
            job["created_at"] = job["submitted"].take();
        });
    }
}
