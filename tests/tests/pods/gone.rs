//! Pods whose namespace vanishes under them.

use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{
    add, address, ask, assert_full, attempt, cluster, code, container, first, found_small,
    json as look, looking_every, passes, pods, refusal, shell, show, small_block, text, until,
};
use podnet_lab::Node;

fn until_gone(node: Node<'_>, name: &str) {
    until(&format!("{name} to be gone"), &json!("gone"), || {
        show(node, name)["state"].clone()
    });
}

/// The one problem that a node has.
fn only_problem(node: Node<'_>) -> Value {
    let status = ask(node, &["status"]);
    let problems = status["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{status}");
    problems[0].clone()
}

fn host_ends(node: Node<'_>) -> usize {
    shell(node, "ip -o link show master podnet0")
        .lines()
        .count()
}

#[test]
fn a_pod_whose_namespace_is_deleted_is_gone_and_its_address_free() {
    let lab = small_block(29);
    let node = first(&lab);
    let red = add(node, "red");
    for name in ["b", "c", "d", "e"] {
        add(node, name);
    }
    assert_full(node, "f");
    shell(node, "ip netns del red");
    until_gone(node, "red");
    let gone = show(node, "red");
    assert_eq!(gone["addresses"], json!([]));
    assert_eq!(pods(node).len(), 5, "it is listed still");
    assert_eq!(refusal(node, &["pod", "exec", "red", "--", "true"]).0, 125);
    until("the neighbour to go", &String::new(), || {
        shell(
            node,
            &format!("ip neighbour show dev podnet0 {}", address(&red)),
        )
    });
    let reused = add(node, "f");
    assert_eq!(address(&reused), address(&red));
    assert_eq!(host_ends(node), 5);

    // On a refusal nothing changes.
    assert_full(node, "red");
    assert_eq!(show(node, "red"), gone);
    ask(node, &["pod", "rm", "red"]);
    assert_eq!(refusal(node, &["pod", "show", "red"]), code(4, "not_found"));
    ask(node, &["pod", "rm", "f"]);
    let again = add(node, "red");
    assert_eq!(address(&again), address(&red));
    node.pod("b").ping(address(&again)).unwrap();
}

/// The agent hardly ever looks of its own accord: the kernel tells that the host end went.
#[test]
fn a_pod_whose_namespace_is_deleted_is_noticed_at_once() {
    let lab = looking_every(Duration::from_secs(3600), 1).up().unwrap();
    let node = first(&lab);
    found_small(node, 30);
    let red = add(node, "red");
    assert_full(node, "green");
    shell(node, "ip netns del red");
    until_gone(node, "red");
    assert_eq!(show(node, "red")["addresses"], json!([]));
    assert_eq!(host_ends(node), 0);
    let green = add(node, "green");
    assert_eq!(address(&green), address(&red));
    node.place().ping(address(&green)).unwrap();
    // And so is the next one, without a look in between.
    shell(node, "ip netns del green");
    until_gone(node, "green");
}

#[test]
fn a_gone_pod_is_made_anew_by_adding_it() {
    let lab = cluster(1);
    let node = first(&lab);
    let before = add(node, "red");
    shell(node, "ip netns del red");
    until_gone(node, "red");
    let again = add(node, "red");
    assert_eq!(again["state"], "ready");
    assert_eq!(address(&again), address(&before));
    node.place().ping(address(&again)).unwrap();
    passes(node, 2);
    assert_eq!(show(node, "red"), again);
}

#[test]
fn a_pod_whose_namespace_was_deleted_a_moment_ago_is_made_anew() {
    let lab = cluster(1);
    let node = first(&lab);
    add(node, "red");
    for _ in 0..10 {
        shell(node, "ip netns del red; podnetctl pod add red");
        let red = show(node, "red");
        assert_eq!(red["state"], "ready");
        node.place().ping(address(&red)).unwrap();
    }
    passes(node, 2);
    assert_eq!(pods(node).len(), 1);
    assert_eq!(host_ends(node), 1);
}

