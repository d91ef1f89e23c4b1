//! Who reaches whom, and as whom they arrive.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use podnet_lab::prelude::*;

/// What Linux sets in the packets it sends.
const TTL: u8 = 64;

/// A place from which packets start, and at which they arrive.
struct End<'lab> {
    place: Place<'lab>,
    address: Ipv4Addr,
    /// A node counts as its own address; a pod is behind it.
    is_pod: bool,
}

impl<'lab> End<'lab> {
    fn pod(node: Node<'lab>, name: &str) -> Self {
        Self {
            address: node.add_pod(name).address(),
            place: node.pod(name),
            is_pod: true,
        }
    }

    /// A node as others in the pod network see it.
    fn gateway(node: Node<'lab>) -> Self {
        Self {
            address: node.gateway(),
            place: node.place(),
            is_pod: false,
        }
    }

    fn is_on_node_of(&self, other: &Self) -> bool {
        self.place.node().member() == other.place.node().member()
    }

    /// How many nodes forward an answer from `self` to `other`: on one node the bridge takes
    /// nothing from the time to live.
    fn hops_to(&self, other: &Self) -> u8 {
        if self.is_on_node_of(other) {
            0
        } else {
            u8::from(self.is_pod) + u8::from(other.is_pod)
        }
    }
}

