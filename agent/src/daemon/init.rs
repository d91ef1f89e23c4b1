//! `init`: founding a cluster.

use std::net::SocketAddrV4;

use podnet_core::claim::Durable;
use podnet_core::node::{Response, Ticket};
use podnet_proto::api::{InitRequest, InitResponse};
use podnet_proto::ledger::Ledger;
use podnet_proto::{ApiError, ClusterId, ErrorCode, GossipKey, NodeName};

use super::entry::{Command, Why};
use super::host::Host;
use super::node::Node;
use super::request::{Founding, founding};
use crate::store::Member;

/// How many passes an answer waits for a data path that does not come to stand; `status` tells what
/// is wrong.
const INIT_PASSES: u64 = 3;

impl Node {
    pub(super) fn init(&mut self, request: &InitRequest, ticket: Ticket) {
        match self.plan_init(request) {
            // The answer follows when the data path stands.
            Ok(None) => self.awaiting_init.push(ticket),
            Ok(Some(founding)) => {
                self.look_at_host(Command::Found(founding), request.allow_overlap, ticket);
            }
            Err(api_error) => self.answer(ticket, Err(api_error)),
        }
        self.answer_init();
    }

    /// What a request asks for; `None` if it is founded already.
    fn plan_init(&self, request: &InitRequest) -> Result<Option<Founding>, ApiError> {
        let founding = founding(request, self.config.gossip_port)?;
        if let Some(membership) = &self.membership {
            let ledger = membership.ledger();
            let same = ledger.is_some_and(|ledger| {
                ledger.networks == founding.networks && ledger.settings == founding.settings
            });
            return if same && self.same_node(founding.name.as_ref(), founding.advertise) {
                Ok(None)
            } else {
                Err(self.already_member())
            };
        }
        self.no_attempt("init")?;
        Ok(Some(founding))
    }

    /// Founds a cluster, if this host can be a node of it.
    pub(super) fn found(
        &mut self,
        host: &Host,
        founding: Founding,
        allow_overlap: bool,
        ticket: Ticket,
    ) {
        match self.plan_cluster(host, founding, allow_overlap) {
            Ok((member, durable)) => self.become_member(member, durable, Why::Founds(ticket)),
            Err(api_error) => self.answer(ticket, Err(api_error)),
        }
    }

    fn plan_cluster(
        &mut self,
        host: &Host,
        founding: Founding,
        allow_overlap: bool,
    ) -> Result<(Member, Durable), ApiError> {
        if !allow_overlap {
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
        self.init_passes = 0;
        Ok((member, Durable::founder(ledger)))
    }

    /// Answers those who wait for a cluster to be founded, once its data path stands, or has
    /// turned out not to: what is in its way, `status` names.
    pub(super) fn answer_init(&mut self) {
        let Some(membership) = &self.membership else {
            return;
        };
        let passes = self.init_passes;
        let settled = passes > 0 && !self.reconciling.may_improve();
        if membership.using.is_none() || !(settled || passes >= INIT_PASSES) {
            return;
        }
        let fault = self.reconciling.bridge_fault();
        for ticket in std::mem::take(&mut self.awaiting_init) {
            let answer = match &fault {
                None => self.init_response().map(Response::from),
                Some(fault) => Err(without_bridge(fault)),
            };
            self.answer(ticket, answer);
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
}

/// A cluster is founded, and its first node has no data path.
fn without_bridge(fault: &ApiError) -> ApiError {
    let message = format!(
        "init: the cluster is founded, but this node has no network for pods: {}",
        fault.message
    );
    let cure = fault.hint.as_deref().unwrap_or("mend what is in its way");
    ApiError::new(fault.code, message).hint(format!(
        "{cure}; podnetd tries again by itself, and 'podnetctl init' with the same arguments then prints the \
         join command"
    ))
}
