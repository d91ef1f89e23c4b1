//! What the suite takes to the machines, and where it keeps what it makes.

use std::env;
use std::path::{Path, PathBuf};

use podnet_lab::LabError;

/// What `make install` puts in place beside the programs.
const DIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist");

/// The package, the package of the version before, the testbed's program, and what else is built.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The package under test.
    pub(crate) package: PathBuf,
    /// The same under an earlier version number, or the version before.
    pub(crate) package_before: PathBuf,
    /// `podnet-lab`, for the responder in it.
    pub(crate) lab: PathBuf,
    /// The agent and its command line, as `make install` takes them.
    pub(crate) built: [PathBuf; 2],
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
    /// What the machines get, files and folders. The packages get plain names there.
    pub(crate) fn files(&self) -> Vec<(&Path, &'static str)> {
        let [agent, command_line] = &self.built;
        vec![
            (agent, "podnetd"),
            (command_line, "podnetctl"),
            (Path::new(DIST), "dist"),
            (&self.package, "podnet.deb"),
            (&self.package_before, "podnet-before.deb"),
            (&self.lab, "podnet-lab"),
        ]
    }

    /// As the environment names them.
    pub(crate) fn locate() -> Result<Self, LabError> {
        let programs = podnet_lab::programs::Programs::locate()?;
        Ok(Self {
            built: [programs.path("podnetd")?, programs.path("podnetctl")?],
            package: variable("PODNET_DEB")?,
            package_before: variable("PODNET_DEB_BEFORE")?,
            lab: programs.path("podnet-lab")?,
            work: variable("PODNET_VM_DIR")?,
        })
    }
}
