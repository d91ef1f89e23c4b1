use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;

use podnet_core::kernel::{
    IfName, Inside, Kind, Kinds, Made, Netns, NetnsState, Observed, ObservedHostEnd,
    ObservedInterface, ObservedPort, Op, OpErrorKind, Place, PodLink, PodView, bridge, pod,
};

use super::harness::{MTU, apply, attempt, look, on_a_host, path, pod, run, with_bridge};
use crate::dataplane::Dataplane;
use crate::dataplane::linux::Linux;

fn view(pod: &PodLink) -> PodView {
    PodView::of(pod)
}

async fn look_at(linux: &Linux, pod: &PodLink) -> Observed {
    let namespace = Kind::Namespace(pod.netns.path.clone());
    look(linux, Kinds::from([Kind::Pod(view(pod)), namespace])).await
}

/// The port of a pod that is held to its own link-layer address.
fn held(pod: &PodLink) -> ObservedPort {
    ObservedPort {
        learning: false,
        flooded: false,
        locked: Some(true),
        bypassed: false,
        fixed: BTreeSet::from([pod.mac]),
    }
}

/// Asserts that a pod is attached whole.
async fn assert_whole(linux: &Linux, pod: &PodLink) {
    let observed = look_at(linux, pod).await;
    let host_end = ObservedHostEnd {
        on_bridge: true,
        mtu: MTU,
        up: true,
        blocked: false,
        link_local: false,
        port: held(pod),
    };
    assert_eq!(observed.pods[&pod.host_ifname], Place::Ours(host_end));
    let NetnsState::Netns { inode } = observed.netns[&pod.netns.path] else {
        panic!("{:?}", observed.netns)
    };
    let interface = ObservedInterface {
        mac: pod.mac,
        mtu: pod.mtu,
        up: true,
        addresses: BTreeSet::from_iter(pod.addresses.clone()),
        gateways: BTreeSet::from_iter(pod.gateways.clone()),
        neighbours: BTreeMap::from([(pod.gateways[0], pod.gateway_mac)]),
        parameters: pod.parameters(),
    };
    assert_eq!(
        observed.insides[&pod.host_ifname],
        Inside {
            inode,
            interface: Some(interface)
        }
    );
    let bridge = look(linux, Kinds::from([Kind::Bridge])).await.bridge;
    let Some(Place::Ours(bridge)) = bridge else {
        panic!("{bridge:?}")
    };
    assert_eq!(
        bridge.neighbours.get(&pod.addresses[0].ip()),
        Some(&pod.mac)
    );
}

/// Asserts that nothing of a pod is there.
async fn assert_nothing_left(linux: &Linux, pod: &PodLink) {
    let observed = look_at(linux, pod).await;
    assert_eq!(observed.pods[&pod.host_ifname], Place::Absent);
    assert_eq!(observed.insides, BTreeMap::new());
    assert_eq!(observed.netns[&pod.netns.path], NetnsState::Missing);
}

fn detach(pod: &PodLink) -> Op {
    Op::Pod(pod::Op::Detach {
        host_ifname: pod.host_ifname.clone(),
        netns: pod.netns.made.then(|| pod.netns.path.clone()),
    })
}

#[test]
fn two_pods_talk() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let (red, blue) = (pod("red", 2), pod("blue", 3));
        let ops = [
            Op::Pod(pod::Op::Attach(red.clone())),
            Op::Pod(pod::Op::Attach(blue.clone())),
        ];
        let inode = |pod: &PodLink| std::fs::metadata(&pod.netns.path).unwrap().ino();
        for (pod, made) in [&red, &blue].into_iter().zip(linux.apply(&ops).await) {
            assert_eq!(made, Ok(Made::Namespace(inode(pod))));
        }
        assert_whole(&linux, &red).await;
        assert_whole(&linux, &blue).await;
        run("ip netns exec red ping -c1 -W2 10.244.0.3");
        run("ip netns exec blue ping -c1 -W2 10.244.0.1");
        run("ping -c1 -W2 10.244.0.2");
        for (file, wanted) in [
            ("accept_dad", "0"),
            ("accept_ra", "0"),
            ("disable_ipv6", "1"),
        ] {
            let value = run(&format!(
                "ip netns exec red cat /proc/sys/net/ipv6/conf/eth0/{file}"
            ));
            assert_eq!(value.trim(), wanted, "{file}");
        }
        let host_end = run(&format!("ip -6 address show dev {}", red.host_ifname));
        assert!(!host_end.contains("inet6"), "{host_end}");

        let ops = [detach(&red), detach(&blue), detach(&red)];
        assert!(linux.apply(&ops).await.iter().all(Result::is_ok));
        assert_nothing_left(&linux, &red).await;
        assert_nothing_left(&linux, &blue).await;
    });
}

