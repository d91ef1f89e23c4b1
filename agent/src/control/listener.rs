//! The unix socket.

use std::convert::Infallible;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderValue, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use nix::unistd::Group;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::Asked;
use super::connections::{Connections, Work};
use super::routes::{answer, router};

/// The group whose members may use the socket.
const GROUP: &str = "podnet";

/// How many connections are served at a time.
const MAX_CONNECTIONS: usize = 128;

/// How long a connection may ask nothing while other clients wait for its place.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much of a connection is read ahead, in bytes: the longest head of a request.
const READ_AHEAD: usize = 16 * 1024;

/// How long a connection may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait when no connection can be accepted.
const RETRY: Duration = Duration::from_millis(100);

/// How long what was asked may take to be answered when the agent stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long to wait for an agent that listens in the socket's place: the kernel may not be done yet with
/// an agent that was killed.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// Why the control socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Something that is no agent's socket is in its place, or another program listens there.
    #[error("control socket {}: {what} is there", path.display())]
    Taken {
        /// The place.
        path: PathBuf,
        /// What is in it.
        what: &'static str,
    },
    /// The file system refuses.
    #[error("cannot {verb} the control socket {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The control socket. Removed when dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Makes the socket, for root and the group `podnet`; for root alone if there is no such
    /// group. One that a dead agent left there is replaced.
    ///
    /// # Errors
    /// When something else is in its place, or the file system refuses.
    pub async fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |verb| {
            let path = path.to_owned();
            move |source| ListenError::Io { verb, path, source }
        };
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(failed("create the directory of"))?;
        }
        let began = Instant::now();
        while look_at(path)? == Found::Listener {
            if began.elapsed() >= LAST_BREATH {
                return Err(taken(path, "a socket that a program listens on"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if look_at(path)? == Found::LeftBehind {
            fs::remove_file(path).map_err(failed("replace"))?;
        }
        let socket = UnixListener::bind(path).map_err(failed("bind"))?;
        let group = Group::from_name(GROUP)
            .ok()
            .flatten()
            .map(|group| group.gid.as_raw());
        if group.is_none() {
            tracing::info!(
                group = GROUP,
                "no such group: the control socket is for root alone; for others, \
                 'groupadd --system podnet', then 'systemctl restart podnetd'"
            );
        }
        chown(path, Some(0), Some(group.unwrap_or(0))).map_err(failed("set the owner of"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))
            .map_err(failed("set the mode of"))?;
        Ok(Self {
            socket,
            path: path.to_owned(),
        })
    }

    /// Serves requests until `stop` ends. Then no client is let in any more, and what was asked has a moment
    /// to be answered.
    pub async fn serve(self, requests: mpsc::Sender<Asked>, stop: impl Future<Output = ()>) {
        let mut connections = Connections::at_most(MAX_CONNECTIONS, PATIENCE);
        let ending = GracefulShutdown::new();
        let router = router(requests);
        tokio::select! {
            () = self.let_in(&router, &mut connections, &ending) => {}
            () = stop => {}
        }
        let ended = tokio::time::timeout(LAST_ANSWERS, ending.shutdown()).await;
        if ended.is_err() {
            tracing::warn!(
                "control socket: connections are cut off that did not end by themselves"
            );
        }
    }

    async fn let_in(
        &self,
        router: &Router,
        connections: &mut Connections,
        ending: &GracefulShutdown,
    ) {
        loop {
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, say. Those of idle connections are given back.
                    let closed = connections.let_idle_go();
                    tracing::warn!(%error, closed, "control socket: accept failed");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            connections.make_room().await;
            let watcher = ending.watcher();
            connections.add(|work| serve_connection(stream, router.clone(), work, watcher));
        }
    }
}

/// What is in the place of the new socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A socket that no program listens on.
    LeftBehind,
    /// A socket that a program listens on.
    Listener,
}

fn taken(path: &Path, what: &'static str) -> ListenError {
    ListenError::Taken {
        path: path.to_owned(),
        what,
    }
}

fn look_at(path: &Path) -> Result<Found, ListenError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(taken(path, "something that podnet did not make"))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Found::LeftBehind),
            Ok(_) | Err(_) => Ok(Found::Listener),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(source) => Err(ListenError::Io {
            verb: "look at",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Serves one connection to its end.
pub(super) async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    router: Router,
    work: Work,
    ending: Watcher,
) {
    let service = service_fn(|request| {
        let (router, work) = (router.clone(), work.clone());
        async move {
            let mut response = answer(router, &work, request).await;
            if work.others_wait() {
                // RFC 9112, section 9.6: the last answer, however much more was asked already.
                let headers = response.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(READ_AHEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = ending.watch(connection).await {
        tracing::debug!(%error, "control socket: connection ended");
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use podnet_core::node::Response;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};

    use super::*;

    #[tokio::test]
    async fn a_client_that_asks_without_end_gives_its_place_to_another() {
        let long = Duration::from_secs(3600);
        let mut connections = Connections::at_most(1, long);
        let (requests, mut asked) = mpsc::channel::<Asked>(8);
        let router = router(requests);
        let ending = GracefulShutdown::new();
        let watcher = ending.watcher();
        let (client, server) = tokio::io::duplex(1 << 10);
        connections.make_room().await;
        connections.add(|work| serve_connection(server, router, work, watcher));
        let (mut answers, mut questions) = split(client);
        let ask = async {
            let request = b"GET /v1/status HTTP/1.1\r\nHost: podnet\r\n\r\n";
            while questions.write_all(request).await.is_ok() {}
        };
        let read = async {
            let mut text = String::new();
            answers.read_to_string(&mut text).await.unwrap();
            text
        };
        let answer = async {
            while let Some(asked) = asked.recv().await {
                let _ = asked.answer.send(Ok(Response::Done(())));
            }
        };
        let enough = Duration::from_secs(10);
        let gives = tokio::time::timeout(enough, connections.make_room());
        let (text, gives, (), ()) = tokio::join!(read, gives, ask, answer);
        gives.unwrap();
        assert!(text.matches("HTTP/1.1 200").count() > 0, "{text}");
        assert_eq!(text.matches("connection: close").count(), 1, "{text}");
        assert!(
            text.ends_with("\r\n\r\n"),
            "the last answer is whole: {text}"
        );
    }
}
