//! What the kernel reports of changes that other programs make.

mod events;
mod netconf;
mod nftables;
mod raw;
mod who;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use podnet_core::kernel::{Change, Changes, Kind, ObserveError};
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc::{self, Permit};
use tokio::time::timeout;

use self::events::Seen;
use self::nftables::{Maker, Transaction};
use super::Host;
use super::errno::{Errno, KernelError};
use super::link;
use super::socket::{Events, Message, Socket};
use crate::vital;

/// The groups that are listened to, in one socket: the order of their events matters.
const GROUPS: [u32; 5] = [
    MulticastGroup::Link as u32,
    MulticastGroup::Ipv4Ifaddr as u32,
    MulticastGroup::Ipv4Route as u32,
    MulticastGroup::Ipv4Rule as u32,
    MulticastGroup::Neigh as u32,
];

/// How many changes wait in the channel.
const QUEUE: usize = 64;

/// How many different changes are distinguished; more are a change of everything.
const MOST: usize = 256;

/// How many events are heard in a row before what they mean is passed on.
const BURST: usize = 256;

/// How long to wait for an answer on a socket that may not hear.
const ANSWER: Duration = Duration::from_millis(200);

/// The number of the loopback interface, in every network namespace.
const LOOPBACK: u32 = 1;

/// Begins to listen.
pub(super) async fn watch(host: Arc<Host>) -> Result<mpsc::Receiver<Change>, ObserveError> {
    let runtime = host.driver.runtime();
    let network = Socket::open(runtime, NETLINK_ROUTE, &GROUPS)
        .map_err(|error| KernelError::from(error).looking_at("network events"))?;
    let sysctls = Socket::open(runtime, NETLINK_ROUTE, &[netconf::GROUP])
        .map_err(|error| KernelError::from(error).looking_at("events of kernel parameters"))?;
    let firewall = match Socket::open(runtime, NETLINK_NETFILTER, &[nftables::GROUP]) {
        Ok(socket) => Some(socket),
        Err(error) => match KernelError::from(error) {
            // A kernel without nftables has no changes of it.
            error if error.is(Errno::Unsupported) || error.is(Errno::NotFound) => None,
            error => return Err(error.looking_at("firewall events")),
        },
    };
    // After the first event could come: what changes from now on is a change.
    let seen = Seen::look(&host.socket).await;
    let seen = seen.map_err(|error| error.looking_at("network events"))?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let monitor = Monitor {
        host,
        seen,
        transaction: Transaction::default(),
        waiting: Waiting::default(),
    };
    vital::spawn(monitor.run(network, sysctls, firewall, sender));
    Ok(receiver)
}

/// A socket for events of which podnet reads little.
type RawSocket = (Socket<raw::Event>, Events<raw::Event>);

struct Monitor {
    host: Arc<Host>,
    seen: Seen,
    transaction: Transaction,
    waiting: Waiting,
}

impl Monitor {
    /// Passes changes on until the receiver is dropped, or the kernel reports no more.
    async fn run(
        mut self,
        (network_socket, mut network): (Socket, Events<RouteNetlinkMessage>),
        (_sysctl_socket, mut sysctls): RawSocket,
        firewall: Option<RawSocket>,
        changes: mpsc::Sender<Change>,
    ) {
        let (firewall_socket, firewall) = firewall.unzip();
        let mut firewall = match firewall {
            Some(events) => events.left_stream(),
            None => stream::pending().right_stream(),
        };
        let network_hears = || hears(&network_socket, link::get_index(LOOPBACK)).boxed();
        let mut deaf = FuturesUnordered::new();
        loop {
            let urgent = self.waiting.is_urgent();
            tokio::select! {
                // Events first: however many there are by now, each change is passed on once.
                biased;
                permit = changes.reserve(), if urgent => match permit {
                    Ok(permit) => self.waiting.pass_on(permit),
                    Err(_) => break,
                },
                event = network.next() => match event {
                    Some((message, _)) => {
                        if is_overrun(&message) {
                            deaf.push(network_hears());
                        }
                        self.hear(&message);
                    }
                    None => {
                        tracing::error!("the kernel reports no changes any more");
                        break;
                    }
                },
                Some((message, _)) = firewall.next() => {
                    if is_overrun(&message) && let Some(socket) = &firewall_socket {
                        deaf.push(hears(socket, nftables::question()).boxed());
                    }
                    let host = &self.host;
                    let own = |number| host.maker(number);
                    self.waiting.add(self.transaction.hear(&message.payload, own));
                }
                Some((message, _)) = sysctls.next() => {
                    let name = |index| self.seen.device(index);
                    self.waiting.add(netconf::change(&message.payload, name));
                }
                Some(()) = deaf.next(), if !deaf.is_empty() => {
                    // What is older than the look must not come after it.
                    while let Some(Some((message, _))) = network.next().now_or_never() {
                        if is_overrun(&message) {
                            deaf.push(network_hears());
                        }
                        self.hear(&message);
                    }
                    self.catch_up().await;
                }
                permit = changes.reserve(), if !self.waiting.changes.is_empty() => match permit {
                    Ok(permit) => self.waiting.pass_on(permit),
                    Err(_) => break,
                },
                () = changes.closed() => break,
            }
        }
    }

