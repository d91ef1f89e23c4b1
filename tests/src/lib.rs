//! A testbed for podnet on one host: nodes that are namespaces, each with a real agent.
//!
//! The library is what the test suites, the benchmarks and the `podnet-lab` program are made of.
//! It drives `podnetd` and `podnetctl` from outside, as their users do.

pub mod capture;
pub mod census;
pub mod cli;
pub mod command;
pub mod cut;
pub mod dir;
pub mod error;
pub mod fault;
pub mod holder;
pub mod interrupt;
pub mod lab;
pub mod lines;
pub mod model;
pub mod mtu;
pub mod name;
pub mod node;
pub mod place;
pub mod prelude;
pub mod process;
pub mod programs;
pub mod record;
pub mod scenario;
pub mod underlay;
pub mod wait;

mod agent;
mod build;
mod cluster;
mod demo;
mod disk;
mod lock;
mod mounts;
mod parallel;
mod power;
mod render;
mod teardown;
mod whoami;

pub use capture::Capture;
pub use cluster::{Invitation, POD_CIDR};
pub use command::{Guard, Output};
pub use cut::Direction;
pub use error::LabError;
pub use fault::{Fate, Fault, every};
pub use lab::{Lab, LabBuilder, unique_name};
pub use mtu::Mtu;
pub use name::{LabName, Member};
pub use node::Node;
pub use place::{Place, Pong, Responder};
pub use teardown::down;
pub use wait::{eventually, in_time, patiently};
