//! What is wrong on this node, and the cure.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::advertise::{Lost, lost};
use crate::claim::{ClaimState, Quorum, UnknownSetting};
use crate::kernel::{Conflict, OpErrorKind};
use podnet_proto::api::{self, PathState, ProblemEntry, Severity};
use podnet_proto::gossip::Key;
use podnet_proto::{ApiError, ErrorCode, NodeId};

use super::distrust::distrust;
use super::error;
use super::machine::Node;
use super::member::Member;
use super::membership::{Membership, Talk};
use super::pods::PodRecord;
use crate::node::echoes::NO_ECHO;

impl Node {
    pub(super) fn problems(&self) -> Vec<ProblemEntry> {
        let mut problems = Vec::new();
        let mut add = |severity, api_error: ApiError| {
            problems.push(ProblemEntry {
                code: api_error.code,
                severity,
                message: api_error.message,
                hint: api_error.hint,
            });
        };
        let Some(membership) = self.life.member() else {
            for what in &self.left {
                let api_error = ApiError::new(ErrorCode::ForeignObject, what.clone())
                    .hint("set it back yourself once no other program needs it");
                add(Severity::Warning, api_error);
            }
            if let Some(remains) = &self.remains {
                add(Severity::Error, remains.problem());
            }
            return problems;
        };
        if let Some(disk_error) = &membership.disk_error {
            add(Severity::Error, disk_error.clone());
        }
        let saving = membership.saving.as_ref();
        if saving.is_some_and(|_| self.now().since(membership.saving_since) > SLOW_DISK) {
            add(Severity::Error, slow_disk());
        }
        if membership.state == ClaimState::Dup {
            add(Severity::Error, fenced());
        }
        for (severity, api_error) in distrust(membership, self.setup.on_known_machine) {
            add(severity, api_error);
        }
        for setting in &membership.unknown {
            add(Severity::Error, unknown(setting));
        }
        if membership.talk != Talk::Runs {
            add(Severity::Error, no_gossip(membership.silenced.as_ref()));
        }
        for (key, why) in &membership.unsaid {
            add(Severity::Error, unsaid(*key, why));
        }
        let told = *membership.member.advertise.ip();
        if let Some(lost) = self
            .reconciling
            .addresses
            .as_ref()
            .and_then(|addresses| lost(told, self.setup.advertise, addresses))
        {
            add(Severity::Error, lost_address(&lost, &membership.member));
        }
        if let Some(blind) = &self.reconciling.blind {
            add(Severity::Error, blind.clone());
        }
        if let Some(unread) = &self.reconciling.unread_firewall {
            add(Severity::Error, unread.clone());
        }
        let failed = self.reconciling.failed.iter();
        for (op, op_error) in failed.chain(self.pods.unrepaired()) {
            let mut api_error = error::op(op_error);
            api_error.message = format!("{op}: {}", api_error.message);
            if op_error.kind == OpErrorKind::NotFound {
                api_error.code = ErrorCode::Internal;
            }
            add(Severity::Error, api_error);
        }
        for (name, unremoved) in &self.pods.unremoved {
            let mut api_error = unremoved.clone();
            api_error.message = format!("pod {name}: it cannot be removed: {}", api_error.message);
            add(Severity::Error, api_error);
        }
        for (severity, api_error) in self.problems_of_chains() {
            add(severity, api_error);
        }
        for op_error in &self.reconciling.hidden {
            add(Severity::Error, error::op(op_error));
        }
        if let Some(unseen) = &self.reconciling.unseen_ways {
            add(Severity::Warning, unseen.clone());
        }
        for (severity, api_error) in foreign(&self.reconciling.conflicts) {
            add(severity, api_error);
        }
        if let Some(gone) = gone(&self.pods.gone().collect::<Vec<_>>()) {
            add(Severity::Warning, gone);
        }
        for found in &self.reconciling.bystanders {
            let api_error = ApiError::new(ErrorCode::ForeignObject, &found.what).hint(found.cure);
            add(Severity::Warning, api_error);
        }
        if membership.ledger().is_some() && !membership.quorum.ok() {
            let severity = match membership.block() {
                Some(_) => Severity::Warning,
                None => Severity::Error,
            };
            add(severity, no_quorum(membership, self.own()));
        }
        for (severity, api_error) in self.problems_of_pods_packets() {
            add(severity, api_error);
        }
        for node in self.nodes() {
            match node.path {
                Some(PathState::Failed) => {
                    let mut api_error = no_path(&node);
                    if let Some(astray) = self.reconciling.astray.get(&node.id) {
                        api_error = api_error.hint(astray.cure.clone());
                    }
                    add(Severity::Warning, api_error);
                }
                Some(PathState::Ok) if !node.live => {
                    if let Some(seconds) = node.last_seen_seconds {
                        let port = membership.member.advertise.port();
                        add(Severity::Warning, silent(&node, seconds, port));
                    }
                }
                Some(PathState::Pending) if node.is_unproved() => {
                    add(Severity::Warning, unproved(&node));
                }
                Some(PathState::Ok | PathState::Pending) | None => {}
            }
        }
        problems
    }
}

