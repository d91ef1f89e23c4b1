//! The decisions of podnet: pure functions and state machines.
//!
//! This crate has no runtime, no netlink, no clock and no files: time and randomness come in as arguments,
//! effects go out as data. Log lines are the exception, and decide nothing.

pub mod advertise;
pub mod claim;
pub mod host;
pub mod kernel;
pub mod nft;
pub mod node;
pub mod pass;
pub mod peer;
pub mod podip;
pub mod signed;
pub mod summary;
pub mod time;
pub mod view;
