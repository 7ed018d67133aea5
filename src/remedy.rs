//! The categories of errors and of their remedies, shared by the error types of all modules.

use serde::{Deserialize, Serialize};

/// What the receiver of an error should do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// Read the message; there is no general advice.
    Failed,
    /// Wait for the process that the message names, or try again later.
    LockTimeout,
    /// Only a new login helps.
    LogInAgain,
    /// Log in: there is no login.
    NotLoggedIn,
    /// Make the store available: it is locked, missing, full or not writable.
    StoreUnavailable,
    /// Try the same again.
    TryAgain,
}

/// The action that fixes an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Remedy {
    /// Use a folder on a disk whose file system has locks.
    ChangeDisk,
    /// Select a store that keeps a login.
    ChooseStore,
    /// End the export where its keeper runs, or log out there.
    EndExport,
    /// Log out by force: the tokens cannot be revoked.
    ForceLogout,
    /// Free space on the disk.
    FreeSpace,
    /// Join the fleet again with a new invite: its sealing key was replaced.
    JoinAgain,
    /// Let the fleet serve the home again, after a program has logged out in it.
    ResumeFleet,
    /// Log in again: the stored credential is unusable.
    LogInAgain,
    /// Log in on the machine of the keeper that hands in the login.
    LogInOutside,
    /// Log out of the other login first.
    LogOutThere,
    /// Let this user write to the home.
    MakeWritable,
    /// Mount the folder into the container, not the file.
    MountFolder,
    /// Mount the volume that a link on the way to the home leads to, or correct the link.
    MountVolume,
    /// Store the login in the file, because Codex encrypts it in the keychain.
    ShareFile,
    /// Restore what the link `auth.json` leads to, or make an account the active one.
    RestoreLink,
    /// Try again in about 20 seconds.
    TryAgainSoon,
    /// Unlock the keychain.
    UnlockKeychain,
    /// Store the login in the file, because there is no keychain.
    UseFileStore,
    /// Wait until the other process has finished.
    Wait,
}
