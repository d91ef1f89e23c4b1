//! What reaches the control socket.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use podnet_lab::prelude::*;
use serde_json::{Value, json};

use crate::unharmed::Unharmed;

/// A member with a pod, and an idle node.
pub(crate) fn two() -> Lab {
    let lab = idle(2);
    {
        let [member, _] = nodes(&lab);
        member.init(None).unwrap();
        member.add_pod("red");
    }
    lab
}

/// The same, for tests that keep nobody from being answered and leave both nodes as they are.
pub(crate) static TWO: Shared<Lab> = Shared::new(two);

/// Bodies that are no request of any kind.
fn bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "{",
        "}",
        "[]",
        "[{}]",
        "[true]",
        r#"["green"]"#,
        r#"[["10.99.0.0/16"],[24],null,null,null,[],false]"#,
        r#"[["192.168.56.11"],"podnet1.x"]"#,
        "null",
        "true",
        "7",
        "-",
        "1e999",
        "NaN",
        "nonsense",
        " ",
        "\r\n",
        r#""text""#,
        r#"{"#,
        r#"{"a""#,
        r#"{"a":"#,
        r#"{"no_such_member":1}"#,
        r#"{"name":1,"name":2}"#,
        r#"{'name':'red'}"#,
        r#"{"name":"red",}"#,
        r#"{} {}"#,
        "{}\0",
        "\u{feff}{}",
        "name=red",
        "<xml/>",
        "\u{0}",
    ]
    .iter()
    .map(|body| body.as_bytes().to_vec())
    .collect();
    bodies.extend([
        b"\xff\xfe{\0}\0".to_vec(),
        b"{\"\xff\":1}".to_vec(),
        b"{\"name\":\"\xc3\"}".to_vec(),
        vec![0; 1000],
        vec![0xff; 60_000],
        "[".repeat(60_000).into_bytes(),
        r#"{"a":"#.repeat(10_000).into_bytes(),
        format!(r#"{{"name":"{}"}}"#, "x".repeat(64 << 10)).into_bytes(),
        vec![b' '; (64 << 10) + 1],
        vec![b'x'; 4 << 20],
    ]);
    bodies
}

/// Bodies that are JSON, and of these requests only in part.
fn misfits(path: &str) -> Vec<Value> {
    let strings = [json!(1), json!(null), json!([]), json!({}), json!(true)];
    let with = |good: &Value, key: &str, bad: &Value| {
        let mut body = good.clone();
        body[key] = bad.clone();
        body
    };
    let init = json!({"pod_cidrs": ["10.99.0.0/16"]});
    let join = json!({"addresses": ["192.168.56.11"], "token": "podnet1.x"});
    let pod = json!({"name": "green"});
    match path {
        "/v1/init" => [
            (
                "pod_cidrs",
                vec![json!("10.99.0.0/16"), json!(null), json!([1]), json!({})],
            ),
            (
                "block_prefixes",
                vec![json!(24), json!([256]), json!([-1]), json!(["24"])],
            ),
            ("node_name", vec![json!(1), json!([]), json!({})]),
            ("advertise", vec![json!(1), json!(["192.168.56.11"])]),
            ("encapsulation", vec![json!(1), json!(true), json!("gre")]),
            (
                "exclude_cidrs",
                vec![json!("10.0.0.0/8"), json!([1]), json!(null)],
            ),
            ("allow_overlap", vec![json!("yes"), json!(1), json!(null)]),
            ("no_such_member", vec![json!(1)]),
        ]
        .iter()
        .flat_map(|(key, values)| values.iter().map(|value| with(&init, key, value)))
        .collect(),
        "/v1/join" => [
            (
                "addresses",
                vec![json!("192.168.56.11"), json!(null), json!([1]), json!({})],
            ),
            ("token", strings.to_vec()),
            ("node_name", vec![json!(1), json!([])]),
            ("advertise", vec![json!(1), json!([])]),
            ("replace", vec![json!(1), json!([])]),
            ("allow_overlap", vec![json!("yes"), json!(null)]),
            ("timeout_seconds", vec![json!("1"), json!([]), json!(true)]),
            ("no_such_member", vec![json!(1)]),
        ]
        .iter()
        .flat_map(|(key, values)| values.iter().map(|value| with(&join, key, value)))
        .collect(),
        "/v1/leave" => vec![
            json!({"remove_pods": 1}),
            json!({"remove_pods": "yes"}),
            json!({"remove_pods": null}),
            json!({"remove_pods": []}),
            json!({"no_such_member": true}),
        ],
        "/v1/pods" => [
            ("name", strings.to_vec()),
            (
                "netns",
                vec![json!(1), json!([]), json!("relative"), json!("")],
            ),
            (
                "pid",
                vec![json!("1"), json!(-1), json!(0.5), json!(4_294_967_296_u64)],
            ),
            ("no_such_member", vec![json!(1)]),
        ]
        .iter()
        .flat_map(|(key, values)| values.iter().map(|value| with(&pod, key, value)))
        .chain([
            json!({}),
            json!({"netns": "/x"}),
            json!({"name": "green", "netns": "/run/netns/x", "pid": 1}),
        ])
        .collect(),
        _ => Vec::new(),
    }
}

