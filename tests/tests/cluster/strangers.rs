//! Whom a node lets through: pods, and nobody else whom its owner does not.

mod bridges;
mod opened;

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use podnet_lab::command::{Guard, Output};
use podnet_lab::lines::Lines;
use podnet_lab::prelude::*;
use podnet_lab::process::ProcessId;

/// How long what the kernel tells of may take to be put right.
const SOON: Duration = Duration::from_secs(1);

/// A host on a network behind the first node.
const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

/// Makes a host on a network of its own behind a node, by way of this device.
fn attach_network(node: Node<'_>, device: &str, netns: &str, network: &str) {
    node.shell(&format!(
        "ip netns add {netns}; ip link add {device} type veth peer name eth0 netns {netns}
             ip link set {device} up; ip -n {netns} link set lo up; ip -n {netns} link set eth0 up
             ip -n {netns} address add {network}.2/24 dev eth0
             ip address add {network}.1/24 dev {device}
             ip -n {netns} route add default via {network}.1"
    ));
}

/// A lab of idle nodes: a network is behind the first, and the last is a stranger who has a route
/// there.
fn scene() -> Lab {
    let lab = idle(3);
    let [node1, _, stranger] = nodes(&lab);
    attach_network(node1, "lan0", "behind", "10.99.0");
    let route = format!("ip route add 10.99.0.0/24 via {}", node1.address());
    stranger.shell(&route);
    assert!(!passes(stranger), "without podnet");
    lab
}

/// Founds a cluster on a node that has several addresses.
fn found(node: Node<'_>) -> Invitation {
    let own = node.address().to_string();
    let words = ["init", "--pod-cidr", "10.244.0.0/16", "--advertise", &own];
    node.ask(&words)
}

/// Whether the stranger gets through the first node.
fn passes(stranger: Node<'_>) -> bool {
    let target = BEHIND.to_string();
    let words = ["ping", "-n", "-c", "2", "-i", "0.05", "-W", "1", &target];
    stranger.exec(words).unwrap().ok()
}

/// A stranger who tries it every two milliseconds.
struct Trial {
    guard: Guard,
    lines: Lines,
}

impl Trial {
    fn start(stranger: Node<'_>) -> Self {
        let target = BEHIND.to_string();
        let words = ["ping", "-n", "-i", "0.002", &target];
        let mut command = stranger.place().command(words).unwrap();
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut guard = Guard::new(command.spawn().unwrap());
        let lines = Lines::of(guard.stdout().unwrap());
        Self { guard, lines }
    }

    /// Ends it: not a single packet got through.
    #[track_caller]
    fn assert_in_vain(mut self) {
        let process = ProcessId::of(self.guard.pid()).unwrap();
        process.signal(Signal::SIGINT).unwrap();
        self.guard.wait(LIMIT).unwrap();
        let lines = self.lines.complete(LIMIT).unwrap();
        let passed = lines.iter().filter(|line| line.contains(" bytes from "));
        assert_eq!(passed.count(), 0, "{:?}", lines.last());
        let sent = lines
            .iter()
            .find_map(|line| line.split_once(" packets transmitted"));
        assert!(sent.unwrap().0.parse::<u32>().unwrap() > 10, "{lines:?}");
    }
}

fn forwarding(node: Node<'_>, device: &str) -> String {
    let value = node.shell(&format!("cat /proc/sys/net/ipv4/conf/{device}/forwarding"));
    value.trim().to_owned()
}

fn set_router(node: Node<'_>, value: u8) {
    node.shell(&format!("sysctl -qw net.ipv4.ip_forward={value}"));
}

/// Waits until the stranger gets through, or does not, which a change of the node's owner has led to.
#[track_caller]
fn soon(stranger: Node<'_>, wanted: bool, what: &str) {
    let look = || {
        if passes(stranger) == wanted {
            Ok(())
        } else {
            Err("not yet")
        }
    };
    in_time(Instant::now(), 2 * SOON, what, look).unwrap();
}

/// Tries it once, and for a moment only.
fn ping_once(node: Node<'_>, address: Ipv4Addr) -> Output {
    let target = address.to_string();
    let words = ["ping", "-n", "-c", "1", "-W", "0.2", &target];
    node.pod("red").exec(words).unwrap()
}

