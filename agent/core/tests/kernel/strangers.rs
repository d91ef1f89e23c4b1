//! A host that is no router for others is none because of podnet, at no instant.

use podnet_core::kernel::firewall::{Chain, Device, Rule, Verdict};
use podnet_core::kernel::{IfName, Kind, ObservedFirewall};
use proptest::prelude::*;

use crate::converge::plain_wish;
use crate::history::{Event, Tamper, wish};
use crate::node::{Node, Wish, forwarding_of, name};

/// What may happen on a host whose owner opens no single device.
fn event() -> impl Strategy<Value = Event> {
    let device = prop::sample::select(vec![name("eth0"), name("eth1")]);
    prop_oneof![
        4 => wish().prop_map(Event::Lived),
        2 => any::<bool>().prop_map(|router| Event::Tampered(Tamper::Router(router))),
        1 => device.clone().prop_map(|device| Event::Tampered(Tamper::Forwarding(device, false))),
        1 => device.clone().prop_map(|device| Event::Tampered(Tamper::SetDown(device))),
        1 => device.prop_map(|device| Event::Tampered(Tamper::SetUp(device))),
    ]
}

/// Whether somebody has declared the host a router, and what the first back end holds.
fn look(node: &Node) -> (bool, ObservedFirewall) {
    let kinds = forwarding_of(&node.opened).and(Kind::Firewall);
    let observed = node.kernel.observe(&kinds);
    let backend = observed.firewall.unwrap().remove(0);
    (observed.forwarding.unwrap().router, backend)
}

/// The device by which strangers pass a host that nobody has declared a router.
fn way_for_strangers(node: &Node) -> Option<IfName> {
    let (router, backend) = look(node);
    if router {
        return None;
    }
    let guarded = |device: &IfName| {
        let guard = Rule {
            input: Some(Device::Is(device.clone())),
            output: Some(Device::IsNot(IfName::bridge())),
            ..Rule::all(Verdict::Drop)
        };
        let rules = backend.chains.get(&Chain::Forward).into_iter().flatten();
        rules.flatten().any(|rule| *rule == guard)
    };
    [name("eth0"), name("eth1")]
        .into_iter()
        .find(|device| node.kernel.forwards(device) && !guarded(device))
}

proptest! {
    #[test]
    fn strangers_never_pass(events in prop::collection::vec(event(), 1..12), last in wish()) {
        let mut node = Node::new();
        for event in events {
            event.happen(&mut node);
            prop_assert_eq!(way_for_strangers(&node), None, "after {:?}", event);
            // Step by step, of what comes next.
            let mut halfway = node.clone();
            let plan = halfway.plan(&halfway.desired(&last));
            for op in plan.ops {
                halfway.remember(&op);
                let _ = halfway.kernel.apply(&op);
                prop_assert_eq!(way_for_strangers(&halfway), None, "after {}", op);
            }
        }
    }
}

/// What podnet has opened is closed when it goes, and what its owner opened is as he left it.
#[test]
fn who_goes_closes_what_it_opened() {
    let [eth0, eth1] = [name("eth0"), name("eth1")];
    let member = plain_wish();
    let leaving = Wish {
        member: false,
        ..plain_wish()
    };
    let mut node = Node::new();
    node.kernel.set_link_forwarding(&eth1, true);
    node.live(&member);
    assert!(node.kernel.forwards(&eth0) && node.kernel.forwards(&eth1));
    node.live(&leaving);
    assert!(!node.kernel.forwards(&eth0) && node.kernel.forwards(&eth1));

    // As somebody has declared this host a router, it stays one.
    node.live(&member);
    node.kernel.set_router(true);
    node.live(&leaving);
    assert!(node.kernel.forwards(&eth0) && node.kernel.forwards(&eth1));
}
