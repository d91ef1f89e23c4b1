//! Two nodes with pods, and what becomes of what others do to the first.

use std::time::{Duration, Instant};

use podnet_lab::prelude::*;
use serde_json::Value;

use crate::picture::Picture;

/// How long a repair may take that the kernel tells of, or that the resync finds.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// How seldom an agent looks that goes by what the kernel tells.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Rules of others that podnet's programs do not know of, and what others have of IPv6.
pub(crate) const NATIVE: &str = "\
    nft add table inet theirs; \
    nft add set inet theirs those '{ type ipv4_addr; flags interval; elements = { 172.31.7.0/24 }; }'; \
    nft add chain inet theirs forward '{ type filter hook forward priority 10; policy accept; }'; \
    nft add rule inet theirs forward ip saddr @those drop; \
    ip6tables -N MINE6; ip6tables -A MINE6 -s fd00:31::1 -j DROP; ip6tables -A FORWARD -j MINE6; \
    ip address add fd00:30::1/64 dev lan nodad; ip route add fd00:31::/64 via fd00:30::9";

/// The pods on the first node.
const PODS: [&str; 2] = ["red", "green"];

/// Who a repair says was at work.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By {
    /// A process of this name.
    Program(&'static str),
    /// Somebody that the kernel gave a number for.
    Somebody,
    /// The kernel does not tell.
    Unknown,
    /// The kernel may tell too late: a link goes in steps, and only the last one is named.
    Perhaps,
}

/// What a repair says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    /// What was done.
    pub(crate) op: &'a str,
    /// What was found instead.
    pub(crate) found: &'a str,
    pub(crate) by: By,
}

/// Two nodes with pods. What is on the first next to podnet's objects is not its.
pub(crate) struct Scene {
    cluster: Cluster,
    pub(crate) red: api::Pod,
    blue: api::Pod,
    /// What was counted as put back while it came to be as it is.
    pub(crate) settled: u64,
}

impl Scene {
    /// Agents that look at what the kernel tells of, and hardly ever of their own accord.
    pub(crate) fn told() -> Self {
        Self::looking_every(HOUR)
    }

    /// Agents that look at everything every half second.
    pub(crate) fn untold() -> Self {
        Self::looking_every(OFTEN)
    }

    fn looking_every(resync: Duration) -> Self {
        let builder = looking_every(resync, 2).env("PODNET_LOG_FORMAT", "json");
        let cluster = Cluster::made_of(builder);
        let [node, far] = nodes(&cluster);
        let red = node.add_pod("red");
        node.add_pod("green");
        let blue = far.add_pod("blue");
        node.shell(
            "iptables -N MINE; iptables -A MINE -s 172.31.0.1 -j DROP; iptables -A FORWARD -j MINE; \
             iptables -t nat -A POSTROUTING -s 172.31.0.0/24 -j MASQUERADE; \
             iptables-legacy -A FORWARD -s 172.31.0.0/24 -j ACCEPT; \
             ip link add lan type bridge; ip link set lan up address 02:00:00:00:00:08; \
             ip link add lan0 type veth peer name lan1; ip link set lan1 up; ip link set lan0 up master lan; \
             ip address add 172.30.0.1/24 dev lan; \
             ip route add 172.31.0.0/24 via 172.30.0.9",
        );
        node.shell(NATIVE);
        let mut scene = Self {
            cluster,
            red,
            blue,
            settled: 0,
        };
        scene.settle();
        scene.settled = scene.drift();
        scene
    }

