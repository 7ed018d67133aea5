//! What keeps other crates from implementing the trait of the stores.

/// Implemented by the stores of this crate, so that new methods of their trait break no other crate.
#[expect(unnameable_types, reason = "this is what seals a trait")]
pub trait Sealed {}
