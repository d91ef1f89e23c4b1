//! What lives as long as the boot: pods, freed addresses, the kernel parameters that podnet changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use podnet_core::kernel::PodLink;
use podnet_proto::{NodeId, PodName};
use serde::{Deserialize, Serialize};

use super::file::{self, StoreError};
use crate::fault;

const PODS: &str = "pods";
const POD: &str = "pod";
const FREED: &str = "freed";
const SYSCTLS: &str = "sysctls";

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

impl PodRecordState {
    /// Whether users see the pod: not before it is attached.
    #[must_use]
    pub const fn is_shown(self) -> bool {
        match self {
            Self::Attaching => false,
            Self::Ready | Self::Detaching | Self::Gone => true,
        }
    }
}

/// A pod of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// How far it has come.
    pub state: PodRecordState,
    /// How it is attached.
    pub link: PodLink,
    /// When it was attached, RFC 3339.
    pub created_at: String,
}

/// The run directory of a node.
#[derive(Debug, Clone)]
pub struct RunDir {
    dir: PathBuf,
    node: NodeId,
}

impl RunDir {
    /// The run directory at `dir`, of this node, without what was being written when the last agent
    /// was killed.
    ///
    /// # Errors
    /// When its folders cannot be made.
    pub fn open(dir: PathBuf, node: NodeId) -> Result<Self, StoreError> {
        let pods = dir.join(PODS);
        fs::create_dir_all(&pods).map_err(StoreError::io("create", &pods))?;
        file::sweep(&dir)?;
        file::sweep(&pods)?;
        Ok(Self { dir, node })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// All pods.
    ///
    /// # Errors
    /// When a record is damaged.
    pub fn pods(&self) -> Result<BTreeMap<PodName, PodRecord>, StoreError> {
        let dir = self.dir.join(PODS);
        let mut pods = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(StoreError::io("list", &dir))? {
            let path = entry.map_err(StoreError::io("list", &dir))?.path();
            if let Some(record) = file::read::<PodRecord>(&path, POD, Some(self.node))? {
                pods.insert(record.link.pod.clone(), record);
            }
        }
        Ok(pods)
    }

    /// Writes a pod's record.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save_pod(&self, record: &PodRecord) -> Result<(), StoreError> {
        file::write_until_reboot(&self.pod(&record.link.pod), POD, self.node, record)
    }

    /// Removes a pod's record.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove_pod(&self, name: &PodName) -> Result<(), StoreError> {
        file::remove(&self.pod(name))
    }

    /// The addresses that pods gave back, the earliest first.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn freed(&self) -> Result<Vec<Ipv4Addr>, StoreError> {
        Ok(file::read(&self.dir.join(FREED), FREED, Some(self.node))?.unwrap_or_default())
    }

    /// Writes the addresses that pods gave back.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save_freed(&self, freed: &[Ipv4Addr]) -> Result<(), StoreError> {
        file::write_until_reboot(&self.dir.join(FREED), FREED, self.node, &freed)
    }

    /// The values that kernel parameters had before podnet changed them, by their path below
    /// `/proc/sys`.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn sysctls(&self) -> Result<BTreeMap<String, String>, StoreError> {
        Ok(file::read(&self.dir.join(SYSCTLS), SYSCTLS, Some(self.node))?.unwrap_or_default())
    }

    /// Writes the values that kernel parameters had before podnet changed them.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save_sysctls(&self, values: &BTreeMap<String, String>) -> Result<(), StoreError> {
        file::write_until_reboot(&self.dir.join(SYSCTLS), SYSCTLS, self.node, values)
    }

    /// Removes everything but the boot number: what a node that has left should not keep.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn clear(&self) -> Result<(), StoreError> {
        empty(&self.dir)
    }

    fn pod(&self, name: &PodName) -> PathBuf {
        self.dir.join(PODS).join(name.as_str())
    }
}

/// Removes everything but the boot number from a run directory.
pub(super) fn empty(run_dir: &Path) -> Result<(), StoreError> {
    let pods = run_dir.join(PODS);
    match fs::remove_dir_all(&pods) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io("remove", &pods)(error)),
    }
    fault::point("removal of the folder of pods");
    fs::create_dir_all(&pods).map_err(StoreError::io("create", &pods))?;
    file::remove(&run_dir.join(FREED))?;
    file::remove(&run_dir.join(SYSCTLS))
}
