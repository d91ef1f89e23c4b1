//! Attaching and repairing pods: a veth pair between the pod's namespace and the bridge.

use std::iter;
use std::os::fd::{AsFd, AsRawFd};

use futures::future::join;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};
use podnet_core::kernel::{BRIDGE, Holding, IfName, OpError, OpErrorKind, PodLink};
use podnet_proto::network::MAX_PORTS;

use super::super::errno::{Errno, KernelError};
use super::super::link::{self, HOST_END_GROUP, Link};
use super::super::netns::{self, Entered, Inside};
use super::super::sysctl;
use super::super::{Host, address, bridge, holding, neighbour};
use super::carrier::{self, Way};
use super::{inside, port};

/// Attaches a pod, whole or not at all; returns the inode number of its namespace.
pub(super) async fn attach(host: &Host, pod: &PodLink) -> Result<u64, OpError> {
    let bridge = IfName::bridge();
    let (bridge, entered) =
        join(bridge::ours(&host.socket, &bridge), open_or_make(host, pod)).await;
    let (namespace, made) = entered?;
    let attached = match bridge {
        Ok(bridge) => plug_in(host, pod, &bridge, &namespace).await,
        Err(error) => Err(error),
    };
    if attached.is_err() && made {
        // The first error counts.
        let _ = netns::delete(&pod.netns.path).await;
    }
    attached.map(|()| namespace.netns.inode())
}

/// Puts right what differs in an attached pod.
pub(super) async fn repair(host: &Host, pod: &PodLink) -> Result<(), OpError> {
    let bridge = bridge::ours(&host.socket, &IfName::bridge()).await?;
    let namespace = open(host, pod).await?.ok_or_else(|| missing(pod))?;
    match pair(host, pod, &namespace).await? {
        Pair::Whole { host_end, pod_end } => {
            set_right(host, pod, &bridge, &namespace, &host_end, &pod_end).await
        }
        Pair::Foreign(found) => Err(foreign(pod, &found)),
        Pair::Absent | Pair::OtherHalf(_) => Err(OpError::new(
            OpErrorKind::NotFound,
            format!("pod {}: {} does not lead to it", pod.pod, pod.host_ifname),
        )),
    }
}

fn missing(pod: &PodLink) -> OpError {
    let path = pod.netns.path.display();
    let detail = format!("pod {}: {path} is no network namespace", pod.pod);
    OpError::new(OpErrorKind::NotFound, detail)
}

fn foreign(pod: &PodLink, found: &str) -> OpError {
    let detail = format!(
        "host end {} of pod {}: {found} has that name",
        pod.host_ifname, pod.pod
    );
    OpError::new(OpErrorKind::Foreign, detail)
}

/// Opens the pod's namespace; `None` if there is none.
async fn open(host: &Host, pod: &PodLink) -> Result<Option<Inside>, OpError> {
    let entered = netns::enter(&pod.netns.path, host.driver.runtime()).await;
    let entered = entered.map_err(|error| error.at(namespace(pod)))?;
    entered.map(|found| expected(host, pod, found)).transpose()
}

/// Opens the pod's namespace, or makes it where that is podnet's to do; and whether it was made.
async fn open_or_make(host: &Host, pod: &PodLink) -> Result<(Inside, bool), OpError> {
    // One that it has had is not made anew: a pod whose namespace has vanished is gone.
    if !pod.netns.made || pod.netns.inode.is_some() {
        let found = open(host, pod).await?.ok_or_else(|| missing(pod))?;
        return Ok((found, false));
    }
    match netns::enter_or_make(&pod.netns.path, host.driver.runtime()).await {
        Ok(Entered::Made(made)) => Ok((made, true)),
        Ok(Entered::Found(found)) => {
            let found = expected(host, pod, found)?;
            // One that podnet is still to make is podnet's own, as after a crash, only where the
            // pod's veth leads into it.
            if !matches!(pair(host, pod, &found).await?, Pair::Whole { .. }) {
                return Err(path_taken(pod));
            }
            Ok((found, false))
        }
        Err(error) if error.is(Errno::Exists) => Err(path_taken(pod)),
        Err(error) => Err(error.at(namespace(pod))),
    }
}

/// Checks that a namespace is the pod's.
fn expected(host: &Host, pod: &PodLink, found: Inside) -> Result<Inside, OpError> {
    let inode = found.netns.inode();
    if inode == host.netns_inode {
        let detail = format!("{}: it is the host's own", namespace(pod));
        return Err(OpError::new(OpErrorKind::Foreign, detail));
    }
    if pod.netns.inode.is_some_and(|expected| expected != inode) {
        let detail = format!("{}: it is another one by now", namespace(pod));
        return Err(OpError::new(OpErrorKind::NotFound, detail));
    }
    Ok(found)
}

fn namespace(pod: &PodLink) -> String {
    format!("namespace {}", pod.netns.path.display())
}