#[test]
fn a_pod_is_gone_with_the_last_process_of_its_namespace() {
    let lab = cluster(1);
    let node = first(&lab);
    let pause = container(node);
    let red = ask(
        node,
        &["pod", "add", "red", "--pid", &pause.pid().to_string()],
    );
    node.place().ping(address(&red)).unwrap();
    drop(pause);
    until_gone(node, "red");
    assert_eq!(show(node, "red")["addresses"], json!([]));
    assert_eq!(host_ends(node), 0);
    ask(node, &["pod", "rm", "red"]);
    assert_eq!(pods(node), Vec::<Value>::new());
}

#[test]
fn what_vanishes_while_no_agent_looks_is_gone_when_it_starts() {
    let lab = cluster(1);
    let node = first(&lab);
    add(node, "red");
    let green = add(node, "green");
    let pause = container(node);
    ask(
        node,
        &["pod", "add", "blue", "--pid", &pause.pid().to_string()],
    );
    node.kill().unwrap();
    shell(node, "ip netns del red");
    drop(pause);
    node.start().unwrap();
    until_gone(node, "red");
    until_gone(node, "blue");
    assert_eq!(show(node, "green"), green);
    node.place().ping(address(&green)).unwrap();
    assert_eq!(host_ends(node), 1);
}

/// A new namespace often gets the number of one that has just gone.
#[test]
fn a_namespace_that_took_the_place_of_a_pods_is_not_podnets() {
    let lab = cluster(1);
    let node = first(&lab);
    let swap = "ip netns del red; ip netns add red; ip -n red link add mine type bridge";
    add(node, "red");
    let red = add(node, "red");
    shell(node, swap);
    until_gone(node, "red");
    let foreign = || shell(node, "ip -n red -o link");
    let before = foreign();
    // On a refusal nothing changes.
    assert_eq!(
        refusal(node, &["pod", "add", "red"]),
        code(5, "foreign_object")
    );
    assert_eq!(show(node, "red")["state"], "gone");
    passes(node, 2);
    assert_eq!(foreign(), before);
    assert_eq!(host_ends(node), 0);
    ask(node, &["pod", "rm", "red"]);
    assert_eq!(foreign(), before, "rm removes what podnet made");

    // While no agent looks.
    shell(node, "ip netns del red");
    add(node, "red");
    node.kill().unwrap();
    shell(node, swap);
    node.start().unwrap();
    until_gone(node, "red");
    assert!(!foreign().contains("eth0"), "{}", foreign());
    ask(node, &["pod", "rm", "red"]);
    assert!(foreign().contains("mine"));
    assert!(!attempt(node, &format!("ping -c1 -W1 {}", address(&red))).ok());
}

/// A container that restarts has another process and another namespace, and is the same pod.
#[test]
fn a_pod_whose_container_restarts_keeps_its_address() {
    let lab = cluster(2);
    let [node, far] = ["node1", "node2"].map(|name| lab.node(name).unwrap());
    let blue = address(&add(far, "blue"));
    let mut pause = container(node);
    let attach = |pid: i32| ask(node, &["pod", "add", "web", "--pid", &pid.to_string()]);
    let web = attach(pause.pid());
    for noticed in [true, false, true] {
        drop(pause);
        if noticed {
            until_gone(node, "web");
            // Also by an agent that starts anew, and with other pods that come meanwhile.
            node.kill().unwrap();
            node.start().unwrap();
            assert_ne!(address(&add(node, "other")), address(&web));
            ask(node, &["pod", "rm", "other"]);
        }
        pause = container(node);
        let again = attach(pause.pid());
        assert_eq!(again["state"], "ready");
        assert_eq!(
            [&again["addresses"], &again["mac"]],
            [&web["addresses"], &web["mac"]]
        );
        far.pod("blue").ping(address(&web)).unwrap();
        let ping = format!("nsenter -t {} -n ping -c1 -W2 {blue}", pause.pid());
        assert!(attempt(node, &ping).ok());
    }
    assert_eq!(ask(node, &["status"])["problems"], json!([]));
}

