//! The keychain's own word that something in it has changed: a hint to look at once, and never a reason not to look.

#[cfg(not(target_os = "linux"))]
use std::marker::PhantomData;

/// Listens for as long as it lives.
///
/// On Linux the signals of the Secret Service's collections are heard over a connection of its own. gnome-keyring 42
/// sends none when a secret is updated in place, and KeePassXC sends dozens for one change (`feasibility.md` 4). On
/// macOS nothing is heard.
#[derive(Debug)]
#[must_use = "it listens until it is dropped"]
pub struct ChangeListener {
    #[cfg(target_os = "linux")]
    _listening: imp::ActiveListener,
    #[cfg(not(target_os = "linux"))]
    _nothing: PhantomData<()>,
}

impl ChangeListener {
    /// Calls `tell` on a thread of its own after every change that the service tells of. Returns at once; a bus that
    /// cannot be reached tells of nothing.
    pub fn listen(tell: impl Fn() + Send + 'static) -> Self {
        #[cfg(target_os = "linux")]
        {
            Self { _listening: imp::ActiveListener::start(tell) }
        }
        #[cfg(not(target_os = "linux"))]
        {
            drop(tell);
            Self { _nothing: PhantomData }
        }
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::sync::{Arc, Mutex, PoisonError};
    use std::thread;

    use zbus::MatchRule;
    use zbus::blocking::{Connection, MessageIterator};
    use zbus::message::Type;

    const COLLECTION_INTERFACE: &str = "org.freedesktop.Secret.Collection";

    /// The connection that is listened on, for as long as anybody wants it.
    #[derive(Debug)]
    enum SignalConnection {
        /// Not there yet.
        Opening,
        Open(Connection),
        /// Nobody listens any more.
        Closed,
    }

    #[derive(Debug)]
    pub(super) struct ActiveListener(Arc<Mutex<SignalConnection>>);

    impl ActiveListener {
        pub(super) fn start(tell: impl Fn() + Send + 'static) -> Self {
            let line = Arc::new(Mutex::new(SignalConnection::Opening));
            let shared = Arc::clone(&line);
            let work = move || drop(listen(&shared, tell));
            // Without a thread nothing is heard, which a hint may do.
            let _ = thread::Builder::new().name("keychain changes".to_owned()).spawn(work);
            Self(line)
        }
    }

    impl Drop for ActiveListener {
        fn drop(&mut self) {
            let line = std::mem::replace(&mut *lock(&self.0), SignalConnection::Closed);
            if let SignalConnection::Open(bus) = line {
                // The thread that waits on it ends with it.
                let _ = bus.close();
            }
        }
    }

    fn listen(line: &Mutex<SignalConnection>, tell: impl Fn()) -> zbus::Result<()> {
        let bus = super::super::bus::session()?;
        let rule = MatchRule::builder().msg_type(Type::Signal).interface(COLLECTION_INTERFACE)?.build();
        let signals = MessageIterator::for_match_rule(rule, &bus, None)?;
        {
            let mut line = lock(line);
            if matches!(*line, SignalConnection::Closed) {
                return Ok(());
            }
            *line = SignalConnection::Open(bus);
        }
        // What changed before the rule was set is not told by it.
        tell();
        for signal in signals {
            signal?;
            tell();
        }
        Ok(())
    }

    fn lock(line: &Mutex<SignalConnection>) -> std::sync::MutexGuard<'_, SignalConnection> {
        line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
