//! The node: what it knows, and what follows from what happens.
//!
//! It waits for nothing, reads no clock and touches no file: what it wants done goes out as [`Effect`]s, and
//! what comes of them comes back as an [`Input`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use podnet_core::kernel::Change;
use podnet_core::node::{Answer, Request, Response, Ticket};
use podnet_core::time::Moment;
use podnet_proto::api::LeaveRequest;
use podnet_proto::{ApiError, Boot, Instance, NodeId};

use super::effect::{Effect, Event, Loose, Write};
use super::entry::Entry;
use super::forwarded::Forwarded;
use super::membership::Membership;
use super::pods::Pods;
use super::reconcile::Reconciling;
use super::suspicion::Suspicion;
use crate::config::Config;
use crate::probe::PathReport;
use crate::store::{Identity, RunDir};

/// How long to collect what gossip hears before acting on it.
const GOSSIP_DEBOUNCE: Duration = Duration::from_millis(2);

/// Something that has happened.
pub(super) enum Input {
    /// A user asks something.
    Request(Request, Ticket),
    /// Nobody waits for the answer to this request any more.
    Abandoned(Ticket),
    /// Something has come of an effect.
    Event(Event),
    /// The kernel reports a change that podnet did not make.
    Change(Change),
    /// An echo has shown something new of a path.
    Path(PathReport),
    /// Gossip has heard something.
    GossipNews,
    /// Gossip has ended by itself.
    GossipEnded,
    /// It is as late as the node had asked for.
    Time,
}

/// Why a node wants to be woken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// The claim machine is to step, by itself or since gossip has news.
    Claim,
    /// A pass of the reconciler is due.
    Pass,
    /// The chains of other programs are to be looked at.
    Chains,
    /// Echoes are to be sent from pods.
    Echoes,
}

/// The node.
pub(super) struct Node {
    pub(super) config: Config,
    pub(super) identity: Arc<Identity>,
    pub(super) boot: Boot,
    pub(super) instance: Instance,
    pub(super) run_dir: RunDir,
    /// When the last input came: what follows from it happens at this moment.
    pub(super) now: Moment,
    pub(super) membership: Option<Membership>,
    pub(super) entry: Option<Entry>,
    /// Those who wait for a cluster to be founded, and how many passes for its first block there were.
    pub(super) awaiting_init: Vec<Ticket>,
    pub(super) init_passes: u64,
    /// Those who want the node to leave before it can know whether a majority is there.
    pub(super) early_leaves: Vec<(LeaveRequest, Ticket)>,
    /// What was asked while a command is at work whose outcome decides the answer.
    held: VecDeque<(Request, Ticket)>,
    /// Why the membership that the last agent had could not be gone on with.
    pub(super) not_resumed: Option<ApiError>,
    pub(super) pods: Pods,
    pub(super) reconciling: Reconciling,
    pub(super) suspicion: Suspicion,
    pub(super) forwarded: Forwarded,
    /// What the node left on this host when it last left a cluster, since others rely on it.
    pub(super) left: Vec<String>,
    /// What the echoes to each peer's gateway tell.
    pub(super) paths: BTreeMap<NodeId, PathReport>,
    /// When the claim machine steps next because gossip has news.
    news_due: Option<Moment>,
    /// What is wanted of the world, in its order.
    pub(super) effects: Vec<Effect>,
}

impl Node {
    /// A node that is no member of a cluster.
    pub(super) fn new(
        config: Config,
        identity: Arc<Identity>,
        boot: Boot,
        instance: Instance,
        run_dir: RunDir,
    ) -> Self {
        let now = Moment::START;
        let reconciling = Reconciling::new(now, config.timing.resync);
        Self {
            config,
            identity,
            boot,
            instance,
            run_dir,
            now,
            membership: None,
            entry: None,
            awaiting_init: Vec::new(),
            init_passes: 0,
            early_leaves: Vec::new(),
            held: VecDeque::new(),
            not_resumed: None,
            pods: Pods::default(),
            reconciling,
            suspicion: Suspicion::new(now),
            forwarded: Forwarded::new(now),
            left: Vec::new(),
            paths: BTreeMap::new(),
            news_due: None,
            effects: Vec::new(),
        }
    }

    /// Takes in what has happened. Returns what is to be done, in this order.
    pub(super) fn handle(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        self.now = now;
        match input {
            Input::Request(request, ticket) => self.on_request(request, ticket),
            Input::Abandoned(ticket) => self.on_abandoned(ticket),
            Input::Event(event) => self.on_event(event),
            Input::Change(change) => self.on_change(change),
            Input::Path(report) => self.on_path(report),
            Input::GossipNews => {
                self.news_due.get_or_insert(now + GOSSIP_DEBOUNCE);
            }
            Input::GossipEnded => self.gossip_ended(),
            Input::Time => {}
        }
        while !self.is_entering() {
            let Some((request, ticket)) = self.held.pop_front() else {
                break;
            };
            self.on_request(request, ticket);
        }
        self.on_time();
        std::mem::take(&mut self.effects)
    }

    /// When the node wants to be woken up at the latest, and why; `None` if it waits for nothing.
    pub(super) fn deadline(&self) -> Option<(Moment, Why)> {
        let member = self.membership.as_ref()?;
        let deadlines = [
            (Some(member.wake), Why::Claim),
            (self.news_due, Why::Claim),
            (
                self.reconciling.next_deadline().filter(|_| member.decided),
                Why::Pass,
            ),
            (self.suspicion.next_deadline(), Why::Chains),
            (self.forwarded.next_deadline(), Why::Echoes),
        ];
        let deadlines = deadlines.into_iter();
        deadlines.filter_map(|(due, why)| Some((due?, why))).min()
    }

