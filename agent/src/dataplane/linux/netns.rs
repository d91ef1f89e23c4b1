//! Network namespaces: entered by threads that end at once, never by one that is used for anything
//! else.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, fstatfs};
use podnet_core::kernel::NetnsState;
use tokio::runtime;

use super::errno::{Errno, KernelError};
use super::socket::Socket;
use super::thread::on_thread;
use crate::fault;

/// The network namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// The file system of namespaces (`NSFS_MAGIC` in `linux/magic.h`).
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// The mode of the file that a namespace is mounted on: it is of no use by itself.
const MADE_MODE: u32 = 0o444;

/// An open network namespace.
#[derive(Debug)]
pub(super) struct Netns {
    file: File,
    inode: u64,
}

impl Netns {
    /// Opens what a path leads to; `None` where that is no network namespace.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        // A path may lead to anything, and to open a FIFO or a device has effects: it is looked at
        // unopened first (`O_PATH` in open(2)).
        let found = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
            .open(path)?;
        if fstatfs(&found)?.filesystem_type() != NSFS_MAGIC {
            return Ok(None);
        }
        let file = File::open(format!("/proc/thread-self/fd/{}", found.as_raw_fd()))?;
        if !is_netns(&file) {
            return Ok(None);
        }
        let inode = file.metadata()?.ino();
        Ok(Some(Self { file, inode }))
    }

    /// The number of the calling thread's namespace.
    pub(super) fn own_inode() -> io::Result<u64> {
        Ok(fs::metadata(OWN)?.ino())
    }

    /// The namespace's number.
    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    /// Does work inside of the namespace.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, KernelError> {
        let file = self.file.try_clone()?;
        on_thread(move || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
        .await?
    }
}

