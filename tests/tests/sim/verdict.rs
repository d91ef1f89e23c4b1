//! What a schedule led to.

use std::fmt;

/// Why a schedule fails.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// A rule of the protocol is broken.
    Broken(String),
    /// The members do not agree again.
    Stuck(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(what) => write!(f, "broken: {what}"),
            Self::Stuck(what) => write!(f, "no agreement: {what}"),
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
    pub(crate) steps: u64,
    pub(crate) slots: u64,
    /// How long after the last fault the members agreed, in milliseconds.
    pub(crate) convergence: u64,
    /// Blocks whose owner is nobody any more.
    pub(crate) leaks: u64,
}
