//! What `podnetd` is told by flags, by the environment and by its configuration file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use podnet_lab::prelude::*;

use crate::unharmed::assert_no_panic;

/// A directory of the node in which tests may do what they like.
const PLACE: &str = "/etc/podnet";

/// Values that no setting of this name can have, with the exit code. `PLACE/file` is a file,
/// `PLACE/others` a directory with something in it, `PLACE/long` has a name that is too long.
const SETTINGS: &[(&str, &str, i32)] = &[
    ("state-dir", "", 2),
    ("state-dir", "/etc/podnet/file", 2),
    ("state-dir", "/etc/podnet/file/below", 2),
    ("state-dir", "/etc/podnet/others", 5),
    ("state-dir", "LONG", 2),
    ("run-dir", "", 2),
    ("run-dir", "/etc/podnet/file", 2),
    ("run-dir", "/etc/podnet/file/below", 2),
    ("run-dir", "LONG", 2),
    ("socket", "", 2),
    ("socket", "/etc/podnet/file", 5),
    ("socket", "/etc/podnet/others", 5),
    ("socket", "/etc/podnet/listens", 5),
    ("socket", "/etc/podnet/file/below", 2),
    ("socket", "LONG", 2),
    ("netns-dir", "", 2),
    ("netns-dir", "/etc/podnet/file", 2),
    ("netns-dir", "/etc/podnet/file/below", 2),
    ("advertise", "", 2),
    ("advertise", "eth1", 2),
    ("advertise", "192.168.56.11:7846", 2),
    ("advertise", "192.168.56.11/24", 2),
    ("advertise", "fd00::1", 2),
    ("gossip-port", "", 2),
    ("gossip-port", "0", 2),
    ("gossip-port", "-1", 2),
    ("gossip-port", "65536", 2),
    ("gossip-port", "7846.0", 2),
    ("gossip-port", "gossip", 2),
    ("wireguard-port", "", 2),
    ("wireguard-port", "0", 2),
    ("wireguard-port", "-1", 2),
    ("wireguard-port", "65536", 2),
    ("wireguard-port", "wg", 2),
    ("metrics-address", "", 2),
    ("metrics-address", "here", 2),
    ("metrics-address", "127.0.0.1", 2),
    ("metrics-address", "127.0.0.1:", 2),
    ("metrics-address", "127.0.0.1:99999", 2),
    ("metrics-address", ":9846", 2),
    ("metrics-address", "OFF", 2),
    ("firewall", "", 2),
    ("firewall", "pf", 2),
    ("firewall", "Auto", 2),
    ("firewall", "nftables", 2),
    ("log-level", "", 2),
    ("log-level", "loud", 2),
    ("log-level", "debugg", 2),
    ("log-level", "9", 2),
    ("log-level", "info,", 2),
    ("log-level", "podnet_agent=loud", 2),
    ("log-level", "podnet_agent=debug,verbose", 2),
    ("log-level", "[", 2),
    ("log-format", "", 2),
    ("log-format", "xml", 2),
    ("log-format", "JSON", 2),
];

/// Configuration files that cannot be meant.
const FILES: &[&str] = &[
    "[",
    "=",
    "gossip_port",
    "gossip_port = ",
    "no_such_key = 1",
    "config = \"/etc/podnet/other.toml\"",
    "[no_such_table]",
    "[settings]\ngossip_port = 7846",
    "state_dir = 1",
    "state_dir = []",
    "state_dir = true",
    "state_dir = \"/a\"\nstate_dir = \"/b\"",
    "state_dir = \"/a\"\nstate-dir = \"/b\"",
    "run_dir = 1.5",
    "socket = {}",
    "netns_dir = 1979-05-27",
    "gossip_port = \"7846\"",
    "gossip_port = 7846.5",
    "gossip_port = 1e99",
    "gossip_port = 99999999999999999999",
    "gossip_port = [7846]",
    "wireguard_port = \"51820\"",
    "advertise = true",
    "advertise = \"192.168.56.11/24\"",
    "metrics_address = 9846",
    "metrics_address = false",
    "firewall = true",
    "firewall = 1",
    "log_level = 3",
    "log_format = 1",
    "timing = 1",
    "timing = \"1s\"",
    "[timing]\nno_such_key = \"1s\"",
    "[timing]\ngossip_interval = 1",
    "[timing]\ngossip_interval = \"\"",
    "[timing]\ngossip_interval = \"1\"",
    "[timing]\ngossip_interval = \"0s\"",
    "[timing]\ngossip_interval = \"-1s\"",
    "[timing]\ngossip_interval = \"soon\"",
    "[timing]\ngossip_interval = \"999999999999 years\"",
    "[timing]\nresync = 5",
    "[timing]\nresync = \"0s\"",
    "[timing]\nresync = \"1 fortnight\"",
    "[timing]\ndead_grace = true",
    "[timing]\ndead_grace = \"0s\"",
    "[timing]\ndead_grace = \"580000000000years\"",
    "[timing]\nresync = \"11years\"",
    "[timing]\nlisten = \"20years\"",
    "[timing]\nvoter_replace_after = []",
    "[timing]\nlisten = {}",
    "[timing]\nlisten = \"3\"",
    "[timing]\n[timing]",
    "\u{0}",
    "\u{feff}\u{feff}gossip_port = 7846",
];

