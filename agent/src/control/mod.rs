//! The control socket: HTTP and JSON over a unix socket.
//!
//! A request becomes a [`Request`] for the event loop, which owns all state, and its answer comes
//! back on a channel of its own.

mod connections;
#[cfg(test)]
mod fuzz;
mod listener;
mod routes;

pub use listener::{ListenError, Listener};

use podnet_proto::api::{
    InitRequest, InitResponse, JoinRequest, LeaveRequest, Node, Pod, PodRequest, Route, Status,
    TokenResponse,
};
use podnet_proto::{ApiError, PodName};
use tokio::sync::oneshot;

/// Where the answer to a request goes.
pub type Answer<T> = oneshot::Sender<Result<T, ApiError>>;

/// Something that a user asks the agent.
#[derive(Debug)]
pub enum Request {
    /// `GET /v1/status`
    Status(Answer<Box<Status>>),
    /// `GET /v1/nodes`
    Nodes(Answer<Vec<Node>>),
    /// `GET /v1/routes`
    Routes(Answer<Vec<Route>>),
    /// `GET /v1/pods`
    Pods(Answer<Vec<Pod>>),
    /// `GET /v1/pods/NAME`
    Pod(PodName, Answer<Pod>),
    /// `GET /v1/token`
    Token(Answer<TokenResponse>),
    /// `POST /v1/init`
    Init(Box<InitRequest>, Answer<Box<InitResponse>>),
    /// `POST /v1/join`
    Join(Box<JoinRequest>, Answer<Box<Status>>),
    /// `POST /v1/leave`
    Leave(LeaveRequest, Answer<Box<Status>>),
    /// `POST /v1/pods`
    AddPod(PodRequest, Answer<Pod>),
    /// `DELETE /v1/pods/NAME`
    RemovePod(PodName, Answer<()>),
}
