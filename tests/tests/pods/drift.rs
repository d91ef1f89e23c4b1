//! What others break is put back, counted, and nothing else is touched.

use std::collections::BTreeSet;
use std::time::Instant;

use podnet_lab::{Lab, Node, eventually};
use serde_json::Value;

use super::stage::{LIMIT, add, address, ask, attempt, cluster, json, passes, shell, text};

/// Everything that podnet holds on a node, and inside of its pods; and what is next to it.
fn everything(node: Node<'_>) -> BTreeSet<String> {
    let links = json(node, "ip -j link");
    let links = links.as_array().unwrap().iter().map(|link| {
        let flags = link["flags"].as_array().unwrap();
        let up = flags.iter().any(|flag| flag == "UP");
        // The address of a host end is random, and nobody relies on it.
        let mac = if link["ifname"] == "podnet0" {
            &link["address"]
        } else {
            &Value::Null
        };
        let [name, master, mtu] = [&link["ifname"], &link["master"], &link["mtu"]];
        format!("link {name} of {master} mtu {mtu} mac {mac} up {up}")
    });
    // While something is missing, some of these commands fail.
    let lines = attempt(
        node,
        "set +e; ip -4 address show dev podnet0 | grep inet; ip neighbour show dev podnet0 nud permanent; \
         ip -4 route show table main; iptables-save | grep -v '^#' | sed 's/ \\[.*\\]//'; \
         cat /proc/sys/net/ipv4/ip_forward; \
         for pod in red green; do for what in '-4 address' route 'neighbour show nud permanent' link; do \
         ip -n $pod $what | grep -E 'inet|via|lladdr|ether' | sed \"s/^/$pod: /\"; done; done",
    );
    // `linkdown` is of the moment in which a bridge has no port.
    let lines = lines
        .stdout
        .lines()
        .map(|line| line.replace(" linkdown", ""));
    links.chain(lines).collect()
}

struct Stage {
    lab: Lab,
    red: Value,
    blue: Value,
}

impl Stage {
    fn new() -> Self {
        let lab = cluster(2);
        let [node, far] = ["node1", "node2"].map(|name| lab.node(name).unwrap());
        let red = add(node, "red");
        add(node, "green");
        let blue = add(far, "blue");
        shell(
            node,
            "iptables -N MINE; iptables -A MINE -s 172.31.0.1 -j DROP; iptables -A FORWARD -j MINE; \
             ip link add lan type bridge; ip link set lan up; ip address add 172.30.0.1/24 dev lan; \
             ip route add 172.31.0.0/24 via 172.30.0.9",
        );
        passes(node, 1);
        Self { lab, red, blue }
    }

    fn node(&self) -> Node<'_> {
        self.lab.node("node1").unwrap()
    }

    /// Breaks something, and waits until all is as it was, and counted.
    fn put_back(&self, script: &str) {
        let drift = || {
            let status = ask(self.node(), &["status"]);
            status["reconcile"]["drift_total"].as_u64().unwrap()
        };
        let counted = drift();
        self.recovers(script);
        let more = || {
            if drift() > counted {
                Ok(())
            } else {
                Err("not counted")
            }
        };
        eventually(LIMIT, script, more).unwrap();
    }

    /// Breaks something, and waits until all is as it was.
    fn recovers(&self, script: &str) {
        let node = self.node();
        let before = everything(node);
        let began = Instant::now();
        shell(node, script);
        let repaired = eventually(LIMIT, script, || {
            let now = everything(node);
            let missing: Vec<_> = before.difference(&now).collect();
            let extra: Vec<_> = now.difference(&before).collect();
            if missing.is_empty() && extra.is_empty() {
                Ok(())
            } else {
                Err(format!("missing {missing:#?}, extra {extra:#?}"))
            }
        });
        if let Err(error) = repaired {
            panic!("{error}\n{}", node.log());
        }
        println!("{:?} for: {script}", began.elapsed());
        node.pod("red").ping(address(&self.blue)).unwrap();
        node.pod("green").ping(address(&self.red)).unwrap();
    }
}

