//! The node: what it knows, and what follows from what happens.
//!
//! It waits for nothing, reads no clock and touches no file: what it wants done goes out as [`Effect`]s, and
//! what comes of them comes back as an [`Input`].

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use podnet_proto::{ApiError, Boot, Instance, NodeId, PodName};

use super::echoes::PathReport;
use super::effect::{Effect, Loose, Write};
use super::event::Event;
use super::forwarded::Forwarded;
use super::life::Life;
use super::member::Joined;
use super::pods::{PodRecord, Pods};
use super::reconcile::Reconciling;
use super::remains::Remains;
use super::request::{Answer, Request, Response, Ticket};
use super::suspicion::Suspicion;
use crate::advertise::Range;
use crate::kernel::Change;
use crate::signed::Verify;
use crate::time::{Moment, Now};

/// How long to collect what gossip hears before acting on it.
const GOSSIP_DEBOUNCE: Duration = Duration::from_millis(2);

/// Something that has happened.
#[derive(Debug)]
pub enum Input {
    /// A user's request has come.
    Request(Request, Ticket),
    /// The client of this request has gone: nothing waits for the answer.
    Abandoned(Ticket),
    /// Something has come of an effect.
    Event(Event),
    /// The kernel reports a change that podnet did not make.
    Change(Change),
    /// An echo has shown something new of a path.
    Path(PathReport),
    /// Gossip has heard something.
    GossipNews,
    /// Gossip has ended, though the node did not end it.
    GossipEnded,
    /// The node's deadline has come.
    Time,
}

/// Why a node wants to be woken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The claim machine is to step: in its own time, or since gossip has news.
    Claim,
    /// A pass of the reconciler is due.
    Pass,
    /// The chains of other programs are to be looked at.
    Chains,
    /// Echoes are to be sent from pods.
    Echoes,
    /// What could not be removed from disk is to be removed.
    Disk,
}

/// What a node is from its start on, and what its operator has set.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its id.
    pub own: NodeId,
    /// The boot of its host.
    pub boot: Boot,
    /// This run of the agent.
    pub instance: Instance,
    /// Whether its identity names the machine that it was made on, so that a clone of the disk shows.
    pub on_known_machine: bool,
    /// The name of its host.
    pub hostname: String,
    /// Its version, as peers and users are shown it.
    pub version: &'static str,
    /// The range of the address that peers are told.
    pub advertise: Range,
    /// The UDP port of gossip.
    pub gossip_port: u16,
    /// Where namespaces of pods are mounted.
    pub netns_dir: PathBuf,
    /// How often all of the kernel's state is looked at, though nothing was reported.
    pub resync: Duration,
    /// How long a node that has rebooted, or a voter that has started, only listens before it decides anything.
    pub listen: Duration,
    /// The seed of its choices among equals.
    pub seed: u64,
    /// How the signatures of what gossip hears are checked.
    pub verify: &'static (dyn Verify + Sync),
}

/// What is on disk when a node starts.
#[derive(Debug, Default)]
pub struct Kept {
    /// The membership, if it has one.
    pub joined: Option<Joined>,
    /// The pods of this boot.
    pub pods: BTreeMap<PodName, PodRecord>,
    /// The addresses that became free, in their order.
    pub freed: Vec<Ipv4Addr>,
}

/// A node.
pub struct Node {
    pub(super) setup: Setup,
    pub(super) rng: fastrand::Rng,
    /// When the last input came: what follows from it happens at this moment.
    pub(super) now: Now,
    pub(super) life: Life,
    /// Requests that wait while a command is at work whose outcome decides their answers.
    held: VecDeque<(Request, Ticket)>,
    /// What stays on disk of a membership that could not begin.
    pub(super) remains: Option<Remains>,
    pub(super) pods: Pods,
    pub(super) reconciling: Reconciling,
    pub(super) suspicion: Suspicion,
    pub(super) forwarded: Forwarded,
    /// What the node left on this host when it last left a cluster, since other programs rely on it.
    pub(super) left: Vec<String>,
    /// What the echoes to each peer's gateway have shown.
    pub(super) paths: BTreeMap<NodeId, PathReport>,
    /// When the claim machine steps next because gossip has news.
    news_due: Option<Moment>,
    /// What is wanted of the world, in its order.
    pub(super) effects: Vec<Effect>,
}