    pub(crate) fn node(&self) -> Node<'_> {
        first(&self.cluster)
    }

    pub(crate) fn picture(&self) -> Picture {
        Picture::of(self.node(), &PODS)
    }

    /// Waits until the forwarding rules are in both variants of iptables, which both are in use, and
    /// until the agent has looked at all that came before.
    fn settle(&self) {
        // The kernel tells of a change, so that the legacy rules are noticed.
        self.node().shell("iptables -N NOTICE; iptables -X NOTICE");
        let rules = || {
            let rules = self.node().shell("iptables-legacy -S FORWARD");
            if rules.contains("-j PODNET-FORWARD") {
                Ok(())
            } else {
                Err(rules)
            }
        };
        eventually(LIMIT, "rules in both variants", rules).unwrap();
        // The pass that finds this begins after all of that was told.
        let logged = self.logged();
        let red = self.red.address();
        self.node()
            .shell(&format!("ip neighbour del {red} dev podnet0"));
        let neighbour = Said {
            op: "set neighbour",
            found: "nothing",
            by: By::Perhaps,
        };
        self.tells(logged, neighbour, "a first repair");
    }

    pub(crate) fn drift(&self) -> u64 {
        let status = self.node().status();
        status.reconcile.drift_total
    }

    /// The lines of the agent's log from the one with this number on.
    pub(crate) fn log(&self, from: usize) -> Vec<Value> {
        let log = self.node().log();
        let lines = log.lines().skip(from);
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    pub(crate) fn logged(&self) -> usize {
        self.node().log().lines().count()
    }

    /// Breaks something, and asserts that all is soon as it was, that packets pass, that it was
    /// counted, and what the log says of it.
    #[track_caller]
    pub(crate) fn put_back(&self, script: &str, said: Said<'_>) {
        self.put_back_after(script, said, || {
            self.node().shell(script);
        });
    }

    /// The same for what is broken by other means than a script.
    #[track_caller]
    pub(crate) fn put_back_after(&self, what: &str, said: Said<'_>, tamper: impl FnOnce()) {
        self.repaired(what, said, || self.picture(), tamper);
    }

    /// The same for what breaks the firewall rules of others too.
    #[track_caller]
    pub(crate) fn put_back_own(&self, script: &str, said: Said<'_>) {
        let look = || self.picture().without_foreign_rules();
        self.repaired(script, said, look, || {
            self.node().shell(script);
        });
    }

    /// Breaks something, and asserts that all is soon as it was, and that packets pass.
    #[track_caller]
    pub(crate) fn recovers(&self, script: &str) {
        let tamper = || drop(self.node().shell(script));
        self.as_before(script, || self.picture(), tamper);
    }

    #[track_caller]
    fn as_before(&self, what: &str, look: impl Fn() -> Picture, tamper: impl FnOnce()) {
        let before = look();
        tamper();
        let began = Instant::now();
        let repaired = in_time(began, SOON, what, || before.same(&look()));
        if let Err(error) = repaired {
            panic!("{error}\n{}", self.node().log());
        }
        println!("{:?} for: {what}", began.elapsed());
        self.packets_pass();
    }

    #[track_caller]
    fn repaired(
        &self,
        what: &str,
        said: Said<'_>,
        look: impl Fn() -> Picture,
        tamper: impl FnOnce(),
    ) {
        let (drift, logged) = (self.drift(), self.logged());
        self.as_before(what, look, tamper);
        eventually(LIMIT, what, || {
            if self.drift() > drift {
                Ok(())
            } else {
                Err(format!("not counted\n{}", self.node().log()))
            }
        })
        .unwrap();
        self.tells(logged, said, what);
    }

    /// Waits until the log tells of a repair.
    #[track_caller]
    pub(crate) fn tells(&self, logged: usize, said: Said<'_>, what: &str) {
        let told = eventually(LIMIT, what, || {
            let lines = self.log(logged);
            if lines.iter().any(|line| says(line, said)) {
                Ok(())
            } else {
                Err(format!("nothing of {said:?} in {lines:#?}"))
            }
        });
        if let Err(error) = told {
            panic!("{error}");
        }
    }

    /// Packets pass between the pods of a node, and between nodes in both directions.
    #[track_caller]
    pub(crate) fn packets_pass(&self) {
        let [node, far] = nodes(&self.cluster);
        let [red, blue] = [&self.red, &self.blue].map(Address::address);
        node.pod("red").ping(blue).unwrap();
        node.pod("green").ping(red).unwrap();
        far.pod("blue").ping(red).unwrap();
        node.place().ping(blue).unwrap();
    }
}

/// Whether a line of the log tells of such a repair.
fn says(line: &Value, said: Said<'_>) -> bool {
    let field = |name: &str| line["fields"][name].as_str();
    let by = match (said.by, field("by")) {
        (By::Program(name), Some(by)) => {
            let name = format!("{name}[");
            by.split(", ").any(|maker| maker.starts_with(&name))
        }
        (By::Somebody, Some(by)) => by.contains(|c: char| c.is_ascii_digit()),
        (By::Unknown, None) | (By::Perhaps, _) => true,
        (By::Unknown, Some(_)) | (By::Program(_) | By::Somebody, None) => false,
    };
    by && line["level"] == "WARN"
        && field("message") == Some("podnet has put back what another program had changed")
        && field("op").is_some_and(|op| op.starts_with(said.op))
        && field("found").is_some_and(|found| found.contains(said.found))
}
