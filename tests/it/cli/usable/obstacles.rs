//! Obstacles to a refresh, and conditions that only look like obstacles.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use scripted_authority::{Ending, Endpoint, Step};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::scene::Scene;

/// Simulates a file system without locks.
const NO_LOCKS: &[&str] = &["strace", "-f", "-o", "/dev/null", "-e", "inject=flock:error=ENOLCK"];
/// Simulates a kernel without statx.
const NO_STATX: &[&str] = &["strace", "-f", "-o", "/dev/null", "-e", "inject=statx:error=ENOSYS"];

/// A change of the scene.
pub type Change = fn(&mut Scene);

/// An obstacle to a refresh, and the expected messages.
pub struct Obstacle {
    pub name: &'static str,
    pub put: Change,
    /// The exit code and the message of `codex token` after the access token has expired.
    pub code: i32,
    pub reason: &'static str,
    /// The advice of the doctor, beyond that of the message.
    pub remedy: &'static str,
}

const fn obstacle(
    name: &'static str,
    put: Change,
    code: i32,
    reason: &'static str,
    remedy: &'static str,
) -> Obstacle {
    Obstacle { name, put, code, reason, remedy }
}

/// Obstacles in either store.
pub const EVERYWHERE: &[Obstacle] = &[
    obstacle("a read-only mount", read_only, 5, "is read-only", "writable for this user"),
    obstacle("a full disk", full, 5, "no space for", "free some space"),
    obstacle("no locks", |scene| scene.way = NO_LOCKS, 5, "its file system has no locks", "CODEX_HOME"),
    obstacle("auth.lock is a folder", |scene| folder(scene, "auth.lock"), 5, "cannot be a lock", ""),
    obstacle(
        "auth.json.lock is a folder",
        |scene| folder(scene, "auth.json.lock"),
        5,
        "cannot be a lock",
        "",
    ),
    obstacle(
        "refresh.lock is a folder",
        |scene| folder(scene, "codex-auth/refresh.lock"),
        5,
        "cannot be a lock",
        "",
    ),
    obstacle(
        "codex-auth is a link",
        |scene| symlink("elsewhere", scene.file("codex-auth")).unwrap(),
        5,
        "is a symbolic link",
        "",
    ),
    obstacle("a spent token", spent, 3, "is an old copy", "codex login"),
    obstacle("a revoked token", revoked, 3, "was revoked", "codex login"),
    obstacle("an authority that failed", failed, 4, "not retrying for another", ""),
    obstacle("an issuer that is no address", no_address, 1, "issuer is not an address", "authority below"),
    obstacle("an issuer without https", no_https, 1, "would send tokens to evil.example", "authority below"),
    obstacle(
        "a variable that is no address",
        |scene| scene.variables.push(("CODEX_REFRESH_TOKEN_URL_OVERRIDE", Some("nowhere"))),
        1,
        "CODEX_REFRESH_TOKEN_URL_OVERRIDE is not an address",
        "authority below",
    ),
];

/// Obstacles in the file store only, or that need another user, who has no keychain here.
pub const OF_A_FILE: &[Obstacle] = &[
    obstacle("a document that is a mount point", mounted, 5, "mounted by itself", "mount the folder"),
    obstacle(
        "a read-only folder",
        |scene| {
            scene.by_user();
            fs::set_permissions(scene.mounted.path(), fs::Permissions::from_mode(0o555)).unwrap();
        },
        5,
        "is read-only",
        "writable for this user",
    ),
    obstacle("auth.lock of root", |scene| foreign(scene, "auth.lock"), 5, "cannot lock", "writable"),
    obstacle(
        "auth.json.lock of root",
        |scene| foreign(scene, "auth.json.lock"),
        5,
        "cannot lock",
        "writable",
    ),
    obstacle(
        "refresh.lock of root",
        |scene| foreign(scene, "codex-auth/refresh.lock"),
        5,
        "cannot lock",
        "writable",
    ),
];

