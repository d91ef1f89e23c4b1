//! An agent that answers as a test tells it to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use podnet_proto::ApiError;
use podnet_proto::error::Problem;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A request that the agent was sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// `GET /v1/status`.
    pub(crate) line: String,
    /// `null` where there was none.
    pub(crate) body: Value,
}

/// What the agent does with a request.
pub(crate) enum Reply {
    /// Answers with this status and document.
    Json(u16, Value),
    /// Sends these bytes and closes the connection.
    Bytes(&'static [u8]),
    /// Never answers.
    Silence,
}

impl Reply {
    /// A 200 with a document.
    pub(crate) fn ok(document: Value) -> Self {
        Self::Json(200, document)
    }

    /// A refusal.
    pub(crate) fn refuse(error: ApiError) -> Self {
        let problem = Problem::from(error);
        Self::Json(problem.status, serde_json::to_value(problem).unwrap())
    }
}

/// An agent on a socket in a directory of its own; it ends with this value.
pub(crate) struct FakeAgent {
    directory: TempDir,
    requests: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl FakeAgent {
    /// Starts an agent that answers by `reply`.
    pub(crate) fn start(mut reply: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join("podnet.sock")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (seen, stop) = (Arc::clone(&requests), Arc::clone(&stopped));
        let server = thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let mut stream = stream.unwrap();
                let Some(request) = read_request(&mut stream) else {
                    continue;
                };
                seen.lock().unwrap().push(request.clone());
                match reply(&request) {
                    Reply::Json(status, document) => write_json(&mut stream, status, &document),
                    Reply::Bytes(bytes) => drop(stream.write_all(bytes)),
                    Reply::Silence => held.push(stream),
                }
            }
        });
        Self {
            directory,
            requests,
            stopped,
            server: Some(server),
        }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("podnet.sock")
    }

    /// A directory for the test's files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The first lines of the requests so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|r| r.line).collect()
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the server, which then sees that it is stopped.
        drop(UnixStream::connect(self.socket()));
        if let Some(server) = self.server.take() {
            let ended = server.join();
            assert!(
                ended.is_ok() || thread::panicking(),
                "the fake agent panicked"
            );
        }
    }
}

fn read_request(stream: &mut UnixStream) -> Option<Request> {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        line: first.trim().trim_end_matches(" HTTP/1.1").to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}

fn write_json(stream: &mut UnixStream, status: u16, document: &Value) {
    let body = document.to_string();
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // The program may have run into its deadline meanwhile.
    drop(stream.write_all((head + &body).as_bytes()));
}

/// A node that owns a block and reaches its one live peer.
pub(crate) fn ready() -> Value {
    serde_json::from_str(include_str!("fixtures/ready.json")).unwrap()
}

/// The same node before it was a member.
pub(crate) fn idle() -> Value {
    let mut status = without_block("idle");
    status["cluster"] = Value::Null;
    status["peers"] = json!([]);
    status["quorum"] = json!({"voters": 0, "reachable": 0, "ok": false});
    status
}

/// The same node in a phase in which it has no block.
pub(crate) fn without_block(phase: &str) -> Value {
    let mut status = ready();
    status["phase"] = json!(phase);
    status["blocks"] = json!([]);
    status["gateways"] = json!([]);
    status["problems"] = json!([]);
    status
}

/// A pod.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "name": name, "node": "node2", "state": "ready", "addresses": ["10.244.1.2/24"],
        "gateways": ["10.244.1.1"], "mac": "0a:58:0a:f4:01:02", "mtu": 1500,
        "netns": format!("/run/netns/{name}"), "ifname": "eth0", "host_ifname": "pn0a1b2c3d",
        "created_at": "2026-01-02T03:04:05Z", "labels": {}, "trusted": false
    })
}
