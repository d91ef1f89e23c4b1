//! The testbed itself: what it builds, and that nothing of it is left. Needs root.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's exception for tests does not reach the functions that they share"
)]

mod disk;
mod install;
mod power;
mod program;
mod underlay;
mod verbs;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use podnet_lab::census;
use podnet_lab::command::{Guard, Output, run};
use podnet_lab::dir::LabDir;
use podnet_lab::process::ProcessId;
use podnet_lab::record::{Record, load, save};
use podnet_lab::{Lab, LabError, LabName, down, eventually, unique_name};

const LIMIT: Duration = Duration::from_secs(180);

fn lab(nodes: u8) -> Lab {
    Lab::builder().nodes(nodes).agents(false).up().unwrap()
}

fn dir(name: &LabName) -> LabDir {
    LabDir::of(name.clone()).unwrap()
}

fn is_gone(name: &LabName) -> bool {
    !dir(name).path().exists() && !census::any(&dir(name).marker())
}

/// The program, called as users call it.
fn podnet_lab(name: &LabName, words: &[&str]) -> Output {
    run(&mut program(name, words), "", LIMIT).unwrap()
}

fn program(name: &LabName, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podnet-lab"));
    command.args(["--lab", name.as_str()]).args(words);
    command.env_remove("PODNET_BIN_DIR");
    command
}

/// What a lab must not change: the links and named namespaces of the host, and its mounts.
fn host() -> BTreeSet<String> {
    let names = |path: &str| -> Vec<String> {
        fs::read_dir(path).map_or_else(
            |_| Vec::new(),
            |entries| {
                entries
                    .map(|entry| entry.unwrap().path().display().to_string())
                    .collect()
            },
        )
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let directories = ["/run/netns", "/etc", "/var/lib", "/sys/class/net"];
    directories
        .into_iter()
        .flat_map(names)
        .chain(mounts.lines().map(str::to_owned))
        .collect()
}

#[test]
fn nodes_reach_each_other_and_the_internet_which_knows_no_pods() {
    let lab = lab(3);
    let [node1, node3] = ["node1", "node3"].map(|name| lab.node(name).unwrap());
    assert_eq!(node1.exec(["hostname"]).unwrap().stdout.trim(), "node1");
    assert_eq!(node3.address().to_string(), "192.168.56.13");

    let pong = node1.place().ping(node3.address()).unwrap();
    assert_eq!(pong.ttl, 64, "on one bridge");
    let pong = node1.place().ping(lab.internet().address()).unwrap();
    assert_eq!(pong.ttl, 63, "behind the router");
    let _responder = lab.internet().place().respond().unwrap();
    let seen = node3.place().seen_as(lab.internet().address()).unwrap();
    assert_eq!(seen, node3.address(), "the underlay translates nothing");

    for member in [lab.router(), lab.internet()] {
        let route = member.exec(["ip", "route", "get", "10.244.0.2"]).unwrap();
        assert!(!route.ok(), "{}: {route}", member.name());
    }
    let link = node1.exec(["ip", "-o", "link", "show", "eth0"]).unwrap();
    let mac = lab.underlay().mac(node1.member()).to_string();
    assert!(link.stdout.contains(&mac), "{mac}: {link}");
    assert!(link.stdout.contains("mtu 1500"), "{link}");
    let devices = node1.exec(["ls", "/sys/class/net"]).unwrap();
    assert_eq!(devices.stdout, "eth0\nlo\n", "and none of the host's");
    let forwarding = node1.exec(["cat", "/proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(
        forwarding.unwrap().stdout,
        "0\n",
        "that is the agent's task"
    );
}

/// Writes to each private path in one node, and looks for it in the other and on the host.
fn assert_private(lab: &Lab) {
    let paths = [
        "/run/podnet",
        "/run/netns",
        "/run/wireguard",
        "/var/lib/podnet",
        "/etc/podnet",
        "/etc/netns",
        "/etc/cni",
    ];
    let mark = lab.name().as_str();
    let [node1, node2] = ["node1", "node2"].map(|name| lab.node(name).unwrap());
    for path in paths {
        let file = format!("{path}/{mark}");
        node1
            .exec(["touch", &file])
            .unwrap()
            .success("touch")
            .unwrap();
        assert!(!node2.exec(["test", "-e", &file]).unwrap().ok(), "{file}");
        assert!(!Path::new(&file).exists(), "{file} on the host");
    }
    let lock = "/run/xtables.lock";
    node1
        .exec(["sh", "-c", &format!("echo {mark} > {lock}")])
        .unwrap();
    let on_host = fs::read_to_string(lock).unwrap_or_default();
    assert!(!on_host.contains(mark), "{lock} is the host's");
    assert!(node1.state_dir().join(mark).is_file());
    assert!(node1.run_dir().join(mark).is_file());
    assert!(node1.config_dir().join(mark).is_file());
    assert!(node1.exec(["test", "-s", "/etc/passwd"]).unwrap().ok());
}

#[test]
fn what_a_node_has_to_itself_is_seen_in_no_other_place() {
    let before = host();
    let lab = lab(2);
    assert_private(&lab);
    let node1 = lab.node("node1").unwrap();
    let netns = node1.exec(["ip", "netns", "add", "red"]).unwrap();
    assert!(netns.ok(), "{netns}");
    let passwd = fs::read("/etc/passwd").unwrap();
    node1.exec(["sh", "-c", "echo x >> /etc/passwd"]).unwrap();
    assert_eq!(fs::read("/etc/passwd").unwrap(), passwd);

    let name = lab.name().clone();
    lab.down().unwrap();
    assert!(is_gone(&name));
    // Another test of this host may be about to remove what it has made.
    eventually(LIMIT, "the host as it was", || {
        let new: Vec<String> = host().difference(&before).cloned().collect();
        if new.is_empty() {
            Ok(())
        } else {
            Err(new.join("\n"))
        }
    })
    .unwrap();
}

#[test]
fn a_host_that_cannot_stack_overlays_has_private_paths_too() {
    let lab = Lab::builder().nodes(2).agents(false).mirrors(true);
    assert_private(&lab.up().unwrap());
}

#[test]
fn two_labs_live_side_by_side() {
    let (one, two) = (lab(2), lab(2));
    let far = one.node("node2").unwrap().address();
    one.node("node1").unwrap().place().ping(far).unwrap();
    one.down().unwrap();
    two.node("node1").unwrap().place().ping(far).unwrap();
}

#[test]
fn exec_passes_streams_and_exit_codes_through() {
    let lab = lab(1);
    let node = lab.node("node1").unwrap();
    let output = node.exec_with(["sh", "-c", "cat; echo no >&2; exit 7"], "yes", LIMIT);
    let output = output.unwrap();
    assert_eq!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()),
        (7, "yes", "no\n")
    );
    assert_eq!(node.exec(["no-such-command"]).unwrap().code, 127);
    assert_eq!(node.exec(["/etc/passwd"]).unwrap().code, 126);
    assert_eq!(node.exec(["sh", "-c", "kill -9 $$"]).unwrap().code, 137);
    let missing = lab.node("node2").unwrap_err();
    assert!(matches!(missing, LabError::NoMember { .. }), "{missing}");
}

