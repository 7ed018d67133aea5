//! Tests that what is parsed is written back as it was, and that other text is refused.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{chatgpt, document};
use super::*;

#[test]
fn unknown_fields_keep_their_place() {
    let text = r#"{"z":1,"auth_mode":"chatgpt","future":{"b":[1,{"a":null}],"a":"x"},"tokens":{"new":true,"id_token":"e30.e30.e30","access_token":"a","refresh_token":"r","login_owner_id":"o","account_id":null},"last_refresh":"2026-01-01T00:00:00Z","a":-7}"#;
    assert_eq!(AuthDocument::parse(text.as_bytes()).unwrap().to_compact().as_slice(), text.as_bytes());
}

#[test]
fn unknown_numbers_are_written_as_they_were_read() {
    for number in [
        "123456789012345678901234567890",
        "1e400",
        "-0",
        "1.0",
        "1E+5",
        "0.1000000000000000055511151231257827",
    ] {
        let compact =
            format!(r#"{{"z":{number},"tokens":{{"b":{number},"a":[{{"y":{number},"x":null}}]}}}}"#);
        let document = AuthDocument::parse(compact.as_bytes()).unwrap();
        assert_eq!(document.to_compact().as_slice(), compact.as_bytes());
        let pretty = format!(
            "{{\n  \"z\": {number},\n  \"tokens\": {{\n    \"b\": {number},\n    \"a\": [\n      {{\n        \"y\": {number},\n        \"x\": null\n      }}\n    ]\n  }}\n}}"
        );
        assert_eq!(document.to_pretty().as_slice(), pretty.as_bytes());
        let again = AuthDocument::parse(pretty.as_bytes()).unwrap();
        assert_eq!(again.to_compact().as_slice(), compact.as_bytes());
    }
}

#[test]
fn duplicate_keys_are_refused_at_any_depth() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"\u0061":3}"#,
        r#"{"tokens":{"a":1,"a":2}}"#,
        r#"{"a":[{"b":{"c":1,"d":2,"c":3}}]}"#,
        r#"{"auth_mode":"chatgpt","auth_mode":"chatgpt"}"#,
    ] {
        assert!(matches!(AuthDocument::parse(text.as_bytes()), Err(Error::Json(_))), "{text}");
    }
}

#[test]
fn nesting_is_limited() {
    for (depth, is_ok) in [(126, true), (127, false), (100_000, false)] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let text = format!(r#"{{"a":{}1{}}}"#, open.repeat(depth), close.repeat(depth));
            assert_eq!(AuthDocument::parse(text.as_bytes()).is_ok(), is_ok, "{depth} {open}");
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        ]
    })
}

proptest! {
    #[test]
    fn any_unknown_field_round_trips(name in "[a-z]{12}", value in any_json()) {
        let mut whole = chatgpt(&json!({}), "rt");
        whole[&name] = value.clone();
        whole["tokens"][&name] = value;
        let document = document(&whole);
        prop_assert_eq!(document.to_compact().to_vec(), whole.to_string().into_bytes());
        prop_assert_eq!(document.to_pretty().to_vec(), serde_json::to_string_pretty(&whole).unwrap().into_bytes());
        let again = AuthDocument::parse(&document.to_pretty()).unwrap();
        prop_assert_eq!(again.to_compact(), document.to_compact());
    }

    #[test]
    fn parsing_any_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any_outcome = AuthDocument::parse(&bytes);
    }
}

#[test]
fn a_document_that_is_nested_too_deeply_is_refused_in_linear_time() {
    let start = std::time::Instant::now();
    for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
        let text = format!("{{\"a\":{}1{}}}", open.repeat(100_000), close.repeat(100_000));
        let wide = format!("{{\"a\":{}\"{}\"{}}}", open.repeat(100), "b".repeat(1 << 20), close.repeat(100));
        assert!(AuthDocument::parse(text.as_bytes()).is_err());
        assert_eq!(AuthDocument::parse(wide.as_bytes()).unwrap().to_compact().as_slice(), wide.as_bytes());
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}
