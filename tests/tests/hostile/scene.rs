//! What the tests start from, and how they ask.

use std::net::Ipv4Addr;
use std::time::Duration;

use podnet_lab::command::Output;
use podnet_lab::{Invitation, Lab, LabBuilder, LabError, Node, eventually};
use serde_json::Value;

/// How long anything may take that has to happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Agents notice the death of another after some ten of these.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(250);

/// Nodes whose agents belong to no cluster.
pub(crate) fn builder(nodes: u8) -> LabBuilder {
    Lab::builder()
        .nodes(nodes)
        .timing("gossip_interval", GOSSIP_INTERVAL)
}

/// Nodes whose agents belong to no cluster, and are up.
pub(crate) fn idle(nodes: u8) -> Lab {
    builder(nodes).up().unwrap()
}

/// Nodes that are one cluster, founded by the first.
pub(crate) fn cluster(nodes: u8) -> (Lab, Invitation) {
    let lab = idle(nodes);
    let invitation = lab.init_join_all().unwrap();
    (lab, invitation)
}

/// The nodes of a lab with `N` of them.
pub(crate) fn nodes<const N: usize>(lab: &Lab) -> [Node<'_>; N] {
    lab.nodes().try_into().unwrap()
}

/// Asks `podnetctl`, which must succeed with one document on its standard output.
#[track_caller]
pub(crate) fn ask(node: Node<'_>, words: &[&str]) -> Value {
    let output = ctl(node, words, "").unwrap();
    assert!(output.ok(), "{}: {words:?}: {output}", node.name());
    output.json().unwrap()
}

/// Why `podnetctl` refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) exit: i32,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Asks `podnetctl`, which must refuse with this code and exit code.
#[track_caller]
pub(crate) fn refused(node: Node<'_>, words: &[&str], expected: (&str, i32)) -> Refusal {
    refused_with(node, words, "", expected)
}

/// The same with a join token.
#[track_caller]
pub(crate) fn refused_with(
    node: Node<'_>,
    words: &[&str],
    token: &str,
    expected: (&str, i32),
) -> Refusal {
    let output = ctl(node, words, token).unwrap();
    let refusal = refusal(&output);
    assert_eq!(
        (refusal.code.as_str(), refusal.exit),
        expected,
        "{}: {words:?}: {output}",
        node.name()
    );
    refusal
}

/// Reads a refusal, which has one form for scripts and one for people.
#[track_caller]
pub(crate) fn refusal(output: &Output) -> Refusal {
    let document = output.json().unwrap();
    let error = &document["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    let message = text("message");
    assert!(!message.is_empty() && !message.contains('\n'), "{output}");
    let line = format!("error: {message}");
    let told = output.stderr.lines().filter(|told| **told == line).count();
    assert_eq!(told, 1, "{output}");
    Refusal {
        code: text("code"),
        exit: output.code,
        message,
        hint: text("hint"),
    }
}

/// Runs `podnetctl -o json`, with a join token where one is given.
pub(crate) fn ctl(node: Node<'_>, words: &[&str], token: &str) -> Result<Output, LabError> {
    let words = [&["-o", "json"], words].concat();
    let secret = [("PODNET_TOKEN", token)];
    let environment = if token.is_empty() { &[][..] } else { &secret };
    node.ctl_with(words, environment, 2 * LIMIT)
}

/// Asks over the control socket, as scripts without `podnetctl` do.
pub(crate) fn http(node: Node<'_>, method: &str, path: &str, body: &str) -> Response {
    let url = format!("http://podnet{path}");
    let words = [
        "curl",
        "--silent",
        "--show-error",
        "--unix-socket",
        "/run/podnet/podnet.sock",
        "--request",
        method,
        "--data",
        body,
        "--write-out",
        "\n%{http_code} %{content_type}",
        &url,
    ];
    let output = node.exec(words).unwrap().success("curl").unwrap();
    let (body, head) = output.stdout.rsplit_once('\n').unwrap();
    let (status, content_type) = head.split_once(' ').unwrap();
    Response {
        status: status.parse().unwrap(),
        content_type: content_type.to_owned(),
        body: serde_json::from_str(body).unwrap_or_default(),
    }
}

/// An answer over the control socket.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    /// `null` where there is none.
    pub(crate) body: Value,
}

/// `podnetctl status`.
#[track_caller]
pub(crate) fn status(node: Node<'_>) -> Value {
    ask(node, &["status"])
}

/// Waits until the status of a node is as wanted, and returns it.
#[track_caller]
pub(crate) fn status_where(node: Node<'_>, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let what = format!("{}: {what}", node.name());
    let look = || {
        let status = status(node);
        if wanted(&status) {
            Ok(status)
        } else {
            Err(status)
        }
    };
    eventually(LIMIT, &what, look).unwrap()
}

/// Waits until a node is ready and reaches all of its peers, and returns its status.
#[track_caller]
pub(crate) fn ready(node: Node<'_>, peers: usize) -> Value {
    status_where(node, &format!("ready, {peers} paths ok"), |status| {
        let paths = list(&status["peers"]);
        let ok = |peer: &&Value| peer["path"] == "ok" && peer["live"] == true;
        status["phase"] == "ready"
            && status["reconcile"]["passes"].as_u64() > Some(0)
            && paths.len() == peers
            && paths.iter().filter(ok).count() == peers
    })
}

/// The elements of a list.
#[track_caller]
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// A text.
#[track_caller]
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Adds a pod and returns its address.
#[track_caller]
pub(crate) fn add_pod(node: Node<'_>, name: &str) -> Ipv4Addr {
    let pod = ask(node, &["pod", "add", name]);
    let (address, _) = text(&pod["addresses"][0]).split_once('/').unwrap();
    address.parse().unwrap()
}

/// Runs a shell script in a node.
#[track_caller]
pub(crate) fn shell(node: Node<'_>, script: &str) -> String {
    let output = node.exec(["sh", "-ec", script]).unwrap();
    output.success(script).unwrap().stdout
}
