//! Links into a volume that is not mounted: reported as an error, never as "not logged in".

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::homes::Scene;
use crate::support::{Mounted, TestHome, names};

/// Commands that read the login, or would store one.
const COMMANDS: [&[&str]; 9] = [
    &["status"],
    &["token"],
    &["refresh"],
    &["login", "--with-api-key"],
    &["login", "--store", "file", "--with-api-key"],
    &["logout"],
    &["logout", "--force"],
    &["migrate", "--to", "file"],
    &["doctor"],
];

#[test]
fn a_link_into_an_unmounted_volume_does_not_count_as_logged_out() {
    type World = (&'static str, fn(&TestHome, &Path) -> Vec<(&'static str, PathBuf)>);
    // The environment variables, and the link that every message names.
    let worlds: [World; 4] = [
        ("auth.json into a missing folder", |home, volume| {
            symlink(volume.join("codex/auth.json"), home.document()).unwrap();
            vec![("CODEX_HOME", home.path())]
        }),
        ("the home itself", |home, volume| {
            let link = home.file("auth.json");
            symlink(volume.join("codex"), &link).unwrap();
            vec![("CODEX_HOME", link)]
        }),
        ("a folder above the home", |home, volume| {
            let link = home.file("auth.json");
            symlink(volume.join("ada"), &link).unwrap();
            vec![("CODEX_HOME", link.join("codex"))]
        }),
        ("the user's own folder", |home, volume| {
            let link = home.file("auth.json");
            symlink(volume.join("ada"), &link).unwrap();
            vec![("HOME", link)]
        }),
    ];
    for (what, build) in worlds {
        let scene = Scene::new();
        let variables = build(&scene.home, &scene.folder);
        let before = scene.home.names();
        for arguments in COMMANDS.into_iter().chain([&["login", "--device-auth"][..], &["sync", "run"]]) {
            let run = scene.run(arguments.iter().copied()).without("CODEX_HOME").input("sk-1");
            let run = variables.iter().fold(run, |run, (name, path)| run.env(name, path));
            // A keeper that started would not exit.
            let ended = run.through(["timeout", "20"]).run();
            let context = format!("{what}: {arguments:?}\n{ended}");
            assert!((ended.out.clone() + &ended.err).contains("home/auth.json"), "{context}");
            assert!(!ended.err.contains("not logged in"), "{context}");
            match arguments[0] {
                // It reports everything else as well.
                "doctor" => assert_ne!(ended.code, Some(0), "{context}"),
                _ => assert_eq!(ended.code, Some(5), "{context}"),
            }
            assert!(names(&scene.folder).is_empty(), "{context}");
        }
        assert_eq!(scene.home.names(), before, "{what}");
    }
}

#[test]
fn a_volume_that_is_unmounted_after_a_login_through_a_link_does_not_count_as_logged_out() {
    let scene = Scene::new();
    let home = TestHome::new();
    let volume = home.beside("volume");
    symlink(volume.join("auth.json"), home.document()).unwrap();
    let mounted = Mounted::by(home, "mount -t tmpfs none \"$home/../volume\"");
    let codex =
        |arguments: &[&str]| scene.with_authority(mounted.codex(arguments.iter().copied())).input("sk-1");
    codex(&["login", "--store", "file", "--with-api-key"]).run().expect(0);
    mounted.change("umount \"$home/../volume\"").expect(0);
    for arguments in COMMANDS {
        let ended = codex(arguments).run();
        let context = format!("{arguments:?}\n{ended}");
        assert!((ended.out.clone() + &ended.err).contains("home/auth.json"), "{context}");
        if arguments[0] != "doctor" {
            assert_eq!(ended.code, Some(5), "{context}");
        }
        assert!(names(&volume).is_empty(), "{context}");
    }
    // Where no login was stored before, a link to a new file can take one.
    let fresh = TestHome::new();
    symlink(fresh.beside("volume").join("auth.json"), fresh.document()).unwrap();
    fresh.codex(["status"]).run().expect(1);
    fresh.codex(["login", "--store", "file", "--with-api-key"]).input("sk-1").run().expect(0);
    fresh.codex(["logout"]).run().expect(0);
    fresh.codex(["status"]).run().expect(1);
}
