//! What lives as long as the boot: pods, freed addresses, the kernel parameters that podnet changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use podnet_core::kernel::{IfName, forwarding_device, forwarding_path};
use podnet_core::node::PodRecord;
use podnet_proto::{NodeId, PodName};

use super::file::{self, StoreError};
use super::kind::Kind;

const PODS: &str = "pods";
const POD: Kind = Kind::Pod;
const FREED: Kind = Kind::Freed;
const SYSCTLS: Kind = Kind::Sysctls;

/// The switch that earlier versions turned on, below `/proc/sys`.
const SWITCH: &str = "net/ipv4/ip_forward";

/// The value of a kernel parameter that was off before podnet turned it on.
const OFF: &str = "0";

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
    /// When its folder for pods cannot be made, or a file is damaged: better now than when its
    /// content is needed.
    pub fn open(dir: PathBuf, node: NodeId) -> Result<Self, StoreError> {
        make_pods(&dir)?;
        file::sweep(&dir)?;
        sweep_pods(&dir)?;
        let run_dir = Self { dir, node };
        run_dir.freed()?;
        run_dir.sysctls()?;
        Ok(run_dir)
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
        for path in list(&dir)? {
            if let Some(record) = file::read::<PodRecord>(&path, POD, Some(self.node))? {
                let pod = record.link.pod.clone();
                if path != self.pod(&pod) {
                    return Err(file::corrupt(&path, POD, &format!("it is of pod {pod}")));
                }
                pods.insert(pod, record);
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
        Ok(file::read(&self.path_of(FREED), FREED, Some(self.node))?.unwrap_or_default())
    }

    /// Writes the addresses that pods gave back.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save_freed(&self, freed: &[Ipv4Addr]) -> Result<(), StoreError> {
        file::write_until_reboot(&self.path_of(FREED), FREED, self.node, &freed)
    }

    /// The devices that podnet has opened: what came in by them was not forwarded before.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn opened(&self) -> Result<BTreeSet<IfName>, StoreError> {
        let was_off = self.sysctls()?.into_iter().filter(|(_, was)| was == OFF);
        Ok(was_off
            .filter_map(|(path, _)| forwarding_device(&path))
            .collect())
    }

    /// Whether an earlier version of podnet has made this host a router.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn switched(&self) -> Result<bool, StoreError> {
        Ok(self.sysctls()?.get(SWITCH).is_some_and(|was| was == OFF))
    }

    /// Writes which devices podnet has opened.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save_opened(&self, opened: &BTreeSet<IfName>) -> Result<(), StoreError> {
        let mut values = self.sysctls()?;
        values.retain(|path, was| was != OFF || forwarding_device(path).is_none());
        let opened = opened.iter().map(forwarding_path);
        values.extend(opened.map(|path| (path, OFF.to_owned())));
        file::write_until_reboot(&self.path_of(SYSCTLS), SYSCTLS, self.node, &values)
    }

    /// The values that kernel parameters had before podnet changed them, by their path below
    /// `/proc/sys`.
    fn sysctls(&self) -> Result<BTreeMap<String, String>, StoreError> {
        Ok(file::read(&self.path_of(SYSCTLS), SYSCTLS, Some(self.node))?.unwrap_or_default())
    }

    /// Removes everything but the boot number: what a node that has left should not keep.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn clear(&self) -> Result<(), StoreError> {
        empty(&self.dir).map(drop)
    }

    fn pod(&self, name: &PodName) -> PathBuf {
        self.dir.join(PODS).join(name.as_str())
    }

    fn path_of(&self, kind: Kind) -> PathBuf {
        self.dir.join(kind.as_str())
    }
}

/// What is in a directory, sorted.
fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut paths: Vec<PathBuf> = entries
        .map_err(StoreError::io("list", dir))?
        .iter()
        .map(fs::DirEntry::path)
        .collect();
    paths.sort();
    Ok(paths)
}

fn make_pods(run_dir: &Path) -> Result<(), StoreError> {
    let pods = run_dir.join(PODS);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&pods)
        .map_err(StoreError::io("create", &pods))
}

/// Removes from the folder of pods what was being written when the last agent was killed.
fn sweep_pods(run_dir: &Path) -> Result<(), StoreError> {
    for path in list(&run_dir.join(PODS))? {
        if file::is_unfinished(&path) {
            file::remove(&path)?;
        }
    }
    Ok(())
}

/// Removes everything but the boot number from a run directory; what podnet did not write stays.
pub(super) fn empty(run_dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    make_pods(run_dir)?;
    let of_pods = list(&run_dir.join(PODS))?.into_iter();
    let others = [FREED, SYSCTLS].map(|kind| run_dir.join(kind.as_str()));
    let mut removed = Vec::new();
    for path in of_pods.chain(others) {
        removed.extend(remove_ours(path)?);
    }
    Ok(removed)
}

/// Removes the boot number too.
pub(super) fn forget_boot(run_dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut removed = empty(run_dir)?;
    removed.extend(remove_ours(run_dir.join(Kind::Boot.as_str()))?);
    Ok(removed)
}

/// Removes a file, if podnet wrote it. Says whether it did.
fn remove_ours(path: PathBuf) -> Result<Option<PathBuf>, StoreError> {
    if !file::is_state_file(&path) {
        return Ok(None);
    }
    file::remove(&path)?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::from_bytes([1; 16]);

    #[test]
    fn only_what_podnet_wrote_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(dir.path().to_owned(), NODE).unwrap();
        run_dir.save_freed(&[]).unwrap();
        let pods = dir.path().join(PODS);
        for name in ["other", "other.log"] {
            fs::write(pods.join(name), "another's").unwrap();
        }
        fs::write(pods.join("red.new"), "").unwrap();
        fs::write(dir.path().join("sysctls"), "another's").unwrap();
        assert_eq!(
            empty(dir.path()).unwrap(),
            [pods.join("red.new"), dir.path().join("freed")]
        );
        assert_eq!(fs::read_dir(&pods).unwrap().count(), 2);
        assert!(matches!(run_dir.pods(), Err(StoreError::Corrupt { .. })));
        let opened = RunDir::open(dir.path().to_owned(), NODE);
        assert!(matches!(opened, Err(StoreError::Corrupt { .. })));
    }

    /// What an earlier version has left on record is not lost.
    #[test]
    fn the_devices_that_podnet_opened_are_on_record_beside_the_switch() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(dir.path().to_owned(), NODE).unwrap();
        assert!(run_dir.opened().unwrap().is_empty() && !run_dir.switched().unwrap());
        let before = [
            ("net/ipv4/conf/all/accept_redirects", "0"),
            ("net/ipv4/conf/tun0/forwarding", "1"),
            (SWITCH, "0"),
        ];
        let before: BTreeMap<&str, &str> = before.into_iter().collect();
        let path = dir.path().join("sysctls");
        file::write_until_reboot(&path, SYSCTLS, NODE, &before).unwrap();
        for devices in [&["eth0", "eth1.7"][..], &["eth1.7"], &[]] {
            let opened: BTreeSet<IfName> = devices.iter().map(|d| d.parse().unwrap()).collect();
            run_dir.save_opened(&opened).unwrap();
            assert_eq!(run_dir.opened().unwrap(), opened);
            assert!(run_dir.switched().unwrap());
        }
        let left = run_dir.sysctls().unwrap();
        assert_eq!(left.len(), before.len(), "{left:?}");
    }
}