/// How long a write to disk may take before it is a problem.
const SLOW_DISK: Duration = Duration::from_secs(10);

/// The disk has not taken the node's last decision for long, and the node decides nothing until it has.
fn slow_disk() -> ApiError {
    let message = "the state directory: a write has not ended for more than 10 s, and this node decides \
                   nothing until it has";
    ApiError::new(ErrorCode::Timeout, message)
        .hint("look what the disk or its file system waits for")
}

/// Foreign objects in the place of podnet's, or among the addresses of pods.
fn foreign(conflicts: &BTreeSet<Conflict>) -> Vec<(Severity, ApiError)> {
    let severity = |conflict: &Conflict| {
        if conflict.is_harmless() {
            Severity::Warning
        } else {
            Severity::Error
        }
    };
    let (named, counted) = Conflict::named(conflicts);
    let named = named.into_iter().map(|conflict| {
        let api_error = ApiError::new(ErrorCode::ForeignObject, conflict.to_string());
        (severity(conflict), api_error.hint(conflict.cure()))
    });
    // Conflicts in blocks come first.
    let rest = counted.first().map(|worst| {
        let message = format!(
            "pod addresses: {} more routes or addresses are in the way",
            counted.len()
        );
        let cure = "'ip route' and 'ip address' show them; remove those among the addresses of pods, or found \
                    the cluster anew with another pod network";
        let api_error = ApiError::new(ErrorCode::ForeignObject, message).hint(cure);
        (severity(worst), api_error)
    });
    named.chain(rest).collect()
}

/// Gossip does not run; `why` it could not be started again, if that was tried.
fn no_gossip(why: Option<&ApiError>) -> ApiError {
    match why {
        Some(why) => ApiError {
            message: format!("gossip does not run: {}", why.message),
            ..why.clone()
        },
        None => ApiError::new(
            ErrorCode::Internal,
            "gossip does not run: it has ended, and is started again in a moment",
        ),
    }
}

/// A setting of the cluster that only a later version can carry out.
fn unknown(setting: &UnknownSetting) -> ApiError {
    let UnknownSetting { name, value } = setting;
    let message = format!(
        "cluster setting '{name}' is {value}: this version cannot carry it out, so this node only \
         follows: its pods stay, and it decides nothing"
    );
    ApiError::new(ErrorCode::Unsupported, message)
        .hint("install the podnetd of the other nodes, or a newer one, on this node")
}

/// A record that gossip does not carry.
fn unsaid(key: Key, why: &str) -> ApiError {
    let message = format!(
        "gossip record '{}': the other nodes are not told: {why}",
        key.as_str()
    );
    ApiError::new(ErrorCode::Full, message).hint(
        "the cluster is larger than this version can bear: let nodes leave that are not needed",
    )
}

fn lost_address(lost: &Lost, member: &Member) -> ApiError {
    let cure = match lost.others[..] {
        [(only, _)] if !member.advertise_fixed => {
            format!("peers are told {only} instead in a moment")
        }
        [..] => "give it to an interface again, or leave and join again with --advertise ADDR for \
                 the one that peers reach"
            .to_owned(),
    };
    ApiError::new(ErrorCode::BadAddress, lost.to_string()).hint(cure)
}

