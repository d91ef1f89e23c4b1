//! An agent that is no member, and an agent that cannot start.

use std::fs;
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;
use podnet_lab::command::Output;
use podnet_lab::prelude::*;
use podnet_lab::process::ProcessId;
use serde_json::Value;

pub(crate) fn podnetd(node: Node<'_>, words: &[&str]) -> Output {
    let words = [&["podnetd"], words].concat();
    node.exec_with(words, "", LIMIT).unwrap()
}

#[test]
fn an_idle_agent_shows_that_there_is_nothing() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let before = Snapshot::whole(node);
    let status = node.status();
    assert_eq!(status.phase, Phase::Idle);
    assert_eq!(status.cluster, None);
    assert_eq!(status.mtu, None);
    assert_eq!(status.blocks, []);
    assert_eq!(status.gateways, [] as [IpAddr; 0]);
    assert_eq!(status.peers, []);
    assert_eq!(status.problems, []);
    for words in [&["nodes"][..], &["routes"], &["pod", "list"]] {
        let list: Vec<Value> = node.ask(words);
        assert!(list.is_empty(), "{words:?}: {list:?}");
    }
    refused(node, &["pod", "add", "red"], ErrorCode::NotMember);
    refused(node, &["token", "show"], ErrorCode::NotMember);
    refused(node, &["pod", "show", "red"], ErrorCode::NotFound);
    refused(node, &["pod", "rm", "red"], ErrorCode::NotFound);
    assert_eq!(node.leave().phase, Phase::Idle);
    before.assert_same(&Snapshot::whole(node), "questions to an idle agent");
}

#[test]
fn without_an_agent_there_is_no_answer() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.term().unwrap();
    for words in [
        &["status"][..],
        &["nodes"],
        &["routes"],
        &["pod", "list"],
        &["token", "show"],
        &["--yes", "leave"],
        &["init", "--pod-cidr", "10.244.0.0/16"],
    ] {
        refused(node, words, ErrorCode::AgentUnreachable);
    }
    let version: api::Version = node.ask(&["version"]);
    assert_eq!(version.podnetd, None);
}

#[test]
fn one_agent_runs_on_a_state_directory() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let first = node.agent().unwrap().unwrap();
    let before = Snapshot::whole(node);
    for words in [
        &["run"][..],
        &[],
        &["run", "--run-dir", "/run/other", "--gossip-port", "7000"],
    ] {
        let second = podnetd(node, words);
        assert_eq!(second.code, 5, "{words:?}: {second}");
        assert!(second.stderr.contains("error: "), "{second}");
        assert!(second.stderr.contains(&first.pid.to_string()), "{second}");
    }
    for words in [&["cleanup", "--yes"][..], &["reset", "--new-identity"]] {
        let refused = podnetd(node, words);
        assert_eq!(refused.code, 5, "{words:?}: {refused}");
    }
    before.assert_same(&Snapshot::whole(node), "a second agent");
    assert_eq!(node.agent().unwrap(), Some(first));
}

#[test]
fn an_agent_that_is_told_nonsense_does_not_start() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.term().unwrap();
    let before = Snapshot::whole(node);
    for words in [
        &["--no-such-flag"][..],
        &["no-such-command"],
        &["run", "--gossip-port", "0"],
        &["run", "--gossip-port", "70000"],
        &["run", "--metrics-address", "here"],
        &["run", "--log-format", "xml"],
        &["run", "--log-level", "podnet=loud"],
        &["run", "--firewall", "pf"],
        &["run", "--firewall", "nftables"],
        &["run", "--config", "/etc/podnet/no-such-file.toml"],
        &["reset"],
    ] {
        let refused = podnetd(node, words);
        assert_eq!(refused.code, 2, "{words:?}: {refused}");
        assert!(refused.stderr.contains("error: "), "{words:?}: {refused}");
    }

    let file = node.config_dir().join("podnetd.toml");
    let good = fs::read_to_string(&file).unwrap();
    for bad in [
        "no_such_key = 1",
        "gossip_port = 0",
        "firewall = \"nftables\"",
        "[timing]\nresync = 5",
        "[timing]\nresync = \"soon\"",
        "[",
    ] {
        fs::write(&file, bad).unwrap();
        let refused = podnetd(node, &["run"]);
        assert_eq!(refused.code, 2, "{bad}: {refused}");
        assert!(refused.stderr.contains("error: "), "{bad}: {refused}");
    }
    fs::write(&file, good).unwrap();
    before.assert_same(&Snapshot::whole(node), "agents that did not start");
    let version = podnetd(node, &["--version"]);
    assert!(
        version.ok() && version.stdout.starts_with("podnetd "),
        "{version}"
    );
    node.start().unwrap();
}