    /// Whether it is not known yet what the node goes on with after a restart of the agent.
    pub(super) fn is_resuming(&self) -> bool {
        let saving = self
            .membership
            .as_ref()
            .map(|member| member.saving.is_some());
        self.is_entering() || saving.unwrap_or_default()
    }

    /// When the last input came.
    pub(super) const fn now(&self) -> Moment {
        self.now
    }

    /// Lets the claim machine step as soon as the loop turns.
    pub(super) fn step_soon(&mut self) {
        self.news_due = Some(self.now);
    }

    /// Does what is due.
    fn on_time(&mut self) {
        let now = self.now;
        let wake = self.membership.as_ref().map(|membership| membership.wake);
        let mut due = [wake, self.news_due].into_iter().flatten();
        if due.any(|due| due <= now) {
            self.news_due = None;
            self.step();
            self.answer_leaves();
        }
        self.start_due_pass(now);
        self.start_due_suspicion(now);
        self.start_due_echoes_of_pods(now);
    }

    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::PassDone(report) => {
                self.on_pass_done(*report);
                self.follow_address();
            }
            Event::HostSeen(seen) => self.on_host_seen(*seen),
            Event::Stored(write, result) => self.on_stored(&write, result),
            Event::Ended(result) => self.on_ended(result),
            Event::GossipStarted(started) => self.on_gossip_started(*started),
            Event::Heard(heard) => self.on_heard(heard),
            Event::Unpublished(keys) => self.on_unpublished(&keys),
            Event::NetnsSeen(name, seen) => self.on_netns_seen(&name, seen),
            Event::Attached(name, result) => self.on_attached(&name, result),
            Event::Detached(name, result) => self.on_detached(&name, result),
            Event::Repaired(name, repair, result) => self.on_repaired(&name, &repair, &result),
            Event::Applied(Loose::Neighbours, done) => self.on_neighbours_done(&done),
            Event::Applied(Loose::Strays, done) => self.on_strays_done(&done),
            Event::Probed(attempt, result) => self.on_probed(attempt, *result),
            Event::Looked(looked) => self.on_looked(looked),
            Event::Closed(left) => self.on_closed(left),
            Event::EchoesOfPods(echoes) => self.on_echoes_of_pods(echoes),
        }
    }

    /// Something is written, or not.
    fn on_stored(&mut self, write: &Write, result: Result<(), ApiError>) {
        match write {
            Write::Pod(record) => self.on_pod_stored(&record.link.pod, write, result),
            Write::NoPod(name) => self.on_pod_stored(name, write, result),
            Write::Membership(_) => self.on_membership_stored(result),
            Write::Member(member) => self.on_member_stored((**member).clone(), result),
            Write::Durable(_) => self.on_durable_stored(result),
            Write::NoMembership => self.on_membership_undone(result),
            Write::Freed(_) | Write::Peers(_) => {}
        }
    }

    fn on_request(&mut self, request: Request, ticket: Ticket) {
        let waits = matches!(
            request,
            Request::Init(_) | Request::Join(_) | Request::Leave(_)
        );
        if waits && self.is_entering() {
            return self.held.push_back((request, ticket));
        }
        let answer = match request {
            Request::Status => Ok(self.status().into()),
            Request::Nodes => Ok(Response::Nodes(self.nodes())),
            Request::Routes => Ok(Response::Routes(self.routes())),
            Request::Pods => Ok(Response::Pods(self.pod_list())),
            Request::Pod(name) => self.pod(&name).map(Response::from),
            Request::Token => self.token().map(Response::Token),
            Request::Init(request) => return self.init(&request, ticket),
            Request::Join(request) => return self.join(&request, ticket),
            Request::Leave(request) => {
                self.give_up_join();
                self.early_leaves.push((request, ticket));
                return self.answer_leaves();
            }
            Request::AddPod(request) => return self.add_pod(Box::new(request), ticket),
            Request::RemovePod(name) => return self.remove_pod(&name, Some(ticket)),
        };
        self.answer(ticket, answer);
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.effects.push(Effect::Answer(ticket, answer));
    }

    /// Nobody waits for the answer to this request any more.
    fn on_abandoned(&mut self, ticket: Ticket) {
        self.pods.abandon(ticket);
        self.held
            .retain(|(request, held)| *held != ticket || !matches!(request, Request::Join(_)));
        self.abandon_join(ticket);
    }

    fn on_change(&mut self, change: Change) {
        if self.membership.is_some() {
            tracing::debug!(
                what = change.what,
                by = change.makers(),
                "the kernel tells of a change"
            );
            self.suspicion.on_change(&change.kind, self.now);
            self.reconciling.on_change(change, self.now);
        }
    }

    fn on_path(&mut self, report: PathReport) {
        match &report.outcome {
            Ok(round_trip) => {
                let round_trip = format_args!("{:.3} ms", round_trip.as_secs_f64() * 1000.0);
                tracing::info!(node = %report.node, %round_trip, "the path to a peer works");
            }
            Err(reason) => {
                self.suspicion.look(self.now, self.now);
                tracing::warn!(node = %report.node, reason, "the path to a peer does not work");
            }
        }
        self.paths.insert(report.node, report);
    }
}
