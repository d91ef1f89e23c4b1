//! Adding a pod.

use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use ipnetwork::{IpNetwork, Ipv4Network};
use podnet_core::kernel::{IfName, Kind, Kinds, MacAddr, Mtu, Netns, PodLink, host_ifname};
use podnet_core::podip::Taken;
use podnet_proto::api::{Pod, PodRequest};
use podnet_proto::network::gateway;
use podnet_proto::{ApiError, ErrorCode, PodName};

use super::{Agent, Done, PodAnswer, PodDone, Waiting, no_such_pod};
use crate::control::Answer;
use crate::daemon::agent::Event;
use crate::daemon::error;
use crate::pods::{AttachError, attach};
use crate::store::{PodRecord, PodRecordState};
use crate::vital;

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

impl Agent {
    pub(in crate::daemon) fn add_pod(&mut self, request: &PodRequest, answer: Answer<Pod>) {
        match self.plan_pod(request) {
            Ok(Planned::Early) => self.pods.early.push((request.clone(), answer)),
            Ok(Planned::Wait(name)) => {
                let waiting = self.pods.busy.entry(name).or_default();
                waiting.push_back(Waiting::Add(request.clone(), answer));
            }
            Ok(Planned::There(pod)) => drop(answer.send(Ok(*pod))),
            Ok(Planned::Attach { link, taken }) => self.start_attach(*link, taken, answer),
            Err(api_error) => drop(answer.send(Err(api_error))),
        }
    }

    /// Goes on with the pods that were asked for before the node's bridge stood.
    pub(in crate::daemon) fn add_early_pods(&mut self) {
        for (request, answer) in std::mem::take(&mut self.pods.early) {
            // Whoever has given up does not expect a pod.
            if !answer.is_closed() {
                self.add_pod(&request, answer);
            }
        }
    }

    /// Decides what a request for a pod comes to. Takes an address where it comes to a new pod.
    fn plan_pod(&mut self, request: &PodRequest) -> Result<Planned, ApiError> {
        let name: PodName = request
            .name
            .parse()
            .map_err(|invalid| ApiError::new(ErrorCode::BadName, format!("pod name: {invalid}")))?;
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
        if self.pods.busy.contains_key(&name) {
            return Ok(Planned::Wait(name));
        }
        if let Some(record) = self.pods.records.get(&name) {
            match record.state {
                // Nothing is left of it but its record.
                PodRecordState::Gone => {}
                PodRecordState::Attaching | PodRecordState::Ready | PodRecordState::Detaching => {
                    let there = &record.link.netns;
                    // A container that restarts comes with another namespace.
                    if record.state == PodRecordState::Ready && has_vanished(there) {
                        self.clear_away(name.clone());
                        return Ok(Planned::Wait(name));
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
        if netns.made && netns.path.symlink_metadata().is_ok() {
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

    /// Takes an address: the one that a pod of this name had before it was gone, if it is free still.
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
            (None, None) => (self.config.netns_dir.join(name.as_str()), true),
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
        let Some(membership) = &self.membership else {
            return Err(self.not_member(&format!("pod {name}")));
        };
        if self.is_leaving() {
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

    fn start_attach(&mut self, link: PodLink, taken: Taken, answer: Answer<Pod>) {
        let name = link.pod.clone();
        let record = PodRecord {
            state: PodRecordState::Attaching,
            link: link.clone(),
            created_at: jiff::Timestamp::now().to_string(),
            last_addresses: Vec::new(),
        };
        // On record before anything is made: whatever happens, the next agent finds it.
        if let Err(store_error) = self.run_dir.save_pod(&record) {
            self.undo(taken);
            drop(answer.send(Err(error::store(&store_error))));
            return;
        }
        let namespaces = if link.netns.made {
            Vec::new()
        } else {
            self.pods.namespaces()
        };
        let gone = self.pods.records.insert(name.clone(), record);
        self.pods.busy.insert(name.clone(), VecDeque::new());
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        vital::spawn(async move {
            let result = attach(dataplane.as_ref(), &link, taken.reused, &namespaces).await;
            let gone = gone.map(Box::new);
            let done = PodDone {
                name,
                done: Done::Attached {
                    result,
                    taken,
                    gone,
                },
                answer: PodAnswer::Add(answer),
            };
            let _ = events.send(Event::PodDone(Box::new(done))).await;
        });
    }

    pub(super) fn attached(
        &mut self,
        name: &PodName,
        result: Result<u64, AttachError>,
        taken: Taken,
        gone: Option<Box<PodRecord>>,
        answer: PodAnswer,
    ) {
        let result = match result {
            Ok(inode) => self.record_attached(name, inode),
            Err(attach_error) => {
                let op_error = match attach_error {
                    AttachError::Refused(op_error) => {
                        self.undo(taken);
                        op_error
                    }
                    AttachError::Failed(op_error) => {
                        if let Some(record) = self.pods.records.get(name) {
                            let link = record.link.clone();
                            self.free(&link);
                        }
                        op_error
                    }
                };
                tracing::warn!(pod = %name, error = %op_error, "a pod cannot be attached");
                let undone = match gone {
                    Some(gone) => self.put_back(*gone),
                    None => self.drop_record(name),
                };
                Err(undone.err().unwrap_or_else(|| error::op(&op_error)))
            }
        };
        if let PodAnswer::Add(answer) = answer {
            drop(answer.send(result));
        }
    }

    /// Lists a gone pod again, as it was before somebody tried to add it anew.
    fn put_back(&mut self, gone: PodRecord) -> Result<(), ApiError> {
        let saved = self.run_dir.save_pod(&gone);
        self.pods.records.insert(gone.link.pod.clone(), gone);
        saved.map_err(|e| error::store(&e))
    }

    fn record_attached(&mut self, name: &PodName, inode: u64) -> Result<Pod, ApiError> {
        let record = self
            .pods
            .records
            .get_mut(name)
            .ok_or_else(|| no_such_pod(name))?;
        record.link.netns.inode = Some(inode);
        record.state = PodRecordState::Ready;
        if let Err(store_error) = self.run_dir.save_pod(record) {
            let api_error = error::store(&store_error);
            self.start_detach(name, PodAnswer::Nobody);
            return Err(api_error);
        }
        let record = &self.pods.records[name];
        if self
            .reconciling
            .mtu
            .is_some_and(|mtu| mtu != record.link.mtu)
        {
            self.reconciling.want(Kinds::from([Kind::HostEnds]));
        }
        let addresses: Vec<_> = record
            .link
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        tracing::info!(pod = %name, addresses = %addresses.join(", "), "a pod is attached");
        Ok(self.show_pod(record))
    }

    fn no_block_yet(&self, name: &PodName) -> ApiError {
        no_block(name).hint(format!(
            "wait until 'podnetctl status' shows the phase ready; it is {} now",
            self.phase()
        ))
    }
}

/// Whether a pod's namespace is not there any more. The kernel tells of that a moment later.
fn has_vanished(netns: &Netns) -> bool {
    match netns.path.metadata() {
        Ok(found) => netns.inode.is_some_and(|inode| inode != found.ino()),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

fn no_block(name: &PodName) -> ApiError {
    ApiError::new(
        ErrorCode::NoQuorum,
        format!("pod {name}: this node has no block of the pod network yet"),
    )
}
