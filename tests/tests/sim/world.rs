//! The world of one schedule: hosts, the network between them, and what happens when.

mod acts;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddrV4;

use podnet_core::claim::{ClaimState, Durable, Muted};
use podnet_proto::NodeId;

use crate::host::Host;
use crate::mutant::Mutant;
use crate::plan::{Act, Plan};
use crate::setup::{genesis, new_host};
use crate::verdict::{Failure, Summary};
use podnet_lab::model::checker::Checker;
use podnet_lab::model::gossip::Message;
use podnet_lab::model::network::{Network, Weather};

/// How long after the last fault the members may take to agree again, in milliseconds.
const CONVERGENCE: u64 = 120_000;

/// The gossip interval, in milliseconds.
const INTERVAL: u64 = 1000;

#[derive(Debug)]
pub(crate) enum Event {
    Act(Act),
    Mended,
    Start {
        host: usize,
    },
    Wake {
        host: usize,
        life: u64,
    },
    Round {
        host: usize,
        life: u64,
    },
    Deliver {
        from: SocketAddrV4,
        to: SocketAddrV4,
        message: Message,
    },
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) checker: Checker,
    pub(crate) mutant: Mutant,
    pub(crate) summary: Summary,
    /// Whether disks are rolled back, lost or cloned: then a node may meet what contradicts its own.
    pub(crate) disks: bool,
    plan: Plan,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    pushed: u64,
    pub(crate) trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(plan: Plan, mutant: Mutant) -> Self {
        let disks = plan.acts.iter().any(|(_, act)| act.is_of_disks());
        let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x5eed);
        let mut hosts: Vec<Host> = (0..plan.hosts).map(|_| new_host(&mut rng)).collect();
        let genesis = genesis(&plan, &hosts);
        for host in &mut hosts[..plan.voters] {
            host.disk = Some(Durable::founder(genesis.clone()));
        }
        let mut checker = Checker::default();
        checker.decided(&genesis, &[]).expect("the first ledger");
        let mut world = Self {
            now: 0,
            rng,
            hosts,
            network: Network {
                weather: plan.weather,
                cuts: Vec::new(),
            },
            checker,
            mutant,
            summary: Summary::default(),
            disks,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            pushed: 0,
            trace: None,
            plan,
        };
        for host in 0..world.plan.voters {
            world.push(0, Event::Start { host });
        }
        for (at, act) in world.plan.acts.clone() {
            world.push(at, Event::Act(act));
        }
        world.push(world.plan.horizon, Event::Mended);
        world
    }

    /// Lets the schedule happen, until the members agree after the last fault.
    pub(crate) fn run(&mut self) -> Result<Summary, Failure> {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = at;
            let event = self.events.remove(&number).expect("pushed with the queue");
            self.handle(event)?;
            if self.now > self.plan.horizon && self.converged() {
                return Ok(self.summarize());
            }
            if self.now > self.plan.horizon + CONVERGENCE {
                return Err(Failure::Stuck(self.describe()));
            }
        }
        Err(Failure::Stuck("nothing happens any more".to_owned()))
    }

    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.pushed += 1;
        self.queue.push(Reverse((at, self.pushed)));
        self.events.insert(self.pushed, event);
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {}", self.now, what()));
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Act(act) => self.act(act),
            Event::Mended => {
                self.network.cuts.clear();
                self.network.weather = Weather::FAIR;
                for host in &mut self.hosts {
                    host.crash = None;
                }
            }
            Event::Start { host } => self.start(host),
            Event::Wake { host, life } => {
                let agent = self.hosts[host].agent.as_ref();
                let due = agent.is_some_and(|agent| agent.wake_at <= self.now);
                if due && self.awake(host, life, || Event::Wake { host, life }) {
                    self.step(host)?;
                }
            }
            Event::Round { host, life } => {
                if self.awake(host, life, || Event::Round { host, life }) {
                    self.gossip(host);
                }
            }
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
        }
        Ok(())
    }

    pub(crate) const fn grace(&self) -> u64 {
        self.plan.grace
    }

    /// Whether the agent's process is the one that is meant, and not frozen; if it is frozen, the
    /// event comes later.
    fn awake(&mut self, host: usize, life: u64, again: impl FnOnce() -> Event) -> bool {
        let meant = &self.hosts[host];
        let Some(agent) = meant.agent.as_ref().filter(|_| meant.life == life) else {
            return false;
        };
        let frozen_until = agent.frozen_until;
        if frozen_until > self.now {
            self.push(frozen_until, again());
        }
        frozen_until <= self.now
    }

    fn gossip(&mut self, host: usize) {
        let now = self.now;
        let life = self.hosts[host].life;
        let Some(agent) = &mut self.hosts[host].agent else {
            return;
        };
        agent.board.tick(agent.local(now));
        let next = agent.after(now, std::time::Duration::from_millis(INTERVAL));
        self.push(next, Event::Round { host, life });
        self.greet(host, &[], 3);
        if self.rng.u8(0..3) == 0 {
            let seed = self.hosts[self.rng.usize(0..self.plan.voters)].address;
            self.greet(host, &[seed], 0);
        }
    }

    /// Starts handshakes with these addresses, and with some at random.
    pub(crate) fn greet(&mut self, host: usize, peers: &[SocketAddrV4], random: usize) {
        let seed = self.hosts[self.rng.usize(0..self.plan.voters)].address;
        let greeting = &self.hosts[host];
        let Some(agent) = &greeting.agent else { return };
        let mut known = agent.board.addresses(|_| true);
        if known.is_empty() {
            known.push(seed);
        }
        let others = self.rng.choose_multiple(known, random);
        let (from, syn) = (greeting.address, agent.board.syn(agent.local(self.now)));
        for to in peers.iter().copied().chain(others) {
            self.send(from, to, &syn);
        }
    }

    fn send(&mut self, from: SocketAddrV4, to: SocketAddrV4, message: &Message) {
        let (Some(sender), Some(receiver)) = (self.host_at(from), self.host_at(to)) else {
            return;
        };
        if sender == receiver {
            return;
        }
        for delay in self.network.arrivals(sender, receiver, &mut self.rng) {
            let message = message.clone();
            self.push(self.now + delay, Event::Deliver { from, to, message });
        }
    }

    fn host_at(&self, address: SocketAddrV4) -> Option<usize> {
        self.hosts.iter().position(|host| host.address == address)
    }

    fn deliver(&mut self, from: SocketAddrV4, to: SocketAddrV4, message: Message) {
        let Some(host) = self.host_at(to) else { return };
        let (now, room) = (self.now, self.network.weather.room);
        let Some(agent) = &mut self.hosts[host].agent else {
            return;
        };
        if agent.frozen_until > now {
            let later = agent.frozen_until;
            self.push(later, Event::Deliver { from, to, message });
            return;
        }
        let local = agent.local(now);
        let (answer, changed) = agent.board.receive(local, message, room, &mut self.rng);
        if changed {
            self.wake(host, now + 2);
        }
        if let Some(answer) = answer {
            self.send(to, from, &answer);
        }
    }

    /// Has the agent step then, unless it does so before.
    pub(crate) fn wake(&mut self, host: usize, at: u64) {
        let life = self.hosts[host].life;
        let Some(agent) = &mut self.hosts[host].agent else {
            return;
        };
        if agent.wake_at <= self.now || at < agent.wake_at {
            agent.wake_at = at;
            self.push(at, Event::Wake { host, life });
        }
    }

    /// Whether all members agree, and everybody who wants a block has one or there is none left.
    fn converged(&self) -> bool {
        let joined = || self.hosts.iter().filter(|host| host.disk.is_some());
        let Some(latest) = self.checker.latest() else {
            return false;
        };
        let full = latest.blocks.len() == usize::from(self.plan.blocks);
        joined().all(|host| {
            let is_clone = matches!(host.muted, Some(Muted::Twin { .. }));
            let settled = match host.state {
                Some(ClaimState::Using) => true,
                Some(ClaimState::Want { .. }) if is_clone => true,
                Some(ClaimState::Dup) if self.disks => true,
                Some(ClaimState::Want { full: said, .. }) => said && full,
                Some(
                    ClaimState::New | ClaimState::Leaving | ClaimState::Gone | ClaimState::Dup,
                )
                | None => false,
            };
            let agent = host.agent.as_ref();
            let ledger = agent.and_then(|agent| agent.machine.ledger());
            settled && !host.leave && ledger == Some(latest)
        })
    }

    fn summarize(&mut self) -> Summary {
        if let Some(ledger) = self.checker.latest() {
            let is_host = |owner: &NodeId| self.hosts.iter().any(|host| host.node == *owner);
            self.summary.slots = ledger.slot;
            let owners = ledger.blocks.values();
            self.summary.leaks = owners.filter(|owner| !is_host(owner)).count() as u64;
        }
        self.summary.convergence = self.now - self.plan.horizon;
        self.summary
    }

    fn describe(&self) -> String {
        let hosts = self.hosts.iter().map(|host| {
            let ledger = host.agent.as_ref().and_then(|agent| agent.machine.ledger());
            let slot = ledger.map(|ledger| ledger.slot);
            format!(
                "{} {:?} {:?} at {slot:?} leave {}",
                host.node, host.state, host.muted, host.leave
            )
        });
        hosts.collect::<Vec<_>>().join("; ")
    }
}
