//! The machine on which the commands of a document are run.

/// The state of the machine before the first command under a heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// No login, and an unlocked keychain.
    Keychain,
    /// A login in the file.
    LoggedIn,
    /// A login in the file with an expired access token.
    Expired,
    /// A login in a locked keychain.
    Locked,
    /// A login in the file, and an authority that revokes nothing.
    NoRevocation,
    /// A keeper, and a folder for an export that is mounted at `/run/codex-auth` too.
    Keeper,
    /// The environment variable of a personal access token is set.
    AccessToken,
    /// Run by `machine/newcomer.rs`, which follows the README from the first to the last step.
    Newcomer,
    /// Not run, for this reason. The arguments of its commands are still checked.
    NotRun(&'static str),
}

/// The scene of every block of commands, by document and heading.
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
    (".github/CONTAINERS.md", "Containers and sandboxes", Scene::Keeper),
    (".github/CONTAINERS.md", "An unmodified Codex", Scene::Keeper),
    (".github/CONTAINERS.md", "A single command", Scene::Keeper),
    (
        ".github/CONTAINERS.md",
        "Recipes",
        Scene::NotRun("their images are the reader's; interop/recipes.rs runs them with an image of its own"),
    ),
    (
        "README.md",
        "Accounts",
        Scene::NotRun("its logins are two people's; tests/it/accounts runs these commands"),
    ),
    (
        "README.md",
        "Several hosts",
        Scene::NotRun("it needs an etcd; tests/it/fleet/commands.rs follows it with a real one"),
    ),
    (".github/CONTRIBUTING.md", "Contributing", Scene::NotRun("it would run these very tests")),
    (
        ".github/CONTRIBUTING.md",
        "Steps that need another program",
        Scene::NotRun("it takes minutes, and tests/run does the same"),
    ),
    (
        ".github/CONTRIBUTING.md",
        "Packaging",
        Scene::NotRun("it builds a release; tests/dist installs the archives in the same way"),
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
