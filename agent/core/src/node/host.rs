//! Whether this host can be a node.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use crate::advertise::{List, Range, within};
use crate::host::{candidates, overlap};
use crate::kernel::{HostAddress, HostRoute, Kind, Kinds, Observed, ObservedFirewall, Place};
use podnet_proto::{ApiError, ErrorCode, PodNetwork};

/// What of the host decides whether and how it can be a node.
pub(super) struct Host {
    addresses: Vec<HostAddress>,
    routes: Vec<HostRoute>,
    /// Which of the addresses peers may be told.
    range: Range,
}

/// What of the kernel decides whether this host can be a node.
pub(super) fn kinds() -> Kinds {
    Kinds::from([
        Kind::Bridge,
        Kind::Firewall,
        Kind::Underlay,
        Kind::OtherRoutes,
    ])
}

impl Host {
    /// Judges what the kernel holds, before it holds anything of podnet's.
    pub(super) fn judge(observed: Observed, range: Range) -> Result<Self, ApiError> {
        match observed.bridge {
            Some(Place::Foreign(found)) => {
                return Err(ApiError::new(
                    ErrorCode::ForeignObject,
                    format!("link podnet0: {found} has the name of podnet's bridge"),
                )
                .hint("rename or remove it"));
            }
            Some(Place::Ours(_)) => {
                return Err(ApiError::new(
                    ErrorCode::Exists,
                    "link podnet0: this host still carries the network of an earlier membership",
                )
                .hint("remove it with 'podnetd cleanup' while the agent is stopped"));
            }
            Some(Place::Absent) | None => {}
        }
        let backends = observed.firewall.unwrap_or_default();
        check_readable(&backends)?;
        if let Some(found) = backends.iter().flat_map(ObservedFirewall::taken).next() {
            return Err(ApiError::new(
                ErrorCode::ForeignObject,
                format!("{found} has the name of podnet's, and rules that podnet did not make"),
            )
            .hint("rename or remove it"));
        }
        Ok(Self {
            addresses: observed.addresses.unwrap_or_default(),
            routes: observed.host_routes.unwrap_or_default(),
            range,
        })
    }
}

/// Refuses a host with a table that podnet could not change without doing harm.
fn check_readable(backends: &[ObservedFirewall]) -> Result<(), ApiError> {
    let hidden = backends.iter().find_map(|backend| backend.hidden().next());
    match hidden {
        None => Ok(()),
        Some((_, conflict)) => {
            let message = conflict.to_string();
            Err(ApiError::new(ErrorCode::ForeignObject, message).hint(conflict.cure()))
        }
    }
}

impl Host {
    pub(super) fn check_overlap(
        &self,
        networks: &[PodNetwork],
        command: &str,
    ) -> Result<(), ApiError> {
        match overlap(networks, &self.addresses, &self.routes) {
            None => Ok(()),
            Some(overlap) => Err(ApiError::new(ErrorCode::Overlap, overlap.to_string()).hint(
                format!(
                    "choose another pod network, or go on regardless with '{command} --allow-overlap'"
                ),
            )),
        }
    }

    /// The address that peers are told: the one that was asked for, if this host has it; else the
    /// only address in the range, if there is exactly one.
    pub(super) fn advertise(
        &self,
        asked: Option<SocketAddrV4>,
        port: u16,
    ) -> Result<SocketAddrV4, ApiError> {
        if let Some(asked) = asked {
            self.check_local(*asked.ip())?;
            return Ok(asked);
        }
        let may = candidates(&within(self.range, &self.addresses));
        match (&may[..], self.range) {
            ([(only, _)], _) => Ok(SocketAddrV4::new(*only, port)),
            ([], range) if range == Range::default() => Err(ApiError::new(
                ErrorCode::BadAddress,
                "this host has no IPv4 address that peers could reach",
            )
            .hint("give its interface an address, or name one with --advertise")),
            ([], range) => Err(ApiError::new(
                ErrorCode::BadAddress,
                format!(
                    "setting advertise = {range}: this host has no such address; it has {}",
                    self.list()
                ),
            )
            .hint(
                "give its interface one, change podnetd's setting, or name one with --advertise",
            )),
            ([..], _) => Err(ApiError::new(
                ErrorCode::BadAddress,
                format!("this host has several addresses: {}", List(&may)),
            )
            .hint("name the one that peers reach with --advertise ADDR")),
        }
    }

    /// The address that questions to members come from: the one that peers will be told, if that is settled
    /// already; else the kernel chooses.
    pub(super) fn source(&self, asked: Option<SocketAddrV4>) -> Ipv4Addr {
        let set = || {
            let within = (self.range != Range::default()).then(|| self.advertise(None, 0));
            within.and_then(Result::ok)
        };
        let settled = asked.or_else(set);
        settled.map_or(Ipv4Addr::UNSPECIFIED, |address| *address.ip())
    }

    /// The address that peers are told, if a member is reached from `source`: that one, if it is in
    /// the range.
    pub(super) fn advertise_from(
        &self,
        source: Ipv4Addr,
        port: u16,
    ) -> Result<SocketAddrV4, ApiError> {
        if self.range.has(source.into()) {
            return Ok(SocketAddrV4::new(source, port));
        }
        self.advertise(None, port)
    }

    /// Refuses an address that is none of this host's.
    pub(super) fn check_local(&self, address: Ipv4Addr) -> Result<(), ApiError> {
        let own = |found: &HostAddress| found.address.ip() == IpAddr::V4(address);
        if self.addresses.iter().any(own) {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::BadAddress,
            format!("advertised address {address}: no interface of this host has it"),
        )
        .hint(format!("this host has {}", self.list())))
    }

    fn list(&self) -> String {
        List(&candidates(&self.addresses)).to_string()
    }
}
