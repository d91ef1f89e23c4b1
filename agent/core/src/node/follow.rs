//! Following the host's address: what peers are told changes with it.

use std::net::Ipv4Addr;

use crate::advertise::{Succession, Underlay, seat, within};
use podnet_proto::ApiError;

use super::effect::{Effect, Write};
use super::life::Closing;
use super::machine::Node;
use super::member::Member;
use crate::kernel::Kinds;

/// How many former addresses of members to remember.
const MOST_SEEDS: usize = 16;

impl Node {
    /// Judges, after a look at the host's addresses, whether peers are to be told another one.
    pub(super) fn follow_address(&mut self) {
        let now = self.now();
        let ends = self.life.closing() == Closing::Disk;
        let (Some(membership), Some(addresses), None) = (
            self.life.member_mut(),
            &self.reconciling.addresses,
            &self.reconciling.blind,
        ) else {
            return;
        };
        let told = *membership.member.advertise.ip();
        if let Some(seat) =
            seat(told, addresses).filter(|seat| membership.seat.as_ref() != Some(seat))
        {
            tracing::info!(%told, device = %seat.ifname, "announcing this node's address on its link");
            self.effects.push(Effect::Announce(seat.clone()));
            membership.seat = Some(seat);
        }
        // The user has chosen the address.
        if membership.member.advertise_fixed || membership.moving || ends {
            return;
        }
        let underlay = Underlay {
            addresses: &within(self.setup.advertise, addresses),
            ways: &self.reconciling.underlay,
        };
        match membership.follower.judge(now, told, underlay) {
            Succession::Stays => {}
            Succession::Waits(until) => {
                self.reconciling.look_at(Kinds::routes(), until);
            }
            Succession::Becomes(address) => self.advertise(address),
        }
    }

    /// Tells peers another address: the disk first, then gossip, to which a node at another address
    /// is another node.
    fn advertise(&mut self, address: Ipv4Addr) {
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        let member = moved(&membership.member, address);
        let (from, to) = (membership.member.advertise, member.advertise);
        tracing::info!(%from, %to, "the host's address has changed: peers are told the new one");
        membership.moving = true;
        let write = Write::Member(Box::new(member));
        self.effects.push(Effect::Store(write));
    }

    /// The node's new address is on disk, or not.
    pub(super) fn on_member_stored(&mut self, member: Member, result: Result<(), ApiError>) {
        let now = self.now();
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        membership.moving = false;
        if let Err(api_error) = result {
            tracing::error!(
                error = api_error.message,
                "this node's new address cannot be written to disk: peers are not told it yet"
            );
            membership.disk_error = Some(api_error);
            self.reconciling.look_again(Kinds::routes(), now);
            return;
        }
        if !membership.unsaved {
            membership.disk_error = None;
        }
        membership.member = member;
        self.restart_gossip(0);
        self.reconciling.want(Kinds::all());
        self.step_soon();
    }
}

/// The membership of a node whose address has changed. Its old one is remembered: it may be another
/// member's by now, as when two swap theirs.
fn moved(member: &Member, address: Ipv4Addr) -> Member {
    let mut moved = member.clone();
    moved.advertise.set_ip(address);
    moved
        .seeds
        .retain(|seed| ![member.advertise, moved.advertise].contains(seed));
    moved.seeds.push(member.advertise);
    let excess = moved.seeds.len().saturating_sub(MOST_SEEDS);
    moved.seeds.drain(..excess);
    moved
}
