//! Points at which a test can stop or kill the process; without the feature `failpoints` there is nothing here.

/// A step of a transaction. The names are those of the table in `tests/it/README.md`.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn at(_step: &str) {}

/// A step of a transaction. Where `CODEX_AUTH_FAILPOINT` is `step=kill` the process dies here as by `kill -9`; where it
/// is `step=pause:PATH` it says so by making the file at `PATH`, and goes no further until that is removed.
#[cfg(feature = "failpoints")]
pub(crate) fn at(step: &str) {
    let Some((name, action)) = crate::config::failpoint() else { return };
    if name != step {
        return;
    }
    match action.strip_prefix("pause:") {
        Some(path) => codex_auth_platform::failpoint::pause_at(path.as_ref()),
        None => codex_auth_platform::failpoint::die(),
    }
}
