//! Chains of other programs that are in the way of pods.
//!
//! A packet has to pass the chains of all tables: podnet cannot overrule them, and names them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::kernel::{IfName, Kind, UnderlayPath};
use crate::nft::{Flow, Suspect, flows};
use crate::time::Moment;
use ipnetwork::Ipv4Network;
use podnet_proto::api::{PathState, Severity};
use podnet_proto::{ApiError, ErrorCode, PodNetwork};

use super::allowance::Allowance;
use super::effect::Effect;
use super::event::Looked;
use super::machine::Node;

/// How long to collect changes before looking at them: nothing can be put right here, so there is no hurry.
const LATER: Duration = Duration::from_millis(300);

/// What is known of the chains of other programs.
pub(super) struct Suspicion {
    found: BTreeSet<Suspect>,
    /// The packets of pods by which the chains were last judged.
    flows: Vec<Flow>,
    due: Option<Moment>,
    running: bool,
    allowance: Allowance,
}

impl Suspicion {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            found: BTreeSet::new(),
            flows: Vec::new(),
            due: None,
            running: false,
            allowance: Allowance::new(now),
        }
    }

    /// A change of chains may have put something in the way of pods, or taken it away.
    pub(super) fn on_change(&mut self, kind: &Kind, now: Moment) {
        if matches!(kind, Kind::Firewall | Kind::OtherChains | Kind::Everything) {
            self.look(now + LATER, now);
        }
    }

    /// Asks for a look at `due`, or as soon after it as the time that earlier looks took allows.
    pub(super) fn look(&mut self, due: Moment, now: Moment) {
        let due = due.max(self.allowance.next(now));
        self.due.get_or_insert(due);
    }

    /// Forgets what was found: the node is no longer a member.
    pub(super) fn forget(&mut self) {
        self.found.clear();
        self.flows.clear();
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.due.filter(|_| !self.running)
    }

    fn take(&mut self, looked: Looked, now: Moment) {
        self.running = false;
        self.allowance.spend(looked.took, now);
        let found = looked.found.unwrap_or_default();
        for suspect in found.difference(&self.found) {
            if suspect.certain {
                tracing::warn!(%suspect, "another program's chain is in the way of pods");
            } else {
                tracing::debug!(%suspect, "another program's chain may be in the way of pods");
            }
        }
        for suspect in self.found.difference(&found).filter(|found| found.certain) {
            tracing::info!(%suspect, "another program's chain is no longer in the way of pods");
        }
        self.found = found;
    }
}

impl Node {
    /// Looks again if pods send by other ways than before.
    pub(super) fn follow_flows(&mut self) {
        let flows = self.flows();
        if self.suspicion.flows != flows {
            self.suspicion.flows = flows;
            let now = self.now();
            self.suspicion.look(now, now);
        }
    }

    fn flows(&self) -> Vec<Flow> {
        let Some(membership) = self.life.member() else {
            return Vec::new();
        };
        let Some(block) = membership.block() else {
            return Vec::new();
        };
        let ways = self.reconciling.underlay.values().filter_map(|path| {
            if let UnderlayPath::OnLink { ifname, .. } = path {
                Some(ifname.clone())
            } else {
                None
            }
        });
        let ways: BTreeSet<IfName> = ways.collect();
        flows(block, &networks(&membership.member.networks), &ways)
    }

    /// Starts a look if one is due and none is under way.
    pub(super) fn start_due_suspicion(&mut self, now: Moment) {
        let due = self.suspicion.next_deadline();
        if due.is_none_or(|due| due > now) {
            return;
        }
        self.suspicion.due = None;
        self.suspicion.running = true;
        let flows = self.suspicion.flows.clone();
        self.effects.push(Effect::LookAtChains(flows));
    }

    pub(super) fn on_looked(&mut self, looked: Looked) {
        self.suspicion.take(looked, self.now());
    }

    /// The chains in the way of pods. A chain that may be harmless counts only while packets do get lost.
    pub(super) fn problems_of_chains(&self) -> Vec<(Severity, ApiError)> {
        let Some(membership) = self.life.member() else {
            return Vec::new();
        };
        let networks = networks(&membership.member.networks);
        let mut nodes = self.nodes().into_iter();
        let lossy = nodes.any(|node| node.path == Some(PathState::Failed));
        let counts = |suspect: &&Suspect| suspect.certain || (lossy && !suspect.translates);
        let problem = |suspect: &Suspect| {
            let severity = if suspect.certain && !suspect.translates {
                Severity::Error
            } else {
                Severity::Warning
            };
            let api_error = ApiError::new(ErrorCode::ForeignObject, suspect.to_string());
            (severity, api_error.hint(suspect.cure(&networks)))
        };
        let found = self.suspicion.found.iter();
        found.filter(counts).map(problem).collect()
    }
}

fn networks(networks: &[PodNetwork]) -> Vec<Ipv4Network> {
    networks.iter().map(PodNetwork::cidr).collect()
}
