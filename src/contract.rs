//! The HTTP API, which the service does not document: what this crate assumes, and how a program describes another API.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::http::message::from_json;
use crate::http::request::{Request, encode};
use crate::http::response::Response;
use crate::types::JobId;

/// The HTTP API of the service: which request stands for an operation, and what its response means.
///
/// Each method has a default, which is what this crate assumes. [`ClientBuilder::contract`] sets another one, for a
/// service that differs. `HTTP.md` has a program for each kind of difference.
///
/// `request` runs once for each attempt, and `response` once for each response: on the thread of the caller, or on a
/// thread of a call for many jobs. A panic in one of them reaches the caller. A contract can call another one; it then has to forward all three methods.
///
/// The client cannot interrupt a contract. One that waits for something, such as a new token, needs a time limit of its
/// own.
///
/// [`ClientBuilder::contract`]: crate::ClientBuilder::contract
///
/// # Examples
///
/// This is a service that renames by `POST /jobs/{job_id}/rename` and calls the id of a job `id`:
///
/// ```
/// use atomiverse::{Contract, JobId, Operation, Request, Response};
///
/// struct OurService;
///
/// impl Contract for OurService {
///     fn request(&self, operation: Operation<'_>) -> Request {
///         match operation {
///             Operation::Rename { id, name } => Request::new("POST", ["jobs", id.as_str(), "rename"])
///                 .json(&serde_json::json!({"name": name})),
///             other => Request::assumed(other),
///         }
///     }
///
///     fn response(&self, operation: Operation<'_>, response: &mut Response) {
///         response.edit_jobs(operation, |job| job["job_id"] = job["id"].take());
///     }
/// }
///
/// // A contract can be tested without a server.
/// let id = JobId::from("9f2c");
/// let request = OurService.request(Operation::Rename { id: &id, name: "water" });
/// assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/jobs/9f2c/rename"));
/// ```
pub trait Contract: Send + Sync + 'static {
    /// Returns the request for an operation.
    ///
    /// A match should end with an arm that calls [`Request::assumed`]: later versions of this crate may have further
    /// operations, and [`Custom`](Operation::Custom) carries requests that the program has made itself, which an arm
    /// with another request would swallow.
    fn request(&self, operation: Operation<'_>) -> Request {
        Request::assumed(operation)
    }

    /// Changes a response to what this crate expects. It is called before the status is looked at, whatever the status
    /// is. By default the response is left as it is.
    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        let _ = (operation, response);
    }

    /// Returns the link to the page of a job, for people. `base_url` has no slash at its end.
    fn dashboard_url(&self, base_url: &str, id: &JobId) -> String {
        format!("{base_url}/job?job_id={}", encode(id.as_str()))
    }
}

impl<C: Contract + ?Sized> Contract for Arc<C> {
    fn request(&self, operation: Operation<'_>) -> Request {
        (**self).request(operation)
    }

    fn response(&self, operation: Operation<'_>, response: &mut Response) {
        (**self).response(operation, response);
    }

    fn dashboard_url(&self, base_url: &str, id: &JobId) -> String {
        (**self).dashboard_url(base_url, id)
    }
}

/// The contract with the defaults.
pub(crate) struct Assumed;

impl Contract for Assumed {}

/// What a request is for.
///
/// The operation decides when a request is [retried](crate::ClientBuilder::max_retries), whatever method a contract uses
/// for it: `List` and `Get` read, sending `Rename`, `Cancel` or `Delete` twice has the same effect as sending it once,
/// and submissions may create two jobs.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Operation<'a> {
    /// One page of the job history, with at most `limit` jobs.
    List {
        /// The maximum number of jobs on the page.
        limit: u32,
        /// Which page. `None` is the first one.
        cursor: Option<&'a str>,
    },
    /// One job.
    Get {
        /// The job.
        id: &'a JobId,
    },
    /// Another name for a job.
    Rename {
        /// The job.
        id: &'a JobId,
        /// The new name, as the caller wrote it.
        name: &'a str,
    },
    /// A request to cancel a job.
    Cancel {
        /// The job.
        id: &'a JobId,
    },
    /// The removal of a job from the history.
    Delete {
        /// The job.
        id: &'a JobId,
    },
    /// A new job.
    Submit {
        /// The description of the job: a JSON object, as the caller wrote it.
        payload: &'a RawValue,
    },
    /// New jobs, at most 1000.
    SubmitBatch {
        /// The description of each job: a JSON object, as the caller wrote it.
        payloads: &'a [&'a RawValue],
    },
    /// A request that was passed to [`Client::send`](crate::Client::send).
    Custom {
        /// The request.
        request: &'a Request,
    },
}

