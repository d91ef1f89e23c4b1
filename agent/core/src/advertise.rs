//! Which of the host's addresses peers are told, when those that the host has change.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::host::candidates;
use crate::kernel::{HostAddress, IfIndex, IfName, MacAddr, UnderlayPath};
use crate::time::Moment;

/// How long an address has to stand from which the peers are reached. Tools that configure networks
/// take addresses away to put them back.
const SETTLE: Duration = Duration::from_millis(500);

/// The same for an address that nothing speaks for but that no other is left. Interfaces come up
/// one after the other, and the one that peers reach may be late.
const SETTLE_GUESS: Duration = Duration::from_secs(10);

/// What is known of the host's addresses.
#[derive(Debug, Clone, Copy)]
pub struct Underlay<'a> {
    /// Those that it has.
    pub addresses: &'a [HostAddress],
    /// How the peers are reached.
    pub ways: &'a BTreeMap<IpAddr, UnderlayPath>,
}

/// What is to become of the address that peers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Stays,
    /// Another one is to take its place, if it still is to then.
    Waits(Moment),
    /// This one takes its place.
    Becomes(Ipv4Addr),
}

/// Follows the address by which peers reach this host.
///
/// The one that they are told stays as long as the host has it on an interface that is up: a change
/// costs every peer a new route, and two nodes with two links between them could chase each other
/// from one to the other. Else the one takes its place from which the kernel reaches the most peers
/// on their link; or, as a guess, the only one that there is.
#[derive(Debug, Default)]
pub struct Follower {
    /// What is to take its place, and since when.
    successor: Option<(Successor, Moment)>,
    /// The one that peers are told was a guess: it stays until a better one shows.
    guessed: bool,
}

/// An address that should take the place of the one that peers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Successor {
    address: Ipv4Addr,
    guessed: bool,
}

impl Successor {
    /// How long it has to stand.
    const fn settle(self) -> Duration {
        if self.guessed { SETTLE_GUESS } else { SETTLE }
    }
}

impl Follower {
    /// Judges the address that peers are told.
    pub fn judge(&mut self, now: Moment, told: Ipv4Addr, underlay: Underlay<'_>) -> Verdict {
        let Some(successor) = successor(told, self.guessed, underlay) else {
            self.successor = None;
            return Verdict::Stays;
        };
        let since = match self.successor {
            Some((same, since)) if same == successor => since,
            Some(_) | None => now,
        };
        self.successor = Some((successor, since));
        let due = since + successor.settle();
        if now < due {
            return Verdict::Waits(due);
        }
        self.successor = None;
        self.guessed = successor.guessed;
        Verdict::Becomes(successor.address)
    }
}

