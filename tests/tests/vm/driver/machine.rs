//! One virtual machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use podnet_lab::command::run;
use podnet_lab::{Guard, LabError};

use super::guest::Guest;
use super::image::{Image, Kernel};
use super::monitor::Monitor;
use super::network::{Network, Segment};
use super::payload::Payload;

/// How long a machine may take from its start until it answers: under emulation, beside two others
/// on two cores that do something else too.
const BOOT_LIMIT: Duration = Duration::from_secs(400);

/// How long a disk may take to be made.
const DISK_LIMIT: Duration = Duration::from_secs(60);

/// What a machine is made of.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Its root.
    pub(crate) image: Image,
    /// Its kernel.
    pub(crate) kernel: Kernel,
    /// Further kernel parameters.
    pub(crate) parameters: &'static str,
    /// Its memory, in MiB.
    pub(crate) memory: u32,
    /// What it finds on its second disk.
    pub(crate) payload: Payload,
}

/// A virtual machine with two network cards, `eth0` and `eth1`. It ends with this value.
#[derive(Debug)]
pub(crate) struct Machine {
    number: u8,
    network: Arc<Network>,
    dir: PathBuf,
    spec: Spec,
    process: Option<Guard>,
    guest: Guest,
    monitor: Monitor,
}

/// A network card, by the number in its name.
fn tap(number: u8, card: u8) -> String {
    format!("vm{number}-{card}")
}

