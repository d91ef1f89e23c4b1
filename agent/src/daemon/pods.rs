//! Pods: which there are, and one thing at a time for each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnetwork::{IpNetwork, Ipv4Network};
use podnet_core::kernel::{
    IfName, MacAddr, Mtu, Netns, Op, OpError, OpErrorKind, PodLink, host_ifname,
};
use podnet_core::podip::Pool;
use podnet_proto::api::{Pod, PodRequest, PodState};
use podnet_proto::network::gateway;
use podnet_proto::{ApiError, ErrorCode, PodName};

use super::agent::{Agent, Event};
use super::error;
use crate::control::{Answer, Request};
use crate::pods::{attach, detach};
use crate::store::{PodRecord, PodRecordState, StoreError};

/// The MTU of pods while that of the underlay is not known: Ethernet's (RFC 894).
const DEFAULT_MTU: Mtu = Mtu(1500);

/// The pods of this node.
#[derive(Default)]
pub(super) struct Pods {
    pub(super) records: BTreeMap<PodName, PodRecord>,
    /// Addresses of the block that the node uses.
    pool: Option<Pool>,
    /// Pods that something is being done to, and what was asked of them meanwhile.
    busy: BTreeMap<PodName, VecDeque<Request>>,
}

impl Pods {
    /// The pods that the kernel should hold.
    pub(super) fn attached(&self) -> Vec<PodLink> {
        let ready = |(name, record): &(&PodName, &PodRecord)| {
            record.state == PodRecordState::Ready && !self.busy.contains_key(*name)
        };
        self.records
            .iter()
            .filter(ready)
            .map(|(_, record)| record.link.clone())
            .collect()
    }

    /// The pods that something is being done to, by host end, with their addresses.
    pub(super) fn in_flight(&self) -> BTreeMap<IfName, BTreeSet<IpAddr>> {
        self.busy
            .keys()
            .filter_map(|name| self.records.get(name))
            .map(|record| {
                let addresses = record.link.addresses.iter().map(IpNetwork::ip).collect();
                (record.link.host_ifname.clone(), addresses)
            })
            .collect()
    }

    fn by_host_end(&self, host_ifname: &IfName) -> Option<&PodRecord> {
        self.records
            .values()
            .find(|record| record.link.host_ifname == *host_ifname)
    }
}

/// What was done to a pod.
enum Done {
    Attached(Result<u64, OpError>),
    Repaired(Result<(), OpError>),
    Detached(Result<(), OpError>),
}

/// Something that was done to a pod has ended.
pub(super) struct PodDone {
    name: PodName,
    done: Done,
    answer: PodAnswer,
}

/// Who waits for it.
enum PodAnswer {
    Nobody,
    Add(Answer<Pod>),
    Remove(Answer<()>),
}

