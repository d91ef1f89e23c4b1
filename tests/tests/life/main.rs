//! Agents that die and come back, hosts that reboot, freeze and get other addresses: what users do
//! to machines, seen from outside. Needs root, and `podnetd` and `podnetctl` built.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's exception for tests does not reach the functions that they share"
)]

mod absence;
mod disks;
mod flow;
mod followed;
mod frozen;
mod monitor;
mod moves;
mod nics;
mod reboot;
mod restart;
mod underlay;
mod unseen;
