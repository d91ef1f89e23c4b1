use std::collections::BTreeSet;
use std::net::IpAddr;

use podnet_core::kernel::{Kind, Kinds, Mtu, Op, UnderlayPath, connections};

use super::harness::{apply, look, on_a_host, run, with_bridge};

#[test]
fn the_host_has_what_is_not_podnets() {
    on_a_host(async |linux| {
        with_bridge(&linux).await;
        run(
            "ip link add u0 mtu 1450 type veth peer name u1 && ip link set u1 up && ip link set u0 up",
        );
        run("ip address add 192.0.2.9/24 dev u0");
        run("ip route add default via 192.0.2.1");
        run("ip route add 198.51.100.0/24 via 192.0.2.2 table 7");
        run("ip route add unreachable 203.0.113.0/24");
        run("ip route add 10.244.3.0/24 via 192.0.2.3 proto 112");
        let kinds = Kinds::from([Kind::Underlay, Kind::OtherRoutes]);
        let observed = look(&linux, kinds).await;
        let addresses: Vec<_> = observed
            .addresses
            .unwrap()
            .into_iter()
            .filter(|found| found.global)
            .map(|found| {
                format!(
                    "{} {} {} {}",
                    found.address, found.ifname, found.mtu.0, found.up
                )
            })
            .collect();
        assert_eq!(addresses, ["192.0.2.9/24 u0 1450 true"]);
        let routes: BTreeSet<_> = observed
            .host_routes
            .unwrap()
            .into_iter()
            .filter(|route| route.destination.is_ipv4())
            .map(|route| format!("{} {}", route.destination, route.device.unwrap()))
            .collect();
        let expected = ["0.0.0.0/0 u0", "192.0.2.0/24 u0", "198.51.100.0/24 u0"];
        assert_eq!(routes, expected.map(str::to_owned).into());
    });
}

#[test]
fn paths_to_peers_are_told_apart() {
    on_a_host(async |linux| {
        run(
            "ip link add u0 mtu 1450 type veth peer name u1 && ip link set u1 up && ip link set u0 up",
        );
        run("ip address add 192.0.2.9/24 dev u0");
        run("ip route add 198.51.100.0/24 via 192.0.2.1");
        run("ip route add unreachable 203.0.113.0/24");
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let kinds = [
            "192.0.2.5",
            "198.51.100.1",
            "192.0.2.9",
            "203.0.113.1",
            "10.0.0.1",
        ]
        .map(|text| Kind::Path(address(text)));
        let paths = look(&linux, Kinds::from(kinds)).await.underlay;
        let source = address("192.0.2.9");
        let path = |text| &paths[&address(text)];
        let UnderlayPath::OnLink {
            ifname,
            mtu,
            source: from,
            ..
        } = path("192.0.2.5")
        else {
            panic!("{paths:?}")
        };
        assert_eq!((ifname.as_str(), *mtu, *from), ("u0", Mtu(1450), source));
        let via = address("192.0.2.1");
        assert_eq!(*path("198.51.100.1"), UnderlayPath::Routed { via, source });
        assert_eq!(*path("192.0.2.9"), UnderlayPath::Local);
        assert!(
            matches!(path("203.0.113.1"), UnderlayPath::None(_)),
            "{paths:?}"
        );
        assert_eq!(
            *path("10.0.0.1"),
            UnderlayPath::None("network is unreachable".to_owned())
        );
    });
}

#[test]
fn connections_of_an_address_are_forgotten() {
    on_a_host(async |linux| {
        // Connection tracking begins where a rule asks for it.
        run("iptables -A OUTPUT -m conntrack --ctstate NEW -j ACCEPT");
        run("ip address add 127.0.0.2/8 dev lo");
        run("ping -c1 -I 127.0.0.2 127.0.0.1");
        run("ping -c1 -I 127.0.0.1 127.0.0.3");
        let tracked = || run("conntrack -L 2>/dev/null");
        assert!(tracked().contains("127.0.0.2"), "{}", tracked());
        for _twice in 0..2 {
            let address = "127.0.0.2".parse().unwrap();
            apply(&linux, Op::Connections(connections::Op::Flush(address)))
                .await
                .unwrap();
        }
        assert!(!tracked().contains("127.0.0.2"), "{}", tracked());
        assert!(tracked().contains("127.0.0.3"), "{}", tracked());
    });
}
