//! Detects a login that Codex has encrypted: the feature `secret_auth_storage`, which this library cannot read.

use std::path::PathBuf;

use codex_auth_platform::private_file::{self, Links};

use super::error::Error;
use crate::home::Home;

const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The start of the last line of an age header.
const MAC_LINE: &[u8] = b"\n--- ";
/// The nonce before and the tag behind the encrypted bytes.
const OVERHEAD: usize = 16 + 16;
/// What Codex encrypts after a logout, which removes no file.
const EMPTY: &str = r#"{"version":1,"secrets":{}}"#;

/// Returns the file in which Codex has encrypted a login, if there is one.
///
/// Decrypting it takes Codex four seconds and a gigabyte. The length alone shows whether it holds a login; a file that
/// is not understood counts as one.
///
/// # Errors
/// [`Error::File`]: the file cannot be read.
pub(super) fn encrypted_login(home: &Home) -> Result<Option<PathBuf>, Error> {
    let path = home.encrypted_login();
    let contents = private_file::read(&path, MAX_BYTES, Links::Follow)?;
    Ok(contents.is_some_and(|contents| holds_login(&contents.bytes)).then_some(path))
}

fn holds_login(file: &[u8]) -> bool {
    if file.is_empty() {
        return false;
    }
    let mac = file.windows(MAC_LINE.len()).position(|bytes| bytes == MAC_LINE).map(|at| at + MAC_LINE.len());
    let end = mac.and_then(|mac| Some(mac + file[mac..].iter().position(|byte| *byte == b'\n')? + 1));
    end.is_none_or(|end| file.len() - end > OVERHEAD + EMPTY.len())
}
