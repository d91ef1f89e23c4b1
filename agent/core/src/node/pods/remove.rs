//! Removing a pod.

use crate::kernel::OpError;
use crate::node::{Response, Ticket};
use podnet_proto::{ApiError, PodName};

use super::{Doing, Node, Waiting, no_such_pod};
use crate::node::effect::{Effect, Write};
use crate::node::error;
use crate::node::pods::PodRecordState;

impl Node {
    /// Removes a pod: without a ticket since the node is to leave.
    pub(in crate::node) fn remove_pod(&mut self, name: &PodName, ticket: Option<Ticket>) {
        if self.pods.is_busy(name) {
            if let Some(ticket) = ticket {
                self.pods.wait(name, Waiting::Remove(ticket));
            }
            return;
        }
        let state = self.pods.records.get(name).map(|record| record.state);
        match state {
            None => {
                if let Some(ticket) = ticket {
                    self.answer(ticket, Err(no_such_pod(name)));
                }
            }
            // What is at the path of its namespace now is not podnet's.
            Some(PodRecordState::Gone) => self.forget_recorded(name, ticket),
            Some(PodRecordState::Attaching | PodRecordState::Ready | PodRecordState::Detaching) => {
                self.start_detach(name, ticket);
            }
        }
    }

    /// Removes a pod that something was being done to when the node began to leave. A pod that could
    /// not be removed is tried again when the user asks the node again to leave.
    pub(super) fn remove_settled(&mut self, name: &PodName) {
        if self.pods.unremoved.contains_key(name) {
            return;
        }
        let state = self.pods.records.get(name).map(|record| record.state);
        match state {
            Some(PodRecordState::Ready | PodRecordState::Gone) => self.remove_pod(name, None),
            Some(PodRecordState::Attaching | PodRecordState::Detaching) | None => {}
        }
    }

    pub(super) fn start_detach(&mut self, name: &PodName, ticket: Option<Ticket>) {
        let Some(record) = self.pods.records.get_mut(name) else {
            return;
        };
        record.state = PodRecordState::Detaching;
        let record = record.clone();
        let detach = Effect::Detach(Box::new(record.link.clone()));
        let note = Effect::Note(Write::Pod(Box::new(record)));
        self.effects.extend([note, detach]);
        self.pods.begin(name.clone(), Doing::Detach(ticket));
    }

    pub(super) fn detached(
        &mut self,
        name: &PodName,
        result: Result<(), OpError>,
        ticket: Option<Ticket>,
    ) {
        match result {
            Ok(()) => {
                if let Some(record) = self.pods.records.get(name) {
                    let link = record.link.clone();
                    self.free(&link);
                }
                tracing::info!(pod = %name, "a pod is detached");
                self.forget_recorded(name, ticket);
            }
            Err(op_error) => {
                tracing::warn!(pod = %name, error = %op_error, "a pod cannot be detached");
                let api_error = error::op(&op_error);
                let unremoved = &mut self.pods.unremoved;
                unremoved.insert(name.clone(), api_error.clone());
                if let Some(ticket) = ticket {
                    self.answer(ticket, Err(api_error));
                }
            }
        }
    }

    /// Removes the record of a pod of which nothing else is left.
    fn forget_recorded(&mut self, name: &PodName, ticket: Option<Ticket>) {
        self.effects.push(Effect::Store(Write::NoPod(name.clone())));
        self.pods.begin(name.clone(), Doing::Forget(ticket));
    }

    /// The record of a pod is removed, or cannot be.
    pub(super) fn forgotten(
        &mut self,
        name: &PodName,
        result: Result<(), ApiError>,
        ticket: Option<Ticket>,
    ) {
        match &result {
            Ok(()) => self.forget_pod(name),
            Err(api_error) => {
                self.pods.unremoved.insert(name.clone(), api_error.clone());
            }
        }
        if let Some(ticket) = ticket {
            self.answer(ticket, result.map(Response::from));
        }
    }

    pub(super) fn forget_pod(&mut self, name: &PodName) {
        self.pods.records.remove(name);
        self.pods.unremoved.remove(name);
    }
}
