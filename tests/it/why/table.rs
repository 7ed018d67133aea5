//! The table of the scripted causes, which is in `tests/it/README.md` too.

use serde_json::{Value, json};

/// What happened; the condition that `codex why` explains; how certain it is; the causes it names.
pub type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

pub const ROWS: &[Row] = &[
    ("no login yet", "logged_out", "known", &["no_login"]),
    ("`codex logout` of this program", "logged_out", "known", &["logout"]),
    ("a logout that was killed after it removed the login", "logged_out", "known", &["logout"]),
    ("`codex logout` of OpenAI's Codex", "logged_out", "inferred", &["removed_by_other"]),
    (
        "a copy elsewhere, refreshed by OpenAI's Codex",
        "reused",
        "undecidable",
        &["copy_elsewhere", "answer_lost"],
    ),
    (
        "a copy elsewhere, refreshed by this program",
        "reused",
        "undecidable",
        &["copy_elsewhere", "answer_lost"],
    ),
    ("a copy in the default home, refreshed by this program", "reused", "known", &["two_homes"]),
    ("a copy in the default home, refreshed by another program", "reused", "inferred", &["two_homes"]),
    ("a request without an answer", "reused", "inferred", &["answer_lost"]),
    ("a process killed before its answer was saved", "reused", "inferred", &["answer_lost"]),
    (
        "a revocation at the authority",
        "revoked",
        "undecidable",
        &["logout_elsewhere", "revoked_by_authority"],
    ),
    ("a logout of a copy elsewhere", "revoked", "undecidable", &["logout_elsewhere", "revoked_by_authority"]),
    ("a logout of a copy in the default home", "revoked", "known", &["revoked_here"]),
    ("a refresh token that has expired", "expired", "known", &["token_expired"]),
    ("a backup restored with the time of its file", "old_copy", "inferred", &["old_copy_restored"]),
    ("an old document written back beside a running Codex", "old_copy", "inferred", &["written_back"]),
    ("an old document written back", "old_copy", "undecidable", &["old_copy_restored", "written_back"]),
    ("another account activated", "other_account", "known", &["switched_account"]),
    ("another program logged in to another account", "other_account", "inferred", &["other_login"]),
    ("a clock that is a day behind", "wrong_clock", "known", &["wrong_clock"]),
    ("a keychain that is locked", "store_unavailable", "known", &["store_locked"]),
    ("a document that is no login", "store_unavailable", "known", &["store_failure"]),
    ("new tokens that are only in the rescue", "rescue_pending", "known", &["rescue_pending"]),
    ("an authority that cannot be reached", "not_refreshed", "known", &["authority_unavailable"]),
];

/// Checks a report of `codex why --json` against the row of `scenario`.
#[track_caller]
pub fn check(scenario: &str, report: &Value) {
    let row = ROWS.iter().find(|row| row.0 == scenario).unwrap();
    let (explained, certainty, causes) = (row.1, row.2, row.3);
    assert_eq!(
        (&report["explained"], &report["certainty"], &report["causes"]),
        (&json!(explained), &json!(certainty), &json!(causes)),
        "{report:#}"
    );
    if certainty == "undecidable" {
        assert!(report["decided_by"].is_string(), "{report:#}");
    }
    if certainty == "known" && !["no_login", "store_locked", "store_failure"].contains(&causes[0]) {
        let says_so = |key: &str| report[key].as_array().is_some_and(|items| !items.is_empty());
        assert!(
            says_so("evidence") || says_so("observations") || explained == "rescue_pending",
            "{report:#}"
        );
    }
}

#[test]
fn the_readme_has_the_table_of_causes() {
    let readme = include_str!("../README.md");
    let (_, table) = readme.split_once("## Causes of a sign-out\n").unwrap();
    let rows: Vec<_> = table
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let made: Vec<_> = ROWS
        .iter()
        .map(|(scenario, explained, certainty, causes)| {
            format!("| {scenario} | {explained} | {certainty} | {} |", causes.join(", "))
        })
        .collect();
    assert_eq!(rows, made, "the table is:\n{}", made.join("\n"));
}
