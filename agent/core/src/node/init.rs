//! `init`: founding a cluster.

use std::net::SocketAddrV4;

use crate::claim::Durable;
use crate::node::{Response, Ticket};
use podnet_proto::api::{InitRequest, InitResponse};
use podnet_proto::ledger::Ledger;
use podnet_proto::{ApiError, ErrorCode, NodeName};

use super::admission::{Founding, founding};
use super::entry::{Command, Why};
use super::event::Fresh;
use super::host::Host;
use super::machine::Node;
use super::member::Member;

/// How many passes an answer waits for a data path that does not come up; `status` shows what is
/// wrong.
const INIT_PASSES: u64 = 3;

impl Node {
    pub(super) fn init(&mut self, request: &InitRequest, ticket: Ticket) {
        match self.plan_init(request) {
            // The answer follows when the data path is up.
            Ok(None) => self.await_init(ticket),
            Ok(Some(founding)) => {
                self.look_at_host(Command::Found(founding), request.allow_overlap, ticket);
            }
            Err(api_error) => self.answer(ticket, Err(api_error)),
        }
        self.answer_init();
    }

    /// What a request asks for; `None` if that cluster is founded already.
    fn plan_init(&self, request: &InitRequest) -> Result<Option<Founding>, ApiError> {
        let founding = founding(request, self.setup.gossip_port)?;
        if let Some(membership) = self.life.member() {
            let ledger = membership.ledger();
            let same = ledger.is_some_and(|ledger| {
                ledger.networks == founding.networks && ledger.settings == founding.settings
            });
            let same = same && self.same_node(founding.name.as_ref(), founding.advertise);
            let own = self.own();
            let grants = ledger.is_some_and(|ledger| ledger.voters.contains(&own));
            return match (same, membership.using.is_some() || grants) {
                (true, true) => Ok(None),
                // Nobody knows how long it waits for the voters.
                (true, false) => Err(without_block()),
                (false, _) => Err(self.already_member()),
            };
        }
        self.no_attempt("init")?;
        Ok(Some(founding))
    }

    /// Founds a cluster, if this host can be a node of it.
    pub(super) fn found(
        &mut self,
        host: &Host,
        fresh: Fresh,
        founding: Founding,
        allow_overlap: bool,
        ticket: Ticket,
    ) {
        match self.plan_cluster(host, fresh, founding, allow_overlap) {
            Ok((member, durable)) => self.become_member(member, durable, Why::Founds(ticket)),
            Err(api_error) => self.answer(ticket, Err(api_error)),
        }
    }

    fn plan_cluster(
        &mut self,
        host: &Host,
        fresh: Fresh,
        founding: Founding,
        allow_overlap: bool,
    ) -> Result<(Member, Durable), ApiError> {
        if !allow_overlap {
            host.check_overlap(&founding.networks, "init")?;
        }
        let advertise = host.advertise(founding.advertise, self.setup.gossip_port)?;

        let cluster = fresh.cluster;
        let ledger = Ledger::genesis(
            cluster,
            founding.networks.clone(),
            founding.settings,
            self.own(),
            self.setup.boot,
        );
        let member = Member {
            cluster,
            name: founding.name.unwrap_or_else(|| self.default_name()),
            advertise,
            advertise_fixed: founding.advertise.is_some(),
            gossip_key: fresh.gossip_key,
            networks: founding.networks,
            checkpoint: ledger.checkpoint(),
            seeds: Vec::new(),
        };
        tracing::info!(%cluster, name = %member.name, %advertise, "founding a cluster");
        Ok((member, Durable::founder(ledger)))
    }

    /// Lets a request wait until the cluster is founded.
    pub(super) fn await_init(&mut self, ticket: Ticket) {
        if let Some(membership) = self.life.member_mut() {
            membership.awaiting_init.push(ticket);
        }
    }

    /// Answers the requests that wait for a cluster to be founded, once its data path is up, or has
    /// turned out not to come up: `status` names what is in its way.
    pub(super) fn answer_init(&mut self) {
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        let passes = membership.init_passes;
        let settled = passes > 0 && !self.reconciling.may_improve();
        if membership.using.is_none() || !(settled || passes >= INIT_PASSES) {
            return;
        }
        let waiting = std::mem::take(&mut membership.awaiting_init);
        let hindrance = self.reconciling.bridge_hindrance();
        for ticket in waiting {
            let answer = match &hindrance {
                None => self.init_response().map(Response::from),
                Some(hindrance) => Err(without_bridge(hindrance)),
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
        self.life.member().is_some_and(|membership| {
            name.is_none_or(|name| *name == membership.member.name)
                && advertise.is_none_or(|advertise| advertise == membership.member.advertise)
        })
    }

    pub(super) fn already_member(&self) -> ApiError {
        let cluster = self
            .life
            .member()
            .map(|membership| membership.member.cluster);
        let cluster = cluster.map(|id| id.to_string()).unwrap_or_default();
        ApiError::new(
            ErrorCode::AlreadyMember,
            format!("this node is a member of cluster {cluster} already, with other settings"),
        )
        .hint("leave it first with 'podnetctl leave'")
    }
}

/// The node is a member of such a cluster, which gives it no block yet.
fn without_block() -> ApiError {
    let message =
        "init: this node is a member of such a cluster already, and has no block of it yet";
    ApiError::new(ErrorCode::NoQuorum, message)
        .hint("wait until 'podnetctl status' shows the phase ready")
}

/// A cluster is founded, and its first node has no data path.
fn without_bridge(hindrance: &ApiError) -> ApiError {
    let message = format!(
        "init: the cluster is founded, but this node has no network for pods: {}",
        hindrance.message
    );
    let cure = hindrance
        .hint
        .as_deref()
        .unwrap_or("mend what is in its way");
    ApiError::new(hindrance.code, message).hint(format!(
        "{cure}; podnetd tries again by itself, and 'podnetctl init' with the same arguments then prints the \
         join command"
    ))
}
