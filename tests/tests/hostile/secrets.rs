//! Secrets, in whatever nodes say and keep: the join token, the key of gossip, the keys of nodes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use data_encoding::BASE64;
use podnet_agent::gossip::Keyring;
use podnet_agent::store::{Identity, make_state_dir};
use podnet_core::node::Member;
use podnet_lab::prelude::*;
use podnet_proto::api::{InitResponse, JoinRequest, TokenResponse};
use podnet_proto::ledger::{Ledger, Settings};
use podnet_proto::token::JoinToken;
use podnet_proto::{Boot, ClusterId, GossipKey, NodeId, PodNetwork};
use serde_json::{Value, json};

use crate::forms::Secrets;

/// All that was said, with who said it.
#[derive(Default)]
struct Told(Vec<(String, Vec<u8>)>);

impl Told {
    fn add(&mut self, what: impl Into<String>, said: impl Into<Vec<u8>>) {
        self.0.push((what.into(), said.into()));
    }

    fn output(&mut self, what: &str, output: &Output) {
        self.add(what, output.to_string());
    }

    /// Runs `podnetctl` in each form of its output, to whatever end.
    fn ctl(&mut self, node: Node<'_>, words: &[&str], token: &str) {
        let environment = [("PODNET_TOKEN", token)];
        for form in ["json", "table"] {
            let all = [&["-v", "-o", form], words].concat();
            let output = node.ctl_with(&all, &environment, 2 * LIMIT).unwrap();
            self.output(&format!("{} {words:?}", node.name()), &output);
        }
    }

    /// Runs a program in a node, to whatever end.
    fn exec(&mut self, node: Node<'_>, words: &[&str]) {
        let output = node.exec_with(words, "", LIMIT).unwrap();
        self.output(&format!("{} {words:?}", node.name()), &output);
    }
}

/// The content of a state file.
fn content(node: Node<'_>, file: &str) -> Value {
    let path = node.state_dir().join(file);
    let text = fs::read_to_string(&path).unwrap();
    let (_head, body) = text.split_once('\n').unwrap();
    serde_json::from_str(body).unwrap()
}

/// A key in a state file.
fn key(text: &Value) -> [u8; 32] {
    let bytes = BASE64.decode(text.as_str().unwrap().as_bytes()).unwrap();
    bytes.try_into().unwrap()
}

/// Adds what a member knows.
fn add_secrets(secrets: &mut Secrets, node: Node<'_>) {
    let name = node.name();
    secrets.key(
        format!("the key of {name}"),
        &key(&content(node, "identity")["key"]),
    );
    let gossip = key(&content(node, "cluster")["keys"][0]);
    secrets.key(format!("the gossip key of {name}"), &gossip);
    secrets.token(format!("the token of {name}"), &node.token().token);
}

/// The log of a node, byte by byte.
fn log(lab: &Lab, node: Node<'_>) -> Vec<u8> {
    fs::read(lab.dir().member(node.member()).log()).unwrap()
}

