//! What goes wrong inside, as users see it: the code, the reason, the cure.

use std::io;
use std::net::SocketAddrV4;

use podnet_core::node::error::not_permitted;
pub(super) use podnet_core::node::error::{chain, observe, op};
use podnet_proto::{ApiError, ErrorCode};

use crate::control::ListenError;
use crate::gossip::{AskError, BindError, GossipError};
use crate::store::{Kind, StoreError};

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
        Kind::Peers => "remove the file: gossip brings its content again",
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

/// Why no member has answered the question before the join.
pub(super) fn unanswered(targets: &[SocketAddrV4], ask_error: &AskError) -> ApiError {
    let text = chain(ask_error);
    match ask_error {
        AskError::Bind(bind) => self::bind(bind, format!("join: {text}")),
        AskError::Silent { .. } | AskError::Forbidden { .. } | AskError::Unreachable { .. } => {
            let port = targets.first().map_or(0, SocketAddrV4::port);
            let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
            ApiError::new(
                ErrorCode::Unreachable,
                format!(
                    "join: no member answered at {} ({text}): the token is of another cluster, \
                     the address is wrong, another version of podnetd runs there, or a firewall drops \
                     UDP port {port}",
                    targets.join(", "),
                ),
            )
            .hint(
                "compare the token with 'podnetctl token show' on a member, its address with \
                 'podnetctl status' there, and let the port pass both hosts' firewalls",
            )
        }
        AskError::Seal(_) | AskError::Socket(_) => {
            ApiError::new(ErrorCode::Internal, format!("join: {text}"))
        }
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
