//! Encodes a store by our own name for it.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

use super::StoreKind;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference to the field")]
pub(crate) fn serialize<S: Serializer>(store: &StoreKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(store.as_str())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StoreKind, D::Error> {
    let name = String::deserialize(deserializer)?;
    StoreKind::from_name(&name).ok_or_else(|| D::Error::custom("unknown store"))
}

pub(crate) mod optional {
    //! As the outer module; no name, or the unknown one of a newer version, is read as none.

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::super::StoreKind;

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(
        store: &Option<StoreKind>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match store {
            Some(kind) => serializer.serialize_str(kind.as_str()),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<StoreKind>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.and_then(|name| StoreKind::from_name(&name)))
    }
}
