//! Which of the host's addresses peers are told, when the addresses of the host change.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::host::candidates;
use crate::kernel::{HostAddress, IfIndex, IfName, MacAddr, UnderlayPath};
use crate::time::Moment;

mod range;

pub use range::{Range, RangeError, within};

/// How long an address from which the peers are reached has to stay, before peers are told it. Tools
/// that configure networks remove addresses and put them back.
const SETTLE: Duration = Duration::from_millis(500);

/// How long an address has to stay that is a guess, since no other is left. Interfaces come up one
/// after the other, and the one that peers reach may be late.
const SETTLE_GUESS: Duration = Duration::from_secs(10);

/// What is known of the host's own network.
#[derive(Debug, Clone, Copy)]
pub struct Underlay<'a> {
    /// The addresses of the host.
    pub addresses: &'a [HostAddress],
    /// How the peers are reached.
    pub ways: &'a BTreeMap<IpAddr, UnderlayPath>,
}

/// What is to become of the address that peers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Succession {
    /// It stays.
    Stays,
    /// Another address is to take its place, if that is still so at this time.
    Waits(Moment),
    /// This address takes its place.
    Becomes(Ipv4Addr),
}

/// Follows the address by which peers reach this host.
///
/// The address that they are told stays as long as the host has it on an interface that is up: a change
/// costs every peer a new route, and two nodes with two links between them could chase each other
/// from one to the other. Else the address takes its place from which the kernel reaches the most
/// peers on their link; or, as a guess, the only one that there is.
#[derive(Debug, Default)]
pub struct Follower {
    /// What is to take its place, and since when.
    successor: Option<(Successor, Moment)>,
    /// The address that peers are told was a guess: it stays until a better one is found.
    guessed: bool,
}

/// An address that should take the place of the one that peers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Successor {
    address: Ipv4Addr,
    guessed: bool,
}

impl Successor {
    /// How long it has to stay before peers are told it.
    const fn settle(self) -> Duration {
        if self.guessed { SETTLE_GUESS } else { SETTLE }
    }
}

impl Follower {
    /// Judges the address that peers are told.
    pub fn judge(&mut self, now: Moment, told: Ipv4Addr, underlay: Underlay<'_>) -> Succession {
        let Some(successor) = successor(told, self.guessed, underlay) else {
            self.successor = None;
            return Succession::Stays;
        };
        let since = match self.successor {
            Some((same, since)) if same == successor => since,
            Some(_) | None => now,
        };
        self.successor = Some((successor, since));
        let due = since + successor.settle();
        if now < due {
            return Succession::Waits(due);
        }
        self.successor = None;
        self.guessed = successor.guessed;
        Succession::Becomes(successor.address)
    }
}

fn successor(told: Ipv4Addr, guessed: bool, underlay: Underlay<'_>) -> Option<Successor> {
    let sources = sources(underlay.ways);
    if sources.is_empty() {
        return match candidates(underlay.addresses)[..] {
            [(only, _)] if !has(underlay.addresses, told) => Some(Successor {
                address: only,
                // If the address was a peer's before the two swapped theirs, peers reach this host there.
                guessed: underlay.ways.get(&only.into()) != Some(&UnderlayPath::Local),
            }),
            [..] => None,
        };
    }
    let stays = |found: &HostAddress| found.up && (!guessed || serves(found, underlay.ways));
    if holders(underlay.addresses, told).any(stays) {
        return None;
    }
    let most = sources.values().max().copied();
    let mut best = sources
        .into_iter()
        .filter(|(source, count)| Some(*count) == most && has(underlay.addresses, *source));
    let (address, _) = best.next()?;
    // If as many peers are reached from another address, neither is better.
    best.next().is_none().then_some(Successor {
        address,
        guessed: false,
    })
}

/// The addresses from which peers are reached on their link, and how many from each.
fn sources(ways: &BTreeMap<IpAddr, UnderlayPath>) -> BTreeMap<Ipv4Addr, usize> {
    let mut sources = BTreeMap::new();
    for way in ways.values() {
        if let UnderlayPath::OnLink {
            source: IpAddr::V4(source),
            ..
        } = way
        {
            *sources.entry(*source).or_default() += 1;
        }
    }
    sources
}

/// Whether a peer is on the link that has this address.
fn serves(own: &HostAddress, ways: &BTreeMap<IpAddr, UnderlayPath>) -> bool {
    ways.iter().any(|(peer, way)| {
        matches!(way, UnderlayPath::OnLink { ifname, .. }
            if *ifname == own.ifname || own.address.contains(*peer))
    })
}

/// The entries of an address: one for each interface that has it.
fn holders(addresses: &[HostAddress], ip: Ipv4Addr) -> impl Iterator<Item = &HostAddress> {
    addresses
        .iter()
        .filter(move |found| found.address.ip() == IpAddr::V4(ip))
}

fn has(addresses: &[HostAddress], ip: Ipv4Addr) -> bool {
    holders(addresses, ip).next().is_some()
}

/// The interface that has the address which peers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The address.
    pub address: Ipv4Addr,
    /// The number of the interface that has it.
    pub index: IfIndex,
    /// The interface.
    pub ifname: IfName,
    /// The interface's link-layer address.
    pub mac: MacAddr,
}

/// The interface that has the address which peers are told; `None` while it is on no link with
/// link-layer addresses.
#[must_use]
pub fn seat(told: Ipv4Addr, addresses: &[HostAddress]) -> Option<Seat> {
    let found = holders(addresses, told).find(|found| found.up && found.global)?;
    Some(Seat {
        address: told,
        index: found.index,
        ifname: found.ifname.clone(),
        mac: found.mac?,
    })
}

/// No interface of the host has the address that peers are told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "advertised address {told}: no interface of this host has it; it has {}",
    List(others)
)]
pub struct Lost {
    /// The address.
    pub told: Ipv4Addr,
    /// The addresses by which peers could reach the host, with their interfaces.
    pub others: Vec<(Ipv4Addr, IfName)>,
}

/// Whether the host has lost the address that peers are told.
#[must_use]
pub fn lost(told: Ipv4Addr, range: Range, addresses: &[HostAddress]) -> Option<Lost> {
    (!has(addresses, told)).then(|| Lost {
        told,
        others: candidates(&within(range, addresses)),
    })
}

/// Addresses with their interfaces, for people.
#[derive(Debug)]
pub struct List<'a>(pub &'a [(Ipv4Addr, IfName)]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (number, (ip, ifname)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{ip} ({ifname})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
