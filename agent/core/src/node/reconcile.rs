//! When a pass of the reconciler runs, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::kernel::{
    Astray, Bystander, Change, Changes, Conflict, Desired, HostAddress, Kind, Kinds, Mtu,
    ObservedHolding, Op, OpError, OpErrorClass, PeerBlock, RouteKey, UnderlayPath,
};
use crate::time::Moment;
use ipnetwork::{IpNetwork, Ipv4Network};
use podnet_proto::network::gateway;
use podnet_proto::{ApiError, ErrorCode, NodeId, api};

use super::allowance::Allowance;
use super::effect::Effect;
use super::error;
use super::machine::Node;
use super::patience::Patience;
use super::retry::{Retry, class_of};
use crate::node::echoes::Targets;
use crate::pass::{Job, Report, Target, Underlay};

mod outcome;

pub use self::outcome::Repair;

/// What is known of the data path, and when to look at it next.
pub(super) struct Reconciling {
    /// What to look at in the next pass.
    wanted: Kinds,
    /// What the kernel has reported since the last pass began.
    told: Changes,
    /// When to start the next pass.
    due: Option<Moment>,
    /// A pass is under way.
    running: Option<Running>,
    resync: Duration,
    resync_due: Moment,
    patience: Patience,
    /// For looks at the firewall, which cost the more the more rules other programs have.
    allowance: Allowance,
    /// For looks at the ways of packets, which cost the more the more peers and routes there are.
    allowance_of_ways: Allowance,
    retry: Retry,
    /// The class of what the last pass left wrong.
    left: Option<OpErrorClass>,
    pub(super) totals: api::Reconcile,
    /// What the kernel was last known to hold, but for pods.
    held: Desired,
    /// What the kernel should hold.
    pub(super) desired: Desired,
    pub(super) mtu: Option<Mtu>,
    pub(super) underlay: BTreeMap<IpAddr, UnderlayPath>,
    /// The host's addresses; unknown before the first look.
    pub(super) addresses: Option<Vec<HostAddress>>,
    /// The foreign objects that are in the way.
    pub(super) conflicts: BTreeSet<Conflict>,
    /// Whether the bridge did not come up.
    pub(super) bridge_down: bool,
    /// What leads packets astray between pods of this node and pods of these nodes.
    pub(super) astray: BTreeMap<NodeId, Astray>,
    /// What other programs have beside podnet's rules.
    pub(super) bystanders: BTreeSet<Bystander>,
    /// Changes that failed in the last pass.
    pub(super) failed: Vec<(Op, OpError)>,
    /// Why some pods could not be looked into in the last pass.
    pub(super) hidden: Vec<OpError>,
    /// Why the last pass could not look at the kernel.
    pub(super) blind: Option<ApiError>,
    /// Why the ways of packets could not be looked at.
    pub(super) unseen_ways: Option<ApiError>,
    /// Why the last pass could not look at the firewall.
    pub(super) unread_firewall: Option<ApiError>,
    /// Whether nftables holds pods; unknown before the first look.
    pub(super) holding: Option<ObservedHolding>,
    /// Whether the last pass found or made everything right.
    converged: bool,
    /// The peers' blocks that the routes were last computed from.
    pub(super) peers: Option<Vec<PeerBlock>>,
}

/// What a pass that is under way looks at, and why.
#[derive(Default)]
struct Running {
    /// Whether the node used a block when the pass began.
    for_block: bool,
    parts: Kinds,
    told: Changes,
}

impl Reconciling {
    pub(super) fn new(now: Moment, resync: Duration) -> Self {
        Self {
            wanted: Kinds::default(),
            told: Changes::default(),
            due: None,
            running: None,
            resync,
            resync_due: now + resync,
            patience: Patience::new(now),
            allowance: Allowance::new(now),
            allowance_of_ways: Allowance::new(now),
            retry: Retry::default(),
            left: None,
            totals: api::Reconcile::default(),
            held: Desired::default(),
            desired: Desired::default(),
            mtu: None,
            underlay: BTreeMap::new(),
            addresses: None,
            conflicts: BTreeSet::new(),
            bridge_down: false,
            astray: BTreeMap::new(),
            bystanders: BTreeSet::new(),
            failed: Vec::new(),
            hidden: Vec::new(),
            blind: None,
            unseen_ways: None,
            unread_firewall: None,
            holding: None,
            converged: false,
            peers: None,
        }
    }

