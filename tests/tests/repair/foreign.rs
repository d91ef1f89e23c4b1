//! What is not podnet's is reported, never taken, and survives all that podnet does.

use podnet_lab::prelude::*;
use serde_json::Value;

use crate::picture::Picture;
use crate::scene::{By, HOUR, NATIVE, SOON, Said, Scene};

const PEER: &str = "10.244.1.0/24";

/// How `podnetctl routes` shows the route to the peer's block.
fn state(node: Node<'_>) -> Option<RouteState> {
    let routes = node.routes();
    let mut routes = routes.iter();
    let found = routes.find(|route| route.destination.to_string() == PEER);
    found.map(|route| route.state)
}

fn standing(node: Node<'_>) -> Value {
    node.json(&format!("ip -j route show {PEER}"))
}

#[track_caller]
fn reported(node: Node<'_>) {
    until("a report", &Some(RouteState::Foreign), || state(node));
    assert!(node.problem_codes().contains(&ErrorCode::ForeignObject));
}

/// Asserts that podnet's route is soon there again.
#[track_caller]
fn returns(scene: &Scene) {
    let node = scene.node();
    let back = || {
        let routes = standing(node);
        let ours = routes[0]["protocol"] == "112" && routes[1].is_null();
        if ours { Ok(()) } else { Err(routes) }
    };
    eventually(SOON, "podnet's route", back).unwrap();
    until("a route that is right", &Some(RouteState::Ok), || {
        state(node)
    });
    assert_eq!(node.problems(), []);
    scene.packets_pass();
}

/// What is in the way of one route hides no other.
#[track_caller]
fn others_are_put_back(scene: &Scene) {
    let unreachable = Said {
        op: "add route unreachable 10.244.0.0/16",
        found: "nothing",
        by: By::Somebody,
    };
    let what = "ip route del unreachable 10.244.0.0/16";
    let drift = scene.drift();
    let logged = scene.logged();
    scene.node().shell(what);
    scene.tells(logged, unreachable, what);
    assert!(scene.drift() > drift);
}

#[test]
fn a_route_in_the_place_of_podnets_stays() {
    let scene = Scene::told();
    let node = scene.node();
    // `replace` takes podnet's away, `prepend` puts another before it.
    for how in ["replace", "prepend"] {
        let logged = scene.logged();
        let route = format!("{PEER} via 192.168.56.1 protocol static");
        node.shell(&format!("ip route {how} {route}"));
        let foreign = standing(node);
        reported(node);
        let told = scene.log(logged).into_iter().any(|line| {
            let field = |name: &str| line["fields"][name].as_str().unwrap_or_default();
            field("message") == "a foreign object is in the way of podnet's"
                && field("object").contains(PEER)
                && field("found").contains("192.168.56.1")
                && field("by").contains(|c: char| c.is_ascii_digit())
        });
        assert!(told, "{how}: {:#?}", scene.log(logged));
        others_are_put_back(&scene);
        assert_eq!(standing(node), foreign, "{how}");
        node.shell(&format!("ip route del {route}"));
        returns(&scene);
    }
}

#[test]
fn a_route_that_stood_there_before_the_agent_stays() {
    let scene = Scene::told();
    let node = scene.node();
    let route = format!("{PEER} via 192.168.56.1 protocol static");
    node.kill().unwrap();
    node.shell(&format!("ip route replace {route}"));
    let foreign = standing(node);
    node.start().unwrap();
    reported(node);
    others_are_put_back(&scene);
    assert_eq!(standing(node), foreign);
    node.shell(&format!("ip route del {route}"));
    returns(&scene);
}

#[test]
fn a_bridge_in_the_place_of_podnets_stays() {
    let scene = Scene::told();
    let node = scene.node();
    node.stop().unwrap();
    node.shell("ip link del podnet0; ip link add podnet0 type bridge");
    let bridge = || node.json("ip -d -j address show podnet0")[0].clone();
    let before = bridge();
    node.cont().unwrap();
    until("a report", &vec![ErrorCode::ForeignObject], || {
        node.problem_codes()
    });
    assert_eq!(bridge(), before);
    refused(node, &["pod", "add", "pink"], ErrorCode::ForeignObject);
    assert_eq!(bridge(), before);
    node.shell("ip link del podnet0");
    eventually(SOON, "podnet's bridge", || {
        node.attempt("ip address show podnet0 | grep 10.244.0.1/24")
            .success("a look")
    })
    .unwrap();
    until("no report", &vec![], || node.problem_codes());
    scene.packets_pass();
}

