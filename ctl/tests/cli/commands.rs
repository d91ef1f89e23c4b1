//! The commands that ask once and print the answer.

use std::path::Path;

use podnet_proto::{ApiError, ErrorCode};
use serde_json::json;

use crate::fake_agent::{FakeAgent, Reply, idle, pod, ready};
use crate::run::{run, run_with};

#[test]
fn json_is_the_body_of_the_answer() {
    let node = ready()["peers"][0].clone();
    let route = json!({"destination": "10.244.0.0/24", "via": "10.0.0.1", "device": "eth1",
        "node": "node1", "protocol": 112, "state": "ok"});
    for (line, path, body) in [
        ("status", "/v1/status", ready()),
        ("status", "/v1/status", idle()),
        ("nodes", "/v1/nodes", json!([node])),
        ("routes", "/v1/routes", json!([route])),
        ("pod list", "/v1/pods", json!([pod("red")])),
        ("pod show red", "/v1/pods/red", pod("red")),
        (
            "token show",
            "/v1/token",
            json!({"token": "podnet1.x", "join_command": "podnetctl"}),
        ),
    ] {
        let answer = body.clone();
        let agent = FakeAgent::start(move |_| Reply::ok(answer.clone()));
        assert_eq!(
            run(&agent, &format!("{line} -ojson")).expect(0).json(),
            body,
            "{line}"
        );
        assert_eq!(agent.lines(), [format!("GET {path}")]);
        let text = run(&agent, line).expect(0).stdout;
        assert!(
            !text.is_empty() && !text.contains('\u{1b}'),
            "{line}: {text}"
        );
    }
}

#[test]
fn empty_lists_are_0_and_people_are_told() {
    let agent = FakeAgent::start(|_| Reply::ok(json!([])));
    for (line, note) in [
        (
            "nodes",
            "no nodes: this node is not a member of a cluster\n",
        ),
        ("routes", "no routes\n"),
        ("pod list", "no pods\n"),
    ] {
        let ended = run(&agent, line).expect(0);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", note));
        let ended = run(&agent, &format!("{line} -ojson")).expect(0);
        assert_eq!((ended.json(), ended.stderr.as_str()), (json!([]), ""));
        assert_eq!(run(&agent, &format!("-q {line}")).expect(0).stderr, "");
    }
}

#[test]
fn the_token_stands_alone_on_standard_output() {
    let agent = FakeAgent::start(|_| {
        Reply::ok(json!({"token": "podnet1.x", "join_command": "podnetctl join 10.0.0.1 ..."}))
    });
    let ended = run(&agent, "token show").expect(0);
    assert_eq!(ended.stdout, "podnet1.x\n");
    assert!(ended.stderr.contains("podnetctl join 10.0.0.1"));
    assert_eq!(run(&agent, "-q token show").expect(0).stderr, "");
}

#[test]
fn version_is_0_without_an_agent() {
    let ours = env!("CARGO_PKG_VERSION");
    let agent = FakeAgent::start(|_| Reply::ok(ready()));
    let both = run(&agent, "version -ojson").expect(0).json();
    assert_eq!(both, json!({"podnetctl": ours, "podnetd": "0.1.0"}));
    let ended = run_with(Path::new("/nonexistent/sock"), ["version", "-ojson"]).expect(0);
    assert_eq!(ended.json(), json!({"podnetctl": ours, "podnetd": null}));
    let text = run_with(Path::new("/nonexistent/sock"), ["version"])
        .expect(0)
        .stdout;
    assert!(
        text.contains("podnetd:    unknown (agent at /nonexistent/sock"),
        "{text}"
    );
}

#[test]
fn init_passes_on_what_was_typed_and_prints_the_join_command() {
    let answer = json!({
        "node": ready()["node"], "cluster": ready()["cluster"], "blocks": ["10.244.0.0/24"],
        "token": "podnet1.x", "join_command": "podnetctl join 10.0.0.2 --token podnet1.x"
    });
    let body = answer.clone();
    let agent = FakeAgent::start(move |_| Reply::ok(body.clone()));
    let ended = run(
        &agent,
        "init --pod-cidr 10.244.0.0/16 --block-prefix 22 --node-name n --advertise 10.0.0.2:99 \
         --encapsulation wireguard --exclude-cidr 192.168.0.0/16 --exclude-cidr 172.16.0.0/12 \
         --allow-overlap -ojson",
    );
    assert_eq!(ended.expect(0).json(), answer);
    let sent = &agent.requests()[0];
    assert_eq!(sent.line, "POST /v1/init");
    let expected = json!({
        "pod_cidrs": ["10.244.0.0/16"], "block_prefixes": [22], "node_name": "n",
        "advertise": "10.0.0.2:99", "encapsulation": "wireguard",
        "exclude_cidrs": ["192.168.0.0/16", "172.16.0.0/12"], "allow_overlap": true
    });
    assert_eq!(sent.body, expected);

    let text = run(&agent, "init --pod-cidr 10.244.0.0/16")
        .expect(0)
        .stdout;
    assert!(
        text.ends_with("\n  podnetctl join 10.0.0.2 --token podnet1.x\n"),
        "{text}"
    );
    let quiet = run(&agent, "-q init --pod-cidr 10.244.0.0/16")
        .expect(0)
        .stdout;
    assert_eq!(quiet, "podnetctl join 10.0.0.2 --token podnet1.x\n");
}

#[test]
fn refusals_of_the_agent_are_passed_on() {
    let agent = FakeAgent::start(|_| {
        Reply::refuse(ApiError::new(
            ErrorCode::AlreadyMember,
            "init: a member already",
        ))
    });
    let ended = run(&agent, "init --pod-cidr 10.244.0.0/16 -ojson").expect(5);
    assert_eq!(ended.error_code(), "already_member");
}
