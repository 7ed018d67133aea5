//! A host application that has tokens, and a clock that a test moves.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use codex_auth::external::{
    ChatGptAccount, Error as Refusal, ExternalAuth, ExternalToken, ProviderContext, RequestReason as Why,
    TokenFuture,
};
use codex_auth::manager::AuthManager;
use codex_auth::{Clock, Secret, Timestamp};
use serde_json::json;
use tokio::sync::Notify;

use crate::support::{TestHome, jwt};

/// A host application with tokens, which does as it is told and remembers what it was asked.
#[derive(Default)]
pub struct Host {
    /// What `resolve` answers, as long as it lasts.
    at_hand: Mutex<Option<ExternalToken>>,
    /// What `refresh` answers, one after the other.
    answers: Mutex<VecDeque<Result<ExternalToken, Refusal>>>,
    pub asked: Mutex<Vec<ProviderContext>>,
    resolved: Mutex<u32>,
    /// Where there is one, an answer waits for it.
    pub gate: Option<Notify>,
}

impl Host {
    pub fn answering(answers: impl IntoIterator<Item = Result<ExternalToken, Refusal>>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() }
    }

    /// The same, and every answer waits to be let go.
    pub fn gated(self) -> Self {
        Self { gate: Some(Notify::new()), ..self }
    }

    pub fn asked(&self) -> Vec<Why> {
        self.asked.lock().unwrap().iter().map(|context| context.reason).collect()
    }

    pub fn has_now(&self, token: ExternalToken) {
        *self.at_hand.lock().unwrap() = Some(token);
    }
}

impl ExternalAuth for Host {
    fn name(&self) -> &str {
        "the editor"
    }

    fn resolve(&self) -> TokenFuture<'_, Option<ExternalToken>> {
        *self.resolved.lock().unwrap() += 1;
        Box::pin(async { Ok(self.at_hand.lock().unwrap().clone()) })
    }

    fn refresh(&self, context: ProviderContext) -> TokenFuture<'_, ExternalToken> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(context);
            if let Some(gate) = &self.gate {
                gate.notified().await;
            }
            let answer = self.answers.lock().unwrap().pop_front();
            answer.unwrap_or_else(|| Err(Refusal::transient("the editor", "nothing left to say")))
        })
    }
}

pub const NOW: i64 = 1_800_000_000;

/// A clock that a test moves.
#[derive(Clone)]
pub struct Hands(Arc<AtomicI64>);

impl Hands {
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(NOW)))
    }

    pub fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    pub fn clock(&self) -> Clock {
        let hands = Arc::clone(&self.0);
        Clock::from_fn(move || Timestamp::from_second(hands.load(Ordering::Relaxed)).unwrap())
    }
}

pub fn manager(home: &TestHome, provider: Arc<dyn ExternalAuth>, hands: &Hands) -> AuthManager {
    let builder = AuthManager::builder(home.home(), home.environment());
    builder.provider(provider).clock(hands.clock()).open().unwrap()
}

pub fn bearer(text: &str) -> ExternalToken {
    ExternalToken::bearer(Secret::from(text))
}

/// A bearer token that is good for `seconds` from now.
pub fn good_for(text: &str, seconds: i64) -> ExternalToken {
    bearer(text).with_expiry(Timestamp::from_second(NOW + seconds).unwrap())
}

pub fn chatgpt(account: &str, seconds: i64) -> ExternalToken {
    let token = jwt(&json!({"iat": NOW, "exp": NOW + seconds, "email": "ada@example.com", "for": account}));
    ExternalToken::chatgpt(Secret::new(token), ChatGptAccount::new(account, None)).unwrap()
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub async fn text(manager: &AuthManager) -> String {
    manager.token().await.unwrap().secret().unwrap().expose().to_owned()
}

pub fn later() -> Refusal {
    Refusal::transient("the editor", "the network is down")
}

pub fn never() -> Refusal {
    Refusal::permanent("the editor", "its user has signed out")
}
