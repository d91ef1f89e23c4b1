//! Steps of the claim machine, each carried out in the order that makes a crash between any two
//! of its parts harmless: disk, data path, gossip.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use podnet_core::claim::{ClaimState, Muted, Nudge, Outcome, UnknownSetting};
use podnet_core::kernel::Kinds;
use podnet_core::peer::later_start;
use podnet_core::time::Moment;
use podnet_core::view::Registered;
use podnet_proto::ApiError;
use podnet_proto::gossip::Key;
use rand::seq::IndexedRandom;

use super::effect::{Effect, Heard, Write};
use super::membership::{Closing, Membership, RETRY, Saving, Talk};
use super::node::Node;
use crate::probe::Targets;

/// How often to look for one of the members that are not live.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);

impl Node {
    /// Begins a step of the claim machine: what gossip has heard comes first.
    pub(super) fn step(&mut self) {
        let now = self.now();
        let Some(membership) = &mut self.membership else {
            return;
        };
        membership.wake = now + RETRY;
        // What the disk has not taken yet decides nothing more.
        if membership.saving.is_some() || membership.closing == Closing::Disk {
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
        let Some(membership) = &mut self.membership else {
            return;
        };
        // Another input may have come between: what it waits for on disk comes first.
        if membership.saving.is_some() || membership.closing == Closing::Disk {
            return;
        }
        if !heard.speaks {
            membership.machine.note_deaf(now);
        }
        let hearing = membership.ear.hear(heard.entries);
        for (node, address, key) in &hearing.unheard {
            let record = key.as_str();
            tracing::debug!(%node, %address, record, "a record is not heard: the node has not signed it");
        }
        membership.view = membership.reader.read(now, hearing.entries);
        let own = membership.view.of(self.identity.node());
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
        let Some(membership) = &mut self.membership else {
            return;
        };
        match membership.saving.take() {
            Some(Saving::Departure(ticket)) => self.departed(ticket, result),
            Some(Saving::Step(outcome, ahead)) => match result {
                Ok(()) => {
                    if membership.disk_error.take().is_some() {
                        tracing::info!("the claim is written again");
                    }
                    membership.unsaved = false;
                    self.adopt(*outcome, ahead);
                    // There may have been news meanwhile.
                    self.step_soon();
                }
                Err(api_error) => {
                    // It is tried each second, and status names it all the while.
                    if membership.disk_error.as_ref() != Some(&api_error) {
                        tracing::error!(
                            error = api_error.message,
                            "the claim cannot be written: nothing is published until it can"
                        );
                    }
                    membership.disk_error = Some(api_error);
                    membership.wake = now + RETRY;
                }
            },
            None => {}
        }
    }

    /// Does what follows from a step, once it is on disk: the data path, then gossip.
    fn adopt(&mut self, outcome: Outcome, ahead: Option<u64>) {
        let now = self.now();
        self.take_over(&outcome);
        self.learn(now);
        // After the step: what this node has forgotten may be among what it once said itself.
        if let Some(epoch) = ahead {
            tracing::error!(
                epoch,
                "others hold values of this node from a later start: was its disk rolled back?"
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
        let Some(membership) = &mut self.membership else {
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
                    "this version does not know a setting of the cluster: this node decides nothing"
                );
            }
            membership.unknown.clone_from(&outcome.unknown);
        }
        if membership.unsaid != outcome.unsaid {
            for (key, why) in &outcome.unsaid {
                tracing::error!(record = key.as_str(), why, "a record is not published");
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
                tracing::info!(%block, "this node uses a block");
                membership.stopping = false;
                self.use_block(block);
            }
            None => {
                let block = before.and_then(|index| membership.block_range(index));
                let block = block.map(tracing::field::display);
                tracing::warn!(block, "this node stops to use its block");
                membership.stopping = true;
                self.effects.push(Effect::Aim(Targets::default()));
            }
        }
        self.reconciling.want(Kinds::all());
    }

    /// Keeps what the members say of themselves, and lets routes and echoes follow.
    fn learn(&mut self, now: Moment) {
        let node = self.identity.node();
        let Some(membership) = &mut self.membership else {
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
            // If they cannot be written only addresses are lost, and gossip brings them again.
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

    /// Publishes what has changed, and gossips at once where that matters. While the data path
    /// still carries a block that the node must not use, nothing is published.
    pub(super) fn publish(&mut self, values: BTreeMap<Key, String>, nudge: &Nudge) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        membership.values = values;
        let urgent = nudged(membership, nudge);
        let idly = random_others(membership, &urgent, nudge.random);
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

    /// Gossip did not take these values: the next step tries again.
    pub(super) fn on_unpublished(&mut self, keys: &[Key]) {
        if let Some(membership) = &mut self.membership {
            membership.published.retain(|key, _| !keys.contains(key));
        }
    }

    /// Begins a handshake with one of the members that are not live, now and then: without it two
    /// halves of a cluster that have given each other up would never meet again.
    fn search(&mut self, now: Moment) {
        let own = self.identity.node();
        let Some(membership) = &mut self.membership else {
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
        let urgent: Vec<_> = lost.choose(&mut rand::rng()).copied().into_iter().collect();
        let idly = Vec::new();
        self.effects.push(Effect::Nudge { urgent, idly });
        membership.search_due = now + SEARCH_INTERVAL;
    }

    /// The data path does not carry a block any more that the node must not use: what waited for
    /// that may be published.
    pub(super) fn data_path_stopped(&mut self) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        if membership.stopping && membership.using.is_none() {
            membership.stopping = false;
            self.step_soon();
        }
    }
}

/// The addresses of those to gossip with at once.
fn nudged(membership: &Membership, nudge: &Nudge) -> Vec<SocketAddrV4> {
    let heard = |node| membership.heard_at(node);
    let addresses: Vec<SocketAddrV4> = nudge
        .peers
        .iter()
        .filter_map(|node| heard(*node).or_else(|| membership.address_of(*node)))
        .collect();
    if addresses.is_empty() && nudge.random > 0 && membership.view.entries().len() < 2 {
        // Nobody is known yet but the members that answered first.
        return membership.member.seeds.clone();
    }
    addresses
}

/// So many other addresses, drawn at random.
fn random_others(
    membership: &Membership,
    nudged: &[SocketAddrV4],
    count: usize,
) -> Vec<SocketAddrV4> {
    // A node whose address has changed is not at its old one any more.
    let nobody = Registered::new();
    let registered = membership.ledger().map_or(&nobody, |ledger| &ledger.boots);
    let best = membership.view.all_best(registered);
    let addresses = best.map(|entry| entry.address);
    let own = membership.member.advertise;
    let others: Vec<SocketAddrV4> = addresses
        .filter(|address| *address != own && !nudged.contains(address))
        .collect();
    others.sample(&mut rand::rng(), count).copied().collect()
}

fn log_muted(muted: Option<Muted>) {
    match muted {
        Some(Muted::Behind { node, slot }) => tracing::error!(
            %node,
            slot,
            "a member knows of decisions that this voter has forgotten: it decides nothing until it \
             has caught up"
        ),
        Some(Muted::Twin { address }) => tracing::error!(
            %address,
            "another host runs with this node's identity: this one does not ask for the block"
        ),
        Some(Muted::Listening) | None => {}
    }
}

fn log_state(before: &ClaimState, after: &ClaimState) {
    match after {
        ClaimState::Dup => tracing::error!(
            %before,
            "another host has taken over this node's identity: its block is not used any more"
        ),
        ClaimState::New
        | ClaimState::Want { .. }
        | ClaimState::Using
        | ClaimState::Leaving
        | ClaimState::Gone => tracing::info!(%before, %after, "the claim has changed"),
    }
}
