//! Clusters of real agents, seen from outside: by the programs, the control socket, the kernel of
//! each node, and the wire between them. Needs root, and `podnetd` and `podnetctl` built.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy's exception for tests does not reach the functions that they share"
)]

mod atomic;
mod cleanup;
mod documents;
mod founding;
mod hosts;
mod idle;
mod joining;
mod leaving;
mod mtu;
mod parameters;
mod paths;
mod rights;
mod schema;
mod shortage;
mod sockets;
mod starts;
mod strangers;
mod uplinks;
mod versions;
mod ways;
mod wire;
