//! Whether all is as it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use podnet_lab::{Node, Place, eventually};
use serde_json::Value;

use crate::action::{NODES, SHOW_OTHERS};
use crate::cluster::Cluster;

/// How long it may take until all is well again.
const LIMIT: Duration = Duration::from_secs(60);

/// What all nodes have alike in good times: the chain for what leaves the cluster, and the links
/// but those of pods.
#[derive(Debug)]
pub(crate) struct Standing {
    leaving: BTreeSet<String>,
    links: BTreeSet<String>,
}

const LEAVING: &str = "iptables-save -t nat | grep -- '-A PODNET-POSTROUTING' \
    | sed 's|-s 10[.]244[.][0-9]*[.]0/24|-s OWN|' | cat -n";
const LINKS: &str = "ls /sys/class/net | grep -v ^pn";

impl Standing {
    /// Takes what the first has, once all have it.
    pub(crate) fn of(nodes: &[Node<'_>]) -> Self {
        let standing = Self {
            leaving: lines(nodes[0], LEAVING),
            links: lines(nodes[0], LINKS),
        };
        assert!(standing.leaving.len() > 1, "{standing:?}");
        for node in nodes {
            well(&format!("{} is like the first", node.name()), || {
                standing.holds(*node)
            });
        }
        standing
    }

    fn holds(&self, node: Node<'_>) -> Result<(), String> {
        same("what leaves", &self.leaving, &lines(node, LEAVING))?;
        same("links", &self.links, &lines(node, LINKS))
    }
}

/// Waits until all is well: every node ready with a path to every other, every pod whole and
/// reachable from everywhere, no address twice, nothing left behind.
pub(crate) fn all_is_well(cluster: &mut Cluster) {
    let nodes = cluster.lab.nodes();
    let members: Vec<Member> = nodes
        .iter()
        .map(|node| well(&format!("{} is ready", node.name()), || ready(*node)))
        .collect();
    let blocks: Vec<&str> = members.iter().map(|member| member.block.as_str()).collect();
    let distinct: BTreeSet<_> = blocks.iter().collect();
    assert_eq!(distinct.len(), NODES, "{blocks:?}");
    let mut addresses = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let what = format!("{} holds its pods, and nothing else", node.name());
        let pods = well(&what, || {
            cluster.standing.holds(*node)?;
            whole(*node, index, &members)
        });
        let name = node.name();
        for certain in cluster.certain.get(&index).into_iter().flatten() {
            assert!(
                pods.contains_key(certain),
                "{name}: {certain} is lost: {pods:?}"
            );
        }
        for removed in cluster.removed.get(&index).into_iter().flatten() {
            assert!(
                !pods.contains_key(removed),
                "{name}: {removed} is back: {pods:?}"
            );
        }
        for (pod, address) in pods {
            let place = node.pod(&pod);
            if let Some(other) = addresses.insert(address, place.clone()) {
                panic!("{address}: of {other} and of {place}");
            }
        }
    }
    let from_everywhere = nodes
        .iter()
        .map(Node::place)
        .chain(addresses.values().cloned());
    thread::scope(|scope| {
        for from in from_everywhere {
            let addresses = &addresses;
            scope.spawn(move || {
                for (address, to) in addresses {
                    well(&format!("{} reaches {}", name(&from), name(to)), || {
                        from.ping(*address).map_err(|e| e.to_string())
                    });
                }
            });
        }
    });
    for node in &nodes {
        let log = node.log();
        let panic = log.lines().find(|line| line.contains("panicked"));
        assert_eq!(panic, None, "{}", node.name());
    }
    println!("all is well: {} pods", addresses.len());
    // Gone pods stay on the list until somebody removes them.
    for (index, node) in nodes.iter().enumerate() {
        let certain = cluster.certain.entry(index).or_default();
        *certain = whole(*node, index, &members).unwrap().into_keys().collect();
    }
}

fn name(place: &Place<'_>) -> String {
    format!("{place} of {}", place.node().name())
}

