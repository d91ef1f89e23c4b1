//! What holds when all is quiet: every kernel holds exactly what it should, and every `status` says so.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podnet_agent::reconciler::pass;
use podnet_core::kernel::{Desired, Kind, Kinds, NetnsState, PeerBlock};
use podnet_core::node::PodRecordState;
use podnet_core::pass::{Job, Report, Target, Underlay};
use podnet_proto::api::{PathState, Phase, Status};
use podnet_proto::{ErrorCode, NodeId};

use crate::checks::copy;
use crate::host::{Host, netns, pod_name};
use crate::plan::{Act, Command, PODS};
use crate::world::{SECOND, World};

/// After so long nothing more is expected of a schedule in which disks were rolled back or cloned.
const ENOUGH: u64 = 20 * SECOND;

/// After so long nodes that have lost each other's address do not find each other by themselves.
const LOST: u64 = 30 * SECOND;

impl World {
    /// Whether all is as it should be; if not, what is not.
    pub(crate) fn settled(&mut self) -> Result<(), String> {
        if self.disks {
            let over = self.now > self.plan.horizon * 1000 + ENOUGH;
            return if over {
                Ok(())
            } else {
                Err("it is not over yet".to_owned())
            };
        }
        self.join_again()?;
        for host in 0..self.hosts.len() {
            self.remove_again(host)?;
            self.host_settled(host)
                .map_err(|why| format!("{host}: {why}"))?;
        }
        for host in 0..self.hosts.len() {
            self.ask(host, Command::Pods)
                .map_err(|failure| failure.to_string())?;
        }
        Ok(())
    }

    /// Where a node has moved before the others have heard of it, only their users can say where it is.
    fn join_again(&mut self) -> Result<(), String> {
        let since = self.joined_again.max(self.plan.horizon * 1000);
        let lost = self.now > since + LOST;
        let moved = self
            .plan
            .acts
            .iter()
            .any(|(_, act)| matches!(act, Act::Move { .. }));
        if !lost || !moved {
            return Ok(());
        }
        self.joined_again = self.now;
        for host in 0..self.hosts.len() {
            if self.hosts[host].disk.member.is_some() {
                let asked = self.ask(host, Command::Join);
                asked.map_err(|failure| failure.to_string())?;
            }
        }
        Ok(())
    }

    /// A pod that could not be removed is named by `status` until its user asks again.
    fn remove_again(&mut self, host: usize) -> Result<(), String> {
        for pod in 0..PODS {
            let asked = &self.hosts[host];
            let record = asked.run.pods.get(&pod_name(pod));
            let Some(process) = asked
                .process
                .as_ref()
                .filter(|process| process.waiting.values().all(|asked| asked.abandoned))
            else {
                continue;
            };
            let detaching = record.is_some_and(|record| record.state == PodRecordState::Detaching);
            let named = process.node.status().problems.iter().any(|problem| {
                let of = format!("pod {}: it cannot be removed", pod_name(pod));
                problem.message.starts_with(&of)
            });
            if detaching && named {
                let command = Command::RemovePod { pod };
                self.ask(host, command)
                    .map_err(|failure| failure.to_string())?;
            }
        }
        Ok(())
    }

    fn host_settled(&self, host: usize) -> Result<(), String> {
        let settling = &self.hosts[host];
        let process = settling.process.as_ref().ok_or("no agent runs")?;
        if let Some(asked) = process.waiting.values().find(|asked| !asked.abandoned) {
            return Err(format!("{asked:?} is not answered"));
        }
        if process.node.is_resuming() || !process.tasks.is_empty() || !process.jobs.is_empty() {
            return Err("it is at work".to_owned());
        }
        if let Some(record) =
            settling.run.pods.values().find(|record| {
                !matches!(record.state, PodRecordState::Ready | PodRecordState::Gone)
            })
        {
            return Err(format!(
                "pod {} is {:?} on record",
                record.link.pod, record.state
            ));
        }
        let status = process.node.status();
        if status.pods != settling.run.pods.len() {
            return Err(format!(
                "{} pods of {:?}",
                status.pods,
                settling.run.pods.keys()
            ));
        }
        match &settling.disk.member {
            None => idle(settling, &status),
            Some(member) if self.has_voter(member.cluster) => self.member(host, &status),
            // The founder has left before this node was a member.
            Some(_) => Ok(()),
        }
    }

    fn has_voter(&self, cluster: podnet_proto::ClusterId) -> bool {
        let latest = self.claims.get(&cluster).and_then(|claims| claims.latest());
        let voter = |host: &Host| {
            let member = host.disk.member.as_ref();
            member.is_some_and(|member| member.cluster == cluster)
                && host
                    .disk
                    .durable
                    .as_ref()
                    .is_some_and(|durable| durable.ledger.is_some())
                && latest.is_some_and(|ledger| ledger.voters.contains(&host.node))
        };
        self.hosts.iter().any(voter)
    }

