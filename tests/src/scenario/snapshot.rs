//! All of a node that podnet could change.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ipnetwork::IpNetwork;

use super::waits::LIMIT;
use crate::node::Node;
use crate::wait::eventually;

/// What shows the network part of a node's kernel.
const KERNEL: &[(&str, &str)] = &[
    ("links", "ip -o link"),
    ("addresses", "ip -o address"),
    ("IPv4 routes", "ip -4 route show table all"),
    ("IPv6 routes", "ip -6 route show table all"),
    ("IPv4 rules", "ip -4 rule"),
    ("IPv6 rules", "ip -6 rule"),
    ("iptables", "iptables-save"),
    ("ip6tables", "ip6tables-save"),
    ("iptables, the other variant", OTHER_VARIANT),
    // Some may not be read.
    (
        "sysctls",
        "grep -rs '' /proc/sys/net/core /proc/sys/net/ipv4 /proc/sys/net/ipv6 | sort",
    ),
    ("namespaces", "ls /run/netns"),
];

/// What the host's choice of iptables does not show.
const OTHER_VARIANT: &str = "case $(iptables --version) in *nf_tables*) other=legacy;; *) other=nft;; \
    esac; iptables-$other-save && ip6tables-$other-save || true";

/// A node at one moment, by section. Two of them are compared, never read.
#[derive(Debug)]
pub struct Snapshot {
    sections: BTreeMap<String, String>,
}

impl Snapshot {
    /// The network part of the kernel.
    #[must_use]
    #[track_caller]
    pub fn kernel(node: Node<'_>) -> Self {
        settle(node);
        let script = KERNEL
            .iter()
            .fold(String::new(), |mut script, (name, command)| {
                let _ = writeln!(script, "echo '# {name}'\n{command} 2>/dev/null");
                script
            });
        let mut sections = BTreeMap::new();
        let mut section = String::new();
        for line in node.shell(&script).lines() {
            match line.strip_prefix("# ") {
                Some(name) if KERNEL.iter().any(|(known, _)| *known == name) => {
                    name.clone_into(&mut section);
                    sections.insert(section.clone(), String::new());
                }
                Some(_) => {}
                None => {
                    if !is_untouched_chain(line) {
                        let text = sections.entry(section.clone()).or_default();
                        text.push_str(line);
                        text.push('\n');
                    }
                }
            }
        }
        assert_eq!(sections.len(), KERNEL.len(), "{sections:?}");
        Self { sections }
    }

    /// The network part of the kernel, and what the agent keeps in files.
    #[must_use]
    #[track_caller]
    pub fn whole(node: Node<'_>) -> Self {
        let mut snapshot = Self::kernel(node);
        // With what a test has mounted there.
        let root = format!("/proc/{}/root", node.holder().unwrap().pid);
        for dir in ["/var/lib/podnet", "/run/podnet"] {
            let mut listing = String::new();
            list(Path::new(&format!("{root}{dir}")), &mut listing);
            let listing = listing.replace(&root, "");
            snapshot.sections.insert(dir.to_owned(), listing);
        }
        snapshot
    }

    /// The sections that have changed since.
    #[must_use]
    pub fn changed(&self, now: &Self) -> Vec<&str> {
        let sections = self.sections.iter();
        let changed = sections.filter(|(name, before)| now.sections.get(*name) != Some(*before));
        changed.map(|(name, _)| name.as_str()).collect()
    }

    /// The same without what the kernel adds to podnet's links: their numbers, others each time, and
    /// an IPv6 route for what is multicast, as soon as a link has had a carrier.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.sections.remove("IPv6 routes");
        for name in ["links", "addresses"] {
            let lines = self.sections.remove(name).unwrap_or_default();
            let named = lines.lines().filter_map(|line| line.split_once(": "));
            let text = named.map(|(_number, line)| format!("{line}\n")).collect();
            self.sections.insert(name.to_owned(), text);
        }
        self
    }

    /// The same of a member, without what differs with its block and with the members beside this
    /// one.
    #[must_use]
    pub fn of_member(mut self, block: IpNetwork, beside: Ipv4Addr) -> Self {
        let IpAddr::V4(network) = block.network() else {
            panic!("{block} is none of IPv4");
        };
        let [a, b, c, _] = network.octets();
        let in_words = format!("{a}.{b}.{c}.");
        // The bridge's link-layer address ends as its IP address does.
        let in_hex = format!("{a:02x}:{b:02x}:{c:02x}:");
        let via = format!(" via {beside} ");
        for text in self.sections.values_mut() {
            let lines = text.lines().filter(|line| {
                !line.contains(" via ") || line.contains(&via) || !line.contains(" proto 112 ")
            });
            let lines =
                lines.map(|line| line.replace(&in_words, "OWN.").replace(&in_hex, "OWN:") + "\n");
            *text = lines.collect();
        }
        self
    }

    /// What has changed since, line by line; nothing where nothing has.
    #[must_use]
    pub fn difference(&self, now: &Self) -> String {
        let mut changes = String::new();
        for (name, before) in &self.sections {
            let after = now.sections.get(name).map_or("", String::as_str);
            if before == after {
                continue;
            }
            let [was, is] =
                [before.as_str(), after].map(|text| text.lines().collect::<HashSet<_>>());
            let lost = before.lines().filter(|line| !is.contains(line));
            let new = after.lines().filter(|line| !was.contains(line));
            let lost = lost.map(|line| format!("  - {line}\n"));
            let lines: String = lost
                .chain(new.map(|line| format!("  + {line}\n")))
                .collect();
            let _ = write!(changes, "{name}:\n{lines}");
        }
        changes
    }

    /// Asserts that nothing has changed since.
    #[track_caller]
    pub fn assert_same(&self, now: &Self, when: &str) {
        let changes = self.difference(now);
        assert!(changes.is_empty(), "{when}: changed\n{changes}");
    }
}

/// Waits until the kernel has given a link its own IPv6 address, which takes until the link has a
/// carrier, and has found all such addresses to be unique, which changes them.
#[track_caller]
pub fn settle(node: Node<'_>) {
    // In this order: one that comes in between is tentative.
    let script = "off=$(cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6 2>/dev/null || echo 1)
        [ $off = 1 ] || ip -6 -o address show dev eth0 scope link | grep -q . || echo none yet
        ip -6 -o address show tentative";
    eventually(LIMIT, "the kernel's own addresses", || {
        match node.shell(script) {
            unsettled if unsettled.is_empty() => Ok(()),
            unsettled => Err(unsettled),
        }
    })
    .unwrap();
}

/// Listing the rules of a table makes iptables make the table, with chains that are empty: those
/// change nothing. Counters are no part of what is compared either.
fn is_untouched_chain(line: &str) -> bool {
    line.starts_with('*')
        || line == "COMMIT"
        || (line.starts_with(':') && line.contains(" ACCEPT ["))
}

fn list(dir: &Path, listing: &mut String) {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode();
        let content = if metadata.is_file() {
            fs::read(&path).unwrap().escape_ascii().to_string()
        } else {
            String::new()
        };
        let _ = writeln!(listing, "{mode:o} {} {content}", path.display());
        if metadata.is_dir() {
            list(&path, listing);
        }
    }
}
