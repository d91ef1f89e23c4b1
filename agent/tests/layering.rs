//! Imports inside of the agent run one way.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where it cannot read the sources"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules of the agent each may import, beside itself.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("announce", &[]),
    ("config", &[]),
    ("control", &[]),
    ("dataplane", &["fault", "vital"]),
    ("fault", &[]),
    ("gossip", &[]),
    ("journal", &[]),
    ("logging", &["config", "journal"]),
    ("manual", &["config"]),
    ("pods", &["dataplane"]),
    ("probe", &["vital"]),
    ("reconciler", &["dataplane"]),
    ("store", &["fault"]),
    (
        "daemon",
        &[
            "announce",
            "config",
            "control",
            "dataplane",
            "gossip",
            "pods",
            "probe",
            "reconciler",
            "store",
            "vital",
        ],
    ),
    ("vital", &[]),
    ("lib", &[]),
];

/// What only tests import, and all may.
const FOR_TESTS: [&str; 1] = ["fuzz"];

/// Crates that one module alone may know, and that module.
const CONFINED: [(&str, &str); 8] = [
    ("pnet_datalink", "announce"),
    ("chitchat", "gossip"),
    ("chacha20poly1305", "gossip"),
    ("rtnetlink", "dataplane"),
    ("netlink_packet_route", "dataplane"),
    ("iptables", "dataplane"),
    ("axum", "control"),
    ("surge_ping", "probe"),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of each top-level module, without comments.
fn modules() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut modules: BTreeMap<String, Vec<(PathBuf, String)>> = BTreeMap::new();
    for path in files {
        let relative = path.strip_prefix(&root).unwrap();
        let module = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let module = module.trim_end_matches(".rs").to_owned();
        let code: String = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| format!("{line}\n"))
            .collect();
        modules.entry(module).or_default().push((path, code));
    }
    modules
}

/// The names that follow `prefix` in the code.
fn names_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(prefix).map(move |(at, _)| {
        let rest = &code[at + prefix.len()..];
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let modules = modules();
    for (module, files) in &modules {
        if module == "main" || FOR_TESTS.contains(&module.as_str()) {
            continue;
        }
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(name, _)| name == module)
            .unwrap_or_else(|| panic!("module {module} has no place in the layering"));
        for (path, code) in files {
            for name in names_after(code, "crate::") {
                let fine = name == module
                    || allowed.contains(&name)
                    || FOR_TESTS.contains(&name)
                    || !modules.contains_key(name);
                assert!(fine, "{}: {module} must not import {name}", path.display());
            }
        }
    }
}

#[test]
fn each_outer_crate_is_known_to_one_module_alone() {
    for (module, files) in modules() {
        for (path, code) in files {
            for (outer, owner) in CONFINED {
                let known = code.contains(&format!("{outer}::"));
                assert!(
                    !known || module == owner,
                    "{}: only {owner} may know {outer}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_core_depends_on_nothing_that_has_effects() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
    let dependencies = dependencies.split("\n[").next().unwrap();
    for effect in [
        "tokio", "netlink", "nix", "libc", "chitchat", "socket", "tracing", "jiff",
    ] {
        assert!(
            !dependencies.contains(effect),
            "podnet-core must not depend on {effect}"
        );
    }
}

/// The model of the kernel and the data plane around it come with a feature that no program is built with.
#[test]
fn what_only_tests_need_is_in_no_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (manifest, feature) in [("Cargo.toml", "fake"), ("core/Cargo.toml", "model")] {
        let manifest = fs::read_to_string(root.join(manifest)).unwrap();
        assert!(manifest.contains(&format!("\n{feature} = [")), "{feature}");
        assert!(!manifest.contains("\ndefault = "), "{feature}");
        let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        assert!(!dependencies.contains("podnet-core = {"), "{feature}");
    }
    let dataplane = fs::read_to_string(root.join("src/dataplane/mod.rs")).unwrap();
    assert!(dataplane.contains("#[cfg(any(test, feature = \"fake\"))]\npub mod fake;"));
    let kernel = fs::read_to_string(root.join("core/src/kernel/mod.rs")).unwrap();
    assert!(kernel.contains("#[cfg(feature = \"model\")]\npub mod model;"));
}
