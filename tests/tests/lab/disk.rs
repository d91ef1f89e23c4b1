//! Copies of disks.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use podnet_lab::record::{Record, load, save};
use podnet_lab::{Lab, LabError};

use super::{is_gone, lab, podnet_lab};

#[test]
fn a_rollback_brings_back_exactly_what_was_saved() {
    let lab = lab(1);
    let node = lab.node("node1").unwrap();
    assert!(matches!(node.rollback(), Err(LabError::NotSaved { .. })));
    assert_eq!(podnet_lab(lab.name(), &["rollback", "node1"]).code, 4);

    let state = node.state_dir();
    fs::create_dir(state.join("deep")).unwrap();
    fs::write(state.join("deep/key"), "old").unwrap();
    fs::set_permissions(state.join("deep/key"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("deep/key", state.join("link")).unwrap();
    node.save().unwrap();
    fs::write(state.join(".late"), "").unwrap();
    assert_eq!(podnet_lab(lab.name(), &["save", "node1"]).code, 0);

    let inode = state.metadata().unwrap().ino();
    fs::remove_dir_all(state.join("deep")).unwrap();
    fs::write(state.join("new"), "").unwrap();
    node.rollback().unwrap();
    node.rollback().unwrap();
    assert!(!state.join("new").exists());
    assert!(state.join(".late").exists(), "the second copy is the one");
    let key = state.join("deep/key");
    assert_eq!(key.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_link(state.join("link")).unwrap().to_str(),
        Some("deep/key")
    );
    assert_eq!(state.metadata().unwrap().ino(), inode);
    let inside = node.exec(["cat", "/var/lib/podnet/link"]).unwrap();
    assert_eq!(inside.stdout, "old", "{inside}");
}

#[test]
fn a_clone_has_the_same_disk_in_another_machine() {
    let lab = lab(2);
    let node = lab.node("node1").unwrap();
    fs::write(node.state_dir().join("key"), "secret").unwrap();
    fs::write(node.run_dir().join("socket"), "").unwrap();
    assert!(lab.node("node3").is_err());
    let twin = node.duplicate().unwrap();
    assert_eq!(twin.name(), "node3");
    assert_eq!(fs::read(twin.state_dir().join("key")).unwrap(), b"secret");
    assert!(!twin.run_dir().join("socket").exists());
    for file in [
        podnet_lab::Node::boot_id_file,
        podnet_lab::Node::machine_id_file,
    ] {
        let read = |node| fs::read_to_string(file(&node)).unwrap();
        assert_ne!(read(node), read(twin));
    }
    assert_eq!(twin.exec(["hostname"]).unwrap().stdout, "node3\n");
    twin.place().ping(node.address()).unwrap();
    assert_eq!(lab.nodes().len(), 3);
    assert_eq!(Lab::open(lab.name().clone()).unwrap().nodes().len(), 3);

    // As if the call had been killed before its end.
    let path = lab.dir().record();
    let mut record: Record = load(&path).unwrap().unwrap();
    record.clones = 0;
    save(&path, &record).unwrap();
    let leftover = twin.holder().unwrap();
    let again = podnet_lab(lab.name(), &["-o", "json", "clone", "node2"]);
    assert_eq!(again.json().unwrap()["name"], "node3", "{again}");
    assert!(!leftover.alive());
    assert!(!twin.state_dir().join("key").exists());
    assert_eq!(
        podnet_lab(lab.name(), &["clone", "node3"]).stdout,
        "node4\n"
    );
    assert_eq!(podnet_lab(lab.name(), &["clone", "node9"]).code, 4);
    let name = lab.name().clone();
    lab.down().unwrap();
    assert!(is_gone(&name));
}

#[test]
fn a_lab_with_clones_is_still_what_it_was_asked_to_be() {
    let name = podnet_lab::unique_name("clones");
    let up = ["up", "--nodes", "1", "--no-agents"];
    for words in [&up[..], &["clone", "node1"], &up] {
        assert_eq!(podnet_lab(&name, words).code, 0, "{words:?}");
    }
    let status = podnet_lab(&name, &["-o", "json", "status"]).json().unwrap();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(podnet_lab(&name, &["down"]).code, 0);
    assert!(is_gone(&name));
}
