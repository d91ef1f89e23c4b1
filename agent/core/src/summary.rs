//! Where a node stands, in one sentence.

use std::fmt::Write as _;

use podnet_proto::api::{Phase, Severity, Status};

/// What `systemctl status` shows of the agent.
#[must_use]
pub fn summary(status: &Status) -> String {
    let Some(cluster) = &status.cluster else {
        return match status.phase {
            Phase::Joining => "joining a cluster".to_owned(),
            Phase::Idle
            | Phase::Ready
            | Phase::NoQuorum
            | Phase::Full
            | Phase::Fenced
            | Phase::Leaving => "idle: not a member of a cluster".to_owned(),
        };
    };
    let standing = match status.phase {
        Phase::Idle | Phase::Joining => "on the way to a block".to_owned(),
        Phase::Ready => {
            let blocks: Vec<_> = status.blocks.iter().map(ToString::to_string).collect();
            format!("block {}", blocks.join(", "))
        }
        Phase::NoQuorum => "no block, and no majority of the voters can be reached".to_owned(),
        Phase::Full => "no block, since none is free".to_owned(),
        Phase::Fenced => "fenced: its block is lost".to_owned(),
        Phase::Leaving => "leaving".to_owned(),
    };
    let peers = status.peers.len();
    let live = status.peers.iter().filter(|peer| peer.live).count();
    let noun = if peers == 1 { "peer" } else { "peers" };
    let mut text = format!(
        "member of cluster {}: {standing}, {live} of {peers} {noun} live",
        cluster.id
    );
    let errors = status
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .count();
    if errors > 0 {
        let noun = if errors == 1 { "error" } else { "errors" };
        // Writing to a string does not fail.
        let _ = write!(text, "; {errors} {noun}, see 'podnetctl status'");
    }
    text
}

#[cfg(test)]
mod tests {
    use podnet_proto::api::{
        API_VERSION, Cluster, Node, ProblemEntry, Quorum, Reconcile, SelfNode,
    };
    use podnet_proto::{Boot, ClusterId, ErrorCode, Instance, NodeId};

    use super::*;

    fn peer(live: bool) -> Node {
        Node {
            id: NodeId::from_bytes([1; 16]),
            name: None,
            is_self: false,
            addresses: Vec::new(),
            blocks: Vec::new(),
            live,
            last_seen_seconds: None,
            boot: None,
            encapsulation: None,
            path: None,
            path_reason: None,
        }
    }

    fn status(phase: Phase, member: bool) -> Status {
        let cluster = Cluster {
            id: ClusterId::from_bytes([0xab; 16]),
            pod_cidrs: Vec::new(),
            block_prefixes: Vec::new(),
            encapsulation: "direct".to_owned(),
            nodes: 3,
            live_nodes: 2,
        };
        Status {
            api: API_VERSION,
            phase,
            node: SelfNode {
                id: NodeId::from_bytes([0; 16]),
                name: "node1".parse().unwrap(),
                addresses: Vec::new(),
                version: String::new(),
                boot: Boot(1),
                instance: Instance(1),
            },
            cluster: member.then_some(cluster),
            blocks: vec!["10.244.1.0/24".parse().unwrap()],
            gateways: Vec::new(),
            mtu: None,
            quorum: Quorum {
                voters: 1,
                reachable: 1,
                ok: true,
            },
            pods: 0,
            held_by: None,
            held_reason: None,
            peers: vec![peer(true), peer(false)],
            reconcile: Reconcile::default(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn who_is_no_member_is_idle_or_on_the_way() {
        let idle = summary(&status(Phase::Idle, false));
        assert_eq!(idle, "idle: not a member of a cluster");
        let joining = summary(&status(Phase::Joining, false));
        assert_eq!(joining, "joining a cluster");
    }

    #[test]
    fn a_member_says_which_block_it_uses_and_who_is_live() {
        let mut ready = status(Phase::Ready, true);
        let cluster = "ab".repeat(16);
        assert_eq!(
            summary(&ready),
            format!("member of cluster {cluster}: block 10.244.1.0/24, 1 of 2 peers live")
        );
        ready.peers.pop();
        for severity in [Severity::Error, Severity::Warning] {
            ready.problems.push(ProblemEntry {
                code: ErrorCode::Unreachable,
                severity,
                message: String::new(),
                hint: None,
            });
        }
        assert_eq!(
            summary(&ready),
            format!(
                "member of cluster {cluster}: block 10.244.1.0/24, 1 of 1 peer live; \
                 1 error, see 'podnetctl status'"
            )
        );
    }

    #[test]
    fn a_member_without_a_block_says_why() {
        for (phase, why) in [
            (Phase::Joining, "on the way to a block"),
            (Phase::NoQuorum, "no majority"),
            (Phase::Full, "none is free"),
            (Phase::Fenced, "its block is lost"),
            (Phase::Leaving, "leaving"),
        ] {
            let text = summary(&status(phase, true));
            assert!(text.contains(why), "{text}");
            assert!(!text.contains("10.244.1.0/24"), "{text}");
        }
    }
}
