//! `make install` and `make uninstall`: what is put in place, and that all of it goes again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use podnet_lab::command::run;

use crate::LIMIT;

/// Every file and directory below, as paths from there.
fn everything(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            found.insert(path.strip_prefix(root).unwrap().to_owned());
            if path.is_dir() {
                dirs.push(path);
            }
        }
    }
    found
}

/// The programs that were built.
fn built() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_podnet-lab"))
        .parent()
        .unwrap()
}

fn script(verb: &str, destination: &Path) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/install.sh"));
    command
        .arg(verb)
        .env("PREFIX", "/usr/local")
        .env("DESTDIR", destination)
        .env("LAB", "")
        .env("PROGRAMS", built());
    command
}

#[track_caller]
fn make(verb: &str, destination: &Path, lab: &str) {
    let output = run(script(verb, destination).env("LAB", lab), "", LIMIT).unwrap();
    assert!(output.ok(), "{output}");
}

#[test]
fn what_install_puts_in_place_uninstall_removes_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let others = root.path().join("usr/local/share/man/man1/other.1");
    fs::create_dir_all(others.parent().unwrap()).unwrap();
    fs::write(&others, "of others").unwrap();
    let before = everything(root.path());
    make("install", root.path(), "");
    let after = everything(root.path());
    for file in [
        "etc/NetworkManager/conf.d/10-podnet.conf",
        "usr/local/bin/podnetctl",
        "usr/local/bin/podnetd",
        "usr/local/lib/systemd/network/10-podnet.link",
        "usr/local/lib/systemd/network/10-podnet.network",
        "usr/local/lib/systemd/networkd.conf.d/10-podnet.conf",
        "usr/local/lib/systemd/system/podnetd.service",
        "usr/local/lib/sysusers.d/podnet.conf",
        "usr/local/share/bash-completion/completions/podnetctl",
        "usr/local/share/doc/podnet/examples/podnetd.toml",
        "usr/local/share/fish/vendor_completions.d/podnetctl.fish",
        "usr/local/share/man/man1/podnetctl-pod-add.1",
        "usr/local/share/man/man5/podnetd.toml.5",
        "usr/local/share/man/man8/podnetd.8",
        "usr/local/share/zsh/site-functions/_podnetctl",
    ] {
        assert!(after.contains(Path::new(file)), "{file}: {after:?}");
    }
    let unit = root
        .path()
        .join("usr/local/lib/systemd/system/podnetd.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(
        unit.contains("ExecStart=/usr/local/bin/podnetd run"),
        "{unit}"
    );
    make("uninstall", root.path(), "");
    assert_eq!(everything(root.path()), before);
    // There is nothing to remove any more.
    make("uninstall", root.path(), "");
    assert_eq!(everything(root.path()), before);
}

#[test]
fn another_install_removes_what_is_no_part_of_it() {
    let root = tempfile::tempdir().unwrap();
    make("install", root.path(), "");
    let without = everything(root.path());
    make("install", root.path(), "1");
    let lab = root.path().join("usr/local/bin/podnet-lab");
    assert!(lab.exists(), "the testbed comes only if it is asked for");
    make("install", root.path(), "");
    assert_eq!(everything(root.path()), without);
    make("uninstall", root.path(), "");
    assert_eq!(everything(root.path()), BTreeSet::new());
}

#[test]
fn programs_that_do_not_run_here_are_not_installed() {
    let root = tempfile::tempdir().unwrap();
    let programs = tempfile::tempdir().unwrap();
    for program in ["podnetd", "podnetctl"] {
        fs::copy("/bin/false", programs.path().join(program)).unwrap();
    }
    let mut install = script("install", root.path());
    let output = run(install.env("PROGRAMS", programs.path()), "", LIMIT).unwrap();
    assert!(!output.ok(), "{output}");
    assert_eq!(everything(root.path()), BTreeSet::new());
}

#[test]
fn an_install_that_ends_halfway_can_be_taken_back() {
    let root = tempfile::tempdir().unwrap();
    let programs = tempfile::tempdir().unwrap();
    // The testbed comes after the others, and is missing.
    for program in ["podnetd", "podnetctl"] {
        std::os::unix::fs::symlink(built().join(program), programs.path().join(program)).unwrap();
    }
    let mut install = script("install", root.path());
    install.env("PROGRAMS", programs.path()).env("LAB", "1");
    let output = run(&mut install, "", LIMIT).unwrap();
    assert!(!output.ok(), "{output}");
    assert!(root.path().join("usr/local/bin/podnetd").exists());
    make("uninstall", root.path(), "");
    assert_eq!(everything(root.path()), BTreeSet::new());
}

#[test]
fn in_another_prefix_the_unit_is_where_systemd_finds_it() {
    let root = tempfile::tempdir().unwrap();
    let mut install = script("install", root.path());
    let output = run(install.env("PREFIX", "/opt/podnet"), "", LIMIT).unwrap();
    assert!(output.ok(), "{output}");
    let unit = root.path().join("etc/systemd/system/podnetd.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(
        unit.contains("ExecStart=/opt/podnet/bin/podnetd run"),
        "{unit}"
    );
    let mut uninstall = script("uninstall", root.path());
    run(uninstall.env("PREFIX", "/opt/podnet"), "", LIMIT).unwrap();
    assert_eq!(everything(root.path()), BTreeSet::new());
}

#[test]
fn a_prefix_that_cannot_be_meant_is_refused() {
    let root = tempfile::tempdir().unwrap();
    for prefix in ["/opt/my dir", "opt/podnet", "/opt/a|b"] {
        let mut install = script("install", root.path());
        let output = run(install.env("PREFIX", prefix), "", LIMIT).unwrap();
        assert_eq!(output.code, 2, "{prefix}: {output}");
    }
}
