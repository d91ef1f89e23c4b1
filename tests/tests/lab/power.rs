//! Nodes that go down and come up again.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::Signal;
use podnet_lab::command::Guard;
use podnet_lab::lines::Lines;
use podnet_lab::{LabError, Node};

use super::{LIMIT, is_gone, lab, podnet_lab};

fn script(node: Node<'_>, script: &str) -> String {
    let output = node.exec(["sh", "-c", script]).unwrap();
    output.success(script).unwrap().stdout
}

/// A process in a node with a mount namespace and a network of its own, as in a pod.
fn stray(node: Node<'_>) -> Guard {
    let words = [
        "ip",
        "netns",
        "exec",
        "red",
        "sh",
        "-c",
        "echo in; exec sleep 600",
    ];
    let mut stray = node.command(words).unwrap();
    let mut stray = Guard::new(stray.stdout(Stdio::piped()).spawn().unwrap());
    let lines = Lines::of(stray.stdout().unwrap());
    lines.wait_for(LIMIT, "start", |line| line == "in").unwrap();
    stray
}

const MARKS: &str = "ip netns add red
    ip link add stray0 type bridge && ip route add 10.9.0.0/16 via 192.168.56.1
    sysctl -qw net.ipv4.ip_forward=1 && nft add table inet stray
    for dir in /run/podnet /run/netns /var/lib/podnet /etc/podnet /etc/cni; do touch $dir/mark; done";
const LOOK: &str = "ip -o link | wc -l; ip -4 -o route | wc -l; nft list ruleset
    cat /proc/sys/net/ipv4/ip_forward; ls /run/podnet /run/netns
    ls /var/lib/podnet /etc/podnet /etc/cni";

#[test]
fn a_reboot_leaves_nothing_but_the_disk_and_the_address() {
    let lab = lab(2);
    let [node1, node2] = ["node1", "node2"].map(|name| lab.node(name).unwrap());
    let fresh = script(node1, LOOK);
    let mac = script(node1, "cat /sys/class/net/eth0/address");
    let boot = fs::read_to_string(node1.boot_id_file()).unwrap();
    let machine = fs::read_to_string(node1.machine_id_file()).unwrap();
    for node in [node1, node2] {
        script(node, MARKS);
    }
    let (mut killed, spared) = (stray(node1), stray(node2));
    let holder = node2.holder().unwrap();

    node1.reboot().unwrap();

    assert_eq!(killed.wait(LIMIT).unwrap(), 137);
    let kept = ["/var/lib/podnet", "/etc/podnet", "/etc/cni"];
    let expected = kept.iter().fold(fresh, |look, dir| {
        look.replace(&format!("{dir}:\n"), &format!("{dir}:\nmark\n"))
    });
    assert_eq!(script(node1, LOOK), expected);
    assert_eq!(script(node1, "cat /sys/class/net/eth0/address"), mac);
    assert_eq!(script(node1, "hostname"), "node1\n");
    assert_ne!(fs::read_to_string(node1.boot_id_file()).unwrap(), boot);
    assert_eq!(
        fs::read_to_string(node1.machine_id_file()).unwrap(),
        machine
    );
    node1.place().ping(node2.address()).unwrap();
    node1.place().ping(lab.internet().address()).unwrap();

    assert_eq!(node2.holder().unwrap(), holder, "another node");
    assert!(script(node2, LOOK).contains("table inet stray"));
    assert!(
        podnet_lab::process::ProcessId::of(spared.pid())
            .unwrap()
            .alive()
    );
}

#[test]
fn a_reboot_goes_on_where_another_was_killed() {
    let lab = lab(3);
    let [node1, node2, node3] = ["node1", "node2", "node3"].map(|name| lab.node(name).unwrap());
    script(node1, "ip netns add red");
    let mut stray = stray(node1);
    // The holder gone and somebody left behind; unplugged; and half plugged in.
    let holder = node1.holder().unwrap();
    holder.signal(Signal::SIGKILL).unwrap();
    holder.wait_end(LIMIT).unwrap();
    script(lab.router(), "ip link delete node2");
    script(lab.router(), "ip link set node3 nomaster");
    fs::remove_dir_all(node3.run_dir()).unwrap();

    let output = podnet_lab(
        lab.name(),
        &["-o", "json", "reboot", "node1", "node2", "node3"],
    );
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "{}\n"),
        "{output}"
    );
    assert_eq!(stray.wait(LIMIT).unwrap(), 137);
    node1.place().ping(node3.address()).unwrap();
    node2.place().ping(node3.address()).unwrap();
    let name = lab.name().clone();
    lab.down().unwrap();
    assert!(is_gone(&name));
}

#[test]
fn only_nodes_are_rebooted_and_only_from_outside() {
    let lab = lab(1);
    let holder = lab.node("node1").unwrap().holder().unwrap();
    let router = lab.router().reboot();
    assert!(
        matches!(router, Err(LabError::NoMember { .. })),
        "{router:?}"
    );
    lab.router().holder().unwrap();
    for (words, code) in [
        (&["reboot"][..], 2),
        (&["reboot", "node1", "node2"], 4),
        (&["reboot", "internet"], 4),
        (
            &[
                "exec",
                "node1",
                "--",
                "podnet-lab",
                "--lab",
                lab.name().as_str(),
                "reboot",
                "node1",
            ],
            5,
        ),
    ] {
        let output = podnet_lab(lab.name(), words);
        assert_eq!(output.code, code, "{words:?}: {output}");
    }
    assert_eq!(lab.node("node1").unwrap().holder().unwrap(), holder);
}
