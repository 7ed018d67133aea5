//! The program `codex`.
fn main() {}
