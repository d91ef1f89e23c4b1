//! The event loop, and the state that it owns.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use podnet_core::kernel::{Change, Kinds, OpError};
use podnet_core::summary::summary;
use podnet_core::time::Moment;
use podnet_proto::api::{InitResponse, LeaveRequest, Status};
use podnet_proto::{ApiError, Boot, Instance, NodeId};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::error;
use super::forwarded::{Echoes, Forwarded};
use super::join::{Attempt, ProbeOutcome};
use super::membership::Membership;
use super::pods::{PodDone, Pods};
use super::reconcile::{Reconciling, Repair};
use super::supervisor::Supervisor;
use super::suspicion::{Looked, Suspicion};
use crate::announce::Announcer;
use crate::config::Config;
use crate::control::{Answer, Request};
use crate::dataplane::Dataplane;
use crate::gossip::Gossip;
use crate::probe::{PathReport, Prober};
use crate::reconciler::Report;
use crate::store::{Identity, Joined, RunDir, StateDir};

/// How long to collect what gossip tells before acting on it.
const GOSSIP_DEBOUNCE: Duration = Duration::from_millis(2);

/// Where events come from.
pub(super) struct Inputs {
    pub(super) queue: mpsc::Receiver<Event>,
    pub(super) asked: mpsc::Receiver<Request>,
    pub(super) changes: mpsc::Receiver<Change>,
    pub(super) paths: mpsc::Receiver<PathReport>,
}

/// Something that the loop set going has ended.
pub(super) enum Event {
    /// A pass of the reconciler.
    PassDone(Box<Report>),
    /// Attaching, repairing or detaching a pod.
    PodDone(Box<PodDone>),
    /// Removing host ends of no pod.
    StraysDone(Vec<(Repair, Result<(), OpError>)>),
    /// Putting right the neighbour entries of pods.
    NeighboursDone(Vec<(Repair, Result<(), OpError>)>),
    /// Asking the members of a cluster.
    Probed(Box<ProbeOutcome>),
    /// A look at the chains of other programs.
    Looked(Looked),
    /// Closing what podnet has opened, as the node leaves; what stays, in words.
    Closed(Vec<String>),
    /// Echoes from pods were sent.
    EchoesOfPods(Echoes),
}

/// Why the loop turns.
enum Wake {
    Event(Event),
    Request(Request),
    Change(Change),
    Path(PathReport),
    /// Gossip has news.
    News,
    /// Gossip has died.
    GossipEnded,
    /// Something is due.
    Time,
}

/// The agent.
pub(super) struct Agent {
    pub(super) config: Config,
    pub(super) identity: Identity,
    pub(super) boot: Boot,
    pub(super) instance: Instance,
    pub(super) state_dir: StateDir,
    pub(super) run_dir: RunDir,
    pub(super) dataplane: Arc<dyn Dataplane>,
    pub(super) prober: Prober,
    pub(super) announcer: Announcer,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) start: Instant,
    pub(super) membership: Option<Membership>,
    pub(super) attempt: Option<Attempt>,
    /// Those who wait for a cluster to be founded, and how many passes there were before.
    pub(super) awaiting_init: Vec<Answer<Box<InitResponse>>>,
    pub(super) init_pass: u64,
    /// Those who want the node to leave before it can know whether a majority is there.
    pub(super) early_leaves: Vec<(LeaveRequest, Answer<Box<Status>>)>,
    pub(super) pods: Pods,
    pub(super) reconciling: Reconciling,
    pub(super) suspicion: Suspicion,
    pub(super) forwarded: Forwarded,
    /// What the node left on this host when it last left a cluster, since others rely on it.
    pub(super) left: Vec<String>,
    /// What the echoes to each peer's gateway tell.
    pub(super) paths: BTreeMap<NodeId, PathReport>,
    /// When the claim machine steps next because gossip has news.
    news_due: Option<Instant>,
    supervisor: Supervisor,
}

impl Agent {
    pub(super) fn new(
        config: Config,
        identity: Identity,
        boot: Boot,
        run_dir: RunDir,
        dataplane: Arc<dyn Dataplane>,
        prober: Prober,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let start = Instant::now();
        let reconciling = Reconciling::new(start, config.timing.resync);
        Self {
            state_dir: StateDir::new(config.state_dir.clone(), identity.node()),
            config,
            identity,
            boot,
            instance: Instance(rand::random()),
            run_dir,
            dataplane,
            prober,
            announcer: Announcer::default(),
            events,
            start,
            membership: None,
            attempt: None,
            awaiting_init: Vec::new(),
            init_pass: 0,
            early_leaves: Vec::new(),
            pods: Pods::default(),
            reconciling,
            suspicion: Suspicion::new(start),
            forwarded: Forwarded::new(start),
            left: Vec::new(),
            paths: BTreeMap::new(),
            news_due: None,
            supervisor: Supervisor::new(start),
        }
    }

    /// Goes on where the last process ended: with what is on disk, and with the pods of this boot.
    pub(super) async fn resume(&mut self, joined: Option<Joined>) -> Result<(), ApiError> {
        self.load_pods().map_err(|e| error::store(&e))?;
        if let Some(joined) = joined {
            self.start_membership(joined).await?;
            self.reconciling.want(Kinds::all());
            self.step().await;
            self.go_on_leaving();
        }
        Ok(())
    }

