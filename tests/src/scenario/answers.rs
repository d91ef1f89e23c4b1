//! Asking `podnetctl` and the control socket, and how they refuse.

use podnet_proto::ErrorCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::waits::LIMIT;
use crate::command::Output;
use crate::error::LabError;
use crate::node::Node;

/// The document that `podnetctl -o json` refuses by.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    error: Fault,
}

/// An error of the API, and nothing besides.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    code: ErrorCode,
    message: String,
    hint: Option<String>,
}

/// Why `podnetctl` refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For scripts.
    pub code: ErrorCode,
    /// The exit code.
    pub exit: i32,
    /// What failed, and why.
    pub message: String,
    /// What cures it; empty where nothing does.
    pub hint: String,
}

/// Asks `podnetctl`, which must refuse with this code, and the exit code that goes with it.
#[track_caller]
pub fn refused(node: Node<'_>, words: &[&str], expected: ErrorCode) -> Refusal {
    refused_with(node, words, "", expected)
}

/// The same with a join token.
#[track_caller]
pub fn refused_with(node: Node<'_>, words: &[&str], token: &str, expected: ErrorCode) -> Refusal {
    let output = node.ctl_json(words, token).unwrap();
    let refusal = refusal(&output);
    assert_eq!(
        (refusal.code, refusal.exit),
        (expected, i32::from(expected.exit_code())),
        "{}: {words:?}: {output}",
        node.name()
    );
    refusal
}

/// Reads a refusal, which has one form for scripts and one for people.
#[must_use]
#[track_caller]
pub fn refusal(output: &Output) -> Refusal {
    let failure: Failure = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("no refusal: {error}: {output}"));
    let Fault {
        code,
        message,
        hint,
    } = failure.error;
    assert!(!output.ok(), "{output}");
    assert!(!message.is_empty() && !message.contains('\n'), "{output}");
    let line = format!("error: {message}");
    let told = output.stderr.lines().filter(|told| **told == line).count();
    assert_eq!(told, 1, "{output}");
    Refusal {
        code,
        exit: output.code,
        message,
        hint: hint.unwrap_or_default(),
    }
}

/// An answer over the control socket.
#[derive(Debug)]
pub struct HttpAnswer {
    /// 200, and so on.
    pub status: u16,
    /// What kind of document the body is.
    pub content_type: String,
    /// `null` where there is none.
    pub body: Value,
}

impl Node<'_> {
    /// Runs `podnetctl -o json`, with a join token unless that is empty.
    ///
    /// # Errors
    /// As [`Node::ctl`].
    pub fn ctl_json(&self, words: &[&str], token: &str) -> Result<Output, LabError> {
        let words = [&["-o", "json"], words].concat();
        let secret = [("PODNET_TOKEN", token)];
        let environment = if token.is_empty() { &[][..] } else { &secret };
        self.ctl_with(words, environment, 2 * LIMIT)
    }

    /// Asks `podnetctl`, which must succeed with one document on its standard output.
    #[must_use]
    #[track_caller]
    pub fn ask<T: DeserializeOwned>(&self, words: &[&str]) -> T {
        let output = self.ctl_json(words, "").unwrap();
        assert!(output.ok(), "{}: {words:?}: {output}", self.name());
        serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{}: {words:?}: {error}: {output}", self.name()))
    }

    /// Asks `podnetctl` of an agent that may be away.
    ///
    /// # Errors
    /// What it said instead of a document.
    pub fn try_ask<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T, String> {
        let output = self.ctl_json(words, "").map_err(|e| e.to_string())?;
        let output = output.success("podnetctl").map_err(|e| e.to_string())?;
        serde_json::from_str(&output.stdout).map_err(|e| format!("{e}: {output}"))
    }

    /// Has `podnetctl` do something, which must succeed.
    #[track_caller]
    pub fn tell(&self, words: &[&str]) {
        let _: Value = self.ask(words);
    }

    /// Asks over the control socket, as scripts without `podnetctl` do.
    #[must_use]
    #[track_caller]
    pub fn http(&self, method: &str, path: &str, body: &str) -> HttpAnswer {
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
        let output = self.exec(words).unwrap().success("curl").unwrap();
        let (body, head) = output.stdout.rsplit_once('\n').unwrap();
        let (status, content_type) = head.split_once(' ').unwrap();
        HttpAnswer {
            status: status.parse().unwrap(),
            content_type: content_type.to_owned(),
            body: serde_json::from_str(body).unwrap_or_default(),
        }
    }
}