fn reaches(node: Node<'_>, address: Ipv4Addr) -> Result<(), Output> {
    let output = ping_once(node, address);
    if output.ok() { Ok(()) } else { Err(output) }
}

/// Pods reach each other from node to node, and the internet.
#[track_caller]
fn pods_reach_all(lab: &Lab, red: Ipv4Addr, blue: Ipv4Addr) {
    let [node1, node2, _] = nodes(lab);
    node1.pod("red").ping(blue).unwrap();
    node2.pod("blue").ping(red).unwrap();
    node1.pod("red").ping(lab.internet().address()).unwrap();
    node1.pod("red").ping(BEHIND).unwrap();
}

fn drop_rules(node: Node<'_>) -> String {
    node.shell("iptables -S PODNET-FORWARD | grep -- '-j DROP' || true")
}

#[test]
fn a_host_that_is_no_router_is_none_for_strangers_at_any_time() {
    let lab = scene();
    let [node1, node2, stranger] = nodes(&lab);
    // What is looked for is there to be found.
    set_router(node1, 1);
    assert!(passes(stranger));
    set_router(node1, 0);
    node1.shell("echo 1 > /proc/sys/net/ipv4/conf/all/accept_redirects");
    assert!(!passes(stranger));
    let before = Snapshot::kernel(node1);

    let trial = Trial::start(stranger);
    let invitation = found(node1);
    node2.join(&invitation, node1).unwrap();
    node1.ready(1);
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    pods_reach_all(&lab, red, blue);
    assert_eq!(forwarding(node1, "all"), "0", "podnet makes no router");
    assert_eq!(drop_rules(node1).lines().count(), 2, "eth0 and lan0");

    // A new agent finds all as it should be.
    node1.kill().unwrap();
    node1.start().unwrap();
    let status = node1.ready(1);
    assert_eq!(status.reconcile.operations_total, 0, "{status:?}");
    pods_reach_all(&lab, red, blue);

    // Others who close a device, or take the rules, are made up for.
    node1.shell("echo 0 > /proc/sys/net/ipv4/conf/eth0/forwarding");
    in_time(
        Instant::now(),
        SOON,
        "opened again",
        || match &*forwarding(node1, "eth0") {
            "1" => Ok(()),
            other => Err(other.to_owned()),
        },
    )
    .unwrap();
    node1.remove_pod("red");
    node2.leave();
    node1.ready(0);
    let left = node1.ctl(["--yes", "leave"]).unwrap();
    let left = left.success("leave").unwrap().stdout;
    assert!(!left.contains("left:"), "{left}");
    trial.assert_in_vain();
    before.assert_same(&Snapshot::kernel(node1), "leave");
}

#[test]
fn whoever_declares_the_host_a_router_decides_who_passes() {
    let lab = scene();
    let [node1, node2, stranger] = nodes(&lab);
    let invitation = found(node1);
    node2.join(&invitation, node1).unwrap();
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    for _twice in 0..2 {
        set_router(node1, 1);
        soon(stranger, true, "the guard has gone");
        // As Docker does when it makes the host a router.
        node1.shell("iptables -P FORWARD DROP");
        assert!(!passes(stranger), "the owner's rules");
        pods_reach_all(&lab, red, blue);
        node1.shell("iptables -P FORWARD ACCEPT");
        assert!(passes(stranger), "the owner's rules");

        set_router(node1, 0);
        let trial = Trial::start(stranger);
        let reached = || reaches(node1, blue);
        in_time(Instant::now(), SOON, "pods reach each other", reached).unwrap();
        pods_reach_all(&lab, red, blue);
        trial.assert_in_vain();
    }

    // What is open because of the owner stays open, and is named.
    set_router(node1, 1);
    soon(stranger, true, "the guard has gone");
    node1.remove_pod("red");
    node2.leave();
    node1.ready(0);
    let left = node1.ctl(["--yes", "leave"]).unwrap();
    let left = left.success("leave").unwrap().stdout;
    for device in ["eth0", "lan0"] {
        let what = format!(
            "net.ipv4.conf.{device}.forwarding: it stays 1, since net.ipv4.ip_forward is 1"
        );
        assert!(left.contains(&format!("left: {what}\n")), "{left}");
        let problems = node1.problems_told();
        assert!(problems.contains(&what), "{problems}");
    }
    assert!(passes(stranger), "as its owner wants it");
}

