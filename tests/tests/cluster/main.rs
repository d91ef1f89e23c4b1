//! Clusters of real agents, seen from outside: by the programs, the control socket, the kernel of
//! each node, and the wire between them. Needs root, and `podnetd` and `podnetctl` built.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's exception for tests does not reach the functions that they share"
)]

mod cleanup;
mod documents;
mod founding;
mod idle;
mod joining;
mod leaving;
mod paths;
mod pcap;
mod restart;
mod scene;
mod schema;
mod snapshot;
mod sockets;
mod wire;
