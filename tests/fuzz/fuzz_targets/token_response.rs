//! Responses to a refresh: no new refresh token is lost, and a response that is written to disk is read back.
#![no_main]

use codex_auth::authority::TokenResponse;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let answer = TokenResponse::from_json(bytes);
    let plain: Option<Value> = serde_json::from_slice(bytes).ok();
    let successor = plain.as_ref().and_then(|answer| answer.get("refresh_token")?.as_str());
    let Ok(answer) = answer else { return };
    if let Some(successor) = successor.filter(|token| !token.is_empty()) {
        assert_eq!(answer.refresh_token.as_ref().map(|token| token.expose()), Some(successor));
    }
    let again = TokenResponse::from_json(&answer.to_json()).expect("what was written is read");
    assert_eq!(*again.to_json(), *answer.to_json());
    assert_eq!(again.identity(), answer.identity());
});
