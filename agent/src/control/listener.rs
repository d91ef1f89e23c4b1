//! The unix socket.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::unistd::Group;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc};

use super::Request;
use super::routes::router;

/// The group whose members may use the socket.
const GROUP: &str = "podnet";

/// How many connections are served at a time; more wait.
const MAX_CONNECTIONS: usize = 128;

/// How long a connection may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the control socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} the control socket {}", path.display())]
pub struct ListenError {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The control socket. Removed when dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Makes the socket, for root and the group `podnet`; for root alone where there is no such
    /// group. One that a dead agent left there is replaced: only the holder of the state
    /// directory's lock may call this.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |verb| {
            let path = path.to_owned();
            move |source| ListenError { verb, path, source }
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed("create the directory of"))?;
        }
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("replace")(error)),
        }
        let socket = UnixListener::bind(path).map_err(failed("bind"))?;
        let group = Group::from_name(GROUP)
            .ok()
            .flatten()
            .map(|group| group.gid.as_raw());
        if group.is_none() {
            tracing::info!(
                group = GROUP,
                "no such group: the control socket is for root alone"
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

    /// Serves requests until it is dropped.
    pub async fn serve(self, requests: mpsc::Sender<Request>) {
        let service = TowerToHyperService::new(router(requests));
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, say: later it may work again.
                    tracing::warn!(%error, "control socket: accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let service = service.clone();
            tokio::spawn(async move {
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                if let Err(error) = served {
                    tracing::debug!(%error, "control socket: connection ended");
                }
                drop(place);
            });
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
