//! Which changes go to the kernel together.

use std::path::Path;

use ipnetwork::IpNetwork;
use podnet_core::firewall::RuleSet;
use podnet_core::kernel::{Bridge, Holding, IfName, Op, PodLink, Route, RouteKey};

use super::neighbour;

/// Changes that follow one another and can be made together.
#[derive(Debug, PartialEq)]
pub(super) enum Batch<'a> {
    SetForwarding(&'a IfName, bool),
    CreateBridge(&'a Bridge),
    UpdateBridge(&'a Bridge),
    DeleteBridge(&'a IfName),
    AddAddress(&'a IfName, IpNetwork),
    DeleteAddress(&'a IfName, IpNetwork),
    Neighbours(&'a IfName, Vec<neighbour::Change>),
    AttachPods(Vec<&'a PodLink>),
    RepairPods(Vec<&'a PodLink>),
    DetachPods(Vec<(&'a IfName, Option<&'a Path>)>),
    AddRoutes(Vec<Route>),
    ReplaceRoutes(Vec<Route>),
    DeleteRoutes(Vec<RouteKey>),
    SetFirewall(&'a RuleSet),
    RemoveFirewall,
    SetHolding(&'a Holding),
    HoldPod(&'a Holding),
    ReleasePod(&'a Holding),
    RemoveHolding,
    FlushConnections(std::net::IpAddr),
}

impl<'a> Batch<'a> {
    fn of(op: &'a Op) -> Self {
        match op {
            Op::SetForwarding { device, on } => Self::SetForwarding(device, *on),
            Op::CreateBridge(bridge) => Self::CreateBridge(bridge),
            Op::UpdateBridge(bridge) => Self::UpdateBridge(bridge),
            Op::DeleteBridge(name) => Self::DeleteBridge(name),
            Op::AddAddress { device, address } => Self::AddAddress(device, *address),
            Op::DeleteAddress { device, address } => Self::DeleteAddress(device, *address),
            Op::AttachPod(pod) => Self::AttachPods(vec![pod]),
            Op::RepairPod(pod) => Self::RepairPods(vec![pod]),
            Op::DetachPod { host_ifname, netns } => {
                Self::DetachPods(vec![(host_ifname, netns.as_deref())])
            }
            Op::SetNeighbour {
                device,
                address,
                mac,
            } => Self::Neighbours(device, vec![neighbour::Change::Set(*address, *mac)]),
            Op::DeleteNeighbour { device, address } => {
                Self::Neighbours(device, vec![neighbour::Change::Delete(*address)])
            }
            Op::AddRoute(route) => Self::AddRoutes(vec![*route]),
            Op::ReplaceRoute(route) => Self::ReplaceRoutes(vec![*route]),
            Op::DeleteRoute(key) => Self::DeleteRoutes(vec![*key]),
            Op::SetFirewall(rules) => Self::SetFirewall(rules),
            Op::RemoveFirewall => Self::RemoveFirewall,
            Op::SetHolding(holding) => Self::SetHolding(holding),
            Op::HoldPod { holding, .. } => Self::HoldPod(holding),
            Op::ReleasePod { holding, .. } => Self::ReleasePod(holding),
            Op::RemoveHolding => Self::RemoveHolding,
            Op::FlushConnections(address) => Self::FlushConnections(*address),
        }
    }

    /// Takes another batch in, or gives it back where the two do not go together.
    fn join(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Neighbours(a, changes), Self::Neighbours(b, next)) if *a == b => {
                changes.extend(next);
            }
            (Self::AttachPods(pods), Self::AttachPods(next))
            | (Self::RepairPods(pods), Self::RepairPods(next)) => pods.extend(next),
            (Self::DetachPods(pods), Self::DetachPods(next)) => pods.extend(next),
            (Self::AddRoutes(routes), Self::AddRoutes(next))
            | (Self::ReplaceRoutes(routes), Self::ReplaceRoutes(next)) => routes.extend(next),
            (Self::DeleteRoutes(keys), Self::DeleteRoutes(next)) => keys.extend(next),
            (_, next) => return Some(next),
        }
        None
    }
}

/// Cuts changes into batches, in order: each batch's results are those of as many changes.
pub(super) fn batches(ops: &[Op]) -> Vec<Batch<'_>> {
    let mut batches: Vec<Batch<'_>> = Vec::new();
    for op in ops {
        let next = Batch::of(op);
        let alone = match batches.last_mut() {
            Some(last) => last.join(next),
            None => Some(next),
        };
        batches.extend(alone);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_neighbours_in_the_list_go_together() {
        let delete = |text: &str| Op::DeleteRoute(RouteKey::to(text.parse().unwrap()));
        let detach = |name: &str| Op::DetachPod {
            host_ifname: name.parse().unwrap(),
            netns: None,
        };
        let ops = [
            delete("10.1.0.0/24"),
            delete("10.2.0.0/24"),
            detach("pna"),
            detach("pnb"),
            delete("10.3.0.0/24"),
            Op::RemoveFirewall,
            Op::RemoveFirewall,
        ];
        let batches = batches(&ops);
        assert!(
            matches!(
                batches.as_slice(),
                [
                    Batch::DeleteRoutes(two),
                    Batch::DetachPods(pods),
                    Batch::DeleteRoutes(one),
                    Batch::RemoveFirewall,
                    Batch::RemoveFirewall,
                ] if two.len() == 2 && pods.len() == 2 && one.len() == 1
            ),
            "{batches:?}"
        );
    }
}
