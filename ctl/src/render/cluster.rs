//! The node, its peers and routes as text.

use ipnetwork::{IpNetwork, NetworkSize};
use podnet_proto::api::{
    Cluster, Encapsulation, HeldBy, InitResponse, JoinResponse, Node, PathState, Phase,
    ProblemEntry, Quorum, Reconcile, Route, RouteState, Severity, Status,
};
use podnet_proto::network::MAX_PORTS;

use super::table::{Column, facts, table};
use super::text::{NOTHING, age, joined, nothing, optional, printable, span, yes_no};

const NODES: [Column<Node>; 9] = [
    Column::new("NAME", |node| optional(node.name.as_ref())),
    Column::wide("ID", |node| node.id.to_string()),
    Column::new("LIVE", |node| yes_no(node.live).to_owned()),
    Column::new("LAST-SEEN", last_seen),
    Column::new("ADDRESS", |node| joined(&node.addresses)),
    Column::new("BLOCK", |node| joined(&node.blocks)),
    Column::wide("BOOT", |node| optional(node.boot.as_ref())),
    Column::new("ENCAPSULATION", |node| encapsulation(node).to_owned()),
    Column::new("PATH", path),
];

const ROUTES: [Column<Route>; 6] = [
    Column::new("DESTINATION", |route| route.destination.to_string()),
    Column::new("VIA", |route| optional(route.via.as_ref())),
    Column::new("DEVICE", |route| optional(route.device.as_ref())),
    Column::new("NODE", |route| optional(route.node.as_ref())),
    Column::new("PROTOCOL", |route| route.protocol.to_string()),
    Column::new("STATE", |route| route_state(route.state).to_owned()),
];

/// What `status` shows.
pub(crate) fn status(status: &Status, wide: bool) -> String {
    let node = &status.node;
    let mut about = vec![
        ("Node", format!("{} ({})", node.name, node.id)),
        ("Addresses", joined(&node.addresses)),
        ("Agent", format!("podnetd {}", node.version)),
        (
            "Cluster",
            status.cluster.as_ref().map_or_else(nothing, cluster),
        ),
        ("Phase", phase(status.phase).to_owned()),
        ("Block", joined(&status.blocks)),
        ("Gateway", joined(&status.gateways)),
        ("MTU", optional(status.mtu.as_ref())),
        ("Quorum", quorum(&status.quorum)),
        ("Pods", status.pods.to_string()),
        ("Reconcile", reconcile(&status.reconcile)),
    ];
    if wide {
        about.push(("Pods held", held(status)));
        about.push(("Boot", node.boot.to_string()));
        about.push(("Instance", node.instance.to_string()));
    }
    let mut text = facts(&about);
    if !status.peers.is_empty() {
        text += "\nPeers:\n";
        text += &nodes(&status.peers, wide);
    }
    if !status.problems.is_empty() {
        text += "\nProblems:\n";
        text.extend(status.problems.iter().map(problem));
    }
    text
}

/// What `nodes` shows.
pub(crate) fn nodes(nodes: &[Node], wide: bool) -> String {
    table(&NODES, nodes, wide)
}

/// What `routes` shows.
pub(crate) fn routes(routes: &[Route]) -> String {
    table(&ROUTES, routes, false)
}

/// What `init` shows; the join command alone where that is enough.
pub(crate) fn init(founded: &InitResponse, quiet: bool) -> String {
    let command = printable(&founded.join_command);
    if quiet {
        return format!("{command}\n");
    }
    format!(
        "{} owns {} in cluster {}\n{}\nTo join another node, run on it:\n\n  {command}\n",
        founded.node.name,
        joined(&founded.blocks),
        cluster(&founded.cluster),
        room(&founded.blocks),
    )
}

/// What a block wider than the bridge has ports comes to.
fn room(blocks: &[IpNetwork]) -> String {
    let wide = blocks.iter().find(|block| match block.size() {
        NetworkSize::V4(addresses) => addresses > MAX_PORTS + NOT_PODS,
        NetworkSize::V6(_) => false,
    });
    wide.map_or_else(String::new, |block| {
        format!("A node has room for {MAX_PORTS} pods, the ports of its bridge; {block} has addresses for more.\n")
    })
}

/// The addresses of a block that no pod gets: of the network, of the gateway, and for broadcasts.
const NOT_PODS: u32 = 3;

/// What `version` shows.
pub(crate) fn versions(podnetctl: &str, podnetd: &str) -> String {
    facts(&[
        ("podnetctl", podnetctl.to_owned()),
        ("podnetd", podnetd.to_owned()),
    ])
}

/// What `join` shows in the end.
pub(crate) fn join(joined_as: &JoinResponse) -> String {
    format!(
        "{} owns {} in cluster {}\n",
        joined_as.node.name,
        joined(&joined_as.blocks),
        cluster(&joined_as.cluster)
    )
}

fn cluster(cluster: &Cluster) -> String {
    let networks: Vec<String> = cluster
        .pod_cidrs
        .iter()
        .zip(&cluster.block_prefixes)
        .map(|(cidr, prefix)| format!("{cidr} in /{prefix}"))
        .collect();
    format!(
        "{} ({}, {}; {} nodes, {} live)",
        cluster.id,
        networks.join(", "),
        cluster.encapsulation,
        cluster.nodes,
        cluster.live_nodes
    )
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle (not a member of a cluster)",
        Phase::Joining => "joining (on the way to a block)",
        Phase::Ready => "ready",
        Phase::NoQuorum => "no-quorum (wants a block; no majority of the voters can be reached)",
        Phase::Full => "full (wants a block; none is free)",
        Phase::Fenced => "fenced (has lost its block)",
        Phase::Leaving => "leaving",
    }
}

