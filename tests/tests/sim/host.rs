//! A host: its disk, its run directory, its data path, and the agent process, if one runs.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use podnet_core::claim::{ClaimState, Durable, Identity, Machine, Muted};
use podnet_core::signed::{Ear, Voice};
use podnet_core::time::Moment;
use podnet_core::view::Reader;
use podnet_proto::gossip::{Key, NodeRecord, encode};
use podnet_proto::network::BlockIndex;
use podnet_proto::{Boot, Instance, NodeId};

use podnet_lab::model::checker::Running;
use podnet_lab::model::gossip::Board;
use podnet_lab::model::signing::{CLUSTER, Checksums, public_key, voice};

/// The most nudges at once, and per second.
const NUDGES: f64 = 6.0;

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) node: NodeId,
    pub(crate) address: SocketAddrV4,
    /// What is fsynced; none: the host is not told to join yet.
    pub(crate) disk: Option<Durable>,
    /// How often gossip was started; fsynced too.
    pub(crate) epoch: u64,
    /// What was kept of both.
    pub(crate) saved: Option<(Durable, u64)>,
    /// In the run directory, which dies with the boot.
    pub(crate) boot: Boot,
    /// The block of the data path: set by the agent, outlives it, dies with the boot.
    pub(crate) pods: Option<BlockIndex>,
    pub(crate) agent: Option<Agent>,
    /// Counts the starts and ends of the agent: an event for an earlier one is void.
    pub(crate) life: u64,
    /// The operator told it to leave.
    pub(crate) leave: bool,
    /// The stage before which the agent is to die, and for how long.
    pub(crate) crash: Option<(usize, u64)>,
    pub(crate) state: Option<ClaimState>,
    /// Why it keeps silent.
    pub(crate) muted: Option<Muted>,
}

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) identity: Identity,
    pub(crate) machine: Machine,
    pub(crate) voice: Voice,
    pub(crate) ear: Ear<Checksums>,
    pub(crate) reader: Reader,
    /// The records that it has published.
    pub(crate) said: BTreeMap<Key, String>,
    pub(crate) board: Board,
    pub(crate) wake_at: u64,
    pub(crate) frozen_until: u64,
    /// A write that is not on disk yet: only of a driver that does not wait for it.
    pub(crate) late_write: Option<Durable>,
    started: u64,
    /// How fast its clock runs.
    rate: f64,
    nudges: f64,
    nudged: u64,
}

impl Host {
    pub(crate) fn running(&self) -> Running {
        Running {
            node: self.node,
            boot: self.boot,
            block: self.pods,
        }
    }

    /// Starts the agent on what is on disk.
    pub(crate) fn start(&mut self, now: u64, grace: u64, rng: &mut fastrand::Rng) {
        let Some(disk) = &mut self.disk else { return };
        self.epoch += 1;
        let is_new = disk.epoch == 0;
        disk.epoch = self.epoch;
        let identity = Identity {
            node: self.node,
            boot: self.boot,
            instance: Instance(rng.u64(..)),
        };
        let own = (self.node, self.address);
        let said = BTreeMap::from([(Key::Node, record(self.node, disk.epoch))]);
        let mut voice = voice(CLUSTER, self.node, self.address, disk.epoch);
        let grace = Duration::from_secs(grace);
        let board = Board::new(own, disk.epoch, grace, &voice.say_all(&said));
        self.life += 1;
        (self.state, self.muted) = (None, None);
        let machine = if is_new {
            Machine::of_new_member
        } else {
            Machine::new
        };
        self.agent = Some(Agent {
            identity,
            machine: machine(identity, disk.clone(), rng.u64(..)),
            voice,
            ear: Ear::with(CLUSTER, Checksums),
            reader: Reader::default(),
            said,
            board,
            wake_at: now,
            frozen_until: 0,
            late_write: None,
            started: now,
            rate: 0.9 + 0.2 * rng.f64(),
            nudges: NUDGES,
            nudged: now,
        });
    }

    /// The running host gets another address: to gossip, its agent is another node from now on.
    pub(crate) fn relocate(&mut self, address: SocketAddrV4, grace: u64) {
        self.address = address;
        self.gossip_again(0, grace);
    }

    /// Gossip starts again, with versions above all that were seen.
    pub(crate) fn gossip_again(&mut self, seen: u64, grace: u64) {
        let Some(agent) = &mut self.agent else { return };
        self.epoch = self.epoch.max(seen) + 1;
        let own = (self.node, self.address);
        agent.said.insert(Key::Node, record(self.node, self.epoch));
        agent.voice = voice(CLUSTER, self.node, self.address, self.epoch);
        let said = agent.voice.say_all(&agent.said);
        agent.board = Board::new(own, self.epoch, Duration::from_secs(grace), &said);
        agent.reader = Reader::default();
    }

    pub(crate) fn kill(&mut self) {
        self.life += 1;
        self.agent = None;
        self.crash = None;
    }
}

/// What a node says of itself; here only which start it is.
fn record(node: NodeId, counter: u64) -> String {
    encode(&NodeRecord {
        name: "node".parse().expect("a name"),
        public_key: public_key(node),
        endpoints: Vec::new(),
        counter,
        agent_version: String::new(),
    })
    .expect("short")
}

impl Agent {
    /// The time on its clock.
    pub(crate) fn local(&self, now: u64) -> Moment {
        let millis = (now - self.started) as f64 * self.rate;
        Moment::after_start(Duration::from_secs_f64(millis / 1000.0))
    }

    /// The true time, in milliseconds, after so long on its clock.
    pub(crate) fn after(&self, now: u64, local: Duration) -> u64 {
        now + (local.as_secs_f64() * 1000.0 / self.rate).ceil() as u64
    }

    /// How many of so many nudges it may send now.
    pub(crate) fn nudges(&mut self, now: u64, wanted: usize) -> usize {
        let refill = (now - self.nudged) as f64 / 1000.0 * NUDGES;
        self.nudges = (self.nudges + refill).min(NUDGES);
        self.nudged = now;
        let granted = wanted.min(self.nudges as usize);
        self.nudges -= granted as f64;
        granted
    }
}
