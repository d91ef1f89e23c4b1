//! Words on the command line of `podnetctl`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use podnet_lab::prelude::*;
use podnet_lab::scenario::misfits;

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
    ("init --pod-cidr ,", "bad_cidr", 2),
    ("init --pod-cidr 10.244.0.0/16,10.245.0.0/16", "bad_cidr", 2),
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
        "init --pod-cidr 10.244.0.0/16 --block-prefix 256",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --block-prefix 24,64",
        "bad_cidr",
        2,
    ),
    (
        "init --pod-cidr 10.244.0.0/16 --node-name a --node-name b",
        "usage",
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
    (
        "join 192.168.56.11 node2 --token podnet1.x",
        "bad_address",
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
    ("pod add red --pid", "usage", 2),
    ("pod add red --pid x", "usage", 2),
    ("pod add red --pid 0", "usage", 2),
    ("pod add red --pid -1", "usage", 2),
    ("pod add red --pid 4294967296", "usage", 2),
    ("pod add red --netns", "usage", 2),
    ("pod add red --netns=", "usage", 2),
    ("pod add red --netns /x --pid 1", "usage", 2),
    ("pod rm", "usage", 2),
    ("pod rm red Blue", "bad_name", 2),
    ("pod rm red", "not_found", 4),
    ("pod show", "usage", 2),
    ("pod show a b", "usage", 2),
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
pub(crate) fn assert_all(table: &[(&str, &str, i32)], run: impl Fn(&[&str]) -> Output) {
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
    let _ = refusal(&output);
    output
}

#[test]
fn words_that_podnetctl_refuses_change_nothing() {
    let lab = idle(2);
    let [member, idle] = nodes(&lab);
    member.init(None).unwrap();
    member.add_pod("blue");
    member.shell("mkfifo /run/podnet/fifo; touch /run/netns/foreign");
    let unharmed = [member, idle].map(Unharmed::watch);
    for node in [member, idle] {
        assert_all(ANYWHERE, |words| {
            told_once(node.ctl_json(words, "").unwrap())
        });
        for verb in ["add", "rm", "show"] {
            for name in misfits::NAMES {
                refused(node, &["pod", verb, "--", name], ErrorCode::BadName);
            }
        }
    }
    // Before it is asked whether there is anything to found.
    for (cidr, code) in misfits::POD_CIDRS {
        refused(member, &["init", "--pod-cidr", cidr], *code);
    }
    assert_all(ON_A_MEMBER, |words| {
        told_once(member.ctl_json(words, "").unwrap())
    });
    assert_all(ON_AN_IDLE_NODE, |words| {
        told_once(idle.ctl_json(words, "").unwrap())
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