/// What a gone pod had is its to have again, as long as there is anything else for others.
#[test]
fn the_address_of_a_gone_pod_is_given_to_others_last() {
    let lab = small_block(29);
    let node = first(&lab);
    let names = ["a", "b", "c", "d", "e"];
    let pods = names.map(|name| add(node, name));
    shell(node, "ip netns del a");
    until_gone(node, "a");
    ask(node, &["pod", "rm", "b"]);
    assert_eq!(address(&add(node, "new")), address(&pods[1]));
    assert_eq!(address(&add(node, "a")), address(&pods[0]));
    shell(node, "ip netns del a");
    until_gone(node, "a");
    assert_eq!(
        address(&add(node, "more")),
        address(&pods[0]),
        "there is no other"
    );
    assert_full(node, "a");
    ask(node, &["pod", "rm", "c"]);
    assert_eq!(address(&add(node, "a")), address(&pods[2]));
}

#[test]
fn gone_pods_are_named_with_their_cure() {
    let lab = cluster(1);
    let node = first(&lab);
    let names: Vec<String> = (0..7).map(|number| format!("pod{number}")).collect();
    for name in &names {
        add(node, name);
    }
    for (name, told) in [("pod0", "pod0"), ("pod3", "pod0, pod3")] {
        shell(node, &format!("ip netns del {name}"));
        until_gone(node, name);
        let problem = only_problem(node);
        assert_eq!(
            [&problem["code"], &problem["severity"]],
            ["not_found", "warning"]
        );
        assert!(text(&problem["message"]).ends_with(told), "{problem}");
        for cure in ["podnetctl pod add pod0 --pid", "podnetctl pod rm pod0"] {
            assert!(text(&problem["hint"]).contains(cure), "{problem}");
        }
    }
    for name in names
        .iter()
        .filter(|name| !matches!(name.as_str(), "pod0" | "pod3"))
    {
        shell(node, &format!("ip netns del {name}"));
        until_gone(node, name);
    }
    let problem = only_problem(node);
    assert!(
        text(&problem["message"]).ends_with("pod4 and 2 more"),
        "{problem}"
    );
    for name in &names {
        ask(node, &["pod", "rm", name]);
    }
    assert_eq!(ask(node, &["status"])["problems"], json!([]));
}

/// What its owner turns into a namespace without our interface is made a pod again, not given up.
#[test]
fn an_interface_that_is_deleted_inside_is_made_anew() {
    let lab = cluster(1);
    let node = first(&lab);
    let pause = container(node);
    let pid = pause.pid().to_string();
    let red = ask(node, &["pod", "add", "red", "--pid", &pid]);
    shell(node, &format!("nsenter -t {pid} -n ip link del eth0"));
    until("an interface", &red["mac"], || {
        let script = format!("nsenter -t {pid} -n ip -j link show dev eth0 || echo '[{{}}]'");
        look(node, &script)[0]["address"].clone()
    });
    until("an answer", &true, || {
        node.place().ping(address(&red)).is_ok()
    });
    assert_eq!(show(node, "red"), red);
}

/// What became of one pod is nothing to the rest of the data path.
#[test]
fn a_pod_whose_path_leads_nowhere_is_gone_and_all_else_is_looked_after() {
    let lab = cluster(2);
    let node = first(&lab);
    let far = lab.node("node2").unwrap();
    let blue = address(&add(far, "blue"));
    let red = add(node, "red");
    let to_peer = || attempt(node, "ip route show proto 112 | grep via").ok();
    for (name, obstacle) in [
        ("green", "touch /run/theirs"),
        ("yellow", "ln -s /run/theirs /run/theirs"),
    ] {
        shell(
            node,
            "ip netns add theirs; mkdir /run/theirs; touch /run/theirs/ns; \
             mount --bind /run/netns/theirs /run/theirs/ns; ip netns del theirs",
        );
        let pod = ask(node, &["pod", "add", name, "--netns", "/run/theirs/ns"]);
        node.place().ping(address(&pod)).unwrap();
        shell(
            node,
            &format!("umount -l /run/theirs/ns; rm -r /run/theirs; {obstacle}"),
        );
        shell(node, "ip route del $(ip route show proto 112 | grep via)");
        until("the route to the peer", &true, to_peer);
        until_gone(node, name);
        node.pod("red").ping(blue).unwrap();
        far.pod("blue").ping(address(&red)).unwrap();
        let problem = only_problem(node);
        assert!(text(&problem["message"]).contains(name), "{problem}");
        ask(node, &["pod", "rm", name]);
        assert_eq!(ask(node, &["status"])["problems"], json!([]));
        shell(node, "rm /run/theirs");
    }
}
