//! The rules of policy routing, and which of them leads a packet where it should not go.

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::Packet;
use crate::kernel::IfName;

/// The number of the table that podnet's routes are in (`RT_TABLE_MAIN`).
const MAIN: u32 = 254;

/// The number of the table of the host's own addresses (`RT_TABLE_LOCAL`).
const LOCAL: u32 = 255;

/// The number of the table that no rule needs to name (`RT_TABLE_DEFAULT`).
const DEFAULT: u32 = 253;

/// What the kernel takes for the device of packets that the host itself sends.
const LOOPBACK: &str = "lo";

/// What decides which way packets take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The rules, in the order in which they are asked.
    pub rules: Vec<PolicyRule>,
    /// The routes of all tables that concern the addresses that were asked for.
    pub routes: Vec<PolicyRoute>,
}

/// A rule, as far as podnet can judge it: one that asks for more than is here is left out.
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
    /// It concerns all packets but these.
    pub inverted: bool,
    /// What it does.
    pub action: PolicyAction,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyAction {
    /// It looks into a table, and does not count what is wider than this there.
    Table {
        /// The table.
        table: u32,
        /// The longest prefix that does not count.
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
    /// Whether it sends the packet back to the rules.
    pub throws: bool,
    /// Whether it is podnet's, or comes with the addresses of podnet's bridge.
    pub ours: bool,
    /// What becomes of packets, in words.
    pub words: String,
}

/// What leads a packet astray.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blame<'a> {
    pub(super) rule: &'a PolicyRule,
    /// The route that the rule leads to; none where the rule itself refuses.
    pub(super) route: Option<&'a PolicyRoute>,
}

impl Policy {
    /// The rule, and its route, that a packet takes; `None` where that is podnet's own.
    pub(super) fn blame(&self, packet: &Packet) -> Option<Blame<'_>> {
        for rule in self.rules.iter().filter(|rule| rule.concerns(packet)) {
            let PolicyAction::Table { table, suppressed } = rule.action else {
                return Some(Blame { rule, route: None });
            };
            let Some(route) = self.route(table, packet.to) else {
                continue;
            };
            let wide = suppressed.is_some_and(|longest| route.destination.prefix() <= longest);
            if !(wide || route.throws) {
                let route = Some(route);
                return route
                    .filter(|route| !route.ours)
                    .map(|_| Blame { rule, route });
            }
        }
        None
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
            && self.by.as_deref().is_none_or(|by| by == device);
        concerned != self.inverted
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
        match self.action {
            PolicyAction::Table { table, .. } => write!(f, "lookup {})", named(table)),
            PolicyAction::Refuse(words) => write!(f, "{words})"),
        }
    }
}

impl fmt::Display for PolicyRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (destination, table) = (self.destination, named(self.table));
        write!(f, "route {destination} {} of table {table}", self.words)
    }
}

impl Blame<'_> {
    /// What cures it, for the sake of a pod network.
    pub(super) fn cure(&self, network: IpNetwork) -> String {
        match (self.route, &self.rule.action) {
            (Some(route), PolicyAction::Table { table: MAIN, .. }) => {
                let destination = route.destination;
                format!("remove that route, for instance with 'ip route del {destination}'")
            }
            _ => match self.rule.priority.checked_sub(1) {
                Some(before) => format!(
                    "keep the pod network out of that rule with 'ip rule add to {network} lookup main \
                     priority {before}', or remove the rule"
                ),
                None => "remove that rule: nothing can come before it".to_owned(),
            },
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
mod tests {
    use super::*;

    fn rule(priority: u32, table: u32) -> PolicyRule {
        PolicyRule {
            priority,
            from: None,
            to: None,
            by: None,
            inverted: false,
            action: PolicyAction::Table {
                table,
                suppressed: None,
            },
        }
    }

    fn route(table: u32, destination: &str, ours: bool) -> PolicyRoute {
        PolicyRoute {
            table,
            destination: destination.parse().unwrap(),
            metric: 0,
            throws: false,
            ours,
            words: "via 192.0.2.254".to_owned(),
        }
    }

    /// What a pod sends to one of a peer, where one rule stands before that of the main table.
    fn blamed(rule_before: PolicyRule, routes: &[PolicyRoute]) -> Option<String> {
        let mut all = vec![
            route(MAIN, "10.244.0.0/16", true),
            route(MAIN, "10.244.1.0/24", true),
            route(MAIN, "0.0.0.0/0", false),
        ];
        all.extend_from_slice(routes);
        let policy = Policy {
            rules: vec![rule_before, rule(32766, MAIN)],
            routes: all,
        };
        let packet = Packet {
            from: "10.244.0.2".parse().unwrap(),
            to: "10.244.1.2".parse().unwrap(),
            by: Some(IfName::bridge()),
        };
        let blame = policy.blame(&packet)?;
        Some(match blame.route {
            Some(route) => format!("{}: {route}", blame.rule),
            None => blame.rule.to_string(),
        })
    }

    #[test]
    fn the_first_rule_that_concerns_a_packet_and_has_a_route_is_to_blame() {
        let away = route(100, "0.0.0.0/0", false);
        let words = "rule 100 (from 10.0.0.0/8 iif podnet0 lookup 100): route 0.0.0.0/0 via \
                     192.0.2.254 of table 100";
        let from = PolicyRule {
            from: Some("10.0.0.0/8".parse().unwrap()),
            by: Some("podnet0".to_owned()),
            ..rule(100, 100)
        };
        assert_eq!(
            blamed(from.clone(), std::slice::from_ref(&away)).unwrap(),
            words
        );
        assert_eq!(blamed(from.clone(), &[]), None, "an empty table");
        let mut throw = away.clone();
        throw.throws = true;
        assert_eq!(blamed(from.clone(), &[throw]), None);
        let mut suppressing = from.clone();
        suppressing.action = PolicyAction::Table {
            table: 100,
            suppressed: Some(0),
        };
        assert_eq!(blamed(suppressing, std::slice::from_ref(&away)), None);
        let elsewhere = PolicyRule {
            from: Some("10.9.0.0/16".parse().unwrap()),
            ..from.clone()
        };
        assert_eq!(blamed(elsewhere.clone(), std::slice::from_ref(&away)), None);
        let inverted = PolicyRule {
            inverted: true,
            ..elsewhere
        };
        assert!(blamed(inverted, std::slice::from_ref(&away)).is_some());
        let other_device = PolicyRule {
            by: Some("eth1".to_owned()),
            ..from
        };
        assert_eq!(blamed(other_device, &[away]), None);
    }

    #[test]
    fn a_rule_may_refuse_by_itself_and_a_route_of_the_main_table_may_be_narrower() {
        let refusing = PolicyRule {
            action: PolicyAction::Refuse("prohibit"),
            ..rule(7, 0)
        };
        assert_eq!(blamed(refusing, &[]).unwrap(), "rule 7 (from all prohibit)");
        let narrower = route(MAIN, "10.244.1.0/25", false);
        assert_eq!(
            blamed(rule(0, LOCAL), &[narrower]).unwrap(),
            "rule 32766 (from all lookup main): route 10.244.1.0/25 via 192.0.2.254 of table main"
        );
        assert_eq!(blamed(rule(0, LOCAL), &[]), None);
    }
}
