//! Join tokens that are none.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use data_encoding::BASE64URL_NOPAD;
use podnet_lab::command::run;
use podnet_lab::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::unharmed::Unharmed;

/// How far into an error a token may be told: its version.
const PUBLIC: usize = "podnet1.".len();

/// A token with this content, and a checksum that is right.
fn token_of(content: &str) -> String {
    let mut bytes = content.as_bytes().to_vec();
    bytes.extend(&Sha256::digest(content)[..4]);
    format!("podnet1.{}", BASE64URL_NOPAD.encode(&bytes))
}

/// The JSON in a token.
fn content_of(token: &str) -> String {
    let body = token.strip_prefix("podnet1.").unwrap();
    let bytes = BASE64URL_NOPAD.decode(body.as_bytes()).unwrap();
    String::from_utf8(bytes[..bytes.len() - 4].to_vec()).unwrap()
}

/// What becomes of a token on its way, and what nobody ever made.
fn damaged(token: &str) -> Vec<String> {
    let content = content_of(token);
    assert_eq!(token_of(&content), token, "the form of a token");
    let length = token.len();
    let cuts = [
        1,
        PUBLIC - 1,
        PUBLIC,
        PUBLIC + 1,
        length / 2,
        length - 4,
        length - 1,
    ];
    let mut all: Vec<String> = cuts.iter().map(|cut| token[..*cut].to_owned()).collect();
    // A flipped bit in each part: the word, the version, the point, cluster, key, checksum.
    for at in [0, 6, 7, 8, 20, 60, 90, length / 2, length - 6, length - 1] {
        for bit in [0, 1, 5] {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            all.push(String::from_utf8(bytes).unwrap());
        }
    }
    let without = |key: &str| {
        let mut content: serde_json::Value = serde_json::from_str(&content).unwrap();
        content.as_object_mut().unwrap().remove(key).unwrap();
        token_of(&content.to_string())
    };
    let with = |key: &str, value: serde_json::Value| {
        let mut content: serde_json::Value = serde_json::from_str(&content).unwrap();
        content[key] = value;
        token_of(&content.to_string())
    };
    all.extend(["cluster", "key", "networks", "checkpoint"].map(without));
    all.extend([
        with("cluster", "".into()),
        with("cluster", 7.into()),
        with("key", "".into()),
        with("key", "AAAA".into()),
        with("key", "!".repeat(43).into()),
        with("networks", serde_json::json!([])),
        with("networks", serde_json::json!(["10.244.0.1/16"])),
        with("networks", 7.into()),
        with("checkpoint", serde_json::Value::Null),
        token_of(""),
        token_of("null"),
        token_of("{}"),
        token_of("[1,2,3]"),
        token_of(&"[".repeat(3000)),
    ]);
    let middle = length / 2;
    all.extend([
        token[1..].to_owned(),
        token.replacen("podnet1", "podnet2", 1),
        token.replacen("podnet1", "podnet", 1),
        token.replacen("podnet1.", "podnet1", 1),
        token.to_uppercase(),
        token.chars().rev().collect(),
        format!("{token}{token}"),
        format!("{token}="),
        format!("{token}.{token}"),
        format!("{} {}", &token[..middle], &token[middle..]),
        format!("{}\n{}", &token[..middle], &token[middle..]),
        format!("'{token}'"),
        format!("{token}{}", "A".repeat(5000)),
        "podnet1.".to_owned(),
        "podnet1.AAAA".to_owned(),
        "banana".to_owned(),
        " ".to_owned(),
    ]);
    all.retain(|damaged| damaged != token);
    all
}

/// Whether a text tells a part of a token that is secret.
fn tells(text: &str, token: &str) -> bool {
    let secret = token.get(PUBLIC..).unwrap_or_default().as_bytes();
    secret
        .chunks(12)
        .filter(|part| part.len() == 12)
        .any(|part| text.as_bytes().windows(12).any(|window| window == part))
}

fn two() -> (Lab, String) {
    let lab = idle(2);
    let [member, _] = nodes(&lab);
    let token = member.init(None).unwrap().token;
    (lab, token)
}