#[test]
fn the_bridge_is_put_back() {
    let stage = Stage::new();
    stage.put_back("ip link set podnet0 down");
    stage.put_back("ip link set podnet0 down; ip link set podnet0 up");
    stage.put_back("ip address del 10.244.0.1/24 dev podnet0");
    stage.put_back("ip address add 10.244.0.77/24 dev podnet0");
    stage.put_back("ip link set podnet0 address 02:00:00:00:00:09");
    stage.put_back("ip link set podnet0 mtu 1200");
    stage.put_back("ip link del podnet0");
}

#[test]
fn pods_are_put_back() {
    let stage = Stage::new();
    let host_end = text(&stage.red["host_ifname"]);
    let red = address(&stage.red);
    stage.put_back(&format!("ip link del {host_end}"));
    stage.put_back(&format!("ip link set {host_end} down"));
    stage.put_back(&format!("ip link set {host_end} nomaster"));
    stage.put_back(&format!("ip link set {host_end} mtu 1200"));
    stage.put_back(&format!("ip neighbour del {red} dev podnet0"));
    stage.put_back(&format!(
        "ip neighbour replace {red} lladdr 02:00:00:00:00:01 dev podnet0"
    ));
}

/// Nobody tells podnet of what happens in a pod; it looks at every resync at the latest.
#[test]
fn the_inside_of_pods_is_put_back() {
    let stage = Stage::new();
    stage.put_back("ip -n red link set eth0 down");
    stage.put_back("ip -n red address flush dev eth0");
    stage.put_back("ip -n red route del default");
    stage.put_back("ip -n red neighbour del 10.244.0.1 dev eth0");
    stage.put_back(
        "ip -n red link set eth0 down; ip -n red link set eth0 address 02:00:00:00:00:02",
    );
}

#[test]
fn routes_are_put_back() {
    let stage = Stage::new();
    stage.put_back("ip route del 10.244.1.0/24");
    stage.put_back("ip route del unreachable 10.244.0.0/16");
    stage.put_back("ip route replace 10.244.1.0/24 via 192.168.56.1 proto 112");
    stage.put_back("ip route add 10.244.9.0/24 via 192.168.56.13 proto 112");
}

/// With its address the underlay's device loses all routes by way of it.
#[test]
fn routes_come_back_with_the_underlay() {
    let stage = Stage::new();
    let default = "ip route add default via 192.168.56.1";
    stage.recovers(&format!(
        "ip link set eth0 down; ip link set eth0 up; {default}"
    ));
    let address = "192.168.56.11/24 dev eth0";
    stage.recovers(&format!(
        "ip address del {address}; ip address add {address}; {default}"
    ));
}

/// Deletes the rule by which a chain jumps to podnet's.
fn without_jump(table: &str, chain: &str) -> String {
    let number = format!("{table} -n -L {chain} --line-numbers | awk '/PODNET-/ {{print $1}}'");
    format!("{table} -D {chain} $({number})")
}

#[test]
fn rules_and_parameters_are_put_back() {
    let stage = Stage::new();
    stage.put_back("iptables -F PODNET-FORWARD");
    stage.put_back("iptables -t nat -F PODNET-POSTROUTING");
    stage.put_back(&without_jump("iptables", "FORWARD"));
    stage.put_back(&without_jump("iptables -t nat", "POSTROUTING"));
    stage.put_back("iptables -I PODNET-FORWARD -j DROP");
    stage.put_back("iptables -I FORWARD -j PODNET-FORWARD");
    // All in one transaction, or podnet would be quicker than the next command.
    stage.put_back(
        "printf '*nat\\n-F POSTROUTING\\n-F PODNET-POSTROUTING\\n-X PODNET-POSTROUTING\\nCOMMIT\\n' \
         | iptables-restore -n",
    );
    stage.put_back("echo 0 > /proc/sys/net/ipv4/ip_forward");
}
