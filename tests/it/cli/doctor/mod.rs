//! `codex doctor`: every finding, for a real cause, without a change; `--fix` fixes what is safe to fix.

mod folders;
mod network;

use codex_auth_platform::{filesystem, process};
use scripted_authority::{Account, Authority, Ending, Endpoint, Grant, Step};
use serde_json::{Value, json};

use super::migrate::another_codex;
use crate::support::{Ended, Run, TestHome, chatgpt, jwt, now, snapshot_filters};

/// A login by a scripted authority, in the file store.
struct Patient {
    home: TestHome,
    authority: Authority,
    grant: Grant,
}

impl Patient {
    fn healthy() -> Self {
        let (home, authority) = (TestHome::new(), Authority::start().unwrap());
        let grant = authority.grant(Account::numbered(1));
        home.write("auth.json", grant.auth_json());
        Self { home, authority, grant }
    }

    fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let run = self.home.codex(arguments);
        run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url())
            .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", self.authority.revoke_url())
    }

    /// Runs the doctor as text and as JSON, and checks that it changes nothing and spends no token.
    fn look(&self) -> Report {
        let (tree, requests) = (self.home.tree(), self.authority.counters().of(Endpoint::Refresh));
        let report = Report::of(|arguments| self.codex(arguments.iter().copied()));
        assert_eq!(self.home.tree(), tree);
        assert_eq!(self.authority.counters().of(Endpoint::Refresh), requests);
        report
    }
}

/// The output of the doctor.
pub(super) struct Report {
    json: Value,
    text: String,
}

impl Report {
    #[track_caller]
    pub(super) fn of(run: impl Fn(&[&str]) -> Run) -> Self {
        let (text, printed) = (run(&["doctor"]).run(), run(&["doctor", "--json"]).run());
        let json = printed.json();
        let sick = json["problems"] != 0;
        for Ended { code, err, .. } in [&text, &printed] {
            assert_eq!((*code, err.as_str()), (Some(i32::from(sick)), ""), "{text}");
        }
        Self { json, text: text.out }
    }

    /// Checks that both outputs have this finding; `remedy` is empty if there is none.
    #[track_caller]
    pub(super) fn says(&self, standing: &str, check: &str, message: &str, remedy: &str) -> &Self {
        let findings = self.json["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| {
            finding["check"] == check
                && finding["standing"] == standing
                && finding["message"].as_str().unwrap().contains(message)
        });
        let Some(found) = found else { panic!("no {standing} of {check} with {message:?}:\n{}", self.text) };
        let printed = found["remedy"].as_str().unwrap_or_default();
        assert!(printed.contains(remedy) && printed.is_empty() == remedy.is_empty(), "{found:#}");
        let line = format!("  {standing:7}  {check:12}  {}\n", found["message"].as_str().unwrap());
        assert!(self.text.contains(&line), "{line}in\n{}", self.text);
        self
    }
}

