//! The file system of a node: the host's, but for the directories that are the node's own.
//!
//! Everything is mounted in the node's own mount namespace. The mount points need not exist on the
//! host and are not made there: `/etc` and `/var/lib` become overlays, `/run` a file system of its
//! own, and what the nodes have to themselves is mounted upon them.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::dir::{MemberDir, create_dir};
use crate::error::LabError;

/// Directories that a node has to itself until it is rebooted, besides those of the agent.
const VOLATILE: &[&str] = &["/run/netns", "/run/wireguard"];
/// Those that it keeps.
const DURABLE: &[&str] = &["/etc/netns", "/etc/cni"];

/// How a directory of the host is shown with changes that stay in the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layering {
    /// As an overlay, where the kernel can; as mirrors elsewhere.
    Overlay,
    /// As a new directory with each entry of the old one mounted into it. New entries stay in the
    /// node, changes of old files reach the host: the second choice, for hosts whose own root is
    /// too deep a stack of overlays for another one.
    Mirrors,
}

/// What a node's file system is made of.
#[derive(Debug)]
pub(crate) struct Mounts {
    /// The source by which the mount namespace is recognised.
    pub(crate) marker: String,
    /// The lab's run directory.
    pub(crate) lab_dir: PathBuf,
    /// The folder with podnet's programs.
    pub(crate) bin_dir: PathBuf,
    /// How `/etc` and `/var/lib` are shown.
    pub(crate) layering: Layering,
}

impl Mounts {
    /// Makes this process's mount namespace that of a node, or of a member without an agent when
    /// `node` is `None`.
    ///
    /// # Errors
    /// [`LabError`] with the mount that failed.
    pub(crate) fn set_up(&self, private: &Path, node: Option<&MemberDir>) -> Result<(), LabError> {
        set("/", None, None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
        create_dir(private)?;
        set(
            private,
            Some(Path::new(&self.marker)),
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=0755"),
        )?;
        mount_sys()?;
        let Some(node) = node else { return Ok(()) };

        for dir in ["/etc", "/var/lib"] {
            self.layer(Path::new(dir), private)?;
        }
        // What the new mounts hide but the node needs is found again through these.
        let kept = [&self.lab_dir, &self.bin_dir].map(|path| (path, File::open(path)));
        let run = make_dir(&private.join("run"), 0o755)?;
        make_dir(&run.join("lock"), 0o1777)?;
        bind(&run, Path::new("/run"))?;
        for (path, file) in kept {
            let file = file.map_err(|e| LabError::system(path.display().to_string(), e))?;
            restore(path, &file)?;
        }
        for (source, target) in [
            (node.run(), "/run/podnet"),
            (node.state(), "/var/lib/podnet"),
            (node.etc(), "/etc/podnet"),
        ] {
            create_dir(Path::new(target))?;
            bind(&source, Path::new(target))?;
        }
        for target in VOLATILE {
            let source = make_dir(&private.join(target.replace('/', "-")), 0o755)?;
            create_dir(Path::new(target))?;
            bind(&source, Path::new(target))?;
        }
        for target in DURABLE {
            let source = node.disk().join(target.trim_start_matches('/'));
            create_dir(&source)?;
            create_dir(Path::new(target))?;
            bind(&source, Path::new(target))?;
        }
        Ok(())
    }

    fn layer(&self, dir: &Path, private: &Path) -> Result<(), LabError> {
        let layer = private.join(format!("layer{}", dir.display()).replace('/', "-"));
        let [upper, work] = ["upper", "work"].map(|name| layer.join(name));
        for path in [&upper, &work] {
            create_dir(path)?;
        }
        match self.layering {
            Layering::Overlay => {
                let options = format!(
                    "lowerdir={},upperdir={},workdir={}",
                    dir.display(),
                    upper.display(),
                    work.display()
                );
                let overlay = Some(Path::new("overlay"));
                set(
                    dir,
                    overlay,
                    Some("overlay"),
                    MsFlags::empty(),
                    Some(&options),
                )
                .or_else(|_| mirror(dir, &upper))
            }
            Layering::Mirrors => mirror(dir, &upper),
        }
    }
}

/// Shows the devices of this network namespace in `/sys`, and the control groups where they were.
fn mount_sys() -> Result<(), LabError> {
    let cgroups = Path::new("/sys/fs/cgroup");
    let kept = File::open(cgroups);
    let sysfs = Some(Path::new("sysfs"));
    set("/sys", sysfs, Some("sysfs"), MsFlags::empty(), None)?;
    match kept {
        Ok(kept) if cgroups.is_dir() => bind(&through(&kept), cgroups),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Mounts each entry of `dir` into `copy`, and that upon `dir`.
fn mirror(dir: &Path, copy: &Path) -> Result<(), LabError> {
    let failed = |e: io::Error| LabError::system(format!("mirroring {}", dir.display()), e);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (original, target) = (entry.path(), copy.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_symlink() {
            let to = fs::read_link(&original).map_err(failed)?;
            symlink(to, &target).map_err(failed)?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&target).map_err(failed)?;
        } else {
            File::create(&target).map_err(failed)?;
        }
        bind(&original, &target)?;
    }
    bind(copy, dir)
}

/// Makes `path` what it was when `file` was opened, unless it still is.
fn restore(path: &Path, file: &File) -> Result<(), LabError> {
    let identity = |m: &fs::Metadata| (m.dev(), m.ino());
    let before = file.metadata().map(|m| identity(&m)).ok();
    if before == path.metadata().map(|m| identity(&m)).ok() {
        return Ok(());
    }
    create_dir(path)?;
    bind(&through(file), path)
}

/// A path to an open file that leads there also where mounts cover its name.
fn through(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// A directory with exactly this mode.
fn make_dir(path: &Path, mode: u32) -> Result<PathBuf, LabError> {
    fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .and_then(|()| {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
        })
        .map_err(|e| LabError::system(format!("making {}", path.display()), e))?;
    Ok(path.to_owned())
}

fn bind(source: &Path, target: &Path) -> Result<(), LabError> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    set(target, Some(source), None, flags, None)
}

fn set(
    target: impl AsRef<Path>,
    source: Option<&Path>,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), LabError> {
    let target = target.as_ref();
    mount(source, target, kind, flags, options)
        .map_err(|errno| LabError::system(format!("mounting {}", target.display()), errno))
}
