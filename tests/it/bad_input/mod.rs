//! What others left behind and what machines do: one clear line, the right exit code, nothing lost, nothing half-written.

mod answers;
mod disks;
mod documents;
mod homes;
mod keychains;
