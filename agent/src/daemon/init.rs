//! `init`: founding a cluster.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use ipnetwork::Ipv4Network;
use podnet_core::claim::Durable;
use podnet_core::host::{candidates, overlap};
use podnet_core::kernel::{HostAddress, HostRoute, Place, Scope};
use podnet_proto::api::{InitRequest, InitResponse};
use podnet_proto::ledger::{EncapsulationMode, Ledger, Settings};
use podnet_proto::network::DEFAULT_BLOCK_PREFIX;
use podnet_proto::{
    ApiError, ClusterId, ErrorCode, GossipKey, NodeName, PodNetwork, PodNetworkError,
};

use super::agent::Agent;
use super::error;
use crate::control::Answer;
use crate::reconciler::Parts;
use crate::store::{Joined, Member, PeerBook};

/// How many passes an answer waits for a data path that does not come to stand; `status` tells what
/// is wrong.
const INIT_PASSES: u64 = 3;

/// An `init` request, checked as far as that needs no look at the host.
#[derive(Debug, PartialEq, Eq)]
struct Founding {
    networks: Vec<PodNetwork>,
    settings: Settings,
    name: Option<NodeName>,
    advertise: Option<SocketAddrV4>,
}

impl Agent {
    pub(super) async fn init(&mut self, request: &InitRequest, answer: Answer<Box<InitResponse>>) {
        match self.try_init(request).await {
            // The answer follows when the data path stands.
            Ok(()) => self.awaiting_init.push(answer),
            Err(api_error) => drop(answer.send(Err(api_error))),
        }
        self.answer_init();
    }

    async fn try_init(&mut self, request: &InitRequest) -> Result<(), ApiError> {
        let founding = founding(request, self.config.gossip_port)?;
        if let Some(membership) = &self.membership {
            let ledger = membership.ledger();
            let same = ledger.is_some_and(|ledger| {
                ledger.networks == founding.networks && ledger.settings == founding.settings
            });
            return if same && self.same_node(founding.name.as_ref(), founding.advertise) {
                Ok(())
            } else {
                Err(self.already_member())
            };
        }
        self.no_attempt("init")?;
        let host = self.look_at_host().await?;
        if !request.allow_overlap {
            host.check_overlap(&founding.networks, "init")?;
        }
        let advertise = host.advertise(founding.advertise, self.config.gossip_port)?;

        let cluster = ClusterId::from_bytes(rand::random());
        let ledger = Ledger::genesis(
            cluster,
            founding.networks.clone(),
            founding.settings,
            self.identity.node(),
            self.boot,
        );
        let member = Member {
            cluster,
            name: founding.name.unwrap_or_else(|| self.default_name()),
            advertise,
            advertise_fixed: founding.advertise.is_some(),
            gossip_key: GossipKey::from_bytes(rand::random()),
            networks: founding.networks,
            checkpoint: ledger.checkpoint(),
            seeds: Vec::new(),
        };
        tracing::info!(%cluster, name = %member.name, %advertise, "founding a cluster");
        self.init_pass = self.reconciling.totals.passes;
        self.become_member(member, Durable::founder(ledger)).await
    }

    /// Makes the node a member: on disk first, then in gossip. All of it or nothing.
    pub(super) async fn become_member(
        &mut self,
        member: Member,
        durable: Durable,
    ) -> Result<(), ApiError> {
        self.state_dir
            .become_member(&member, &durable)
            .map_err(|e| error::store(&e))?;
        let joined = Joined {
            member,
            durable,
            peers: PeerBook::new(),
        };
        if let Err(api_error) = self.start_membership(joined).await {
            if let Err(store_error) = self.state_dir.forget() {
                tracing::error!(
                    error = error::chain(&store_error),
                    "half a membership stays"
                );
            }
            return Err(api_error);
        }
        self.reconciling.want(Parts::all());
        self.step().await;
        Ok(())
    }

