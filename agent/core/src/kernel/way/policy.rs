//! The rules of policy routing, and which of them leads a packet where it should not go.

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{Packet, Way};
use crate::kernel::IfName;

/// The number of the table that podnet's routes are in (`RT_TABLE_MAIN`).
const MAIN: u32 = 254;

/// The number of the table of the host's own addresses (`RT_TABLE_LOCAL`).
const LOCAL: u32 = 255;

/// The number of the table named `default` (`RT_TABLE_DEFAULT`).
const DEFAULT: u32 = 253;

/// The name that the kernel takes for the device of packets that the host itself sends.
const LOOPBACK: &str = "lo";

/// The rules and routes that decide which way packets take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The rules, in the order in which they are asked.
    pub rules: Vec<PolicyRule>,
    /// The routes of all tables that concern the addresses that were asked for.
    pub routes: Vec<PolicyRoute>,
}

/// A rule, as far as podnet can judge it: a rule with other conditions than these is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRule {
    /// Its place among the rules; the lowest is asked first.
    pub priority: u32,
    /// It concerns packets from here.
    pub from: Option<IpNetwork>,
    /// It concerns packets to here.
    pub to: Option<IpNetwork>,
    /// It concerns packets that come in by this device.
    pub by: Option<String>,
    /// It concerns packets with this mark, under this mask. Packets of pods have no mark.
    pub mark: Option<(u32, u32)>,
    /// It concerns all packets but these.
    pub inverted: bool,
    /// What it does.
    pub action: PolicyAction,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyAction {
    /// It looks into a table, and ignores routes there that are wider than this.
    Table {
        /// The table.
        table: u32,
        /// The longest prefix that is ignored.
        suppressed: Option<u8>,
    },
    /// It refuses the packet; in the words of `ip rule`.
    Refuse(&'static str),
}

/// A route of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRoute {
    /// The table.
    pub table: u32,
    /// Where packets go.
    pub destination: IpNetwork,
    /// Which of several routes to one destination counts: the lowest.
    pub metric: u32,
    /// Whether the route is podnet's, or comes with the addresses of podnet's bridge.
    pub ours: bool,
    /// Whether the kernel made it, for an address of the host.
    pub by_address: bool,
    /// What becomes of packets.
    pub outcome: Outcome,
}

/// What becomes of packets on a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// They leave by one of these devices.
    Out {
        /// The next hop; `None` for a destination on the link, and for several devices.
        via: Option<IpAddr>,
        /// The devices, of which the kernel chooses one.
        devices: Vec<String>,
    },
    /// They are taken for the host's own.
    Local {
        /// The device that the address is on.
        device: Option<String>,
    },
    /// They are refused; in the words of `ip route`.
    Refused(&'static str),
    /// They go back to the rules.
    Thrown,
}

/// What leads a packet astray.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blame<'a> {
    pub(super) rule: &'a PolicyRule,
    /// The route that the rule leads to; none if the rule itself refuses.
    pub(super) route: Option<&'a PolicyRoute>,
    /// The place of the last rule that looks for the host's own addresses: no cure may come before it.
    local: u32,
}

impl Policy {
    /// The rule, and its route, by which a packet takes the way that the kernel says it takes. `None` if that is
    /// podnet's own, and if the rule leads elsewhere: then a rule decides that is not among these.
    pub(super) fn blame(&self, packet: &Packet, way: &Way) -> Option<Blame<'_>> {
        let (rule, route) = self.decider(packet)?;
        let so = match route {
            Some(route) => !route.ours && route.outcome.is(way),
            None => matches!(way, Way::Refused(_)),
        };
        let local = self.rules.iter().filter(|rule| rule.looks_up(LOCAL));
        let local = local.map(|rule| rule.priority).max().unwrap_or(0);
        so.then_some(Blame { rule, route, local })
    }

    /// The first rule that decides what becomes of a packet, and by which route.
    fn decider(&self, packet: &Packet) -> Option<(&PolicyRule, Option<&PolicyRoute>)> {
        let mut concerning = self.rules.iter().filter(|rule| rule.concerns(packet));
        concerning.find_map(|rule| {
            let PolicyAction::Table { table, suppressed } = rule.action else {
                return Some((rule, None));
            };
            let route = self.route(table, packet.to)?;
            let wide = suppressed.is_some_and(|longest| route.destination.prefix() <= longest);
            let decides = !wide && route.outcome != Outcome::Thrown;
            decides.then_some((rule, Some(route)))
        })
    }

    fn route(&self, table: u32, to: IpAddr) -> Option<&PolicyRoute> {
        let routes = self.routes.iter();
        routes
            .filter(|route| route.table == table && route.destination.contains(to))
            .max_by_key(|route| (route.destination.prefix(), Reverse(route.metric)))
    }
}