#[test]
fn an_agent_that_is_told_to_stop_ends_well() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.tell(&["init", "--pod-cidr", "10.244.0.0/16"]);
    node.term().unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut agent = node.spawn(["podnetd"]).unwrap();
        let ready = || node.ctl(["status"]).unwrap().success("status");
        eventually(LIMIT, "an answer", ready).unwrap();
        let process = ProcessId::of(agent.pid()).unwrap();
        process.signal(signal).unwrap();
        assert_eq!(agent.wait(LIMIT).unwrap(), 0, "{signal}");
        let bridge = node.shell("ip -o address show podnet0");
        assert!(
            bridge.contains("10.244.0.1/24"),
            "the data path stays: {bridge}"
        );
    }
}

#[test]
fn a_reset_makes_another_node_and_leaves_nothing_of_the_first() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    node.tell(&["init", "--pod-cidr", "10.244.0.0/16"]);
    node.add_pod("red");
    let first = node.status();
    node.term().unwrap();
    let reset = podnetd(node, &["reset", "--new-identity"]);
    assert!(reset.ok(), "{reset}");
    for what in ["pod red", "/var/lib/podnet/identity"] {
        let told = reset.stdout.contains(&format!("removed: {what}\n"));
        assert!(told, "{what}: {reset}");
    }
    before.assert_same(&Snapshot::kernel(node), "a reset");
    let again = podnetd(node, &["reset", "--new-identity"]);
    assert!(again.ok() && again.stdout.is_empty(), "{again:?}");
    node.start().unwrap();
    let second = node.status();
    assert_eq!(second.phase, Phase::Idle);
    assert_ne!(second.node.id, first.node.id);
}

#[test]
fn a_reset_names_what_only_damaged_files_could_tell() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    node.tell(&["init", "--pod-cidr", "10.244.0.0/16"]);
    node.add_pod("red");
    node.term().unwrap();
    fs::write(node.run_dir().join("sysctls"), "").unwrap();
    let reset = podnetd(node, &["reset", "--new-identity"]);
    assert!(reset.ok(), "{reset}");
    let left: Vec<&str> = reset
        .stdout
        .lines()
        .filter(|line| line.starts_with("left: "))
        .collect();
    assert_eq!(left.len(), 1, "{reset}");
    for what in ["namespaces", "/run/podnet/sysctls"] {
        assert!(left[0].contains(what), "{what}: {reset}");
    }
    node.shell("ip netns del red");
    before.assert_same(&Snapshot::kernel(node), "a reset over a damaged file");
}

/// Whoever needs another identity gets it, whatever the rest of the host is like.
#[test]
fn a_reset_gets_through_and_names_what_stays() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.tell(&["init", "--pod-cidr", "10.244.0.0/16"]);
    for pod in ["pink", "red"] {
        node.add_pod(pod);
    }
    let id = node.status().node.id;
    node.term().unwrap();
    node.shell(
        "ip netns del pink; touch /run/netns/pink; mkdir /etc/podnet/bin; \
         ln -s /bin/false /etc/podnet/bin/iptables-save",
    );
    let reset = node.shell("PATH=/etc/podnet/bin:$PATH; podnetd reset --new-identity");
    for what in [
        "left: ",
        "/run/netns/pink",
        "iptables-save",
        "removed: pod red",
    ] {
        assert!(reset.contains(what), "{what}: {reset}");
    }
    assert_eq!(
        node.shell("ls /run/netns; ls -d /sys/class/net/podnet0 || true"),
        "pink\n"
    );

    assert!(podnetd(node, &["cleanup", "--yes"]).ok());
    let rules = node.shell("iptables-save | grep PODNET || true");
    assert_eq!(rules, "", "they go once iptables works");
    node.start().unwrap();
    assert_ne!(node.status().node.id, id);
}

#[test]
fn an_agent_tells_systemd_when_it_is_ready_and_when_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(LIMIT)).unwrap();
    let told = |what: &str| {
        let mut buffer = [0; 1024];
        loop {
            let length = systemd.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains(what) {
                return;
            }
        }
    };
    let lab = agents(1)
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .up()
        .unwrap();
    told("READY=1");
    // That the loop turns is told again and again.
    told("WATCHDOG=1");
    let [node] = nodes(&lab);
    assert_eq!(node.status().phase, Phase::Idle);
    told("STATUS=idle: not a member of a cluster");
    let founded: api::InitResponse = node.ask(&["init", "--pod-cidr", "10.244.0.0/16"]);
    let cluster = founded.cluster.id;
    told(&format!(
        "STATUS=member of cluster {cluster}: block 10.244.0.0/24, 0 of 0 peers live"
    ));
    node.leave();
    told("STATUS=idle: not a member of a cluster");
    node.term().unwrap();
    told("STOPPING=1");
}

