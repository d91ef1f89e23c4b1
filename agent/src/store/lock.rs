//! One agent on a state directory.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::file::StoreError;

/// The name of the file that is locked.
pub(super) const NAME: &str = "lock";

/// The lock on a directory of state files: a record lock (fcntl(2)), of which the kernel reports the process
/// that holds it. It ends with the process, however that ends, and nothing is written.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Locks a directory, which must exist.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another agent holds it.
    pub fn acquire(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        match fcntl(&file, FcntlArg::F_SETLK(&whole_file())) {
            Ok(_) => Ok(Self { _file: file }),
            Err(Errno::EACCES | Errno::EAGAIN) => Err(StoreError::Locked {
                path: dir.to_owned(),
                pid: holder(&file),
            }),
            Err(errno) => Err(StoreError::io("lock", &path)(errno.into())),
        }
    }
}

/// A write lock on all of a file.
fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// The process that holds the lock, if the kernel reports it.
fn holder(file: &File) -> Option<i32> {
    let mut lock = whole_file();
    fcntl(file, FcntlArg::F_GETLK(&mut lock)).ok()?;
    (lock.l_pid > 0).then_some(lock.l_pid)
}
