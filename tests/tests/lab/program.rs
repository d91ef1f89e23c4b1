//! The program, as users call it.

use std::os::unix::fs::symlink;
use std::process::Command;

use nix::sys::signal::Signal;
use podnet_lab::command::{Guard, run};
use podnet_lab::process::ProcessId;
use podnet_lab::{eventually, unique_name};

use super::{LIMIT, dir, is_gone, podnet_lab, program};

#[test]
fn the_program_says_what_it_did_by_its_exit_code() {
    let name = unique_name("cli");
    let up = ["up", "--nodes", "2", "--no-agents"];
    assert_eq!(podnet_lab(&name, &["status"]).code, 4);
    assert_eq!(podnet_lab(&name, &["down"]).code, 0, "nothing to do");
    assert_eq!(podnet_lab(&name, &["up", "--nodes", "0"]).code, 2);
    assert_eq!(podnet_lab(&name, &["up", "--nodes", "251"]).code, 2);
    assert_eq!(podnet_lab(&name, &["up", "--subnets", "0"]).code, 2);
    assert!(is_gone(&name), "a refusal changes nothing");

    let first = podnet_lab(&name, &up);
    assert_eq!(first.code, 0, "{first}");
    assert_eq!(podnet_lab(&name, &up).code, 0, "the same again");
    assert_eq!(
        podnet_lab(&name, &["up", "--nodes", "3", "--no-agents"]).code,
        5
    );
    assert_eq!(podnet_lab(&name, &["kill", "node3"]).code, 4);
    assert_eq!(
        podnet_lab(&name, &["kill", "node1"]).code,
        0,
        "no agent to kill"
    );
    assert_eq!(podnet_lab(&name, &["stop", "node1"]).code, 3);
    assert_eq!(
        podnet_lab(&name, &["exec", "node1", "--", "sh", "-c", "exit 9"]).code,
        9
    );
    assert_eq!(
        podnet_lab(&name, &["exec", "node1", "--", "podnet-lab", "-h"]).code,
        0
    );

    let status = podnet_lab(&name, &["status", "-o", "json"]).json().unwrap();
    assert_eq!(status["lab"], name.as_str());
    assert_eq!(status["nodes"][1]["name"], "node2");
    assert_eq!(status["nodes"][1]["address"], "192.168.56.12");
    assert_eq!(status["nodes"][1]["agent_pid"], serde_json::Value::Null);
    assert_eq!(status["internet"]["address"], "203.0.113.10");
    let pid = status["nodes"][0]["pid"].to_string();
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["-t", &pid, "-n", "-m", "-u", "hostname"]);
    assert_eq!(run(&mut nsenter, "", LIMIT).unwrap().stdout, "node1\n");

    assert_eq!(podnet_lab(&name, &["demo", "-o", "json"]).code, 2);
    assert_eq!(podnet_lab(&name, &["down", "-o", "json"]).stdout, "{}\n");
    assert!(is_gone(&name));
    let failure = podnet_lab(&name, &["-o", "json", "logs", "node1"]);
    assert_eq!(
        failure.json().unwrap()["error"]["code"],
        "not_found",
        "{failure}"
    );
    let usage = podnet_lab(&name, &["-o", "json", "up", "--bogus"]);
    assert_eq!(
        (usage.code, usage.json().unwrap()["error"]["code"].as_str()),
        (2, Some("usage"))
    );
}

/// A folder of programs whose agent is this script.
fn programs_with_agent(script: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    symlink(
        env!("CARGO_BIN_EXE_podnet-lab"),
        dir.path().join("podnet-lab"),
    )
    .unwrap();
    for program in ["podnetd", "podnetctl"] {
        // Written by another process: a file that is open for writing cannot be executed, and what
        // other tests start just now would inherit it open.
        let mut write = Command::new("sh");
        write.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]);
        let written = run(
            write.arg(dir.path().join(program)),
            &format!("#!/bin/sh\n{script}\n"),
            LIMIT,
        );
        assert!(written.unwrap().ok());
    }
    dir
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let name = unique_name("fails");
    let programs = programs_with_agent("echo no memory >&2; exit 1");
    let mut up = program(&name, &["up", "--nodes", "2"]);
    let failed = run(up.env("PODNET_BIN_DIR", programs.path()), "", LIMIT).unwrap();
    assert_eq!(failed.code, 1, "{failed}");
    assert!(failed.stderr.contains("no memory"), "{failed}");
    assert!(is_gone(&name));
}

#[test]
fn a_start_that_is_interrupted_leaves_nothing() {
    let name = unique_name("stops");
    let programs = programs_with_agent("exec sleep 600");
    let mut up = program(&name, &["up", "--nodes", "1"]);
    let up = up.env("PODNET_BIN_DIR", programs.path()).spawn().unwrap();
    let mut up = Guard::new(up);
    let agent = dir(&name).path().join("node1/agent.json");
    eventually(LIMIT, "agent", || {
        if agent.exists() {
            Ok(())
        } else {
            Err("not started")
        }
    })
    .unwrap();
    ProcessId::of(up.pid())
        .unwrap()
        .signal(Signal::SIGTERM)
        .unwrap();
    assert_eq!(up.wait(LIMIT).unwrap(), 130);
    assert!(is_gone(&name));
}
