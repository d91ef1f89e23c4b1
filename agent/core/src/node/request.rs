//! What users ask of a node, and what it answers.

use podnet_proto::api::{
    InitRequest, InitResponse, JoinRequest, LeaveRequest, Node, Pod, PodRequest, Route, Status,
    TokenResponse,
};
use podnet_proto::{ApiError, PodName};
use serde::Serialize;

/// A request of a user.
#[derive(Debug, Clone)]
pub enum Request {
    /// `GET /v1/status`
    Status,
    /// `GET /v1/nodes`
    Nodes,
    /// `GET /v1/routes`
    Routes,
    /// `GET /v1/pods`
    Pods,
    /// `GET /v1/pods/NAME`
    Pod(PodName),
    /// `GET /v1/token`
    Token,
    /// `POST /v1/init`
    Init(Box<InitRequest>),
    /// `POST /v1/join`
    Join(Box<JoinRequest>),
    /// `POST /v1/leave`
    Leave(LeaveRequest),
    /// `POST /v1/pods`
    AddPod(PodRequest),
    /// `DELETE /v1/pods/NAME`
    RemovePod(PodName),
}

/// Names a request, so that its answer finds the client that waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a request came to; as JSON the body of the HTTP response.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// Where the node stands: also the answer once it has begun to join, or to leave.
    Status(Box<Status>),
    /// The members.
    Nodes(Vec<Node>),
    /// The routes.
    Routes(Vec<Route>),
    /// The pods of this node.
    Pods(Vec<Pod>),
    /// A pod.
    Pod(Box<Pod>),
    /// The join token.
    Token(TokenResponse),
    /// The cluster that was founded.
    Founded(Box<InitResponse>),
    /// It is done, and there is no more to say.
    Done(()),
}

impl From<Status> for Response {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<Pod> for Response {
    fn from(pod: Pod) -> Self {
        Self::Pod(Box::new(pod))
    }
}

impl From<InitResponse> for Response {
    fn from(founded: InitResponse) -> Self {
        Self::Founded(Box::new(founded))
    }
}

impl From<()> for Response {
    fn from((): ()) -> Self {
        Self::Done(())
    }
}

/// The answer to a request.
pub type Answer = Result<Response, ApiError>;
