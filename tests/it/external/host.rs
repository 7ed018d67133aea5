//! A provider and a clock that tests control.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use codex_auth::external::{
    ChatGptAccount, Error, ExternalAuth, ExternalToken, ProviderContext, RequestReason as Why, TokenFuture,
};
use codex_auth::manager::AuthManager;
use codex_auth::{Clock, Secret, Timestamp};
use serde_json::json;
use tokio::sync::Notify;

use crate::support::{TestHome, jwt};

/// A provider with scripted answers, which records its requests.
#[derive(Default)]
pub struct FakeProvider {
    /// The token that `resolve` returns.
    available: Mutex<Option<ExternalToken>>,
    /// The results of successive calls of `refresh`.
    answers: Mutex<VecDeque<Result<ExternalToken, Error>>>,
    pub requests: Mutex<Vec<ProviderContext>>,
    resolved: Mutex<u32>,
    /// If set, every answer waits for it.
    pub gate: Option<Notify>,
}

impl FakeProvider {
    pub fn answering(answers: impl IntoIterator<Item = Result<ExternalToken, Error>>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() }
    }

    /// Makes every answer wait for the gate.
    pub fn gated(self) -> Self {
        Self { gate: Some(Notify::new()), ..self }
    }

    pub fn reasons(&self) -> Vec<Why> {
        self.requests.lock().unwrap().iter().map(|context| context.reason).collect()
    }

    pub fn set_available(&self, token: ExternalToken) {
        *self.available.lock().unwrap() = Some(token);
    }
}

impl ExternalAuth for FakeProvider {
    fn name(&self) -> &str {
        "the editor"
    }

    fn resolve(&self) -> TokenFuture<'_, Option<ExternalToken>> {
        *self.resolved.lock().unwrap() += 1;
        Box::pin(async { Ok(self.available.lock().unwrap().clone()) })
    }

    fn refresh(&self, context: ProviderContext) -> TokenFuture<'_, ExternalToken> {
        Box::pin(async move {
            self.requests.lock().unwrap().push(context);
            if let Some(gate) = &self.gate {
                gate.notified().await;
            }
            let answer = self.answers.lock().unwrap().pop_front();
            answer.unwrap_or_else(|| Err(Error::transient("the editor", "no more answers")))
        })
    }
}

pub const NOW: i64 = 1_800_000_000;

/// A clock that tests advance.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(NOW)))
    }

    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    pub fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Clock::from_fn(move || Timestamp::from_second(seconds.load(Ordering::Relaxed)).unwrap())
    }
}

pub fn manager(home: &TestHome, provider: Arc<dyn ExternalAuth>, clock: &TestClock) -> AuthManager {
    let builder = AuthManager::builder(home.home(), home.environment());
    builder.provider(provider).clock(clock.clock()).open().unwrap()
}

pub fn bearer(text: &str) -> ExternalToken {
    ExternalToken::bearer(Secret::from(text))
}

/// A bearer token that is valid for `seconds` from now.
pub fn valid_for(text: &str, seconds: i64) -> ExternalToken {
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

pub async fn token_text(manager: &AuthManager) -> String {
    manager.token().await.unwrap().secret().expose().to_owned()
}

pub fn transient_error() -> Error {
    Error::transient("the editor", "the network is down")
}

pub fn permanent_error() -> Error {
    Error::permanent("the editor", "its user has signed out")
}
