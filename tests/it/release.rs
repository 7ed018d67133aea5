//! The names of the release archives: everything that builds or downloads them uses the same.

use std::fs;
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

fn formula(checksums: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("SHA256SUMS");
    fs::write(&path, checksums).unwrap();
    let mut command = Command::new(root().join(".github/formula"));
    command.arg(env!("CARGO_PKG_VERSION")).arg(path).output().unwrap()
}

fn checksum_of(number: usize, target: &str) -> String {
    format!("{number:064x}  codex-{target}.tar.gz\n")
}

#[test]
fn every_target_has_one_archive_name() {
    let workflow = read(".github/workflows/release.yml");
    let mut built = all_after(&workflow, "- target: ", ' ');
    built.sort_unstable();
    assert_eq!(built, targets());
    assert!(read(".github/package").contains("name=codex-$target\n"));
    for target in targets() {
        let archive = format!("/v{}/codex-{target}.tar.gz", env!("CARGO_PKG_VERSION"));
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
fn without_a_certificate_nothing_is_signed_and_a_notice_is_shown() {
    let mut command = Command::new(root().join(".github/sign"));
    let output = command.arg("aarch64-apple-darwin").env_remove("SIGNING_CERTIFICATE").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("::notice title=not signed::"));
}
