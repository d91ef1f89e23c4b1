//! Bad input of every kind against real agents, which it must not harm, and the secrets that they
//! must not tell. Needs root, and `podnetd`, `podnetctl` and `podnet-lab` built.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy's exception for tests does not reach the functions that they share"
)]

mod bounds;
mod connections;
mod datagrams;
mod descriptors;
mod directories;
mod files;
mod forged;
mod forms;
mod http;
mod inside;
mod lab_words;
mod liar;
mod member;
mod secrets;
mod settings;
mod sockets;
mod tokens;
mod unharmed;
mod words;
