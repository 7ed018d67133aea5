//! What the tests stand on: a home of their own, the program as a child in it, and a real keyring session.

mod actor;
#[cfg(target_os = "linux")]
mod clock;
mod flock;
mod folder;
mod home;
mod lines;
mod machine;
#[cfg(target_os = "linux")]
mod mounted;
#[cfg(feature = "failpoints")]
mod pause;
mod process;
mod program;
#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(target_os = "macos", path = "macos.rs")]
mod system;
pub mod web;
mod words;
pub mod writing;

#[path = "../../../platform/tests/support/mod.rs"]
pub mod session;

pub use self::actor::{Actor, await_cue, hear, part, tell};
#[cfg(target_os = "linux")]
pub use self::clock::WallClock;
pub use self::flock::Flock;
pub use self::folder::Folder;
#[cfg(target_os = "linux")]
pub use self::home::tree;
pub use self::home::{TestHome, chatgpt, jwt, names};
pub use self::lines::Lines;
pub use self::machine::{Machine, account, item, now};
#[cfg(target_os = "linux")]
pub use self::mounted::Mounted;
#[cfg(feature = "failpoints")]
pub use self::pause::Pause;
pub use self::process::{children, is_alive, resident};
pub use self::program::{Ended, Guarded, Run, eventually, program, search_path};
pub use self::system::alone;
#[cfg(target_os = "linux")]
pub use self::system::{items, plant_another_item, without_capabilities};
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
            use crate::support::Machine;

            #[test]
            fn in_the_file() {
                super::$law(&mut Machine::with_file());
            }

            // Linux: items of others.
            #[cfg(target_os = "linux")]
            #[test]
            fn in_the_keychain() {
                use crate::support::{here, session};
                session::inside(here!(), || super::$law(&mut Machine::with_keychain()));
            }
        }
    )+ };
}

/// The same for laws that need a network of their own.
macro_rules! alone_over_both_stores {
    ($($law:ident),+ $(,)?) => { $(
        mod $law {
            use crate::support::{Machine, alone, here};

            #[test]
            fn in_the_file() {
                alone(here!(), || super::$law(&mut Machine::with_file()));
            }

            // Linux: items of others.
            #[cfg(target_os = "linux")]
            #[test]
            fn in_the_keychain() {
                use crate::support::session;
                let test = here!();
                alone(test, || session::inside(test, || super::$law(&mut Machine::with_keychain())));
            }
        }
    )+ };
}

pub(crate) use {alone_over_both_stores, here, over_both_stores};
