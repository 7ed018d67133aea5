//! The scripts of a release: names of archives, checksums, notes, formula, signatures and the unit for packages.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The texts between `prefix` at the beginning of a line and `end`.
fn all_after<'a>(text: &'a str, prefix: &str, end: char) -> Vec<&'a str> {
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix(prefix));
    lines.map(|rest| rest.split(end).next().unwrap()).collect()
}

/// The targets of a release, as listed in `deny.toml`.
fn targets() -> Vec<String> {
    let deny = read("deny.toml");
    let mut targets: Vec<_> = all_after(&deny, "\"", '"').into_iter().map(str::to_owned).collect();
    targets.retain(|name| name.contains("-unknown-") || name.contains("-apple-"));
    targets.sort();
    assert_eq!(targets.len(), 4, "{targets:?}");
    targets
}

/// The URL from which `cargo binstall` downloads the archive of a target.
fn address(target: &str) -> String {
    let manifest = read("Cargo.toml");
    let [url] = all_after(&manifest, "pkg-url = \"", '"')[..] else { panic!("{manifest}") };
    let [repository] = all_after(&manifest, "repository = \"", '"')[..] else { panic!("{manifest}") };
    let url = url.replace("{ repo }", repository).replace("{ target }", target);
    url.replace("{ version }", env!("CARGO_PKG_VERSION"))
}

fn archive(target: &str) -> String {
    format!("codex-auth-{}-{target}.tar.gz", env!("CARGO_PKG_VERSION"))
}

fn script(name: &str) -> Command {
    Command::new(root().join(".github").join(name))
}

fn text(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn formula(checksums: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("SHA256SUMS");
    fs::write(&path, checksums).unwrap();
    let mut command = script("formula");
    command.arg(env!("CARGO_PKG_VERSION")).arg(path).output().unwrap()
}

fn checksum_of(number: usize, target: &str) -> String {
    format!("{number:064x}  {}\n", archive(target))
}

#[test]
fn every_target_has_one_archive_name() {
    let workflow = read(".github/workflows/release.yml");
    let mut built = all_after(&workflow, "- target: ", ' ');
    built.sort_unstable();
    assert_eq!(built, targets());
    assert!(read(".github/package").contains("name=codex-auth-$version-$target\n"));
    for target in targets() {
        let archive = format!("/v{}/{}", env!("CARGO_PKG_VERSION"), archive(&target));
        assert!(address(&target).ends_with(&archive), "{}", address(&target));
    }
}

#[test]
fn the_formula_has_url_and_checksum_of_each_archive() {
    let checksums: String =
        targets().iter().enumerate().map(|(number, target)| checksum_of(number, target)).collect();
    let output = formula(&checksums);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let formula = String::from_utf8(output.stdout).unwrap();
    for (number, target) in targets().iter().enumerate() {
        let both = format!("url \"{}\"\n      sha256 \"{number:064x}\"\n", address(target));
        assert!(formula.contains(&both), "{both} in\n{formula}");
    }
}

#[test]
fn an_archive_without_a_checksum_is_rejected() {
    let three: String = targets().iter().skip(1).map(|target| checksum_of(7, target)).collect();
    let output = formula(&three);
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&targets()[0]));
}

#[test]
fn an_unsigned_archive_for_macos_fails_a_tag_and_is_a_notice_otherwise() {
    let sign = |kind: &str| {
        let mut command = script("sign");
        command.arg("aarch64-apple-darwin").env_remove("SIGNING_CERTIFICATE").env("GITHUB_REF_TYPE", kind);
        command.output().unwrap()
    };
    let branch = sign("branch");
    assert!(
        branch.status.success() && text(&branch).starts_with("::notice title=not signed::"),
        "{branch:?}"
    );
    let tag = sign("tag");
    assert!(!tag.status.success() && text(&tag).starts_with("::error title=not signed::"), "{tag:?}");
}

/// A folder with the files that the jobs of a release make.
fn parts() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for target in targets() {
        fs::write(folder.path().join(archive(&target)), &target).unwrap();
    }
    fs::write(folder.path().join("codex-auth.cdx.json"), "{}").unwrap();
    folder
}

