//! The version of another program called codex, from the package that it was installed with or by running it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use codex_auth_platform::process;
use serde::Deserialize;

/// How long a program may take to print its version.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The name of Codex in the package registry of npm, for all systems.
const PACKAGE: &str = "@openai/codex";
/// How many folders above the program may hold the description of its package.
const MAX_DEPTH: usize = 6;
/// What `codex --version` prints before the number.
const PREFIX: &str = "codex-cli ";

/// The version of `program` as it prints it. An npm package says it without running the program.
pub(crate) fn find(program: &Path) -> Option<String> {
    of_package(program).map(|number| format!("{PREFIX}{number}")).or_else(|| printed(program))
}

/// The number in a line as [`find`] returns it.
pub(crate) fn number(line: &str) -> Option<&str> {
    line.strip_prefix(PREFIX).filter(|number| number.starts_with(|first: char| first.is_ascii_digit()))
}

/// The version of the npm package that holds `program`.
#[expect(clippy::disallowed_methods, reason = "the description of a package is a public file, in any folder")]
fn of_package(program: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    // npm links the script of the package into a folder on PATH.
    let file = fs::canonicalize(program).ok()?;
    let packages = file.ancestors().skip(1).take(MAX_DEPTH).filter_map(|folder| {
        let text = fs::read_to_string(folder.join("package.json")).ok()?;
        serde_json::from_str::<Package>(&text).ok()
    });
    let package = packages.into_iter().next().filter(|package| package.name == PACKAGE)?;
    Some(without_system(&package.version).to_owned())
}

/// Removes the system from the version of the package for one system: `0.171.0-linux-x64` is 0.171.0.
fn without_system(version: &str) -> &str {
    let system = ["-linux-", "-darwin-", "-win32-"].into_iter().find_map(|system| version.find(system));
    system.map_or(version, |at| &version[..at])
}

/// The first line that `program --version` prints within [`TIMEOUT`].
pub(crate) fn printed(program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = process::remove_loader_variables(&mut command).spawn().ok()?;
    let (send, output) = mpsc::channel();
    let started = thread::Builder::new().spawn(move || send.send(child.wait_with_output()));
    let output = started.ok().and_then(|_| output.recv_timeout(TIMEOUT).ok()?.ok())?;
    let line = String::from_utf8_lossy(&output.stdout);
    let line = line.lines().next().unwrap_or_default();
    Some(crate::output::plain(line.trim())).filter(|line| !line.is_empty())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "packages of a test")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_package_of_a_program_says_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let (package, bin) = (folder.path().join("modules/@openai/codex"), folder.path().join("bin"));
        for folder in [&package.join("vendor/triple/bin"), &package.join("bin"), &bin] {
            fs::create_dir_all(folder).unwrap();
        }
        let script = package.join("bin/codex.js");
        let native = package.join("vendor/triple/bin/codex");
        for file in [&script, &native] {
            fs::write(file, "").unwrap();
        }
        symlink(&script, bin.join("codex")).unwrap();
        let say = |name: &str, version: &str| {
            let text = format!(r#"{{"name": "{name}", "version": "{version}"}}"#);
            fs::write(package.join("package.json"), text).unwrap();
        };
        say(PACKAGE, "0.171.0");
        assert_eq!(find(&bin.join("codex")).as_deref(), Some("codex-cli 0.171.0"));
        for (version, number) in [
            ("0.171.0-linux-x64", "0.171.0"),
            ("0.172.0-alpha.3-darwin-arm64", "0.172.0-alpha.3"),
            ("0.172.0-alpha.3", "0.172.0-alpha.3"),
        ] {
            say(PACKAGE, version);
            assert_eq!(of_package(&native).as_deref(), Some(number), "{version}");
        }
        say("another", "9.9.9");
        assert_eq!(of_package(&native), None);
        assert_eq!(of_package(Path::new("/nowhere/codex")), None);
    }

    #[test]
    fn a_number_follows_the_name_of_codex() {
        assert_eq!(number("codex-cli 0.171.0"), Some("0.171.0"));
        for other in ["0.171.0", "codex-cli", "codex-cli x", "another 1.0"] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
