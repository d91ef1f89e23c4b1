//! The agent's driver: what it does with one step of the machine, and where it may die in it.

use podnet_core::claim::{ClaimState, Outcome};

use crate::mutant::Mutant;
use crate::setup::new_node;
use crate::verdict::Failure;
use crate::world::World;
use podnet_lab::model::checker::Running;

impl World {
    /// One step of a host's agent: write, apply, publish, nudge, in this order; it may die before
    /// each of them.
    pub(crate) fn step(&mut self, host: usize) -> Result<(), Failure> {
        self.summary.steps += 1;
        let outcome = self.decide(host)?;
        for stage in 0..crate::plan::STAGES {
            let crash = self.hosts[host].crash.filter(|_| outcome.persist);
            if let Some((_, down)) = crash.filter(|(at, _)| *at == stage) {
                self.note(|| format!("{host} dies before stage {stage}"));
                self.end(host, down);
                return Ok(());
            }
            match stage {
                0 => self.write(host, &outcome)?,
                1 => self.apply(host, &outcome)?,
                2 => {
                    self.gossip_above(host);
                    self.publish(host, &outcome);
                }
                _ => self.nudge(host, &outcome),
            }
        }
        self.follow(host, &outcome)
    }

    fn decide(&mut self, host: usize) -> Result<Outcome, Failure> {
        let (now, mutant) = (self.now, self.mutant);
        let deciding = &mut self.hosts[host];
        let agent = deciding.agent.as_mut().expect("a running agent");
        if deciding.leave {
            agent.machine.leave();
        }
        let local = agent.local(now);
        let mut raw = agent.ear.hear(agent.board.read(local)).entries;
        mutant.tamper(&mut raw, agent.machine.durable(), agent.identity);
        let view = agent.reader.read(local, raw);
        let outcome = agent.machine.step(local, &view);
        if view.malformed + outcome.refused.len() > 0 && !self.disks {
            return Err(format!("{host} takes an honest record for a bad one").into());
        }
        if !outcome.persist
            && mutant == Mutant::Sound
            && deciding.disk.as_ref() != Some(agent.machine.durable())
        {
            return Err(
                format!("{host} changed its durable state and did not ask to write it").into(),
            );
        }
        // Timers are late, mostly: it saves steps, and nothing may depend on them.
        let late = [0, self.rng.u64(0..3000)][self.rng.usize(0..2)];
        let at = agent.after(now, outcome.wake.since(local)).max(now + 1) + late;
        deciding.state = Some(outcome.state);
        deciding.muted = outcome.muted;
        self.wake(host, at);
        Ok(outcome)
    }

    fn write(&mut self, host: usize, outcome: &Outcome) -> Result<(), Failure> {
        let writing = &mut self.hosts[host];
        let agent = writing.agent.as_mut().expect("a running agent");
        let durable = agent.machine.durable().clone();
        if self.mutant == Mutant::LateWrite {
            writing.disk = agent.late_write.take().or(writing.disk.take());
            agent.late_write = outcome.persist.then(|| durable.clone());
        } else if outcome.persist {
            writing.disk = Some(durable.clone());
        }
        if !outcome.persist {
            return Ok(());
        }
        let running = self.running();
        if let Some(ledger) = &durable.ledger {
            self.checker.decided(ledger, &running)?;
        }
        self.note(|| {
            let ledger = durable.ledger.as_ref();
            let slot = ledger.map(|ledger| ledger.slot);
            format!(
                "{host} slot {slot:?} {:?} {:?}",
                durable.acceptor, outcome.state
            )
        });
        Ok(())
    }

    fn apply(&mut self, host: usize, outcome: &Outcome) -> Result<(), Failure> {
        let applying = &mut self.hosts[host];
        let agent = applying.agent.as_ref().expect("a running agent");
        let (durable, identity) = (agent.machine.durable(), agent.identity);
        let pods = self.mutant.pods(applying.pods, outcome, durable, identity);
        if pods != applying.pods {
            applying.pods = pods;
            self.note(|| format!("{host} uses {pods:?}"));
            self.checker.running(&self.running())?;
        }
        Ok(())
    }

    /// Gossip starts again if others hold values of this node that are newer than its own.
    fn gossip_above(&mut self, host: usize) {
        let agent = self.hosts[host].agent.as_ref();
        if let Some(ahead) = agent.and_then(|agent| agent.board.ahead()) {
            self.note(|| format!("{host} gossips again: it was at start {ahead} before"));
            let grace = self.grace();
            self.hosts[host].gossip_again(ahead, grace);
        }
    }

    fn publish(&mut self, host: usize, outcome: &Outcome) {
        let Some(agent) = &mut self.hosts[host].agent else {
            return;
        };
        let mut changed = outcome.keys.clone();
        changed.retain(|key, value| agent.said.get(key) != Some(value));
        agent.board.set(agent.voice.say(&changed));
        agent.said.extend(changed);
    }

    fn nudge(&mut self, host: usize, outcome: &Outcome) {
        let Some(agent) = &mut self.hosts[host].agent else {
            return;
        };
        let mut peers = agent
            .board
            .addresses(|node| outcome.nudge.peers.contains(&node));
        let granted = agent.nudges(self.now, peers.len() + outcome.nudge.random);
        peers.truncate(granted);
        let random = outcome.nudge.random.min(granted - peers.len());
        self.greet(host, &peers, random);
    }

    /// What follows from the state: a node that is gone comes back as somebody else; and nobody is
    /// ever taken for a duplicate without clones.
    fn follow(&mut self, host: usize, outcome: &Outcome) -> Result<(), Failure> {
        match outcome.state {
            ClaimState::Gone => {
                self.note(|| format!("{host} is gone"));
                let node = new_node(&mut self.rng);
                let leaving = &mut self.hosts[host];
                leaving.kill();
                leaving.node = node;
                leaving.leave = false;
                leaving.state = None;
                self.join(host);
                Ok(())
            }
            ClaimState::Dup if !self.disks => {
                Err(format!("{host} takes itself for a duplicate").into())
            }
            ClaimState::New
            | ClaimState::Want { .. }
            | ClaimState::Using
            | ClaimState::Leaving
            | ClaimState::Dup => Ok(()),
        }
    }

    fn running(&self) -> Vec<Running> {
        self.hosts.iter().map(crate::host::Host::running).collect()
    }
}
