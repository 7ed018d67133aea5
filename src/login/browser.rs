//! Logs in with a browser: a URL to open, a listener for the redirect, and the exchange for tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::callback::{BadCallback, CallbackOutcome, Delivery, PendingCallback};
use super::error::Error;
use super::listener::{CallbackListener, LoginVerdict};
use super::pending::{ApiKeyRequest, PendingLogin};
use super::pkce::Pkce;
use super::port;
use super::setup::{LoginSetup, random};
use crate::authority::{Authorization, AuthorizeRequest};
use crate::home::Home;
use crate::secret::Secret;
use crate::store::LoginNote;

/// How long the user has to finish in the browser.
pub const BROWSER_LOGIN_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// A login that waits for the browser's redirect.
///
/// It listens on port 1455 or 1457 of this machine and records the port in the home ([`LoginNote`]). Dropping it closes
/// the port and every connection and removes the note.
pub struct BrowserLogin {
    setup: LoginSetup,
    pkce: Pkce,
    url: String,
    redirect_uri: String,
    callback: Arc<PendingCallback>,
    listener: CallbackListener,
    _note: LoginNote,
}

impl BrowserLogin {
    /// Starts a login for `home`. An earlier login of the same home that is still running is asked to release its port.
    ///
    /// # Errors
    /// - [`Error::Forbidden`]: `config.toml` allows API keys only.
    /// - [`Error::PortsTaken`]: another program uses the ports.
    /// - [`Error::Store`]: the home cannot be written to.
    pub async fn start(setup: &LoginSetup, home: &Home) -> Result<Self, Error> {
        setup.permit_chatgpt()?;
        let (pkce, state, cancel_token) = (Pkce::new()?, random::<32>()?, random::<32>()?);
        let bound = port::bind(home).await?;
        let note = LoginNote::write(home, bound.port, &cancel_token)?;
        let redirect_uri = format!("http://127.0.0.1:{}/auth/callback", bound.port);
        let url = setup.issuer.authorize_url(&AuthorizeRequest {
            redirect_uri: &redirect_uri,
            challenge: &pkce.challenge,
            state: state.expose(),
            originator: setup.originator(),
            workspaces: &setup.config.restrictions.workspaces,
        });
        let (callback, outcomes) = PendingCallback::new(state);
        let callback = Arc::new(callback);
        let listener = CallbackListener::start(bound, Arc::clone(&callback), outcomes, cancel_token);
        Ok(Self { setup: setup.clone(), pkce, url, redirect_uri, callback, listener, _note: note })
    }

    /// Returns the URL to open in a browser. It contains no secret.
    #[must_use]
    pub fn authorize_url(&self) -> &str {
        &self.url
    }

    /// Returns the redirect URI.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Returns a handle that takes the redirect URI as pasted text, for a browser on another machine: it ends at that
    /// address and cannot reach it.
    #[must_use]
    pub fn paste(&self) -> PasteHandle {
        PasteHandle { callback: Arc::clone(&self.callback), redirect_uri: self.redirect_uri.clone() }
    }

    /// Waits for the redirect, at most [`BROWSER_LOGIN_TIMEOUT`]. The browser shows a failure at once; it shows the
    /// result of the commit when [`Self::announce`] is called.
    ///
    /// Dropping the future cancels the login.
    ///
    /// # Errors
    /// - [`Error::Declined`], [`Error::NoEntitlement`], [`Error::NoCode`]: as the redirect said.
    /// - [`Error::TimedOut`]; [`Error::Yielded`] if a later login of this home took over.
    pub async fn obtain(&mut self) -> Result<PendingLogin, Error> {
        let obtained = self.wait_for_code().await;
        match &obtained {
            Ok(_) => {}
            // No browser waits, but the login that asked for the port does.
            Err(Error::Yielded) => self.listener.wait_for_last_page().await,
            Err(error) => self.listener.announce(LoginVerdict::failure(&error.to_string())).await,
        }
        obtained
    }

