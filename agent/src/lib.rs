//! The podnet agent: everything around the decisions of `podnet_core`.

pub mod dataplane;
pub mod gossip;
