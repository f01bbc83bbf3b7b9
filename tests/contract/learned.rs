// A draft: check each line, and replace each TODO.
use atomiverse::{Contract, Operation, Request};
use std::collections::BTreeMap;

pub struct Learned;

impl Contract for Learned {
    fn request(&self, operation: Operation<'_>) -> Request {
        match operation {
            Operation::List { limit, cursor } => Request::new("GET", ["runs"]).query_if("after", cursor).query("size", limit),
            Operation::Get { id } => Request::new("GET", ["runs", id.as_str()]),
            Operation::Rename { id, name } => Request::new("PUT", ["runs", id.as_str()]).json(&BTreeMap::from([("title", name)])),
            Operation::Cancel { id } => Request::new("POST", ["runs", id.as_str(), "stop"]),
            Operation::Delete { id } => Request::new("DELETE", ["runs", id.as_str()]),
            Operation::Submit { payload } => Request::new("POST", ["runs"]).json(payload),
            other => Request::assumed(other),
        }
    }
    // TODO: fn response, see Response::map_json and Response::edit_jobs.
    // List needs jobs, has_more, next_cursor, and the response has {after: string, items: [{run_id: string, status: string}]}
    // Get needs job_id, state, job_type, created_at, and the response has {run_id: string, status: string}
    // Submit needs job_id, and the response has {run_id: string, status: string}
}
