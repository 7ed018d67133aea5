//! The last part of each help page: examples, exit codes and a link.

use crate::error::Exit;

/// Where the documentation is.
pub(crate) const LINK: &str = env!("CARGO_PKG_REPOSITORY");
/// The heading of the examples.
pub(crate) const EXAMPLES: &str = "Examples:";
/// The heading of the exit codes.
pub(crate) const EXIT_CODES: &str = "Exit codes:";
/// The heading of what changes where this program stands before Codex on PATH.
pub(crate) const FRONT: &str = "In front of OpenAI's Codex, under the name codex:";
/// The beginning of the last line of a help page.
pub(crate) const MORE: &str = "More:";

/// Joins examples and the last line of a help page.
macro_rules! examples {
    ($($example:literal),+ $(,)?) => {
        concat!(
            "Examples:\n",
            $("  ", $example, "\n",)+
            "\nMore: codex --help, or ", env!("CARGO_PKG_REPOSITORY"),
        )
    };
}

pub(crate) use examples;

pub(crate) const LOGOUT: &str = examples!["codex logout", "codex logout --force", "codex logout --json"];
pub(crate) const STATUS: &str = examples!["codex status", "codex status --json | jq .usable"];
pub(crate) const TOKEN: &str = examples![
    "codex token",
    "codex token --min-ttl 10m",
    "codex token --header | curl --header @- https://example.org/",
    "codex token --json | jq -r .expires_at",
];
pub(crate) const REFRESH: &str = examples!["codex refresh", "codex refresh --json"];
pub(crate) const MIGRATE: &str =
    examples!["codex migrate --to keychain --dry-run", "codex migrate --to keychain"];
pub(crate) const WATCH: &str = examples!["codex watch", "codex watch --json | jq -r .event"];
pub(crate) const LOG: &str = examples!["codex log --since 2d", "codex log --follow --json"];
pub(crate) const WHY: &str = examples!["codex why", "codex why --report > report.json"];
pub(crate) const TOP: &str = examples!["codex top", "codex --account work top"];
pub(crate) const RUN: &str = examples![
    "codex run -- codex exec \"a prompt\"",
    "codex run --env TOKEN -- sh -c 'curl --oauth2-bearer \"$TOKEN\" \"$API\"'",
];
pub(crate) const SYNC: &str = examples!["codex sync install --now", "codex sync status"];
pub(crate) const EXPORT: &str = examples![
    "codex sync export ~/codex-export",
    "codex sync export ~/codex-export --uid 100999",
    "codex sync export list --json",
    "codex sync export remove ~/codex-export",
];
pub(crate) const FLEET: &str = examples![
    "codex fleet init --etcd https://etcd.example:2379",
    "codex fleet invite | ssh build codex fleet join",
    "codex fleet status",
];
pub(crate) const FLEET_INIT: &str = examples![
    "codex fleet init --etcd https://etcd.example:2379",
    "codex fleet init --etcd https://10.0.0.1:2379 --ca ca.pem --user ada < password",
];
pub(crate) const FLEET_INVITE: &str =
    examples!["codex fleet invite > invite", "codex fleet invite --ttl 10m | ssh build codex fleet join"];
pub(crate) const FLEET_JOIN: &str =
    examples!["codex fleet join < invite", "cat invite password | codex fleet join --member build"];
pub(crate) const FLEET_STATUS: &str =
    examples!["codex fleet status", "codex fleet status --json | jq -r .refresher"];
pub(crate) const FLEET_REKEY: &str = examples!["codex fleet rekey"];
pub(crate) const FLEET_LEAVE: &str = examples!["codex fleet leave"];
pub(crate) const FLEET_RESUME: &str = examples!["codex fleet resume"];
pub(crate) const ACCOUNT: &str = examples![
    "codex account add work",
    "codex account list",
    "codex account use work",
    "codex --account work exec \"a prompt\"",
];
pub(crate) const ACCOUNT_ADD: &str =
    examples!["codex account add work", "codex account add work --device-auth"];
pub(crate) const ACCOUNT_LIST: &str =
    examples!["codex account list", "codex account list --json | jq -r .active"];
pub(crate) const ACCOUNT_USE: &str =
    examples!["codex account use work", "codex account use work --yes --now"];
