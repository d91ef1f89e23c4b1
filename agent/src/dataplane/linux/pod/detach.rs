//! Detaching pods: what arrives together is removed together.
//!
//! The kernel takes about 25 ms to remove a veth pair, most of it waiting; but hardly longer for a
//! whole group of them.

use std::mem;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use podnet_core::kernel::{IfName, OpError, OpErrorKind};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::super::Host;
use super::super::errno::{Errno, KernelError};
use super::super::link::{self, DOOMED_GROUP, Link};
use super::super::netns;
use super::super::socket::Socket;
use super::PODS_AT_ONCE;

/// How long a removal waits for other removals to join it, and again as long as one has: little beside
/// what it takes.
const GATHER: Duration = Duration::from_millis(2);

/// How often it waits at most.
const GATHERINGS: usize = 5;

/// A host end to be removed, and who waits for the outcome.
struct Removal {
    host_ifname: IfName,
    done: oneshot::Sender<Result<(), OpError>>,
}

/// The host ends to be removed. Whoever has the turn removes all that wait.
#[derive(Default)]
pub(in super::super) struct Removals {
    waiting: Mutex<Vec<Removal>>,
    turn: tokio::sync::Mutex<()>,
}

impl Removals {
    /// Detaches pods. Their host ends' names are free when this returns.
    pub(super) async fn detach(
        &self,
        host: &Host,
        pods: &[(&IfName, Option<&Path>)],
    ) -> Vec<Result<(), OpError>> {
        let checks: Vec<_> = pods.iter().map(|(_, netns)| check(host, *netns)).collect();
        let mut results: Vec<_> = stream::iter(checks).buffered(PODS_AT_ONCE).collect().await;
        let removable = || {
            pods.iter()
                .zip(&results)
                .filter(|(_, result)| result.is_ok())
        };
        let host_ifnames = removable().map(|((host_ifname, _), _)| *host_ifname);
        let mut removed = self.remove(&host.socket, host_ifnames).await.into_iter();
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            *result = removed
                .next()
                .unwrap_or_else(|| Err(KernelError::Lost.at("host end")));
        }
        let namespaces: Vec<_> = pods
            .iter()
            .zip(results)
            .map(|((_, netns), result)| delete_namespace(*netns, result))
            .collect();
        stream::iter(namespaces)
            .buffered(PODS_AT_ONCE)
            .collect()
            .await
    }

    async fn remove(
        &self,
        socket: &Socket,
        host_ifnames: impl Iterator<Item = &IfName>,
    ) -> Vec<Result<(), OpError>> {
        let (removals, answers): (Vec<_>, Vec<_>) = host_ifnames
            .map(|host_ifname| {
                let (done, answer) = oneshot::channel();
                let host_ifname = host_ifname.clone();
                (
                    Removal {
                        host_ifname: host_ifname.clone(),
                        done,
                    },
                    (host_ifname, answer),
                )
            })
            .unzip();
        self.waiting().extend(removals);
        self.gather().await;
        {
            let _turn = self.turn.lock().await;
            let waiting = mem::take(&mut *self.waiting());
            carry_out(socket, waiting).await;
        }
        let answers = answers.into_iter().map(async |(host_ifname, answer)| {
            // Whoever had the turn may have been given up by its caller.
            let lost = |_| Err(KernelError::Lost.at(format!("host end {host_ifname}")));
            answer.await.unwrap_or_else(lost)
        });
        join_all(answers).await
    }

    /// Waits until no other removal joins.
    async fn gather(&self) {
        let mut gathered = 0;
        for _ in 0..GATHERINGS {
            let waiting = self.waiting().len();
            if waiting <= gathered {
                return;
            }
            gathered = waiting;
            sleep(GATHER).await;
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Removal>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses to remove as a namespace what is none, before anything else is removed.
async fn check(host: &Host, netns: Option<&Path>) -> Result<(), OpError> {
    let Some(path) = netns else {
        return Ok(());
    };
    match netns::is_removable(path, host.netns_inode).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(OpError::new(
            OpErrorKind::Foreign,
            format!("namespace {}: podnet did not make it", path.display()),
        )),
        Err(error) => Err(error.at(format!("namespace {}", path.display()))),
    }
}

/// Removes a namespace, after the removal of what led into it.
async fn delete_namespace(
    netns: Option<&Path>,
    removed: Result<(), OpError>,
) -> Result<(), OpError> {
    removed?;
    let Some(path) = netns else {
        return Ok(());
    };
    let deleted = netns::delete(path).await;
    deleted.map_err(|error| error.at(format!("namespace {}", path.display())))
}

async fn carry_out(socket: &Socket, removals: Vec<Removal>) {
    if removals.is_empty() {
        return;
    }
    let lookups = removals
        .iter()
        .map(|removal| (link::get(&removal.host_ifname), 0));
    let found = socket.batch(lookups.collect()).await;
    let mut doomed = Vec::new();
    let mut waiting = Vec::new();
    for (removal, answer) in removals.into_iter().zip(found) {
        match judge(&removal.host_ifname, answer) {
            Ok(Some(link)) => {
                doomed.push(link);
                waiting.push(removal);
            }
            Ok(None) => drop(removal.done.send(Ok(()))),
            Err(error) => drop(removal.done.send(Err(error))),
        }
    }
    let results = delete_all(socket, &doomed).await;
    for (removal, result) in waiting.into_iter().zip(results) {
        let result = match result {
            Err(error) if !error.is(Errno::NotFound) => {
                Err(error.at(format!("host end {}", removal.host_ifname)))
            }
            Ok(()) | Err(_) => Ok(()),
        };
        // Whoever asked may have given up.
        let _ = removal.done.send(result);
    }
}

/// The link to be removed; `None` if it is gone already.
fn judge(
    host_ifname: &IfName,
    answer: Result<Vec<RouteNetlinkMessage>, KernelError>,
) -> Result<Option<Link>, OpError> {
    match link::found(answer) {
        Ok(Some(link)) if !link.is_our_host_end() => Err(OpError::new(
            OpErrorKind::Foreign,
            format!("host end {host_ifname}: {} has that name", link.foreign()),
        )),
        Ok(link) => Ok(link),
        Err(error) => Err(error.at(format!("host end {host_ifname}"))),
    }
}

async fn delete_all(socket: &Socket, doomed: &[Link]) -> Vec<Result<(), KernelError>> {
    // By the mark the monitor knows, too, that podnet itself removes them.
    let marked = mark(socket, doomed).await;
    if doomed.len() > 1 && marked.is_ok() && is_all_ours(socket).await == Ok(true) {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(DOOMED_GROUP));
        let result = socket
            .request(RouteNetlinkMessage::DelLink(message), 0)
            .await
            .map(drop);
        return vec![result; doomed.len()];
    }
    let deletions = doomed
        .iter()
        .map(|link| (link::delete(link.index), 0))
        .collect();
    socket
        .batch(deletions)
        .await
        .into_iter()
        .map(|answer| answer.map(drop))
        .collect()
}

/// Puts links into the group of those that are about to be removed.
async fn mark(socket: &Socket, doomed: &[Link]) -> Result<(), KernelError> {
    let moves = doomed.iter().map(|link| {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.attributes.push(LinkAttribute::Group(DOOMED_GROUP));
        (RouteNetlinkMessage::SetLink(message), 0)
    });
    socket
        .batch(moves.collect())
        .await
        .into_iter()
        .try_for_each(|answer| match answer {
            Err(error) if !error.is(Errno::NotFound) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        })
}

/// Whether no link of another program is in that group: else they have to be removed one by one.
async fn is_all_ours(socket: &Socket) -> Result<bool, KernelError> {
    let links = link::list(socket, None).await?;
    let mut group = links.iter().filter(|link| link.group == DOOMED_GROUP);
    Ok(group.all(Link::is_our_host_end))
}
