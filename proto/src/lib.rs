//! Domain types, gossip records and control API types of podnet.
//!
//! This crate knows no socket, no clock and no file: it says what things are called, how they are
//! written down, and which values are valid.

pub mod api;
pub mod error;
pub mod gossip;
pub mod id;
pub mod ledger;
pub mod name;
pub mod network;
pub mod secret;
pub mod token;

pub use error::{ApiError, ErrorCode};
pub use id::{Boot, ClusterId, Instance, NodeId};
pub use name::{InvalidName, NodeName, PodName};
pub use network::{BlockIndex, PodNetwork, PodNetworkError};
pub use secret::GossipKey;
