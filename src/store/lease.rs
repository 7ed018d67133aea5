//! The lease: the proof that this process holds the refresh lock of a home, which every write demands.

use std::convert::Infallible;
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use codex_auth_platform::lock::{Acquired, Creation, FileLock, Holder, Mode, Wait, Waiting};
use codex_auth_platform::private_file::{self, DirectoryState};

use super::{Error, locate};
use crate::home::Home;

/// The cross-process refresh lock of a home.
///
/// While it lives, no other process that uses this library writes the login of the home, nor that of any place which
/// shares its document through a link. Codex does not take this lock; the commit locks and the compare-and-swap of
/// [`super::save`] are for it.
///
/// Dropping it gives the lock up; the kernel does the same for a process that dies. The lock file stays.
#[must_use = "the lease ends when it is dropped"]
pub struct Lease {
    home: Home,
    residence: Home,
    _locks: Vec<FileLock>,
}

impl Lease {
    /// Takes the lease of `home`, making its folders if they are not there, and waits for it up to `limit`. While it
    /// waits, `waiting` is told who is in the way.
    ///
    /// Locks: `codex-auth/refresh.lock` of the home, then that of the folder its document is linked to.
    ///
    /// # Errors
    /// - [`Error::Lock`] with [`super::LockError::Held`]: somebody else holds it; the message says who.
    /// - [`Error::Lock`] or [`Error::File`] that is read-only: the home can be read, and never written.
    pub fn acquire(
        home: &Home,
        limit: Duration,
        mut waiting: impl FnMut(&Waiting<'_>),
    ) -> Result<Self, Error> {
        let keep_on = |state: &Waiting<'_>| {
            waiting(state);
            ControlFlow::<Infallible>::Continue(())
        };
        match Self::acquire_unless(home, limit, keep_on)? {
            Leased::Held(lease) => Ok(lease),
            Leased::GaveWay(never) => match never {},
        }
    }

    /// As [`Self::acquire`], and before each further try `between` may end the waiting: a waiter needs what the lease
    /// is for, not the lease.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub fn acquire_unless<B>(
        home: &Home,
        limit: Duration,
        mut between: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<Leased<B>, Error> {
        // A home that is there keeps the mode that its user gave it.
        if private_file::directory(home.path())? == DirectoryState::Missing {
            private_file::create_directory(home.path())?;
        }
        // The name of the keychain item is made of the canonical path, which only an existing folder has.
        let home = Home::new(private_file::canonical(home.path())?);
        loop {
            let residence = locate::residence(&home)?;
            // Lock files that are there could be locked all the same, and what cannot be finished must not be begun.
            for home in [home.path(), residence.path()] {
                if private_file::directory(home)? == DirectoryState::ReadOnly {
                    return Err(Error::ReadOnlyHome { path: home.to_owned() });
                }
            }
            let mut locks = Vec::with_capacity(2);
            for home in std::iter::once(&home).chain((residence != home).then_some(&residence)) {
                match take(home, limit, &mut between)? {
                    Acquired::Locked(lock) => locks.push(lock),
                    Acquired::GaveWay(reason) => return Ok(Leased::GaveWay(reason)),
                }
            }
            // While we waited the link may have been pointed elsewhere.
            if locate::residence(&home)? == residence {
                return Ok(Leased::Held(Self { home, residence, _locks: locks }));
            }
        }
    }

    /// The place, by its canonical path.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The place whose folder holds the records: the same, unless the document is a link.
    #[must_use]
    pub fn residence(&self) -> &Home {
        &self.residence
    }
}

/// Makes the folder of `home`, and the one in it that is ours alone, if they are not there; the home by its canonical
/// path, which only an existing folder has.
///
/// # Errors
/// [`Error::File`].
pub fn make_folders(home: &Home) -> Result<Home, Error> {
    // A home that is there keeps the mode that its user gave it.
    if private_file::directory(home.path())? == DirectoryState::Missing {
        private_file::create_directory(home.path())?;
    }
    let home = Home::new(private_file::canonical(home.path())?);
    private_file::create_directory(&home.folder())?;
    Ok(home)
}

/// Who holds the lease of `home` or was killed with it, by its own word. Looks at one file and takes no lock.
#[must_use]
pub fn holder(home: &Home) -> Option<Holder> {
    let residence = locate::residence(home).ok()?;
    codex_auth_platform::lock::holder(&residence.refresh_lock())
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("place", &self.home).field("residence", &self.residence).finish()
    }
}

/// How [`Lease::acquire_unless`] ended.
#[derive(Debug)]
#[must_use = "the lease ends when it is dropped"]
#[expect(clippy::exhaustive_enums, reason = "both outcomes are the caller's to handle")]
pub enum Leased<B> {
    /// With the lease.
    Held(Lease),
    /// With what the caller broke off for.
    GaveWay(B),
}

fn take<B>(
    home: &Home,
    limit: Duration,
    between: &mut impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
) -> Result<Acquired<B>, Error> {
    private_file::create_directory(&home.folder())?;
    let path = home.refresh_lock();
    let acquired =
        FileLock::acquire_unless(&path, Mode::Exclusive, Creation::Private, Wait::For(limit), between)?;
    if let Acquired::Locked(lock) = &acquired {
        lock.sign("codex-auth");
    }
    Ok(acquired)
}
