//! State files that are not what the agent wrote.

use std::fs;
use std::path::Path;

use podnet_lab::Node;

use crate::idle::podnetd;
use crate::scene::{ask, idle, nodes, status};
use crate::snapshot::Snapshot;

/// The files that make a member.
const FILES: [&str; 5] = ["identity", "epoch", "ledger", "cluster", "peers"];

/// What can befall a file, and how.
type Damage = (&'static str, fn(&mut Vec<u8>));

const DAMAGES: [Damage; 4] = [
    ("emptied", Vec::clear),
    ("cut short", |bytes| bytes.truncate(bytes.len() / 2)),
    ("with a flipped bit", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }),
    ("of a later version", |bytes| {
        let text = String::from_utf8_lossy(bytes).replacen("podnet-state 1 ", "podnet-state 2 ", 1);
        *bytes = text.into_bytes();
    }),
];

/// Starts an agent, which must refuse and name the file and a cure, and leave everything as it is.
fn assert_refused(node: Node<'_>, path: &Path, what: &str) {
    let before = Snapshot::whole(node);
    let refused = podnetd(node, &["run"]);
    assert_eq!(refused.code, 1, "{what}: {refused}");
    let name = path.file_name().unwrap().to_str().unwrap();
    let error = refused
        .stderr
        .lines()
        .find(|line| line.starts_with("error: "))
        .unwrap();
    assert!(
        error.contains(&format!("/var/lib/podnet/{name} ")),
        "{what}: {refused}"
    );
    assert!(refused.stderr.contains("hint: "), "{what}: {refused}");
    before.assert_same(&Snapshot::whole(node), what);
}

#[test]
fn a_damaged_file_is_named_and_never_a_fresh_start() {
    let lab = idle(2);
    lab.init_join_all().unwrap();
    let [node, _] = nodes(&lab);
    let was = status(node);
    node.term().unwrap();
    for name in FILES {
        let path = node.state_dir().join(name);
        let good = fs::read(&path).unwrap();
        for (what, damage) in DAMAGES {
            let mut bad = good.clone();
            damage(&mut bad);
            fs::write(&path, bad).unwrap();
            assert_refused(node, &path, &format!("{name} {what}"));
        }
        fs::write(&path, good).unwrap();
    }
    // As it was, it works again.
    node.start().unwrap();
    let is = status(node);
    assert_eq!(
        (&is["node"]["id"], &is["blocks"]),
        (&was["node"]["id"], &was["blocks"])
    );
}

#[test]
fn the_files_of_another_node_are_refused() {
    let lab = idle(2);
    lab.init_join_all().unwrap();
    let [first, second] = nodes(&lab);
    second.term().unwrap();
    for name in ["ledger", "cluster", "peers", "epoch"] {
        let path = second.state_dir().join(name);
        let good = fs::read(&path).unwrap();
        fs::write(&path, fs::read(first.state_dir().join(name)).unwrap()).unwrap();
        assert_refused(second, &path, &format!("{name} of another node"));
        fs::write(&path, good).unwrap();
    }
    second.start().unwrap();
    assert_eq!(ask(second, &["status"])["node"]["name"], "node2");
}