    /// Answers those who wait for a cluster to be founded, once its data path stands, or has
    /// turned out not to.
    pub(super) fn answer_init(&mut self) {
        let Some(membership) = &self.membership else {
            return;
        };
        let passes = self
            .reconciling
            .totals
            .passes
            .saturating_sub(self.init_pass);
        let stands = passes > 0 && self.reconciling.converged;
        if membership.using.is_none() || !(stands || passes >= INIT_PASSES) {
            return;
        }
        for answer in std::mem::take(&mut self.awaiting_init) {
            drop(answer.send(self.init_response().map(Box::new)));
        }
    }

    fn init_response(&self) -> Result<InitResponse, ApiError> {
        let status = self.status();
        let token = self.token()?;
        let cluster = status.cluster.ok_or_else(|| self.not_member("init"))?;
        Ok(InitResponse {
            node: status.node,
            cluster,
            blocks: status.blocks,
            token: token.token,
            join_command: token.join_command,
        })
    }

    /// Whether this node bears the name and the address that a request asks for.
    pub(super) fn same_node(
        &self,
        name: Option<&NodeName>,
        advertise: Option<SocketAddrV4>,
    ) -> bool {
        self.membership.as_ref().is_some_and(|membership| {
            name.is_none_or(|name| *name == membership.member.name)
                && advertise.is_none_or(|advertise| advertise == membership.member.advertise)
        })
    }

    pub(super) fn already_member(&self) -> ApiError {
        let cluster = self
            .membership
            .as_ref()
            .map(|membership| membership.member.cluster);
        let cluster = cluster.map(|id| id.to_string()).unwrap_or_default();
        ApiError::new(
            ErrorCode::AlreadyMember,
            format!("this node is a member of cluster {cluster} already, with other settings"),
        )
        .hint("leave it first with 'podnetctl leave'")
    }

    /// Looks at what decides whether this host can be a node, and changes nothing.
    pub(super) async fn look_at_host(&self) -> Result<Host, ApiError> {
        let scope = Scope {
            bridge: true,
            firewall: true,
            sysctls: true,
            addresses: true,
            host_routes: true,
            ..Scope::default()
        };
        let observed = self
            .dataplane
            .observe(&scope)
            .await
            .map_err(|e| error::observe(&e))?;
        match observed.bridge {
            Some(Place::Foreign(found)) => {
                return Err(ApiError::new(
                    ErrorCode::ForeignObject,
                    format!("link podnet0: {found} has the name of podnet's bridge"),
                )
                .hint("rename or remove it"));
            }
            Some(Place::Ours(_)) => {
                return Err(ApiError::new(
                    ErrorCode::Exists,
                    "link podnet0: this host still carries the network of an earlier membership",
                )
                .hint("remove it with 'podnetd cleanup' while the agent is stopped"));
            }
            Some(Place::Absent) | None => {}
        }
        Ok(Host {
            addresses: observed.addresses.unwrap_or_default(),
            routes: observed.host_routes.unwrap_or_default(),
        })
    }
}

/// What of the host decides whether and how it can be a node.
pub(super) struct Host {
    addresses: Vec<HostAddress>,
    routes: Vec<HostRoute>,
}

impl Host {
    pub(super) fn check_overlap(
        &self,
        networks: &[PodNetwork],
        command: &str,
    ) -> Result<(), ApiError> {
        match overlap(networks, &self.addresses, &self.routes) {
            None => Ok(()),
            Some(overlap) => Err(ApiError::new(ErrorCode::Overlap, overlap.to_string()).hint(
                format!(
                    "choose another pod network, or go on regardless with '{command} --allow-overlap'"
                ),
            )),
        }
    }

