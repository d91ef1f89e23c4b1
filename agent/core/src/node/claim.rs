//! Steps of the claim machine, each carried out in the order that makes a crash between any two
//! of its parts harmless: disk, data path, gossip.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::claim::{ClaimState, Muted, Nudge, Outcome, UnknownSetting};
use crate::kernel::Kinds;
use crate::peer::later_start;
use crate::time::Moment;
use crate::view::Registered;
use podnet_proto::ApiError;
use podnet_proto::gossip::Key;

use super::effect::{Effect, Write};
use super::event::Heard;
use super::life::Closing;
use super::machine::Node;
use super::membership::{Membership, RETRY, Saving, Talk};
use crate::node::echoes::Targets;

/// How often to look for one of the members that are not live.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);

impl Node {
    /// Begins a step of the claim machine: what gossip has heard comes first.
    pub(super) fn step(&mut self) {
        let now = self.now();
        let ends = self.life.closing() == Closing::Disk;
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        membership.wake = now + RETRY;
        // As long as the disk has not taken the last decision, nothing more is decided.
        if membership.saving.is_some() || ends {
            return;
        }
        match membership.talk {
            Talk::Silent => self.restart_gossip(0),
            Talk::Starts => {}
            Talk::Runs => self.effects.push(Effect::Listen),
        }
    }

    /// Takes in what gossip has heard, and does what follows from it.
    pub(super) fn on_heard(&mut self, heard: Heard) {
        let now = self.now();
        let ends = self.life.closing() == Closing::Disk;
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        // Another input may have come in between: if the node waits for the disk since, that comes first.
        if membership.saving.is_some() || ends {
            return;
        }
        if !heard.speaks {
            membership.machine.note_deaf(now);
        }
        let hearing = membership.ear.hear(heard.entries);
        for (node, address, key) in &hearing.unheard {
            let record = key.as_str();
            tracing::debug!(%node, %address, record, "a gossip record is ignored: its node has not signed it");
        }
        membership.view = membership.reader.read(now, hearing.entries);
        let own = membership.view.of(self.setup.own);
        let ahead = heard
            .own_version_ahead
            .or_else(|| later_start(own, membership.epoch));
        if membership.view.changed {
            membership.learned = None;
        }
        let outcome = membership.machine.step(now, &membership.view);
        membership.quorum = membership.machine.quorum(&membership.view);
        membership.wake = outcome.wake;

        membership.unsaved |= outcome.persist;
        if membership.unsaved {
            let durable = membership.machine.durable().clone();
            membership.saving = Some(Saving::Step(Box::new(outcome), ahead));
            membership.saving_since = now;
            let write = Write::Durable(Box::new(durable));
            self.effects.push(Effect::Store(write));
        } else {
            self.adopt(outcome, ahead);
        }
    }

    /// The claim machine's state is on disk, or not.
    pub(super) fn on_durable_stored(&mut self, result: Result<(), ApiError>) {
        let now = self.now();
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        match membership.saving.take() {
            Some(Saving::Departure(ticket)) => self.departed(ticket, result),
            Some(Saving::Step(outcome, ahead)) => match result {
                Ok(()) => {
                    if membership.disk_error.take().is_some() {
                        tracing::info!("this node's claim can be written to disk again");
                    }
                    membership.unsaved = false;
                    self.adopt(*outcome, ahead);
                    // There may have been news meanwhile.
                    self.step_soon();
                }
                Err(api_error) => {
                    // The write is tried again each second, and `status` names it all the while.
                    if membership.disk_error.as_ref() != Some(&api_error) {
                        tracing::error!(
                            error = api_error.message,
                            "this node's claim cannot be written to disk: the node publishes nothing until it can"
                        );
                    }
                    membership.disk_error = Some(api_error);
                    membership.wake = now + RETRY;
                }
            },
            None => {}
        }
    }