    /// Turns until the process ends.
    pub(super) async fn run(&mut self, mut inputs: Inputs) {
        self.supervisor.ready();
        loop {
            let gossip = self
                .membership
                .as_ref()
                .and_then(|membership| membership.gossip.as_ref());
            let wake = tokio::select! {
                Some(event) = inputs.queue.recv() => Wake::Event(event),
                Some(request) = inputs.asked.recv() => Wake::Request(request),
                Some(change) = inputs.changes.recv() => Wake::Change(change),
                Some(report) = inputs.paths.recv() => Wake::Path(report),
                () = news(gossip) => Wake::News,
                () = ended(gossip) => Wake::GossipEnded,
                () = sleep_until(self.next_deadline().into()) => Wake::Time,
            };
            match wake {
                Wake::Event(event) => self.on_event(event).await,
                Wake::Request(request) => self.on_request(request).await,
                Wake::Change(change) => self.on_change(change),
                Wake::Path(report) => self.on_path(report),
                Wake::News => {
                    self.news_due
                        .get_or_insert(Instant::now() + GOSSIP_DEBOUNCE);
                }
                Wake::GossipEnded => self.gossip_ended().await,
                Wake::Time => {}
            }
            self.on_time().await;
        }
    }

    /// Ends in order. The data path stays as it is. Whoever waits for an answer is told at once that
    /// none will come.
    pub(super) async fn stop(mut self) {
        self.supervisor.stopping();
        let gossip = self
            .membership
            .take()
            .and_then(|membership| membership.gossip);
        drop(self);
        if let Some(gossip) = gossip {
            gossip.shutdown().await;
        }
    }

    /// The time since the agent's start.
    pub(super) fn now(&self) -> Moment {
        Moment::after_start(self.start.elapsed())
    }

    /// Lets the claim machine step as soon as the loop turns.
    pub(super) fn step_soon(&mut self) {
        self.news_due = Some(Instant::now());
    }

    fn next_deadline(&self) -> Instant {
        let claim = self
            .membership
            .as_ref()
            .map(|membership| membership.wake_at(self.start));
        let reconcile = self.reconciling.next_deadline();
        let suspicion = self.suspicion.next_deadline();
        let member = self.membership.as_ref();
        let forwarded = member.and_then(|_| self.forwarded.next_deadline());
        [claim, reconcile, suspicion, forwarded, self.news_due]
            .into_iter()
            .flatten()
            .fold(self.supervisor.next_deadline(), Instant::min)
    }

    /// Does what is due.
    async fn on_time(&mut self) {
        let now = Instant::now();
        let wake = self
            .membership
            .as_ref()
            .map(|membership| membership.wake_at(self.start));
        if [wake, self.news_due]
            .into_iter()
            .flatten()
            .any(|due| due <= now)
        {
            self.news_due = None;
            self.step().await;
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

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::PassDone(report) => {
                self.on_pass_done(*report);
                self.follow_address().await;
            }
            Event::PodDone(done) => self.on_pod_done(*done),
            Event::NeighboursDone(done) => self.on_neighbours_done(&done),
            Event::StraysDone(done) => self.on_strays_done(&done),
            Event::Probed(outcome) => self.on_probed(*outcome).await,
            Event::Looked(looked) => self.on_looked(looked),
            Event::Closed(left) => self.on_closed(left).await,
            Event::EchoesOfPods(echoes) => self.on_echoes_of_pods(echoes),
        }
    }

    async fn on_request(&mut self, request: Request) {
        // An answer that nobody waits for any more is dropped.
        match request {
            Request::Status(answer) => drop(answer.send(Ok(Box::new(self.status())))),
            Request::Nodes(answer) => drop(answer.send(Ok(self.nodes()))),
            Request::Routes(answer) => drop(answer.send(Ok(self.routes()))),
            Request::Pods(answer) => drop(answer.send(Ok(self.pod_list()))),
            Request::Pod(name, answer) => drop(answer.send(self.pod(&name))),
            Request::Token(answer) => drop(answer.send(self.token())),
            Request::Init(request, answer) => self.init(&request, answer).await,
            Request::Join(request, answer) => self.join(&request, answer).await,
            Request::Leave(request, answer) => {
                self.give_up_join().await;
                self.early_leaves.push((request, answer));
                self.answer_leaves();
            }
            Request::AddPod(request, answer) => self.add_pod(&request, answer),
            Request::RemovePod(name, answer) => self.remove_pod(&name, Some(answer)),
        }
    }

    fn on_change(&mut self, change: Change) {
        if self.membership.is_some() {
            tracing::debug!(
                what = change.what,
                by = change.makers(),
                "the kernel tells of a change"
            );
            self.suspicion.on_change(&change.kind);
            self.reconciling.on_change(change);
        }
    }

    fn on_path(&mut self, report: PathReport) {
        match &report.outcome {
            Ok(round_trip) => {
                let round_trip = format_args!("{:.3} ms", round_trip.as_secs_f64() * 1000.0);
                tracing::info!(node = %report.node, %round_trip, "the path to a peer works");
            }
            Err(reason) => {
                self.suspicion.look(Instant::now());
                tracing::warn!(node = %report.node, reason, "the path to a peer does not work");
            }
        }
        self.paths.insert(report.node, report);
    }
}

async fn news(gossip: Option<&Gossip>) {
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