    /// The address that peers are told: the one that was asked for, if this host has it; else the
    /// only one that there is.
    fn advertise(&self, asked: Option<SocketAddrV4>, port: u16) -> Result<SocketAddrV4, ApiError> {
        if let Some(asked) = asked {
            self.check_local(*asked.ip())?;
            return Ok(asked);
        }
        match candidates(&self.addresses)[..] {
            [(only, _)] => Ok(SocketAddrV4::new(only, port)),
            [] => Err(ApiError::new(
                ErrorCode::BadAddress,
                "this host has no IPv4 address that peers could reach",
            )
            .hint("give its interface an address, or name one with --advertise")),
            [..] => Err(ApiError::new(
                ErrorCode::BadAddress,
                format!("this host has several addresses: {}", self.list()),
            )
            .hint("name the one that peers reach with --advertise ADDR")),
        }
    }

    /// Refuses an address that is none of this host's.
    pub(super) fn check_local(&self, address: Ipv4Addr) -> Result<(), ApiError> {
        let own = |found: &HostAddress| found.address.ip() == IpAddr::V4(address);
        if self.addresses.iter().any(own) {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::BadAddress,
            format!("advertised address {address}: no interface of this host has it"),
        )
        .hint(format!("this host has {}", self.list())))
    }

    fn list(&self) -> String {
        let found: Vec<String> = candidates(&self.addresses)
            .iter()
            .map(|(ip, ifname)| format!("{ip} ({ifname})"))
            .collect();
        if found.is_empty() {
            "none".to_owned()
        } else {
            found.join(", ")
        }
    }
}

fn founding(request: &InitRequest, port: u16) -> Result<Founding, ApiError> {
    let bad_cidr = |what: &str, why: &dyn std::fmt::Display| {
        ApiError::new(ErrorCode::BadCidr, format!("{what}: {why}"))
    };
    let [cidr] = &request.pod_cidrs[..] else {
        return Err(match request.pod_cidrs[..] {
            [] => bad_cidr("pod CIDR", &"none is given")
                .hint("give one, for instance --pod-cidr 10.244.0.0/16"),
            [..] => unsupported("more than one pod CIDR"),
        });
    };
    if cidr.contains(':') {
        return Err(unsupported("an IPv6 pod CIDR"));
    }
    let prefix = match request.block_prefixes[..] {
        [] => DEFAULT_BLOCK_PREFIX,
        [prefix] => prefix,
        [..] => return Err(bad_cidr("block prefix", &"there are more than pod CIDRs")),
    };
    let network = PodNetwork::parse(cidr, prefix).map_err(|why| {
        let what = match why {
            PodNetworkError::BlockPrefix { .. } => "block prefix",
            PodNetworkError::NotACidr(_)
            | PodNetworkError::HostBits { .. }
            | PodNetworkError::Reserved { .. } => "pod CIDR",
        };
        bad_cidr(what, &why)
    })?;
    let exclude_cidrs = request
        .exclude_cidrs
        .iter()
        .map(|text| {
            text.contains('/')
                .then(|| text.parse::<Ipv4Network>().ok())
                .flatten()
                .ok_or_else(|| {
                    let text: String = text.escape_default().take(80).collect();
                    bad_cidr(
                        "excluded CIDR",
                        &format!("'{text}' is not a CIDR such as 10.0.0.0/8"),
                    )
                })
        })
        .collect::<Result<_, _>>()?;
    Ok(Founding {
        networks: vec![network],
        settings: Settings {
            encapsulation: encapsulation(request.encapsulation.as_deref())?,
            exclude_cidrs,
        },
        name: request.node_name.as_deref().map(node_name).transpose()?,
        advertise: request
            .advertise
            .as_deref()
            .map(|text| endpoint(text, port))
            .transpose()?,
    })
}

fn encapsulation(text: Option<&str>) -> Result<EncapsulationMode, ApiError> {
    match text {
        None | Some("auto") => Ok(EncapsulationMode::Auto),
        Some("direct") => Ok(EncapsulationMode::Direct),
        Some("wireguard") => Err(unsupported("the encapsulation wireguard")),
        Some(other) => {
            let other: String = other.escape_default().take(40).collect();
            Err(ApiError::new(
                ErrorCode::Usage,
                format!("encapsulation '{other}': it is none of auto, direct, wireguard"),
            ))
        }
    }
}

