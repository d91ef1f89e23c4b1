//! The real kernel, in namespaces of each test's own. These tests need root, and fail without.

mod bridge;
mod firewall;
mod forwarding;
mod harness;
mod holding;
mod network;
mod pods;
mod routes;
mod watch;