fn no_path(node: &api::Node) -> ApiError {
    let reason = node
        .path_reason
        .as_deref()
        .unwrap_or("packets do not come back");
    let message = format!("path to node {}: {reason}", label(node));
    let api_error = ApiError::new(ErrorCode::Unreachable, message);
    if reason.starts_with(NO_ECHO) {
        api_error.hint(
            "let what pods send, and ICMP echo requests, pass the firewalls of both nodes and between them",
        )
    } else {
        api_error
    }
}

/// Gossip from a node arrives, and no echo does.
fn unproved(node: &api::Node) -> ApiError {
    let reason = node.path_reason.as_deref().unwrap_or_default();
    let message = format!("path to node {}: {reason}", label(node));
    ApiError::new(ErrorCode::Unreachable, message).hint(
        "let ICMP echo requests pass the firewalls of both nodes, so that podnet can tell whether pods reach \
         each other",
    )
}

/// Packets reach a node, and no gossip comes from it.
fn silent(node: &api::Node, seconds: f64, port: u16) -> ApiError {
    ApiError::new(
        ErrorCode::Unreachable,
        format!(
            "gossip with node {}: nothing was heard for {seconds:.0} s, though packets reach it",
            label(node)
        ),
    )
    .hint(format!(
        "start its agent, or let UDP port {port} pass the firewalls of both nodes"
    ))
}

/// A node's name, or its id if nothing was heard of it yet.
pub(super) fn label(node: &api::Node) -> String {
    node.name
        .as_ref()
        .map_or_else(|| node.id.to_string(), ToString::to_string)
}

fn fenced() -> ApiError {
    ApiError::new(
        ErrorCode::Fenced,
        "this node's identity is in use on another host: its block is not used any more",
    )
    .hint("if this host is a clone, run 'podnetd reset --new-identity' on it and join again")
}

/// How many gone pods are named; the rest are counted.
const MOST_NAMES: usize = 5;

/// Pods whose namespace has vanished, as that of a container does when it restarts.
fn gone(pods: &[&PodRecord]) -> Option<ApiError> {
    let names = pods.iter().map(|record| record.link.pod.as_str());
    let names: Vec<&str> = names.collect();
    let first = names.first()?;
    let mut named = names[..names.len().min(MOST_NAMES)].join(", ");
    if names.len() > MOST_NAMES {
        named = format!("{named} and {} more", names.len() - MOST_NAMES);
    }
    let message = format!("pods without a namespace, which has vanished: {named}");
    let cure = format!(
        "attach a container that was restarted with 'podnetctl pod add {first} --pid PID', which gives \
         it its address back, or forget it with 'podnetctl pod rm {first}'"
    );
    Some(ApiError::new(ErrorCode::NotFound, message).hint(cure))
}

/// What helps if the disks of a majority of the voters are lost, as when the first node's is.
const LOST_DISK: &str = "if its disk is lost, only a new cluster helps: 'podnetd cleanup --yes \
    --purge' on each node while its agent is stopped, then init and join";

/// Without a majority, a node that has its block goes on; a node whose boot is new waits for its block.
fn no_quorum(membership: &Membership, own: NodeId) -> ApiError {
    let absent = membership.absent_voters(own).join(", ");
    if membership.block().is_none() {
        let message = format!(
            "this node's block cannot be confirmed until {absent} is reachable: its pods have no \
             network until then"
        );
        let cure = format!("start podnetd on {absent}; {LOST_DISK}");
        return ApiError::new(ErrorCode::NoQuorum, message).hint(cure);
    }
    let Quorum {
        voters, reachable, ..
    } = membership.quorum;
    let message =
        format!("{reachable} of {voters} voters can be reached: no node can join or leave");
    let cure = format!(
        "start podnetd on {absent}; what runs goes on, but a node that reboots has no pod network \
         until then; {LOST_DISK}"
    );
    ApiError::new(ErrorCode::NoQuorum, message).hint(cure)
}
