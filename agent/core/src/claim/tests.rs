//! The machine on its own: a founder, and what gossip shows it.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use podnet_proto::gossip::{Key, Want, WantKind, decode};
use podnet_proto::ledger::{Decided, Ledger, Settings};
use podnet_proto::network::BlockIndex;
use podnet_proto::{Boot, ClusterId, Instance, NodeId, PodNetwork};

use super::{ClaimState, Durable, Identity, Machine, Muted, Outcome};
use crate::time::Moment;
use crate::view::{RawEntry, Reader, View};

pub(super) fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

pub(super) fn at(millis: u64) -> Moment {
    Moment::after_start(Duration::from_millis(millis))
}

fn identity(n: u8, boot: u64) -> Identity {
    Identity {
        node: node(n),
        boot: Boot(boot),
        instance: Instance(boot * 1000 + u64::from(n)),
    }
}

/// Two blocks; node 1 has the first, with boot 10.
pub(super) fn genesis() -> Decided {
    Ledger::genesis(
        ClusterId::from_bytes([7; 16]),
        vec![PodNetwork::parse("10.0.0.0/23", 24).unwrap()],
        Settings::default(),
        node(1),
        Boot(10),
    )
}

/// A machine, and what it published last.
pub(super) struct Host {
    pub(super) machine: Machine,
    identity: Identity,
    pub(super) keys: BTreeMap<Key, String>,
}

impl Host {
    pub(super) fn new(n: u8, boot: u64, durable: Durable) -> Self {
        let identity = identity(n, boot);
        Self {
            machine: Machine::new(identity, durable, 1),
            identity,
            keys: BTreeMap::new(),
        }
    }

    pub(super) fn founder() -> Self {
        let identity = identity(1, 10);
        Self {
            machine: Machine::of_new_member(identity, Durable::founder(genesis()), 1),
            ..Self::new(1, 10, Durable::founder(genesis()))
        }
    }

    pub(super) fn joiner(n: u8) -> Self {
        let genesis = genesis();
        Self::new(
            n,
            u64::from(n) * 10,
            Durable::joiner(genesis.cluster, genesis.checkpoint()),
        )
    }

    pub(super) fn step(&mut self, millis: u64, view: &View) -> Outcome {
        let outcome = self.machine.step(at(millis), view);
        self.keys = outcome.keys.clone();
        outcome
    }

    pub(super) fn entry(&self, live: bool) -> RawEntry {
        RawEntry {
            node: self.identity.node,
            address: SocketAddrV4::new([192, 0, 2, 1].into(), 1),
            live,
            last_seen: None,
            values: self.keys.clone().into(),
        }
    }

    pub(super) fn want(&self) -> Option<Want> {
        decode(&self.keys[&Key::Want]).unwrap()
    }
}

pub(super) fn view(millis: u64, hosts: &[&Host]) -> View {
    let entries = hosts.iter().map(|host| host.entry(true)).collect();
    Reader::default().read(at(millis), entries)
}

/// Lets the hosts step in turn until none changes what it publishes.
pub(super) fn settle(millis: u64, hosts: &mut [&mut Host]) {
    for _ in 0..20 {
        let before: Vec<_> = hosts.iter().map(|host| host.keys.clone()).collect();
        for number in 0..hosts.len() {
            let all: Vec<&Host> = hosts.iter().map(|host| &**host).collect();
            let view = view(millis, &all);
            hosts[number].step(millis, &view);
        }
        if hosts.iter().map(|host| &host.keys).eq(&before) {
            return;
        }
    }
    panic!("the hosts do not settle");
}

#[test]
fn the_founder_uses_its_block_alone_and_at_once() {
    let mut founder = Host::founder();
    let outcome = founder.step(0, &View::default());
    assert_eq!(outcome.state, ClaimState::Using);
    assert_eq!(outcome.using, Some(BlockIndex(0)));
    assert!(!outcome.persist, "nothing new");
    assert_eq!(founder.want(), None);
    assert!(!founder.keys[&Key::Snap].is_empty() && !founder.keys[&Key::Acc].is_empty());
}

