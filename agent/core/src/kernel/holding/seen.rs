//! What is seen of podnet's table of the bridge, and what is wrong with it.

use super::Holding;

/// Podnet's table of the bridge in nftables, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedHolding {
    /// There is no table, and this host cannot hold pods by nftables; why.
    Impossible(String),
    /// The table cannot be looked at; why.
    Unseen(String),
    /// There is no table.
    Absent,
    /// There is one.
    Table {
        /// Whether its rules are podnet's.
        ruled: bool,
        /// The elements of its sets.
        holding: Holding,
    },
}

impl ObservedHolding {
    /// Why nftables does not hold pods right now; `None` if it does.
    #[must_use]
    pub fn shortfall(&self) -> Option<String> {
        match self {
            Self::Impossible(why) => Some(why.clone()),
            Self::Unseen(why) => Some(format!("table bridge podnet cannot be looked at: {why}")),
            Self::Absent => Some("table bridge podnet is not there".to_owned()),
            Self::Table { ruled: false, .. } => {
                Some("table bridge podnet has other rules than podnet's".to_owned())
            }
            Self::Table { ruled: true, .. } => None,
        }
    }

    #[cfg(test)]
    pub(super) const fn table(ruled: bool, holding: Holding) -> Self {
        Self::Table { ruled, holding }
    }

    /// What is wrong with the table, in words.
    pub(super) fn defects(&self, wanted: &Holding) -> Vec<String> {
        let (ruled, found) = match self {
            Self::Impossible(_) | Self::Unseen(_) => return Vec::new(),
            Self::Absent => return vec!["no table".to_owned()],
            Self::Table { ruled, holding } => (*ruled, holding),
        };
        let rules = (!ruled).then(|| "other rules".to_owned());
        let missing = wanted.without(found);
        let extra = found.without(wanted);
        let defects = rules.into_iter().chain(missing.missing());
        defects.chain(extra.extra()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::of;
    use super::*;

    #[test]
    fn only_podnets_own_rules_hold() {
        let held = of(&["pna"]);
        assert_eq!(ObservedHolding::table(true, held.clone()).shortfall(), None);
        let why = || "no nft".to_owned();
        for lacking in [
            ObservedHolding::table(false, held),
            ObservedHolding::Absent,
            ObservedHolding::Unseen(why()),
            ObservedHolding::Impossible(why()),
        ] {
            assert!(lacking.shortfall().is_some(), "{lacking:?}");
        }
    }
}
