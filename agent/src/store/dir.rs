//! The directories of state files.

use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::file::StoreError;
use super::kind::Kind;
use super::lock;

/// A folder that the root of a file system has in it from the start.
const LOST_AND_FOUND: &str = "lost+found";

/// The mode of a directory that every user may enter and list.
const OPEN: u32 = 0o755;

/// The bits of a mode that let users other than the owner make and remove files.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Makes the state directory, which only its owner can enter, and its parents. A directory that is
/// there already must be podnet's, or empty: the mode of another program's is not podnet's to change.
///
/// # Errors
/// When something else is there, or the file system refuses.
pub fn make_state_dir(path: &Path) -> Result<(), StoreError> {
    make_parent(path)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            require_dir(path)?;
            if !is_ours(path)? {
                return Err(StoreError::Occupied {
                    path: path.to_owned(),
                });
            }
            fs::set_permissions(path, Permissions::from_mode(0o700))
                .map_err(StoreError::io("set the mode of", path))
        }
        Err(error) => Err(StoreError::io("create", path)(error)),
    }
}

/// Makes the run directory, which every user can enter since the control socket is in it, and its
/// parents. If it is there and podnet's, only its owner can make files in it from then on.
///
/// # Errors
/// When something else is there, or the file system refuses.
pub fn make_run_dir(path: &Path) -> Result<(), StoreError> {
    make_parent(path)?;
    let mode = match DirBuilder::new().mode(OPEN).create(path) {
        // The umask may take bits away.
        Ok(()) => OPEN,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            require_dir(path)?;
            if !path.join(lock::NAME).is_file() {
                return Ok(());
            }
            let found = fs::metadata(path).map_err(StoreError::io("look at", path))?;
            found.permissions().mode() & !WRITABLE_BY_OTHERS
        }
        Err(error) => return Err(StoreError::io("create", path)(error)),
    };
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(StoreError::io("set the mode of", path))
}

/// Refuses a path that leads to something other than a directory, and cannot become one.
///
/// # Errors
/// [`StoreError::NotADirectory`] with what is in the way.
pub fn require_possible_dir(path: &Path) -> Result<(), StoreError> {
    let nearest = path.ancestors().find(|ancestor| ancestor.exists());
    nearest.map_or(Ok(()), require_dir)
}

fn make_parent(path: &Path) -> Result<(), StoreError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    require_possible_dir(parent)?;
    DirBuilder::new()
        .recursive(true)
        .mode(OPEN)
        .create(parent)
        .map_err(StoreError::io("create", parent))
}

fn require_dir(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        Ok(())
    } else {
        Err(StoreError::NotADirectory {
            path: path.to_owned(),
        })
    }
}

/// Whether a directory is empty, or podnet's.
fn is_ours(dir: &Path) -> Result<bool, StoreError> {
    let marks = [lock::NAME, Kind::Identity.as_str()];
    if marks.iter().any(|mark| dir.join(mark).is_file()) {
        return Ok(true);
    }
    let list = |error| StoreError::io("list", dir)(error);
    for entry in fs::read_dir(dir).map_err(list)? {
        if entry.map_err(list)?.file_name() != LOST_AND_FOUND {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_state_directory_is_private_and_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        make_state_dir(&state).unwrap();
        assert_eq!(mode(&state), 0o700);
        fs::write(state.join(lock::NAME), "").unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
        make_state_dir(&state).unwrap();
        assert_eq!(mode(&state), 0o700);
    }

    #[test]
    fn what_is_not_podnets_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("file"), dir.path().join("other"));
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("x"), "x").unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o755)).unwrap();
        for path in [file.clone(), file.join("below"), file.join("far/below")] {
            for made in [make_state_dir(&path), make_run_dir(&path)] {
                assert!(
                    matches!(&made, Err(StoreError::NotADirectory { path }) if *path == file),
                    "{made:?}"
                );
            }
        }
        let made = make_state_dir(&other);
        assert!(matches!(made, Err(StoreError::Occupied { .. })), "{made:?}");
        assert_eq!((mode(&file), mode(&other)), (0o644, 0o755));
    }

    #[test]
    fn the_root_of_a_file_system_is_as_good_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(LOST_AND_FOUND)).unwrap();
        make_state_dir(dir.path()).unwrap();
    }
}
