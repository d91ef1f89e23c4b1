//! What a scenario needs beside the data plane: somebody else, who has things of their own on the
//! host and meddles with podnet's.

use std::path::Path;

use async_trait::async_trait;
use ipnetwork::IpNetwork;
use podnet_agent::dataplane::Dataplane;
use podnet_core::kernel::firewall::Chain;
use podnet_core::kernel::{IfIndex, IfName, LinkParameter, MacAddr, Mtu, RouteKey};

use std::net::IpAddr;

/// A host, with a data plane on it.
#[async_trait(?Send)]
pub(crate) trait World {
    /// The data plane.
    fn dataplane(&self) -> &dyn Dataplane;

    /// Another data plane on the same host, as of an agent that starts anew.
    async fn restarted(&self) -> Box<dyn Dataplane>;

    /// Everything on the host that is not podnet's, as text.
    fn foreign(&self) -> String;

    /// Adds a device that is up.
    fn add_link(&self, name: &IfName, mtu: Mtu) -> IfIndex;
    /// Adds a bridge that is up.
    fn add_bridge(&self, name: &IfName);
    fn delete_link(&self, name: &IfName);
    fn set_up(&self, name: &IfName, up: bool);
    fn set_mac(&self, name: &IfName, mac: MacAddr);
    fn set_mtu(&self, name: &IfName, mtu: Mtu);
    fn release_port(&self, name: &IfName);
    /// Lets the bridge do with a port what it does with any.
    fn open_port(&self, name: &IfName);
    /// Lets the bridge forget that a link-layer address is at a port.
    fn forget_port(&self, name: &IfName, mac: MacAddr);
    fn allow_link_local(&self, name: &IfName);
    fn set_link_parameter(&self, name: &IfName, parameter: LinkParameter, value: i32);

    fn add_address(&self, name: &IfName, address: IpNetwork);
    fn delete_address(&self, name: &IfName, address: IpNetwork);
    fn add_neighbour(&self, name: &IfName, address: IpAddr, mac: MacAddr);
    fn delete_neighbour(&self, name: &IfName, address: IpAddr);

    /// Adds a route on the link of a device; without one, packets on it are refused.
    fn add_route(&self, key: RouteKey, protocol: u8, device: Option<&IfName>);
    fn add_default_route(&self, via: IpAddr);
    fn delete_route(&self, key: RouteKey);

    fn add_netns(&self, path: &Path);
    fn add_file(&self, path: &Path);
    fn add_host_netns(&self, path: &Path);
    fn remove_netns(&self, path: &Path);
    fn add_interface(&self, path: &Path, ifname: &IfName);
    fn delete_interface(&self, path: &Path, ifname: &IfName);
    fn spoil(&self, path: &Path, ifname: &IfName, what: Spoil);

    fn flush_chain(&self, chain: Chain);
    fn add_strange_rule(&self, chain: Chain);
    fn add_jump(&self, chain: Chain);
    fn delete_jump(&self, chain: Chain);
    /// Takes all rules out of podnet's table of the bridge.
    fn flush_holding(&self);
    fn delete_holding(&self);
    /// Adds a rule outside of podnet's chains.
    fn add_foreign_rule(&self);
    /// Brings up a second firewall back end, which drops what is forwarded.
    fn add_second_backend(&self);

    /// Declares the host a router, or none.
    fn set_router(&self, router: bool);
    fn set_forwarding(&self, name: &IfName, on: bool);
}

/// What may be spoilt of a pod's interface.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spoil {
    Down,
    Mac,
    Mtu,
    Addresses,
    Gateways,
    Neighbours,
    Parameters,
    /// Something is added that podnet did not ask for.
    More,
}

impl Spoil {
    /// What podnet has to put right.
    pub(crate) const ALL: [Self; 7] = [
        Self::Down,
        Self::Mac,
        Self::Mtu,
        Self::Addresses,
        Self::Gateways,
        Self::Neighbours,
        Self::Parameters,
    ];
}

/// The address that [`Spoil::More`] adds.
pub(crate) const MORE: &str = "172.20.0.1/24";

/// The link-layer address that somebody else gives things.
pub(crate) const OTHER_MAC: MacAddr = MacAddr([0x02, 9, 9, 9, 9, 9]);

/// The protocol number of somebody else's routes: `RTPROT_STATIC`, rtnetlink(7).
pub(crate) const STATIC: u8 = 4;
