//! What may happen, and what happens next.

use std::ops::RangeInclusive;

use fastrand::Rng;

/// How many nodes there are.
pub(crate) const NODES: usize = 5;

/// How many names pods have on a node: few, so that they meet again.
const NAMES: usize = 4;

/// How many steps bad times have before all has to come right: whoever waits longer only learns
/// that more went wrong.
const STEPS: RangeInclusive<usize> = 10..=40;

/// A rule of others.
macro_rules! foreign_rule {
    () => {
        "iptables -A OTHERS -s 172.31.0.1 -j DROP"
    };
}

/// What others have on a node, and what shows it.
pub(crate) const OTHERS: &str = concat!(
    "iptables -N OTHERS; ",
    foreign_rule!(),
    "; ip link add lan type bridge; ip link set lan up address 02:00:00:00:00:08; \
     ip address add 172.30.0.1/24 dev lan; ip route add 172.31.0.0/24 via 172.30.0.9 proto static"
);
pub(crate) const SHOW_OTHERS: &str = "iptables -S OTHERS; ip -4 -o address show lan | grep -o '[0-9.]*/[0-9]*'; \
     cat /sys/class/net/lan/address; ip route show 172.31.0.0/24 | sed 's/ linkdown//; s/ *$//'";

/// Something that happens to a node, by its index, or to the wire between all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The agent dies.
    Kill(usize),
    /// The agent is told to stop.
    Stop(usize),
    /// The agent is started, if it does not run.
    Start(usize),
    /// The agent does not get to run.
    Freeze(usize),
    /// It does again.
    Thaw(usize),
    /// Somebody changes what is podnet's.
    Tamper(usize, Tampering),
    /// The first nodes and the others do not hear each other.
    Cut(usize),
    /// They do again.
    Heal,
    /// The power fails and comes back.
    Reboot(usize),
    /// A pod is wanted.
    AddPod(usize, String),
    /// A pod is not wanted any more.
    RemovePod(usize, String),
}

impl Action {
    /// What it is called, whichever node it happens to.
    pub(crate) fn kind(&self) -> String {
        let whole = if let Self::Tamper(_, tampering) = self {
            format!("{tampering:?}")
        } else {
            format!("{self:?}")
        };
        whole.chars().take_while(|c| *c != '(').collect()
    }
}

/// What somebody changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tampering {
    RouteRemoved,
    AllRoutesRemoved,
    BridgeRemoved,
    BridgeFlapped,
    GatewayRemoved,
    NeighboursRemoved,
    HostEndRemoved,
    HostEndDown,
    RulesFlushed,
    ForwardingOff,
    UnderlayFlapped,
    NamespaceRemoved,
    Readdressed,
}

const TAMPERINGS: [Tampering; 13] = [
    Tampering::RouteRemoved,
    Tampering::AllRoutesRemoved,
    Tampering::BridgeRemoved,
    Tampering::BridgeFlapped,
    Tampering::GatewayRemoved,
    Tampering::NeighboursRemoved,
    Tampering::HostEndRemoved,
    Tampering::HostEndDown,
    Tampering::RulesFlushed,
    Tampering::ForwardingOff,
    Tampering::UnderlayFlapped,
    Tampering::NamespaceRemoved,
    Tampering::Readdressed,
];

/// The first nodes never get other addresses: where all have moved unseen by each other, nobody
/// finds anybody.
const SETTLED: usize = 2;

