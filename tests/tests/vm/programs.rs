//! What the suite takes to the machines, and where it keeps what it makes.

use std::env;
use std::path::{Path, PathBuf};

use podnet_lab::LabError;

/// The package, the package of the version before, and the testbed's program.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The package under test.
    pub(crate) package: PathBuf,
    /// The same under an earlier version number, or the version before.
    pub(crate) package_before: PathBuf,
    /// `podnet-lab`, for the responder in it.
    pub(crate) lab: PathBuf,
    /// Where images are kept, and the disks and logs of a run.
    pub(crate) work: PathBuf,
}

fn variable(name: &str) -> Result<PathBuf, LabError> {
    let value = env::var_os(name).ok_or_else(|| LabError::Command {
        what: format!("reading the environment variable {name}"),
        reason: "it is not set: run this suite by `make vm-test`".to_owned(),
    })?;
    Ok(PathBuf::from(value))
}

impl Programs {
    /// What the machines get. The packages get plain names there.
    pub(crate) fn files(&self) -> Vec<(&Path, &'static str)> {
        vec![
            (&self.package, "podnet.deb"),
            (&self.package_before, "podnet-before.deb"),
            (&self.lab, "podnet-lab"),
        ]
    }

    /// As the environment names them.
    pub(crate) fn locate() -> Result<Self, LabError> {
        Ok(Self {
            package: variable("PODNET_DEB")?,
            package_before: variable("PODNET_DEB_BEFORE")?,
            lab: podnet_lab::programs::Programs::locate()?.path("podnet-lab")?,
            work: variable("PODNET_VM_DIR")?,
        })
    }
}
