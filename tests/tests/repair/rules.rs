//! Firewall rules and kernel parameters.

use podnet_lab::prelude::*;

use crate::scene::{By, SOON, Said, Scene};

/// Deletes the rule by which a built-in chain jumps to podnet's.
fn without_jump(table: &str, chain: &str) -> String {
    let number = format!("{table} -n -L {chain} --line-numbers | awk '/PODNET-/ {{print $1}}'");
    format!("{table} -D {chain} $({number})")
}

fn said(found: &str, by: By) -> Said<'_> {
    let op = "set firewall rules";
    Said { op, found, by }
}

#[test]
fn rules_of_the_nft_variant_come_back_at_once() {
    let scene = Scene::told();
    let iptables = By::Program("iptables");
    let restore = By::Program("iptables-restor");
    scene.put_back(
        "iptables -F PODNET-FORWARD",
        said("other rules in PODNET-FORWARD of iptables-nft", iptables),
    );
    scene.put_back(
        "iptables -t nat -F PODNET-POSTROUTING",
        said("other rules in PODNET-POSTROUTING", iptables),
    );
    scene.put_back(
        "iptables -D PODNET-FORWARD 1",
        said("other rules in PODNET-FORWARD", iptables),
    );
    scene.put_back(
        "iptables -I PODNET-FORWARD -j DROP",
        said("other rules in PODNET-FORWARD", iptables),
    );
    for (table, chain) in [("iptables", "FORWARD"), ("iptables -t nat", "POSTROUTING")] {
        let found = format!("0 jumps from {chain} to PODNET-{chain}");
        scene.put_back(&without_jump(table, chain), said(&found, iptables));
    }
    scene.put_back(
        "iptables -I FORWARD -m comment --comment podnet -j PODNET-FORWARD",
        said("2 jumps from FORWARD", iptables),
    );
    // All in one transaction, or podnet would be quicker than the next command.
    scene.put_back(
        "printf '*nat\\n-D POSTROUTING -m comment --comment podnet -j PODNET-POSTROUTING\\n\
         -F PODNET-POSTROUTING\\n-X PODNET-POSTROUTING\\nCOMMIT\\n' | iptables-restore -n",
        said("no chain PODNET-POSTROUTING", restore),
    );
}

#[test]
fn pods_are_held_again_at_once() {
    let scene = Scene::told();
    let port = &scene.red.host_ifname;
    let let_go = format!("delete element bridge podnet ports '{{ {port} }}'");
    let mac = &scene.red.mac;
    let let_more =
        format!("add element bridge podnet sources '{{ {port} . {mac} . 10.244.0.99 }}'");
    let table = "set table bridge podnet";
    for (change, op, found) in [
        ("delete table bridge podnet", table, "no table"),
        ("flush chain bridge podnet from_pods", table, "other rules"),
        ("flush set bridge podnet sources", "hold pn", "no source"),
        (&let_go, "hold pn", "not held"),
        (&let_more, table, "a source 10.244.0.99"),
    ] {
        let said = Said {
            op,
            found,
            by: By::Program("nft"),
        };
        scene.put_back(&format!("nft {change}"), said);
    }
}

/// What others lose by that is theirs to put back.
#[test]
fn rules_come_back_when_all_are_flushed() {
    let scene = Scene::told();
    let iptables = By::Program("iptables");
    scene.put_back_own("iptables -F", said("0 jumps from FORWARD", iptables));
    scene.put_back_own(
        "iptables -t nat -F",
        said("0 jumps from POSTROUTING", iptables),
    );
    scene.put_back_own(
        "nft flush ruleset",
        said("no chain PODNET-FORWARD", By::Program("nft")),
    );
}

