//! What machines get: a read-only disk that is a tar archive.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use podnet_lab::LabError;
use podnet_lab::command::run;

const LIMIT: Duration = Duration::from_secs(60);

/// Where its files are on a machine.
pub(crate) const FOLDER: &str = "/opt/payload";

/// The archive.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    path: PathBuf,
}

impl Payload {
    /// Packs files and folders into the archive at `path`, each under the name beside it. The path of
    /// none is the beginning of another's.
    pub(crate) fn pack(path: &Path, files: &[(&Path, &str)]) -> Result<Self, LabError> {
        let mut tar = Command::new("tar");
        tar.args(["--absolute-names", "--dereference", "-cf"])
            .arg(path);
        for (file, name) in files {
            tar.arg(format!("--transform=s|^{}|{name}|", file.display()));
        }
        tar.args(files.iter().map(|(file, _)| file));
        run(&mut tar, "", LIMIT)?.success("packing what the machines get")?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The archive's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
