//! An agent that has no descriptor left, and one that stops while it is asked something.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use podnet_lab::prelude::*;
use podnet_lab::process::ProcessId;
use serde_json::json;

/// How many connections more an agent has room for.
const ROOM: usize = 8;

/// How many somebody holds, and asks nothing.
const HELD: usize = 12;

fn descriptors(agent: ProcessId) -> usize {
    fs::read_dir(format!("/proc/{}/fd", agent.pid))
        .unwrap()
        .count()
}

fn connect(node: Node<'_>) -> UnixStream {
    let stream = UnixStream::connect(node.socket()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sooner than the agent gives up those who begin a request and do not end it.
#[test]
fn connections_that_nobody_uses_take_no_descriptor_from_others() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let agent = node.agent().unwrap().unwrap();
    let most = descriptors(agent) + ROOM;
    node.shell(&format!(
        "prlimit --pid {} --nofile={most}:{most}",
        agent.pid
    ));
    let held: Vec<UnixStream> = (0..HELD).map(|_| connect(node)).collect();
    let output = node
        .ctl(["--timeout", "5s", "-o", "json", "status"])
        .unwrap();
    assert!(output.ok(), "{output}");
    drop(held);
    assert_eq!(node.status().phase, Phase::Idle);
}

#[test]
fn whoever_waits_for_an_answer_hears_that_the_agent_stops() {
    let lab = idle(2);
    let [founder, node] = nodes(&lab);
    let invitation = founder.init(None).unwrap();
    let nobody = "192.168.56.99";
    let token = invitation.token;
    let body = json!({"addresses": [nobody], "token": token, "timeout_seconds": 60});
    let body = body.to_string();
    let mut join = connect(node);
    let length = body.len();
    let head =
        format!("POST /v1/join HTTP/1.1\r\nHost: podnet\r\nContent-Length: {length}\r\n\r\n");
    join.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut idle = connect(node);
    // Another join might come before this one.
    node.status_where("a join under way", |status| status.phase == Phase::Joining);
    node.term().unwrap();
    let mut answer = String::new();
    join.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains(r#""code":"agent_unreachable""#), "{answer}");
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    node.start().unwrap();
    assert_eq!(node.problems(), []);
}
