//! Links, addresses, neighbours and routes: what the kernel tells of is put back within a second.

use std::io::Write as _;
use std::process::Stdio;

use podnet_lab::prelude::*;
use serde_json::Value;

use crate::scene::{By, SOON, Said, Scene};

/// A repair that the log tells of.
fn said<'a>(op: &'a str, found: &'a str, by: By) -> Said<'a> {
    Said { op, found, by }
}

/// Of what is done to a link that is there, the kernel does not tell who did it.
#[test]
fn the_bridge() {
    let scene = Scene::told();
    let update = "update bridge podnet0";
    let down = "ip link set podnet0 down";
    scene.put_back(down, said(update, "down", By::Unknown));
    scene.put_back(
        "sysctl -q net.ipv4.conf.podnet0.rp_filter=2",
        said(update, "rp_filter = 2", By::Unknown),
    );
    // Set up again, before the agent looks, it has lost its neighbours.
    let neighbour = format!("set neighbour {}", scene.red.address());
    scene.put_back_after(
        "down and up",
        said(&neighbour, "nothing", By::Unknown),
        || {
            scene.node().stop().unwrap();
            scene
                .node()
                .shell("ip link set podnet0 down; ip link set podnet0 up");
            scene.node().cont().unwrap();
        },
    );
    scene.put_back(
        "ip link set podnet0 address 02:00:00:00:00:09",
        said(update, "02:00:00:00:00:09", By::Unknown),
    );
    scene.put_back(
        "ip link set podnet0 mtu 1200",
        said(update, "MTU 1200", By::Unknown),
    );
    scene.put_back(
        "ip address del 10.244.0.1/24 dev podnet0",
        said("add address 10.244.0.1/24", "nothing", By::Somebody),
    );
    scene.put_back(
        "ip address flush dev podnet0",
        said("add address 10.244.0.1/24", "nothing", By::Somebody),
    );
    scene.put_back(
        "ip address add 10.244.0.77/24 dev podnet0",
        said(
            "delete address 10.244.0.77/24",
            "10.244.0.77/24",
            By::Somebody,
        ),
    );
    scene.put_back(
        "ip link del podnet0",
        said("create bridge podnet0", "nothing", By::Perhaps),
    );
}

#[test]
fn pods() {
    let scene = Scene::told();
    let host_end = &scene.red.host_ifname;
    let cases = [
        ("down", "down"),
        ("nomaster", "not on the bridge"),
        ("master lan", "not on the bridge"),
        ("mtu 1200", "MTU 1200"),
    ];
    for (change, found) in cases {
        scene.put_back(
            &format!("ip link set {host_end} {change}"),
            said("repair pod red", found, By::Unknown),
        );
    }
    // Whether podnet or another sets it up again is a matter of who is quicker.
    scene.recovers(&format!(
        "ip link set {host_end} down; ip link set {host_end} up"
    ));
    scene.put_back(
        &format!("ip link del {host_end}"),
        said("attach pod red", "nothing", By::Perhaps),
    );
    scene.put_back(
        "ip -n red link del eth0",
        said("attach pod red", "nothing", By::Unknown),
    );
    // What the bridge does with a port, and keeps from it.
    for change in ["state 0", "isolated on", "bcast_flood off"] {
        scene.put_back(
            &format!("bridge link set dev {host_end} {change}"),
            said("repair pod red", "blocked by the bridge", By::Unknown),
        );
    }
    // What it holds a pod by.
    for (change, found) in [
        ("learning on", "with learning"),
        ("flood on", "with unicast flooding"),
        ("locked off", "not locked"),
    ] {
        scene.put_back(
            &format!("bridge link set dev {host_end} {change}"),
            said("repair pod red", found, By::Unknown),
        );
    }
    scene.put_back(
        &format!("ip link set {host_end} type bridge_slave group_fwd_mask 0"),
        said(
            "repair pod red",
            "bypassed by reserved addresses",
            By::Unknown,
        ),
    );
    let mac = &scene.red.mac;
    let other = scene.node().show_pod("green").host_ifname;
    for change in [
        format!("del {mac} dev {host_end} master"),
        format!("replace {mac} dev {other} master static"),
        format!("replace {mac} dev {host_end} master static"),
    ] {
        scene.put_back(
            &format!("bridge fdb {change}"),
            said("repair pod red", "no fixed entry", By::Perhaps),
        );
    }
    scene.put_back(
        &format!("ip link set {host_end} type bridge_slave isolated on"),
        said("repair pod red", "blocked by the bridge", By::Unknown),
    );
    // The carrier of the host end tells of what happened in the pod.
    scene.put_back(
        "ip -n red link set eth0 down",
        said("repair pod red", "eth0 down", By::Unknown),
    );
    scene.put_back(
        "printf 'link set eth0 down\\nlink set eth0 up\\n' | ip -n red -batch -",
        said("repair pod red", "no default route", By::Unknown),
    );
}

