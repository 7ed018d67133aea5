//! Messages name what failed, why, and what to do about it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use super::hand_over::{REPORTS, folder};
use crate::manager::world::World;
use crate::support::{
    Guarded, Machine, Run, TestHome, chatgpt, here, in_private_network, now, over_both_stores,
};

const API_KEY: &str = r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-test"}"#;

over_both_stores![
    refresh_without_a_login_says_to_log_in_first,
    a_login_over_another_says_what_happens_to_its_tokens
];

fn refresh_without_a_login_says_to_log_in_first(machine: &mut Machine) {
    let ended = machine.codex(["refresh"]).run().refused(1);
    assert_eq!(ended.err, "error: not logged in\nhint: log in first: codex login\n");
    machine.store_text(API_KEY);
    let ended = machine.codex(["refresh"]).run().expect(0);
    assert_eq!(ended.err, "nothing to refresh: logged in with an API key\n");
}

fn a_login_over_another_says_what_happens_to_its_tokens(machine: &mut Machine) {
    let document = chatgpt("acct-1", "rt-of-the-test", now(), now() + 3600);
    for (flag, line) in [
        (
            None,
            "the tokens of the old login are revoked if it is of the same account; --keep-old leaves them valid, \
             --revoke-old revokes those of another account too",
        ),
        (Some("--keep-old"), "the tokens of the old login stay valid until they expire (--keep-old)"),
        (Some("--revoke-old"), "the tokens of the old login are revoked (--revoke-old)"),
    ] {
        machine.store_text(&document);
        let words = ["login", "--with-api-key"].into_iter().chain(flag);
        let ended = machine.codex(words).input("sk-new").run().expect(0);
        assert!(ended.err.starts_with("logged in with an API key, in place of the old login\n"), "{ended}");
        let lines: Vec<_> = ended.err.lines().collect();
        assert_eq!(lines.len(), 4, "{ended}");
        assert_eq!(lines[2], line, "{ended}");
    }
    let ended = machine.codex(["login", "--with-api-key"]).input("sk-newer").run().expect(0);
    let about_the_old = ended.err.lines().filter(|line| line.contains("the old login are revoked")).count();
    assert_eq!(about_the_old, 0, "an API key is not revoked\n{ended}");
}

/// A login that takes long shows the message at its beginning.
#[test]
fn a_device_login_over_another_says_at_once_what_happens_to_its_tokens() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let run = world.codex(["login", "--device-auth"]);
    let run = run.env("CODEX_APP_SERVER_LOGIN_ISSUER", world.authority.url());
    let (line, _) = line_with(run, "--keep-old");
    assert!(line.starts_with("the tokens of the old login are revoked if"), "{line}");
}

#[test]
fn an_input_that_is_not_a_token_is_neither_kind() {
    let home = TestHome::new();
    let ended = home.codex(["login", "--with-access-token"]).input("junk").run().refused(1);
    assert_eq!(
        ended.err,
        "error: the input is neither a personal access token (at-…) nor an agent identity token\n\
         hint: printenv CODEX_ACCESS_TOKEN | codex login --with-access-token\n"
    );
}

#[test]
fn a_proxy_that_refuses_is_named_with_its_variable() {
    let home = TestHome::new();
    let printed = |variable: &str, words: &[&str], input: &str| {
        let mut run =
            home.codex(words.iter().copied()).input(input).env(variable, "http://user:marked@127.0.0.1:9");
        for other in
            ["CODEX_APP_SERVER_LOGIN_ISSUER", "CODEX_AUTHAPI_BASE_URL", "CODEX_REFRESH_TOKEN_URL_OVERRIDE"]
        {
            run = run.without(other);
        }
        run.run().refused(4).err
    };
    home.write("auth.json", chatgpt("acct-1", "rt-of-the-test", now() - 8_000, now() - 1));
    for (variable, words, input) in [
        ("HTTPS_PROXY", &["login", "--device-auth"][..], ""),
        ("https_proxy", &["login", "--with-access-token"], "at-1"),
        ("ALL_PROXY", &["refresh"], ""),
    ] {
        let err = printed(variable, words, input);
        assert!(
            err.contains(&format!("cannot be reached through the proxy 127.0.0.1:9 ({variable}): ")),
            "{err}"
        );
        assert!(
            err.contains(&format!("check the proxy, or unset {variable}")) && !err.contains("marked"),
            "{err}"
        );
        fs::remove_dir_all(home.file("codex-auth")).unwrap_or_default();
    }
}