    /// Asks for a pass at once.
    pub(super) fn want(&mut self, parts: Kinds) {
        self.wanted.merge(parts);
        self.due = Some(Moment::START);
    }

    /// Asks for a pass after a moment: changes come in swarms.
    pub(super) fn on_change(&mut self, change: Change, now: Moment) {
        self.wanted.merge(Kinds::touched_by(&change.kind));
        self.told.add(change);
        self.look_soon(now);
    }

    fn look_soon(&mut self, now: Moment) {
        self.look_at(Kinds::default(), now + self.patience.delay(now));
    }

    /// Asks for a pass at `due`, if none is due before.
    pub(super) fn look_at(&mut self, parts: Kinds, due: Moment) {
        self.wanted.merge(parts);
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Asks for another pass if the one that is under way knows a pod only as it was: that pass may
    /// have put back the neighbour of a pod that has just been removed, or removed that of a new one.
    pub(super) fn pod_changed(&mut self, now: Moment) {
        if self.running.is_some() {
            self.wanted.extend([Kind::Bridge, Kind::Holding]);
            self.look_soon(now);
        }
    }

    /// Asks for another pass after something was put right, or went wrong in a way that may pass: later
    /// each time, until a pass finds everything right.
    pub(super) fn look_again(&mut self, parts: Kinds, now: Moment) {
        self.look_after(parts, OpErrorClass::Transient, now);
    }

    /// Asks for another pass after failures of this class.
    pub(super) fn look_after(&mut self, parts: Kinds, class: OpErrorClass, now: Moment) {
        let due = self.retry.due(class, now);
        self.look_at(parts, due);
    }

    /// Puts off looks at the firewall and at the ways of packets for which there is no time left.
    fn put_off(&mut self, parts: &mut Kinds, now: Moment) {
        let next = self.allowance.next(now);
        if next > now && parts.remove(&Kind::Firewall) {
            self.look_at(Kinds::from([Kind::Firewall]), next);
        }
        let next = self.allowance_of_ways.next(now);
        if next > now && parts.remove(&Kind::Ways) {
            self.look_at(Kinds::from([Kind::Ways]), next);
        }
    }

    /// Forgets everything: the node is no longer a member.
    pub(super) fn reset(&mut self, now: Moment) {
        let totals = std::mem::take(&mut self.totals);
        let running = self.running.take();
        *self = Self::new(now, self.resync);
        self.totals = totals;
        self.running = running;
    }

    /// Whether another pass may put right what the last one left wrong, with nothing else changed.
    /// A foreign object stays in the way until its owner removes it.
    pub(super) fn may_improve(&self) -> bool {
        self.left == Some(OpErrorClass::Transient)
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        if self.running.is_some() {
            return None;
        }
        Some(
            self.due
                .map_or(self.resync_due, |due| due.min(self.resync_due)),
        )
    }

    /// Why the node has no bridge that is up; `None` if it has one.
    pub(super) fn bridge_hindrance(&self) -> Option<ApiError> {
        if !self.bridge_down {
            return None;
        }
        let mut failed = self.failed.iter();
        let failed = failed.find(|(op, _)| op.brings_bridge_up());
        Some(match failed {
            Some((_, op_error)) => error::op(op_error),
            None => ApiError::new(ErrorCode::Internal, "bridge podnet0: it is not up"),
        })
    }
}

impl Node {
    /// Starts a pass if one is due and none is under way.
    pub(super) fn start_due_pass(&mut self, now: Moment) {
        let Some(membership) = self.life.member() else {
            self.reconciling.due = None;
            self.reconciling.resync_due = now + self.reconciling.resync;
            return;
        };
        if !membership.decided {
            return;
        }
        if self.reconciling.running.is_some() {
            return;
        }
        let resync = now >= self.reconciling.resync_due;
        if resync {
            self.reconciling.resync_due = now + self.reconciling.resync;
            self.reconciling.wanted = Kinds::all();
        } else if self.reconciling.due.is_none_or(|due| due > now) {
            return;
        }
        self.reconciling.due = None;
        let mut parts = std::mem::take(&mut self.reconciling.wanted);
        if !resync {
            self.reconciling.put_off(&mut parts, now);
        }
        if parts.is_empty() {
            return;
        }
        let told = std::mem::take(&mut self.reconciling.told);
        let node = self.own();
        let target = membership
            .block()
            .zip(membership.ledger())
            .map(|(block, ledger)| Target {
                networks: ledger.networks.clone(),
                excluded: ledger.settings.exclude_cidrs.clone(),
                block,
                peers: membership.peer_blocks(node),
                pods: self.pods.attached(),
                in_flight: self.pods.in_flight(),
            });
        let job = Job {
            target,
            underlay: Underlay {
                address: *membership.member.advertise.ip(),
                peers: membership.peer_addresses(node),
                mtu: self.reconciling.mtu,
            },
            kinds: parts.clone(),
            held: self.reconciling.held.clone(),
        };
        self.pods.pass_begins();
        let for_block = job.target.is_some();
        self.reconciling.running = Some(Running {
            for_block,
            parts,
            told,
        });
        self.effects.push(Effect::Pass(Box::new(job)));
        if resync {
            self.suspicion.look(now, now);
            // Pods that could not be removed before the node leaves are removed now, if they can be.
            self.go_on_leaving();
        }
    }

