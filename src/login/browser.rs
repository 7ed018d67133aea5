//! Logging in by browser: an address to open, a listener for what it brings back, and the exchange for tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::callback::{BadCallback, CallbackOutcome, Delivery, PendingCallback};
use super::exchange::{ApiKeyRequest, exchange};
use super::listener::{CallbackListener, LoginVerdict};
use super::pkce::Pkce;
use super::setup::random;
use super::{Error, LoginSetup, PendingLogin, port};
use crate::authority::{Authorization, AuthorizeRequest};
use crate::home::Home;
use crate::secret::Secret;
use crate::store::LoginNote;

/// How long a person has to come back from the browser.
pub const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A login that waits for a person to come back from the browser.
///
/// While it lives it listens on port 1455 or 1457 of this machine, and a note in the folder of the home says so
/// ([`LoginNote`]). Dropping it closes the port, ends every connection and removes the note; nothing was kept by then.
pub struct BrowserLogin {
    setup: LoginSetup,
    pkce: Pkce,
    url: String,
    redirect_uri: String,
    expected: Arc<PendingCallback>,
    listener: CallbackListener,
    _note: LoginNote,
}

impl BrowserLogin {
    /// Listens for a login of `home`. A login of the same home that is going on is asked to give up its port.
    ///
    /// # Errors
    /// - [`Error::Forbidden`]: `config.toml` allows API keys only.
    /// - [`Error::PortsTaken`]: by others than a login of this home.
    /// - [`Error::Store`]: nothing can be kept in this home.
    pub async fn start(setup: &LoginSetup, home: &Home) -> Result<Self, Error> {
        setup.permit_chatgpt()?;
        let (pkce, state, word) = (Pkce::new()?, random::<32>()?, random::<32>()?);
        let bound = port::bind(home).await?;
        let note = LoginNote::write(home, bound.port, &word)?;
        let redirect_uri = format!("http://127.0.0.1:{}/auth/callback", bound.port);
        let url = setup.issuer.authorize_url(&AuthorizeRequest {
            redirect_uri: &redirect_uri,
            challenge: &pkce.challenge,
            state: state.expose(),
            workspaces: &setup.config.restrictions.workspaces,
        });
        let (expected, arrivals) = PendingCallback::with(state);
        let expected = Arc::new(expected);
        let listener = CallbackListener::start(bound, Arc::clone(&expected), arrivals, word);
        Ok(Self { setup: setup.clone(), pkce, url, redirect_uri, expected, listener, _note: note })
    }

    /// What to open in a browser. There is nothing secret in it.
    #[must_use]
    pub fn authorize_url(&self) -> &str {
        &self.url
    }

    /// Where the browser comes back to.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// A way in for a person whose browser is at another machine: it ends at an address that cannot be reached there, and
    /// that address can be pasted here.
    #[must_use]
    pub fn paste(&self) -> PasteHandle {
        PasteHandle { expected: Arc::clone(&self.expected), redirect_uri: self.redirect_uri.clone() }
    }

    /// Waits for the person, at most [`PATIENCE`], and gets the tokens. Whoever waits in a browser is told of a failure
    /// by this, and of success by [`Self::announce`], when the login is kept.
    ///
    /// Dropping the future cancels the login; tokens that the authority has issued by then are revoked.
    ///
    /// # Errors
    /// - [`Error::Declined`], [`Error::NoEntitlement`], [`Error::NoCode`]: what the browser came back with.
    /// - [`Error::Forbidden`]: the workspace is not allowed; the tokens were revoked.
    /// - [`Error::TimedOut`]; [`Error::Yielded`] to a later login of this home.
    /// - [`Error::Request`], [`Error::Document`], [`Error::Thread`].
    pub async fn obtain(&mut self) -> Result<PendingLogin, Error> {
        let obtained = self.exchanged().await;
        match &obtained {
            Ok(_) => {}
            // Nobody waits in a browser: who asked for the port is answered.
            Err(Error::Yielded) => self.listener.farewell().await,
            Err(error) => self.listener.announce(LoginVerdict::failure(&error.to_string())).await,
        }
        obtained
    }

