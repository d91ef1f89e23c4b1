use std::collections::BTreeSet;
use std::slice;
use std::time::Duration;

use podnet_core::kernel::{Change, Kind, NextHop, Op, Route, pod, route};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::harness::{apply, on_a_host, pod, run, with_bridge};
use crate::dataplane::Dataplane;

/// How long an event may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Waits until all these changes were told of, and returns what else was.
async fn wait_for(changes: &mut Receiver<Change>, kinds: &[Kind]) -> BTreeSet<Kind> {
    let mut missing = BTreeSet::from_iter(kinds.iter().cloned());
    let mut others = BTreeSet::new();
    while !missing.is_empty() {
        let change = timeout(DEADLINE, changes.recv()).await;
        let Ok(Some(change)) = change else {
            panic!("not told of: {missing:?}")
        };
        if !missing.remove(&change.kind) && !kinds.contains(&change.kind) {
            others.insert(change.kind);
        }
    }
    others
}

#[test]
fn changes_by_others_are_told_of() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let red = pod("red", 2);
        apply(&linux, Op::Pod(pod::Op::Attach(red.clone())))
            .await
            .unwrap();
        run("ip link add u0 type veth peer name u1 && ip link set u1 up && ip link set u0 up");
        let mut changes = linux.watch().await.unwrap();
        let host_end = Kind::HostEnd(red.host_ifname.clone());
        use Kind::{
            Bridge, Firewall, Forwarding, Neighbours, OtherChains, OtherRoutes, Routes, Underlay,
        };
        let cases = [
            ("ip address add 192.0.2.9/24 dev u0", Underlay),
            ("ip route add 10.244.7.0/24 via 192.0.2.1", OtherRoutes),
            ("ip route add 10.244.8.0/24 via 192.0.2.1 proto 112", Routes),
            ("ip route replace 10.244.8.0/24 via 192.0.2.2", OtherRoutes),
            ("ip link set u0 down", Underlay),
            ("ip neighbour del 10.244.0.2 dev podnet0", Neighbours),
            (
                "ip neighbour add 10.244.0.9 lladdr 02:00:00:00:00:01 dev podnet0",
                Neighbours,
            ),
            ("ip address del 10.244.0.1/24 dev podnet0", Bridge),
            ("ip link set podnet0 mtu 1300", Bridge),
            ("ip link set podnet0 down", Bridge),
            ("iptables -A FORWARD -j ACCEPT", Firewall),
            ("nft add table inet theirs", OtherChains),
            ("echo 1 > /proc/sys/net/ipv4/ip_forward", Forwarding),
            ("echo 0 > /proc/sys/net/ipv4/conf/u0/forwarding", Forwarding),
            (
                "echo 0 > /proc/sys/net/ipv4/conf/podnet0/forwarding",
                Bridge,
            ),
        ];
        for (command, kind) in cases {
            run(command);
            wait_for(&mut changes, &[kind]).await;
        }
        // A pod's interface that is set down takes the carrier of the host end along.
        run("ip -n red link set eth0 down");
        wait_for(&mut changes, slice::from_ref(&host_end)).await;
        for change in ["mtu 1300", "nomaster", "down", "name pnother"] {
            run(&format!("ip link set {} {change}", red.host_ifname));
            wait_for(&mut changes, slice::from_ref(&host_end)).await;
        }
        run("ip link del pnother");
        wait_for(&mut changes, &[Kind::HostEnd("pnother".parse().unwrap())]).await;
    });
}

#[test]
fn podnets_own_changes_are_not_told_of() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let mut changes = linux.watch().await.unwrap();
        let (red, blue) = (pod("red", 2), pod("blue", 3));
        let destination = "10.244.0.0/16".parse().unwrap();
        let route = Route {
            destination,
            next_hop: NextHop::Unreachable,
        };
        let detach = |pod: &podnet_core::kernel::PodLink| {
            Op::Pod(pod::Op::Detach {
                host_ifname: pod.host_ifname.clone(),
                netns: Some(pod.netns.path.clone()),
            })
        };
        let ops = [
            Op::Pod(pod::Op::Attach(red.clone())),
            Op::Pod(pod::Op::Attach(blue.clone())),
            Op::Route(route::Op::Add(route.clone())),
            Op::Route(route::Op::Delete(route.key())),
            detach(&red),
            detach(&blue),
            Op::Pod(pod::Op::Attach(red.clone())),
            detach(&red),
        ];
        for result in linux.apply(&ops).await {
            result.unwrap();
        }
        // Whatever came before this has been told of by then.
        run("ip link add u0 type veth peer name u1 && ip link del u0");
        let others = wait_for(&mut changes, &[Kind::Underlay]).await;
        // The bridge changes with its first and last port.
        let told: Vec<_> = others
            .iter()
            .filter(|kind| **kind != Kind::Bridge)
            .collect();
        assert!(told.is_empty(), "{told:?}");
    });
}

#[test]
fn a_burst_is_told_of_in_few_words() {
    on_a_host(async |linux| {
        run("ip link add u0 type veth peer name u1 && ip link set u1 up && ip link set u0 up");
        run("ip address add 192.0.2.9/24 dev u0");
        let mut changes = linux.watch().await.unwrap();
        // Nobody receives while this thread waits for the program.
        run("for i in $(seq 0 39); do for j in $(seq 0 249); do \
             echo route add 10.$i.$j.0/24 via 192.0.2.1 table 7; done; done > /run/batch; \
             ip -batch /run/batch");
        wait_for(&mut changes, &[Kind::OtherRoutes]).await;
        let mut more = 0;
        while timeout(Duration::from_millis(100), changes.recv())
            .await
            .is_ok()
        {
            more += 1;
        }
        assert!(more < 100, "10000 routes, {more} more changes");
    });
}
