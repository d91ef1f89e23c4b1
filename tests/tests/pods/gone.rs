//! Pods whose namespace vanishes under them.

use std::time::Duration;

use podnet_lab::prelude::*;

use crate::stage::{assert_full, cluster, found_small, small_block};

fn until_gone(node: Node<'_>, name: &str) {
    until(&format!("{name} to be gone"), &PodState::Gone, || {
        node.show_pod(name).state
    });
}

/// The one problem that a node has.
fn only_problem(node: Node<'_>) -> api::ProblemEntry {
    let problems = node.problems();
    let [problem] = problems.as_slice() else {
        panic!("not one problem: {problems:?}");
    };
    problem.clone()
}

fn host_ends(node: Node<'_>) -> usize {
    node.shell("ip -o link show master podnet0").lines().count()
}

#[test]
fn a_pod_whose_namespace_is_deleted_is_gone_and_its_address_free() {
    let lab = small_block(29);
    let node = first(&lab);
    let red = node.add_pod("red");
    for name in ["b", "c", "d", "e"] {
        node.add_pod(name);
    }
    assert_full(node, "f");
    node.shell("ip netns del red");
    until_gone(node, "red");
    let gone = node.show_pod("red");
    assert_eq!(gone.addresses, []);
    assert_eq!(node.pods().len(), 5, "it is listed still");
    let words = ["pod", "exec", "red", "--", "true"];
    assert_eq!(node.ctl(words).unwrap().code, 125);
    until("the neighbour to go", &String::new(), || {
        node.shell(&format!("ip neighbour show dev podnet0 {}", red.address()))
    });
    let reused = node.add_pod("f");
    assert_eq!(reused.address(), red.address());
    assert_eq!(host_ends(node), 5);

    // On a refusal nothing changes.
    assert_full(node, "red");
    assert_eq!(node.show_pod("red"), gone);
    node.remove_pod("red");
    refused(node, &["pod", "show", "red"], ErrorCode::NotFound);
    node.remove_pod("f");
    let again = node.add_pod("red");
    assert_eq!(again.address(), red.address());
    node.pod("b").ping(again.address()).unwrap();
}

/// The agent hardly ever looks of its own accord: the kernel tells that the host end went.
#[test]
fn a_pod_whose_namespace_is_deleted_is_noticed_at_once() {
    let lab = looking_every(Duration::from_secs(3600), 1).up().unwrap();
    let node = first(&lab);
    found_small(node, 30);
    let red = node.add_pod("red");
    assert_full(node, "green");
    node.shell("ip netns del red");
    until_gone(node, "red");
    assert_eq!(node.show_pod("red").addresses, []);
    assert_eq!(host_ends(node), 0);
    let green = node.add_pod("green");
    assert_eq!(green.address(), red.address());
    node.place().ping(green.address()).unwrap();
    // And so is the next one, without a look in between.
    node.shell("ip netns del green");
    until_gone(node, "green");
}

#[test]
fn a_gone_pod_is_made_anew_by_adding_it() {
    let lab = cluster(1);
    let node = first(&lab);
    let before = node.add_pod("red");
    node.shell("ip netns del red");
    until_gone(node, "red");
    let again = node.add_pod("red");
    assert_eq!(again.state, PodState::Ready);
    assert_eq!(again.address(), before.address());
    node.place().ping(again.address()).unwrap();
    node.passes(2);
    assert_eq!(node.show_pod("red"), again);
}

#[test]
fn a_pod_whose_namespace_was_deleted_a_moment_ago_is_made_anew() {
    let lab = cluster(1);
    let node = first(&lab);
    node.add_pod("red");
    for _ in 0..10 {
        node.shell("ip netns del red; podnetctl pod add red");
        let red = node.show_pod("red");
        assert_eq!(red.state, PodState::Ready);
        node.place().ping(red.address()).unwrap();
    }
    node.passes(2);
    assert_eq!(node.pods().len(), 1);
    assert_eq!(host_ends(node), 1);
}

