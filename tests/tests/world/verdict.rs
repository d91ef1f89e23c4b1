//! What a schedule led to.

use std::fmt;

/// Why a schedule fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Something happened that never may.
    Broken(String),
    /// All is quiet, and something is not as it should be.
    Unsettled(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(what) => write!(f, "broken: {what}"),
            Self::Unsettled(what) => write!(f, "all is quiet, and yet: {what}"),
        }
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Self::Broken(what)
    }
}

/// What a schedule led to.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Summary {
    /// How often nodes were handed something.
    pub(crate) inputs: u64,
    /// How often at most one of them was in a second.
    pub(crate) busiest: u32,
    /// How often kernels were changed.
    pub(crate) changes: u64,
    pub(crate) answers: u64,
    pub(crate) pods: u64,
    pub(crate) restarts: u64,
    /// How long after the last fault all was as it should be, in microseconds.
    pub(crate) settled: u64,
}
