//! The event loop, and the state that it owns.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use podnet_core::node::{Answer, Request, Response, Ticket};
use podnet_core::summary::summary;
use podnet_core::time::Moment;
use podnet_proto::api::LeaveRequest;
use podnet_proto::{ApiError, Boot, Instance, NodeId};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::edge::{Edge, News};
use super::effect::{Effect, Event, Loose, Write};
use super::entry::Entry;
use super::error;
use super::forwarded::Forwarded;
use super::membership::Membership;
use super::pods::Pods;
use super::reconcile::Reconciling;
use super::supervisor::Supervisor;
use super::suspicion::Suspicion;
use crate::config::Config;
use crate::control::Asked;
use crate::dataplane::{Change, Dataplane};
use crate::gossip::Gossip;
use crate::probe::{PathReport, Prober};
use crate::store::{Identity, Joined, RunDir};

/// How long to collect what gossip tells before acting on it.
const GOSSIP_DEBOUNCE: Duration = Duration::from_millis(2);

/// Where events come from.
pub(super) struct Inputs {
    pub(super) news: mpsc::Receiver<News>,
    pub(super) asked: mpsc::Receiver<Asked>,
    pub(super) changes: mpsc::Receiver<Change>,
    pub(super) paths: mpsc::Receiver<PathReport>,
}

/// Why the loop turns.
pub(super) enum Wake {
    /// Something that was done beside the loop has ended.
    News(News),
    Asked(Asked),
    Change(Change),
    Path(PathReport),
    /// Gossip has heard something.
    Heard,
    /// Gossip has died.
    GossipEnded,
    /// Something is due.
    Time,
}

/// The agent.
pub(super) struct Agent {
    pub(super) config: Config,
    pub(super) identity: Arc<Identity>,
    pub(super) boot: Boot,
    pub(super) instance: Instance,
    pub(super) run_dir: RunDir,
    pub(super) start: Instant,
    /// When the loop last woke up: what happens in one turn happens at this moment.
    pub(super) now: Moment,
    pub(super) membership: Option<Membership>,
    pub(super) entry: Option<Entry>,
    /// Those who wait for a cluster to be founded, and how many passes there were before.
    pub(super) awaiting_init: Vec<Ticket>,
    pub(super) init_pass: u64,
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
    supervisor: Supervisor,
    /// What is to be done before the loop goes on.
    pub(super) effects: Vec<Effect>,
    edge: Edge,
}

impl Agent {
    pub(super) fn new(
        config: Config,
        identity: Identity,
        boot: Boot,
        run_dir: RunDir,
        dataplane: Arc<dyn Dataplane>,
        prober: Prober,
        news: mpsc::Sender<News>,
    ) -> Self {
        let now = Moment::START;
        let start = Instant::now();
        let identity = Arc::new(identity);
        let edge = Edge::new(
            &config,
            Arc::clone(&identity),
            start,
            run_dir.clone(),
            dataplane,
            prober,
            news,
        );
        let reconciling = Reconciling::new(now, config.timing.resync);
        Self {
            config,
            identity,
            boot,
            instance: Instance(rand::random()),
            run_dir,
            start,
            now,
            membership: None,
            entry: None,
            awaiting_init: Vec::new(),
            init_pass: 0,
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
            supervisor: Supervisor::new(now),
            effects: Vec::new(),
            edge,
        }
    }

    /// Goes on where the last process ended: with what is on disk, and with the pods of this boot.
    pub(super) async fn resume(
        &mut self,
        joined: Option<Joined>,
        news: &mut mpsc::Receiver<News>,
    ) -> Result<(), ApiError> {
        let records = self.run_dir.pods().map_err(|e| error::store(&e))?;
        let freed = self.run_dir.freed().map_err(|e| error::store(&e))?;
        self.load_pods(records, freed);
        if let Some(joined) = joined {
            self.resume_membership(joined);
        }
        self.carry_out().await;
        while self.is_entering() {
            let Some(next) = news.recv().await else {
                break;
            };
            self.turn(Wake::News(next)).await;
        }
        self.not_resumed.take().map_or(Ok(()), Err)
    }

    /// Turns until the process ends.
    pub(super) async fn run(&mut self, mut inputs: Inputs) {
        self.supervisor.ready();
        loop {
            let gossip = self.edge.gossip();
            let due = self.start + self.next_deadline().since(Moment::START);
            let wake = tokio::select! {
                Some(news) = inputs.news.recv() => Wake::News(news),
                Some(asked) = inputs.asked.recv() => Wake::Asked(asked),
                Some(change) = inputs.changes.recv() => Wake::Change(change),
                Some(report) = inputs.paths.recv() => Wake::Path(report),
                () = heard(gossip) => Wake::Heard,
                () = ended(gossip) => Wake::GossipEnded,
                () = sleep_until(due.into()) => Wake::Time,
            };
            self.turn(wake).await;
        }
    }

