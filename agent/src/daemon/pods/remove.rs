//! Removing a pod.

use std::collections::VecDeque;
use std::sync::Arc;

use podnet_core::kernel::OpError;
use podnet_core::node::{Response, Ticket};
use podnet_proto::PodName;

use super::{Agent, Done, PodDone, Waiting, no_such_pod};
use crate::daemon::agent::Event;
use crate::daemon::error;
use crate::pods::detach;
use crate::store::PodRecordState;
use crate::vital;

impl Agent {
    /// Removes a pod. Without a ticket it is for the node's leaving.
    pub(in crate::daemon) fn remove_pod(&mut self, name: &PodName, ticket: Option<Ticket>) {
        if let Some(waiting) = self.pods.busy.get_mut(name) {
            waiting.extend(ticket.map(Waiting::Remove));
            return;
        }
        let state = self.pods.records.get(name).map(|record| record.state);
        let removed = match state {
            None => Err(no_such_pod(name)),
            // What has its path now is not podnet's.
            Some(PodRecordState::Gone) => self.drop_record(name),
            Some(PodRecordState::Attaching | PodRecordState::Ready | PodRecordState::Detaching) => {
                return self.start_detach(name, ticket);
            }
        };
        if let Some(ticket) = ticket {
            self.answer(ticket, removed.map(Response::from));
        }
    }

    /// Removes a pod that something was being done to when the node began to leave. One that could
    /// not be removed is tried again when the node is asked again.
    pub(super) fn remove_settled(&mut self, name: &PodName) {
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
        if let Err(store_error) = self.run_dir.save_pod(record) {
            tracing::warn!(pod = %name, error = error::chain(&store_error), "not on record");
        }
        let link = record.link.clone();
        self.pods.busy.insert(name.clone(), VecDeque::new());
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        let name = name.clone();
        vital::spawn(async move {
            let done = Done::Detached(detach(dataplane.as_ref(), &link).await);
            let done = PodDone { name, done, ticket };
            let _ = events.send(Event::PodDone(Box::new(done))).await;
        });
    }

    pub(super) fn detached(
        &mut self,
        name: &PodName,
        result: Result<(), OpError>,
        ticket: Option<Ticket>,
    ) {
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
                let api_error = error::op(&op_error);
                let unremoved = &mut self.pods.unremoved;
                unremoved.insert(name.clone(), api_error.clone());
                Err(api_error)
            }
        };
        if let Some(ticket) = ticket {
            self.answer(ticket, result.map(Response::from));
        }
    }
}
