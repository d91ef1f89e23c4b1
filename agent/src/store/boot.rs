//! The host's boot.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use podnet_proto::{Boot, NodeId};
use serde::{Deserialize, Serialize};

use super::file::{self, StoreError};
use super::kind::Kind;

const KIND: Kind = Kind::Boot;

/// The longest number of a boot that is read, in bytes; the kernel's has 37.
const MAX_KERNEL_ID: u64 = 256;

#[derive(Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) boot: Boot,
    /// The kernel's own number of the boot, in case the run directory outlives a boot.
    pub(super) kernel: String,
}

/// Reads the number of this boot from the run directory, or draws it if there is none yet. If the
/// kernel has booted since, whatever else the run directory holds is of another boot, and is
/// removed.
///
/// # Errors
/// When a file is damaged or another node's, or the file system refuses.
pub fn read_boot(run_dir: &Path, kernel_boot_id: &Path, node: NodeId) -> Result<Boot, StoreError> {
    let kernel = read_kernel(kernel_boot_id)?;
    let path = run_dir.join(KIND.as_str());
    match file::read::<Content>(&path, KIND, Some(node)) {
        Ok(Some(content)) if content.kernel == kernel => return Ok(content.boot),
        // The file is of another boot: the run directory is a leftover.
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    new_boot(run_dir, kernel_boot_id, node)
}

/// Draws a new number for this boot, and removes whatever else the run directory holds of podnet's:
/// after a node has left a cluster, its old number must never be used again.
///
/// # Errors
/// When the file system refuses.
pub fn new_boot(run_dir: &Path, kernel_boot_id: &Path, node: NodeId) -> Result<Boot, StoreError> {
    let kernel = read_kernel(kernel_boot_id)?;
    super::run::empty(run_dir)?;
    let boot = Boot(rand::random());
    file::write_until_reboot(
        &run_dir.join(KIND.as_str()),
        KIND,
        node,
        &Content { boot, kernel },
    )?;
    Ok(boot)
}

/// The kernel's number of its boot.
fn read_kernel(path: &Path) -> Result<String, StoreError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_KERNEL_ID).read_to_string(&mut text))
        .map_err(StoreError::io("read", path))?;
    let number = text.trim();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_graphic()) {
        let error = io::Error::new(io::ErrorKind::InvalidData, "it holds no number of a boot");
        return Err(StoreError::io("read", path)(error));
    }
    Ok(number.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NODE: NodeId = NodeId::from_bytes([1; 16]);

    #[test]
    fn a_boot_outlives_the_agent_but_not_the_kernel() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("boot_id");
        fs::write(&kernel, "one\n").unwrap();
        let first = read_boot(dir.path(), &kernel, NODE).unwrap();
        assert_eq!(read_boot(dir.path(), &kernel, NODE).unwrap(), first);
        fs::write(&kernel, "two\n").unwrap();
        let second = read_boot(dir.path(), &kernel, NODE).unwrap();
        assert_ne!(first, second);
        let third = new_boot(dir.path(), &kernel, NODE).unwrap();
        assert_ne!(second, third);
        assert_eq!(read_boot(dir.path(), &kernel, NODE).unwrap(), third);
    }
}
