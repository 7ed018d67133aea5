//! What the library logs, on stderr; without secrets, because the library logs none.

use std::io;

use codex_auth::config::{Environment, LogLevel};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Logs as much as the environment says, else as `default` says, from then on. Once for a process.
pub(crate) fn start(environment: &Environment, default: Option<LogLevel>) {
    let Some(level) = environment.log.or(default) else { return };
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
        _ => Level::INFO,
    };
    // Other libraries may log what passes through them.
    let ours = Targets::new().with_target("codex_auth", level).with_target("codex", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false);
    // A subscriber that is there already stays.
    let _ = tracing_subscriber::registry().with(lines).with(ours).try_init();
}
