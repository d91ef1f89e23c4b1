//! The Linux kernel as a host: namespaces of a thread of the test's own.

use std::fs;
use std::future::Future;
use std::net::IpAddr;
use std::panic;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use ipnetwork::IpNetwork;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use podnet_agent::dataplane::Dataplane;
use podnet_agent::dataplane::linux::Linux;
use podnet_core::kernel::firewall::Chain;
use podnet_core::kernel::{
    BRIDGE, HOST_END_PREFIX, IfIndex, IfName, LinkParameter, MacAddr, Mtu, PROTOCOL, RouteKey,
};

use crate::world::{MORE, OTHER_MAC, STATIC, Spoil, World};

/// How long a scenario may take; the slowest needs a second or two.
const LIMIT: Duration = Duration::from_secs(180);

struct Host {
    dataplane: Linux,
}

/// Runs a scenario in namespaces of its own.
pub(crate) fn run(
    scenario: impl for<'w> FnOnce(&'w dyn World) -> Pin<Box<dyn Future<Output = ()> + 'w>>
    + Send
    + 'static,
) {
    let test = thread::spawn(move || {
        isolate();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let host = Host {
                dataplane: Linux::new().unwrap(),
            };
            tokio::time::timeout(LIMIT, scenario(&host))
                .await
                .expect("within the limit");
        });
    });
    if let Err(failure) = test.join() {
        panic::resume_unwind(failure);
    }
}

/// Gives the calling thread a host of its own: no device but loopback, nothing in /run.
fn isolate() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .expect("this test needs root, for namespaces of its own");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    mount(
        Some("run"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
    fs::create_dir("/run/netns").unwrap();
    ip("link set lo up");
    // A new namespace starts with what the host has.
    fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
}

/// Runs a program, which must succeed.
fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {}: {words}",
        arguments.join(" ")
    );
    String::from_utf8(output.stdout).unwrap()
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn ip(line: &str) -> String {
    command("ip", &words(line))
}

/// Runs a program in the namespace at a path.
fn inside(path: &Path, line: &str) -> String {
    let netns = format!("--net={}", path.display());
    command("nsenter", &[&[netns.as_str()], &words(line)[..]].concat())
}

/// Runs ip(8) in the namespace at a path.
fn ip_inside(path: &Path, line: &str) -> String {
    inside(path, &format!("ip {line}"))
}

fn iptables(line: &str) -> String {
    command("iptables", &[&["-w", "5"], &words(line)[..]].concat())
}

fn is_ours(ifname: &str) -> bool {
    ifname == BRIDGE || ifname.starts_with(HOST_END_PREFIX)
}

/// The links that are not podnet's; what the kernel settles in its own time is left out.
fn foreign_links() -> String {
    let links: serde_json::Value = serde_json::from_str(&ip("-j -d link show")).unwrap();
    let mut text = String::new();
    for link in links.as_array().unwrap() {
        let podnets = link["group"] == "112" || link["group"] == "113";
        if !(is_ours(link["ifname"].as_str().unwrap()) && podnets) {
            let up = link["flags"]
                .as_array()
                .unwrap()
                .iter()
                .any(|flag| flag == "UP");
            let [name, mtu, mac, group] =
                ["ifname", "mtu", "address", "group"].map(|key| &link[key]);
            let kind = &link["linkinfo"]["info_kind"];
            text += &format!("{name} {kind} {mtu} {mac} group {group} up {up}\n");
        }
    }
    text
}

#[async_trait(?Send)]
impl World for Host {
    fn dataplane(&self) -> &dyn Dataplane {
        &self.dataplane
    }

    async fn restarted(&self) -> Box<dyn Dataplane> {
        Box::new(Linux::new().unwrap())
    }

