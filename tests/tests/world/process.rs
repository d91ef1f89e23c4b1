//! An agent's process: a node, and what goes on around it.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::{IpAddr, SocketAddrV4};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ipnetwork::IpNetwork;
use podnet_core::advertise::Range;
use podnet_core::kernel::Change;
use podnet_core::node::{Event, Kept, Node, Question, Roster, Setup, Targets, Ticket};
use podnet_core::signed::Voice;
use podnet_core::time::Moment;
use podnet_lab::model::gossip::Board;
use podnet_lab::model::signing::HashedChecksums;
use podnet_proto::{Boot, ClusterId, Instance, NodeId, PodName};
use tokio::sync::mpsc;

use crate::disk::Job;
use crate::host::{NETNS_DIR, PORT};
use crate::users::Asked;

/// Something that is done beside the loop.
pub(crate) type Task = Pin<Box<dyn Future<Output = Event> + Send>>;

/// The most nudges at once, and per second.
const NUDGES: f64 = 6.0;

/// Gossip, while it runs.
pub(crate) struct Speech {
    pub(crate) board: Board,
    pub(crate) voice: Voice,
    pub(crate) cluster: ClusterId,
    pub(crate) address: SocketAddrV4,
    pub(crate) seeds: Vec<SocketAddrV4>,
    /// How many others looked alive last.
    pub(crate) live: usize,
}

pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) started: u64,
    /// How fast its clock runs.
    rate: f64,
    pub(crate) frozen_until: u64,
    /// When it is woken up next, since something is due.
    pub(crate) wake_at: Option<u64>,
    pub(crate) tasks: BTreeMap<u64, Task>,
    pub(crate) begun: u64,
    pub(crate) jobs: VecDeque<Job>,
    pub(crate) speech: Option<Speech>,
    pub(crate) roster: Roster,
    pub(crate) asking: Option<Box<Question>>,
    pub(crate) targets: Targets,
    /// What the last echo to each gateway has shown.
    pub(crate) echoes: BTreeMap<(NodeId, IpAddr), bool>,
    pub(crate) changes: Option<mpsc::Receiver<Change>>,
    pub(crate) waiting: BTreeMap<Ticket, Asked>,
    /// The addresses of pods that are being attached.
    pub(crate) attaching: BTreeMap<PodName, Vec<IpNetwork>>,
    /// How often the node was handed something since then.
    pub(crate) turns: (u64, u32),
    nudges: f64,
    nudged: u64,
}

impl Process {
    pub(crate) fn start(
        node: NodeId,
        boot: Boot,
        hostname: String,
        kept: Kept,
        now: u64,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let setup = Setup {
            own: node,
            boot,
            instance: Instance(rng.u64(..)),
            on_known_machine: true,
            hostname,
            version: "0.0.0",
            advertise: Range::default(),
            gossip_port: PORT,
            netns_dir: NETNS_DIR.into(),
            resync: Duration::from_secs(60),
            listen: Duration::from_secs(3),
            seed: rng.u64(..),
            verify: &HashedChecksums,
        };
        Self {
            node: Node::new(setup, kept),
            started: now,
            rate: 0.95 + 0.1 * rng.f64(),
            frozen_until: 0,
            wake_at: None,
            tasks: BTreeMap::new(),
            begun: 0,
            jobs: VecDeque::new(),
            speech: None,
            roster: Roster::default(),
            asking: None,
            targets: Targets::default(),
            echoes: BTreeMap::new(),
            changes: None,
            waiting: BTreeMap::new(),
            attaching: BTreeMap::new(),
            turns: (now, 0),
            nudges: NUDGES,
            nudged: now,
        }
    }

    /// The time on its clock.
    pub(crate) fn local(&self, now: u64) -> Moment {
        let micros = (now - self.started) as f64 * self.rate;
        Moment::after_start(Duration::from_micros(micros as u64))
    }

    /// The true time at which its clock shows this.
    pub(crate) fn true_time(&self, local: Moment) -> u64 {
        let micros = local.since(Moment::START).as_micros() as f64;
        self.started + (micros / self.rate).ceil() as u64 + 1
    }

    /// Goes on with a task. Returns what has come of it, if it has ended.
    pub(crate) fn poll(&mut self, task: u64) -> Option<Event> {
        let going_on = self.tasks.get_mut(&task)?;
        let mut context = Context::from_waker(Waker::noop());
        match going_on.as_mut().poll(&mut context) {
            Poll::Ready(event) => {
                self.tasks.remove(&task);
                Some(event)
            }
            Poll::Pending => None,
        }
    }

    /// How many of so many nudges it may send now.
    pub(crate) fn nudges(&mut self, now: u64, wanted: usize) -> usize {
        let refill = (now - self.nudged) as f64 / 1_000_000.0 * NUDGES;
        self.nudges = (self.nudges + refill).min(NUDGES);
        self.nudged = now;
        let granted = wanted.min(self.nudges as usize);
        self.nudges -= granted as f64;
        granted
    }
}
