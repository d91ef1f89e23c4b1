//! Words on the command line of `podnet-lab`.

use std::process::Command;

use podnet_lab::command::run;
use podnet_lab::prelude::*;

use crate::unharmed::Unharmed;
use crate::words::assert_all;

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
