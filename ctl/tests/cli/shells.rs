//! What a package takes from the program: its version, completions, manual pages.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::{finish, podnetctl, run_with};

const NOWHERE: &str = "/nonexistent/sock";

/// What git says of the repository that this workspace is, if it is one.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| text.trim_end().to_owned())
}

/// The commit may not be the last one any more: there may have been another since the build.
#[test]
fn the_version_names_the_commit() {
    let told = run_with(Path::new(NOWHERE), ["--version"]).expect(0).stdout;
    let version = concat!("podnetctl ", env!("CARGO_PKG_VERSION"));
    let rest = told.strip_prefix(version).unwrap().trim_end();
    if let Some(given) = option_env!("PODNET_COMMIT") {
        let expected = match given {
            "" => String::new(),
            commit => format!(" ({commit})"),
        };
        assert_eq!(rest, expected);
    } else if git(&["rev-parse", "--show-cdup"]).as_deref() == Some("../") {
        let named = rest.strip_prefix(" (").unwrap().strip_suffix(')').unwrap();
        let (commit, _) = named.split_once(' ').unwrap();
        let known = git(&["log", "-1", "--abbrev=12", "--format=%h %cs", commit]);
        assert_eq!(known.as_deref(), Some(named));
    } else {
        assert_eq!(rest, "");
    }
}

#[test]
fn completions_know_every_command_and_no_hidden_one() {
    for shell in ["bash", "zsh", "fish"] {
        let mut command = podnetctl(Path::new(NOWHERE));
        command
            .env("PODNET_TOKEN", "podnet1.c2VjcmV0")
            .args(["completion", shell]);
        let script = finish(&mut command, "").expect(0).stdout;
        for word in ["podnetctl", "join", "allow-overlap", "token", "exec"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains("c2VjcmV0"), "{shell} tells the token");
        assert!(!script.contains("nonexistent"), "{shell} tells the socket");
        let document = run_with(Path::new(NOWHERE), ["completion", shell, "-ojson"]).expect(0);
        assert_eq!(document.json()["script"], script, "{shell}");
    }
    let unknown = run_with(Path::new(NOWHERE), ["completion", "csh", "-ojson"]).expect(2);
    assert_eq!(unknown.error_code(), "usage");
}

#[test]
fn there_is_a_manual_page_of_each_command() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = podnetctl(Path::new(NOWHERE));
    command
        .env("PODNET_TOKEN", "podnet1.c2VjcmV0")
        .arg("man")
        .arg(dir.path());
    finish(&mut command, "").expect(0);
    for (page, word) in [
        ("podnetctl", "Exit codes"),
        ("podnetctl-join", "PODNET_TOKEN"),
        ("podnetctl-pod", "podnetctl\\-pod\\-add(1)"),
        ("podnetctl-pod-add", "netns"),
        ("podnetctl-completion", "fish"),
    ] {
        let text = fs::read_to_string(dir.path().join(format!("{page}.1"))).unwrap();
        assert!(text.contains(word), "{page}: {text}");
        assert!(!text.contains("c2VjcmV0"), "{page} tells the token");
        assert!(!text.contains("nonexistent"), "{page} tells the socket");
    }
    assert!(!dir.path().join("podnetctl-man.1").exists());
    let failed = run_with(Path::new(NOWHERE), ["man", "/nonexistent/dir"]).expect(1);
    assert!(
        failed.stderr.contains("/nonexistent/dir"),
        "{}",
        failed.stderr
    );
}
