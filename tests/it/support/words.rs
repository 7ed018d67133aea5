//! Filters for the parts of the program's output that differ between runs.

use insta::Settings;
use insta::internals::SettingsBindDropGuard;

use super::TestHome;

/// Until the guard is dropped, snapshots replace paths, times and other values of this run by placeholders.
pub fn snapshot_filters(home: &TestHome) -> SettingsBindDropGuard {
    let mut settings = Settings::clone_current();
    let path = home.path().display().to_string();
    for (pattern, word) in [
        (r"cli\|[0-9a-f]{16}".to_owned(), "cli|[hash]"),
        (r"unix:path=/\S*/no-bus".to_owned(), "unix:path=[no-bus]"),
        (regex_of(&path), "[home]"),
        (r"(fingerprint +)[0-9a-f]{16}".to_owned(), "${1}[fingerprint]"),
        (r"\bin \d+ (d|h|min|s)( \d+ (h|min))?\b".to_owned(), "in [time]"),
        (r"\b\d+ (d|h|min|s)( \d+ (h|min))? ago\b".to_owned(), "[time] ago"),
        (r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z".to_owned(), "[moment]"),
        (r"\bafter \d+\.\d+m?s\b".to_owned(), "after [time]"),
        (r"\bpid \d+".to_owned(), "pid [pid]"),
    ] {
        settings.add_filter(&pattern, word);
    }
    settings.bind_to_scope()
}

/// Escapes a text for use in a pattern.
fn regex_of(text: &str) -> String {
    text.chars()
        .flat_map(|letter| (!letter.is_alphanumeric()).then_some('\\').into_iter().chain([letter]))
        .collect()
}
