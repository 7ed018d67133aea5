//! A host that only provides tokens; it needs no feature.

use std::sync::Arc;

use codex_auth::external::{ExternalAuth, ExternalToken, ProviderContext, TokenFuture};
use codex_auth::manager::AuthManager;
use codex_auth::{Environment, Home, Secret, blocking};

#[derive(Debug)]
struct Editor;

impl ExternalAuth for Editor {
    fn name(&self) -> &'static str {
        "the editor"
    }

    fn refresh(&self, _context: ProviderContext) -> TokenFuture<'_, ExternalToken> {
        Box::pin(async { Ok(ExternalToken::bearer(Secret::from("a token of the editor"))) })
    }
}

#[test]
fn a_host_that_only_provides_tokens_gets_them_back_without_a_home() {
    let home = Home::at("/nonexistent").unwrap();
    let environment = Environment::for_home("/nonexistent");
    let manager = AuthManager::builder(home, environment).provider(Arc::new(Editor)).open().unwrap();
    let token = blocking::token(&manager).unwrap();
    assert_eq!(token.authorization_header().expose(), "Bearer a token of the editor");
    assert_eq!(token.expires_at(), None);
}
