//! Points at which a test can kill the process; without the feature `failpoints` there is nothing here.

/// A step of a transaction. The names are those of the table in `tests/it/README.md`.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn at(_step: &str) {}

/// A step of a transaction. Where `CODEX_AUTH_FAILPOINT` is `step=kill` the process dies here as by `kill -9`.
#[cfg(feature = "failpoints")]
pub(crate) fn at(step: &str) {
    if crate::config::failpoint().is_some_and(|(name, action)| name == step && action == "kill") {
        codex_auth_platform::failpoint::die();
    }
}
