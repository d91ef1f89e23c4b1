//! Steps of the claim machine, each carried out in the order that makes a crash between any two
//! of its parts harmless: disk, data path, gossip.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use podnet_core::claim::{ClaimState, Muted, Nudge, Outcome};
use podnet_core::kernel::Kinds;
use podnet_core::peer::later_start;
use podnet_core::time::Moment;
use podnet_core::view::Registered;
use podnet_proto::gossip::Key;
use rand::seq::IndexedRandom;

use super::agent::Agent;
use super::error;
use super::membership::{Membership, RETRY};
use crate::probe::Targets;

/// How often to look for one of the members that are not live.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);

impl Agent {
    /// Takes in what gossip tells, and does what follows from it.
    pub(super) async fn step(&mut self) {
        let now = self.now();
        let Some(membership) = &mut self.membership else {
            return;
        };
        membership.wake = now + RETRY;
        let Some(gossip) = &membership.gossip else {
            self.restart_gossip(0).await;
            return;
        };
        if !gossip.speaks() {
            membership.machine.note_deaf(now);
        }
        let snapshot = gossip.snapshot().await;
        membership.view = membership.reader.read(now, snapshot.entries);
        let own = membership.view.of(self.identity.node());
        let ahead = snapshot
            .own_version_ahead
            .or_else(|| later_start(own, membership.epoch));
        if membership.view.changed {
            membership.learned = None;
        }
        let outcome = membership.machine.step(now, &membership.view);
        membership.quorum = membership.machine.quorum(&membership.view);
        membership.wake = outcome.wake;

        membership.unsaved |= outcome.persist;
        if !self.save() {
            return;
        }
        self.take_over(&outcome);
        self.learn(now);
        // After the step: what this node has forgotten may be among what it once said itself.
        if let Some(epoch) = ahead {
            tracing::error!(
                epoch,
                "others hold values of this node from a later start: was its disk rolled back?"
            );
            self.restart_gossip(epoch).await;
            return;
        }
        self.publish(outcome.keys, &outcome.nudge).await;
        self.search(now);
        self.finish_leaving();
    }

    /// Writes the claim machine's state, if the disk's is older. Returns whether it is on disk.
    fn save(&mut self) -> bool {
        let now = self.now();
        let Some(membership) = &mut self.membership else {
            return false;
        };
        if !membership.unsaved {
            return true;
        }
        let durable = membership.machine.durable();
        let saved = self.state_dir.save_durable(durable);
        let failed = saved.as_ref().err().map(error::store);
        let is_news = membership.disk_error != failed;
        membership.disk_error = failed;
        match saved {
            Ok(()) => {
                if is_news {
                    tracing::info!("the claim is written again");
                }
                membership.unsaved = false;
                true
            }
            Err(store_error) => {
                // It is tried each second, and status names it all the while.
                if is_news {
                    tracing::error!(
                        error = error::chain(&store_error),
                        "the claim cannot be written: nothing is published until it can"
                    );
                }
                membership.wake = now + RETRY;
                false
            }
        }
    }

    /// Lets the data path follow the claim.
    fn take_over(&mut self, outcome: &Outcome) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        if membership.muted != outcome.muted {
            log_muted(outcome.muted);
            membership.muted = outcome.muted;
        }
        membership.refused.clone_from(&outcome.refused);
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
                self.prober.set_targets(Targets::default());
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
        membership.update_roster(node);
        if news && let Err(store_error) = self.state_dir.save_peers(&membership.peers) {
            // Only addresses are lost, and gossip brings them again.
            tracing::warn!(
                error = error::chain(&store_error),
                "the peer book cannot be written"
            );
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
    pub(super) async fn publish(&mut self, values: BTreeMap<Key, String>, nudge: &Nudge) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        membership.values = values;
        let urgent = nudged(membership, nudge);
        let others = random_others(membership, &urgent, nudge.random);
        let Some(gossip) = membership.gossip.as_ref().filter(|_| !membership.stopping) else {
            return;
        };
        let changed: BTreeMap<Key, String> = membership
            .values
            .iter()
            .filter(|(key, value)| {
                membership.published.get(key).map_or("", String::as_str) != value.as_str()
            })
            .map(|(key, value)| (*key, value.clone()))
            .collect();
        if !changed.is_empty() {
            match gossip.set(changed.clone()).await {
                Ok(()) => membership.published.extend(changed),
                // The next step tries again.
                Err(gossip_error) => tracing::error!(
                    error = error::chain(&gossip_error),
                    "a value cannot be published"
                ),
            }
        }
        gossip.nudge(urgent);
        gossip.nudge_idly(others);
    }

    /// Begins a handshake with one of the members that are not live, now and then: without it two
    /// halves of a cluster that have given each other up would never meet again.
    fn search(&mut self, now: Moment) {
        let own = self.identity.node();
        let Some(membership) = &mut self.membership else {
            return;
        };
        let (Some(gossip), Some(ledger)) = (&membership.gossip, membership.machine.ledger()) else {
            return;
        };
        if now < membership.search_due {
            return;
        }
        let lost: Vec<SocketAddrV4> = ledger
            .boots
            .keys()
            .filter(|node| **node != own && !membership.view.is_live(**node))
            .filter_map(|node| membership.address_of(*node))
            .collect();
        gossip.nudge(lost.choose(&mut rand::rng()).copied());
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
