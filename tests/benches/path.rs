//! What a packet's way costs from pod to pod across two nodes, beside a bridge, a route and a rule
//! for masquerading that were made by hand: the data path is the kernel's in both.

use std::fs;
use std::time::Duration;

use podnet_lab::lines::Lines;
use podnet_lab::{Lab, Node};
use serde_json::Value;

use crate::row::{Row, median};

/// How often both sides are measured, in turn, and for how many seconds.
const ROUNDS: usize = 7;
const SECONDS: &str = "3";

const LIMIT: Duration = Duration::from_secs(30);

const BY_HAND: &str = "bridge, route, masquerading by hand";

/// One node as a reader of a tutorial would make it: $1 is its block's third octet, $2 and $3 are
/// the other's and its address, $4 is the pod.
const NODE: &str = r#"
ip link add br0 type bridge
ip address add "10.244.$1.1/24" dev br0
ip link set br0 up
ip netns add "$4"
ip link add "h$4" master br0 type veth peer name eth0 netns "$4"
ip link set "h$4" up
ip -n "$4" link set lo up
ip -n "$4" address add "10.244.$1.2/24" dev eth0
ip -n "$4" link set eth0 up
ip -n "$4" route add default via "10.244.$1.1"
ip route add "10.244.$2.0/24" via "$3" src "10.244.$1.1"
sysctl -qw net.ipv4.ip_forward=1
iptables -t nat -A POSTROUTING -s "10.244.$1.0/24" ! -d 10.244.0.0/16 -j MASQUERADE --random-fully
"#;

/// What one round measured.
struct Figures {
    /// Processor milliseconds of the whole machine for each Gbit.
    cost: f64,
    /// Round trip in microseconds.
    round_trip: f64,
}

pub(crate) fn measure() -> Vec<Row> {
    let lab = Lab::builder().nodes(2).join(true).up().unwrap();
    let by_hand = Lab::builder().nodes(2).agents(false).up().unwrap();
    for (node, pod) in [("node1", "red"), ("node2", "blue")] {
        let added = lab.node(node).unwrap().ctl(["pod", "add", pod]).unwrap();
        added.success("podnetctl pod add").unwrap();
    }
    let nodes = by_hand.nodes();
    for (own, other, pod) in [(0, 1, "red"), (1, 0, "blue")] {
        let (octets, address) = ([own, other].map(|o| o.to_string()), nodes[other].address());
        let address = address.to_string();
        let words = [
            "bash", "-ec", NODE, "node", &octets[0], &octets[1], &address, pod,
        ];
        nodes[own]
            .exec(words)
            .unwrap()
            .success("a node by hand")
            .unwrap();
    }
    let (mut podnet, mut peer) = (Vec::new(), Vec::new());
    let (mut held, mut trusted) = (Vec::new(), Vec::new());
    let siblings = Siblings::add(lab.node("node1").unwrap());
    for _ in 0..ROUNDS {
        podnet.push(across(&lab));
        peer.push(across(&by_hand));
        held.push(siblings.cost("held"));
        trusted.push(siblings.cost("trusted"));
    }
    let middle = |of: fn(&Figures) -> f64| {
        [&podnet, &peer].map(|figures| median(figures.iter().map(of).collect()))
    };
    let [cost, cost_by_hand] = middle(|figures| figures.cost);
    let [round_trip, round_trip_by_hand] = middle(|figures| figures.round_trip);
    vec![
        Row::new(
            "pod to pod across nodes, TCP",
            "CPU ms/Gbit",
            cost,
            (BY_HAND, cost_by_hand),
        ),
        Row::new(
            "round trip, pod to pod",
            "us",
            round_trip,
            (BY_HAND, round_trip_by_hand),
        ),
        Row::new(
            "pod to pod of a node, TCP",
            "CPU ms/Gbit",
            median(held),
            ("trusted pods", median(trusted)),
        ),
    ]
}

/// Pods of one node, two that are held to their own addresses and two that are trusted.
struct Siblings<'lab> {
    node: Node<'lab>,
}

impl<'lab> Siblings<'lab> {
    fn add(node: Node<'lab>) -> Self {
        for words in [
            &["held-1"][..],
            &["held-2"],
            &["trusted-1", "--trusted"],
            &["trusted-2", "--trusted"],
        ] {
            let added = node.ctl([&["pod", "add"], words].concat()).unwrap();
            added.success("podnetctl pod add").unwrap();
        }
        Self { node }
    }

    /// What it costs from the first of a kind to the second.
    fn cost(&self, kind: &str) -> f64 {
        let [from, to] = [1, 2].map(|number| format!("{kind}-{number}"));
        let shown = self.node.ctl(["-o", "json", "pod", "show", &to]).unwrap();
        let shown: Value = shown.success("podnetctl pod show").unwrap().json().unwrap();
        let (address, _) = shown["addresses"][0]
            .as_str()
            .unwrap()
            .split_once('/')
            .unwrap();
        let ends = [(self.node, from.as_str()), (self.node, to.as_str())];
        figures(ends, address).cost
    }
}

fn across(lab: &Lab) -> Figures {
    let [first, second]: [Node<'_>; 2] = lab.nodes().try_into().unwrap();
    figures([(first, "red"), (second, "blue")], "10.244.1.2")
}

/// Measures the way from a pod to another, which has this address.
fn figures([(red, from), (blue, to)]: [(Node<'_>, &str); 2], address: &str) -> Figures {
    let serve = [
        "ip",
        "netns",
        "exec",
        to,
        "iperf3",
        "-s",
        "-1",
        "--forceflush",
    ];
    let mut server = blue.spawn(serve).unwrap();
    let lines = Lines::of(server.stdout().unwrap());
    lines
        .wait_for(LIMIT, "iperf3", |line| line.contains("listening"))
        .unwrap();
    let send = [
        "ip", "netns", "exec", from, "iperf3", "-c", address, "-t", SECONDS, "-J",
    ];
    let before = busy_seconds();
    let sent = red
        .exec(send)
        .unwrap()
        .success("iperf3")
        .unwrap()
        .json()
        .unwrap();
    let busy = busy_seconds() - before;
    let bytes = sent["end"]["sum_received"]["bytes"].as_f64().unwrap();

    let ping = [
        "ip", "netns", "exec", from, "ping", "-c", "500", "-i", "0.002", address,
    ];
    let pinged = red.exec(ping).unwrap().success("ping").unwrap().stdout;
    // 64 bytes from 10.244.1.2: icmp_seq=1 ttl=62 time=0.031 ms. (Its own average is cut short.)
    let times = pinged.lines().filter_map(|line| {
        let (_, time) = line.split_once("time=")?;
        time.strip_suffix(" ms")?.parse().ok()
    });
    let times: Vec<f64> = times.collect();
    Figures {
        cost: busy * 1e3 / (bytes * 8.0 / 1e9),
        round_trip: times.iter().sum::<f64>() * 1e3 / times.len() as f64,
    }
}

/// The processor seconds that this machine has spent on anything (`proc_stat(5)`): what packets cost
/// is often charged to whoever happens to run.
fn busy_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let ticks: Vec<f64> = stat
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .skip(1)
        .map(|t| t.parse().unwrap())
        .collect();
    // user nice system idle iowait irq softirq steal, in hundredths of a second.
    let busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
    busy / 100.0
}
