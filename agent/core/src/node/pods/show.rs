//! Pods as users see them.

use std::collections::BTreeMap;

use podnet_proto::api::{Pod, PodState};
use podnet_proto::{ApiError, PodName};

use super::addresses::v4_addresses;
use super::{Node, no_such_pod};
use crate::node::membership::Membership;
use crate::node::pods::{PodRecord, PodRecordState};

impl Node {
    pub(in crate::node) fn pod_list(&self) -> Vec<Pod> {
        let shown = self.pods.shown();
        shown.map(|record| self.show_pod(record)).collect()
    }

    pub(in crate::node) fn pod(&self, name: &PodName) -> Result<Pod, ApiError> {
        let record = self.pods.records.get(name);
        record
            .filter(|record| self.pods.is_shown(record))
            .map(|record| self.show_pod(record))
            .ok_or_else(|| no_such_pod(name))
    }

    pub(super) fn show_pod(&self, record: &PodRecord) -> Pod {
        let link = &record.link;
        let state = match record.state {
            PodRecordState::Gone => PodState::Gone,
            PodRecordState::Attaching | PodRecordState::Ready | PodRecordState::Detaching => {
                let using = self.life.member().and_then(Membership::block);
                let own = |address| using.is_some_and(|block| block.contains(address));
                if v4_addresses(link).all(own) {
                    PodState::Ready
                } else {
                    PodState::Fenced
                }
            }
        };
        Pod {
            name: link.pod.clone(),
            node: self.node_name(),
            state,
            addresses: link.addresses.clone(),
            gateways: link.gateways.clone(),
            mac: link.mac.to_string(),
            mtu: link.mtu.0,
            netns: link.netns.path.display().to_string(),
            ifname: link.ifname.to_string(),
            host_ifname: link.host_ifname.to_string(),
            created_at: record.created_at.clone(),
            labels: BTreeMap::new(),
            trusted: link.trusted,
        }
    }
}
