//! Writes the log to standard error.

use std::io;

use codex_auth::config::{Environment, LogLevel};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging at the level of the environment, else at `default`. Later calls have no effect.
pub(crate) fn start(environment: &Environment, default: Option<LogLevel>) {
    let Some(level) = environment.log.or(default) else { return };
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
        _ => Level::INFO,
    };
    // Other libraries may log secrets that pass through them.
    let ours = Targets::new().with_target("codex_auth", level).with_target("codex", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false);
    // Reporting a failed write would panic if standard error is closed, also in the middle of a refresh.
    let lines = lines.log_internal_errors(false);
    // An existing subscriber is kept.
    let _ = tracing_subscriber::registry().with(lines).with(ours).try_init();
}
