//! The Secret Service of a Linux session, used over D-Bus.
//!
//! Secrets go through the `keyring` store, over an encrypted session. That store unlocks what it finds locked, which
//! prompts or hangs, and answers "no entry" for a keyring that was never set up (measured with
//! zbus-secret-service-keyring-store 1.0.1). So each call that reads or changes items first checks that the default
//! collection is unlocked, and searches by itself. If a keyring is locked between the search and the call, the service
//! can still show its own dialogue.
//!
//! Each message to a slow service takes time, so the connection, the session, the handles of items and what is known of
//! their attributes are kept.
//!
//! An item that is created here has the attributes of keyring 3, so that programs built on keyring 3 find it:
//! `service`, `username`, `target=default` and `application=rust-keyring`. The store creates an item with the first
//! three and adds the last in a second request. If this process dies in between, `application` is missing; nothing
//! searches by it, and the next write adds it.

use zbus::zvariant::OwnedObjectPath;
use zeroize::Zeroizing;

use super::bus;
use super::context::CallContext;
use super::contract::Keychain;
use super::error::{CallEffect, Error, Operation};
use super::item::{
    Item, ItemId, ItemName, ItemSelection, ItemSharing, ItemWrite, LastModified, WriteTarget, newest_first,
};
use super::prompt::PromptOutcome;
use super::service_bus::ServiceBus;
use super::service_error::{bus_error, failed, store_error, unavailable};
use super::service_session::ServiceSession;

pub(super) use super::service_program::{SERVICE, how_to_allow, how_to_unlock};

pub(super) const SHARING: ItemSharing = ItemSharing::AnyProgram;

/// Connects to the bus of this session; no message goes to the service yet.
pub(super) fn connect(context: &CallContext) -> Result<Box<dyn Keychain>, Error> {
    let bus = bus::session().map_err(|error| unavailable(error.into()))?;
    Ok(Box::new(SecretService { service: ServiceBus::new(bus, context.clone()), session: None }))
}

struct SecretService {
    service: ServiceBus,
    /// Opened by the first call that carries a secret; searching needs none.
    session: Option<ServiceSession>,
}

impl Keychain for SecretService {
    fn read(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        let mut found = self.service.search_unlocked(Operation::Read, name)?;
        loop {
            let error = match self.fetch(name, &found) {
                Ok(items) => return Ok(items),
                Err(error) => error,
            };
            // An item that was deleted meanwhile is no failure.
            let now = self.service.search_unlocked(Operation::Read, name)?;
            if now == found {
                return Err(error);
            }
            found = now;
        }
    }

    /// Only reads: the API does not restrict an item to the program that created it.
    fn read_with_prompt(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        self.read(name)
    }

    fn modified(&mut self, name: &ItemName) -> Result<LastModified, Error> {
        self.service.forget_default_collection();
        let mut latest = LastModified::NoItem;
        for path in self.service.search_unlocked(Operation::Modified, name)? {
            latest = match (
                latest,
                self.service.item_modified(&path).map_err(|e| bus_error(Operation::Modified, e))?,
            ) {
                (LastModified::At(one), Some(other)) => LastModified::At(one.max(other)),
                (_, Some(time)) => LastModified::At(time),
                (LastModified::NoItem, None) => LastModified::Unknown,
                (known, None) => known,
            };
        }
        Ok(latest)
    }

    fn contains(&mut self, name: &ItemName) -> Result<bool, Error> {
        let found = self.service.search(name).map_err(|error| bus_error(Operation::Modified, error))?;
        Ok(!(found.unlocked.is_empty() && found.locked.is_empty()))
    }

    fn write(&mut self, name: &ItemName, target: &WriteTarget, secret: &[u8]) -> Result<ItemWrite, Error> {
        let path = match target {
            WriteTarget::Item(id) => match OwnedObjectPath::try_from(id.0.as_str()) {
                Ok(path) => Some(path),
                Err(_) => return Err(Error::ItemMissing { service: SERVICE, name: name.clone() }),
            },
            WriteTarget::OnlyItem => {
                let found = self.service.search_unlocked(Operation::Write, name)?;
                if found.len() > 1 {
                    return Err(Error::Ambiguous {
                        service: SERVICE,
                        name: name.clone(),
                        copies: found.len(),
                    });
                }
                found.into_iter().next()
            }
        };
        match path {
            Some(path) => self.update(name, &path, secret).map(|()| ItemWrite::Updated),
            None => self.create(name, secret).map(|()| ItemWrite::Created),
        }
    }

    fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> Result<usize, Error> {
        let mut found = self.service.search_unlocked(Operation::Delete, name)?;
        if let ItemSelection::Item(id) = selection {
            found.retain(|path| path.as_str() == id.0);
        }
        let mut deleted = 0;
        // Whatever the cause of an error, items may have been deleted.
        let effect_unknown = |source| failed(Operation::Delete, CallEffect::Unknown, source);
        for path in found {
            self.check_not_cancelled(Operation::Delete)?;
            match self.service.delete_one(&path) {
                Ok(PromptOutcome::Accepted) => deleted += 1,
                Ok(PromptOutcome::Dismissed) if deleted == 0 => {
                    return Err(self.service.prompt_required(Operation::Delete));
                }
                Ok(PromptOutcome::Dismissed) => {
                    return Err(effect_unknown(self.service.prompt_required(Operation::Delete).into()));
                }
                Err(error) => {
                    let now = self
                        .service
                        .search_unlocked(Operation::Delete, name)
                        .map_err(|e| effect_unknown(e.into()))?;
                    if now.contains(&path) {
                        return Err(effect_unknown(error.into()));
                    }
                }
            }
        }
        Ok(deleted)
    }
}

impl SecretService {
    /// Fails if the caller has stopped waiting for the result.
    fn check_not_cancelled(&self, operation: Operation) -> Result<(), Error> {
        if self.service.context.is_cancelled() {
            return Err(failed(
                operation,
                operation.effect_if_interrupted(),
                "its caller stopped waiting".into(),
            ));
        }
        Ok(())
    }

    /// Adds the attributes of keyring 3 that an item lacks, and leaves the others as they are.
    ///
    /// Outside the default collection, keyring 3 does not find an item without `target`, and would store a second one.
    fn add_missing_attributes(&mut self, path: &OwnedObjectPath) {
        if self.session.as_ref().is_some_and(|session| session.is_complete(path)) {
            return;
        }
        // The secret is stored, so the write has succeeded even if this fails. Some services keep only attributes of
        // their own choice; after any other failure, the first write of the next process adds them.
        let _ = self.service.add_missing_attributes_to(path);
        if let Some(session) = &mut self.session {
            session.set_complete(path.clone());
        }
    }

    /// Returns the session with the process that sent the last reply, opened if necessary.
    fn session(&mut self, operation: Operation) -> Result<&mut ServiceSession, Error> {
        let session = match self.session.take() {
            Some(session) if session.owner() == self.service.sender() => session,
            _ => ServiceSession::open(self.service.sender().to_owned(), operation)?,
        };
        self.service.context.report_progress();
        Ok(self.session.insert(session))
    }

    fn fetch(&mut self, name: &ItemName, paths: &[OwnedObjectPath]) -> Result<Vec<Item>, Error> {
        let mut items = Vec::with_capacity(paths.len());
        for path in paths {
            let secret = self
                .session(Operation::Read)?
                .entry(name, path, Operation::Read)?
                .get_secret()
                .map_err(|error| store_error(Operation::Read, CallEffect::Unchanged, error))?;
            let secret = Zeroizing::new(secret);
            self.service.context.report_progress();
            // Only sorting several items needs the time.
            let modified = match paths {
                [_] => None,
                _ => self.service.item_modified(path).map_err(|error| bus_error(Operation::Read, error))?,
            };
            items.push(Item { id: ItemId(path.to_string()), secret, modified });
        }
        newest_first(&mut items);
        Ok(items)
    }

    fn update(&mut self, name: &ItemName, path: &OwnedObjectPath, secret: &[u8]) -> Result<(), Error> {
        let entry = match self.session(Operation::Write)?.entry(name, path, Operation::Write) {
            Ok(entry) => entry,
            Err(error) => return Err(self.missing_or(name, path, error)),
        };
        self.check_not_cancelled(Operation::Write)?;
        if let Err(error) = entry.set_secret(secret) {
            let error = store_error(Operation::Write, CallEffect::Unknown, error);
            return Err(self.missing_or(name, path, error));
        }
        self.service.context.report_progress();
        self.add_missing_attributes(path);
        Ok(())
    }

    /// Creates an item. Removes it again if other processes could not read it, or if it got no secret.
    fn create(&mut self, name: &ItemName, secret: &[u8]) -> Result<(), Error> {
        self.check_not_cancelled(Operation::Write)?;
        let created = self.session(Operation::Write)?.create(name, secret);
        self.service.context.report_progress();
        let refused = match (created, self.service.search(name)) {
            // If KeePassXC asks the user for each access, only the connection that created an item can read it.
            (Ok(()), Ok(found)) if !found.locked.is_empty() => self.service.prompt_required(Operation::Read),
            (Ok(()), Ok(found)) => {
                found.unlocked.iter().for_each(|path| self.add_missing_attributes(path));
                return Ok(());
            }
            (Ok(()), Err(_)) => return Ok(()),
            (Err(error), _) => error,
        };
        // No dialogue appears, because the session's own connection created the item.
        if self.session.as_ref().is_none_or(|session| session.delete_created(name)) {
            return Err(refused);
        }
        let source = format!("{refused}; the item that was created could not be removed").into();
        Err(failed(Operation::Write, CallEffect::Unknown, source))
    }

    /// Returns [`Error::ItemMissing`] if the item is gone, else `error`.
    fn missing_or(&mut self, name: &ItemName, path: &OwnedObjectPath, error: Error) -> Error {
        match self.service.search_unlocked(Operation::Write, name) {
            Ok(found) if !found.contains(path) => Error::ItemMissing { service: SERVICE, name: name.clone() },
            _ => error,
        }
    }
}
