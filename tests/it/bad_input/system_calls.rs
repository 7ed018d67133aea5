//! Systems that refuse a check, a mode, a lock or `/proc`: what can be done is done all the same.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use scripted_authority::Endpoint;

use crate::manager::world::World;
use crate::support::{Machine, Run, TestHome};

/// `run` with system calls that fail as `injection` says.
fn refusing(run: Run, injection: &str) -> Run {
    let injection = format!("inject={injection}");
    run.through(["strace", "-f", "-o", "/dev/null", "-e", &injection])
}

#[test]
fn a_refused_check_or_mode_prevents_no_login_and_no_logout() {
    for injection in ["faccessat2:error=EPERM", "fchmod:error=EPERM", "fchmod:error=EOPNOTSUPP"] {
        let home = TestHome::new();
        fs::create_dir(home.file("codex-auth")).unwrap();
        fs::set_permissions(home.file("codex-auth"), fs::Permissions::from_mode(0o777)).unwrap();
        let login = home.codex(["login", "--store", "file", "--with-api-key"]);
        let ended = refusing(login, injection).input("sk-1").run().expect(0);
        assert!(!ended.err.contains("refused to make it 600"), "the file is private all the same: {ended}");
        assert_eq!(home.codex(["token"]).run().expect(0).out, "sk-1\n");
        refusing(home.codex(["logout", "--local"]), injection).run().expect(0);
        assert!(!home.document().exists(), "{injection}");
    }
}

#[test]
fn without_locks_a_forced_logout_removes_the_login_and_another_names_the_reason() {
    for error in ["ENOLCK", "ENOSYS", "EBADF", "EPERM"] {
        let home = TestHome::new();
        home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-1").run().expect(0);
        let injection = format!("flock:error={error}");
        let ended = refusing(home.codex(["logout"]), &injection).run().expect(5);
        assert!(ended.err.contains("(os error ") && home.document().exists(), "{ended}");
        refusing(home.codex(["logout", "--force"]), &injection).run().expect(0);
        assert!(!home.document().exists(), "{error}");
    }
}

#[test]
fn a_broken_configuration_prevents_no_logout_and_is_reported() {
    for content in [&b"model = [\n"[..], b"\xff", b"cli_auth_credentials_store = 7\n"] {
        for arguments in [&["logout"][..], &["logout", "--force"], &["logout", "--local"]] {
            let home = TestHome::new();
            home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-1").run().expect(0);
            home.write("config.toml", content);
            home.codex(["token"]).run().expect(1);
            let ended = home.codex(arguments.iter().copied()).run().expect(0);
            assert!(ended.err.contains("config.toml: ") && ended.err.contains("ignored"), "{ended}");
            assert!(!home.document().exists(), "{ended}");
            assert_eq!(fs::read(home.file("config.toml")).unwrap(), content);
        }
    }
}

#[test]
fn without_proc_a_token_is_refreshed() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let before = world.stored_token("access_token");
    let masked = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    let refresh = world.codex(["refresh"]).through(["unshare", "--mount", "sh", "-c", masked]);
    refresh.run().expect(0);
    assert_ne!(world.stored_token("access_token"), before);
    assert_eq!(world.authority.counters().of(Endpoint::Refresh), 1);
}
