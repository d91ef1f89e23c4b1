//! Following the host's address: what peers are told changes with it.

use std::net::Ipv4Addr;

use podnet_core::advertise::{Underlay, Verdict, seat, within};
use podnet_proto::ApiError;

use super::effect::{Effect, Write};
use super::membership::Closing;
use super::node::Node;
use crate::store::Member;
use podnet_core::kernel::Kinds;

/// How many addresses to remember at which members were.
const MOST_SEEDS: usize = 16;

impl Node {
    /// Judges, after a look at the host's addresses, whether peers are to be told another one.
    pub(super) fn follow_address(&mut self) {
        let now = self.now();
        let (Some(membership), Some(addresses), None) = (
            &mut self.membership,
            &self.reconciling.addresses,
            &self.reconciling.blind,
        ) else {
            return;
        };
        let told = *membership.member.advertise.ip();
        if let Some(seat) =
            seat(told, addresses).filter(|seat| membership.seat.as_ref() != Some(seat))
        {
            tracing::info!(%told, device = %seat.ifname, "announcing the address on its link");
            self.effects.push(Effect::Announce(seat.clone()));
            membership.seat = Some(seat);
        }
        // A command has said which one it is.
        let ends = membership.closing == Closing::Disk;
        if membership.member.advertise_fixed || membership.moving || ends {
            return;
        }
        let underlay = Underlay {
            addresses: &within(self.config.advertise, addresses),
            ways: &self.reconciling.underlay,
        };
        match membership.follower.judge(now, told, underlay) {
            Verdict::Stays => {}
            Verdict::Waits(until) => {
                self.reconciling.look_at(Kinds::routes(), until);
            }
            Verdict::Becomes(address) => self.advertise(address),
        }
    }

    /// Tells peers another address: the disk first, then gossip, to which a node at another address
    /// is another node.
    fn advertise(&mut self, address: Ipv4Addr) {
        let Some(membership) = &mut self.membership else {
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
        let Some(membership) = &mut self.membership else {
            return;
        };
        membership.moving = false;
        if let Err(api_error) = result {
            tracing::error!(
                error = api_error.message,
                "the new address cannot be written: peers are not told"
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
