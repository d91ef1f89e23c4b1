//! What users and other programs do to a kernel.

use std::net::Ipv4Addr;

use ipnetwork::IpNetwork;
use podnet_core::kernel::model::Kernel;
use podnet_core::kernel::{IfName, Kind, Kinds, Place, firewall::Chain, host_ifname};
use podnet_proto::network::BlockIndex;

use crate::host::{eth0, netns, pod_name};
use crate::plan::Tamper;
use crate::world::World;

fn host_end(pod: u8) -> IfName {
    host_ifname(&pod_name(pod), &IfName::pod())
}

impl Tamper {
    /// What of the kernel it changes.
    fn kind(self) -> Kind {
        match self {
            Self::DeleteRoutes => Kind::Routes,
            Self::DeleteBridge | Self::BridgeDown | Self::DeleteGateway => Kind::Bridge,
            Self::FlushRules | Self::DeleteJumps | Self::OtherRule => Kind::Firewall,
            Self::DeleteHolding => Kind::Holding,
            Self::DeleteNeighbours => Kind::Neighbours,
            Self::DeleteHostEnd { pod }
            | Self::HostEndDown { pod }
            | Self::ReleasePort { pod }
            | Self::DeleteNetns { pod } => Kind::HostEnd(host_end(pod)),
            Self::Router { .. } => Kind::Forwarding,
            Self::OtherAddress => Kind::Underlay,
        }
    }

    fn apply(self, kernel: &mut Kernel) {
        let bridge = IfName::bridge();
        let observed = kernel.observe(&Kinds::from([Kind::Bridge])).bridge;
        let found = match observed {
            Some(Place::Ours(found)) => Some(found),
            Some(Place::Absent | Place::Foreign(_)) | None => None,
        };
        match self {
            Self::DeleteRoutes => {
                for key in kernel.own_routes().collect::<Vec<_>>() {
                    kernel.delete_route(&key);
                }
            }
            Self::DeleteBridge if found.is_some() => kernel.delete_link(&bridge),
            Self::BridgeDown => kernel.set_link_down(&bridge),
            Self::DeleteGateway => {
                for address in found.into_iter().flat_map(|found| found.addresses) {
                    kernel.delete_address(&bridge, address);
                }
            }
            Self::DeleteBridge => {}
            Self::FlushRules => {
                for backend in kernel.firewall_mut() {
                    backend.flush(Chain::Forward);
                }
            }
            Self::DeleteJumps => {
                for backend in kernel.firewall_mut() {
                    backend.set_jumps(Chain::Forward, 0);
                }
            }
            Self::DeleteHolding => kernel.delete_holding(),
            Self::DeleteNeighbours => {
                for address in found
                    .into_iter()
                    .flat_map(|found| found.neighbours.into_keys())
                {
                    kernel.delete_neighbour(&bridge, address);
                }
            }
            Self::DeleteHostEnd { pod } => kernel.delete_link(&host_end(pod)),
            Self::HostEndDown { pod } => kernel.set_link_down(&host_end(pod)),
            Self::ReleasePort { pod } => kernel.release_port(&host_end(pod)),
            Self::DeleteNetns { pod } => {
                kernel.remove_path(&netns(pod, true));
                kernel.remove_path(&netns(pod, false));
            }
            Self::Router { on } => kernel.set_router(on),
            Self::OtherAddress => {
                let address = "198.51.100.7/24".parse().expect("an address");
                let dummy = "dummy0".parse().expect("a name");
                kernel.add_link(&dummy, podnet_core::kernel::Mtu(1500));
                kernel.add_address(&dummy, address);
                kernel.set_link_down(&dummy);
                kernel.set_link_up(&eth0());
            }
            Self::OtherRule => {
                for backend in kernel.firewall_mut() {
                    backend.add_foreign("another rule");
                }
            }
        }
    }
}

impl World {
    /// Changes a kernel behind podnet's back.
    pub(crate) fn tamper(&mut self, host: usize, tamper: Tamper, told: bool) {
        let tampered = &mut self.hosts[host];
        if told {
            tampered
                .kernel
                .fake
                .tamper(tamper.kind(), |kernel| tamper.apply(kernel));
        } else {
            tampered
                .kernel
                .fake
                .tamper_silently(|kernel| tamper.apply(kernel));
        }
        tampered.foreign = tampered.look(Kernel::foreign);
        tampered.tampered = self.now.max(1);
        tampered.untold |= !told;
    }

    /// The index of the block that a host uses.
    pub(crate) fn block_of(&self, host: usize) -> Option<BlockIndex> {
        self.hosts[host].running().block
    }

    /// A host gets another address while it runs.
    pub(crate) fn move_to_another_address(&mut self, host: usize) {
        let moved = &mut self.hosts[host];
        let on_link = |address: Ipv4Addr| IpNetwork::new(address.into(), 24).expect("a prefix");
        let before = on_link(moved.address);
        let [a, b, c, last] = moved.address.octets();
        moved.address = Ipv4Addr::new(a, b, c, last + 20);
        let after = on_link(moved.address);
        moved.kernel.fake.tamper(Kind::Underlay, |kernel| {
            kernel.delete_address(&eth0(), before);
            kernel.add_address(&eth0(), after);
        });
        moved.foreign = moved.look(Kernel::foreign);
        moved.tampered = self.now.max(1);
    }
}
