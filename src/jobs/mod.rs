//! The calls: what is sent, and what the outcome is.

pub(crate) mod bulk;
pub(crate) mod change;
pub(crate) mod dashboard;
pub(crate) mod list;
pub(crate) mod pages;
pub(crate) mod schedule;
pub(crate) mod submit;
pub(crate) mod wait;

use crate::error::{Error, Result};
use crate::types::JobId;

/// Checks an identifier from the caller. What is pasted by mistake, such as a URL or an invisible character, would be
/// reported as a job that does not exist.
pub(crate) fn check_id(id: &str) -> Result<JobId> {
    match problem_of_id(id) {
        None => Ok(JobId::from(id)),
        Some(problem) => {
            let shown: String = id.chars().take(60).chain(id.chars().nth(60).map(|_| '…')).collect();
            Err(Error::input(format!("the job id {shown:?} {problem}")))
        }
    }
}

fn problem_of_id(id: &str) -> Option<String> {
    const REFUSED: &str = "\"'`<>?#\\";
    Some(match id {
        "" => "is empty".to_owned(),
        // A server or proxy that normalises the path treats these as relative segments, even if they are encoded.
        "." | ".." => "would change the path of the request".to_owned(),
        _ if id.len() > 256 => "is longer than 256 characters".to_owned(),
        _ => {
            let refused = id.chars().find(|c| !c.is_ascii_graphic() || REFUSED.contains(*c))?;
            format!("contains '{}': pass the id alone", refused.escape_default())
        }
    })
}
