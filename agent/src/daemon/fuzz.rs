//! Any bytes as a join token, and as what a request says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use podnet_proto::api::{InitRequest, JoinRequest};
use podnet_proto::ledger::{Ledger, Settings};
use podnet_proto::token::{JoinToken, redact};
use podnet_proto::{ApiError, Boot, ClusterId, GossipKey, NodeId, PodNetwork};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::fuzz::{INPUTS, Sample, assert_corpus, damaged};
use podnet_core::node::{admission, founding};

const PORT: u16 = 7846;
const PREFIX: &str = "podnet1.";

fn token() -> JoinToken {
    let networks = vec![PodNetwork::parse("10.244.0.0/16", 24).unwrap()];
    let cluster = ClusterId::from_bytes([9; 16]);
    let founder = NodeId::from_bytes([1; 16]);
    let settings = Settings::default();
    let ledger = Ledger::genesis(cluster, networks.clone(), settings, founder, Boot(1));
    JoinToken {
        cluster,
        gossip_key: GossipKey::from_bytes([0xfb; 32]),
        networks,
        checkpoint: ledger.checkpoint(),
    }
}

/// A token with this content, and a checksum that is right.
fn sealed(content: &[u8]) -> String {
    let checksum = &Sha256::digest(content)[..4];
    let bytes = [content, checksum].concat();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// What is in a token.
fn content(token: &str) -> Vec<u8> {
    let body = token.strip_prefix(PREFIX).unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(body).unwrap();
    bytes.truncate(bytes.len() - 4);
    bytes
}

/// Whole tokens, and contents of tokens.
fn token_samples() -> Vec<Sample> {
    let whole = token().expose().to_string();
    let content = content(&whole);
    [
        ("spaced", format!(" {whole}\r\n").into_bytes()),
        (
            "other-version",
            whole.replacen("podnet1", "podnet2", 1).into_bytes(),
        ),
        ("whole", whole.into_bytes()),
        ("content", content),
        ("content-empty", b"{}".to_vec()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

/// A token reads or is refused; what was read is written so that it reads as the same, and neither
/// its `Debug` nor an error tells of it.
fn read_token(bytes: &[u8]) {
    for text in [String::from_utf8_lossy(bytes).into_owned(), sealed(bytes)] {
        match text.parse::<JoinToken>() {
            Ok(token) => {
                assert_eq!(token.expose().parse::<JoinToken>(), Ok(token.clone()));
                assert!(!format!("{token:?}").contains("key"));
            }
            Err(error) => assert!(error.to_string().len() < 100),
        }
        let redacted = redact(&text);
        let told = redacted.split(PREFIX).skip(1);
        assert!(
            told.into_iter().all(|told| told.starts_with("..")),
            "{redacted}"
        );
    }
}

/// Requests as clients send them.
fn request_samples() -> Vec<Sample> {
    let token = token().expose();
    let init = json!({
        "pod_cidrs": ["10.244.0.0/16"],
        "block_prefixes": [24],
        "node_name": "node1",
        "advertise": "192.0.2.1:7846",
        "encapsulation": "auto",
        "exclude_cidrs": ["192.168.0.0/16"],
        "allow_overlap": false,
    });
    let join = json!({
        "addresses": ["192.0.2.1", "192.0.2.2:7846"],
        "token": token.as_str(),
        "node_name": "node2",
        "advertise": "192.0.2.3",
        "allow_overlap": true,
        "timeout_seconds": 2.5,
    });
    let least = json!({"addresses": ["192.0.2.1"], "token": token.as_str()});
    [
        ("init", init),
        ("init-least", json!({"pod_cidrs": ["10.0.0.0/8"]})),
        ("join", join),
        ("join-least", least),
    ]
    .map(|(name, body)| (name.to_owned(), body.to_string().into_bytes()))
    .to_vec()
}

/// A request makes sense, or is refused as bad input, in one line of bounded length.
fn read_request(bytes: &[u8]) {
    let assert_bad_input = |error: &ApiError| {
        assert_eq!(error.code.exit_code(), 2, "{error:?}");
        let message = &error.message;
        assert!(message.len() < 1000 && !message.contains('\n'), "{error:?}");
    };
    if let Ok(request) = serde_json::from_slice::<InitRequest>(bytes) {
        match founding(&request, PORT) {
            Ok(founding) => assert_eq!(founding.networks.len(), 1),
            Err(error) => assert_bad_input(&error),
        }
    }
    if let Ok(request) = serde_json::from_slice::<JoinRequest>(bytes) {
        match admission(&request, PORT) {
            Ok(admission) => assert!(!admission.targets.is_empty()),
            Err(error) => assert_bad_input(&error),
        }
    }
}

#[test]
fn tokens() {
    assert_corpus(file!(), "tokens", &token_samples());
    bolero::check!(name = "tokens")
        .with_iterations(INPUTS)
        .for_each(read_token);
}

#[test]
fn damaged_tokens() {
    bolero::check!(name = "damaged_tokens")
        .with_iterations(INPUTS)
        .with_generator(damaged(token_samples()))
        .for_each(|bytes: &Vec<u8>| read_token(bytes));
}

#[test]
fn requests() {
    assert_corpus(file!(), "requests", &request_samples());
    bolero::check!(name = "requests")
        .with_iterations(INPUTS)
        .for_each(read_request);
}

#[test]
fn damaged_requests() {
    bolero::check!(name = "damaged_requests")
        .with_iterations(INPUTS)
        .with_generator(damaged(request_samples()))
        .for_each(|bytes: &Vec<u8>| read_request(bytes));
}
