//! Why the kernel could not be looked at, or refused a change.

/// Why a change failed, in terms that a decision can be made on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpErrorKind {
    /// Something foreign is in the way.
    Foreign,
    /// What the change builds on is not there (yet).
    NotFound,
    /// The kernel or a lock is busy.
    Busy,
    /// A capability is missing.
    NotPermitted,
    /// The kernel, or this host, does not support the change.
    Unsupported,
    /// No memory, no table space.
    Exhausted,
    /// The bridge has no port left.
    Full,
    /// The deadline passed.
    Timeout,
    /// A kernel parameter is to be set, and `/proc/sys` is read-only.
    ReadOnly,
    /// A program that is needed is not installed; its name.
    MissingBinary(String),
    /// The kernel refused for another reason; its errno, 0 if there is none.
    Other(i32),
}

/// What to do about a failed change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpErrorClass {
    /// Try again soon.
    Transient,
    /// Trying again helps only when something else has changed.
    Permanent,
}

/// A change that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct OpError {
    /// Why.
    pub kind: OpErrorKind,
    /// The reason in words, with the object's name.
    pub detail: String,
}

impl OpError {
    /// A failed change.
    pub fn new(kind: OpErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn class(&self) -> OpErrorClass {
        match self.kind {
            OpErrorKind::NotFound
            | OpErrorKind::Busy
            | OpErrorKind::Exhausted
            | OpErrorKind::Full
            | OpErrorKind::Timeout
            | OpErrorKind::ReadOnly
            | OpErrorKind::Other(_) => OpErrorClass::Transient,
            OpErrorKind::Foreign
            | OpErrorKind::NotPermitted
            | OpErrorKind::Unsupported
            | OpErrorKind::MissingBinary(_) => OpErrorClass::Permanent,
        }
    }
}

/// Why the kernel could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// The kernel did not answer in time.
    #[error("{what}: no answer from the kernel")]
    Timeout {
        /// What was asked for.
        what: &'static str,
    },
    /// A program that is needed is not installed.
    #[error("'{program}' is not installed")]
    MissingBinary {
        /// Its name.
        program: String,
    },
    /// A capability is missing.
    #[error("{what}: not permitted")]
    NotPermitted {
        /// What was asked for.
        what: &'static str,
    },
    /// Anything else.
    #[error("{what}: {detail}")]
    Failed {
        /// What was asked for.
        what: &'static str,
        /// What the kernel or the program answered.
        detail: String,
    },
}

impl ObserveError {
    /// What to do about it.
    #[must_use]
    pub const fn class(&self) -> OpErrorClass {
        match self {
            Self::Timeout { .. } | Self::Failed { .. } => OpErrorClass::Transient,
            Self::MissingBinary { .. } | Self::NotPermitted { .. } => OpErrorClass::Permanent,
        }
    }
}
