//! Where podnet's programs are.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::LabError;

/// The folder with `podnetd`, `podnetctl` and `podnet-lab`.
#[derive(Debug, Clone)]
pub struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// Finds the folder: `PODNET_BIN_DIR`, or else the one that this program lies in. Cargo puts
    /// test binaries and benchmarks one level below the programs, in `deps`.
    ///
    /// # Errors
    /// [`LabError::MissingProgram`] when `podnet-lab` itself is not there: all that a lab does in
    /// its namespaces is done by that program.
    pub fn locate() -> Result<Self, LabError> {
        let dir = match env::var_os("PODNET_BIN_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => {
                let own = env::current_exe()
                    .map_err(|e| LabError::system("the path of this program", e))?;
                let dir = own.parent().unwrap_or(Path::new("/"));
                match dir.parent() {
                    Some(above) if dir.ends_with("deps") => above.to_owned(),
                    Some(_) | None => dir.to_owned(),
                }
            }
        };
        let dir = dir.canonicalize().unwrap_or(dir);
        let programs = Self { dir };
        programs.path("podnet-lab")?;
        Ok(programs)
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of a program.
    ///
    /// # Errors
    /// [`LabError::MissingProgram`] when it is not there.
    pub fn path(&self, program: &str) -> Result<PathBuf, LabError> {
        let path = self.dir.join(program);
        if path.is_file() {
            Ok(path)
        } else {
            Err(LabError::MissingProgram {
                program: program.to_owned(),
                dir: self.dir.clone(),
            })
        }
    }

    /// A call of `podnet-lab` itself.
    ///
    /// # Errors
    /// [`LabError::MissingProgram`] when it is not there any more.
    pub(crate) fn command(&self) -> Result<Command, LabError> {
        Ok(Command::new(self.path("podnet-lab")?))
    }

    /// The search path of what runs in a node: podnet's programs come first.
    #[must_use]
    pub fn search_path(&self) -> OsString {
        let mut path = self.dir.clone().into_os_string();
        if let Some(rest) = env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        path
    }
}
