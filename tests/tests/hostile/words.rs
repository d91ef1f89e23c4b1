//! Words on the command lines of the three programs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use podnet_lab::Lab;
use podnet_lab::command::{Output, run};

use crate::scene::{LIMIT, add_pod, ctl, idle, nodes, refusal, shell};
use crate::unharmed::Unharmed;

/// What `podnetctl` refuses wherever it runs, with the code and the exit code.
const ANYWHERE: &[(&str, &str, i32)] = &[
    ("", "usage", 2),
    ("frobnicate", "usage", 2),
    ("--frobnicate status", "usage", 2),
    ("status --frobnicate", "usage", 2),
    ("status extra", "usage", 2),
    ("nodes extra", "usage", 2),
    ("routes extra", "usage", 2),
    ("version extra", "usage", 2),
    ("token", "usage", 2),
    ("token hide", "usage", 2),
    ("token show extra", "usage", 2),
    ("leave now", "usage", 2),
    ("leave", "usage", 2),
    ("status --yes=1", "usage", 2),
    ("status --quiet=1", "usage", 2),
    ("status -v=1", "usage", 2),
    ("status --timeout", "usage", 2),
    ("status --timeout=", "usage", 2),
    ("status --timeout banana", "usage", 2),
    ("status --timeout 30", "usage", 2),
    ("status --timeout 0s", "usage", 2),
    ("status --timeout -1s", "usage", 2),
    ("status --timeout 99999999999999999999s", "usage", 2),
    ("status --timeout 100years", "usage", 2),
    ("status --timeout 1s --timeout 2s", "usage", 2),
    ("status --socket", "usage", 2),
    ("status --socket=", "usage", 2),
    ("status --socket /run/podnet", "agent_unreachable", 3),
    ("status --socket /run/podnet/boot", "agent_unreachable", 3),
    ("status --socket /run/podnet/boot/x", "agent_unreachable", 3),
    (
        "status --socket /run/podnet/missing",
        "agent_unreachable",
        3,
    ),
    ("init", "usage", 2),
    ("init 10.244.0.0/16", "usage", 2),
    ("init --pod-cidr", "usage", 2),
    ("init --pod-cidr=", "bad_cidr", 2),
    ("init --pod-cidr ,", "bad_cidr", 2),
    ("init --pod-cidr banana", "bad_cidr", 2),
    ("init --pod-cidr 10.244.0.0", "bad_cidr", 2),
    ("init --pod-cidr 10.244.0.0/", "bad_cidr", 2),
    ("init --pod-cidr 10.244.0.0/33", "bad_cidr", 2),
    ("init --pod-cidr 10.244.0.0/-1", "bad_cidr", 2),
    ("init --pod-cidr 10.244.0.0/16/24", "bad_cidr", 2),
    ("init --pod-cidr 10.244.0.1/16", "bad_cidr", 2),
    ("init --pod-cidr 10.244.0/16", "bad_cidr", 2),
    ("init --pod-cidr 0.0.0.0/0", "bad_cidr", 2),
    ("init --pod-cidr 127.0.0.0/16", "bad_cidr", 2),
    ("init --pod-cidr 169.254.0.0/16", "bad_cidr", 2),
    ("init --pod-cidr 224.0.0.0/8", "bad_cidr", 2),
    ("init --pod-cidr 240.0.0.0/8", "bad_cidr", 2),
    ("init --pod-cidr 10.244.0.0/32", "bad_cidr", 2),
    ("init --pod-cidr 10.244.0.0/16,10.245.0.0/16", "bad_cidr", 2),
    ("init --pod-cidr fd00:244::/48", "unsupported", 2),
    ("init --pod-cidr 10.244.0.0/16,fd00::/48", "unsupported", 2),
    ("init --pod-cidr 10.244.0.0/16 extra", "usage", 2),
    ("init --pod-cidr 10.244.0.0/16 --block-prefix", "usage", 2),
    (
        "init --pod-cidr 10.244.0.0/16 --block-prefix=",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --block-prefix x",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --block-prefix=-1",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --block-prefix 0",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --block-prefix 15",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --block-prefix 31",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --block-prefix 256",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --block-prefix 24,64",
        "bad_cidr",
        2,
    ),
    ("init --pod-cidr 10.244.0.0/16 --node-name=", "bad_name", 2),
    (
        "init --pod-cidr 10.244.0.0/16 --node-name Node_1",
        "bad_name",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --node-name=-x",
        "bad_name",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --node-name n\u{f6}de",
        "bad_name",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --node-name a --node-name b",
        "usage",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --advertise=",
        "bad_address",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --advertise node1",
        "bad_address",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --advertise :7846",
        "bad_address",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --advertise 192.168.56.11:",
        "bad_address",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --advertise 192.168.56.11:0",
        "bad_address",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --advertise 192.168.56.11:65536",
        "bad_address",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --advertise 0.0.0.0",
        "bad_address",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --advertise 224.0.0.1",
        "bad_address",
        2,
    ),
    ("init --pod-cidr 10.244.0.0/16 --encapsulation=", "usage", 2),
    (
        "init --pod-cidr 10.244.0.0/16 --encapsulation gre",
        "usage",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --encapsulation wireguard",
        "unsupported",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --exclude-cidr=",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --exclude-cidr 10.0.0.0",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --exclude-cidr 10.0.0.0/33",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --exclude-cidr fd00::/8",
        "unsupported",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --allow-overlap=yes",
        "usage",
        2,
    ),
    ("join", "usage", 2),
    ("join 192.168.56.11", "usage", 2),
    ("join --token podnet1.x", "usage", 2),
    ("join 192.168.56.11 --token", "usage", 2),
    ("join 192.168.56.11 --token podnet1.x", "bad_token", 2),
    (
        "join 192.168.56.11 --token podnet1.x --token-file /x",
        "usage",
        2,
    ),
    ("join banana --token podnet1.x", "bad_address", 2),
    ("join 192.168.56 --token podnet1.x", "bad_address", 2),
    ("join 192.168.56.256 --token podnet1.x", "bad_address", 2),
    ("join 192.168.56.11/24 --token podnet1.x", "bad_address", 2),
    ("join 192.168.56.11:0 --token podnet1.x", "bad_address", 2),
    ("join 192.168.56.11:x --token podnet1.x", "bad_address", 2),
    (
        "join 192.168.56.11 node2 --token podnet1.x",
        "bad_address",
        2,
    ),
    ("join 0.0.0.0 --token podnet1.x", "bad_address", 2),
    (
        "join 192.168.56.11 --token podnet1.x --node-name Node_1",
        "bad_name",
        2,
    ),
    (
        "join 192.168.56.11 --token podnet1.x --advertise node1",
        "bad_address",
        2,
    ),
    (
        "join 192.168.56.11 --token podnet1.x --replace Node_1",
        "bad_name",
        2,
    ),
    (
        "join 192.168.56.11 --token podnet1.x --allow-overlap=1",
        "usage",
        2,
    ),
    ("pod", "usage", 2),
    ("pod frobnicate", "usage", 2),
    ("pod list extra", "usage", 2),
    ("pod add", "usage", 2),
    ("pod add red blue", "usage", 2),
    ("pod add Red", "bad_name", 2),
    ("pod add ../../etc", "bad_name", 2),
    ("pod add red/blue", "bad_name", 2),
    ("pod add red --pid", "usage", 2),
    ("pod add red --pid x", "usage", 2),
    ("pod add red --pid 0", "usage", 2),
    ("pod add red --pid -1", "usage", 2),
    ("pod add red --pid 4294967296", "usage", 2),
    ("pod add red --netns", "usage", 2),
    ("pod add red --netns=", "usage", 2),
    ("pod add red --netns /x --pid 1", "usage", 2),
    ("pod rm", "usage", 2),
    ("pod rm Red", "bad_name", 2),
    ("pod rm red Blue", "bad_name", 2),
    ("pod rm red", "not_found", 4),
    ("pod show", "usage", 2),
    ("pod show a b", "usage", 2),
    ("pod show Red", "bad_name", 2),
    ("pod show red", "not_found", 4),
    ("pod exec", "usage", 2),
    ("pod exec red", "usage", 2),
    ("pod exec red ls", "usage", 2),
    ("pod exec Red -- true", "bad_name", 125),
    ("pod exec red -- true", "not_found", 125),
];

