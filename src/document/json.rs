//! The JSON object of a document: keeps the order of keys, refuses duplicates, and is wiped when dropped.

use std::fmt;
use std::io;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use zeroize::{Zeroize, Zeroizing};

/// The fields of a document in their order, including unknown ones.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn new() -> Self {
        Self(Map::new())
    }

    /// Parses one JSON object with nothing behind it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let fields = Self::deserialize(&mut reader)?;
        reader.end()?;
        Ok(fields)
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn value_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.0.get_mut(key)
    }

    /// Replaces the value of `key`, or adds the field at the end. The old value is wiped.
    pub(super) fn set(&mut self, key: &str, value: Value) {
        if let Some(mut old) = self.0.insert(key.to_owned(), value) {
            wipe(&mut old);
        }
    }

    /// Returns the text indented by two spaces and without a newline at the end, as Codex writes its file.
    pub(super) fn pretty(&self) -> Zeroizing<Vec<u8>> {
        self.written(|sink, map| serde_json::to_writer_pretty(sink, map))
    }

    /// Returns the text without white space, as Codex writes its keychain item.
    pub(super) fn compact(&self) -> Zeroizing<Vec<u8>> {
        self.written(|sink, map| serde_json::to_writer(sink, map))
    }

    /// Writes twice, first only to count: a buffer that grew would leave unwiped copies behind.
    fn written(
        &self,
        write: impl Fn(Sink<'_>, &Map<String, Value>) -> serde_json::Result<()>,
    ) -> Zeroizing<Vec<u8>> {
        let mut length = 0;
        // Writing into memory does not fail.
        let _infallible = write(Sink::Count(&mut length), &self.0);
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        let _infallible = write(Sink::Keep(&mut bytes), &self.0);
        bytes
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe);
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Strict.deserialize(deserializer)? {
            Value::Object(map) => Ok(Self(map)),
            mut other => {
                wipe(&mut other);
                Err(de::Error::custom("the outermost value is not an object"))
            }
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Overwrites every string below `value`.
pub(super) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

enum Sink<'a> {
    Count(&'a mut usize),
    Keep(&'a mut Vec<u8>),
}

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Count(length) => **length += bytes.len(),
            Self::Keep(kept) => kept.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads any JSON value and refuses an object with a duplicate key, as Codex does.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Self)?;
            if map.insert(key, value).is_some() {
                return Err(de::Error::custom("a key appears twice"));
            }
        }
        Ok(Value::Object(map))
    }
}