    fn hear(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) {
        self.waiting.heard += 1;
        let port = message.header.port_number;
        let found = self.seen.changes(&message.payload, || who::owner(port));
        // The kernel itself has port 0, and so have its events of links, whoever caused them.
        if port != self.host.socket.port() {
            self.waiting.add(found);
        }
    }

    /// Sees what was reported while the agent did not listen.
    async fn catch_up(&mut self) {
        match Seen::look(&self.host.socket).await {
            Ok(seen) => self.seen = seen,
            // What is not known to have changed may be overlooked until the next resync.
            Err(error) => tracing::warn!(%error, "cannot catch up with lost events"),
        }
        self.waiting.add([Change {
            kind: Kind::Everything,
            what: "events were lost".to_owned(),
            by: BTreeSet::new(),
        }]);
    }
}

impl Host {
    /// Who has the number that the kernel names the maker of a transaction of nftables by.
    fn maker(&self, number: u32) -> Maker {
        if self.held.is_own_thread(number) {
            Maker::OwnThread
        } else if [self.firewall.own_process(), self.held.own_process()].contains(&number) {
            Maker::OwnProgram
        } else {
            Maker::Other
        }
    }
}

fn is_overrun<T>(message: &NetlinkMessage<T>) -> bool {
    matches!(message.payload, NetlinkPayload::Overrun(_))
}

/// Waits until a socket hears again. When its buffer has overrun the kernel says so once, and drops
/// whatever it would report until the buffer is empty, answers too (`NETLINK_S_CONGESTED` in
/// `net/netlink/af_netlink.c`). So an answer means that events come through from now on.
async fn hears<T: Message + Clone>(socket: &Socket<T>, question: T) {
    while timeout(ANSWER, socket.request(question.clone(), 0))
        .await
        .is_err()
    {}
}

/// What has not been passed on to the receiver yet. However slow that is, this never grows beyond bounds.
#[derive(Debug, Default)]
struct Waiting {
    changes: Changes,
    /// How many events were heard since it last had all.
    heard: usize,
}

impl Waiting {
    /// Whether changes are to be passed on before more events are heard: there is nothing to add to a
    /// change of everything, and a storm that never ends must not hold back what it began with.
    fn is_urgent(&self) -> bool {
        let everything = self.changes.get(&Kind::Everything).is_some();
        everything || self.heard >= BURST && !self.changes.is_empty()
    }

    fn add(&mut self, found: impl IntoIterator<Item = Change>) {
        for change in found {
            self.changes.add(change);
        }
        let everything = self.changes.get(&Kind::Everything).cloned();
        if everything.is_some() || self.changes.len() > MOST {
            self.changes = Changes::default();
            self.changes.add(everything.unwrap_or_else(|| Change {
                kind: Kind::Everything,
                what: "too many changes to tell apart".to_owned(),
                by: BTreeSet::new(),
            }));
        }
    }

    fn pass_on(&mut self, permit: Permit<'_, Change>) {
        if let Some(change) = self.changes.pop() {
            permit.send(change);
        }
        if self.changes.is_empty() {
            self.heard = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use podnet_core::kernel::IfName;

    use super::*;

    fn change(kind: Kind) -> Change {
        Change {
            kind,
            what: String::new(),
            by: BTreeSet::new(),
        }
    }

    #[test]
    fn a_slow_receiver_is_told_of_everything_in_the_end() {
        let mut waiting = Waiting::default();
        for number in 0..MOST {
            let name: IfName = format!("pn{number}").parse().unwrap();
            waiting.add([change(Kind::HostEnd(name.clone()))]);
            waiting.add([change(Kind::HostEnd(name))]);
        }
        assert_eq!(waiting.changes.len(), MOST);
        assert!(!waiting.is_urgent());
        for _ in 0..2 {
            waiting.add([change(Kind::Routes)]);
            assert_eq!(waiting.changes.len(), 1);
            assert!(waiting.changes.get(&Kind::Everything).is_some());
            assert!(waiting.is_urgent());
        }
    }

    #[tokio::test]
    async fn a_storm_does_not_hold_back_what_it_began_with() {
        let (sender, mut told) = mpsc::channel(QUEUE);
        let mut waiting = Waiting::default();
        waiting.add([change(Kind::Routes)]);
        waiting.heard = BURST;
        assert!(waiting.is_urgent());
        waiting.pass_on(sender.reserve().await.unwrap());
        assert_eq!(told.recv().await.unwrap().kind, Kind::Routes);
        waiting.add([change(Kind::Underlay)]);
        assert!(!waiting.is_urgent(), "the next ones are collected again");
    }
}