    /// Turns once.
    pub(super) async fn turn(&mut self, wake: Wake) {
        self.now = Moment::after_start(self.start.elapsed());
        for ticket in self.edge.waiters.abandoned() {
            self.on_abandoned(ticket);
        }
        match wake {
            Wake::News(news) => {
                let event = self.edge.take_in(news);
                self.on_event(event);
            }
            Wake::Asked(Asked { request, answer }) => {
                let ticket = self.edge.waiters.admit(answer);
                self.on_request(request, ticket);
            }
            Wake::Change(change) => self.on_change(change),
            Wake::Path(report) => self.on_path(report),
            Wake::Heard => {
                self.news_due.get_or_insert(self.now + GOSSIP_DEBOUNCE);
            }
            Wake::GossipEnded => self.gossip_ended(),
            Wake::Time => {}
        }
        self.carry_out().await;
        self.on_time();
        self.carry_out().await;
    }

    /// Ends in order. The data path stays as it is. Whoever waits for an answer is told at once that
    /// none will come.
    pub(super) async fn stop(self) {
        self.supervisor.stopping();
        self.edge.stop().await;
    }

    /// When the loop last woke up.
    pub(super) const fn now(&self) -> Moment {
        self.now
    }

    /// Lets the claim machine step as soon as the loop turns.
    pub(super) fn step_soon(&mut self) {
        self.news_due = Some(self.now);
    }

    fn next_deadline(&self) -> Moment {
        let claim = self.membership.as_ref().map(|membership| membership.wake);
        let reconcile = self.reconciling.next_deadline();
        let suspicion = self.suspicion.next_deadline();
        let member = self.membership.as_ref();
        let forwarded = member.and_then(|_| self.forwarded.next_deadline());
        [claim, reconcile, suspicion, forwarded, self.news_due]
            .into_iter()
            .flatten()
            .fold(self.supervisor.next_deadline(), Moment::min)
    }

    /// Does what is due.
    fn on_time(&mut self) {
        let now = self.now;
        let wake = self.membership.as_ref().map(|membership| membership.wake);
        if [wake, self.news_due]
            .into_iter()
            .flatten()
            .any(|due| due <= now)
        {
            self.news_due = None;
            self.step();
            self.answer_leaves();
        }
        self.supervisor.turns(now);
        self.start_due_pass(now);
        self.start_due_suspicion(now);
        self.start_due_echoes_of_pods(now);
        if self.supervisor.wants_summary(now) {
            let summary = summary(&self.status());
            self.supervisor.tell(summary);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::PassDone(report) => {
                self.on_pass_done(*report);
                self.follow_address();
            }
            Event::HostSeen(seen) => self.on_host_seen(*seen),
            Event::Stored(write, result) => self.on_stored(write, result),
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

    /// Does what has come to be wanted of the world.
    pub(super) async fn carry_out(&mut self) {
        while !self.effects.is_empty() {
            let effects = std::mem::take(&mut self.effects);
            for event in self.edge.carry_out(effects).await {
                self.on_event(event);
            }
            while !self.is_entering() {
                let Some((request, ticket)) = self.held.pop_front() else {
                    break;
                };
                self.on_request(request, ticket);
            }
        }
    }

    /// Something is written, or not.
    fn on_stored(&mut self, write: Write, result: Result<(), ApiError>) {
        match &write {
            Write::Pod(record) => self.on_pod_stored(&record.link.pod, &write, result),
            Write::NoPod(name) => self.on_pod_stored(name, &write, result),
            Write::Membership(_) => self.on_membership_stored(result),
            Write::Member(member) => self.on_member_stored((**member).clone(), result),
            Write::Durable(_) => self.on_durable_stored(result),
            Write::Freed(_) | Write::NoMembership | Write::Peers(_) => {}
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
        self.abandon_join(ticket);
    }

    fn on_change(&mut self, change: Change) {
        if self.membership.is_some() {
            tracing::debug!(
                what = change.what,
                by = change.makers(),
                "the kernel tells of a change"
            );
            self.suspicion.on_change(&change.scope, self.now);
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

async fn heard(gossip: Option<&Gossip>) {
    match gossip {
        Some(gossip) => gossip.changed().await,
        None => pending().await,
    }
}

async fn ended(gossip: Option<&Gossip>) {
    match gossip {
        Some(gossip) => gossip.terminated().await,
        None => pending().await,
    }
}