    /// Shows the result in the browser and ends the login. Takes three seconds at most.
    pub async fn announce(self, announcement: BrowserMessage<'_>) {
        let verdict = match announcement {
            BrowserMessage::LoggedIn => LoginVerdict::success(),
            BrowserMessage::LoggedInAt(page) => LoginVerdict::success_at(page),
            BrowserMessage::NotStored(why) => LoginVerdict::failure(why),
        };
        self.listener.announce(verdict).await;
    }

    async fn wait_for_code(&mut self) -> Result<PendingLogin, Error> {
        let outcome = timeout(BROWSER_LOGIN_TIMEOUT, self.listener.outcome()).await;
        let code = match outcome.map_err(|_| Error::TimedOut(BROWSER_LOGIN_TIMEOUT))? {
            CallbackOutcome::Code(code) => code,
            CallbackOutcome::Empty => return Err(Error::NoCode),
            CallbackOutcome::Refused { code, description } => return Err(declined(code, description)),
            CallbackOutcome::Yield => return Err(Error::Yielded),
        };
        let (verifier, redirect_uri) = (self.pkce.verifier.clone(), self.redirect_uri.clone());
        let authorization = Authorization { code, verifier, redirect_uri };
        Ok(PendingLogin::of_code(authorization, ApiKeyRequest::IfAvailable))
    }
}

impl fmt::Debug for BrowserLogin {
    /// Omits the URL, which contains the state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserLogin")
            .field("issuer", &self.setup.issuer)
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

/// Returns the error for an `error` parameter of the redirect. `missing_codex_entitlement` is a name that Codex 0.169
/// knows.
fn declined(code: String, description: Option<String>) -> Error {
    let says = |text: &str| text.contains("missing_codex_entitlement");
    if says(&code) || description.as_deref().is_some_and(says) {
        return Error::NoEntitlement;
    }
    Error::Declined { code: Some(code), description }
}

/// The result that a browser shows.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum BrowserMessage<'a> {
    /// The login is stored.
    LoggedIn,
    /// The login is stored; the browser continues at this address.
    LoggedInAt(&'static str),
    /// The login could not be stored; the text says why.
    NotStored(&'a str),
}

/// Takes the redirect URI of a browser on another machine. Clones belong to the same login.
#[derive(Clone, Debug)]
pub struct PasteHandle {
    callback: Arc<PendingCallback>,
    redirect_uri: String,
}

impl PasteHandle {
    /// Takes `text`, the address in the browser's address bar, and trims it. Its code counts as if the browser had
    /// delivered it.
    ///
    /// # Errors
    /// [`PasteError`], which quotes nothing of the text; the login continues to wait.
    pub fn submit(&self, text: &Secret) -> Result<(), PasteError> {
        let text = text.expose().trim();
        if text.is_empty() {
            return Err(PasteError::Empty);
        }
        let query = text
            .split_once('?')
            .filter(|(address, _)| self.is_redirect_uri(address))
            .map(|(_, query)| query.split('#').next().unwrap_or(query))
            .ok_or(PasteError::NotTheAddress)?;
        match self.callback.parse(query) {
            Ok(CallbackOutcome::Empty) => Err(PasteError::NotTheAddress),
            Ok(outcome) => match self.callback.deliver(outcome) {
                Delivery::First | Delivery::Repeated => Ok(()),
                Delivery::Late => Err(PasteError::Late),
            },
            Err(BadCallback::WrongState) => Err(PasteError::AnotherLogin),
            Err(BadCallback::RepeatedParameter) => Err(PasteError::NotTheAddress),
        }
    }

    /// Whether `address` is the redirect URI, with the IP address or `localhost`.
    fn is_redirect_uri(&self, address: &str) -> bool {
        address == self.redirect_uri || address == self.redirect_uri.replace("127.0.0.1", "localhost")
    }
}

/// Why a pasted text was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasteError {
    /// It belongs to an earlier login.
    #[error("this address belongs to another login; open the URL shown above again")]
    AnotherLogin,
    /// It is empty.
    #[error("nothing was pasted")]
    Empty,
    /// The login has already received a code.
    #[error("this login is already being completed")]
    Late,
    /// It is not the redirect URI.
    #[error("not the address at which the browser ended; that one begins with http://127.0.0.1:")]
    NotTheAddress,
}
