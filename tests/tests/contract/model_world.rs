//! The model of the kernel as a host.

use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;

use async_trait::async_trait;
use ipnetwork::IpNetwork;
use podnet_agent::dataplane::Dataplane;
use podnet_agent::dataplane::fake::Fake;
use podnet_core::kernel::firewall::Chain;
use podnet_core::kernel::model::{Backend, Hop, Kernel};
use podnet_core::kernel::{
    BRIDGE, IfIndex, IfName, Kind, Kinds, LinkParameter, MacAddr, Mtu, RouteKey,
};

use crate::world::{MORE, OTHER_MAC, Spoil, World};

struct Model(Fake);

/// Runs a scenario on a model of its own.
pub(crate) fn run(
    scenario: impl for<'w> FnOnce(&'w dyn World) -> Pin<Box<dyn Future<Output = ()> + 'w>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let model = Model(Fake::default());
    runtime.block_on(scenario(&model));
}

fn kind_of_link(name: &IfName) -> Kind {
    if name.as_str() == BRIDGE {
        Kind::Bridge
    } else if name.is_host_end() {
        Kind::HostEnd(name.clone())
    } else {
        Kind::Underlay
    }
}

impl Model {
    fn on_link(&self, name: &IfName, change: impl FnOnce(&mut Kernel)) {
        self.0.tamper(kind_of_link(name), change);
    }

    fn inside(&self, change: impl FnOnce(&mut Kernel)) {
        self.0.tamper_silently(change);
    }

    fn on_firewall(&self, change: impl Fn(&mut Backend)) {
        self.0.tamper(Kind::Firewall, |kernel| {
            kernel.firewall_mut().iter_mut().for_each(change);
        });
    }
}

#[async_trait(?Send)]
impl World for Model {
    fn dataplane(&self) -> &dyn Dataplane {
        &self.0
    }

    async fn restarted(&self) -> Box<dyn Dataplane> {
        Box::new(Fake::new(self.0.kernel()))
    }

    fn foreign(&self) -> String {
        format!("{:#?}", self.0.kernel().foreign())
    }

    fn add_link(&self, name: &IfName, mtu: Mtu) -> IfIndex {
        self.0
            .tamper(kind_of_link(name), |kernel| kernel.add_link(name, mtu))
    }

    fn add_bridge(&self, name: &IfName) {
        self.on_link(name, |kernel| kernel.add_other_bridge(name, Mtu(1500)));
    }

    fn delete_link(&self, name: &IfName) {
        self.on_link(name, |kernel| kernel.delete_link(name));
    }

    fn set_up(&self, name: &IfName, up: bool) {
        self.on_link(name, |kernel| {
            if up {
                kernel.set_link_up(name);
            } else {
                kernel.set_link_down(name);
            }
        });
    }

    fn set_mac(&self, name: &IfName, mac: MacAddr) {
        self.on_link(name, |kernel| kernel.set_link_mac(name, mac));
    }

    fn set_mtu(&self, name: &IfName, mtu: Mtu) {
        self.on_link(name, |kernel| kernel.set_link_mtu(name, mtu));
    }

    fn open_port(&self, name: &IfName) {
        self.on_link(name, |kernel| kernel.open_port(name));
    }

    fn forget_port(&self, name: &IfName, _mac: MacAddr) {
        self.on_link(name, |kernel| kernel.forget_port(name));
    }

    fn release_port(&self, name: &IfName) {
        self.on_link(name, |kernel| kernel.release_port(name));
    }

    fn allow_link_local(&self, name: &IfName) {
        self.on_link(name, |kernel| kernel.allow_link_local(name));
    }

    fn set_link_parameter(&self, name: &IfName, parameter: LinkParameter, value: i32) {
        self.on_link(name, |kernel| {
            kernel.set_link_parameter(name, parameter, value);
        });
    }

    fn add_address(&self, name: &IfName, address: IpNetwork) {
        self.on_link(name, |kernel| kernel.add_address(name, address));
    }

    fn delete_address(&self, name: &IfName, address: IpNetwork) {
        self.on_link(name, |kernel| kernel.delete_address(name, address));
    }

    fn add_neighbour(&self, name: &IfName, address: IpAddr, mac: MacAddr) {
        self.0
            .tamper_silently(|kernel| kernel.add_neighbour(name, address, mac));
    }

    fn delete_neighbour(&self, name: &IfName, address: IpAddr) {
        self.0.tamper(Kind::Neighbours, |kernel| {
            kernel.delete_neighbour(name, address);
        });
    }

