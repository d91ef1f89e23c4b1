//! What a lab writes down about itself, so that a later call can go on with it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::process::ProcessId;

/// What a lab was asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How many nodes it has.
    pub nodes: u8,
    /// How many subnets they are spread over.
    pub subnets: u8,
    /// Whether the nodes form a cluster from the start.
    pub join: bool,
    /// The `--encapsulation` of the cluster, when one was asked for.
    pub encapsulation: Option<String>,
    /// Whether the nodes have agents.
    pub agents: bool,
    /// Whether the nodes' file systems are made without overlays.
    pub mirrors: bool,
    /// The agents' configuration file.
    pub config: String,
    /// What the agents find in their environment, besides what every lab sets.
    pub environment: BTreeMap<String, String>,
}

/// The record of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this file.
    pub version: u32,
    /// What it was asked to be.
    pub plan: Plan,
    /// The process with which the lab ends, if there is one.
    pub owner: Option<ProcessId>,
    /// Whether its start came to an end.
    pub complete: bool,
    /// How many nodes it has got since, as clones of others.
    pub clones: u8,
}

impl Record {
    /// How many nodes it has now.
    #[must_use]
    pub fn size(&self) -> u8 {
        self.plan.nodes.saturating_add(self.clones)
    }
}

/// The version of [`Record`] that this program writes.
pub const RECORD_VERSION: u32 = 2;

/// Reads a file; `None` when there is none.
///
/// # Errors
/// [`LabError::System`] when it cannot be read, [`LabError::Record`] when it does not parse.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LabError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(LabError::system(format!("reading {}", path.display()), e)),
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| LabError::Record {
            path: path.to_owned(),
            source,
        })
}

/// Writes a file as a whole: who reads it meanwhile sees the old one or the new one.
///
/// # Errors
/// [`LabError::System`] with the path.
pub fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), LabError> {
    let failed = |e: io::Error| LabError::system(format!("writing {}", path.display()), e);
    let text = serde_json::to_vec_pretty(value).map_err(|source| LabError::Record {
        path: path.to_owned(),
        source,
    })?;
    let draft = path.with_extension("new");
    fs::write(&draft, text).map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)
}
