//! Names the commit that `--version` shows: that of `PODNET_COMMIT`, or of the repository that this
//! workspace is. Without either there is only the version. `podnetctl` is built by this script too.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=PODNET_COMMIT");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = match env::var("PODNET_COMMIT") {
        Ok(given) => Some(given).filter(|given| !given.is_empty()),
        Err(_) => checked_out(),
    };
    let version = match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=PODNET_VERSION={version}");
}

/// The commit and its day. A tarball may have been unpacked inside of another's repository.
fn checked_out() -> Option<String> {
    if git(&["rev-parse", "--show-cdup"])? != "../" {
        return None;
    }
    // Committing and checking out write to these, in a worktree of its own too.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["log", "-1", "--abbrev=12", "--format=%h %cs"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
