//! A host of its own for each test: a thread with namespaces that end with it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use podnet_core::kernel::{
    Bridge, IfName, Kinds, MacAddr, Made, Mtu, Netns, Observed, Op, OpError, PodLink, bridge,
    host_ifname,
};
use tokio::runtime;
use tokio::time::timeout;

use crate::dataplane::Dataplane;
use crate::dataplane::linux::Linux;

/// How long a test may take.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) const MTU: Mtu = Mtu(1500);

/// Runs a test on a host of its own: a thread with a network namespace, and with mounts that no
/// other sees.
pub(super) fn on_a_host(test: impl AsyncFnOnce(Linux) + Send + 'static) {
    let host = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("needs root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        // Namespaces, and the lock of iptables.
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        // The links in /sys are those of the namespace that it was mounted in.
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
        run("ip link set lo up");
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let linux = Linux::new().unwrap();
            timeout(DEADLINE, test(linux))
                .await
                .expect("the test took too long");
        });
    });
    if let Err(panic) = host.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command that has to succeed, and returns what it wrote.
pub(super) fn run(command: &str) -> String {
    let (success, output) = attempt(command);
    assert!(success, "{command}: {output}");
    output
}

/// Runs a command, and returns whether it succeeded and what it wrote.
pub(super) fn attempt(command: &str) -> (bool, String) {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

pub(super) async fn apply(linux: &Linux, op: Op) -> Result<Made, OpError> {
    linux.apply(&[op]).await.pop().unwrap()
}

pub(super) async fn look(linux: &Linux, kinds: Kinds) -> Observed {
    linux.observe(&kinds).await.unwrap()
}

pub(super) fn bridge() -> Bridge {
    Bridge {
        name: IfName::bridge(),
        mac: MacAddr::of_address("10.244.0.1".parse().unwrap()),
        mtu: MTU,
        addresses: vec!["10.244.0.1/24".parse().unwrap()],
    }
}

/// Makes the bridge, with its address.
pub(super) async fn with_bridge(linux: &Linux) {
    let device = IfName::bridge();
    let ops = [
        Op::Bridge(bridge::Op::Create(bridge())),
        Op::Bridge(bridge::Op::AddAddress {
            device,
            address: bridge().addresses[0],
        }),
    ];
    for result in linux.apply(&ops).await {
        result.unwrap();
    }
}

/// A pod whose namespace podnet makes.
pub(super) fn pod(name: &str, last_octet: u8) -> PodLink {
    let address = std::net::Ipv4Addr::new(10, 244, 0, last_octet);
    let pod = name.parse().unwrap();
    PodLink {
        host_ifname: host_ifname(&pod, &IfName::pod()),
        pod,
        netns: Netns {
            path: path(name),
            made: true,
            inode: None,
        },
        ifname: IfName::pod(),
        mac: MacAddr::of_address(address),
        mtu: MTU,
        addresses: vec![format!("{address}/24").parse().unwrap()],
        gateways: vec!["10.244.0.1".parse().unwrap()],
        gateway_mac: bridge().mac,
        trusted: false,
    }
}

pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(name)
}
