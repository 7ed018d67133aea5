//! The JSON of etcd's gateway.
//!
//! Gateways before 3.6 write field names as in the protocol, later ones in camel case; both accept the former. Integers
//! of 64 bits are strings in most replies, and zero values are left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// Bytes in base64.
#[derive(Debug, Default)]
pub(super) struct Base64(pub(super) Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(|_| de::Error::custom("not base64"))
    }
}

/// An integer that is written as a string.
fn integer<'de, D: Deserializer<'de>, N: TryFrom<i128>>(deserializer: D) -> Result<N, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Integer<'a> {
        Unsigned(u64),
        Signed(i64),
        Text(&'a str),
    }
    let value = match Integer::deserialize(deserializer)? {
        Integer::Unsigned(value) => Some(i128::from(value)),
        Integer::Signed(value) => Some(i128::from(value)),
        Integer::Text(text) => text.parse().ok(),
    };
    value.and_then(|value| N::try_from(value).ok()).ok_or_else(|| de::Error::custom("not an integer"))
}

fn text<N: std::fmt::Display, S: Serializer>(value: &N, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    #[serde(alias = "clusterId", deserialize_with = "integer")]
    pub(super) cluster_id: u64,
    #[serde(alias = "memberId", deserialize_with = "integer")]
    pub(super) member_id: u64,
    #[serde(deserialize_with = "integer")]
    pub(super) revision: i64,
    #[serde(alias = "raftTerm", deserialize_with = "integer")]
    pub(super) raft_term: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    pub(super) key: Base64,
    pub(super) value: Base64,
    #[serde(alias = "modRevision", deserialize_with = "integer")]
    pub(super) mod_revision: i64,
    #[serde(deserialize_with = "integer")]
    pub(super) lease: i64,
}

/// A linearizable read of one key.
#[derive(Debug, Serialize)]
pub(super) struct RangeRequest {
    pub(super) key: Base64,
}

#[derive(Debug, Deserialize)]
pub(super) struct RangeReply {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) kvs: Vec<KeyValue>,
}

#[derive(Debug, Serialize)]
pub(super) struct TxnRequest {
    pub(super) compare: Vec<Compare>,
    pub(super) success: Vec<TxnOperation>,
}

#[derive(Debug, Serialize)]
pub(super) struct Compare {
    pub(super) result: &'static str,
    pub(super) key: Base64,
    #[serde(flatten)]
    pub(super) target: CompareTarget,
}

