//! How far a join is: a pure function of the agent's status.

use std::fmt;

use podnet_proto::api::{Node, PathState, Phase, Quorum, Severity, Status};
use podnet_proto::{ApiError, ErrorCode};

use crate::render::joined;

/// Whether the agent may still be probing members that gossip does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probes {
    /// It may: a silent member counts as dead only when its probe has failed.
    Running,
    /// They have had their time: a silent member is dead.
    Over,
}

/// How far a join is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something is still missing.
    Waiting(Step),
    /// The node owns a block and has a path to every live peer.
    Done {
        /// The peers that were not waited for.
        dead: Vec<String>,
        /// The peers that only gossip knows of, and why.
        unproved: Vec<String>,
    },
    /// It will not get there by waiting.
    Stopped(ApiError),
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The agent is not on the way.
    NotJoining(&'static str),
    /// A block.
    Block(Option<String>),
    /// Paths to peers.
    Paths {
        /// The node's own blocks.
        blocks: String,
        /// How many peers packets reach.
        ok: usize,
        /// How many they must reach.
        of: usize,
        /// The other peers, and why they are not reached.
        missing: Vec<String>,
    },
    /// An agent that reports it.
    Agent(String),
}

impl Step {
    /// The step in a few words, for the spinner.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::NotJoining(_) | Self::Block(_) | Self::Agent(_) => self.to_string(),
            Self::Paths { blocks, ok, of, .. } => {
                format!("owns {blocks}; path to {ok} of {of} peers")
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJoining(phase) => write!(f, "this node is {phase}"),
            Self::Block(None) => f.write_str("no block yet"),
            Self::Block(Some(why)) => write!(f, "no block yet: {why}"),
            Self::Paths { missing, .. } => write!(f, "no path to {}", missing.join("; ")),
            Self::Agent(why) => f.write_str(why),
        }
    }
}

/// Reads how far the join is from the agent's status.
pub(crate) fn progress(status: &Status, probes: Probes) -> Progress {
    let stopped = |code, why: &str, hint: &str| {
        Progress::Stopped(ApiError::new(code, format!("join: {why}")).hint(hint))
    };
    match status.phase {
        // An agent takes a moment to begin; and one that has been told to leave meanwhile is
        // named when the time is over.
        Phase::Idle => Progress::Waiting(Step::NotJoining("not a member of the cluster")),
        Phase::Leaving => Progress::Waiting(Step::NotJoining("leaving the cluster")),
        Phase::Joining if !status.quorum.ok && status.quorum.voters > 0 => {
            Progress::Waiting(no_majority(&status.quorum))
        }
        Phase::NoQuorum => Progress::Waiting(no_majority(&status.quorum)),
        Phase::Joining => Progress::Waiting(Step::Block(first_error(status))),
        Phase::Full => stopped(
            ErrorCode::Full,
            "no block is free in the pod network",
            "let a node that is not needed leave; this one then takes its block by itself",
        ),
        Phase::Fenced => stopped(
            ErrorCode::Fenced,
            "this node has lost its block, or another runs with its identity",
            "`podnetctl status` tells which; `podnetd reset --new-identity` makes a copy of a \
             node one of its own",
        ),
        Phase::Ready => paths(status, probes),
    }
}

fn paths(status: &Status, probes: Probes) -> Progress {
    let mut ok = 0;
    let (mut missing, mut dead, mut unproved) = (Vec::new(), Vec::new(), Vec::new());
    for peer in &status.peers {
        let state = peer.path.unwrap_or(PathState::Pending);
        match state {
            PathState::Ok => ok += 1,
            PathState::Failed if !peer.live => dead.push(name(peer)),
            PathState::Pending if !peer.live && probes == Probes::Over => dead.push(name(peer)),
            PathState::Pending if peer.is_unproved() => unproved.push(describe(peer, "")),
            PathState::Pending => missing.push(describe(peer, "no answer yet")),
            PathState::Failed => missing.push(describe(peer, "packets do not come through")),
        }
    }
    if missing.is_empty() {
        return Progress::Done { dead, unproved };
    }
    Progress::Waiting(Step::Paths {
        blocks: joined(&status.blocks),
        ok,
        of: ok + missing.len(),
        missing,
    })
}

fn no_majority(quorum: &Quorum) -> Step {
    Step::Block(Some(format!(
        "no majority of voters reachable ({} of {})",
        quorum.reachable, quorum.voters
    )))
}

fn first_error(status: &Status) -> Option<String> {
    status
        .problems
        .iter()
        .find(|problem| problem.severity == Severity::Error)
        .map(|problem| problem.message.clone())
}