    fn foreign(&self) -> String {
        let ours = format!("proto {PROTOCOL}");
        let by_bridge = format!("dev {BRIDGE} proto kernel");
        let routes = ip("-4 route show table main");
        let routes = routes
            .lines()
            .filter(|line| !line.contains(&ours) && !line.contains(&by_bridge));
        let routes: Vec<_> = routes.map(|line| line.replace(" linkdown", "")).collect();
        let addresses = ip("-o -4 address show");
        let addresses = addresses.lines().filter(|line| !is_ours(words(line)[1]));
        let rules = command("iptables-nft-save", &[]) + &command("iptables-legacy-save", &[]);
        let rules = rules
            .lines()
            .filter(|line| line.starts_with("-A") && !line.contains("PODNET"));
        format!(
            "{}{}{}\n{}\n{}",
            command("sysctl", &["net.ipv4.ip_forward"]),
            foreign_links(),
            routes.join("\n"),
            addresses.collect::<Vec<_>>().join("\n"),
            rules.collect::<Vec<_>>().join("\n"),
        )
    }

    fn add_link(&self, name: &IfName, mtu: Mtu) -> IfIndex {
        let links = ip("-o link show").lines().count();
        ip(&format!(
            "link add {name} mtu {} type veth peer name far{links}",
            mtu.0
        ));
        ip(&format!("link set far{links} up"));
        ip(&format!("link set {name} up"));
        let links: serde_json::Value =
            serde_json::from_str(&ip(&format!("-j link show {name}"))).unwrap();
        IfIndex(u32::try_from(links[0]["ifindex"].as_u64().unwrap()).unwrap())
    }

    fn add_bridge(&self, name: &IfName) {
        ip(&format!("link add {name} type bridge"));
        ip(&format!("link set {name} up"));
    }

    fn delete_link(&self, name: &IfName) {
        ip(&format!("link delete {name}"));
    }

    fn set_up(&self, name: &IfName, up: bool) {
        ip(&format!(
            "link set {name} {}",
            if up { "up" } else { "down" }
        ));
    }

    fn set_mac(&self, name: &IfName, mac: MacAddr) {
        ip(&format!("link set {name} address {mac}"));
    }

    fn set_mtu(&self, name: &IfName, mtu: Mtu) {
        ip(&format!("link set {name} mtu {}", mtu.0));
    }

    fn open_port(&self, name: &IfName) {
        let settings = "learning on flood on locked off";
        command("bridge", &words(&format!("link set dev {name} {settings}")));
        ip(&format!(
            "link set {name} type bridge_slave group_fwd_mask 0"
        ));
    }

    fn forget_port(&self, name: &IfName, mac: MacAddr) {
        command(
            "bridge",
            &words(&format!("fdb del {mac} dev {name} master")),
        );
    }

    fn release_port(&self, name: &IfName) {
        ip(&format!("link set {name} nomaster"));
    }

    fn allow_link_local(&self, name: &IfName) {
        ip(&format!("link set {name} addrgenmode eui64"));
    }

    fn set_link_parameter(&self, name: &IfName, parameter: LinkParameter, value: i32) {
        let setting = format!("{}={value}", parameter.on(name));
        command("sysctl", &["-qw", &setting]);
    }

    fn add_address(&self, name: &IfName, address: IpNetwork) {
        ip(&format!("address add {address} dev {name}"));
    }

    fn delete_address(&self, name: &IfName, address: IpNetwork) {
        ip(&format!("address delete {address} dev {name}"));
    }

    fn add_neighbour(&self, name: &IfName, address: IpAddr, mac: MacAddr) {
        ip(&format!(
            "neighbour replace {address} lladdr {mac} dev {name} nud permanent"
        ));
    }

    fn delete_neighbour(&self, name: &IfName, address: IpAddr) {
        ip(&format!("neighbour delete {address} dev {name}"));
    }

    fn add_route(&self, key: RouteKey, protocol: u8, device: Option<&IfName>) {
        let RouteKey {
            destination,
            metric,
        } = key;
        let target = match device {
            Some(device) => format!("{destination} dev {device}"),
            None => format!("unreachable {destination}"),
        };
        ip(&format!(
            "route replace {target} metric {metric} proto {protocol}"
        ));
    }

    fn add_default_route(&self, via: IpAddr) {
        ip(&format!(
            "route add default via {via} dev eth0 proto {STATIC}"
        ));
    }

    fn delete_route(&self, key: RouteKey) {
        ip(&format!(
            "route delete {} metric {}",
            key.destination, key.metric
        ));
    }

