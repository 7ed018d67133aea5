//! One folder is one home and one document has one lock, however the folder or the link to it is spelled.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use codex_auth::Lease;
use scripted_authority::{Account, Authority, Endpoint, Grant, TokenState};
use serde_json::Value;

use super::SOON;
use crate::keeper::process::{AT_WORK, Process};
use crate::support::{Mounted, Run, TestHome, link_to, names};

/// The longest wait of a command for a lock; a command that waits for itself exits with 6.
const LOCK_TIMEOUT: &str = "5s";

/// An authority, and a home with a login of it.
pub struct Scene {
    pub authority: Authority,
    pub home: TestHome,
    /// A folder for documents that homes link to.
    pub folder: PathBuf,
}

impl Scene {
    pub fn new() -> Self {
        let home = TestHome::new();
        Self { authority: Authority::start().unwrap(), folder: home.beside("documents"), home }
    }

    pub fn grant(&self, number: u32) -> Grant {
        self.authority.grant(Account::numbered(number))
    }

    /// Writes the document of `grant` into the folder, and returns its path.
    pub fn document(&self, name: &str, grant: &Grant) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, grant.auth_json()).unwrap();
        path
    }

    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.run_in(&self.home, arguments)
    }

    pub fn run_in<'a>(&self, home: &TestHome, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.with_authority(home.codex(arguments))
    }

    pub fn with_authority(&self, run: Run) -> Run {
        let run = run.env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url());
        let run = run.env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", self.authority.revoke_url());
        run.env("CODEX_AUTH_LOCK_TIMEOUT", LOCK_TIMEOUT)
    }

    /// Asserts that the document at `path` holds the live token of `grant`, and nothing was revoked.
    #[track_caller]
    pub fn assert_live(&self, path: &Path, grant: &Grant) {
        assert_eq!(refresh_token(path), self.authority.live_refresh_token(grant.id), "{}", path.display());
        assert_eq!(self.authority.counters().of(Endpoint::Revoke), 0, "{:#?}", self.authority.journal());
    }

    pub fn requests(&self) -> u64 {
        self.authority.counters().of(Endpoint::Refresh)
    }
}

pub fn refresh_token(path: &Path) -> Option<String> {
    let document: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    document["tokens"]["refresh_token"].as_str().map(str::to_owned)
}