/// What a member refuses, because it looks at the host or at the cluster.
const ON_A_MEMBER: &[(&str, &str, i32)] = &[
    ("init --pod-cidr 10.99.0.0/16", "already_member", 5),
    (
        "init --pod-cidr 10.244.0.0/16 --node-name other",
        "already_member",
        5,
    ),
    ("pod add green --netns /no/such", "not_found", 4),
    ("pod add green --netns /run/netns", "unsupported", 2),
    ("pod add green --netns /run/podnet/boot", "unsupported", 2),
    (
        "pod add green --netns /run/podnet/podnet.sock",
        "unsupported",
        2,
    ),
    ("pod add green --netns /run/podnet/fifo", "unsupported", 2),
    ("pod add green --netns /proc/self/ns/mnt", "unsupported", 2),
    ("pod add green --netns /dev/zero", "unsupported", 2),
    ("pod add green --pid 4194305", "not_found", 4),
    ("pod add foreign", "foreign_object", 5),
    ("pod add blue --netns /no/such", "exists", 5),
    ("pod rm blue red", "not_found", 4),
];

/// What an idle node refuses.
const ON_AN_IDLE_NODE: &[(&str, &str, i32)] = &[
    ("init --pod-cidr 192.168.0.0/16", "overlap", 2),
    (
        "init --pod-cidr 10.244.0.0/16 --advertise 192.168.56.99",
        "bad_address",
        2,
    ),
    ("token show", "not_member", 5),
    ("pod add red", "not_member", 5),
];

