//! The pods of this node, and what is being done to them: one thing at a time for each.

mod add;
mod addresses;
mod attach;
mod record;
mod remove;
mod repair;
mod show;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use crate::kernel::{IfName, Op, OpError, PodLink};
use crate::node::Ticket;
use crate::podip::{Pool, Taken};
use ipnetwork::IpNetwork;
use podnet_proto::api::PodRequest;
use podnet_proto::{ApiError, ErrorCode, PodName};

use super::effect::{Attach, Write};
use super::event::NetnsSeen;
use super::machine::Node;
use super::reconcile::Repair;

pub use self::record::{PodRecord, PodRecordState};

/// Why a pod is not attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachError {
    /// The pod cannot be attached, and nothing was done.
    Refused(OpError),
    /// The kernel refused; what had been done is undone.
    Failed(OpError),
}

/// The pods of this node.
#[derive(Default)]
pub(in crate::node) struct Pods {
    pub(in crate::node) records: BTreeMap<PodName, PodRecord>,
    /// Addresses of the block that the node uses.
    pool: Option<Pool>,
    /// Addresses that became free under the last agent, in their order, until there is a pool.
    freed: Vec<Ipv4Addr>,
    /// Pods that something is being done to, and what was asked of them meanwhile.
    busy: BTreeMap<PodName, Busy>,
    /// Pods that something was done to since the pass that is under way began; `None` if none is under way.
    touched: Option<BTreeSet<PodName>>,
    /// What was asked for before the node's bridge stood.
    early: Vec<(Box<PodRequest>, Ticket)>,
    /// Why pods (by host end) could not be put right when that was last tried.
    unrepaired: BTreeMap<IfName, (Op, OpError)>,
    /// Why pods could not be removed when that was last tried.
    pub(in crate::node) unremoved: BTreeMap<PodName, ApiError>,
}

impl Pods {
    /// The pods that the kernel should hold.
    pub(in crate::node) fn attached(&self) -> Vec<PodLink> {
        let ready = |(name, record): &(&PodName, &PodRecord)| {
            record.state == PodRecordState::Ready && !self.is_busy(name)
        };
        self.records
            .iter()
            .filter(ready)
            .map(|(_, record)| record.link.clone())
            .collect()
    }

    /// The pods that something is being done to, by host end, with their addresses.
    pub(in crate::node) fn in_flight(&self) -> BTreeMap<IfName, BTreeSet<IpAddr>> {
        self.busy
            .keys()
            .filter_map(|name| self.records.get(name))
            .map(|record| {
                let addresses = record.link.addresses.iter().map(IpNetwork::ip).collect();
                (record.link.host_ifname.clone(), addresses)
            })
            .collect()
    }

    /// Whether something is being done to a pod.
    fn is_busy(&self, name: &PodName) -> bool {
        self.busy.contains_key(name)
    }

    /// A pass begins: it does not see what is done to pods from now on.
    pub(in crate::node) fn pass_begins(&mut self) {
        self.touched = Some(self.busy.keys().cloned().collect());
    }

    /// What the pass has found is taken in.
    pub(in crate::node) fn pass_ends(&mut self) {
        self.touched = None;
    }

    /// Notes that something is being done to a pod from now on.
    fn begin(&mut self, name: PodName, doing: Doing) {
        if let Some(touched) = &mut self.touched {
            touched.insert(name.clone());
        }
        let waiting = VecDeque::new();
        self.busy.insert(name, Busy { doing, waiting });
    }

    /// Lets a request wait until nothing is being done to the pod.
    fn wait(&mut self, name: &PodName, request: Waiting) {
        if let Some(busy) = self.busy.get_mut(name) {
            busy.waiting.push_back(request);
        }
    }

    /// The pods that users see.
    pub(in crate::node) fn shown(&self) -> impl Iterator<Item = &PodRecord> {
        let records = self.records.values();
        records.filter(|record| self.is_shown(record))
    }

    /// Whether users see a pod: not before it is attached, and no longer once it is being removed; but
    /// again if that has failed.
    fn is_shown(&self, record: &PodRecord) -> bool {
        match record.state {
            PodRecordState::Ready | PodRecordState::Gone => true,
            PodRecordState::Attaching | PodRecordState::Detaching => {
                !self.is_busy(&record.link.pod)
            }
        }
    }

    /// The inode numbers of the namespaces that pods have. That of a pod which is gone may have come
    /// back as another's: the kernel gives out the lowest that is free (`ns_alloc_inum`).
    fn namespaces(&self) -> Vec<u64> {
        let records = self.records.values();
        records
            .filter(|record| record.state != PodRecordState::Gone)
            .filter_map(|record| record.link.netns.inode)
            .collect()
    }

    /// The pods whose namespace has vanished.
    pub(in crate::node) fn gone(&self) -> impl Iterator<Item = &PodRecord> {
        let records = self.records.values();
        records.filter(|record| record.state == PodRecordState::Gone)
    }

    /// The changes that failed, of pods that are still there.
    pub(in crate::node) fn unrepaired(&self) -> impl Iterator<Item = &(Op, OpError)> {
        let pods = self.unrepaired.iter();
        pods.filter(|(host_ifname, _)| self.by_host_end(host_ifname).is_some())
            .map(|(_, failed)| failed)
    }

    /// The client of this request has gone, and expects no pod.
    pub(in crate::node) fn abandon(&mut self, ticket: Ticket) {
        self.early.retain(|(_, early)| *early != ticket);
    }

    fn by_host_end(&self, host_ifname: &IfName) -> Option<&PodRecord> {
        self.records
            .values()
            .find(|record| record.link.host_ifname == *host_ifname)
    }
}

