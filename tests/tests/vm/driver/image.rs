//! Root images, made on the spot from Debian packages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use podnet_lab::LabError;
use podnet_lab::command::run;
use sha2::{Digest as _, Sha256};

/// How long the making of an image may take on a busy machine.
const MAKE_LIMIT: Duration = Duration::from_secs(1200);

/// How large an image's file system is: room for container images, and sparse.
const SIZE: &str = "4G";

/// The release of Debian.
const SUITE: &str = "bookworm";

/// What a virtual machine needs to boot, and what the suite drives it with.
const NEEDED: &[&str] = &[
    "conntrack",
    "curl",
    "dbus",
    "initramfs-tools",
    "iproute2",
    "iputils-ping",
    "jq",
    "kmod",
    "linux-image-cloud-amd64",
    "linux-image-6.12-cloud-amd64",
    "nftables",
    "procps",
    "qemu-guest-agent",
    "systemd-sysv",
    "tcpdump",
    "udev",
    "zstd",
];

/// Units that would only lengthen each boot.
const MASKED: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
];

/// Files of every image: its initramfs holds what a virtual machine has, its journal outlives it,
/// and packages come from a folder of its own.
const FILES: &[(&str, &str)] = &[
    (
        "etc/initramfs-tools/modules",
        "virtio_pci\nvirtio_blk\nvirtio_net\nvirtio_rng\nvirtio_console\n",
    ),
    (
        "etc/initramfs-tools/conf.d/podnet",
        "MODULES=list\nRESUME=none\n",
    ),
    (
        "etc/systemd/journald.conf.d/podnet.conf",
        "[Journal]\nStorage=persistent\nSyncIntervalSec=5s\n",
    ),
    ("etc/fstab", "/dev/vda / ext4 defaults,noatime 0 0\n"),
    ("etc/machine-id", ""),
];

/// What an image is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    /// Its name, for people.
    pub(crate) name: &'static str,
    /// Packages that are installed, beside those that every image needs.
    pub(crate) installed: &'static [&'static str],
    /// Packages that the image can install by itself, with all that they need.
    pub(crate) offered: &'static [&'static str],
    /// Units that do not start by themselves.
    pub(crate) disabled: &'static [&'static str],
}

/// A kernel that the images can be booted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// That of Debian 12.
    Stable,
    /// That of Debian 13, as Debian 12 offers it beside its own.
    Next,
}

/// An image that is there.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    dir: PathBuf,
}

impl Recipe {
    /// The image of this recipe, made if no earlier run has left it in `cache`.
    pub(crate) fn image(&self, cache: &Path) -> Result<Image, LabError> {
        let script = self.script();
        let digest = Sha256::digest(format!("{script}{FILES:?}{MASKED:?}{SIZE}"));
        let key = data_encoding::HEXLOWER.encode(&digest[..6]);
        let dir = cache.join(format!("{}-{key}", self.name));
        if dir.join("root.img").exists() {
            return Ok(Image { dir });
        }
        println!("making the image '{}' from Debian packages ...", self.name);
        let half_made = cache.join(format!("{}-{key}.new", self.name));
        let failed = |e| LabError::system(format!("writing {}", half_made.display()), e);
        if half_made.exists() {
            fs::remove_dir_all(&half_made).map_err(failed)?;
        }
        lay_out(&half_made.join("files")).map_err(failed)?;
        // In namespaces of its own: what it mounts goes with it, also if it is killed, and never is
        // there when the folder is removed.
        let mut shell = Command::new("unshare");
        shell
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-euc",
                &script,
            ])
            .current_dir(&half_made);
        run(&mut shell, "", MAKE_LIMIT)?.success(&format!("making the image '{}'", self.name))?;
        fs::rename(&half_made, &dir).map_err(failed)?;
        Ok(Image { dir })
    }

    /// What makes it: Debian's own tools, one call each.
    fn script(&self) -> String {
        let installed = [NEEDED, self.installed].concat().join(",");
        let offered = self.offered.join(" ");
        let disabled = self.disabled.join(" ");
        format!(
            r#"
# The host's own sources if they are of the same release: they may be of a mirror nearby.
sources=
if grep -qs {SUITE} /etc/apt/sources.list.d/debian.sources; then sources=/etc/apt/sources.list.d/debian.sources; fi
mmdebstrap --quiet --mode=root --variant=minbase \
  --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/podnet/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --include={installed} \
  --essential-hook='sync-in files /' \
  --customize-hook='chroot "$1" apt-get clean' \
  --customize-hook='chroot "$1" apt-get install -qq --no-install-recommends --download-only {offered}' \
  --customize-hook='mkdir "$1"/opt/offered; find "$1"/var/cache/apt/archives -name "*.deb" -exec mv -t "$1"/opt/offered {{}} +' \
  --customize-hook='cd "$1"/opt/offered && dpkg-scanpackages . > Packages' \
  --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/etc/apt/sources.list.d/*' \
  --customize-hook='echo "deb [trusted=yes] file:/opt/offered ./" > "$1"/etc/apt/sources.list' \
  --customize-hook='chroot "$1" apt-get update -qq' \
  --customize-hook='chroot "$1" systemctl -q enable systemd-networkd qemu-guest-agent' \
  --customize-hook='for unit in {disabled}; do chroot "$1" systemctl -q disable "$unit"; done' \
  --customize-hook='chroot "$1" systemctl -q set-default multi-user.target' \
  --customize-hook='rm -f "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/var/lib/dbus/machine-id' \
  --customize-hook=': > "$1"/etc/machine-id' \
  {SUITE} root $sources
mv root/boot/vmlinuz-6.1.* stable.vmlinuz; mv root/boot/initrd.img-6.1.* stable.initrd
mv root/boot/vmlinuz-6.12.* next.vmlinuz; mv root/boot/initrd.img-6.12.* next.initrd
truncate -s {SIZE} root.img
mke2fs -q -F -t ext4 -L root -d root root.img
rm -rf root files
"#
        )
    }
}

/// Writes the files that go into the image before its packages.
fn lay_out(root: &Path) -> std::io::Result<()> {
    for (path, text) in FILES {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(path, text)?;
    }
    let units = root.join("etc/systemd/system");
    fs::create_dir_all(&units)?;
    for unit in MASKED {
        symlink("/dev/null", units.join(unit))?;
    }
    Ok(())
}

impl Image {
    /// The file system.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root.img")
    }

    /// A kernel for it, and its initramfs.
    pub(crate) fn boot_files(&self, kernel: Kernel) -> (PathBuf, PathBuf) {
        let name = match kernel {
            Kernel::Stable => "stable",
            Kernel::Next => "next",
        };
        (
            self.dir.join(format!("{name}.vmlinuz")),
            self.dir.join(format!("{name}.initrd")),
        )
    }
}