#[derive(Debug, Serialize)]
#[serde(tag = "target")]
pub(super) enum CompareTarget {
    #[serde(rename = "VALUE")]
    Value { value: Base64 },
    #[serde(rename = "VERSION")]
    Version { version: &'static str },
}

#[derive(Debug, Serialize)]
pub(super) enum TxnOperation {
    #[serde(rename = "request_put")]
    Put {
        key: Base64,
        value: Base64,
        #[serde(serialize_with = "text")]
        lease: i64,
    },
    #[serde(rename = "request_delete_range")]
    Delete { key: Base64 },
}

#[derive(Debug, Deserialize)]
pub(super) struct TxnReply {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) succeeded: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct GrantRequest {
    #[serde(rename = "TTL", serialize_with = "text")]
    pub(super) ttl: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct LeaseRequest {
    #[serde(rename = "ID", serialize_with = "text")]
    pub(super) id: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LeaseReply {
    #[serde(rename = "ID", deserialize_with = "integer")]
    pub(super) id: i64,
    #[serde(rename = "TTL", deserialize_with = "integer")]
    pub(super) ttl: i64,
}

/// A reply of a method that streams.
#[derive(Debug, Deserialize)]
pub(super) struct Streamed<T> {
    pub(super) result: Option<T>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RevokeReply {
    #[serde(rename = "header")]
    pub(super) _header: Header,
}

#[derive(Debug, Serialize)]
pub(super) struct WatchRequest {
    pub(super) create_request: WatchCreate,
}

#[derive(Debug, Serialize)]
pub(super) struct WatchCreate {
    pub(super) key: Base64,
    #[serde(serialize_with = "text")]
    pub(super) start_revision: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchReply {
    pub(super) header: Header,
    pub(super) canceled: bool,
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: EventKind,
    pub(super) kv: KeyValue,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum EventKind {
    #[default]
    #[serde(rename = "PUT")]
    Put,
    #[serde(rename = "DELETE")]
    Delete,
}

#[derive(Debug, Deserialize)]
pub(super) struct AuthenticateReply {
    pub(super) token: String,
}

/// An error reply. The code is one of gRPC.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorReply {
    #[serde(default)]
    pub(super) message: String,
    pub(super) code: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_in_both_spellings() {
        let old = r#"{"header":{"cluster_id":"18446744073709551615","member_id":"2","revision":"3","raft_term":"4"},
            "kvs":[{"key":"YQ==","create_revision":"2","mod_revision":"3","version":"1","value":"eA==","lease":"7"}],"count":"1"}"#;
        let new = r#"{"header":{"clusterId":"18446744073709551615","memberId":2,"revision":3,"raftTerm":"4"},
            "kvs":[{"key":"YQ==","createRevision":"2","modRevision":3,"version":"1","value":"eA==","lease":"7"}],"count":1}"#;
        for text in [old, new] {
            let reply: RangeReply = serde_json::from_str(text).unwrap();
            let Header { cluster_id, member_id, revision, raft_term } = reply.header;
            assert_eq!((cluster_id, member_id, revision, raft_term), (u64::MAX, 2, 3, 4));
            let kv = &reply.kvs[0];
            assert_eq!((&*kv.value.0, kv.mod_revision, kv.lease), (&b"x"[..], 3, 7));
        }
    }

    #[test]
    fn zero_values_are_left_out() {
        let reply: RangeReply = serde_json::from_str(r#"{"header":{"revision":"1"}}"#).unwrap();
        assert!(reply.kvs.is_empty());
        let reply: TxnReply = serde_json::from_str(r#"{"header":{}}"#).unwrap();
        assert!(!reply.succeeded);
        let event: Event = serde_json::from_str(r#"{"kv":{"key":"YQ==","mod_revision":"4"}}"#).unwrap();
        assert_eq!(event.kind, EventKind::Put);
    }

    #[test]
    fn an_integer_that_is_none_is_refused() {
        for revision in [r#""""#, r#""1.5""#, r#""9223372036854775808""#, "1.5", "true", "[]"] {
            let text = format!(r#"{{"header":{{"revision":{revision}}}}}"#);
            assert!(serde_json::from_str::<TxnReply>(&text).is_err(), "{revision}");
        }
    }

    #[test]
    fn a_transaction_is_written_as_the_gateway_reads_it() {
        let request = TxnRequest {
            compare: vec![
                Compare {
                    result: "EQUAL",
                    key: Base64(b"a".to_vec()),
                    target: CompareTarget::Value { value: Base64(b"x".to_vec()) },
                },
                Compare {
                    result: "EQUAL",
                    key: Base64(b"b".to_vec()),
                    target: CompareTarget::Version { version: "0" },
                },
            ],
            success: vec![
                TxnOperation::Put { key: Base64(b"a".to_vec()), value: Base64(b"y".to_vec()), lease: 7 },
                TxnOperation::Delete { key: Base64(b"b".to_vec()) },
            ],
        };
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            concat!(
                r#"{"compare":[{"result":"EQUAL","key":"YQ==","target":"VALUE","value":"eA=="},"#,
                r#"{"result":"EQUAL","key":"Yg==","target":"VERSION","version":"0"}],"#,
                r#""success":[{"request_put":{"key":"YQ==","value":"eQ==","lease":"7"}},"#,
                r#"{"request_delete_range":{"key":"Yg=="}}]}"#
            )
        );
    }
}
