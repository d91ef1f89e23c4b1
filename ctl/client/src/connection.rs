//! One exchange with the agent: connect, send, read the answer.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::ClientError;

/// The longest answer that is read, in bytes. The longest real one is the list of the pods of a
/// node with a huge block: half a KiB for each.
const MAX_ANSWER: usize = 64 << 20;

/// How long to wait before another try to connect while the agent's backlog is full.
const BACKLOG_PAUSE: Duration = Duration::from_millis(10);

/// The agent's answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Sends one request on a connection of its own and reads the whole answer. Has no deadline: that
/// is the caller's.
pub(crate) async fn exchange(
    socket: &Path,
    request: Request<Full<Bytes>>,
) -> Result<Answer, ClientError> {
    let label = format!("{} {}", request.method(), request.uri().path());
    let stream = connect(socket)
        .await
        .map_err(|source| ClientError::Unreachable {
            socket: socket.to_owned(),
            source,
        })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&label, error))?;
    let mut answer = pin!(async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(&label, error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => failed(&label, *error),
                Err(source) => ClientError::Malformed {
                    request: label.clone(),
                    source,
                },
            })?
            .to_bytes();
        Ok(Answer { status, body })
    });
    // The connection must be driven while the answer is waited for. Here, and not in a task: the
    // request ends with this future, and the caller may be about to `exec`.
    tokio::select! {
        answer = &mut answer => answer,
        // How the connection ended, the answer knows as well.
        _ = connection => answer.await,
    }
}

/// Connects. Unlike TCP, a unix socket whose backlog is full refuses at once with `EAGAIN`
/// (connect(2)); an agent that is merely slow deserves the caller's whole deadline.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(BACKLOG_PAUSE).await;
            }
            done => return done,
        }
    }
}

fn failed(request: &str, error: hyper::Error) -> ClientError {
    let request = request.to_owned();
    if error.is_parse() {
        ClientError::Malformed {
            request,
            source: Box::new(error),
        }
    } else {
        ClientError::Lost {
            request,
            source: error,
        }
    }
}
