//! Founding a cluster.

use podnet_lab::Node;
use podnet_lab::scenario::Snapshot;

use crate::scene::{
    add_pod, ask, builder, http, idle, nodes, refused, refused_with, shell, status, status_where,
    text,
};

const INIT: [&str; 3] = ["init", "--pod-cidr", "10.244.0.0/16"];

#[test]
fn an_init_that_cannot_be_done_changes_nothing() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let before = Snapshot::whole(node);
    for (words, code) in [
        (&["init"][..], "usage"),
        (&["init", "--pod-cidr", "banana"], "bad_cidr"),
        (&["init", "--pod-cidr", "10.244.0.1/16"], "bad_cidr"),
        (&["init", "--pod-cidr", "127.0.0.0/16"], "bad_cidr"),
        (
            &[
                "init",
                "--pod-cidr",
                "10.244.0.0/16",
                "--block-prefix",
                "15",
            ],
            "bad_cidr",
        ),
        (
            &[
                "init",
                "--pod-cidr",
                "10.244.0.0/16",
                "--block-prefix",
                "32",
            ],
            "bad_cidr",
        ),
        (
            &[
                "init",
                "--pod-cidr",
                "10.244.0.0/16",
                "--exclude-cidr",
                "here",
            ],
            "bad_cidr",
        ),
        (
            &[
                "init",
                "--pod-cidr",
                "10.244.0.0/16",
                "--exclude-cidr",
                "10.9.1.1/16",
            ],
            "bad_cidr",
        ),
        (&["init", "--pod-cidr", "fd00:244::/48"], "unsupported"),
        (
            &["init", "--pod-cidr", "10.244.0.0/16,fd00:244::/48"],
            "unsupported",
        ),
        (
            &[
                "init",
                "--pod-cidr",
                "10.244.0.0/16",
                "--encapsulation",
                "wireguard",
            ],
            "unsupported",
        ),
        (
            &[
                "init",
                "--pod-cidr",
                "10.244.0.0/16",
                "--encapsulation",
                "gre",
            ],
            "usage",
        ),
        (
            &[
                "init",
                "--pod-cidr",
                "10.244.0.0/16",
                "--advertise",
                "192.168.56.99",
            ],
            "bad_address",
        ),
        (
            &[
                "init",
                "--pod-cidr",
                "10.244.0.0/16",
                "--advertise",
                "node1",
            ],
            "bad_address",
        ),
        (
            &[
                "init",
                "--pod-cidr",
                "10.244.0.0/16",
                "--node-name",
                "Node_1",
            ],
            "bad_name",
        ),
        (
            &["init", "--pod-cidr", "10.244.0.0/16", "--no-such-flag"],
            "usage",
        ),
        (&["init", "--pod-cidr", "192.168.0.0/16"], "overlap"),
    ] {
        refused(node, words, (code, 2));
    }
    // What `podnetctl` checks itself, the agent checks too: it has other clients.
    for (body, code) in [
        (r#"{"pod_cidrs":[]}"#, "bad_cidr"),
        (r#"{"pod_cidrs":["banana"]}"#, "bad_cidr"),
        (r#"{"pod_cidrs":["fd00:244::/48"]}"#, "unsupported"),
        (
            r#"{"pod_cidrs":["10.244.0.0/16"],"block_prefixes":[8]}"#,
            "bad_cidr",
        ),
        (
            r#"{"pod_cidrs":["10.244.0.0/16"],"exclude_cidrs":["here"]}"#,
            "bad_cidr",
        ),
        (
            r#"{"pod_cidrs":["10.244.0.0/16"],"exclude_cidrs":["10.9.1.1/16"]}"#,
            "bad_cidr",
        ),
        (
            r#"{"pod_cidrs":["10.244.0.0/16"],"encapsulation":"wireguard"}"#,
            "unsupported",
        ),
        (
            r#"{"pod_cidrs":["10.244.0.0/16"],"encapsulation":"gre"}"#,
            "usage",
        ),
        (
            r#"{"pod_cidrs":["10.244.0.0/16"],"advertise":"::1"}"#,
            "bad_address",
        ),
        (
            r#"{"pod_cidrs":["10.244.0.0/16"],"node_name":"Node_1"}"#,
            "bad_name",
        ),
        (
            r#"{"pod_cidrs":["10.244.0.0/16"],"no_such_key":1}"#,
            "usage",
        ),
        ("banana", "usage"),
    ] {
        let response = http(node, "POST", "/v1/init", body);
        assert_eq!(
            (response.status, &response.body["code"]),
            (400, &code.into()),
            "{body}"
        );
    }
    before.assert_same(&Snapshot::whole(node), "init");
    assert_eq!(status(node)["phase"], "idle");
}

#[test]
fn the_same_init_again_is_fine_and_another_is_refused() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let first = ask(node, &INIT);
    let before = Snapshot::whole(node);
    let again = ask(node, &INIT);
    assert_eq!(again, first, "the same cluster, block and token");
    let spelled = ["--node-name", "node1", "--advertise", "192.168.56.11"];
    assert_eq!(ask(node, &[&INIT[..], &spelled].concat()), first);

    for more in [
        &["--node-name", "another"][..],
        &["--advertise", "192.168.56.11:7000"],
        &["--block-prefix", "23"],
        &["--exclude-cidr", "192.168.0.0/16"],
        &["--encapsulation", "direct"],
    ] {
        refused(node, &[&INIT[..], more].concat(), ("already_member", 5));
    }
    refused(
        node,
        &["init", "--pod-cidr", "10.99.0.0/16"],
        ("already_member", 5),
    );
    before.assert_same(&Snapshot::whole(node), "init");
}

#[test]
fn an_overlap_that_is_allowed_stays_as_it_is_and_is_shown() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    shell(
        node,
        "ip link add other0 type bridge && ip link set other0 up",
    );
    shell(node, "ip route add 10.244.0.0/16 dev other0");
    let before = Snapshot::kernel(node);
    refused(node, &INIT, ("overlap", 2));
    let allowed = [&INIT[..], &["--allow-overlap"]].concat();
    let founded = ask(node, &allowed);
    assert_eq!(ask(node, &allowed), founded, "the same call again");

    // A pass over something else does not forget what is in the way.
    add_pod(node, "red");
    let pod = ask(node, &["pod", "show", "red"]);
    let passes = status(node)["reconcile"]["passes"].as_u64();
    let host_end = text(&pod["host_ifname"]);
    shell(node, &format!("ip link set {host_end} down"));
    let status = status_where(node, "a pass for the pod", |status| {
        status["reconcile"]["passes"].as_u64() > passes
    });
    assert_eq!(status["phase"], "ready");
    assert_eq!(status["problems"][0]["code"], "foreign_object", "{status}");
    let routes = ask(node, &["routes"]);
    assert_eq!(routes[0]["destination"], "10.244.0.0/16");
    assert_eq!(routes[0]["state"], "foreign");
    let route = shell(node, "ip route show 10.244.0.0/16");
    assert!(route.contains("dev other0"), "{route}");
    ask(node, &["--yes", "leave"]);
    before.assert_same(&Snapshot::kernel(node), "leave");
}

