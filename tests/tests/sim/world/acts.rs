//! What happens to hosts in a schedule: users, crashes, reboots, disks.

use podnet_core::claim::Durable;
use podnet_proto::Boot;

use super::{Event, INTERVAL, World};
use crate::plan::Act;
use crate::setup::{new_address, new_node};

/// How long an agent gossips at most before its first step, in milliseconds.
const MOST_STARTING: u64 = 500;

impl World {
    pub(super) fn act(&mut self, act: Act) {
        self.note(|| format!("{act:?}"));
        match act {
            Act::Join { host } => {
                if self.hosts[host].disk.is_none() {
                    self.join(host);
                }
            }
            Act::Leave { host } => self.hosts[host].leave = self.hosts[host].agent.is_some(),
            Act::Kill { host, down } => self.end(host, down),
            Act::Crash { host, stage, down } => {
                if self.hosts[host].agent.is_some() {
                    self.hosts[host].crash = Some((stage, down));
                }
            }
            Act::Reboot { host, down, moves } => self.reboot(host, down, moves),
            Act::Move { host } => {
                let address = new_address(&mut self.rng);
                self.hosts[host].relocate(address, self.plan.grace);
                self.wake(host, self.now + 2);
            }
            Act::Freeze { host, time } => {
                if let Some(agent) = &mut self.hosts[host].agent {
                    agent.frozen_until = self.now + time;
                }
            }
            Act::Save { host } => {
                let saving = &mut self.hosts[host];
                saving.saved = saving.disk.clone().map(|disk| (disk, saving.epoch));
            }
            Act::Rollback { host, down } => {
                let restored = &mut self.hosts[host];
                if let (Some(_), Some((disk, epoch))) = (&restored.disk, restored.saved.clone()) {
                    (restored.disk, restored.epoch) = (Some(disk), epoch);
                    self.end(host, down);
                }
            }
            Act::Lose { host, down } => self.lose(host, down),
            Act::Clone { host, of } => {
                let original = &self.hosts[of];
                let copied = (original.node, original.disk.clone(), original.epoch);
                let clone = &mut self.hosts[host];
                (clone.node, clone.disk, clone.epoch) = copied;
                self.push(self.now, Event::Start { host });
            }
            Act::Off { host } => {
                let off = &mut self.hosts[host];
                off.kill();
                (off.pods, off.disk) = (None, None);
                // Nobody runs with its boot any more.
                off.boot = Boot(self.rng.u64(..));
            }
            Act::Cut(cut) => self.network.cuts.push(cut),
            Act::Mend => self.network.cuts.clear(),
        }
    }

    /// The host gets a token and starts its agent.
    pub(crate) fn join(&mut self, host: usize) {
        // The token is as old as the cluster, or new.
        let ledger = if self.rng.bool() {
            self.checker.latest()
        } else {
            self.checker.first()
        };
        let ledger = ledger.expect("there is one from the start");
        let durable = Durable::joiner(ledger.cluster, ledger.checkpoint());
        self.hosts[host].disk = Some(durable);
        self.push(self.now, Event::Start { host });
    }

    /// The host boots with an empty disk, and joins as somebody else.
    fn lose(&mut self, host: usize, down: u64) {
        if self.hosts[host].disk.is_none() {
            return;
        }
        self.reboot(host, down, false);
        let node = new_node(&mut self.rng);
        let losing = &mut self.hosts[host];
        losing.node = node;
        (losing.epoch, losing.leave, losing.state, losing.muted) = (0, false, None, None);
        losing.saved = None;
        self.join(host);
    }

    /// The agent ends, and starts again after a while.
    pub(crate) fn end(&mut self, host: usize, down: u64) {
        if self.hosts[host].agent.is_some() {
            self.hosts[host].kill();
            self.push(self.now + down, Event::Start { host });
        }
    }

    fn reboot(&mut self, host: usize, down: u64, moves: bool) {
        let running = self.hosts[host].agent.is_some();
        let (boot, address) = (Boot(self.rng.u64(..)), new_address(&mut self.rng));
        let rebooted = &mut self.hosts[host];
        rebooted.kill();
        rebooted.boot = boot;
        rebooted.pods = None;
        if moves {
            rebooted.address = address;
        }
        // The operator's wish to leave may be forgotten with the reboot.
        rebooted.leave &= self.rng.bool();
        if running {
            self.push(self.now + down, Event::Start { host });
        }
    }

    pub(super) fn start(&mut self, host: usize) {
        let starting = &mut self.hosts[host];
        if starting.agent.is_some() || starting.disk.is_none() {
            return;
        }
        if let Some(disk) = &mut starting.disk {
            self.mutant.read_disk(disk);
            starting.leave &= disk.leaving.is_some();
        }
        starting.start(self.now, self.plan.grace, &mut self.rng);
        let life = self.hosts[host].life;
        let (boot, node) = (self.hosts[host].boot, self.hosts[host].node);
        self.note(|| format!("{host} starts: {node} boot {boot}"));
        let first = self.now + self.rng.u64(0..INTERVAL);
        self.push(first, Event::Round { host, life });
        // Gossip speaks before the first step: until then it shows who is there, and nothing else.
        let first_step = self.now + self.rng.u64(0..MOST_STARTING);
        self.wake(host, first_step);
    }
}