impl Tampering {
    /// How somebody does it, in a shell on the node. There may be nothing to change.
    pub(crate) const fn script(self) -> &'static str {
        match self {
            Self::RouteRemoved => "ip route del $(ip route show proto 112 | shuf -n1)",
            Self::AllRoutesRemoved => "ip route flush proto 112",
            Self::BridgeRemoved => "ip link del podnet0",
            Self::BridgeFlapped => "ip link set podnet0 down; ip link set podnet0 up",
            Self::GatewayRemoved => "ip address flush dev podnet0",
            Self::NeighboursRemoved => "ip neighbour flush dev podnet0 nud permanent",
            Self::HostEndRemoved => "ip link del $(ls /sys/class/net | grep ^pn | shuf -n1)",
            Self::HostEndDown => "ip link set $(ls /sys/class/net | grep ^pn | shuf -n1) down",
            // Their own rules they make again.
            Self::RulesFlushed => concat!("iptables -t nat -F; iptables -F; ", foreign_rule!()),
            Self::ForwardingOff => "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_forward=0",
            // The way out goes with the link, and is not podnet's to bring back.
            Self::UnderlayFlapped => {
                "way=$(ip route show default); ip link set eth0 down; ip link set eth0 up; \
                 ip route replace $way"
            }
            Self::NamespaceRemoved => "ip netns del $(ls /run/netns | shuf -n1)",
            Self::Readdressed => {
                "way=$(ip route show default); ip address flush dev eth0 scope global; \
                 ip address add 192.168.56.$((50 + 10 * ${HOSTNAME#node} + RANDOM % 10))/24 dev eth0; \
                 ip route replace $way"
            }
        }
    }
}

/// All pods that there may be on a node.
pub(crate) fn pods() -> impl Iterator<Item = String> {
    (0..NAMES).map(pod)
}

fn pod(number: usize) -> String {
    format!("pod{number}")
}

/// Decides what happens.
pub(crate) struct Plan {
    rng: Rng,
    running: [bool; NODES],
    frozen: [bool; NODES],
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            running: [true; NODES],
            frozen: [false; NODES],
        }
    }

    /// The steps of some bad times. After them every agent runs, and hears the others.
    pub(crate) fn bad_times(&mut self) -> Vec<Vec<Action>> {
        let count = self.rng.usize(STEPS);
        let steps = (0..count).map(|_| self.step()).collect();
        self.running = [true; NODES];
        self.frozen = [false; NODES];
        steps
    }

    /// What happens to different nodes at the same time.
    fn step(&mut self) -> Vec<Action> {
        let mut nodes: Vec<usize> = (0..NODES).collect();
        self.rng.shuffle(&mut nodes);
        let count = self.rng.usize(1..=3);
        if self.rng.u8(..) < 24 {
            return vec![self.wire()];
        }
        nodes
            .into_iter()
            .take(count)
            .map(|node| self.action(node))
            .collect()
    }

    fn wire(&mut self) -> Action {
        match self.rng.usize(0..NODES) {
            0 => Action::Heal,
            first => Action::Cut(first),
        }
    }

    fn action(&mut self, node: usize) -> Action {
        if self.frozen[node] {
            self.frozen[node] = false;
            return Action::Thaw(node);
        }
        if !self.running[node] && self.rng.bool() {
            self.running[node] = true;
            return Action::Start(node);
        }
        match self.rng.u8(0..20) {
            0..=6 => Action::AddPod(node, self.name()),
            7..=10 => Action::RemovePod(node, self.name()),
            11..=14 => Action::Tamper(node, self.tampering(node)),
            15 => {
                self.running[node] = true;
                Action::Reboot(node)
            }
            16 if self.running[node] => {
                self.frozen[node] = true;
                Action::Freeze(node)
            }
            17 => {
                self.running[node] = false;
                Action::Stop(node)
            }
            _ => {
                self.running[node] = false;
                Action::Kill(node)
            }
        }
    }

    fn name(&mut self) -> String {
        pod(self.rng.usize(0..NAMES))
    }

    fn tampering(&mut self, node: usize) -> Tampering {
        let last = TAMPERINGS.len() - usize::from(node < SETTLED);
        TAMPERINGS[self.rng.usize(0..last)]
    }
}

#[test]
fn the_seed_alone_decides_what_happens() {
    let rounds = |seed| {
        let mut plan = Plan::new(seed);
        [(); 5].map(|()| plan.bad_times())
    };
    assert_eq!(rounds(7), rounds(7));
    assert_ne!(rounds(7), rounds(8));
}
