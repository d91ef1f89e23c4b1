//! Exit codes and the form of errors.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use podnet_proto::{ApiError, ErrorCode};
use serde_json::json;

use crate::fake_agent::{FakeAgent, Reply, ready};
use crate::run::{finish, podnetctl, run, run_with};

fn refusing(code: ErrorCode) -> FakeAgent {
    FakeAgent::start(move |_| Reply::refuse(ApiError::new(code, "WHAT: WHY").hint("CURE")))
}

fn nobody_to_ask() -> FakeAgent {
    FakeAgent::start(|request| panic!("asked for {request:?}"))
}

#[test]
fn every_code_has_its_exit_code_and_its_document() {
    for code in ErrorCode::ALL {
        let ended = run(&refusing(*code), "-o json status").expect(code.exit_code().into());
        let expected = json!({"error": {"code": code, "message": "WHAT: WHY", "hint": "CURE"}});
        assert_eq!(ended.json(), expected);
        assert_eq!(ended.stderr, "error: WHAT: WHY\nhint: CURE\n");
    }
}

#[test]
fn without_json_nothing_is_on_standard_output() {
    let ended = run(&refusing(ErrorCode::NotFound), "pod show red").expect(4);
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr, "error: WHAT: WHY\nhint: CURE\n");
}

#[test]
fn what_other_nodes_write_does_not_reach_the_terminal_raw() {
    let agent = FakeAgent::start(|_| {
        Reply::refuse(ApiError::new(
            ErrorCode::Exists,
            "node '\u{1b}[2Jx\n': exists",
        ))
    });
    let ended = run(&agent, "status").expect(5);
    assert_eq!(ended.stderr, "error: node '\\u{1b}[2Jx\\n': exists\n");
}

#[test]
fn no_agent_is_3() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.sock");
    let stale = directory.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    for (socket, why) in [(&missing, "no such socket"), (&stale, "no agent listens")] {
        for command in ["status", "nodes", "pod list", "pod rm red", "leave --yes"] {
            let ended = run_with(socket, command.split(' ').chain(["-ojson"])).expect(3);
            assert_eq!(ended.error_code(), "agent_unreachable");
            assert!(ended.message().contains(why), "{ended:?}");
            assert!(ended.message().contains(&*socket.to_string_lossy()));
            assert!(ended.stderr.contains("hint: start it with"), "{ended:?}");
        }
    }
}

#[test]
fn an_agent_that_never_answers_is_124() {
    let agent = FakeAgent::start(|_| Reply::Silence);
    for command in ["status", "pod add red", "token show", "leave --yes"] {
        let started = Instant::now();
        let ended = run(&agent, &format!("{command} --timeout 300ms -ojson")).expect(124);
        assert_eq!(ended.error_code(), "timeout");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn answers_that_make_no_sense_are_1() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nbanana",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    ] {
        let agent = FakeAgent::start(move |_| Reply::Bytes(bytes));
        let ended = run(&agent, "-o json status").expect(1);
        assert_eq!(ended.error_code(), "internal");
        assert!(ended.message().contains("GET /v1/status"), "{ended:?}");
    }
}

#[test]
fn an_agent_that_dies_while_it_is_asked_is_3() {
    for bytes in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 600\r\n\r\n{"] {
        let agent = FakeAgent::start(move |_| Reply::Bytes(bytes));
        let ended = run(&agent, "-o json status").expect(3);
        assert_eq!(ended.error_code(), "agent_unreachable");
    }
}

#[test]
fn usage_errors_are_2_and_a_document_where_json_is_asked_for() {
    let agent = nobody_to_ask();
    for line in [
        "frobnicate",
        "status --frobnicate",
        "init",
        "join",
        "pod",
        "pod exec red",
        "pod add red --netns /x --pid 1",
        "--timeout banana status",
        "status --timeout 0s",
        "join 192.0.2.1",
        "join 192.0.2.1 --token x --token-file y",
        "join 192.0.2.1 --token-file /nonexistent/token",
    ] {
        for json in ["-o json", "-ojson", "--output=json", "--output json"] {
            let ended = run(&agent, &format!("{line} {json}")).expect(2);
            assert_eq!(ended.error_code(), "usage", "{line}");
        }
        let ended = run(&agent, line).expect(2);
        assert_eq!(ended.stdout, "", "{line}");
    }
    run(&agent, "-o yaml status").expect(2);
    run(&agent, "").expect(2);
    assert_eq!(run(&agent, "-o json").expect(2).error_code(), "usage");
}

#[test]
fn bad_input_is_2_with_its_own_code_and_the_agent_is_not_asked() {
    let agent = nobody_to_ask();
    for (line, code) in [
        ("init --pod-cidr banana", "bad_cidr"),
        ("init --pod-cidr 10.244.1.0/16", "bad_cidr"),
        ("init --pod-cidr 10.244.0.0/16 --block-prefix 8", "bad_cidr"),
        ("init --pod-cidr 10.244.0.0/16,fd00::/48", "unsupported"),
        ("init --pod-cidr 10.244.0.0/16 --exclude-cidr x", "bad_cidr"),
        (
            "init --pod-cidr 10.244.0.0/16 --node-name Bad_Name",
            "bad_name",
        ),
        (
            "init --pod-cidr 10.244.0.0/16 --advertise node1",
            "bad_address",
        ),
        ("join 192.0.2.256 --token x", "bad_address"),
        ("join 192.0.2.1 --token podnet1.x", "bad_token"),
        ("join 192.0.2.1 --token x --node-name -x", "usage"),
        ("join 192.0.2.1 --token x --node-name=-x", "bad_name"),
        ("pod add Red", "bad_name"),
        ("pod show ../../etc", "bad_name"),
        ("pod rm red BLUE", "bad_name"),
    ] {
        let ended = run(&agent, &format!("{line} -ojson")).expect(2);
        assert_eq!(ended.error_code(), code, "{line}");
    }
    assert_eq!(agent.lines(), Vec::<String>::new());
}

#[test]
fn help_and_version_are_0() {
    let agent = nobody_to_ask();
    for line in [
        "--help",
        "help",
        "join --help",
        "pod help exec",
        "-ojson --help",
    ] {
        let ended = run(&agent, line).expect(0);
        assert!(
            ended.stdout.contains("Usage: podnetctl"),
            "{line}: {ended:?}"
        );
    }
    let ended = run(&agent, "--version").expect(0);
    assert_eq!(
        ended.stdout,
        concat!("podnetctl ", env!("PODNET_VERSION"), "\n")
    );
}

#[test]
fn the_token_of_the_environment_is_not_in_the_help() {
    let mut command = podnetctl(Path::new("/nonexistent"));
    command
        .env("PODNET_TOKEN", "podnet1.c2VjcmV0")
        .args(["join", "--help"]);
    assert!(
        !finish(&mut command, "")
            .expect(0)
            .stdout
            .contains("c2VjcmV0")
    );
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let agent = FakeAgent::start(|_| Reply::ok(ready()));
    for line in ["status", "-ojson status", "--help", "frobnicate -ojson"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = podnetctl(&agent.socket());
        command.args(line.split(' ')).stdout(Stdio::from(writer));
        let code = if line.contains("frobnicate") { 2 } else { 0 };
        finish(&mut command, "").expect(code);
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let agent = FakeAgent::start(|_| Reply::ok(ready()));
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = podnetctl(&agent.socket());
    command.arg("status").stdout(full);
    let ended = finish(&mut command, "").expect(1);
    assert!(
        ended.stderr.starts_with("error: standard output: "),
        "{ended:?}"
    );
}
