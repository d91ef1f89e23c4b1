//! Client of the podnet agent's control socket: HTTP and JSON over a unix socket.
//!
//! It is for programs that start, ask and end: one connection for each request, no task, no thread
//! and no signal handler of its own. It runs on whatever tokio runtime the caller has, which must
//! have I/O and time enabled; a current-thread one is enough.

mod client;
mod connection;
mod error;

pub use client::Client;
pub use error::ClientError;
