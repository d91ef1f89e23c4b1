//! Which request a URL stands for.

use std::fmt::Display;
use std::str::FromStr as _;
use std::time::Duration;

use axum::Router;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::{get, post};
use hyper::body::Incoming;
use podnet_core::node::{Request, Response};
use podnet_proto::api::{InitRequest, JoinRequest, LeaveRequest, PodRequest};
use podnet_proto::error::Problem;
use podnet_proto::{ApiError, ErrorCode, PodName};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::sync::{mpsc, oneshot};
use tower::ServiceExt as _;

use super::Asked;
use super::connections::Work;

/// The longest body of a request, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the event loop may take for an answer. The longest job, a `join` that no member answers,
/// takes 10 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

type Requests = mpsc::Sender<Asked>;

/// The HTTP service.
pub(super) fn router(requests: Requests) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/nodes", get(nodes))
        .route("/v1/routes", get(routes))
        .route("/v1/token", get(token))
        .route("/v1/init", post(init))
        .route("/v1/join", post(join))
        .route("/v1/leave", post(leave))
        .route("/v1/pods", get(pods).post(add_pod))
        .route("/v1/pods/{name}", get(pod).delete(remove_pod))
        .fallback(|| async { Failure(ApiError::new(ErrorCode::NotFound, "no such resource")) })
        .method_not_allowed_fallback(|| async {
            Failure(ApiError::new(
                ErrorCode::Usage,
                "the resource has no such method",
            ))
        })
        .layer(DefaultBodyLimit::disable())
        .with_state(requests)
}

/// The answer to a request: its body first, whole, in time and of bounded length; then the agent is
/// at work for it.
pub(super) async fn answer(
    router: Router,
    work: &Work,
    request: axum::http::Request<Incoming>,
) -> HttpResponse {
    let (head, body) = request.into_parts();
    let read = axum::body::to_bytes(HttpBody::new(body), MAX_BODY);
    let why = match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => {
            let _at_work = work.begin();
            let request = axum::http::Request::from_parts(head, HttpBody::from(body));
            return router.oneshot(request).await.into_response();
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it did not come within {} s", BODY_TIMEOUT.as_secs()),
    };
    usage(format!("request body: {why}")).into_response()
}

fn usage(message: String) -> Failure {
    Failure(ApiError::new(ErrorCode::Usage, message))
}

/// An error as an HTTP answer.
pub(super) struct Failure(ApiError);

#[cfg(test)]
impl Failure {
    pub(super) fn message(&self) -> &str {
        &self.0.message
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> HttpResponse {
        let problem = Problem::from(self.0.redacted());
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body,
        )
            .into_response()
    }
}

/// A JSON body. Unlike axum's own, it asks for no content type, so that a plain
/// `curl --data` works, and its errors are podnet's.
struct Body<T>(T);

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Failure;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error| usage(format!("request body: {}", error.body_text())))?;
        parse(&bytes).map(Self)
    }
}

/// Reads a body: a JSON object; an empty one stands for an object without members.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let refuse = |what| Err(usage(format!("request body: it {what}")));
    let object = match bytes.trim_ascii_start() {
        [] if bytes.is_empty() => b"{}",
        [b'{', ..] => bytes,
        // A list would be taken for the members in the order of their definition.
        _ => return refuse("is no JSON object"),
    };
    serde_json::from_slice(object).or_else(|error| {
        // The error's own text may quote the body, and the body may hold the token.
        refuse(match error.classify() {
            Category::Syntax | Category::Eof | Category::Io => "is not JSON",
            Category::Data => "has unknown, missing or mistyped members",
        })
    })
}

/// The name of a pod in a path. Unlike axum's own extractor, its errors are podnet's.
struct Name(PodName);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let bad = |why: &dyn Display| {
            Failure(ApiError::new(
                ErrorCode::BadName,
                format!("pod name: {why}"),
            ))
        };
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| bad(&rejection.body_text()))?;
        let name = PodName::from_str(&text).map_err(|invalid| bad(&invalid))?;
        Ok(Self(name))
    }
}

/// Puts a request to the event loop, and makes an HTTP response of the answer.
async fn ask(
    requests: &Requests,
    request: Request,
    done: StatusCode,
) -> Result<HttpResponse, Failure> {
    let gone = || {
        Failure(ApiError::new(
            ErrorCode::AgentUnreachable,
            "the agent is stopping",
        ))
    };
    let (answer, answered) = oneshot::channel();
    let asked = Asked { request, answer };
    requests.send(asked).await.map_err(|_| gone())?;
    let response = match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
        Ok(answer) => answer.map_err(|_| gone())?.map_err(Failure)?,
        Err(_) => {
            return Err(Failure(ApiError::new(
                ErrorCode::Timeout,
                "the agent did not answer",
            )));
        }
    };
    Ok(if let Response::Done(()) = response {
        done.into_response()
    } else {
        (done, axum::Json(response)).into_response()
    })
}

async fn status(State(requests): State<Requests>) -> Result<HttpResponse, Failure> {
    ask(&requests, Request::Status, StatusCode::OK).await
}

async fn nodes(State(requests): State<Requests>) -> Result<HttpResponse, Failure> {
    ask(&requests, Request::Nodes, StatusCode::OK).await
}

async fn routes(State(requests): State<Requests>) -> Result<HttpResponse, Failure> {
    ask(&requests, Request::Routes, StatusCode::OK).await
}

async fn token(State(requests): State<Requests>) -> Result<HttpResponse, Failure> {
    ask(&requests, Request::Token, StatusCode::OK).await
}

async fn pods(State(requests): State<Requests>) -> Result<HttpResponse, Failure> {
    ask(&requests, Request::Pods, StatusCode::OK).await
}

async fn pod(State(requests): State<Requests>, Name(name): Name) -> Result<HttpResponse, Failure> {
    ask(&requests, Request::Pod(name), StatusCode::OK).await
}

async fn init(
    State(requests): State<Requests>,
    Body(body): Body<InitRequest>,
) -> Result<HttpResponse, Failure> {
    ask(&requests, Request::Init(Box::new(body)), StatusCode::OK).await
}

async fn join(
    State(requests): State<Requests>,
    Body(body): Body<JoinRequest>,
) -> Result<HttpResponse, Failure> {
    ask(
        &requests,
        Request::Join(Box::new(body)),
        StatusCode::ACCEPTED,
    )
    .await
}

async fn leave(
    State(requests): State<Requests>,
    Body(body): Body<LeaveRequest>,
) -> Result<HttpResponse, Failure> {
    ask(&requests, Request::Leave(body), StatusCode::ACCEPTED).await
}

async fn add_pod(
    State(requests): State<Requests>,
    Body(body): Body<PodRequest>,
) -> Result<HttpResponse, Failure> {
    ask(&requests, Request::AddPod(body), StatusCode::OK).await
}

async fn remove_pod(
    State(requests): State<Requests>,
    Name(name): Name,
) -> Result<HttpResponse, Failure> {
    ask(&requests, Request::RemovePod(name), StatusCode::NO_CONTENT).await
}
