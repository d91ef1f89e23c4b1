//! `init`: founding a cluster.

use std::net::SocketAddrV4;

use podnet_core::claim::Durable;
use podnet_core::kernel::Kinds;
use podnet_proto::api::{InitRequest, InitResponse};
use podnet_proto::ledger::Ledger;
use podnet_proto::{ApiError, ClusterId, ErrorCode, GossipKey, NodeName};

use super::agent::Agent;
use super::error;
use super::request::founding;
use crate::control::Answer;
use crate::store::{Joined, Member, PeerBook};

/// How many passes an answer waits for a data path that does not come to stand; `status` tells what
/// is wrong.
const INIT_PASSES: u64 = 3;

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
        self.reconciling.want(Kinds::all());
        self.step().await;
        Ok(())
    }

    /// Answers those who wait for a cluster to be founded, once its data path stands, or has
    /// turned out not to: what is in its way, `status` names.
    pub(super) fn answer_init(&mut self) {
        let Some(membership) = &self.membership else {
            return;
        };
        let passes = self
            .reconciling
            .totals
            .passes
            .saturating_sub(self.init_pass);
        let settled = passes > 0 && !self.reconciling.may_improve();
        if membership.using.is_none() || !(settled || passes >= INIT_PASSES) {
            return;
        }
        let fault = self.reconciling.bridge_fault();
        for answer in std::mem::take(&mut self.awaiting_init) {
            let response = match &fault {
                None => self.init_response().map(Box::new),
                Some(fault) => Err(without_bridge(fault)),
            };
            drop(answer.send(response));
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
