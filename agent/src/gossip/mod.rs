//! Gossip between agents: chitchat over a sealed transport. Both live only here.
//!
//! chitchat is a blackboard: each node publishes values under a fixed set of keys, and in the end
//! every node reads them. It loses intermediate values, knows no authentication, and agrees on
//! nothing; never let it decide anything. [`Gossip`] is its handle. [`probe`] asks a cluster's
//! members a question before a node has any state of its own.
//!
//! Every datagram is sealed with a key of the [`Keyring`] (module `seal`). Who has no key learns
//! nothing and gets no answer. A member can still send a message that chitchat does not survive;
//! its task dies then, the daemon starts another, and the data plane does not notice.

mod bucket;
mod counters;
mod fragment;
mod handle;
mod header;
mod keyring;
mod liveness;
mod payload;
mod probe;
mod replay;
mod seal;
mod settings;
mod socket;
mod transport;

#[cfg(test)]
mod tests;

pub use counters::{Counters, Dropped};
pub use handle::{Gossip, GossipError, Snapshot};
pub use header::{MessageId, SenderInstance};
pub use keyring::{KeyId, Keyring, KeyringError, MAX_KEYS};
pub use payload::Payload;
pub use probe::{ProbeError, probe};
pub use seal::{MAX_MESSAGE, Message, Opener, SealError, Sealed, Sealer};
pub use settings::{Settings, Timing};
pub use socket::BindError;
pub use transport::Welcomer;
