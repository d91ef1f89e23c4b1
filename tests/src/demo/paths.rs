//! Which paths the demo tries, what must be observed on them, and what that comes to. Pure.

use std::net::Ipv4Addr;

use crate::name::Member;
use crate::place::{Place, Pong};

/// What Linux sets in the packets it sends.
const INITIAL_TTL: u8 = 64;

/// Where packets start.
#[derive(Debug)]
pub(super) struct Source<'lab> {
    /// The pod or the node.
    pub(super) place: Place<'lab>,
    /// Its own address.
    pub(super) address: Ipv4Addr,
    /// The address of its node in the pod network.
    pub(super) gateway: Ipv4Addr,
}

/// Where packets arrive.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    /// The pod's node; `None` for the internet.
    pub(super) node: Option<Member>,
}

/// The kind of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    PodToPod,
    NodeToPod,
    PodToInternet,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::PodToPod, Self::NodeToPod, Self::PodToInternet];

    /// What is promised about the source address.
    pub(super) fn promise(self) -> &'static str {
        match self {
            Self::PodToPod => "pods see each other's own addresses",
            Self::NodeToPod => "pods see nodes by their gateway addresses",
            Self::PodToInternet => "the internet sees pods by their nodes' addresses",
        }
    }
}

/// What must be observed on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) kind: Kind,
    /// The source address that arrives.
    pub(super) seen_as: Ipv4Addr,
    /// What is left of the time to live when an answer is back.
    pub(super) ttl: u8,
}

/// What was observed on a path.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) expected: Expected,
    /// The answer to a ping, or why there was none.
    pub(super) pong: Result<Pong, String>,
    /// The address that the receiver saw, or why it did not.
    pub(super) seen_as: Result<Ipv4Addr, String>,
}

/// What must be observed between two places; `None` for a path that is not podnet's.
///
/// Each node that forwards an answer takes one from its time to live: the pod's node, and the
/// sender's, or the router on the way to the internet. On one node the bridge takes nothing.
pub(super) fn expected(source: &Source<'_>, destination: &Destination) -> Option<Expected> {
    let own = source.place.node();
    let from_pod = source.place.pod_name().is_some();
    let local = destination.node == Some(own.member());
    let (kind, seen_as) = match (from_pod, destination.node) {
        (true, Some(_)) => (Kind::PodToPod, source.address),
        (false, Some(_)) => (Kind::NodeToPod, source.gateway),
        (true, None) => (Kind::PodToInternet, own.address()),
        (false, None) => return None,
    };
    let hops = match kind {
        Kind::PodToPod | Kind::NodeToPod if local => 0,
        Kind::PodToPod | Kind::PodToInternet => 2,
        Kind::NodeToPod => 1,
    };
    Some(Expected {
        kind,
        seen_as,
        ttl: INITIAL_TTL - hops,
    })
}

/// What came of a promise.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) promise: String,
    /// How many paths it was checked on.
    pub(super) checked: usize,
    /// An observation that kept it.
    pub(super) example: Option<String>,
    /// The observations that did not.
    pub(super) failures: Vec<String>,
}

/// Holds the observations against the promises.
pub(super) fn verdicts(measured: &[Measured]) -> Vec<Verdict> {
    let of_kind = |kind| {
        measured
            .iter()
            .filter(move |path| path.expected.kind == kind)
    };
    let all: Vec<_> = measured.iter().collect();
    let addresses = Kind::ALL.into_iter().map(|kind| {
        let paths: Vec<_> = of_kind(kind).collect();
        verdict(kind.promise(), &paths, |path| match &path.seen_as {
            Ok(seen) if *seen == path.expected.seen_as => Ok(format!("seen as {seen}")),
            Ok(seen) => Err(format!("seen as {seen}, not {}", path.expected.seen_as)),
            Err(why) => Err(why.clone()),
        })
    });
    let ttl = verdict(
        "answers come back over the hops they should",
        &all,
        |path| match &path.pong {
            Ok(pong) if pong.ttl == path.expected.ttl => Ok(format!("TTL {}", pong.ttl)),
            Ok(pong) => Err(format!("TTL {}, not {}", pong.ttl, path.expected.ttl)),
            Err(why) => Err(why.clone()),
        },
    );
    addresses.chain([ttl]).collect()
}

fn verdict(
    promise: &str,
    paths: &[&Measured],
    check: impl Fn(&Measured) -> Result<String, String>,
) -> Verdict {
    let mut verdict = Verdict {
        promise: promise.to_owned(),
        checked: paths.len(),
        example: None,
        failures: Vec::new(),
    };
    let mut kept = Vec::new();
    for path in paths {
        let name = format!("{} to {}", path.source, path.destination);
        match check(path) {
            Ok(observation) => kept.push((path.expected.ttl, format!("{name}: {observation}"))),
            Err(observation) => verdict.failures.push(format!("{name}: {observation}")),
        }
    }
    // The longest way says the most; a pod that pings itself says little.
    let example = kept.into_iter().min_by_key(|(ttl, _)| *ttl);
    verdict.example = example.map(|(_, text)| text);
    verdict
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn path(seen_as: &str, ttl: u8) -> Measured {
        Measured {
            source: "red".to_owned(),
            destination: "blue".to_owned(),
            expected: Expected {
                kind: Kind::PodToPod,
                seen_as: Ipv4Addr::new(10, 244, 0, 2),
                ttl: 62,
            },
            pong: Ok(Pong {
                round_trip: Duration::from_micros(300),
                ttl,
            }),
            seen_as: Ok(seen_as.parse().unwrap()),
        }
    }

    fn failures(measured: &[Measured]) -> Vec<String> {
        verdicts(measured)
            .into_iter()
            .flat_map(|verdict| verdict.failures)
            .collect()
    }

    #[test]
    fn a_path_as_promised_has_no_failures() {
        assert_eq!(failures(&[path("10.244.0.2", 62)]), [""; 0]);
    }

    #[test]
    fn a_translated_source_or_a_detour_is_a_failure() {
        assert_eq!(
            failures(&[path("192.168.56.11", 61)]),
            [
                "red to blue: seen as 192.168.56.11, not 10.244.0.2",
                "red to blue: TTL 61, not 62"
            ]
        );
    }
}
