//! Reading values whose form is not certain: strings or numbers, and single fields of an object.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Error, MapAccess, Visitor};
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

/// A value that is a string or a number. By default neither is accepted.
pub(super) trait FromScalar: Sized {
    const EXPECTED: &str;

    fn from_text(_: &str) -> Option<Self> {
        None
    }

    fn from_number(_: f64) -> Option<Self> {
        None
    }

    fn from_integer(number: i128) -> Option<Self> {
        Self::from_number(number as f64)
    }
}

/// Implements `Deserialize` for types that are a string or a number.
macro_rules! deserialize_scalar {
    ($($type:ty),*) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let scalar = $crate::types::lenient::Scalar(std::marker::PhantomData);
                deserializer.deserialize_any(scalar)
            }
        }
    )*};
}
pub(super) use deserialize_scalar;

pub(super) struct Scalar<T>(pub(super) PhantomData<T>);

impl<T: FromScalar> Scalar<T> {
    fn ensure<E: Error>(value: Option<T>) -> Result<T, E> {
        value.ok_or_else(|| E::custom(format_args!("expected {}", T::EXPECTED)))
    }
}

impl<'de, T: FromScalar> Visitor<'de> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Self::ensure(T::from_integer(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Self::ensure(T::from_integer(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        Self::ensure(T::from_number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Self::ensure(T::from_text(text))
    }

    /// If any crate of a program enables the feature `arbitrary_precision` of serde_json, it is enabled for all crates. A
    /// number of unknown type then arrives as a map with one key.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let entry = map.next_entry::<String, String>()?;
        let number = entry.filter(|(key, _)| key == "$serde_json::private::Number").map(|(_, number)| number);
        let number = number.unwrap_or_default();
        let integer = number.parse().ok().and_then(T::from_integer);
        Self::ensure(integer.or_else(|| T::from_number(number.parse().ok()?)))
    }
}
