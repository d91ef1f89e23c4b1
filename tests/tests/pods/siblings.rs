//! What pods of one node can do to one another: frames as a hostile pod sends them, and what of them the
//! others see.

mod held;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;

use podnet_lab::capture::Capture;
use podnet_lab::prelude::*;
use podnet_proto::api::HeldBy;
use tempfile::TempDir;

use super::frame::{ARP, Frame, IPV4, arp_question, echo_reply, forged_macs, redirect, send, udp};
use crate::stage::cluster;

/// The programs of a host that has no `nft`; it goes with its guard.
fn without_nft() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for from in ["/usr/sbin", "/sbin"] {
        for program in fs::read_dir(from).into_iter().flatten() {
            let program = program.unwrap();
            let name = program.file_name();
            let link = dir.path().join(&name);
            if name.to_string_lossy().starts_with("iptables") && !link.is_symlink() {
                symlink(program.path(), link).unwrap();
            }
        }
    }
    dir
}

/// A cluster whose pods are held by the bridge alone, since the agents find no `nft`.
fn cluster_of_bridges(nodes: u8) -> (Cluster, TempDir) {
    let programs = without_nft();
    let path = programs.path().to_str().unwrap();
    let lab = Cluster::made_of(looking_every(OFTEN, nodes).env("PATH", path));
    let node = first(&lab);
    until("a node without nft", &held(HeldBy::Bridge), || {
        held_by(node)
    });
    (lab, programs)
}

/// By what pods are held, and whether something is said about it.
fn held_by(node: Node<'_>) -> (Option<HeldBy>, bool) {
    let status = node.status();
    (status.held_by, status.held_reason.is_some())
}

fn held(by: HeldBy) -> (Option<HeldBy>, bool) {
    (Some(by), by == HeldBy::Bridge)
}

/// A host end of a pod.
fn host_end(pod: &api::Pod) -> &str {
    &pod.host_ifname
}

fn mac(pod: &api::Pod) -> &str {
    &pod.mac
}

/// Frames from one pod to another, with nothing forged.
fn frame<'a>(from: &'a api::Pod, to: &'a api::Pod) -> Frame<'a> {
    Frame {
        from: mac(from),
        to: mac(to),
        kind: IPV4,
        payload: udp(from.address(), to.address()),
    }
}

/// Sends frames from a pod, and reports which of the words of `tcpdump` another's host end shows until a
/// last frame, which all ports get, has come there.
fn seen_at(node: Node<'_>, at: &api::Pod, sender: &str, frames: &[Frame<'_>]) -> Vec<String> {
    let own = node.show_pod(sender);
    let capture = node.capture(host_end(at), "udp port 9").unwrap();
    until_last(node, capture, &own, frames)
}

/// The same of all that comes from the pod's own link-layer address, but for true answers by ARP.
fn seen_from(node: Node<'_>, at: &api::Pod, own: &api::Pod, frames: &[Frame<'_>]) -> Vec<String> {
    let filter = format!(
        "ether src {} and (udp port 9 or arp[6:2] = 2 or ip6)",
        mac(own)
    );
    let capture = node.capture(host_end(at), &filter).unwrap();
    let truth = format!("Reply {} is-at {}", own.address(), mac(own));
    let mut lines = until_last(node, capture, own, frames);
    lines.retain(|line| !line.contains(&truth));
    lines
}

