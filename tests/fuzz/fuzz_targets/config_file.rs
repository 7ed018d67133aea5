//! Edits of `config.toml`: the edit is in the result, and the same edit again changes nothing.
#![no_main]

use codex_auth::config::{Config, StoreSelection, StoreSetting};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for selection in [StoreSelection::File, StoreSelection::Keychain, StoreSelection::Auto] {
        let Ok(edited) = Config::with_store(text, selection) else { continue };
        if Config::parse(text).is_ok() {
            let config = Config::parse(&edited).expect("an edited configuration can be read");
            assert_eq!(config.store, StoreSetting::Selected(selection));
        }
        assert_eq!(Config::with_store(&edited, selection).expect("an edited file is valid TOML"), edited);
    }
    if let Ok(edited) = Config::without_legacy_token(text) {
        assert_eq!(Config::without_legacy_token(&edited).expect("an edited file is valid TOML"), edited);
    }
});
