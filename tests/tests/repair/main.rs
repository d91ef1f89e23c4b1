//! What others change or remove of podnet's comes back, and what is theirs stays: real agents on a
//! lab's nodes, by the programs alone. Needs root, and the programs to be built.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy's exception for tests does not reach the functions that they share"
)]

mod burst;
mod chains;
mod foreign;
mod meanwhile;
mod network;
mod picture;
mod rules;
mod scene;
mod strange;