impl<'a> Operation<'a> {
    /// Returns the name of the operation, such as `rename job`. Errors begin with it.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::List { .. } => "list jobs",
            Operation::Get { .. } => "get job",
            Operation::Rename { .. } => "rename job",
            Operation::Cancel { .. } => "cancel job",
            Operation::Delete { .. } => "delete job",
            Operation::Submit { .. } => "submit job",
            Operation::SubmitBatch { .. } => "submit batch",
            Operation::Custom { .. } => "request",
        }
    }

    /// Returns the job that the operation is about.
    pub fn job_id(&self) -> Option<&'a JobId> {
        match self {
            Operation::Get { id }
            | Operation::Rename { id, .. }
            | Operation::Cancel { id }
            | Operation::Delete { id } => Some(id),
            _ => None,
        }
    }
}

impl Request {
    /// Returns the request that this crate assumes for an operation.
    ///
    /// # Examples
    ///
    /// A contract may use the request of another operation, or change one:
    ///
    /// ```
    /// use atomiverse::{Contract, Operation, Request};
    ///
    /// struct CancelDeletes;
    ///
    /// impl Contract for CancelDeletes {
    ///     fn request(&self, operation: Operation<'_>) -> Request {
    ///         let request = match operation {
    ///             Operation::Cancel { id } => Request::assumed(Operation::Delete { id }),
    ///             other => Request::assumed(other),
    ///         };
    ///         request.header("X-Team", "chemistry")
    ///     }
    /// }
    /// ```
    pub fn assumed(operation: Operation<'_>) -> Self {
        match operation {
            Operation::List { limit, cursor } => {
                Request::new("GET", ["jobs"]).query("limit", limit).query_if("cursor", cursor)
            }
            Operation::Get { id } => Request::new("GET", ["jobs", id.as_str()]),
            Operation::Rename { id, name } => {
                Request::new("PATCH", ["jobs", id.as_str()]).json(&json!({ "name": name }))
            }
            Operation::Cancel { id } => Request::new("POST", ["jobs", id.as_str(), "cancel"]),
            Operation::Delete { id } => Request::new("DELETE", ["jobs", id.as_str()]),
            Operation::Submit { payload } => Request::new("POST", ["jobs"]).json(payload),
            Operation::SubmitBatch { payloads } => {
                Request::new("POST", ["jobs", "batch"]).json(&BTreeMap::from([("jobs", payloads)]))
            }
            Operation::Custom { request } => request.clone(),
        }
    }
}

impl Response {
    /// Edits each job in the response to [`List`](Operation::List) or [`Get`](Operation::Get), one by one.
    ///
    /// In the response to a list, the jobs are the entries of the field `jobs`. The function is called with JSON objects
    /// only. Assigning to a field of the job therefore does not panic. Nested values can be read, but assigning to one or
    /// taking it panics if the value around it is not an object. A job that is not valid JSON, for example because of half
    /// an emoji in its name, is left as it is and does not affect the others. All other operations, and responses with a
    /// status other than 2xx, are left as they are.
    pub fn edit_jobs(&mut self, operation: Operation<'_>, mut edit: impl FnMut(&mut Value)) {
        if !self.is_success() {
            return;
        }
        let edited = match operation {
            Operation::Get { .. } => from_json::<&RawValue>(&self.body).map(|job| edited(job, &mut edit)),
            Operation::List { .. } => self.edited_page(&mut edit),
            _ => None,
        };
        if let Some(body) = edited {
            self.body = body.get().as_bytes().to_vec();
        }
    }

    fn edited_page(&self, edit: &mut impl FnMut(&mut Value)) -> Option<Box<RawValue>> {
        let mut page: BTreeMap<String, &RawValue> = from_json(&self.body)?;
        let jobs: Vec<&RawValue> = serde_json::from_str(page.get("jobs")?.get()).ok()?;
        let jobs: Vec<Box<RawValue>> = jobs.into_iter().map(|job| edited(job, edit)).collect();
        let jobs = to_raw_value(&jobs).ok()?;
        page.insert("jobs".to_owned(), &jobs);
        to_raw_value(&page).ok()
    }
}

/// Edits one job, if it is an object of valid JSON.
fn edited(job: &RawValue, edit: &mut impl FnMut(&mut Value)) -> Box<RawValue> {
    match serde_json::from_str::<Value>(job.get()) {
        Ok(mut value) if value.is_object() => {
            edit(&mut value);
            to_raw_value(&value).unwrap_or_else(|_| job.to_owned())
        }
        _ => job.to_owned(),
    }
}
