//! Any bytes as a connection to the control socket, and as the body of a request.

use hyper_util::server::graceful::GracefulShutdown;
use podnet_proto::ErrorCode;
use podnet_proto::api::{InitRequest, JoinRequest, LeaveRequest, PodRequest};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::connections::Work;
use super::listener::serve_connection;
use super::routes::{parse, router};
use crate::fuzz::{INPUTS, Sample, assert_corpus, damaged};

/// More than any input of a target has.
const PIPE: usize = 1 << 20;

fn request(head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{head} HTTP/1.1\r\nHost: podnet\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Connections as clients make them, and bodies.
fn samples() -> Vec<Sample> {
    let init = r#"{"pod_cidrs":["10.244.0.0/16"],"block_prefixes":[24],"encapsulation":"auto"}"#;
    let join = r#"{"addresses":["192.0.2.1"],"token":"podnet1.x","timeout_seconds":2.5}"#;
    let leave = r#"{"remove_pods":true}"#;
    let pod = r#"{"name":"red","netns":"/run/netns/red"}"#;
    let chunked = "POST /v1/leave HTTP/1.1\r\nHost: podnet\r\nTransfer-Encoding: chunked\r\n\r\n\
                   14\r\n{\"remove_pods\":true}\r\n0\r\n\r\n";
    let pipelined = [
        request("GET /v1/nodes", ""),
        request("DELETE /v1/pods/red", ""),
    ]
    .concat();
    [
        ("get-status", request("GET /v1/status", "")),
        ("get-pod", request("GET /v1/pods/red", "")),
        ("post-init", request("POST /v1/init", init)),
        ("post-join", request("POST /v1/join", join)),
        ("post-leave-chunked", chunked.as_bytes().to_vec()),
        ("post-pods", request("POST /v1/pods", pod)),
        ("pipelined", pipelined),
        ("init", init.as_bytes().to_vec()),
        ("join", join.as_bytes().to_vec()),
        ("leave", leave.as_bytes().to_vec()),
        ("pod", pod.as_bytes().to_vec()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

thread_local! {
    /// Its clock moves on when nothing else does: no deadline is waited for.
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
}

/// A connection comes to its end, and every answer is one of HTTP and podnet's.
async fn connection(bytes: &[u8]) {
    let (mut client, server) = tokio::io::duplex(PIPE);
    let (requests, mut asked) = mpsc::channel(8);
    let goes_on = GracefulShutdown::new();
    let watcher = goes_on.watcher();
    let serve = serve_connection(server, router(requests), Work::default(), watcher);
    // An event loop that answers nothing.
    let ignore = async { while asked.recv().await.is_some() {} };
    let ask = async {
        // An agent that has closed the connection takes no more.
        let _ = client.write_all(bytes).await;
        let _ = client.shutdown().await;
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        answer
    };
    let ((), (), answer) = tokio::join!(serve, ignore, ask);
    let answer = String::from_utf8_lossy(&answer);
    let is_http = answer.is_empty() || answer.starts_with("HTTP/1.");
    assert!(is_http && !answer.contains(" 500 "), "{answer}");
    for code in answer.split("\"code\":\"").skip(1) {
        let code = code.split('"').next().unwrap_or_default();
        let known = ErrorCode::ALL.iter().any(|known| known.as_str() == code);
        assert!(known, "{code}");
    }
}

/// A body reads, or is refused without a word of what is in it.
fn body<T: DeserializeOwned>(bytes: &[u8]) {
    if let Err(failure) = parse::<T>(bytes) {
        let message = failure.message();
        let told = message.strip_prefix("request body: it ");
        assert!(told.is_some_and(|told| told.len() < 60), "{message}");
    }
}

fn target(bytes: &[u8]) {
    body::<InitRequest>(bytes);
    body::<JoinRequest>(bytes);
    body::<LeaveRequest>(bytes);
    body::<PodRequest>(bytes);
    RUNTIME.with(|runtime| runtime.block_on(connection(bytes)));
    for path in ["/v1/init", "/v1/join", "/v1/leave", "/v1/pods"] {
        let length = bytes.len();
        let head = format!("POST {path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
        let whole = [head.as_bytes(), bytes].concat();
        RUNTIME.with(|runtime| runtime.block_on(connection(&whole)));
    }
}

#[test]
fn connections() {
    assert_corpus(file!(), "connections", &samples());
    bolero::check!(name = "connections")
        .with_iterations(INPUTS / 10)
        .for_each(target);
}

#[test]
fn damaged_connections() {
    bolero::check!(name = "damaged_connections")
        .with_iterations(INPUTS / 10)
        .with_generator(damaged(samples()))
        .for_each(|bytes: &Vec<u8>| target(bytes));
}
