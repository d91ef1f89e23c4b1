//! The podnet agent: everything around the decisions of `podnet_core`.

pub mod announce;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
mod fault;
#[cfg(test)]
mod fuzz;
pub mod gossip;
pub mod journal;
pub mod logging;
pub mod manual;
pub mod pods;
pub mod probe;
pub mod reconciler;
pub mod store;
mod vital;
