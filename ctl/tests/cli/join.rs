//! `join`: the request, and the waiting.

use std::process::Stdio;
use std::time::{Duration, Instant};

use podnet_proto::ledger::{Ledger, Settings};
use podnet_proto::token::JoinToken;
use podnet_proto::{ApiError, Boot, ClusterId, ErrorCode, GossipKey, NodeId, PodNetwork};
use serde_json::{Value, json};

use crate::fake_agent::{FakeAgent, Reply, ready, without_block};
use crate::run::{finish, podnetctl, run};

fn token() -> String {
    let networks = vec![PodNetwork::parse("10.244.0.0/16", 24).unwrap()];
    let cluster = ClusterId::from_bytes([9; 16]);
    let founder = NodeId::from_bytes([1; 16]);
    let settings = Settings::default();
    let ledger = Ledger::genesis(cluster, networks.clone(), settings, founder, Boot(1));
    JoinToken {
        cluster,
        gossip_key: GossipKey::from_bytes([7; 32]),
        networks,
        checkpoint: ledger.checkpoint(),
    }
    .expose()
    .to_string()
}

/// An agent that has its first answer, and shows these in turn; the last one for ever.
fn agent_showing(shown: Vec<Value>) -> FakeAgent {
    let mut shown = shown.into_iter().map(Reply::ok).collect::<Vec<_>>();
    shown.reverse();
    let mut last = Value::Null;
    FakeAgent::start(move |request| {
        if request.line == "POST /v1/join" {
            return Reply::Json(202, json!({}));
        }
        match shown.pop() {
            Some(Reply::Json(_, status)) => last = status,
            Some(Reply::Bytes(_) | Reply::Silence) | None => {}
        }
        Reply::ok(last.clone())
    })
}

fn join(agent: &FakeAgent, flags: &str) -> crate::run::Ended {
    run(agent, &format!("join 10.0.0.1 --token {} {flags}", token()))
}

#[test]
fn it_waits_for_the_block_and_the_paths() {
    let mut unreached = ready();
    unreached["peers"][0]["path"] = json!("pending");
    let agent = agent_showing(vec![
        without_block("joining"),
        without_block("no-quorum"),
        without_block("joining"),
        unreached,
        ready(),
    ]);
    let ended = join(&agent, "-ojson").expect(0);
    let expected = json!({
        "node": ready()["node"], "cluster": ready()["cluster"], "blocks": ready()["blocks"]
    });
    assert_eq!(ended.json(), expected);
    let dead = "aaaaaaaaaaaaaaaaaaaaaaaaai (10.0.0.3:7846)";
    assert_eq!(
        ended.stderr,
        format!(
            "asking 10.0.0.1\n\
             a member of the cluster has answered\n\
             no block yet\n\
             no block yet: no majority of voters reachable (2 of 3)\n\
             no block yet\n\
             owns 10.244.1.0/24; path to 0 of 1 peers\n\
             warning: {dead} is dead, and was not waited for\n"
        )
    );
    assert_eq!(agent.lines().len(), 1 + 5);
}

#[test]
fn it_sends_what_was_typed() {
    let agent = agent_showing(vec![ready()]);
    join(
        &agent,
        "10.0.0.2:99 --node-name n --advertise 10.0.0.9 --replace old --allow-overlap -q",
    )
    .expect(0);
    let expected = json!({
        "addresses": ["10.0.0.1", "10.0.0.2:99"], "token": token(), "node_name": "n",
        "advertise": "10.0.0.9", "replace": "old", "allow_overlap": true, "timeout_seconds": 10.0
    });
    assert_eq!(agent.requests()[0].body, expected);
    join(&agent, "--timeout 4s").expect(0);
    let body = &agent.requests()[2].body;
    assert_eq!(body["timeout_seconds"], 4.0);
}

#[test]
fn the_token_comes_from_a_file_from_standard_input_or_from_the_environment() {
    let agent = agent_showing(vec![ready()]);
    let file = agent.directory().join("token");
    std::fs::write(&file, token() + "\n").unwrap();
    run(
        &agent,
        &format!("join 10.0.0.1 --token-file {}", file.display()),
    )
    .expect(0);

    let mut command = podnetctl(&agent.socket());
    command
        .args(["join", "10.0.0.1", "--token-file", "-"])
        .stdin(Stdio::piped());
    finish(&mut command, &format!("\n{}\n", token())).expect(0);

    let mut command = podnetctl(&agent.socket());
    command
        .args(["join", "10.0.0.1"])
        .env("PODNET_TOKEN", token());
    finish(&mut command, "").expect(0);

    // A flag beats the environment, whatever that holds.
    let mut command = podnetctl(&agent.socket());
    command
        .args(["join", "10.0.0.1", "--token-file"])
        .arg(&file)
        .env("PODNET_TOKEN", "rubbish");
    finish(&mut command, "").expect(0);

    let joins = agent
        .requests()
        .into_iter()
        .filter(|request| request.line.starts_with("POST"));
    let tokens: Vec<Value> = joins.map(|request| request.body["token"].clone()).collect();
    assert_eq!(tokens, vec![json!(token()); 4]);
}

