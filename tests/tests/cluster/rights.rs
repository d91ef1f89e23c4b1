//! Hosts that do not let the agent do all, and hosts without IPv6.

use nix::sys::signal::Signal;
use podnet_lab::process::ProcessId;
use podnet_lab::{Lab, Node, eventually};

use crate::scene::{
    LIMIT, add_pod, ask, builder, cluster, ctl, list, nodes, ready, refused, shell, status, text,
};
use crate::snapshot::Snapshot;

/// What starts an agent without a capability.
fn without(lab: &Lab, capability: &str) -> [String; 5] {
    let program = lab.programs().path("podnetd").unwrap();
    [
        "setpriv".to_owned(),
        format!("--bounding-set=-{capability}"),
        format!("--inh-caps=-{capability}"),
        program.display().to_string(),
        "run".to_owned(),
    ]
}

/// Without raw sockets nobody can be asked whether the path to a peer works.
#[test]
fn without_the_right_to_raw_sockets_no_agent_starts() {
    let (lab, _) = cluster(2);
    let [node1, node2] = nodes(&lab);
    let red = add_pod(node1, "red");
    add_pod(node2, "blue");
    node1.term().unwrap();
    let before = Snapshot::whole(node1);
    let words = without(&lab, "net_raw");
    let refused = node1.exec_with(words, "", LIMIT).unwrap();
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("error: "), "{refused}");
    assert!(
        refused
            .stderr
            .contains("hint: run podnetd with the capability CAP_NET_RAW"),
        "{refused}"
    );
    before.assert_same(&Snapshot::whole(node1), "an agent without raw sockets");
    node2.pod("blue").ping(red).unwrap();
    node1.start().unwrap();
    ready(node1, 1);
}

/// Only namespaces need it: the node is a member and says what it lacks, and its pods stay.
#[test]
fn without_the_right_to_enter_namespaces_a_node_is_a_member() {
    let (lab, _) = cluster(2);
    let [node1, node2] = nodes(&lab);
    let red = add_pod(node1, "red");
    add_pod(node2, "blue");
    let pod = ask(node1, &["pod", "show", "red"]);
    node1.term().unwrap();
    let mut agent = node1.spawn(without(&lab, "sys_admin")).unwrap();
    eventually(LIMIT, "a problem that names the right", || {
        let asked = ctl(node1, &["status"], "").map_err(|e| e.to_string())?;
        let status = asked.json().map_err(|e| e.to_string())?;
        let mut problems = status["problems"].as_array().into_iter().flatten();
        let named = problems.any(|problem| {
            problem["code"] == "not_permitted" && text(&problem["hint"]).contains("CAP_SYS_ADMIN")
        });
        if named && status["phase"] == "ready" {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .unwrap();
    assert_eq!(ask(node1, &["pod", "show", "red"]), pod);
    let names = || shell(node1, "ls /run/netns /run/podnet/pods");
    let before = (Snapshot::kernel(node1), names());
    let refusal = refused(node1, &["pod", "add", "green"], ("not_permitted", 1));
    assert!(refusal.hint.contains("CAP_SYS_ADMIN"), "{refusal:?}");
    before
        .0
        .assert_same(&Snapshot::kernel(node1), "pod add without the right");
    assert_eq!(names(), before.1);
    node2.pod("blue").ping(red).unwrap();
    let refusal = refused(node1, &["pod", "rm", "red"], ("not_permitted", 1));
    assert!(refusal.hint.contains("CAP_SYS_ADMIN"), "{refusal:?}");

    let process = ProcessId::of(agent.pid()).unwrap();
    process.signal(Signal::SIGTERM).unwrap();
    assert_eq!(agent.wait(LIMIT).unwrap(), 0);
    node1.start().unwrap();
    ready(node1, 1);
    // What was begun is brought to its end.
    eventually(LIMIT, "nothing of the pod", || match names() {
        left if left.contains("red") => Err(left),
        _ => Ok(()),
    })
    .unwrap();
    assert_eq!(list(&ask(node1, &["pod", "list"])).len(), 0);
    let green = add_pod(node1, "green");
    node2.pod("blue").ping(green).unwrap();
}

/// Hides all of IPv6 from a node, and gives its agent every program but those for IPv6.
fn without_ipv6(node: Node<'_>) {
    shell(
        node,
        "mount -t tmpfs -o ro tmpfs /proc/sys/net/ipv6; mkdir /etc/podnet/bin; \
         for dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do \
         find $dir/ -maxdepth 1 -name 'ip6*' -prune -o -name '?*' \\( -type f -o -type l \\) \
         -exec ln -sf -t /etc/podnet/bin {} +; done",
    );
    let found = shell(
        node,
        "cd /etc/podnet/bin; ls iptables ip6tables 2>&1 || true",
    );
    assert!(found.contains("\niptables"), "{found}");
    assert!(found.contains("'ip6tables'"), "{found}");
}

#[test]
fn a_host_may_know_nothing_of_ipv6() {
    let lab = builder(2).env("PATH", "/etc/podnet/bin").up().unwrap();
    let [node1, node2] = nodes(&lab);
    for node in [node1, node2] {
        without_ipv6(node);
    }
    let before = Snapshot::whole(node1);
    for cidrs in ["10.244.0.0/16,fd00:10::/56", "fd00:10::/56"] {
        let words = ["init", "--pod-cidr", cidrs];
        let refusal = refused(node1, &words, ("unsupported", 2));
        assert!(refusal.message.contains("IPv6"), "{refusal:?}");
    }
    before.assert_same(&Snapshot::whole(node1), "init with IPv6");

    lab.init_join_all().unwrap();
    let (red, blue) = (add_pod(node1, "red"), add_pod(node2, "blue"));
    let green = add_pod(node1, "green");
    let pings = || {
        node1.pod("red").ping(blue).unwrap();
        node2.pod("blue").ping(red).unwrap();
        node1.pod("green").ping(red).unwrap();
        node1.place().ping(green).unwrap();
        node2.pod("blue").ping(lab.internet().address()).unwrap();
    };
    pings();
    for node in [node1, node2] {
        let first = ready(node, 1);
        assert_eq!(list(&first["problems"]).len(), 0, "{first}");
        node.term().unwrap();
        node.start().unwrap();
        let again = ready(node, 1);
        assert_eq!(list(&again["problems"]).len(), 0, "{again}");
        assert_eq!(again["reconcile"]["drift_total"], 0, "{again}");
        assert_eq!(again["reconcile"]["failed_total"], 0, "{again}");
    }
    pings();
    ask(node2, &["--yes", "leave"]);
    assert_eq!(status(node2)["phase"], "idle");
}