/// A node whose agent is stopped, with a place for the tests.
fn stopped(lab: &Lab) -> Node<'_> {
    let [node] = nodes(lab);
    node.init(None).unwrap();
    node.term().unwrap();
    node.shell(&format!(
        "cd {PLACE} && echo of others > file && chmod 644 file \
             && mkdir others && cp file others && chmod 755 others"
    ));
    node
}

/// A path whose last name is longer than file systems take.
fn long() -> String {
    format!("{PLACE}/{}", "x".repeat(300))
}

/// Runs an agent that has to refuse, and to say why.
#[track_caller]
pub(crate) fn assert_refused<A: AsRef<OsStr>>(
    node: Node<'_>,
    words: &[A],
    exit: i32,
    what: &str,
) -> Output {
    let refused = node.exec_with(words, "", LIMIT).unwrap();
    assert_eq!(refused.code, exit, "{what}: {refused}");
    let told = refused
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "));
    assert_eq!(told.count(), 1, "{what}: {refused}");
    assert!(!refused.stderr.contains("panicked"), "{what}: {refused}");
    refused
}

/// The node with all that lies in the tests' place.
fn snapshot(node: Node<'_>) -> (Snapshot, String) {
    // The tests write configuration files again and again: their times and the folder's are theirs.
    let place = format!(
        "cd {PLACE} && stat -c '%A %U %G' . && find . -mindepth 1 ! -name podnetd.toml -ls && \
         cat podnetd.toml file others/file"
    );
    (Snapshot::whole(node), node.shell(&place))
}

#[track_caller]
fn assert_same(node: Node<'_>, before: &(Snapshot, String), after: &str) {
    let now = snapshot(node);
    before.0.assert_same(&now.0, after);
    assert_eq!(before.1, now.1, "{after}");
    assert_no_panic(node, after);
}

#[test]
fn a_setting_that_cannot_be_meant_is_refused_wherever_it_stands() {
    let lab = idle(1);
    let node = stopped(&lab);
    let listens = node.config_dir().join("listens");
    let _listener = std::os::unix::net::UnixListener::bind(&listens).unwrap();
    let file = node.config_dir().join("podnetd.toml");
    let good = fs::read(&file).unwrap();
    let before = snapshot(node);
    for (name, value, exit) in SETTINGS {
        let value = value.replace("LONG", &long());
        let flag = format!("--{name}={value}");
        let variable = format!("PODNET_{}={value}", name.replace('-', "_").to_uppercase());
        for command in [
            &["run"][..],
            &["cleanup", "--yes"],
            &["reset", "--new-identity"],
        ] {
            // The other commands make no socket and attach no pod.
            let of_run = command == ["run"] || !["socket", "netns-dir"].contains(name);
            if !of_run && !value.is_empty() {
                continue;
            }
            let words = [&["podnetd"], command, &[flag.as_str()]].concat();
            assert_refused(node, &words, *exit, &flag);
        }
        assert_refused(
            node,
            &["env", &variable, "podnetd", "run"],
            *exit,
            &variable,
        );

        let key = name.replace('-', "_");
        let literal = match value.parse::<i64>() {
            Ok(number) => number.to_string(),
            Err(_) => format!("'{value}'"),
        };
        for key in [&key, *name] {
            let line = format!("{key} = {literal}");
            fs::write(&file, &line).unwrap();
            assert_refused(node, &["podnetd", "run"], *exit, &line);
        }
        fs::write(&file, &good).unwrap();
    }
    assert_same(node, &before, "settings that cannot be meant");
    node.start().unwrap();
    assert_eq!(node.status().phase, Phase::Ready);
}

