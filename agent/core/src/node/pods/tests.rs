//! Which namespaces the pods of a node have.

use crate::kernel::{MacAddr, Mtu, Netns};

use super::*;

fn record(name: &str, state: PodRecordState, inode: u64) -> PodRecord {
    let netns = Netns {
        path: name.into(),
        made: false,
        inode: Some(inode),
    };
    let link = PodLink {
        pod: name.parse().unwrap(),
        host_ifname: "pn0".parse().unwrap(),
        netns,
        ifname: IfName::pod(),
        mac: MacAddr([2; 6]),
        mtu: Mtu(1500),
        addresses: Vec::new(),
        gateways: Vec::new(),
        gateway_mac: MacAddr([2; 6]),
        trusted: false,
    };
    PodRecord {
        state,
        link,
        created_at: String::new(),
        last_addresses: Vec::new(),
    }
}

#[test]
fn a_pod_that_is_gone_has_no_namespace() {
    let records = [
        record("red", PodRecordState::Ready, 1),
        record("green", PodRecordState::Gone, 2),
        record("blue", PodRecordState::Detaching, 3),
    ];
    let pods = Pods {
        records: records
            .map(|record| (record.link.pod.clone(), record))
            .into(),
        ..Pods::default()
    };
    assert_eq!(pods.namespaces(), [3, 1]);
}
