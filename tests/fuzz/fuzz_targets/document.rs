//! Any `auth.json`: a parsed document is written unchanged, and its `Debug` output shows no secret.
#![no_main]

use codex_auth::AuthDocument;
use codex_auth::document::salvage;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    for token in
        salvage(bytes).into_iter().flat_map(|found| [found.refresh_token, found.access_token]).flatten()
    {
        assert!(!token.is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
    }
    let Ok(document) = AuthDocument::parse(bytes) else { return };
    // A document may have a number that is too large for `Value`.
    let before = serde_json::from_slice::<Value>(bytes).ok();
    for written in [document.to_pretty(), document.to_compact()] {
        assert_eq!(before, serde_json::from_slice::<Value>(&written).ok());
        let reparsed = AuthDocument::parse(&written).expect("a written document can be read");
        assert_eq!(*reparsed.to_pretty(), *document.to_pretty());
        assert_eq!(reparsed.fingerprint(), document.fingerprint());
        assert_eq!(reparsed.identity(), document.identity());
    }
    let shown = format!("{document:?}");
    if let Some(secret) = document.bearer().map(|bearer| bearer.expose()).filter(|secret| secret.len() > 32) {
        assert!(!shown.contains(secret));
    }
});
