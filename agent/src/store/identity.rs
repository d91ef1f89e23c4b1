//! The node's key.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use podnet_core::signed::Sign;
use podnet_proto::NodeId;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::file::{self, StoreError};
use super::kind::Kind;

const KIND: Kind = Kind::Identity;

/// Where the kernel shows the identity of the (virtual) machine: firmware gives a new one to a
/// clone, and an administrator does not change it in passing.
const PRODUCT_UUID: &str = "/sys/class/dmi/id/product_uuid";

/// Where the kernel shows the serial number of a board whose firmware has a device tree instead.
const SERIAL_NUMBER: &str = "/sys/firmware/devicetree/base/serial-number";

/// The longest identity of a machine that is read, in bytes; the firmware's has 37.
const MAX_MACHINE_ID: u64 = 256;

/// The files that mean nothing without the identity; `cluster` comes first, since without it the
/// rest means nothing either.
const OF_IDENTITY: [Kind; 4] = [Kind::Cluster, Kind::Ledger, Kind::Peers, Kind::Epoch];

/// Who this node is: an ed25519 key, made once, whose hash is the node id.
pub struct Identity {
    node: NodeId,
    key: SigningKey,
    on_known_machine: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Content {
    /// The secret key, in base64.
    key: String,
    /// The machine that it was made on, if that is known.
    machine: Option<String>,
}

impl Content {
    pub(super) fn of_key(secret: &[u8; 32], machine: Option<String>) -> Self {
        Self {
            key: STANDARD.encode(secret),
            machine,
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Identity {
    /// Reads the node's identity; `None` if there is none yet, or only one that was made on another machine and
    /// was never a member's.
    ///
    /// `machine_file` is the file with the machine's identity; if it is `None`, the firmware's
    /// identity counts.
    ///
    /// # Errors
    /// When the file is damaged or alone missing, or was made on another machine: the disk is a
    /// clone, and two nodes with one identity would both use one block.
    pub fn load(state_dir: &Path, machine_file: Option<&Path>) -> Result<Option<Self>, StoreError> {
        let path = state_dir.join(KIND.as_str());
        if let Some(content) = file::read::<Content>(&path, KIND, None)? {
            let mut identity = Self::from_content(&path, &content)?;
            let here = machine(machine_file);
            identity.on_known_machine = content.machine.is_some();
            return match &content.machine {
                // No cluster has ever known this identity: it came with the image of a disk.
                Some(made_on) if here.as_ref() != Some(made_on) && is_blank(state_dir) => {
                    tracing::info!(
                        made_on,
                        "an identity that was made on another machine, and was never a member's, is dropped"
                    );
                    Ok(None)
                }
                Some(made_on) if here.as_ref() != Some(made_on) => Err(StoreError::Foreign {
                    path,
                    kind: KIND,
                    owner: match here {
                        Some(here) => format!("machine {made_on}, and this is {here}"),
                        None => format!("machine {made_on}, and this one has no id"),
                    },
                }),
                Some(_) | None => Ok(Some(identity)),
            };
        }
        // State without an identity was this node's: another identity would be of no use to it.
        if OF_IDENTITY
            .iter()
            .any(|kind| state_dir.join(kind.as_str()).exists())
        {
            return Err(file::corrupt(&path, KIND, "it is missing"));
        }
        Ok(None)
    }

    /// Reads the node's identity, or makes it if there is none yet.
    ///
    /// # Errors
    /// The errors of [`Identity::load`], or when the file system refuses.
    pub fn load_or_create(
        state_dir: &Path,
        machine_file: Option<&Path>,
    ) -> Result<Self, StoreError> {
        if let Some(identity) = Self::load(state_dir, machine_file)? {
            return Ok(identity);
        }
        let path = state_dir.join(KIND.as_str());
        let mut secret = Zeroizing::new([0_u8; 32]);
        rand::fill(secret.as_mut_slice());
        let content = Content::of_key(&secret, machine(machine_file));
        let mut identity = Self::from_key(SigningKey::from_bytes(&secret));
        identity.on_known_machine = content.machine.is_some();
        file::write(&path, KIND, identity.node, &content)?;
        Ok(identity)
    }

    pub(super) fn from_content(path: &Path, content: &Content) -> Result<Self, StoreError> {
        let bytes = Zeroizing::new(STANDARD.decode(&content.key).unwrap_or_default());
        let secret: &[u8; 32] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| file::corrupt(path, KIND, "its key is not 32 bytes long"))?;
        let identity = Self::from_key(SigningKey::from_bytes(secret));
        // The first line names the node too; the two must agree.
        file::read::<Content>(path, KIND, Some(identity.node))?;
        Ok(identity)
    }

    fn from_key(key: SigningKey) -> Self {
        Self {
            node: NodeId::of_public_key(key.verifying_key().as_bytes()),
            key,
            on_known_machine: false,
        }
    }

    /// The node's id.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Whether the identity names the machine that it was made on, so that a clone of the disk shows.
    #[must_use]
    pub const fn is_on_known_machine(&self) -> bool {
        self.on_known_machine
    }

    /// Signs with the node's key.
    #[must_use]
    pub fn signer(&self) -> Sign {
        let key = self.key.clone();
        Box::new(move |payload| key.sign(payload).to_bytes())
    }

    /// The public key, in base64.
    #[must_use]
    pub fn public_key(&self) -> String {
        STANDARD.encode(self.key.verifying_key().as_bytes())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// Removes everything that ties a state directory and this boot to a node: the next start makes a
/// new identity. Returns what it removed.
///
/// # Errors
/// When the file system refuses.
pub fn reset_identity(state_dir: &Path, run_dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    // First: without the identity it would not be known which node the run directory is of.
    let of_boot = super::run::forget_boot(run_dir)?;
    file::sweep(state_dir)?;
    let of_identity = OF_IDENTITY.iter().chain([&KIND]);
    let paths = of_identity.map(|kind| state_dir.join(kind.as_str()));
    let present: Vec<PathBuf> = paths.filter(|path| path.exists()).collect();
    for path in &present {
        file::remove(path)?;
    }
    Ok(present.into_iter().chain(of_boot).collect())
}

/// Whether there is no state that needs the identity, and never was: gossip has never started.
fn is_blank(state_dir: &Path) -> bool {
    let mut needing = OF_IDENTITY.iter();
    !needing.any(|kind| state_dir.join(kind.as_str()).exists())
}

/// The machine's identity: from the file, or else from the firmware.
fn machine(file: Option<&Path>) -> Option<String> {
    match file {
        Some(file) => machine_in(file),
        None => [PRODUCT_UUID, SERIAL_NUMBER]
            .iter()
            .find_map(|file| machine_in(Path::new(file))),
    }
}

fn machine_in(file: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(file).ok()?;
    file.take(MAX_MACHINE_ID).read_to_string(&mut text).ok()?;
    // A text of the device tree ends with a zero byte.
    let text = text.trim_end_matches('\0').trim().to_ascii_lowercase();
    // Firmware that was never given an identity has a constant in its place.
    let meaningless = text.is_empty() || text.bytes().all(|b| matches!(b, b'0' | b'f' | b'-'));
    (!meaningless).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_identity_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(dir.path(), None).unwrap();
        let second = Identity::load_or_create(dir.path(), None).unwrap();
        assert_eq!(first.node(), second.node());
        reset_identity(dir.path(), dir.path()).unwrap();
        let third = Identity::load_or_create(dir.path(), None).unwrap();
        assert_ne!(first.node(), third.node());
    }

    #[test]
    fn a_cloned_disk_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let machine = dir.path().join("machine");
        fs::write(&machine, "4c4c4544-0042\n").unwrap();
        Identity::load_or_create(dir.path(), Some(&machine)).unwrap();
        // It was a member once.
        fs::write(dir.path().join(Kind::Epoch.as_str()), "").unwrap();
        fs::write(&machine, "4c4c4544-0043\n").unwrap();
        let error = Identity::load_or_create(dir.path(), Some(&machine)).unwrap_err();
        assert!(error.to_string().contains("4c4c4544-0042"), "{error}");
        // A machine that does not say who it is is not the one that did.
        for silent in ["00000000-0000\n", ""] {
            fs::write(&machine, silent).unwrap();
            let error = Identity::load_or_create(dir.path(), Some(&machine)).unwrap_err();
            assert!(error.to_string().contains("has no id"), "{error}");
        }
        fs::write(&machine, "4C4C4544-0042\0").unwrap();
        let identity = Identity::load_or_create(dir.path(), Some(&machine)).unwrap();
        assert!(identity.is_on_known_machine());
    }

    #[test]
    fn an_image_of_no_member_makes_a_node_of_its_own_on_each_machine() {
        let dir = tempfile::tempdir().unwrap();
        let machine = dir.path().join("machine");
        let mut nodes = Vec::new();
        for id in ["4c4c4544-0042\n", "4c4c4544-0043\n", "00000000-0000\n"] {
            fs::write(&machine, id).unwrap();
            let first = Identity::load_or_create(dir.path(), Some(&machine)).unwrap();
            let second = Identity::load_or_create(dir.path(), Some(&machine)).unwrap();
            assert_eq!(first.node(), second.node(), "{id}");
            assert!(!nodes.contains(&first.node()), "{id}");
            nodes.push(first.node());
        }
        // Damage is no reason to make another.
        fs::write(dir.path().join(KIND.as_str()), "damaged").unwrap();
        let damaged = Identity::load_or_create(dir.path(), Some(&machine));
        assert!(matches!(damaged, Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn a_machine_without_an_id_is_known_to_have_none() {
        let dir = tempfile::tempdir().unwrap();
        let machine = dir.path().join("machine");
        for _ in 0..2 {
            let identity = Identity::load_or_create(dir.path(), Some(&machine)).unwrap();
            assert!(!identity.is_on_known_machine());
        }
        // One that has got one since does not know what the disk was made on.
        fs::write(&machine, "4c4c4544-0042\n").unwrap();
        let identity = Identity::load_or_create(dir.path(), Some(&machine)).unwrap();
        assert!(!identity.is_on_known_machine());
    }

    #[test]
    fn debug_shows_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(dir.path(), None).unwrap();
        assert_eq!(
            format!("{identity:?}"),
            format!("Identity {{ node: {}, .. }}", identity.node())
        );
    }
}
