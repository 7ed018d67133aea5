//! Which machine the commands of a document are run on.

/// What a machine is like before the first command under a heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Nobody is logged in, and a keychain is open.
    Keychain,
    /// Nobody is logged in, and there is no keychain.
    Nobody,
    /// Somebody is logged in, in the file.
    LoggedIn,
    /// The same, with an access token that has ended.
    Expired,
    /// Somebody is logged in, in a keychain that is locked.
    Locked,
    /// Somebody is logged in, and the authority takes nothing back.
    NoRevocation,
    /// A keeper runs whose socket is at `/run/codex/sock`, and this machine has nothing else of it.
    Keeper,
    /// The variable of a personal access token is set.
    AccessToken,
    /// The path of a newcomer, which `machine/newcomer.rs` walks.
    Newcomer,
    /// Not run, for this reason. The program still reads every command of ours in it.
    NotRun(&'static str),
}

/// The scene of every block of commands, by the document and the heading that it stands under.
const SCENES: &[(&str, &str, Scene)] = &[
    ("README.md", "codex-auth", Scene::Keychain),
    ("README.md", "Install", Scene::Newcomer),
    ("README.md", "Try it", Scene::Newcomer),
    ("README.md", "Uninstall", Scene::Newcomer),
    ("README.md", "Containers", Scene::Keeper),
    (
        "README.md",
        "\"…because your refresh token was already used. Please log out and sign in again.\"",
        Scene::Expired,
    ),
    ("README.md", "It hangs, or asks for a keychain password, over SSH", Scene::Locked),
    ("README.md", "CI", Scene::AccessToken),
    ("README.md", "A failed login has logged me out", Scene::LoggedIn),
    ("README.md", "Did the logout revoke my tokens?", Scene::NoRevocation),
    ("README.md", "How do I use two accounts?", Scene::Nobody),
    (".github/CONTRIBUTING.md", "Contributing", Scene::NotRun("it would run these very tests")),
    (
        ".github/CONTRIBUTING.md",
        "Steps that need another program",
        Scene::NotRun("it takes minutes, and tests/run does the same"),
    ),
    (".github/CONTRIBUTING.md", "Read a failing test", Scene::NotRun("it would run these very tests")),
    (
        "tests/bench/README.md",
        "Benchmarks",
        Scene::NotRun("it measures for minutes, on a machine that is idle"),
    ),
];

/// The scene of the blocks under a heading.
pub fn scene(document: &str, heading: &str) -> Option<Scene> {
    let found = SCENES.iter().find(|(of, under, _)| (*of, *under) == (document, heading));
    found.map(|(_, _, scene)| *scene)
}

/// Every heading of a document that has a scene.
pub fn headings(document: &str) -> impl Iterator<Item = &'static str> {
    SCENES.iter().filter(move |(of, ..)| *of == document).map(|(_, heading, _)| *heading)
}