    /// Does what follows from a step, once the step is on disk: the data path, then gossip.
    fn adopt(&mut self, outcome: Outcome, ahead: Option<u64>) {
        let now = self.now();
        self.take_over(&outcome);
        self.learn(now);
        // After the step: what this node has forgotten may be among what it once said itself.
        if let Some(epoch) = ahead {
            tracing::error!(
                epoch,
                "peers hold records of this node from a later start of it: was its disk rolled back?"
            );
            self.restart_gossip(epoch);
            return;
        }
        self.publish(outcome.keys, &outcome.nudge);
        self.search(now);
        self.finish_leaving();
        self.answer_leaves();
    }

    /// Lets the data path follow the claim.
    fn take_over(&mut self, outcome: &Outcome) {
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        membership.decided = true;
        if membership.muted != outcome.muted {
            log_muted(outcome.muted);
            membership.muted = outcome.muted;
        }
        membership.refused.clone_from(&outcome.refused);
        if membership.unknown != outcome.unknown {
            for UnknownSetting { name, value } in &outcome.unknown {
                tracing::error!(
                    setting = name,
                    value,
                    "this version cannot carry out a setting of the cluster: this node decides nothing"
                );
            }
            membership.unknown.clone_from(&outcome.unknown);
        }
        if membership.unsaid != outcome.unsaid {
            for (key, why) in &outcome.unsaid {
                tracing::error!(
                    record = key.as_str(),
                    why,
                    "this node cannot publish a record"
                );
            }
            membership.unsaid.clone_from(&outcome.unsaid);
        }
        if membership.state != outcome.state {
            log_state(&membership.state, &outcome.state);
            membership.state = outcome.state;
        }
        if membership.using == outcome.using {
            return;
        }
        let before = membership.using;
        membership.using = outcome.using;
        match outcome
            .using
            .and_then(|index| membership.block_range(index))
        {
            Some(block) => {
                tracing::info!(%block, "this node now uses its block");
                membership.stopping = false;
                self.use_block(block);
            }
            None => {
                let block = before.and_then(|index| membership.block_range(index));
                let block = block.map(tracing::field::display);
                tracing::warn!(block, "this node no longer uses its block");
                membership.stopping = true;
                self.effects.push(Effect::Aim(Targets::default()));
            }
        }
        self.reconciling.want(Kinds::all());
    }

    /// Keeps what the members say of themselves, and lets routes and echoes follow.
    fn learn(&mut self, now: Moment) {
        let node = self.own();
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        let slot = membership.ledger().map(|ledger| ledger.slot);
        if slot.is_some() && membership.learned == slot {
            return;
        }
        membership.learned = slot.filter(|_| !membership.is_ambiguous());
        let blocks_before = self.reconciling.peers.take();
        let news = membership.learn_peers(node, now);
        let roster = membership.roster(node);
        self.effects.push(Effect::ShowRoster(roster));
        if news {
            // If the book cannot be written, only addresses are lost, and gossip brings them again.
            let write = Write::Peers(membership.peers.clone());
            self.effects.push(Effect::Note(write));
        }
        let blocks = membership.peer_blocks(node);
        if blocks_before.as_ref() != Some(&blocks) {
            self.reconciling.want(Kinds::routes());
            let gateways = membership.peer_gateways(node);
            self.paths
                .retain(|node, report| gateways.get(node) == Some(&report.gateway));
        }
        self.reconciling.peers = Some(blocks);
    }

    /// Publishes what has changed, and gossips at once if that matters. While the data path
    /// still carries a block that the node must not use, nothing is published.
    pub(super) fn publish(&mut self, values: BTreeMap<Key, String>, nudge: &Nudge) {
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        membership.values = values;
        let urgent = nudged(membership, nudge);
        let idly = random_others(membership, &mut self.rng, &urgent, nudge.random);
        if membership.talk != Talk::Runs || membership.stopping {
            return;
        }
        let changed: BTreeMap<Key, String> = membership
            .values
            .iter()
            .filter(|(key, value)| {
                membership.published.get(key).map_or("", String::as_str) != value.as_str()
            })
            .map(|(key, value)| (*key, value.clone()))
            .collect();
        if !changed.is_empty() {
            membership.published.extend(changed.clone());
            self.effects.push(Effect::Publish(changed));
        }
        self.effects.push(Effect::Nudge { urgent, idly });
    }