#[test]
fn neighbours() {
    let scene = Scene::told();
    let red = scene.red.address();
    let set = format!("set neighbour {red}");
    scene.put_back(
        &format!("ip neighbour del {red} dev podnet0"),
        said(&set, "nothing", By::Somebody),
    );
    scene.put_back(
        "ip neighbour flush dev podnet0 nud permanent",
        said(&set, "nothing", By::Somebody),
    );
    scene.put_back(
        &format!("ip neighbour replace {red} lladdr 02:00:00:00:00:01 dev podnet0"),
        said(&set, "02:00:00:00:00:01", By::Somebody),
    );
    scene.put_back(
        &format!("ip neighbour change {red} dev podnet0 nud stale"),
        said(&set, "nothing", By::Somebody),
    );
    scene.put_back(
        "ip neighbour add 10.244.0.99 lladdr 02:00:00:00:00:01 dev podnet0",
        said(
            "delete neighbour 10.244.0.99",
            "02:00:00:00:00:01",
            By::Somebody,
        ),
    );
}

#[test]
fn routes() {
    let scene = Scene::told();
    let peer = "10.244.1.0/24";
    let add = format!("add route {peer} via 192.168.56.12");
    scene.put_back(
        &format!("ip route del {peer}"),
        said(&add, "nothing", By::Somebody),
    );
    scene.put_back(
        "ip route del unreachable 10.244.0.0/16",
        said(
            "add route unreachable 10.244.0.0/16",
            "nothing",
            By::Somebody,
        ),
    );
    scene.put_back(
        "ip route flush protocol 112",
        said(&add, "nothing", By::Somebody),
    );
    scene.put_back(
        &format!("ip route replace {peer} via 192.168.56.1 protocol 112"),
        said(
            &format!("replace route {peer} via 192.168.56.12"),
            "a route as podnet makes none",
            By::Somebody,
        ),
    );
    scene.put_back(
        "ip route add 10.244.9.0/24 via 192.168.56.13 protocol 112",
        said(
            "delete route 10.244.9.0/24",
            "a route as podnet makes none",
            By::Somebody,
        ),
    );
    // With the underlay go all routes by way of it, and the kernel does not say so.
    let default = "ip route add default via 192.168.56.1";
    scene.put_back(
        &format!("ip link set eth0 down; ip link set eth0 up; {default}"),
        said(&add, "nothing", By::Unknown),
    );
    let address = "192.168.56.11/24 dev eth0";
    scene.put_back(
        &format!("ip address del {address}; ip address add {address}; {default}"),
        said(&add, "nothing", By::Somebody),
    );
}