#[test]
fn of_several_addresses_the_user_chooses() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    shell(node, "ip address add 192.168.56.211/24 dev eth0");
    let before = Snapshot::whole(node);
    let refusal = refused(node, &INIT, ("bad_address", 2));
    let told = format!("{} {}", refusal.message, refusal.hint);
    for word in ["192.168.56.11", "192.168.56.211", "--advertise"] {
        assert!(told.contains(word), "no word of {word}: {told}");
    }
    before.assert_same(&Snapshot::whole(node), "init");

    let founded = ask(
        node,
        &[&INIT[..], &["--advertise", "192.168.56.211"]].concat(),
    );
    assert_eq!(founded["node"]["addresses"][0], "192.168.56.211:7846");
    let command = founded["join_command"].as_str().unwrap();
    assert!(
        command.starts_with("podnetctl join 192.168.56.211 --token podnet1."),
        "{command}"
    );
}

/// As on a virtual machine whose first interface leads to its host alone.
#[test]
fn of_several_addresses_the_setting_chooses() {
    let range = builder(2).env("PODNET_ADVERTISE", "10.77.0.0/16");
    let lab = range.up().unwrap();
    let [node1, node2] = nodes(&lab);
    let before = Snapshot::whole(node1);
    let refusal = refused(node1, &INIT, ("bad_address", 2));
    for word in ["10.77.0.0/16", "192.168.56.11", "advertise"] {
        assert!(
            refusal.message.contains(word),
            "no word of {word}: {refusal:?}"
        );
    }
    before.assert_same(&Snapshot::whole(node1), "init");
    for node in [node1, node2] {
        let add = format!("ip address add {} dev eth0", second(node));
        shell(node, &add);
    }

    let founded = ask(node1, &INIT);
    assert_eq!(founded["node"]["addresses"][0], "10.77.0.1:7846");
    let token = text(&founded["token"]);
    // The way to the member is from the first address; the setting counts.
    let words = ["join", "192.168.56.11", "--token", token];
    ask(node2, &words);
    let told = status_where(node1, "the joiner", |status| {
        status["peers"][0]["live"] == true
    });
    let peer = &told["peers"][0]["addresses"][0];
    assert_eq!(peer, "10.77.0.2:7846", "{told}");

    // Another address of the host does not take its place, and one in the range does.
    shell(node2, &format!("ip address del {} dev eth0", second(node2)));
    status_where(node2, "no address to tell", |status| {
        status["problems"][0]["code"] == "bad_address"
    });
    shell(node2, "ip address add 10.77.0.22/16 dev eth0");
    let moved = status_where(node1, "the joiner's new address", |status| {
        status["peers"][0]["addresses"][0] == "10.77.0.22:7846"
    });
    assert_eq!(moved["phase"], "ready");

    // A command that names an address beats the setting.
    ask(node2, &["--yes", "leave"]);
    let named = [&words[..], &["--advertise", "192.168.56.12"]].concat();
    let joined = ask(node2, &named);
    assert_eq!(joined["node"]["addresses"][0], "192.168.56.12:7846");
}

