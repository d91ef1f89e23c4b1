//! The event loop: what happens goes to the node, and what the node wants is done.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use podnet_core::kernel::Change;
use podnet_core::node::{Input, Kept, Node, PathReport, Setup};
use podnet_core::signed::Ed25519;
use podnet_core::summary::summary;
use podnet_core::time::{Moment, Now};
use podnet_proto::{ApiError, Boot, Instance};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep_until};

use super::edge::{Edge, News, hostname};
use super::supervisor::Supervisor;
use crate::config::Config;
use crate::control::Asked;
use crate::dataplane::Dataplane;
use crate::gossip::Gossip;
use crate::probe::Prober;
use crate::store::{Identity, RunDir};

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
    /// Gossip has ended, though the node did not end it.
    GossipEnded,
    /// The node's or the supervisor's deadline has come.
    Time,
}

/// What an agent is made of.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) identity: Identity,
    pub(super) boot: Boot,
    pub(super) run_dir: RunDir,
    pub(super) dataplane: Arc<dyn Dataplane>,
    pub(super) prober: Prober,
    pub(super) news: mpsc::Sender<News>,
}

/// The agent: a node, and the edge that carries its effects out.
pub(super) struct Agent {
    pub(super) node: Node,
    pub(super) edge: Edge,
    supervisor: Supervisor,
    start: Instant,
}

impl Agent {
    /// An agent whose node goes on with what is on disk.
    pub(super) fn new(parts: Parts, kept: Kept) -> Self {
        let Parts {
            config,
            identity,
            boot,
            run_dir,
            dataplane,
            prober,
            news,
        } = parts;
        let start = Instant::now();
        let setup = Setup {
            own: identity.node(),
            boot,
            instance: Instance(rand::random()),
            on_known_machine: identity.is_on_known_machine(),
            hostname: hostname(),
            version: env!("CARGO_PKG_VERSION"),
            advertise: config.advertise,
            gossip_port: config.gossip_port,
            netns_dir: config.netns_dir.clone(),
            resync: config.timing.resync,
            listen: config.timing.listen,
            seed: rand::random(),
            verify: &Ed25519,
        };
        let identity = Arc::new(identity);
        let edge = Edge::new(&config, identity, start, run_dir, dataplane, prober, news);
        Self {
            node: Node::new(setup, kept),
            edge,
            supervisor: Supervisor::new(Moment::START),
            start,
        }
    }

    /// Lets the loop turn until it is known what the node goes on with.
    ///
    /// # Errors
    /// When the node cannot go on with the membership that is on disk.
    pub(super) async fn resume(&mut self, news: &mut mpsc::Receiver<News>) -> Result<(), ApiError> {
        self.turn(Wake::Time).await;
        while self.node.is_resuming() {
            let Some(next) = news.recv().await else {
                break;
            };
            self.turn(Wake::News(next)).await;
        }
        self.node.take_failure().map_or(Ok(()), Err)
    }

    /// Lets the loop turn until the process ends.
    pub(super) async fn run(&mut self, mut inputs: Inputs) {
        self.supervisor.ready();
        loop {
            let gossip = self.edge.gossip();
            let due = self.due();
            let wake = tokio::select! {
                Some(news) = inputs.news.recv() => Wake::News(news),
                Some(asked) = inputs.asked.recv() => Wake::Asked(asked),
                Some(change) = inputs.changes.recv() => Wake::Change(change),
                Some(report) = inputs.paths.recv() => Wake::Path(report),
                () = heard(gossip) => Wake::Heard,
                () = ended(gossip) => Wake::GossipEnded,
                () = due => Wake::Time,
            };
            self.turn(wake).await;
            self.report();
        }
    }

    /// Waits until the node or the supervisor wants to be woken up.
    pub(super) fn due(&self) -> Sleep {
        let supervisor = self.supervisor.next_deadline();
        let node = self.node.deadline();
        let due = node.map_or(supervisor, |(due, _)| due.min(supervisor));
        sleep_until((self.start + due.since(Moment::START)).into())
    }

    /// Lets the loop turn once: what comes of an effect at once is handled too.
    pub(super) async fn turn(&mut self, wake: Wake) {
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
            let now = Now {
                moment: self.now(),
                date: Timestamp::now(),
            };
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

    /// The present moment, counted from the agent's start.
    fn now(&self) -> Moment {
        Moment::after_start(self.start.elapsed())
    }

    /// Ends in order. The data path stays as it is. Clients that wait for an answer learn at once that
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
