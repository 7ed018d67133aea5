//! Links that change during a refresh: the successor is stored where its parent was, and in no other login's file.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Output;

use super::homes::Scene;
use crate::support::{Pause, link_to};

const STEPS: [&str; 4] = ["reserved", "sending", "answered", "rescued"];

/// Runs a refresh that pauses at `step` while `change` is applied.
fn refresh_paused_at(scene: &Scene, step: &str, change: impl FnOnce()) -> Output {
    let pause = Pause::at(step);
    let child = pause.apply_to(scene.run(["refresh", "--json"])).start();
    let standing = pause.wait();
    change();
    drop(standing);
    child.wait_with_output().unwrap()
}

#[track_caller]
fn assert_served(output: &Output, what: &str) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{what}: {err}");
}

#[test]
fn a_link_that_is_changed_to_another_login_leaves_the_successor_where_its_parent_was() {
    for (step, account) in STEPS.into_iter().flat_map(|step| [1, 2].map(|account| (step, account))) {
        let scene = Scene::new();
        let grants = [scene.grant(1), scene.grant(account)];
        let documents = [scene.document("one.json", &grants[0]), scene.document("two.json", &grants[1])];
        symlink(&documents[0], scene.home.document()).unwrap();
        let output = refresh_paused_at(&scene, step, || link_to(&documents[1], &scene.home.document()));
        // The caller does not accept a login of another account.
        match account {
            1 => assert_served(&output, step),
            _ => assert_eq!(output.status.code(), Some(4), "{output:?}"),
        }
        scene.assert_live(&documents[0], &grants[0]);
        scene.assert_live(&documents[1], &grants[1]);
        assert_eq!(scene.requests(), 1, "{step}");
        assert!(!scene.folder.join("codex-auth/one.json/rescue").exists(), "{step}");
        for document in &documents {
            link_to(document, &scene.home.document());
            scene.run(["refresh"]).run().expect(0);
        }
        scene.assert_live(&documents[0], &grants[0]);
    }
}

#[test]
fn the_successor_is_stored_in_both_when_a_link_is_replaced_by_a_copy() {
    for step in STEPS {
        let scene = Scene::new();
        let grant = scene.grant(1);
        let document = scene.document("one.json", &grant);
        symlink(&document, scene.home.document()).unwrap();
        let output = refresh_paused_at(&scene, step, || {
            fs::copy(&document, scene.home.file("copy")).unwrap();
            fs::rename(scene.home.file("copy"), scene.home.document()).unwrap();
        });
        assert_served(&output, step);
        assert!(!scene.home.document().is_symlink());
        scene.assert_live(&document, &grant);
        scene.assert_live(&scene.home.document(), &grant);
        assert_eq!(scene.requests(), 1, "{step}");
        scene.run(["refresh"]).run().expect(0);
        scene.assert_live(&scene.home.document(), &grant);
    }
}

#[test]
fn the_successor_is_stored_in_the_copy_when_the_document_is_replaced_by_a_link_to_it() {
    for step in STEPS {
        let scene = Scene::new();
        let grant = scene.grant(1);
        scene.home.write("auth.json", grant.auth_json());
        let document = scene.folder.join("auth.json");
        let output = refresh_paused_at(&scene, step, || {
            fs::copy(scene.home.document(), &document).unwrap();
            link_to(&document, &scene.home.document());
        });
        assert_served(&output, step);
        assert!(scene.home.document().is_symlink());
        scene.assert_live(&document, &grant);
        assert_eq!(scene.requests(), 1, "{step}");
        assert!(!scene.home.file("codex-auth/rescue").exists(), "{step}");
        scene.run(["refresh"]).run().expect(0);
        scene.assert_live(&document, &grant);
    }
}

#[test]
fn a_rescue_is_completed_after_its_document_was_moved_and_linked_to() {
    for name in ["auth.json", "moved.json"] {
        let scene = Scene::new();
        let grant = scene.grant(1);
        scene.home.write("auth.json", grant.auth_json());
        scene.run(["refresh"]).env("CODEX_AUTH_FAILPOINT", "rescued=kill").run().expect(4);
        let document = scene.folder.join(name);
        fs::rename(scene.home.document(), &document).unwrap();
        symlink(&document, scene.home.document()).unwrap();
        scene.run(["refresh"]).run().expect(0);
        scene.assert_live(&document, &grant);
        assert_eq!(scene.requests(), 1);
        assert!(!scene.home.file("codex-auth/rescue").exists());
    }
}

#[test]
fn a_link_that_dangles_after_the_request_is_reported_and_nothing_is_lost() {
    for step in STEPS {
        let scene = Scene::new();
        let grant = scene.grant(1);
        let document = scene.document("one.json", &grant);
        symlink(&document, scene.home.document()).unwrap();
        let output = refresh_paused_at(&scene, step, || {
            link_to(&scene.folder.join("gone/one.json"), &scene.home.document());
        });
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(5) && err.contains("auth.json"), "{step}: {err}");
        scene.assert_live(&document, &grant);
        assert!(!scene.folder.join("gone").exists());
    }
}

#[test]
fn a_refresh_recreates_our_folder_if_it_is_deleted_and_completes() {
    for step in ["leased", "rescue finished", "reserved", "sending", "answered", "rescued", "committed"] {
        let scene = Scene::new();
        let grant = scene.grant(1);
        scene.home.write("auth.json", grant.auth_json());
        let output = refresh_paused_at(&scene, step, || {
            fs::remove_dir_all(scene.home.file("codex-auth")).unwrap();
            let second = scene.run(["login", "--store", "file", "--with-api-key"]).input("sk-1");
            second.env("CODEX_AUTH_LOCK_TIMEOUT", "200ms").run().refused(6);
        });
        assert_served(&output, step);
        scene.assert_live(&scene.home.document(), &grant);
        assert!(scene.home.file("codex-auth/state.json").exists(), "{step}");
        scene.run(["refresh"]).run().expect(0);
        assert_eq!(scene.requests(), 2, "{step}");
    }
}
