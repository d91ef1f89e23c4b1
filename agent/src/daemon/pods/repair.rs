//! Pods that others have changed, or whose namespace has vanished.

use std::collections::{BTreeSet, VecDeque};
use std::slice;
use std::sync::Arc;

use podnet_core::kernel::{
    IfName, Kind, Kinds, Op, OpError, OpErrorClass, PodLink, holding, neighbour, pod,
};
use podnet_proto::PodName;

use super::{Agent, Done, PodAnswer, PodDone, v4_addresses};
use crate::daemon::agent::Event;
use crate::daemon::error;
use crate::daemon::reconcile::Repair;
use crate::daemon::retry::class_of;
use crate::pods::detach;
use crate::reconciler::Finding;
use crate::store::PodRecordState;
use crate::vital;

impl Agent {
    /// Puts right what a pass found to be wrong with pods and their neighbour entries, as far as it
    /// still is.
    pub(in crate::daemon) fn repair_pods(&mut self, repairs: Vec<Repair>) {
        let (neighbours, pods): (Vec<Repair>, Vec<Repair>) = repairs
            .into_iter()
            .partition(|repair| repair.finding.op.neighbour().is_some());
        for repair in pods {
            self.repair_pod(repair);
        }
        let stale: Vec<Repair> = neighbours
            .into_iter()
            .filter(|repair| self.is_still_wrong(&repair.finding.op))
            .collect();
        if stale.is_empty() {
            return;
        }
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        vital::spawn(async move {
            let ops: Vec<Op> = stale.iter().map(|stale| stale.finding.op.clone()).collect();
            let results = dataplane.apply(&ops).await.into_iter();
            let results = results.map(|result| result.map(drop));
            let done = stale.into_iter().zip(results).collect();
            let _ = events.send(Event::NeighboursDone(done)).await;
        });
    }

    /// Whether a change of a neighbour entry is still right: pods may have come and gone since the
    /// pass began.
    fn is_still_wrong(&self, op: &Op) -> bool {
        let holder = self.pods.records.iter().find(|(_, record)| {
            let mut addresses = record.link.addresses.iter();
            addresses.any(|address| Some(address.ip()) == op.neighbour())
        });
        match (op, holder) {
            (Op::Neighbour(neighbour::Op::Set { mac, .. }), Some((name, record))) => {
                record.state == PodRecordState::Ready
                    && record.link.mac == *mac
                    && !self.pods.busy.contains_key(name)
            }
            (_, holder) => {
                holder.is_none() && !matches!(op, Op::Neighbour(neighbour::Op::Set { .. }))
            }
        }
    }

    fn count_all(&mut self, done: &[(Repair, Result<(), OpError>)]) {
        for (repair, result) in done {
            self.reconciling.count(repair, result);
        }
    }

    pub(in crate::daemon) fn on_neighbours_done(&mut self, done: &[(Repair, Result<(), OpError>)]) {
        self.count_all(done);
        // Whether they are right now, the next look tells.
        let parts = Kinds::from([Kind::Bridge]);
        let results = done.iter().map(|(_, result)| result);
        let class = class_of(results.map(class_of_result));
        self.reconciling
            .look_after(parts, class.unwrap_or(OpErrorClass::Transient));
    }

    pub(in crate::daemon) fn on_strays_done(&mut self, done: &[(Repair, Result<(), OpError>)]) {
        self.count_all(done);
        let released = done.iter().filter(|(repair, _)| {
            matches!(repair.finding.op, Op::Holding(holding::Op::Release { .. }))
        });
        // A pod may have got the port meanwhile.
        if let Some(class) = class_of(released.map(|(_, result)| class_of_result(result))) {
            let parts = Kinds::from([Kind::Holding]);
            self.reconciling.look_after(parts, class);
        }
    }

    fn repair_pod(&mut self, repair: Repair) {
        let op = &repair.finding.op;
        let Some(host_ifname) = op.host_end().cloned() else {
            return;
        };
        if matches!(
            op,
            Op::Pod(pod::Op::Detach { .. }) | Op::Holding(holding::Op::Release { .. })
        ) {
            self.remove_stray(&host_ifname, repair);
            return;
        }
        let Some(name) = self.judged(&host_ifname) else {
            return;
        };
        self.pods.busy.insert(name.clone(), VecDeque::new());
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        vital::spawn(async move {
            let op = slice::from_ref(&repair.finding.op);
            let mut results = dataplane.apply(op).await.into_iter();
            let result = results.try_for_each(|result| result.map(drop));
            let done = Done::Repaired(Box::new(repair), result);
            let done = PodDone {
                name,
                done,
                answer: PodAnswer::Nobody,
            };
            let _ = events.send(Event::PodDone(Box::new(done))).await;
        });
    }

    /// The pod of a host end, as far as what the last pass says of it still counts: it is the pod
    /// that was looked at, not one that got its name since, and nothing is being done to it.
    fn judged(&self, host_ifname: &IfName) -> Option<PodName> {
        let record = self.pods.by_host_end(host_ifname)?;
        let looked_at = self.reconciling.desired.pods.get(host_ifname)?;
        let same = *looked_at
            == PodLink {
                mtu: looked_at.mtu,
                ..record.link.clone()
            };
        let name = &record.link.pod;
        let settled = record.state == PodRecordState::Ready && !self.pods.busy.contains_key(name);
        (same && settled).then(|| name.clone())
    }

