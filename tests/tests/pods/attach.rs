//! Namespaces that somebody else made become pods, and stay theirs.

use serde_json::json;

use super::stage::{
    LIMIT, add, address, ask, attempt, cluster, code, container, first, json as look, pods,
    refusal, shell, show, text,
};
use podnet_lab::Node;

/// What is in the network namespace that this form of `ip` looks into.
fn inside(node: Node<'_>, ip: &str) -> String {
    shell(node, &format!("{ip} -o link; {ip} -o address; {ip} route"))
}

#[test]
fn a_namespace_is_attached_by_its_path_and_survives_its_pod() {
    let lab = cluster(2);
    let node = first(&lab);
    let far = lab.node("node2").unwrap();
    let there = add(far, "blue");
    shell(node, "ip netns add mine");
    let before = inside(node, "ip -n mine");
    let words = ["pod", "add", "red", "--netns", "/run/netns/mine"];
    let pod = ask(node, &words);
    assert_eq!(pod["netns"], "/run/netns/mine");
    assert_eq!(ask(node, &words), pod, "the same again");
    assert!(!attempt(node, "test -e /run/netns/red").ok());
    node.pod("red").ping(address(&there)).unwrap();
    far.pod("blue").ping(address(&pod)).unwrap();
    for (parameter, wanted) in [
        ("accept_dad", "0"),
        ("accept_ra", "0"),
        ("disable_ipv6", "1"),
    ] {
        let path = format!("/proc/sys/net/ipv6/conf/eth0/{parameter}");
        let script = format!("! test -e {path} || ip netns exec mine cat {path}");
        let value = shell(node, &script);
        assert!([wanted, ""].contains(&value.trim()), "{parameter}: {value}");
    }

    ask(node, &["pod", "rm", "red"]);
    let after = inside(node, "ip -n mine");
    assert!(
        !after.contains("eth0") && !after.contains("10.244."),
        "{after}"
    );
    assert!(before.contains("lo:") && after.contains("lo:"));
    assert!(attempt(node, "ip netns exec mine true").ok());
}

/// Several processes share one pod, as containers share the namespace of a pause container.
#[test]
fn processes_of_one_pod_talk_over_its_loopback() {
    let lab = cluster(2);
    let node = first(&lab);
    let pause = container(node);
    let pid = pause.pid().to_string();
    let pod = ask(node, &["pod", "add", "red", "--pid", &pid]);
    assert_eq!(ask(node, &["pod", "add", "red", "--pid", &pid]), pod);
    assert_eq!(text(&pod["netns"]), format!("/proc/{pid}/ns/net"));

    let local = "127.0.0.1".parse().unwrap();
    let red = node.pod("red");
    let _responder = red.respond().unwrap();
    assert_eq!(red.seen_as(local).unwrap(), local);
    assert_eq!(red.seen_as(address(&pod)).unwrap(), address(&pod));
    let far = lab.node("node2").unwrap();
    let there = add(far, "blue");
    assert_eq!(
        far.pod("blue").seen_as(address(&pod)).unwrap(),
        address(&there)
    );

    ask(node, &["pod", "rm", "red"]);
    let left = inside(node, &format!("nsenter -t {pid} -n ip"));
    assert!(!left.contains("eth0"), "{left}");
    assert!(
        left.contains("127.0.0.1"),
        "its processes still talk over loopback: {left}"
    );
    assert!(
        node.exec(["kill", "-0", &pid]).unwrap().ok(),
        "its process was left alone"
    );
}

#[test]
fn the_network_of_the_host_is_never_a_pod() {
    let lab = cluster(1);
    let node = first(&lab);
    let before = shell(node, "ip -o link; ip route");
    let agent = node.agent().unwrap().unwrap().pid.to_string();
    let holder = node.holder().unwrap().pid.to_string();
    shell(
        node,
        "touch /run/host-net && mount --bind /proc/self/ns/net /run/host-net",
    );
    let path = format!("/proc/{agent}/ns/net");
    for place in [
        ["--pid", &agent],
        ["--pid", &holder],
        ["--netns", &path],
        ["--netns", "/run/host-net"],
        ["--netns", "/proc/self/ns/net"],
    ] {
        let words = [["pod", "add", "red"].as_slice(), &place].concat();
        let output = node.ctl(&words).unwrap();
        assert_eq!(output.code, 2, "{words:?}: {output}");
        assert!(
            output.stderr.contains("host's own network namespace"),
            "{output}"
        );
        assert_eq!(refusal(node, &words), code(2, "unsupported"), "{words:?}");
    }
    assert_eq!(pods(node).len(), 0);
    assert_eq!(shell(node, "ip -o link; ip route"), before);
}

