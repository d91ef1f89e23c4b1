//! The run directory of a lab: all that a lab leaves in the host's own file system.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::LabError;
use crate::name::{LabName, Member};

/// Where labs are, unless `PODNET_LAB_DIR` says otherwise.
const DEFAULT_BASE: &str = "/run/podnet-lab";

/// The name of a member's [`MemberDir::private`].
const PRIVATE: &str = "private";

/// The longest path of a unix socket (`sun_path` of unix(7), without the final NUL).
const MAX_SOCKET_PATH_LEN: usize = 107;

/// The run directory of one lab.
#[derive(Debug, Clone)]
pub struct LabDir {
    base: PathBuf,
    name: LabName,
}

impl LabDir {
    /// The directory of a lab, whether it exists or not.
    ///
    /// # Errors
    /// [`LabError::Unsupported`] when the base cannot hold a lab: its path goes into mount options
    /// and socket addresses.
    pub fn of(name: LabName) -> Result<Self, LabError> {
        let dir = Self { base: base(), name };
        let unsupported = |why: &str| LabError::Unsupported {
            what: format!("lab directory {}: {why}", dir.base.display()),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if !dir.base.is_absolute() || !dir.base.to_string_lossy().chars().all(plain) {
            return Err(unsupported(
                "must be an absolute path of letters, digits and ./_-",
            ));
        }
        let longest = dir.member(Member::Node(u8::MAX)).socket();
        if longest.as_os_str().len() > MAX_SOCKET_PATH_LEN {
            return Err(unsupported("too long for a socket below it"));
        }
        Ok(dir)
    }

    /// The names of all labs that have a directory.
    ///
    /// # Errors
    /// [`LabError::System`] when the base cannot be read.
    pub fn all() -> Result<Vec<LabName>, LabError> {
        let base = base();
        let entries = match fs::read_dir(&base) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(LabError::system(format!("reading {}", base.display()), e)),
        };
        let mut names: Vec<LabName> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(names)
    }

    /// The name of the lab.
    #[must_use]
    pub fn name(&self) -> &LabName {
        &self.name
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.base.join(self.name.as_str())
    }

    /// The file that says what the lab consists of.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.path().join("lab.json")
    }

    /// The source of a mount that each mount namespace of the lab has, and no other: what is
    /// recognised by it belongs to the lab, whatever else is lost.
    #[must_use]
    pub fn marker(&self) -> String {
        format!("podnet-lab:{}", self.path().display())
    }

    /// The part of one member.
    #[must_use]
    pub fn member(&self, member: Member) -> MemberDir {
        MemberDir {
            path: self.path().join(member.to_string()),
        }
    }

    /// Makes the directory.
    ///
    /// # Errors
    /// [`LabError::NotPermitted`] without root.
    pub fn create(&self) -> Result<(), LabError> {
        create_dir(&self.path())
    }

    /// Removes the directory, and the base with the last of them.
    ///
    /// # Errors
    /// [`LabError::System`] when something in it resists.
    pub fn remove(&self) -> Result<(), LabError> {
        remove_dir(&self.path())?;
        // Refused while another lab is in it, and then it is right to stay.
        let _ = fs::remove_dir(&self.base);
        Ok(())
    }
}

fn base() -> PathBuf {
    env::var_os("PODNET_LAB_DIR").map_or_else(|| PathBuf::from(DEFAULT_BASE), PathBuf::from)
}

/// Makes a directory and those above it.
///
/// # Errors
/// [`LabError::System`] with the path.
pub(crate) fn create_dir(path: &Path) -> Result<(), LabError> {
    fs::create_dir_all(path).map_err(|e| LabError::system(format!("making {}", path.display()), e))
}

/// Removes a directory with all that is in it, if it is there.
///
/// # Errors
/// [`LabError::System`] when something in it resists.
pub(crate) fn remove_dir(path: &Path) -> Result<(), LabError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(LabError::system(format!("removing {}", path.display()), e)),
    }
}

/// Removes all that is in a directory. The directory itself may be mounted somewhere.
///
/// # Errors
/// [`LabError::System`] when something in it resists.
pub(crate) fn empty_dir(path: &Path) -> Result<(), LabError> {
    let failed = |e: io::Error| LabError::system(format!("emptying {}", path.display()), e);
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        } else {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// The part of the run directory that belongs to one member.
#[derive(Debug, Clone)]
pub struct MemberDir {
    path: PathBuf,
}

impl MemberDir {
    /// A part by its path, for the process that holds the namespaces.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which process holds the namespaces.
    #[must_use]
    pub fn holder(&self) -> PathBuf {
        self.path.join("holder.json")
    }

    /// Which process is the agent.
    #[must_use]
    pub fn agent(&self) -> PathBuf {
        self.path.join("agent.json")
    }

    /// What the agent has written to stderr, over all its runs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("agent.log")
    }

    /// `/var/lib/podnet` of the node.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// `/run/podnet` of the node.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// `/etc/podnet` of the node.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.path.join("etc")
    }

    /// The agent's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run().join("podnet.sock")
    }

    /// Stands for `/proc/sys/kernel/random/boot_id`, which all nodes would share.
    #[must_use]
    pub fn boot_id(&self) -> PathBuf {
        self.path.join("boot_id")
    }

    /// Stands for the identity of the machine, which all nodes would share.
    #[must_use]
    pub fn machine_id(&self) -> PathBuf {
        self.path.join("machine_id")
    }

    /// Where the member mounts the file system that its private directories are on; empty to
    /// everybody else.
    #[must_use]
    pub fn private(&self) -> PathBuf {
        self.path.join(PRIVATE)
    }

    /// How the path of [`Self::private`] ends, for each member another way. The kernel tells it
    /// without the symbolic links that the path before it may have.
    pub(crate) fn private_end(member: Member) -> PathBuf {
        Path::new(&member.to_string()).join(PRIVATE)
    }

    /// What the node has on its disk besides state and configuration of the agent.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.path.join("disk")
    }

    /// The copy of the state directory that a rollback goes back to.
    #[must_use]
    pub fn saved(&self) -> PathBuf {
        self.path.join("saved")
    }

    /// The MTU of the member's `eth0`, once it was set.
    #[must_use]
    pub fn mtu(&self) -> PathBuf {
        self.path.join("mtu.json")
    }
}
