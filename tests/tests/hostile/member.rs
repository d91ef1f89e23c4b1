//! Whoever holds the token and lies: what is said in the name of members, of the founder, and of
//! nobody, costs the others at most a restart of gossip. It never moves a block or a route, and
//! decisions go on.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use podnet_proto::Boot;
use podnet_proto::gossip::{Key, NodeRecord, UseRecord, Want, WantKind, encode};
use podnet_proto::network::BlockIndex;

use crate::liar::{Lie, at, key, liar, unmoved};

#[test]
fn a_ledger_of_nobody_is_nobodys() {
    unmoved("a ledger under an id that no voter has", |truth, own| {
        let node = liar();
        let record = NodeRecord {
            name: "liar".parse().unwrap(),
            public_key: BASE64.encode(&key()),
            endpoints: vec![at(own, 7847)],
            counter: 1,
            agent_version: String::new(),
        };
        let record = (Key::Node, encode(&record).unwrap());
        let robbed = [truth.ledger.slot + 1, truth.ledger.slot + 2, u64::MAX];
        let lies = robbed.iter().zip(7847..).map(|(slot, port)| Lie {
            node,
            address: at(own, port),
            epoch: 1,
            values: BTreeMap::from([truth.robbed(*slot), record.clone()]),
            verbatim: BTreeMap::new(),
        });
        lies.collect()
    });
}

#[test]
fn a_forged_release_evicts_nobody() {
    unmoved("a release of another", |truth, own| {
        let node = truth.members()[1];
        let want = Want {
            boot: truth.ledger.boots[&node],
            want: WantKind::Release,
            replaces: None,
            released: 0,
        };
        let want = (Key::Want, encode(&want).unwrap());
        let slot = truth.ledger.slot;
        let said = [
            vec![want.clone()],
            vec![want.clone(), truth.usage(node, slot, false)],
            vec![want, truth.usage(node, slot, true)],
        ];
        let lies = said.into_iter().zip(7847..).map(|(values, port)| {
            let address = at(own, port);
            let mut values: BTreeMap<_, _> = values.into_iter().collect();
            values.extend([truth.record(node, address, 900)]);
            Lie {
                node,
                address,
                epoch: 900,
                values,
                verbatim: BTreeMap::new(),
            }
        });
        lies.collect()
    });
}

#[test]
fn a_forged_record_takes_nobodys_packets() {
    unmoved("records of another", |truth, own| {
        let node = truth.members()[1];
        let counters = [2, 900, 1 << 31, u64::from(u32::MAX), u64::MAX];
        let lies = counters.into_iter().zip(7847..).map(|(counter, port)| {
            let address = at(own, port);
            Lie {
                node,
                address,
                epoch: counter.min(u64::from(u32::MAX) - 1),
                values: BTreeMap::from([
                    truth.record(node, address, counter),
                    truth.usage(node, truth.ledger.slot, true),
                ]),
                verbatim: BTreeMap::new(),
            }
        });
        lies.collect()
    });
}

#[test]
fn slots_beyond_all_reason_stop_no_decision() {
    unmoved("a slot that no cluster comes to", |truth, own| {
        let [founder, second] = [truth.members()[0], truth.members()[1]];
        let lies = [founder, second]
            .into_iter()
            .zip(7847..)
            .map(|(node, port)| {
                let address = at(own, port);
                Lie {
                    node,
                    address,
                    epoch: 900,
                    values: BTreeMap::from([
                        truth.record(node, address, 900),
                        truth.usage(node, u64::MAX, true),
                        truth.robbed(u64::MAX),
                    ]),
                    verbatim: BTreeMap::new(),
                }
            });
        lies.collect()
    });
}

/// Somebody speaks in the name of members from where they are, with versions above which there are
/// hardly any.
#[test]
fn an_epoch_beyond_all_reason_ends_nobodys_agent() {
    unmoved("the last epoch", |truth, _| {
        let lies = truth.members().into_iter().take(2).map(|node| {
            let record = truth.records[&node].clone();
            let address = record.endpoints[0];
            Lie {
                node,
                address,
                epoch: u64::from(u32::MAX),
                values: BTreeMap::from([
                    truth.record(node, address, record.counter),
                    truth.usage(node, truth.ledger.slot, true),
                ]),
                verbatim: BTreeMap::new(),
            }
        });
        lies.collect()
    });
}

#[test]
fn another_boot_takes_no_living_nodes_block() {
    unmoved("another boot of a member", |truth, own| {
        let node = truth.members()[1];
        let address = at(own, 7847);
        let want = Want {
            boot: Boot(66),
            want: WantKind::Join,
            replaces: truth.ledger.boots.get(&node).copied(),
            released: truth.ledger.released,
        };
        let usage = UseRecord {
            slot: truth.ledger.slot,
            boot: Boot(66),
            block: truth.ledger.blocks_of(node).next().or(Some(BlockIndex(1))),
        };
        vec![Lie {
            node,
            address,
            epoch: 900,
            values: BTreeMap::from([
                truth.record(node, address, 900),
                (Key::Want, encode(&want).unwrap()),
                (Key::Use, encode(&usage).unwrap()),
            ]),
            verbatim: BTreeMap::new(),
        }]
    });
}
