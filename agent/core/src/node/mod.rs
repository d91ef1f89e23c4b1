//! A node: what users ask of it, what happens to it, and what it wants of the world.
//!
//! ```text
//! init, join -> admission, host, entry, init, join     becoming a member
//!               claim, gossip, follow, membership      being one
//!               leave                                  ending it
//!               life                                   which of these it is
//! pods       -> pods/                                  adding, removing, putting right
//! the kernel -> reconcile, retry, patience, allowance  when to look, and what follows
//!               suspicion, forwarded                   what is in the way of packets
//! users      <- status, problems                       where the node stands
//! ```
//!
//! [`Node`] is a state machine, as the claim machine is: something happens ([`Input`]), and what is to be done
//! goes out ([`Effect`]), in an order that makes a crash between any two effects harmless. What has come of an
//! effect comes back as an [`Event`]. The node waits for nothing and has no clock; it writes log lines, which
//! decide nothing.

mod admission;
mod allowance;
mod claim;
mod distrust;
mod echoes;
mod effect;
mod entry;
pub mod error;
mod event;
mod follow;
mod forwarded;
mod gossip;
mod host;
mod init;
mod join;
mod leave;
mod life;
mod machine;
mod member;
mod membership;
mod patience;
mod pods;
mod problems;
mod reconcile;
mod remains;
mod request;
mod retry;
mod status;
mod suspicion;

pub use admission::{Admission, Founding, admission, founding};
pub use echoes::{Borrowed, Echoes, NO_ECHO, PathReport, Targets};
pub use effect::{Attach, Effect, Generation, Loose, Question, Start, Write};
pub use event::{Event, Fresh, Heard, HostSeen, Looked, NetnsSeen, Started, Welcomed};
pub use machine::{Input, Kept, Node, Setup, Why};
pub use member::{Joined, Member, PeerBook};
pub use membership::Roster;
pub use pods::{AttachError, PodRecord, PodRecordState};
pub use reconcile::Repair;
pub use request::{Answer, Request, Response, Ticket};

#[cfg(test)]
mod tests;
