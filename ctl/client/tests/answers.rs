//! What the client makes of good and bad answers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use podnet_client::{Client, ClientError};
use podnet_proto::api::PodRequest;
use podnet_proto::{ApiError, ErrorCode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A listener in a directory of its own, and a client of it.
fn listen() -> (TempDir, UnixListener, Client) {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("podnet.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    (directory, listener, Client::new(socket, TIMEOUT))
}

/// Takes one request, sends `answer`, and gives back what was asked.
async fn serve_one(listener: &UnixListener, answer: &str) -> String {
    let (mut stream, request) = take_one(listener).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    request
}

/// Takes one request.
async fn take_one(listener: &UnixListener) -> (UnixStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !complete(&request) {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        assert_ne!(read, 0, "the client has gone");
        request.extend_from_slice(&chunk[..read]);
    }
    (stream, String::from_utf8(request).unwrap())
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().unwrap())
    });
    body.len() >= length.unwrap_or(0)
}

fn http(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_list_is_read() {
    let (_directory, listener, client) = listen();
    let answer = http(200, "[]");
    let (pods, request) = tokio::join!(client.pods(), serve_one(&listener, &answer));
    assert_eq!(pods.unwrap(), []);
    assert!(
        request.starts_with("GET /v1/pods HTTP/1.1\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn a_body_is_sent() {
    let (_directory, listener, client) = listen();
    let answer = http(
        409,
        r#"{"type":"about:blank","title":"exists","status":409,
        "detail":"pod red: exists","code":"exists","hint":null}"#,
    );
    let red = PodRequest {
        name: "red".to_owned(),
        ..PodRequest::default()
    };
    let (pod, request) = tokio::join!(client.add_pod(&red), serve_one(&listener, &answer));
    let expected = ApiError::new(ErrorCode::Exists, "pod red: exists");
    assert!(matches!(pod.unwrap_err(), ClientError::Api(error) if error == expected));
    assert!(
        request.starts_with("POST /v1/pods HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.ends_with(r#"{"name":"red","netns":null,"pid":null,"trusted":false}"#),
        "{request}"
    );
}

#[tokio::test]
async fn answers_that_make_no_sense_are_malformed() {
    let no_problem = http(502, "<h1>Bad gateway</h1>");
    for answer in ["banana\r\n\r\n", &http(200, "{"), &no_problem] {
        let (_directory, listener, client) = listen();
        let (pods, _) = tokio::join!(client.pods(), serve_one(&listener, answer));
        let error = pods.unwrap_err();
        assert!(
            matches!(error, ClientError::Malformed { .. }),
            "{answer}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let (_directory, listener, client) = listen();
    let endless = async {
        let (mut stream, _) = take_one(&listener).await;
        stream.write_all(b"HTTP/1.1 200 x\r\n\r\n").await.unwrap();
        let blanks = vec![b' '; 1 << 20];
        while stream.write_all(&blanks).await.is_ok() {}
    };
    let (pods, ()) = tokio::join!(client.pods(), endless);
    let error = pods.unwrap_err();
    assert!(matches!(error, ClientError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_ends_early_is_lost() {
    for answer in ["", "HTTP/1.1 200 x\r\ncontent-length: 5\r\n\r\n["] {
        let (_directory, listener, client) = listen();
        let (pods, _) = tokio::join!(client.pods(), serve_one(&listener, answer));
        let error = pods.unwrap_err();
        assert!(
            matches!(error, ClientError::Lost { .. }),
            "{answer}: {error:?}"
        );
    }
}

#[tokio::test]
async fn silence_ends_at_the_limit() {
    let (_directory, _listener, client) = listen();
    let error = client
        .within(Duration::from_millis(100))
        .status()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_full_backlog_is_waited_for_and_not_refused() {
    let (_directory, listener, client) = listen();
    let mut waiting = Vec::new();
    let started = Instant::now();
    // The listener accepts nobody: sooner or later the kernel refuses with EAGAIN.
    while started.elapsed() < TIMEOUT {
        match UnixStream::connect(client.socket()).await {
            Ok(stream) => waiting.push(stream),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                break;
            }
        }
    }
    let accept = async {
        for _ in 0..waiting.len() {
            drop(listener.accept().await.unwrap());
        }
        serve_one(&listener, &http(200, "[]")).await
    };
    let (pods, _) = tokio::join!(client.pods(), accept);
    assert_eq!(pods.unwrap(), []);
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_unreachable() {
    let error = Client::new("/nonexistent/podnet.sock", TIMEOUT)
        .pods()
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
}