fn until_last(
    node: Node<'_>,
    capture: Capture,
    own: &api::Pod,
    frames: &[Frame<'_>],
) -> Vec<String> {
    let sender = own.name.as_str();
    send(node, sender, frames);
    let last = Frame {
        from: mac(own),
        to: "ff:ff:ff:ff:ff:ff",
        kind: IPV4,
        payload: udp(own.address(), "255.255.255.255".parse().unwrap()),
    };
    send(node, sender, &[last]);
    let is_last = |line: &str| line.contains("> 255.255.255.255");
    capture.wait_for(LIMIT, "the last frame", is_last).unwrap();
    let mut lines = packets(capture);
    lines.retain(|line| !is_last(line));
    lines
}

/// All that a capture has.
fn packets(capture: Capture) -> Vec<String> {
    let lines = capture.stop().unwrap().into_iter();
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn what_is_for_one_pod_reaches_no_other() {
    let (bridges, _programs) = cluster_of_bridges(1);
    for lab in [&cluster(1), &bridges] {
        reaches_no_other(first(lab));
    }
}

fn reaches_no_other(node: Node<'_>) {
    let [red, green, blue] = ["red", "green", "blue"].map(|name| node.add_pod(name));
    // Blue has never said a word.
    let for_blue = [frame(&red, &blue)];
    let at_green = seen_at(node, &green, "red", &for_blue);
    assert_eq!(at_green, [""; 0]);
    assert_eq!(seen_at(node, &blue, "red", &for_blue).len(), 1);
    // The host speaks to it, too.
    let capture = node.capture(host_end(&green), "icmp").unwrap();
    node.place().ping(blue.address()).unwrap();
    assert_eq!(packets(capture), [""; 0]);
}

#[test]
fn a_forged_mac_address_diverts_nothing_and_fills_no_table() {
    let (bridges, _programs) = cluster_of_bridges(1);
    for lab in [&cluster(1), &bridges] {
        diverts_nothing(first(lab));
    }
}

fn diverts_nothing(node: Node<'_>) {
    let [red, green, blue] = ["red", "green", "blue"].map(|name| node.add_pod(name));
    let entries = || node.shell("bridge fdb show br podnet0").lines().count();
    let before = entries();
    let forged = Frame {
        from: mac(&blue),
        ..frame(&green, &red)
    };
    assert_eq!(seen_at(node, &red, "green", &[forged]), [""; 0]);
    let for_blue = [frame(&red, &blue)];
    assert_eq!(seen_at(node, &green, "red", &for_blue), [""; 0]);
    assert_eq!(seen_at(node, &blue, "red", &for_blue).len(), 1);
    forged_macs(node, "green", mac(&red), 10_000);
    let after = entries();
    assert!(after <= before, "{after} entries instead of {before}");
    node.pod("red").ping(blue.address()).unwrap();
}

#[test]
fn what_a_pod_sends_from_elsewhere_leaves_no_node() {
    let (bridges, _programs) = cluster_of_bridges(2);
    for lab in [&cluster(2), &bridges] {
        leaves_no_node(lab);
    }
}

fn leaves_no_node(lab: &Lab) {
    let node = first(lab);
    let green = node.add_pod("green");
    let far = lab.node("node2").unwrap().add_pod("far");
    let gateway = "0a:70:0a:f4:00:01";
    assert_eq!(
        node.shell("cat /sys/class/net/podnet0/address").trim(),
        gateway
    );
    let from = |source: &str| Frame {
        from: mac(&green),
        to: gateway,
        kind: IPV4,
        payload: udp(source.parse().unwrap(), far.address()),
    };
    let capture = node.capture("eth0", "udp port 9").unwrap();
    let own = green.address().to_string();
    send(
        node,
        "green",
        &[from("192.0.2.77"), from("10.244.9.9"), from(&own)],
    );
    let line = capture.wait_for(LIMIT, "a datagram of green", |line| line.contains(&own));
    line.unwrap();
    let lines = packets(capture);
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

#[test]
fn what_is_for_reserved_addresses_goes_by_no_rule() {
    let (bridges, _programs) = cluster_of_bridges(1);
    // The bridge knows no addresses of pods, and the host takes only those of pods from it.
    let blue = "10.244.0.3".parse().unwrap();
    let elsewhere = "192.0.2.77".parse().unwrap();
    goes_by_no_rule(first(&cluster(1)), &[blue, elsewhere]);
    goes_by_no_rule(first(&bridges), &[elsewhere]);
}

fn goes_by_no_rule(node: Node<'_>, forged: &[Ipv4Addr]) {
    let [green, blue] = ["green", "blue"].map(|name| node.add_pod(name));
    let gateway = "10.244.0.1".parse().unwrap();
    let datagram = |to, source| Frame {
        from: mac(&green),
        to,
        kind: IPV4,
        payload: udp(source, gateway),
    };
    let reserved: Vec<String> = (0..16)
        .map(|last| format!("01:80:c2:00:00:{last:02x}"))
        .collect();
    let mut frames = Vec::new();
    for to in &reserved {
        frames.extend(forged.iter().map(|source| datagram(to, *source)));
        frames.push(Frame {
            kind: ARP,
            payload: arp_question(mac(&green), blue.address(), gateway),
            ..datagram(to, blue.address())
        });
    }
    frames.push(datagram("0a:70:0a:f4:00:01", green.address()));
    // Nobody listens: each that arrives is counted.
    let arrived = || -> u32 {
        let columns = "awk '/^Udp:/ { row++; if (row == 2) print $3 }' /proc/net/snmp";
        node.shell(columns).trim().parse().unwrap()
    };
    let before = arrived();
    send(node, "green", &frames);
    until("the one datagram that is not forged", &true, || {
        arrived() > before
    });
    assert_eq!(arrived(), before + 1);
    let learnt = node.shell(&format!("ip neighbour show dev {}", host_end(&green)));
    assert_eq!(learnt, "");
}

#[test]
fn a_host_that_loses_nft_holds_whoever_comes_and_leaves_nothing() {
    let lab = cluster(1);
    let node = first(&lab);
    let [red, green] = ["red", "green"].map(|name| node.add_pod(name));
    until("a node with nft", &held(HeldBy::Nftables), || held_by(node));
    let programs = without_nft();
    node.term().unwrap();
    let path = format!("PATH={}", programs.path().display());
    let agent = node.shell("command -v podnetd");
    let agent = node.spawn(["env", &path, agent.trim()]).unwrap();
    until("an agent", &true, || node.ctl(["status"]).unwrap().ok());
    until("a node without nft", &held(HeldBy::Bridge), || {
        held_by(node)
    });
    // What is in the table counts all the same.
    node.remove_pod("green");
    let again = node.add_pod("green");
    assert_ne!(again.address(), green.address());
    assert_eq!(
        seen_at(node, &red, "green", &[frame(&again, &red)]).len(),
        1
    );
    let forged = Frame {
        payload: udp(green.address(), red.address()),
        ..frame(&again, &red)
    };
    assert_eq!(seen_at(node, &red, "green", &[forged]), [""; 0]);
    node.tell(&["leave", "--yes"]);
    let tables = node.shell("nft list tables");
    assert!(!tables.contains("bridge podnet"), "{tables}");
    drop(agent);
}

#[test]
fn a_node_without_nft_names_what_else_does_not_hold() {
    let (lab, _programs) = cluster_of_bridges(1);
    let node = first(&lab);
    let loose = || {
        let reason = node.status().held_reason.unwrap_or_default();
        reason.contains("net.ipv4.conf.all.rp_filter")
    };
    for value in [0, 2, 1] {
        node.shell(&format!("sysctl -qw net.ipv4.conf.all.rp_filter={value}"));
        until("a reason", &(value == 2), loose);
    }
}

#[test]
fn nobody_redirects_what_a_pod_sends() {
    let lab = cluster(1);
    let node = first(&lab);
    let [red, green] = ["red", "green"].map(|name| node.add_pod(name));
    let there = "10.244.1.2".parse().unwrap();
    let gateway = node.gateway();
    let way = || node.shell("ip -n red route get 10.244.1.2");
    let direct = way();
    assert!(direct.contains("via 10.244.0.1"), "{direct}");
    // The way that it is to take has to be known.
    node.pod("red").ping(green.address()).unwrap();
    let packet = echo_reply(red.address(), there);
    let message = redirect(gateway, red.address(), green.address(), &packet);
    let forged = Frame {
        payload: message,
        ..frame(&green, &red)
    };
    let (again, last) = (forged.clone(), forged.clone());
    send(node, "green", &[forged, again, last]);
    // What is sent after them comes after them.
    node.pod("green").ping(red.address()).unwrap();
    assert_eq!(way(), direct);
}
