//! Gossip between instances, over loopback.