    /// Removes a host end of no pod, or what is held of it: left by an agent that lost its run directory.
    fn remove_stray(&mut self, host_ifname: &IfName, repair: Repair) {
        if self.pods.by_host_end(host_ifname).is_some() {
            // Its pod came after the pass had begun.
            return;
        }
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        vital::spawn(async move {
            let op = slice::from_ref(&repair.finding.op);
            let results = dataplane.apply(op).await.into_iter();
            let done = results.map(|result| (repair.clone(), result.map(drop)));
            let _ = events.send(Event::StraysDone(done.collect())).await;
        });
    }

    pub(in crate::daemon) fn repaired(
        &mut self,
        name: &PodName,
        repair: &Repair,
        result: &Result<(), OpError>,
    ) {
        let Some(record) = self.pods.records.get_mut(name) else {
            return;
        };
        let host_ifname = record.link.host_ifname.clone();
        let mtu = repair.finding.op.pod_link().map(|link| link.mtu);
        if let (Ok(()), Some(mtu)) = (result, mtu)
            && mtu != record.link.mtu
        {
            record.link.mtu = mtu;
            if let Err(store_error) = self.run_dir.save_pod(record) {
                tracing::warn!(pod = %name, error = error::chain(&store_error), "not on record");
            }
        }
        self.reconciling.count(repair, result);
        match result {
            Ok(()) => drop(self.pods.unrepaired.remove(&host_ifname)),
            Err(op_error) => {
                let failed = (repair.finding.op.clone(), op_error.clone());
                self.pods.unrepaired.insert(host_ifname.clone(), failed);
            }
        }
        // Whether it is right now, the next look tells.
        let mut parts = Kinds::from([Kind::HostEnd(host_ifname)]);
        if is_of_holding(&repair.finding.op) {
            parts.add(Kind::Holding);
        }
        self.reconciling.look_after(parts, class_of_result(result));
    }

    /// Forgets what could not be put right, where a pass has looked and found nothing wrong.
    pub(in crate::daemon) fn forget_repaired(&mut self, looked_at: &Kinds, found: &[Finding]) {
        if self.reconciling.blind.is_some() {
            return;
        }
        let wrong: BTreeSet<&IfName> = found
            .iter()
            .filter_map(|finding| finding.op.host_end())
            .collect();
        self.pods.unrepaired.retain(|host_ifname, (op, _)| {
            !tells_of(looked_at, op, host_ifname) || wrong.contains(host_ifname)
        });
    }

    /// The namespace of a pod has vanished: what is left of it goes, and its addresses are free
    /// again.
    pub(in crate::daemon) fn pod_gone(&mut self, host_ifname: &IfName) {
        if let Some(name) = self.judged(host_ifname) {
            self.clear_away(name);
        }
    }

    /// Removes what is left of a pod whose namespace has vanished. It is busy until then.
    pub(super) fn clear_away(&mut self, name: PodName) {
        tracing::warn!(pod = %name, "the namespace of a pod has vanished");
        let link = self.pods.records[&name].link.clone();
        self.pods.busy.insert(name.clone(), VecDeque::new());
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        vital::spawn(async move {
            let done = PodDone {
                name,
                done: Done::Vanished(detach(dataplane.as_ref(), &link).await),
                answer: PodAnswer::Nobody,
            };
            let _ = events.send(Event::PodDone(Box::new(done))).await;
        });
    }

    /// The pod stays listed until somebody removes it or adds it anew.
    pub(super) fn vanished(&mut self, name: &PodName, result: Result<(), OpError>) {
        if let Err(op_error) = result {
            tracing::warn!(pod = %name, error = %op_error, "something is left of a gone pod");
        }
        let Some(record) = self.pods.records.get_mut(name) else {
            return;
        };
        let link = record.link.clone();
        record.state = PodRecordState::Gone;
        record.last_addresses = v4_addresses(&link).collect();
        record.link.addresses.clear();
        let record = record.clone();
        // First: an address that is on record nowhere would count as never used.
        self.free(&link);
        if let Err(store_error) = self.run_dir.save_pod(&record) {
            tracing::warn!(pod = %name, error = error::chain(&store_error), "not on record");
        }
    }
}

/// Whether a change is of what nftables holds a pod to: looks at the pod itself do not tell of it.
const fn is_of_holding(op: &Op) -> bool {
    matches!(
        op,
        Op::Holding(holding::Op::Hold { .. } | holding::Op::Release { .. })
    )
}

/// Whether a look at these parts tells of what a change of a pod was to put right.
fn tells_of(looked_at: &Kinds, op: &Op, host_ifname: &IfName) -> bool {
    if is_of_holding(op) {
        looked_at.has(&Kind::Holding)
    } else {
        looked_at.has(&Kind::Insides) || looked_at.has(&Kind::HostEnd(host_ifname.clone()))
    }
}

/// How soon to look at something again that was changed, or not.
fn class_of_result(result: &Result<(), OpError>) -> OpErrorClass {
    match result {
        Ok(()) => OpErrorClass::Transient,
        Err(op_error) => op_error.class(),
    }
}

#[cfg(test)]
mod tests {
    use podnet_core::kernel::Holding;

    use super::*;

    #[test]
    fn only_a_look_at_what_holds_pods_tells_of_it() {
        let port: IfName = "pna".parse().unwrap();
        let hold = Op::Holding(holding::Op::Hold {
            host_ifname: port.clone(),
            holding: Holding::default(),
        });
        let detach = Op::Pod(pod::Op::Detach {
            host_ifname: port.clone(),
            netns: None,
        });
        let pod = Kinds::from([Kind::HostEnd(port.clone())]);
        let holding = Kinds::from([Kind::Holding]);
        for (parts, op, tells) in [
            (&pod, &hold, false),
            (&pod, &detach, true),
            (&holding, &hold, true),
            (&holding, &detach, false),
        ] {
            assert_eq!(tells_of(parts, op, &port), tells, "{op}");
        }
    }
}