/// Whether a path could not be opened since there is nothing that it leads to.
fn leads_nowhere(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

/// Whether a file of the file system of namespaces, where alone the number of the ioctl is known to
/// mean this, is a network namespace (`ioctl_ns(2)`).
fn is_netns(file: &File) -> bool {
    #[expect(unsafe_code, reason = "no crate asks a namespace for its kind")]
    // SAFETY: the descriptor is open, and this ioctl has no argument.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A network namespace, and a netlink socket inside of it.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) netns: Netns,
    pub(super) socket: Socket,
}

/// What was found, or made, at a path.
#[derive(Debug)]
pub(super) enum Entered {
    /// A namespace that was there.
    Found(Inside),
    /// A namespace that was not there before.
    Made(Inside),
}

/// Opens the namespace that a path leads to, and a socket inside.
pub(super) async fn enter(
    path: &Path,
    driver: &runtime::Handle,
) -> Result<Option<Inside>, KernelError> {
    let entered = enter_and(path, driver, || ()).await?;
    Ok(entered.map(|(inside, ())| inside))
}

/// As [`enter`], and does work inside of the namespace on the way.
pub(super) async fn enter_and<R: Send + 'static>(
    path: &Path,
    driver: &runtime::Handle,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<Option<(Inside, R)>, KernelError> {
    let (path, driver) = (path.to_owned(), driver.clone());
    on_thread(move || {
        let entered = open_inside(&path, &driver)?;
        Ok(entered.map(|inside| (inside, work())))
    })
    .await?
}

/// Does work inside of the namespace that a path leads to, if it is still the one of this number.
pub(super) async fn work_in(
    path: &Path,
    inode: u64,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), KernelError> {
    let path = path.to_owned();
    on_thread(move || {
        match Netns::open(&path) {
            Ok(Some(netns)) if netns.inode == inode => {
                setns(&netns, CloneFlags::CLONE_NEWNET)?;
                work();
            }
            Ok(_) => {}
            Err(error) if leads_nowhere(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })
    .await?
}

/// Opens the namespace that a path leads to, or makes one there, and a socket inside.
pub(super) async fn enter_or_make(
    path: &Path,
    driver: &runtime::Handle,
) -> Result<Entered, KernelError> {
    let (path, driver) = (path.to_owned(), driver.clone());
    on_thread(move || match open_inside(&path, &driver)? {
        Some(found) => Ok(Entered::Found(found)),
        None => make(&path, &driver).map(Entered::Made),
    })
    .await?
}

fn open_inside(path: &Path, driver: &runtime::Handle) -> Result<Option<Inside>, KernelError> {
    match Netns::open(path) {
        Ok(Some(netns)) => {
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            let socket = Socket::route(driver)?;
            Ok(Some(Inside { netns, socket }))
        }
        Ok(None) => Ok(None),
        Err(error) if leads_nowhere(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes a namespace and mounts it at a path, as `ip netns add` does. The calling thread stays in it.
fn make(path: &Path, driver: &runtime::Handle) -> Result<Inside, KernelError> {
    if let Some(directory) = path.parent() {
        share(directory)?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MADE_MODE)
        .open(path)?;
    fault::point("file of a namespace");
    let made = populate(path, driver);
    if made.is_err() {
        // The first error counts.
        let _ = remove(path);
    }
    made
}

fn populate(path: &Path, driver: &runtime::Handle) -> Result<Inside, KernelError> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    fault::point("namespace");
    mount(
        Some(OWN),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    fault::point("mount of a namespace");
    let netns = Netns::open(path)?.ok_or(KernelError::Incomplete("namespace"))?;
    let socket = Socket::route(driver)?;
    Ok(Inside { netns, socket })
}

/// Makes a directory a shared mount, so that what is mounted in it is seen in other mount
/// namespaces, and what is unmounted is not kept alive by them.
fn share(directory: &Path) -> Result<(), KernelError> {
    // Under any umask, the mode that `ip netns` gives it.
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)?;
    // Two at once would mount it onto itself twice; `ip netns` locks the same way.
    let lock = Flock::lock(File::open(directory)?, FlockArg::LockExclusive);
    let _lock = lock.map_err(|(_, errno)| errno)?;
    let shared = || {
        let flags = MsFlags::MS_SHARED;
        let shared = mount(None::<&str>, directory, None::<&str>, flags, None::<&str>);
        fault::point("propagation of the directory of namespaces");
        shared
    };
    match shared() {
        // It is not a mount point yet.
        Err(nix::errno::Errno::EINVAL) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(
                Some(directory),
                directory,
                None::<&str>,
                flags,
                None::<&str>,
            )?;
            fault::point("mount of the directory of namespaces");
            Ok(shared()?)
        }
        result => Ok(result?),
    }
}

/// Whether a path leads to what podnet may remove as a namespace that it made: a namespace other
/// than the host's, nothing, or what is left where the maker died.
pub(super) async fn is_removable(path: &Path, own_inode: u64) -> Result<bool, KernelError> {
    let path = path.to_owned();
    on_thread(move || {
        Ok(match state(&path, own_inode)? {
            NetnsState::Missing | NetnsState::Netns { .. } => true,
            NetnsState::NotANetns => half_made(&path),
            NetnsState::Host => false,
        })
    })
    .await?
}

/// Whether a path leads to the file that a namespace was to be mounted on.
fn half_made(path: &Path) -> bool {
    let mounted = |file: &Metadata| {
        let directory = path
            .parent()
            .and_then(|directory| fs::metadata(directory).ok());
        directory.is_none_or(|directory| directory.dev() != file.dev())
    };
    fs::symlink_metadata(path).is_ok_and(|file| {
        file.is_file() && file.len() == 0 && file.mode() & 0o777 == MADE_MODE && !mounted(&file)
    })
}

/// Unmounts and removes a namespace that podnet made; what is gone already is no error.
pub(super) async fn delete(path: &Path) -> Result<(), KernelError> {
    let path = path.to_owned();
    on_thread(move || remove(&path)).await?
}

fn remove(path: &Path) -> Result<(), KernelError> {
    match umount2(path, MntFlags::MNT_DETACH) {
        // Not mounted (any more).
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    fault::point("unmount of a namespace");
    let removed = fs::remove_file(path).map_err(KernelError::from);
    fault::point("removal of the file of a namespace");
    match removed {
        Err(error) if !error.is(Errno::NotFound) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What a path leads to. That it must not be looked at is no answer: it may be a namespace.
pub(super) fn state(path: &Path, own_inode: u64) -> Result<NetnsState, KernelError> {
    match Netns::open(path) {
        Ok(Some(netns)) if netns.inode == own_inode => Ok(NetnsState::Host),
        Ok(Some(netns)) => Ok(NetnsState::Netns { inode: netns.inode }),
        Ok(None) => Ok(NetnsState::NotANetns),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(NetnsState::Missing),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error.into()),
        // A namespace can be opened; what cannot is none.
        Err(_) => Ok(NetnsState::NotANetns),
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

    use super::*;

    /// Whoever waits for a FIFO to be opened is not woken. (Before Linux 6.10, what is opened by
    /// `O_PATH` was reported as well.)
    #[test]
    fn what_is_no_namespace_is_looked_at_unopened() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let events = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        events
            .add_watch(file.path(), AddWatchFlags::IN_OPEN)
            .unwrap();
        assert_eq!(state(file.path(), 0).unwrap(), NetnsState::NotANetns);
        assert_eq!(events.read_events().err(), Some(nix::errno::Errno::EAGAIN));
        File::open(file.path()).unwrap();
        assert!(events.read_events().is_ok());
    }
}