#[test]
fn a_joiner_gets_a_block_in_one_step_of_the_founder() {
    let (mut founder, mut joiner) = (Host::founder(), Host::joiner(2));
    let outcome = joiner.step(0, &View::default());
    assert_eq!((outcome.state, outcome.using), (ClaimState::New, None));
    let seen = view(1, &[&joiner]);
    let outcome = founder.step(1, &seen);
    assert!(outcome.persist && outcome.nudge.peers.contains(&node(2)));
    let seen = view(2, &[&founder]);
    let outcome = joiner.step(2, &seen);
    assert_eq!(outcome.using, Some(BlockIndex(1)));
    assert_eq!(outcome.state, ClaimState::Using);
    assert!(
        outcome.persist,
        "the ledger is on disk before its block is used"
    );
    assert_eq!(joiner.want(), None);
    assert_eq!(joiner.machine.ledger(), founder.machine.ledger());
}

/// In a larger one only the voters do; chance and the rounds of gossip spread the word.
#[test]
fn a_small_cluster_hears_of_a_new_block_at_once() {
    for (bystanders, told) in [(2, vec![node(1), node(3), node(4)]), (3, vec![node(1)])] {
        let (mut founder, mut joiner) = (Host::founder(), Host::joiner(2));
        joiner.step(0, &View::default());
        founder.step(1, &view(1, &[&joiner]));
        let others: Vec<Host> = (3..3 + bystanders).map(Host::joiner).collect();
        let seen: Vec<&Host> = std::iter::once(&founder).chain(&others).collect();
        let outcome = joiner.step(2, &view(2, &seen));
        assert!(outcome.using.is_some());
        assert_eq!(outcome.nudge.peers.into_iter().collect::<Vec<_>>(), told);
        assert!(outcome.nudge.random > 0);
    }
}

#[test]
fn a_full_network_lets_the_want_wait_until_a_block_is_freed() {
    let (mut founder, mut second, mut third) = (Host::founder(), Host::joiner(2), Host::joiner(3));
    settle(0, &mut [&mut founder, &mut second]);
    settle(1, &mut [&mut founder, &mut second, &mut third]);
    let outcome = third.step(2, &view(2, &[&founder]));
    let full = ClaimState::Want {
        full: true,
        quorum: true,
    };
    assert_eq!((outcome.state, outcome.using), (full, None));
    second.machine.leave();
    settle(3, &mut [&mut founder, &mut second, &mut third]);
    let outcome = third.step(4, &view(4, &[&founder]));
    assert_eq!(outcome.using, Some(BlockIndex(1)));
    let outcome = second.step(4, &view(4, &[&founder]));
    assert_eq!((outcome.state, outcome.using), (ClaimState::Gone, None));
}

#[test]
fn leaving_is_on_disk_before_the_release_is_asked_for() {
    let (mut founder, mut joiner) = (Host::founder(), Host::joiner(2));
    settle(0, &mut [&mut founder, &mut joiner]);
    joiner.machine.leave();
    let outcome = joiner.step(1, &view(1, &[&founder]));
    assert!(outcome.persist);
    assert_eq!(joiner.machine.durable().leaving, Some(Boot(20)));
    assert_eq!((outcome.state, outcome.using), (ClaimState::Leaving, None));
    assert_eq!(joiner.want().unwrap().want, WantKind::Release);
}

#[test]
fn a_restarted_agent_uses_its_block_with_nobodys_help_and_a_rebooted_host_asks() {
    let (mut founder, mut joiner) = (Host::founder(), Host::joiner(2));
    settle(0, &mut [&mut founder, &mut joiner]);
    let durable = joiner.machine.durable().clone();
    let mut restarted = Host::new(2, 20, durable.clone());
    assert_eq!(
        restarted.step(0, &View::default()).using,
        Some(BlockIndex(1))
    );

    let mut rebooted = Host::new(2, 21, durable);
    let outcome = rebooted.step(9000, &View::default());
    assert_eq!(outcome.muted, Some(Muted::Listening), "for a clone");
    assert_eq!(rebooted.want(), None);
    let outcome = rebooted.step(12_000, &View::default());
    assert_eq!(outcome.muted, None);
    let stranded = ClaimState::Want {
        full: false,
        quorum: false,
    };
    assert_eq!((outcome.state, outcome.using), (stranded, None));
    settle(12_001, &mut [&mut founder, &mut rebooted]);
    let outcome = rebooted.step(12_002, &view(12_002, &[&founder]));
    assert_eq!(outcome.using, Some(BlockIndex(1)), "the same block again");
}