/// Conditions in which state.json cannot be read, so that not even a fresh token is handed out.
pub const UNREADABLE: &[(&str, Change)] = &[
    ("codex-auth is a file", |scene| scene.write("codex-auth", "")),
    ("codex-auth of root", |scene| {
        scene.by_user();
        fs::create_dir(scene.file("codex-auth")).unwrap();
        fs::set_permissions(scene.file("codex-auth"), fs::Permissions::from_mode(0o700)).unwrap();
    }),
];

/// Conditions that are no obstacles.
pub const HARMLESS: &[(&str, Change)] = &[
    ("nothing", |_| {}),
    ("a home of one's own", Scene::by_user),
    ("root in the home of another user", |scene| {
        scene.by_user();
        scene.user = None;
    }),
    ("a sticky folder", |scene| {
        fs::set_permissions(scene.mounted.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    }),
    ("a codex-auth that others can look into", |scene| {
        fs::create_dir(scene.file("codex-auth")).unwrap();
        fs::set_permissions(scene.file("codex-auth"), fs::Permissions::from_mode(0o755)).unwrap();
    }),
    ("a system without statx", |scene| scene.way = NO_STATX),
    ("locks of others that can be read", |scene| {
        scene.by_user();
        fs::write(scene.file("auth.lock"), "").unwrap();
        fs::set_permissions(scene.file("auth.lock"), fs::Permissions::from_mode(0o644)).unwrap();
    }),
    ("a link to another folder", |scene| {
        let elsewhere = scene.mounted.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        if scene.machine.session.is_none() {
            fs::rename(scene.file("auth.json"), elsewhere.join("auth.json")).unwrap();
            symlink("elsewhere/auth.json", scene.file("auth.json")).unwrap();
        }
    }),
];

fn read_only(scene: &mut Scene) {
    scene.change("mount --bind \"$home\" \"$home\"; mount -o remount,bind,ro \"$home\"");
}

fn mounted(scene: &mut Scene) {
    scene.change("mount --bind \"$home/auth.json\" \"$home/auth.json\"");
}

fn full(scene: &mut Scene) {
    let mut file = fs::File::create(scene.file("filling")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

fn folder(scene: &mut Scene, name: &str) {
    fs::create_dir_all(scene.file(name)).unwrap();
    // Every lease would fix a looser mode.
    let around = scene.file(name).parent().unwrap().to_owned();
    if around.ends_with("codex-auth") {
        fs::set_permissions(around, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

fn foreign(scene: &mut Scene, name: &str) {
    scene.write(name, "");
    scene.by_user();
    chown(scene.file(name), Some(0), Some(0)).unwrap();
}

fn state(scene: &Scene, state: &Value) {
    scene.write("codex-auth/state.json", state.to_string());
    fs::set_permissions(scene.file("codex-auth"), fs::Permissions::from_mode(0o700)).unwrap();
}

fn spent(scene: &mut Scene) {
    let digest = Sha256::digest(&scene.grant.tokens.refresh_token);
    let fingerprint: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let store = scene.machine.store();
    state(scene, &json!({"generation": "1", "store": store, "spent": [fingerprint]}));
}

fn revoked(scene: &mut Scene) {
    scene.authority.end(scene.grant.id, Ending::RefreshInvalidated);
    scene.codex(&["refresh"]).run().refused(3);
}

fn failed(scene: &mut Scene) {
    scene.authority.script(Endpoint::Refresh, Step::status(503, "busy").with_header("Retry-After", "600"));
    scene.codex(&["refresh"]).run().refused(4);
}

fn issued_by(scene: &mut Scene, issuer: &str) {
    let mut document = scene.document();
    document["tokens"]["oauth_provenance"] = json!({"issuer": issuer, "client_id": "app"});
    scene.keep(&document.to_string());
    scene.variables.push(("CODEX_REFRESH_TOKEN_URL_OVERRIDE", None));
}

fn no_address(scene: &mut Scene) {
    issued_by(scene, "nowhere");
}

fn no_https(scene: &mut Scene) {
    issued_by(scene, "http://evil.example");
}