/// Everything that a user can do and do wrong, at the most talkative level.
fn assert_nothing_tells(format: &str) {
    let lab = agents(3)
        .env("PODNET_LOG_LEVEL", "trace")
        .env("PODNET_LOG_FORMAT", format)
        .up()
        .unwrap();
    let [node1, node2, node3] = nodes(&lab);
    let (mut secrets, mut told) = (Secrets::new(), Told::default());

    // Two clusters; the first one's secret is used in the wrong place, and then in the right one.
    let token = node1.init(None).unwrap().token;
    let other = node2.init(None).unwrap().token;
    add_secrets(&mut secrets, node1);
    add_secrets(&mut secrets, node2);
    told.ctl(node2, &["join", "192.168.56.11"], &token);
    told.ctl(node3, &["--timeout", "1s", "join", "192.168.56.11"], &other);
    told.ctl(node3, &["--timeout", "1s", "join", "192.168.56.99"], &token);
    let damaged = format!("{}x", &token[..token.len() - 1]);
    told.ctl(node3, &["join", "192.168.56.11"], &damaged);
    told.ctl(node3, &["join", &token], &token);
    told.ctl(
        node3,
        &["join", "192.168.56.11", "--token", &token, "x"],
        "",
    );
    for body in [
        json!({"addresses": ["192.168.56.99"], "token": token, "timeout_seconds": 0.1}),
        json!({"addresses": [token], "token": damaged}),
        json!({"token": [token]}),
    ] {
        let response = node3.http("POST", "/v1/join", &body.to_string());
        told.add("POST /v1/join", response.body.to_string());
    }
    told.ctl(node2, &["--yes", "leave"], "");
    let file = node2.config_dir().join("token");
    fs::write(file, &token).unwrap();
    told.ctl(
        node2,
        &["join", "192.168.56.11", "--token-file", "/etc/podnet/token"],
        "",
    );
    told.ctl(node3, &["join", "192.168.56.11"], &token);
    for node in [node1, node2, node3] {
        node.ready(2);
        add_secrets(&mut secrets, node);
        node.add_pod("red");
    }

    for node in [node1, node2, node3] {
        for words in [
            &["status"][..],
            &["nodes"],
            &["routes"],
            &["version"],
            &["pod", "list"],
            &["pod", "show", "red"],
            &["pod", "exec", "red", "--", "env"],
            &["pod", "add", "blue"],
            &["pod", "rm", "blue"],
            &["init", "--pod-cidr", "10.9.0.0/16"],
            &["no-such-command"],
            &["--help"],
        ] {
            told.ctl(node, words, "");
        }
        for path in ["/v1/status", "/v1/nodes", "/v1/routes", "/v1/pods", "/v1/x"] {
            let response = node.http("GET", path, "");
            told.add(path, response.body.to_string());
        }
        let agent = node.agent().unwrap().unwrap().pid;
        for file in ["cmdline", "environ"] {
            told.add(file, fs::read(format!("/proc/{agent}/{file}")).unwrap());
        }
    }

    // A crash, a start with damaged files, and an orderly stop.
    node2.kill().unwrap();
    for file in ["identity", "cluster"] {
        let path = node2.state_dir().join(file);
        let good = fs::read(&path).unwrap();
        for cut in [good.len() - 3, good.len() - 30] {
            fs::write(&path, &good[..cut]).unwrap();
            told.exec(node2, &["podnetd", "--log-level", "trace", "run"]);
        }
        fs::write(&path, &good).unwrap();
    }
    node2.start().unwrap();
    node2.ready(2);
    node2.term().unwrap();
    node2.start().unwrap();
    node2.ready(2);

    told.ctl(node2, &["--yes", "leave"], "");
    node2.term().unwrap();
    for command in [
        &["cleanup", "--yes"][..],
        &["reset", "--new-identity", "--yes"],
    ] {
        told.exec(
            node2,
            &[&["podnetd", "--log-level", "trace"], command].concat(),
        );
    }
    node2.start().unwrap();
    let identity = content(node2, "identity");
    secrets.key("the new key of node2", &key(&identity["key"]));
    assert_eq!(node2.status().phase, Phase::Idle);

    let search = secrets.search();
    for node in [node1, node2, node3] {
        node.term().unwrap();
        let log = log(&lab, node);
        let talkative = String::from_utf8_lossy(&log).matches("TRACE").count();
        assert!(talkative > 100, "{}: {talkative} lines", node.name());
        told.add(format!("the log of {}", node.name()), log);
        told.add("the run directory", node.shell("grep -rs '' /run/podnet"));
    }
    assert!(told.0.len() > 100, "{}", told.0.len());
    for (what, said) in &told.0 {
        assert_eq!(search.told(said), None, "{what}");
    }
    // What is meant to tell of them does.
    let known = fs::read(node1.state_dir().join("cluster")).unwrap();
    assert!(search.told(&known).is_some());
    let known = fs::read(node2.state_dir().join("identity")).unwrap();
    assert!(search.told(&known).is_some());
    assert!(search.told(format!("token={token}").as_bytes()).is_some());
}

/// A token of a new cluster with this key.
fn token_with(gossip_key: GossipKey) -> JoinToken {
    let cluster = ClusterId::from_bytes([9; 16]);
    let networks = vec![PodNetwork::parse("10.244.0.0/16", 24).unwrap()];
    let founder = NodeId::from_bytes([1; 16]);
    let settings = Settings::default();
    let ledger = Ledger::genesis(cluster, networks.clone(), settings, founder, Boot(1));
    JoinToken {
        cluster,
        gossip_key,
        networks,
        checkpoint: ledger.checkpoint(),
    }
}

#[test]
fn nothing_tells_of_secrets_in_text() {
    assert_nothing_tells("text");
}

#[test]
fn nothing_tells_of_secrets_in_json() {
    assert_nothing_tells("json");
}