#[test]
fn a_damaged_token_is_refused_wherever_it_comes_from_and_not_told() {
    let (lab, token) = two();
    let [member, newcomer] = nodes(&lab);
    let unharmed = [member, newcomer].map(Unharmed::watch);
    let join = ["join", "192.168.56.11"];
    let file = newcomer.config_dir().join("token");
    for (number, bad) in damaged(&token).into_iter().enumerate() {
        fs::write(&file, &bad).unwrap();
        let from_file = [&join[..], &["--token-file", "/etc/podnet/token"]].concat();
        // A member refuses as a newcomer does.
        let node = if number % 5 == 0 { member } else { newcomer };
        let refusal = if node.name() == newcomer.name() {
            refused_with(newcomer, &from_file, "", ErrorCode::BadToken)
        } else {
            refused_with(member, &join, &bad, ErrorCode::BadToken)
        };
        let told = format!("{} {}", refusal.message, refusal.hint);
        assert!(!tells(&told, &bad), "{bad}: {told}");

        let body = serde_json::json!({"addresses": ["192.168.56.11"], "token": bad}).to_string();
        let response = node.http("POST", "/v1/join", &body);
        assert_eq!(
            (response.status, &response.body["code"]),
            (400, &"bad_token".into()),
            "{bad}"
        );
        assert!(!tells(&response.body.to_string(), &bad), "{bad}");
    }
    for unharmed in &unharmed {
        unharmed.assert("damaged tokens");
    }
}

#[test]
fn a_token_from_where_none_can_be_is_refused() {
    let (lab, token) = two();
    let [member, newcomer] = nodes(&lab);
    fs::write(newcomer.config_dir().join("token"), &token).unwrap();
    fs::write(newcomer.config_dir().join("latin"), b"podnet1.caf\xe9").unwrap();
    fs::write(newcomer.config_dir().join("nul"), format!("{token}\0")).unwrap();
    fs::write(newcomer.config_dir().join("empty"), "").unwrap();
    fs::write(newcomer.config_dir().join("long"), "A".repeat(4 << 20)).unwrap();
    newcomer.shell("mkfifo /etc/podnet/fifo");
    let unharmed = [member, newcomer].map(Unharmed::watch);
    for (file, code) in [
        ("/etc/podnet", ErrorCode::Usage),
        ("/etc/podnet/missing", ErrorCode::Usage),
        ("/etc/podnet/token/below", ErrorCode::Usage),
        ("/proc/self/mem", ErrorCode::Usage),
        ("/run/podnet/podnet.sock", ErrorCode::Usage),
        ("/etc/podnet/empty", ErrorCode::BadToken),
        ("/etc/podnet/latin", ErrorCode::BadToken),
        ("/etc/podnet/nul", ErrorCode::BadToken),
        ("/etc/podnet/long", ErrorCode::BadToken),
        ("/dev/zero", ErrorCode::BadToken),
        ("/etc/podnet/fifo", ErrorCode::Timeout),
    ] {
        let words = [
            "--timeout",
            "1s",
            "join",
            "192.168.56.11",
            "--token-file",
            file,
        ];
        let refusal = refused_with(newcomer, &words, "", code);
        if code != ErrorCode::BadToken {
            assert!(refusal.message.contains(file), "{refusal:?}");
        }
    }
    let words = ["join", "192.168.56.11", "--token-file="];
    refused_with(newcomer, &words, "", ErrorCode::Usage);
    // A flag beats the environment also where only the environment's token is right.
    let words = ["join", "192.168.56.11", "--token", "podnet1.x"];
    refused_with(newcomer, &words, &token, ErrorCode::BadToken);
    let words = ["join", "192.168.56.11", "--token-file", "/etc/podnet/empty"];
    refused_with(newcomer, &words, &token, ErrorCode::BadToken);
    let words = ["join", "192.168.56.11"];
    refused_with(newcomer, &words, "", ErrorCode::Usage);
    assert_eq!(of_any_bytes(newcomer), (ErrorCode::BadToken, 2));
    for unharmed in &unharmed {
        unharmed.assert("tokens from where none can be");
    }
}

