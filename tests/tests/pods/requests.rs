//! What reaches the control socket without `podnetctl`.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use podnet_lab::prelude::*;
use podnet_lab::scenario::misfits;
use serde_json::{Value, json};

use crate::stage::cluster;

/// The answer to a request by curl: its status and its body.
fn curl(node: Node<'_>, words: &[&str], body: &str) -> (u16, String) {
    let fixed = [
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--unix-socket",
        "/run/podnet/podnet.sock",
        "--write-out",
        "\n%{http_code} %{content_type}",
        "--data-binary",
        "@-",
    ];
    let output = node
        .exec_with(fixed.iter().chain(words), body, LIMIT)
        .unwrap();
    assert!(output.ok(), "curl {words:?}: {output}");
    let (body, end) = output.stdout.rsplit_once('\n').unwrap();
    let (status, kind) = end.split_once(' ').unwrap();
    let status = status.parse().unwrap();
    if status >= 400 {
        assert_eq!(kind, "application/problem+json", "curl {words:?}: {output}");
    }
    (status, body.to_owned())
}

/// The status and the code of a refusal, which is a document of problem details (RFC 9457).
fn refused(node: Node<'_>, words: &[&str], body: &str) -> (u16, String) {
    let (status, body) = curl(node, words, body);
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["status"], status, "{problem}");
    for key in ["type", "title", "detail"] {
        assert!(problem[key].is_string(), "{key}: {problem}");
    }
    assert!(
        problem.as_object().unwrap().contains_key("hint"),
        "{problem}"
    );
    (status, problem["code"].as_str().unwrap().to_owned())
}

const PODS: &str = "http://podnet/v1/pods";

