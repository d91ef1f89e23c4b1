//! `join`: becoming a member of a cluster that exists.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use podnet_core::claim::Durable;
use podnet_proto::api::{JoinRequest, Status};
use podnet_proto::gossip::Hello;
use podnet_proto::token::JoinToken;
use podnet_proto::{ApiError, ErrorCode, NodeName};
use tokio::task::JoinSet;

use super::agent::{Agent, Event};
use super::error;
use super::host::Host;
use super::request::{Admission, admission};
use crate::control::Answer;
use crate::gossip::{Keyring, ProbeError, Probed, probe};
use crate::store::Member;
use crate::vital;

/// The members of a cluster are being asked; nothing is on disk yet.
pub(super) struct Attempt {
    plan: Plan,
    answer: Answer<Box<Status>>,
    /// Which attempt it is, so that the outcome of one that was given up is not taken for its.
    started: Instant,
    /// The task that asks.
    asking: JoinSet<()>,
}

/// What becomes of a `join` request when a member answers.
struct Plan {
    token: JoinToken,
    targets: Vec<SocketAddrV4>,
    name: NodeName,
    advertise: Option<SocketAddrV4>,
    host: Host,
}

/// What a `join` request asks for.
enum Joining {
    /// To become a member, as soon as one answers within this time.
    New(Box<Plan>, Duration),
    /// To be a member, which this node is already; others are said to be here.
    Member(Vec<SocketAddrV4>),
}

/// What asking the members has come to.
pub(super) struct ProbeOutcome {
    started: Instant,
    result: Result<Probed, ProbeError>,
}

impl Agent {
    pub(super) async fn join(&mut self, request: &JoinRequest, answer: Answer<Box<Status>>) {
        match self.plan_join(request).await {
            Ok(Joining::New(plan, patience)) => self.ask_members(*plan, patience, answer),
            Ok(Joining::Member(targets)) => {
                self.greet(targets);
                drop(answer.send(Ok(Box::new(self.status()))));
            }
            Err(api_error) => drop(answer.send(Err(api_error))),
        }
    }

    /// Gossips with these addresses at once: where all members of a cluster have got other ones
    /// unseen by each other, only the user can tell where they are.
    fn greet(&self, targets: Vec<SocketAddrV4>) {
        let gossip = self.membership.as_ref().and_then(|m| m.gossip.as_ref());
        if let Some(gossip) = gossip {
            gossip.nudge(targets);
        }
    }

    async fn plan_join(&self, request: &JoinRequest) -> Result<Joining, ApiError> {
        let Admission {
            token,
            targets,
            name,
            advertise,
            patience,
        } = admission(request, self.config.gossip_port)?;
        if let Some(membership) = &self.membership {
            return if membership.member.cluster != token.cluster {
                let own = membership.member.cluster;
                let other = token.cluster;
                Err(ApiError::new(
                    ErrorCode::WrongCluster,
                    format!("this node is a member of cluster {own}; the token is for {other}"),
                )
                .hint("leave the cluster first with 'podnetctl leave'"))
            } else if self.same_node(name.as_ref(), advertise) {
                Ok(Joining::Member(targets))
            } else {
                Err(self.already_member())
            };
        }
        self.no_attempt("join")?;
        let host = self.look_at_host().await?;
        if !request.allow_overlap {
            host.check_overlap(&token.networks, "join")?;
        }
        if let Some(advertise) = advertise {
            host.check_local(*advertise.ip())?;
        }
        let name = name.unwrap_or_else(|| self.default_name());
        let plan = Plan {
            token,
            targets,
            name,
            advertise,
            host,
        };
        Ok(Joining::New(Box::new(plan), patience))
    }

    /// Asks the members beside the loop.
    fn ask_members(&mut self, plan: Plan, patience: Duration, answer: Answer<Box<Status>>) {
        let hello = Hello {
            node: self.identity.node(),
            name: plan.name.clone(),
        };
        let keyring = Keyring::new(plan.token.gossip_key.clone());
        let targets = plan.targets.clone();
        let source = plan.host.source(plan.advertise);
        let bind = SocketAddrV4::new(source, self.config.gossip_port);
        let events = self.events.clone();
        let started = Instant::now();
        let mut asking = JoinSet::new();
        asking.spawn(vital::watched(async move {
            let result = probe(bind, &keyring, &hello, &targets, patience).await;
            let outcome = ProbeOutcome { started, result };
            let _ = events.send(Event::Probed(Box::new(outcome))).await;
        }));
        self.attempt = Some(Attempt {
            plan,
            answer,
            started,
            asking,
        });
    }

    pub(super) async fn on_probed(&mut self, outcome: ProbeOutcome) {
        let attempt = self
            .attempt
            .take_if(|attempt| attempt.started == outcome.started);
        let Some(Attempt { plan, answer, .. }) = attempt else {
            return;
        };
        if answer.is_closed() {
            tracing::info!("nobody waits for the join any more: it is given up");
            return;
        }
        let joined = match outcome.result {
            Ok(probed) => self.accept_welcome(plan, &probed).await,
            Err(probe_error) => Err(unanswered(&plan, &probe_error)),
        };
        let status = joined.map(|()| Box::new(self.status()));
        drop(answer.send(status));
    }

    async fn accept_welcome(&mut self, plan: Plan, probed: &Probed) -> Result<(), ApiError> {
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
        self.become_member(member, Durable::joiner(cluster, checkpoint))
            .await
    }

    /// Gives up the attempt that is under way, if there is one, since the node is told to leave.
    /// The port is free for the next attempt when this returns.
    pub(super) async fn give_up_join(&mut self) {
        if let Some(mut attempt) = self.attempt.take() {
            tracing::info!("the join that was under way is given up");
            attempt.asking.shutdown().await;
            drop(attempt.answer.send(Err(ApiError::new(
                ErrorCode::Unreachable,
                "join: given up before a member answered: this node was told to leave",
            ))));
        }
    }

    /// Refuses while the members of a cluster are being asked.
    pub(super) fn no_attempt(&self, command: &str) -> Result<(), ApiError> {
        match &self.attempt {
            None => Ok(()),
            Some(_) => Err(ApiError::new(
                ErrorCode::Exists,
                format!("{command}: another join is under way on this node"),
            )
            .hint("wait until it has ended; it takes 10 s at most")),
        }
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
