//! What users see of the state.

use std::net::{IpAddr, SocketAddr};

use crate::claim::ClaimState;
use crate::kernel::{Conflict, Contested, NextHop, NoPath, PROTOCOL, Path};
use ipnetwork::IpNetwork;
use podnet_proto::api::{
    self, API_VERSION, Cluster, Encapsulation, HeldBy, PathState, Phase, Quorum, RouteState,
    SelfNode, Status, TokenResponse, UNPROVED,
};
use podnet_proto::ledger::EncapsulationMode;
use podnet_proto::network::gateway;
use podnet_proto::token::JoinToken;
use podnet_proto::{ApiError, ErrorCode, NodeId, NodeName, PodNetwork};

use super::entry::Entry;
use super::machine::Node;
use super::membership::Membership;
use podnet_proto::gossip::DEFAULT_PORT;

impl Node {
    pub(super) fn phase(&self) -> Phase {
        let Some(membership) = self.life.member() else {
            return if matches!(self.life.entry(), Some(Entry::Asks(_) | Entry::Begins(_))) {
                Phase::Joining
            } else {
                Phase::Idle
            };
        };
        if self.is_departing() {
            return Phase::Leaving;
        }
        match membership.state {
            ClaimState::Want { .. } if membership.has_twin() => Phase::Fenced,
            ClaimState::New
            | ClaimState::Want {
                full: false,
                quorum: true,
            } => Phase::Joining,
            ClaimState::Want { full: true, .. } => Phase::Full,
            ClaimState::Want {
                full: false,
                quorum: false,
            } => Phase::NoQuorum,
            ClaimState::Using => Phase::Ready,
            ClaimState::Leaving | ClaimState::Gone => Phase::Leaving,
            ClaimState::Dup => Phase::Fenced,
        }
    }