#[test]
fn a_deadline_that_passes_names_the_step_that_is_missing() {
    let mut unreached = ready();
    unreached["peers"][0]["path"] = json!("failed");
    unreached["peers"][0]["path_reason"] = json!("no echo");
    for (status, step) in [
        (without_block("joining"), "join: no block yet"),
        (
            without_block("no-quorum"),
            "join: no block yet: no majority of voters reachable (2 of 3)",
        ),
        (unreached, "join: no path to node1 (10.0.0.1:7846): no echo"),
    ] {
        let agent = agent_showing(vec![status]);
        let ended = join(&agent, "--timeout 300ms -ojson").expect(124);
        assert_eq!(ended.error_code(), "timeout");
        assert_eq!(ended.message(), step);
        assert!(ended.stderr.contains("goes on by itself"), "{ended:?}");
    }
}

#[test]
fn a_peer_that_stays_silent_is_dead_after_the_probes() {
    let mut silent = ready();
    silent["peers"][1]["path"] = json!("pending");
    let started = Instant::now();
    let ended = join(&agent_showing(vec![silent]), "").expect(0);
    assert!(started.elapsed() >= Duration::from_secs(3));
    assert!(ended.stderr.contains("10.0.0.3:7846) is dead"), "{ended:?}");
}

#[test]
fn full_and_fenced_are_1() {
    for phase in ["full", "fenced"] {
        let agent = agent_showing(vec![without_block("joining"), without_block(phase)]);
        assert_eq!(join(&agent, "-ojson").expect(1).error_code(), phase);
    }
}

#[test]
fn refusals_are_passed_on() {
    for code in [
        ErrorCode::Unreachable,
        ErrorCode::WrongCluster,
        ErrorCode::Overlap,
    ] {
        let agent = FakeAgent::start(move |_| Reply::refuse(ApiError::new(code, "join: no")));
        let ended = join(&agent, "-ojson").expect(code.exit_code().into());
        assert_eq!(ended.error_code(), code.as_str());
        assert_eq!(agent.lines(), ["POST /v1/join"]);
    }
}

#[test]
fn the_agents_answer_beats_the_own_deadline() {
    // The agent says `unreachable` exactly when the time is over: that is the answer.
    let agent = FakeAgent::start(|request| {
        let wait = Duration::from_secs_f64(request.body["timeout_seconds"].as_f64().unwrap());
        let (_sender, receiver) = std::sync::mpsc::channel::<()>();
        assert!(receiver.recv_timeout(wait).is_err());
        Reply::refuse(ApiError::new(
            ErrorCode::Unreachable,
            "join: nobody answered",
        ))
    });
    let ended = join(&agent, "--timeout 500ms -ojson").expect(1);
    assert_eq!(ended.error_code(), "unreachable");
}

#[test]
fn an_agent_that_restarts_meanwhile_ends_nothing() {
    let mut looks = 0;
    let agent = FakeAgent::start(move |request| {
        if request.line == "POST /v1/join" {
            return Reply::Json(202, json!({}));
        }
        looks += 1;
        match looks {
            1 => Reply::ok(without_block("joining")),
            2 => Reply::Bytes(b""),
            3 => Reply::refuse(ApiError::new(ErrorCode::Internal, "agent: starting")),
            _ => Reply::ok(ready()),
        }
    });
    let ended = join(&agent, "").expect(0);
    assert!(ended.stderr.contains("closed the connection"), "{ended:?}");
    assert!(
        ended.stdout.contains("node2 owns 10.244.1.0/24"),
        "{ended:?}"
    );
}

#[test]
fn an_agent_that_hangs_is_124() {
    let agent = FakeAgent::start(|request| {
        if request.line == "POST /v1/join" {
            Reply::Json(202, json!({}))
        } else {
            Reply::Silence
        }
    });
    let ended = join(&agent, "--timeout 300ms -ojson").expect(124);
    assert!(ended.message().contains("did not answer"), "{ended:?}");
}
