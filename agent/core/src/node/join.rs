//! `join`: becoming a member of a cluster that exists.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::claim::Durable;
use crate::node::Ticket;
use podnet_proto::api::JoinRequest;
use podnet_proto::gossip::Hello;
use podnet_proto::token::JoinToken;
use podnet_proto::{ApiError, ErrorCode, NodeName};

use super::admission::{Admission, admission};
use super::effect::{Effect, Question};
use super::entry::{Command, Entry, Why};
use super::event::Welcomed;
use super::host::Host;
use super::life::Life;
use super::machine::Node;
use super::member::Member;

/// The members of a cluster are being asked; nothing is on disk yet.
pub(super) struct Attempt {
    plan: Plan,
    pub(super) ticket: Ticket,
}

/// What becomes of a `join` request when a member answers.
struct Plan {
    token: JoinToken,
    targets: Vec<SocketAddrV4>,
    name: NodeName,
    advertise: Option<SocketAddrV4>,
    host: Host,
}

impl Node {
    pub(super) fn join(&mut self, request: &JoinRequest, ticket: Ticket) {
        match self.judge_join(request) {
            Ok(admission) if self.life.member().is_some() => {
                self.greet(admission.targets);
                self.answer(ticket, Ok(self.status().into()));
            }
            Ok(admission) => {
                self.look_at_host(Command::Join(admission), request.allow_overlap, ticket);
            }
            Err(api_error) => self.answer(ticket, Err(api_error)),
        }
    }

    /// Gossips with these addresses at once: if all members of a cluster have got new addresses
    /// without seeing those of each other, only the user knows where they are.
    fn greet(&mut self, targets: Vec<SocketAddrV4>) {
        self.effects.push(Effect::Nudge {
            urgent: targets,
            idly: Vec::new(),
        });
    }

    /// What a request asks for. A member accepts only what it is already.
    fn judge_join(&self, request: &JoinRequest) -> Result<Admission, ApiError> {
        let admission = admission(request, self.setup.gossip_port)?;
        let Some(membership) = self.life.member() else {
            self.no_attempt("join")?;
            return Ok(admission);
        };
        if membership.member.cluster != admission.token.cluster {
            let own = membership.member.cluster;
            let other = admission.token.cluster;
            Err(ApiError::new(
                ErrorCode::WrongCluster,
                format!("this node is a member of cluster {own}; the token is for {other}"),
            )
            .hint("leave the cluster first with 'podnetctl leave'"))
        } else if self.same_node(admission.name.as_ref(), admission.advertise) {
            Ok(admission)
        } else {
            Err(self.already_member())
        }
    }

    /// Asks the members, if this host can be a node.
    pub(super) fn plan_join(
        &mut self,
        host: Host,
        admission: Admission,
        allow_overlap: bool,
        ticket: Ticket,
    ) {
        let Admission {
            token,
            targets,
            name,
            advertise,
            patience,
        } = admission;
        let mut fits = Ok(());
        if !allow_overlap {
            fits = host.check_overlap(&token.networks, "join");
        }
        if let Some(advertise) = advertise {
            fits = fits.and_then(|()| host.check_local(*advertise.ip()));
        }
        if let Err(api_error) = fits {
            return self.answer(ticket, Err(api_error));
        }
        let name = name.unwrap_or_else(|| self.default_name());
        let plan = Plan {
            token,
            targets,
            name,
            advertise,
            host,
        };
        self.ask_members(plan, patience, ticket);
    }

    /// Lets the members be asked.
    fn ask_members(&mut self, plan: Plan, patience: Duration, ticket: Ticket) {
        let hello = Hello {
            node: self.own(),
            name: plan.name.clone(),
        };
        let source = plan.host.source(plan.advertise);
        let question = Question {
            attempt: ticket,
            bind: SocketAddrV4::new(source, self.setup.gossip_port),
            key: plan.token.gossip_key.clone(),
            hello,
            targets: plan.targets.clone(),
            patience,
        };
        self.effects.push(Effect::AskMembers(Box::new(question)));
        self.life = Life::Joining(Entry::Asks(Attempt { plan, ticket }));
    }

    pub(super) fn on_asked(&mut self, asked: Ticket, result: Result<Welcomed, ApiError>) {
        // The outcome of an attempt that was given up counts for no other.
        let asks =
            |entry: &mut Entry| matches!(entry, Entry::Asks(attempt) if attempt.ticket == asked);
        let Some(Entry::Asks(Attempt { plan, ticket })) = self.life.take_entry(asks) else {
            return;
        };
        match result.and_then(|welcomed| self.accept_welcome(plan, &welcomed)) {
            Ok((member, durable)) => self.become_member(member, durable, Why::Joins(ticket)),
            Err(api_error) => self.answer(ticket, Err(api_error)),
        }
    }

    fn accept_welcome(
        &self,
        plan: Plan,
        welcomed: &Welcomed,
    ) -> Result<(Member, Durable), ApiError> {
        if let Some(other) = welcomed.welcome.name_taken_by {
            let name = &plan.name;
            return Err(ApiError::new(
                ErrorCode::Exists,
                format!("node name {name}: the member {other} bears it already"),
            )
            .hint(
                "choose another with --node-name NAME; if this host was that member and was installed anew, put \
                 its old state directory back to be it again: this version cannot give its name and block up",
            ));
        }
        let port = self.setup.gossip_port;
        let advertise = match plan.advertise {
            Some(advertise) => advertise,
            None => plan.host.advertise_from(welcomed.source, port)?,
        };
        let JoinToken {
            cluster,
            gossip_key,
            networks,
            checkpoint,
        } = plan.token;
        tracing::info!(%cluster, name = %plan.name, %advertise, by = %welcomed.target, "joining a cluster");
        let member = Member {
            cluster,
            name: plan.name,
            advertise,
            advertise_fixed: plan.advertise.is_some(),
            gossip_key,
            networks,
            checkpoint,
            seeds: plan.targets,
        };
        Ok((member, Durable::joiner(cluster, checkpoint)))
    }
}
