//! The endpoints of the control API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use podnet_proto::api::{
    InitRequest, InitResponse, JoinRequest, LeaveRequest, Node, Pod, PodRequest, Route, Status,
    TokenResponse,
};
use podnet_proto::error::Problem;
use podnet_proto::{ApiError, PodName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ClientError;
use crate::connection::{Answer, exchange};

/// A client of the agent that serves one socket. It holds no connection: to build or clone it
/// costs nothing, and it outlives a restart of the agent.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the agent behind `socket`, each of whose calls fails with
    /// [`ClientError::Timeout`] when it takes longer than `timeout`.
    pub fn new(socket: impl Into<PathBuf>, timeout: Duration) -> Self {
        Self {
            socket: socket.into(),
            timeout,
        }
    }

    /// The same client with another limit for each call.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self::new(&self.socket, timeout)
    }

    /// The path of the agent's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET /v1/status`: where the node stands.
    ///
    /// # Errors
    /// [`ClientError`], as every call: the agent cannot be reached, does not answer in time,
    /// refuses, or answers with something else than the control API promises.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// `GET /v1/nodes`: the members of the cluster, this node among them, sorted by name. Empty on
    /// an idle node.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn nodes(&self) -> Result<Vec<Node>, ClientError> {
        self.get("/v1/nodes").await
    }

    /// `GET /v1/routes`: podnet's routes on this host. Empty on an idle node.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn routes(&self) -> Result<Vec<Route>, ClientError> {
        self.get("/v1/routes").await
    }

    /// `GET /v1/pods`: the pods of this node, sorted by name. Empty on an idle node.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn pods(&self) -> Result<Vec<Pod>, ClientError> {
        self.get("/v1/pods").await
    }

    /// `GET /v1/pods/NAME`: one pod.
    ///
    /// # Errors
    /// As [`Client::status`]; `not_found` if there is no such pod.
    pub async fn pod(&self, name: &PodName) -> Result<Pod, ClientError> {
        self.get(&pod_path(name)).await
    }

    /// `GET /v1/token`: the join token, a secret.
    ///
    /// # Errors
    /// As [`Client::status`]; `not_member` on an idle node.
    pub async fn token(&self) -> Result<TokenResponse, ClientError> {
        self.get("/v1/token").await
    }

    /// `POST /v1/init`: founds a cluster.
    ///
    /// # Errors
    /// As [`Client::status`]; `already_member` with other settings, and what the agent finds wrong
    /// with the request.
    pub async fn init(&self, request: &InitRequest) -> Result<InitResponse, ClientError> {
        let answer = self.send(Method::POST, "/v1/init", Some(request)).await?;
        decode(&answer, "POST /v1/init")
    }

    /// `POST /v1/join`: enters a cluster. Returns once a member has answered; from then on
    /// [`Client::status`] shows how far it is. The agent waits for that answer for as long as
    /// [`JoinRequest::timeout_seconds`] says, so this client's limit should be longer.
    ///
    /// # Errors
    /// As [`Client::status`]; `unreachable` if no member answered, `already_member` and
    /// `wrong_cluster` on a member, and what the agent finds wrong with the request.
    pub async fn join(&self, request: &JoinRequest) -> Result<(), ClientError> {
        self.send(Method::POST, "/v1/join", Some(request)).await?;
        Ok(())
    }

    /// `POST /v1/leave`: leaves the cluster. [`Client::status`] shows when that is done.
    ///
    /// # Errors
    /// As [`Client::status`]; `exists` where pods are in the way.
    pub async fn leave(&self, request: &LeaveRequest) -> Result<(), ClientError> {
        self.send(Method::POST, "/v1/leave", Some(request)).await?;
        Ok(())
    }

    /// `POST /v1/pods`: attaches a pod. The same call again changes nothing.
    ///
    /// # Errors
    /// As [`Client::status`]; `exists` if the pod is there with other properties,
    /// `foreign_object` if its namespace is another program's, `not_member`, `full`, `fenced`.
    pub async fn add_pod(&self, request: &PodRequest) -> Result<Pod, ClientError> {
        let answer = self.send(Method::POST, "/v1/pods", Some(request)).await?;
        decode(&answer, "POST /v1/pods")
    }

    /// `DELETE /v1/pods/NAME`: detaches a pod and gives its addresses back.
    ///
    /// # Errors
    /// As [`Client::status`]; `not_found` if there is no such pod.
    pub async fn remove_pod(&self, name: &PodName) -> Result<(), ClientError> {
        let nothing: Option<&()> = None;
        self.send(Method::DELETE, &pod_path(name), nothing).await?;
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let nothing: Option<&()> = None;
        let answer = self.send(Method::GET, path, nothing).await?;
        decode(&answer, &format!("GET {path}"))
    }

    /// One request, within the client's limit. An answer that is no success becomes an error.
    async fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Answer, ClientError> {
        let label = format!("{method} {path}");
        let malformed = |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Malformed {
            request: label.clone(),
            source,
        };
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(|error| malformed(error.into()))?,
            None => Vec::new(),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            // HTTP/1.1 wants a host (RFC 9112, section 3.2); a socket's path is none.
            .header(HOST, "podnet")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| malformed(error.into()))?;
        let answer = tokio::time::timeout(self.timeout, exchange(&self.socket, request))
            .await
            .map_err(|_| ClientError::Timeout {
                request: label.clone(),
                after: self.timeout,
            })??;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(match serde_json::from_slice::<Problem>(&answer.body) {
            Ok(problem) => ClientError::Api(ApiError::from(problem)),
            Err(_) => malformed(format!("HTTP {} without problem details", answer.status).into()),
        })
    }
}

fn pod_path(name: &PodName) -> String {
    // A name has no character that a path would have to escape.
    format!("/v1/pods/{name}")
}

fn decode<T: DeserializeOwned>(answer: &Answer, request: &str) -> Result<T, ClientError> {
    serde_json::from_slice(&answer.body).map_err(|error| ClientError::Malformed {
        request: request.to_owned(),
        source: error.into(),
    })
}