/// What `journalctl -p` goes by, and what it shows.
#[test]
fn the_journal_is_told_priorities_and_no_times() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.term().unwrap();
    let file = node.config_dir().join("log");
    // What systemd sets for a unit.
    let own = "$(stat -Lc %d:%i /proc/self/fd/2)";
    let start = |stream: &str, arguments: &str| {
        fs::write(&file, "").unwrap();
        let script = format!(
            "exec 2>>/etc/podnet/log; export JOURNAL_STREAM={stream} PODNET_FAULT_FILE=/etc/podnet/fault
            exec podnetd {arguments}"
        );
        node.spawn(["sh", "-c", &script]).unwrap()
    };
    let lines = |wanted: &str| {
        eventually(LIMIT, wanted, || {
            let log = fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<String> = log.lines().map(str::to_owned).collect();
            match lines.iter().position(|line| line.contains(wanted)) {
                Some(at) => Ok((lines[at].clone(), lines)),
                None => Err(log),
            }
        })
        .unwrap()
    };
    let mut agent = start(own, "run --log-level debug");
    let (ready, all) = lines("podnetd is ready");
    assert!(
        ready.starts_with("<6> INFO podnet_agent::daemon: podnetd is ready"),
        "{ready:?}"
    );
    let known = |line: &String| ["<3>", "<4>", "<6>", "<7>"].contains(&&line[..3]);
    assert!(all.iter().all(known), "{all:?}");
    for (arguments, code, wanted) in [
        ("run", 5, "is in use by another agent"),
        ("run --gossip-port no", 2, "--gossip-port"),
    ] {
        let mut second = start(own, arguments);
        assert_eq!(second.wait(LIMIT).unwrap(), code);
        let (_, all) = lines(wanted);
        assert!(all.iter().all(|line| line.starts_with("<3>")), "{all:?}");
    }
    fs::write(node.config_dir().join("fault"), "panic").unwrap();
    let _ended_with_it = node
        .ctl_json(&["init", "--pod-cidr", "10.244.0.0/16"], "")
        .unwrap();
    let (panic, _) = lines("told to panic");
    assert!(panic.starts_with("<3>ERROR"), "{panic}");
    agent.wait(LIMIT).unwrap();
    // What the child of a unit inherits, whose stderr leads elsewhere.
    let mut agent = start("1:1", "run");
    let (ready, _) = lines("podnetd is ready");
    assert!(ready.starts_with("20"), "a time: {ready}");
    ProcessId::of(agent.pid())
        .unwrap()
        .signal(Signal::SIGTERM)
        .unwrap();
    assert_eq!(agent.wait(LIMIT).unwrap(), 0);
}

/// Whoever starts the agent decides nothing about who may put files beside its own.
#[test]
fn directories_have_modes_of_their_own() {
    let lab = agents(1).agents(false).up().unwrap();
    let [node] = nodes(&lab);
    let modes = |umask: &str| {
        let shown = format!("cd /run/{umask}; stat -c %a a a/run state");
        node.shell(&shown)
    };
    for (umask, made) in [("000", "755\n755\n700\n"), ("077", "700\n755\n700\n")] {
        let dirs = format!("--state-dir /run/{umask}/state --run-dir /run/{umask}/a/run");
        let script = format!("umask {umask}; exec podnetd run {dirs}");
        let agent = node.spawn(["sh", "-c", &script]).unwrap();
        let socket = format!("/run/{umask}/a/run/podnet.sock");
        eventually(LIMIT, "an agent", || {
            let asked = node.ctl(["--socket", &socket, "status"]).unwrap();
            if asked.ok() { Ok(()) } else { Err(asked) }
        })
        .unwrap();
        assert_eq!(modes(umask), made, "{umask}");
        drop(agent);
        // As an earlier agent has left it; and as somebody wants it.
        for (before, after) in [("777", "755"), ("750", "750")] {
            let again =
                format!("chmod {before} /run/{umask}/a/run; podnetd reset --new-identity {dirs}");
            node.shell(&again);
            let found = node.shell(&format!("stat -c %a /run/{umask}/a/run"));
            assert_eq!(found.trim(), after, "{umask}");
        }
    }
    node.shell("mkdir -m 777 /run/mine; touch /run/mine/file");
    let others = podnetd(
        node,
        &[
            "reset",
            "--new-identity",
            "--state-dir",
            "/run/000/state",
            "--run-dir",
            "/run/mine",
        ],
    );
    assert!(others.ok(), "{others}");
    assert_eq!(node.shell("stat -c %a /run/mine"), "777\n");
}