#[test]
fn no_debug_of_a_type_tells_of_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().join("state");
    make_state_dir(&state_dir).unwrap();
    let identity = Identity::load_or_create(&state_dir, None).unwrap();
    let text = fs::read_to_string(state_dir.join("identity")).unwrap();
    let (_head, body) = text.split_once('\n').unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let node_key = key(&body["key"]);
    let raw: [u8; 32] = std::array::from_fn(|at| node_key[31 - at] ^ 0x5a);
    let gossip_key = GossipKey::from_bytes(raw);
    let join_token = token_with(gossip_key.clone());
    let text = join_token.expose().to_string();

    let mut secrets = Secrets::new();
    secrets.key("node key", &node_key);
    secrets.key("gossip key", &raw);
    secrets.token("token", &text);
    let search = secrets.search();
    let member = Member {
        cluster: join_token.cluster,
        name: "node1".parse().unwrap(),
        advertise: "192.0.2.1:7846".parse().unwrap(),
        advertise_fixed: false,
        gossip_key: gossip_key.clone(),
        networks: join_token.networks.clone(),
        checkpoint: join_token.checkpoint,
        seeds: Vec::new(),
    };
    let request = JoinRequest {
        addresses: vec!["192.0.2.1".to_owned()],
        token: text.clone(),
        ..JoinRequest::default()
    };
    let response = TokenResponse {
        token: text.clone(),
        join_command: format!("podnetctl join 192.0.2.1 --token {text}"),
    };
    let founded: InitResponse = serde_json::from_value(json!({
        "node": {
            "id": identity.node(),
            "name": "node1",
            "addresses": ["192.0.2.1:7846"],
            "version": "0.1.0",
            "boot": Boot(1),
            "instance": "00".repeat(8),
        },
        "cluster": {
            "id": member.cluster,
            "pod_cidrs": ["10.244.0.0/16"],
            "block_prefixes": [24],
            "encapsulation": "auto",
            "nodes": 1,
            "live_nodes": 1,
        },
        "blocks": ["10.244.0.0/24"],
        "token": text,
        "join_command": format!("podnetctl join 192.0.2.1 --token {text}"),
    }))
    .unwrap();
    let refused = [
        text[1..].parse::<JoinToken>().unwrap_err(),
        text[..text.len() - 1].parse::<JoinToken>().unwrap_err(),
    ];
    let keyring = Keyring::new(gossip_key.clone());
    for said in [
        format!("{identity:?} {identity:#?}"),
        format!("{gossip_key:?} {gossip_key:#?}"),
        format!("{join_token:?} {join_token:#?}"),
        format!("{member:?} {member:#?}"),
        format!("{keyring:?} {keyring:#?}"),
        format!("{request:?} {request:#?}"),
        format!("{response:?} {response:#?}"),
        format!("{founded:?} {founded:#?}"),
        format!("{refused:?} {} {}", refused[0], refused[1]),
    ] {
        assert_eq!(search.told(said.as_bytes()), None);
    }
}

/// Asserts that only their owner can read what is there, and returns how many files there are.
fn assert_private(path: &Path) -> usize {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mode = metadata.permissions().mode() & 0o7777;
    if !metadata.is_dir() {
        assert_eq!(mode, 0o600, "{}", path.display());
        return 1;
    }
    assert_eq!(mode, 0o700, "{}", path.display());
    let entries = fs::read_dir(path).unwrap();
    entries
        .map(|entry| assert_private(&entry.unwrap().path()))
        .sum()
}

#[test]
fn what_is_kept_is_for_its_owner_alone() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.term().unwrap();
    for dir in [node.state_dir(), node.run_dir()] {
        node.shell("rm -rf /run/podnet/* /var/lib/podnet/*");
        assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
    }
    node.shell("chmod 777 /var/lib/podnet");
    let agent = node
        .spawn(["sh", "-c", "umask 000; exec podnetd run"])
        .unwrap();
    eventually(LIMIT, "an agent", || {
        let output = node.ctl(["status"]).unwrap();
        if output.ok() { Ok(()) } else { Err(output) }
    })
    .unwrap();
    node.init(None).unwrap();
    node.add_pod("red");
    node.add_pod("blue");
    node.remove_pod("blue");
    assert!(assert_private(&node.state_dir()) >= 5);
    for file in ["boot", "freed", "sysctls", "pods"] {
        assert!(assert_private(&node.run_dir().join(file)) > 0);
    }
    node.leave();
    drop(agent);
}
