//! Directories that several agents, or others, use.

use std::path::Path;

use podnet_lab::prelude::*;

use crate::settings::assert_refused;

/// Another state directory makes another node of this host. It must not take from the first what
/// it finds in the run directory, nor its data path.
#[test]
fn an_agent_with_another_state_directory_takes_nothing_from_the_one_that_runs() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.init(None).unwrap();
    node.add_pod("red");
    let before = Snapshot::whole(node);
    let agent = node.agent().unwrap().unwrap();
    for words in [
        &["run", "--state-dir", "/etc/podnet/other"][..],
        &["cleanup", "--yes", "--state-dir", "/etc/podnet/other"],
        &[
            "reset",
            "--new-identity",
            "--state-dir",
            "/etc/podnet/other",
        ],
    ] {
        let words = [&["podnetd"], words].concat();
        // A reset looks only where there is something.
        node.shell("mkdir -p /etc/podnet/other");
        let refused = assert_refused(node, &words, 5, "another state directory");
        assert!(refused.stderr.contains(&agent.pid.to_string()), "{refused}");
    }
    before.assert_same(&Snapshot::whole(node), "another state directory");
    assert_eq!(node.agent().unwrap(), Some(agent));
}

/// A run directory may be one that others use too: what is theirs stays.
#[test]
fn a_run_directory_of_others_keeps_what_is_theirs() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.term().unwrap();
    node.shell(
        "mkdir -p /etc/podnet/run/pods/logs && echo 1 > /etc/podnet/run/pods/a.log \
         && echo 2 > /etc/podnet/run/pods/logs/b && echo 3 > /etc/podnet/run/freed",
    );
    let files = || node.shell("cd /etc/podnet/run && find . -type f | sort | xargs grep .");
    let before = files();
    for file in ["freed", "pods/a.log", "pods/logs"] {
        let words = ["podnetd", "run", "--run-dir", "/etc/podnet/run"];
        let refused = assert_refused(node, &words, 6, "files of others");
        assert!(
            refused.stderr.contains(&format!("/etc/podnet/run/{file} ")),
            "{file}: {refused}"
        );
        let ours = |line: &&str| !line.starts_with("./boot:");
        let now = files();
        let now: Vec<&str> = now.lines().filter(ours).collect();
        let before: Vec<&str> = before
            .lines()
            .filter(|line| Path::new(line) != Path::new(""))
            .collect();
        assert!(now.iter().all(|line| before.contains(line)), "{now:?}");
        node.shell(&format!("rm -r /etc/podnet/run/{file}"));
    }
}

/// Whoever reads the log may end before the agent does.
#[test]
fn an_agent_whose_log_nobody_reads_any_more_goes_on() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.term().unwrap();
    let script = "PODNET_LOG_LEVEL=trace podnetd run 2>&1 >/dev/null | true";
    let mut guard = node.spawn(["sh", "-c", script]).unwrap();
    let founded = eventually(LIMIT, "an answer", || node.init(None).map(drop));
    founded.unwrap();
    node.add_pod("red");
    assert_eq!(node.status().phase, Phase::Ready);
    let ended = guard.wait(std::time::Duration::from_millis(100));
    assert!(ended.is_err(), "it has ended");
}