    /// Where the node stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let membership = self.life.member();
        let block = membership.and_then(Membership::block);
        let quorum = membership
            .map(|membership| membership.quorum)
            .unwrap_or_default();
        let nodes = self.nodes();
        let (held_by, held_reason) = match self
            .reconciling
            .holding
            .as_ref()
            .filter(|_| block.is_some())
        {
            None => (None, None),
            Some(holding) => match holding.shortfall() {
                Some(why) => (Some(HeldBy::Bridge), Some(why)),
                None => (Some(HeldBy::Nftables), None),
            },
        };
        Status {
            api: API_VERSION,
            phase: self.phase(),
            node: SelfNode {
                id: self.own(),
                name: self.node_name(),
                addresses: membership
                    .map(|m| m.member.advertise.into())
                    .into_iter()
                    .collect(),
                version: self.setup.version.to_owned(),
                boot: self.setup.boot,
                instance: self.setup.instance,
            },
            cluster: membership.map(|membership| cluster(membership, &nodes)),
            blocks: block.map(IpNetwork::V4).into_iter().collect(),
            gateways: block
                .map(|block| IpAddr::V4(gateway(block)))
                .into_iter()
                .collect(),
            mtu: block.and(self.reconciling.mtu).map(|mtu| mtu.0),
            quorum: Quorum {
                voters: quorum.voters,
                reachable: quorum.reachable,
                ok: quorum.voters > 0 && quorum.ok(),
            },
            pods: self.pods.shown().count(),
            held_by,
            held_reason,
            peers: nodes.into_iter().filter(|node| !node.is_self).collect(),
            reconcile: self.reconciling.totals.clone(),
            problems: self.problems(),
        }
    }

    /// All members, sorted by name; last, sorted by id, the members of which nothing was heard yet.
    pub(super) fn nodes(&self) -> Vec<api::Node> {
        let Some(membership) = self.life.member() else {
            return Vec::new();
        };
        let own = self.own();
        let mut ids: Vec<NodeId> = membership
            .ledger()
            .map(|ledger| ledger.boots.keys().copied().collect())
            .unwrap_or_default();
        if !ids.contains(&own) {
            ids.push(own);
        }
        let mut nodes: Vec<api::Node> = ids
            .into_iter()
            .map(|id| self.node(membership, id))
            .collect();
        nodes.sort_by(|a, b| {
            (a.name.is_none(), &a.name, a.id).cmp(&(b.name.is_none(), &b.name, b.id))
        });
        nodes
    }

    fn node(&self, membership: &Membership, id: NodeId) -> api::Node {
        let is_self = id == self.own();
        let ledger = membership.ledger();
        let entry = membership.entry(id);
        let last_seen = entry.and_then(|entry| entry.last_seen);
        let (path, path_reason) = if is_self {
            (None, None)
        } else {
            self.path(membership, id)
        };
        api::Node {
            id,
            name: if is_self {
                Some(membership.member.name.clone())
            } else {
                membership.peers.get(&id).map(|record| record.name.clone())
            },
            is_self,
            addresses: if is_self {
                vec![membership.member.advertise.into()]
            } else {
                membership
                    .address_of(id)
                    .map(SocketAddr::V4)
                    .into_iter()
                    .collect()
            },
            blocks: ledger
                .into_iter()
                .flat_map(|ledger| ledger.blocks_of(id))
                .filter_map(|index| membership.block_range(index))
                .map(IpNetwork::V4)
                .collect(),
            live: is_self || membership.view.is_live(id),
            last_seen_seconds: if is_self {
                Some(0.0)
            } else {
                last_seen.map(|seen| self.now().since(seen).as_secs_f64())
            },
            boot: ledger.and_then(|ledger| ledger.boots.get(&id).copied()),
            encapsulation: (!is_self).then_some(Encapsulation::Direct),
            path,
            path_reason,
        }
    }

    fn path(&self, membership: &Membership, id: NodeId) -> (Option<PathState>, Option<String>) {
        if membership.using.is_none() {
            return (
                Some(PathState::Pending),
                Some("this node has no block yet".to_owned()),
            );
        }
        if let Some(hindrance) = self.reconciling.bridge_hindrance() {
            return (Some(PathState::Pending), Some(hindrance.message));
        }
        let address = membership
            .address_of(id)
            .map(|address| IpAddr::V4(*address.ip()));
        let path = Path::choose(address, &self.reconciling.underlay);
        let problem = path.problem().map(ToString::to_string);
        if path.problem().is_some_and(NoPath::is_known) {
            return (Some(PathState::Failed), problem);
        }
        if let Some(astray) = self.reconciling.astray.get(&id) {
            return (Some(PathState::Failed), Some(astray.what.clone()));
        }
        match self.paths.get(&id).map(|report| &report.outcome) {
            Some(Ok(_)) => (Some(PathState::Ok), None),
            Some(Err(reason)) if self.is_unproved(membership, id) => {
                let reason = format!("{UNPROVED}: {reason}, though its gossip arrives");
                (Some(PathState::Pending), Some(reason))
            }
            Some(Err(reason)) => (Some(PathState::Failed), Some(reason.clone())),
            None => (Some(PathState::Pending), problem),
        }
    }

    /// Whether a peer that is alive has never answered an echo: many firewalls drop echoes, and let pass what
    /// pods send to each other.
    fn is_unproved(&self, membership: &Membership, id: NodeId) -> bool {
        let silent = self.paths.get(&id).is_some_and(|report| report.unproved);
        silent && membership.view.is_live(id)
    }

    pub(super) fn routes(&self) -> Vec<api::Route> {
        let Some(membership) = self.life.member() else {
            return Vec::new();
        };
        let reconciling = &self.reconciling;
        let failed = |destination: IpNetwork| {
            reconciling
                .failed
                .iter()
                .any(|(op, _)| op.destination() == Some(destination))
        };
        reconciling
            .desired
            .routes
            .values()
            .map(|route| {
                let (via, device) = match &route.next_hop {
                    NextHop::Gateway { via, device, .. } => (Some(*via), Some(device.to_string())),
                    NextHop::Unreachable => (None, None),
                };
                let foreign =
                    |conflict: &Conflict| conflict.object == Contested::Route(route.clone());
                let state = if reconciling.conflicts.iter().any(foreign)
                    || self.is_overruled(route.destination)
                {
                    RouteState::Foreign
                } else if failed(route.destination) {
                    RouteState::Missing
                } else if route.next_hop == NextHop::Unreachable {
                    RouteState::Unreachable
                } else {
                    RouteState::Ok
                };
                api::Route {
                    destination: route.destination,
                    via,
                    device,
                    node: self.owner(membership, route.destination),
                    protocol: PROTOCOL,
                    state,
                }
            })
            .collect()
    }

    /// Whether another program's rule, route or address leads packets of pods past the route to a peer's block.
    fn is_overruled(&self, destination: IpNetwork) -> bool {
        let owner = self.owner_id(destination);
        owner.is_some_and(|owner| self.reconciling.astray.contains_key(&owner))
    }

    fn owner(&self, membership: &Membership, destination: IpNetwork) -> Option<NodeName> {
        let owner = self.owner_id(destination)?;
        membership
            .peers
            .get(&owner)
            .map(|record| record.name.clone())
    }

    fn owner_id(&self, destination: IpNetwork) -> Option<NodeId> {
        let blocks = self.reconciling.peers.as_deref().unwrap_or_default();
        let mut blocks = blocks.iter();
        let owner = blocks.find(|peer| IpNetwork::V4(peer.block) == destination)?;
        Some(owner.node)
    }

    pub(super) fn token(&self) -> Result<TokenResponse, ApiError> {
        let membership = self.life.member().ok_or_else(|| self.not_member("token"))?;
        let member = &membership.member;
        let token = JoinToken {
            cluster: member.cluster,
            gossip_key: member.gossip_key.clone(),
            networks: member.networks.clone(),
            checkpoint: member.checkpoint,
        };
        let token = token.expose().to_string();
        let address = if member.advertise.port() == DEFAULT_PORT {
            member.advertise.ip().to_string()
        } else {
            member.advertise.to_string()
        };
        let join_command = format!("podnetctl join {address} --token {token}");
        Ok(TokenResponse {
            token,
            join_command,
        })
    }

    pub(super) fn not_member(&self, what: &str) -> ApiError {
        ApiError::new(
            ErrorCode::NotMember,
            format!("{what}: this node is not a member of a cluster"),
        )
        .hint("found one with 'podnetctl init', or join one with 'podnetctl join'")
    }

    pub(super) fn node_name(&self) -> NodeName {
        self.life.member().map_or_else(
            || self.default_name(),
            |membership| membership.member.name.clone(),
        )
    }

    /// The node's label if the user gives none: the first label of its hostname.
    pub(super) fn default_name(&self) -> NodeName {
        let hostname = self.setup.hostname.to_ascii_lowercase();
        let label = hostname.split('.').next().unwrap_or_default();
        let label: String = label
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(podnet_proto::name::MAX_NAME_LEN)
            .collect();
        let label = label.trim_matches('-');
        label
            .parse()
            .unwrap_or_else(|_| NodeName::of_id(self.own()))
    }
}

fn cluster(membership: &Membership, nodes: &[api::Node]) -> Cluster {
    let networks = &membership.member.networks;
    let settings = membership
        .ledger()
        .map(|ledger| ledger.settings.encapsulation_name());
    Cluster {
        id: membership.member.cluster,
        pod_cidrs: networks
            .iter()
            .map(|network| IpNetwork::V4(network.cidr()))
            .collect(),
        block_prefixes: networks.iter().map(PodNetwork::block_prefix).collect(),
        encapsulation: settings.unwrap_or_else(|| EncapsulationMode::default().to_string()),
        nodes: nodes.len(),
        live_nodes: nodes.iter().filter(|node| node.live).count(),
    }
}