#[test]
fn the_checksums_cover_all_archives_and_the_bill_of_materials() {
    let folder = parts();
    let output = script("assets").arg(env!("CARGO_PKG_VERSION")).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let checksums = fs::read_to_string(folder.path().join("SHA256SUMS")).unwrap();
    let mut summed: Vec<_> = checksums.lines().map(|line| line[66..].to_owned()).collect();
    summed.sort();
    let mut expected: Vec<_> = targets().iter().map(|target| archive(target)).collect();
    expected.push("codex-auth.cdx.json".to_owned());
    expected.sort();
    assert_eq!(summed, expected);
    assert!(fs::read_to_string(folder.path().join("codex-auth.rb")).unwrap().starts_with("class CodexAuth"));
    // Without the bill of materials there is no release.
    fs::remove_file(folder.path().join("codex-auth.cdx.json")).unwrap();
    assert!(!script("assets").arg(env!("CARGO_PKG_VERSION")).arg(folder.path()).status().unwrap().success());
}

/// Runs the script that creates a release with a `gh` that only shows its arguments and the notes.
fn release(tag: &str, changelog: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let scripts = folder.path().join("tree/.github");
    fs::create_dir_all(&scripts).unwrap();
    for name in ["notes", "release"] {
        fs::copy(root().join(".github").join(name), scripts.join(name)).unwrap();
    }
    fs::write(folder.path().join("tree/CHANGELOG.md"), changelog).unwrap();
    let gh = folder.path().join("gh");
    let shows = "#!/bin/sh\necho \"$@\"\nwhile [ \"$1\" != --notes-file ]; do shift; done\ncat \"$2\"\n";
    fs::write(&gh, shows).unwrap();
    fs::set_permissions(&gh, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.arg(scripts.join("release")).arg(tag).arg(parts().path()).env("PATH", path).output().unwrap()
}

#[test]
fn the_notes_of_a_release_are_its_section_of_the_changelog() {
    let changelog = "# Changelog\n\n## Unreleased\n\n- next\n\n## 1.1.0 - 2026-11-21\n\n### Fixed\n\n- one\n\n## 1.0.0\n\n- old\n";
    let notes = |tag: &str| {
        let output = release(tag, changelog);
        assert!(output.status.success(), "{output:?}");
        let (arguments, notes) = text(&output).split_once('\n').unwrap();
        (arguments.contains(" --prerelease --latest=false "), notes.to_owned())
    };
    assert_eq!(notes("v1.1.0"), (false, "### Fixed\n\n- one\n".to_owned()));
    assert_eq!(notes("v1.0.0"), (false, "- old\n".to_owned()));
    assert_eq!(notes("v1.1.0-rc.1"), (true, "### Fixed\n\n- one\n".to_owned()));
    assert_eq!(notes("v1.2.0-rc.1"), (true, "- next\n".to_owned()));
    let unknown = release("v1.2.0", changelog);
    assert!(!unknown.status.success() && unknown.stdout.is_empty(), "{unknown:?}");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no section for 1.2.0"), "{unknown:?}");
}

/// The unit for packages differs from that of `codex sync install` only in its paths and its description.
// Linux: systemd.
#[cfg(target_os = "linux")]
#[test]
fn the_unit_for_packages_is_the_one_that_the_program_installs() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".codex")).unwrap();
    let mut command = Command::new(crate::support::program());
    command.args(["sync", "install", "--dry-run"]).env("HOME", home.path()).env_remove("CODEX_HOME");
    let output = command.env_remove("XDG_CONFIG_HOME").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let installed = text(&output)
        .replace(&home.path().canonicalize().unwrap().display().to_string(), "%h")
        .replace(&crate::support::program().display().to_string(), "/usr/bin/codex-auth");
    // A home in a temporary folder excludes a private one.
    let is_common = |line: &&str| {
        !line.starts_with('#') && !line.starts_with("Description=") && *line != "PrivateTmp=yes"
    };
    let packaged = read(".github/codex-auth.service");
    assert!(packaged.contains("PrivateTmp=yes\n"));
    assert_eq!(
        packaged.lines().filter(is_common).collect::<Vec<_>>(),
        installed.lines().filter(is_common).collect::<Vec<_>>()
    );
}