    fn add_netns(&self, path: &Path) {
        let name = path.strip_prefix("/run/netns").unwrap().display();
        ip(&format!("netns add {name}"));
    }

    fn add_file(&self, path: &Path) {
        fs::write(path, "not a namespace").unwrap();
    }

    fn add_host_netns(&self, path: &Path) {
        fs::write(path, "").unwrap();
        let own = Some("/proc/thread-self/ns/net");
        mount(own, path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }

    fn remove_netns(&self, path: &Path) {
        let name = path.strip_prefix("/run/netns").unwrap().display();
        ip(&format!("netns delete {name}"));
    }

    fn add_interface(&self, path: &Path, ifname: &IfName) {
        ip_inside(path, &format!("link add {ifname} type bridge"));
        ip_inside(path, &format!("link set {ifname} up"));
    }

    fn delete_interface(&self, path: &Path, ifname: &IfName) {
        ip_inside(path, &format!("link delete {ifname}"));
    }

    fn spoil(&self, path: &Path, ifname: &IfName, what: Spoil) {
        let line = match what {
            Spoil::Parameters => {
                for parameter in LinkParameter::OF_POD {
                    let wrong = i32::from(parameter != LinkParameter::DisableIpv6);
                    let parameter = parameter.on(ifname);
                    inside(path, &format!("sysctl -qw {parameter}={wrong}"));
                }
                return;
            }
            Spoil::Down => format!("link set {ifname} down"),
            Spoil::Mac => format!("link set {ifname} address {OTHER_MAC}"),
            Spoil::Mtu => format!("link set {ifname} mtu 1300"),
            Spoil::Addresses => format!("address flush dev {ifname}"),
            Spoil::Gateways => "route delete default".to_owned(),
            Spoil::Neighbours => format!("neighbour flush nud permanent dev {ifname}"),
            Spoil::More => format!("address add {MORE} dev {ifname}"),
        };
        ip_inside(path, &line);
    }

    fn flush_chain(&self, chain: Chain) {
        iptables(&format!("-t {} -F {}", chain.table(), chain.name()));
    }

    fn add_strange_rule(&self, chain: Chain) {
        iptables(&format!(
            "-t {} -A {} -p tcp --dport 80 -j RETURN",
            chain.table(),
            chain.name()
        ));
    }

    fn add_jump(&self, chain: Chain) {
        let (table, hook, name) = (chain.table(), chain.hook(), chain.name());
        // Podnet's own to the letter: any other is an operator's.
        iptables(&format!(
            "-t {table} -A {hook} -m comment --comment podnet -j {name}"
        ));
    }

    fn delete_jump(&self, chain: Chain) {
        let (table, hook, name) = (chain.table(), chain.hook(), chain.name());
        let rules = iptables(&format!("-t {table} -S {hook}"));
        for rule in rules.lines().filter(|rule| rule.contains(name)) {
            let rule = rule.strip_prefix("-A ").unwrap().replace('"', "");
            iptables(&format!("-t {table} -D {rule}"));
        }
    }

    fn flush_holding(&self) {
        command("nft", &words("flush table bridge podnet"));
    }

    fn delete_holding(&self) {
        command("nft", &words("delete table bridge podnet"));
    }

    fn add_foreign_rule(&self) {
        iptables("-A FORWARD -s 198.51.100.0/24 -j DROP");
        iptables("-t nat -A POSTROUTING -s 198.51.100.0/24 -j MASQUERADE");
        iptables("-t nat -N OTHERS");
    }

    fn add_second_backend(&self) {
        let others = if iptables("--version").contains("nf_tables") {
            "iptables-legacy"
        } else {
            "iptables-nft"
        };
        command(others, &["-P", "FORWARD", "DROP"]);
    }

    fn set_router(&self, router: bool) {
        let value = u8::from(router).to_string();
        fs::write("/proc/sys/net/ipv4/ip_forward", value).unwrap();
    }

    fn set_forwarding(&self, name: &IfName, on: bool) {
        let path = format!("/proc/sys/net/ipv4/conf/{name}/forwarding");
        fs::write(path, u8::from(on).to_string()).unwrap();
    }
}