fn path_taken(pod: &PodLink) -> OpError {
    let detail = format!("{}: something else has that name", namespace(pod));
    OpError::new(OpErrorKind::Foreign, detail)
}

/// Makes the veth pair and sets both ends up; or makes right the pair that is there.
async fn plug_in(
    host: &Host,
    pod: &PodLink,
    bridge: &Link,
    namespace: &Inside,
) -> Result<(), OpError> {
    let created = match create_pair(host, pod, bridge, namespace).await {
        Err(error) if error.is(Errno::Exists) => match pair(host, pod, namespace).await? {
            Pair::Whole { host_end, pod_end } => {
                return set_right(host, pod, bridge, namespace, &host_end, &pod_end).await;
            }
            Pair::Foreign(found) => return Err(foreign(pod, &found)),
            Pair::Absent => return Err(name_taken_inside(pod)),
            // It leads to a namespace that is no more, or not this pod's any more.
            Pair::OtherHalf(stale) => {
                remove(host, &stale)
                    .await
                    .map_err(|error| error.at(object(pod)))?;
                match create_pair(host, pod, bridge, namespace).await {
                    Err(error) if error.is(Errno::Exists) => return Err(name_taken_inside(pod)),
                    created => created,
                }
            }
        },
        created => created,
    };
    let (host_end, pod_end) = created.map_err(|error| match error {
        error if error.is(Errno::Full) => no_port_left(pod),
        error => error.at(object(pod)),
    })?;
    if let Err(error) = finish(host, pod, bridge, namespace, (host_end, pod_end)).await {
        undo(host, pod, bridge, host_end).await;
        return Err(error);
    }
    let way = Way {
        bridge: bridge.index,
        host_end,
        pod_end,
    };
    carrier::await_packets(&host.socket, &namespace.socket, way).await;
    Ok(())
}

fn object(pod: &PodLink) -> String {
    format!("host end {} of pod {}", pod.host_ifname, pod.pod)
}

fn no_port_left(pod: &PodLink) -> OpError {
    let detail = format!(
        "pod {}: all {MAX_PORTS} ports of the bridge {BRIDGE} are in use, as many as Linux gives to one",
        pod.pod
    );
    OpError::new(OpErrorKind::Full, detail)
}

fn name_taken_inside(pod: &PodLink) -> OpError {
    let detail = format!(
        "pod {}: an interface {} that podnet did not make is in {}",
        pod.pod,
        pod.ifname,
        pod.netns.path.display()
    );
    OpError::new(OpErrorKind::Foreign, detail)
}

/// Makes the pair in one message: the host end is born as a port of the bridge, the pod's end
/// inside of the namespace. (To move it there later takes the kernel about 15 ms.)
async fn create_pair(
    host: &Host,
    pod: &PodLink,
    bridge: &Link,
    namespace: &Inside,
) -> Result<(u32, u32), KernelError> {
    let mut peer = link::named(&pod.ifname);
    peer.attributes.extend([
        LinkAttribute::Address(pod.mac.0.to_vec()),
        LinkAttribute::Mtu(pod.mtu.0),
        LinkAttribute::NetNsFd(namespace.netns.as_fd().as_raw_fd()),
    ]);
    let mut message = link::named(&pod.host_ifname);
    message.attributes.extend([
        LinkAttribute::Mtu(pod.mtu.0),
        LinkAttribute::Group(HOST_END_GROUP),
        LinkAttribute::Controller(bridge.index),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ]);
    // Up only once it is to have no IPv6 address: else it might get one before.
    let message = RouteNetlinkMessage::NewLink(message);
    let echo = host
        .socket
        .request(message, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO)
        .await?;
    let born = link::read_all(&echo).next();
    if let Some(Link {
        index,
        peer: Some(peer),
        ..
    }) = born
    {
        return Ok((index, peer));
    }
    // Kernels before 6.2 do not echo a new link.
    let host_end = link::look_up(&host.socket, &pod.host_ifname).await?;
    let pod_end = link::look_up(&namespace.socket, &pod.ifname).await?;
    match (host_end, pod_end) {
        (Some(host_end), Some(pod_end)) => Ok((host_end.index, pod_end.index)),
        (None, _) | (_, None) => Err(KernelError::Incomplete("new link")),
    }
}

/// Sets up what the new pair needs on both sides.
async fn finish(
    host: &Host,
    pod: &PodLink,
    bridge: &Link,
    namespace: &Inside,
    (host_end, pod_end): (u32, u32),
) -> Result<(), OpError> {
    let port = port::prepare(host_end, pod, false);
    // Before anything can come in by the port.
    holding::hold(host, &Holding::of(pod)).await?;
    let outside = set_outside(host, pod, bridge, port);
    let inside = async {
        prepare(pod, namespace).await?;
        inside::set_up(&namespace.socket, pod, pod_end).await
    };
    let (outside, inside) = join(outside, inside).await;
    outside.map_err(|error| error.at(object(pod)))?;
    inside
}

