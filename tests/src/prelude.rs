//! How to write a scenario. A test of a suite begins with `use podnet_lab::prelude::*;` and reads:
//!
//! ```no_run
//! # use podnet_lab::prelude::*;
//! fn a_pod_is_kept_and_comes_back() {
//!     let cluster = Cluster::of(2); // Real agents, on nodes that go with the value.
//!     let [node1, node2] = nodes(&cluster);
//!     let red = node1.add_pod("red"); // An `api::Pod`, as `podnetctl -o json pod add red` prints it.
//!     node2.add_pod("blue");
//!     let another = ["pod", "add", "red", "--netns", "/run/netns/other"];
//!     refused(node1, &another, ErrorCode::Exists); // And by the exit code that goes with it.
//!     node1.shell("ip link del podnet0"); // Any command, in the namespaces of the node.
//!     let answers = || node2.pod("blue").ping(red.address()).is_ok(); // Real packets.
//!     until("an answer", &true, answers);
//!     let status = node1.ready(1); // Waits for it, and gives the `api::Status`.
//!     assert_eq!(status.pods, 1);
//! }
//! ```
//!
//! `make test ONLY="pods a_pod_is_kept"` runs it. It waits for conditions ([`until`], [`eventually`],
//! [`Node::status_where`]) and never for a while: many others run beside it. Its cluster is its own to
//! spoil; tests that leave one as they found it share it ([`Shared`]). Agents with other intervals or
//! variables come from [`agents`], a lab without any from [`Lab::builder`]; how nodes are killed, frozen,
//! rebooted, cut off and cloned is told by the methods of [`Node`] and [`Lab`]. Documents are typed
//! ([`api`]) but in tests of the documents themselves; values that everything refuses are in
//! [`misfits`](crate::scenario::misfits).

pub use podnet_proto::ErrorCode;
pub use podnet_proto::api::{self, PathState, Phase, PodState, RouteState, Severity, Status};

pub use crate::command::{Guard, Output};
pub use crate::scenario::*;
pub use crate::{
    Direction, Invitation, Lab, LabBuilder, LabError, Node, Place, eventually, in_time,
};
