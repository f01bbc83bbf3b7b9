//! Any string or number is kept unchanged, and both conversions agree if both succeed.
#![no_main]

use atomiverse::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(timestamp) = serde_json::from_slice::<Timestamp>(data) else { return };
    let moment = timestamp.to_jiff();
    let system_time = timestamp.to_system_time();
    let text = serde_json::to_string(&timestamp).unwrap();
    let again: Timestamp = serde_json::from_str(&text).unwrap();
    assert_eq!(again, timestamp);
    assert_eq!(again.to_jiff(), moment);
    assert_eq!(again.to_system_time(), system_time);
    if let (Some(moment), Some(system_time)) = (moment, system_time) {
        let nanoseconds = match system_time.duration_since(std::time::SystemTime::UNIX_EPOCH) {
            Ok(after) => after.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        assert_eq!(moment.as_nanosecond(), nanoseconds);
    }
});