#[track_caller]
fn well<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    match eventually(LIMIT, what, look) {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// What a node is to the others.
struct Member {
    block: String,
    gateway: String,
    address: String,
}

fn ready(node: Node<'_>) -> Result<Member, String> {
    let status = document(node, &["status"])?;
    let peers = status["peers"].as_array().unwrap();
    let paths = peers.iter().filter(|peer| peer["path"] == "ok").count();
    let is_ready = status["phase"] == "ready" && paths == NODES - 1;
    // A pod whose namespace somebody has removed stays listed, and is named.
    let is_gone_pod = |problem: &Value| problem["code"] == "not_found";
    if !is_ready
        || !status["problems"]
            .as_array()
            .unwrap()
            .iter()
            .all(is_gone_pod)
    {
        return Err(status.to_string());
    }
    let endpoint = text(&status["node"]["addresses"][0]);
    let (address, _port) = endpoint.rsplit_once(':').unwrap();
    Ok(Member {
        block: text(&status["blocks"][0]).to_owned(),
        gateway: text(&status["gateways"][0]).to_owned(),
        address: address.to_owned(),
    })
}

/// The pods of a node by name, once the kernel holds what they need and no more.
fn whole(
    node: Node<'_>,
    index: usize,
    members: &[Member],
) -> Result<BTreeMap<String, Ipv4Addr>, String> {
    let list = document(node, &["pod", "list"])?;
    let mut pods = BTreeMap::new();
    let mut host_ends = BTreeSet::new();
    let all = list.as_array().unwrap().iter();
    let recorded = all.map(|pod| text(&pod["name"]).to_owned()).collect();
    for pod in list
        .as_array()
        .unwrap()
        .iter()
        .filter(|pod| pod["state"] != "gone")
    {
        if pod["state"] != "ready" {
            return Err(pod.to_string());
        }
        pods.insert(text(&pod["name"]).to_owned(), address(pod));
        host_ends.insert(text(&pod["host_ifname"]).to_owned());
    }
    let addresses: BTreeSet<String> = pods.values().map(ToString::to_string).collect();
    let names = pods.keys().cloned().collect();
    same(
        "host ends",
        &host_ends,
        &lines(node, "ls /sys/class/net | grep ^pn || true"),
    )?;
    same("namespaces", &names, &lines(node, "ls /run/netns"))?;
    let neighbours = "ip neighbour show dev podnet0 nud permanent | cut -d' ' -f1";
    same("neighbours", &addresses, &lines(node, neighbours))?;
    let me = &members[index];
    let peers = members
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index);
    let routes = peers.map(|(_, peer)| {
        let (block, address, gateway) = (&peer.block, &peer.address, &me.gateway);
        format!("{block} via {address} dev eth0 src {gateway} mtu 1500")
    });
    let routes = routes.chain(["unreachable 10.244.0.0/16".to_owned()]);
    same(
        "routes",
        &routes.collect(),
        &lines(node, "ip route show proto 112"),
    )?;
    let gateway = BTreeSet::from([format!("{}/24", me.gateway)]);
    let script = "ip -4 -o address show podnet0 | grep -o '[0-9.]*/[0-9]*'";
    same("addresses of the bridge", &gateway, &lines(node, script))?;
    same("records", &recorded, &lines(node, "ls /run/podnet/pods"))?;
    let jumps = lines(node, "iptables-save | grep -c -- '-j PODNET-POSTROUTING'");
    same("jumps", &BTreeSet::from(["1".to_owned()]), &jumps)?;
    let forward = "-A FORWARD -m comment --comment podnet -j PODNET-FORWARD
        -A PODNET-FORWARD -s 10.244.0.0/16 -i podnet0 -j ACCEPT
        -A PODNET-FORWARD -d 10.244.0.0/16 -o podnet0 -j ACCEPT
        -A PODNET-FORWARD -i eth0 ! -o podnet0 -j DROP
        -A PODNET-FORWARD -i lan -o lan -j RETURN
        -A PODNET-FORWARD -i lan ! -o podnet0 -j DROP";
    let forward = forward.lines().map(|line| line.trim().to_owned());
    let script = "iptables-save -t filter | grep -- '-A .*PODNET-FORWARD'";
    same("rules", &forward.collect(), &lines(node, script))?;
    let others = "-N OTHERS
        -A OTHERS -s 172.31.0.1/32 -j DROP
        172.30.0.1/24
        02:00:00:00:00:08
        172.31.0.0/24 via 172.30.0.9 dev lan proto static";
    let others = others.lines().map(|line| line.trim().to_owned()).collect();
    same("what is of others", &others, &lines(node, SHOW_OTHERS))?;
    let unfinished = lines(node, "find /var/lib/podnet /run/podnet -name '*.new'");
    same("unfinished files", &BTreeSet::new(), &unfinished)?;
    let forwarding = "cd /proc/sys/net/ipv4/conf; grep -s '' {all,eth0,lan,podnet0}/forwarding";
    let wanted = ["all 0", "eth0 1", "lan 1", "podnet0 1"];
    let wanted = wanted.map(|line| line.replace(' ', "/forwarding:"));
    let found = lines(node, &format!("bash -c \"{forwarding}\""));
    same("forwarding", &wanted.into(), &found)?;
    Ok(pods)
}

fn same(what: &str, wanted: &BTreeSet<String>, found: &BTreeSet<String>) -> Result<(), String> {
    if wanted == found {
        Ok(())
    } else {
        Err(format!("{what}: {found:?} instead of {wanted:?}"))
    }
}

fn lines(node: Node<'_>, script: &str) -> BTreeSet<String> {
    let output = node.exec(["sh", "-c", script]).unwrap();
    output
        .stdout
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

fn document(node: Node<'_>, words: &[&str]) -> Result<Value, String> {
    let output = node
        .ctl(["-o", "json"].iter().chain(words))
        .map_err(|e| e.to_string())?;
    if output.ok() {
        output.json().map_err(|e| e.to_string())
    } else {
        Err(output.to_string())
    }
}

fn address(pod: &Value) -> Ipv4Addr {
    let (address, _) = text(&pod["addresses"][0]).split_once('/').unwrap();
    address.parse().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
