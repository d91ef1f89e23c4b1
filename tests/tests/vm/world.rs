//! All machines of a run. Those that a test does not use stand still.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comfy_table::Table;
use podnet_lab::{LabError, interrupt};
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::driver::{Image, Kernel, Network, Payload, Recipe, Spec};
use crate::programs::Programs;
use crate::scenes::Scene;

/// Machines of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// Debian 12 as it is without further packages.
    Plain,
    /// The same with the kernel of Debian 13.
    NextKernel,
    /// Debian 12 with Docker, podman and firewalld, none of which has been started.
    Containers,
}

const PLAIN: Recipe = Recipe {
    name: "plain",
    installed: &[],
    offered: &["iptables"],
    disabled: &[],
};

const CONTAINERS: Recipe = Recipe {
    name: "containers",
    installed: &["docker.io", "podman", "crun", "firewalld", "busybox-static"],
    offered: &["iptables"],
    disabled: &[
        "docker.service",
        "docker.socket",
        "containerd.service",
        "firewalld.service",
    ],
};

impl Group {
    const fn recipe(self) -> Recipe {
        match self {
            Self::Plain | Self::NextKernel => PLAIN,
            Self::Containers => CONTAINERS,
        }
    }

    const fn kernel(self) -> Kernel {
        match self {
            Self::Plain | Self::Containers => Kernel::Stable,
            Self::NextKernel => Kernel::Next,
        }
    }

    /// The number before that of its first machine, and how many there are.
    const fn machines(self) -> (u8, u8) {
        match self {
            Self::Plain => (0, 3),
            Self::NextKernel => (10, 2),
            Self::Containers => (20, 2),
        }
    }

    const fn memory(self) -> u32 {
        match self {
            Self::Plain | Self::NextKernel => 512,
            Self::Containers => 1024,
        }
    }
}

/// What the name of a run's folder begins with; the number of its process follows.
const PREFIX: &str = "run-";

/// The machines, as far as there are any yet.
#[derive(Debug, Default)]
pub(crate) struct World {
    clusters: BTreeMap<Group, Cluster>,
    network: Option<Arc<Network>>,
    dir: Option<TempDir>,
    times: Vec<(&'static str, Duration, bool)>,
}

impl World {
    /// Plays a scene on machines that are as it wants them, and keeps their logs if it fails.
    pub(crate) fn play(&mut self, scene: &Scene) -> Result<(), String> {
        let begun = Instant::now();
        interrupt::check().map_err(|e| e.to_string())?;
        let played = catch_unwind(AssertUnwindSafe(|| {
            let cluster = self.cluster(scene.group).unwrap();
            cluster.bring_to(scene.stage).unwrap();
            (scene.play)(cluster);
        }));
        self.times
            .push((scene.name, begun.elapsed(), played.is_ok()));
        played.map_err(|panic| {
            let logs = self.keep_logs(scene);
            format!("{}\n{logs}", message(panic.as_ref()))
        })
    }

    fn cluster(&mut self, group: Group) -> Result<&mut Cluster, LabError> {
        for (_, cluster) in self.clusters.iter().filter(|(other, _)| **other != group) {
            cluster.pause()?;
        }
        if !self.clusters.contains_key(&group) {
            let cluster = self.boot(group)?;
            self.clusters.insert(group, cluster);
        }
        Ok(self
            .clusters
            .get_mut(&group)
            .expect("it was just put there"))
    }

    fn boot(&mut self, group: Group) -> Result<Cluster, LabError> {
        let programs = Programs::locate()?;
        let failed = |e| LabError::system(format!("writing {}", programs.work.display()), e);
        fs::create_dir_all(&programs.work).map_err(failed)?;
        let image: Image = group.recipe().image(&programs.work)?;
        if self.dir.is_none() {
            remove_leftovers(&programs.work).map_err(failed)?;
            let made = tempfile::Builder::new()
                .prefix(&format!("{PREFIX}{}-", std::process::id()))
                .tempdir_in(&programs.work);
            self.dir = Some(made.map_err(failed)?);
        }
        let dir = self.dir.as_ref().map_or(Path::new("/"), TempDir::path);
        let payload = Payload::pack(&dir.join("payload.tar"), &programs.files())?;
        let network = match &self.network {
            Some(network) => Arc::clone(network),
            None => Arc::clone(self.network.insert(Arc::new(Network::new()?))),
        };
        let spec = Spec {
            image,
            kernel: group.kernel(),
            parameters: "",
            memory: group.memory(),
            payload,
        };
        let (base, size) = group.machines();
        Cluster::boot(network, dir, base, size, &spec)
    }

    /// Writes down what the machines can say of themselves, and returns where.
    fn keep_logs(&self, scene: &Scene) -> String {
        let (Ok(programs), Some(cluster)) = (Programs::locate(), self.clusters.get(&scene.group))
        else {
            return "no machine was booted".to_owned();
        };
        let dir = programs.work.join("logs").join(scene.name);
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&dir)?;
            for node in cluster.all() {
                let report = node.report().unwrap_or_else(|e| e.to_string());
                fs::write(dir.join(format!("{}.log", node.name())), report)?;
                let console = dir.join(format!("{}.console", node.name()));
                fs::copy(node.machine().console(), console)?;
            }
            Ok(())
        };
        match write() {
            Ok(()) => format!("logs: {}", dir.display()),
            Err(e) => format!("logs could not be written to {}: {e}", dir.display()),
        }
    }

    /// Prints how long each scene took.
    pub(crate) fn print_times(&self) {
        if self.times.is_empty() {
            return;
        }
        let mut table = Table::new();
        table.set_header(["scene", "seconds", ""]);
        for (scene, time, passed) in &self.times {
            let verdict = if *passed { "passed" } else { "FAILED" };
            table.add_row([scene, &*format!("{:.0}", time.as_secs_f64()), verdict]);
        }
        let total: Duration = self.times.iter().map(|(_, time, _)| *time).sum();
        println!("{table}\nall: {:.0} s", total.as_secs_f64());
    }

    /// Ends all machines and removes what they were made of, but for the images.
    pub(crate) fn tear_down(&mut self) {
        self.clusters.clear();
        self.network = None;
        self.dir = None;
    }
}

/// Removes the disks of runs that were killed.
fn remove_leftovers(work: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(work)? {
        let entry = entry?;
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let process = rest.and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
