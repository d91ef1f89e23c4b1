//! Giving a block back.

use std::time::Duration;

use nix::sys::signal::Signal;
use podnet_lab::process::ProcessId;
use podnet_lab::{Invitation, Lab, Node, eventually};
use serde_json::Value;

use crate::rights::start_without;
use crate::scene::{
    LIMIT, add_pod, ask, block, builder, ctl, http, idle, list, nodes, ready, refused,
    refused_with, shell, status, status_where, text,
};
use crate::snapshot::Snapshot;

/// A pod network of four blocks: what is given back is soon given again.
const INIT: [&str; 3] = ["init", "--pod-cidr", "10.244.0.0/22"];

/// How often agents look at what others may have changed.
const RESYNC: Duration = Duration::from_secs(1);

/// Founds the cluster on the first node.
fn found(lab: &Lab) -> Invitation {
    let founded = ask(lab.node("node1").unwrap(), &INIT);
    Invitation {
        token: text(&founded["token"]).to_owned(),
    }
}

/// What `status` tells, but for what counts since the agent's start, and for the boot: a boot that
/// has given its block back is not used again.
fn standing(node: Node<'_>) -> Value {
    let mut status = status(node);
    status["reconcile"].take();
    status["node"]["boot"].take();
    status
}

/// Waits until a node is idle, and stands as it did in an earlier process.
#[track_caller]
fn assert_becomes(node: Node<'_>, idle: &Value) {
    status_where(node, "idle", |status| status["phase"] == "idle");
    let mut now = standing(node);
    now["node"]["instance"] = idle["node"]["instance"].clone();
    assert_eq!(now, *idle);
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
                    let added = ctl(node2, &["pod", "add", &pod], "").unwrap();
                    assert!(matches!(added.code, 0 | 5), "round {round}: {added}");
                    let refused = || ctl(node2, &["pod", "add", "late"], "").unwrap();
                    if added.code == 5 {
                        assert_eq!(refused().code, 5, "round {round}");
                    }
                });
            }
            ask(node2, &["--yes", "leave"]);
        });
        assert_eq!(status(node2)["phase"], "idle", "round {round}");
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
    shell(
        node3,
        "iptables -N OTHERS; iptables -A FORWARD -s 198.51.100.0/24 -j OTHERS; \
         iptables -t nat -A POSTROUTING -s 198.51.100.0/24 -j MASQUERADE; \
         iptables-legacy -A FORWARD -s 198.51.100.0/24 -j ACCEPT; \
         ip link add other0 type bridge; ip rule add from 198.51.100.0/24 table 77; \
         ip route add 198.51.100.0/24 via 192.168.56.1 proto static",
    );
    let (kernel, idle) = (Snapshot::kernel(node3), standing(node3));
    let id = idle["node"]["id"].clone();

    let mut blocks = Vec::new();
    for round in 0..3 {
        node3.join(&invitation, node1).unwrap();
        let own = block(node3);
        ready(node1, 2);
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
        let pod = add_pod(node3, "green");
        node1.place().ping(pod).unwrap();

        ask(node3, &["--yes", "leave"]);
        assert_eq!(standing(node3), idle, "round {round}");
        assert_eq!(status(node3)["node"]["id"], id);
        kernel.assert_same(&Snapshot::kernel(node3), &format!("leave, round {round}"));
        for name in ["cluster", "ledger", "peers"] {
            assert!(!node3.state_dir().join(name).exists(), "{name}");
        }
        for peer in [node1, node2] {
            status_where(peer, "one peer", |status| list(&status["peers"]).len() == 1);
            // The route goes with the pass that follows.
            eventually(
                LIMIT,
                &format!("{}: no route to {own}", peer.name()),
                || {
                    let routes = ask(peer, &["routes"]);
                    let routed = |route: &&Value| route["destination"] == own.as_str();
                    list(&routes)
                        .iter()
                        .find(routed)
                        .map_or(Ok(()), |route| Err(route.clone()))
                },
            )
            .unwrap();
            assert_eq!(shell(peer, &format!("ip route show {own}")), "");
        }
        blocks.push(own);
    }
    // What was never used comes first, then what was given back longest ago.
    assert_eq!(blocks, ["10.244.2.0/24", "10.244.3.0/24", "10.244.2.0/24"]);
    assert_eq!(
        ask(node3, &["--yes", "leave"])["phase"],
        "idle",
        "nothing to do"
    );
}

#[test]
fn pods_stand_in_the_way_unless_they_may_be_removed() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    node2.join(&found(&lab), node1).unwrap();
    add_pod(node2, "blue");
    let before = Snapshot::whole(node2);

    refused(node2, &["leave"], ("usage", 2));
    let response = http(node2, "POST", "/v1/leave", "{}");
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
    assert_eq!(status(node2)["phase"], "ready");

    ask(node2, &["--yes", "leave"]);
    assert_eq!(
        shell(node2, "ls /run/netns"),
        "",
        "the namespace of the pod"
    );
    assert_eq!(ask(node2, &["pod", "list"]), serde_json::json!([]));
}

