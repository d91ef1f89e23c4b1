//! Gossip, and with it the membership: started, ended, started again.

use std::collections::{BTreeMap, BTreeSet};

use crate::advertise::Follower;
use crate::claim::{ClaimState, Identity as ClaimIdentity, Machine, Quorum};
use crate::peer::is_plausible_start;
use crate::signed::Ear;
use crate::view::{Reader, View};
use podnet_proto::gossip::Key;

use super::effect::{Effect, Generation, Start};
use super::entry::Beginning;
use super::event::Started;
use super::life::Life;
use super::machine::Node;
use super::member::Joined;
use super::membership::{Membership, RETRY, Talk};

impl Node {
    /// Lets gossip start for a node that becomes a member, or is one again.
    pub(super) fn start_gossip_of(&mut self, joined: &Joined) {
        let start = Start {
            member: joined.member.clone(),
            peers: joined.peers.clone(),
            above: joined.durable.epoch,
            unused: None,
            generation: Generation::Known(0),
            values: BTreeMap::new(),
        };
        self.effects.push(Effect::StartGossip(Box::new(start)));
    }

    /// Starts the claim machine, with what is on disk.
    pub(super) fn start_membership(
        &mut self,
        joined: Joined,
        epoch: u64,
        values: BTreeMap<Key, String>,
    ) {
        let Joined {
            member,
            mut durable,
            peers,
        } = joined;
        let is_new = durable.epoch == 0;
        let is_departing = durable.is_departing();
        durable.epoch = epoch;
        let seed = self.rng.u64(..);
        let identity = ClaimIdentity {
            node: self.own(),
            boot: self.setup.boot,
            instance: self.setup.instance,
        };
        let machine = if is_new {
            Machine::of_new_member(identity, durable, seed)
        } else {
            Machine::new(identity, durable, seed)
        };
        let membership = Membership {
            machine: machine.listening_for(self.setup.listen),
            ear: Ear::with(member.cluster, self.setup.verify),
            member,
            peers,
            talk: Talk::Runs,
            reader: Reader::default(),
            view: View::default(),
            learned: None,
            epoch,
            unused_epoch: None,
            start_again: None,
            generation: 0,
            silenced: None,
            unsaid: BTreeMap::new(),
            state: ClaimState::New,
            using: None,
            quorum: Quorum::default(),
            muted: None,
            refused: BTreeSet::new(),
            unknown: Vec::new(),
            listening_since: self.now(),
            wake: self.now(),
            search_due: self.now(),
            published: values,
            values: BTreeMap::new(),
            unsaved: true,
            decided: false,
            saving: None,
            saving_since: self.now(),
            disk_error: None,
            // Whatever the last process left of the data path is removed first, unless the node uses it.
            stopping: true,
            awaiting_init: Vec::new(),
            init_passes: 0,
            early_leaves: Vec::new(),
            moving: false,
            follower: Follower::default(),
            seat: None,
        };
        let life = Life::Member(Box::new(membership));
        self.life = if is_departing { life.leave() } else { life };
    }

    /// The gossip task has died. The next step starts another: not at once, or a task that dies at
    /// its start would keep the agent busy.
    pub(super) fn gossip_ended(&mut self) {
        let later = self.now() + RETRY;
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        membership.wake = later;
        membership.talk = Talk::Silent;
        self.effects.push(Effect::StopGossip);
    }

    /// Starts gossip again, with values that are newer than all before: gossip has ended, the
    /// node's address has changed, or its disk was rolled back. If it cannot be started, the
    /// next step tries again.
    pub(super) fn restart_gossip(&mut self, epoch_seen: u64) {
        if let Some(membership) = self.life.member_mut()
            && membership.talk == Talk::Starts
        {
            // Of two starts at once only one would get the port.
            let seen = membership.start_again.unwrap_or_default();
            membership.start_again = Some(seen.max(epoch_seen));
            return;
        }
        self.gossip_ended();
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        // An epoch that another member has made up is not outdone, and least of all on disk: the node
        // speaks under another of its ids instead.
        let (above, generation) = if is_plausible_start(membership.epoch, epoch_seen) {
            (epoch_seen, Generation::Known(membership.generation))
        } else {
            tracing::error!(
                epoch = epoch_seen,
                "another member publishes records in this node's name"
            );
            // Peers remember what this node has signed before its disk was rolled back, and ignore what is older.
            let signed = membership.ear.latest_start(self.setup.own);
            (signed, Generation::Fresh)
        };
        let start = Start {
            member: membership.member.clone(),
            peers: membership.peers.clone(),
            above,
            unused: membership.unused_epoch.take_if(|epoch| *epoch > above),
            generation,
            values: membership.published.clone(),
        };
        membership.talk = Talk::Starts;
        self.effects.push(Effect::StartGossip(Box::new(start)));
    }

    /// Gossip is started, or cannot be: for a node that becomes a member, or again.
    pub(super) fn on_gossip_started(&mut self, started: Started) {
        if let Some(beginning) = self.take_beginning() {
            return self.begun(beginning, started);
        }
        let now = self.now();
        let Some(membership) = self.life.member_mut() else {
            // The node has left meanwhile.
            return self.effects.push(Effect::StopGossip);
        };
        match (started.result, started.epoch) {
            (Ok(values), Some(epoch)) => {
                tracing::warn!(epoch, "gossip has been started again");
                membership.listening_since = now;
                membership.talk = Talk::Runs;
                membership.published = values;
                membership.epoch = epoch;
                membership.unused_epoch = None;
                membership.generation = started.generation;
                membership.reader = Reader::default();
                membership.silenced = None;
            }
            (Ok(_), None) => membership.talk = Talk::Silent,
            (Err(api_error), epoch) => {
                if membership.silenced.as_ref() != Some(&api_error) {
                    tracing::error!(error = %api_error, "gossip cannot be started again");
                }
                membership.unused_epoch = epoch;
                membership.silenced = Some(api_error);
                membership.talk = Talk::Silent;
            }
        }
        let runs = membership.talk == Talk::Runs;
        if let Some(epoch_seen) = membership.start_again.take() {
            membership.talk = Talk::Silent;
            self.restart_gossip(epoch_seen);
        } else if runs {
            // The first step after a start hears which nodes are there.
            self.step_soon();
        }
    }

    /// The node becomes a member if gossip was started, and no member if it was not.
    fn begun(&mut self, beginning: Beginning, started: Started) {
        match (started.result, started.epoch) {
            (Ok(values), Some(epoch)) => {
                self.start_membership(beginning.joined, epoch, values);
                self.entered(beginning.why);
            }
            (Err(api_error), _) => self.not_entered(beginning.why, api_error),
            // Gossip has no epoch only if it was not started.
            (Ok(_), None) => self.effects.push(Effect::StopGossip),
        }
    }
}