    /// Tells whoever waits in a browser how it ended, and ends the login. Takes three seconds at most.
    pub async fn announce(self, announcement: BrowserMessage<'_>) {
        let verdict = match announcement {
            BrowserMessage::LoggedIn => LoginVerdict::success(),
            BrowserMessage::NotKept(why) => LoginVerdict::failure(why),
        };
        self.listener.announce(verdict).await;
    }

    async fn exchanged(&mut self) -> Result<PendingLogin, Error> {
        let arrival = timeout(PATIENCE, self.listener.arrival()).await;
        let code = match arrival.map_err(|_| Error::TimedOut(PATIENCE))? {
            CallbackOutcome::Code(code) => code,
            CallbackOutcome::Nothing => return Err(Error::NoCode),
            CallbackOutcome::Refused { code, description } => return Err(refused(code, description)),
            CallbackOutcome::Yield => return Err(Error::Yielded),
        };
        let (verifier, redirect_uri) = (self.pkce.verifier.clone(), self.redirect_uri.clone());
        exchange(&self.setup, Authorization { code, verifier, redirect_uri }, ApiKeyRequest::IfAvailable)
            .await
    }
}

impl fmt::Debug for BrowserLogin {
    /// Without the address, whose state is nobody else's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserLogin")
            .field("issuer", &self.setup.issuer)
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

/// What the authority sends a browser back with instead of a code (`codex-behaviour.md` 4.1).
fn refused(code: String, description: Option<String>) -> Error {
    let says = |text: &str| text.contains("missing_codex_entitlement");
    if says(&code) || description.as_deref().is_some_and(says) {
        return Error::NoEntitlement;
    }
    Error::Declined { code: Some(code), description }
}

/// What a browser is told.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum BrowserMessage<'a> {
    /// The login is kept.
    LoggedIn,
    /// It could not be kept; the text says why.
    NotKept(&'a str),
}

/// Takes the address that a browser at another machine came to. Clones lead to the same login.
#[derive(Clone, Debug)]
pub struct PasteHandle {
    expected: Arc<PendingCallback>,
    redirect_uri: String,
}

impl PasteHandle {
    /// Takes `text`, the address that the browser shows, white space around it trimmed. The code in it counts as if the
    /// browser had brought it.
    ///
    /// # Errors
    /// [`PasteError`]; the login goes on waiting. None of the text is in it.
    pub fn submit(&self, text: &Secret) -> Result<(), PasteError> {
        let text = text.expose().trim();
        if text.is_empty() {
            return Err(PasteError::Empty);
        }
        let query = text
            .split_once('?')
            .filter(|(address, _)| self.is_ours(address))
            .map(|(_, query)| query.split('#').next().unwrap_or(query))
            .ok_or(PasteError::NotTheAddress)?;
        match self.expected.read(query) {
            Ok(CallbackOutcome::Nothing) => Err(PasteError::NotTheAddress),
            Ok(arrival) => match self.expected.bring(arrival) {
                Delivery::First | Delivery::Again => Ok(()),
                Delivery::Late => Err(PasteError::Late),
            },
            Err(BadCallback::State) => Err(PasteError::AnotherLogin),
            Err(BadCallback::Repeated) => Err(PasteError::NotTheAddress),
        }
    }

    /// Browsers may show the name for the number.
    fn is_ours(&self, address: &str) -> bool {
        address == self.redirect_uri || address == self.redirect_uri.replace("127.0.0.1", "localhost")
    }
}

/// Why a pasted text is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasteError {
    /// It belongs to a login that was started another time.
    #[error("that address belongs to another login; open the address above once more")]
    AnotherLogin,
    /// Nothing.
    #[error("nothing was pasted")]
    Empty,
    /// Something else came before.
    #[error("this login is being completed already")]
    Late,
    /// Something else.
    #[error("that is not the address that the browser ends at; it begins with http://127.0.0.1:")]
    NotTheAddress,
}
