//! Pods of real agents on a lab's nodes, by the programs alone: what they are made of, what is
//! refused, what survives. Needs root, and the programs to be built.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy's exception for tests does not reach the functions that they share"
)]

mod addresses;
mod atomic;
mod attach;
mod connections;
mod cost;
mod crash;
mod crowded;
mod exec;
mod firewall;
mod foreign;
mod frame;
mod gone;
mod requests;
mod siblings;
mod stage;
mod whole;
