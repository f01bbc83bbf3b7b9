//! For any pages of a server, an iteration does not use a cursor twice, does not continue after the end, and loses no
//! job of a page that it has accepted.
#![no_main]

use std::collections::HashSet;

use atomiverse::{JobSummary, JobsPage};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.iter();
    let mut used = HashSet::new();
    let mut sent: Vec<JobSummary> = Vec::new();
    let mut last: Vec<JobSummary> = Vec::new();
    let mut is_over = false;
    // Each byte describes a page: `has_more`, whether it has a cursor and which one, and the number of jobs.
    let received = atomiverse::fuzzing::iterate(|cursor| {
        assert!(!is_over, "a request after the end");
        assert!(used.insert(cursor.map(str::to_owned)), "two requests with {cursor:?}");
        let byte = bytes.next()?;
        let next_cursor = (byte & 2 == 2).then(|| format!("{}", byte >> 4));
        let job =
            |n| JobSummary::new(format!("{}-{n}", byte >> 3 & 1), "done", "opt", "2026-05-02T14:32:01Z");
        let jobs: Vec<JobSummary> = (0..byte >> 2 & 3).map(job).collect();
        // The iteration refuses a page with the same jobs as the one before it.
        is_over = byte & 1 == 0 || next_cursor.is_none() || jobs.len() > 1 && jobs == last;
        if jobs.len() < 2 || jobs != last {
            sent.extend(jobs.iter().cloned());
        }
        last.clone_from(&jobs);
        let page = serde_json::json!({"jobs": jobs, "has_more": byte & 1 == 1, "next_cursor": next_cursor});
        Some(serde_json::from_value::<JobsPage>(page).unwrap())
    });
    assert_eq!(received, sent);
});