fn quorum(quorum: &Quorum) -> String {
    if quorum.voters == 0 {
        return NOTHING.to_owned();
    }
    format!(
        "{}, {} of {} voters can be reached",
        if quorum.ok { "ok" } else { "lost" },
        quorum.reachable,
        quorum.voters
    )
}

/// What pods are held to, and what a host without nftables cannot give.
fn held(status: &Status) -> String {
    match (status.held_by, &status.held_reason) {
        (None, _) => nothing(),
        (Some(HeldBy::Nftables), _) => "to their MAC and IP addresses".to_owned(),
        (Some(HeldBy::Bridge), reason) => format!(
            "to their MAC addresses only: a pod can send, and answer ARP, as another of this node ({})",
            optional(reason.as_ref())
        ),
    }
}

fn reconcile(reconcile: &Reconcile) -> String {
    let last = reconcile
        .last_duration_seconds
        .map_or_else(String::new, |seconds| {
            format!(
                "; the last took {}, {}",
                span(seconds),
                optional(reconcile.last_at.as_ref())
            )
        });
    format!(
        "{} passes, {} operations, {} failed, {} put back{last}",
        reconcile.passes, reconcile.operations_total, reconcile.failed_total, reconcile.drift_total
    )
}

fn last_seen(node: &Node) -> String {
    node.last_seen_seconds.map_or_else(nothing, age)
}

const fn route_state(state: RouteState) -> &'static str {
    match state {
        RouteState::Ok => "ok",
        RouteState::Missing => "missing",
        RouteState::Foreign => "foreign",
        RouteState::Unreachable => "unreachable",
    }
}

const fn encapsulation(node: &Node) -> &'static str {
    match node.encapsulation {
        Some(Encapsulation::Direct) => "direct",
        Some(Encapsulation::Wireguard) => "wireguard",
        None => NOTHING,
    }
}

fn path(node: &Node) -> String {
    let state = match node.path {
        Some(PathState::Ok) => return "ok".to_owned(),
        None if node.is_self => return "(this node)".to_owned(),
        None => return NOTHING.to_owned(),
        Some(PathState::Pending) => "pending",
        Some(PathState::Failed) => "unreachable!",
    };
    match &node.path_reason {
        Some(reason) => format!("{state} ({reason})"),
        None => state.to_owned(),
    }
}

fn problem(problem: &ProblemEntry) -> String {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let hint = problem.hint.as_ref().map_or_else(String::new, |hint| {
        format!("    hint: {}\n", printable(hint))
    });
    let message = printable(&problem.message);
    format!("  {severity}: {message} ({})\n{hint}", problem.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Status {
        serde_json::from_str(include_str!("../../tests/cli/fixtures/ready.json")).unwrap()
    }

    #[test]
    fn a_ready_node_shows_peers_and_problems() {
        assert_eq!(
            status(&ready(), false),
            "\
Node:       node2 (aaaaaaaaaaaaaaaaaaaaaaaaae)
Addresses:  10.0.0.2:7846
Agent:      podnetd 0.1.0
Cluster:    00112233445566778899aabbccddeeff (10.244.0.0/16 in /24, direct; 3 nodes, 2 live)
Phase:      ready
Block:      10.244.1.0/24
Gateway:    10.244.1.1
MTU:        1500
Quorum:     ok, 2 of 3 voters can be reached
Pods:       4
Reconcile:  7 passes, 31 operations, 0 failed, 1 put back; the last took 2.1ms, 2026-01-02T03:04:05Z

Peers:
NAME   LIVE  LAST-SEEN  ADDRESS        BLOCK          ENCAPSULATION  PATH
node1  yes   0s         10.0.0.1:7846  10.244.0.0/24  direct         ok
-      no    6h         10.0.0.3:7846  10.244.2.0/24  direct         unreachable! (no echo)

Problems:
  error: node3: no echo\\u{1b}[31m (unreachable)
    hint: is it up?
"
        );
    }

    #[test]
    fn an_idle_node_shows_no_empty_sections() {
        let idle = Status {
            phase: Phase::Idle,
            cluster: None,
            blocks: vec![],
            gateways: vec![],
            peers: vec![],
            problems: vec![],
            quorum: Quorum {
                voters: 0,
                reachable: 0,
                ok: false,
            },
            ..ready()
        };
        let text = status(&idle, false);
        assert!(
            text.contains("Phase:      idle (not a member of a cluster)\n"),
            "{text}"
        );
        assert!(text.contains("Quorum:     -\n"), "{text}");
        assert!(
            !text.contains("Peers") && !text.contains("Problems"),
            "{text}"
        );
    }

    #[test]
    fn routes_are_a_table() {
        let route: Vec<Route> = serde_json::from_str(
            r#"[{"destination":"10.244.0.0/24","via":"10.0.0.1","device":"eth1","node":"node1",
            "protocol":112,"state":"ok"},{"destination":"10.244.0.0/16","via":null,"device":null,
            "node":null,"protocol":112,"state":"unreachable"}]"#,
        )
        .unwrap();
        assert_eq!(
            routes(&route),
            "DESTINATION    VIA       DEVICE  NODE   PROTOCOL  STATE\n\
             10.244.0.0/24  10.0.0.1  eth1    node1  112       ok\n\
             10.244.0.0/16  -         -       -      112       unreachable\n"
        );
    }
}
