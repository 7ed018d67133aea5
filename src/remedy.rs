//! What the receiver of an error should do, and what would mend it; the words that every room sorts its errors by.

use serde::{Deserialize, Serialize};

/// What the receiver of an error should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// Read the message; nothing general can be said.
    Failed,
    /// Wait for the process that the message names, or try again later.
    LockTimeout,
    /// Only a new login helps.
    LogInAgain,
    /// Nobody is logged in.
    NotLoggedIn,
    /// Make the store available: it is locked, missing, full or not writable.
    StoreUnavailable,
    /// Do the same again.
    TryAgain,
}

/// What would mend an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Remedy {
    /// Use a folder on a disk whose file system has locks.
    ChangeDisk,
    /// Name a store that keeps a login.
    ChooseStore,
    /// Log out by force: the tokens cannot be revoked.
    ForceLogout,
    /// Free some space on the disk.
    FreeSpace,
    /// Log in again: what is stored is of no use.
    LogInAgain,
    /// Log out of what is in the way.
    LogOutThere,
    /// Let this user write to the home.
    MakeWritable,
    /// Mount the folder into the container, not the file.
    MountFolder,
    /// Unlock the keychain.
    UnlockKeychain,
    /// Keep the login in the file where there is no keychain.
    UseFileStore,
    /// Wait until the other process has finished.
    Wait,
}
