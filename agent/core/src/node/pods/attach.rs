//! Attaching a pod: on record first, then in the kernel, then on record as ready.

use podnet_proto::{ApiError, PodName};

use super::{AttachError, Attachment, Doing, Node, PodRecord, PodRecordState};
use crate::kernel::{Kind, Kinds, PodLink};
use crate::node::effect::{Attach, Effect, Write};
use crate::node::{Ticket, error};
use crate::podip::Taken;

impl Node {
    pub(super) fn start_attach(&mut self, link: PodLink, taken: Taken, ticket: Ticket) {
        let name = link.pod.clone();
        let record = PodRecord {
            state: PodRecordState::Attaching,
            link: link.clone(),
            created_at: self.date(),
            last_addresses: Vec::new(),
        };
        let namespaces = if link.netns.made {
            Vec::new()
        } else {
            self.pods.namespaces()
        };
        // The pod is on record before anything is made: whatever happens, the next agent finds it.
        let write = Write::Pod(Box::new(record.clone()));
        self.effects.push(Effect::Store(write));
        let gone = self.pods.records.insert(name.clone(), record);
        let attach = Attach {
            link,
            reused: taken.reused,
            namespaces,
        };
        let planned = Attachment {
            taken,
            gone: gone.map(Box::new),
            ticket,
        };
        self.pods
            .begin(name, Doing::Record(planned, Box::new(attach)));
    }

    /// A new pod is on record: it is attached now.
    pub(super) fn attach_recorded(
        &mut self,
        name: &PodName,
        planned: Attachment,
        attach: Box<Attach>,
    ) {
        self.effects.push(Effect::Attach(attach));
        self.pods.begin(name.clone(), Doing::Attach(planned));
    }

    /// A new pod cannot be put on record: nothing of it was made.
    pub(super) fn forget_unrecorded(&mut self, name: &PodName, planned: Attachment, why: ApiError) {
        self.undo(planned.taken);
        match planned.gone {
            Some(gone) => drop(self.pods.records.insert(name.clone(), *gone)),
            None => drop(self.pods.records.remove(name)),
        }
        self.answer(planned.ticket, Err(why));
    }

    pub(super) fn attached(
        &mut self,
        name: &PodName,
        result: Result<u64, AttachError>,
        planned: Attachment,
    ) {
        match result {
            Ok(inode) => self.record_attached(name, inode, planned.ticket),
            Err(attach_error) => self.not_attached(name, attach_error, planned),
        }
    }

    fn not_attached(&mut self, name: &PodName, attach_error: AttachError, planned: Attachment) {
        let Attachment {
            taken,
            gone,
            ticket,
        } = planned;
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
        let write = match gone {
            // A gone pod is listed again, as it was before the user tried to add it anew.
            Some(gone) => {
                self.pods.records.insert(name.clone(), (*gone).clone());
                Write::Pod(gone)
            }
            None => Write::NoPod(name.clone()),
        };
        let undo = Doing::Undo(ticket, error::op(&op_error));
        self.pods.begin(name.clone(), undo);
        self.effects.push(Effect::Store(write));
    }

    /// The record of a pod that could not be attached is taken back, or cannot be.
    pub(super) fn undone(
        &mut self,
        write: &Write,
        result: Result<(), ApiError>,
        (ticket, why): (Ticket, ApiError),
    ) {
        if let (Write::NoPod(name), Ok(())) = (write, &result) {
            self.forget_pod(name);
        }
        self.answer(ticket, Err(result.err().unwrap_or(why)));
    }

    /// Puts a pod on record as attached, before its request is answered.
    fn record_attached(&mut self, name: &PodName, inode: u64, ticket: Ticket) {
        let Some(record) = self.pods.records.get_mut(name) else {
            return;
        };
        record.link.netns.inode = Some(inode);
        let ready = PodRecord {
            state: PodRecordState::Ready,
            ..record.clone()
        };
        self.effects
            .push(Effect::Store(Write::Pod(Box::new(ready))));
        self.pods.begin(name.clone(), Doing::Settle(ticket));
    }

    /// A pod is on record as attached, or cannot be put there: then it is detached again.
    pub(super) fn settled(&mut self, name: &PodName, result: Result<(), ApiError>, ticket: Ticket) {
        if let Err(api_error) = result {
            self.start_detach(name, None);
            self.answer(ticket, Err(api_error));
            return;
        }
        let Some(record) = self.pods.records.get_mut(name) else {
            return;
        };
        record.state = PodRecordState::Ready;
        let record = record.clone();
        let mtu = self.reconciling.mtu;
        if mtu.is_some_and(|mtu| mtu != record.link.mtu) {
            self.reconciling.want(Kinds::from([Kind::HostEnds]));
        }
        let addresses = record.link.addresses.iter().map(ToString::to_string);
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        tracing::info!(pod = %name, %addresses, "a pod is attached");
        let pod = self.show_pod(&record);
        self.answer(ticket, Ok(pod.into()));
    }
}
