//! The decisions of podnet: pure functions and state machines.
//!
//! This crate has no runtime, no netlink, no clock and no files, and depends on no crate that has:
//! time and randomness come in as arguments, effects go out as data.

pub mod advertise;
pub mod claim;
pub mod host;
pub mod kernel;
pub mod nft;
pub mod node;
pub mod peer;
pub mod podip;
pub mod signed;
pub mod summary;
pub mod time;
pub mod view;
