//! State files that are not what the agent wrote: refused, named, with a cure that works.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use podnet_lab::prelude::*;

/// The state files, below the state directory or the run directory as the node sees it.
const FILES: [&str; 9] = [
    "/var/lib/podnet/identity",
    "/var/lib/podnet/epoch",
    "/var/lib/podnet/ledger",
    "/var/lib/podnet/cluster",
    "/var/lib/podnet/peers",
    "/run/podnet/freed",
    "/run/podnet/sysctls",
    "/run/podnet/pods/red",
    "/run/podnet/boot",
];

/// What can befall a file, and how.
type Damage = (&'static str, fn(&mut Vec<u8>));

const DAMAGES: [Damage; 10] = [
    ("emptied", Vec::clear),
    ("cut to one byte", |bytes| bytes.truncate(1)),
    ("cut in the middle", |bytes| bytes.truncate(bytes.len() / 2)),
    ("cut by one byte", |bytes| bytes.truncate(bytes.len() - 1)),
    ("longer by one byte", |bytes| bytes.push(b'\n')),
    ("of zeros", |bytes| bytes.fill(0)),
    ("with a flipped bit at its start", |bytes| bytes[0] ^= 1),
    ("with a flipped bit in its content", |bytes| {
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        bytes[line + 2] ^= 1;
    }),
    ("of a later version", |bytes| {
        let text = String::from_utf8_lossy(bytes).replacen("podnet-state ", "podnet-state 9", 1);
        *bytes = text.into_bytes();
    }),
    ("that is endless", |bytes| *bytes = vec![b'x'; 5 << 20]),
];

/// Where the host finds a file of the node.
fn on_host(node: Node<'_>, file: &str) -> PathBuf {
    for (inside, outside) in [
        ("/var/lib/podnet", node.state_dir()),
        ("/run/podnet", node.run_dir()),
    ] {
        if let Ok(rest) = Path::new(file).strip_prefix(inside) {
            return outside.join(rest);
        }
    }
    panic!("{file} is none of the node's state files");
}

/// Starts an agent, which must refuse and name the file and a cure. Returns the cure.
#[track_caller]
fn assert_refused(node: Node<'_>, file: &str, what: &str) -> String {
    let refused = run(node, &["run"]);
    let what = format!("{file} {what}: {refused}");
    // The unit does not start it again.
    assert_eq!(refused.code, 6, "{what}");
    let line = |label: &str| {
        let told = refused
            .stderr
            .lines()
            .find_map(|line| line.strip_prefix(label));
        told.expect(&what).to_owned()
    };
    assert!(line("error: ").contains(&format!("{file} ")), "{what}");
    assert!(!refused.stderr.contains("panicked"), "{what}");
    line("hint: ")
}

fn run(node: Node<'_>, words: &[&str]) -> Output {
    let words = [&["podnetd"], words].concat();
    node.exec_with(words, "", LIMIT).unwrap()
}

/// A cluster of two whose second node has every state file, and a stopped agent.
fn stopped() -> Cluster {
    let lab = Cluster::of(2);
    {
        let [_, node] = nodes(&lab);
        node.add_pod("red");
        node.add_pod("blue");
        node.remove_pod("blue");
        node.term().unwrap();
    }
    lab
}

#[test]
fn a_damaged_file_is_named_and_never_a_fresh_start() {
    let lab = stopped();
    let [_, node] = nodes(&lab);
    let before = Snapshot::whole(node);
    for file in FILES {
        let path = on_host(node, file);
        let good = fs::read(&path).unwrap();
        for (what, damage) in DAMAGES {
            let mut bad = good.clone();
            damage(&mut bad);
            fs::write(&path, &bad).unwrap();
            let cure = assert_refused(node, file, what);
            assert_eq!(fs::read(&path).unwrap(), bad, "{file} {what}");
            // What a newer one wrote is not damaged.
            let newer = cure.contains("podnetd that wrote it, or a newer one");
            assert_eq!(newer, what == "of a later version", "{file} {what}: {cure}");
            assert!(!(newer && cure.contains("remove")), "{file}: {cure}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_refused(node, file, "that is a directory");
        fs::remove_dir(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert_refused(node, file, "that is a device");
        fs::remove_file(&path).unwrap();
        fs::write(&path, good).unwrap();
        node.shell(&format!("chmod 600 {file}"));
    }
    before.assert_same(&Snapshot::whole(node), "damaged files");
    // As it was, it works again.
    node.start().unwrap();
    node.ready(1);
}

#[test]
fn a_file_that_holds_what_belongs_elsewhere_is_refused() {
    let lab = stopped();
    let [other, node] = nodes(&lab);
    other.add_pod("red");
    other.add_pod("blue");
    other.remove_pod("blue");
    let before = Snapshot::whole(node);
    for file in FILES {
        let path = on_host(node, file);
        let good = fs::read(&path).unwrap();
        let foreign = fs::read(on_host(other, file)).unwrap();
        fs::write(&path, foreign).unwrap();
        assert_refused(node, file, "of another node");
        for kind in FILES.iter().filter(|kind| **kind != file) {
            fs::write(&path, fs::read(on_host(node, kind)).unwrap()).unwrap();
            assert_refused(node, file, &format!("with the content of {kind}"));
        }
        fs::write(&path, good).unwrap();
    }
    // A pod's record under another pod's name.
    fs::copy(
        on_host(node, "/run/podnet/pods/red"),
        on_host(node, "/run/podnet/pods/blue"),
    )
    .unwrap();
    assert_refused(node, "/run/podnet/pods/blue", "of another pod");
    fs::remove_file(on_host(node, "/run/podnet/pods/blue")).unwrap();
    before.assert_same(&Snapshot::whole(node), "files that belong elsewhere");
    node.start().unwrap();
    node.ready(1);
}

#[test]
fn a_file_without_which_the_others_mean_nothing_must_not_be_missing() {
    let lab = stopped();
    let [_, node] = nodes(&lab);
    let before = Snapshot::whole(node);
    for file in ["/var/lib/podnet/identity", "/var/lib/podnet/ledger"] {
        let path = on_host(node, file);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_refused(node, file, "missing");
        assert!(!path.exists(), "{file}");
        fs::write(&path, good).unwrap();
        node.shell(&format!("chmod 600 {file}"));
    }
    before.assert_same(&Snapshot::whole(node), "missing files");
}

#[test]
fn a_cure_that_is_to_remove_the_file_works() {
    let lab = stopped();
    let [_, node] = nodes(&lab);
    for file in FILES {
        let path = on_host(node, file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, "").unwrap();
        let cure = assert_refused(node, file, "emptied");
        if !cure.contains("remove the file") {
            assert!(
                cure.contains("podnetd reset --new-identity"),
                "{file}: {cure}"
            );
            fs::write(&path, good).unwrap();
            continue;
        }
        fs::remove_file(&path).unwrap();
        node.start().unwrap();
        node.ready(1);
        assert_eq!(node.block().to_string(), "10.244.1.0/24", "{file}");
        if cure.contains("forgets the pod") || cure.contains("forgets its pods") {
            assert_eq!(node.pods(), [], "{file}");
            eventually(LIMIT, "no host end of a pod", || {
                match node.shell("ip -o link show group 113") {
                    none if none.is_empty() => Ok(()),
                    some => Err(some),
                }
            })
            .unwrap();
            node.shell("ip netns del red");
            node.add_pod("red");
            node.add_pod("blue");
            node.remove_pod("blue");
        }
        node.term().unwrap();
    }
}

#[test]
fn a_cure_that_is_to_become_another_node_works() {
    let lab = Cluster::of(2);
    let [first, node] = nodes(&lab);
    for (file, name) in [
        ("/var/lib/podnet/identity", "second"),
        ("/var/lib/podnet/epoch", "third"),
        ("/var/lib/podnet/ledger", "fourth"),
        ("/var/lib/podnet/cluster", "fifth"),
    ] {
        let id = node.status().node.id;
        node.term().unwrap();
        fs::write(on_host(node, file), "").unwrap();
        let cure = assert_refused(node, file, "emptied");
        assert!(
            cure.contains("podnetd reset --new-identity"),
            "{file}: {cure}"
        );
        let reset = run(node, &["reset", "--new-identity"]);
        assert!(reset.ok(), "{file}: {reset}");
        node.start().unwrap();
        let status = node.status();
        assert_eq!(status.phase, Phase::Idle, "{file}");
        assert_ne!(status.node.id, id, "{file}");
        // The name of the node that it was is still taken.
        let words = ["join", &first.address().to_string(), "--node-name", name];
        let joined = node.ctl_json(&words, &lab.invitation.token).unwrap();
        assert!(joined.ok(), "{file}: {joined}");
    }
}

#[test]
fn state_of_an_earlier_version_is_refused_and_a_new_cluster_is_the_cure() {
    let lab = Cluster::of(2);
    let [first, node] = nodes(&lab);
    node.add_pod("red");
    node.term().unwrap();
    let files = [
        "/var/lib/podnet/peers",
        "/var/lib/podnet/ledger",
        "/var/lib/podnet/cluster",
    ];
    // Each file alone, and in the end all of them.
    for file in files {
        let path = on_host(node, file);
        let text = fs::read_to_string(&path).unwrap();
        let earlier = text.replacen("podnet-state 2 ", "podnet-state 1 ", 1);
        assert_ne!(text, earlier, "{file}");
        fs::write(&path, &earlier).unwrap();
        let before = Snapshot::whole(node);
        let cure = assert_refused(node, file, "of an earlier version");
        assert!(cure.contains("podnetd cleanup --yes --purge"), "{cure}");
        before.assert_same(&Snapshot::whole(node), "an earlier version");
    }
    let cleaned = run(node, &["cleanup", "--yes", "--purge"]);
    assert!(cleaned.ok(), "{cleaned}");
    node.start().unwrap();
    assert_eq!(node.status().phase, Phase::Idle);
    let words = ["join", &first.address().to_string(), "--node-name", "anew"];
    let joined = node.ctl_json(&words, &lab.invitation.token).unwrap();
    assert!(joined.ok(), "{joined}");
}

#[test]
fn a_damaged_file_that_only_a_member_needs_keeps_an_idle_node_idle() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.init(None).unwrap();
    node.leave();
    let epoch = on_host(node, "/var/lib/podnet/epoch");
    let good = fs::read(&epoch).unwrap();
    fs::write(&epoch, &good[..good.len() / 2]).unwrap();
    let before = Snapshot::whole(node);
    let init = ["init", "--pod-cidr", "10.244.0.0/16"];
    let refusal = refused(node, &init, ErrorCode::StateCorrupt);
    assert!(
        refusal.message.contains("/var/lib/podnet/epoch "),
        "{refusal:?}"
    );
    assert!(refusal.hint.contains("reset --new-identity"), "{refusal:?}");
    before.assert_same(&Snapshot::whole(node), "init over a damaged file");
    assert_eq!(node.status().phase, Phase::Idle);
    fs::write(&epoch, good).unwrap();
    node.tell(&init);
}