#[test]
fn what_is_no_namespace_is_refused() {
    let lab = cluster(1);
    let node = first(&lab);
    shell(
        node,
        "echo mine > /run/file; mkdir /run/directory; mkfifo /run/fifo; ln -s /run/nowhere /run/dangling",
    );
    let ended = shell(node, "true & echo $!");
    let by_path = |path| refusal(node, &["pod", "add", "red", "--netns", path]);
    assert_eq!(by_path("/run/netns/nothing"), code(4, "not_found"));
    assert_eq!(by_path("/run/dangling"), code(4, "not_found"));
    let ended = ended.trim();
    assert_eq!(
        refusal(node, &["pod", "add", "red", "--pid", ended]),
        code(4, "not_found")
    );
    for path in [
        "/run/file",
        "/run/directory",
        "/run/fifo",
        "/proc/self/ns/mnt",
        "/dev/null",
    ] {
        assert_eq!(by_path(path), code(2, "unsupported"), "{path}");
    }
    assert_eq!(
        refusal(node, &["pod", "add", "red", "--pid", "0"]),
        code(2, "usage")
    );
    let both = ["pod", "add", "red", "--pid", "1", "--netns", "/run/file"];
    assert_eq!(refusal(node, &both), code(2, "usage"));
    assert_eq!(shell(node, "cat /run/file"), "mine\n");
    assert_eq!(pods(node).len(), 0);
    add(node, "red");
}

#[test]
fn a_namespace_belongs_to_one_pod() {
    let lab = cluster(1);
    let node = first(&lab);
    let red = add(node, "red");
    let pause = container(node);
    let pid = pause.pid().to_string();
    let green = ask(node, &["pod", "add", "green", "--pid", &pid]);
    let path = format!("/proc/{pid}/ns/net");
    for place in [
        ["--netns", "/run/netns/red"],
        ["--pid", &pid],
        ["--netns", &path],
    ] {
        let words = [["pod", "add", "blue"].as_slice(), &place].concat();
        let (exit, _) = refusal(node, &words);
        assert_eq!(exit, 5, "{words:?}");
    }
    assert_eq!(pods(node), [green.clone(), red]);
    node.pod("red").ping(address(&green)).unwrap();
}

#[test]
fn a_namespace_that_has_an_interface_of_that_name_is_left_as_it_is() {
    let lab = cluster(1);
    let node = first(&lab);
    shell(
        node,
        "ip netns add mine; ip -n mine link add eth0 type bridge; ip -n mine address add 192.0.2.1/24 dev eth0",
    );
    let before = inside(node, "ip -n mine");
    let words = ["pod", "add", "red", "--netns", "/run/netns/mine"];
    assert_eq!(refusal(node, &words), code(5, "foreign_object"));
    assert_eq!(inside(node, "ip -n mine"), before);
    assert_eq!(pods(node).len(), 0);
    assert!(
        !shell(node, "ip -o link").contains("pn"),
        "no half of a pair is left"
    );
    shell(node, "ip -n mine link del eth0");
    node.place().ping(address(&ask(node, &words))).unwrap();
}

#[test]
fn two_pods_that_want_one_namespace_at_once_do_not_both_get_it() {
    let lab = cluster(1);
    let node = first(&lab);
    shell(node, "ip netns add mine");
    let names = ["red", "green", "blue", "grey"];
    let add = |name| {
        node.ctl(["pod", "add", name, "--netns", "/run/netns/mine"])
            .unwrap()
            .code
    };
    let mut codes = super::stage::at_once(names, add);
    codes.sort_unstable();
    assert_eq!(codes, [0, 5, 5, 5]);
    let left = pods(node);
    assert_eq!(left.len(), 1, "{left:?}");
    let host_ends = look(node, "ip -j link show type veth");
    let host_ends = host_ends.as_array().unwrap().iter();
    let host_ends: Vec<_> = host_ends
        .filter(|link| link["master"] == json!("podnet0"))
        .collect();
    assert_eq!(host_ends.len(), 1, "{host_ends:?}");
    node.place().ping(address(&left[0])).unwrap();
    assert_eq!(show(node, text(&left[0]["name"]))["state"], "ready");
}

/// The default route and addresses that its owner gave it are the owner's.
#[test]
fn a_namespace_with_a_route_of_its_own_is_refused_whole() {
    let lab = cluster(1);
    let node = first(&lab);
    shell(
        node,
        "ip netns add mine; ip -n mine link add lan type bridge; ip -n mine link set lan up; \
         ip -n mine address add 192.0.2.1/24 dev lan; ip -n mine route add default via 192.0.2.254",
    );
    let before = inside(node, "ip -n mine");
    let output = node
        .exec_with(
            [
                "podnetctl",
                "pod",
                "add",
                "red",
                "--netns",
                "/run/netns/mine",
            ],
            "",
            LIMIT,
        )
        .unwrap();
    assert_eq!(output.code, 5, "{output}");
    let lo_up = before.replace("state DOWN", "state UNKNOWN");
    let after = inside(node, "ip -n mine");
    assert!(!after.contains("eth0"), "{after}\n{lo_up}");
    assert!(after.contains("default via 192.0.2.254 dev lan"), "{after}");
    assert_eq!(pods(node).len(), 0);
}
