//! What shows that a node is followed to another address.

use std::net::Ipv4Addr;
use std::time::Instant;

use podnet_lab::prelude::*;

use crate::underlay::{FOLLOWED, kernel_routes};

/// A node with a pod.
#[derive(Clone, Copy)]
pub(crate) struct Host<'lab> {
    pub(crate) node: Node<'lab>,
    pub(crate) pod: Ipv4Addr,
}

impl Host<'_> {
    pub(crate) fn ping(&self, other: &Self) -> Result<(), String> {
        let pong = self.node.pod("pod").ping(other.pod);
        pong.map(drop).map_err(|error| error.to_string())
    }
}

pub(crate) fn hosts<'lab, const N: usize>(lab: &'lab Lab) -> [Host<'lab>; N] {
    let hosts = nodes(lab).map(|node| Host {
        node,
        pod: node.add_pod("pod").address(),
    });
    for host in hosts {
        host.node.ready(N - 1);
    }
    hosts
}

/// Asserts that the peers of a node which has got this address since then follow it in time, and
/// that all of them tell so.
#[track_caller]
pub(crate) fn assert_followed(
    since: Instant,
    moved: Host<'_>,
    address: Ipv4Addr,
    peers: &[Host<'_>],
) {
    assert_reached(since, moved, address, peers);
    assert_told(moved.node, address, peers);
}

/// Asserts that the peers of a node which has got this address since then follow it in time: by
/// their routes, and by packets both ways.
#[track_caller]
pub(crate) fn assert_reached(
    since: Instant,
    moved: Host<'_>,
    address: Ipv4Addr,
    peers: &[Host<'_>],
) {
    let what = format!("{} at {address}", moved.node.name());
    let route = format!("{} {address} eth0", moved.node.block());
    in_time(since, FOLLOWED, &what, || {
        for peer in peers {
            let routes = kernel_routes(peer.node);
            if !routes.contains(&route) {
                return Err(format!("{}: {routes:?}", peer.node.name()));
            }
            peer.ping(&moved)?;
            moved.ping(peer)?;
        }
        Ok(())
    })
    .unwrap();
}

/// Asserts that a node and its peers tell that it has this address.
#[track_caller]
pub(crate) fn assert_told(moved: Node<'_>, address: Ipv4Addr, peers: &[Host<'_>]) {
    let endpoint = gossips_at(address);
    let name = moved.name();
    until(&name, &endpoint, || moved.endpoint());
    moved.until_no_problem();
    for peer in peers {
        let seen = peer
            .node
            .status_where(&format!("{name} at {endpoint}"), |status| {
                peer_of(status, &name).is_some_and(|moved| {
                    moved.addresses == [endpoint] && moved.live && moved.path == Some(PathState::Ok)
                })
            });
        let nodes = seen.peers.len() + 1;
        let cluster = seen.cluster.unwrap();
        assert_eq!(cluster.nodes, nodes, "nobody is there twice");
    }
}
