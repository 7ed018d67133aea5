//! What stands for the cipher without the feature `keychain`: there is no key.

/// The length of a nonce.
pub(crate) const NONCE_LENGTH: usize = 12;
/// The length of the tag that follows the encrypted bytes.
pub(crate) const TAG_LENGTH: usize = 16;

/// Cannot be created.
#[derive(Debug)]
pub(crate) enum Key {}

impl Key {
    pub(crate) fn parse(_: &[u8]) -> Option<Self> {
        None
    }

    pub(crate) fn seal(&self, _: [u8; NONCE_LENGTH], _: &[u8], _: &mut [u8]) -> Option<Vec<u8>> {
        match *self {}
    }

    pub(crate) fn open<'a>(&self, _: [u8; NONCE_LENGTH], _: &[u8], _: &'a mut [u8]) -> Option<&'a [u8]> {
        match *self {}
    }
}
