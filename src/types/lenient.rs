//! Reading values whose form is not certain: strings or numbers, and single fields of an object.

use std::collections::HashMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Returns some fields of a JSON object, unread, so that nothing in the other fields, such as half of a surrogate pair or
/// a number that is too large, makes these unreadable. A field that occurs twice is left out.
pub(crate) fn fields<'a, const N: usize>(
    object: &'a str,
    names: [&str; N],
) -> serde_json::Result<[Option<&'a RawValue>; N]> {
    struct Entries<'a>(HashMap<String, Option<&'a RawValue>>);
    impl<'de> Visitor<'de> for Entries<'de> {
        type Value = Self;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
            while let Some((key, value)) = map.next_entry()? {
                self.0.entry(key).and_modify(|value| *value = None).or_insert(Some(value));
            }
            Ok(self)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(object);
    let entries = deserializer.deserialize_map(Entries(HashMap::new()))?.0;
    deserializer.end()?;
    Ok(names.map(|name| entries.get(name).copied().flatten()))
}

/// A value that is read from a string or a number.
pub(super) trait FromScalar: Sized {
    const EXPECTED: &str;

    fn from_scalar(scalar: Value) -> Option<Self>;
}

/// Implements `Deserialize` for types that are a string or a number. `Value` also reads numbers as they arrive if any
/// crate of a program enables the feature `arbitrary_precision` of serde_json.
macro_rules! deserialize_scalar {
    ($($type:ty),*) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use $crate::types::lenient::FromScalar;
                let scalar = Self::from_scalar(serde_json::Value::deserialize(deserializer)?);
                scalar.ok_or_else(|| serde::de::Error::custom(format_args!("expected {}", Self::EXPECTED)))
            }
        }
    )*};
}
pub(super) use deserialize_scalar;
