//! One state file: a line that says what it is, then JSON.

use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use podnet_proto::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::kind::Kind;
use crate::fault;

/// The beginning of every state file.
const MAGIC: &str = "podnet-state";

/// The longest state file, in bytes: some 20 times what 256 nodes need.
const MAX_LEN: u64 = 4 * 1024 * 1024;

/// The extension of a new file until it takes the place of the old one. No state file has one.
const BESIDE: &str = "new";

/// Why a state file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its content is not what was written.
    #[error("{} is damaged: {why}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What it holds.
        kind: Kind,
        /// What is wrong with it.
        why: String,
    },
    /// A later version of podnet wrote it.
    #[error("{} has format version {version}, newer than {}", path.display(), kind.version())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it holds.
        kind: Kind,
        /// Its version.
        version: u32,
    },
    /// An earlier version of podnet wrote it, in a form that this one does not read.
    #[error("{} has format version {version}, and this podnetd reads version {} only", path.display(), kind.version())]
    Older {
        /// The file.
        path: PathBuf,
        /// What it holds.
        kind: Kind,
        /// Its version.
        version: u32,
    },
    /// It was written by another node, or on another machine.
    #[error("{} belongs to {owner}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it holds.
        kind: Kind,
        /// Which node, or which machine, it belongs to.
        owner: String,
    },
    /// What is to be a directory is none.
    #[error("{} is no directory", path.display())]
    NotADirectory {
        /// What is in its place.
        path: PathBuf,
    },
    /// The directory holds something other than podnet's state.
    #[error("{} holds other files than podnet's", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// Another agent runs on the directory.
    #[error("{} is in use by another agent{}", path.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The other agent's process.
        pid: Option<i32>,
    },
    /// The file system refuses.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl StoreError {
    pub(super) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}

/// Reads a state file; `None` if there is none.
pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    kind: Kind,
    owner: Option<NodeId>,
) -> Result<Option<T>, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(corrupt(path, kind, "it is no regular file")),
        Ok(metadata) if metadata.len() > MAX_LEN => {
            Err(corrupt(path, kind, "it is longer than any state file"))
        }
        Ok(_) => {
            let bytes = Zeroizing::new(fs::read(path).map_err(StoreError::io("read", path))?);
            decode(path, &bytes, kind, owner).map(Some)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path)(error)),
    }
}

/// Whether a path leads to a state file, or to one that was being written.
pub(super) fn is_state_file(path: &Path) -> bool {
    let begins_as_one = || {
        let mut start = [0; MAGIC.len()];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
        read.is_ok() && start == *MAGIC.as_bytes()
    };
    is_unfinished(path) || (path.is_file() && begins_as_one())
}

/// Whether a path leads to a file that was being written when the agent was killed.
pub(super) fn is_unfinished(path: &Path) -> bool {
    let beside = path
        .extension()
        .is_some_and(|extension| extension == BESIDE);
    beside && path.is_file()
}

/// Replaces a state file as a whole. When this returns, the new content is on disk; when it fails,
/// the old one is.
pub(super) fn write<T: Serialize>(
    path: &Path,
    kind: Kind,
    owner: NodeId,
    content: &T,
) -> Result<(), StoreError> {
    replace(path, kind, owner, content, File::sync_all)?;
    sync_parent(path)
}

/// As [`write`], for a file that dies with the boot: it survives the agent, and need not reach the disk.
pub(super) fn write_until_reboot<T: Serialize>(
    path: &Path,
    kind: Kind,
    owner: NodeId,
    content: &T,
) -> Result<(), StoreError> {
    replace(path, kind, owner, content, |_| Ok(()))
}

fn replace<T: Serialize>(
    path: &Path,
    kind: Kind,
    owner: NodeId,
    content: &T,
    settle: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), StoreError> {
    let bytes = encode(kind, owner, content)
        .map_err(|error| StoreError::io("write", path)(io::Error::other(error)))?;
    let beside = path.with_extension(BESIDE);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            fault::point("new file beside the old one");
            file.write_all(&bytes)?;
            fault::point("content of the new file");
            settle(&file)?;
            fault::point("new file on disk");
            fs::rename(&beside, path)
        });
    fault::point("new file in the place of the old one");
    if let Err(error) = written {
        // A half-written file must not stay behind, least of all on a full disk.
        let _ = fs::remove_file(&beside);
        return Err(StoreError::io("write", path)(error));
    }
    Ok(())
}

/// Removes a state file. When this returns, it is gone from the disk. A file that is not there is
/// no error.
///
/// # Errors
/// When the file system refuses.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = fs::remove_file(path);
    fault::point("removal of a file");
    match removed {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("remove", path)(error)),
    }
}

/// Removes from a folder the state files that were being written when the last agent was killed.
///
/// # Errors
/// When the file system refuses.
pub(super) fn sweep(dir: &Path) -> Result<(), StoreError> {
    for kind in Kind::ALL {
        let path = dir.join(kind.as_str()).with_extension(BESIDE);
        if path.is_file() {
            remove(&path)?;
        }
    }
    Ok(())
}

fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let synced = File::open(parent).and_then(|dir| dir.sync_all());
    fault::point("folder on disk");
    synced.map_err(StoreError::io("sync", parent))
}

