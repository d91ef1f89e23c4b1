//! What the kernel tells of changes that others make.

mod events;
mod nftables;

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream;
use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc;

use self::events::Seen;
use super::super::{Change, ChangeScope, ObserveError};
use super::Host;
use super::errno::{Errno, KernelError};
use super::link;
use super::socket::{Events, Socket};

/// The groups that are listened to. Idle hosts make neighbour events all the time, so that group is
/// left out: the events of links tell when neighbours get lost.
const GROUPS: [u32; 3] = [
    MulticastGroup::Link as u32,
    MulticastGroup::Ipv4Ifaddr as u32,
    MulticastGroup::Ipv4Route as u32,
];

/// How many changes wait in the channel.
const QUEUE: usize = 64;

/// How many different changes are told apart; more are a change of everything.
const MOST: usize = 256;

/// Begins to listen.
pub(super) async fn watch(host: &Host) -> Result<mpsc::Receiver<Change>, ObserveError> {
    let runtime = host.driver.runtime();
    let network = Socket::open(runtime, NETLINK_ROUTE, &GROUPS)
        .map_err(|error| KernelError::from(error).looking_at("network events"))?;
    let firewall = match Socket::open(runtime, NETLINK_NETFILTER, &[nftables::GROUP]) {
        Ok(socket) => Some(socket),
        Err(error) => match KernelError::from(error) {
            // A kernel without nftables has no changes of it.
            error if error.is(Errno::Unsupported) || error.is(Errno::NotFound) => None,
            error => return Err(error.looking_at("firewall events")),
        },
    };
    // After the first event could come: what changes from now on is a change.
    let links = link::list(&host.socket, None).await;
    let links = links.map_err(|error| error.looking_at("network events"))?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let monitor = Monitor {
        own_port: host.socket.port(),
        seen: Seen::new(links),
        waiting: BTreeMap::new(),
    };
    tokio::spawn(monitor.run(network, firewall, sender));
    Ok(receiver)
}

struct Monitor {
    /// The port of the socket that podnet's own changes come from.
    own_port: u32,
    seen: Seen,
    /// What the receiver has not been told yet, each once.
    waiting: BTreeMap<ChangeScope, String>,
}

impl Monitor {
    /// Passes changes on until the receiver is dropped, or the kernel tells no more.
    async fn run(
        mut self,
        (_network_socket, mut network): (Socket, Events<RouteNetlinkMessage>),
        firewall: Option<(Socket<nftables::Event>, Events<nftables::Event>)>,
        changes: mpsc::Sender<Change>,
    ) {
        let (_firewall_socket, firewall) = firewall.unzip();
        let mut firewall = match firewall {
            Some(events) => events.left_stream(),
            None => stream::pending().right_stream(),
        };
        loop {
            tokio::select! {
                // Events first: however many there are by now, each change is told of once.
                biased;
                event = network.next() => match event {
                    Some((message, _)) => self.hear(&message),
                    None => break,
                },
                Some((message, _)) = firewall.next() => {
                    self.add(nftables::change(&message.payload));
                }
                permit = changes.reserve(), if !self.waiting.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some((scope, what)) = self.waiting.pop_first() {
                            permit.send(Change { scope, what });
                        }
                    }
                    Err(_) => break,
                },
                () = changes.closed() => break,
            }
        }
    }

    fn hear(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) {
        let found = self.seen.changes(&message.payload);
        // The kernel itself has port 0, and so have its events of links, whoever caused them.
        if message.header.port_number != self.own_port {
            self.add(found);
        }
    }

    /// Keeps changes for the receiver. However slow that is, this never waits, and never grows.
    fn add(&mut self, found: impl IntoIterator<Item = Change>) {
        self.waiting
            .extend(found.into_iter().map(|change| (change.scope, change.what)));
        let everything = self.waiting.contains_key(&ChangeScope::Everything);
        if everything || self.waiting.len() > MOST {
            let what = self.waiting.remove(&ChangeScope::Everything);
            let what = what.unwrap_or_else(|| "too many changes to tell apart".to_owned());
            self.waiting = BTreeMap::from([(ChangeScope::Everything, what)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use podnet_core::kernel::IfName;

    use super::*;

    #[test]
    fn a_slow_receiver_is_told_of_everything_in_the_end() {
        let mut monitor = Monitor {
            own_port: 1,
            seen: Seen::default(),
            waiting: BTreeMap::new(),
        };
        let change = |scope| Change {
            scope,
            what: String::new(),
        };
        for number in 0..MOST {
            let name: IfName = format!("pn{number}").parse().unwrap();
            monitor.add([change(ChangeScope::HostEnd(name.clone()))]);
            monitor.add([change(ChangeScope::HostEnd(name))]);
        }
        assert_eq!(monitor.waiting.len(), MOST);
        monitor.add([change(ChangeScope::Routes)]);
        assert_eq!(
            monitor.waiting.keys().collect::<Vec<_>>(),
            [&ChangeScope::Everything]
        );
        monitor.add([change(ChangeScope::Routes)]);
        assert_eq!(monitor.waiting.len(), 1);
    }
}
