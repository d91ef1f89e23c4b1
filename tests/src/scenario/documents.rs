//! The documents that a scenario asks for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnetwork::IpNetwork;
use podnet_proto::ErrorCode;
use podnet_proto::api::{self, PathState, Phase, Pod, Route, Status, TokenResponse};

use super::pcap::GOSSIP_PORT;
use super::waits::LIMIT;
use crate::agent::ask_status;
use crate::node::Node;
use crate::wait::eventually;

/// What has one address of IPv4.
pub trait Address {
    /// That address.
    fn address(&self) -> Ipv4Addr;
}

impl Address for Pod {
    #[track_caller]
    fn address(&self) -> Ipv4Addr {
        let [one] = self.addresses.as_slice() else {
            panic!("not one address: {self:?}");
        };
        v4(one.ip())
    }
}

#[track_caller]
fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is none of IPv4"),
    }
}

/// Where an agent with this address gossips.
#[must_use]
pub fn gossips_at(address: impl Into<IpAddr>) -> SocketAddr {
    (address.into(), GOSSIP_PORT).into()
}

/// Whether a status reports a problem with this code.
#[must_use]
pub fn has_problem(status: &Status, code: ErrorCode) -> bool {
    status.problems.iter().any(|problem| problem.code == code)
}

/// What problems say, a line for each: its message, and its cure.
#[must_use]
pub fn told(problems: &[api::ProblemEntry]) -> String {
    let lines = problems.iter().map(|problem| {
        let cure = problem.hint.as_deref().unwrap_or_default();
        format!("{}; {cure}\n", problem.message)
    });
    lines.collect()
}

/// The peer of this name in a status.
#[must_use]
pub fn peer_of<'status>(status: &'status Status, name: &str) -> Option<&'status api::Node> {
    let named = |peer: &&api::Node| peer.name.as_ref().is_some_and(|n| n.as_str() == name);
    status.peers.iter().find(named)
}

impl Node<'_> {
    /// What `podnetctl status` shows, from where it has it: the control socket. That the two are the
    /// same is a test of its own, and this is asked all the time.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Status {
        match self.status_now() {
            Ok((status, _)) => status,
            Err(error) => panic!("{}: {error}", self.name()),
        }
    }

    /// The same, with the document that it was read from.
    fn status_now(&self) -> Result<(Status, String), String> {
        let document = ask_status(&self.socket())?;
        match serde_json::from_str(&document) {
            Ok(status) => Ok((status, document)),
            Err(error) => Err(format!("{error}: {document}")),
        }
    }

    /// Waits until the status of the node is as wanted, and returns it.
    #[track_caller]
    pub fn status_where(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let what = format!("{}: {what}", self.name());
        let look = || {
            let (status, document) = self.status_now()?;
            if wanted(&status) {
                Ok(status)
            } else {
                Err(document)
            }
        };
        match eventually(LIMIT, &what, look) {
            Ok(status) => status,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until the node is ready and reaches all of its peers, and returns its status.
    #[track_caller]
    pub fn ready(&self, peers: usize) -> Status {
        self.status_where(&format!("ready, {peers} paths ok"), |status| {
            let ok = |peer: &&api::Node| peer.path == Some(PathState::Ok) && peer.live;
            status.phase == Phase::Ready
                && status.reconcile.passes > 0
                && status.peers.len() == peers
                && status.peers.iter().filter(ok).count() == peers
        })
    }

    /// Waits until the reconciler has looked at everything again, `times` times: what is right then
    /// has not been overlooked.
    #[track_caller]
    pub fn passes(&self, times: u64) {
        let before = self.status().reconcile.passes;
        self.status_where("passes of the reconciler", |status| {
            status.reconcile.passes > before + times
        });
    }

    /// The one block of the node.
    #[must_use]
    #[track_caller]
    pub fn block(&self) -> IpNetwork {
        let status = self.status();
        let [block] = status.blocks.as_slice() else {
            panic!("{}: not one block: {status:?}", self.name());
        };
        *block
    }

    /// The one gateway address of the node.
    #[must_use]
    #[track_caller]
    pub fn gateway(&self) -> Ipv4Addr {
        let status = self.status();
        let [gateway] = status.gateways.as_slice() else {
            panic!("{}: not one gateway: {status:?}", self.name());
        };
        v4(*gateway)
    }

    /// The address with the port that the node tells its peers.
    #[must_use]
    #[track_caller]
    pub fn endpoint(&self) -> SocketAddr {
        let node = self.status().node;
        let [endpoint] = node.addresses.as_slice() else {
            panic!("{}: not one address: {node:?}", self.name());
        };
        *endpoint
    }

    /// `podnetctl token show`.
    #[must_use]
    #[track_caller]
    pub fn token(&self) -> TokenResponse {
        self.ask(&["token", "show"])
    }

    /// Waits until the node reports no problem.
    #[track_caller]
    pub fn until_no_problem(&self) {
        self.status_where("no problem", |status| status.problems.is_empty());
    }

    /// The problems that the node reports.
    #[must_use]
    #[track_caller]
    pub fn problems(&self) -> Vec<api::ProblemEntry> {
        self.status().problems
    }

    /// The codes of these problems.
    #[must_use]
    #[track_caller]
    pub fn problem_codes(&self) -> Vec<ErrorCode> {
        self.problems().iter().map(|problem| problem.code).collect()
    }

    /// What the node's problems say: see [`told`].
    #[must_use]
    #[track_caller]
    pub fn problems_told(&self) -> String {
        told(&self.problems())
    }

    /// Waits until a problem of the node says this, and returns what all of them say.
    #[track_caller]
    pub fn until_told(&self, what: &str) -> String {
        self.until_problems(what, |told| told.contains(what))
    }

    /// Waits until no problem of the node says this.
    #[track_caller]
    pub fn until_not_told(&self, what: &str) {
        self.until_problems(&format!("no problem of {what}"), |told| {
            !told.contains(what)
        });
    }

    #[track_caller]
    fn until_problems(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let status = self.status_where(what, |status| wanted(&told(&status.problems)));
        told(&status.problems)
    }

    /// `podnetctl leave`, without a question.
    #[track_caller]
    pub fn leave(&self) -> Status {
        self.ask(&["--yes", "leave"])
    }

    /// `podnetctl nodes`: the members that the node knows of, itself included.
    #[must_use]
    #[track_caller]
    pub fn members(&self) -> Vec<api::Node> {
        self.ask(&["nodes"])
    }

    /// `podnetctl routes`.
    #[must_use]
    #[track_caller]
    pub fn routes(&self) -> Vec<Route> {
        self.ask(&["routes"])
    }

    /// Adds a pod.
    #[track_caller]
    pub fn add_pod(&self, name: &str) -> Pod {
        self.ask(&["pod", "add", name])
    }

    /// Adds a pod with these further words, such as `--pid 4711`.
    #[track_caller]
    pub fn add_pod_with(&self, name: &str, words: &[&str]) -> Pod {
        self.ask(&[&["pod", "add", name], words].concat())
    }

    /// The pod as it is shown now.
    #[must_use]
    #[track_caller]
    pub fn show_pod(&self, name: &str) -> Pod {
        self.ask(&["pod", "show", name])
    }

    /// Removes a pod.
    #[track_caller]
    pub fn remove_pod(&self, name: &str) {
        self.tell(&["pod", "rm", name]);
    }

    /// All pods of the node.
    #[must_use]
    #[track_caller]
    pub fn pods(&self) -> Vec<Pod> {
        self.ask(&["pod", "list"])
    }
}
