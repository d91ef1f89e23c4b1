//! The addresses that a pod is held to, and one that is held to none.

use podnet_lab::prelude::*;

use super::{frame, host_end, mac, seen_at, seen_from};
use crate::frame::{ARP, Frame, IPV6, arp, send, udp};
use crate::stage::cluster;

#[test]
fn a_pod_sends_from_no_address_but_its_own() {
    let lab = cluster(1);
    let node = first(&lab);
    let [red, green, blue] = ["red", "green", "blue"].map(|name| node.add_pod(name));
    assert_eq!(
        seen_at(node, &red, "green", &[frame(&green, &red)]).len(),
        1
    );
    let forged = [
        Frame {
            payload: udp(blue.address(), red.address()),
            ..frame(&green, &red)
        },
        Frame {
            kind: ARP,
            payload: arp(mac(&green), blue.address(), red.address()),
            ..frame(&green, &red)
        },
        Frame {
            kind: ARP,
            payload: arp(mac(&blue), green.address(), red.address()),
            ..frame(&green, &red)
        },
        Frame {
            kind: IPV6,
            payload: vec![0; 46],
            ..frame(&green, &red)
        },
    ];
    assert_eq!(seen_from(node, &red, &green, &forged), [""; 0]);
    // One that is removed and added again is held to its new address, or to none.
    node.remove_pod("green");
    let elements = || node.shell("nft list table bridge podnet");
    // A pass that is under way may have held it once more.
    until("a pod that is let go", &false, || {
        elements().contains(host_end(&green))
    });
    let green = node.add_pod_with("green", &["--trusted"]);
    until("a pod that is not held", &false, || {
        elements().contains(host_end(&green))
    });
    let forged = [
        Frame {
            payload: udp(blue.address(), red.address()),
            ..frame(&green, &red)
        },
        Frame {
            kind: ARP,
            payload: arp(mac(&green), blue.address(), red.address()),
            ..frame(&green, &red)
        },
    ];
    assert_eq!(seen_from(node, &red, &green, &forged).len(), 2);
    node.tell(&["leave", "--yes"]);
    let tables = node.shell("nft list tables");
    assert!(!tables.contains("bridge podnet"), "{tables}");
}

#[test]
fn a_trusted_pod_is_held_to_nothing() {
    let lab = cluster(1);
    let node = first(&lab);
    let [red, blue] = ["red", "blue"].map(|name| node.add_pod(name));
    let words = ["pod", "add", "green", "--trusted"];
    let green: api::Pod = node.ask(&words);
    assert_eq!([green.trusted, red.trusted], [true, false]);
    assert_eq!(node.ask::<api::Pod>(&words), green, "the same again");
    assert_eq!(node.show_pod("green"), green);
    for words in [
        &["pod", "add", "green"][..],
        &["pod", "add", "red", "--trusted"],
    ] {
        refused(node, words, ErrorCode::Exists);
    }
    let other = "02:00:00:00:00:77";
    let from_other = Frame {
        from: other,
        ..frame(&green, &red)
    };
    assert_eq!(seen_at(node, &red, "green", &[from_other]).len(), 1);
    // It hears what is for its other address, and still nothing that is for blue.
    let to_other = Frame {
        to: other,
        ..frame(&red, &green)
    };
    assert_eq!(seen_at(node, &green, "red", &[to_other]).len(), 1);
    let as_blue = Frame {
        from: mac(&blue),
        ..frame(&green, &red)
    };
    send(node, "green", &[as_blue]);
    assert_eq!(seen_at(node, &green, "red", &[frame(&red, &blue)]), [""; 0]);

    // What an administrator sets more strictly stays.
    let port = host_end(&green);
    let strict = format!("bridge link set dev {port} learning off locked on");
    let settings = || node.shell(&format!("bridge -d link show dev {port}"));
    node.shell(&strict);
    let set = settings();
    node.passes(2);
    assert_eq!(settings(), set);
    assert!(
        set.contains("learning off") && set.contains("locked on"),
        "{set}"
    );
    // Another agent finds it as it was left.
    let agent = node.agent().unwrap().unwrap();
    node.kill().unwrap();
    node.start().unwrap();
    until("the pod of the agent before", &green, || {
        node.show_pod("green")
    });
    assert_ne!(node.agent().unwrap().unwrap().pid, agent.pid);
    assert_eq!(node.status().reconcile.operations_total, 0);
}
