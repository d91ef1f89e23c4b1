//! Which namespaces the pods of a node have, and which findings of a pass still count for them.

use crate::kernel::{MacAddr, Mtu, Netns};

use super::*;
use crate::node::effect::Effect;
use crate::node::tests::founder;

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

/// Linux gives a namespace the lowest number that is free: often that of the one which has just gone.
#[test]
fn what_a_pass_says_of_a_pod_that_was_made_anew_meanwhile_does_not_count() {
    let mut run = founder();
    let node = &mut run.node;
    let red = record("red", PodRecordState::Ready, 7);
    let (name, host_ifname) = (red.link.pod.clone(), red.link.host_ifname.clone());
    let desired = &mut node.reconciling.desired.pods;
    desired.insert(host_ifname.clone(), red.link.clone());
    node.pods.records.insert(name.clone(), red);
    let clears_away = |node: &mut Node| {
        node.pod_gone(&host_ifname);
        let effects = std::mem::take(&mut node.effects);
        let detaches = |effect: &Effect| matches!(effect, Effect::Detach(_));
        effects.iter().any(detaches)
    };

    node.pods.pass_begins();
    node.pods.begin(name.clone(), Doing::Repair);
    node.ended(&name);
    assert!(!clears_away(node), "the pass looked before");
    node.pods.pass_ends();

    node.pods.pass_begins();
    assert!(clears_away(node));
}