    /// Gossip did not take these values: the next step publishes them again.
    pub(super) fn on_unpublished(&mut self, keys: &[Key]) {
        if let Some(membership) = self.life.member_mut() {
            membership.published.retain(|key, _| !keys.contains(key));
        }
    }

    /// Begins a handshake with one of the members that are not live, now and then: without it two
    /// halves of a cluster that have given each other up would never meet again.
    fn search(&mut self, now: Moment) {
        let own = self.own();
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        let Some(ledger) = membership.machine.ledger() else {
            return;
        };
        if membership.talk != Talk::Runs || now < membership.search_due {
            return;
        }
        let lost: Vec<SocketAddrV4> = ledger
            .boots
            .keys()
            .filter(|node| **node != own && !membership.view.is_live(**node))
            .filter_map(|node| membership.address_of(*node))
            .collect();
        let urgent: Vec<_> = self.rng.choice(lost).into_iter().collect();
        let idly = Vec::new();
        self.effects.push(Effect::Nudge { urgent, idly });
        membership.search_due = now + SEARCH_INTERVAL;
    }

    /// The data path no longer carries a block that the node must not use: what waited for that
    /// may be published.
    pub(super) fn data_path_stopped(&mut self) {
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        if membership.stopping && membership.using.is_none() {
            membership.stopping = false;
            self.step_soon();
        }
    }
}

/// The addresses of the nodes to gossip with at once.
fn nudged(membership: &Membership, nudge: &Nudge) -> Vec<SocketAddrV4> {
    let heard = |node| membership.heard_at(node);
    let addresses: Vec<SocketAddrV4> = nudge
        .peers
        .iter()
        .filter_map(|node| heard(*node).or_else(|| membership.address_of(*node)))
        .collect();
    if addresses.is_empty() && nudge.random > 0 && membership.view.entries().len() < 2 {
        // No node is known yet but the members that answered first.
        return membership.member.seeds.clone();
    }
    addresses
}

/// So many other addresses, drawn at random.
fn random_others(
    membership: &Membership,
    rng: &mut fastrand::Rng,
    nudged: &[SocketAddrV4],
    count: usize,
) -> Vec<SocketAddrV4> {
    // A node whose address has changed is no longer at its old one.
    let nobody = Registered::new();
    let registered = membership.ledger().map_or(&nobody, |ledger| &ledger.boots);
    let best = membership.view.all_best(registered);
    let addresses = best.map(|entry| entry.address);
    let own = membership.member.advertise;
    let others: Vec<SocketAddrV4> = addresses
        .filter(|address| *address != own && !nudged.contains(address))
        .collect();
    rng.choose_multiple(others, count)
}

fn log_muted(muted: Option<Muted>) {
    match muted {
        Some(Muted::Behind { node, slot }) => tracing::error!(
            %node,
            slot,
            "a member knows of decisions that this voter has forgotten: this node decides nothing until \
             it has caught up"
        ),
        Some(Muted::Twin { address }) => tracing::error!(
            %address,
            "another host runs with this node's identity: this host does not ask for its block"
        ),
        Some(Muted::Listening) | None => {}
    }
}

fn log_state(before: &ClaimState, after: &ClaimState) {
    match after {
        ClaimState::Dup => tracing::error!(
            %before,
            "another host has taken over this node's identity: this host no longer uses its block"
        ),
        ClaimState::New
        | ClaimState::Want { .. }
        | ClaimState::Using
        | ClaimState::Leaving
        | ClaimState::Gone => {
            tracing::info!(%before, %after, "the state of this node's claim has changed");
        }
    }
}
