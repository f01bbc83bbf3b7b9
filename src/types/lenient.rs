//! Reading values whose form is not certain.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Reads any value: `Some` if it is a `T`, `None` if it is anything else.
///
/// serde cannot go back after a mismatch, so an unknown preview would make the whole page unreadable. Each level
/// therefore reads its value to the end instead of failing, in one pass and without a copy.
pub(super) struct Lenient<T>(pub(super) Option<T>);

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

/// Builds a `T` from a JSON value. By default no value is accepted.
pub(super) trait FromAny: Sized {
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

    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        // If any crate of a program enables the feature `arbitrary_precision` of serde_json, it is enabled for all
        // crates. A number of unknown type then arrives as a map with this one key.
        const NUMBER: &str = "$serde_json::private::Number";
        let mut value = None;
        while let Some((Lenient::<String>(key), Lenient::<String>(text))) = map.next_entry()? {
            if let (Some(NUMBER), Some(text)) = (key.as_deref(), text) {
                let number = || Self::from_number(text.parse().ok()?);
                value = text.parse().map_or_else(|_| number(), Self::from_integer);
            }
        }
        Ok(value)
    }
}

impl<'de, T: FromAny> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<T>(PhantomData<T>);
        impl<'de, T: FromAny> Visitor<'de> for Any<T> {
            type Value = Option<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_unit<E>(self) -> Result<Option<T>, E> {
                Ok(None)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Option<T>, E> {
                Ok(None)
            }
            fn visit_i64<E>(self, number: i64) -> Result<Option<T>, E> {
                Ok(T::from_integer(number.into()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Option<T>, E> {
                Ok(T::from_integer(number.into()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Option<T>, E> {
                Ok(T::from_number(number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Option<T>, E> {
                Ok(T::from_text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Option<T>, A::Error> {
                T::from_seq(seq)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
                T::from_map(map)
            }
        }
        deserializer.deserialize_any(Any(PhantomData)).map(Lenient)
    }
}

impl FromAny for String {
    const EXPECTED: &str = "a string";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl FromAny for f64 {
    const EXPECTED: &str = "a number";
    fn from_number(number: f64) -> Option<Self> {
        Some(number)
    }
}

impl<T: FromAny> FromAny for Vec<T> {
    const EXPECTED: &str = "a list";
    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut items = Some(Vec::new());
        while let Some(Lenient(item)) = seq.next_element()? {
            match (&mut items, item) {
                (Some(items), Some(item)) => items.push(item),
                _ => items = None,
            }
        }
        Ok(items)
    }
}

impl FromAny for [f64; 3] {
    const EXPECTED: &str = "a position of three numbers";
    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut position = [0.0; 3];
        let mut fits = true;
        for coordinate in &mut position {
            match seq.next_element()? {
                Some(Lenient(Some(number))) => *coordinate = number,
                _ => fits = false,
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            fits = false;
        }
        Ok(fits.then_some(position))
    }
}

/// Implements `Deserialize` for public types, which are read strictly when they stand alone.
macro_rules! deserialize_strictly {
    ($($type:ty),*) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let Lenient(value) = Lenient::deserialize(deserializer)?;
                let expected = <$type as FromAny>::EXPECTED;
                value.ok_or_else(|| serde::de::Error::custom(format_args!("expected {expected}")))
            }
        }
    )*};
}
pub(super) use deserialize_strictly;
