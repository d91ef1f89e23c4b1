//! Namespaces of one's own: libvirt's bridges, rules, files and processes are in there, and nothing
//! of what runs on this host is touched. Everything ends with the first process in there.

use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, wait};
use podnet_lab::{Guard, LabError, eventually, interrupt};

/// What this program is called with to be the first process.
pub(crate) const FIRST: &str = "first-process";

/// The same, to be the test itself.
pub(crate) const SECOND: &str = "test";

/// The variable that holds the folder for all that is written.
pub(crate) const DIR: &str = "PODNET_VAGRANT_DIR";

/// How long libvirt may take to start.
const START: Duration = Duration::from_secs(120);

/// How often an interruption is looked for.
const POLL: Duration = Duration::from_millis(200);

/// Where libvirt keeps what it has.
const PLACES: [&str; 4] = [
    "/etc/libvirt",
    "/var/lib/libvirt",
    "/var/cache/libvirt",
    "/var/log/libvirt",
];

/// No confinement, as disks are wherever this checkout is, and no daemon for the consoles.
const QEMU_CONF: &str = "\
user = \"root\"
group = \"root\"
security_driver = \"none\"
stdio_handler = \"file\"
";

/// Runs this program in namespaces of its own and returns its exit code. They end with it, or when
/// this process is told to end, or is killed.
pub(crate) fn enter() -> u8 {
    // It starts a thread, which cannot be done any more once children are of another namespace.
    interrupt::watch().unwrap();
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID)
        .expect("root may make namespaces");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut first = Command::new("setpriv");
    first
        .args(["--pdeathsig", "KILL", "--"])
        .arg(env::current_exe().unwrap())
        .arg(FIRST)
        .env(DIR, dir.path());
    // Dropping it kills the first process, and waits for all others to be gone.
    let mut guard = Guard::new(first.spawn().unwrap());
    loop {
        match guard.wait(POLL) {
            Ok(code) => return u8::try_from(code).unwrap_or(1),
            Err(LabError::Timeout { .. }) if interrupt::requested() => {
                println!("interrupted: taking all down");
                return 130;
            }
            Err(LabError::Timeout { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sees to the mounts, starts the test, and waits for each process that has lost its parent.
pub(crate) fn first_process() -> u8 {
    let dir = env::var_os(DIR).unwrap();
    let dir = Path::new(&dir);
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    // The groups of processes that are mounted there are this host's.
    umount2("/sys", MntFlags::MNT_DETACH).unwrap();
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run")] {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), none).unwrap();
    }
    for place in PLACES {
        let own = dir.join(place.trim_start_matches('/').replace('/', "-"));
        fs::create_dir_all(&own).unwrap();
        mount(Some(&own), place, none, MsFlags::MS_BIND, none).unwrap();
    }
    fs::write("/etc/libvirt/qemu.conf", QEMU_CONF).unwrap();

    let mut test = Command::new(env::current_exe().unwrap());
    // The first process waits for all there are, this one among them.
    let test = test.arg(SECOND).spawn().unwrap().id().cast_signed();
    let ended = |pid: nix::unistd::Pid| pid.as_raw() == test;
    loop {
        let status = wait().unwrap();
        if let WaitStatus::Exited(pid, code) = status
            && ended(pid)
        {
            return u8::try_from(code).unwrap_or(1);
        }
        if let WaitStatus::Signaled(pid, _, _) = status
            && ended(pid)
        {
            return 1;
        }
    }
}

/// Starts libvirt, which lives as long as the guard.
pub(crate) fn libvirt(dir: &Path) -> Guard {
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    assert!(up.unwrap().success(), "ip link set lo up");
    let log = File::create(dir.join("libvirtd.log")).unwrap();
    let mut libvirtd = Command::new("libvirtd");
    libvirtd.stdout(log.try_clone().unwrap()).stderr(log);
    let guard = Guard::new(libvirtd.spawn().unwrap());
    eventually(START, "libvirt", || {
        let asked = Command::new("virsh")
            .args(["-c", "qemu:///system", "version"])
            .output();
        match asked {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .unwrap();
    guard
}
