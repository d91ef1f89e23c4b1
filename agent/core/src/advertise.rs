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
const SETTLE_UNPROVEN: Duration = Duration::from_secs(10);

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
/// The one that they are told stays as long as the host has it and it serves: a change costs every
/// peer a new route. Where it does not, the one takes its place from which the kernel reaches the
/// most peers on their link; or the only one that there is.
#[derive(Debug, Default)]
pub struct Follower {
    /// What is to take its place, and since when.
    successor: Option<(Ipv4Addr, Moment)>,
}

impl Follower {
    /// Judges the address that peers are told.
    pub fn judge(&mut self, now: Moment, told: Ipv4Addr, underlay: Underlay<'_>) -> Verdict {
        let Some((successor, settle)) = successor(told, underlay) else {
            self.successor = None;
            return Verdict::Stays;
        };
        let since = match self.successor {
            Some((same, since)) if same == successor => since,
            Some(_) | None => now,
        };
        self.successor = Some((successor, since));
        let due = since + settle;
        if now < due {
            return Verdict::Waits(due);
        }
        self.successor = None;
        Verdict::Becomes(successor)
    }
}

/// The address that should take the place of the one that peers are told, and how long that has to
/// be so.
fn successor(told: Ipv4Addr, underlay: Underlay<'_>) -> Option<(Ipv4Addr, Duration)> {
    let has = |ip: Ipv4Addr| has(underlay.addresses, ip);
    let sources = sources(underlay.ways);
    if sources.is_empty() {
        return match candidates(underlay.addresses)[..] {
            [(only, _)] if !has(told) => Some((only, SETTLE_UNPROVEN)),
            [..] => None,
        };
    }
    let of_told = |found: &&HostAddress| found.address.ip() == IpAddr::V4(told);
    if underlay
        .addresses
        .iter()
        .filter(of_told)
        .any(|found| serves(found, underlay.ways))
    {
        return None;
    }
    let most = sources.values().max().copied();
    let mut best = sources
        .into_iter()
        .filter(|(source, count)| Some(*count) == most && has(*source));
    let (source, _) = best.next()?;
    // Where as many peers are reached from another, nothing speaks for either.
    best.next().is_none().then_some((source, SETTLE))
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
    own.up
        && ways.iter().any(|(peer, way)| {
            matches!(way, UnderlayPath::OnLink { device, .. }
                if *device == own.index || own.address.contains(*peer))
        })
}

fn has(addresses: &[HostAddress], ip: Ipv4Addr) -> bool {
    addresses
        .iter()
        .any(|found| found.address.ip() == IpAddr::V4(ip))
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
    let on_link = |found: &&HostAddress| found.up && found.global;
    let mut has_it = addresses
        .iter()
        .filter(|found| found.address.ip() == IpAddr::V4(told));
    let found = has_it.find(on_link)?;
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
        successor(TOLD, underlay).map(|(ip, _)| ip)
    }

    #[test]
    fn an_address_that_serves_stays() {
        let own = address("192.0.2.11/24", ETH0);
        let other = address("192.0.2.50/24", ETH0);
        let ways = [on_link(12, ETH0, TOLD)];
        assert_eq!(judged(&[own.clone(), other.clone()], &ways), None);
        // Another source is preferred; peers reach the one that they were told all the same.
        let ways = [on_link(12, ETH0, ip(50))];
        assert_eq!(judged(&[own.clone(), other], &ways), None);
        // The link is reached by another interface of its.
        let second = address("192.0.2.21/24", ETH1);
        let ways = [on_link(12, ETH1, ip(21))];
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
    fn the_way_back_from_an_address_that_serves_nobody_is_found() {
        let behind = Ipv4Addr::new(203, 0, 113, 7);
        let addresses = [
            address("203.0.113.7/24", ETH0),
            address("192.0.2.11/24", ETH1),
        ];
        let ways = BTreeMap::from([on_link(12, ETH1, TOLD)]);
        let underlay = Underlay {
            addresses: &addresses,
            ways: &ways,
        };
        assert_eq!(successor(behind, underlay), Some((TOLD, SETTLE)));
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
