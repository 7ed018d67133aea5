//! The versions of OpenAI's Codex with which this version was tested.

/// The versions of Codex that the tests of this version run. Another one may store or refresh a login differently.
pub const TESTED_CODEX_VERSIONS: [&str; 2] = ["0.169.0", "0.171.0"];

/// Returns whether `printed`, the output of `codex --version`, names one of [`TESTED_CODEX_VERSIONS`].
#[must_use]
pub fn is_tested_codex(printed: &str) -> bool {
    printed.trim().strip_prefix("codex-cli ").is_some_and(|version| TESTED_CODEX_VERSIONS.contains(&version))
}
