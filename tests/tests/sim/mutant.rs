//! Faults of a driver or of the machine's inputs, each of which breaks a rule of the protocol. The
//! simulator is worth something only if it finds them.

use std::sync::Arc;

use podnet_core::claim::{Durable, Identity, Outcome};
use podnet_core::view::RawEntry;
use podnet_proto::gossip::{AccRecord, Key, Want, WantKind, decode, encode};
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
            | Self::AnyWish => {}
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
            | Self::AnyWish => outcome.using,
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
            Self::Sound
            | Self::VolatileAcceptor
            | Self::VolatileLeave
            | Self::LateWrite
            | Self::NoBootCheck
            | Self::KeepsBlock => {}
        }
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
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let Some(text) = values.get_mut(&key) else {
        return;
    };
    if let Ok(Some(mut record)) = decode::<T>(text) {
        f(&mut record);
        *text = encode(&record).expect("as long as before");
    }
}
