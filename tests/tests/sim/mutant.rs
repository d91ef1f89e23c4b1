//! Faults of a driver or of the machine's inputs, each of which breaks a rule of the protocol. The
//! simulator is worth something only if it finds them.

use std::sync::Arc;

use podnet_core::claim::{Durable, Identity, Outcome};
use podnet_core::view::RawEntry;
use podnet_proto::gossip::{AccRecord, Key, Record, UseRecord, Want, WantKind, decode, encode};
use podnet_proto::network::BlockIndex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// None: as it should be.
    Sound,
    /// The acceptor is not on disk.
    VolatileAcceptor,
    /// The promise to use no block any more is not on disk.
    VolatileLeave,
    /// What is written is on disk only after the next step.
    LateWrite,
    /// The data path follows the ledger, whatever boot is registered there.
    NoBootCheck,
    /// The data path keeps a block that it is told to give up.
    KeepsBlock,
    /// A proposer does not see what others have accepted from earlier proposals.
    AcceptedIgnored,
    /// Voters that look dead count as if they said what this one says.
    LiveMajority,
    /// Every wish to join counts, whatever boot it replaces.
    AnyWish,
    /// A voter does not heed that members know of later decisions.
    Forgetful,
    /// No member shows a voter what it has forgotten.
    Secretive,
    /// An agent does not see other instances of its node.
    TwinsUnseen,
    /// Nor does a voter see whether an instance with the registered boot is alive.
    InstancesUnseen,
    /// Who has just started, and says nothing yet, is taken for one that has nothing to say.
    Fickle,
}

impl Mutant {
    /// What is on disk when the agent starts.
    pub(crate) fn read_disk(self, durable: &mut Durable) {
        match self {
            Self::VolatileAcceptor => {
                durable.acceptor.promised = None;
                durable.acceptor.accepted = None;
            }
            Self::VolatileLeave => durable.leaving = None,
            Self::Sound
            | Self::LateWrite
            | Self::NoBootCheck
            | Self::KeepsBlock
            | Self::AcceptedIgnored
            | Self::LiveMajority
            | Self::AnyWish
            | Self::Forgetful
            | Self::Secretive
            | Self::TwinsUnseen
            | Self::InstancesUnseen
            | Self::Fickle => {}
        }
    }

    /// The block that the data path carries after a step.
    pub(crate) fn pods(
        self,
        before: Option<BlockIndex>,
        outcome: &Outcome,
        durable: &Durable,
        identity: Identity,
    ) -> Option<BlockIndex> {
        match self {
            Self::NoBootCheck => {
                let ledger = durable.ledger.as_ref()?;
                ledger.blocks_of(identity.node).next()
            }
            Self::KeepsBlock => outcome.using.or(before),
            Self::Sound
            | Self::VolatileAcceptor
            | Self::VolatileLeave
            | Self::LateWrite
            | Self::AcceptedIgnored
            | Self::LiveMajority
            | Self::AnyWish
            | Self::Forgetful
            | Self::Secretive
            | Self::TwinsUnseen
            | Self::InstancesUnseen
            | Self::Fickle => outcome.using,
        }
    }

    /// What the machine sees of the blackboard.
    pub(crate) fn tamper(self, raw: &mut [RawEntry], durable: &Durable, identity: Identity) {
        match self {
            Self::AcceptedIgnored => raw.iter_mut().for_each(forget_accepted),
            Self::LiveMajority => {
                let own = raw.iter().find(|entry| entry.node == identity.node);
                let acc = own.and_then(|entry| entry.values.get(&Key::Acc)).cloned();
                for entry in raw.iter_mut().filter(|entry| !entry.live) {
                    let values = Arc::make_mut(&mut entry.values);
                    values.insert(Key::Acc, acc.clone().unwrap_or_default());
                }
            }
            Self::AnyWish => {
                for entry in raw.iter_mut() {
                    rewrite(
                        Arc::make_mut(&mut entry.values),
                        Key::Want,
                        |want: &mut Want| {
                            if want.want == WantKind::Join {
                                want.replaces = durable.registered(entry.node);
                            }
                        },
                    );
                }
            }
            Self::Forgetful => {
                let slot = durable.ledger.as_ref().map_or(0, |ledger| ledger.slot);
                for entry in raw.iter_mut() {
                    let values = Arc::make_mut(&mut entry.values);
                    rewrite(values, Key::Use, |usage: &mut UseRecord| {
                        usage.slot = usage.slot.min(slot);
                    });
                }
            }
            Self::Secretive => {
                let Some(ledger) = &durable.ledger else {
                    return;
                };
                let voters = &ledger.voters;
                for entry in raw.iter_mut().filter(|entry| !voters.contains(&entry.node)) {
                    Arc::make_mut(&mut entry.values).insert(Key::Snap, String::new());
                }
            }
            Self::TwinsUnseen => hide_twins(raw, identity),
            Self::InstancesUnseen => {
                hide_twins(raw, identity);
                let wants = |entry: &RawEntry| {
                    let want = entry.values.get(&Key::Want);
                    want.is_some_and(|want| !want.is_empty())
                };
                let others = |entry: &&mut RawEntry| entry.node != identity.node;
                for entry in raw.iter_mut().filter(others) {
                    if !wants(entry) {
                        let values = Arc::make_mut(&mut entry.values);
                        rewrite(values, Key::Use, |usage: &mut UseRecord| {
                            usage.boot = identity.boot;
                        });
                        values.insert(Key::Node, String::new());
                    }
                }
            }
            Self::Fickle => {
                let slot = durable.ledger.as_ref().map_or(0, |ledger| ledger.slot);
                let silent = |entry: &&mut RawEntry| !entry.values.contains_key(&Key::Use);
                for entry in raw.iter_mut().filter(silent) {
                    let usage = UseRecord {
                        boot: identity.boot,
                        slot,
                        block: None,
                    };
                    let usage = encode(&usage).expect("short");
                    Arc::make_mut(&mut entry.values).insert(Key::Use, usage);
                }
            }
            Self::Sound
            | Self::VolatileAcceptor
            | Self::VolatileLeave
            | Self::LateWrite
            | Self::NoBootCheck
            | Self::KeepsBlock => {}
        }
    }
}

/// Other instances of the own node look as if they were this one.
fn hide_twins(raw: &mut [RawEntry], identity: Identity) {
    let own = |entry: &&mut RawEntry| entry.node == identity.node;
    for entry in raw.iter_mut().filter(own) {
        let values = Arc::make_mut(&mut entry.values);
        rewrite(values, Key::Use, |usage: &mut UseRecord| {
            usage.boot = identity.boot;
        });
    }
}

fn forget_accepted(entry: &mut RawEntry) {
    rewrite(
        Arc::make_mut(&mut entry.values),
        Key::Acc,
        |acc: &mut AccRecord| {
            let promised = acc.acceptor.promised;
            let kept = |(ballot, _): &(_, _)| Some(*ballot) == promised;
            acc.acceptor.accepted = acc.acceptor.accepted.take().filter(kept);
        },
    );
}

fn rewrite<T>(
    values: &mut std::collections::BTreeMap<Key, String>,
    key: Key,
    f: impl FnOnce(&mut T),
) where
    T: Record,
{
    let Some(text) = values.get_mut(&key) else {
        return;
    };
    if let Ok(Some(mut record)) = decode::<T>(text) {
        f(&mut record);
        *text = encode(&record).expect("as long as before");
    }
}
