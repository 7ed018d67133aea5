//! Responses to a refresh: no new refresh token is lost, and no identity makes the parser panic.
#![no_main]

use codex_auth::authority::TokenResponse;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let response = TokenResponse::from_json(bytes);
    let plain: Option<Value> = serde_json::from_slice(bytes).ok();
    let refresh_token = plain.as_ref().and_then(|response| response.get("refresh_token")?.as_str());
    let Ok(response) = response else { return };
    if let Some(refresh_token) = refresh_token.filter(|token| !token.is_empty()) {
        assert_eq!(response.refresh_token.as_ref().map(|token| token.expose()), Some(refresh_token));
    }
    let _ = response.identity();
});