/// As where Docker was started first: the host is a router, and drops what nobody accepts.
#[test]
fn a_host_that_is_a_router_already_stays_as_it_is() {
    let lab = scene();
    let [node1, node2, stranger] = nodes(&lab);
    set_router(node1, 1);
    node1.shell("iptables -P FORWARD DROP");
    let before = Snapshot::kernel(node1);
    let invitation = found(node1);
    node2.join(&invitation, node1).unwrap();
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    pods_reach_all(&lab, red, blue);
    assert!(!passes(stranger));
    assert_eq!(drop_rules(node1), "");

    // Nor does a pod's address let a stranger through to others.
    let arrived = || {
        let counters = node1.shell("ip netns exec behind cat /proc/net/snmp");
        counters
            .lines()
            .filter(|line| line.starts_with("Icmp:"))
            .nth(1)
            .map(str::to_owned)
    };
    stranger.shell("ip address add 10.244.0.77/32 dev lo");
    let forge = || {
        let target = BEHIND.to_string();
        let words = [
            "ping",
            "-c",
            "3",
            "-i",
            "0.05",
            "-W",
            "1",
            "-I",
            "10.244.0.77",
            &target,
        ];
        stranger.exec(words).unwrap();
    };
    let unforged = arrived();
    forge();
    assert_eq!(arrived(), unforged);
    node1.shell("iptables -P FORWARD ACCEPT");
    forge();
    assert_ne!(
        arrived(),
        unforged,
        "what is looked for is there to be found"
    );
    node1.shell("iptables -P FORWARD DROP");

    node1.remove_pod("red");
    node2.leave();
    node1.ready(0);
    let left = node1.ctl(["--yes", "leave"]).unwrap();
    assert!(!left.success("leave").unwrap().stdout.contains("left:"));
    before.assert_same(&Snapshot::kernel(node1), "leave");
}

/// A device that comes later is opened to pods, and to them alone; one that its owner opened is his.
#[test]
fn devices_that_come_later_are_opened_to_pods() {
    let lab = scene();
    let [node1, node2, stranger] = nodes(&lab);
    node1.shell("for d in eth0 lan0; do echo 1 > /proc/sys/net/ipv4/conf/$d/forwarding; done");
    assert!(passes(stranger), "the owner has opened both");
    let invitation = found(node1);
    node2.join(&invitation, node1).unwrap();
    node1.add_pod("red");
    assert_eq!(drop_rules(node1), "");
    assert!(passes(stranger), "as its owner wants it");

    attach_network(node1, "vpn0", "far", "10.98.0");
    let far = Ipv4Addr::new(10, 98, 0, 2);
    let reached = || reaches(node1, far);
    in_time(
        Instant::now(),
        2 * SOON,
        "a network that came later",
        reached,
    )
    .unwrap();
    assert_eq!(
        drop_rules(node1),
        "-A PODNET-FORWARD -i vpn0 ! -o podnet0 -j DROP\n"
    );
    let words = [
        "ip",
        "netns",
        "exec",
        "far",
        "ping",
        "-c",
        "1",
        "-W",
        "1",
        "10.99.0.2",
    ];
    assert!(
        !node1.exec(words).unwrap().ok(),
        "by a device that podnet opened"
    );
    // No address tells of this one, only a route.
    node1.shell(
        "ip link add tun0 type veth peer name tun1; ip link set tun1 up; ip link set tun0 up; \
         ip route add 10.97.0.0/24 dev tun0",
    );
    eventually(LIMIT, "opened", || match &*forwarding(node1, "tun0") {
        "1" => Ok(()),
        other => Err(other.to_owned()),
    })
    .unwrap();
    node1.shell("ip link del tun0");

    node1.remove_pod("red");
    node2.leave();
    node1.ready(0);
    node1.leave();
    let devices = ["eth0", "lan0", "vpn0", "all"].map(|device| forwarding(node1, device));
    assert_eq!(devices, ["1", "1", "0", "0"]);
}