pub(super) fn encode<T: Serialize>(
    kind: Kind,
    owner: NodeId,
    content: &T,
) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let body = Zeroizing::new(serde_json::to_vec(content)?);
    Ok(framed(kind, owner, &body))
}

/// The file with this content.
pub(super) fn framed(kind: Kind, owner: NodeId, body: &[u8]) -> Zeroizing<Vec<u8>> {
    let head = head(kind, owner);
    let mut bytes = Zeroizing::new(format!("{head} {}\n", checksum(&head, body)).into_bytes());
    bytes.extend_from_slice(body);
    bytes.push(b'\n');
    bytes
}

fn head(kind: Kind, owner: NodeId) -> String {
    format!("{MAGIC} {} {} {owner}", kind.version(), kind.as_str())
}

fn checksum(head: &str, body: &[u8]) -> String {
    let digest = Sha256::new()
        .chain_update(head)
        .chain_update(b"\n")
        .chain_update(body)
        .finalize();
    data_encoding::HEXLOWER.encode(&digest)
}

pub(super) fn decode<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    kind: Kind,
    owner: Option<NodeId>,
) -> Result<T, StoreError> {
    let corrupt = |why: &str| corrupt(path, kind, why);
    if bytes.is_empty() {
        return Err(corrupt("it is empty"));
    }
    let line_end = bytes
        .iter()
        .position(|b| *b == b'\n')
        .ok_or_else(|| corrupt("it is cut short"))?;
    let line = std::str::from_utf8(&bytes[..line_end])
        .map_err(|_| corrupt("its first line is not text"))?;
    let fields: Vec<&str> = line.split(' ').collect();
    let [MAGIC, version, found_kind, found_owner, found_checksum] = fields[..] else {
        return Err(corrupt("it does not begin as a state file does"));
    };
    let version: u32 = version
        .parse()
        .map_err(|_| corrupt("its version is not a number"))?;
    let path = || path.to_owned();
    // A file of another kind, or a damaged one, is found below.
    match version.cmp(&kind.version()) {
        _ if found_kind != kind.as_str() => {}
        Ordering::Greater => {
            return Err(StoreError::Newer {
                path: path(),
                kind,
                version,
            });
        }
        Ordering::Less => {
            return Err(StoreError::Older {
                path: path(),
                kind,
                version,
            });
        }
        Ordering::Equal => {}
    }
    let body = bytes[line_end + 1..]
        .strip_suffix(b"\n")
        .ok_or_else(|| corrupt("it is cut short"))?;
    let (head, _) = line.rsplit_once(' ').unwrap_or((line, ""));
    if checksum(head, body) != found_checksum {
        return Err(corrupt("its checksum is wrong"));
    }
    if found_kind != kind.as_str() {
        return Err(corrupt("it is another kind of state file"));
    }
    if owner.is_some_and(|owner| owner.to_string() != found_owner) {
        let owner = format!("node {found_owner}");
        return Err(StoreError::Foreign {
            path: path(),
            kind,
            owner,
        });
    }
    serde_json::from_slice(body).map_err(|error| corrupt(&format!("unexpected content: {error}")))
}

pub(super) fn corrupt(path: &Path, kind: Kind, why: &str) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        kind,
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const KIND: Kind = Kind::Freed;

    const OWNER: NodeId = NodeId::from_bytes([1; 16]);

    fn encoded() -> Zeroizing<Vec<u8>> {
        encode(KIND, OWNER, &vec![1, 2, 3]).unwrap()
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<u32>, StoreError> {
        decode(Path::new("/state/thing"), bytes, KIND, Some(OWNER))
    }

    #[test]
    fn a_file_reads_back() {
        assert_eq!(decoded(&encoded()).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = encoded();
        for index in 0..good.len() {
            assert!(decoded(&good[..index]).is_err(), "cut at {index}");
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[index] ^= 1 << bit;
                assert!(decoded(&bad).is_err(), "byte {index}, bit {bit}");
            }
        }
    }

    #[test]
    fn other_versions_other_kinds_and_other_owners_are_named() {
        let newer = String::from_utf8(encoded().to_vec())
            .unwrap()
            .replace("state 1", "state 2");
        assert!(matches!(
            decoded(newer.as_bytes()),
            Err(StoreError::Newer { version: 2, .. })
        ));
        let older = String::from_utf8(encoded().to_vec())
            .unwrap()
            .replace("state 1", "state 0");
        assert!(matches!(
            decoded(older.as_bytes()),
            Err(StoreError::Older { version: 0, .. })
        ));
        let other = encode(KIND, NodeId::from_bytes([2; 16]), &vec![1]).unwrap();
        assert!(matches!(decoded(&other), Err(StoreError::Foreign { .. })));
        let kind = encode(Kind::Pod, OWNER, &vec![1]).unwrap();
        assert!(matches!(decoded(&kind), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn writing_replaces_the_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thing");
        assert_eq!(read::<u32>(&path, KIND, None).unwrap(), None);
        write(&path, KIND, OWNER, &1).unwrap();
        write(&path, KIND, OWNER, &2).unwrap();
        assert_eq!(read::<u32>(&path, KIND, Some(OWNER)).unwrap(), Some(2));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(dir.path().join("freed.new"), "half").unwrap();
        sweep(dir.path()).unwrap();
        assert_eq!(read::<u32>(&path, KIND, Some(OWNER)).unwrap(), Some(2));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
