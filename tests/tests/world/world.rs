//! The world of one schedule: hosts, the network between them, and what happens when. Times are in microseconds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddrV4;

use podnet_core::node::Input;
use podnet_core::time::Now;
use podnet_lab::model::checker::Checker;
use podnet_lab::model::network::Network;
use podnet_proto::ClusterId;

use crate::history::History;
use crate::host::Host;
use crate::mutant::Mutant;
use crate::plan::{Act, Plan};
use crate::talk::Datagram;
use crate::verdict::{Failure, Summary};

pub(crate) const MILLI: u64 = 1000;
pub(crate) const SECOND: u64 = 1000 * MILLI;

/// How long after the last fault all may take to be as it should be.
const SETTLING: u64 = 200 * SECOND;

/// How often a node may be handed something in a second. More is a loop that keeps the processor busy.
const MOST_TURNS: u32 = 200;

#[derive(Debug)]
pub(crate) enum Happening {
    Act(Act),
    Mended,
    /// A kernel's trouble is over, unless there is newer one.
    Healed {
        host: usize,
    },
    /// All is looked at.
    Look,
    Start {
        host: usize,
    },
    OfProcess {
        host: usize,
        life: u64,
        what: OfProcess,
    },
    Deliver {
        from: SocketAddrV4,
        to: SocketAddrV4,
        datagram: Datagram,
    },
}

/// What happens to a process; nothing if it is another by then.
#[derive(Debug)]
pub(crate) enum OfProcess {
    /// What it is waiting for is due.
    Wake,
    Input(Box<Input>),
    /// A task beside its loop goes on.
    Poll {
        task: u64,
    },
    /// The disk has done the first of its jobs.
    Disk,
    /// A round of gossip.
    Round,
    /// Echoes are sent to the peers.
    Echo,
    /// Members are asked once more, until then.
    Hello {
        until: u64,
    },
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) claims: BTreeMap<ClusterId, Checker>,
    /// The last token that was shown, and by which host.
    pub(crate) token: Option<(usize, String)>,
    pub(crate) tickets: u64,
    /// When users last said once more where the other nodes are.
    pub(crate) joined_again: u64,
    pub(crate) mutant: Mutant,
    pub(crate) summary: Summary,
    pub(crate) plan: Plan,
    /// Whether disks are rolled back or cloned: then a node may meet what contradicts its own.
    pub(crate) disks: bool,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    pushed: u64,
    pub(crate) history: Option<History>,
}

