//! Signs that this node's state, or another's, is not what it was: rolled-back disks, clones, namesakes.

use std::net::SocketAddrV4;

use podnet_proto::api::Severity;
use podnet_proto::ledger::Slot;
use podnet_proto::{ApiError, ErrorCode, NodeId};

use super::membership::Membership;
use crate::claim::Muted;

/// Signs that this node's state, or another's, is not what it was.
pub(super) fn distrust(membership: &Membership, machine_known: bool) -> Vec<(Severity, ApiError)> {
    let mut found = Vec::new();
    match membership.muted {
        Some(Muted::Twin { address }) => found.push((Severity::Error, twin(address))),
        Some(Muted::Behind { node, slot }) => {
            found.push((Severity::Error, behind(membership, node, slot)));
        }
        Some(Muted::Listening) | None => {}
    }
    if !membership.refused.is_empty() {
        found.push((Severity::Error, contradicted(membership)));
    }
    for namesake in membership.namesakes() {
        let name = &membership.member.name;
        let other = membership.place(namesake);
        let message = format!("node name {name}: {other} bears it too");
        let api_error = ApiError::new(ErrorCode::Exists, message)
            .hint("let one of the two leave, and join again with --node-name NAME");
        found.push((Severity::Error, api_error));
    }
    if !machine_known {
        let message =
            "this machine has no id: a clone of its disk cannot be told from the original";
        let api_error = ApiError::new(ErrorCode::Unsupported, message)
            .hint("run 'podnetd reset --new-identity' on every clone before its agent starts");
        found.push((Severity::Warning, api_error));
    }
    found
}

fn twin(address: SocketAddrV4) -> ApiError {
    let message = format!(
        "this node's identity is in use at {address} too: this host does not use its block while \
         the other is alive"
    );
    ApiError::new(ErrorCode::Fenced, message).hint(
        "run 'podnetd reset --new-identity' on the one that is a clone, while its agent is \
         stopped, and join again",
    )
}

/// A voter whose disk was rolled back.
fn behind(membership: &Membership, node: NodeId, slot: Slot) -> ApiError {
    let own = membership.ledger().map_or(0, |ledger| ledger.slot);
    let other = membership.place(node);
    let message = format!(
        "this node's ledger ends at decision {own}, and {other} knows decision {slot}: its disk \
         was rolled back; no node can join or leave until the members have shown it the rest"
    );
    ApiError::new(ErrorCode::StateCorrupt, message)
        .hint("let podnetd run on most of the nodes; never restore an older state on this one")
}

fn contradicted(membership: &Membership) -> ApiError {
    let by = membership
        .refused
        .iter()
        .map(|node| membership.place(*node));
    let message = format!(
        "the ledger of {} contradicts this node's own: a disk was rolled back, or somebody \
         who has the token lies",
        by.collect::<Vec<_>>().join(", ")
    );
    ApiError::new(ErrorCode::StateCorrupt, message).hint(
        "compare 'podnetctl nodes' on the nodes; reset those that are wrong with 'podnetd reset \
         --new-identity' while their agents are stopped, and join again",
    )
}
