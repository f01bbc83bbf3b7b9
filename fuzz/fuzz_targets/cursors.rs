//! A server that answers whatever it likes never makes the iterator ask twice with the same cursor, ask for more
//! than is wanted, or go on after the end.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(([limit, wanted], pages)) = data.split_first_chunk() else { return };
    let max_jobs = (*wanted < 128).then_some(usize::from(*wanted));
    let mut pages = pages.iter();
    let mut asked = HashSet::new();
    let mut ended = false;
    // A page: whether there are more, whether it has a cursor and which, how many jobs.
    atomiverse::fuzzing::scan(u32::from(*limit), max_jobs, |limit, cursor| {
        assert!(!ended, "asked after the end");
        assert!(limit > 0);
        assert!(asked.insert(cursor.map(str::to_owned)), "asked twice with {cursor:?}");
        let byte = pages.next()?;
        let has_more = byte & 1 == 1;
        let next = (byte & 2 == 2).then(|| format!("{}", byte >> 4));
        ended = !has_more || next.is_none();
        Some((has_more, next, usize::from(byte >> 2 & 3)))
    });
});
