//! The JSON object of a document: keeps the order of keys, refuses duplicates, and is wiped when dropped.

use serde::de::{Error as _, IgnoredAny};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::error::{Error, JsonError};
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
        let _valid: IgnoredAny =
            serde_json::from_str(text).map_err(|error| Error::Json(JsonError::new(error)))?;
        match (Reader { rest: text }).value(MAX_DEPTH).map_err(|error| Error::Json(JsonError::new(error)))? {
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

/// Reads a text that is known to be valid JSON, in linear time.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Json, serde_json::Error> {
        self.skip_blanks();
        Ok(match self.rest.as_bytes().first() {
            Some(b'{' | b'[') if depth == 0 => {
                return Err(serde_json::Error::custom("it is nested too deeply"));
            }
            Some(b'{') => {
                let mut fields = Vec::new();
                while self.has_item() {
                    let key = serde_json::from_str(self.string())?;
                    self.skip_blanks();
                    self.take(1);
                    fields.push((key, self.value(depth - 1)?));
                }
                let mut keys: Vec<_> = fields.iter().map(|(key, _)| key).collect();
                keys.sort_unstable();
                if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(serde_json::Error::custom("a key appears twice"));
                }
                Json::Object(Fields(fields))
            }
            Some(b'[') => {
                let mut items = Vec::new();
                while self.has_item() {
                    items.push(self.value(depth - 1)?);
                }
                Json::Array(items)
            }
            Some(b'"') => Json::String(Zeroizing::new(serde_json::from_str(self.string())?)),
            _ => match self
                .take(self.rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(self.rest.len()))
            {
                "null" => Json::Null,
                "true" => Json::Bool(true),
                "false" => Json::Bool(false),
                number => Json::Number(RawValue::from_string(number.to_owned())?),
            },
        })
    }

    /// Moves to the next item of an array or object, past the opening bracket or comma before it. At the end, moves past the
    /// closing bracket and returns `false`.
    fn has_item(&mut self) -> bool {
        self.skip_blanks();
        if !matches!(self.take(1), "}" | "]") {
            self.skip_blanks();
            if !self.rest.starts_with(['}', ']']) {
                return true;
            }
            self.take(1);
        }
        false
    }

    /// Takes a string with its quotes.
    fn string(&mut self) -> &'a str {
        let mut is_escaped = true;
        let end = self.rest.bytes().position(|byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        });
        self.take(end.map_or(self.rest.len(), |end| end + 1))
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}
