//! `codex token` with a token command, with environment variables, and as the token command of another program.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use scripted_authority::{Endpoint, Moment};

use crate::interop::codex::codex_0169;
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Guarded, Machine, Run, TestHome, eventually, program};

fn with_provider(auth: &str) -> TestHome {
    let home = TestHome::new();
    home.write("config.toml", format!("[model_providers.corp.auth]\n{auth}\n"));
    home
}

#[test]
fn only_the_token_of_the_provider_is_printed() {
    let home = with_provider("command = \"echo\"\nargs = [\"corp-token\"]");
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-stored"}"#);
    let ended = home.codex(["token", "--provider", "corp"]).run().expect(0);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("corp-token\n", ""));
    let header = home.codex(["token", "--provider", "corp", "--header"]).run().expect(0);
    assert_eq!(header.out, "Authorization: Bearer corp-token\n");
    let report = home.codex(["token", "--provider", "corp", "--json"]).run().expect(0).json();
    assert_eq!((&report["token"], &report["provider"]), (&"corp-token".into(), &"corp".into()));
    assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-stored\n");
}

#[test]
fn an_unknown_provider_is_an_error_that_lists_the_others_and_not_the_argument() {
    let home = with_provider("command = \"true\"");
    let ended = home.codex(["token", "--provider", "sk-marked"]).run().refused(1);
    assert!(
        ended.err.contains("the providers with one are corp") && !ended.err.contains("marked"),
        "{ended}"
    );
    TestHome::new().codex(["token", "--provider", "corp"]).run().refused(1);
}

#[test]
fn the_exit_code_says_whether_to_retry_a_failed_command() {
    for (auth, code) in [
        ("command = \"false\"", 4),
        ("command = \"sleep\"\nargs = [\"60\"]\ntimeout_ms = 50", 4),
        ("command = \"true\"", 1),
        ("command = \"no-such-program\"", 1),
        ("command = \"\"", 1),
    ] {
        with_provider(auth).codex(["token", "--provider", "corp"]).run().refused(code);
    }
}

#[test]
fn a_command_does_not_inherit_credential_and_loader_variables() {
    let home = with_provider("command = \"./show\"\ncwd = \"tools\"");
    fs::create_dir(home.file("tools")).unwrap();
    let script = home.write("tools/show", "#!/bin/sh\nenv > env.txt\necho token\n");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let run = home.codex(["token", "--provider", "corp"]).env("CODEX_API_KEY", "sk-marked");
    let run = run
        .env("CODEX_ACCESS_TOKEN", "at-marked")
        .env("VAULT_TOKEN", "theirs")
        .env("LD_LIBRARY_PATH", "/nowhere");
    assert_eq!(run.run().expect(0).out, "token\n", "cwd is relative to config.toml");
    let seen = home.read("tools/env.txt");
    assert!(seen.contains("VAULT_TOKEN=theirs") && seen.contains("CODEX_HOME=") && !seen.contains("marked"));
    assert!(!seen.contains("LD_LIBRARY_PATH"), "{seen}");
}

/// Upstream: `load_auth_keeps_codex_api_key_env_precedence`, `exec_uses_codex_api_key_env_var`.
#[test]
fn the_environment_takes_precedence_over_the_store_and_status_reports_it() {
    let home = TestHome::new();
    let key = |run: Run| run.env("CODEX_API_KEY", "sk-env").env("CODEX_ACCESS_TOKEN", "at-env");
    assert_eq!(key(home.codex(["token"])).run().expect(0).out, "sk-env\n");
    let status = key(home.codex(["status"])).run().expect(0);
    assert!(status.out.starts_with("not logged in"), "{status}");
    assert!(status.err.contains("CODEX_API_KEY is set"), "{status}");
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-stored"}"#);
    let report = key(home.codex(["status", "--json"])).run().expect(0).json();
    assert_eq!((&report["provider"], &report["logged_in"]), (&"CODEX_API_KEY".into(), &true.into()));
    assert_eq!(report["warnings"].as_array().unwrap().len(), 1);
    let access = home.codex(["token", "--json"]).env("CODEX_ACCESS_TOKEN", "at-env").run().expect(0).json();
    assert_eq!((&access["token"], &access["provider"]), (&"at-env".into(), &"CODEX_ACCESS_TOKEN".into()));
}

#[test]
fn an_expired_credential_in_the_environment_is_not_printed() {
    let home = TestHome::new();
    home.write("auth.json", r#"{"OPENAI_API_KEY":"sk-stored"}"#);
    let old = crate::support::jwt(&serde_json::json!({"exp": 1_000}));
    let ended = home.codex(["token"]).env("CODEX_ACCESS_TOKEN", &old).run().refused(3);
    assert!(ended.out.is_empty() && ended.err.contains("unset it"), "{ended}");
    assert_eq!(home.codex(["status"]).env("CODEX_ACCESS_TOKEN", &old).run().code, Some(3));
}

/// Codex kills a command that exceeds its time limit. The refresh continues in a helper process.
#[test]
fn a_refresh_continues_when_the_token_command_is_killed_with_its_group() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let mut command = world.codex(["token"]).into_command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = codex_auth_platform::process::start_in_new_group(&mut command).spawn().unwrap();
    hold.arrived(TEST_TIMEOUT).unwrap();
    codex_auth_platform::process::kill_group(child.id()).unwrap();
    child.wait().unwrap();
    hold.release();
    eventually("the child to commit", || {
        Some(world.stored_token("refresh_token")) == world.live_refresh_token()
    });
    assert_eq!(world.codex(["token"]).run().expect(0).out.trim_end(), world.stored_token("access_token"));
    assert_eq!(world.requests(), 1);
}

/// OpenAI's Codex runs `codex token` for the bearer token of a model provider and sends the token.
#[test]
fn codex_0169_accepts_codex_token_as_a_token_command() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let model = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = TestHome::new();
    let theirs = home.path();
    let quoted = |path: PathBuf| serde_json::Value::from(path.to_str().unwrap()).to_string();
    let settings = |(name, value): (String, std::ffi::OsString)| {
        serde_json::Value::from(format!("{name}={}", value.to_str().unwrap())).to_string()
    };
    let ours: Vec<_> = world
        .codex([])
        .into_command()
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_owned())))
        .map(settings)
        .collect();
    let config = format!(
        "model = \"m\"\nmodel_provider = \"corp\"\n[model_providers.corp]\nname = \"Corp\"\nbase_url = \"http://{}/v1\"\n\
         wire_api = \"responses\"\n[model_providers.corp.auth]\ncommand = \"env\"\nargs = [{}, {}, \"token\"]\n",
        model.local_addr().unwrap(),
        ours.join(", "),
        quoted(program()),
    );
    fs::write(theirs.join("config.toml"), config).unwrap();
    let mut command =
        Run::of(&codex_0169(), ["exec", "--skip-git-repo-check", "hi"]).envs(home.variables()).into_command();
    command.env("HOME", &theirs).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut theirs = Guarded(command.spawn().unwrap());
    model.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    let sent = loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "no request came with a token");
        let Ok((stream, _)) = model.accept() else {
            assert_eq!(theirs.0.try_wait().unwrap(), None, "Codex ended without a request");
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let mut tokens = lines.filter_map(|line| {
            line.to_ascii_lowercase().starts_with("authorization: bearer ").then(|| line[22..].to_owned())
        });
        if let Some(token) = tokens.next() {
            break token;
        }
    };
    assert_eq!(sent, world.stored_token("access_token"));
    assert_eq!(world.requests(), 1);
}
