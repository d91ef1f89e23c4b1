//! Adding a pod.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::kernel::{IfName, MacAddr, Mtu, Netns, PodLink, host_ifname};
use crate::node::{Response, Ticket};
use crate::podip::Taken;
use ipnetwork::{IpNetwork, Ipv4Network};
use podnet_proto::api::{Pod, PodRequest};
use podnet_proto::network::gateway;
use podnet_proto::{ApiError, ErrorCode, PodName};

use super::{Doing, Node, Waiting};
use crate::node::effect::Effect;
use crate::node::event::NetnsSeen;
use crate::node::pods::{PodRecord, PodRecordState};

/// The MTU of pods while that of the underlay is not known: Ethernet's (RFC 894).
const DEFAULT_MTU: Mtu = Mtu(1500);

/// The longest path, in bytes (`PATH_MAX` in `linux/limits.h`, without the final NUL).
const MAX_PATH: usize = 4095;

/// What a request for a pod comes to.
enum Planned {
    /// The node's bridge is about to be made: ask again after that.
    Early,
    /// Something is being done to a pod of this name: ask again after that.
    Wait(PodName),
    /// It is there.
    There(Box<Pod>),
    /// It is to be attached.
    Attach { link: Box<PodLink>, taken: Taken },
}

impl Node {
    /// Begins to add a pod: the answer depends on whether its namespace is there already.
    pub(in crate::node) fn add_pod(&mut self, request: Box<PodRequest>, ticket: Ticket) {
        let (name, path) = match self.netns_of_request(&request) {
            Ok(found) => found,
            Err(api_error) => return self.answer(ticket, Err(api_error)),
        };
        if self.pods.is_busy(&name) {
            return self.pods.wait(&name, Waiting::Add(request, ticket));
        }
        self.pods.begin(name.clone(), Doing::Look(request, ticket));
        self.effects.push(Effect::LookAtNetns(name, path));
    }

    /// The path of the namespace that a request is about: that of the pod if it is there already, else the one
    /// that the request names.
    fn netns_of_request(&self, request: &PodRequest) -> Result<(PodName, PathBuf), ApiError> {
        let name = pod_name(request)?;
        let requested = self.requested_netns(&name, request)?;
        let ready = self.pods.records.get(&name);
        let ready = ready.filter(|record| record.state == PodRecordState::Ready);
        let path = ready.map_or(requested.path, |record| record.link.netns.path.clone());
        Ok((name, path))
    }

    /// Goes on to add a pod, now that its namespace was looked at.
    pub(super) fn add_seen(&mut self, request: Box<PodRequest>, seen: NetnsSeen, ticket: Ticket) {
        match self.plan_pod(&request, seen) {
            Ok(Planned::Early) => self.pods.early.push((request, ticket)),
            Ok(Planned::Wait(name)) => self.pods.wait(&name, Waiting::Add(request, ticket)),
            Ok(Planned::There(pod)) => self.answer(ticket, Ok(Response::Pod(pod))),
            Ok(Planned::Attach { link, taken }) => self.start_attach(*link, taken, ticket),
            Err(api_error) => self.answer(ticket, Err(api_error)),
        }
    }

    /// Goes on with the pods that were asked for before the node's bridge stood.
    pub(in crate::node) fn add_early_pods(&mut self) {
        for (request, ticket) in std::mem::take(&mut self.pods.early) {
            self.add_pod(request, ticket);
        }
    }

    /// Decides what a request for a pod comes to. Takes an address if it comes to a new pod.
    fn plan_pod(&mut self, request: &PodRequest, seen: NetnsSeen) -> Result<Planned, ApiError> {
        let name = pod_name(request)?;
        let netns = self.requested_netns(&name, request)?;
        let block = self.usable_block(&name)?;
        if self.reconciling.desired.bridge.is_none() {
            return match &self.reconciling.blind {
                None => Ok(Planned::Early),
                Some(blind) => Err(ApiError {
                    message: format!("pod {name}: {}", blind.message),
                    ..blind.clone()
                }),
            };
        }
        if self.pods.is_busy(&name) {
            return Ok(Planned::Wait(name));
        }
        if let Some(record) = self.pods.records.get(&name) {
            match record.state {
                // Nothing is left of it but its record.
                PodRecordState::Gone => {}
                PodRecordState::Attaching | PodRecordState::Ready | PodRecordState::Detaching => {
                    let there = &record.link.netns;
                    // A container that restarts comes with another namespace.
                    if record.state == PodRecordState::Ready && has_vanished(there, seen) {
                        self.clear_away(name.clone());
                        return Ok(Planned::Wait(name));
                    }
                    if record.state != PodRecordState::Ready {
                        return Err(ApiError::new(
                            ErrorCode::Exists,
                            format!(
                                "pod {name}: it could not be removed, and a part of it may be left"
                            ),
                        )
                        .hint(format!("try again with 'podnetctl pod rm {name}'")));
                    }
                    let why = if (&there.path, there.made) != (&netns.path, netns.made) {
                        format!("in the namespace {}", there.path.display())
                    } else if record.link.trusted == request.trusted {
                        return Ok(Planned::There(Box::new(self.show_pod(record))));
                    } else if record.link.trusted {
                        "as a trusted one".to_owned()
                    } else {
                        "as one that is not trusted".to_owned()
                    };
                    return Err(ApiError::new(
                        ErrorCode::Exists,
                        format!("pod {name}: it exists already, {why}"),
                    )
                    .hint(format!("remove it first with 'podnetctl pod rm {name}'")));
                }
            }
        }
        // Before it is on record: what is on record and unfinished is podnet's to remove.
        if netns.made && seen.exists {
            let path = netns.path.display();
            return Err(ApiError::new(
                ErrorCode::ForeignObject,
                format!("pod {name}: {path} exists, and podnet did not make it"),
            )
            .hint(format!(
                "choose another name, or attach it with '--netns {path}'"
            )));
        }
        let taken = self.take_address(&name)?;
        let link = PodLink {
            trusted: request.trusted,
            ..self.pod_link(name, netns, block, taken.address)
        };
        Ok(Planned::Attach {
            link: Box::new(link),
            taken,
        })
    }