#[test]
fn the_founder_leaves_last() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    // A host that forwards already goes on to.
    shell(node1, "sysctl -q -w net.ipv4.ip_forward=1");
    let (kernel, idle) = (Snapshot::kernel(node1), standing(node1));
    node2.join(&found(&lab), node1).unwrap();
    ready(node1, 1);
    let member = Snapshot::whole(node1);
    let refusal = refused(node1, &["--yes", "leave"], ("no_quorum", 1));
    assert!(refusal.hint.contains("leave"), "{refusal:?}");
    member.assert_same(&Snapshot::whole(node1), "refused leave");
    assert_eq!(status(node1)["phase"], "ready");

    ask(node2, &["--yes", "leave"]);
    ready(node1, 0);
    let left = ask(node1, &["--yes", "leave"]);
    assert_eq!(left["phase"], "idle");
    assert_eq!(standing(node1), idle);
    kernel.assert_same(&Snapshot::kernel(node1), "leave of the founder");

    let invitation = found(&lab);
    node2.join(&invitation, node1).unwrap();
    assert_eq!(block(node1), "10.244.0.0/24", "a new cluster");
}

/// What `leave` says for people.
fn leave(node: Node<'_>) -> String {
    let left = node.ctl(["--yes", "leave"]).unwrap();
    left.success("leave").unwrap().stdout
}

#[test]
fn a_kernel_parameter_that_others_rely_on_by_now_stays_and_is_named() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    found(&lab);
    shell(
        node,
        "ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0; \
         ip link set docker0 up; iptables -P FORWARD DROP; \
         iptables -A FORWARD -o docker0 -j ACCEPT",
    );
    let what = "net.ipv4.ip_forward: it stays 1, since docker0 relies on it";
    assert!(leave(node).contains(&format!("left: {what}\n")));
    assert!(node.log().contains(what), "{}", node.log());
    let problems = &status(node)["problems"];
    assert_eq!(problems[0]["message"], what, "{problems}");
    assert_eq!(problems[0]["severity"], "warning", "{problems}");
    assert_eq!(shell(node, "sysctl -n net.ipv4.ip_forward"), "1\n");

    found(&lab);
    assert!(!leave(node).contains("left:"), "as podnet found it");
    shell(node, "ip link del docker0");
    found(&lab);
    assert!(!leave(node).contains("left:"), "as podnet found it");
    assert_eq!(shell(node, "sysctl -n net.ipv4.ip_forward"), "1\n");
    assert_eq!(status(node)["problems"], serde_json::json!([]));
}

#[test]
fn a_chain_that_others_rely_on_by_now_stays_and_is_named() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    found(&lab);
    shell(
        node,
        "iptables -N OTHERS; iptables -A OTHERS -j PODNET-FORWARD",
    );
    let told = leave(node);
    let what = "PODNET-FORWARD in iptables-nft: rules of others jump to it";
    assert!(
        told.contains("left: chain") && told.contains(what),
        "{told}"
    );
    let rules = shell(node, "iptables -S PODNET-FORWARD");
    assert_eq!(rules, "-N PODNET-FORWARD\n", "no rules are left");
    shell(node, "iptables -F OTHERS; iptables -X OTHERS");
    found(&lab);
    assert!(!leave(node).contains("left:"));
    before.assert_same(&Snapshot::kernel(node), "leave");
}

#[test]
fn what_the_kernel_changes_along_with_forwarding_comes_back() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    shell(
        node,
        "ip link add other0 type bridge; ip link add other1 type bridge; \
         cd /proc/sys/net/ipv4/conf; echo 0 > all/accept_redirects; echo 1 > other0/forwarding; \
         echo 1 > other1/forwarding; echo 1 > default/forwarding",
    );
    let before = Snapshot::kernel(node);
    found(&lab);
    assert!(!leave(node).contains("left:"));
    before.assert_same(&Snapshot::kernel(node), "leave");

    // An interface that goes meanwhile leaves nothing that could be put back.
    shell(
        node,
        "ip link add other2 type bridge; echo 1 > /proc/sys/net/ipv4/conf/other2/forwarding",
    );
    found(&lab);
    shell(node, "ip link del other2");
    assert!(!leave(node).contains("left:"));
    before.assert_same(&Snapshot::kernel(node), "leave without an interface");
}

#[test]
fn a_node_that_has_left_joins_another_cluster_and_the_first_again() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    let invitations = [node1, node2].map(|founder| {
        let founded = ask(founder, &INIT);
        let token = text(&founded["token"]).to_owned();
        (founder, Invitation { token })
    });
    let clusters = [node1, node2].map(|node| status(node)["cluster"]["id"].clone());
    assert_ne!(clusters[0], clusters[1]);
    let kernel = Snapshot::kernel(node3);
    for index in [0, 1, 0] {
        let (founder, invitation) = &invitations[index];
        node3.join(invitation, *founder).unwrap();
        assert_eq!(ready(node3, 1)["cluster"]["id"], clusters[index]);
        let pod = add_pod(node3, "green");
        founder.place().ping(pod).unwrap();
        ask(node3, &["--yes", "leave"]);
        kernel.assert_same(&Snapshot::kernel(node3), "leave");
        ready(*founder, 0);
    }
}

