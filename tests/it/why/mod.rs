//! Why a login was lost: scripted causes, with the class, the certainty and the causes that `codex why` says.

mod causes;
mod codex;
mod secrets;
mod table;
pub mod world;
