//! Giving a block back.

mod relied;
mod waiting;

use podnet_lab::prelude::*;
use serde_json::Value;

/// A pod network of four blocks: what is given back is soon given again.
const INIT: [&str; 3] = ["init", "--pod-cidr", "10.244.0.0/22"];

/// Founds the cluster on the first node.
fn found(lab: &Lab) -> Invitation {
    first(lab).ask(&INIT)
}

/// What `status` tells, but for what counts since the agent's start, and for the boot: a boot that
/// has given its block back is not used again.
fn standing(node: Node<'_>) -> Value {
    let mut status: Value = node.ask(&["status"]);
    status["reconcile"].take();
    status["node"]["boot"].take();
    status
}

/// Pods that are being added when their node begins to leave, or later, do not hold it.
#[test]
fn a_node_leaves_while_pods_are_added() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let invitation = found(&lab);
    let before = Snapshot::kernel(node2);
    for round in 0..3 {
        node2.join(&invitation, node1).unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                scope.spawn(move || {
                    let pod = format!("pod{number}");
                    let added = node2.ctl_json(&["pod", "add", &pod], "").unwrap();
                    assert!(matches!(added.code, 0 | 5), "round {round}: {added}");
                    let refused = || node2.ctl_json(&["pod", "add", "late"], "").unwrap();
                    if added.code == 5 {
                        assert_eq!(refused().code, 5, "round {round}");
                    }
                });
            }
            node2.leave();
        });
        assert_eq!(node2.status().phase, Phase::Idle, "round {round}");
        before.assert_same(&Snapshot::kernel(node2), "a node that has left");
    }
}

#[test]
fn a_node_that_leaves_is_as_before_it_joined() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    let invitation = found(&lab);
    node2.join(&invitation, node1).unwrap();
    // What others have there too, which is none of podnet's business.
    node3.shell(
        "iptables -N OTHERS; iptables -A FORWARD -s 198.51.100.0/24 -j OTHERS; \
         iptables -t nat -A POSTROUTING -s 198.51.100.0/24 -j MASQUERADE; \
         iptables-legacy -A FORWARD -s 198.51.100.0/24 -j ACCEPT; \
         ip link add other0 type bridge; ip rule add from 198.51.100.0/24 table 77; \
         ip route add 198.51.100.0/24 via 192.168.56.1 proto static",
    );
    let (kernel, idle) = (Snapshot::kernel(node3), standing(node3));
    let id = node3.status().node.id;

    let mut blocks = Vec::new();
    for round in 0..3 {
        node3.join(&invitation, node1).unwrap();
        let own = node3.block();
        node1.ready(2);
        let changed = [
            "IPv4 routes",
            "addresses",
            "iptables",
            "iptables, the other variant",
            "links",
            "sysctls",
        ];
        let sections = kernel.changed(&Snapshot::kernel(node3));
        assert!(
            changed.iter().all(|section| sections.contains(section)),
            "{sections:?}"
        );
        let pod = node3.add_pod("green").address();
        node1.place().ping(pod).unwrap();

        node3.leave();
        assert_eq!(standing(node3), idle, "round {round}");
        assert_eq!(node3.status().node.id, id);
        kernel.assert_same(&Snapshot::kernel(node3), &format!("leave, round {round}"));
        for name in ["cluster", "ledger", "peers"] {
            assert!(!node3.state_dir().join(name).exists(), "{name}");
        }
        for peer in [node1, node2] {
            peer.status_where("one peer", |status| status.peers.len() == 1);
            // The route goes with the pass that follows.
            eventually(
                LIMIT,
                &format!("{}: no route to {own}", peer.name()),
                || {
                    let routes = peer.routes();
                    let mut routes = routes.into_iter();
                    let routed = routes.find(|route| route.destination == own);
                    routed.map_or(Ok(()), |route| Err(format!("{route:?}")))
                },
            )
            .unwrap();
            assert_eq!(peer.shell(&format!("ip route show {own}")), "");
        }
        blocks.push(own);
    }
    // What was never used comes first, then what was given back longest ago.
    let blocks: Vec<String> = blocks.iter().map(ToString::to_string).collect();
    assert_eq!(blocks, ["10.244.2.0/24", "10.244.3.0/24", "10.244.2.0/24"]);
    assert_eq!(node3.leave().phase, Phase::Idle, "nothing to do");
}

#[test]
fn pods_stand_in_the_way_unless_they_may_be_removed() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    node2.join(&found(&lab), node1).unwrap();
    node2.add_pod("blue");
    let before = Snapshot::whole(node2);

    refused(node2, &["leave"], ErrorCode::Usage);
    let response = node2.http("POST", "/v1/leave", "{}");
    assert_eq!(
        (response.status, &response.body["code"]),
        (409, &"exists".into())
    );
    for (typed, code, told) in [("y", 5, "blue"), ("n", 2, "not confirmed")] {
        let words = ["script", "-qec", "podnetctl leave", "/dev/null"];
        let output = node2
            .exec_with(words, &format!("{typed}\n"), LIMIT)
            .unwrap();
        assert_eq!(output.code, code, "{typed}: {output}");
        assert!(output.stdout.contains(told), "{typed}: {output}");
    }
    before.assert_same(&Snapshot::whole(node2), "leave with a pod");
    assert_eq!(node2.status().phase, Phase::Ready);

    node2.leave();
    assert_eq!(node2.shell("ls /run/netns"), "", "the namespace of the pod");
    assert_eq!(node2.pods(), []);
}

#[test]
fn the_founder_leaves_last() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    // A host that forwards already goes on to.
    node1.shell("sysctl -q -w net.ipv4.ip_forward=1");
    let (kernel, idle) = (Snapshot::kernel(node1), standing(node1));
    node2.join(&found(&lab), node1).unwrap();
    node1.ready(1);
    let member = Snapshot::whole(node1);
    let refusal = refused(node1, &["--yes", "leave"], ErrorCode::NoQuorum);
    assert!(refusal.hint.contains("leave"), "{refusal:?}");
    member.assert_same(&Snapshot::whole(node1), "refused leave");
    assert_eq!(node1.status().phase, Phase::Ready);

    node2.leave();
    node1.ready(0);
    assert_eq!(node1.leave().phase, Phase::Idle);
    assert_eq!(standing(node1), idle);
    kernel.assert_same(&Snapshot::kernel(node1), "leave of the founder");

    let invitation = found(&lab);
    node2.join(&invitation, node1).unwrap();
    assert_eq!(node1.block().to_string(), "10.244.0.0/24", "a new cluster");
}

#[test]
fn a_node_that_has_left_joins_another_cluster_and_the_first_again() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    let invitations = [node1, node2].map(|founder| {
        let invitation: Invitation = founder.ask(&INIT);
        (founder, invitation)
    });
    let cluster = |node: Node<'_>| node.status().cluster.unwrap().id;
    let clusters = [node1, node2].map(cluster);
    assert_ne!(clusters[0], clusters[1]);
    let kernel = Snapshot::kernel(node3);
    for index in [0, 1, 0] {
        let (founder, invitation) = &invitations[index];
        node3.join(invitation, *founder).unwrap();
        node3.ready(1);
        assert_eq!(cluster(node3), clusters[index]);
        let pod = node3.add_pod("green").address();
        founder.place().ping(pod).unwrap();
        node3.leave();
        kernel.assert_same(&Snapshot::kernel(node3), "leave");
        founder.ready(0);
    }
}