#[test]
fn a_leave_that_has_begun_goes_on_through_a_restart() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let (kernel, idle) = (Snapshot::kernel(node2), standing(node2));
    node2.join(&found(&lab), node1).unwrap();
    add_pod(node2, "blue");
    ready(node2, 1);
    // The founder is asked, and says nothing: it has only just been heard of.
    node1.stop().unwrap();
    let words = ["--yes", "--timeout", "2s", "leave"];
    refused(node2, &words, ("timeout", 124));
    assert_eq!(status(node2)["phase"], "leaving");
    node2.kill().unwrap();
    node2.start().unwrap();
    assert_eq!(status(node2)["phase"], "leaving");
    refused(node2, &["pod", "add", "red"], ("not_member", 5));

    node1.cont().unwrap();
    assert_becomes(node2, &idle);
    kernel.assert_same(&Snapshot::kernel(node2), "leave through a restart");
    ready(node1, 0);
}

/// Where a pod cannot be removed, the node is about to leave for as long. A cluster's only member
/// then takes nobody in, whom it would leave without a voter; and its next agent goes on.
#[test]
fn a_leave_that_waits_for_a_pod_goes_on_through_a_restart_and_takes_nobody_in() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let (kernel, idle) = (Snapshot::kernel(node1), standing(node1));
    let other = Snapshot::kernel(node2);
    let invitation = found(&lab);
    for pod in ["red", "green"] {
        add_pod(node1, pod);
    }
    node1.term().unwrap();
    let mut agent = start_without(&lab, node1, "sys_admin");
    ready(node1, 0);
    let words = ["--yes", "--timeout", "2s", "leave"];
    refused(node1, &words, ("timeout", 124));
    let waiting = status(node1);
    assert_eq!(waiting["phase"], "leaving");
    let problems = list(&waiting["problems"]).iter();
    let told: Vec<&str> = problems.map(|problem| text(&problem["message"])).collect();
    for pod in ["red", "green"] {
        let named = format!("pod {pod}: it cannot be removed: ");
        assert!(told.iter().any(|told| told.starts_with(&named)), "{told:?}");
    }
    let join = ["--timeout", "5s", "join", &node1.address().to_string()];
    refused_with(node2, &join, &invitation.token, ("timeout", 124));
    assert_eq!(status(node1)["cluster"]["nodes"], 1);

    let process = ProcessId::of(agent.pid()).unwrap();
    process.signal(Signal::SIGKILL).unwrap();
    agent.wait(LIMIT).unwrap();
    node1.start().unwrap();
    assert_becomes(node1, &idle);
    kernel.assert_same(&Snapshot::kernel(node1), "leave through a restart");
    ask(node2, &["--yes", "leave"]);
    other.assert_same(&Snapshot::kernel(node2), "leave of a node never taken in");
}

/// What keeps a pod is named, and the leaving goes on once it is gone.
#[test]
fn a_leave_that_waits_for_a_pod_goes_on_when_nothing_is_in_its_way_any_more() {
    let lab = builder(1).timing("resync", RESYNC).up().unwrap();
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    found(&lab);
    add_pod(node, "red");
    let host_end = text(&ask(node, &["pod", "show", "red"])["host_ifname"]).to_owned();
    node.term().unwrap();
    shell(
        node,
        &format!("ip link del {host_end}; ip link add {host_end} type bridge"),
    );
    node.start().unwrap();
    ready(node, 0);
    let words = ["--yes", "--timeout", "2s", "leave"];
    refused(node, &words, ("timeout", 124));
    let waiting = status(node);
    assert_eq!(waiting["phase"], "leaving");
    let named = list(&waiting["problems"]).iter().any(|problem| {
        problem["code"] == "foreign_object" && text(&problem["message"]).contains("pod red: it")
    });
    assert!(named, "{waiting}");
    shell(node, &format!("ip link del {host_end}"));
    status_where(node, "idle", |status| status["phase"] == "idle");
    before.assert_same(&Snapshot::kernel(node), "leave");
}

#[test]
fn without_a_majority_nobody_leaves() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    node2.join(&found(&lab), node1).unwrap();
    add_pod(node2, "blue");
    ready(node2, 1);
    node1.kill().unwrap();
    status_where(node2, "no quorum", |status| status["quorum"]["ok"] == false);
    let before = Snapshot::whole(node2);
    refused(node2, &["--yes", "leave"], ("no_quorum", 1));
    before.assert_same(&Snapshot::whole(node2), "refused leave");
    assert_eq!(status(node2)["phase"], "ready");
    assert_eq!(list(&ask(node2, &["pod", "list"])).len(), 1);

    node1.start().unwrap();
    status_where(node2, "quorum", |status| status["quorum"]["ok"] == true);
    let left = ctl(node2, &["--yes", "leave"], "").unwrap();
    assert!(left.ok(), "{left}");
}