#[test]
fn a_document_that_is_not_an_object_and_a_missing_home_directory_are_named() {
    let home = TestHome::new();
    for text in ["[]", " [1] ", "\"text\"", "1", "null"] {
        home.write("auth.json", text);
        let ended = home.codex(["status"]).run().refused(1);
        let path = home.document();
        let expected = format!("error: cannot parse {}: it is not a JSON object\n", path.display());
        assert!(ended.err.starts_with(&expected), "{text}\n{ended}");
    }
    let missing = home.file("missing");
    let ended = home.codex(["status"]).without("CODEX_HOME").env("HOME", &missing).run().refused(1);
    let expected = format!(
        "error: the home directory {} does not exist; create it, or set HOME or CODEX_HOME\n",
        missing.display()
    );
    assert_eq!(ended.err, expected);
}

#[test]
fn a_provider_that_is_missing_is_named_with_the_file() {
    let home = TestHome::new();
    let file = home.file("config.toml");
    let printed = || home.codex(["token", "--provider", "corp"]).run().refused(1).err;
    let expected = "no token command for the model provider 'corp'";
    assert_eq!(
        printed(),
        format!("error: {}: {expected}: there is no [model_providers.corp.auth]\n", file.display())
    );
    home.write("config.toml", "[model_providers.other.auth]\ncommand = \"t\"\n");
    assert_eq!(
        printed(),
        format!("error: {}: {expected}; the providers with one are other\n", file.display())
    );
}

