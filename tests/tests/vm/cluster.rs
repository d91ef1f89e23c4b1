//! Three machines on one network, and the stages that tests begin at.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread;

use podnet_lab::{Guard, LabError};

use crate::driver::{FOLDER, INTERNET, Machine, Network, Segment, Spec};
use crate::node::Node;
use crate::programs::Programs;

/// How far machines have come. Each is kept, and brought back for the tests that begin there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Booted, with an address and a name.
    Fresh,
    /// The package is installed.
    Idle,
    /// All are one cluster, with a pod on each, and have nothing to complain of.
    Joined,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Idle => "idle",
            Self::Joined => "joined",
        }
    }
}

/// The machines, their network, and how far they have come.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Behind the machines, which it has to outlive.
    network: Arc<Network>,
    machines: Vec<Machine>,
    kept: Vec<Stage>,
}

impl Cluster {
    /// Boots `size` machines, whose numbers follow `base`, and gives them names and addresses.
    pub(crate) fn boot(
        network: Arc<Network>,
        dir: &Path,
        base: u8,
        size: u8,
        spec: &Spec,
    ) -> Result<Self, LabError> {
        let machine = |number: u8| -> Result<Machine, LabError> {
            let dir: PathBuf = dir.join(number.to_string());
            let mut machine = Machine::new(number, Arc::clone(&network), dir, spec.clone())?;
            machine.switch_on()?;
            Ok(machine)
        };
        let machines: Result<Vec<_>, LabError> = (base + 1..=base + size).map(machine).collect();
        let cluster = Self {
            machines: machines?,
            network,
            kept: Vec::new(),
        };
        cluster.each(|node| {
            node.machine().wait().unwrap();
            settle(node);
        });
        Ok(cluster)
    }

    /// The nodes.
    pub(crate) fn nodes<const N: usize>(&self) -> [Node<'_>; N] {
        let nodes: Vec<_> = self.machines.iter().take(N).map(Node::of).collect();
        nodes.try_into().unwrap()
    }

