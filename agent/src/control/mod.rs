//! The control socket: HTTP and JSON over a unix socket.
//!
//! A request goes to the event loop, which owns all state, and its answer comes back on a channel of
//! its own.

mod connections;
#[cfg(test)]
mod fuzz;
mod listener;
mod routes;

pub use listener::{ListenError, Listener};

use podnet_core::node::{Answer, Request};
use tokio::sync::oneshot;

/// Something that a user asks the agent.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}