pub(crate) const ACCOUNT_WHICH: &str =
    examples!["codex account which", "codex account which --json | jq -r .because"];
pub(crate) const ACCOUNT_PIN: &str = examples!["codex account pin work ~/work", "codex account pin work"];
pub(crate) const ACCOUNT_UNPIN: &str = examples!["codex account unpin ~/work"];
pub(crate) const ACCOUNT_RENAME: &str = examples!["codex account rename default private"];
pub(crate) const ACCOUNT_REMOVE: &str = examples!["codex account remove work"];
pub(crate) const ACCOUNT_RUN: &str = examples!["codex account run work -- codex"];
pub(crate) const ACCOUNT_IMPORT: &str =
    examples!["codex account import ~/old/auth.json work --dry-run", "codex account import ~/old work"];
pub(crate) const ACCOUNT_UNLINK: &str = examples!["codex account unlink"];
pub(crate) const DOCTOR: &str = examples!["codex doctor", "codex doctor --fix"];
pub(crate) const APP_SERVER: &str = examples!["codex app-server", "codex app-server --listen stdio://"];
pub(crate) const COMPLETIONS: &str = examples![
    "codex completions fish > ~/.config/fish/completions/codex.fish",
    "source <(codex completions bash)    in ~/.bashrc",
    "source <(codex completions zsh)     in ~/.zshrc, after compinit",
];
pub(crate) const MAN: &str = examples!["codex man ~/.local/share/man/man1"];

/// The commands that Codex has too, with who runs them.
pub(crate) const SHARED: [(&str, &str); 6] = [
    ("app-server", "over stdio, this program for the account and Codex for the rest; else Codex"),
    ("completion", "this program; the script knows the commands of both"),
    ("doctor", "this program, then Codex"),
    ("help", "this program for its own commands, Codex for the others"),
    ("login", "this program, or Codex with an option that only Codex has"),
    ("logout", "this program, never Codex, which removes a login that it could not revoke"),
];
/// The commands that are prompts of one word for Codex alone.
pub(crate) const SHADOWED: [&str; 15] = [
    "account",
    "completions",
    "fleet",
    "log",
    "man",
    "migrate",
    "refresh",
    "run",
    "status",
    "sync",
    "token",
    "top",
    "watch",
    "whoami",
    "why",
];

/// Returns who runs [`SHADOWED`] and all other command lines.
pub(crate) fn others() -> [(String, &'static str); 2] {
    [
        (SHADOWED.join(", "), "this program; for Codex alone, prompts of one word"),
        ("anything else".to_owned(), "Codex, after a refresh if the command uses a stale login"),
    ]
}

/// Breaks a list of names into lines that the help page does not wrap.
fn in_lines(names: &str) -> String {
    let (mut text, mut width) = (String::new(), 0);
    for name in names.split(", ") {
        if width > 0 {
            let fits = width + name.len() < 78;
            text.push_str(if fits { ", " } else { ",\n    " });
            width = if fits { width } else { 0 };
        }
        text.push_str(name);
        width += name.len() + 2;
    }
    text
}

/// Returns the last part of the program's own help page.
pub(crate) fn overview() -> String {
    let mut text = format!(
        "codex help COMMAND prints the help of a command. Before a command, -c KEY=VALUE sets a key of config.toml that \
         concerns the login, for one run.\n\n\
         {EXAMPLES}\n  \
           codex login                  log in with a browser\n  \
           codex login --device-auth    log in on a remote or headless machine\n  \
           codex status                 show the account, the store and the expiry\n  \
           codex token                  print an access token\n\n\
         {FRONT}\n"
    );
    for (name, who) in SHARED {
        text.push_str(&format!("  {name:10}  {who}\n"));
    }
    for (names, who) in others() {
        text.push_str(&format!("  {}\n              {who}\n", in_lines(&names)));
    }
    text.push_str(&format!("\n{EXIT_CODES}\n    0  done\n"));
    for (exit, meaning) in Exit::MEANINGS {
        text.push_str(&format!("  {:3}  {meaning}\n", exit as u8));
    }
    text.push_str(&format!("\n{MORE} {LINK}"));
    text
}