/// A second address of a node, of a range of its own.
fn second(node: Node<'_>) -> String {
    format!("10.77.0.{}/16", node.name().trim_start_matches("node"))
}

#[test]
fn a_foreign_link_in_the_place_of_the_bridge_is_never_taken() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let token = node1.init(None).unwrap().token;
    shell(node2, "ip link add podnet0 type bridge");
    let before = Snapshot::whole(node2);
    refused(node2, &INIT, ("foreign_object", 5));
    let join = ["join", "192.168.56.11"];
    refused_with(node2, &join, &token, ("foreign_object", 5));
    before.assert_same(&Snapshot::whole(node2), "a foreign podnet0");
}

#[test]
fn a_gossip_port_that_is_taken_makes_no_member() {
    // The port of the lab's responder, which stands for another program here.
    let ports = builder(2).env("PODNET_GOSSIP_PORT", "7847");
    let lab = ports.up().unwrap();
    let [node1, node2] = nodes(&lab);
    let token = node1.init(None).unwrap().token;
    let _other = node2.place().respond().unwrap();
    let before = Snapshot::kernel(node2);
    refused(node2, &INIT, ("port_in_use", 1));
    before.assert_same(&Snapshot::kernel(node2), "init");
    let join = ["join", "192.168.56.11"];
    refused_with(node2, &join, &token, ("port_in_use", 1));
    before.assert_same(&Snapshot::kernel(node2), "join");
    assert_eq!(status(node2)["phase"], "idle");
    // The number of its start is used up; of a cluster there is nothing.
    for name in ["cluster", "ledger", "peers"] {
        assert!(!node2.state_dir().join(name).exists(), "{name}");
    }
}
