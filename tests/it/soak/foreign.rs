//! A refresh by a program without the lease: it commits by compare-and-swap under Codex's two locks.

use std::fs;
use std::thread;
use std::time::Duration;

use codex_auth::StoreKind;
use serde_json::Value;

use super::scene::Scene;
use crate::manager::rival::Locks;
use crate::manager::world::{merged, spend};
use crate::support::item;

/// The outcome of a foreign refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// There was no token to spend, or the authority refused it.
    Nothing,
    Committed,
    /// The document had changed when the response arrived, so this refresh token was lost.
    Dropped(String),
}

/// Refreshes the login of the first home in the store of `kind`, and commits `pause` after the response.
pub fn refresh(scene: &Scene, kind: StoreKind, pause: Duration) -> Foreign {
    let Some(read) = read(scene, kind) else { return Foreign::Nothing };
    let Some(spent) = refresh_token(&read) else { return Foreign::Nothing };
    let answer = spend(&scene.authority, &spent);
    let Some(token) = answer["refresh_token"].as_str() else { return Foreign::Nothing };
    // The pause is part of the schedule.
    thread::sleep(pause);
    let dropped = || Foreign::Dropped(token.to_owned());
    let Some(_locks) = Locks::try_take(&scene.homes[0]) else { return dropped() };
    if self::read(scene, kind).as_deref().and_then(refresh_token) != Some(spent) {
        return dropped();
    }
    let document = merged(&read, &answer);
    if kind == StoreKind::File {
        let temporary = scene.homes[0].write(".auth-foreign", document);
        fs::rename(temporary, scene.homes[0].document()).unwrap();
    } else {
        item(&scene.homes[0]).set_secret(document.as_bytes()).unwrap();
    }
    Foreign::Committed
}

fn read(scene: &Scene, kind: StoreKind) -> Option<String> {
    match kind {
        StoreKind::File => fs::read_to_string(scene.homes[0].document()).ok(),
        _ => Some(String::from_utf8(item(&scene.homes[0]).get_secret().ok()?).unwrap()),
    }
}

fn refresh_token(document: &str) -> Option<String> {
    let document: Value = serde_json::from_str(document).ok()?;
    Some(document["tokens"]["refresh_token"].as_str()?.to_owned())
}