#[test]
fn a_default_route_of_others_in_a_pod_stays() {
    let scene = Scene::told();
    let node = scene.node();
    let inside = |command: &str| node.shell(&format!("ip netns exec red ip route {command}"));
    node.kill().unwrap();
    inside("replace default via 10.244.0.99");
    let foreign = inside("show default");
    node.start().unwrap();
    until("a report", &vec![ErrorCode::ForeignObject], || {
        node.problem_codes()
    });
    assert_eq!(inside("show default"), foreign);
    inside("del default");
    until("no report", &vec![], || node.problem_codes());
    assert!(inside("show default").contains("10.244.0.1 "));
    scene.packets_pass();
}

/// What others have on a host: links, addresses, routes, neighbours and rules, some of them much like
/// podnet's.
const OTHERS: &str = "\
    ip link add lan type bridge; ip link set lan up address 02:00:00:00:00:08; \
    ip address add 172.30.0.1/24 dev lan; ip neighbour add 172.30.0.7 lladdr 02:00:00:00:00:07 dev lan; \
    ip route add 172.31.0.0/24 via 172.30.0.9; ip route add 172.31.1.0/24 dev lan table 99 protocol 112; \
    ip route add 172.31.2.0/24 via 172.30.0.9 protocol 111; ip rule add from 172.31.0.0/24 table 99; \
    ip link add pnmine type bridge; ip link add br7 type bridge; ip link add v1 type veth peer name v2; \
    ip link set v1 master br7; ip netns add mine; \
    for variant in iptables iptables-legacy; do \
    $variant -N MINE; $variant -A MINE -s 172.31.0.1 -j DROP; $variant -A FORWARD -j MINE; \
    $variant -N PODNET-MINE; $variant -A PODNET-MINE -s 172.31.0.2 -j DROP; $variant -I FORWARD -j PODNET-MINE; \
    $variant -t nat -N PODNET-FORWARD; $variant -t nat -A PODNET-FORWARD -s 172.31.0.3 -j RETURN; \
    $variant -t nat -A POSTROUTING -s 172.31.0.0/24 -j MASQUERADE; done";

/// A rule of others before podnet's jump, and one behind it.
const BETWEEN: &str = "\
    iptables -I FORWARD 1 -s 172.31.4.0/24 -j ACCEPT; iptables -A FORWARD -s 172.31.5.0/24 -j ACCEPT; \
    iptables -t nat -I POSTROUTING 1 -s 172.31.6.0/24 -j RETURN";

/// A host of many things, of which nothing is podnet's.
fn crowded() -> (Lab, Picture) {
    let lab = looking_every(HOUR, 1)
        .env("PODNET_LOG_FORMAT", "json")
        .up()
        .unwrap();
    let node = first(&lab);
    node.shell(&format!("{OTHERS}; {BETWEEN}; {NATIVE}"));
    let before = everything(node);
    for text in [
        "ip saddr @those drop",
        "172.31.7.0/24",
        "*6filter -A MINE6 -s",
        "\"local\":\"fd00:30::1\"",
        "\"dst\":\"fd00:31::/64\"",
        "\"dst\":\"172.31.1.0/24\"",
    ] {
        assert!(
            before.entries(text).next().is_some(),
            "no {text}: {before:#?}"
        );
    }
    (lab, before)
}

/// With the tables that are nobody's business by their names: looking at one makes it.
fn everything(node: Node<'_>) -> Picture {
    node.attempt("iptables -n -L; iptables -t nat -n -L");
    Picture::of(node, &["mine"])
}

/// The host has several addresses.
const INIT: [&str; 5] = [
    "init",
    "--pod-cidr",
    "10.244.0.0/16",
    "--advertise",
    "192.168.56.11",
];

/// Founds a cluster, and lets podnet do all that it does.
fn toil(node: Node<'_>) {
    node.tell(&INIT);
    let red = node.add_pod("red");
    node.place().ping(red.address()).unwrap();
    let host_end = &red.host_ifname;
    for tamper in [
        "ip link del podnet0".to_owned(),
        format!("ip link del {host_end}"),
        "iptables -F PODNET-FORWARD".to_owned(),
        "iptables -t nat -F PODNET-POSTROUTING".to_owned(),
        "ip route flush protocol 112".to_owned(),
    ] {
        node.shell(&tamper);
        eventually(LIMIT, &tamper, || {
            node.place().ping(red.address()).map(drop)?;
            node.attempt("iptables -C PODNET-FORWARD -s 10.244.0.0/16 -i podnet0 -j ACCEPT")
                .success("a look")
                .map(drop)
        })
        .unwrap();
    }
    node.term().unwrap();
    node.start().unwrap();
    until("a look at everything", &true, || {
        node.status().reconcile.passes > 0
    });
}

