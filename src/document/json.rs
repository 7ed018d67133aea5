//! The JSON object of a document: keeps the order of keys, refuses duplicates, and is wiped when dropped.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::error::Error;
use crate::secret::write_exact;

/// The greatest depth of nested arrays and objects, as in serde_json.
const MAX_DEPTH: usize = 127;

/// A JSON object with its fields in their order, including unknown ones.
///
/// `serde_json::Map` keeps the order only with the feature `preserve_order`, which would change it in host applications too.
#[derive(Clone, Default)]
pub(super) struct Fields(Vec<(String, Json)>);

/// A JSON value. A number is kept as it is written, so it may have any size.
#[derive(Clone)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Box<RawValue>),
    String(Zeroizing<String>),
    Array(Vec<Self>),
    Object(Fields),
}

impl Fields {
    /// Parses one JSON object with nothing behind it. The error quotes nothing of the text.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let raw: &RawValue = serde_json::from_str(text).map_err(Error::Json)?;
        match Json::parse(raw, MAX_DEPTH).map_err(Error::Json)? {
            Json::Object(fields) => Ok(fields),
            _ => Err(Error::NotAnObject),
        }
    }

    /// Returns the value of `key`, unless it is absent or `null`.
    pub(super) fn value(&self, key: &str) -> Option<&Json> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        (!matches!(value, Json::Null)).then_some(value)
    }

    /// Returns the object that is the value of `key`.
    pub(super) fn object_mut(&mut self, key: &str) -> Option<&mut Self> {
        match self.0.iter_mut().find(|(name, _)| name == key)? {
            (_, Json::Object(fields)) => Some(fields),
            _ => None,
        }
    }

    /// Replaces the value of `key`, or adds the field at the end.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Json>) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value.into(),
            None => self.0.push((key.to_owned(), value.into())),
        }
    }

    /// Returns the text indented by two spaces and without a newline at the end, as Codex writes its file.
    pub(super) fn pretty(&self) -> Zeroizing<Vec<u8>> {
        write_exact(|sink| serde_json::to_writer_pretty(sink, self))
    }

    /// Returns the text without white space, as Codex writes its keychain item.
    pub(super) fn compact(&self) -> Zeroizing<Vec<u8>> {
        write_exact(|sink| serde_json::to_writer(sink, self))
    }
}

impl Json {
    fn parse(raw: &RawValue, depth: usize) -> Result<Self, serde_json::Error> {
        let text = raw.get();
        if text.starts_with(['{', '[']) && depth == 0 {
            return Err(de::Error::custom("it is nested too deeply"));
        }
        Ok(match text.as_bytes() {
            [b'{', ..] => {
                let Entries(entries) = serde_json::from_str(text)?;
                let mut keys: Vec<_> = entries.iter().map(|(key, _)| key).collect();
                keys.sort_unstable();
                if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(de::Error::custom("a key appears twice"));
                }
                let parse = |(key, raw)| Ok((key, Self::parse(raw, depth - 1)?));
                Self::Object(Fields(
                    entries.into_iter().map(parse).collect::<Result<_, serde_json::Error>>()?,
                ))
            }
            [b'[', ..] => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                Self::Array(
                    items.into_iter().map(|raw| Self::parse(raw, depth - 1)).collect::<Result<_, _>>()?,
                )
            }
            [b'"', ..] => Self::String(Zeroizing::new(serde_json::from_str(text)?)),
            b"null" => Self::Null,
            b"true" => Self::Bool(true),
            b"false" => Self::Bool(false),
            _ => Self::Number(raw.to_owned()),
        })
    }

    /// Returns the text of a string.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the fields of an object.
    pub(super) fn as_object(&self) -> Option<&Fields> {
        match self {
            Self::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// Returns the text without white space.
    pub(super) fn compact(&self) -> Zeroizing<Vec<u8>> {
        write_exact(|sink| serde_json::to_writer(sink, self))
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(Zeroizing::new(text.to_owned()))
    }
}

impl From<Option<&str>> for Json {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::from)
    }
}

impl From<Fields> for Json {
    fn from(fields: Fields) -> Self {
        Self::Object(fields)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(raw) => raw.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(fields) => fields.serialize(serializer),
        }
    }
}

/// Returns the text of `value`, the field `name`, if it is present.
pub(super) fn string<'a>(value: Option<&'a Json>, name: &'static str) -> Result<Option<&'a str>, Error> {
    match value {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::Field { name, expected: "a string" }),
    }
}

/// The fields of an object whose values are not parsed yet.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}