    /// All nodes.
    pub(crate) fn all(&self) -> Vec<Node<'_>> {
        self.machines.iter().map(Node::of).collect()
    }

    /// Their network.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// A machine, for what takes it down.
    pub(crate) fn machine(&mut self, number: usize) -> &mut Machine {
        &mut self.machines[number - 1]
    }

    /// Does something on all nodes at once.
    pub(crate) fn each(&self, work: impl Fn(Node<'_>) + Sync) {
        let work = &work;
        thread::scope(|scope| {
            let threads: Vec<_> = self
                .machines
                .iter()
                .map(|machine| scope.spawn(move || work(Node::of(machine))))
                .collect();
            for thread in threads {
                if let Err(panic) = thread.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
    }

    /// Brings the machines to a stage: back from what was kept, or forth by what leads there.
    pub(crate) fn bring_to(&mut self, stage: Stage) -> Result<(), LabError> {
        if self.kept.contains(&stage) {
            return self.bring_back(stage);
        }
        match stage {
            Stage::Fresh => {}
            Stage::Idle => {
                self.bring_to(Stage::Fresh)?;
                self.each(install);
            }
            Stage::Joined => {
                self.bring_to(Stage::Idle)?;
                self.join();
                self.each(|node| {
                    node.add_pod();
                });
                let peers = self.machines.len() as u64 - 1;
                self.each(|node| drop(node.wait_ready(peers)));
            }
        }
        self.keep(stage)
    }

    /// Keeps the machines as they are, all of the same instant.
    fn keep(&mut self, stage: Stage) -> Result<(), LabError> {
        for machine in &self.machines {
            machine.pause()?;
        }
        for machine in &self.machines {
            machine.save(stage.name())?;
        }
        self.kept.push(stage);
        self.resume()
    }

    fn bring_back(&mut self, stage: Stage) -> Result<(), LabError> {
        // All at once: a datagram that a machine sends before it goes back must not wait for another
        // that is back already, which would take all that the sender counts from then on for replays.
        for machine in &mut self.machines {
            machine.cut_power();
        }
        for machine in &mut self.machines {
            machine.plug(0, Segment::Lan)?;
            machine.plug(1, Segment::Nat)?;
            machine.load(stage.name())?;
        }
        self.resume()
    }

    /// Stops all machines, so that they take no time of the processor.
    pub(crate) fn pause(&self) -> Result<(), LabError> {
        let mut on = self.machines.iter().filter(|machine| machine.is_on());
        on.try_for_each(Machine::pause)
    }

    fn resume(&self) -> Result<(), LabError> {
        self.machines.iter().try_for_each(Machine::resume)
    }

    /// Founds a cluster on the first node, and lets the others join.
    #[track_caller]
    pub(crate) fn join(&self) {
        let nodes = self.all();
        let founder = nodes[0];
        let advertise = founder.address();
        let founded = founder.ctl(&format!(
            "init --pod-cidr 10.244.0.0/16 --advertise {advertise}"
        ));
        let token = founded["token"].as_str().unwrap();
        for node in &nodes[1..] {
            node.sh(&format!("printf %s {token} > /run/token"));
            node.ctl(&format!("join {advertise} --token-file /run/token"));
        }
    }

    /// Pings and asks each pod from each other pod and node: all see the sender's own address.
    #[track_caller]
    pub(crate) fn assert_paths(&self) {
        let nodes = self.all();
        let pods: Vec<_> = nodes
            .iter()
            .map(|node| (node.name(), node.pod_address()))
            .collect();
        self.each(|node| {
            let own = node.pod_address();
            let gateway = node.gateway();
            for (name, pod) in &pods {
                if *name == node.name() {
                    continue;
                }
                let name = node.name();
                assert_eq!(node.pod_seen_as(pod), own, "{name}: from the pod to {pod}");
                assert_eq!(node.seen_as(pod), gateway, "{name}: from the node to {pod}");
            }
        });
    }

    /// Asks the internet from each pod: it sees the address of the node.
    #[track_caller]
    pub(crate) fn assert_translated(&self) {
        let _internet = Internet::open(&self.network).unwrap();
        self.each(|node| assert_eq!(node.pod_seen_as(INTERNET), node.address()));
    }
}

/// A responder that stands for the internet; it ends with this value.
pub(crate) struct Internet {
    _responder: Guard,
}

impl Internet {
    /// Opens it.
    pub(crate) fn open(network: &Network) -> Result<Self, LabError> {
        let programs = Programs::locate()?;
        let lab = programs.lab.display().to_string();
        let child: Child = network
            .command(&[&lab, "__whoami", "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| LabError::system(format!("running {lab}"), e))?;
        Ok(Self {
            _responder: Guard::new(child),
        })
    }
}

/// Gives a machine its name and address, and unpacks what it got.
fn settle(node: Node<'_>) {
    let (name, address) = (node.name(), node.address());
    node.sh(&format!(
        "set -e
        echo {name} > /etc/hostname; hostname {name}
        printf '127.0.0.1 localhost\\n127.0.1.1 {name}\\n::1 localhost\\n' > /etc/hosts
        mkdir -p {FOLDER}; tar -xf /dev/vdb -C {FOLDER}
        printf '[Match]\\nName=eth0\\n[Network]\\nAddress={address}/24\\nGateway=192.168.56.1\\nIPv6AcceptRA=no\\n' \
            > /etc/systemd/network/10-lan.network
        networkctl reload
        apt-get update -qq"
    ));
    node.wait_sh(&format!("ip -4 address show dev eth0 | grep -q {address}"));
}

/// Installs the package, as a user does.
pub(crate) fn install(node: Node<'_>) {
    node.sh(&format!(
        "DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends {FOLDER}/podnet.deb"
    ));
    node.wait_status("idle", |status| status["phase"] == "idle");
}