/// What the problems say of things that are not podnet's.
fn messages(node: Node<'_>) -> Vec<String> {
    let problems = node.problems().into_iter();
    let foreign = problems.filter(|problem| problem.code == ErrorCode::ForeignObject);
    foreign.map(|problem| problem.message).collect()
}

#[test]
fn what_is_foreign_survives_a_membership() {
    let (lab, before) = crowded();
    let node = first(&lab);
    toil(node);
    until("podnet's names", &4, || messages(node).len());
    let reported = messages(node).join("\n");
    for chain in ["filter/PODNET-MINE", "nat/PODNET-FORWARD"] {
        for variant in ["iptables-nft", "iptables-legacy"] {
            let name = format!("chain {chain} in {variant}");
            assert!(reported.contains(&name), "{name}: {reported}");
        }
    }
    let now = everything(node);
    let mut lost = before.missing_in(&now);
    // It opens devices one by one, and makes no router.
    let opened = |entry: &str| entry.starts_with("forwarding ") && entry != "forwarding all 0";
    lost.retain(|entry| !opened(entry));
    assert!(lost.is_empty(), "{lost:#?}");
    node.leave();
    before.same(&everything(node)).unwrap();
}

fn cleanup(node: Node<'_>) -> Output {
    node.exec(["podnetd", "cleanup", "--yes"]).unwrap()
}

#[test]
fn what_is_foreign_survives_a_cleanup() {
    let (lab, before) = crowded();
    let node = first(&lab);
    toil(node);
    node.kill().unwrap();
    let cleaned = cleanup(node);
    assert!(cleaned.ok(), "{cleaned}");
    before.same(&everything(node)).unwrap();
}

/// The kernel does not remove a chain that is jumped to. It stays, empty, and is named; all else goes.
#[test]
fn a_chain_that_others_jump_to_stays_and_is_named() {
    let (lab, _) = crowded();
    let node = first(&lab);
    let founded = || {
        node.tell(&INIT);
        node.add_pod("red");
        node.shell(
            "iptables -C MINE -s 172.31.9.0/24 -j PODNET-FORWARD || \
             iptables -A MINE -s 172.31.9.0/24 -j PODNET-FORWARD",
        );
        let name = "chain filter/PODNET-FORWARD in iptables-nft";
        eventually(LIMIT, "a report", || {
            let messages = messages(node);
            let named = messages.iter().any(|message| message.contains(name));
            if named {
                Ok(())
            } else {
                Err(messages.join("\n"))
            }
        })
        .unwrap();
    };
    let husk = || {
        let rules = node.shell("iptables-save");
        assert!(
            rules.contains("-A MINE -s 172.31.9.0/24 -j PODNET-FORWARD"),
            "{rules}"
        );
        assert!(rules.contains(":PODNET-FORWARD"), "{rules}");
        for gone in [
            "-A PODNET-FORWARD",
            "PODNET-POSTROUTING",
            "-A FORWARD -m comment",
        ] {
            let filter = rules.split("*filter").nth(1).unwrap();
            assert!(
                !filter.split("COMMIT").next().unwrap().contains(gone),
                "{gone}: {rules}"
            );
        }
        assert_eq!(node.shell("ip route show protocol 112"), "");
    };
    founded();
    let left = node.leave();
    assert_eq!(left.phase, Phase::Idle);
    husk();
    founded();
    node.kill().unwrap();
    let cleaned = cleanup(node);
    assert!(cleaned.ok(), "{cleaned}");
    let named = format!("{}{}", cleaned.stdout, cleaned.stderr);
    assert!(named.contains("chain filter/PODNET-FORWARD"), "{cleaned}");
    husk();
}

/// A chain bears podnet's mark by its name. Where podnet is not at work yet, rules that it never makes
/// tell that the chain is not its own.
#[test]
fn a_chain_of_podnets_name_stands_in_the_way_of_a_cluster() {
    let lab = looking_every(HOUR, 1).up().unwrap();
    let node = first(&lab);
    node.shell("iptables -N PODNET-FORWARD; iptables -A PODNET-FORWARD -s 172.31.0.1 -j LOG");
    let before = everything(node);
    refused(node, &INIT, ErrorCode::ForeignObject);
    before.same(&everything(node)).unwrap();
    node.shell("iptables -F PODNET-FORWARD; iptables -X PODNET-FORWARD");
    node.tell(&INIT);
    assert_eq!(node.status().phase, Phase::Ready);
}