/// How `join` refuses a token in the environment that is not UTF-8.
fn of_any_bytes(node: Node<'_>) -> (ErrorCode, i32) {
    let variable = OsStr::from_bytes(b"PODNET_TOKEN=podnet1.caf\xe9");
    let words = ["podnetctl", "-o", "json", "join", "192.168.56.11"].map(OsString::from);
    let all = ["env".into(), variable.to_owned()].into_iter().chain(words);
    let output = run(&mut node.command(all).unwrap(), "", LIMIT).unwrap();
    let refusal = refusal(&output);
    (refusal.code, refusal.exit)
}

#[test]
fn a_token_in_the_wrong_place_is_not_told() {
    let (lab, token) = two();
    let [member, newcomer] = nodes(&lab);
    let unharmed = [member, newcomer].map(Unharmed::watch);
    for (line, code) in [
        ("join TOKEN", ErrorCode::BadAddress),
        ("join TOKEN --token TOKEN", ErrorCode::BadAddress),
        ("join 192.168.56.11 TOKEN", ErrorCode::BadAddress),
        (
            "join 192.168.56.11 --advertise TOKEN",
            ErrorCode::BadAddress,
        ),
        ("join 192.168.56.11 --node-name TOKEN", ErrorCode::BadName),
        ("join 192.168.56.11 --replace TOKEN", ErrorCode::BadName),
        ("join 192.168.56.11 --token-file TOKEN", ErrorCode::Usage),
        ("join 192.168.56.11 --timeout TOKEN", ErrorCode::Usage),
        ("init --pod-cidr TOKEN", ErrorCode::BadCidr),
        (
            "init --pod-cidr 10.244.0.0/16 --node-name TOKEN",
            ErrorCode::BadName,
        ),
        (
            "init --pod-cidr 10.244.0.0/16 --advertise TOKEN",
            ErrorCode::BadAddress,
        ),
        (
            "init --pod-cidr 10.244.0.0/16 --exclude-cidr TOKEN",
            ErrorCode::BadCidr,
        ),
        (
            "init --pod-cidr 10.244.0.0/16 --block-prefix TOKEN",
            ErrorCode::BadCidr,
        ),
        (
            "init --pod-cidr 10.244.0.0/16 --encapsulation TOKEN",
            ErrorCode::Usage,
        ),
        ("pod add TOKEN", ErrorCode::BadName),
        ("pod show TOKEN", ErrorCode::BadName),
        ("token TOKEN", ErrorCode::Usage),
        ("token show TOKEN", ErrorCode::Usage),
        ("TOKEN", ErrorCode::Usage),
    ] {
        let line = line.replace("TOKEN", &token);
        let words: Vec<&str> = line.split_whitespace().collect();
        for node in [member, newcomer] {
            let output = node.ctl_json(&words, &token).unwrap();
            let refusal = refusal(&output);
            assert_eq!((refusal.code, refusal.exit), (code, 2), "{output}");
            let told = format!("{}{}", output.stdout, output.stderr);
            assert!(!tells(&told, &token), "{}: {told}", words[0]);
        }
    }
    for body in [
        serde_json::json!(token),
        serde_json::json!([token]),
        serde_json::json!({"token": [token]}),
        serde_json::json!({"addresses": [token], "token": token}),
        serde_json::json!({"addresses": token, "token": token}),
        serde_json::json!({"addresses": ["192.168.56.11"], "token": token, "advertise": token}),
        serde_json::json!({"addresses": ["192.168.56.11"], "token": token, "node_name": token}),
        serde_json::json!({"addresses": ["192.168.56.11"], "token": token, "timeout_seconds": token}),
        serde_json::json!({"addresses": ["192.168.56.11"], "token": token, &token: 1}),
    ] {
        let response = newcomer.http("POST", "/v1/join", &body.to_string());
        assert_eq!(response.status, 400, "{response:?}");
        assert!(!tells(&response.body.to_string(), &token), "{response:?}");
    }
    let path = format!("/v1/pods/{token}");
    let response = newcomer.http("GET", &path, "");
    assert_eq!(response.status, 400, "{response:?}");
    assert!(!tells(&response.body.to_string(), &token), "{response:?}");
    for unharmed in &unharmed {
        unharmed.assert("tokens in the wrong place");
    }
}
