//! The formats that other versions of the program read, each as a literal fixture.
//!
//! A fixture never changes: formats only gain fields.

mod disk;
mod schema;
mod wire;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// Reads the fixture called `name`.
fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Checks that `found` equals `expected`, in which `"<text>"`, `"<number>"` and `"<time>"` match any such value.
#[track_caller]
fn assert_form(found: &Value, expected: &Value) {
    if let Err(difference) = compare(found, expected, "") {
        panic!("{difference}\nfound {found:#}\nexpected {expected:#}");
    }
}

fn compare(found: &Value, expected: &Value, at: &str) -> Result<(), String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let keys = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<BTreeSet<_>>();
            if keys(found) != keys(expected) {
                return Err(format!("other keys in '{at}'"));
            }
            found.iter().try_for_each(|(key, value)| compare(value, &expected[key], &format!("{at}.{key}")))
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => found
            .iter()
            .zip(expected)
            .try_for_each(|(found, expected)| compare(found, expected, &format!("{at}[]"))),
        (Value::Number(_), Value::String(kind)) if kind == "<number>" => Ok(()),
        (Value::String(text), Value::String(kind)) if kind == "<text>" && !text.is_empty() => Ok(()),
        (Value::String(text), Value::String(kind))
            if kind == "<time>" && text.parse::<jiff::Timestamp>().is_ok() =>
        {
            Ok(())
        }
        _ if found == expected => Ok(()),
        _ => Err(format!("another value in '{at}'")),
    }
}
