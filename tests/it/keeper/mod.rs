//! The keeper: one process refreshes ahead of time, so that no other ever has to.
