//! Any bytes are read as a page or are an error, and a page that was read is equal after a round trip through JSON.
#![no_main]

use atomiverse::JobsPage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(page) = serde_json::from_slice::<JobsPage>(data) else { return };
    for job in &page.jobs {
        if let Some(preview) = &job.molecule_preview {
            let lines = preview.to_xyz().lines().count();
            assert_eq!(lines, preview.atoms.len() + 2);
        }
    }
    let text = serde_json::to_string(&page).unwrap();
    let again: JobsPage = serde_json::from_str(&text).unwrap();
    assert_eq!(again, page);
});
