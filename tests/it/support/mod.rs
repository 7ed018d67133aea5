//! Helpers of the tests: temporary homes, runs of the program, and real keyring sessions.

#[cfg(target_os = "linux")]
mod clock;
mod flock;
mod folder;
mod helper;
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
mod tmux;
pub mod web;
mod words;
pub mod writing;

#[path = "../../../platform/tests/support/mod.rs"]
pub mod session;

#[cfg(target_os = "linux")]
pub use self::clock::WallClock;
pub use self::flock::Flock;
pub use self::folder::Folder;
pub use self::helper::{HelperProcess, read_word, report, role, wait_for_input};
#[cfg(target_os = "linux")]
pub use self::home::tree;
pub use self::home::{TestHome, chatgpt, jwt, link_to, names};
pub use self::lines::Lines;
#[cfg(target_os = "linux")]
pub use self::machine::item_at;
pub use self::machine::{Machine, account, item, now};
#[cfg(target_os = "linux")]
pub use self::mounted::Mounted;
#[cfg(feature = "failpoints")]
pub use self::pause::Pause;
pub use self::process::{children, is_alive, resident};
pub use self::program::{Ended, Guarded, Run, eventually, program, search_path};
pub use self::system::in_private_network;
#[cfg(target_os = "linux")]
pub use self::system::{add_second_item, items, without_capabilities};
pub use self::tmux::Screen;
pub use self::words::snapshot_filters;

/// The full name of the surrounding test. It must not be used within a closure.
macro_rules! here {
    () => {{
        fn mark() {}
        let name = std::any::type_name_of_val(&mark);
        let name = name.strip_suffix("::mark").unwrap();
        name.split_once("::").unwrap().1
    }};
}

/// Defines two tests of each function: one with the file store, on a machine without a keychain, and one with a real
/// keychain.
macro_rules! over_both_stores {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            use crate::support::Machine;

            #[test]
            fn in_the_file() {
                super::$test(&mut Machine::with_file());
            }

            // Linux: keychain items of other programs.
            #[cfg(target_os = "linux")]
            #[test]
            fn in_the_keychain() {
                use crate::support::{here, session};
                session::inside(here!(), || super::$test(&mut Machine::with_keychain()));
            }
        }
    )+ };
}

/// As `over_both_stores`, in a private network.
macro_rules! in_private_network_over_both_stores {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            use crate::support::{Machine, here, in_private_network};

            #[test]
            fn in_the_file() {
                in_private_network(here!(), || super::$test(&mut Machine::with_file()));
            }

            // Linux: keychain items of other programs.
            #[cfg(target_os = "linux")]
            #[test]
            fn in_the_keychain() {
                use crate::support::session;
                let test = here!();
                in_private_network(test, || session::inside(test, || super::$test(&mut Machine::with_keychain())));
            }
        }
    )+ };
}

pub(crate) use {here, in_private_network_over_both_stores, over_both_stores};
