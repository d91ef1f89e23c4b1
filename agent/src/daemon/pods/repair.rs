//! Pods that others have changed, or whose namespace has vanished.

use std::collections::VecDeque;
use std::sync::Arc;

use podnet_core::kernel::{IfName, Mtu, Op, OpError};
use podnet_proto::PodName;

use super::{Agent, Done, PodAnswer, PodDone};
use crate::daemon::agent::Event;
use crate::daemon::error;
use crate::reconciler::Parts;
use crate::store::PodRecordState;

impl Agent {
    /// Carries out what a pass found to be wrong with a pod, unless something is being done to it
    /// anyway.
    pub(in crate::daemon) fn repair_pod(&mut self, op: Op) {
        let Some(host_ifname) = op.host_end().cloned() else {
            return;
        };
        let Some(record) = self.pods.by_host_end(&host_ifname) else {
            // A host end of no pod: left by an agent that lost its run directory.
            let dataplane = Arc::clone(&self.dataplane);
            tokio::spawn(async move {
                for error in dataplane
                    .apply(&[op])
                    .await
                    .into_iter()
                    .filter_map(Result::err)
                {
                    tracing::warn!(%host_ifname, %error, "a stray host end stays");
                }
            });
            return;
        };
        let name = record.link.pod.clone();
        if record.state != PodRecordState::Ready || self.pods.busy.contains_key(&name) {
            return;
        }
        tracing::warn!(pod = %name, %op, "others have changed a pod");
        self.pods.busy.insert(name.clone(), VecDeque::new());
        let mtu = op.pod_link().map(|link| link.mtu);
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        tokio::spawn(async move {
            let result = dataplane.apply(&[op]).await.into_iter().collect();
            let done = Done::Repaired(mtu, result);
            let done = PodDone {
                name,
                done,
                answer: PodAnswer::Nobody,
            };
            let _ = events.send(Event::PodDone(Box::new(done))).await;
        });
    }

    pub(in crate::daemon) fn repaired(
        &mut self,
        name: &PodName,
        mtu: Option<Mtu>,
        result: Result<(), OpError>,
    ) {
        let Some(record) = self.pods.records.get_mut(name) else {
            return;
        };
        let host_ifname = record.link.host_ifname.clone();
        self.reconciling.totals.operations_total += 1;
        match (result, mtu) {
            (Ok(()), Some(mtu)) if mtu != record.link.mtu => {
                record.link.mtu = mtu;
                if let Err(store_error) = self.run_dir.save_pod(record) {
                    tracing::warn!(pod = %name, error = error::chain(&store_error), "not on record");
                }
            }
            (Ok(()), _) => {}
            (Err(op_error), _) => {
                self.reconciling.totals.failed_total += 1;
                tracing::warn!(pod = %name, error = %op_error, "a pod cannot be repaired");
            }
        }
        // Whether it is right now, the next look tells.
        self.reconciling.look_again(Parts {
            pods: [host_ifname].into(),
            ..Parts::default()
        });
    }

    /// The namespace of a pod has vanished: its addresses are free again. The pod stays listed
    /// until somebody removes it.
    pub(in crate::daemon) fn pod_gone(&mut self, host_ifname: &IfName) {
        let Some(record) = self.pods.by_host_end(host_ifname) else {
            return;
        };
        let name = record.link.pod.clone();
        if record.state != PodRecordState::Ready || self.pods.busy.contains_key(&name) {
            return;
        }
        tracing::warn!(pod = %name, "the namespace of a pod has vanished");
        let link = record.link.clone();
        self.free(&link);
        if let Some(record) = self.pods.records.get_mut(&name) {
            record.state = PodRecordState::Gone;
            record.link.addresses.clear();
            if let Err(store_error) = self.run_dir.save_pod(record) {
                tracing::warn!(pod = %name, error = error::chain(&store_error), "not on record");
            }
        }
    }
}