#[test]
fn a_pod_is_gone_with_the_last_process_of_its_namespace() {
    let lab = cluster(1);
    let node = first(&lab);
    let pause = container(node);
    let red = node.add_pod_with("red", &["--pid", &pause.pid().to_string()]);
    node.place().ping(red.address()).unwrap();
    drop(pause);
    until_gone(node, "red");
    assert_eq!(node.show_pod("red").addresses, []);
    assert_eq!(host_ends(node), 0);
    node.remove_pod("red");
    assert_eq!(node.pods(), []);
}

#[test]
fn what_vanishes_while_no_agent_looks_is_gone_when_it_starts() {
    let lab = cluster(1);
    let node = first(&lab);
    node.add_pod("red");
    let green = node.add_pod("green");
    let pause = container(node);
    node.add_pod_with("blue", &["--pid", &pause.pid().to_string()]);
    node.kill().unwrap();
    node.shell("ip netns del red");
    drop(pause);
    node.start().unwrap();
    until_gone(node, "red");
    until_gone(node, "blue");
    assert_eq!(node.show_pod("green"), green);
    node.place().ping(green.address()).unwrap();
    assert_eq!(host_ends(node), 1);
}

#[test]
fn a_namespace_that_took_the_place_of_a_pods_is_not_podnets() {
    let lab = cluster(1);
    let node = first(&lab);
    // Made before the other goes: a new namespace may get the inode number of one that has just gone, and is the
    // same to podnet then.
    let swap = "ip netns del other || true; ip netns add other && ip netns del red && touch /run/netns/red && \
                mount --bind /run/netns/other /run/netns/red && ip -n red link add mine type bridge";
    node.add_pod("red");
    let red = node.add_pod("red");
    node.shell(swap);
    until_gone(node, "red");
    let foreign = || node.shell("ip -n red -o link");
    let before = foreign();
    // On a refusal nothing changes.
    refused(node, &["pod", "add", "red"], ErrorCode::ForeignObject);
    assert_eq!(node.show_pod("red").state, PodState::Gone);
    node.passes(2);
    assert_eq!(foreign(), before);
    assert_eq!(host_ends(node), 0);
    node.remove_pod("red");
    assert_eq!(foreign(), before, "rm removes what podnet made");

    // While no agent looks.
    node.shell("ip netns del red");
    node.add_pod("red");
    node.kill().unwrap();
    node.shell(swap);
    node.start().unwrap();
    until_gone(node, "red");
    assert!(!foreign().contains("eth0"), "{}", foreign());
    node.remove_pod("red");
    assert!(foreign().contains("mine"));
    assert!(
        !node
            .attempt(&format!("ping -c1 -W1 {}", red.address()))
            .ok()
    );
}

/// A container that restarts has another process and another namespace, and is the same pod.
#[test]
fn a_pod_whose_container_restarts_keeps_its_address() {
    let lab = cluster(2);
    let [node, far] = nodes(&lab);
    let blue = far.add_pod("blue").address();
    let mut pause = container(node);
    let attach = |pid: i32| node.add_pod_with("web", &["--pid", &pid.to_string()]);
    let web = attach(pause.pid());
    for noticed in [true, false, true] {
        drop(pause);
        if noticed {
            until_gone(node, "web");
            // Also by an agent that starts anew, and with other pods that come meanwhile.
            node.kill().unwrap();
            node.start().unwrap();
            assert_ne!(node.add_pod("other").address(), web.address());
            node.remove_pod("other");
        }
        pause = container(node);
        let again = attach(pause.pid());
        assert_eq!(again.state, PodState::Ready);
        assert_eq!(
            (again.addresses, again.mac),
            (web.addresses.clone(), web.mac.clone())
        );
        far.pod("blue").ping(web.address()).unwrap();
        let ping = format!("nsenter -t {} -n ping -c1 -W2 {blue}", pause.pid());
        assert!(node.attempt(&ping).ok());
    }
    assert_eq!(node.problems(), []);
}

