//! What is on record of a pod.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::kernel::PodLink;

/// How far a pod has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodRecordState {
    /// It is being attached; an agent that finds this at its start detaches it.
    Attaching,
    /// It is attached.
    Ready,
    /// It is being detached; an agent that finds this at its start goes on.
    Detaching,
    /// Its namespace has vanished.
    Gone,
}

/// A pod of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// How far it has come.
    pub state: PodRecordState,
    /// How it is attached.
    pub link: PodLink,
    /// When it was attached, RFC 3339.
    pub created_at: String,
    /// The addresses of a pod that is gone, which it gets again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_addresses: Vec<Ipv4Addr>,
}
