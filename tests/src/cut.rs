//! Cuts in the underlay: packets that do not pass from one node to another.
//!
//! The router marks each packet with the number of the node on whose port it arrives, and drops it
//! at the port of a node that is cut off from that one. So a cut concerns whatever leaves a node and
//! would arrive at another, bridged or routed, under whatever address, and no node's own rules.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use crate::error::LabError;
use crate::lab::Lab;
use crate::node::Node;

/// The table with the cuts, in the router.
const TABLE: &str = "bridge cuts";

/// How long a change may take.
const NFT_LIMIT: Duration = Duration::from_secs(30);

/// Which way a cut stops packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first group to the second, and back.
    Both,
    /// From the first group to the second only.
    OneWay,
}

/// Two groups of nodes by their names, as `node1,node2:node3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Where packets start.
    pub from: Vec<String>,
    /// Where they do not arrive.
    pub to: Vec<String>,
}

impl FromStr for Groups {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = "two groups are wanted: NODE,..:NODE,..";
        let group = |names: &str| -> Vec<String> { names.split(',').map(str::to_owned).collect() };
        let (from, to) = text.split_once(':').ok_or(malformed)?;
        let groups = Self {
            from: group(from),
            to: group(to),
        };
        let empty = groups.from.iter().chain(&groups.to).any(String::is_empty);
        if empty { Err(malformed) } else { Ok(groups) }
    }
}

impl Lab {
    /// Lets no packet pass from the one nodes to the others on the underlay, until [`Self::heal`].
    /// Cuts add up; a reboot of a node changes nothing about them.
    ///
    /// # Errors
    /// [`LabError::Unsupported`] when a node is in both groups, [`LabError::NoMember`] when one of
    /// them is none; then nothing has changed.
    pub fn cut(
        &self,
        from: &[Node<'_>],
        to: &[Node<'_>],
        direction: Direction,
    ) -> Result<(), LabError> {
        let (from, to) = (numbers(from)?, numbers(to)?);
        if let Some(both) = from.iter().find(|number| to.contains(number)) {
            return Err(LabError::Unsupported {
                what: format!("node{both}: cannot be cut off from itself"),
            });
        }
        let mut pairs = pairs(&from, &to);
        if direction == Direction::Both {
            pairs.extend(self::pairs(&to, &from));
        }
        self.nft(&cut_batch(&pairs), "cutting")
    }

    /// Takes back all cuts.
    ///
    /// # Errors
    /// [`LabError::Broken`] when the router is gone.
    pub fn heal(&self) -> Result<(), LabError> {
        // Who adds first can delete without asking whether it is there.
        self.nft(
            &format!("add table {TABLE}\ndelete table {TABLE}\n"),
            "healing",
        )
    }

    fn nft(&self, batch: &str, what: &str) -> Result<(), LabError> {
        let output = self
            .router()
            .exec_with(["nft", "-f", "-"], batch, NFT_LIMIT)?;
        output.success(what).map(drop)
    }
}

fn numbers(nodes: &[Node<'_>]) -> Result<Vec<u8>, LabError> {
    nodes.iter().map(Node::number).collect()
}

fn pairs(from: &[u8], to: &[u8]) -> Vec<(u8, u8)> {
    let all = |from: &u8| to.iter().map(|to| (*from, *to)).collect::<Vec<_>>();
    from.iter().flat_map(all).collect()
}

/// The cuts between these pairs of nodes in addition to those that are there, as nft(8) wants them:
/// one transaction, in which adding what is there changes nothing.
fn cut_batch(pairs: &[(u8, u8)]) -> String {
    let mut batch = format!(
        "add table {TABLE}\n\
         add map {TABLE} senders {{ type ifname : mark; }}\n\
         add set {TABLE} pairs {{ type mark . ifname; }}\n\
         add chain {TABLE} arrive {{ type filter hook prerouting priority -300; }}\n\
         flush chain {TABLE} arrive\n\
         add rule {TABLE} arrive meta mark set iifname map @senders\n\
         add chain {TABLE} leave {{ type filter hook postrouting priority 300; }}\n\
         flush chain {TABLE} leave\n\
         add rule {TABLE} leave meta mark . oifname @pairs drop\n"
    );
    for (from, to) in pairs {
        // Writing to a String does not fail.
        let _ = writeln!(
            batch,
            "add element {TABLE} senders {{ \"node{from}\" : {from} }}\n\
             add element {TABLE} pairs {{ {from} . \"node{to}\" }}"
        );
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_groups_are_read_from_one_word() {
        let groups: Groups = "node1,node2:node3".parse().unwrap();
        assert_eq!(
            (groups.from.len(), groups.to),
            (2, vec!["node3".to_owned()])
        );
        for bad in ["", "node1", "node1:", ":node1", "node1,:node2"] {
            assert!(bad.parse::<Groups>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_of_the_one_group_is_cut_from_each_of_the_other() {
        assert_eq!(pairs(&[1, 2], &[3, 4]), [(1, 3), (1, 4), (2, 3), (2, 4)]);
    }
}