#[test]
fn curl_is_a_client() {
    let lab = cluster(1);
    let node = first(&lab);
    let (status, body) = curl(node, &[PODS], r#"{"name":"red"}"#);
    assert_eq!(status, 200, "{body}");
    let pod: api::Pod = serde_json::from_str(&body).unwrap();
    assert_eq!(pod, node.add_pod("red"));
    let one = format!("{PODS}/red");
    let (status, body) = curl(node, &["--get", &one], "");
    assert_eq!(
        (status, serde_json::from_str::<api::Pod>(&body).unwrap()),
        (200, pod.clone())
    );
    let (status, body) = curl(node, &["--get", PODS], "");
    assert_eq!(
        (
            status,
            serde_json::from_str::<Vec<api::Pod>>(&body).unwrap()
        ),
        (200, vec![pod])
    );
    assert!(curl(node, &["-X", "DELETE", &one], "").0 < 300);
    assert_eq!(
        refused(node, &["-X", "DELETE", &one], ""),
        (404, "not_found".to_owned())
    );
    assert_eq!(node.pods(), []);
}

#[test]
fn requests_that_make_no_sense_change_nothing() {
    let lab = cluster(1);
    let node = first(&lab);
    node.add_pod("red");
    let seen = || {
        let what = "ip -o link; ip -o address; ip route; iptables-save | grep -v '^[#:]'; ls /run/netns /run/podnet/pods";
        // The host's own address may still be waiting for the detection of duplicates.
        let shown = node.shell(what).replace(" tentative", "");
        (shown, node.pods())
    };
    let before = seen();
    let usage = |body: &str| {
        let refused = refused(node, &[PODS], body);
        assert_eq!(refused, (400, "usage".to_owned()), "{body}");
    };
    for body in [
        "",
        "{",
        "nonsense",
        "[]",
        "null",
        "7",
        r#""green""#,
        r#"{"name":7}"#,
        r#"{"name":null}"#,
        r#"{"name":"green","colour":"green"}"#,
        r#"{"name":"green","pid":-1}"#,
        r#"{"name":"green","pid":0.5}"#,
        r#"{"name":"green","pid":99999999999}"#,
        r#"{"name":"green","netns":"relative"}"#,
        r#"{"name":"green","netns":"/run/netns/x","pid":1}"#,
        r#"{"name":"green"} {"name":"blue"}"#,
        "\u{0}\u{1}",
    ] {
        usage(body);
    }
    let bad_name = |name: &str| {
        let body = json!({ "name": name }).to_string();
        assert_eq!(
            refused(node, &[PODS], &body),
            (400, "bad_name".to_owned()),
            "{name}"
        );
    };
    misfits::NAMES.iter().for_each(|name| bad_name(name));
    bad_name(&"g".repeat(10_000));
    let large = format!(r#"{{"name":"green","netns":"/{}"}}"#, "x".repeat(1 << 20));
    usage(&large);
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    usage(&deep);

    for (words, expected) in [
        (["-X", "PUT", PODS], (400, "usage")),
        (["-X", "DELETE", PODS], (400, "usage")),
        (["-X", "POST", "http://podnet/v1/status"], (400, "usage")),
        (
            ["-X", "POST", "http://podnet/v1/nothing"],
            (404, "not_found"),
        ),
        (["-X", "GET", "http://podnet/"], (404, "not_found")),
        (["-X", "GET", "http://podnet/v2/status"], (404, "not_found")),
        (
            ["-X", "GET", "http://podnet/v1/pods/green"],
            (404, "not_found"),
        ),
        (
            ["-X", "GET", "http://podnet/v1/pods/Green"],
            (400, "bad_name"),
        ),
        (
            ["-X", "GET", "http://podnet/v1/pods/%2e%2e"],
            (400, "bad_name"),
        ),
        (
            ["-X", "GET", "http://podnet/v1/pods/%ff"],
            (400, "bad_name"),
        ),
        (
            ["-X", "DELETE", "http://podnet/v1/pods/green"],
            (404, "not_found"),
        ),
    ] {
        let refused = refused(node, &words, "");
        assert_eq!((refused.0, refused.1.as_str()), expected, "{words:?}");
    }
    assert_eq!(seen(), before);
}

/// What comes back on the socket after these bytes, until the agent closes it.
fn raw(node: Node<'_>, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A connection that is cut off may be reset.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn clients_that_do_not_finish_hold_up_nobody() {
    let lab = cluster(1);
    let node = first(&lab);
    let post = "POST /v1/pods HTTP/1.1\r\nHost: podnet\r\n";
    let slow_body = format!("{post}Content-Length: 100\r\n\r\n{{\"name\":");
    let slow_head = post.to_owned();
    let no_http = "\u{16}\u{3}\u{1} hello\r\n\r\n".to_owned();
    let early: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = UnixStream::connect(node.socket()).unwrap();
            stream.write_all(slow_body.as_bytes()).unwrap();
            stream
        })
        .collect();
    let answers = std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            at_once([slow_body, slow_head, no_http], |bytes| {
                raw(node, bytes.as_bytes())
            })
        });
        let output = node
            .exec_with(
                ["podnetctl", "pod", "add", "red"],
                "",
                Duration::from_secs(5),
            )
            .unwrap();
        assert!(output.ok(), "{output}");
        assert_eq!(node.status().pods, 1);
        slow.join().unwrap()
    });
    assert!(
        answers[0].starts_with("HTTP/1.1 400") && answers[0].contains(r#""code":"usage""#),
        "{answers:?}"
    );
    assert!(!answers[1].starts_with("HTTP/1.1 2"), "{answers:?}");
    assert!(!answers[2].starts_with("HTTP/1.1 2"), "{answers:?}");
    drop(early);
    // Half of a body, then nobody: the request was never made.
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    let half = format!("{post}Content-Length: 17\r\n\r\n{{\"name\":\"green\"");
    stream.write_all(half.as_bytes()).unwrap();
    drop(stream);
    assert_eq!(node.pods().len(), 1);
    assert_eq!(node.status().phase, Phase::Ready);
}
