//! What can go wrong in a lab.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use podnet_proto::{ApiError, ErrorCode};

use crate::name::LabName;

/// Why something could not be done with a lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The name of a lab is malformed.
    #[error("'{name}' is not a valid lab name: 1 to 32 of a-z, 0-9 and '-'")]
    BadName {
        /// What was given, escaped.
        name: String,
    },
    /// What is asked does not fit into a lab.
    #[error("{what}")]
    Unsupported {
        /// What it is, and what the limit is.
        what: String,
    },
    /// There is no lab of that name.
    #[error("lab '{lab}': no such lab")]
    NoLab {
        /// Its name.
        lab: LabName,
    },
    /// The lab has no such member.
    #[error("node '{member}': no such node in lab '{lab}'")]
    NoMember {
        /// The lab.
        lab: LabName,
        /// What was asked for.
        member: String,
    },
    /// A lab of that name exists, but not the one that was asked for.
    #[error("lab '{lab}': exists already, {difference}")]
    Exists {
        /// Its name.
        lab: LabName,
        /// How it differs.
        difference: String,
    },
    /// The namespaces of a member are gone: somebody killed their holder, or the host was
    /// rebooted over a lab directory that is on disk.
    #[error("{member} of lab '{lab}': its namespaces are gone")]
    Broken {
        /// The lab.
        lab: LabName,
        /// Who has lost them.
        member: String,
    },
    /// The caller stands inside of the lab that it wants to change or to take down.
    #[error("lab '{lab}': cannot be changed from inside")]
    Inside {
        /// Its name.
        lab: LabName,
    },
    /// No agent of this node is running.
    #[error("agent of {node}: not running")]
    AgentDown {
        /// The lab.
        lab: LabName,
        /// The node.
        node: String,
    },
    /// There is no saved state of this node.
    #[error("state of {node}: not saved")]
    NotSaved {
        /// The lab.
        lab: LabName,
        /// The node.
        node: String,
    },
    /// The agent ended before it answered.
    #[error("agent of {node}: ended at once: {log}")]
    AgentEnded {
        /// The node.
        node: String,
        /// The end of its log.
        log: String,
    },
    /// A program is not where the lab looks for it.
    #[error("{program}: not found in {dir}")]
    MissingProgram {
        /// The file name.
        program: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The kernel refused something for want of privilege.
    #[error("{what}: not permitted")]
    NotPermitted {
        /// What was tried.
        what: String,
    },
    /// A system call failed.
    #[error("{what}")]
    System {
        /// What was tried, with its object.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A command of the lab itself failed.
    #[error("{what}: {reason}")]
    Command {
        /// What it was to do.
        what: String,
        /// What it said, or its exit status.
        reason: String,
    },
    /// An agent refused what the lab asked of it.
    #[error("{what}: {error}")]
    Refused {
        /// What was asked.
        what: String,
        /// The agent's answer.
        error: ApiError,
    },
    /// A file of the lab's own does not parse.
    #[error("{path}", path = path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Where it fails to parse.
        source: serde_json::Error,
    },
    /// A deadline passed.
    #[error("{what}: not within {limit:?}: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// What was seen last.
        last: String,
    },
    /// A signal asked the program to end.
    #[error("interrupted")]
    Interrupted,
}

impl LabError {
    /// An error of the system, told apart from a want of privilege.
    pub fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let (what, source) = (what.into(), source.into());
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::NotPermitted { what }
        } else {
            Self::System { what, source }
        }
    }

    /// The code for scripts.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::BadName { .. } => ErrorCode::BadName,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::NoLab { .. } | Self::NoMember { .. } | Self::NotSaved { .. } => {
                ErrorCode::NotFound
            }
            Self::Exists { .. } | Self::Inside { .. } => ErrorCode::Exists,
            Self::AgentDown { .. } => ErrorCode::AgentUnreachable,
            Self::MissingProgram { .. } => ErrorCode::MissingBinary,
            Self::NotPermitted { .. } => ErrorCode::NotPermitted,
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::Refused { error, .. } => error.code,
            Self::Broken { .. }
            | Self::AgentEnded { .. }
            | Self::System { .. }
            | Self::Command { .. }
            | Self::Record { .. }
            | Self::Interrupted => ErrorCode::Internal,
        }
    }

    /// What cures it, where something does.
    fn cure(&self) -> Option<String> {
        match self {
            Self::NoLab { lab } => Some(format!("start it: podnet-lab --lab {lab} up")),
            Self::NoMember { lab, .. } => Some(format!("list them: podnet-lab --lab {lab} status")),
            Self::Exists { lab, .. } | Self::Broken { lab, .. } => {
                Some(format!("take it down first: podnet-lab --lab {lab} down"))
            }
            Self::Inside { .. } => Some("call it on the host".to_owned()),
            Self::AgentDown { lab, node } => {
                Some(format!("start it: podnet-lab --lab {lab} start {node}"))
            }
            Self::NotSaved { lab, node } => {
                Some(format!("save it first: podnet-lab --lab {lab} save {node}"))
            }
            Self::MissingProgram { .. } => {
                Some("build the workspace, or set PODNET_BIN_DIR".to_owned())
            }
            Self::NotPermitted { .. } => Some("run it as root".to_owned()),
            Self::Refused { error, .. } => error.hint.clone(),
            Self::BadName { .. }
            | Self::Unsupported { .. }
            | Self::AgentEnded { .. }
            | Self::System { .. }
            | Self::Command { .. }
            | Self::Record { .. }
            | Self::Timeout { .. }
            | Self::Interrupted => None,
        }
    }

    /// The error as users see it, in the form that all programs of podnet share.
    #[must_use]
    pub fn report(&self) -> ApiError {
        let mut message = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        ApiError {
            code: self.code(),
            message,
            hint: self.cure(),
        }
    }
}
