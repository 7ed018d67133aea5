//! Several logins in one home, each an account with a name.
//!
//! An account is a home of its own, `accounts/ID` in the home around it, with its own document, lease, state and rescue.
//! [`AccountSet`] lists them, [`ChosenHome`] finds the one that a command uses, and [`AccountEditor`] changes them, each
//! time under the lease of the home around them. The names and pinned folders are in `codex-auth/accounts.toml`, which holds no secret.
//!
//! One account may be active: `auth.json` of the home is then a link to the document in its folder, so that every program
//! that knows nothing of accounts uses it. A link is replaced in one step, under the leases of both accounts and Codex's
//! commit locks; a transaction that runs meanwhile commits to the document that it has read. A login in a keychain is not
//! switched with a link: its account is used by name, by variable or in its own folder.

mod activate;
mod choice;
mod editor;
mod error;
mod farm;
mod file;
mod history;
mod import;
mod moving;
mod name;
mod reconcile;
mod set;
mod writer;

pub use self::activate::{Activation, FOREIGN_REFRESH, ForeignLink, required_lifetime};
pub use self::choice::{AccountReason, ChosenHome};
pub use self::editor::{AccountEditor, ReservedAccount, Settlement};
pub use self::error::Error;
pub use self::farm::prepare_home;
pub use self::file::{Account, AccountPlace, Pin};
pub use self::history::{HistoryFollower, HomeEvents, HomeHistory, HomeRecord};
pub use self::import::{AccountImport, login_store};
pub use self::name::{AccountId, AccountName, InvalidName};
pub use self::reconcile::{JobRunner, LinkChange};
pub use self::set::{AccountSet, ActiveLink};
pub use self::writer::AccountWriter;