/// A request as it goes over the socket, after which the connection is to end.
fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: podnet\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What comes back on the socket after these bytes, until the agent closes it.
#[track_caller]
pub(crate) fn raw(node: Node<'_>, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    // Who refuses early reads no more.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no end of the answer"),
        Ok(_) | Err(_) => {}
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status and the code of an answer with problem details.
pub(crate) fn problem(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    (status.unwrap_or_default(), code)
}

pub(crate) fn escaped(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}

#[test]
fn bodies_that_are_no_request_are_refused() {
    let lab = TWO.get();
    let [member, idle] = nodes(&lab);
    let unharmed = [member, idle].map(Unharmed::watch);
    for path in ["/v1/init", "/v1/join", "/v1/leave", "/v1/pods"] {
        for body in bodies() {
            for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: \r\n"] {
                if body.len() > 1000 && !kind.is_empty() {
                    continue;
                }
                let node = if kind.is_empty() { member } else { idle };
                let answer = raw(node, &request("POST", path, kind, &body));
                // Who is refused before all was read may not see why.
                let cut = answer.is_empty() && body.len() > 64 << 10;
                let usage = (400, "usage".to_owned());
                assert!(
                    cut || problem(&answer) == usage,
                    "{path} {}: {answer}",
                    escaped(&body)
                );
            }
        }
        let misfits = misfits(path);
        assert!(!misfits.is_empty());
        for body in misfits {
            for node in [member, idle] {
                let response = node.http("POST", path, &body.to_string());
                let found = (response.status, &response.body["code"]);
                assert_eq!(found, (400, &"usage".into()), "{path} {body}");
                assert_eq!(response.content_type, "application/problem+json");
            }
        }
    }
    for unharmed in &unharmed {
        unharmed.assert("bodies that are no request");
    }
}