#[test]
fn attaching_again_changes_nothing() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let red = pod("red", 2);
        apply(&linux, Op::Pod(pod::Op::Attach(red.clone())))
            .await
            .unwrap();
        let before = run(&format!("cat /sys/class/net/{}/ifindex", red.host_ifname));
        apply(&linux, Op::Pod(pod::Op::Attach(red.clone())))
            .await
            .unwrap();
        assert_eq!(
            run(&format!("cat /sys/class/net/{}/ifindex", red.host_ifname)),
            before
        );
        assert_whole(&linux, &red).await;
    });
}

#[test]
fn a_pod_is_repaired() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let red = pod("red", 2);
        apply(&linux, Op::Pod(pod::Op::Attach(red.clone())))
            .await
            .unwrap();
        let host_end = &red.host_ifname;
        run(&format!("ip link set {host_end} nomaster down mtu 1400"));
        run("ip netns exec red ip address flush dev eth0");
        run("ip netns exec red ip link set eth0 down mtu 1300 address 02:00:00:00:00:07");
        run("ip neighbour del 10.244.0.2 dev podnet0");
        apply(&linux, Op::Pod(pod::Op::Repair(red.clone())))
            .await
            .unwrap();
        assert_whole(&linux, &red).await;
        run("ip netns exec red ping -c1 -W2 10.244.0.1");
    });
}

#[test]
fn what_leads_elsewhere_is_made_anew() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let mut red = pod("red", 2);
        apply(&linux, Op::Pod(pod::Op::Attach(red.clone())))
            .await
            .unwrap();
        red.netns.inode = Some(std::fs::metadata(&red.netns.path).unwrap().ino());
        // The pod's end moves away: what is left is half a pair.
        run("ip netns add other && ip netns exec red ip link set eth0 netns other");
        let error = apply(&linux, Op::Pod(pod::Op::Repair(red.clone())))
            .await
            .unwrap_err();
        assert_eq!(error.kind, OpErrorKind::NotFound, "{error}");
        apply(&linux, Op::Pod(pod::Op::Attach(red.clone())))
            .await
            .unwrap();
        assert_whole(&linux, &red).await;
    });
}

#[test]
fn a_namespace_that_is_gone_is_not_made_anew() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let mut red = pod("red", 2);
        apply(&linux, Op::Pod(pod::Op::Attach(red.clone())))
            .await
            .unwrap();
        red.netns.inode = Some(std::fs::metadata(&red.netns.path).unwrap().ino());
        run(&format!(
            "ip link del {}; ip netns del red",
            red.host_ifname
        ));
        for op in [
            Op::Pod(pod::Op::Attach(red.clone())),
            Op::Pod(pod::Op::Repair(red.clone())),
        ] {
            let error = apply(&linux, op).await.unwrap_err();
            assert_eq!(error.kind, OpErrorKind::NotFound, "{error}");
        }
        assert_nothing_left(&linux, &red).await;
    });
}

#[test]
fn a_namespace_that_podnet_did_not_make_stays() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        run("ip netns add theirs");
        let netns = Netns {
            path: path("theirs"),
            made: false,
            inode: None,
        };
        let theirs = PodLink {
            netns,
            ..pod("theirs", 2)
        };
        apply(&linux, Op::Pod(pod::Op::Attach(theirs.clone())))
            .await
            .unwrap();
        assert_whole(&linux, &theirs).await;
        let value = run("ip netns exec theirs cat /proc/sys/net/ipv6/conf/eth0/accept_dad");
        assert_eq!(value.trim(), "0");
        apply(&linux, detach(&theirs)).await.unwrap();
        assert!(run("ip netns list").contains("theirs"));
        assert!(!attempt("ip netns exec theirs ip link show eth0").0);

        // Its own eth0 is not podnet's to take.
        run("ip netns exec theirs ip link add eth0 type bridge");
        let error = apply(&linux, Op::Pod(pod::Op::Attach(theirs.clone())))
            .await
            .unwrap_err();
        assert_eq!(error.kind, OpErrorKind::Foreign, "{error}");
        assert!(run("ip netns exec theirs ip -d link show eth0").contains("bridge"));
        assert!(!attempt(&format!("ip link show {}", theirs.host_ifname)).0);
    });
}

#[test]
fn an_attach_that_fails_leaves_nothing_behind() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        // No such gateway is on the link: the last step fails.
        let broken = PodLink {
            gateways: vec!["192.0.2.1".parse().unwrap()],
            ..pod("red", 2)
        };
        let error = apply(&linux, Op::Pod(pod::Op::Attach(broken.clone())))
            .await
            .unwrap_err();
        assert!(
            error
                .detail
                .contains("default route via 192.0.2.1 of pod red"),
            "{error}"
        );
        assert_nothing_left(&linux, &broken).await;
        assert!(!run("ip neighbour show dev podnet0").contains("10.244.0.2"));

        // One without a bridge fails at once.
        apply(&linux, Op::Bridge(bridge::Op::Delete(IfName::bridge())))
            .await
            .unwrap();
        let error = apply(&linux, Op::Pod(pod::Op::Attach(pod("red", 2))))
            .await
            .unwrap_err();
        assert_eq!(error.kind, OpErrorKind::NotFound, "{error}");
        assert_nothing_left(&linux, &pod("red", 2)).await;
    });
}

