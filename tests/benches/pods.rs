//! Adding and removing pods, beside a shell script that makes the same objects with `ip`.

use std::fs;
use std::time::{Duration, Instant};

use futures::future::join_all;
use podnet_client::Client;
use podnet_lab::{Lab, Node};
use podnet_proto::PodName;
use podnet_proto::api::PodRequest;
use tokio::runtime::{Builder, Runtime};

use crate::row::{Row, median, milliseconds};
use crate::script::Script;

/// How many pods are added each way, in turn.
const ADDED: u8 = 40;

/// How many pods the node has when it has many.
const MANY: u8 = 200;

/// How many pods are removed together.
const TOGETHER: u8 = 8;

/// How often that is repeated.
const REMOVALS: u8 = 10;

/// What `podnetctl pod add` and `pod rm` make and remove, as a script does it. The veth's far end
/// is born in the namespace, which spares the script the 15 ms that moving it there takes.
const BY_HAND: &str = r#"
add() { # NAME LAST-OCTET
    ip netns add "$1"
    ip netns exec "$1" sysctl -qw net.ipv6.conf.default.accept_ra=0 \
        net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.disable_ipv6=1
    ip link add "h$1" mtu 1500 master br0 type veth peer name eth0 mtu 1500 netns "$1"
    ip link set "h$1" addrgenmode none up
    ip -n "$1" link set lo up
    ip -n "$1" link set eth0 address "0a:70:0a:09:00:$(printf %02x "$2")" up
    ip -n "$1" address add "10.9.0.$2/24" dev eth0
    ip -n "$1" neighbour replace 10.9.0.1 lladdr 0a:70:0a:09:00:01 nud permanent dev eth0
    ip -n "$1" route add default via 10.9.0.1
    ip neighbour replace "10.9.0.$2" lladdr "0a:70:0a:09:00:$(printf %02x "$2")" nud permanent dev br0
}
remove() { # NAME LAST-OCTET
    ip neighbour del "10.9.0.$2" dev br0
    ip link del "h$1"
    ip netns del "$1"
}
remove_all() { # PREFIX FIRST-OCTET COUNT
    for i in $(seq "$3"); do remove "$1$i" $(( $2 + i )); done
}
remove_at_once() { # PREFIX FIRST-OCTET COUNT
    for i in $(seq "$3"); do remove "$1$i" $(( $2 + i )) & done
    wait
}
command_add() { podnetctl pod add "$1" >/dev/null; }
ip link add br0 address 0a:70:0a:09:00:01 type bridge
ip link set br0 addrgenmode none up
ip address add 10.9.0.1/24 dev br0
"#;

struct Socket {
    runtime: Runtime,
    client: Client,
}

impl Socket {
    fn of(node: Node<'_>) -> Self {
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            client: Client::new(node.socket(), Duration::from_secs(30)),
        }
    }

    /// Adds a pod and returns the milliseconds that it took.
    fn add(&self, name: &str) -> f64 {
        let request = PodRequest {
            name: name.to_owned(),
            netns: None,
            pid: None,
            trusted: false,
        };
        let begin = Instant::now();
        self.runtime
            .block_on(self.client.add_pod(&request))
            .unwrap();
        milliseconds(begin.elapsed())
    }

    /// Removes pods at once.
    fn remove(&self, names: impl Iterator<Item = String>) {
        let names: Vec<PodName> = names.map(|name| name.parse().unwrap()).collect();
        let removals = names.iter().map(|name| self.client.remove_pod(name));
        for removed in self.runtime.block_on(join_all(removals)) {
            removed.unwrap();
        }
    }
}

