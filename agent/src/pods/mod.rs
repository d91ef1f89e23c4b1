//! Attaching and detaching one pod: what is done beside the event loop.

use std::path::Path;

use ipnetwork::IpNetwork;
use podnet_core::kernel::{
    Holding, IfName, Kind, Kinds, Made, NetnsState, ObserveError, Op, OpError, OpErrorKind,
    PodLink, connections, holding, neighbour, pod,
};

use podnet_core::node::AttachError;

use crate::dataplane::Dataplane;

/// Attaches a pod, whole or not at all. Returns the inode number of its namespace.
///
/// `reused` says whether another pod had one of its addresses: then the connections of that pod
/// are removed first. `taken` are the inode numbers of the namespaces that other pods have.
///
/// # Errors
/// When the path leads to no namespace, to the host's own, or is taken; or the kernel refuses.
pub async fn attach(
    dataplane: &dyn Dataplane,
    link: &PodLink,
    reused: bool,
    taken: &[u64],
) -> Result<u64, AttachError> {
    // A namespace that podnet is to make is checked when it is made.
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
    if reused {
        let addresses = link.addresses.iter().map(IpNetwork::ip);
        let flushes = addresses.map(|address| connections::Op::Flush(address).into());
        all(dataplane, &flushes.collect::<Vec<Op>>()).await?;
    }
    let attach = pod::Op::Attach(link.clone()).into();
    match all(dataplane, &[attach]).await?.as_slice() {
        [Made::Namespace(inode)] => Ok(*inode),
        _ => {
            detach(dataplane, link).await?;
            let path = link.netns.path.display();
            let why = format!("pod {}: its namespace {path} has vanished", link.pod);
            Err(OpError::new(OpErrorKind::NotFound, why))
        }
    }
}

/// Makes several changes; the first that fails counts.
async fn all(dataplane: &dyn Dataplane, ops: &[Op]) -> Result<Vec<Made>, OpError> {
    dataplane.apply(ops).await.into_iter().collect()
}

/// Detaches a pod. What is gone already is no error.
///
/// # Errors
/// When the kernel refuses.
pub async fn detach(dataplane: &dyn Dataplane, link: &PodLink) -> Result<(), OpError> {
    let netns = &link.netns;
    let own = match look(dataplane, &netns.path).await? {
        // Another program may have made another namespace at the path since.
        NetnsState::Netns { inode } => netns.inode.is_none_or(|own| own == inode),
        NetnsState::Host => false,
        NetnsState::Missing | NetnsState::NotANetns => true,
    };
    let detach = pod::Op::Detach {
        host_ifname: link.host_ifname.clone(),
        netns: (netns.made && own).then(|| netns.path.clone()),
    };
    let neighbours = link.addresses.iter().map(|address| {
        let (device, address) = (IfName::bridge(), address.ip());
        neighbour::Op::Delete { device, address }.into()
    });
    let release = holding::Op::Release {
        host_ifname: link.host_ifname.clone(),
        holding: Holding::of(link),
    };
    let ops: Vec<Op> = neighbours.chain([detach.into(), release.into()]).collect();
    all(dataplane, &ops).await.map(drop)
}

async fn look(dataplane: &dyn Dataplane, path: &Path) -> Result<NetnsState, OpError> {
    let kinds = Kinds::from([Kind::Namespace(path.to_owned())]);
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
    let observed = dataplane.observe(&kinds).await.map_err(failed)?;
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
