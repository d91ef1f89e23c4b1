//! Claims: which node may use which block.
//!
//! The claims are a small replicated ledger, decided slot by slot by Paxos whose messages are
//! gossip keys. Gossip is a lossy, monotonic blackboard with one writer per key: facts are late,
//! come twice, or skip values in between, and are never withdrawn. That is all that Paxos needs.
//! Clocks and liveness decide only *when* a voter proposes, never *what* is decided.
//!
//! [`Machine::step`] is a function of the time, the gossip view and the state so far. Its caller
//! does what it says, in this order: write and fsync [`Machine::durable`] if asked to, apply the
//! block to the data path, publish the keys, nudge the peers. A crash between any two of these is safe.

mod acceptor;
mod batch;
mod durable;
mod learn;
mod ledger;
mod machine;
mod mute;
mod outcome;
mod proposer;
mod publish;
mod standing;
mod unknown;
mod votes;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust;

pub use durable::Durable;
pub use machine::Machine;
pub use mute::Muted;
pub use outcome::{ClaimState, Nudge, Outcome, Quorum};
pub use standing::Identity;
pub use unknown::UnknownSetting;
