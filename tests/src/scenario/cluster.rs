//! Clusters and agents to begin with.

use std::ops::Deref;
use std::time::Duration;

use crate::cluster::Invitation;
use crate::lab::{Lab, LabBuilder};
use crate::node::Node;

/// Agents notice the death of another after some ten of these.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(250);

/// How often agents look at everything whose test waits for what the kernel tells nobody of.
pub const OFTEN: Duration = Duration::from_millis(500);

/// A lab whose nodes are one cluster, founded by the first.
#[derive(Debug)]
pub struct Cluster {
    lab: Lab,
    /// What admits a further node.
    pub invitation: Invitation,
}

impl Cluster {
    /// A cluster of so many nodes, whose agents are [`agents`].
    #[must_use]
    #[track_caller]
    pub fn of(nodes: u8) -> Self {
        Self::made_of(agents(nodes))
    }

    /// A cluster of the nodes of a lab that is to be made.
    #[must_use]
    #[track_caller]
    pub fn made_of(builder: LabBuilder) -> Self {
        let lab = builder.up().unwrap();
        let invitation = lab.init_join_all().unwrap();
        Self { lab, invitation }
    }
}

impl Deref for Cluster {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

/// Nodes whose agents belong to no cluster, and gossip faster than those of users.
#[must_use]
pub fn agents(nodes: u8) -> LabBuilder {
    Lab::builder()
        .nodes(nodes)
        .timing("gossip_interval", GOSSIP_INTERVAL)
}

/// [`agents`] that are up.
#[must_use]
#[track_caller]
pub fn idle(nodes: u8) -> Lab {
    agents(nodes).up().unwrap()
}

/// The same, which look at all that is podnet's this often, whatever the kernel tells of it.
#[must_use]
pub fn looking_every(resync: Duration, nodes: u8) -> LabBuilder {
    agents(nodes)
        .encapsulation(Some("direct".to_owned()))
        .timing("resync", resync)
}

/// The nodes of a lab with `N` of them.
#[must_use]
#[track_caller]
pub fn nodes<const N: usize>(lab: &Lab) -> [Node<'_>; N] {
    lab.nodes().try_into().unwrap()
}

/// The first node of a lab.
#[must_use]
#[track_caller]
pub fn first(lab: &Lab) -> Node<'_> {
    lab.node("node1").unwrap()
}
