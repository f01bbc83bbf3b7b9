struct StateWords;

impl Contract for StateWords {
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        response.edit_jobs(operation, |job| {
            let state = match job["state"].as_str() {
                Some("queued" | "accepted") => "pending",
                Some("in_progress") => "running",
                Some("completed") => "done",
                Some("error" | "timed_out") => "failed",
                Some("aborted") => "cancelled",
                _ => return,
            };
            job["state"] = state.into();
        });
    }
}
