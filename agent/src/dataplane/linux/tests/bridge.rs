use std::collections::BTreeSet;

use podnet_core::kernel::{
    IfName, Kind, Kinds, LinkParameter, Mtu, ObservedBridge, Op, OpErrorKind, Place, bridge,
};

use super::harness::{apply, bridge, look, on_a_host, run, with_bridge};
use crate::dataplane::linux::Linux;

async fn observed(linux: &Linux) -> Place<ObservedBridge> {
    look(linux, Kinds::from([Kind::Bridge]))
        .await
        .bridge
        .unwrap()
}

#[test]
fn the_bridge_is_what_it_should_be() {
    on_a_host(async |linux| {
        assert_eq!(observed(&linux).await, Place::Absent);
        with_bridge(&linux).await;
        let Place::Ours(found) = observed(&linux).await else {
            panic!("not ours")
        };
        assert_eq!(
            (found.mac, found.mtu, found.up),
            (bridge().mac, bridge().mtu, true)
        );
        assert_eq!(found.addresses, BTreeSet::from_iter(bridge().addresses));
        assert!(found.neighbours.is_empty());
        assert!(!found.link_local);
        assert_eq!(found.parameters, bridge().parameters());
        // No address of IPv6 comes by itself, and none by advertisements.
        assert!(!run("ip -6 address show dev podnet0").contains("inet6"));
        let value = "cat /proc/sys/net/ipv6/conf/podnet0/accept_ra";
        assert_eq!(run(value).trim(), "0");

        // Once more is no error.
        with_bridge(&linux).await;
        run("ip link set podnet0 down mtu 1400 address 02:00:00:00:00:01");
        run("ip link set podnet0 addrgenmode eui64");
        run("sysctl -qw net.ipv6.conf.podnet0.accept_ra=2");
        run("sysctl -qw net.ipv4.conf.podnet0.forwarding=0");
        run("sysctl -qw net.ipv4.conf.podnet0.promote_secondaries=0");
        run("sysctl -qw net.ipv4.conf.podnet0.rp_filter=0");
        let Place::Ours(found) = observed(&linux).await else {
            panic!("not ours")
        };
        assert!(found.link_local);
        let parameters = [
            (LinkParameter::AcceptRa, 2),
            (LinkParameter::Forwarding, 0),
            (LinkParameter::PromoteSecondaries, 0),
            (LinkParameter::ReversePathFilter, 0),
        ];
        assert_eq!(found.parameters, parameters.into());
        apply(&linux, Op::Bridge(bridge::Op::Update(bridge())))
            .await
            .unwrap();
        let Place::Ours(found) = observed(&linux).await else {
            panic!("not ours")
        };
        assert_eq!(
            (found.mac, found.mtu, found.up),
            (bridge().mac, bridge().mtu, true)
        );
        assert!(!found.link_local);
        assert_eq!(found.parameters, bridge().parameters());

        let delete = || Op::Bridge(bridge::Op::Delete(IfName::bridge()));
        apply(&linux, delete()).await.unwrap();
        assert_eq!(observed(&linux).await, Place::Absent);
        apply(&linux, delete()).await.unwrap();
    });
}

#[test]
fn the_mtu_stays_when_ports_come_and_go() {
    on_a_host(async |linux| {
        let mtu = Mtu(1420);
        apply(
            &linux,
            Op::Bridge(bridge::Op::Create(podnet_core::kernel::Bridge {
                mtu,
                ..bridge()
            })),
        )
        .await
        .unwrap();
        run("ip link add d0 mtu 1300 type veth peer name d1 && ip link set d0 master podnet0");
        run("ip link del d0");
        let Place::Ours(found) = observed(&linux).await else {
            panic!("not ours")
        };
        assert_eq!(found.mtu, mtu);
    });
}

#[test]
fn a_foreign_bridge_is_left_alone() {
    on_a_host(async |linux| {
        run("ip link add podnet0 mtu 1300 type bridge");
        let Place::Foreign(words) = observed(&linux).await else {
            panic!("taken for ours")
        };
        assert!(words.contains("bridge"), "{words}");
        let device = IfName::bridge();
        let address = bridge().addresses[0];
        let ops = [
            Op::Bridge(bridge::Op::Create(bridge())),
            Op::Bridge(bridge::Op::Update(bridge())),
            Op::Bridge(bridge::Op::AddAddress {
                device: device.clone(),
                address,
            }),
            Op::Bridge(bridge::Op::Delete(device)),
        ];
        for op in ops {
            let error = apply(&linux, op).await.unwrap_err();
            assert_eq!(error.kind, OpErrorKind::Foreign, "{error}");
        }
        let found = run("ip address show dev podnet0");
        assert!(
            found.contains("mtu 1300") && !found.contains("inet "),
            "{found}"
        );
    });
}

#[test]
fn addresses_come_and_go() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let device = IfName::bridge();
        let address = "10.244.7.1/24".parse().unwrap();
        for _twice in 0..2 {
            apply(
                &linux,
                Op::Bridge(bridge::Op::AddAddress {
                    device: device.clone(),
                    address,
                }),
            )
            .await
            .unwrap();
        }
        for _twice in 0..2 {
            apply(
                &linux,
                Op::Bridge(bridge::Op::DeleteAddress {
                    device: device.clone(),
                    address,
                }),
            )
            .await
            .unwrap();
        }
        let Place::Ours(found) = observed(&linux).await else {
            panic!("not ours")
        };
        assert_eq!(found.addresses, BTreeSet::from_iter(bridge().addresses));
    });
}
