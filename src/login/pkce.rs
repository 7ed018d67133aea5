//! The proof that a code was brought to whoever asked for it (RFC 7636).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Error;
use super::setup::random;
use crate::secret::{Secret, digest};

/// Two halves of one secret: the challenge is told when a code is asked for, the verifier when it is exchanged.
#[derive(Debug)]
pub(super) struct Pkce {
    /// What is told when the code is exchanged.
    pub(super) verifier: Secret,
    /// What is told when the login begins: the SHA-256 of the verifier.
    pub(super) challenge: String,
}

impl Pkce {
    /// A new one: base64url of 64 random bytes, as Codex makes it (`codex-behaviour.md` 4.1).
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
