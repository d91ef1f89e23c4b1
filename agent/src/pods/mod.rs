//! Attaching and detaching one pod: what is done beside the event loop.

use std::path::Path;

use ipnetwork::IpNetwork;
use podnet_core::kernel::{Holding, IfName, NetnsState, Op, OpError, OpErrorKind, PodLink, Scope};

use crate::dataplane::{Dataplane, ObserveError};

/// Why a pod is not attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachError {
    /// It cannot be, and nothing was done.
    Refused(OpError),
    /// The kernel refused; what was done is undone.
    Failed(OpError),
}

/// Attaches a pod, whole or not at all. Returns the inode number of its namespace.
///
/// `reused` tells whether another pod had one of its addresses: then the connections of that pod
/// are forgotten first. `taken` are the inode numbers of the namespaces that other pods have.
///
/// # Errors
/// When the path leads to no namespace, to the host's own, or is taken; or the kernel refuses.
pub async fn attach(
    dataplane: &dyn Dataplane,
    link: &PodLink,
    reused: bool,
    taken: &[u64],
) -> Result<u64, AttachError> {
    // One that is to be made is looked at where it is made.
    if !link.netns.made {
        look(dataplane, &link.netns.path)
            .await
            .and_then(|found| check(link, found, taken))
            .map_err(AttachError::Refused)?;
    }
    make(dataplane, link, reused)
        .await
        .map_err(AttachError::Failed)
}

async fn make(dataplane: &dyn Dataplane, link: &PodLink, reused: bool) -> Result<u64, OpError> {
    let path = &link.netns.path;
    if reused {
        let addresses = link.addresses.iter().map(IpNetwork::ip);
        let flushes: Vec<Op> = addresses.map(Op::FlushConnections).collect();
        dataplane
            .apply(&flushes)
            .await
            .into_iter()
            .collect::<Result<(), OpError>>()?;
    }
    dataplane
        .apply(&[Op::AttachPod(link.clone())])
        .await
        .into_iter()
        .collect::<Result<(), OpError>>()?;
    match look(dataplane, path).await {
        Ok(NetnsState::Netns { inode }) => Ok(inode),
        Ok(NetnsState::Missing | NetnsState::NotANetns | NetnsState::Host) => {
            detach(dataplane, link).await?;
            let path = path.display();
            let why = format!("pod {}: its namespace {path} has vanished", link.pod);
            Err(OpError::new(OpErrorKind::NotFound, why))
        }
        Err(error) => {
            detach(dataplane, link).await?;
            Err(error)
        }
    }
}

/// Detaches a pod. What is gone already is no error.
///
/// # Errors
/// When the kernel refuses.
pub async fn detach(dataplane: &dyn Dataplane, link: &PodLink) -> Result<(), OpError> {
    let netns = &link.netns;
    let own = match look(dataplane, &netns.path).await? {
        // Somebody may have made another namespace at the path since.
        NetnsState::Netns { inode } => netns.inode.is_none_or(|own| own == inode),
        NetnsState::Host => false,
        NetnsState::Missing | NetnsState::NotANetns => true,
    };
    let detach = Op::DetachPod {
        host_ifname: link.host_ifname.clone(),
        netns: (netns.made && own).then(|| netns.path.clone()),
    };
    let neighbours = link.addresses.iter().map(|address| Op::DeleteNeighbour {
        device: IfName::bridge(),
        address: address.ip(),
    });
    let release = Op::ReleasePod {
        host_ifname: link.host_ifname.clone(),
        holding: Holding::of(link),
    };
    let ops: Vec<Op> = neighbours.chain([detach, release]).collect();
    dataplane.apply(&ops).await.into_iter().collect()
}

async fn look(dataplane: &dyn Dataplane, path: &Path) -> Result<NetnsState, OpError> {
    let scope = Scope {
        netns: [path.to_owned()].into(),
        ..Scope::default()
    };
    let failed = |error: ObserveError| {
        let path = path.display();
        if matches!(error, ObserveError::NotPermitted { .. }) {
            let detail =
                format!("{path}: not permitted (is CAP_SYS_PTRACE or CAP_SYS_ADMIN missing?)");
            OpError::new(OpErrorKind::NotPermitted, detail)
        } else {
            OpError::new(OpErrorKind::Other(0), format!("{path}: {error}"))
        }
    };
    let observed = dataplane.observe(&scope).await.map_err(failed)?;
    Ok(observed
        .netns
        .get(path)
        .copied()
        .unwrap_or(NetnsState::Missing))
}

/// Decides whether a pod may be attached to what its path leads to, which podnet did not make.
fn check(link: &PodLink, found: NetnsState, taken: &[u64]) -> Result<(), OpError> {
    let refuse = |kind, why: &str| {
        let path = link.netns.path.display();
        Err(OpError::new(
            kind,
            format!("pod {}: {path} {why}", link.pod),
        ))
    };
    match found {
        NetnsState::Missing => refuse(OpErrorKind::NotFound, "does not exist"),
        NetnsState::NotANetns => refuse(OpErrorKind::Unsupported, "is not a network namespace"),
        NetnsState::Host => refuse(
            OpErrorKind::Unsupported,
            "is the host's own network namespace, which is never a pod's",
        ),
        NetnsState::Netns { inode } if taken.contains(&inode) => refuse(
            OpErrorKind::Foreign,
            "is the namespace of another pod already",
        ),
        NetnsState::Netns { .. } => Ok(()),
    }
}
