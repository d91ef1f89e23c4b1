//! The world of one schedule: hosts, the network between them, and what happens when. Times are in microseconds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddrV4;

use podnet_core::node::{Input, Kept};
use podnet_core::time::Now;
use podnet_lab::model::checker::Checker;
use podnet_lab::model::network::{Network, Weather};
use podnet_proto::{Boot, ClusterId};

use crate::history::History;
use crate::host::Host;
use crate::mutant::Mutant;
use crate::plan::{Act, Plan, Trouble};
use crate::process::Process;
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

    fn act(&mut self, act: Act) -> Result<(), Failure> {
        if !matches!(act, Act::Ask { .. }) {
            self.note(|| format!("! {act:?}"));
        }
        let now = self.now;
        let until = move |time: u64| now + time * MILLI;
        match act {
            Act::Ask { host, command } => {
                let process = self.hosts[host].process.as_ref();
                let away = |process: &Process| {
                    process.node.is_resuming() || process.frozen_until > self.now
                };
                if process.is_some_and(away) {
                    self.push(self.now + 100 * MILLI, Happening::Act(act));
                    return Ok(());
                }
                return self.ask(host, command);
            }
            Act::Crash {
                host,
                effects,
                down,
            } => {
                self.hosts[host].crash = Some((effects, down));
            }
            Act::Kill { host, down } => self.end(host, down),
            Act::Reboot { host, down } => {
                self.end(host, down);
                let boot = Boot(self.rng.u64(..));
                self.hosts[host].reboot(boot);
            }
            Act::Freeze { host, time } => {
                let until = until(time);
                let freezing = &mut self.hosts[host];
                freezing.trouble = freezing.trouble.max(until);
                if let Some(process) = &mut freezing.process {
                    process.frozen_until = until;
                }
            }
            Act::DiskFails { host, time } => {
                let until = until(time);
                let failing = &mut self.hosts[host];
                failing.disk_fails = until;
                failing.trouble = failing.trouble.max(until);
            }
            Act::DiskSlow { host, time } => {
                let until = until(time);
                let slow = &mut self.hosts[host];
                slow.disk_slow = until;
                slow.trouble = slow.trouble.max(until);
            }
            Act::Kernel {
                host,
                trouble,
                time,
            } => {
                let until = until(time);
                self.trouble(host, trouble);
                let troubled = &mut self.hosts[host];
                troubled.trouble = troubled.trouble.max(until);
                troubled.kernel_troubled = troubled.kernel_troubled.max(until);
                self.push(until, Happening::Healed { host });
            }
            Act::Tamper { host, tamper, told } => {
                self.tamper(host, tamper, told);
                return self.hear_changes(host);
            }
            Act::Move { host } => {
                self.move_to_another_address(host);
                return self.hear_changes(host);
            }
            Act::GossipEnds { host } => {
                let process = self.hosts[host].process.as_mut();
                let speech = process.and_then(|process| process.speech.take());
                if speech.is_some() {
                    self.push_to(
                        self.now + 1,
                        host,
                        OfProcess::Input(Box::new(Input::GossipEnded)),
                    );
                }
            }
            Act::HangUp { host } => return self.give_up(host),
            Act::Cut(cut) => self.network.cuts.push(cut),
            Act::Mend => self.network.cuts.clear(),
            Act::Save { host } => {
                let saving = &mut self.hosts[host];
                saving.saved = Some(saving.disk.clone());
            }
            Act::Rollback { host, down } => {
                if let Some(saved) = self.hosts[host].saved.clone() {
                    self.end(host, down);
                    self.hosts[host].disk = saved;
                }
            }
            Act::Clone { host, of } => {
                let original = &self.hosts[of];
                let (key, node) = (original.key, original.node);
                let (disk, cluster) = (original.disk.clone(), original.cluster);
                let clone = &mut self.hosts[host];
                (clone.key, clone.node, clone.disk, clone.cluster) = (key, node, disk, cluster);
                self.push(self.now, Happening::Start { host });
            }
        }
        Ok(())
    }

    fn mend(&mut self) {
        self.note(|| "! from here on nothing goes wrong".to_owned());
        self.network.cuts.clear();
        self.network.weather = Weather::FAIR;
        let now = self.now;
        for host in &mut self.hosts {
            host.crash = None;
            (host.disk_fails, host.disk_slow) = (0, 0);
            host.trouble = now;
            host.kernel.fake.heal();
            host.kernel.slow_down(None);
        }
    }

    fn trouble(&mut self, host: usize, trouble: Trouble) {
        let seed = self.rng.u64(..);
        crate::trouble::inject(&self.hosts[host].kernel, trouble, seed);
    }

    /// The agent ends, and starts again after a while.
    pub(crate) fn end(&mut self, host: usize, down: u64) {
        if self.hosts[host].process.is_none() {
            return;
        }
        self.note(|| format!("{host} dies"));
        self.hang_up(host);
        let ending = &mut self.hosts[host];
        if let Some(process) = ending.process.take()
            && let Some(job) = process.jobs.front()
        {
            // Nobody knows how far it had come.
            ending.cut_short(job, self.rng.usize(0..3));
        }
        ending.life += 1;
        ending.crash = None;
        ending.trouble = ending.trouble.max(self.now + down * MILLI);
        self.summary.restarts += 1;
        self.push(self.now + down * MILLI, Happening::Start { host });
    }

    fn start(&mut self, host: usize) -> Result<(), Failure> {
        if self.hosts[host].process.is_some() {
            return Ok(());
        }
        let starting = &mut self.hosts[host];
        let joined = starting
            .disk
            .load()
            .map_err(|why| format!("{host} does not start: {why}"))?;
        if joined.is_none() {
            starting.run.boot = Boot(self.rng.u64(..));
        }
        let mut kept = Kept {
            joined,
            pods: starting.run.pods.clone(),
            freed: starting.run.freed.clone(),
        };
        self.mutant.read(&mut kept);
        let (node, boot) = (starting.node, starting.run.boot);
        let name = format!("host{host}");
        starting.process = Some(Process::start(
            node,
            boot,
            name,
            kept,
            self.now,
            &mut self.rng,
        ));
        starting.life += 1;
        starting.watch();
        self.note(|| format!("{host} starts: {node} boot {boot}"));
        let first = self.now + self.rng.u64(0..SECOND);
        self.push_to(first, host, OfProcess::Round);
        self.push_to(self.now + SECOND, host, OfProcess::Echo);
        self.turn(host, Input::Time)
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
