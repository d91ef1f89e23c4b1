//! `pod`.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use podnet_proto::{ApiError, ErrorCode};
use serde_json::{Value, json};

use crate::fake_agent::{FakeAgent, Reply, Request, pod};
use crate::run::run;

/// A node with these pods.
fn node_with(pods: &'static [&'static str]) -> FakeAgent {
    FakeAgent::start(move |request: &Request| {
        let (method, path) = request.line.split_once(' ').unwrap();
        let name = path.trim_start_matches("/v1/pods/");
        match method {
            _ if !pods.contains(&name) => Reply::refuse(ApiError::new(
                ErrorCode::NotFound,
                format!("pod {name}: none"),
            )),
            "DELETE" => Reply::Json(204, Value::Null),
            _ => Reply::ok(pod(name)),
        }
    })
}

#[test]
fn add_sends_what_was_typed_and_prints_the_pod() {
    let agent = FakeAgent::start(|_| Reply::Json(201, pod("red")));
    for (line, sent) in [
        (
            "pod add red",
            json!({"name": "red", "netns": null, "pid": null, "trusted": false}),
        ),
        (
            "pod add red --netns /x",
            json!({"name": "red", "netns": "/x", "pid": null, "trusted": false}),
        ),
        (
            "pod add red --pid 7",
            json!({"name": "red", "netns": null, "pid": 7, "trusted": false}),
        ),
        (
            "pod add red --trusted",
            json!({"name": "red", "netns": null, "pid": null, "trusted": true}),
        ),
    ] {
        assert_eq!(
            run(&agent, &format!("{line} -ojson")).expect(0).json(),
            pod("red")
        );
        let last = agent.requests().pop().unwrap();
        assert_eq!((last.line.as_str(), last.body), ("POST /v1/pods", sent));
    }
}

#[test]
fn rm_removes_all_and_prints_them() {
    let agent = node_with(&["blue", "red"]);
    let ended = run(&agent, "pod rm red blue red -ojson").expect(0);
    assert_eq!(ended.json(), json!([pod("blue"), pod("red")]));
    let mut lines = agent.lines();
    lines.sort();
    assert_eq!(
        lines,
        [
            "DELETE /v1/pods/blue",
            "DELETE /v1/pods/red",
            "GET /v1/pods/blue",
            "GET /v1/pods/red"
        ]
    );
    let text = run(&agent, "pod rm red blue").expect(0).stdout;
    assert_eq!(text, "pod blue removed\npod red removed\n");
}

#[test]
fn rm_removes_nothing_where_one_is_missing() {
    let agent = node_with(&["blue", "red"]);
    let ended = run(&agent, "pod rm red green blue -ojson").expect(4);
    assert_eq!(ended.error_code(), "not_found");
    assert!(ended.message().contains("green"));
    assert!(agent.lines().iter().all(|line| line.starts_with("GET ")));
}

#[test]
fn rm_takes_no_offence_at_someone_faster() {
    let agent = FakeAgent::start(|request| {
        if request.line.starts_with("GET ") {
            Reply::ok(pod("red"))
        } else {
            Reply::refuse(ApiError::new(ErrorCode::NotFound, "pod red: none"))
        }
    });
    run(&agent, "pod rm red").expect(0);
}

#[test]
fn rm_goes_on_after_a_failure_and_reports_it() {
    let agent = FakeAgent::start(|request| match request.line.as_str() {
        "DELETE /v1/pods/blue" => {
            Reply::refuse(ApiError::new(ErrorCode::Internal, "pod blue: netlink"))
        }
        "DELETE /v1/pods/red" => Reply::Json(204, Value::Null),
        line => Reply::ok(pod(line.trim_start_matches("GET /v1/pods/"))),
    });
    let ended = run(&agent, "pod rm blue red -ojson").expect(1);
    assert!(ended.message().contains("pod blue"));
    assert!(agent.lines().contains(&"DELETE /v1/pods/red".to_owned()));
}

#[test]
fn exec_fails_with_125_before_the_command_runs() {
    let missing = node_with(&[]);
    let gone = FakeAgent::start(|_| {
        let mut gone = pod("red");
        gone["state"] = json!("gone");
        Reply::ok(gone)
    });
    let no_namespace = FakeAgent::start(|_| {
        let mut pod = pod("red");
        pod["netns"] = json!("/nonexistent/netns/red");
        Reply::ok(pod)
    });
    for (agent, name) in [
        (&missing, "red"),
        (&missing, "Red"),
        (&gone, "red"),
        (&no_namespace, "red"),
    ] {
        let ended = run(agent, &format!("pod exec {name} -ojson -- echo started")).expect(125);
        let code = if name == "Red" {
            "bad_name"
        } else {
            "not_found"
        };
        assert_eq!(ended.error_code(), code);
        assert!(!ended.stdout.contains("started"));
    }
    let silent = FakeAgent::start(|_| Reply::Silence);
    let ended = run(
        &silent,
        "pod exec red --timeout 200ms -ojson -- echo started",
    )
    .expect(125);
    assert_eq!(ended.error_code(), "timeout");
}

/// The agent has just removed what was left of the pod, and the path leads to another namespace already.
#[test]
fn exec_runs_nothing_in_another_namespace_though_the_pods_host_end_is_gone() {
    let mut holder = Command::new("unshare")
        .args(["--net", "sh", "-c", "echo in; exec sleep 600"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let read = BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line);
    let mut gone = pod("red");
    gone["netns"] = json!(format!("/proc/{}/ns/net", holder.id()));
    gone["host_ifname"] = json!("pnnone");
    let agent = FakeAgent::start(move |_| Reply::ok(gone.clone()));
    let ended = run(&agent, "pod exec red -- echo done");
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!((read.unwrap(), line.as_str()), (3, "in\n"));
    let ended = ended.expect(125);
    assert_eq!(ended.stdout, "");
    assert!(
        ended.stderr.contains("another one by now"),
        "{}",
        ended.stderr
    );
}
