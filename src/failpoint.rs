//! Points at which a test can kill or pause the process; without the feature `failpoints` they do nothing.

/// Marks a step of a transaction; `tests/it/README.md` lists the names.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn at(_step: &str) {}

/// Marks a step of a transaction. If `CODEX_AUTH_FAILPOINT` is `step=kill`, the process kills itself as by `kill -9`;
/// if it is `step=wait:PATH`, it waits until a test has opened and closed the FIFO at that path; if it is `step=panic`, it
/// panics.
#[cfg(feature = "failpoints")]
#[expect(clippy::panic, reason = "a test asks for it")]
pub(crate) fn at(step: &str) {
    let Some((_, action)) = crate::config::failpoint().filter(|(name, _)| name == step) else { return };
    if action == "kill" {
        codex_auth_platform::failpoint::kill_self();
    } else if let Some(path) = action.strip_prefix("wait:") {
        codex_auth_platform::failpoint::wait_at_fifo(path.as_ref());
    } else if action == "panic" {
        panic!("a test asked for this panic at {step}");
    }
}
