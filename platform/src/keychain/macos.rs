//! The calls of macOS that the login keychain needs.

use std::sync::Mutex;

use apple_native_keyring_store::keychain::Store;
use security_framework::base::Error as SecurityError;
use security_framework::os::macos::keychain::SecKeychain;

use super::context::CallContext;
use super::contract::Keychain;
use super::error::{Error, Operation};
use super::item::ItemSharing;
use super::login_keychain::LoginKeychain;
pub(super) use super::login_keychain::SERVICE;
use super::security::{Dialogues, Security, Source};

pub(super) const SHARING: ItemSharing = ItemSharing::OwnerOnly;

pub(super) fn how_to_unlock(_: &str) -> &'static str {
    "unlock it in this session and try again: security unlock-keychain"
}

pub(super) fn how_to_allow(_: &str, _: Operation) -> &'static str {
    "run the command in a terminal and allow it"
}

/// Opens the store without touching the keychain itself.
pub(super) fn connect(context: &CallContext) -> Result<Box<dyn Keychain>, Error> {
    static DIALOGUES: Mutex<Dialogues> = Mutex::new(Dialogues::NONE);
    let store =
        Store::new().map_err(|error| Error::Unavailable { service: SERVICE, source: error.into() })?;
    let context = context.clone();
    Ok(Box::new(LoginKeychain { context, store, security: Framework, dialogues: &DIALOGUES }))
}

/// The Security framework.
struct Framework;

impl Security for Framework {
    fn status(&self) -> Result<u32, i32> {
        let mut status = 0;
        // SAFETY: a null keychain means the default one; `status` is valid for the write of one UInt32, which is all that
        // the function does with it (SecKeychain.h).
        match unsafe { SecKeychainGetStatus(std::ptr::null(), &raw mut status) } {
            0 => Ok(status),
            code => Err(code),
        }
    }

    fn dialogues_allowed(&self) -> Result<bool, Source> {
        Ok(SecKeychain::user_interaction_allowed()?)
    }

    fn allow_dialogues(&self, allowed: bool) -> Result<(), Source> {
        // SAFETY: the function takes a value and changes a setting of the process (SecKeychain.h).
        match unsafe { SecKeychainSetUserInteractionAllowed(allowed.into()) } {
            0 => Ok(()),
            code => Err(self.error(code)),
        }
    }

    fn error(&self, code: i32) -> Source {
        SecurityError::from_code(code).into()
    }

    fn code_of(&self, error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<i32> {
        error.downcast_ref::<SecurityError>().map(|error| error.code())
    }
}

#[link(name = "Security", kind = "framework")]
unsafe extern "C" {
    // Missing from security-framework 3.7.
    fn SecKeychainGetStatus(keychain: *const std::ffi::c_void, status: *mut u32) -> i32;
    // There only as a guard that restores the setting itself.
    fn SecKeychainSetUserInteractionAllowed(state: u8) -> i32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keychain::ItemName;

    #[test]
    fn a_call_leaves_the_dialogues_as_it_found_them() {
        let found = Framework.dialogues_allowed().unwrap();
        let mut keychain = connect(&CallContext::new(Default::default())).unwrap();
        let _ = keychain.modified(&ItemName::new("a service", "an account"));
        assert_eq!(Framework.dialogues_allowed().unwrap(), found);
    }
}
