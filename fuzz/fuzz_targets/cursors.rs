//! For any responses of a server, the iterator does not use a cursor twice, does not request more jobs than it needs,
//! and does not continue after the end.
#![no_main]

use std::collections::HashSet;
use std::sync::LazyLock;

use atomiverse::JobsPage;
use libfuzzer_sys::fuzz_target;

static PAGE: LazyLock<JobsPage> = LazyLock::new(|| {
    serde_json::from_str(
        r#"{"jobs": [{"job_id": "a", "state": "done", "job_type": "opt", "created_at": "2026-05-02T14:32:01Z"}],
            "has_more": false}"#,
    )
    .unwrap()
});

fuzz_target!(|data: &[u8]| {
    let Some(([limit, wanted], pages)) = data.split_first_chunk() else { return };
    let max_jobs = (*wanted < 128).then_some(usize::from(*wanted));
    let mut pages = pages.iter();
    let mut requested = HashSet::new();
    let mut ended = false;
    let mut sent = 0;
    // Each byte describes a page: `has_more`, whether it has a cursor and which one, and the number of jobs.
    let received = atomiverse::fuzzing::scan(u32::from(*limit), max_jobs, |limit, cursor| {
        assert!(!ended, "a request after the end");
        assert!(limit > 0);
        assert!(max_jobs.is_none_or(|max| limit as usize <= max - sent), "more jobs requested than needed");
        assert!(requested.insert(cursor.map(str::to_owned)), "two requests with {cursor:?}");
        let byte = pages.next()?;
        let mut page = PAGE.clone();
        page.has_more = byte & 1 == 1;
        page.next_cursor = (byte & 2 == 2).then(|| format!("{}", byte >> 4));
        page.jobs = vec![PAGE.jobs[0].clone(); usize::from(byte >> 2 & 3)];
        sent += page.jobs.len();
        ended = !page.has_more || page.next_cursor.is_none();
        Some(page)
    });
    assert_eq!(received, sent, "a job was lost");
});