    fn add_route(&self, key: RouteKey, protocol: u8, device: Option<&IfName>) {
        self.0.tamper(Kind::OtherRoutes, |kernel| {
            let hop = device.map_or(Hop::Unreachable, |device| {
                Hop::Link(kernel.add_link(device, Mtu(1500)))
            });
            kernel.add_route(key, protocol, hop);
        });
    }

    fn add_default_route(&self, via: IpAddr) {
        self.0.tamper(Kind::OtherRoutes, |kernel| {
            let eth0 = kernel.add_link(&"eth0".parse().unwrap(), Mtu(1500));
            let key = RouteKey::to("0.0.0.0/0".parse().unwrap());
            kernel.add_route(key, crate::world::STATIC, Hop::Gateway(via, eth0));
        });
    }

    fn delete_route(&self, key: RouteKey) {
        self.0
            .tamper(Kind::Routes, |kernel| kernel.delete_route(&key));
    }

    fn add_netns(&self, path: &Path) {
        self.inside(|kernel| {
            kernel.add_netns(path);
        });
    }

    fn add_file(&self, path: &Path) {
        self.inside(|kernel| kernel.add_file(path));
    }

    fn add_host_netns(&self, path: &Path) {
        self.inside(|kernel| kernel.add_host_netns(path));
    }

    fn remove_netns(&self, path: &Path) {
        // The host ends go with it, which the kernel tells.
        let listed = Kinds::from([Kind::HostEnds]);
        let before = self.0.kernel().observe(&listed).host_ends.unwrap();
        self.inside(|kernel| kernel.remove_path(path));
        let after = self.0.kernel().observe(&listed).host_ends.unwrap();
        for gone in before.keys().filter(|name| !after.contains_key(name)) {
            self.0.tamper(kind_of_link(gone), |_| ());
        }
    }

    fn add_interface(&self, path: &Path, ifname: &IfName) {
        self.inside(|kernel| kernel.add_interface(path, ifname));
    }

    fn delete_interface(&self, path: &Path, ifname: &IfName) {
        self.inside(|kernel| kernel.delete_interface(path, ifname));
    }

    fn spoil(&self, path: &Path, ifname: &IfName, what: Spoil) {
        self.inside(|kernel| {
            kernel.change_interface(path, ifname, |interface| match what {
                Spoil::Down => {
                    interface.up = false;
                    interface.gateways.clear();
                    interface.neighbours.clear();
                }
                Spoil::Mac => {
                    interface.mac = OTHER_MAC;
                    interface.neighbours.clear();
                }
                Spoil::Mtu => interface.mtu = Mtu(1300),
                Spoil::Addresses => {
                    interface.addresses.clear();
                    interface.gateways.clear();
                }
                Spoil::Gateways => interface.gateways.clear(),
                Spoil::Neighbours => interface.neighbours.clear(),
                Spoil::Parameters => {
                    for (parameter, value) in &mut interface.parameters {
                        *value = i32::from(*parameter != LinkParameter::DisableIpv6);
                    }
                }
                Spoil::More => {
                    interface.addresses.insert(MORE.parse().unwrap());
                }
            });
        });
    }

    fn flush_chain(&self, chain: Chain) {
        self.on_firewall(|backend| backend.flush(chain));
    }

    fn add_strange_rule(&self, chain: Chain) {
        self.on_firewall(|backend| backend.add_strange_rule(chain));
    }

    fn add_jump(&self, chain: Chain) {
        self.on_firewall(|backend| backend.set_jumps(chain, 2));
    }

    fn delete_jump(&self, chain: Chain) {
        self.on_firewall(|backend| backend.set_jumps(chain, 0));
    }

    fn flush_holding(&self) {
        self.0.tamper(Kind::Holding, Kernel::flush_holding);
    }

    fn delete_holding(&self) {
        self.0.tamper(Kind::Holding, Kernel::delete_holding);
    }

    fn add_foreign_rule(&self) {
        self.on_firewall(|backend| backend.add_foreign("a rule"));
    }

    fn add_second_backend(&self) {
        self.0.tamper_silently(|kernel| {
            kernel
                .firewall_mut()
                .push(Backend::new("iptables-legacy", false));
        });
    }

    fn set_router(&self, router: bool) {
        self.0
            .tamper(Kind::Forwarding, |kernel| kernel.set_router(router));
    }

    fn set_forwarding(&self, name: &IfName, on: bool) {
        self.0.tamper(Kind::Forwarding, |kernel| {
            kernel.set_link_forwarding(name, on);
        });
    }
}
