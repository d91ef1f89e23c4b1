//! The errors that users and their scripts meet: a closed list of codes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::token::redact;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, exit $exit:literal, http $http:literal;)*) => {
        /// What went wrong, for scripts. The list is closed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl ErrorCode {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as scripts see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The exit code of `podnetctl`.
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit,)* }
            }

            /// The status of the HTTP answer.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)* }
            }
        }
    };
}

error_codes! {
    /// The command, the request or the configuration is malformed.
    Usage = "usage", exit 2, http 400;
    /// A pod CIDR, block prefix or excluded CIDR is malformed or does not fit.
    BadCidr = "bad_cidr", exit 2, http 400;
    /// An address is malformed, or is none of this host's, or there are several to choose from.
    BadAddress = "bad_address", exit 2, http 400;
    /// The name of a node or pod is malformed.
    BadName = "bad_name", exit 2, http 400;
    /// The join token is malformed.
    BadToken = "bad_token", exit 2, http 400;
    /// The pod network overlaps a route or an address of this host.
    Overlap = "overlap", exit 2, http 400;
    /// This version, or this host, cannot do what is asked.
    Unsupported = "unsupported", exit 2, http 400;
    /// No agent answers on the socket.
    AgentUnreachable = "agent_unreachable", exit 3, http 503;
    /// There is no such object.
    NotFound = "not_found", exit 4, http 404;
    /// This node is a member already, with other settings.
    AlreadyMember = "already_member", exit 5, http 409;
    /// This node is not a member of a cluster.
    NotMember = "not_member", exit 5, http 409;
    /// This node belongs to another cluster.
    WrongCluster = "wrong_cluster", exit 5, http 409;
    /// The object exists with other properties, or is in the way.
    Exists = "exists", exit 5, http 409;
    /// Something that is not podnet's stands in podnet's place.
    ForeignObject = "foreign_object", exit 5, http 409;
    /// Another agent runs on the state directory.
    StateLocked = "state_locked", exit 5, http 409;
    /// The deadline passed.
    Timeout = "timeout", exit 124, http 503;
    /// Nobody answered.
    Unreachable = "unreachable", exit 1, http 503;
    /// No majority of the voters can be reached.
    NoQuorum = "no_quorum", exit 1, http 503;
    /// No block, or no address, is free.
    Full = "full", exit 1, http 503;
    /// This node has lost its block.
    Fenced = "fenced", exit 1, http 503;
    /// The port is taken.
    PortInUse = "port_in_use", exit 1, http 503;
    /// A capability or permission is missing.
    NotPermitted = "not_permitted", exit 1, http 503;
    /// A program that is needed is not installed.
    MissingBinary = "missing_binary", exit 1, http 503;
    /// A state file is damaged, of a newer version, or of another node.
    StateCorrupt = "state_corrupt", exit 1, http 503;
    /// Anything else: a defect, or a failure of the host.
    Internal = "internal", exit 1, http 500;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as users see it: what failed and why, and what cures it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// For scripts.
    pub code: ErrorCode,
    /// For people: `WHAT: WHY`, one line.
    pub message: String,
    /// What cures it, where something does.
    pub hint: Option<String>,
}

impl ApiError {
    /// An error without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a hint at what cures it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same without the join tokens that it quotes: one may have been typed anywhere.
    #[must_use]
    pub fn redacted(&self) -> Self {
        Self {
            code: self.code,
            message: redact(&self.message).into_owned(),
            hint: self.hint.as_deref().map(|hint| redact(hint).into_owned()),
        }
    }
}

/// The body of an HTTP error: problem details (RFC 9457) with podnet's `code` and `hint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: `code` names the kind.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// [`ApiError::message`].
    pub detail: String,
    /// [`ApiError::code`].
    pub code: ErrorCode,
    /// [`ApiError::hint`].
    pub hint: Option<String>,
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self {
            type_uri: "about:blank".to_owned(),
            title: error.code.as_str().replace('_', " "),
            status: error.code.http_status(),
            detail: error.message,
            code: error.code,
            hint: error.hint,
        }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code,
            message: problem.detail,
            hint: problem.hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_spelled_in_json_as_in_text() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        }
    }

    #[test]
    fn a_problem_carries_the_error_there_and_back() {
        let error = ApiError::new(ErrorCode::NotFound, "pod 'red': no such pod").hint("list them");
        assert_eq!(ApiError::from(Problem::from(error.clone())), error);
    }
}
