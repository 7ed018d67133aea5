//! Points at which a test can kill or stop the process; without the feature `failpoints` there is nothing here.

/// A step of a transaction. The names are those of the table in `tests/it/README.md`.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn at(_step: &str) {}

/// A step of a transaction. Where `CODEX_AUTH_FAILPOINT` is `step=kill` the process dies here as by `kill -9`; where it is
/// `step=wait:PATH` it stands still until a test has opened and closed the FIFO at that path.
#[cfg(feature = "failpoints")]
pub(crate) fn at(step: &str) {
    let Some((_, action)) = crate::config::failpoint().filter(|(name, _)| name == step) else { return };
    if action == "kill" {
        codex_auth_platform::failpoint::die();
    } else if let Some(path) = action.strip_prefix("wait:") {
        codex_auth_platform::failpoint::stand_still(path.as_ref());
    }
}