fn system(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> LabError {
    let what = format!("{what} {}", path.display());
    move |e| LabError::system(what, e)
}

/// Whether the processor can run a guest's kernel by itself. That there is `/dev/kvm` is not
/// enough: nested under some hypervisors it opens, and the guest hangs.
fn accelerated() -> bool {
    let modules = ["/sys/module/kvm_intel", "/sys/module/kvm_amd"];
    Path::new("/dev/kvm").exists() && modules.iter().any(|module| Path::new(module).exists())
}

impl Machine {
    /// A machine that is off, with an empty copy-on-write disk over its image. Numbers are unique,
    /// from 1 to 99; `dir` is its own.
    pub(crate) fn new(
        number: u8,
        network: Arc<Network>,
        dir: PathBuf,
        spec: Spec,
    ) -> Result<Self, LabError> {
        fs::create_dir_all(&dir).map_err(system("making", &dir))?;
        let mut create = Command::new("qemu-img");
        create
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(spec.image.root())
            .arg(dir.join("disk.qcow2"));
        run(&mut create, "", DISK_LIMIT)?.success("making a disk")?;
        network.tap(&tap(number, 0), Segment::Lan)?;
        network.tap(&tap(number, 1), Segment::Nat)?;
        let name = format!("machine {number}");
        Ok(Self {
            number,
            network,
            spec,
            process: None,
            guest: Guest {
                machine: name.clone(),
                socket: dir.join("agent"),
            },
            monitor: Monitor {
                machine: name,
                socket: dir.join("monitor"),
            },
            dir,
        })
    }

    /// Its number.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// Commands on it.
    pub(crate) fn guest(&self) -> &Guest {
        &self.guest
    }

    /// What it wrote to its console.
    pub(crate) fn console(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// Whether it is on.
    pub(crate) fn is_on(&self) -> bool {
        self.process.is_some()
    }

    /// Switches it on; it boots meanwhile. To be called by the main thread, with which it ends.
    pub(crate) fn switch_on(&mut self) -> Result<(), LabError> {
        self.launch(&[])
    }

    /// Waits until it has booted.
    pub(crate) fn wait(&self) -> Result<(), LabError> {
        self.guest.wait(BOOT_LIMIT)
    }

    /// Cuts its power: what it had in its memory is lost, and with it all that it had not written to
    /// its disk.
    pub(crate) fn cut_power(&mut self) {
        self.process = None;
    }

    /// Boots with other kernel parameters from the next start on.
    pub(crate) fn set_parameters(&mut self, parameters: &'static str) {
        self.spec.parameters = parameters;
    }

    /// Stops its processors.
    pub(crate) fn pause(&self) -> Result<(), LabError> {
        self.monitor.pause()
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) -> Result<(), LabError> {
        self.monitor.resume()
    }

    /// Keeps all of it, as it is now, under a name. It has to be paused.
    pub(crate) fn save(&self, snapshot: &str) -> Result<(), LabError> {
        self.monitor.save(snapshot)
    }

    /// Puts all of it back as it was, and leaves it paused. By a new process: in one that has been
    /// running, QEMU lets no processor's counter go back (`cpu_get_ticks`), and the machine's clocks
    /// would jump forth.
    pub(crate) fn load(&mut self, snapshot: &str) -> Result<(), LabError> {
        self.process = None;
        self.spec.parameters = "";
        self.launch(&["-S"])?;
        self.monitor.load(snapshot)
    }

    /// Plugs the cable of a network card in, or pulls it.
    pub(crate) fn carrier(&self, card: u8, up: bool) -> Result<(), LabError> {
        self.monitor.carrier(&format!("card{card}"), up)
    }

    /// Moves a network card to another segment.
    pub(crate) fn plug(&self, card: u8, segment: Segment) -> Result<(), LabError> {
        self.network.plug(&tap(self.number, card), segment)
    }

    fn launch(&mut self, more: &[&str]) -> Result<(), LabError> {
        let log = self.dir.join("qemu.log");
        let log = File::create(&log).map_err(system("writing", &log))?;
        let errors = log.try_clone().map_err(system("writing", &self.dir))?;
        // QEMU does not outlive the suite, however that ends.
        let mut command =
            self.network
                .command(&["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command
            .args(self.arguments())
            .args(more)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let child = command
            .spawn()
            .map_err(|e| LabError::system("running qemu-system-x86_64", e))?;
        self.process = Some(Guard::new(child));
        Ok(())
    }

    fn arguments(&self) -> Vec<String> {
        let number = self.number;
        let file = |name: &str| self.dir.join(name).display().to_string();
        let (kernel, initrd) = self.spec.image.boot_files(self.spec.kernel);
        let processor: &[&str] = if accelerated() {
            &["-accel", "kvm", "-cpu", "host"]
        } else {
            &[
                "-accel",
                "tcg,thread=multi,tb-size=256",
                "-cpu",
                "qemu64,+rdrand",
            ]
        };
        let mut words: Vec<String> = processor.iter().map(ToString::to_string).collect();
        let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
        add("-name", format!("podnet-vm-{number}"));
        add("-machine", "q35".to_owned());
        add("-smp", "1".to_owned());
        add("-m", self.spec.memory.to_string());
        add("-display", "none".to_owned());
        add("-uuid", format!("00000000-7077-4e65-8000-{number:012}"));
        add("-serial", format!("file:{}", file("console.log")));
        add("-qmp", format!("unix:{},server,wait=off", file("monitor")));
        add(
            "-drive",
            format!(
                "file={},format=qcow2,if=virtio,cache=writeback",
                file("disk.qcow2")
            ),
        );
        add(
            "-drive",
            format!(
                "file={},format=raw,if=virtio,readonly=on",
                self.spec.payload.path().display()
            ),
        );
        for card in 0..2 {
            add(
                "-netdev",
                format!(
                    "tap,id=net{card},ifname={},script=no,downscript=no",
                    tap(number, card)
                ),
            );
            add(
                "-device",
                format!(
                    "virtio-net-pci,id=card{card},netdev=net{card},mac=52:54:00:56:{card:02}:{number:02},romfile="
                ),
            );
        }
        add("-device", "virtio-rng-pci".to_owned());
        add("-device", "virtio-serial".to_owned());
        add(
            "-chardev",
            format!("socket,path={},server=on,wait=off,id=agent", file("agent")),
        );
        add(
            "-device",
            "virtserialport,chardev=agent,name=org.qemu.guest_agent.0".to_owned(),
        );
        add("-kernel", kernel.display().to_string());
        add("-initrd", initrd.display().to_string());
        add(
            "-append",
            format!(
                "root=/dev/vda rw rootfstype=ext4 net.ifnames=0 console=ttyS0 quiet {}",
                self.spec.parameters
            ),
        );
        words.push("-nodefaults".to_owned());
        words
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.process = None;
        for card in 0..2 {
            // The whole namespace goes soon after.
            let _ = self.network.unplug(&tap(self.number, card));
        }
    }
}