    /// Takes an address: the one that a pod of this name had before it was gone, if that is still free.
    fn take_address(&mut self, name: &PodName) -> Result<Taken, ApiError> {
        let gone = self.pods.gone();
        let (own, others): (Vec<_>, Vec<_>) = gone.partition(|record| record.link.pod == *name);
        let addresses = |records: Vec<&PodRecord>| -> BTreeSet<Ipv4Addr> {
            let addresses = records
                .into_iter()
                .flat_map(|record| &record.last_addresses);
            addresses.copied().collect()
        };
        let (own, kept) = (addresses(own), addresses(others));
        let pool = self.pods.pool.as_mut().ok_or_else(|| no_block(name))?;
        if let Some(taken) = own.into_iter().find_map(|address| pool.take_again(address)) {
            return Ok(taken);
        }
        pool.take(&kept).map_err(|full| {
            ApiError::new(ErrorCode::Full, format!("pod {name}: {full}"))
                .hint("remove pods that are not needed with 'podnetctl pod rm'")
        })
    }

    fn requested_netns(&self, name: &PodName, request: &PodRequest) -> Result<Netns, ApiError> {
        let (path, made) = match (&request.netns, request.pid) {
            (Some(_), Some(_)) => {
                return Err(ApiError::new(
                    ErrorCode::Usage,
                    format!("pod {name}: give a namespace or a process, not both"),
                ));
            }
            (Some(path), None) => (PathBuf::from(path), false),
            (None, Some(pid)) => (PathBuf::from(format!("/proc/{pid}/ns/net")), false),
            (None, None) => (self.setup.netns_dir.join(name.as_str()), true),
        };
        let length = path.as_os_str().len();
        if !path.is_absolute() || length > MAX_PATH || path.as_os_str().as_bytes().contains(&0) {
            return Err(ApiError::new(
                ErrorCode::Usage,
                format!(
                    "pod {name}: the path of a namespace must be absolute, have at most \
                     {MAX_PATH} bytes, and no NUL among them"
                ),
            ));
        }
        Ok(Netns {
            path,
            made,
            inode: None,
        })
    }

    fn usable_block(&self, name: &PodName) -> Result<Ipv4Network, ApiError> {
        let Some(membership) = self.life.member() else {
            return Err(self.not_member(&format!("pod {name}")));
        };
        if self.is_departing() {
            return Err(ApiError::new(
                ErrorCode::NotMember,
                format!("pod {name}: this node is leaving its cluster"),
            )
            .hint("add it after the node has joined again"));
        }
        membership.block().ok_or_else(|| self.no_block_yet(name))
    }

    fn pod_link(
        &self,
        pod: PodName,
        netns: Netns,
        block: Ipv4Network,
        address: Ipv4Addr,
    ) -> PodLink {
        let ifname = IfName::pod();
        let gateway = gateway(block);
        PodLink {
            host_ifname: host_ifname(&pod, &ifname),
            pod,
            netns,
            ifname,
            mac: MacAddr::of_address(address),
            mtu: self.reconciling.mtu.unwrap_or(DEFAULT_MTU),
            addresses: IpNetwork::new(address.into(), block.prefix())
                .into_iter()
                .collect(),
            gateways: vec![gateway.into()],
            gateway_mac: MacAddr::of_address(gateway),
            trusted: false,
        }
    }

    fn no_block_yet(&self, name: &PodName) -> ApiError {
        no_block(name).hint(format!(
            "wait until 'podnetctl status' shows the phase ready; it is {} now",
            self.phase()
        ))
    }
}

/// Whether a pod's namespace has vanished. The kernel reports that a moment later.
fn has_vanished(netns: &Netns, seen: NetnsSeen) -> bool {
    let another = |found| netns.inode.is_some_and(|inode| inode != found);
    seen.missing || seen.inode.is_some_and(another)
}

fn pod_name(request: &PodRequest) -> Result<PodName, ApiError> {
    let name = request.name.parse();
    name.map_err(|invalid| ApiError::new(ErrorCode::BadName, format!("pod name: {invalid}")))
}

fn no_block(name: &PodName) -> ApiError {
    ApiError::new(
        ErrorCode::NoQuorum,
        format!("pod {name}: this node has no block of the pod network yet"),
    )
}