    pub(super) fn on_pass_done(&mut self, mut report: Report) {
        let now = self.now();
        let pods = std::mem::take(&mut report.pods);
        let gone = std::mem::take(&mut report.gone);
        let running = self.reconciling.running.take();
        let Running {
            for_block,
            parts,
            mut told,
        } = running.unwrap_or_default();
        if let Some(membership) = self.life.member_mut() {
            membership.init_passes += u64::from(for_block);
        }
        // A link is removed in steps, and the kernel names the process with the last one.
        told.merge(self.reconciling.told.clone());
        let stopped = report.desired.bridge.is_none();
        let found = report.applied.iter().map(|(finding, _)| finding);
        if found.chain(&pods).any(|finding| finding.drift) {
            self.reconciling.patience.put_back(now);
        }
        self.reconciling.take(report, &told, now);
        if self.life.member().is_none() {
            self.reconciling.held = Desired::default();
            self.pods.pass_ends();
            return;
        }

        self.aim_echoes();
        self.follow_flows();

        for host_ifname in gone {
            self.pod_gone(&host_ifname);
        }
        self.forget_repaired(&parts, &pods);
        let pods_right = pods.is_empty();
        let repairs = pods.into_iter().map(|found| Repair::new(found, &told));
        self.repair_pods(repairs.collect());
        self.pods.pass_ends();

        // The next pass, whatever it is for, looks at the conflicts as well: else they would be taken for gone.
        let contested = Kinds::contested(&self.reconciling.conflicts);
        self.reconciling.wanted.merge(contested);
        if self.reconciling.converged {
            self.reconciling.retry = Retry::default();
            if stopped {
                self.data_path_stopped();
            }
        } else {
            // A pod that is being attached or detached asks for a pass of its own at its end.
            let unfinished = (stopped && !pods_right).then_some(OpErrorClass::Transient);
            if let Some(class) = class_of(self.reconciling.left.into_iter().chain(unfinished)) {
                // What the later pass puts right has the same cause.
                self.reconciling.told = told;
                self.reconciling.look_after(parts, class, now);
            } else if pods_right {
                self.reconciling.retry = Retry::default();
            } else {
                self.reconciling.wanted.merge(parts);
            }
        }
        self.add_early_pods();
        self.answer_init();
    }
}

impl Node {
    /// Sends echoes to the peers that have a route. Without a route, echoes would leave by the default
    /// gateway.
    fn aim_echoes(&mut self) {
        let Some(membership) = self.life.member() else {
            return;
        };
        let routed = |block: Ipv4Network| {
            let key = RouteKey::to(IpNetwork::V4(block));
            let missing = self
                .reconciling
                .failed
                .iter()
                .any(|(op, _)| op.destination() == Some(key.destination));
            self.reconciling.desired.routes.contains_key(&key) && !missing
        };
        let peers = membership.peer_blocks(self.own()).into_iter();
        let targets = peers
            .filter(|peer| routed(peer.block))
            .map(|peer| (peer.node, gateway(peer.block).into()))
            .collect();
        let targets = Targets {
            source: membership.block().map(|block| gateway(block).into()),
            gateways: targets,
        };
        self.effects.push(Effect::Aim(targets));
    }
}
