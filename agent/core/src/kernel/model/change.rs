//! The answers of the kernel when it refuses.

use std::fmt;

use crate::kernel::{OpError, OpErrorKind};

pub(super) fn foreign(object: impl fmt::Display) -> OpError {
    OpError::new(OpErrorKind::Foreign, format!("{object} is not podnet's"))
}

pub(super) fn missing(object: impl fmt::Display) -> OpError {
    OpError::new(OpErrorKind::NotFound, format!("{object} is not there"))
}

/// An answer that has no kind of its own, with its number in errno(3).
pub(super) fn refused(errno: i32, why: impl fmt::Display) -> OpError {
    OpError::new(OpErrorKind::Other(errno), why.to_string())
}
