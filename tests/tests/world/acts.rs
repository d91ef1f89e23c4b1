//! What is done to hosts, their agents and what lies between them.

use podnet_core::node::{Input, Kept};
use podnet_lab::model::network::Weather;
use podnet_proto::Boot;

use crate::plan::{Act, Trouble};
use crate::process::Process;
use crate::verdict::Failure;
use crate::world::{Happening, MILLI, OfProcess, SECOND, World};

impl World {
    pub(crate) fn act(&mut self, act: Act) -> Result<(), Failure> {
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

    pub(crate) fn mend(&mut self) {
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

    pub(crate) fn start(&mut self, host: usize) -> Result<(), Failure> {
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
}