fn successor(told: Ipv4Addr, guessed: bool, underlay: Underlay<'_>) -> Option<Successor> {
    let sources = sources(underlay.ways);
    if sources.is_empty() {
        return match candidates(underlay.addresses)[..] {
            [(only, _)] if !has(underlay.addresses, told) => Some(Successor {
                address: only,
                guessed: true,
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
    // Where as many peers are reached from another, nothing speaks for either.
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

/// Whether a peer that is on a link of this host is on the one of this address.
fn serves(own: &HostAddress, ways: &BTreeMap<IpAddr, UnderlayPath>) -> bool {
    ways.iter().any(|(peer, way)| {
        matches!(way, UnderlayPath::OnLink { device, .. }
            if *device == own.index || own.address.contains(*peer))
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

/// Where on a link the address is that peers are told.
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

/// Where the address is that peers are told; `None` while it is on no link with link-layer
/// addresses.
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
    /// Those by which peers could reach the host, with their interfaces.
    pub others: Vec<(Ipv4Addr, IfName)>,
}

/// Whether the host has lost the address that peers are told.
#[must_use]
pub fn lost(told: Ipv4Addr, addresses: &[HostAddress]) -> Option<Lost> {
    (!has(addresses, told)).then(|| Lost {
        told,
        others: candidates(addresses),
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
mod tests {
    use super::*;
    use crate::kernel::Mtu;

    const ETH0: IfIndex = IfIndex(2);
    const ETH1: IfIndex = IfIndex(3);
    const TOLD: Ipv4Addr = ip(11);

    const fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, last)
    }

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    fn address(text: &str, index: IfIndex) -> HostAddress {
        HostAddress {
            address: text.parse().unwrap(),
            index,
            ifname: format!("eth{}", index.0 - ETH0.0).parse().unwrap(),
            mac: Some(MacAddr([2, 0, 0, 0, 0, index.0.to_be_bytes()[3]])),
            mtu: Mtu(1500),
            up: true,
            global: true,
        }
    }

    fn on_link(peer: u8, device: IfIndex, source: Ipv4Addr) -> (IpAddr, UnderlayPath) {
        let way = UnderlayPath::OnLink {
            device,
            ifname: "eth".parse().unwrap(),
            mtu: Mtu(1500),
            source: source.into(),
        };
        (ip(peer).into(), way)
    }

    fn routed(peer: u8, source: Ipv4Addr) -> (IpAddr, UnderlayPath) {
        let via = Ipv4Addr::new(203, 0, 113, 1).into();
        let source = source.into();
        (ip(peer).into(), UnderlayPath::Routed { via, source })
    }

    fn judged(addresses: &[HostAddress], ways: &[(IpAddr, UnderlayPath)]) -> Option<Ipv4Addr> {
        let ways = ways.iter().cloned().collect();
        let underlay = Underlay {
            addresses,
            ways: &ways,
        };
        successor(TOLD, false, underlay).map(|successor| successor.address)
    }

    #[test]
    fn an_address_that_the_host_has_stays() {
        let own = address("192.0.2.11/24", ETH0);
        let other = address("192.0.2.50/24", ETH0);
        let ways = [on_link(12, ETH0, TOLD)];
        assert_eq!(judged(&[own.clone(), other.clone()], &ways), None);
        // Another source is preferred; peers reach the one that they were told all the same.
        let ways = [on_link(12, ETH0, ip(50))];
        assert_eq!(judged(&[own.clone(), other], &ways), None);
        // The peer told its address on another link between the two.
        let second = address("198.51.100.7/24", ETH1);
        let ways = [on_link(12, ETH1, Ipv4Addr::new(198, 51, 100, 7))];
        assert_eq!(judged(&[own.clone(), second], &ways), None);
        // Of peers there is no trace, or they are behind a router.
        let elsewhere = address("203.0.113.7/24", ETH1);
        let ways = [routed(12, Ipv4Addr::new(203, 0, 113, 7))];
        assert_eq!(judged(&[own.clone(), elsewhere.clone()], &ways), None);
        assert_eq!(judged(&[own, elsewhere], &[]), None);
    }

    #[test]
    fn the_address_from_which_peers_are_reached_takes_the_place() {
        let new = address("192.0.2.21/24", ETH0);
        let elsewhere = address("203.0.113.7/24", ETH1);
        let ways = [on_link(12, ETH0, ip(21)), on_link(13, ETH0, ip(21))];
        assert_eq!(judged(&[new.clone(), elsewhere], &ways), Some(ip(21)));
        // A peer with an address that nobody has any more has no say against the others.
        let stale = address("198.51.100.7/24", ETH1);
        let third = on_link(14, ETH1, Ipv4Addr::new(198, 51, 100, 7));
        let most = [ways[0].clone(), ways[1].clone(), third.clone()];
        assert_eq!(judged(&[new.clone(), stale.clone()], &most), Some(ip(21)));
        let tie = [ways[0].clone(), third];
        assert_eq!(judged(&[new, stale], &tie), None, "either might");
    }

    #[test]
    fn an_interface_that_is_down_serves_nobody() {
        let mut own = address("192.0.2.11/24", ETH0);
        own.up = false;
        let second = address("192.0.2.21/24", ETH1);
        let ways = [on_link(12, ETH1, ip(21))];
        assert_eq!(judged(&[own.clone(), second], &ways), Some(ip(21)));
        // One that comes back is worth waiting for, where nothing better is known.
        let elsewhere = address("203.0.113.7/24", ETH1);
        assert_eq!(judged(&[own, elsewhere], &[]), None);
    }

    #[test]
    fn a_guess_gives_way_to_what_peers_are_reached_from() {
        let guess = Ipv4Addr::new(203, 0, 113, 7);
        let elsewhere = address("203.0.113.7/24", ETH0);
        let nobody = BTreeMap::new();
        let mut follower = Follower::default();
        let alone = Underlay {
            addresses: std::slice::from_ref(&elsewhere),
            ways: &nobody,
        };
        assert_eq!(
            follower.judge(at(0), TOLD, alone),
            Verdict::Waits(at(10_000))
        );
        assert_eq!(
            follower.judge(at(10_000), TOLD, alone),
            Verdict::Becomes(guess)
        );
        assert_eq!(follower.judge(at(11_000), guess, alone), Verdict::Stays);
        let addresses = [elsewhere, address("192.0.2.11/24", ETH1)];
        let ways = BTreeMap::from([on_link(12, ETH1, TOLD)]);
        let back = Underlay {
            addresses: &addresses,
            ways: &ways,
        };
        assert_eq!(
            follower.judge(at(12_000), guess, back),
            Verdict::Waits(at(12_500))
        );
        assert_eq!(
            follower.judge(at(12_500), guess, back),
            Verdict::Becomes(TOLD)
        );
        assert_eq!(follower.judge(at(13_000), TOLD, back), Verdict::Stays);
    }

    #[test]
    fn without_peers_on_the_link_only_the_last_address_is_taken() {
        let new = address("198.51.100.21/24", ETH0);
        let another = address("203.0.113.7/24", ETH1);
        let mut docker = address("172.17.0.1/16", ETH1);
        docker.ifname = "docker0".parse().unwrap();
        let only = Some(Ipv4Addr::new(198, 51, 100, 21));
        assert_eq!(judged(&[new.clone(), docker], &[]), only);
        assert_eq!(judged(&[new.clone(), another], &[]), None, "either might");
        assert_eq!(judged(&[], &[]), None);
        let ways = [routed(12, Ipv4Addr::new(198, 51, 100, 21))];
        assert_eq!(judged(std::slice::from_ref(&new), &ways), only);
        // Two nodes that swap their addresses.
        let local = (ip(12).into(), UnderlayPath::Local);
        assert_eq!(judged(&[new], &[local]), only);
    }

    #[test]
    fn a_change_has_to_stand_for_a_while() {
        let mut follower = Follower::default();
        let old = [address("192.0.2.11/24", ETH0)];
        let new = [address("192.0.2.21/24", ETH0)];
        let newer = [address("192.0.2.31/24", ETH0)];
        let mut judge = |millis, addresses: &[HostAddress]| {
            let source = match addresses[0].address.ip() {
                IpAddr::V4(source) => source,
                IpAddr::V6(_) => unreachable!(),
            };
            let ways = BTreeMap::from([on_link(12, ETH0, source)]);
            let underlay = Underlay {
                addresses,
                ways: &ways,
            };
            follower.judge(at(millis), TOLD, underlay)
        };
        assert_eq!(judge(0, &new), Verdict::Waits(at(500)));
        assert_eq!(judge(400, &new), Verdict::Waits(at(500)));
        assert_eq!(judge(450, &old), Verdict::Stays, "it is back");
        assert_eq!(judge(460, &new), Verdict::Waits(at(960)));
        assert_eq!(judge(900, &newer), Verdict::Waits(at(1400)));
        assert_eq!(judge(1400, &newer), Verdict::Becomes(ip(31)));
    }

    #[test]
    fn an_address_is_where_an_interface_is_up() {
        let mut down = address("192.0.2.11/24", ETH0);
        down.up = false;
        let up = address("192.0.2.11/24", ETH1);
        let other = address("192.0.2.12/24", ETH0);
        let found = seat(TOLD, &[other, down.clone(), up]).unwrap();
        assert_eq!((found.index, found.address), (ETH1, TOLD));
        assert_eq!(seat(TOLD, &[down]), None);
        // A tunnel has no neighbours that would have to be told.
        let mut tunnel = address("192.0.2.11/32", ETH0);
        tunnel.mac = None;
        assert_eq!(seat(TOLD, &[tunnel]), None);
    }

    #[test]
    fn a_lost_address_is_told_with_what_there_is_instead() {
        let addresses = [
            address("198.51.100.21/24", ETH0),
            address("203.0.113.7/24", ETH1),
        ];
        assert_eq!(
            lost(TOLD, &addresses).unwrap().to_string(),
            "advertised address 192.0.2.11: no interface of this host has it; it has \
             198.51.100.21 (eth0), 203.0.113.7 (eth1)"
        );
        assert!(lost(TOLD, &[]).unwrap().to_string().ends_with("has none"));
        assert_eq!(lost(ip(7), &[address("192.0.2.7/24", ETH0)]), None);
    }
}
