//! Reading values whose form is not certain: strings or numbers, and single fields of an object.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Returns some fields of a JSON object, unread, so that nothing in the other fields, such as half of a surrogate pair or
/// a number that is too large, makes these unreadable. Of a field that occurs twice, the last
/// value counts. Returns `None` if this is not an object.
pub(crate) fn fields<'a, const N: usize>(
    object: &'a str,
    names: [&str; N],
) -> Option<[Option<&'a RawValue>; N]> {
    let fields: HashMap<String, &RawValue> = serde_json::from_str(object).ok()?;
    Some(names.map(|name| fields.get(name).copied()))
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
