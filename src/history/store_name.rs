//! Encodes a store by our own name for it.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

use crate::config::StoreKind;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference to the field")]
pub(super) fn serialize<S: Serializer>(store: &StoreKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(store.as_str())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StoreKind, D::Error> {
    let name = String::deserialize(deserializer)?;
    StoreKind::from_name(&name).ok_or_else(|| D::Error::custom("unknown store"))
}

pub(super) mod optional {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::config::StoreKind;

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(in crate::history) fn serialize<S: Serializer>(
        store: &Option<StoreKind>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match store {
            Some(kind) => serializer.serialize_str(kind.as_str()),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::history) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<StoreKind>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.and_then(|name| StoreKind::from_name(&name)))
    }
}