fn unsupported(what: &str) -> ApiError {
    ApiError::new(
        ErrorCode::Unsupported,
        format!("{what}: this version does not support it"),
    )
}

pub(super) fn node_name(text: &str) -> Result<NodeName, ApiError> {
    text.parse()
        .map_err(|invalid| ApiError::new(ErrorCode::BadName, format!("node name: {invalid}")))
}

/// Parses `ADDR[:PORT]`.
pub(super) fn endpoint(text: &str, port: u16) -> Result<SocketAddrV4, ApiError> {
    let address = text
        .parse::<Ipv4Addr>()
        .map(|ip| SocketAddrV4::new(ip, port));
    let address = address
        .or_else(|_| text.parse::<SocketAddrV4>())
        .ok()
        .filter(|address| {
            let ip = address.ip();
            !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || address.port() == 0)
        });
    address.ok_or_else(|| {
        let text: String = text.escape_default().take(80).collect();
        ApiError::new(
            ErrorCode::BadAddress,
            format!("address '{text}': it is not an IPv4 address with or without a port"),
        )
        .hint("write it as 192.0.2.1 or 192.0.2.1:7846")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cidr: &str) -> InitRequest {
        InitRequest {
            pod_cidrs: vec![cidr.to_owned()],
            ..InitRequest::default()
        }
    }

    fn code(request: &InitRequest) -> ErrorCode {
        founding(request, 7846).unwrap_err().code
    }

    #[test]
    fn bad_requests_have_their_codes() {
        assert!(founding(&request("10.244.0.0/16"), 7846).is_ok());
        assert_eq!(code(&request("10.244.0.1/16")), ErrorCode::BadCidr);
        assert_eq!(code(&request("fd00::/48")), ErrorCode::Unsupported);
        assert_eq!(code(&InitRequest::default()), ErrorCode::BadCidr);
        let with = |change: fn(&mut InitRequest)| {
            let mut request = request("10.244.0.0/16");
            change(&mut request);
            request
        };
        let prefix = with(|r| r.block_prefixes = vec![33]);
        assert_eq!(code(&prefix), ErrorCode::BadCidr);
        let excluded = with(|r| r.exclude_cidrs = vec!["10.0.0.0".to_owned()]);
        assert_eq!(code(&excluded), ErrorCode::BadCidr);
        let wireguard = with(|r| r.encapsulation = Some("wireguard".to_owned()));
        assert_eq!(code(&wireguard), ErrorCode::Unsupported);
        let foo = with(|r| r.encapsulation = Some("foo".to_owned()));
        assert_eq!(code(&foo), ErrorCode::Usage);
        let name = with(|r| r.node_name = Some("A_b".to_owned()));
        assert_eq!(code(&name), ErrorCode::BadName);
        let advertise = with(|r| r.advertise = Some("0.0.0.0".to_owned()));
        assert_eq!(code(&advertise), ErrorCode::BadAddress);
    }

    #[test]
    fn an_endpoint_has_a_default_port() {
        assert_eq!(
            endpoint("192.0.2.1", 7846).unwrap().to_string(),
            "192.0.2.1:7846"
        );
        assert_eq!(
            endpoint("192.0.2.1:1", 7846).unwrap().to_string(),
            "192.0.2.1:1"
        );
        for bad in [
            "",
            "host",
            "192.0.2.1:0",
            "::1",
            "192.0.2.1:99999",
            "224.0.0.1",
        ] {
            assert_eq!(
                endpoint(bad, 7846).unwrap_err().code,
                ErrorCode::BadAddress,
                "{bad}"
            );
        }
    }
}
