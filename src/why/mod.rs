//! Explains why a login does not work, or why it was lost the last time, from the history and from what is there now.
//!
//! [`Evidence`] is gathered without writing, locking or sending anything. [`explain`] is a function of it alone, and says
//! of each cause how certain it is:
//!
//! - [`Certainty::Known`]: an event of this library, or the present state, says so.
//! - [`Certainty::Inferred`]: the change looks like it, and something else would look alike.
//! - [`Certainty::Undecidable`]: two causes look the same from here; both are named, with what would decide.
//!
//! The absence of an event proves nothing: a process may be killed between a change and its event. So no cause is known
//! because something is *not* in the history.

mod cause;
mod evidence;
mod report;
mod rules;
mod words;

pub use self::cause::{Cause, Certainty, Explanation, SignInState};
pub use self::evidence::{Evidence, OtherHome, StoredLogin};
pub use self::report::report;
pub use self::rules::explain;
