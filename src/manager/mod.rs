//! What is done with a login once it is there: whether it is usable, and how it ends.

pub mod logout;
mod usability;

pub use self::usability::{Unusable, Usability};
