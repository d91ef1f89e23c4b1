//! ICMP echo from a pod: what it sends is forwarded, and so is what comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use podnet_proto::NodeId;
use surge_ping::{Client, Config, ICMP, PingIdentifier};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::echo;

/// How long an echo may take.
const TIMEOUT: Duration = Duration::from_millis(500);

/// After how many that were lost in a row the packets of a pod count as lost.
const TRIES: u16 = 3;

/// A socket for echoes to gateways: in the network namespace of a pod, which it keeps alive, or of the node itself.
pub struct EchoSocket {
    client: Client,
    /// After how many echoes in a row that are lost a gateway is silent.
    tries: u16,
}

impl EchoSocket {
    /// Opens one in the namespace of the calling thread, for packets with an address of the pod by its
    /// interface: what else the pod has of routes does not count. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the pod does not have the address or the interface.
    pub fn of_pod(address: IpAddr, ifname: &str) -> io::Result<Self> {
        let config = Config::builder()
            .kind(ICMP::V4)
            .sock_type_hint(socket2::Type::RAW)
            .bind((address, 0).into())
            .interface(ifname);
        let client = Client::new(&config.build())?;
        Ok(Self {
            client,
            tries: TRIES,
        })
    }

    /// Opens one for packets with the node's own gateway address, of which one has to come back at once. Must be
    /// called in a tokio runtime.
    ///
    /// # Errors
    /// When the node does not have the address.
    pub fn of_node(gateway: IpAddr) -> io::Result<Self> {
        let client = super::open(Some(gateway))?;
        Ok(Self { client, tries: 1 })
    }

    /// Sends echoes to gateways, and returns whose answers do not come.
    pub async fn silent(self, gateways: &BTreeMap<NodeId, IpAddr>) -> BTreeSet<NodeId> {
        let mut asking = JoinSet::new();
        for (&node, &gateway) in gateways {
            let (client, tries) = (self.client.clone(), self.tries);
            asking.spawn(async move { (node, answers(&client, gateway, tries).await) });
        }
        let asked = asking.join_all().await.into_iter();
        asked
            .filter(|(_, answers)| !answers)
            .map(|(node, _)| node)
            .collect()
    }
}

async fn answers(client: &Client, gateway: IpAddr, tries: u16) -> bool {
    let mut pinger = client.pinger(gateway, PingIdentifier(rand::random())).await;
    pinger.timeout(TIMEOUT);
    for sequence in 0..tries {
        let answer = async { echo(&mut pinger, sequence).await.is_ok() };
        if unhurried(answer).await {
            return true;
        }
    }
    false
}

/// Waits for an answer. An echo that is refused at once takes as long as one that is lost.
async fn unhurried(answer: impl Future<Output = bool>) -> bool {
    let sent = Instant::now();
    let answered = answer.await;
    if !answered {
        sleep_until(sent + TIMEOUT).await;
    }
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moment_of_refusals_is_no_silence() {
        let start = Instant::now();
        for _ in 0..TRIES {
            assert!(!unhurried(async { false }).await);
        }
        assert_eq!(start.elapsed(), TIMEOUT * u32::from(TRIES));
        assert!(unhurried(async { true }).await);
        assert_eq!(start.elapsed(), TIMEOUT * u32::from(TRIES));
    }
}
