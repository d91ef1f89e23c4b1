//! The hosts and the ledger that a schedule begins with.

use std::net::SocketAddrV4;

use podnet_proto::ledger::{Decided, Ledger, Settings};
use podnet_proto::network::BlockIndex;
use podnet_proto::{Boot, NodeId, PodNetwork};

use crate::host::Host;
use crate::plan::Plan;
use podnet_lab::model::signing::CLUSTER;

pub(crate) fn new_node(rng: &mut fastrand::Rng) -> NodeId {
    NodeId::from_bytes(rng.u128(..).to_be_bytes())
}

pub(crate) fn new_address(rng: &mut fastrand::Rng) -> SocketAddrV4 {
    SocketAddrV4::new(rng.u32(..).into(), 7846)
}

pub(crate) fn new_host(rng: &mut fastrand::Rng) -> Host {
    Host {
        node: new_node(rng),
        address: new_address(rng),
        disk: None,
        epoch: 0,
        saved: None,
        boot: Boot(rng.u64(..)),
        pods: None,
        agent: None,
        life: 0,
        leave: false,
        crash: None,
        state: None,
        muted: None,
    }
}

/// A ledger in which the first hosts are members and voters.
pub(crate) fn genesis(plan: &Plan, hosts: &[Host]) -> Decided {
    let prefix = 24 - plan.blocks.ilog2();
    let network = PodNetwork::parse(&format!("10.0.0.0/{prefix}"), 24).expect("a pod network");
    let cluster = CLUSTER;
    let settings = Settings::default();
    let genesis = Ledger::genesis(
        cluster,
        vec![network],
        settings,
        hosts[0].node,
        hosts[0].boot,
    );
    genesis.changed(|ledger| {
        ledger.voters = hosts[..plan.voters].iter().map(|host| host.node).collect();
        for (index, voter) in (0..).map(BlockIndex).zip(&hosts[..plan.voters]) {
            ledger.blocks.insert(index, voter.node);
            ledger.boots.insert(voter.node, voter.boot);
        }
    })
}