    fn member(&self, host: usize, status: &Status) -> Result<(), String> {
        let settling = &self.hosts[host];
        if status.phase != Phase::Ready {
            return Err(format!("it is {}: {:?}", status.phase, status.problems));
        }
        let gone = settling
            .run
            .pods
            .values()
            .any(|record| record.state == PodRecordState::Gone);
        let problems = status.problems.iter();
        let mut problems = problems.filter(|problem| !gone || problem.code != ErrorCode::NotFound);
        if let Some(problem) = problems.next() {
            return Err(problem.message.clone());
        }
        if let Some(peer) = status
            .peers
            .iter()
            .find(|peer| peer.path != Some(PathState::Ok))
        {
            return Err(format!(
                "the path to {} is {:?} {:?}",
                peer.id, peer.path, peer.path_reason
            ));
        }
        let target = self.target(host)?;
        if status.peers.len() != target.peers.len() {
            return Err(format!(
                "it has {} peers of {}",
                status.peers.len(),
                target.peers.len()
            ));
        }
        nothing_to_do(settling, Some(target))?;
        no_leftovers(settling)
    }

    /// What a member's data path should be made from.
    fn target(&self, host: usize) -> Result<Target, String> {
        let own = &self.hosts[host];
        let (cluster, network) = own.cluster.as_ref().ok_or("it is in no cluster")?;
        let ledger = self.claims.get(cluster).and_then(|claims| claims.latest());
        let ledger = ledger.ok_or("nothing is decided")?;
        let block = |node: NodeId| {
            ledger
                .blocks_of(node)
                .find_map(|index| network.block(index))
        };
        let peers = ledger.boots.keys().filter(|node| **node != own.node);
        let peers = peers.map(|node| {
            let peer = self.hosts.iter().find(|host| host.node == *node);
            let peer = peer.ok_or("a peer is no host")?;
            Ok(PeerBlock {
                node: *node,
                block: block(*node).ok_or("a peer has no block")?,
                address: Some(IpAddr::V4(peer.address)),
            })
        });
        let ready = own.run.pods.values();
        let ready = ready.filter(|record| record.state == PodRecordState::Ready);
        Ok(Target {
            networks: ledger.networks.clone(),
            excluded: ledger.settings.exclude_cidrs.clone(),
            block: block(own.node).ok_or("it has no block")?,
            peers: peers.collect::<Result<_, &str>>()?,
            pods: ready.map(|record| record.link.clone()).collect(),
            in_flight: Default::default(),
        })
    }
}

/// A host that is no member holds nothing of podnet's.
fn idle(host: &Host, status: &Status) -> Result<(), String> {
    if status.phase != Phase::Idle {
        return Err(format!("it is no member on disk, and {}", status.phase));
    }
    if host.look(|kernel| kernel.own_routes().count()) > 0 {
        return Err("a route is left".to_owned());
    }
    nothing_to_do(host, None)?;
    no_leftovers(host)
}

/// A pass over the kernel finds nothing to do.
fn nothing_to_do(host: &Host, target: Option<Target>) -> Result<(), String> {
    let peers = target.iter().flat_map(|target| &target.peers);
    let underlay = Underlay {
        address: host.address,
        peers: peers
            .filter_map(|peer| peer.address)
            .collect::<BTreeSet<_>>(),
        mtu: None,
    };
    let job = Job {
        target,
        underlay,
        kinds: Kinds::all(),
        held: Desired::default(),
    };
    let (copy, opened) = (copy(host), host.run.opened.copy());
    let Report {
        applied,
        pods,
        conflicts,
        error,
        gone,
        ..
    } = futures::executor::block_on(pass(&copy, &opened, &job));
    let found = applied.iter().map(|(finding, _)| finding).chain(&pods);
    let found: Vec<String> = found.map(|finding| finding.op.to_string()).collect();
    if found.is_empty() && conflicts.is_empty() && error.is_none() && gone.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "a pass finds {found:?} {conflicts:?} {gone:?} {error:?}"
        ))
    }
}

/// No namespace is left that podnet has made, of a pod that is not on record.
fn no_leftovers(host: &Host) -> Result<(), String> {
    for pod in 0..PODS {
        let path = netns(pod, true);
        let mut records = host.run.pods.values();
        if records.any(|record| record.link.netns.path == path) {
            continue;
        }
        let kinds = Kinds::from([Kind::Namespace(path.clone())]);
        let found = host
            .look(|kernel| kernel.observe(&kinds))
            .netns
            .remove(&path);
        if !matches!(found, Some(NetnsState::Missing) | None) {
            return Err(format!("the namespace {} is left", path.display()));
        }
    }
    Ok(())
}