#[test]
fn a_configuration_file_that_cannot_be_meant_is_refused_and_named() {
    let lab = idle(1);
    let node = stopped(&lab);
    let before = snapshot(node);
    let file = node.config_dir().join("bad.toml");
    let flag = ["podnetd", "run", "--config", "/etc/podnet/bad.toml"];
    let variable = ["env", "PODNET_CONFIG=/etc/podnet/bad.toml", "podnetd"];
    let mut contents: Vec<Vec<u8>> = FILES.iter().map(|text| text.as_bytes().to_vec()).collect();
    contents.push(b"log_level = \"caf\xe9\"".to_vec());
    contents.push([vec![b'['; 100_000], vec![b']'; 100_000]].concat());
    contents.push("#".repeat(2 << 20).into_bytes());
    contents
        .push(format!("log_level = {}1{}", "[".repeat(10_000), "]".repeat(10_000)).into_bytes());
    for content in contents {
        fs::write(&file, &content).unwrap();
        let shown: String = content
            .escape_ascii()
            .to_string()
            .chars()
            .take(80)
            .collect();
        for words in [&flag[..], &variable] {
            let refused = assert_refused(node, words, 2, &shown);
            assert!(
                refused.stderr.contains("/etc/podnet/bad.toml"),
                "{shown}: {refused}"
            );
            assert!(
                refused.stderr.len() < 4096,
                "{} bytes",
                refused.stderr.len()
            );
        }
    }
    fs::remove_file(&file).unwrap();
    for path in [
        "",
        "/etc/podnet/missing.toml",
        "/etc/podnet",
        "/etc/podnet/file/x",
        "/dev/zero",
    ] {
        let flag = format!("--config={path}");
        assert_refused(node, &["podnetd", "run", &flag], 2, &flag);
        let variable = format!("PODNET_CONFIG={path}");
        assert_refused(node, &["env", &variable, "podnetd", "run"], 2, &variable);
    }
    assert_same(node, &before, "configuration files that cannot be meant");
}

#[test]
fn variables_for_tests_are_checked_as_well() {
    let lab = idle(1);
    let node = stopped(&lab);
    let before = snapshot(node);
    for (variable, exit) in [
        ("PODNET_BOOT_ID_FILE=", 2),
        ("PODNET_BOOT_ID_FILE=/etc/podnet/missing", 1),
        ("PODNET_BOOT_ID_FILE=/etc/podnet", 1),
        ("PODNET_BOOT_ID_FILE=/dev/null", 1),
        ("PODNET_BOOT_ID_FILE=/dev/zero", 1),
        ("PODNET_MACHINE_ID_FILE=", 2),
    ] {
        assert_refused(node, &["env", variable, "podnetd", "run"], exit, variable);
    }
    let name = |name: &str| {
        let bytes = [name.as_bytes(), b"=caf\xe9"].concat();
        OsStr::from_bytes(&bytes).to_owned()
    };
    for variable in [
        "GOSSIP_PORT",
        "METRICS_ADDRESS",
        "FIREWALL",
        "LOG_LEVEL",
        "LOG_FORMAT",
    ] {
        let variable = name(&format!("PODNET_{variable}"));
        let words: Vec<OsString> = ["env".into(), variable, "podnetd".into()].into();
        assert_refused(node, &words, 2, "not UTF-8");
    }
    assert_same(node, &before, "variables");
}

#[test]
fn words_that_podnetd_refuses_change_nothing() {
    let lab = idle(1);
    let node = stopped(&lab);
    let before = snapshot(node);
    for line in [
        "frobnicate",
        "--frobnicate",
        "run extra",
        "run run",
        "run --yes",
        "run --gossip-port",
        "run --gossip-port 1 --gossip-port 2",
        "cleanup",
        "cleanup extra",
        "cleanup --purge",
        "cleanup --yes=1",
        "cleanup --yes --new-identity",
        "reset",
        "reset --yes",
        "reset --new-identity=1",
        "reset extra",
    ] {
        let words: Vec<&str> = ["podnetd"].into_iter().chain(line.split(' ')).collect();
        assert_refused(node, &words, 2, line);
    }
    assert_same(node, &before, "words that podnetd refuses");
}
