//! Everyone knows: what one process does to a login, every other one learns, once and at once.

mod convergence;
mod host;
mod matrix;
mod poison;
mod polling;
mod program;
pub mod watcher;
