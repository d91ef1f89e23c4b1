//! What scenarios are made of: clusters that come to be in one line, questions that are answered by
//! typed documents, and waits. A scenario is a test: what does not go as it says ends it with a panic
//! that names the node, the command and what was answered.

#![expect(clippy::unwrap_used, reason = "a scenario fails by a panic")]

mod answers;
mod cluster;
mod documents;
mod host;
pub mod misfits;
pub mod pcap;
mod shared;
mod snapshot;
mod waits;

pub use answers::{HttpAnswer, Refusal, refusal, refused, refused_with};
pub use cluster::{Cluster, OFTEN, agents, first, idle, looking_every, nodes};
pub use documents::{Address, gossips_at, has_problem, peer_of, told};
pub use host::container;
pub use pcap::{Packet, Recording};
pub use shared::Shared;
pub use snapshot::{Snapshot, settle};
pub use waits::{LIMIT, at_once, until};
