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

fn name(index: IfIndex) -> IfName {
    format!("eth{}", index.0 - ETH0.0).parse().unwrap()
}

fn address(text: &str, index: IfIndex) -> HostAddress {
    HostAddress {
        address: text.parse().unwrap(),
        index,
        ifname: name(index),
        mac: Some(MacAddr([2, 0, 0, 0, 0, index.0.to_be_bytes()[3]])),
        mtu: Mtu(1500),
        up: true,
        global: true,
        uplink: false,
    }
}

fn on_link(peer: u8, device: IfIndex, source: Ipv4Addr) -> (IpAddr, UnderlayPath) {
    let way = UnderlayPath::OnLink {
        ifname: name(device),
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
        Succession::Waits(at(10_000))
    );
    assert_eq!(
        follower.judge(at(10_000), TOLD, alone),
        Succession::Becomes(guess)
    );
    assert_eq!(follower.judge(at(11_000), guess, alone), Succession::Stays);
    let addresses = [elsewhere, address("192.0.2.11/24", ETH1)];
    let ways = BTreeMap::from([on_link(12, ETH1, TOLD)]);
    let back = Underlay {
        addresses: &addresses,
        ways: &ways,
    };
    assert_eq!(
        follower.judge(at(12_000), guess, back),
        Succession::Waits(at(12_500))
    );
    assert_eq!(
        follower.judge(at(12_500), guess, back),
        Succession::Becomes(TOLD)
    );
    assert_eq!(follower.judge(at(13_000), TOLD, back), Succession::Stays);
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
    assert_eq!(
        judged(&[new], &[(ip(12).into(), UnderlayPath::Local)]),
        only
    );
}

#[test]
fn the_address_that_a_peer_had_is_no_guess() {
    let swapped = address("192.0.2.12/24", ETH0);
    let ways = BTreeMap::from([(ip(12).into(), UnderlayPath::Local)]);
    let underlay = Underlay {
        addresses: std::slice::from_ref(&swapped),
        ways: &ways,
    };
    let verdict = Follower::default().judge(at(0), TOLD, underlay);
    assert_eq!(verdict, Succession::Waits(at(500)));
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
    assert_eq!(judge(0, &new), Succession::Waits(at(500)));
    assert_eq!(judge(400, &new), Succession::Waits(at(500)));
    assert_eq!(judge(450, &old), Succession::Stays, "it is back");
    assert_eq!(judge(460, &new), Succession::Waits(at(960)));
    assert_eq!(judge(900, &newer), Succession::Waits(at(1400)));
    assert_eq!(judge(1400, &newer), Succession::Becomes(ip(31)));
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
        lost(TOLD, Range::default(), &addresses)
            .unwrap()
            .to_string(),
        "advertised address 192.0.2.11: no interface of this host has it; it has \
         198.51.100.21 (eth0), 203.0.113.7 (eth1)"
    );
    assert!(
        lost(TOLD, Range::default(), &[])
            .unwrap()
            .to_string()
            .ends_with("has none")
    );
    let range = "203.0.113.0/24".parse().unwrap();
    let others = lost(TOLD, range, &addresses).unwrap().others;
    assert_eq!(others.len(), 1, "only one may be told: {others:?}");
    assert_eq!(
        lost(ip(7), Range::default(), &[address("192.0.2.7/24", ETH0)]),
        None
    );
}

#[test]
fn an_address_out_of_the_range_that_is_set_takes_no_place() {
    let nat = address("10.0.2.15/24", ETH0);
    let peers = on_link(12, ETH0, Ipv4Addr::new(10, 0, 2, 15));
    let only = Some(Ipv4Addr::new(10, 0, 2, 15));
    assert_eq!(judged(std::slice::from_ref(&nat), &[]), only);
    let new = address("192.0.2.21/24", ETH1);
    let range = "192.0.2.0/24".parse().unwrap();
    let may = within(range, &[nat.clone(), new.clone()]);
    assert_eq!(judged(&may, &[]), Some(ip(21)));
    assert_eq!(
        judged(&may, &[peers]),
        None,
        "it waits for one that may be told"
    );
    assert_eq!(within(range, std::slice::from_ref(&nat)), []);
    assert_eq!(
        within(Range::default(), &[nat.clone(), new.clone()]),
        [nat, new]
    );
}
