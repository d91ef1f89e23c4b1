//! Labs whose nodes form a cluster, and short ways to ask their nodes.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use podnet_lab::command::{Guard, Output};
use podnet_lab::{Lab, LabBuilder, Node, eventually};
use serde_json::Value;

/// How long anything may take before the test fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The program itself goes through this much faster than users' clusters do.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(200);
const RESYNC: Duration = Duration::from_millis(500);

/// A lab of agents that belong to no cluster.
pub(crate) fn idle(nodes: u8) -> LabBuilder {
    looking_every(RESYNC, nodes)
}

/// A lab of agents that belong to no cluster, and look at everything this often.
pub(crate) fn looking_every(resync: Duration, nodes: u8) -> LabBuilder {
    Lab::builder()
        .nodes(nodes)
        .encapsulation(Some("direct".to_owned()))
        .timing("gossip_interval", GOSSIP_INTERVAL)
        .timing("resync", resync)
}

/// A lab whose nodes form a cluster.
pub(crate) fn cluster(nodes: u8) -> Lab {
    let lab = idle(nodes).up().unwrap();
    lab.init_join_all().unwrap();
    lab
}

/// A lab of one node, whose block has this many addresses for pods: 2^(32 - `prefix`) - 3.
pub(crate) fn small_block(prefix: u8) -> Lab {
    let lab = idle(1).up().unwrap();
    found_small(first(&lab), prefix);
    lab
}

/// Founds a cluster with blocks of this size.
pub(crate) fn found_small(node: Node<'_>, prefix: u8) {
    let prefix = prefix.to_string();
    let words = ["init", "--pod-cidr", "10.9.0.0/24", "--block-prefix"];
    ask(node, &[words.as_slice(), &[&prefix]].concat());
}

/// The first node.
pub(crate) fn first(lab: &Lab) -> Node<'_> {
    lab.node("node1").unwrap()
}

/// What `podnetctl` answers as JSON; it has to succeed.
#[track_caller]
pub(crate) fn ask(node: Node<'_>, words: &[&str]) -> Value {
    let output = node.ctl(["-o", "json"].iter().chain(words)).unwrap();
    assert!(output.ok(), "podnetctl {}: {output}", words.join(" "));
    output.json().unwrap()
}

/// The exit code and the error code by which `podnetctl` refuses.
#[track_caller]
pub(crate) fn refusal(node: Node<'_>, words: &[&str]) -> (i32, String) {
    let (exit, error) = refused(node, words);
    (exit, text(&error["code"]).to_owned())
}

/// Adds a pod, for which no address must be left. The refusal has to say what to do about it.
#[track_caller]
pub(crate) fn assert_full(node: Node<'_>, name: &str) {
    let (exit, error) = refused(node, &["pod", "add", name]);
    assert_eq!((exit, text(&error["code"])), (1, "full"), "{error}");
    assert!(text(&error["hint"]).contains("podnetctl pod rm"), "{error}");
}

/// The exit code and the error by which `podnetctl` refuses.
#[track_caller]
fn refused(node: Node<'_>, words: &[&str]) -> (i32, Value) {
    let output = node.ctl(["-o", "json"].iter().chain(words)).unwrap();
    let what = format!("podnetctl {}: {output}", words.join(" "));
    assert!(!output.ok(), "{what}");
    let document: Value = output.json().unwrap();
    let error = document["error"].as_object().expect(&what);
    let keys: Vec<&str> = error.keys().map(String::as_str).collect();
    assert_eq!(keys, ["code", "hint", "message"], "{what}");
    (output.code, document["error"].clone())
}

/// A refusal, with its codes.
pub(crate) fn code(exit: i32, code: &str) -> (i32, String) {
    (exit, code.to_owned())
}

/// Runs a script in the node; it has to succeed.
#[track_caller]
pub(crate) fn shell(node: Node<'_>, script: &str) -> String {
    let output = node.exec(["sh", "-ec", script]).unwrap();
    assert!(output.ok(), "{script}: {output}");
    output.stdout
}