/// The kernel tells of no change of the legacy tables, nor of most parameters: the resync finds them.
#[test]
fn what_the_kernel_does_not_tell_of_comes_back_at_the_resync() {
    let scene = Scene::untold();
    let unknown = By::Unknown;
    scene.put_back(
        "iptables-legacy -F PODNET-FORWARD",
        said("other rules in PODNET-FORWARD of iptables-legacy", unknown),
    );
    scene.put_back(
        "iptables-legacy -I PODNET-FORWARD -j DROP",
        said("other rules in PODNET-FORWARD of iptables-legacy", unknown),
    );
    scene.put_back(
        &without_jump("iptables-legacy", "FORWARD"),
        said("0 jumps from FORWARD", unknown),
    );
    scene.put_back_own(
        "iptables-legacy -F; iptables-legacy -X PODNET-FORWARD",
        said("no chain PODNET-FORWARD in iptables-legacy", unknown),
    );
    let inside = |found| Said {
        op: "repair pod red",
        found,
        by: unknown,
    };
    // A pod's own namespace tells the host of nothing but its carrier.
    scene.put_back(
        "ip -n red address flush dev eth0",
        inside("eth0 without address"),
    );
    scene.put_back("ip -n red route del default", inside("no default route"));
    scene.put_back(
        "ip -n red neighbour del 10.244.0.1 dev eth0",
        inside("no neighbour 10.244.0.1"),
    );
    scene.put_back("ip -n red link set eth0 mtu 1200", inside("MTU 1200"));
    scene.put_back(
        "ip -n red link set eth0 address 02:00:00:00:00:02",
        inside("02:00:00:00:00:02"),
    );
}

#[test]
fn parameters_of_our_links_come_back_at_the_resync() {
    let scene = Scene::untold();
    let host_end = "ip -o link show group 113 | grep -o 'pn[^@]*' | head -1";
    let host_end = scene.node().shell(host_end).trim().to_owned();
    for (place, parameter, right, wrong) in [
        (
            "ip netns exec red",
            "net.ipv6.conf.eth0.accept_dad",
            "0",
            "1",
        ),
        (
            "ip netns exec red",
            "net.ipv6.conf.eth0.accept_ra",
            "0",
            "2",
        ),
        (
            "ip netns exec red",
            "net.ipv6.conf.eth0.disable_ipv6",
            "1",
            "0",
        ),
        ("", "net.ipv6.conf.podnet0.accept_ra", "0", "2"),
        ("", "net.ipv4.conf.podnet0.promote_secondaries", "1", "0"),
        ("", "net.ipv6.conf.podnet0.addr_gen_mode", "1", "0"),
        (
            "",
            &format!("net.ipv6.conf.{host_end}.addr_gen_mode"),
            "1",
            "0",
        ),
    ] {
        let value = || {
            scene
                .node()
                .shell(&format!("{place} sysctl -n {parameter}"))
        };
        assert_eq!(value().trim(), right, "{parameter}");
        let found = if parameter.ends_with("addr_gen_mode") {
            "with link-local addresses".to_owned()
        } else {
            format!("{parameter} = {wrong}")
        };
        let said = Said {
            op: if parameter.contains("podnet0") {
                "update bridge podnet0"
            } else {
                "repair pod "
            },
            found: &found,
            by: By::Unknown,
        };
        scene.put_back(&format!("{place} sysctl -qw {parameter}={wrong}"), said);
        eventually(SOON, parameter, || match value().trim() {
            value if value == right => Ok(()),
            value => Err(value.to_owned()),
        })
        .unwrap();
    }
}

fn opened(op: &str) -> Said<'_> {
    Said {
        op,
        found: "0",
        by: By::Unknown,
    }
}

/// Forwarding is one of the few parameters that the kernel tells of.
#[test]
fn forwarding_comes_back_at_once() {
    let scene = Scene::told();
    for device in ["eth0", "lan"] {
        let closed = format!("sysctl -q -w net.ipv4.conf.{device}.forwarding=0");
        let op = format!("set net.ipv4.conf.{device}.forwarding to 1");
        scene.put_back(&closed, opened(&op));
    }
    let bridge = Said {
        op: "update bridge podnet0",
        found: "net.ipv4.conf.podnet0.forwarding = 0",
        by: By::Unknown,
    };
    scene.put_back("sysctl -q -w net.ipv4.conf.podnet0.forwarding=0", bridge);
    // Whoever makes the host a router and none again closes every device.
    for switch in ["ip_forward", "conf.all.forwarding"] {
        let flipped = format!("sysctl -q -w net.ipv4.{switch}=1 net.ipv4.{switch}=0");
        scene.put_back(&flipped, opened("set net.ipv4.conf.eth0.forwarding to 1"));
    }
}
