//! Reads files with payloads, which are sent byte for byte.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Result, printable};

/// Reads a file that contains one payload.
pub fn read(path: &Path) -> Result<Box<RawValue>> {
    let text = text_of(path)?;
    parse(&text).map_err(|problem| format!("{}: {problem}", path.display()).into())
}

/// Reads a file that contains one payload per line.
pub fn read_lines(path: &Path) -> Result<Vec<Box<RawValue>>> {
    let text = text_of(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(n, line)| {
            parse(line).map_err(|problem| format!("{}, line {}: {problem}", path.display(), n + 1).into())
        })
        .collect()
}

fn text_of(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = match bytes.as_slice() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => Err("UTF-16"),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).map_err(|_| "not UTF-8"),
        bytes => String::from_utf8(bytes.to_vec()).map_err(|_| "not UTF-8"),
    };
    text.map_err(|encoding| format!("{}: the file is {encoding}; save it as UTF-8", path.display()).into())
}

fn parse(text: &str) -> Result<Box<RawValue>, String> {
    let payload: Box<RawValue> = serde_json::from_str(text).map_err(|error| {
        let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
        match line.as_bytes().get(error.column().saturating_sub(1)) {
            Some(b'/' | b'#') => format!("JSON has no comments: {}", printable(line.trim())),
            _ => error.to_string(),
        }
    })?;
    serde_json::from_str::<UniqueKeys>(text).map_err(|error| printable(&error.to_string()))?;
    Ok(payload)
}

/// JSON in which no object has the same key twice.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let checked = match json.as_bytes().first() {
            Some(b'{') => serde_json::Deserializer::from_str(json).deserialize_map(UniqueKeys),
            Some(b'[') => serde_json::from_str::<Vec<UniqueKeys>>(json).map(|_| UniqueKeys),
            _ => Ok(UniqueKeys),
        };
        checked.map_err(D::Error::custom)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some((key, _)) = fields.next_entry::<String, UniqueKeys>()? {
            if let Some(key) = keys.replace(key) {
                return Err(A::Error::custom(format!("the key {key:?} occurs twice")));
            }
        }
        Ok(self)
    }
}
