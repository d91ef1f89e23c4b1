//! A host: its disk, its run directory, its kernel, and the agent process, if one runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use podnet_agent::dataplane::fake::Fake;
use podnet_core::kernel::model::Kernel;
use podnet_core::kernel::{IfName, Kind, Kinds, Mtu, Op, Place};
use podnet_lab::model::checker::Running;
use podnet_proto::network::BlockIndex;
use podnet_proto::{Boot, ClusterId, NodeId, PodName, PodNetwork};

use crate::disk::{Disk, RunDir};
use crate::kernel::Slow;
use crate::plan::PODS;
use crate::process::Process;
use crate::users::Fate;

/// The UDP port of gossip.
pub(crate) const PORT: u16 = 7846;

/// Where namespaces of pods are mounted.
pub(crate) const NETNS_DIR: &str = "/run/netns";

pub(crate) struct Host {
    /// The node's key, of which its id is the hash.
    pub(crate) key: [u8; 32],
    pub(crate) node: NodeId,
    pub(crate) address: Ipv4Addr,
    pub(crate) disk: Disk,
    pub(crate) saved: Option<Disk>,
    pub(crate) run: RunDir,
    pub(crate) kernel: Slow,
    /// What the kernel holds that is not podnet's, as users and other programs have made it.
    pub(crate) foreign: Kernel,
    /// The cluster that the node was last a member of, and its network.
    pub(crate) cluster: Option<(ClusterId, PodNetwork)>,
    pub(crate) process: Option<Process>,
    /// Counts the starts and ends of the agent: an event for an earlier one is void.
    pub(crate) life: u64,
    /// How many more effects are carried out before the agent dies, and for how long.
    pub(crate) crash: Option<(u8, u64)>,
    /// Until when its disk fails, and until when it is slow.
    pub(crate) disk_fails: u64,
    pub(crate) disk_slow: u64,
    /// Until when something is wrong with its kernel.
    pub(crate) kernel_troubled: u64,
    /// Until when something goes wrong that answers may wait for.
    pub(crate) trouble: u64,
    /// When a user or another program last changed something behind podnet's back.
    pub(crate) tampered: u64,
    /// What users know of its pods.
    pub(crate) fates: BTreeMap<PodName, Fate>,
    /// The addresses that pods had since the boot.
    pub(crate) addresses: BTreeSet<IpNetwork>,
    /// Whether the kernel did not report a change that another program has made.
    pub(crate) untold: bool,
    /// Since when packets of pods are lost though `status` finds all well.
    pub(crate) dishonest: Option<u64>,
}

pub(crate) fn eth0() -> IfName {
    "eth0".parse().expect("a name")
}

pub(crate) fn pod_name(pod: u8) -> PodName {
    let names = ["red", "green", "blue"];
    let name = names[usize::from(pod) % names.len()];
    name.parse().expect("a name")
}

/// Where the namespace of a pod is, which podnet makes or somebody has made.
pub(crate) fn netns(pod: u8, made: bool) -> PathBuf {
    let name = pod_name(pod);
    PathBuf::from(NETNS_DIR).join(if made {
        name.to_string()
    } else {
        format!("of-{name}")
    })
}

impl Host {
    pub(crate) fn new(number: usize, rng: &mut fastrand::Rng) -> Self {
        let address = Ipv4Addr::new(192, 0, 2, 10 + u8::try_from(number).unwrap_or(0));
        let mut kernel = Kernel::default();
        kernel.add_link(&eth0(), Mtu(1500));
        let on_link = IpNetwork::new(address.into(), 24).expect("a prefix");
        kernel.add_address(&eth0(), on_link);
        for backend in kernel.firewall_mut() {
            backend.add_foreign("a rule");
        }
        let foreign = kernel.foreign();
        let mut key = [0; 32];
        rng.fill(&mut key);
        Self {
            key,
            node: NodeId::of_public_key(&key),
            address,
            disk: Disk::default(),
            saved: None,
            run: RunDir::new(Boot(rng.u64(..))),
            kernel: Slow::new(Fake::new(kernel), rng.u64(..)),
            foreign,
            cluster: None,
            process: None,
            life: 0,
            crash: None,
            disk_fails: 0,
            disk_slow: 0,
            kernel_troubled: 0,
            trouble: 0,
            tampered: 0,
            fates: BTreeMap::new(),
            addresses: BTreeSet::new(),
            untold: false,
            dishonest: None,
        }
    }

    pub(crate) fn endpoint(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, PORT)
    }

    /// Looks at the kernel without a word to the agent.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Kernel) -> R) -> R {
        self.kernel.fake.tamper_silently(|kernel| look(kernel))
    }

    /// Whose data path the kernel carries, and for which block.
    pub(crate) fn running(&self) -> Running {
        Running {
            node: self.node,
            boot: self.run.boot,
            block: self.block(),
        }
    }

    fn block(&self) -> Option<BlockIndex> {
        let (_, network) = self.cluster.as_ref()?;
        let observed = self.look(|kernel| kernel.observe(&Kinds::from([Kind::Bridge])));
        let Some(Place::Ours(bridge)) = observed.bridge else {
            return None;
        };
        let address = bridge.addresses.iter().find_map(|address| match address {
            IpNetwork::V4(address) => Some(address.ip()),
            IpNetwork::V6(_) => None,
        })?;
        let mut blocks = (0..network.block_count()).map(BlockIndex);
        blocks.find(|index| {
            network
                .block(*index)
                .is_some_and(|block| block.contains(address))
        })
    }

    /// The host reboots: the run directory and podnet's part of the kernel are lost; namespaces as well.
    pub(crate) fn reboot(&mut self, boot: Boot) {
        self.run = RunDir::new(boot);
        self.fates.clear();
        self.addresses.clear();
        self.kernel.fake.tamper_silently(|kernel| {
            kernel.set_router(false);
            for pod in 0..PODS {
                for made in [true, false] {
                    kernel.remove_path(&netns(pod, made));
                }
            }
            for key in kernel.own_routes().collect::<Vec<_>>() {
                kernel.delete_route(&key);
            }
            let ends = kernel.observe(&Kinds::from([Kind::HostEnds])).host_ends;
            let ends = ends.into_iter().flatten();
            for (name, end) in ends {
                if matches!(end, Place::Ours(_)) {
                    kernel.delete_link(&name);
                }
            }
            let bridge = IfName::bridge();
            let observed = kernel.observe(&Kinds::from([Kind::Bridge])).bridge;
            if matches!(observed, Some(Place::Ours(_))) {
                kernel.delete_link(&bridge);
            }
            kernel.delete_holding();
            for backend in kernel.firewall_mut() {
                backend.clear();
            }
            kernel.set_link_forwarding(&eth0(), false);
        });
        self.foreign = self.look(Kernel::foreign);
    }

    /// Whether podnet changed the kernel since the last call, and how.
    pub(crate) fn take_changes(&self) -> Vec<Op> {
        drop(self.kernel.fake.take_observations());
        self.kernel.fake.take_attempts()
    }
}