/// A peer's name and address, as far as they are known.
fn name(peer: &Node) -> String {
    let name = match &peer.name {
        Some(name) => name.to_string(),
        None => peer.id.to_string(),
    };
    match peer.addresses.first() {
        Some(address) => format!("{name} ({address})"),
        None => name,
    }
}

fn describe(peer: &Node, otherwise: &str) -> String {
    let reason = peer.path_reason.as_deref().unwrap_or(otherwise);
    format!("{}: {reason}", name(peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Owns a block; node1 is live and reached, a second peer is dead and not.
    fn ready() -> Status {
        serde_json::from_str(include_str!("../../../tests/cli/fixtures/ready.json")).unwrap()
    }

    fn in_phase(phase: Phase) -> Status {
        Status {
            phase,
            blocks: vec![],
            problems: vec![],
            ..ready()
        }
    }

    fn waiting(status: &Status) -> String {
        match progress(status, Probes::Over) {
            Progress::Waiting(step) => step.to_string(),
            Progress::Done { .. } | Progress::Stopped(_) => panic!("not waiting: {status:?}"),
        }
    }

    #[test]
    fn done_when_every_live_peer_is_reached_and_the_dead_are_named() {
        let dead = vec!["aaaaaaaaaaaaaaaaaaaaaaaaai (10.0.0.3:7846)".to_owned()];
        let unproved = vec![];
        let done = Progress::Done { dead, unproved };
        assert_eq!(progress(&ready(), Probes::Over), done);
    }

    #[test]
    fn a_founder_without_peers_is_done() {
        let mut alone = ready();
        alone.peers.clear();
        assert_eq!(
            progress(&alone, Probes::Running),
            Progress::Done {
                dead: vec![],
                unproved: vec![]
            }
        );
    }

    #[test]
    fn a_live_peer_without_a_path_holds_it_up_and_is_named() {
        let mut status = ready();
        status.peers[0].path = Some(PathState::Failed);
        status.peers[0].path_reason = Some("no echo from 10.244.0.1".to_owned());
        assert_eq!(
            waiting(&status),
            "no path to node1 (10.0.0.1:7846): no echo from 10.244.0.1"
        );
        status.peers[0].path = None;
        status.peers[0].path_reason = None;
        assert_eq!(
            waiting(&status),
            "no path to node1 (10.0.0.1:7846): no answer yet"
        );
    }

    #[test]
    fn a_silent_peer_is_waited_for_while_it_is_probed() {
        let mut status = ready();
        status.peers[1].path = Some(PathState::Pending);
        let Progress::Waiting(step) = progress(&status, Probes::Running) else {
            panic!("not waited for");
        };
        assert_eq!(step.brief(), "owns 10.244.1.0/24; path to 1 of 2 peers");
        assert!(matches!(
            progress(&status, Probes::Over),
            Progress::Done { dead, .. } if dead.len() == 1
        ));
    }

    #[test]
    fn the_word_of_gossip_is_taken_for_a_peer_that_answers_no_echo() {
        let mut status = ready();
        status.peers.truncate(1);
        status.peers[0].path = Some(PathState::Pending);
        status.peers[0].path_reason = Some("unproved: no echo".to_owned());
        let done = Progress::Done {
            dead: vec![],
            unproved: vec!["node1 (10.0.0.1:7846): unproved: no echo".to_owned()],
        };
        assert_eq!(progress(&status, Probes::Running), done);
        status.peers[0].path = Some(PathState::Failed);
        assert!(waiting(&status).contains("node1"));
    }

    #[test]
    fn without_a_block_it_says_why() {
        let mut status = in_phase(Phase::Joining);
        assert_eq!(waiting(&status), "no block yet");
        status.quorum.ok = false;
        status.quorum.reachable = 1;
        let expected = "no block yet: no majority of voters reachable (1 of 3)";
        assert_eq!(waiting(&status), expected);
        status.phase = Phase::NoQuorum;
        assert_eq!(waiting(&status), expected);

        let mut status = in_phase(Phase::Joining);
        status.problems = ready().problems;
        assert!(waiting(&status).starts_with("no block yet: node3: no echo"));
    }

    #[test]
    fn full_and_fenced_end_it() {
        for (phase, code) in [
            (Phase::Full, ErrorCode::Full),
            (Phase::Fenced, ErrorCode::Fenced),
        ] {
            assert!(matches!(
                progress(&in_phase(phase), Probes::Over),
                Progress::Stopped(error) if error.code == code
            ));
        }
    }

    #[test]
    fn a_node_that_does_not_join_is_named_as_such() {
        assert!(waiting(&in_phase(Phase::Idle)).contains("not a member"));
        assert!(waiting(&in_phase(Phase::Leaving)).contains("leaving"));
    }
}