/// A pod that something is being done to.
struct Busy {
    doing: Doing,
    /// What was asked of it meanwhile.
    waiting: VecDeque<Waiting>,
}

/// What is being done to a pod.
enum Doing {
    /// What there is of its namespace is looked at, before it is added.
    Look(Box<PodRequest>, Ticket),
    /// It is put on record, and attached after that.
    Record(Attachment, Box<Attach>),
    Attach(Attachment),
    /// It is put on record that it is attached.
    Settle(Ticket),
    /// It could not be attached: what is on record of it is taken back.
    Undo(Ticket, ApiError),
    /// Its record is removed.
    Forget(Option<Ticket>),
    /// It is detached: without a ticket since the node is to leave, or since the last agent did not finish with it.
    Detach(Option<Ticket>),
    /// It is put right.
    Repair,
    /// What is left of it, after its namespace has vanished, is removed.
    ClearAway,
}

/// A pod that is being attached.
struct Attachment {
    /// The address that was taken for it.
    taken: Taken,
    /// The gone pod that had its name.
    gone: Option<Box<PodRecord>>,
    ticket: Ticket,
}

/// What was asked of a pod that something is being done to.
enum Waiting {
    Add(Box<PodRequest>, Ticket),
    Remove(Ticket),
}

impl Node {
    /// Reads the pods of this boot. Those that were being attached or detached when the last
    /// process ended are detached.
    pub(in crate::node) fn load_pods(
        &mut self,
        records: BTreeMap<PodName, PodRecord>,
        freed: Vec<Ipv4Addr>,
    ) {
        self.pods.records = records;
        self.pods.freed = freed;
        let unfinished: Vec<PodName> = self
            .pods
            .records
            .iter()
            .filter(|(_, record)| match record.state {
                PodRecordState::Attaching | PodRecordState::Detaching => true,
                PodRecordState::Ready | PodRecordState::Gone => false,
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in unfinished {
            tracing::warn!(pod = %name, "the last agent did not finish with a pod: it is removed");
            self.start_detach(&name, None);
        }
    }

    pub(in crate::node) fn on_attached(
        &mut self,
        name: &PodName,
        result: Result<u64, AttachError>,
    ) {
        let (doing, waiting) = self.ended(name);
        if let Some(Doing::Attach(planned)) = doing {
            self.attached(name, result, planned);
        }
        self.go_on_with(name, waiting);
    }

    pub(in crate::node) fn on_detached(&mut self, name: &PodName, result: Result<(), OpError>) {
        let (doing, waiting) = self.ended(name);
        match doing {
            Some(Doing::Detach(ticket)) => self.detached(name, result, ticket),
            Some(Doing::ClearAway) => self.vanished(name, result),
            Some(_) | None => {}
        }
        self.go_on_with(name, waiting);
    }

    /// Something of a pod is written, or not.
    pub(in crate::node) fn on_pod_stored(
        &mut self,
        name: &PodName,
        write: &Write,
        result: Result<(), ApiError>,
    ) {
        let (doing, waiting) = self.ended(name);
        match (doing, result) {
            (Some(Doing::Record(planned, attach)), Ok(())) => {
                self.attach_recorded(name, planned, attach);
            }
            (Some(Doing::Record(planned, _)), Err(why)) => {
                self.forget_unrecorded(name, planned, why);
            }
            (Some(Doing::Settle(ticket)), result) => self.settled(name, result, ticket),
            (Some(Doing::Undo(ticket, why)), result) => self.undone(write, result, (ticket, why)),
            (Some(Doing::Forget(ticket)), result) => self.forgotten(name, result, ticket),
            (Some(_) | None, _) => {}
        }
        self.go_on_with(name, waiting);
    }

    pub(in crate::node) fn on_repaired(
        &mut self,
        name: &PodName,
        repair: &Repair,
        result: &Result<(), OpError>,
    ) {
        let (_, waiting) = self.ended(name);
        self.repaired(name, repair, result);
        self.go_on_with(name, waiting);
    }

    pub(in crate::node) fn on_netns_seen(&mut self, name: &PodName, seen: NetnsSeen) {
        let (doing, waiting) = self.ended(name);
        if let Some(Doing::Look(request, ticket)) = doing {
            self.add_seen(request, seen, ticket);
        }
        self.go_on_with(name, waiting);
    }

    /// What was being done to a pod has ended.
    fn ended(&mut self, name: &PodName) -> (Option<Doing>, VecDeque<Waiting>) {
        match self.pods.busy.remove(name) {
            Some(Busy { doing, waiting }) => (Some(doing), waiting),
            None => (None, VecDeque::new()),
        }
    }

    /// Goes on with what was asked of a pod meanwhile.
    fn go_on_with(&mut self, name: &PodName, mut waiting: VecDeque<Waiting>) {
        self.reconciling.pod_changed(self.now());
        loop {
            if let Some(busy) = self.pods.busy.get_mut(name) {
                busy.waiting.append(&mut waiting);
                return;
            }
            let Some(request) = waiting.pop_front() else {
                break;
            };
            match request {
                Waiting::Add(request, ticket) => self.add_pod(request, ticket),
                Waiting::Remove(ticket) => self.remove_pod(name, Some(ticket)),
            }
        }
        if self.may_leave() {
            self.remove_settled(name);
        }
        self.leave_when_empty();
    }
}

fn no_such_pod(name: &PodName) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("pod {name}: no such pod on this node"),
    )
    .hint("list the pods of this node with 'podnetctl pod list'")
}
