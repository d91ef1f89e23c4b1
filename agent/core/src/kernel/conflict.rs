//! What stands in the place of what is podnet's.

use std::fmt;

use ipnetwork::IpNetwork;
use podnet_proto::PodName;

use super::link::{BRIDGE, IfName};
use super::observed::ObservedFirewall;
use super::route::Route;
use super::sysctl::LinkParameter;
use crate::firewall::Chain;

/// An object of podnet's that something foreign stands in the place of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contested {
    /// The bridge.
    Bridge(IfName),
    /// The host end of a pod.
    HostEnd(IfName, PodName),
    /// The interface of a pod, by its name and the pod's host end.
    Interface(IfName, IfName, PodName),
    /// A route.
    Route(Route),
    /// The rules of a chain, in this back end.
    Rules(Chain, String),
    /// The forwarding of what comes in by a device.
    Forwarding(IfName),
    /// Addresses of the pod network.
    Addresses {
        /// Which.
        range: IpNetwork,
        /// Whose they are.
        owner: Owner,
    },
}

/// Whose addresses of the pod network are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// They are the whole block of this node, which the bridge's own route leads to.
    Bridge,
    /// They are in the block of a node.
    Node,
    /// They are in no block so far.
    Nobody,
}

impl fmt::Display for Contested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(name) => write!(f, "bridge {name}"),
            Self::HostEnd(host_ifname, pod) => write!(f, "host end {host_ifname} of pod {pod}"),
            Self::Interface(ifname, _, pod) => write!(f, "interface {ifname} of pod {pod}"),
            Self::Route(route) => write!(f, "route {route}"),
            Self::Addresses { range, .. } => {
                let longest = if range.is_ipv4() { 32 } else { 128 };
                let plural = if range.prefix() == longest { "" } else { "es" };
                write!(f, "pod address{plural} {range}")
            }
            Self::Forwarding(device) => f.write_str(&LinkParameter::Forwarding.on(device)),
            Self::Rules(chain, backend) => {
                write!(
                    f,
                    "chain {} in table {} of {backend}",
                    chain.name(),
                    chain.table()
                )
            }
        }
    }
}

/// Something foreign that stands in the place of an object of podnet's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The object of podnet's.
    pub object: Contested,
    /// What stands there.
    pub found: String,
}

/// How many routes and addresses of other programs are named one by one: a host may have thousands.
const MOST_NAMED: usize = 5;

impl Conflict {
    /// Those to name one by one, and the rest, to count: of what is among the addresses of pods a few are named.
    pub fn named<'a>(all: impl IntoIterator<Item = &'a Self>) -> (Vec<&'a Self>, Vec<&'a Self>) {
        let is_intruder = |conflict: &&Self| matches!(conflict.object, Contested::Addresses { .. });
        let (mut intruders, mut named): (Vec<_>, Vec<_>) = all.into_iter().partition(is_intruder);
        intruders.sort_by_key(|conflict| conflict.is_harmless());
        let counted = intruders.split_off(intruders.len().min(MOST_NAMED));
        named.extend(intruders);
        (named, counted)
    }

    /// Whether packets of pods pass all the same: what stands there is in the way of none that there are so far.
    #[must_use]
    pub const fn is_harmless(&self) -> bool {
        matches!(
            self.object,
            Contested::Addresses {
                owner: Owner::Nobody,
                ..
            }
        )
    }

    /// What cures it.
    #[must_use]
    pub fn cure(&self) -> String {
        match &self.object {
            Contested::Rules(chain, _) => {
                let table = chain.table();
                format!(
                    "find it with 'nft list table ip {table}', and move what iptables did not make into \
                     a table of its own; podnet leaves the whole table as it is until then"
                )
            }
            Contested::Forwarding(_) => {
                "give the device a name of letters, digits, '-', '.' and '_', or set the parameter to 1 \
                 yourself; until then pods get no answers by this device"
                    .to_owned()
            }
            Contested::Addresses {
                range,
                owner: Owner::Bridge,
            } => format!(
                "put the bridge's own route back with 'ip route replace {range} dev {BRIDGE} proto kernel \
                 scope link'; this node's pods are reached by it"
            ),
            Contested::Addresses { .. } => {
                "remove it: packets of pods to these addresses go there, and not to pods".to_owned()
            }
            Contested::Bridge(_)
            | Contested::HostEnd(..)
            | Contested::Interface(..)
            | Contested::Route(_) => {
                "remove what is in the way; podnet touches only what it made".to_owned()
            }
        }
    }
}

impl ObservedFirewall {
    /// The chains whose table the back end cannot show, and what is in the way of each.
    pub fn hidden(&self) -> impl Iterator<Item = (Chain, Conflict)> {
        self.unreadable.iter().map(|&chain| {
            let conflict = Conflict {
                object: Contested::Rules(chain, self.backend.clone()),
                found: "a rule that iptables cannot show".to_owned(),
            };
            (chain, conflict)
        })
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is in the way", self.object, self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_many_intruders_are_named_and_those_in_blocks_first() {
        let intruder = |number: u8, owner| Conflict {
            object: Contested::Addresses {
                range: format!("10.244.{number}.0/25").parse().unwrap(),
                owner,
            },
            found: "a route".to_owned(),
        };
        let mut all: Vec<_> = (0..9)
            .map(|number| intruder(number, Owner::Nobody))
            .collect();
        all.push(intruder(9, Owner::Node));
        all.push(Conflict {
            object: Contested::Bridge(IfName::bridge()),
            found: "a link".to_owned(),
        });
        let (named, counted) = Conflict::named(&all);
        assert_eq!(
            (named.len(), counted.len()),
            (1 + MOST_NAMED, 10 - MOST_NAMED)
        );
        assert_eq!(named[..2], [&all[10], &all[9]]);
        let (named, counted) = Conflict::named(&all[..2]);
        assert_eq!((named.len(), counted.len()), (2, 0));
    }
}
