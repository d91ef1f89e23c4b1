//! Foreign objects in the place of podnet's.

use std::fmt;

use super::desired::Desired;
use super::kinds::{Kind, Kinds};
use super::route::{Intruder, Owner, Route};
use super::{bridge, firewall, forwarding, pod};

/// An object of podnet's in whose place something foreign stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contested {
    /// The bridge.
    Bridge(bridge::Contested),
    /// The host end or the interface of a pod.
    Pod(pod::Contested),
    /// A route.
    Route(Route),
    /// The rules of a chain.
    Rules(firewall::Unreadable),
    /// The forwarding of what comes in by a device.
    Forwarding(forwarding::Unguardable),
    /// Addresses of the pod network.
    Addresses(Intruder),
}

/// What each object answers in whose place something foreign can stand.
pub(super) trait Disputed: fmt::Display {
    /// What cures it.
    fn cure(&self) -> String;

    /// What to look at, to know whether something is still in the way.
    fn looks(&self) -> Kinds;

    /// The kinds of reported changes that may have led to it.
    fn cause(&self) -> Kind;

    /// Keeps what was known `before` of the object.
    fn keep(&self, held: &mut Desired, before: &Desired);
}

/// The cure for something foreign in the place of an object of podnet's.
pub(super) fn removal() -> String {
    "remove what is in the way; podnet touches only what it made".to_owned()
}

impl Contested {
    pub(super) fn disputed(&self) -> &dyn Disputed {
        match self {
            Self::Bridge(object) => object,
            Self::Pod(object) => object,
            Self::Route(object) => object,
            Self::Rules(object) => object,
            Self::Forwarding(object) => object,
            Self::Addresses(object) => object,
        }
    }
}

impl fmt::Display for Contested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.disputed(), f)
    }
}

/// Makes each object one of the objects in whose place something foreign can stand.
macro_rules! can_be_contested {
    ($($object:ident: $named:ty),+ $(,)?) => {
        $(impl From<$named> for Contested {
            fn from(object: $named) -> Self {
                Self::$object(object)
            }
        })+
    };
}

can_be_contested! {
    Bridge: bridge::Contested,
    Pod: pod::Contested,
    Route: Route,
    Rules: firewall::Unreadable,
    Forwarding: forwarding::Unguardable,
    Addresses: Intruder,
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
    /// Something foreign in the place of an object.
    pub fn new(object: impl Into<Contested>, found: impl Into<String>) -> Self {
        Self {
            object: object.into(),
            found: found.into(),
        }
    }

    /// The conflicts to name one by one, and the rest, to count: of those among the addresses of pods a few are named.
    pub fn named<'a>(all: impl IntoIterator<Item = &'a Self>) -> (Vec<&'a Self>, Vec<&'a Self>) {
        let is_intruder = |conflict: &&Self| matches!(conflict.object, Contested::Addresses(_));
        let (mut intruders, mut named): (Vec<_>, Vec<_>) = all.into_iter().partition(is_intruder);
        intruders.sort_by_key(|conflict| conflict.is_harmless());
        let counted = intruders.split_off(intruders.len().min(MOST_NAMED));
        named.extend(intruders);
        (named, counted)
    }

    /// Whether packets of pods pass all the same: the foreign object is in the way of no pod that there can be so far.
    #[must_use]
    pub const fn is_harmless(&self) -> bool {
        matches!(
            self.object,
            Contested::Addresses(Intruder {
                owner: Owner::Nobody,
                ..
            })
        )
    }

    /// What cures it.
    #[must_use]
    pub fn cure(&self) -> String {
        self.object.disputed().cure()
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
    use crate::kernel::IfName;

    #[test]
    fn a_few_of_many_intruders_are_named_and_those_in_blocks_first() {
        let intruder = |number: u8, owner| {
            let range = format!("10.244.{number}.0/25").parse().unwrap();
            Conflict::new(Intruder { range, owner }, "a route")
        };
        let mut all: Vec<_> = (0..9)
            .map(|number| intruder(number, Owner::Nobody))
            .collect();
        all.push(intruder(9, Owner::Node));
        let bridge = bridge::Contested(IfName::bridge());
        all.push(Conflict::new(bridge, "a link"));
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
