//! A secret string that cannot be displayed and is wiped when dropped, and its fingerprint.

use std::fmt;
use std::io;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// A token or key.
///
/// It implements neither `Display` nor `Serialize`, so that no message or report contains it by accident; `Debug` shows
/// the fingerprint. [`Secret::expose`] returns the plain text. The memory is wiped on drop; copies that a parser, the
/// kernel or an HTTP client makes are not.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Creates a secret from `plain` and wipes the buffer of `plain`.
    #[must_use]
    pub fn new(mut plain: String) -> Self {
        // A copy of exactly this size: shrinking the caller's buffer could leave its tail unwiped.
        let exact: Box<str> = Box::from(plain.as_str());
        plain.zeroize();
        Self(SecretString::from(exact))
    }

    /// Reads a credential that a user enters or a command prints, without the white space around it.
    ///
    /// # Errors
    /// [`InputError`]; it quotes nothing of the input.
    pub fn from_input(input: &[u8]) -> Result<Self, InputError> {
        if input.len() > INPUT_LIMIT {
            return Err(InputError::TooLong);
        }
        let text = std::str::from_utf8(input).map_err(|_| InputError::Encoding)?.trim();
        if text.is_empty() {
            return Err(InputError::Empty);
        }
        if text.contains(char::is_whitespace) {
            return Err(InputError::WhiteSpace);
        }
        if text.contains(char::is_control) {
            return Err(InputError::Control);
        }
        Ok(Self::from(text))
    }

    /// Returns the plain text, which is then outside the protection of this type.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns the fingerprint, which may be shown.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.expose())
    }

    /// Returns whether the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            f.write_str("Secret(empty)")
        } else {
            write!(f, "Secret({})", self.fingerprint())
        }
    }
}

impl PartialEq for Secret {
    /// Compares digests, so that the time taken does not depend on the text.
    fn eq(&self, other: &Self) -> bool {
        digest([self.expose().as_bytes()]) == digest([other.expose().as_bytes()])
    }
}

impl Eq for Secret {}

impl From<String> for Secret {
    fn from(plain: String) -> Self {
        Self::new(plain)
    }
}

impl From<&str> for Secret {
    fn from(plain: &str) -> Self {
        Self(SecretString::from(plain))
    }
}

/// The maximum length of a credential in bytes; real ones have a few kilobytes.
pub const INPUT_LIMIT: usize = 64 * 1024;

/// Why an input is not a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// It contains control characters, such as a terminal's escape sequences.
    #[error("it contains control characters")]
    Control,
    /// It is empty or white space only.
    #[error("it is empty")]
    Empty,
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
    /// It is longer than [`INPUT_LIMIT`].
    #[error("it is longer than 64 KiB")]
    TooLong,
    /// It has several words or lines.
    #[error("it contains white space")]
    WhiteSpace,
}

/// Returns SHA-256 of the concatenated `texts`.
///
/// The hasher buffers an incomplete block. It is boxed because moving it would leave a copy of that on the stack; it is
/// wiped when dropped.
pub(crate) fn digest<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = Box::new(Sha256::new());
    texts.into_iter().for_each(|text| hasher.update(text));
    hasher.finalize_reset().into()
}

/// Returns the bytes that `write` writes into memory. It is called twice, first to count them: a buffer that grew would leave
/// unwiped copies behind.
pub(crate) fn write_exact<E>(write: impl Fn(&mut dyn io::Write) -> Result<(), E>) -> Zeroizing<Vec<u8>> {
    let mut count = ByteCount(0);
    // Writing into memory does not fail.
    let _infallible = write(&mut count);
    let mut bytes = Zeroizing::new(Vec::with_capacity(count.0));
    let _infallible = write(&mut *bytes);
    bytes
}

struct ByteCount(usize);

impl io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first 16 hex digits of SHA-256 of a secret: identifies the secret without revealing it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// Returns the fingerprint of `plain`.
    #[must_use]
    pub fn of(plain: &str) -> Self {
        Self::of_bytes(plain.as_bytes())
    }

    /// Returns the fingerprint of any bytes.
    #[must_use]
    pub fn of_bytes(plain: &[u8]) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&digest([plain])[..8]);
        Self(first)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidFingerprint);
        }
        u64::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| InvalidFingerprint)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidFingerprint;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// An error for text that is not 16 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("a fingerprint is 16 hex digits")]
#[non_exhaustive]
pub struct InvalidFingerprint;

/// Overwrites 64 KiB of this thread's stack below the caller, where returned functions may have left parts of a token.
#[inline(never)]
pub(crate) fn wipe_stack() {
    let mut below = [0_u8; 64 * 1024];
    below.zeroize();
    std::hint::black_box(&below);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_fingerprint_and_never_the_secret() {
        let secret = Secret::from("rt-marked-secret");
        let shown = format!("{secret:?} {secret:#?}");
        assert!(!shown.contains("marked"), "{shown}");
        assert!(shown.contains(&secret.fingerprint().to_string()), "{shown}");
        assert_eq!(format!("{:?}", Secret::from("")), "Secret(empty)");
    }

    #[test]
    fn a_fingerprint_is_the_start_of_sha_256() {
        assert_eq!(Fingerprint::of("abc").to_string(), "ba7816bf8f01cfea");
        assert_eq!("ba7816bf8f01cfea".parse::<Fingerprint>().unwrap(), Fingerprint::of("abc"));
        for wrong in ["", "ba7816bf8f01cfe", "ba7816bf8f01cfeaa", "+a7816bf8f01cfea", "ga7816bf8f01cfea"] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_equal_when_their_texts_are() {
        assert_eq!(Secret::from("a"), Secret::new("a".to_owned()));
        assert_ne!(Secret::from("a"), Secret::from("b"));
    }
}
