//! The event loop: what happens goes to the node, and what the node wants is done.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use podnet_core::kernel::Change;
use podnet_core::summary::summary;
use podnet_core::time::Moment;
use podnet_proto::{ApiError, Boot, Instance};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::edge::{Edge, News};
use super::error;
use super::node::{Input, Node};
use super::supervisor::Supervisor;
use crate::config::Config;
use crate::control::Asked;
use crate::dataplane::Dataplane;
use crate::gossip::Gossip;
use crate::probe::{PathReport, Prober};
use crate::store::{Identity, Joined, RunDir};

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

/// The agent: a node, and what it reaches the world by.
pub(super) struct Agent {
    pub(super) node: Node,
    pub(super) edge: Edge,
    supervisor: Supervisor,
    start: Instant,
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
        let instance = Instance(rand::random());
        Self {
            node: Node::new(config, identity, boot, instance, run_dir),
            edge,
            supervisor: Supervisor::new(Moment::START),
            start,
        }
    }

    /// Goes on where the last process ended: with what is on disk, and with the pods of this boot.
    pub(super) async fn resume(
        &mut self,
        joined: Option<Joined>,
        news: &mut mpsc::Receiver<News>,
    ) -> Result<(), ApiError> {
        let records = self.node.run_dir.pods().map_err(|e| error::store(&e))?;
        let freed = self.node.run_dir.freed().map_err(|e| error::store(&e))?;
        self.node.load_pods(records, freed);
        if let Some(joined) = joined {
            self.node.resume_membership(joined);
        }
        self.turn(Wake::Time).await;
        while self.node.is_resuming() {
            let Some(next) = news.recv().await else {
                break;
            };
            self.turn(Wake::News(next)).await;
        }
        self.node.not_resumed.take().map_or(Ok(()), Err)
    }

    /// Turns until the process ends.
    pub(super) async fn run(&mut self, mut inputs: Inputs) {
        self.supervisor.ready();
        loop {
            let gossip = self.edge.gossip();
            let due = self.start + self.deadline().since(Moment::START);
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
            self.report();
        }
    }

    fn deadline(&self) -> Moment {
        let supervisor = self.supervisor.next_deadline();
        let node = self.node.deadline();
        node.map_or(supervisor, |(due, _)| due.min(supervisor))
    }

    /// Turns once: until nothing more comes at once of what is done.
    pub(super) async fn turn(&mut self, wake: Wake) {
        let now = self.now();
        let abandoned = self.edge.waiters.abandoned().into_iter();
        let mut inputs: VecDeque<Input> = abandoned.map(Input::Abandoned).collect();
        inputs.push_back(match wake {
            Wake::News(news) => Input::Event(self.edge.take_in(news)),
            Wake::Asked(Asked { request, answer }) => {
                Input::Request(request, self.edge.waiters.admit(answer))
            }
            Wake::Change(change) => Input::Change(change),
            Wake::Path(report) => Input::Path(report),
            Wake::Heard => Input::GossipNews,
            Wake::GossipEnded => Input::GossipEnded,
            Wake::Time => Input::Time,
        });
        while let Some(input) = inputs.pop_front() {
            let effects = self.node.handle(now, input);
            let events = self.edge.carry_out(effects).await;
            inputs.extend(events.into_iter().map(Input::Event));
        }
    }

    /// Reports to the supervisor that the loop turns, and where the node stands.
    fn report(&mut self) {
        let now = self.now();
        self.supervisor.turns(now);
        if self.supervisor.wants_summary(now) {
            let summary = summary(&self.node.status());
            self.supervisor.tell(summary);
        }
    }

    /// How long after the agent's start it is.
    fn now(&self) -> Moment {
        Moment::after_start(self.start.elapsed())
    }

    /// Ends in order. The data path stays as it is. Whoever waits for an answer is told at once that
    /// none will come.
    pub(super) async fn stop(self) {
        self.supervisor.stopping();
        self.edge.stop().await;
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
