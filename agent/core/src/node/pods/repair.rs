//! Pods that another program has changed, or whose namespace has vanished.

use std::collections::BTreeSet;

use crate::kernel::{
    IfName, Kind, Kinds, Op, OpError, OpErrorClass, PodLink, holding, neighbour, pod,
};
use podnet_proto::PodName;

use super::addresses::v4_addresses;
use super::{Doing, Node};
use crate::node::effect::{Effect, Loose, Write};
use crate::node::pods::PodRecordState;
use crate::node::reconcile::Repair;
use crate::node::retry::class_of;
use crate::pass::Finding;

impl Node {
    /// Puts right what a pass found to be wrong with pods and their neighbour entries, as far as it
    /// is still wrong.
    pub(in crate::node) fn repair_pods(&mut self, repairs: Vec<Repair>) {
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
        self.effects.push(Effect::Apply(Loose::Neighbours, stale));
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
                    && !self.pods.is_busy(name)
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

    pub(in crate::node) fn on_neighbours_done(&mut self, done: &[(Repair, Result<(), OpError>)]) {
        self.count_all(done);
        // The next look shows whether they are right now.
        let parts = Kinds::from([Kind::Bridge]);
        let results = done.iter().map(|(_, result)| result);
        let class = class_of(results.map(class_of_result));
        let class = class.unwrap_or(OpErrorClass::Transient);
        self.reconciling.look_after(parts, class, self.now());
    }

    pub(in crate::node) fn on_strays_done(&mut self, done: &[(Repair, Result<(), OpError>)]) {
        self.count_all(done);
        let released = done.iter().filter(|(repair, _)| {
            matches!(repair.finding.op, Op::Holding(holding::Op::Release { .. }))
        });
        // A pod may have come to this port meanwhile.
        if let Some(class) = class_of(released.map(|(_, result)| class_of_result(result))) {
            let parts = Kinds::from([Kind::Holding]);
            self.reconciling.look_after(parts, class, self.now());
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
        let repair = Effect::RepairPod(name.clone(), Box::new(repair));
        self.effects.push(repair);
        self.pods.begin(name, Doing::Repair);
    }

    /// The pod of a host end, as far as what the last pass says of it still counts: nothing was done to it since the
    /// pass began. Its link alone does not show that: a namespace that is made anew may get the number of the last.
    fn judged(&mut self, host_ifname: &IfName) -> Option<PodName> {
        let record = self.pods.by_host_end(host_ifname)?;
        let looked_at = self.reconciling.desired.pods.get(host_ifname)?;
        let same = *looked_at
            == PodLink {
                mtu: looked_at.mtu,
                ..record.link.clone()
            };
        let name = record.link.pod.clone();
        let ready = record.state == PodRecordState::Ready;
        let touched = self.pods.touched.as_ref();
        if touched.is_some_and(|touched| touched.contains(&name)) {
            let again = Kinds::from([Kind::HostEnd(host_ifname.clone())]);
            let now = self.now();
            self.reconciling
                .look_after(again, OpErrorClass::Transient, now);
            return None;
        }
        (same && ready && !self.pods.is_busy(&name)).then_some(name)
    }

    /// Removes a host end of no pod, or its elements in the table: left by an agent that lost its run directory.
    fn remove_stray(&mut self, host_ifname: &IfName, repair: Repair) {
        // Its pod came after the pass had begun; one that is gone has nothing in the kernel.
        let holder = self.pods.by_host_end(host_ifname);
        if holder.is_some_and(|record| {
            record.state != PodRecordState::Gone || self.pods.is_busy(&record.link.pod)
        }) {
            return;
        }
        self.effects
            .push(Effect::Apply(Loose::Strays, vec![repair]));
    }

    pub(in crate::node) fn repaired(
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
            let write = Write::Pod(Box::new(record.clone()));
            self.effects.push(Effect::Note(write));
        }
        self.reconciling.count(repair, result);
        match result {
            Ok(()) => drop(self.pods.unrepaired.remove(&host_ifname)),
            Err(op_error) => {
                let failed = (repair.finding.op.clone(), op_error.clone());
                self.pods.unrepaired.insert(host_ifname.clone(), failed);
            }
        }
        // The next look shows whether the pod is right now.
        let mut parts = Kinds::from([Kind::HostEnd(host_ifname)]);
        if is_of_holding(&repair.finding.op) {
            parts.add(Kind::Holding);
        }
        let class = class_of_result(result);
        self.reconciling.look_after(parts, class, self.now());
    }

    /// Forgets what could not be put right, if a pass has looked at it and found nothing wrong.
    pub(in crate::node) fn forget_repaired(&mut self, looked_at: &Kinds, found: &[Finding]) {
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

    /// The namespace of a pod has vanished: what is left of the pod is removed, and its addresses are
    /// free again.
    pub(in crate::node) fn pod_gone(&mut self, host_ifname: &IfName) {
        if let Some(name) = self.judged(host_ifname) {
            self.clear_away(name);
        }
    }

    /// Removes what is left of a pod whose namespace has vanished. The pod is busy until then.
    pub(super) fn clear_away(&mut self, name: PodName) {
        tracing::warn!(pod = %name, "the namespace of a pod has vanished");
        let link = self.pods.records[&name].link.clone();
        self.effects.push(Effect::Detach(Box::new(link)));
        self.pods.begin(name, Doing::ClearAway);
    }

    /// The pod stays listed until the user removes it or adds it anew.
    pub(super) fn vanished(&mut self, name: &PodName, result: Result<(), OpError>) {
        if let Err(op_error) = result {
            tracing::warn!(pod = %name, error = %op_error, "what is left of a gone pod cannot be removed");
        }
        let Some(record) = self.pods.records.get_mut(name) else {
            return;
        };
        let link = record.link.clone();
        record.state = PodRecordState::Gone;
        record.last_addresses = v4_addresses(&link).collect();
        record.link.addresses.clear();
        let record = record.clone();
        // Before the record is written: an address that is on record nowhere would count as never used.
        self.free(&link);
        let write = Write::Pod(Box::new(record));
        self.effects.push(Effect::Note(write));
    }
}

/// Whether a change is of what nftables holds a pod to: a look at the pod itself does not show that.
const fn is_of_holding(op: &Op) -> bool {
    matches!(
        op,
        Op::Holding(holding::Op::Hold { .. } | holding::Op::Release { .. })
    )
}

/// Whether a look at these parts shows what a change of a pod was to put right.
fn tells_of(looked_at: &Kinds, op: &Op, host_ifname: &IfName) -> bool {
    if is_of_holding(op) {
        looked_at.has(&Kind::Holding)
    } else {
        looked_at.has(&Kind::Insides) || looked_at.has(&Kind::HostEnd(host_ifname.clone()))
    }
}

/// How soon to look again at something that was changed, or could not be.
fn class_of_result(result: &Result<(), OpError>) -> OpErrorClass {
    match result {
        Ok(()) => OpErrorClass::Transient,
        Err(op_error) => op_error.class(),
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::Holding;

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