#[test]
fn a_healthy_machine_has_no_problem() {
    let patient = Patient::healthy();
    let _filters = snapshot_filters(&patient.home);
    let url = patient.authority.url().trim_start_matches("http://").to_owned();
    let printed = patient.codex(["doctor"]).run().to_string().replace(&url, "[authority]");
    let machine = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let user = format!("user {}", process::effective_uid());
    let kind = filesystem::describe(&patient.home.path()).unwrap().name;
    let printed =
        printed.replace(&machine, "[machine]").replace(&user, "user [user]").replace(&kind, "[kind]");
    let printed = printed.replace(env!("CARGO_PKG_VERSION"), "[version]");
    // The machine may have a keychain or not.
    let printed: Vec<_> = printed.lines().filter(|line| !line.starts_with("  ok       keychain")).collect();
    insta::assert_snapshot!(printed.join("\n"), @r"
    exit 0
    --- stdout
      ok       version       codex-auth [version] on [machine]
      ok       place         [home] (CODEX_HOME)
      ok       filesystem    [kind]; changes are noticed at once
      ok       owners        every file belongs to user [user]
      ok       modes         no other user can read or change the login
      ok       locks         none is held
      ok       leftovers     none
      ok       config        config.toml does not set cli_auth_credentials_store
      ok       store         file store, [home]/auth.json (it is the default)
      ok       login         chatgpt; the access token expires in [time] and is refreshed when needed
      ok       authority     tokens are refreshed at [authority]/oauth/token (CODEX_REFRESH_TOKEN_URL_OVERRIDE)
      ok       authority     tokens are revoked at [authority]/oauth/revoke (CODEX_REVOKE_TOKEN_URL_OVERRIDE)
      ok       route         no proxy
      ok       certificates  not needed: the authority runs on this machine
      ok       reachable     [authority]/oauth/token responds (HTTP 405 to an empty request)
      ok       clock         within 30 s of the authority's
      ok       keeper        not running
      ok       next codex    none on PATH
      ok       programs      no other codex uses this login

      0 problems, 0 warnings
    --- stderr
    ");
    assert_eq!(patient.look().json["warnings"], 0);
}

#[test]
fn a_configuration_or_document_that_cannot_be_used_is_a_problem() {
    let patient = Patient::healthy();
    for (text, standing, message, remedy) in [
        ("auth_token = \"sk-old\"\n", "warning", "contains auth_token", "remove the line"),
        ("a = = 1\n", "problem", "line 1 is not valid TOML", "correct that file"),
        (
            "cli_auth_credentials_store = \"floppy\"\n",
            "problem",
            "cli_auth_credentials_store must be",
            "correct",
        ),
        ("cli_auth_credentials_store = \"file\"\n", "ok", "cli_auth_credentials_store = \"file\"", ""),
    ] {
        patient.home.write("config.toml", text);
        patient.look().says(standing, "config", message, remedy);
    }
    for rule in ["forced_login_method = \"api\"\n", "forced_chatgpt_workspace_id = \"elsewhere\"\n"] {
        patient.home.write("config.toml", rule);
        patient.look().says("problem", "login", "config.toml allows", "codex login");
    }
    patient.home.write("auth.json", "{\"OPENAI_API_KEY\": \"sk");
    patient.look().says("problem", "store", "auth.json: it is not", "codex login");
    patient.home.write("auth.json", r#"{"auth_mode":"telepathy","OPENAI_API_KEY":"sk-1"}"#);
    patient.look().says("warning", "store", "auth_mode \"telepathy\" is not known", "codex login");
}

#[test]
fn a_login_that_yields_no_token_is_a_problem_and_a_failure_that_passes_a_warning() {
    let patient = Patient::healthy();
    patient.authority.script(Endpoint::Refresh, Step::status(503, "busy"));
    patient.codex(["refresh"]).run().refused(4);
    patient.look().says("warning", "login", "the last refresh, 0 s ago, failed", "codex refresh");
    patient.codex(["refresh"]).run().expect(0);
    patient.home.write("auth.json", patient.grant.auth_json());
    patient.look().says("problem", "login", "an old copy: its refresh token was already used", "codex login");

    let patient = Patient::healthy();
    patient.authority.end(patient.grant.id, Ending::RefreshInvalidated);
    patient.codex(["refresh"]).run().refused(3);
    patient.look().says("problem", "login", "the refresh token was revoked", "log in again: codex login");

    let patient = Patient::healthy();
    patient.home.write("auth.json", chatgpt("acct-1", "", now() - 7_200, now() - 3_600));
    patient.look().says("problem", "login", "the access token has expired", "codex login");
}

#[test]
fn other_programs_on_this_login_are_named() {
    let patient = Patient::healthy();
    patient.look().says("ok", "programs", "no other codex uses this login", "");
    let other = another_codex(&patient.home, &patient.home.path());
    patient.look().says("ok", "programs", &format!("/codex (pid {})", other.0.id()), "");
}

#[test]
fn a_report_contains_no_secret_and_no_personal_data() {
    let patient = Patient::healthy();
    let mark = "MARKED7f3a";
    patient.home.write("config.toml", format!("auth_token = \"{mark}\"\n"));
    let access = jwt(&json!({"iat": now(), "exp": now() + 60, "jti": mark}));
    let mut document: Value = serde_json::from_str(&patient.grant.auth_json()).unwrap();
    document["tokens"]["access_token"] = json!(access);
    document["tokens"]["refresh_token"] = json!(mark);
    document["OPENAI_API_KEY"] = json!(mark);
    patient.home.write("auth.json", document.to_string());
    patient.home.write("auth.json.bak", mark);
    for arguments in [&["doctor"][..], &["doctor", "--json"], &["-v", "doctor"], &["doctor", "--fix"]] {
        let run = patient.codex(arguments.iter().copied());
        let run = run.env("HTTPS_PROXY", format!("http://ada:{mark}@127.0.0.1:9"));
        let ended = run.env("ALL_PROXY", format!("{mark}://{mark}")).run();
        let whole = ended.to_string();
        for secret in [mark, access.as_str(), "@example.com", "sesame"] {
            assert!(!whole.contains(secret), "{secret} in\n{whole}");
        }
        assert!(whole.contains("auth_token, a key of an old version"), "{whole}");
    }
}