type Spelling = (&'static str, fn(&TestHome) -> PathBuf);

/// Spellings of a home, or of the link in it, that a program might mistake for two folders.
const SPELLINGS: [Spelling; 6] = [
    ("a link beside it, and the home by a link", |home| {
        fs::rename(home.document(), home.file("work.json")).unwrap();
        symlink(home.file("work.json"), home.document()).unwrap();
        let spelled = home.path().with_file_name("spelled");
        symlink(home.path(), &spelled).unwrap();
        spelled
    }),
    ("a link through ..", |home| {
        fs::rename(home.document(), home.file("work.json")).unwrap();
        symlink("../home/work.json", home.document()).unwrap();
        home.path()
    }),
    ("a link through another name of the folder above", |home| {
        fs::rename(home.document(), home.file("work.json")).unwrap();
        let above = home.path().parent().unwrap().to_owned();
        symlink(&above, above.join("alias")).unwrap();
        symlink(above.join("alias/home/work.json"), home.document()).unwrap();
        home.path()
    }),
    ("a chain of links in two folders", |home| {
        let beside = home.beside("beside");
        fs::rename(home.document(), home.file("work.json")).unwrap();
        symlink("../home/./work.json", beside.join("auth.json")).unwrap();
        symlink(beside.join("../beside/auth.json"), home.document()).unwrap();
        home.path()
    }),
    ("slashes and dots", |home| format!("{}/./../home//", home.path().display()).into()),
    ("a link to a link to the home, with a slash", |home| {
        let (one, two) = (home.path().with_file_name("one"), home.path().with_file_name("two"));
        symlink(home.path(), &one).unwrap();
        symlink("one/", &two).unwrap();
        format!("{}/", two.display()).into()
    }),
];

#[track_caller]
fn assert_one_home(scene: &Scene, what: &str, codex: impl Fn(&[&str]) -> Run) {
    let began = Instant::now();
    for arguments in
        [&["token"][..], &["refresh"], &["status"], &["login", "--store", "file", "--with-api-key"]]
    {
        let ended = codex(arguments).input("sk-1").run();
        assert_eq!(ended.code, Some(0), "{what}: {arguments:?}\n{ended}");
    }
    {
        let _lease = Lease::acquire(&scene.home.home(), SOON, |_| {}).unwrap();
        for arguments in [&["login", "--store", "file", "--with-api-key"][..], &["logout", "--local"]] {
            let ended = codex(arguments).env("CODEX_AUTH_LOCK_TIMEOUT", "200ms").input("sk-2").run();
            assert_eq!(ended.code, Some(6), "{what}: another lock\n{ended}");
        }
    }
    codex(&["logout", "--local"]).run().expect(0);
    println!("{what}: {:.1?}", began.elapsed());
}

#[test]
fn every_spelling_of_a_home_and_its_link_is_one_home() {
    for (what, spell) in SPELLINGS {
        let scene = Scene::new();
        scene.authority.adjust(|policy| policy.clock_offset = -4_000);
        let grant = scene.grant(1);
        scene.authority.adjust(|policy| policy.clock_offset = 0);
        scene.home.write("auth.json", grant.auth_json());
        let spelled = spell(&scene.home);
        assert_one_home(&scene, what, |arguments| {
            scene.run(arguments.iter().copied()).env("CODEX_HOME", &spelled)
        });
        assert_eq!(scene.requests(), 2, "{what}");
    }
}

#[test]
fn a_folder_that_is_mounted_twice_is_one_home() {
    let mut scene = Scene::new();
    scene.home.write("work.json", scene.grant(1).auth_json());
    let alias = scene.home.beside("alias");
    symlink(alias.join("work.json"), scene.home.document()).unwrap();
    let home = std::mem::replace(&mut scene.home, TestHome::new());
    let mounted = Mounted::by(home, "mount --bind \"$home\" \"$home/../alias\"");
    for spelled in [mounted.home.path(), alias] {
        for arguments in
            [&["refresh"][..], &["login", "--store", "file", "--with-api-key"], &["logout", "--local"]]
        {
            mounted.change(
                "test -e \"$home/work.json\" || echo '{\"OPENAI_API_KEY\":\"sk-0\"}' > \"$home/work.json\"",
            );
            let run =
                scene.with_authority(mounted.codex(arguments.iter().copied())).env("CODEX_HOME", &spelled);
            let ended = run.input("sk-1").run();
            assert_eq!(ended.code, Some(0), "{}: {arguments:?}\n{ended}", spelled.display());
        }
        mounted.change("echo '{\"OPENAI_API_KEY\":\"sk-0\"}' > \"$home/work.json\"").expect(0);
    }
    assert!(names(&mounted.home.path().join("codex-auth/work.json")).contains(&"state.json".to_owned()));
}

#[test]
fn two_homes_that_link_into_each_other_refresh_at_once() {
    let scene = Scene::new();
    let (one, other) = (&scene.home, TestHome::new());
    let grants = [scene.grant(1), scene.grant(2)];
    other.write("one.json", grants[0].auth_json());
    one.write("other.json", grants[1].auth_json());
    symlink(other.file("one.json"), one.document()).unwrap();
    symlink(one.file("other.json"), other.document()).unwrap();
    for round in 0..15 {
        let runs = [one, &other, one, &other].map(|home| scene.run_in(home, ["refresh"]).start());
        for child in runs {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{round}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    scene.assert_live(&one.document(), &grants[0]);
    scene.assert_live(&other.document(), &grants[1]);
}

#[test]
fn two_homes_that_link_to_two_files_of_one_folder_do_not_touch_each_others_rescue() {
    let scene = Scene::new();
    let (work, private) = (&scene.home, TestHome::new());
    let grants = [scene.grant(1), scene.grant(2)];
    let document = scene.document("work.json", &grants[0]);
    symlink(&document, work.document()).unwrap();
    symlink(scene.document("private.json", &grants[1]), private.document()).unwrap();
    scene.run(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
    let successor = scene.authority.live_refresh_token(grants[0].id).unwrap();
    for arguments in [
        &["token"][..],
        &["refresh"],
        &["doctor", "--fix"],
        &["migrate", "--to", "file"],
        &["login", "--store", "file", "--with-api-key"],
        &["logout"],
        &["logout", "--force"],
    ] {
        let ended = scene.run_in(&private, arguments.iter().copied()).input("sk-1").run();
        assert!(matches!(ended.code, Some(0 | 1)), "{arguments:?}: {ended}");
        assert_eq!(scene.authority.state_of(&successor), TokenState::Live, "{arguments:?}");
    }
    let requests = scene.requests();
    scene.run(["refresh"]).run().expect(0);
    assert_eq!(refresh_token(&document), Some(successor));
    assert_eq!(scene.requests(), requests, "the saved token is used without another request");
}

#[test]
fn homes_that_share_a_document_share_the_key_of_its_rescue() {
    use crate::manager::world::World;
    use crate::support::{Machine, here, session};

    session::inside(here!(), || {
        for arguments in [
            &["token"][..],
            &["status"],
            &["refresh"],
            &["login", "--store", "keychain", "--with-api-key"],
            &["login", "--store", "file", "--with-api-key"],
            &["logout", "--force"],
        ] {
            let mut machine = Machine::with_keychain();
            let world = World::fresh(&mut machine);
            let other = TestHome::within(world.machine.session.as_ref().unwrap());
            symlink(world.machine.home.document(), other.document()).unwrap();
            world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
            let successor = world.live_refresh_token().unwrap();
            let run = world.codex(arguments.iter().copied()).env("CODEX_HOME", other.path());
            println!("{arguments:?}: {}", run.input("sk-1").run());
            assert_eq!(world.authority.state_of(&successor), TokenState::Live, "{arguments:?}");
            let ended = world.codex(["refresh"]).run();
            assert_eq!(ended.code, Some(0), "after {arguments:?}\n{ended}");
            assert_eq!(world.stored_token("refresh_token"), successor, "{arguments:?}");
            assert_eq!(world.requests(), 1, "{arguments:?}");
            world.codex(["logout", "--local"]).run().expect(0);
        }
    });
}

#[test]
fn deleting_our_folder_lets_no_second_holder_in() {
    let home = TestHome::new();
    let login = |limit| {
        let run = home.codex(["login", "--store", "file", "--with-api-key"]);
        run.input("sk-1").env("CODEX_AUTH_LOCK_TIMEOUT", limit).run()
    };
    login("5s").expect(0);
    let lease = Lease::acquire(&home.home(), SOON, |_| {}).unwrap();
    for _ in 0..2 {
        fs::remove_dir_all(home.file("codex-auth")).unwrap();
        login("300ms").refused(6);
    }
    drop(lease);
    login("5s").expect(0);
}

#[test]
fn a_hard_link_in_a_second_home_is_reported() {
    let (home, other) = (TestHome::new(), TestHome::new());
    home.codex(["login", "--store", "file", "--with-api-key"]).input("sk-1").run().expect(0);
    fs::hard_link(home.document(), other.document()).unwrap();
    for home in [&home, &other] {
        for command in ["status", "doctor"] {
            let ended = home.codex([command]).run();
            assert!((ended.out.clone() + &ended.err).contains("2 hard links"), "{ended}");
        }
        let report = home.codex(["status", "--json"]).run().json();
        assert!(report["warnings"].to_string().contains("hard links"), "{report:#}");
    }
    let ended = home.codex(["logout"]).run().expect(0);
    assert!(ended.err.contains("2 hard links"), "{ended}");
    assert!(other.document().exists());
}

#[test]
fn a_keeper_whose_path_leads_to_another_folder_exits_with_an_error() {
    let scene = Scene::new();
    let (home, other) = (&scene.home, scene.home.beside("other"));
    home.write("auth.json", scene.grant(1).auth_json());
    fs::write(other.join("auth.json"), scene.grant(2).auth_json()).unwrap();
    let (above, link) = (home.beside("above"), home.path().with_file_name("link"));
    symlink(&other, above.join("home")).unwrap();
    // The last component of the path, and one before it.
    for (spelled, link, target) in [
        (link.clone(), link, other),
        (home.path().with_file_name("way").join("home"), home.path().with_file_name("way"), above),
    ] {
        let whole = home.path();
        symlink(if spelled == link { &whole } else { whole.parent().unwrap() }, &link).unwrap();
        let keeper = Process::start(scene.run(["sync", "run"]).env("CODEX_HOME", &spelled));
        keeper.until(AT_WORK);
        let began = Instant::now();
        link_to(&target, &link);
        let (code, log) = keeper.wait();
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        let last = log.last().unwrap();
        assert!(last.starts_with("error: ") && last.contains("now leads to "), "{log:#?}");
        assert_eq!(code, Some(4), "{log:#?}");
    }
    assert_eq!(scene.requests(), 0);
}