/// As the daemons are that manage the networks of hosts: it is there to be named.
#[test]
fn a_process_that_lives_on_is_named() {
    let scene = Scene::told();
    let mut command = scene.node().command(["ip", "-batch", "-"]).unwrap();
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let program = Guard::new(child);
    let by = format!("ip[{}]", program.pid());
    let cases = [
        (
            "route del 10.244.1.0/24",
            "add route 10.244.1.0/24 via 192.168.56.12",
            "nothing",
        ),
        (
            "address del 10.244.0.1/24 dev podnet0",
            "add address 10.244.0.1/24 to podnet0",
            "nothing",
        ),
    ];
    for (tamper, op, found) in cases {
        let logged = scene.logged();
        let said = said(op, found, By::Program("ip"));
        scene.put_back_after(tamper, said, || {
            writeln!(input, "{tamper}").unwrap();
            input.flush().unwrap();
            // The program takes its time.
            scene.tells(logged, said, tamper);
        });
        let lines = scene.log(logged);
        let named = lines.iter().any(|line| {
            let fields = &line["fields"];
            let makers = fields["by"].as_str().unwrap_or_default();
            fields["op"] == op
                && makers.split(", ").any(|maker| maker == by)
                && fields["told"].is_string()
        });
        assert!(named, "{by}: {lines:#?}");
    }
}

/// The bridge, the pods and the routes have the MTU of the underlay, as soon as it changes.
#[test]
fn the_mtu_of_the_underlay() {
    let scene = Scene::told();
    let before = scene.picture();
    let mtu = |wanted: &str| {
        let look = "cat /sys/class/net/podnet0/mtu; ip -n red link show eth0 | grep -o 'mtu [0-9]*'; \
             ip route show 10.244.1.0/24 | grep -o 'mtu [0-9]*'";
        eventually(SOON, "the MTU", || {
            let found = scene.node().attempt(look).stdout;
            let right = found == format!("{wanted}\nmtu {wanted}\nmtu {wanted}\n");
            if right { Ok(()) } else { Err(found) }
        })
        .unwrap();
    };
    scene.node().shell("ip link set eth0 mtu 1400");
    mtu("1400");
    scene.node().shell("ip link set eth0 mtu 1500");
    mtu("1500");
    before.same(&scene.picture()).unwrap();
    assert_eq!(
        scene.drift(),
        scene.settled,
        "nobody has changed what is podnet's"
    );
}

/// With less than 1280 bytes a link loses IPv6, and gets it anew with more: with an address of its own.
#[test]
fn links_stay_without_ipv6_when_the_mtu_falls_below_its_least_and_rises_again() {
    let scene = Scene::told();
    let mtu = |wanted: &str| {
        scene
            .node()
            .shell(&format!("ip link set eth0 mtu {wanted}"));
        let host_end = &scene.red.host_ifname;
        let look =
            format!("cd /sys/class/net; cat podnet0/mtu {host_end}/mtu; ip -6 -o address show");
        eventually(SOON, "the MTU, and no IPv6", || {
            let found = scene.node().attempt(&look).stdout;
            let right = found.starts_with(&format!("{wanted}\n{wanted}\n"))
                && !found.contains("podnet0 ")
                && !found.contains(" pn");
            if right { Ok(()) } else { Err(found) }
        })
        .unwrap();
    };
    for wanted in ["1200", "1500"] {
        mtu(wanted);
    }
    scene.packets_pass();
}

/// Whoever undoes what podnet puts back gets neither the processor nor the log for that.
#[test]
fn a_fight_is_slowed_down() {
    let scene = Scene::told();
    let before = scene.picture();
    let logged = scene.logged();
    let mut command = scene
        .node()
        .command(["ip", "-force", "-batch", "-"])
        .unwrap();
    command.stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let fight = Guard::new(child);
    let tired = |line: &Value| {
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        message.starts_with("another program changes again and again")
    };
    eventually(LIMIT, "an agent that looks less often", || {
        let undo = "route del 10.244.1.0/24\n".repeat(1000);
        input.write_all(undo.as_bytes()).unwrap();
        let lines = scene.log(logged);
        let found = lines.iter().any(tired);
        if found { Ok(()) } else { Err(lines.len()) }
    })
    .unwrap();
    drop(fight);
    eventually(SOON, "the last repair", || before.same(&scene.picture())).unwrap();
    scene.packets_pass();
}
