//! PKCE: proves that the code was issued to the program that requested it (RFC 7636).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::Error;
use super::setup::random;
use crate::secret::{Secret, digest};

/// A PKCE pair.
#[derive(Debug)]
pub(super) struct Pkce {
    /// Sent when the code is exchanged.
    pub(super) verifier: Secret,
    /// The SHA-256 of the verifier, sent when the login begins.
    pub(super) challenge: String,
}

impl Pkce {
    /// Creates a pair from 64 random bytes, as Codex does.
    pub(super) fn new() -> Result<Self, Error> {
        let verifier = random::<64>()?;
        let challenge = URL_SAFE_NO_PAD.encode(digest([verifier.expose().as_bytes()]));
        Ok(Self { verifier, challenge })
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn a_challenge_is_the_sha_256_of_a_verifier_that_is_new_each_time() {
        let (one, other) = (Pkce::new().unwrap(), Pkce::new().unwrap());
        assert_ne!(one.verifier, other.verifier);
        assert_eq!(one.verifier.expose().len(), 86, "at most 128 characters are allowed");
        assert_eq!(one.challenge.len(), 43);
        assert_eq!(one.challenge, URL_SAFE_NO_PAD.encode(Sha256::digest(one.verifier.expose().as_bytes())));
    }
}