/// What a gone pod had is its to have again, as long as there is anything else for others.
#[test]
fn the_address_of_a_gone_pod_is_given_to_others_last() {
    let lab = small_block(29);
    let node = first(&lab);
    let names = ["a", "b", "c", "d", "e"];
    let pods = names.map(|name| node.add_pod(name));
    node.shell("ip netns del a");
    until_gone(node, "a");
    node.remove_pod("b");
    assert_eq!(node.add_pod("new").address(), pods[1].address());
    assert_eq!(node.add_pod("a").address(), pods[0].address());
    node.shell("ip netns del a");
    until_gone(node, "a");
    assert_eq!(
        node.add_pod("more").address(),
        pods[0].address(),
        "there is no other"
    );
    assert_full(node, "a");
    node.remove_pod("c");
    assert_eq!(node.add_pod("a").address(), pods[2].address());
}

#[test]
fn gone_pods_are_named_with_their_cure() {
    let lab = cluster(1);
    let node = first(&lab);
    let names: Vec<String> = (0..7).map(|number| format!("pod{number}")).collect();
    for name in &names {
        node.add_pod(name);
    }
    for (name, told) in [("pod0", "pod0"), ("pod3", "pod0, pod3")] {
        node.shell(&format!("ip netns del {name}"));
        until_gone(node, name);
        let problem = only_problem(node);
        assert_eq!(
            (problem.code, problem.severity),
            (ErrorCode::NotFound, Severity::Warning)
        );
        assert!(problem.message.ends_with(told), "{problem:?}");
        let hint = problem.hint.unwrap_or_default();
        for cure in ["podnetctl pod add pod0 --pid", "podnetctl pod rm pod0"] {
            assert!(hint.contains(cure), "{hint}");
        }
    }
    for name in names
        .iter()
        .filter(|name| !matches!(name.as_str(), "pod0" | "pod3"))
    {
        node.shell(&format!("ip netns del {name}"));
        until_gone(node, name);
    }
    let problem = only_problem(node);
    assert!(problem.message.ends_with("pod4 and 2 more"), "{problem:?}");
    for name in &names {
        node.remove_pod(name);
    }
    assert_eq!(node.problems(), []);
}

/// What its owner turns into a namespace without our interface is made a pod again, not given up.
#[test]
fn an_interface_that_is_deleted_inside_is_made_anew() {
    let lab = cluster(1);
    let node = first(&lab);
    let pause = container(node);
    let pid = pause.pid().to_string();
    let red = node.add_pod_with("red", &["--pid", &pid]);
    node.shell(&format!("nsenter -t {pid} -n ip link del eth0"));
    until("an interface", &red.mac, || {
        let script = format!("nsenter -t {pid} -n ip -j link show dev eth0 || echo '[{{}}]'");
        node.json(&script)[0]["address"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    });
    until("an answer", &true, || {
        node.place().ping(red.address()).is_ok()
    });
    assert_eq!(node.show_pod("red"), red);
}

/// What became of one pod is nothing to the rest of the data path.
#[test]
fn a_pod_whose_path_leads_nowhere_is_gone_and_all_else_is_looked_after() {
    let lab = cluster(2);
    let node = first(&lab);
    let far = lab.node("node2").unwrap();
    let blue = far.add_pod("blue").address();
    let red = node.add_pod("red");
    let to_peer = || node.attempt("ip route show proto 112 | grep via").ok();
    for (name, obstacle) in [
        ("green", "touch /run/theirs"),
        ("yellow", "ln -s /run/theirs /run/theirs"),
    ] {
        node.shell(
            "ip netns add theirs; mkdir /run/theirs; touch /run/theirs/ns; \
             mount --bind /run/netns/theirs /run/theirs/ns; ip netns del theirs",
        );
        let pod = node.add_pod_with(name, &["--netns", "/run/theirs/ns"]);
        node.place().ping(pod.address()).unwrap();
        node.shell(&format!(
            "umount -l /run/theirs/ns; rm -r /run/theirs; {obstacle}"
        ));
        node.shell("ip route del $(ip route show proto 112 | grep via)");
        until("the route to the peer", &true, to_peer);
        until_gone(node, name);
        node.pod("red").ping(blue).unwrap();
        far.pod("blue").ping(red.address()).unwrap();
        let problem = only_problem(node);
        assert!(problem.message.contains(name), "{problem:?}");
        node.remove_pod(name);
        assert_eq!(node.problems(), []);
        node.shell("rm /run/theirs");
    }
}