#[test]
fn a_rebooted_founder_registers_its_own_boot() {
    let mut founder = Host::new(1, 11, Durable::founder(genesis()));
    assert_eq!(founder.step(0, &View::default()).using, None);
    let outcome = founder.step(3000, &View::default());
    assert_eq!(outcome.using, Some(BlockIndex(0)));
    assert!(outcome.persist);
}

#[test]
fn the_wish_of_an_earlier_boot_is_not_granted_any_more() {
    let (mut founder, mut joiner) = (Host::founder(), Host::joiner(2));
    joiner.step(0, &View::default());
    let early = joiner.entry(true);
    settle(1, &mut [&mut founder, &mut joiner]);
    let mut rebooted = Host::new(2, 21, joiner.machine.durable().clone());
    settle(2, &mut [&mut founder, &mut rebooted]);
    settle(3002, &mut [&mut founder, &mut rebooted]);
    let slot = founder.machine.ledger().unwrap().slot;
    assert_eq!(slot, 2);
    founder.step(3003, &Reader::default().read(at(3003), vec![early]));
    assert_eq!(founder.machine.ledger().unwrap().slot, slot);
}

#[test]
fn a_founder_alone_may_go_and_one_with_members_may_not() {
    let mut founder = Host::founder();
    assert!(!founder.machine.is_last_voter());
    let mut joiner = Host::joiner(2);
    settle(0, &mut [&mut founder, &mut joiner]);
    assert!(founder.machine.is_last_voter());
    founder.machine.leave();
    settle(1, &mut [&mut founder, &mut joiner]);
    let outcome = founder.step(2, &view(2, &[&joiner]));
    assert_eq!((outcome.state, outcome.using), (ClaimState::Leaving, None));

    let mut alone = Host::founder();
    alone.machine.leave();
    let outcome = alone.step(0, &View::default());
    assert!(outcome.persist);
    assert_eq!(outcome.state, ClaimState::Gone);
}

#[test]
fn nobody_joins_a_cluster_whose_only_member_leaves() {
    let (mut founder, mut joiner) = (Host::founder(), Host::joiner(2));
    founder.machine.leave();
    settle(0, &mut [&mut founder, &mut joiner]);
    assert_eq!(founder.machine.ledger().unwrap().slot, 0);
    let outcome = founder.step(1, &view(1, &[&joiner]));
    assert_eq!(outcome.state, ClaimState::Gone);
}

#[test]
fn nobody_joins_a_cluster_whose_only_member_is_about_to_leave() {
    let (mut founder, mut joiner) = (Host::founder(), Host::joiner(2));
    founder.machine.depart();
    let outcome = founder.step(0, &View::default());
    assert!(outcome.persist && outcome.using.is_some());
    let mut founder = Host::new(1, 10, founder.machine.durable().clone());
    settle(1, &mut [&mut founder, &mut joiner]);
    assert_eq!(founder.machine.ledger().unwrap().slot, 0);
    founder.machine.stay();
    settle(3001, &mut [&mut founder, &mut joiner]);
    assert_eq!(founder.machine.ledger().unwrap().slot, 1);
}

#[test]
fn a_boot_that_stays_takes_back_what_an_earlier_one_asked_for() {
    let mut founder = Host::founder();
    founder.machine.leave();
    founder.machine.stay();
    assert!(founder.machine.durable().is_departing());
    let mut rebooted = Host::new(1, 11, founder.machine.durable().clone());
    assert!(rebooted.machine.durable().is_departing());
    rebooted.machine.stay();
    assert!(!rebooted.machine.durable().is_departing());
}

#[test]
fn another_boot_in_the_ledger_makes_a_duplicate_for_ever() {
    let (mut founder, mut joiner) = (Host::founder(), Host::joiner(2));
    settle(0, &mut [&mut founder, &mut joiner]);
    let mut clone = Host::new(2, 29, joiner.machine.durable().clone());
    settle(1, &mut [&mut founder, &mut clone]);
    settle(3001, &mut [&mut founder, &mut clone]);
    let outcome = joiner.step(2, &view(2, &[&founder]));
    assert_eq!((outcome.state, outcome.using), (ClaimState::Dup, None));
    assert!(outcome.persist && joiner.want().is_none());
    let mut again = Host::new(2, 20, joiner.machine.durable().clone());
    assert_eq!(again.step(0, &View::default()).state, ClaimState::Dup);
}