#[test]
fn a_host_end_of_somebody_else_stays() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let red = pod("red", 2);
        run(&format!("ip link add {} type bridge", red.host_ifname));
        let observed = look_at(&linux, &red).await;
        assert!(matches!(observed.pods[&red.host_ifname], Place::Foreign(_)));
        for op in [Op::Pod(pod::Op::Attach(red.clone())), detach(&red)] {
            let error = apply(&linux, op).await.unwrap_err();
            assert_eq!(error.kind, OpErrorKind::Foreign, "{error}");
        }
        assert!(run(&format!("ip -d link show {}", red.host_ifname)).contains("bridge"));
        assert_eq!(
            look_at(&linux, &red).await.netns[&red.netns.path],
            NetnsState::Missing
        );
    });
}

#[test]
fn only_a_namespace_is_removed_as_one() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let red = pod("red", 2);
        apply(&linux, Op::Pod(pod::Op::Attach(red.clone())))
            .await
            .unwrap();
        run("touch /run/file");
        for path in ["/run/file", "/proc/thread-self/ns/net", "/proc/self/ns/mnt"] {
            let (host_ifname, netns) = (red.host_ifname.clone(), Some(path.into()));
            let error = apply(&linux, Op::Pod(pod::Op::Detach { host_ifname, netns }))
                .await
                .unwrap_err();
            assert_eq!(error.kind, OpErrorKind::Foreign, "{error}");
        }
        run("test -e /run/file");
        assert_whole(&linux, &red).await;
        // What is left where an attach was cut short.
        run("install -m 444 /dev/null /run/netns/half");
        let half = pod("half", 3);
        apply(&linux, detach(&half)).await.unwrap();
        assert_nothing_left(&linux, &half).await;
    });
}

#[test]
fn a_group_that_others_use_is_not_removed_as_a_whole() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        run("ip link add theirs type bridge && ip link set theirs group 114");
        let pods: Vec<_> = (2..6).map(|n| pod(&format!("p{n}"), n)).collect();
        let attach: Vec<_> = pods
            .iter()
            .cloned()
            .map(|x| Op::Pod(pod::Op::Attach(x)))
            .collect();
        assert!(linux.apply(&attach).await.iter().all(Result::is_ok));
        let removals: Vec<_> = pods.iter().map(detach).collect();
        assert!(linux.apply(&removals).await.iter().all(Result::is_ok));
        run("ip link show theirs");
        for pod in &pods {
            assert_nothing_left(&linux, pod).await;
        }
    });
}

#[test]
fn host_ends_are_listed() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        let mut red = pod("red", 2);
        apply(&linux, Op::Pod(pod::Op::Attach(red.clone())))
            .await
            .unwrap();
        red.netns.inode = Some(look_at(&linux, &red).await.insides[&red.host_ifname].inode);
        run("ip link add pntheirs type veth peer name x && ip link add v0 type veth peer name y");
        let kinds = Kinds::from([Kind::HostEnds]);
        let found = look(&linux, kinds).await.host_ends.unwrap();
        let right = ObservedHostEnd {
            on_bridge: true,
            mtu: MTU,
            up: true,
            blocked: false,
            link_local: false,
            port: held(&red),
        };
        assert_eq!(found[&red.host_ifname], Place::Ours(right));
        assert!(matches!(
            found[&"pntheirs".parse().unwrap()],
            Place::Foreign(_)
        ));
        assert_eq!(found.len(), 2, "{found:?}");
    });
}

#[test]
fn paths_are_what_they_lead_to() {
    on_a_host(async |linux| {
        run("ip netns add one && touch /run/file && mkfifo /run/fifo");
        let own = "/proc/thread-self/ns/net";
        let paths = [
            "/run/netns/one",
            "/run/netns/none",
            "/run/file",
            "/run/fifo",
            "/run",
            own,
        ];
        let kinds = paths.iter().map(|path| Kind::Namespace(path.into()));
        let found = look(&linux, kinds.collect()).await.netns;
        let states: Vec<_> = paths
            .iter()
            .map(|path| found[std::path::Path::new(path)])
            .collect();
        let [NetnsState::Netns { .. }, rest @ ..] = states.as_slice() else {
            panic!("{found:?}")
        };
        let nothing = NetnsState::NotANetns;
        assert_eq!(
            rest,
            [
                NetnsState::Missing,
                nothing,
                nothing,
                nothing,
                NetnsState::Host
            ]
        );
    });
}
