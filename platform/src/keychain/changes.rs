//! Change notices of the keychain: a hint to read at once, never a reason not to read.

#[cfg(not(all(feature = "keychain", target_os = "linux")))]
use std::marker::PhantomData;

/// Listens for changes until it is dropped.
///
/// On Linux it receives the signals of the Secret Service's collections over a separate connection. gnome-keyring 42
/// sends no signal when a secret is updated in place, and KeePassXC sends dozens for one change. On macOS it receives
/// nothing.
#[derive(Debug)]
#[must_use = "it listens until it is dropped"]
pub struct ChangeListener {
    #[cfg(all(feature = "keychain", target_os = "linux"))]
    _listening: imp::ActiveListener,
    #[cfg(not(all(feature = "keychain", target_os = "linux")))]
    _nothing: PhantomData<()>,
}

impl ChangeListener {
    /// Calls `notify` on a new thread once it listens, and after every change that the service signals. Returns at
    /// once; without a reachable bus, `notify` is never called.
    pub fn listen(notify: impl Fn() + Send + 'static) -> Self {
        #[cfg(all(feature = "keychain", target_os = "linux"))]
        {
            Self { _listening: imp::ActiveListener::start(notify) }
        }
        #[cfg(not(all(feature = "keychain", target_os = "linux")))]
        {
            drop(notify);
            Self { _nothing: PhantomData }
        }
    }
}

#[cfg(all(feature = "keychain", target_os = "linux"))]
mod imp {
    use std::sync::{Arc, Mutex};
    use std::thread;

    use zbus::MatchRule;
    use zbus::blocking::{Connection, MessageIterator};
    use zbus::message::Type;

    use crate::sync::lock;

    const COLLECTION_INTERFACE: &str = "org.freedesktop.Secret.Collection";

    /// The connection of the listening thread.
    #[derive(Debug)]
    enum SignalConnection {
        /// Not connected yet.
        Opening,
        Open(Connection),
        /// The listener was dropped.
        Closed,
    }

    #[derive(Debug)]
    pub(super) struct ActiveListener(Arc<Mutex<SignalConnection>>);

    impl ActiveListener {
        pub(super) fn start(notify: impl Fn() + Send + 'static) -> Self {
            let connection = Arc::new(Mutex::new(SignalConnection::Opening));
            let shared = Arc::clone(&connection);
            let work = move || drop(listen(&shared, notify));
            // Without a thread there are no notices, which callers must tolerate anyway.
            let _ = thread::Builder::new().name("keychain changes".to_owned()).spawn(work);
            Self(connection)
        }
    }

    impl Drop for ActiveListener {
        fn drop(&mut self) {
            let connection = std::mem::replace(&mut *lock(&self.0), SignalConnection::Closed);
            if let SignalConnection::Open(bus) = connection {
                // Ends the thread that waits on the connection.
                let _ = bus.close();
            }
        }
    }

    fn listen(connection: &Mutex<SignalConnection>, notify: impl Fn()) -> zbus::Result<()> {
        let bus = super::super::bus::session()?;
        let rule = MatchRule::builder().msg_type(Type::Signal).interface(COLLECTION_INTERFACE)?.build();
        let signals = MessageIterator::for_match_rule(rule, &bus, None)?;
        {
            let mut connection = lock(connection);
            if matches!(*connection, SignalConnection::Closed) {
                return Ok(());
            }
            *connection = SignalConnection::Open(bus);
        }
        // The signals of changes before the match rule was added are missed.
        notify();
        for signal in signals {
            signal?;
            notify();
        }
        Ok(())
    }
}
