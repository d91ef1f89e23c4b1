//! How to write a scenario: `use podnet_lab::prelude::*;` in a file of a suite, and then
//!
//! ```no_run
//! use podnet_lab::prelude::*;
//!
//! # fn main() {
//! # /*
//! #[test]
//! fn a_pod_that_is_there_is_kept_and_reached_from_another_node() {
//! # */
//!     let cluster = Cluster::of(2); // Real agents; all of it goes with the value.
//!     let [node1, node2] = nodes(&cluster);
//!     let red = node1.add_pod("red"); // An `api::Pod`, as `podnetctl -o json pod add red` prints it.
//!     node2.add_pod("blue");
//!     let theirs = ["pod", "add", "red", "--netns", "/run/netns/blue"];
//!     refused(node1, &theirs, ErrorCode::Exists); // The exit code and the form are right, too.
//!     node1.shell("ip link del podnet0"); // Any command, in the namespaces of the node.
//!     until("the bridge", &true, || node1.attempt("ip link show podnet0").ok());
//!     node1.ready(1); // Waits for it, and gives the `api::Status`.
//!     node2.pod("blue").ping(red.address()).unwrap(); // Real packets.
//! }
//! ```
//!
//! A test waits for conditions with a deadline ([`until`], [`eventually`], [`Node::status_where`]),
//! never for a while: beside it run many others. It may do to its cluster what it likes, and has it to
//! itself. `make test ONLY="SUITE NAME"` runs it. Agents with other intervals or with variables
//! come from [`agents`], a lab without agents from [`Lab::builder`]; how a node is killed, frozen,
//! rebooted, cut off or cloned is said by the methods of [`Node`] and [`Lab`].

pub use podnet_proto::ErrorCode;
pub use podnet_proto::api::{self, PathState, Phase, PodState, RouteState, Severity, Status};

pub use crate::command::{Guard, Output};
pub use crate::scenario::*;
pub use crate::{
    Direction, Invitation, Lab, LabBuilder, LabError, Node, Place, eventually, in_time,
};
