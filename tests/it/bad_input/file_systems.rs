//! The table of file systems in `platform/README.md`, each with the real file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use crate::structure::root;
use crate::support::Flock;
use crate::support::{Guarded, Mounted, Run, TestHome, eventually};
use crate::watch::watcher::{WatchMode, Watcher};

/// A way to mount a home with a login.
struct FileSystem {
    /// Its row in the table.
    name: &'static str,
    /// Mounts it at `$home`; `$behind` is a folder beside it, `put` stores the login in a folder, and `mounted` waits.
    mount: &'static str,
    /// Where another program changes the login.
    changed: ChangedFolder,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ChangedFolder {
    Behind,
    Mounted,
    Underneath,
}

const FILE_SYSTEMS: &[FileSystem] = &[
    FileSystem { name: "ext4", mount: "put \"$home\"", changed: ChangedFolder::Underneath },
    FileSystem {
        name: "tmpfs",
        mount: "mount -t tmpfs none \"$home\"; put \"$home\"",
        changed: ChangedFolder::Mounted,
    },
    FileSystem {
        name: "overlayfs",
        mount: "mount -t tmpfs none \"$behind\"; cd \"$behind\"; mkdir lower upper work; put lower
            mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none \"$home\"; cd /",
        changed: ChangedFolder::Mounted,
    },
    FileSystem {
        name: "read-only",
        mount: "put \"$home\"; mount --bind \"$home\" \"$home\"; mount -o remount,bind,ro \"$home\"",
        changed: ChangedFolder::Underneath,
    },
    FileSystem {
        name: "full",
        mount: "mount -t tmpfs -o size=64k none \"$home\"; put \"$home\"; cat /dev/zero >\"$home/filling\" || :",
        changed: ChangedFolder::Mounted,
    },
    FileSystem {
        name: "sshfs",
        // Its server without a network: both ends of the connection are pipes.
        mount: "put \"$behind\"; mkfifo \"$behind.in\" \"$behind.out\"
            killed_with_us /usr/lib/openssh/sftp-server <\"$behind.in\" >\"$behind.out\" &
            killed_with_us sshfs -f -o passive \"host:$behind\" \"$home\" >\"$behind.in\" <\"$behind.out\" &
            mounted $!",
        changed: ChangedFolder::Behind,
    },
    FileSystem {
        name: "bindfs",
        mount: "put \"$behind\"; killed_with_us bindfs -f \"$behind\" \"$home\" & mounted $!",
        changed: ChangedFolder::Behind,
    },
    FileSystem {
        name: "bindfs without rename",
        mount: "put \"$behind\"; killed_with_us bindfs -f --rename-deny \"$behind\" \"$home\" & mounted $!",
        changed: ChangedFolder::Behind,
    },
    FileSystem {
        name: "bindfs without chmod",
        mount: "put \"$behind\"
            killed_with_us bindfs -f --chmod-deny --perms=a+rX \"$behind\" \"$home\" & mounted $!",
        changed: ChangedFolder::Behind,
    },
    FileSystem { name: NO_FLOCK, mount: "put \"$home\"", changed: ChangedFolder::Underneath },
];

/// No file system of Linux lacks `flock` for a single machine: the system call fails instead.
const NO_FLOCK: &str = "without flock";

const PRELUDE: &str = r#"behind=${home%/*}/behind
    put() { printf '{"auth_mode":"apikey","OPENAI_API_KEY":"sk-old"}' >"$1/auth.json"; chmod 600 "$1/auth.json"; }
    killed_with_us() { exec setpriv --pdeathsig KILL "$@"; }
    mounted() { until mountpoint -q "$home"; do kill -0 "$1"; sleep 0.01; done; }
    "#;

/// What was observed, in the words of the table: save, lock, watch.
type Row = [String; 3];

#[test]
fn the_table_of_file_systems_is_true() {
    let table = table();
    let names: Vec<_> = table.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, FILE_SYSTEMS.iter().map(|system| system.name).collect::<Vec<_>>());
    let observed = thread::scope(|scope| {
        let running: Vec<_> = FILE_SYSTEMS.iter().map(|system| scope.spawn(|| observe(system))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for ((name, row), observed) in table.iter().zip(observed) {
        assert_eq!(row, &observed, "{name}");
    }
}

/// Returns the first column of the table, and the next three.
fn table() -> Vec<(String, Row)> {
    let page = fs::read_to_string(root().join("platform/README.md")).unwrap();
    let (_, section) = page.split_once("\n### File systems\n").unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cells =
        |line: &str| line.split('|').skip(1).map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>();
    let rows = rows.take_while(|line| line.starts_with('|')).map(cells);
    rows.map(|row| (row[0].clone(), [row[1].clone(), row[2].clone(), row[3].clone()])).collect()
}

fn observe(system: &FileSystem) -> Row {
    let home = TestHome::new();
    let behind = home.beside("behind");
    let mounted = Mounted::by(home, &format!("{PRELUDE}{}", system.mount));
    let codex = |arguments: &[&'static str]| {
        let run = mounted.codex(arguments.iter().copied());
        match system.name {
            NO_FLOCK => run.through(["strace", "-f", "-o", "/dev/null", "-e", "inject=flock:error=ENOSYS"]),
            _ => run,
        }
    };
    let save = save(system.name, &codex, &mounted.path());
    let lock = lock(system.name, &codex, &mounted);
    let folder = match system.changed {
        ChangedFolder::Behind => behind,
        ChangedFolder::Mounted => mounted.path(),
        ChangedFolder::Underneath => mounted.home.path(),
    };
    let watch = watch(mounted.codex(["watch", "--json"]), &folder.join("auth.json"));
    [save, lock, watch].map(ToOwned::to_owned)
}

fn save(name: &str, codex: &dyn Fn(&[&'static str]) -> Run, home: &Path) -> &'static str {
    let ended = codex(&["login", "--store", "file", "--with-api-key"]).input("sk-new").run();
    assert_eq!(
        ended.err.contains("refused to make it 600 ("),
        name == "bindfs without chmod",
        "{name}: {ended}"
    );
    let token = codex(&["token"]).run().expect(0).out;
    for folder in [home.to_owned(), home.join("codex-auth")] {
        let left: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        assert!(
            !left.iter().any(|path| path.extension().is_some_and(|end| end == "tmp")),
            "{name}: {left:?}"
        );
    }
    match (ended.code, token.as_str()) {
        (Some(0), "sk-new\n") => "yes",
        (Some(5), "sk-old\n") => "refused",
        _ => panic!("{name}: {token} {ended}"),
    }
}

/// Whether another process waits for a lock that is held through the mount.
fn lock(name: &str, codex: &dyn Fn(&[&'static str]) -> Run, mounted: &Mounted) -> &'static str {
    let path = mounted.path().join("codex-auth/refresh.lock");
    if mounted.change("mkdir -p \"$home/codex-auth\"").code != Some(0) {
        let ended = codex(&["logout", "--local"]).run().refused(5);
        assert!(ended.err.contains("is read-only: "), "{name}: {ended}");
        return "not needed";
    }
    let inside = mounted.home.path().join("codex-auth/refresh.lock").display().to_string();
    let holder = Run::of(Path::new("/usr/bin/flock"), ["--no-fork", &inside, "sleep", "600"]);
    let _holder = Guarded(mounted.enter(holder).start());
    eventually("the lock to be held", || path.exists() && !Flock::is_free(&path));
    let ended = codex(&["logout", "--local"]).env("CODEX_AUTH_LOCK_TIMEOUT", "1").run();
    match ended.code {
        Some(6) => "yes",
        Some(5) => "no",
        _ => panic!("{name}: {ended}"),
    }
}

/// How a change by another program is noticed.
fn watch(run: Run, document: &Path) -> &'static str {
    let (watcher, _) = Watcher::start(run, WatchMode::Native);
    fs::remove_file(document).unwrap();
    // A document that is removed while it is opened through FUSE is unreadable first.
    while watcher.next_event()["event"] != "logout" {}
    match watcher.interrupt().as_slice() {
        [] => "events",
        [note] if note.contains("every 1000 ms") => "every second",
        notes => panic!("{notes:?}"),
    }
}