/// Runs a script in the node to whatever end.
pub(crate) fn attempt(node: Node<'_>, script: &str) -> Output {
    node.exec(["sh", "-ec", script]).unwrap()
}

/// What a command of the node prints as JSON; it has to succeed.
#[track_caller]
pub(crate) fn json(node: Node<'_>, command: &str) -> Value {
    serde_json::from_str(&shell(node, command)).unwrap()
}

/// All of a node that a pod could leave something in, line by line.
#[track_caller]
pub(crate) fn everything(node: Node<'_>) -> BTreeSet<String> {
    let script = "ip -o link; ip -o -4 address; ip -4 route show table all; \
        ip neighbour show nud permanent; ls /run/netns /run/podnet/pods; \
        iptables-save | grep -v '^[#:]'";
    shell(node, script).lines().map(str::to_owned).collect()
}

/// Waits until a node holds what it held before, no more and no less: a look that was under way knew
/// nothing of the last change.
#[track_caller]
pub(crate) fn until_again(node: Node<'_>, before: &BTreeSet<String>) {
    let nothing = [BTreeSet::new(), BTreeSet::new()];
    until("nothing more or less", &nothing, || {
        let now = everything(node);
        let less = before.difference(&now).cloned().collect();
        [less, now.difference(before).cloned().collect()]
    });
}

/// Adds a pod.
#[track_caller]
pub(crate) fn add(node: Node<'_>, name: &str) -> Value {
    ask(node, &["pod", "add", name])
}

/// The pod as it is shown now.
#[track_caller]
pub(crate) fn show(node: Node<'_>, name: &str) -> Value {
    ask(node, &["pod", "show", name])
}

/// All pods of the node.
#[track_caller]
pub(crate) fn pods(node: Node<'_>) -> Vec<Value> {
    ask(node, &["pod", "list"]).as_array().unwrap().clone()
}

/// A string of a document.
#[track_caller]
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The one address of a pod, without its prefix length.
#[track_caller]
pub(crate) fn address(pod: &Value) -> Ipv4Addr {
    let (address, _) = text(&pod["addresses"][0]).split_once('/').unwrap();
    address.parse().unwrap()
}

/// Waits until something that is looked at again and again is as it should be.
#[track_caller]
pub(crate) fn until<T: PartialEq + Debug>(what: &str, wanted: &T, mut look: impl FnMut() -> T) {
    let found = eventually(LIMIT, what, || {
        let found = look();
        if found == *wanted {
            Ok(())
        } else {
            Err(format!("{found:?} instead of {wanted:?}"))
        }
    });
    if let Err(error) = found {
        panic!("{error}");
    }
}

/// Waits until the reconciler has looked at everything again, `times` times: what is right now has
/// not been overlooked.
#[track_caller]
pub(crate) fn passes(node: Node<'_>, times: u64) {
    let passes = || {
        ask(node, &["status"])["reconcile"]["passes"]
            .as_u64()
            .unwrap()
    };
    let before = passes();
    let looked = || {
        if passes() > before + times {
            Ok(())
        } else {
            Err("no pass")
        }
    };
    eventually(LIMIT, "passes of the reconciler", looked).unwrap();
}

/// Does the same for many at once.
pub(crate) fn at_once<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> T + Sync,
) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .into_iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// A process in a network namespace of its own, inside of the node: as a container's is before
/// anybody gives it a network. It ends with its guard, and the namespace with it.
pub(crate) fn container(node: Node<'_>) -> Guard {
    let mut guard = node
        .spawn(["unshare", "--net", "sh", "-c", "echo in; exec sleep 600"])
        .unwrap();
    let lines = podnet_lab::lines::Lines::of(guard.stdout().unwrap());
    lines
        .wait_for(LIMIT, "a container", |line| line == "in")
        .unwrap();
    guard
}