#[test]
fn requests_that_ask_for_too_much_are_refused() {
    let lab = TWO.get();
    let [member, idle] = nodes(&lab);
    let unharmed = [member, idle].map(Unharmed::watch);
    let many = |what: &'static str, count: usize| vec![what; count];
    let token = member.ctl(["token", "show", "-q"]).unwrap().stdout;
    let token = token.trim();
    for (path, body, code) in [
        (
            "/v1/init",
            json!({"pod_cidrs": many("10.99.0.0/16", 3000)}),
            "unsupported",
        ),
        (
            "/v1/init",
            json!({"pod_cidrs": ["10.99.0.0/16"], "exclude_cidrs": many("10.0.0.0/8", 3000)}),
            "bad_cidr",
        ),
        (
            "/v1/init",
            json!({"pod_cidrs": ["10.99.0.0/16"], "block_prefixes": many("", 0), "node_name": "x".repeat(60_000)}),
            "bad_name",
        ),
        (
            "/v1/join",
            json!({"addresses": [], "token": token}),
            "bad_address",
        ),
        (
            "/v1/join",
            json!({"addresses": many("192.168.56.99", 3000), "token": token}),
            "usage",
        ),
        (
            "/v1/join",
            json!({"addresses": ["192.168.56.99"], "token": token, "timeout_seconds": -1}),
            "usage",
        ),
        (
            "/v1/join",
            json!({"addresses": ["192.168.56.99"], "token": token, "timeout_seconds": 1e300}),
            "usage",
        ),
        ("/v1/pods", json!({"name": "x".repeat(60_000)}), "bad_name"),
    ] {
        let response = idle.http("POST", path, &body.to_string());
        let shown: String = body.to_string().chars().take(100).collect();
        assert_eq!(
            (response.status, &response.body["code"]),
            (400, &code.into()),
            "{shown}"
        );
    }
    let long = json!({"name": "green", "netns": format!("/{}", "x".repeat(60_000))});
    let response = member.http("POST", "/v1/pods", &long.to_string());
    assert_eq!(
        (response.status, &response.body["code"]),
        (400, &"usage".into())
    );
    let nul = json!({"name": "green", "netns": "/run/netns/\0"});
    let response = member.http("POST", "/v1/pods", &nul.to_string());
    assert_eq!(
        (response.status, &response.body["code"]),
        (400, &"usage".into())
    );
    for unharmed in &unharmed {
        unharmed.assert("requests that ask for too much");
    }
}

#[test]
fn paths_and_methods_that_are_none_are_refused() {
    let lab = TWO.get();
    let [member, idle] = nodes(&lab);
    let unharmed = [member, idle].map(Unharmed::watch);
    for node in [member, idle] {
        for path in ["/v1/status", "/v1/nodes", "/v1/routes", "/v1/token"] {
            for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
                let answer = raw(node, &request(method, path, "", b""));
                assert_eq!(
                    problem(&answer),
                    (400, "usage".to_owned()),
                    "{method} {path}"
                );
            }
        }
        for path in ["/v1/init", "/v1/join", "/v1/leave"] {
            for method in ["GET", "PUT", "DELETE", "PATCH", "get"] {
                let answer = raw(node, &request(method, path, "", b""));
                assert_eq!(
                    problem(&answer),
                    (400, "usage".to_owned()),
                    "{method} {path}"
                );
            }
        }
        let long = format!("/v1/pods/{}", "x".repeat(8000));
        for (path, status, code) in [
            ("/", 404, "not_found"),
            ("/v1", 404, "not_found"),
            ("/v1/", 404, "not_found"),
            ("/v1/status/", 404, "not_found"),
            ("//v1/status", 404, "not_found"),
            ("/v1/../v1/status", 404, "not_found"),
            ("/v2/status", 404, "not_found"),
            ("/V1/status", 404, "not_found"),
            ("/v1/pods/", 404, "not_found"),
            ("/v1/pods/green", 404, "not_found"),
            ("/v1/pods/green/x", 404, "not_found"),
            ("/v1/pods/Green", 400, "bad_name"),
            ("/v1/pods/..", 400, "bad_name"),
            ("/v1/pods/%2e%2e", 400, "bad_name"),
            ("/v1/pods/%2F", 400, "bad_name"),
            ("/v1/pods/%00", 400, "bad_name"),
            ("/v1/pods/%ff", 400, "bad_name"),
            ("/v1/pods/%", 400, "bad_name"),
            (&long, 400, "bad_name"),
        ] {
            for method in ["GET", "DELETE"] {
                let answer = raw(node, &request(method, path, "", b""));
                let shown = &path[..path.len().min(60)];
                assert_eq!(
                    problem(&answer),
                    (status, code.to_owned()),
                    "{method} {shown}: {answer}"
                );
            }
        }
    }
    for unharmed in &unharmed {
        unharmed.assert("paths and methods that are none");
    }
}
