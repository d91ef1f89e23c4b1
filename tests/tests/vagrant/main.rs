//! The way of a user with Vagrant, on machines that libvirt makes: `vagrant up`, a cluster typed as it
//! says, pods, a machine that is reloaded, one that is replaced, and the end.
//!
//! Run by `make vagrant-test`, not by `make test`: without hardware acceleration it takes a quarter of
//! an hour. It needs root, the package (`PODNET_DEB`) and a box (`PODNET_BOX_FILE`).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy's exception for tests does not reach the functions that they share"
)]

mod machines;
mod pings;
mod sealed;
mod steps;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use podnet_lab::{eventually, interrupt};
use serde_json::Value;

use crate::machines::Machines;
use crate::steps::Steps;

/// The machines that `vagrant up` makes.
const NODES: [&str; 3] = ["node1", "node2", "node3"];

/// How long a node may take until it is what it is to be, on a machine that is slow.
const LIMIT: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    // This program is its own helper inside of the namespaces.
    let code = match env::args().nth(1).as_deref() {
        Some(sealed::FIRST) => sealed::first_process(),
        Some(sealed::SECOND) => {
            let dir = env::var_os(sealed::DIR).unwrap();
            play(Path::new(&dir));
            0
        }
        Some(_) | None => sealed::enter(),
    };
    ExitCode::from(code)
}

/// Runs in namespaces of its own: whatever is left there when it ends, or is made to, goes too.
fn play(dir: &Path) {
    interrupt::unblock().unwrap();
    let _libvirt = sealed::libvirt(dir);
    let mut steps = Steps::new();
    let mut machines = Machines::new(dir);
    steps.take("the box is added", || machines.add_box());
    steps.take("vagrant up", || {
        let said = machines.vagrant(&["up"]);
        assert!(
            said.contains("vagrant ssh node1 -c 'sudo podnetctl init --pod-cidr 10.244.0.0/16'"),
            "what to type next"
        );
    });
    let join = steps.take("init", || {
        let said = machines.typed("node1", "sudo podnetctl init --pod-cidr 10.244.0.0/16");
        let mut lines = said.lines().map(str::trim).rev();
        let join = lines.find(|line| line.starts_with("podnetctl join "));
        let join = join.unwrap().to_owned();
        let private = "podnetctl join 192.168.56.11 --token podnet1.";
        assert!(join.starts_with(private), "the private address");
        format!("sudo {join}")
    });
    for node in ["node2", "node3"] {
        steps.take(&format!("join of {node}"), || machines.typed(node, &join));
    }
    steps.take("a pod on each", || {
        for node in NODES {
            add_pod(&machines, node);
        }
    });
    steps.take("all pings", || pings::all(&machines, &NODES));

    let block = status(&machines, "node2")["blocks"].clone();
    steps.take("vagrant reload node2", || {
        machines.vagrant(&["reload", "node2"]);
        let back = whole(&machines, "node2");
        assert_eq!(back["blocks"], block, "the block that it had");
        assert_eq!(back["node"]["addresses"][0], "192.168.56.12:7846");
    });
    steps.take("its pod again, all pings", || {
        // Namespaces die with a boot, and so do pods.
        add_pod(&machines, "node2");
        pings::all(&machines, &NODES);
    });

    steps.take("vagrant destroy node2", || {
        machines.vagrant(&["destroy", "-f", "node2"]);
        let left = status(&machines, "node1");
        assert_eq!(left["cluster"]["nodes"], 2, "it has left: {left}");
    });
    steps.take("vagrant up node2", || {
        machines.vagrant(&["up", "node2"]);
    });
    steps.take("it joins anew", || {
        machines.typed("node2", &join);
        add_pod(&machines, "node2");
    });
    steps.take("all pings", || pings::all(&machines, &NODES));
    steps.take("vagrant provision node3", || {
        machines.vagrant(&["provision", "node3"]);
        whole(&machines, "node3");
        pings::all(&machines, &NODES);
    });

    steps.take("vagrant destroy", || {
        machines.vagrant(&["destroy", "-f"]);
        assert_eq!(machines.left(), "", "no machine, no disk");
    });
}

fn add_pod(machines: &Machines, node: &str) {
    let pod = pings::pod_of(node);
    machines.typed(node, &format!("sudo podnetctl pod add {pod}"));
}

fn status(machines: &Machines, node: &str) -> Value {
    let said = machines.shell(node, "sudo podnetctl -o json status");
    serde_json::from_str(&said).unwrap()
}

/// Waits until a node is ready and has a path to each peer.
fn whole(machines: &Machines, node: &str) -> Value {
    let what = format!("{node} is ready");
    eventually(LIMIT, &what, || {
        let status = status(machines, node);
        let peers = status["peers"].as_array().unwrap();
        let good = peers.iter().filter(|peer| peer["path"] == "ok").count();
        if status["phase"] == "ready" && good == NODES.len() - 1 {
            Ok(status)
        } else {
            Err(status)
        }
    })
    .unwrap()
}
