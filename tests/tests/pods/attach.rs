//! Namespaces that somebody else made become pods, and stay theirs.

use podnet_lab::prelude::*;

use crate::stage::cluster;

/// What is in the network namespace that this form of `ip` looks into.
fn inside(node: Node<'_>, ip: &str) -> String {
    node.shell(&format!("{ip} -o link; {ip} -o address; {ip} route"))
}

#[test]
fn a_namespace_is_attached_by_its_path_and_survives_its_pod() {
    let lab = cluster(2);
    let node = first(&lab);
    let far = lab.node("node2").unwrap();
    let there = far.add_pod("blue");
    node.shell("ip netns add mine");
    let before = inside(node, "ip -n mine");
    let words = ["pod", "add", "red", "--netns", "/run/netns/mine"];
    let pod: api::Pod = node.ask(&words);
    assert_eq!(pod.netns, "/run/netns/mine");
    assert_eq!(node.ask::<api::Pod>(&words), pod, "the same again");
    assert!(!node.attempt("test -e /run/netns/red").ok());
    node.pod("red").ping(there.address()).unwrap();
    far.pod("blue").ping(pod.address()).unwrap();
    for (parameter, wanted) in [
        ("accept_dad", "0"),
        ("accept_ra", "0"),
        ("disable_ipv6", "1"),
    ] {
        let path = format!("/proc/sys/net/ipv6/conf/eth0/{parameter}");
        let script = format!("! test -e {path} || ip netns exec mine cat {path}");
        let value = node.shell(&script);
        assert!([wanted, ""].contains(&value.trim()), "{parameter}: {value}");
    }

    node.remove_pod("red");
    let after = inside(node, "ip -n mine");
    assert!(
        !after.contains("eth0") && !after.contains("10.244."),
        "{after}"
    );
    assert!(before.contains("lo:") && after.contains("lo:"));
    assert!(node.attempt("ip netns exec mine true").ok());
}

/// Several processes share one pod, as containers share the namespace of a pause container.
#[test]
fn processes_of_one_pod_talk_over_its_loopback() {
    let lab = cluster(2);
    let node = first(&lab);
    let pause = container(node);
    let pid = pause.pid().to_string();
    let pod = node.add_pod_with("red", &["--pid", &pid]);
    assert_eq!(node.add_pod_with("red", &["--pid", &pid]), pod);
    assert_eq!(pod.netns, format!("/proc/{pid}/ns/net"));

    let local = "127.0.0.1".parse().unwrap();
    let red = node.pod("red");
    let _responder = red.respond().unwrap();
    assert_eq!(red.seen_as(local).unwrap(), local);
    assert_eq!(red.seen_as(pod.address()).unwrap(), pod.address());
    let far = lab.node("node2").unwrap();
    let there = far.add_pod("blue");
    assert_eq!(
        far.pod("blue").seen_as(pod.address()).unwrap(),
        there.address()
    );

    node.remove_pod("red");
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
    let before = node.shell("ip -o link; ip route");
    let agent = node.agent().unwrap().unwrap().pid.to_string();
    let holder = node.holder().unwrap().pid.to_string();
    node.shell("touch /run/host-net && mount --bind /proc/self/ns/net /run/host-net");
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
        refused(node, &words, ErrorCode::Unsupported);
    }
    assert_eq!(node.pods().len(), 0);
    assert_eq!(node.shell("ip -o link; ip route"), before);
}

#[test]
fn what_is_no_namespace_is_refused() {
    let lab = cluster(1);
    let node = first(&lab);
    node.shell(
"echo mine > /run/file; mkdir /run/directory; mkfifo /run/fifo; ln -s /run/nowhere /run/dangling",
);
    let ended = node.shell("true & echo $!");
    let by_path = |path, code| refused(node, &["pod", "add", "red", "--netns", path], code);
    by_path("/run/netns/nothing", ErrorCode::NotFound);
    by_path("/run/dangling", ErrorCode::NotFound);
    let ended = ended.trim();
    refused(
        node,
        &["pod", "add", "red", "--pid", ended],
        ErrorCode::NotFound,
    );
    for path in [
        "/run/file",
        "/run/directory",
        "/run/fifo",
        "/proc/self/ns/mnt",
        "/dev/null",
    ] {
        by_path(path, ErrorCode::Unsupported);
    }
    refused(node, &["pod", "add", "red", "--pid", "0"], ErrorCode::Usage);
    let both = ["pod", "add", "red", "--pid", "1", "--netns", "/run/file"];
    refused(node, &both, ErrorCode::Usage);
    assert_eq!(node.shell("cat /run/file"), "mine\n");
    assert_eq!(node.pods().len(), 0);
    node.add_pod("red");
}

#[test]
fn a_namespace_belongs_to_one_pod() {
    let lab = cluster(1);
    let node = first(&lab);
    let red = node.add_pod("red");
    let pause = container(node);
    let pid = pause.pid().to_string();
    let green = node.add_pod_with("green", &["--pid", &pid]);
    let path = format!("/proc/{pid}/ns/net");
    for place in [
        ["--netns", "/run/netns/red"],
        ["--pid", &pid],
        ["--netns", &path],
    ] {
        let words = [["pod", "add", "blue"].as_slice(), &place].concat();
        assert_eq!(node.ctl(&words).unwrap().code, 5, "{words:?}");
    }
    assert_eq!(node.pods(), [green.clone(), red]);
    node.pod("red").ping(green.address()).unwrap();
}

#[test]
fn a_namespace_that_has_an_interface_of_that_name_is_left_as_it_is() {
    let lab = cluster(1);
    let node = first(&lab);
    node.shell(
"ip netns add mine; ip -n mine link add eth0 type bridge; ip -n mine address add 192.0.2.1/24 dev eth0",
);
    let before = inside(node, "ip -n mine");
    let words = ["pod", "add", "red", "--netns", "/run/netns/mine"];
    refused(node, &words, ErrorCode::ForeignObject);
    assert_eq!(inside(node, "ip -n mine"), before);
    assert_eq!(node.pods().len(), 0);
    assert!(
        !node.shell("ip -o link").contains("pn"),
        "no half of a pair is left"
    );
    node.shell("ip -n mine link del eth0");
    let red: api::Pod = node.ask(&words);
    node.place().ping(red.address()).unwrap();
}

#[test]
fn two_pods_that_want_one_namespace_at_once_do_not_both_get_it() {
    let lab = cluster(1);
    let node = first(&lab);
    node.shell("ip netns add mine");
    let names = ["red", "green", "blue", "grey"];
    let add = |name| {
        node.ctl(["pod", "add", name, "--netns", "/run/netns/mine"])
            .unwrap()
            .code
    };
    let mut codes = at_once(names, add);
    codes.sort_unstable();
    assert_eq!(codes, [0, 5, 5, 5]);
    let left = node.pods();
    assert_eq!(left.len(), 1, "{left:?}");
    let host_ends = node.json("ip -j link show type veth");
    let host_ends = host_ends.as_array().unwrap().iter();
    let host_ends: Vec<_> = host_ends
        .filter(|link| link["master"] == "podnet0")
        .collect();
    assert_eq!(host_ends.len(), 1, "{host_ends:?}");
    node.place().ping(left[0].address()).unwrap();
    assert_eq!(left[0].state, PodState::Ready);
}

/// The default route and addresses that its owner gave it are the owner's.
#[test]
fn a_namespace_with_a_route_of_its_own_is_refused_whole() {
    let lab = cluster(1);
    let node = first(&lab);
    node.shell(
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
    assert_eq!(node.pods().len(), 0);
}