impl PolicyRule {
    fn concerns(&self, packet: &Packet) -> bool {
        let in_range =
            |range: Option<IpNetwork>, address| range.is_none_or(|range| range.contains(address));
        let device = packet.by.as_ref().map_or(LOOPBACK, IfName::as_str);
        let concerned = in_range(self.from, packet.from)
            && in_range(self.to, packet.to)
            && self.by.as_deref().is_none_or(|by| by == device)
            && self.mark.is_none_or(|(mark, mask)| mark & mask == 0);
        concerned != self.inverted
    }

    fn looks_up(&self, wanted: u32) -> bool {
        matches!(self.action, PolicyAction::Table { table, .. } if table == wanted)
    }
}

impl Outcome {
    /// Whether a packet on the route takes this way.
    fn is(&self, way: &Way) -> bool {
        match (self, way) {
            (Self::Out { via, devices }, Way::Out { via: hop, device }) => {
                let by = devices.iter().any(|name| name == device.as_str());
                by && (devices.len() > 1 || via == hop)
            }
            (Self::Local { .. }, Way::Local) | (Self::Refused(_), Way::Refused(_)) => true,
            (Self::Out { .. } | Self::Local { .. } | Self::Refused(_) | Self::Thrown, _) => false,
        }
    }
}

impl fmt::Display for PolicyRule {
    /// As `ip rule` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} (", self.priority)?;
        if self.inverted {
            f.write_str("not ")?;
        }
        match self.from {
            Some(range) => write!(f, "from {range} ")?,
            None => f.write_str("from all ")?,
        }
        if let Some(range) = self.to {
            write!(f, "to {range} ")?;
        }
        if let Some(device) = &self.by {
            write!(f, "iif {device} ")?;
        }
        match self.mark {
            Some((mark, u32::MAX)) => write!(f, "fwmark {mark:#x} ")?,
            Some((mark, mask)) => write!(f, "fwmark {mark:#x}/{mask:#x} ")?,
            None => {}
        }
        match self.action {
            PolicyAction::Table { table, .. } => write!(f, "lookup {})", named(table)),
            PolicyAction::Refuse(words) => write!(f, "{words})"),
        }
    }
}

impl fmt::Display for PolicyRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (destination, table) = (self.destination, named(self.table));
        write!(f, "route {destination} {} of table {table}", self.outcome)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Out { via, devices } => {
                if let Some(via) = via {
                    write!(f, "via {via} ")?;
                }
                let devices = match devices[..] {
                    [] => "no device".to_owned(),
                    [_, ..] => devices.join(" or "),
                };
                write!(f, "by {devices}")
            }
            Self::Local { device } => {
                let device = device.as_deref().unwrap_or("no device");
                write!(f, "(local, on {device})")
            }
            Self::Refused(words) => write!(f, "({words})"),
            Self::Thrown => f.write_str("(throw)"),
        }
    }
}

impl Blame<'_> {
    /// What cures it, for the sake of a pod network.
    pub(super) fn cure(&self, network: IpNetwork) -> String {
        match self.route {
            Some(route) if route.table == MAIN => {
                let destination = route.destination;
                format!("remove that route, for instance with 'ip route del {destination}'")
            }
            Some(route) if route.table == LOCAL => of_the_host(route),
            Some(_) | None => self.cure_of_rule(network),
        }
    }

    /// A rule before that of the host's own addresses would lead packets for these out of the host.
    fn cure_of_rule(&self, network: IpNetwork) -> String {
        let before = self.rule.priority.checked_sub(1);
        match before.filter(|before| *before > self.local) {
            Some(before) => format!(
                "keep the pod network out of that rule with 'ip rule add to {network} lookup main \
                 priority {before}', or remove the rule"
            ),
            None => format!(
                "remove that rule, or give it a priority above {}: no other rule may come before the one that \
                 looks for the host's own addresses",
                self.local.saturating_add(1),
            ),
        }
    }
}

/// The cure of a route by which packets of pods are taken for the host's own.
fn of_the_host(route: &PolicyRoute) -> String {
    let destination = route.destination;
    match &route.outcome {
        Outcome::Local {
            device: Some(device),
        } if route.by_address => {
            let address = if destination == IpNetwork::from(destination.ip()) {
                destination.ip().to_string()
            } else {
                format!("in {destination}")
            };
            format!("take the address {address} from {device}")
        }
        Outcome::Local { .. } => {
            format!(
                "remove that route, for instance with 'ip route del local {destination} table local'"
            )
        }
        Outcome::Out { .. } | Outcome::Refused(_) | Outcome::Thrown => {
            "remove that route from the table of the host's own addresses".to_owned()
        }
    }
}

fn named(table: u32) -> String {
    match table {
        MAIN => "main".to_owned(),
        LOCAL => "local".to_owned(),
        DEFAULT => "default".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