/// What an idle node refuses before a word that is not UTF-8, one that is very long, and one with
/// characters that are none to see, with the code and the exit code for each.
const BEFORE_ANY_WORD: &[(&str, [(&str, i32); 3])] = &[
    ("pod add", [("usage", 2), ("bad_name", 2), ("bad_name", 2)]),
    (
        "pod add red --netns",
        [("usage", 2), ("usage", 2), ("not_member", 5)],
    ),
    ("pod rm", [("usage", 2), ("bad_name", 2), ("bad_name", 2)]),
    ("pod show", [("usage", 2), ("bad_name", 2), ("bad_name", 2)]),
    (
        "init --pod-cidr",
        [("usage", 2), ("bad_cidr", 2), ("bad_cidr", 2)],
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --node-name",
        [("usage", 2), ("bad_name", 2), ("bad_name", 2)],
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --advertise",
        [("usage", 2), ("bad_address", 2), ("bad_address", 2)],
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --exclude-cidr",
        [("usage", 2), ("bad_cidr", 2), ("bad_cidr", 2)],
    ),
    (
        "join 192.168.56.11 --token",
        [("usage", 2), ("bad_token", 2), ("bad_token", 2)],
    ),
    (
        "join --token podnet1.x",
        [("usage", 2), ("bad_address", 2), ("bad_address", 2)],
    ),
    ("--timeout", [("usage", 2), ("usage", 2), ("usage", 2)]),
    ("frobnicate", [("usage", 2), ("usage", 2), ("usage", 2)]),
];

