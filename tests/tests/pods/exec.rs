//! Commands in pods.

use podnet_lab::prelude::*;

use crate::stage::cluster;

/// A node with the pod red, for tests whose commands change nothing.
static WITH_RED: Shared<Cluster> = Shared::new(|| {
    let lab = cluster(1);
    first(&lab).add_pod("red");
    lab
});

#[test]
fn the_exit_code_is_that_of_the_command_or_says_why_there_is_none() {
    let lab = WITH_RED.get();
    let node = first(&lab);
    let run = |words: &[&str]| -> Output {
        let all = ["pod", "exec", "red", "--"].iter().chain(words);
        node.ctl(all).unwrap()
    };
    for exit in [0, 1, 7, 255] {
        assert_eq!(run(&["sh", "-c", &format!("exit {exit}")]).code, exit);
    }
    assert_eq!(run(&["no-such-command"]).code, 127);
    assert_eq!(run(&["/no/such/command"]).code, 127);
    assert_eq!(run(&["/etc/passwd"]).code, 126);
    assert_eq!(run(&["/etc"]).code, 126);
    assert_eq!(run(&["sh", "-c", "kill -TERM $$"]).code, 128 + 15);
    assert_eq!(run(&["sh", "-c", "kill -KILL $$"]).code, 128 + 9);
    for failure in [run(&["no-such-command"]), run(&["/etc/passwd"])] {
        assert!(failure.stderr.starts_with("error: "), "{failure}");
    }
}

#[test]
fn a_failure_of_podnets_own_is_125() {
    let lab = cluster(1);
    let node = first(&lab);
    let unknown = ["pod", "exec", "red", "--", "true"];
    let fails = |words: &[&str]| {
        let refusal = refusal(&node.ctl_json(words, "").unwrap());
        assert_eq!(refusal.exit, 125, "{refusal:?}");
        refusal.code
    };
    assert_eq!(fails(&unknown), ErrorCode::NotFound);
    let bad = ["pod", "exec", "RED", "--", "true"];
    assert_eq!(fails(&bad), ErrorCode::BadName);
    node.kill().unwrap();
    assert_eq!(fails(&unknown), ErrorCode::AgentUnreachable);
}

#[test]
fn streams_and_environment_pass_through() {
    let lab = WITH_RED.get();
    let node = first(&lab);
    let script = "cat; echo no >&2; echo $COLOUR; pwd";
    let words = [
        "env",
        "-C",
        "/tmp",
        "COLOUR=red",
        "podnetctl",
        "pod",
        "exec",
        "red",
        "--",
        "sh",
        "-c",
        script,
    ];
    let output = node.exec_with(words, "yes\n", LIMIT).unwrap();
    assert_eq!(
        output,
        Output {
            code: 0,
            stdout: "yes\nred\n/tmp\n".to_owned(),
            stderr: "no\n".to_owned()
        }
    );
    let secret = "PODNET_TOKEN=secret podnetctl pod exec red -- sh -c 'echo [$PODNET_TOKEN]'";
    assert_eq!(node.shell(secret), "[]\n");
    let large =
        "podnetctl pod exec red -- head -c 300000 /dev/zero | podnetctl pod exec red -- wc -c";
    assert_eq!(node.shell(large).trim(), "300000");
}

#[test]
fn a_command_sees_the_network_of_its_pod_and_the_files_of_its_node() {
    let lab = cluster(1);
    let node = first(&lab);
    node.add_pod("red");
    let inside = |script: &str| {
        let output = node.pod("red").exec(["sh", "-c", script]).unwrap();
        assert!(output.ok(), "{script}: {output}");
        output.stdout
    };
    assert_eq!(inside("ls /sys/class/net"), "eth0\nlo\n");
    let on_node = node.shell("cat /etc/hosts");
    assert_eq!(inside("cat /etc/hosts"), on_node);

    node.shell(
        "mkdir -p /etc/netns/red; echo nameserver 192.0.2.53 > /etc/netns/red/resolv.conf; \
         echo 192.0.2.1 thing > /etc/netns/red/hosts",
    );
    assert_eq!(inside("cat /etc/resolv.conf"), "nameserver 192.0.2.53\n");
    assert_eq!(inside("cat /etc/hosts"), "192.0.2.1 thing\n");
    assert_eq!(node.shell("cat /etc/hosts"), on_node, "only in the pod");
    let mounts = node.shell("cat /proc/self/mountinfo");
    assert!(!mounts.contains("/etc/hosts"), "{mounts}");

    node.shell("echo x > /etc/netns/red/no-namesake-in-etc");
    let output = node.pod("red").exec(["cat", "/etc/resolv.conf"]).unwrap();
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "nameserver 192.0.2.53\n"),
        "{output}"
    );
    assert!(
        output.stderr.contains("no-namesake-in-etc"),
        "it says so: {output}"
    );
    assert!(node.attempt("ip netns exec red true").ok());
}

/// Its path leads elsewhere since, which the agent has not seen yet.
#[test]
fn nothing_is_run_in_a_namespace_that_is_not_the_pods_any_more() {
    let lab = cluster(1);
    let node = first(&lab);
    node.shell("ip netns add one; ip netns add two; ln -s /run/netns/one /run/way");
    node.add_pod_with("red", &["--netns", "/run/way"]);
    let exec = "podnetctl pod exec red -- true";
    node.shell(exec);
    for (target, said) in [
        ("/run/netns/two", "is another one by now"),
        ("/proc/self/ns/net", "that this command runs in"),
    ] {
        // In one step; the agent looks at the path only now and then.
        node.shell(&format!("ln -s {target} /run/new; mv -T /run/new /run/way"));
        let output = node.exec_with(["sh", "-c", exec], "", LIMIT).unwrap();
        assert_eq!(output.code, 125, "{target}: {output}");
        // The agent may have looked meanwhile.
        let known = output.stderr.contains(said) || output.stderr.contains("gone");
        assert!(known, "{target}: {output}");
    }
}
