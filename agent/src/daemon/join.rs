//! `join`: becoming a member of a cluster that exists.

use std::net::SocketAddrV4;
use std::time::Duration;

use podnet_core::claim::Durable;
use podnet_core::node::Ticket;
use podnet_proto::api::JoinRequest;
use podnet_proto::gossip::Hello;
use podnet_proto::token::JoinToken;
use podnet_proto::{ApiError, ErrorCode, NodeName};

use super::effect::{Effect, Question};
use super::entry::{Command, Entry, Why};
use super::error;
use super::host::Host;
use super::node::Node;
use super::request::{Admission, admission};
use crate::gossip::{ProbeError, Probed};
use crate::store::Member;

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
            Ok(admission) if self.membership.is_some() => {
                self.greet(admission.targets);
                self.answer(ticket, Ok(self.status().into()));
            }
            Ok(admission) => {
                self.look_at_host(Command::Join(admission), request.allow_overlap, ticket);
            }
            Err(api_error) => self.answer(ticket, Err(api_error)),
        }
    }

    /// Gossips with these addresses at once: where all members of a cluster have got other ones
    /// unseen by each other, only the user can tell where they are.
    fn greet(&mut self, targets: Vec<SocketAddrV4>) {
        self.effects.push(Effect::Nudge {
            urgent: targets,
            idly: Vec::new(),
        });
    }

    /// What a request asks for, which a member may be asked for only if it is that already.
    fn judge_join(&self, request: &JoinRequest) -> Result<Admission, ApiError> {
        let admission = admission(request, self.config.gossip_port)?;
        let Some(membership) = &self.membership else {
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

    /// Asks the members beside the loop.
    fn ask_members(&mut self, plan: Plan, patience: Duration, ticket: Ticket) {
        let hello = Hello {
            node: self.identity.node(),
            name: plan.name.clone(),
        };
        let source = plan.host.source(plan.advertise);
        let question = Question {
            attempt: ticket,
            bind: SocketAddrV4::new(source, self.config.gossip_port),
            key: plan.token.gossip_key.clone(),
            hello,
            targets: plan.targets.clone(),
            patience,
        };
        self.effects.push(Effect::AskMembers(Box::new(question)));
        self.entry = Some(Entry::Asks(Attempt { plan, ticket }));
    }

    pub(super) fn on_probed(&mut self, asked: Ticket, result: Result<Probed, ProbeError>) {
        // The outcome of one that was given up is not taken for its.
        let asks =
            |entry: &mut Entry| matches!(entry, Entry::Asks(attempt) if attempt.ticket == asked);
        let Some(Entry::Asks(Attempt { plan, ticket })) = self.entry.take_if(asks) else {
            return;
        };
        let welcome = match result {
            Ok(probed) => self.accept_welcome(plan, &probed),
            Err(probe_error) => Err(unanswered(&plan, &probe_error)),
        };
        match welcome {
            Ok((member, durable)) => self.become_member(member, durable, Why::Joins(ticket)),
            Err(api_error) => self.answer(ticket, Err(api_error)),
        }
    }

    fn accept_welcome(&self, plan: Plan, probed: &Probed) -> Result<(Member, Durable), ApiError> {
        if let Some(other) = probed.welcome.name_taken_by {
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
        let port = self.config.gossip_port;
        let advertise = match plan.advertise {
            Some(advertise) => advertise,
            None => plan.host.advertise_from(probed.source, port)?,
        };
        let JoinToken {
            cluster,
            gossip_key,
            networks,
            checkpoint,
        } = plan.token;
        tracing::info!(%cluster, name = %plan.name, %advertise, by = %probed.target, "joining");
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

fn unanswered(plan: &Plan, probe_error: &ProbeError) -> ApiError {
    let text = error::chain(probe_error);
    match probe_error {
        ProbeError::Bind(bind) => error::bind(bind, format!("join: {text}")),
        ProbeError::Silent { .. }
        | ProbeError::Forbidden { .. }
        | ProbeError::Unreachable { .. } => {
            let targets: Vec<String> = plan.targets.iter().map(ToString::to_string).collect();
            let port = plan.targets.first().map_or(0, SocketAddrV4::port);
            ApiError::new(
                ErrorCode::Unreachable,
                format!(
                    "join: no member answered at {} ({text}): the token is of another cluster, \
                     the address is wrong, another version of podnetd runs there, or a firewall drops \
                     UDP port {port}",
                    targets.join(", "),
                ),
            )
            .hint(
                "compare the token with 'podnetctl token show' on a member, its address with \
                 'podnetctl status' there, and let the port pass both hosts' firewalls",
            )
        }
        ProbeError::Seal(_) | ProbeError::Socket(_) => {
            ApiError::new(ErrorCode::Internal, format!("join: {text}"))
        }
    }
}
