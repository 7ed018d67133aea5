//! The lease: the proof that this process holds the refresh lock of a place, which every write demands.

use std::convert::Infallible;
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use codex_auth_platform::lock::{Acquired, Creation, FileLock, Mode, Wait, Waiting};
use codex_auth_platform::private_file;

use super::{Error, locate};
use crate::place::Place;

/// The cross-process refresh lock of a place.
///
/// While it lives, no other process that uses this library writes the login of the place, nor that of any place which
/// shares its document through a link. Codex does not take this lock; the commit locks and the compare-and-swap of
/// [`super::save`] are for it.
///
/// Dropping it gives the lock up; the kernel does the same for a process that dies. The lock file stays.
#[must_use = "the lease ends when it is dropped"]
pub struct Lease {
    place: Place,
    residence: Place,
    _locks: Vec<FileLock>,
}

impl Lease {
    /// Takes the lease of `place`, making its folders if they are not there, and waits for it up to `limit`. While it
    /// waits, `waiting` is told who is in the way.
    ///
    /// Locks: `codex-auth/refresh.lock` of the place, then that of the folder its document is linked to.
    ///
    /// # Errors
    /// - [`Error::Lock`] with [`lock::Error::Held`]: somebody else holds it; the message says who.
    /// - [`Error::Lock`] or [`Error::File`] that is read-only: the place can be read, and never written.
    pub fn acquire(
        place: &Place,
        limit: Duration,
        mut waiting: impl FnMut(&Waiting<'_>),
    ) -> Result<Self, Error> {
        private_file::create_directory(place.home())?;
        // The name of the keychain item is made of the canonical path, which only an existing folder has.
        let place = Place::new(private_file::canonical(place.home())?);
        loop {
            let residence = locate::residence(&place)?;
            let mut locks = vec![take(&place, limit, &mut waiting)?];
            if residence != place {
                locks.push(take(&residence, limit, &mut waiting)?);
            }
            // While we waited the link may have been pointed elsewhere.
            if locate::residence(&place)? == residence {
                return Ok(Self { place, residence, _locks: locks });
            }
        }
    }

    /// The place, by its canonical path.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The place whose folder holds the records: the same, unless the document is a link.
    #[must_use]
    pub fn residence(&self) -> &Place {
        &self.residence
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("place", &self.place).field("residence", &self.residence).finish()
    }
}

fn take(place: &Place, limit: Duration, waiting: &mut impl FnMut(&Waiting<'_>)) -> Result<FileLock, Error> {
    private_file::create_directory(&place.folder())?;
    let path = place.refresh_lock();
    let tell = |state: &Waiting<'_>| {
        waiting(state);
        ControlFlow::<Infallible>::Continue(())
    };
    match FileLock::acquire_unless(&path, Mode::Exclusive, Creation::Private, Wait::For(limit), tell)? {
        Acquired::Locked(lock) => {
            lock.sign("codex-auth");
            Ok(lock)
        }
        Acquired::GaveWay(never) => match never {},
    }
}