pub(crate) fn measure() -> Vec<Row> {
    // In memory, as a host's run directory is; that of a lab may be on a disk.
    let lab = Lab::builder()
        .nodes(1)
        .env("PODNET_RUN_DIR", "/run/podnet-run")
        .env("PODNET_SOCKET", "/run/podnet/podnet.sock")
        .up()
        .unwrap();
    let plain = Lab::builder().nodes(1).agents(false).up().unwrap();
    let node = lab.node("node1").unwrap();
    // No address is given out twice: what that costs more is a figure of its own.
    let init = [
        "init",
        "--pod-cidr",
        "10.128.0.0/10",
        "--block-prefix",
        "18",
    ];
    node.ctl(init).unwrap().success("podnetctl init").unwrap();
    let socket = Socket::of(node);
    let mut script = Script::start(plain.node("node1").unwrap(), BY_HAND);
    let mut command = Script::start(node, BY_HAND);
    let mut rows = adding(&socket, &mut script, &mut command);
    rows.extend(removing(node, &socket, &mut script));
    rows
}

fn adding(socket: &Socket, script: &mut Script, command: &mut Script) -> Vec<Row> {
    let (mut few, mut by_hand, mut by_command) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..ADDED {
        few.push(socket.add(&format!("few{number}")));
        by_hand.push(script.time(&format!("add p{number} {}", number + 2)));
        by_command.push(command.time(&format!("command_add cmd{number}")));
    }
    socket.remove((0..ADDED).map(|number| format!("cmd{number}")));
    for number in ADDED..MANY {
        socket.add(&format!("fill{number}"));
    }
    let many = one_at_a_time(socket, "many");
    socket.remove((0..ADDED).map(|number| format!("few{number}")));
    socket.remove((ADDED..MANY).map(|number| format!("fill{number}")));
    let alone = one_at_a_time(socket, "alone");
    for number in 0..ADDED {
        script.time(&format!("remove p{number} {}", number + 2));
    }
    let [few, by_hand, by_command] = [few, by_hand, by_command].map(median);
    let [many, alone] = [many, alone].map(median);
    vec![
        Row::new("pod add at the socket", "ms", few, ("ip script", by_hand)),
        Row::new(
            "pod add as a command",
            "ms",
            by_command,
            ("ip script", by_hand),
        ),
        Row::new("pod add among 200 pods", "ms", many, ("among none", alone)),
    ]
}

/// How long adding a pod takes each time, which is gone again before the next.
fn one_at_a_time(socket: &Socket, name: &str) -> Vec<f64> {
    let times = (0..ADDED).map(|number| {
        let name = format!("{name}{number}");
        let time = socket.add(&name);
        socket.remove([name].into_iter());
        time
    });
    times.collect()
}

fn add_by_hand(script: &mut Script) {
    for number in 1..=TOGETHER {
        script.time(&format!("add r{number} {}", 100 + number));
    }
}

/// How many host ends of pods the node has (`/proc/net/dev`, proc(5)).
fn host_ends(node: Node<'_>) -> usize {
    let holder = node.holder().unwrap().pid;
    let devices = fs::read_to_string(format!("/proc/{holder}/net/dev")).unwrap();
    let names = devices.lines().map(str::trim_start);
    names.filter(|name| name.starts_with("pn")).count()
}

fn removing(node: Node<'_>, socket: &Socket, script: &mut Script) -> Vec<Row> {
    let (mut at_socket, mut by_hand, mut at_once) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..REMOVALS {
        add_by_hand(script);
        by_hand.push(script.time(&format!("remove_all r 100 {TOGETHER}")));
        add_by_hand(script);
        at_once.push(script.time(&format!("remove_at_once r 100 {TOGETHER}")));
        let names = || (1..=TOGETHER).map(|number| format!("r{round}-{number}"));
        for name in names() {
            socket.add(&name);
        }
        let begin = Instant::now();
        socket.remove(names());
        assert_eq!(host_ends(node), 0, "removed when the answers come");
        at_socket.push(milliseconds(begin.elapsed()));
    }
    let [at_socket, by_hand, at_once] = [at_socket, by_hand, at_once].map(median);
    let row = |peer| Row::new("removal of 8 pods at once", "ms", at_socket, peer);
    vec![
        row(("ip script", by_hand)),
        row(("ip script, 8 in parallel", at_once)),
    ]
}
