use std::collections::{BTreeMap, BTreeSet};

use podnet_core::kernel::{
    Forwarding, IfName, Ingress, Kind, Kinds, Op, OpErrorKind, forwarding, pod,
};

use super::harness::{apply, look, on_a_host, pod, run, with_bridge};
use crate::dataplane::linux::Linux;

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

async fn observed(linux: &Linux, asked: &[&str]) -> Forwarding {
    let asked: BTreeSet<IfName> = asked.iter().map(|device| name(device)).collect();
    let kinds = asked
        .into_iter()
        .map(Kind::Ingress)
        .chain([Kind::Forwarding])
        .collect::<Kinds>();
    look(linux, kinds).await.forwarding.unwrap()
}

async fn set(linux: &Linux, device: &str, on: bool) {
    let device = name(device);
    apply(linux, Op::Forwarding(forwarding::Op::Set { device, on }))
        .await
        .unwrap();
}

const CLOSED: Ingress = Ingress {
    on: false,
    way: true,
    bridge: false,
};

/// What any route of any table leads out of is a way; pods, loopback and what no route uses is none.
#[test]
fn the_devices_that_routes_lead_out_of_are_found() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        apply(&linux, Op::Pod(pod::Op::Attach(pod("red", 2))))
            .await
            .unwrap();
        run("echo 0 > /proc/sys/net/ipv4/ip_forward; ip address add 198.51.100.1/32 dev lo");
        for device in ["eth0.7", "plain", "tun0", "one", "two", "idle", "all"] {
            // A device of such a name has no parameters in some kernels.
            let added = format!(
                "ip link add {device} type veth peer name p{device} && ip link set {device} up"
            );
            run(&format!("{added} || [ {device} = all ]"));
        }
        run("ip link add br0 type bridge && ip link set br0 up");
        run(
            "ip address add 192.0.2.9/24 dev eth0.7 && ip route add 203.0.113.0/24 dev tun0 table 77 \
             && ip route add 203.0.113.0/24 nexthop dev one nexthop dev two \
             && ip address add 198.51.100.9/24 dev br0 && ip route add blackhole 198.18.0.0/15 \
             && ip route add local 198.18.0.1 dev plain",
        );
        let found = observed(&linux, &["idle", "gone"]).await;
        let ways = ["eth0.7", "tun0", "one", "two"].map(|device| (name(device), CLOSED));
        let bridge = Ingress {
            bridge: true,
            ..CLOSED
        };
        let idle = Ingress {
            way: false,
            ..CLOSED
        };
        let mut right = BTreeMap::from(ways);
        right.insert(name("br0"), bridge);
        right.insert(name("idle"), idle);
        assert_eq!(found.devices, right);
        assert!(!found.router);
    });
}

#[test]
fn a_single_device_is_opened_and_closed() {
    on_a_host(async |linux| {
        run(
            "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/conf/all/accept_redirects",
        );
        run(
            "for d in eth0.7 eth1; do ip link add $d type veth peer name p$d && ip link set $d up; done",
        );
        run("ip address add 192.0.2.9/24 dev eth0.7");
        let others = "cd /proc/sys/net/ipv4; cat ip_forward conf/all/* conf/default/* conf/eth1/*";
        let before = run(others);
        for on in [true, true, false] {
            set(&linux, "eth0.7", on).await;
            let found = observed(&linux, &[]).await;
            assert_eq!(found.devices[&name("eth0.7")].on, on);
            assert_eq!(run(others), before);
        }
        let device = name("gone");
        let gone = apply(
            &linux,
            Op::Forwarding(forwarding::Op::Set { device, on: true }),
        )
        .await;
        assert_eq!(gone.unwrap_err().kind, OpErrorKind::NotFound);
    });
}

/// Any value but 0 is on.
#[test]
fn the_switch_is_seen_and_what_it_does() {
    on_a_host(async |linux| {
        run("echo 0 > /proc/sys/net/ipv4/ip_forward; ip link add eth0 type veth peer name peth0");
        for (value, on) in [("1", true), ("0", false), ("2", true), ("0", false)] {
            run(&format!("echo {value} > /proc/sys/net/ipv4/ip_forward"));
            let found = observed(&linux, &["eth0"]).await;
            assert_eq!((found.router, found.devices[&name("eth0")].on), (on, on));
        }
    });
}
