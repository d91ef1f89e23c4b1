//! Gossip between agents: chitchat over a sealed transport. Both live only here.
//!
//! chitchat is a blackboard: each node publishes values under a fixed set of keys, and in the end
//! every node reads them. It loses intermediate values, knows no authentication, and agrees on
//! nothing; never let it decide anything. [`Gossip`] is its handle. [`ask_members`] puts a question to
//! the members of a cluster before a node has any state of its own.
//!
//! Every datagram is sealed with a key of the [`Keyring`] (module `seal`). A host without a key
//! learns nothing and gets no answer. A member can still send a message that chitchat does not survive;
//! its task dies then, the daemon starts another, and the data plane does not notice.

mod ask;
mod bucket;
mod config;
mod counters;
mod fragment;
mod handle;
mod header;
mod keyring;
mod liveness;
mod payload;
mod replay;
mod seal;
mod socket;
mod transport;

#[cfg(test)]
mod tests;

pub use ask::{AskError, ask_members};
pub use config::{GossipConfig, Timing};
pub use counters::{Counters, Dropped};
pub use handle::{Gossip, GossipError, Snapshot};
pub use header::{MessageId, SenderInstance};
pub use keyring::{KeyId, Keyring, KeyringError, MAX_KEYS};
pub use payload::Payload;
pub use seal::{MAX_MESSAGE, Message, Opener, SealError, Sealed, Sealer};
pub use socket::BindError;
pub use transport::Welcomer;
