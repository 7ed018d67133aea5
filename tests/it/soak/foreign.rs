//! A refresh by a program that takes no lease of ours: it commits by compare-and-swap under Codex's two locks.

use std::fs;
use std::thread;
use std::time::Duration;

use codex_auth::StoreKind;
use serde_json::Value;

use super::scene::Scene;
use crate::manager::rival::Locks;
use crate::manager::world::{merged, post};
use crate::support::item;

/// How a foreign refresh ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// There was no token to spend, or the authority refused it.
    Nothing,
    Committed,
    /// The document it had read was gone when the answer came, and with it the answer: this refresh token.
    Dropped(String),
}

/// Refreshes what the first home has in the store of `kind`, and commits `pause` after the answer.
pub fn refresh(scene: &Scene, kind: StoreKind, pause: Duration) -> Foreign {
    let Some(read) = read(scene, kind) else { return Foreign::Nothing };
    let Some(spent) = refresh_token(&read) else { return Foreign::Nothing };
    let answer = post(&scene.authority, &spent);
    let Some(given) = answer["refresh_token"].as_str() else { return Foreign::Nothing };
    // How long the other program takes is part of the schedule.
    thread::sleep(pause);
    let dropped = || Foreign::Dropped(given.to_owned());
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