#[test]
fn pods_and_nodes_reach_all_pods_and_arrive_with_their_own_addresses() {
    let lab = Cluster::of(3);
    let [node1, node2, node3] = nodes(&lab);
    let pods = [
        End::pod(node1, "red"),
        End::pod(node1, "pink"),
        End::pod(node2, "blue"),
        End::pod(node3, "green"),
    ];
    let gateways = [node1, node2, node3].map(End::gateway);
    let _responders: Vec<_> = pods
        .iter()
        .map(|pod| pod.place.respond().unwrap())
        .collect();

    let mut wrong = BTreeMap::new();
    for from in pods.iter().chain(&gateways) {
        for to in &pods {
            let path = format!("{} to {}", from.place, to.place);
            let ttl = from.place.ping(to.address).map(|pong| pong.ttl);
            let seen = from.place.seen_as(to.address);
            if !matches!((&ttl, &seen), (Ok(ttl), Ok(seen))
                if *ttl == TTL - to.hops_to(from) && *seen == from.address)
            {
                wrong.insert(path, format!("TTL {ttl:?}, seen as {seen:?}"));
            }
        }
        // Gateways are in the pod network too: whoever reaches them is not translated either.
        for to in gateways.iter().filter(|to| !to.is_on_node_of(from)) {
            let ttl = from.place.ping(to.address).map(|pong| pong.ttl);
            if !matches!(ttl, Ok(ttl) if ttl == TTL - to.hops_to(from)) {
                wrong.insert(
                    format!("{} to {}", from.place, to.address),
                    format!("{ttl:?}"),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn beyond_the_pod_network_pods_have_the_address_of_their_node() {
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    let red = End::pod(node1, "red");
    let _elsewhere = lab.internet().place().respond().unwrap();
    let _node = node2.place().respond().unwrap();

    let internet = lab.internet().address();
    assert_eq!(red.place.seen_as(internet).unwrap(), node1.address());
    assert_eq!(red.place.ping(internet).unwrap().ttl, TTL - 2);
    assert_eq!(red.place.seen_as(node2.address()).unwrap(), node1.address());
    let own = node1.place();
    assert_eq!(own.seen_as(internet).unwrap(), node1.address());
    assert_eq!(
        own.seen_as(node2.address()).unwrap(),
        node1.address(),
        "the underlay of nodes is as it was"
    );
}

#[test]
fn pods_are_forwarded_where_the_host_forwards_nothing() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    for node in [node1, node2] {
        node.shell("iptables -P FORWARD DROP");
    }
    lab.init_join_all().unwrap();
    let red = node1.add_pod("red").address();
    node2.add_pod("blue");
    node2.pod("blue").ping(red).unwrap();
    node2.pod("blue").ping(lab.internet().address()).unwrap();
    for node in [node1, node2] {
        let policy = node.shell("iptables -S FORWARD");
        assert!(policy.starts_with("-P FORWARD DROP\n"), "{policy}");
    }
}

#[test]
fn pods_fill_the_packets_of_the_underlay() {
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    node1.add_pod("red");
    let blue = node2.add_pod("blue").address().to_string();
    // 1500 bytes less the headers of IPv4 and ICMP, not to be fragmented.
    let words = ["ping", "-n", "-c1", "-W2", "-M", "do", "-s", "1472", &blue];
    let output = node1.pod("red").exec(words).unwrap();
    assert!(output.ok(), "{output}");
}

#[test]
fn addresses_of_unclaimed_blocks_are_unreachable_at_once_and_leak_nowhere() {
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    node1.add_pod("red");
    let free = "10.244.200.5";
    let capture = lab
        .router()
        .capture("br0", "net 10.244.200.0/24 or host 203.0.113.10")
        .unwrap();

    for place in [node1.pod("red"), node1.place(), node2.place()] {
        let started = Instant::now();
        let output = place.exec(["ping", "-n", "-c1", "-W5", free]).unwrap();
        let took = started.elapsed();
        assert!(!output.ok(), "{place}: {output}");
        // The kernel says so to a pod by ICMP, and to a process of the node by errno.
        let said = format!("{output}").to_lowercase();
        let told = ["host unreachable", "no route to host"]
            .iter()
            .any(|why| said.contains(why));
        assert!(told, "{place}: {output}");
        assert!(took < Duration::from_secs(3), "{place}: after {took:?}");
    }
    // A packet that may be seen shows that the capture works.
    node1.place().ping(lab.internet().address()).unwrap();
    capture
        .wait_for(LIMIT, "the last packet", |line| {
            line.contains("203.0.113.10")
        })
        .unwrap();
    let leaked = capture.stop().unwrap();
    let leaked: Vec<_> = leaked
        .iter()
        .filter(|line| line.contains("10.244.200"))
        .collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    let default = node1.shell("ip route show default");
    assert!(
        default.contains("via 192.168.56.1"),
        "the leak would have gone there: {default}"
    );
}

#[test]
fn a_peer_behind_a_router_is_shown_with_the_reason() {
    let lab = agents(2).subnets(2).up().unwrap();
    let [founder, other] = nodes(&lab);
    let Invitation { token } = founder.ask(&["init", "--pod-cidr", "10.244.0.0/16"]);
    let seed = founder.address().to_string();
    let words = ["--timeout", "5s", "join", &seed];
    let late = refused_with(other, &words, &token, ErrorCode::Timeout);
    assert!(late.message.contains("node1"), "{late:?}");
    for (node, peer) in [(founder, "node2"), (other, "node1")] {
        let seen = node.status_where("the path is judged", |status| {
            let peer = peer_of(status, peer);
            peer.is_some_and(|peer| peer.path == Some(PathState::Failed))
        });
        let reason = seen.peers[0].path_reason.as_deref().unwrap();
        assert!(
            reason.contains("not on the link") && reason.contains("router"),
            "{reason}"
        );
        // What has no way is refused, and does not leak to the router.
        let routes = node.routes();
        let states: Vec<_> = routes.iter().map(|route| route.state).collect();
        assert_eq!(states, [RouteState::Unreachable]);
    }
}

#[test]
fn in_excluded_ranges_pods_keep_their_own_address() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let words = [
        "init",
        "--pod-cidr",
        "10.244.0.0/16",
        "--exclude-cidr",
        "203.0.113.0/24",
    ];
    node.tell(&words);
    let pod = node.add_pod("red").address();
    let capture = lab.router().capture("br0", "icmp").unwrap();
    let internet = lab.internet().address();
    // Nobody out there has a way back to a pod's address: it is the packet that counts.
    let output = node
        .pod("red")
        .exec(["ping", "-n", "-c1", "-W1", &internet.to_string()])
        .unwrap();
    assert!(!output.ok(), "{output}");
    let expected = format!("{pod} > {internet}: ICMP echo request");
    capture
        .wait_for(LIMIT, &expected, |line| line.contains(&expected))
        .unwrap();
    capture.stop().unwrap();
}
