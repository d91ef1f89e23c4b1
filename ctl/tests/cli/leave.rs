//! `leave`.

use serde_json::{Value, json};

use crate::fake_agent::{FakeAgent, Reply, idle, ready, without_block};
use crate::run::run;

/// A member that is idle some looks after it was told to leave.
fn member(mut looks: usize) -> FakeAgent {
    let mut left = false;
    FakeAgent::start(move |request| match request.line.as_str() {
        "POST /v1/leave" => {
            left = true;
            Reply::Json(202, Value::Null)
        }
        _ if !left => Reply::ok(ready()),
        _ if looks > 0 => {
            looks -= 1;
            Reply::ok(without_block("leaving"))
        }
        _ => Reply::ok(idle()),
    })
}

#[test]
fn off_a_terminal_it_wants_a_yes() {
    let agent = member(0);
    let ended = run(&agent, "leave -ojson").expect(2);
    assert_eq!(ended.error_code(), "usage");
    assert!(ended.stderr.contains("--yes"));
    assert_eq!(agent.lines(), Vec::<String>::new());
}

#[test]
fn it_returns_when_the_node_is_idle() {
    let agent = member(3);
    let ended = run(&agent, "leave --yes -ojson").expect(0);
    assert_eq!(ended.json()["phase"], "idle");
    let requests = agent.requests();
    assert_eq!(requests[1].body, json!({"remove_pods": true}));
    assert_eq!(requests.len(), 1 + 1 + 4);
}

#[test]
fn a_node_that_has_to_stay_says_so_at_once() {
    let mut phases = ["ready", "leaving", "ready"].into_iter();
    let agent = FakeAgent::start(move |request| match request.line.as_str() {
        "POST /v1/leave" => Reply::Json(202, Value::Null),
        _ => Reply::ok(without_block(phases.next().unwrap())),
    });
    let ended = run(&agent, "leave --yes -ojson").expect(1);
    assert_eq!(ended.error_code(), "no_quorum");
    assert!(
        ended.stderr.contains("other nodes have joined"),
        "{ended:?}"
    );
}

#[test]
fn a_deadline_that_passes_says_so() {
    let agent = member(usize::MAX);
    let ended = run(&agent, "leave --yes --timeout 400ms -ojson").expect(124);
    assert_eq!(ended.error_code(), "timeout");
    assert!(ended.stderr.contains("goes on by itself"), "{ended:?}");
}

#[test]
fn what_holds_a_leave_up_is_named() {
    let waits_for = |what: &str, change: fn(&mut Value)| {
        let agent = FakeAgent::start(move |request| match request.line.as_str() {
            "POST /v1/leave" => Reply::Json(202, Value::Null),
            _ => {
                let mut status = without_block("leaving");
                change(&mut status);
                Reply::ok(status)
            }
        });
        let ended = run(&agent, "leave --yes --timeout 400ms -ojson").expect(124);
        assert!(ended.stderr.contains(what), "{what}: {ended:?}");
    };
    waits_for("is not released yet", |_| {});
    waits_for("0 of 1 voters", |status| {
        status["quorum"] = json!({"ok": false, "voters": 1, "reachable": 0});
    });
    waits_for("'iptables' is not installed", |status| {
        status["problems"] = json!([
            {"code": "foreign_object", "severity": "warning", "message": "something else", "hint": null},
            {"code": "missing_binary", "severity": "error",
             "message": "'iptables' is not installed", "hint": null},
        ]);
    });
}

#[test]
fn an_idle_node_has_nothing_to_do() {
    let agent = FakeAgent::start(|_| Reply::ok(idle()));
    let ended = run(&agent, "leave --yes").expect(0);
    assert!(ended.stdout.contains("nothing to do"), "{ended:?}");
    assert_eq!(agent.lines(), ["GET /v1/status"]);
}
