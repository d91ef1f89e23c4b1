//! The machine among liars: whatever the records say, it does not panic, and what it holds stays
//! sound.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use podnet_proto::gossip::{
    AccRecord, Key, PropRecord, Record, SnapRecord, UseRecord, Want, WantKind, encode,
};
use podnet_proto::ledger::{Acceptor, Ballot, Batch, Decided, Ledger, Operation, Settings};
use podnet_proto::network::BlockIndex;
use podnet_proto::{Boot, ClusterId, Instance, NodeId, PodNetwork};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::ledger::is_sound;
use super::{Durable, Identity, Machine};
use crate::time::Moment;
use crate::view::{RawEntry, Reader};

const EDGES: [u64; 6] = [0, 1, 2, 3, u64::MAX - 1, u64::MAX];

fn number() -> impl Strategy<Value = u64> {
    prop::sample::select(EDGES.to_vec())
}

fn node() -> impl Strategy<Value = NodeId> {
    (0..5u8).prop_map(|n| NodeId::from_bytes([n; 16]))
}

fn boot() -> impl Strategy<Value = Boot> {
    (0..4u64).prop_map(Boot)
}

fn block() -> impl Strategy<Value = BlockIndex> {
    prop::sample::select(vec![0, 1, 2, 3, 4, u16::MAX]).prop_map(BlockIndex)
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (number(), node(), number()).prop_map(|(round, node, instance)| Ballot {
        round,
        node,
        instance: Instance(instance),
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (node(), boot(), block()).prop_map(|(node, boot, index)| Operation::Join {
            node,
            boot,
            index
        }),
        (node(), boot()).prop_map(|(node, boot)| Operation::Release { node, boot }),
        Just(Operation::Set {
            settings: Settings::default()
        }),
    ]
}

fn batch() -> impl Strategy<Value = Batch> {
    vec(operation(), 0..=Batch::MAX + 2).prop_map(Batch::of)
}

fn genesis() -> Decided {
    let node = |n| NodeId::from_bytes([n; 16]);
    let genesis = Ledger::genesis(
        ClusterId::from_bytes([7; 16]),
        vec![PodNetwork::parse("10.0.0.0/22", 24).unwrap()],
        Settings::default(),
        node(0),
        Boot(0),
    );
    genesis.changed(|ledger| {
        for n in [1, 2] {
            ledger.voters.push(node(n));
            ledger.blocks.insert(BlockIndex(n.into()), node(n));
            ledger.boots.insert(node(n), Boot(0));
        }
    })
}

fn ledger() -> impl Strategy<Value = Decided> {
    let blocks = option::weighted(0.2, btree_map(block(), node(), 0..5));
    let boots = option::weighted(0.2, btree_map(node(), boot(), 0..5));
    let voters = option::weighted(0.2, vec(node(), 0..4));
    let freed = btree_map(block(), number(), 0..3);
    let released = option::weighted(0.2, number());
    (number(), number(), blocks, boots, voters, freed, released).prop_map(
        |(recovery, slot, blocks, boots, voters, freed, released)| {
            genesis().changed(|ledger| {
                ledger.recovery = recovery;
                ledger.slot = slot;
                ledger.blocks = blocks.unwrap_or_else(|| ledger.blocks.clone());
                ledger.boots = boots.unwrap_or_else(|| ledger.boots.clone());
                ledger.voters = voters.unwrap_or_else(|| ledger.voters.clone());
                ledger.freed = freed;
                ledger.released = released.unwrap_or(0);
            })
        },
    )
}

fn want() -> impl Strategy<Value = Want> {
    let kind = prop_oneof![Just(WantKind::Join), Just(WantKind::Release)];
    (boot(), kind, option::of(boot()), number()).prop_map(|(boot, want, replaces, released)| Want {
        boot,
        want,
        replaces,
        released,
    })
}

fn acc() -> impl Strategy<Value = AccRecord> {
    let accepted = option::of((ballot(), batch()));
    (number(), option::of(ballot()), accepted).prop_map(|(slot, promised, accepted)| AccRecord {
        acceptor: Acceptor {
            slot,
            promised,
            accepted,
        },
    })
}

fn prop_record() -> impl Strategy<Value = PropRecord> {
    (number(), ballot(), option::of(batch())).prop_map(|(slot, ballot, batch)| PropRecord {
        slot,
        ballot,
        batch,
    })
}

fn usage() -> impl Strategy<Value = UseRecord> {
    (number(), boot(), option::of(block())).prop_map(|(slot, boot, block)| UseRecord {
        slot,
        boot,
        block,
    })
}

/// A value of a key: mostly a record of its kind, at times nonsense.
fn value<T: Record>(record: impl Strategy<Value = T>) -> impl Strategy<Value = String> {
    let record = record.prop_map(|record| encode(&record).unwrap_or_default());
    prop_oneof![8 => record, 1 => Just(String::new()), 1 => any::<String>()]
}

fn entry() -> impl Strategy<Value = RawEntry> {
    let values = (
        value(usage()),
        value(want()),
        value(acc()),
        value(prop_record()),
        value(ledger().prop_map(|ledger| SnapRecord { ledger })),
    );
    (node(), 1..3u16, any::<bool>(), values).prop_map(|(node, port, live, values)| RawEntry {
        node,
        address: SocketAddrV4::new([192, 0, 2, 1].into(), port),
        live,
        last_seen: None,
        values: Arc::new(BTreeMap::from([
            (Key::Use, values.0),
            (Key::Want, values.1),
            (Key::Acc, values.2),
            (Key::Prop, values.3),
            (Key::Snap, values.4),
        ])),
    })
}

/// The ledger of a founder and two members.
fn founded() -> Decided {
    genesis().changed(|ledger| ledger.voters = vec![NodeId::from_bytes([0; 16])])
}

/// What a member says of itself that knows this ledger and uses its block.
fn honest(n: u8, ledger: &Ledger) -> RawEntry {
    let node = NodeId::from_bytes([n; 16]);
    let usage = UseRecord {
        slot: ledger.slot,
        boot: Boot(0),
        block: ledger.blocks_of(node).next(),
    };
    RawEntry {
        node,
        address: SocketAddrV4::new([192, 0, 2, 100 + n].into(), 1),
        live: true,
        last_seen: None,
        values: Arc::new([(Key::Use, encode(&usage).unwrap())].into()),
    }
}

proptest! {
    /// One that has the token speaks under the ids of nobody and of a member, beside that member.
    #[test]
    fn liars_who_are_no_voters_move_no_members_block(
        me in prop::sample::select(vec![0_u8, 2]),
        steps in vec((vec((prop::sample::select(vec![1_u8, 3, 4]), entry()), 0..6), 0..40_000u64), 1..6),
    ) {
        let identity = Identity {
            node: NodeId::from_bytes([me; 16]),
            boot: Boot(0),
            instance: Instance(9),
        };
        let mut machine = Machine::new(identity, Durable::founder(founded()), 1);
        let mut reader = Reader::default();
        for (lies, millis) in steps {
            let now = Moment::after_start(Duration::from_millis(millis));
            let lies = lies.into_iter().map(|(n, mut lie)| {
                lie.node = NodeId::from_bytes([n; 16]);
                lie
            });
            let ledger = machine.ledger().unwrap();
            let others = (0..3).filter(|n| *n != me).map(|n| honest(n, ledger));
            let entries = others.chain(lies).collect();
            machine.step(now, &reader.read(now, entries));
            let ledger = machine.ledger().unwrap();
            for (block, owner) in &founded().blocks {
                prop_assert_eq!(ledger.blocks.get(block), Some(owner));
                prop_assert_eq!(ledger.boots.get(owner), Some(&Boot(0)));
            }
        }
    }

    #[test]
    fn liars_are_survived(
        me in 0..5u8,
        knows in any::<bool>(),
        leave_at in 0..8usize,
        steps in vec((vec(entry(), 0..6), 0..40_000u64), 1..6),
    ) {
        let identity = Identity {
            node: NodeId::from_bytes([me; 16]),
            boot: Boot(0),
            instance: Instance(9),
        };
        let durable = if knows {
            Durable::founder(genesis())
        } else {
            Durable::joiner(genesis().cluster, genesis().checkpoint())
        };
        let mut machine = Machine::new(identity, durable, 1);
        let mut reader = Reader::default();
        for (number, (entries, millis)) in steps.into_iter().enumerate() {
            if number == leave_at {
                machine.leave();
            }
            let now = Moment::after_start(Duration::from_millis(millis));
            let before = machine.durable().clone();
            let outcome = machine.step(now, &reader.read(now, entries));
            prop_assert!(outcome.persist || before == *machine.durable());
            prop_assert!(outcome.keys.len() == Key::ALL.len() - 1);
            if let Some(ledger) = machine.ledger() {
                prop_assert!(is_sound(ledger));
                prop_assert!(before.ledger.is_none_or(|before| before.order() <= ledger.order()));
                let using = outcome.using.map(|block| ledger.blocks[&block]);
                prop_assert!(using.is_none_or(|owner| owner == identity.node));
            }
        }
    }
}