#[test]
fn down_needs_neither_holders_nor_records() {
    let lab = lab(2);
    let node = lab.node("node1").unwrap();
    node.exec(["ip", "netns", "add", "red"]).unwrap();
    // A mount namespace of its own, as `ip netns exec` makes one, and a pod's network.
    let mut stray = Command::new(env!("CARGO_BIN_EXE_podnet-lab"));
    stray.args(["--lab", lab.name().as_str(), "exec", "node1", "--"]);
    stray.args([
        "ip",
        "netns",
        "exec",
        "red",
        "sh",
        "-c",
        "echo in; exec sleep 600",
    ]);
    let mut stray = Guard::new(stray.stdout(Stdio::piped()).spawn().unwrap());
    let lines = podnet_lab::lines::Lines::of(stray.stdout().unwrap());
    lines.wait_for(LIMIT, "start", |line| line == "in").unwrap();

    for member in [
        lab.node("node1").unwrap(),
        lab.node("node2").unwrap(),
        lab.router(),
    ] {
        let holder = member.holder().unwrap();
        holder.signal(Signal::SIGKILL).unwrap();
        holder.wait_end(LIMIT).unwrap();
    }
    assert!(matches!(node.exec(["true"]), Err(LabError::Broken { .. })));
    fs::remove_file(lab.dir().record()).unwrap();
    let name = lab.name().clone();
    lab.down().unwrap();
    assert_eq!(stray.wait(LIMIT).unwrap(), 137);
    assert!(is_gone(&name));
    down(name).unwrap();
}

#[test]
fn a_test_that_panics_leaves_no_lab() {
    let name = unique_name("panic");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _lab = Lab::builder()
            .nodes(1)
            .agents(false)
            .name(name.clone())
            .up()
            .unwrap();
        assert!(!is_gone(&name));
        panic!("as a failed assertion does");
    }));
    assert!(panicked.is_err() && is_gone(&name));
}

#[test]
fn a_lab_whose_owner_was_killed_is_swept_by_the_next() {
    let mut orphan = lab(1);
    orphan.keep();
    let path = orphan.dir().record();
    let mut record: Record = load(&path).unwrap().unwrap();
    let owner = record.owner.unwrap();
    assert_eq!(owner, ProcessId::own().unwrap());
    record.owner = Some(ProcessId {
        start_time: owner.start_time + 1,
        ..owner
    });
    save(&path, &record).unwrap();
    let _next = lab(1);
    assert!(is_gone(orphan.name()));
}

#[test]
fn a_capture_shows_what_is_on_the_wire() {
    let lab = lab(2);
    let [node1, node2] = ["node1", "node2"].map(|name| lab.node(name).unwrap());
    let capture = lab.router().capture("node2", "icmp").unwrap();
    node1.place().ping(node2.address()).unwrap();
    capture
        .wait_for(LIMIT, "reply", |line| line.contains("ICMP echo reply"))
        .unwrap();
    let lines = capture.stop().unwrap();
    let request = "IP 192.168.56.11 > 192.168.56.12: ICMP echo request";
    assert!(
        lines.iter().any(|line| line.starts_with(request)),
        "{lines:?}"
    );
}
