//! Enters a pod's network namespace as `ip netns exec` does (ip-netns(8)): with a mount namespace
//! of its own in which /sys shows the pod's devices and files of /etc/netns/NAME lie over those of
//! the same names in /etc.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use podnet_proto::api::Pod;
use podnet_proto::{ApiError, ErrorCode};

/// Where files for single namespaces lie.
const ETC_NETNS: &str = "/etc/netns";

/// Why a namespace cannot be entered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespaceError {
    /// The namespace's file cannot be opened.
    #[error("namespace {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is the caller's own, which no pod has: something else has taken the place of the pod's.
    #[error("namespace {}", path.display())]
    Own {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold the pod's interface: something else has taken the place of the pod's.
    #[error("namespace {}", path.display())]
    Another {
        /// The file.
        path: PathBuf,
        /// The interface that a pod has.
        ifname: String,
    },
    /// The kernel refuses to enter it.
    #[error("namespace {}", path.display())]
    Enter {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// There is no mount namespace to be had.
    #[error("a mount namespace of its own")]
    Unshare(#[source] Errno),
    /// A mount is refused.
    #[error("mount {}", target.display())]
    Mount {
        /// Where.
        target: PathBuf,
        /// Why.
        source: Errno,
    },
}

impl From<NamespaceError> for ApiError {
    fn from(error: NamespaceError) -> Self {
        let (why, kind) = match &error {
            NamespaceError::Open { source, .. } => (source.to_string(), source.kind()),
            NamespaceError::Own { .. } => {
                let why = "it is no pod's, but the one that this command runs in".to_owned();
                (why, io::ErrorKind::InvalidInput)
            }
            NamespaceError::Another { ifname, .. } => {
                let why = format!("it is another one by now: the pod's {ifname} is not in it");
                (why, io::ErrorKind::NotFound)
            }
            // setns(2): the file is not a namespace's, or one of another kind's.
            NamespaceError::Enter { source, .. } if *source == Errno::EINVAL => {
                let why = "it is not a network namespace".to_owned();
                (why, io::ErrorKind::InvalidInput)
            }
            NamespaceError::Enter { source, .. }
            | NamespaceError::Unshare(source)
            | NamespaceError::Mount { source, .. } => {
                (source.desc().to_owned(), io::Error::from(*source).kind())
            }
        };
        let message = format!("{error}: {why}");
        if kind == io::ErrorKind::NotFound {
            Self::new(ErrorCode::NotFound, message)
        } else if kind == io::ErrorKind::PermissionDenied {
            Self::new(ErrorCode::NotPermitted, message)
                .hint("only root may enter namespaces (CAP_SYS_ADMIN)")
        } else {
            Self::new(ErrorCode::Internal, message)
        }
    }
}

/// Moves this process into the namespace of a pod. Gives the mounts that failed and may be done without.
pub(crate) fn enter(pod: &Pod) -> Result<Vec<OverlayFailed>, NamespaceError> {
    let netns = Path::new(&pod.netns);
    let host_end = shown(&pod.host_ifname, "ifindex");
    let file = File::open(netns).map_err(|source| NamespaceError::Open {
        path: netns.to_owned(),
        source,
    })?;
    if is_own(&file).unwrap_or_default() {
        return Err(NamespaceError::Own {
            path: netns.to_owned(),
        });
    }
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|source| NamespaceError::Enter {
        path: netns.to_owned(),
        source,
    })?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(NamespaceError::Unshare)?;
    // Mounts of the host shall still appear here, and none made here on the host.
    mount_at("/", None, None, MsFlags::MS_SLAVE | MsFlags::MS_REC)?;
    mount_sysfs()?;
    let is_the_pods = match host_end {
        Some(host_end) => shown(&pod.ifname, "iflink").as_ref() == Some(&host_end),
        // The pod may just have gone, or this process cannot see the host's devices.
        None => shown(&pod.ifname, "address").as_ref() == Some(&pod.mac),
    };
    if !is_the_pods {
        return Err(NamespaceError::Another {
            path: netns.to_owned(),
            ifname: pod.ifname.clone(),
        });
    }
    Ok(overlay_etc(&Path::new(ETC_NETNS).join(pod.name.as_str())))
}

/// What /sys shows of a device: its number (`ifindex`), that of the other end of its veth pair (`iflink`), or its MAC
/// address (`address`).
fn shown(device: &str, what: &str) -> Option<String> {
    let path = Path::new("/sys/class/net").join(device).join(what);
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim_end().to_owned())
}

/// Whether an open namespace is the one that this process is in.
fn is_own(netns: &File) -> io::Result<bool> {
    let (found, own) = (netns.metadata()?, fs::metadata("/proc/self/ns/net")?);
    Ok((found.dev(), found.ino()) == (own.dev(), own.ino()))
}

/// Mounts /sys anew: a sysfs shows the devices of the namespace that it was mounted in.
fn mount_sysfs() -> Result<(), NamespaceError> {
    const SYS: &str = "/sys";
    let mut flags = MsFlags::empty();
    // If it cannot be taken away, it is covered; the kernel refuses to cover a read-only sysfs
    // with a writable one.
    if umount2(SYS, MntFlags::MNT_DETACH).is_err()
        && statvfs(SYS).is_ok_and(|sys| sys.flags().contains(FsFlags::ST_RDONLY))
    {
        flags |= MsFlags::MS_RDONLY;
    }
    mount_at(SYS, Some(Path::new("podnet")), Some("sysfs"), flags)
}

/// A file of /etc/netns/NAME that could not be laid over its namesake.
#[derive(Debug, thiserror::Error)]
#[error("{} is not in its place in /etc: {why}", path.display())]
pub(crate) struct OverlayFailed {
    path: PathBuf,
    why: String,
}

/// Lays each file of the pod's directory over the one of the same name in /etc.
fn overlay_etc(directory: &Path) -> Vec<OverlayFailed> {
    let failed = |path: &Path, why: String| OverlayFailed {
        path: path.to_owned(),
        why,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![failed(directory, error.to_string())],
    };
    entries
        .filter_map(|entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(failed(directory, error.to_string())),
            };
            let source = entry.path();
            let target = Path::new("/etc").join(entry.file_name());
            mount(
                Some(&source),
                &target,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )
            .err()
            .map(|errno| failed(&source, errno.desc().to_owned()))
        })
        .collect()
}

fn mount_at(
    target: &str,
    source: Option<&Path>,
    kind: Option<&str>,
    flags: MsFlags,
) -> Result<(), NamespaceError> {
    mount(source, target, kind, flags, None::<&str>).map_err(|source| NamespaceError::Mount {
        target: target.into(),
        source,
    })
}
