//! Why a request to the agent failed.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podnet_proto::{ApiError, ErrorCode};

/// Why a request to the agent failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody could be connected to; nothing was sent.
    #[error("no agent can be reached at {}", socket.display())]
    Unreachable {
        /// The path of the agent's socket.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection ended before the answer was complete: the agent was stopped, or it crashed.
    /// Whether it has done what was asked is unknown.
    #[error("the agent closed the connection before it had answered {request}")]
    Lost {
        /// Method and path.
        request: String,
        /// What happened to the connection.
        source: hyper::Error,
    },
    /// The agent did not answer in time. It may still do what was asked.
    #[error("the agent did not answer {request} within {after:.1?}")]
    Timeout {
        /// Method and path.
        request: String,
        /// How long was waited.
        after: Duration,
    },
    /// The agent refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The answer is not what the control API promises: something else listens there, or the agent
    /// is of a version that this client does not understand.
    #[error("the answer to {request} cannot be understood")]
    Malformed {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Unreachable { socket, source } => unreachable(&socket, &source),
            ClientError::Lost { .. } => Self::new(ErrorCode::AgentUnreachable, message)
                .hint("the agent was stopped or crashed: see its log, and ask again"),
            ClientError::Timeout { .. } => Self::new(ErrorCode::Timeout, message)
                .hint("the agent hangs or is busy: see its log, or wait longer"),
            ClientError::Api(error) => error,
            ClientError::Malformed { source, .. } => {
                Self::new(ErrorCode::Internal, format!("{message}: {source}")).hint(
                    "is it podnetd that listens on this socket, and of the same version? \
                     `podnetctl version` tells",
                )
            }
        }
    }
}

/// Says which of the usual causes it is: the errno alone does not help a user who has just typed a command.
fn unreachable(socket: &Path, source: &io::Error) -> ApiError {
    const START: &str = "start it with `systemctl start podnetd`, or name its socket";
    let kind = source.kind();
    let (why, hint) = if kind == io::ErrorKind::NotFound {
        ("there is no such socket".to_owned(), START)
    } else if kind == io::ErrorKind::ConnectionRefused {
        ("no agent listens there".to_owned(), START)
    } else if kind == io::ErrorKind::PermissionDenied {
        (
            "permission denied".to_owned(),
            "run as root, or as a member of the group podnet ('usermod -aG podnet USER', then log in \
             again); where that group is newer than the agent, 'systemctl restart podnetd' first",
        )
    } else {
        (source.to_string(), START)
    };
    ApiError::new(
        ErrorCode::AgentUnreachable,
        format!("agent at {}: {why}", socket.display()),
    )
    .hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable_by(kind: io::ErrorKind) -> ApiError {
        ClientError::Unreachable {
            socket: "/run/podnet/podnet.sock".into(),
            source: io::Error::from(kind),
        }
        .into()
    }

    #[test]
    fn the_usual_causes_have_words_and_a_cure() {
        let missing = unreachable_by(io::ErrorKind::NotFound);
        assert_eq!(missing.code, ErrorCode::AgentUnreachable);
        assert!(missing.message.contains("/run/podnet/podnet.sock"));
        assert!(missing.hint.unwrap().contains("systemctl start podnetd"));

        let forbidden = unreachable_by(io::ErrorKind::PermissionDenied);
        assert_eq!(forbidden.code, ErrorCode::AgentUnreachable);
        let hint = forbidden.hint.unwrap();
        assert!(
            hint.contains("group podnet ('usermod -aG podnet USER'"),
            "{hint}"
        );
        assert!(hint.contains("'systemctl restart podnetd'"), "{hint}");
    }

    #[test]
    fn a_refusal_of_the_agent_stays_what_it_is() {
        let refusal = ApiError::new(ErrorCode::NotFound, "pod 'red': no such pod").hint("list");
        assert_eq!(ApiError::from(ClientError::Api(refusal.clone())), refusal);
    }
}
