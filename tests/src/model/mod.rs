//! Models that simulated worlds are made of: of gossip, of the network, of signatures, and what must hold of claims.

pub mod checker;
pub mod gossip;
pub mod network;
pub mod signing;