impl Node {
    /// A node that goes on with what is on disk, where the last agent of this host has ended. The effects of that
    /// come with its first input.
    #[must_use]
    pub fn new(setup: Setup, kept: Kept) -> Self {
        let now = Moment::START;
        let mut node = Self {
            rng: fastrand::Rng::with_seed(setup.seed),
            reconciling: Reconciling::new(now, setup.resync),
            setup,
            now: Now::default(),
            life: Life::IDLE,
            held: VecDeque::new(),
            remains: None,
            pods: Pods::default(),
            suspicion: Suspicion::new(now),
            forwarded: Forwarded::new(now),
            left: Vec::new(),
            paths: BTreeMap::new(),
            news_due: None,
            effects: Vec::new(),
        };
        node.load_pods(kept.pods, kept.freed);
        if let Some(joined) = kept.joined {
            node.resume_membership(joined);
        }
        node
    }

    /// Takes in what has happened. Returns what is to be done, in this order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Effect> {
        self.now = now;
        match input {
            Input::Request(request, ticket) => self.on_request(request, ticket),
            Input::Abandoned(ticket) => self.on_abandoned(ticket),
            Input::Event(event) => self.on_event(event),
            Input::Change(change) => self.on_change(change),
            Input::Path(report) => self.on_path(report),
            Input::GossipNews => {
                self.news_due.get_or_insert(now.moment + GOSSIP_DEBOUNCE);
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
    #[must_use]
    pub fn deadline(&self) -> Option<(Moment, Why)> {
        let Some(member) = self.life.member() else {
            let due = self.remains.as_ref()?.due()?;
            let idle = matches!(self.life, Life::Idle { .. });
            return idle.then_some((due, Why::Disk));
        };
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
    #[must_use]
    pub fn is_resuming(&self) -> bool {
        let saving = self.life.member().map(|member| member.saving.is_some());
        self.is_entering() || saving.unwrap_or_default()
    }

    /// When the last input came.
    pub(super) const fn now(&self) -> Moment {
        self.now.moment
    }

    /// The date of the last input, for people.
    pub(super) fn date(&self) -> String {
        self.now.date.to_string()
    }

    /// Why the node could not go on with the membership that the last agent had, if it could not. Returned once.
    pub const fn take_failure(&mut self) -> Option<ApiError> {
        if let Life::Idle { not_resumed } = &mut self.life {
            not_resumed.take()
        } else {
            None
        }
    }

    /// This node's id.
    pub(super) const fn own(&self) -> NodeId {
        self.setup.own
    }

    /// Lets the claim machine step once this input is handled.
    pub(super) fn step_soon(&mut self) {
        self.news_due = Some(self.now());
    }

    /// Does what is due.
    fn on_time(&mut self) {
        let now = self.now();
        let wake = self.life.member().map(|membership| membership.wake);
        let mut due = [wake, self.news_due].into_iter().flatten();
        if due.any(|due| due <= now) {
            self.news_due = None;
            self.step();
            self.answer_leaves();
        }
        self.remove_due_remains(now);
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
            Event::Asked(attempt, result) => self.on_asked(attempt, *result),
            Event::Looked(looked) => self.on_looked(looked),
            Event::Closed(left) => self.on_closed(left),
            Event::EchoesOfPods(echoes) => self.on_echoes_of_pods(echoes),
        }
    }

    /// Something is written, or cannot be.
    fn on_stored(&mut self, write: &Write, result: Result<(), ApiError>) {
        match write {
            Write::Pod(record) => self.on_pod_stored(&record.link.pod, write, result),
            Write::NoPod(name) => self.on_pod_stored(name, write, result),
            Write::Membership(_) => self.on_membership_stored(result),
            Write::Member(member) => self.on_member_stored((**member).clone(), result),
            Write::Durable(_) => self.on_durable_stored(result),
            Write::NoMembership => self.on_membership_removed(result),
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
                return self.on_leave(request, ticket);
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

    /// The client of this request has gone: nothing waits for the answer.
    fn on_abandoned(&mut self, ticket: Ticket) {
        self.pods.abandon(ticket);
        self.held
            .retain(|(request, held)| *held != ticket || !matches!(request, Request::Join(_)));
        self.abandon_join(ticket);
    }

    fn on_change(&mut self, change: Change) {
        if self.life.member().is_some() {
            tracing::debug!(
                what = change.what,
                by = change.makers(),
                "the kernel reports a change"
            );
            let now = self.now();
            self.suspicion.on_change(&change.kind, now);
            self.reconciling.on_change(change, now);
        }
    }

    fn on_path(&mut self, report: PathReport) {
        match &report.outcome {
            Ok(round_trip) => {
                let round_trip = format_args!("{:.3} ms", round_trip.as_secs_f64() * 1000.0);
                tracing::info!(node = %report.node, %round_trip, "the path to a peer works");
            }
            Err(reason) => {
                let now = self.now();
                self.suspicion.look(now, now);
                tracing::warn!(node = %report.node, reason, "the path to a peer does not work");
            }
        }
        self.paths.insert(report.node, report);
    }
}
