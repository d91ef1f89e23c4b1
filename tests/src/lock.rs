//! One `up` or `down` at a time.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use crate::dir::LabDir;
use crate::error::LabError;
use crate::wait::eventually;

/// As long as the start of a large lab takes.
const LOCK_LIMIT: Duration = Duration::from_secs(120);

/// The right to build a lab or to take it down, as a lock on its directory. It ends with the
/// process that has it.
#[derive(Debug)]
pub(crate) struct LabLock {
    _dir: File,
}

impl LabLock {
    /// Waits for the lock. `None` when there is no such directory, or not any more.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when somebody else keeps it.
    pub(crate) fn acquire(dir: &LabDir) -> Result<Option<Self>, LabError> {
        let path = dir.path();
        eventually(LOCK_LIMIT, &format!("lock of lab '{}'", dir.name()), || {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(e.to_string()),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err("somebody else has it".to_owned()),
                Err(TryLockError::Error(e)) => return Err(e.to_string()),
            }
            // Whoever had the lock before may have removed the directory, and another made it anew.
            match (file.metadata(), path.metadata()) {
                (Ok(ours), Ok(now)) if (ours.dev(), ours.ino()) == (now.dev(), now.ino()) => {
                    Ok(Some(Self { _dir: file }))
                }
                _ => Err("it was taken down meanwhile".to_owned()),
            }
        })
    }
}
