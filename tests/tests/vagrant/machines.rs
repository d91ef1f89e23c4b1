//! Vagrant, and the machines that it makes.

use std::env;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use podnet_lab::Guard;
use podnet_lab::command::run;

/// How long Vagrant may take for all machines, by emulation on a host that has more to do.
const LONG: Duration = Duration::from_secs(45 * 60);

/// How long a command on a machine may take.
const SHORT: Duration = Duration::from_secs(300);

const BOX: &str = "podnet-built";

/// How much of a log is shown when something failed.
const TAIL: usize = 6000;

/// Machines, with all of Vagrant's own files in one folder.
pub(crate) struct Machines {
    dir: PathBuf,
    /// How ssh reaches the machines. Vagrant takes seconds to start, and ssh under emulation too.
    ssh: Option<PathBuf>,
    generation: u32,
}

impl Machines {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            ssh: None,
            generation: 0,
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("vagrant");
        command
            .args(words)
            .env("VAGRANT_HOME", self.dir.join("home"))
            .env("VAGRANT_DOTFILE_PATH", self.dir.join("machines"))
            .env(
                "VAGRANT_CWD",
                concat!(env!("CARGO_MANIFEST_DIR"), "/../vagrant"),
            )
            .env("VAGRANT_NO_COLOR", "1")
            .env("PODNET_PROVIDER", "libvirt")
            .env("PODNET_BOX", BOX)
            .env("PODNET_MEM", "512");
        command
    }

    pub(crate) fn add_box(&self) {
        let file = env::var("PODNET_BOX_FILE").expect("PODNET_BOX_FILE: a box for libvirt");
        let words = ["box", "add", "--name", BOX, &file];
        run(&mut self.command(&words), "", SHORT)
            .and_then(|output| output.success("vagrant box add"))
            .unwrap();
    }

    /// Runs Vagrant to its end and returns what it said, which is kept in a file meanwhile.
    pub(crate) fn vagrant(&mut self, words: &[&str]) -> String {
        let log = self.dir.join("vagrant.log");
        let mut file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(&log)
            .unwrap();
        let begin = file.seek(SeekFrom::End(0)).unwrap();
        let mut command = self.command(words);
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file.try_clone().unwrap());
        let outcome = Guard::new(command.spawn().unwrap()).wait(LONG);
        let mut said = String::new();
        file.seek(SeekFrom::Start(begin)).unwrap();
        file.read_to_string(&mut said).unwrap();
        if !matches!(outcome, Ok(0)) {
            let skip = said.chars().count().saturating_sub(TAIL);
            let end: String = said.chars().skip(skip).collect();
            panic!("vagrant {}: {outcome:?}\n{end}", words.join(" "));
        }
        self.learn();
        said
    }

    /// Learns how to reach the machines that there are now.
    fn learn(&mut self) {
        let output = run(&mut self.command(&["ssh-config"]), "", SHORT).unwrap();
        self.generation += 1;
        let config = self.dir.join("ssh-config");
        // Connections are kept. One to a machine that has been started anew is of no use.
        let kept = format!(
            "Host *\n  LogLevel ERROR\n  ControlMaster auto\n  ControlPersist yes\n  \
             ControlPath /run/ssh-{}-%n\n  ServerAliveInterval 30\n",
            self.generation
        );
        fs::write(&config, kept + &output.stdout).unwrap();
        self.ssh = Some(config);
    }

    /// Types a command as a user does: `vagrant ssh NODE -c COMMAND`.
    pub(crate) fn typed(&self, node: &str, command: &str) -> String {
        let words = ["ssh", node, "-c", command];
        let output = run(&mut self.command(&words), "", SHORT).unwrap();
        // The whole of it may hold the token.
        let shown: Vec<&str> = command.split(' ').take(4).collect();
        output
            .success(&format!("{node}: {}", shown.join(" ")))
            .unwrap()
            .stdout
    }

    /// A command on a machine, over a connection that is kept.
    pub(crate) fn remote(&self, node: &str, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F")
            .arg(self.ssh.as_ref().unwrap())
            .args([node, command]);
        ssh
    }

    /// Runs a command on a machine.
    pub(crate) fn shell(&self, node: &str, command: &str) -> String {
        let output = run(&mut self.remote(node, command), "", SHORT).unwrap();
        output
            .success(&format!("{node}: {command}"))
            .unwrap()
            .stdout
    }

    /// Machines, and disks of machines, that libvirt has.
    pub(crate) fn left(&self) -> String {
        let script = "virsh -c qemu:///system list --all --name; \
                      virsh -c qemu:///system vol-list default | grep -o 'node[0-9]*[.]img' || true";
        let output = run(Command::new("sh").args(["-ec", script]), "", SHORT).unwrap();
        output.success("virsh").unwrap().stdout.trim().to_owned()
    }
}