#[test]
fn ledgers_that_cannot_be_true_are_refused() {
    let spoil: [fn(&mut Ledger); 5] = [
        |ledger| ledger.cluster = ClusterId::from_bytes([8; 16]),
        |ledger| ledger.voters.push(node(2)),
        |ledger| _ = ledger.blocks.insert(BlockIndex(2), node(1)),
        |ledger| _ = ledger.boots.insert(node(1), Boot(66)),
        |ledger| (ledger.slot, ledger.previous) = (1, ledger.previous),
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let ledger = genesis().changed(spoil);
        let mut liar = Host::new(1, 10, Durable::founder(ledger));
        liar.step(0, &View::default());
        let mut lie = liar.entry(true);
        let mut member = Host::founder();
        let outcome = member.step(1, &Reader::default().read(at(1), vec![lie.clone()]));
        assert_eq!(outcome.refused, [node(1)].into(), "{number}");
        assert_eq!(member.machine.ledger(), Some(&genesis()), "{number}");
        lie.node = node(3);
        let outcome = member.step(2, &Reader::default().read(at(2), vec![lie]));
        assert!(outcome.refused.is_empty(), "{number}: of no voter");
        assert_eq!(member.machine.ledger(), Some(&genesis()), "{number}");
    }
}

#[test]
fn a_joiner_adopts_no_ledger_before_its_checkpoint() {
    let (mut founder, mut joiner) = (Host::founder(), Host::joiner(2));
    founder.step(0, &View::default());
    let early = founder.entry(true);
    settle(1, &mut [&mut founder, &mut joiner]);
    let checkpoint = founder.machine.ledger().unwrap().checkpoint();
    let mut late = Host::new(3, 30, Durable::joiner(genesis().cluster, checkpoint));
    let outcome = late.step(2, &Reader::default().read(at(2), vec![early]));
    assert_eq!(outcome.state, ClaimState::New);
    late.step(3, &view(3, &[&founder]));
    assert_eq!(late.machine.ledger(), founder.machine.ledger());
}

#[test]
fn a_burst_of_joins_takes_few_slots() {
    let networks = vec![PodNetwork::parse("10.0.0.0/16", 24).unwrap()];
    let ledger = genesis().changed(|ledger| ledger.networks = networks);
    let mut founder = Host::new(1, 10, Durable::founder(ledger.clone()));
    let mut joiners: Vec<Host> = (2..=250)
        .map(|n| {
            let durable = Durable::joiner(ledger.cluster, ledger.checkpoint());
            Host::new(n, u64::from(n) * 10, durable)
        })
        .collect();
    for joiner in &mut joiners {
        joiner.step(0, &View::default());
    }
    founder.step(0, &View::default());
    let seen = view(3001, &joiners.iter().collect::<Vec<_>>());
    let outcome = founder.step(3001, &seen);
    assert_eq!(founder.machine.ledger().unwrap().slot, 4);
    assert_eq!(founder.machine.ledger().unwrap().blocks.len(), 250);
    assert_eq!(outcome.nudge.peers.len(), 8);
    for joiner in &mut joiners {
        joiner.step(3002, &view(3002, &[&founder]));
        assert!(joiner.machine.ledger() == founder.machine.ledger());
    }
}

/// Gossip carries no longer value: the others keep what they were shown before, and the node says so.
#[test]
fn a_record_that_is_too_long_is_reported_and_what_was_said_before_stands() {
    let mut founder = Host::founder();
    let said = founder.step(0, &View::default());
    assert_eq!(said.unsaid, BTreeMap::new());
    let ledger = genesis().changed(|ledger| {
        for n in 0..2000_u16 {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            id[15] = 9;
            let boot = Boot(u64::from(n));
            ledger.boots.insert(NodeId::from_bytes(id), boot);
        }
    });
    let mut grown = Host {
        machine: Machine::of_new_member(identity(1, 10), Durable::founder(ledger), 1),
        ..Host::founder()
    };
    for millis in [0, 1000] {
        let silent = grown.step(millis, &View::default());
        let keys: Vec<Key> = silent.unsaid.keys().copied().collect();
        assert_eq!(keys, [Key::Snap]);
        assert!(silent.unsaid[&Key::Snap].contains("bytes"), "{silent:?}");
        assert_eq!(silent.keys[&Key::Use], said.keys[&Key::Use]);
        assert_eq!(silent.keys[&Key::Snap], "", "nothing was said before");
    }
}