// Linux: another user.
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_another_user_is_reported_with_its_owner() {
    if codex_auth_platform::process::effective_uid() != 0 {
        return;
    }
    let home = TestHome::new();
    fs::set_permissions(home.path().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    home.codex(["login", "--with-api-key"]).input("sk-1").run().expect(0);
    fs::set_permissions(home.file("codex-auth"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(home.document(), fs::Permissions::from_mode(0o644)).unwrap();
    let state = home.file("codex-auth/state.json");
    let ended = home.codex(["status"]).by_user(64_101).run().refused(5);
    assert_eq!(
        ended.err,
        format!(
            "error: {0} cannot be read by this user (uid 64101), it belongs to uid 0; run as that user, or as root: \
             chown 64101 {0}\n",
            state.display()
        )
    );
}

#[test]
fn an_override_is_reported_as_such() {
    let home = TestHome::new();
    home.write("auth.json", API_KEY);
    let status = |words: &[&'static str]| home.codex(words.iter().copied()).run();
    let printed = status(&["-c", "cli_auth_credentials_store=file", "status"]).expect(0);
    assert!(printed.out.contains("(-c says so)"), "{printed}");
    let printed = status(&["-c", "cli_auth_credentials_store=ephemeral", "status"]).expect(1);
    assert!(
        printed.err.starts_with("warning: -c says cli_auth_credentials_store = \"ephemeral\""),
        "{printed}"
    );
    assert!(status(&["status"]).expect(0).out.contains("(it is the default)"));
}

#[test]
fn a_change_of_the_configuration_is_reported_and_undone_by_logout() {
    let auto = "cli_auth_credentials_store = \"auto\"";
    for (before, with_auto, after) in [
        (None, Some(format!("{auto}\n")), None),
        (
            Some("# mine\nmodel = 'o5'\n\n[tools]\nweb = true\n"),
            None,
            Some("# mine\nmodel = 'o5'\n\n[tools]\nweb = true\n"),
        ),
        (
            Some("cli_auth_credentials_store = \"file\" # mine\n"),
            Some(format!("{auto} # mine\n")),
            Some("cli_auth_credentials_store = \"file\" # mine\n"),
        ),
    ] {
        let home = TestHome::new();
        let file = home.file("config.toml");
        if let Some(before) = before {
            home.write("config.toml", before);
        }
        let words = ["login", "--with-api-key", "--store", "auto"];
        let ended = home.codex(words).input("sk-1").run().expect(0);
        let set = format!("set {auto} in {}\n", file.display());
        assert!(ended.err.starts_with(&set), "{ended}");
        if let Some(with_auto) = with_auto {
            assert_eq!(home.read("config.toml"), with_auto);
        }
        let state: serde_json::Value = serde_json::from_str(&home.read("codex-auth/state.json")).unwrap();
        assert_eq!(state["setting"]["set"], "auto", "older versions keep this field\n{state:#}");
        let ended = home.codex(["logout"]).run().expect(0);
        let undone = match before.is_some_and(|text| text.contains("\"file\"")) {
            true => format!("set cli_auth_credentials_store = \"file\" in {}\n", file.display()),
            false => format!("removed cli_auth_credentials_store from {}\n", file.display()),
        };
        assert!(ended.err.starts_with(&undone), "{ended}");
        assert_eq!(fs::read_to_string(&file).ok().as_deref(), after);
    }
}

#[test]
fn logout_leaves_a_store_that_the_user_has_set() {
    let home = TestHome::new();
    for config in ["cli_auth_credentials_store = \"file\"\n", "# by hand\n"] {
        home.codex(["login", "--with-api-key", "--store", "auto"]).input("sk-1").run().expect(0);
        home.write("config.toml", config);
        let ended = home.codex(["logout"]).run().expect(0);
        assert!(!ended.err.contains("config.toml"), "{ended}");
        assert_eq!(home.read("config.toml"), config);
        fs::remove_file(home.file("config.toml")).unwrap();
    }
}

#[test]
fn the_log_shows_the_steps_of_a_refresh() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let ended = world.codex(["refresh"]).env("CODEX_AUTH_LOG", "trace").run().expect(0);
    for step in [
        "DEBUG home ",
        "has the job",
        "job: started",
        "refresh: waiting for the lease",
        "refresh: the lease is held",
        "space is reserved",
        "refresh: sending the request",
        "saved in the rescue",
        "refresh: committed",
        "refresh: done",
        "job: done",
        "the child process ended",
        "a fresh token is stored",
    ] {
        assert!(ended.err.contains(step), "{step}\n{ended}");
    }
    for secret in [
        world.stored_token("access_token"),
        world.stored_token("refresh_token"),
        world.grant.tokens.refresh_token.clone(),
    ] {
        assert!(!ended.err.contains(&secret), "{ended}");
    }
    let quiet = world.codex(["refresh"]).run().expect(0);
    assert_eq!(quiet.err.lines().count(), 1, "{quiet}");
}

#[test]
fn colour_can_be_forced_where_there_is_no_terminal() {
    let home = TestHome::new();
    let run = |force: &str| home.codex(["status"]).env("CLICOLOR_FORCE", force);
    assert!(run("1").run().err.starts_with("\u{1b}[36mhint:\u{1b}[0m "));
    assert!(home.codex(["--help"]).env("CLICOLOR_FORCE", "1").run().out.contains('\u{1b}'));
    for plain in [run("0"), run(""), run("1").env("NO_COLOR", "1")] {
        let ended = plain.run();
        assert!(!ended.to_string().contains('\u{1b}'), "{ended}");
    }
}

/// Waits for a line on the standard error of a running program.
fn line_with(run: Run, text: &str) -> (String, Duration) {
    let begun = Instant::now();
    let mut child = Guarded(run.start());
    let lines = BufReader::new(child.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let found = lines.into_iter().find(|line| line.contains(text));
    (found.unwrap_or_else(|| panic!("no line with {text}")), begun.elapsed())
}

#[test]
fn without_a_browser_the_device_code_is_named_at_once() {
    in_private_network(here!(), || {
        let mut machine = Machine::with_file();
        let world = World::empty(&mut machine);
        let run = world.codex(["login"]).env("CODEX_APP_SERVER_LOGIN_ISSUER", world.authority.url());
        let (line, took) = line_with(run.env("PATH", "/nowhere"), "device-auth");
        assert_eq!(line, "hint: on a remote or headless machine: codex login --device-auth");
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
}

#[test]
fn the_countdown_is_ascii_where_the_locale_is() {
    let mut machine = Machine::with_file();
    let world = World::empty(&mut machine);
    let spinner = |locale: &str| {
        let run = world.codex(["login", "--device-auth"]).env("LC_ALL", locale);
        let run = run.env("CODEX_APP_SERVER_LOGIN_ISSUER", world.authority.url());
        let mut child = Guarded(run.on_a_terminal().start());
        let shown = BufReader::new(child.0.stdout.take().unwrap()).split(b'\r').map_while(Result::ok);
        let shown = shown.map(|line| String::from_utf8_lossy(&line).into_owned());
        let found = shown.into_iter().find(|line| line.contains("waiting for you"));
        found.unwrap()
    };
    let ascii = spinner("C");
    assert!(ascii.is_ascii(), "{ascii:?}");
    assert!(!spinner("C.UTF-8").is_ascii());
}

#[test]
fn a_codex_in_a_world_writable_folder_is_named_and_not_run() {
    let home = TestHome::new();
    let open = folder(&home, "open", "codex", REPORTS);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let ended = home.codex(["exec"]).env("PATH", &open).run().refused(2);
    let open = open.display();
    assert_eq!(
        ended.err,
        format!(
            "error: unknown command 'exec', and no other codex was found on PATH to pass it to\n\n\
             hint: {open}/codex is not run: the mode 777 of {open} lets other users replace it\n\
             hint: codex --help\n"
        )
    );
}
