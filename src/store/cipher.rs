//! ChaCha20-Poly1305, which encrypts a rescue and the record of a fleet (features `keychain` and `fleet`).

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// The length of a nonce.
pub(crate) const NONCE_LENGTH: usize = ring::aead::NONCE_LEN;
/// The length of the tag that follows the encrypted bytes.
pub(crate) const TAG_LENGTH: usize = 16;

/// A key.
#[derive(Debug)]
pub(crate) struct Key(Box<LessSafeKey>);

impl Key {
    /// Returns the key of these bytes, if they are as many as a key has.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        UnboundKey::new(&CHACHA20_POLY1305, bytes).ok().map(|key| Self(Box::new(LessSafeKey::new(key))))
    }

    /// Encrypts `bytes` in place and returns the tag.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_LENGTH],
        context: &[u8],
        bytes: &mut [u8],
    ) -> Option<Vec<u8>> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(context), bytes).ok()?;
        Some(tag.as_ref().to_vec())
    }

    /// Decrypts `bytes` in place, their tag included, and returns the plain ones.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; NONCE_LENGTH],
        context: &[u8],
        bytes: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::from(context), bytes).ok().map(|plain| &*plain)
    }
}
