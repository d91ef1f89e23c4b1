//! What goes wrong inside, as users see it: the code, the reason, the cure.

use std::error::Error;

use podnet_proto::{ApiError, ErrorCode};

use crate::kernel::{ObserveError, OpError, OpErrorKind};

/// An error and all that caused it, in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Why the kernel could not be looked at, for users.
#[must_use]
pub fn observe(error: &ObserveError) -> ApiError {
    let text = chain(error);
    match error {
        ObserveError::MissingBinary { program } => missing_binary(program, text),
        ObserveError::NotPermitted { .. } => not_permitted(text),
        ObserveError::Timeout { .. } => ApiError::new(ErrorCode::Timeout, text),
        ObserveError::Failed { .. } => ApiError::new(ErrorCode::Internal, text),
    }
}

/// Why a change failed, for users.
#[must_use]
pub fn op(error: &OpError) -> ApiError {
    let text = error.to_string();
    match &error.kind {
        OpErrorKind::Foreign => ApiError::new(ErrorCode::ForeignObject, text)
            .hint("remove it, or choose another name; podnet touches only what it made"),
        OpErrorKind::NotFound => ApiError::new(ErrorCode::NotFound, text),
        OpErrorKind::NotPermitted => not_permitted(text),
        OpErrorKind::ReadOnly => ApiError::new(ErrorCode::Internal, text).hint(
            "make /proc/sys writable with 'mount -o remount,rw /proc/sys' where podnetd runs, or give the \
             parameter its value yourself",
        ),
        OpErrorKind::Unsupported => ApiError::new(ErrorCode::Unsupported, text),
        OpErrorKind::Full => ApiError::new(ErrorCode::Full, text).hint(
            "remove pods that are not needed with 'podnetctl pod rm', or take what podnet did not plug into \
             its bridge out of it",
        ),
        OpErrorKind::Timeout => ApiError::new(ErrorCode::Timeout, text),
        OpErrorKind::MissingBinary(program) => missing_binary(program, text),
        OpErrorKind::Busy | OpErrorKind::Exhausted | OpErrorKind::Other(_) => {
            ApiError::new(ErrorCode::Internal, text)
        }
    }
}

fn missing_binary(program: &str, text: String) -> ApiError {
    ApiError::new(ErrorCode::MissingBinary, text).hint(format!(
        "install '{program}', for instance with 'apt-get install iptables'"
    ))
}

/// A capability is missing.
#[must_use]
pub fn not_permitted(text: String) -> ApiError {
    ApiError::new(ErrorCode::NotPermitted, text).hint(
        "run podnetd as root, or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN, and with \
             CAP_SYS_PTRACE to find the namespaces of processes",
    )
}
