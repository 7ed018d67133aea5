//! One refresh: the transaction that spends a single-use token once and loses nothing, through real processes.

mod answers;
#[cfg(feature = "failpoints")]
mod clocks;
#[cfg(feature = "failpoints")]
mod crashes;
mod fresh;
mod library;
mod lifetimes;
mod logout;
mod obstacles;
mod processes;
mod redaction;
mod rival;
mod rivals;
mod rounds;
mod upstream;
pub mod world;
