//! The message from any error body is one printable line of limited length.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(message) = atomiverse::fuzzing::error_message(data) {
        assert!(!message.is_empty());
        assert!(message.chars().count() <= 501, "{message}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(!message.starts_with(' ') && !message.contains("  "), "{message:?}");
    }
});
