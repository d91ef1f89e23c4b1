//! What goes wrong inside, as users see it: the code, the reason, the cure.

use std::error::Error;
use std::io;

use podnet_core::kernel::{OpError, OpErrorKind};
use podnet_proto::{ApiError, ErrorCode};

use crate::control::ListenError;
use crate::dataplane::ObserveError;
use crate::gossip::{BindError, GossipError};
use crate::store::{Kind, StoreError};

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
        StoreError::Corrupt { kind, .. } => {
            ApiError::new(ErrorCode::StateCorrupt, text).hint(cure_of_damage(*kind))
        }
        StoreError::Newer { .. } => ApiError::new(ErrorCode::StateCorrupt, text)
            .hint("install the podnetd that wrote it, or a newer one"),
        StoreError::Older { .. } => ApiError::new(ErrorCode::StateCorrupt, text).hint(
            "found the cluster anew: 'podnetd cleanup --yes --purge' on each node while its agent is stopped, \
             then init and join; or go back to the podnetd that wrote it",
        ),
        StoreError::Foreign { .. } => ApiError::new(ErrorCode::StateCorrupt, text).hint(
            "the files were copied from another node: make this a new node with \
             'podnetd reset --new-identity', then join again",
        ),
        StoreError::Locked { .. } => ApiError::new(ErrorCode::StateLocked, text)
            .hint("stop that agent first, or use another --state-dir and --run-dir"),
        StoreError::NotADirectory { .. } => {
            ApiError::new(ErrorCode::Usage, text).hint("name a directory, or what can become one")
        }
        StoreError::Occupied { .. } => ApiError::new(ErrorCode::ForeignObject, text)
            .hint("name a directory of its own; podnet touches only what it made"),
        StoreError::Io { source, .. } => file_system(source, text),
    }
}

/// What cures a damaged state file.
const fn cure_of_damage(kind: Kind) -> &'static str {
    match kind {
        Kind::Identity | Kind::Epoch | Kind::Ledger | Kind::Cluster => {
            "restore the file from a backup; or make this a new node with \
             'podnetd reset --new-identity', then join again"
        }
        Kind::Peers => "remove the file: gossip tells again what was in it",
        Kind::Boot => {
            "reboot this host; or remove the file, and podnet takes the host for rebooted and \
             forgets its pods"
        }
        Kind::Pod => "remove the file: podnet forgets the pod and removes what is left of it",
        Kind::Freed => "remove the file: podnet forgets in which order addresses became free",
        Kind::Sysctls => {
            "remove the file: podnet then leaves kernel parameters as they are when it goes"
        }
    }
}

fn file_system(source: &io::Error, text: String) -> ApiError {
    use io::ErrorKind::{
        AlreadyExists, InvalidFilename, InvalidInput, NotADirectory, PermissionDenied,
        QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let kind = source.kind();
    if kind == PermissionDenied {
        ApiError::new(ErrorCode::NotPermitted, text).hint("run podnetd as root")
    } else if matches!(
        kind,
        AlreadyExists | InvalidFilename | InvalidInput | NotADirectory
    ) {
        ApiError::new(ErrorCode::Usage, text).hint("name another place")
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
    match error {
        ListenError::Taken { .. } => ApiError::new(ErrorCode::ForeignObject, text)
            .hint("name another place with --socket, or remove what is there"),
        ListenError::Io { source, .. } => file_system(source, text),
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
    ApiError::new(ErrorCode::NotPermitted, text).hint(
        "run podnetd as root, or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN, and with \
             CAP_SYS_PTRACE to find the namespaces of processes",
    )
}
