//! Whoever holds the token has no node's key: nothing that it writes in the name of another is heard.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use podnet_proto::gossip::{AccRecord, Key, PropRecord, Want, WantKind, encode};
use podnet_proto::ledger::{Acceptor, Ballot, Batch, Operation};
use podnet_proto::network::BlockIndex;
use podnet_proto::{Boot, Instance, NodeId};

use crate::liar::{Lie, Truth, at, liar, unmoved};

/// Records of each kind in the name of a node, none of which is signed by its key.
fn everything(truth: &Truth, node: NodeId, address: SocketAddrV4) -> BTreeMap<Key, String> {
    let slot = truth.ledger.slot;
    let ballot = Ballot {
        round: 900,
        node,
        instance: Instance(66),
    };
    let thief = Operation::Join {
        node: liar(),
        boot: Boot(66),
        index: BlockIndex(9),
    };
    let batch = Batch::of(vec![thief]);
    let want = Want {
        boot: truth.ledger.boots[&node],
        want: WantKind::Release,
        replaces: None,
        released: 0,
    };
    let acceptor = Acceptor {
        slot: slot + 1,
        promised: Some(ballot),
        accepted: Some((ballot, batch.clone())),
    };
    let prop = PropRecord {
        slot: slot + 1,
        ballot,
        batch: Some(batch),
    };
    BTreeMap::from([
        truth.record(node, address, 900),
        truth.usage(node, slot, false),
        (Key::Want, encode(&want).unwrap()),
        (Key::Acc, encode(&AccRecord { acceptor }).unwrap()),
        (Key::Prop, encode(&prop).unwrap()),
        truth.robbed(slot + 1),
    ])
}

/// In the name of the founder, who alone votes, and of a member: elsewhere and from where they are,
/// with the liar's signature and without any.
#[test]
fn no_record_of_any_kind_is_written_for_another_id() {
    for bare in [false, true] {
        unmoved("every kind of record", move |truth, own| {
            let [founder, second] = [truth.members()[0], truth.members()[1]];
            let there = |node: NodeId| truth.records[&node].endpoints[0];
            let places = [
                (founder, at(own, 7847)),
                (second, at(own, 7848)),
                (founder, there(founder)),
                (second, there(second)),
            ];
            let lies = places.into_iter().map(|(node, address)| {
                let values = everything(truth, node, address);
                assert_eq!(values.len(), Key::ALL.len());
                Lie {
                    node,
                    address,
                    epoch: 900,
                    verbatim: if bare {
                        values.clone()
                    } else {
                        BTreeMap::new()
                    },
                    values,
                }
            });
            lies.collect()
        });
    }
}

/// What members have signed themselves counts nowhere else, and for nobody else.
#[test]
fn signatures_are_of_no_use_elsewhere() {
    unmoved("what others have signed", |truth, own| {
        let [founder, second] = [truth.members()[0], truth.members()[1]];
        let pairs = [
            (founder, founder),
            (second, second),
            (founder, second),
            (second, founder),
        ];
        let lies = pairs.into_iter().zip(7847..).map(|((node, of), port)| Lie {
            node,
            address: at(own, port),
            epoch: 900,
            values: BTreeMap::new(),
            verbatim: truth.said[&of].clone(),
        });
        lies.collect()
    });
}
