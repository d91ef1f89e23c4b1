//! ICMP echo from a pod: what it sends is forwarded, and so is what comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use podnet_proto::NodeId;
use surge_ping::{Client, Config, ICMP, PingIdentifier};
use tokio::task::JoinSet;

use super::echo;

/// How long an echo may take.
const TIMEOUT: Duration = Duration::from_millis(500);

/// After how many that were lost in a row the packets of a pod count as lost.
const TRIES: u16 = 3;

/// A socket for echoes in the network namespace of a pod, which it keeps alive.
pub struct PodSocket(Client);

impl PodSocket {
    /// Opens one in the namespace of the calling thread, for packets with an address of the pod by its
    /// interface: what else the pod has of routes does not count. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the pod does not have the address or the interface.
    pub fn open(address: IpAddr, ifname: &str) -> io::Result<Self> {
        let config = Config::builder()
            .kind(ICMP::V4)
            .sock_type_hint(socket2::Type::RAW)
            .bind((address, 0).into())
            .interface(ifname);
        Client::new(&config.build()).map(Self)
    }

    /// Sends echoes to gateways, and returns whose answers do not come.
    pub async fn lost(self, gateways: &BTreeMap<NodeId, IpAddr>) -> BTreeSet<NodeId> {
        let mut asking = JoinSet::new();
        for (&node, &gateway) in gateways {
            let client = self.0.clone();
            asking.spawn(async move { (node, answers(&client, gateway).await) });
        }
        let asked = asking.join_all().await.into_iter();
        asked
            .filter(|(_, answers)| !answers)
            .map(|(node, _)| node)
            .collect()
    }
}

async fn answers(client: &Client, gateway: IpAddr) -> bool {
    let mut pinger = client.pinger(gateway, PingIdentifier(rand::random())).await;
    pinger.timeout(TIMEOUT);
    for sequence in 0..TRIES {
        if echo(&mut pinger, sequence).await.is_ok() {
            return true;
        }
    }
    false
}