impl Agent {
    /// Reads the pods of this boot. Those that were being attached or detached when the last
    /// process ended are detached.
    pub(super) fn load_pods(&mut self) -> Result<(), StoreError> {
        self.pods.records = self.run_dir.pods()?;
        let unfinished: Vec<PodName> = self
            .pods
            .records
            .iter()
            .filter(|(_, record)| match record.state {
                PodRecordState::Attaching | PodRecordState::Detaching => true,
                PodRecordState::Ready | PodRecordState::Gone => false,
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in unfinished {
            tracing::warn!(pod = %name, "the last agent did not finish with this pod: removing it");
            self.start_detach(&name, PodAnswer::Nobody);
        }
        Ok(())
    }

    /// Sets up the pool of a block that the node begins to use.
    pub(super) fn use_block(&mut self, block: Ipv4Network) {
        let used = self
            .pods
            .records
            .values()
            .flat_map(|record| v4_addresses(&record.link));
        let freed = self.run_dir.freed().unwrap_or_else(|store_error| {
            tracing::warn!(
                error = error::chain(&store_error),
                "freed addresses are not known"
            );
            Vec::new()
        });
        self.pods.pool = Some(Pool::new(block, used, freed));
    }

    /// Forgets all pods: the node has left.
    pub(super) fn forget_pods(&mut self) {
        self.pods = Pods::default();
    }

    pub(super) fn pod_list(&self) -> Vec<Pod> {
        let shown = self
            .pods
            .records
            .values()
            .filter(|record| record.state.is_shown());
        shown.map(|record| self.show_pod(record)).collect()
    }

    pub(super) fn pod(&self, name: &PodName) -> Result<Pod, ApiError> {
        let record = self
            .pods
            .records
            .get(name)
            .filter(|record| record.state.is_shown());
        record
            .map(|record| self.show_pod(record))
            .ok_or_else(|| no_such_pod(name))
    }

    fn show_pod(&self, record: &PodRecord) -> Pod {
        let link = &record.link;
        let state = match record.state {
            PodRecordState::Gone => PodState::Gone,
            PodRecordState::Attaching | PodRecordState::Ready | PodRecordState::Detaching => {
                let using = self
                    .membership
                    .as_ref()
                    .and_then(|membership| membership.block());
                let own = |address| using.is_some_and(|block| block.contains(address));
                if v4_addresses(link).all(own) {
                    PodState::Ready
                } else {
                    PodState::Fenced
                }
            }
        };
        Pod {
            name: link.pod.clone(),
            node: self.node_name(),
            state,
            addresses: link.addresses.clone(),
            gateways: link.gateways.clone(),
            mac: link.mac.to_string(),
            mtu: link.mtu.0,
            netns: link.netns.path.display().to_string(),
            ifname: link.ifname.to_string(),
            host_ifname: link.host_ifname.to_string(),
            created_at: record.created_at.clone(),
            labels: BTreeMap::new(),
        }
    }

    pub(super) fn add_pod(&mut self, request: &PodRequest, answer: Answer<Pod>) {
        match self.plan_pod(request) {
            Ok(Planned::Wait(name)) => {
                let waiting = self.pods.busy.entry(name).or_default();
                waiting.push_back(Request::AddPod(request.clone(), answer));
            }
            Ok(Planned::There(pod)) => drop(answer.send(Ok(*pod))),
            Ok(Planned::Attach { link, reused }) => self.start_attach(*link, reused, answer),
            Err(api_error) => drop(answer.send(Err(api_error))),
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
        if self.pods.busy.contains_key(&name) {
            return Ok(Planned::Wait(name));
        }
        if let Some(record) = self.pods.records.get(&name) {
            match record.state {
                PodRecordState::Gone => self.drop_record(&name)?,
                PodRecordState::Attaching | PodRecordState::Ready | PodRecordState::Detaching => {
                    let there = &record.link.netns;
                    if (&there.path, there.made) == (&netns.path, netns.made) {
                        return Ok(Planned::There(Box::new(self.show_pod(record))));
                    }
                    let at = there.path.display();
                    return Err(ApiError::new(
                        ErrorCode::Exists,
                        format!("pod {name}: it exists already, in the namespace {at}"),
                    )
                    .hint(format!("remove it first with 'podnetctl pod rm {name}'")));
                }
            }
        }
        let pool = self.pods.pool.as_mut().ok_or_else(|| no_block(&name))?;
        let taken = pool.take().map_err(|full| {
            ApiError::new(ErrorCode::Full, format!("pod {name}: {full}"))
                .hint("remove pods that are not needed with 'podnetctl pod rm'")
        })?;
        let link = self.pod_link(name, netns, block, taken.address);
        Ok(Planned::Attach {
            link: Box::new(link),
            reused: taken.reused,
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
        if !path.is_absolute() {
            return Err(ApiError::new(
                ErrorCode::Usage,
                format!("pod {name}: the path of a namespace must be absolute"),
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
        }
    }

    fn start_attach(&mut self, link: PodLink, reused: bool, answer: Answer<Pod>) {
        let name = link.pod.clone();
        let record = PodRecord {
            state: PodRecordState::Attaching,
            link: link.clone(),
            created_at: jiff::Timestamp::now().to_string(),
        };
        // On record before anything is made: whatever happens, the next agent finds it.
        if let Err(store_error) = self.run_dir.save_pod(&record) {
            self.free(&link);
            drop(answer.send(Err(error::store(&store_error))));
            return;
        }
        let taken: Vec<u64> = self
            .pods
            .records
            .values()
            .filter_map(|other| other.link.netns.inode)
            .collect();
        self.pods.records.insert(name.clone(), record);
        self.pods.busy.insert(name.clone(), VecDeque::new());
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        tokio::spawn(async move {
            let done = Done::Attached(attach(dataplane.as_ref(), &link, reused, &taken).await);
            let done = PodDone {
                name,
                done,
                answer: PodAnswer::Add(answer),
            };
            let _ = events.send(Event::PodDone(Box::new(done))).await;
        });
    }

    /// Removes a pod. Without an answer it is for the node's leaving.
    pub(super) fn remove_pod(&mut self, name: PodName, answer: Option<Answer<()>>) {
        if let Some(waiting) = self.pods.busy.get_mut(&name) {
            if let Some(answer) = answer {
                waiting.push_back(Request::RemovePod(name, answer));
            }
            return;
        }
        let answer = answer.map_or(PodAnswer::Nobody, PodAnswer::Remove);
        if self.pods.records.contains_key(&name) {
            self.start_detach(&name, answer);
        } else if let PodAnswer::Remove(answer) = answer {
            drop(answer.send(Err(no_such_pod(&name))));
        }
    }

    fn start_detach(&mut self, name: &PodName, answer: PodAnswer) {
        let Some(record) = self.pods.records.get_mut(name) else {
            return;
        };
        record.state = PodRecordState::Detaching;
        if let Err(store_error) = self.run_dir.save_pod(record) {
            tracing::warn!(pod = %name, error = error::chain(&store_error), "not on record");
        }
        let link = record.link.clone();
        self.pods.busy.insert(name.clone(), VecDeque::new());
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        let name = name.clone();
        tokio::spawn(async move {
            let done = Done::Detached(detach(dataplane.as_ref(), &link).await);
            let done = PodDone { name, done, answer };
            let _ = events.send(Event::PodDone(Box::new(done))).await;
        });
    }

    /// Carries out what a pass found to be wrong with a pod, unless something is being done to it
    /// anyway.
    pub(super) fn repair_pod(&mut self, op: Op) {
        let Some(host_ifname) = op.host_end().cloned() else {
            return;
        };
        let Some(record) = self.pods.by_host_end(&host_ifname) else {
            // A host end of no pod: left by an agent that lost its run directory.
            let dataplane = Arc::clone(&self.dataplane);
            tokio::spawn(async move {
                for error in dataplane
                    .apply(&[op])
                    .await
                    .into_iter()
                    .filter_map(Result::err)
                {
                    tracing::warn!(%host_ifname, %error, "a stray host end stays");
                }
            });
            return;
        };
        let name = record.link.pod.clone();
        if record.state != PodRecordState::Ready || self.pods.busy.contains_key(&name) {
            return;
        }
        tracing::warn!(pod = %name, %op, "others have changed a pod");
        self.pods.busy.insert(name.clone(), VecDeque::new());
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        tokio::spawn(async move {
            let result = dataplane.apply(&[op]).await.into_iter().collect();
            let done = Done::Repaired(result);
            let done = PodDone {
                name,
                done,
                answer: PodAnswer::Nobody,
            };
            let _ = events.send(Event::PodDone(Box::new(done))).await;
        });
    }

    /// The namespace of a pod has vanished: its addresses are free again. The pod stays listed
    /// until somebody removes it.
    pub(super) fn pod_gone(&mut self, host_ifname: &IfName) {
        let Some(record) = self.pods.by_host_end(host_ifname) else {
            return;
        };
        let name = record.link.pod.clone();
        if record.state != PodRecordState::Ready || self.pods.busy.contains_key(&name) {
            return;
        }
        tracing::warn!(pod = %name, "the namespace of a pod has vanished");
        let link = record.link.clone();
        self.free(&link);
        if let Some(record) = self.pods.records.get_mut(&name) {
            record.state = PodRecordState::Gone;
            record.link.addresses.clear();
            if let Err(store_error) = self.run_dir.save_pod(record) {
                tracing::warn!(pod = %name, error = error::chain(&store_error), "not on record");
            }
        }
    }

    pub(super) fn on_pod_done(&mut self, done: PodDone) {
        let PodDone { name, done, answer } = done;
        let waiting = self.pods.busy.remove(&name).unwrap_or_default();
        match done {
            Done::Attached(result) => self.attached(&name, result, answer),
            Done::Detached(result) => self.detached(&name, result, answer),
            Done::Repaired(result) => {
                self.reconciling.totals.operations_total += 1;
                if let Err(op_error) = result {
                    self.reconciling.totals.failed_total += 1;
                    tracing::warn!(pod = %name, error = %op_error, "a pod cannot be repaired");
                }
            }
        }
        for request in waiting {
            match request {
                Request::AddPod(request, answer) => self.add_pod(&request, answer),
                Request::RemovePod(name, answer) => self.remove_pod(name, Some(answer)),
                _ => {}
            }
        }
        self.leave_when_empty();
    }

    fn attached(&mut self, name: &PodName, result: Result<u64, OpError>, answer: PodAnswer) {
        let result = match result {
            Ok(inode) => self.record_attached(name, inode),
            Err(op_error) => {
                tracing::warn!(pod = %name, error = %op_error, "a pod cannot be attached");
                if let Some(record) = self.pods.records.get(name) {
                    let link = record.link.clone();
                    self.free(&link);
                }
                let dropped = self.drop_record(name);
                Err(dropped.err().unwrap_or_else(|| pod_error(&op_error)))
            }
        };
        if let PodAnswer::Add(answer) = answer {
            drop(answer.send(result));
        }
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
        tracing::info!(pod = %name, addresses = ?record.link.addresses, "a pod is attached");
        Ok(self.show_pod(record))
    }

    fn detached(&mut self, name: &PodName, result: Result<(), OpError>, answer: PodAnswer) {
        let result = match result {
            Ok(()) => {
                if let Some(record) = self.pods.records.get(name) {
                    let link = record.link.clone();
                    self.free(&link);
                }
                tracing::info!(pod = %name, "a pod is detached");
                self.drop_record(name)
            }
            Err(op_error) => {
                tracing::warn!(pod = %name, error = %op_error, "a pod cannot be detached");
                Err(pod_error(&op_error))
            }
        };
        if let PodAnswer::Remove(answer) = answer {
            drop(answer.send(result));
        }
    }

    fn drop_record(&mut self, name: &PodName) -> Result<(), ApiError> {
        self.run_dir
            .remove_pod(name)
            .map_err(|e| error::store(&e))?;
        self.pods.records.remove(name);
        Ok(())
    }

    fn free(&mut self, link: &PodLink) {
        let Some(pool) = &mut self.pods.pool else {
            return;
        };
        for address in v4_addresses(link) {
            pool.free(address);
        }
        let freed: Vec<Ipv4Addr> = pool.freed().collect();
        if let Err(store_error) = self.run_dir.save_freed(&freed) {
            tracing::warn!(
                error = error::chain(&store_error),
                "freed addresses not on record"
            );
        }
    }

    fn no_block_yet(&self, name: &PodName) -> ApiError {
        no_block(name).hint(format!(
            "wait until 'podnetctl status' shows the phase ready; it is {:?} now",
            self.phase()
        ))
    }
}

/// What a request for a pod comes to.
enum Planned {
    /// Something is being done to a pod of this name: ask again after that.
    Wait(PodName),
    /// It is there.
    There(Box<Pod>),
    /// It is to be attached.
    Attach { link: Box<PodLink>, reused: bool },
}

fn v4_addresses(link: &PodLink) -> impl Iterator<Item = Ipv4Addr> {
    link.addresses
        .iter()
        .filter_map(|address| match address.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
}

fn no_such_pod(name: &PodName) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("pod {name}: no such pod on this node"),
    )
    .hint("list the pods of this node with 'podnetctl pod list'")
}

fn no_block(name: &PodName) -> ApiError {
    ApiError::new(
        ErrorCode::NoQuorum,
        format!("pod {name}: this node has no block of the pod network yet"),
    )
}

fn pod_error(op_error: &OpError) -> ApiError {
    let api_error = error::op(op_error);
    match op_error.kind {
        // A kernel that lacks something for pods at all is the host's failure; a namespace that
        // cannot be a pod's is bad input.
        OpErrorKind::Exhausted => api_error.hint("the host is out of memory or of table space"),
        _ => api_error,
    }
}
