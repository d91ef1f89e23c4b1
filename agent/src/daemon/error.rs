//! What goes wrong inside, as users see it: the code, the reason, the cure.

use std::error::Error;
use std::io;

use podnet_core::kernel::{OpError, OpErrorKind};
use podnet_proto::{ApiError, ErrorCode};

use crate::control::ListenError;
use crate::dataplane::ObserveError;
use crate::gossip::{BindError, GossipError};
use crate::store::StoreError;

/// An error and all that caused it, in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

pub(super) fn store(error: &StoreError) -> ApiError {
    let text = chain(error);
    match error {
        StoreError::Corrupt { .. } => ApiError::new(ErrorCode::StateCorrupt, text).hint(
            "restore the file from a backup; or make this a new node with \
             'podnetd reset --new-identity', then join again",
        ),
        StoreError::Newer { .. } => ApiError::new(ErrorCode::StateCorrupt, text)
            .hint("install the podnet version that wrote it, or a later one"),
        StoreError::Foreign { .. } => ApiError::new(ErrorCode::StateCorrupt, text).hint(
            "the state directory was copied from another node: make this a new node with \
             'podnetd reset --new-identity', then join again",
        ),
        StoreError::Locked { .. } => ApiError::new(ErrorCode::StateLocked, text)
            .hint("stop that agent first, or use another --state-dir"),
        StoreError::Io { source, .. } => file_system(source, text),
    }
}

fn file_system(source: &io::Error, text: String) -> ApiError {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let kind = source.kind();
    if kind == PermissionDenied {
        ApiError::new(ErrorCode::NotPermitted, text).hint("run podnetd as root")
    } else if matches!(kind, StorageFull | QuotaExceeded) {
        ApiError::new(ErrorCode::Internal, text).hint("make room on the disk")
    } else if kind == ReadOnlyFilesystem {
        ApiError::new(ErrorCode::Internal, text)
            .hint("make the file system writable, or use another directory")
    } else {
        ApiError::new(ErrorCode::Internal, text)
    }
}

pub(super) fn observe(error: &ObserveError) -> ApiError {
    let text = chain(error);
    match error {
        ObserveError::MissingBinary { program } => missing_binary(program, text),
        ObserveError::NotPermitted { .. } => not_permitted(text),
        ObserveError::Timeout { .. } => ApiError::new(ErrorCode::Timeout, text),
        ObserveError::Failed { .. } => ApiError::new(ErrorCode::Internal, text),
    }
}

pub(super) fn op(error: &OpError) -> ApiError {
    let text = error.to_string();
    match &error.kind {
        OpErrorKind::Foreign => ApiError::new(ErrorCode::ForeignObject, text)
            .hint("remove it, or choose another name; podnet touches only what it made"),
        OpErrorKind::NotFound => ApiError::new(ErrorCode::NotFound, text),
        OpErrorKind::NotPermitted => not_permitted(text),
        OpErrorKind::Unsupported => ApiError::new(ErrorCode::Unsupported, text),
        OpErrorKind::Timeout => ApiError::new(ErrorCode::Timeout, text),
        OpErrorKind::MissingBinary(program) => missing_binary(program, text),
        OpErrorKind::Busy | OpErrorKind::Exhausted | OpErrorKind::Other(_) => {
            ApiError::new(ErrorCode::Internal, text)
        }
    }
}

pub(super) fn gossip(error: &GossipError) -> ApiError {
    let text = chain(error);
    match error {
        GossipError::Bind(bind) => self::bind(bind, text),
        GossipError::EpochTooHigh { .. }
        | GossipError::ValueTooLong { .. }
        | GossipError::Setup(_)
        | GossipError::Start { .. } => ApiError::new(ErrorCode::Internal, text),
    }
}

pub(super) fn bind(error: &BindError, text: String) -> ApiError {
    match error {
        BindError::PortInUse { .. } => ApiError::new(ErrorCode::PortInUse, text)
            .hint("stop what uses the port, or choose another with --gossip-port"),
        BindError::Forbidden { .. } => not_permitted(text),
        BindError::NotLocal { .. } => ApiError::new(ErrorCode::BadAddress, text),
        BindError::Other { .. } => ApiError::new(ErrorCode::Internal, text),
    }
}

pub(super) fn listen(error: &ListenError) -> ApiError {
    let text = chain(error);
    match error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
    {
        Some(source) => file_system(source, text),
        None => ApiError::new(ErrorCode::Internal, text),
    }
}

pub(super) fn signals(error: &io::Error) -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        format!("cannot handle signals: {error}"),
    )
}

fn missing_binary(program: &str, text: String) -> ApiError {
    ApiError::new(ErrorCode::MissingBinary, text).hint(format!(
        "install '{program}', for instance with 'apt-get install iptables'"
    ))
}

fn not_permitted(text: String) -> ApiError {
    ApiError::new(ErrorCode::NotPermitted, text)
        .hint("run podnetd as root, or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN")
}