impl World {
    pub(crate) fn new(plan: Plan, mutant: Mutant) -> Self {
        let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x5eed);
        let hosts: Vec<Host> = (0..plan.hosts)
            .map(|number| Host::new(number, &mut rng))
            .collect();
        let network = Network {
            weather: plan.weather,
            cuts: Vec::new(),
        };
        let clones = plan.acts.iter().filter_map(|(_, act)| match act {
            Act::Clone { host, .. } => Some(*host),
            _ => None,
        });
        let clones: BTreeSet<usize> = clones.collect();
        let mut world = Self {
            now: 0,
            rng,
            hosts,
            network,
            claims: BTreeMap::new(),
            token: None,
            tickets: 0,
            joined_again: 0,
            mutant,
            summary: Summary::default(),
            disks: plan.is_of_disks(),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            pushed: 0,
            history: None,
            plan,
        };
        for host in (0..world.plan.hosts).filter(|host| !clones.contains(host)) {
            world.push(0, Happening::Start { host });
        }
        for (at, act) in world.plan.acts.clone() {
            world.push(at * MILLI, Happening::Act(act));
        }
        world.push(world.plan.horizon * MILLI, Happening::Mended);
        world.push(SECOND, Happening::Look);
        world
    }

    /// Lets the schedule happen, until all is as it should be after the last fault.
    pub(crate) fn run(&mut self) -> Result<Summary, Failure> {
        let horizon = self.plan.horizon * MILLI;
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = at;
            let happening = self.happenings.remove(&number);
            match happening {
                Some(Happening::Look) => {
                    self.push(self.now + SECOND, Happening::Look);
                    self.look()?;
                    if self.now > horizon + SECOND {
                        match self.settled() {
                            Ok(()) => {
                                self.summary.settled = self.now - horizon;
                                return Ok(self.summary);
                            }
                            Err(why) if self.now > horizon + SETTLING => {
                                return Err(Failure::Unsettled(why));
                            }
                            Err(_) => {}
                        }
                    }
                }
                Some(happening) => self.happens(happening)?,
                None => {}
            }
        }
        Err(Failure::Unsettled("nothing happens any more".to_owned()))
    }

    pub(crate) fn push(&mut self, at: u64, happening: Happening) {
        self.pushed += 1;
        self.queue.push(Reverse((at.max(self.now), self.pushed)));
        self.happenings.insert(self.pushed, happening);
    }

    pub(crate) fn push_to(&mut self, at: u64, host: usize, what: OfProcess) {
        let life = self.hosts[host].life;
        self.push(at, Happening::OfProcess { host, life, what });
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.add(self.now, &what());
        }
    }

    fn happens(&mut self, happening: Happening) -> Result<(), Failure> {
        match happening {
            Happening::Act(act) => self.act(act),
            Happening::Mended => {
                self.mend();
                Ok(())
            }
            Happening::Healed { host } => {
                let healing = &mut self.hosts[host];
                if healing.kernel_troubled <= self.now {
                    healing.kernel.fake.heal();
                    healing.kernel.slow_down(None);
                }
                Ok(())
            }
            Happening::Look => Ok(()),
            Happening::Start { host } => self.start(host),
            Happening::OfProcess { host, life, what } => self.of_process(host, life, what),
            Happening::Deliver { from, to, datagram } => self.deliver(from, to, datagram),
        }
    }

    fn of_process(&mut self, host: usize, life: u64, what: OfProcess) -> Result<(), Failure> {
        let meant = &mut self.hosts[host];
        let Some(process) = meant.process.as_mut().filter(|_| meant.life == life) else {
            return Ok(());
        };
        if process.frozen_until > self.now {
            let later = process.frozen_until;
            self.push(later, Happening::OfProcess { host, life, what });
            return Ok(());
        }
        match what {
            OfProcess::Wake => {
                if process.wake_at.is_some_and(|at| at <= self.now) {
                    process.wake_at = None;
                    return self.turn(host, Input::Time);
                }
                Ok(())
            }
            OfProcess::Input(input) => self.turn(host, *input),
            OfProcess::Poll { task } => self.poll(host, task),
            OfProcess::Disk => self.disk(host),
            OfProcess::Round => self.round(host),
            OfProcess::Echo => self.echo(host),
            OfProcess::Hello { until } => {
                self.hello(host, until);
                Ok(())
            }
        }
    }

    /// The loop of an agent turns once: until nothing more comes at once of what is done.
    pub(crate) fn turn(&mut self, host: usize, input: Input) -> Result<(), Failure> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(process) = &mut self.hosts[host].process else {
                return Ok(());
            };
            self.summary.inputs += 1;
            let (since, turns) = process.turns;
            process.turns = if self.now - since > SECOND {
                (self.now, 1)
            } else {
                (since, turns + 1)
            };
            self.summary.busiest = self.summary.busiest.max(turns);
            if turns > MOST_TURNS {
                return Err(format!(
                    "{host} is busy: the last of {turns} in a second is {input:?}"
                )
                .into());
            }
            let now = Now {
                moment: process.local(self.now),
                ..Now::default()
            };
            let effects = process.node.handle(now, input);
            if let Some(history) = &mut self.history {
                history.take_log(self.now, host);
            }
            for effect in effects {
                if self.dies_before(host, &effect) {
                    return Ok(());
                }
                let events = self.carry_out(host, effect)?;
                inputs.extend(events.into_iter().map(Input::Event));
            }
        }
        self.sleep(host);
        Ok(())
    }

    /// Has the agent woken up when something is due.
    fn sleep(&mut self, host: usize) {
        let (now, mutant) = (self.now, self.mutant);
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        if let Some(why) = process.node.take_failure() {
            self.note(|| format!("{host} cannot go on: {}", why.message));
            return self.end(host, 1000);
        }
        let Some(due) = mutant.deadline(process.node.deadline()) else {
            return;
        };
        let at = process.true_time(due).max(now + 1);
        if process.wake_at.is_none_or(|wake_at| at < wake_at) {
            process.wake_at = Some(at);
            self.push_to(at, host, OfProcess::Wake);
        }
    }
}
