//! A refresh by a program without the lease: it commits by compare-and-swap under Codex's two locks.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use codex_auth::StoreKind;
use scripted_authority::Authority;
use serde_json::Value;

use crate::manager::rival::Locks;
use crate::manager::world::{merged, spend};
use crate::support::item_at;

/// The outcome of a foreign refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// There was no token to spend, or the authority refused it.
    Nothing,
    Committed,
    /// The document had changed when the response arrived, so this refresh token was lost.
    Dropped(String),
}

/// Refreshes the login of a home in the store of `kind`, and commits `pause` after the response.
pub fn refresh(authority: &Authority, home: &Path, kind: StoreKind, pause: Duration) -> Foreign {
    let Some(read) = read(home, kind) else { return Foreign::Nothing };
    let Some(spent) = refresh_token(&read) else { return Foreign::Nothing };
    let answer = spend(authority, &spent);
    let Some(token) = answer["refresh_token"].as_str() else { return Foreign::Nothing };
    // The pause is part of the schedule.
    thread::sleep(pause);
    let dropped = || Foreign::Dropped(token.to_owned());
    let Some(_locks) = Locks::try_take(home) else { return dropped() };
    if self::read(home, kind).as_deref().and_then(refresh_token) != Some(spent) {
        return dropped();
    }
    let document = merged(&read, &answer);
    if kind == StoreKind::File {
        let temporary = home.join(".auth-foreign");
        fs::write(&temporary, document).unwrap();
        fs::rename(temporary, home.join("auth.json")).unwrap();
    } else if item_at(home).set_secret(document.as_bytes()).is_err() {
        // The service of the keychain has crashed.
        return dropped();
    }
    Foreign::Committed
}

/// Reads the document of a home from one store, without the library.
pub fn read(home: &Path, kind: StoreKind) -> Option<String> {
    match kind {
        StoreKind::File => fs::read_to_string(home.join("auth.json")).ok(),
        _ => Some(String::from_utf8(item_at(home).get_secret().ok()?).unwrap()),
    }
}

/// The refresh token in a document.
pub fn refresh_token(document: &str) -> Option<String> {
    let document: Value = serde_json::from_str(document).ok()?;
    Some(document["tokens"]["refresh_token"].as_str()?.to_owned())
}
