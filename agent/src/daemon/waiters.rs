//! The clients that wait for an answer.

use std::collections::BTreeMap;

use podnet_core::node::{Answer, Ticket};
use tokio::sync::oneshot;

/// The clients that wait for an answer, by the ticket of their request.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next: u64,
    waiting: BTreeMap<Ticket, oneshot::Sender<Answer>>,
}

impl Waiters {
    /// Gives a ticket to a client that waits.
    pub(super) fn admit(&mut self, answer: oneshot::Sender<Answer>) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.insert(ticket, answer);
        ticket
    }

    /// Sends an answer. If its client has gone, the answer is dropped.
    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(waiting) = self.waiting.remove(&ticket) {
            drop(waiting.send(answer));
        }
    }

    /// The requests whose clients have gone.
    pub(super) fn abandoned(&mut self) -> Vec<Ticket> {
        let abandoned = self
            .waiting
            .extract_if(.., |_, waiting| waiting.is_closed());
        abandoned.map(|(ticket, _)| ticket).collect()
    }
}