/// Gives the interface of a pod its kernel parameters.
async fn prepare(pod: &PodLink, namespace: &Inside) -> Result<(), OpError> {
    let (ifname, parameters) = (pod.ifname.clone(), pod.parameters());
    let prepared = namespace
        .netns
        .run(move || sysctl::prepare_pod_interface(&ifname, &parameters))
        .await;
    let prepared = prepared.flatten();
    prepared.map_err(|error| error.at(format!("parameters of pod {}", pod.pod)))
}

/// Sets the host end up, as the port of a pod and without IPv6 on it, and makes the pod a permanent
/// neighbour on the bridge.
/// (What a pod advertises ends at the bridge: the packets of a port never
/// reach the host as the port's own.)
async fn set_outside(
    host: &Host,
    pod: &PodLink,
    bridge: &Link,
    port: [(RouteNetlinkMessage, u16); 2],
) -> Result<(), KernelError> {
    let neighbours = pod
        .addresses
        .iter()
        .map(|address| neighbour::set(bridge.index, address.ip(), pod.mac));
    let requests = iter::once((link::no_ipv6(&pod.host_ifname), 0))
        .chain(port)
        .chain(neighbours);
    let mut answers = host.socket.batch(requests.collect()).await.into_iter();
    link::tolerate_no_ipv6(answers.next().unwrap_or(Err(KernelError::Lost)))?;
    answers.try_for_each(|answer| answer.map(drop))?;
    // By itself, since a batch goes on after what failed: nothing comes in before the pod is held.
    let up = RouteNetlinkMessage::SetLink(link::up(link::named(&pod.host_ifname)));
    host.socket.request(up, 0).await.map(drop)
}

/// Removes what an attach made that failed.
async fn undo(host: &Host, pod: &PodLink, bridge: &Link, host_end: u32) {
    let neighbours = pod
        .addresses
        .iter()
        .map(|address| neighbour::delete(bridge.index, address.ip()));
    let removals = iter::once((link::delete(host_end), 0))
        .chain(neighbours)
        .collect();
    // The error that led here counts, and what is left behind differs from what should be.
    let _ = holding::release(host, &Holding::of(pod)).await;
    let _ = host.socket.batch(removals).await;
}

/// The two ends of a pod's veth pair, as they are.
enum Pair {
    /// There is no host end.
    Absent,
    /// Something else has its name; in words.
    Foreign(String),
    /// The host end is podnet's, but the other end is not this pod's.
    OtherHalf(Link),
    /// Both ends are there.
    Whole { host_end: Link, pod_end: Link },
}

async fn pair(host: &Host, pod: &PodLink, namespace: &Inside) -> Result<Pair, OpError> {
    let ends = join(
        link::look_up(&host.socket, &pod.host_ifname),
        link::look_up(&namespace.socket, &pod.ifname),
    );
    let (host_end, pod_end) = ends.await;
    let host_end = host_end.map_err(|error| error.at(object(pod)))?;
    let pod_end = pod_end.map_err(|error| error.at(format!("interface of pod {}", pod.pod)))?;
    Ok(match (host_end, pod_end) {
        (None, _) => Pair::Absent,
        (Some(host_end), _) if !host_end.is_our_host_end() => Pair::Foreign(host_end.foreign()),
        (Some(host_end), Some(pod_end))
            if host_end.peer == Some(pod_end.index) && pod_end.peer == Some(host_end.index) =>
        {
            Pair::Whole { host_end, pod_end }
        }
        (Some(host_end), _) => Pair::OtherHalf(host_end),
    })
}

/// Makes both ends what they should be.
async fn set_right(
    host: &Host,
    pod: &PodLink,
    bridge: &Link,
    namespace: &Inside,
    host_end: &Link,
    pod_end: &Link,
) -> Result<(), OpError> {
    let mut message = LinkMessage::default();
    message.header.index = host_end.index;
    message.attributes.extend([
        LinkAttribute::Mtu(pod.mtu.0),
        LinkAttribute::Controller(bridge.index),
        // It may have been about to be removed.
        LinkAttribute::Group(HOST_END_GROUP),
    ]);
    // Up last, as a new one.
    let message = RouteNetlinkMessage::SetLink(message);
    let right = async {
        host.socket.request(message, 0).await?;
        let port = port::prepare(host_end.index, pod, host_end.is_blocked());
        set_outside(host, pod, bridge, port).await?;
        address::delete_link_local(&host.socket, host_end.index).await
    };
    holding::hold(host, &Holding::of(pod)).await?;
    right.await.map_err(|error| error.at(object(pod)))?;
    prepare(pod, namespace).await?;
    inside::repair(namespace, pod, pod_end).await?;
    if pod_end.regains_ipv6(pod.mtu) {
        prepare(pod, namespace).await?;
    }
    Ok(())
}

async fn remove(host: &Host, link: &Link) -> Result<(), KernelError> {
    match host.socket.request(link::delete(link.index), 0).await {
        Err(error) if !error.is(Errno::NotFound) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
