//! What the tests stand on: a home of their own, the program as a child in it, and a real keyring session.

mod actor;
mod clock;
mod flock;
mod home;
mod lines;
mod machine;
mod mounted;
mod network;
#[cfg(feature = "failpoints")]
mod pause;
mod program;
pub mod web;
mod words;

#[path = "../../../platform/tests/support/mod.rs"]
pub mod session;

pub use self::actor::{Actor, await_cue, hear, part, tell};
pub use self::clock::WallClock;
pub use self::flock::Flock;
pub use self::home::{Home, chatgpt, jwt, names};
pub use self::lines::Lines;
pub use self::machine::{Machine, account, item, items, now, plant_another_item};
pub use self::mounted::{Folder, Mounted};
pub use self::network::alone;
#[cfg(feature = "failpoints")]
pub use self::pause::Pause;
pub use self::program::{Ended, Guarded, Run, eventually, program, search_path};
pub use self::words::filters;

/// The full name of the test that this stands in, as the harness knows it; not to be used within a closure.
macro_rules! here {
    () => {{
        fn mark() {}
        let name = std::any::type_name_of_val(&mark);
        let name = name.strip_suffix("::mark").unwrap();
        name.split_once("::").unwrap().1
    }};
}

/// Laws that hold wherever a login is kept: each becomes one test over the file store, on a machine without a keychain,
/// and one over a real keychain.
macro_rules! over_both_stores {
    ($($law:ident),+ $(,)?) => { $(
        mod $law {
            use crate::support::{Machine, here, session};

            #[test]
            fn in_the_file() {
                super::$law(&mut Machine::with_file());
            }

            #[test]
            fn in_the_keychain() {
                session::inside(here!(), || super::$law(&mut Machine::with_keychain()));
            }
        }
    )+ };
}

/// The same for laws that need a network of their own.
macro_rules! alone_over_both_stores {
    ($($law:ident),+ $(,)?) => { $(
        mod $law {
            use crate::support::{Machine, alone, here, session};

            #[test]
            fn in_the_file() {
                alone(here!(), || super::$law(&mut Machine::with_file()));
            }

            #[test]
            fn in_the_keychain() {
                let test = here!();
                alone(test, || session::inside(test, || super::$law(&mut Machine::with_keychain())));
            }
        }
    )+ };
}

pub(crate) use {alone_over_both_stores, here, over_both_stores};