/// Runs each line, and asserts that all are refused as the table says.
#[track_caller]
fn assert_all(table: &[(&str, &str, i32)], run: impl Fn(&[&str]) -> Output) {
    let mut wrong = String::new();
    for (line, code, exit) in table {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = run(&words);
        let found = &output.json().unwrap()["error"]["code"];
        if (found, output.code) != (&(*code).into(), *exit) {
            wrong += &format!("{line}: {output}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What `podnetctl` refuses it tells people too, in one line.
#[track_caller]
fn told_once(output: Output) -> Output {
    refusal(&output);
    output
}

#[test]
fn words_that_podnetctl_refuses_change_nothing() {
    let lab = idle(2);
    let [member, idle] = nodes(&lab);
    member.init(None).unwrap();
    add_pod(member, "blue");
    shell(member, "mkfifo /run/podnet/fifo; touch /run/netns/foreign");
    let unharmed = [member, idle].map(Unharmed::watch);
    for node in [member, idle] {
        assert_all(ANYWHERE, |words| told_once(ctl(node, words, "").unwrap()));
    }
    assert_all(ON_A_MEMBER, |words| {
        told_once(ctl(member, words, "").unwrap())
    });
    assert_all(ON_AN_IDLE_NODE, |words| {
        told_once(ctl(idle, words, "").unwrap())
    });
    for format in ["", "yaml", "JSON"] {
        for node in [member, idle] {
            let refused = node.ctl(["-o", format, "status"]).unwrap();
            assert_eq!(
                (refused.code, refused.stdout.as_str()),
                (2, ""),
                "{refused}"
            );
            assert!(refused.stderr.starts_with("error: "), "{refused}");
        }
    }
    for unharmed in &unharmed {
        unharmed.assert("words that podnetctl refuses");
    }
}

#[test]
fn words_of_any_bytes_and_any_length_are_refused_in_one_line() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let unharmed = Unharmed::watch(node);
    let long = "x".repeat(100_000);
    let any = [
        OsStr::from_bytes(b"caf\xe9"),
        OsStr::new(&long),
        OsStr::new("a\nb\u{1b}[31m"),
    ];
    let mut wrong = String::new();
    for (words, expected) in BEFORE_ANY_WORD {
        for (last, expected) in any.iter().zip(expected) {
            let before = ["-o", "json"].into_iter().chain(words.split_whitespace());
            let output = node.ctl(before.map(OsStr::new).chain([*last])).unwrap();
            let refusal = refusal(&output);
            if (refusal.code.as_str(), refusal.exit) != *expected {
                wrong += &format!("{words}: {output}\n");
            }
            assert!(
                refusal.message.len() < 1000,
                "{} bytes",
                refusal.message.len()
            );
            assert!(!output.stderr.contains('\u{1b}'), "{output}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    unharmed.assert("words of any bytes");
}

/// What `podnet-lab` refuses, with the code and the exit code.
const OF_A_LAB: &[(&str, &str, i32)] = &[
    ("", "usage", 2),
    ("frobnicate", "usage", 2),
    ("status extra", "usage", 2),
    ("status --frobnicate", "usage", 2),
    ("up --nodes", "usage", 2),
    ("up --nodes x", "usage", 2),
    ("up --nodes -1", "usage", 2),
    ("up --nodes 256", "usage", 2),
    ("up --nodes 0", "unsupported", 2),
    ("up --nodes 251", "unsupported", 2),
    ("up --subnets x", "usage", 2),
    ("up --subnets 0", "unsupported", 2),
    ("up --subnets 101", "unsupported", 2),
    ("up --encapsulation gre", "usage", 2),
    ("up --join --no-agents", "usage", 2),
    ("up --nodes 9", "exists", 5),
    ("exec", "usage", 2),
    ("exec node1", "usage", 2),
    ("exec node9 -- true", "not_found", 4),
    ("logs", "usage", 2),
    ("logs node9", "not_found", 4),
    ("kill", "usage", 2),
    ("kill node1 node2", "usage", 2),
    ("kill node9", "not_found", 4),
    ("kill router", "not_found", 4),
    ("term node0", "not_found", 4),
    ("stop internet", "not_found", 4),
    ("cont node9", "not_found", 4),
    ("start node01", "not_found", 4),
    ("reboot", "usage", 2),
    ("reboot node1 node9", "not_found", 4),
    ("cut", "usage", 2),
    ("cut node1", "usage", 2),
    ("cut node1:", "usage", 2),
    ("cut :node1", "usage", 2),
    ("cut node1:node9", "not_found", 4),
    ("heal node1", "usage", 2),
    ("mtu node1", "usage", 2),
    ("mtu node1 67", "usage", 2),
    ("mtu node1 9001", "usage", 2),
    ("mtu node1 x", "usage", 2),
    ("mtu node9 1400", "not_found", 4),
    ("save node9", "not_found", 4),
    ("rollback node9", "not_found", 4),
    ("rollback node1", "not_found", 4),
    ("clone node9", "not_found", 4),
    ("demo", "unsupported", 2),
    ("--lab= status", "usage", 2),
    ("--lab ../lab status", "usage", 2),
    ("--lab Lab status", "usage", 2),
    ("--lab no-such-lab status", "not_found", 4),
];

/// Runs `podnet-lab` about a lab, as its users do.
fn podnet_lab(lab: &Lab, words: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(lab.programs().path("podnet-lab").unwrap());
    let named = ["--lab", lab.name().as_str()];
    // The last of several names would count, but clap takes only one.
    let named = if words.contains(&"--lab") || words.contains(&"--lab=") {
        &[][..]
    } else {
        &named
    };
    command
        .args(["-o", "json"].iter().chain(named).chain(words))
        .envs(environment.iter().copied());
    run(&mut command, "", LIMIT).unwrap()
}

#[test]
fn words_that_podnet_lab_refuses_change_nothing() {
    let lab = idle(2);
    let [member, idle] = nodes(&lab);
    member.init(None).unwrap();
    let unharmed = [member, idle].map(Unharmed::watch);
    assert_all(OF_A_LAB, |words| podnet_lab(&lab, words, &[]));
    for (name, value, code, exit) in [
        ("PODNET_LAB_DIR", "relative", "unsupported", 2),
        ("PODNET_LAB_DIR", "", "unsupported", 2),
        ("PODNET_LAB_DIR", "/run/with space", "unsupported", 2),
        ("PODNET_BIN_DIR", "/no/such", "missing_binary", 1),
        ("PODNET_BIN_DIR", "", "missing_binary", 1),
    ] {
        assert_all(&[("status", code, exit)], |words| {
            podnet_lab(&lab, words, &[(name, value)])
        });
    }
    for unharmed in &unharmed {
        unharmed.assert("words that podnet-lab refuses");
    }
}
